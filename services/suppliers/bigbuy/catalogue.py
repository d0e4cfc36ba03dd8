"""BigBuy's catalogue: whole lists of each first-level category, joined into offers.

BigBuy has no pages worth the name and no "changed since": a list is had per first-level category or not at all, and
few of them an hour. So a category is the step of a walk: all calls it takes are asked of the meter at once, before the
first is made, and the cursor holds the categories that are done.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from typing import Any, TypeVar

from services.suppliers.ahead import ahead
from services.suppliers.base import (
    Connection,
    Money,
    Offer,
    OfferVariant,
    Page,
    PriceLevel,
    Problem,
    StockLevel,
    Walk,
)
from services.suppliers.bigbuy import spool as kept
from services.suppliers.bigbuy.answers import unreadable
from services.suppliers.bigbuy.calls import drifted, get, records
from services.suppliers.bigbuy.leave import Leave
from services.suppliers.errors import NotOffered
from services.suppliers.wire import dicts, id_of, positive, text_of

T = TypeVar("T", Offer, StockLevel, PriceLevel)

PAGE_SIZE = 500
CURRENCY = "EUR"
# What its texts are written in.
LANGUAGES = frozenset(("bg", "cs", "da", "de", "el", "en", "es", "et", "fi", "fr", "hr", "hu")) | frozenset(
    ("it", "lt", "lv", "nl", "no", "pl", "pt", "ro", "ru", "sk", "sl", "sv")
)

# endpoint, table, reader, whether its texts are in a language
_LISTS: tuple[tuple[str, str, Callable[[dict[str, Any]], kept.Row | None], bool], ...] = (
    ("catalog/products", "products", kept.product, False),
    ("catalog/productsinformation", "texts", kept.texts, True),
    ("catalog/productsimages", "images", kept.images, False),
    ("catalog/productsvariations", "variations", kept.variation, False),
    ("catalog/variations", "variation_attributes", kept.variation_attributes, False),
    ("catalog/attributes", "attributes", kept.attribute, True),
    ("catalog/productsstockbyhandlingdays", "product_stock", kept.stock, False),
    ("catalog/productsvariationsstockbyhandlingdays", "variation_stock", kept.stock, False),
)
_OFFERS = tuple(endpoint for endpoint, *_ in _LISTS)
_STOCK = ("catalog/productsstockbyhandlingdays", "catalog/productsvariationsstockbyhandlingdays")
_ROOTS = "catalog/taxonomies"
_NAMES = ("catalog/taxonomies", "catalog/manufacturers", "catalog/attributegroups")
_PRICES = ("catalog/productprices", "catalog/productvariationprices")
# Its first-level categories are about as many; the quotas decide, and there is nothing to be had for less.
_CATEGORIES = 20
WALKS = {
    "offers": Walk(_CATEGORIES, Counter(_OFFERS), Counter((_ROOTS, *_NAMES))),
    "stock": Walk(_CATEGORIES, Counter(_STOCK), Counter((_ROOTS,))),
    "prices": Walk(_CATEGORIES, Counter(_PRICES), Counter((_ROOTS,))),
}


def offers(
    connection: Connection, *, only: Sequence[str] | None = None, cursor: str | None = None
) -> Iterator[Page[Offer]]:
    """All offers, category by category. Raises what `Adapter` says; NotOffered for `only`."""
    _all_or_nothing(only)
    connection, leave = _metered(connection)

    def steps(roots: list[int]) -> Iterator[tuple[int, Iterator[Offer | Problem]]]:
        names = _Names(connection, leave)
        # While a category is joined and stored, the next one is received.
        with ahead(_fetched(connection, leave, roots)) as fetched:
            for root, lists, broken in fetched:
                with closing(lists):
                    yield root, _joined(lists, broken, names)

    return _walk(connection, leave, cursor, _OFFERS, steps, first=_NAMES)


def _fetched(connection: Connection, leave: Leave, roots: list[int]) -> Iterator[tuple[int, kept.Spool, list[Problem]]]:
    """Each category's lists, and what of them could not be read."""
    for root in _allowed(connection, roots, _OFFERS):
        lists = kept.Spool()
        broken: list[Problem] = []
        for endpoint, table, read, translated in _LISTS:
            leave.make(endpoint)
            found = records(connection, endpoint, _query(connection, root, translated=translated))
            for record in lists.fill(table, endpoint, found, read):
                # What is said beside a product may be missing; a product or variation may not.
                if table == "products":
                    broken.append(_unreadable(record, "product_unreadable"))
                elif table == "variations":
                    broken.append(_unreadable(record, "variation_unreadable", "product"))
        if ("products" in lists.filled) != ("texts" in lists.filled):
            # Nothing at all is how BigBuy answers for an empty category. Half of it is not empty.
            raise unreadable("catalog/products")
        yield root, lists, broken


