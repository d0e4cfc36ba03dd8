"""A feed's records as offers: one file, read to its end, put together by product on disk, given out in its order.

There is nothing between two walks but the file itself: a walk that was left fetches it again and, if it is the same one
to the byte, goes on behind the products it has given; of another file it begins anew.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from itertools import groupby, islice
from operator import itemgetter
from sqlite3 import Connection as Database
from typing import TypeVar

from services.formats.base import Draft, FeedRefused, RowError
from services.suppliers.base import (
    Connection,
    Money,
    Offer,
    OfferVariant,
    Page,
    PriceLevel,
    Problem,
    StockLevel,
)
from services.suppliers.errors import FatalForConnection, NotOffered
from services.suppliers.feed.fetch import fetched, not_a_feed, reading
from services.suppliers.scratch import scratch

T = TypeVar("T", Offer, StockLevel, PriceLevel)

PAGE_PRODUCTS = 500
PAGE_CHARACTERS = 8_000_000  # of records: some have descriptions as long as a book
MAX_PROBLEMS = 1_000  # told one by one
MAX_RECORDS = 2_000  # of one product
LONGEST_KEY = 500

_SCHEMA = """
CREATE TABLE products (n INTEGER PRIMARY KEY, key TEXT UNIQUE);
CREATE TABLE records (n INTEGER, draft TEXT);
CREATE TABLE problems (product TEXT, code TEXT, reason TEXT);
"""
_PRODUCTS = """
SELECT products.n, products.key, records.draft FROM products JOIN records USING (n)
WHERE products.n > ? ORDER BY products.n, records.rowid
"""

Group = tuple[int, str, list[Draft]]
_Next = tuple[bool, int, int, Offer | Problem]  # the last one?, its number, characters, what it comes to


def offers(
    connection: Connection, *, only: Sequence[str] | None = None, cursor: str | None = None
) -> Iterator[Page[Offer]]:
    """All products of the feed. Raises what `Adapter` says; NotOffered for `only`."""
    _all_or_nothing(only)

    def found(offer: Offer) -> Iterator[Offer]:
        yield offer

    return _walk(connection, cursor, found)


def stock(
    connection: Connection, *, only: Sequence[str] | None = None, cursor: str | None = None
) -> Iterator[Page[StockLevel]]:
    """All quantities the feed says; the whole file is read for them."""
    _all_or_nothing(only)

    def found(offer: Offer) -> Iterator[StockLevel]:
        for variant in offer.variants:
            if variant.stock is not None:
                yield StockLevel(variant.id, variant.sku, variant.stock)

    return _walk(connection, cursor, found)


def prices(
    connection: Connection, *, only: Sequence[str] | None = None, cursor: str | None = None
) -> Iterator[Page[PriceLevel]]:
    """All prices the feed says; the whole file is read for them."""
    _all_or_nothing(only)

    def found(offer: Offer) -> Iterator[PriceLevel]:
        for one in offer.variants:
            if one.cost is not None:
                yield PriceLevel(one.id, one.sku, one.cost, one.list_price, one.recommended_price)

    return _walk(connection, cursor, found)


def _all_or_nothing(only: Sequence[str] | None) -> None:
    if only is not None:
        raise NotOffered("A feed comes whole.")


# -- the walk ----------------------------------------------------------------------------------------------------------


def _walk(connection: Connection, cursor: str | None, found: Callable[[Offer], Iterator[T]]) -> Iterator[Page[T]]:
    wanted, passed = _place(cursor)
    with scratch(_SCHEMA) as database:
        file = _fetch(connection, database)
        groups = _groups(database, passed if file == wanted else 0)
        yield from _pages(_offers(groups, connection.currency), found, file=file, rest=_unreadable(database))


def _pages(
    offers: Iterator[_Next], found: Callable[[Offer], Iterator[T]], *, file: str, rest: Iterator[Problem]
) -> Iterator[Page[T]]:
    items: list[T] = []
    problems: list[Problem] = []
    products = characters = 0
    for last, n, size, offer in offers:
        if isinstance(offer, Problem):
            problems.append(offer)
        else:
            items.extend(found(offer))
        products, characters = products + 1, characters + size
        if not last and (products >= PAGE_PRODUCTS or characters >= PAGE_CHARACTERS):
            yield Page(tuple(items), json.dumps([file, n]), tuple(problems))
            items, problems, products, characters = [], [], 0, 0
    # With the last page: a walk that goes on finds all of it again.
    yield Page(tuple(items), None, (*problems, *rest))


def _place(cursor: str | None) -> tuple[str, int]:
    """The file a cursor is of, and how many of its products were given. Raises ValueError."""
    match json.loads(cursor) if cursor else ["", 0]:
        case [str() as file, int() as passed]:
            return file, passed
    raise ValueError("not a cursor of a feed's walks")


def _fetch(connection: Connection, database: Database) -> str:
    """Put the file's records down; its print. Raises what fetching and reading do."""
    with fetched(connection) as file:
        try:
            _fill(database, reading(connection, file.stream).records)
        except FeedRefused as refused:
            raise not_a_feed(refused) from refused
        return file.print


