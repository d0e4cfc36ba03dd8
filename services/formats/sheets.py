"""Spreadsheets (XLSX, XLS, ODS): the sheet that holds products, as a table like any other.

Formulas are read as the values they last had. A number is a number, not a text that looks like one: 10102.0 is the
article 10102, and 1.234 is never a thousand. Between the products may stand rows that name a category.
"""

import dataclasses
import datetime
import zipfile
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, BinaryIO, NamedTuple

from services.formats import exported, generic, headers, shopify, table, trees, woocommerce, workbooks
from services.formats.base import FeedRefused, Reading
from services.formats.mapping import Mapping, MappingInvalid
from services.formats.numbers import word_set

_LOOKED_AT = 60  # rows in which the header stands
_SECTION = "Category (rows between the products)"
_NAMES_PRODUCT = word_set("title sku id mpn")
_MONEY = word_set("price sale compare_at_price cost")

_FORMATS = (
    *exported.FORMATS,
    (shopify.FORMAT, shopify.recognises, shopify.mapper),
    (woocommerce.FORMAT, woocommerce.recognises, woocommerce.mapper),
    (generic.FORMAT, lambda _: True, generic.mapper),
)


class _Found(NamedTuple):
    """A sheet and where its table begins."""

    known: int  # fields its header names
    sheet: Any
    spelled: dict[str, str]  # header as the mappers read it → as the sheet spells it
    first: int  # index of the row behind the header


def read(
    stream: BinaryIO,
    kind: str,
    opened: zipfile.ZipFile | None,
    *,
    default_currency: str | None = None,
    mapping: Mapping | None = None,
) -> Reading:
    """Read a workbook; ``kind`` is xlsx, ods or xls, and the first two are zip archives, ``opened``.

    The workbook is held in memory while it is read, in a size that is limited beforehand. Raises FeedRefused with the
    code ``password_protected``, ``workbook_broken``, ``expansion_limit``, ``too_large``, ``too_many_columns``,
    ``no_product_columns`` or ``no_records``.
    """
    if opened is not None:
        workbooks.refuse_oversized(stream, opened)
    found = _choose(stream, mapping)
    names = {headers.normal(name) for name in found.spelled}
    formats = _FORMATS[len(exported.FORMATS) :] if mapping and mapping.fields else _FORMATS
    form, _, columns = next(one for one in formats if one[1](names))
    sample = [row for _, row in islice(_rows(found), trees.SAMPLE)]
    sections = _Sections(found, sample)

    def rows() -> Iterator[trees.Line]:
        return sections.apply(_rows(found))

    reading = trees.of_rows(
        rows,
        [row for _, row, _ in islice(rows(), trees.SAMPLE)],
        form=f"{form.removesuffix('_csv')}_{kind}",
        encoding="",
        spelled=found.spelled | sections.column,
        columns=columns,
        default_currency=default_currency,
        mapping=mapping,
    )
    return dataclasses.replace(reading, sheet=found.sheet.name)


def plain_rows(
    stream: BinaryIO, opened: zipfile.ZipFile | None, mapping: Mapping
) -> tuple[list[str], Callable[[], Iterator[tuple[int, list[str]]]]]:
    """The headers of the sheet that has most of the columns a mapping names, and its rows, of whatever they are.

    Raises what `read` does, but for ``no_product_columns``.
    """
    if opened is not None:
        workbooks.refuse_oversized(stream, opened)
    found = _choose(stream, mapping)
    return list(found.spelled.values()), lambda: _rows(found)