def _joined(lists: kept.Spool, broken: list[Problem], names: "_Names") -> Iterator[Offer | Problem]:
    yield from broken
    hurt = {problem.id for problem in broken}
    attributes = lists.attributes()
    for product, variations in lists.products():
        if str(product[0]) not in hurt:
            yield _offer(product, variations, attributes, names)


def stock(
    connection: Connection, *, only: Sequence[str] | None = None, cursor: str | None = None
) -> Iterator[Page[StockLevel]]:
    """All quantities. Raises what `Adapter` says; NotOffered for `only`."""
    _all_or_nothing(only)
    connection, leave = _metered(connection)

    def step(root: int) -> Iterator[StockLevel | Problem]:
        for endpoint, mark in zip(_STOCK, ("p", "v"), strict=True):
            tally = kept.Tally()
            leave.make(endpoint)
            for record in records(connection, endpoint, _query(connection, root)):
                row = kept.stock(record)
                tally.good, tally.bad = tally.good + (row is not None), tally.bad + (row is None)
                if row is None:
                    yield _unreadable(record, "stock_unreadable", mark=mark)
                    continue
                found = kept.tiers(row[2]) or ()
                yield StockLevel(f"{mark}{row[0]}", row[1], sum(tier.quantity for tier in found), found)
            tally.judge(endpoint)

    def steps(roots: list[int]) -> Iterator[tuple[int, Iterator[StockLevel | Problem]]]:
        for root in _allowed(connection, roots, _STOCK):
            yield root, step(root)

    return _walk(connection, leave, cursor, _STOCK, steps)


def prices(
    connection: Connection, *, only: Sequence[str] | None = None, cursor: str | None = None
) -> Iterator[Page[PriceLevel]]:
    """All prices. Raises what `Adapter` says; NotOffered for `only`."""
    _all_or_nothing(only)
    connection, leave = _metered(connection)

    def step(root: int) -> Iterator[PriceLevel | Problem]:
        for endpoint, mark in zip(_PRICES, ("p", "v"), strict=True):
            tally = kept.Tally()
            leave.make(endpoint)
            for record in records(connection, endpoint, _query(connection, root)):
                number, cost = id_of(record.get("id")), _money(record.get("wholesalePrice"))
                if number is None or cost is None:
                    tally.bad += 1
                    yield _unreadable(record, "price_unreadable", mark=mark)
                    continue
                tally.good += 1
                yield PriceLevel(
                    f"{mark}{number}",
                    text_of(record.get("sku")),
                    cost,
                    _money(record.get("inShopsPrice")),
                    _money(record.get("retailPrice")),
                )
            tally.judge(endpoint)

    def steps(roots: list[int]) -> Iterator[tuple[int, Iterator[PriceLevel | Problem]]]:
        for root in _allowed(connection, roots, _PRICES):
            yield root, step(root)

    return _walk(connection, leave, cursor, _PRICES, steps)