def _fill(database: Database, records: Iterator[Draft | RowError]) -> None:
    """Put the records down. Raises FatalForConnection when there is none."""
    key, n = None, 0
    broken = spoilt = 0  # records, cells
    cells: list[RowError] = []  # of the record that comes next: its product is known then, and is offered all the same
    for record in records:
        if isinstance(record, RowError):
            broken, spoilt = broken + record.fatal, spoilt + (not record.fatal)
            if not record.fatal and spoilt <= MAX_PROBLEMS:
                cells.append(record)
            elif record.fatal and broken <= MAX_PROBLEMS:
                _note(database, None, record)
            continue
        if record.product_key != key:
            key = record.product_key
            database.execute("INSERT OR IGNORE INTO products (key) VALUES (?)", (key,))
            ((n,),) = database.execute("SELECT n FROM products WHERE key = ?", (key,))
        database.execute("INSERT INTO records VALUES (?, ?)", (n, json.dumps(record)))
        for cell in cells:
            _note(database, key if cell.line == record.line else None, cell)
        cells.clear()
    if key is None:
        # Nothing that can be read is no catalogue: nothing may be taken for gone.
        ((reason,),) = database.execute("SELECT reason FROM problems LIMIT 1").fetchall() or [("It is empty.",)]
        raise FatalForConnection(f"No record of the feed can be used. {reason}", kind="schema")
    for cell in cells:
        _note(database, None, cell)
    for found, product, what in ((broken, None, "records"), (spoilt, key, "cells")):
        if found > MAX_PROBLEMS:
            more = f"Another {found - MAX_PROBLEMS:,} {what} could not be read."
            database.execute("INSERT INTO problems VALUES (?, 'more_unreadable', ?)", (product, more))
    database.execute("CREATE INDEX records_n ON records (n)")


def _note(database: Database, product: str | None, error: RowError) -> None:
    told = f"Line {error.line}: {error.reason}"
    database.execute("INSERT INTO problems VALUES (?, ?, ?)", (product, error.code, told))


def _groups(database: Database, passed: int) -> Iterator[Group]:
    for n, rows in groupby(database.execute(_PRODUCTS, (passed,)), key=itemgetter(0)):
        kept = list(islice(rows, MAX_RECORDS + 1))
        yield n, kept[0][1], [Draft(*json.loads(draft)) for _, _, draft in kept]


def _offers(groups: Iterator[Group], currency: str) -> Iterator[_Next]:
    ahead = next(groups, None)
    while ahead is not None:
        n, key, drafts = ahead
        ahead = next(groups, None)
        yield ahead is None, n, sum(len(draft.description or "") for draft in drafts), _offer(key, drafts, currency)


def _unreadable(database: Database) -> Iterator[Problem]:
    for product, code, reason in database.execute("SELECT product, code, reason FROM problems"):
        yield Problem(product, code, reason)


# -- a product ---------------------------------------------------------------------------------------------------------


def _offer(key: str, drafts: list[Draft], currency: str) -> Offer | Problem:
    if len(drafts) > MAX_RECORDS:
        return Problem(_shortened(key), "too_many_records", f"{key[:100]} has more than {MAX_RECORDS:,} records.")

    def first(field: str) -> str | None:
        return next((said for draft in drafts if (said := getattr(draft, field)) is not None), None)

    variants = _merged(drafts)
    if not variants:
        return Problem(_shortened(key), "no_variant", f"{key[:100]} has records, but none that could be ordered.")
    names = (first("option_names") or "").split("\n")
    made = tuple(_variant(key, draft, names, currency) for draft in variants)
    if len(key) > LONGEST_KEY or any(len(one.id) > LONGEST_KEY for one in made):
        return Problem(None, "key_too_long", f"{key[:100]}… has a key of more than {LONGEST_KEY} characters.")
    return Offer(
        id=key,
        title=first("title"),
        description=first("description"),
        variants=made,
        brand=first("brand"),
        category=first("category"),
        image_urls=_images(drafts),
        active=first("status") in (None, "active"),
    )


def _shortened(key: str) -> str | None:
    return key if len(key) <= LONGEST_KEY else None


def _merged(drafts: list[Draft]) -> list[Draft]:
    """One record for each variant; of several the later ones say more, and contradict the earlier."""
    found: dict[str, Draft] = {}
    for draft in drafts:
        if draft.variant_key is not None:
            known = found.get(draft.variant_key)
            if known is not None:
                draft = Draft(*(old if new is None else new for old, new in zip(known, draft, strict=True)))  # type: ignore[arg-type]  # noqa: PLW2901
            found[str(draft.variant_key)] = draft
    return list(found.values())


def _variant(key: str, draft: Draft, usual: list[str], currency: str) -> OfferVariant:
    own = str(draft.variant_key)
    # A variant's key is unique within its product. What stands before the first slash is always the product's.
    product = key.replace("%", "%25").replace("/", "%2F")
    number = product if own == key else f"{product}/{own}"
    names = [name for name in (draft.option_names.split("\n") if draft.option_names else usual) if name]
    values = (draft.option_values or "").split("\n")
    names += [f"Option {n + 1}" for n in range(len(names), len(values))]
    money = draft.currency or currency
    return OfferVariant(
        id=number,
        order_ref=draft.sku or number,
        sku=draft.sku,
        barcode=draft.barcode,
        options=tuple((name, value) for name, value in zip(names, values, strict=False) if value),
        # Never the price in place of it: a cost column that loses its name must not raise all costs.
        cost=_money(draft.cost, money),
        list_price=_money(draft.compare_at_price, money),
        recommended_price=_money(draft.price, money),
        stock=None if draft.stock is None else min(max(int(draft.stock), 0), 2**31 - 1),
        weight_grams=None if draft.weight_grams is None else int(draft.weight_grams) or None,
        image_url=draft.variant_image_url,
    )


def _money(text: str | None, currency: str) -> Money | None:
    amount = Decimal(text) if text is not None else Decimal()
    return Money(amount, currency) if amount > 0 else None


def _images(drafts: list[Draft]) -> tuple[str, ...]:
    """By their position where the feed gives one, then as they come; each once."""
    lists = [draft for draft in drafts if draft.image_urls]
    lists.sort(key=lambda draft: int(draft.image_position) if draft.image_position else 10**9)
    return tuple(dict.fromkeys(url for draft in lists for url in str(draft.image_urls).split("\n")))