def _choose(stream: BinaryIO, mapping: Mapping | None) -> _Found:
    """The visible sheet whose header names the most, and of those the longest."""
    import python_calamine

    stream.seek(0)
    try:
        book = python_calamine.CalamineWorkbook.from_filelike(stream)
        shown = [
            one.name
            for one in book.sheets_metadata
            if one.typ == python_calamine.SheetTypeEnum.WorkSheet
            and one.visible == python_calamine.SheetVisibleEnum.Visible
        ]
        shown = shown or book.sheet_names
        if mapping and mapping.sheet:
            if mapping.sheet not in book.sheet_names:
                raise MappingInvalid(
                    "mapping_column_missing", f"The workbook has no sheet {mapping.sheet!r}, but: {', '.join(shown)}."
                )
            shown = [mapping.sheet]
        tables = [_begin(book.get_sheet_by_name(name), mapping) for name in shown]
    except python_calamine.PasswordError:
        raise protected() from None
    except FeedRefused:
        raise
    except BaseException as error:  # the library panics on some damage, and a panic is no Exception
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise FeedRefused("workbook_broken", f"The workbook cannot be opened: {str(error)[:200]}.") from None
    found = max((one for one in tables if one), key=lambda one: (one.known, one.sheet.height), default=None)
    if found is None:
        raise FeedRefused("no_records", "The workbook is empty.")
    if mapping is None:
        rows = [row[:-1] for _, row in islice(_rows(found), table.SHOWN)]
        seen = [list(found.spelled.values()), *rows]
        trees.refuse_unless_products(found.spelled, "The rows of this workbook", seen)
    return found


def protected() -> FeedRefused:
    """The refusal of a workbook that cannot be opened without a password."""
    return FeedRefused("password_protected", "The workbook is protected by a password. Save it without one.")


def _begin(sheet: Any, mapping: Mapping | None) -> _Found | None:
    """Where the header of a sheet stands: in one row, or in two above each other."""
    top = [[text(cell) for cell in row] for row in islice(sheet.iter_rows(), _LOOKED_AT)]
    if not top:
        return None
    if max(map(len, top)) > table.MOST_COLUMNS:
        raise FeedRefused("too_many_columns", f"A sheet has more than {table.MOST_COLUMNS} columns.")
    if mapping and not mapping.header:
        numbered = [f"Column {number}" for number in range(1, len(top[0]) + 1)]
        return _Found(0, sheet, dict(zip(numbered, numbered, strict=True)), 0)
    wanted = frozenset(map(headers.normal, mapping.named())) if mapping else frozenset()
    best: tuple[tuple[int, int], int, list[str], list[str]] = ((-1, 0), 0, [], [])
    for index, row in enumerate(top):
        if not any(row):
            continue
        choices = [(index + 1, [_one_name(cell) for cell in row], row)]
        below = top[index + 1] if index + 1 < len(top) else []
        if any(below) and not any(cell and cell[0].isdigit() for cell in (*row, *below)):
            pairs = list(zip(row, _spread(row), below, strict=True))
            both = [f"{upper} {lower}" for upper, _, lower in pairs]
            choices.append((index + 2, [_of_two(*pair) for pair in pairs], both))
        for first, names, whole in choices:
            known = len({said.field for said in headers.meanings(names) if said})
            known += 100 * len(wanted.intersection(map(headers.normal, whole)))
            if (known, index - first) > best[0]:  # two rows only where they say more than one
                best = (known, index - first), first, names, whole
    (known, _), first, names, whole = best
    if known < 2:  # one word may stand anywhere
        first = next(index for index, row in enumerate(top) if any(row)) + 1
        names = whole = top[first - 1]
    spelled: dict[str, str] = {}
    for index, (name, cell) in enumerate(zip(names, whole, strict=True)):
        spelled[name if name and name not in spelled else f"\n{index}"] = cell.strip()
    return _Found(known, sheet, spelled, first)


def _spread(row: list[str]) -> list[str]:
    """Cells that were merged over several columns hold their text in the first."""
    filled, above = [], ""
    for cell in row:
        above = cell or above
        filled.append(above)
    return filled


def _one_name(cell: str) -> str:
    """The name in a header that lists several things (``Group/ Product/ Kind``) or a path (``Product.Number``)."""
    cell = cell.strip()
    if headers.meaning(cell) is None:
        parts = cell.split("/") if "/" in cell else [cell.rpartition(".")[2]]
        return next((part.strip() for part in parts if headers.meaning(part)), cell)
    return cell