def _walk(
    connection: Connection,
    leave: Leave,
    cursor: str | None,
    endpoints: tuple[str, ...],
    steps: Callable[[list[int]], Iterator[tuple[int, Iterator[T | Problem]]]],
    *,
    first: tuple[str, ...] = (),
) -> Iterator[Page[T]]:
    """The pages of each category in turn. `steps` is given those that are left; the calls of the first are allowed."""
    done = _done(cursor)
    try:
        leave.take((_ROOTS, *first, *endpoints))
        roots = [root for root in _roots(connection, leave) if root not in done]
        if not roots:
            yield Page((), None)
            return
        for root, step in steps(roots):
            items: dict[str, T] = {}
            problems: list[Problem] = []
            for found in step:
                if isinstance(found, Problem):
                    problems.append(found)
                else:
                    items[found.id if isinstance(found, Offer) else found.variant_id] = found
                if len(items) + len(problems) >= PAGE_SIZE:
                    # The category is not done before its last list was read to its end.
                    yield Page(tuple(items.values()), _cursor(done), tuple(problems))
                    items, problems = {}, []
            done.append(root)
            yield Page(tuple(items.values()), None if root == roots[-1] else _cursor(done), tuple(problems))
    finally:
        leave.end()


def _metered(connection: Connection) -> tuple[Connection, Leave]:
    leave = Leave(connection.meter)
    return replace(connection, meter=leave), leave


def _allowed(connection: Connection, roots: list[int], endpoints: tuple[str, ...]) -> Iterator[int]:
    """These categories, each when its calls are allowed; those of the first are."""
    for position, root in enumerate(roots):
        if position:
            connection.meter.take(endpoints)
        yield root


def _roots(connection: Connection, leave: Leave) -> list[int]:
    listed = _listed(connection, leave, _ROOTS, {"firstLevel": "", "isoCode": _language(connection)})
    roots = {number for one in listed if (number := id_of(one.get("id")))}
    if not roots:  # a catalogue without a category is no catalogue: nothing may be taken for gone
        drifted(_ROOTS)
    return sorted(roots)


