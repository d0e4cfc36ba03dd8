"""Feeds that are trees (XML, JSON): their records become rows of a table, and the mappers of tables read those.

A dialect says how one record is laid out as cells; what the cells mean, how numbers are written and what is wrong with
them is decided in one place for every kind of feed. A file is read twice: once to its end, so that a file which breaks
off in the middle is refused before anything of it was used, and a second time for the drafts.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

from services.formats import cells, generic, headers, links, table
from services.formats.base import Draft, FeedRefused, Reading, RowError
from services.formats.mapping import Mapping, applied
from services.formats.numbers import word_set
from services.formats.spool import Spool

SAMPLE = 1000  # rows that number habits are learned from
LARGEST = 3 * 1024 * 1024  # bytes from one record to the next; read, they are up to fifty times as large
LONGEST = 1_000_000  # characters of one cell

_NO_PRICE = "The feed gives no price for this product: what was known stays."

LookUp = Callable[[str], str | None]
# One row of a record: header → cell, and the variant's key where the feed has one of its own (None: the mapper's).
Row = tuple[dict[str, str], str | None]
# The same as a line of a table: number in the file, cells, the variant's key.
Line = tuple[int, list[str], str | None]
Columns = table.Columns


class Known(NamedTuple):
    """What the first reading of a file has taught: its columns, and how a record becomes rows."""

    headers: dict[str, str]  # header as the mapper knows it → as the feed spells it
    sample: list[dict[str, str]]
    rows: Callable[[Any], Iterable[Row]]
    columns: Columns
    values: Spool | None = None  # what to make rows of, where that is not the file's records once more


class Dialect(NamedTuple):
    """One way to write products as a tree. ``learn`` reads all records once."""

    format: str
    learn: Callable[[Iterable[Any], Mapping | None], Known]
    priced: bool = False  # the format demands a price: one that is missing is reported


def fixed(
    names: dict[str, str],
    rows: Callable[[Any, LookUp], Iterable[Row]],
    *,
    columns: Columns = generic.mapper,
    says: Callable[[Any], Iterable[tuple[str, str]]] | None = None,
) -> Callable[[Iterable[Any], Mapping | None], Known]:
    """The ``learn`` of a dialect whose columns are known beforehand.

    ``says`` gives what a record tells about others (key → value), such as a category its name; ``rows`` may ask for
    it, wherever in the file it stood.
    """

    def learn(found: Iterable[Any], _: Mapping | None) -> Known:
        sample: list[dict[str, str]] = []

        def told() -> Iterator[tuple[str, str]]:
            for record in found:
                if says:
                    yield from says(record)
                if len(sample) < SAMPLE:
                    sample.extend(row for row, _ in rows(record, _nothing))

        look_up: LookUp = lru_cache(10_000)(links.build(told()))
        return Known(names, sample, lambda record: rows(record, look_up), columns)

    return learn


def _nothing(_: str) -> None:
    return None


def reading(
    dialect: Dialect,
    records: Callable[[], Iterator[Any]],
    *,
    encoding: str,
    default_currency: str | None,
    done: Callable[[], float],
    mapping: Mapping | None = None,
) -> Reading:
    """Read a file through, then read it again for its drafts. ``records`` begins anew each time it is called.

    The line of a draft is the number of its row in the file. Raises FeedRefused, also while the records are read.
    """
    known = dialect.learn(records(), mapping)
    if not known.sample:
        raise FeedRefused("no_records", "The file holds no products.")
    names = list(known.headers)

    def rows() -> Iterator[Line]:
        number = 0
        for record in records() if known.values is None else known.values:
            for row, variant in known.rows(record):
                number += 1
                yield number, [row.get(name, "") for name in names] + [""], variant

    sample = [[row.get(name, "") for name in names] + [""] for row in known.sample]
    return of_rows(
        rows,
        sample,
        form=dialect.format,
        encoding=encoding,
        spelled=known.headers,
        columns=known.columns,
        default_currency=default_currency,
        priced=dialect.priced,
        done=done if known.values is None else known.values.done,
        mapping=mapping,
    )


def of_rows(
    rows: Callable[[], Iterator[Line]],
    sample: list[list[str]],
    *,
    form: str,
    encoding: str,
    spelled: dict[str, str],
    columns: Columns,
    default_currency: str | None,
    priced: bool = False,
    done: Callable[[], float] | None = None,
    mapping: Mapping | None = None,
) -> Reading:
    """Rows whose columns are known (``spelled``: as the mapper knows them → as the file does), as drafts."""
    names = list(spelled)
    opened = table.Table("", names, 1, sample, False, default_currency, lambda: (row for _, row, _ in rows()))
    if mapping:
        columns = applied(columns, mapping, list(spelled.values()))
    used, to_draft, _ = columns(opened)
    filled = {name for row in sample for name, cell in zip(names, row, strict=False) if cell.strip()}
    drafts = _drafts(rows(), to_draft, spelled, priced)
    first = next(drafts, None)
    if first is None:
        raise FeedRefused("no_records", "The file holds no products.")
    used = {spelled.get(name, name): field for name, field in used.items() if name in filled or name not in spelled}
    shown, rows_shown = tuple(spelled.values()), tuple(row[:-1] for row in sample[: table.SHOWN])

    def as_they_stand() -> Iterator[tuple[int, list[str]]]:
        return ((number, row[:-1]) for number, row, _ in rows())

    return Reading(form, encoding, "", used, chain((first,), drafts), done, shown, rows_shown, rows=as_they_stand)


def _drafts(
    rows: Iterator[Line], to_draft: table.Mapper, spelled: dict[str, str], priced: bool
) -> Iterator[Draft | RowError]:
    errors: list[RowError] = []
    for number, row, variant in rows:
        whole = "".join(row)
        if len(whole) > LONGEST and (longest := max(map(len, row))) > LONGEST:
            reason = f"A value has {longest:,} characters; {LONGEST:,} are allowed."
            yield RowError(number, "row_too_large", None, max(row, key=len)[:200], reason)
            continue
        if "\0" in whole:  # such a cell cannot be stored
            row = [cell.replace("\0", "") for cell in row]  # noqa: PLW2901
        draft = to_draft(row, number, errors)
        unpriced = priced and draft is not None and draft.price is None
        if unpriced and not any(error.code.startswith("price_") for error in errors):
            errors.append(cells.problem(number, "price_missing", None, row[0], _NO_PRICE))
        if errors:
            for error in errors:
                yield error._replace(column=spelled.get(error.column, error.column)) if error.column else error
            errors.clear()
        if draft is not None:
            if variant is not None and draft.variant_key is not None:
                draft = draft._replace(variant_key=variant)
            yield draft


# A table of products says more of them than their number, name and picture: a list of brands has those too.
_OF_PRODUCTS = word_set(
    "sku barcode price sale compare_at_price cost stock availability description more_images brand weight"
)


def refuse_unless_products(
    names: Iterable[str], what: str, seen: list[list[str]] | None = None, alike: Collection[str] = ()
) -> None:
    """Raise FeedRefused ``no_product_columns`` unless these names are those of a list of products.

    ``seen`` are the first rows, with the names, as whoever makes a mapping is to see them. Names in ``alike`` speak of
    a number that is the same in all records: that makes no product of them.
    """
    given = list(names)
    fields = {found.field for found in headers.meanings(given) if found}
    telling = {found.field for found in headers.meanings([name for name in given if name not in alike]) if found}
    orders = headers.order_headers(given)
    if orders:
        raise FeedRefused("no_product_columns", f"This looks like a list of orders (columns: {', '.join(orders)}).")
    if not fields & table.IDENTIFYING or not telling & _OF_PRODUCTS or len(fields) < 2:
        shown = ", ".join(name[:40] for name in given[:20])
        reason = f"{what} do not look like products. They have: {shown or 'nothing'}."
        raise FeedRefused("no_product_columns", reason, seen=seen)