def _of_two(upper: str, spread: str, lower: str) -> str:
    """The name of a column whose header stands in two rows."""
    both = f"{spread} {lower}"
    if lower.strip() and headers.meaning(both):
        return both
    for name in (lower, upper):
        if name.strip() and headers.meaning(_one_name(name)):
            return _one_name(name)
    return f"{upper} {lower}".strip()


def _rows(found: _Found) -> Iterator[tuple[int, list[str]]]:
    """The rows behind the header, numbered as the spreadsheet shows them; blank ones left out."""
    number = (found.sheet.start or (0, 0))[0] + found.first
    header = list(found.spelled.values())
    for row in islice(found.sheet.iter_rows(), found.first, None):
        number += 1
        cells = [cell if cell.__class__ is str else text(cell) for cell in row]
        if any(cells) and [cell.strip() for cell in cells] != header:  # some repeat it on every page
            cells.append("")
            yield number, cells


def text(cell: Any) -> str:
    """A cell as the text a person would have typed, so that it can be read in one way only."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float | int):
        if cell == int(cell) and abs(cell) < 1e15:
            return str(int(cell))
        if abs(cell) >= 1e15:
            return f"{cell:.14E}"  # a number this long was rounded: it is reported where it matters
        plain = f"{cell:.15g}"
        whole, _, part = plain.partition(".")
        return f"{plain}0" if len(part) == 3 and len(whole.lstrip("-")) < 4 else plain
    if isinstance(cell, datetime.datetime):
        return cell.date().isoformat() if cell.time() == datetime.time() else cell.isoformat(" ")
    return str(cell)


class _Sections:
    """Rows that stand above the products they head: a name, perhaps its number, and nothing else.

    A row with a name alone may also be a product without a price. It is a heading where at least half of the rows say
    more, and at least half of those have a price.
    """

    def __init__(self, found: _Found, sample: list[list[str]]) -> None:
        said = headers.meanings(list(found.spelled))
        fields = [one.field if one else None for one in said]
        width = len(fields)
        self._names = [index for index, field in enumerate(fields) if field in _NAMES_PRODUCT]
        self._title = fields.index("title") if "title" in fields else 0
        others = [index for index in range(width) if index not in self._names and index != self._title]
        money = [index for index in others if fields[index] in _MONEY]
        self._others = others
        said_more = [row for row in sample if not self._is_heading(row)]
        priced = sum(any(row[index].strip() for index in money) for row in said_more)
        if not money or priced * 2 < len(said_more) or len(said_more) * 2 < len(sample):
            self._others = []
        any_heading = any(self._is_heading(row) for row in sample)
        known = "category" in fields
        self.column = {_SECTION: _SECTION} if any_heading and not known and _SECTION not in found.spelled else {}

    def _is_heading(self, row: list[str]) -> bool:
        return (
            bool(self._others)
            and bool(row[self._title].strip())
            and not any(row[index].strip() for index in self._others)
        )

    def apply(self, rows: Iterable[tuple[int, list[str]]]) -> Iterator[trees.Line]:
        """The products, each with the headings above it as a further cell."""
        path: list[tuple[int, str]] = []
        for number, row in rows:
            if self._is_heading(row):
                self._enter(path, row[self._title])
                continue
            if self.column:
                row.insert(-1, " > ".join(name for _, name in path))
            yield number, row, None

    @staticmethod
    def _enter(path: list[tuple[int, str]], cell: str) -> None:
        """Headings are indented by their depth. One that is not, below some that are, is the lowest of them."""
        name = cell.strip()
        depth = len(cell) - len(cell.lstrip())
        indented = any(0 < one < 10**6 for one, _ in path)
        if depth == 0 and indented:
            depth = 10**6
        while path and path[-1][0] >= depth:
            path.pop()
        path.append((depth, name))