def _listed(
    connection: Connection, leave: Leave, endpoint: str, query: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """A short list, the call of which the meter has allowed already."""
    leave.make(endpoint)
    answer = get(connection, endpoint, query=query, taken=True)
    if answer is None:
        raise unreadable(endpoint)
    if not isinstance(answer, list):
        drifted(endpoint)
    return dicts(answer)


class _Names:
    """What categories, brands and attribute groups are called."""

    def __init__(self, connection: Connection, leave: Leave) -> None:
        language = {"isoCode": _language(connection)}
        self._above: dict[int, tuple[int | None, str]] = {}
        for one in _listed(connection, leave, "catalog/taxonomies", language):
            number, name = id_of(one.get("id")), text_of(one.get("name"))
            if number is not None and name is not None:
                self._above[number] = (id_of(one.get("parentTaxonomy")), name)
        self._paths: dict[int | None, str | None] = {}
        self._brands = _named(_listed(connection, leave, "catalog/manufacturers"))
        self._groups = _named(_listed(connection, leave, "catalog/attributegroups", language))

    def category(self, number: int | None) -> str | None:
        """The path of a category, from the top."""
        if number not in self._paths:
            self._paths[number] = self._path(number)
        return self._paths[number]

    def _path(self, number: int | None) -> str | None:
        names: list[str] = []
        while number in self._above and len(names) < 20:  # a circle is not followed for ever
            number, name = self._above[number]
            names.insert(0, name)
        return " > ".join(names) or None

    def brand(self, number: int | None) -> str | None:
        """A manufacturer's name."""
        return self._brands.get(number or 0)

    def group(self, number: int) -> str:
        """What an attribute is a value of."""
        return self._groups.get(number) or "Option"


def _named(listed: list[dict[str, Any]]) -> dict[int, str]:
    return {number: name for one in listed if (number := id_of(one.get("id"))) and (name := text_of(one.get("name")))}


_Attributes = Mapping[int, tuple[int, str]]


def _offer(product: kept.Row, variations: list[kept.Row], attributes: _Attributes, names: _Names) -> Offer | Problem:
    number, sku, barcode, maker, taxonomy, *prices, weight, active, varies, name, description, urls, tiers = product
    if varies and not variations:
        return Problem(str(number), "variations_missing", f"{sku} has variations, and BigBuy did not list them.")
    own_weight = Decimal(weight) if weight else None
    if variations:
        found = tuple([_variant(row, own_weight, attributes, names) for row in variations])
    else:
        found = (_sellable(f"p{number}", sku, barcode, prices, tiers=tiers, weight=own_weight, options=()),)
    return Offer(
        id=str(number),
        title=name,
        description=description,
        variants=found,
        brand=names.brand(maker),
        category=names.category(taxonomy),
        image_urls=tuple(urls.split("\n")) if urls else (),
        active=bool(active),
    )


def _variant(row: kept.Row, product_weight: Decimal | None, attributes: _Attributes, names: _Names) -> OfferVariant:
    _, number, sku, barcode, *prices, extra, tiers, listed = row
    weight = None if product_weight is None else product_weight + Decimal(extra or 0)
    options: dict[str, str] = {}
    for id_ in listed.split(",") if listed else ():
        group, value = attributes.get(int(id_), (0, None))
        if value is not None:
            options.setdefault(names.group(group), value)
    return _sellable(f"v{number}", sku, barcode, prices, tiers=tiers, weight=weight, options=tuple(options.items()))


def _sellable(
    number: str,
    sku: str,
    barcode: str | None,
    prices: Sequence[str | None],
    *,
    tiers: str | None,
    weight: Decimal | None,
    options: tuple[tuple[str, str], ...],
) -> OfferVariant:
    cost, list_price, recommended = [None if price is None else Money(Decimal(price), CURRENCY) for price in prices]
    known = kept.tiers(tiers)
    return OfferVariant(
        id=number,
        order_ref=sku,
        sku=sku,
        barcode=barcode,
        options=options,
        cost=cost,
        list_price=list_price,
        recommended_price=recommended,
        stock=None if known is None else sum([tier.quantity for tier in known]),
        tiers=known or (),
        weight_grams=_grams(weight),
    )


def _unreadable(record: Mapping[str, Any], code: str, named_by: str = "id", mark: str = "") -> Problem:
    number = id_of(record.get(named_by))
    sku = text_of(record.get("sku")) or "An item"
    return Problem(None if number is None else f"{mark}{number}", code, f"{sku[:100]} could not be read.")


def _money(value: object) -> Money | None:
    amount = positive(value)
    return None if amount is None else Money(amount, CURRENCY)


def _grams(kilograms: Decimal | None) -> int | None:
    if kilograms is None or not 0 < kilograms < 100_000:
        return None
    return max(1, round(kilograms * 1000))


def _query(connection: Connection, root: int, *, translated: bool = False) -> dict[str, str]:
    query = {"parentTaxonomy": str(root), "pageSize": "0"}  # 0: all of them
    return {**query, "isoCode": _language(connection)} if translated else query


def _language(connection: Connection) -> str:
    language = connection.language[:2].lower()
    return language if language in LANGUAGES else "en"


def _all_or_nothing(only: Sequence[str] | None) -> None:
    if only is not None:
        raise NotOffered("BigBuy's lists come whole.")


def _cursor(done: Sequence[int]) -> str:
    return json.dumps(list(done))


def _done(cursor: str | None) -> list[int]:
    """The categories a cursor says are done. Raises ValueError."""
    found = json.loads(cursor) if cursor else []
    if not isinstance(found, list) or not all(isinstance(one, int) for one in found):
        raise ValueError("not a cursor of BigBuy's walks")
    return found
