"""Spreadsheets (XLSX, XLS, ODS): the sheet that holds products, as a table like any other.

Formulas are read as the values they last had. A number is a number, not a text that looks like one: 10102.0 is the
article 10102, and 1.234 is never a thousand. Between the products may stand rows that name a category.
"""

import dataclasses
import datetime
import zipfile
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, BinaryIO, NamedTuple

from services.formats import exported, generic, headers, shopify, table, trees, woocommerce, workbooks
from services.formats.base import FeedRefused, Reading
from services.formats.mapping import Mapping, MappingInvalid
from services.formats.sections import Sections
from services.formats.woocommerce_headers import in_english

_LOOKED_AT = 60  # rows in which the header stands

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
    sample = [row for _, row in islice(_rows(found), trees.SAMPLE)]
    names = {headers.normal(name) for name in in_english(list(found.spelled), sample)}
    formats = _FORMATS[len(exported.FORMATS) :] if mapping and mapping.fields else _FORMATS
    form, _, columns = next(one for one in formats if one[1](names))
    sections = Sections(list(found.spelled), sample)

    def rows() -> Iterator[trees.Line]:
        return ((number, row, None) for number, row in sections.apply(_rows(found)))

    reading = trees.of_rows(
        rows,
        [row for _, row, _ in islice(rows(), trees.SAMPLE)],
        form=f"{form.removesuffix('_csv')}_{kind}",
        encoding="",
        spelled=found.spelled | {name: name for name in sections.column},
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
        choices = [(index + 1, [headers.one_name(cell) for cell in row], row)]
        below = top[index + 1] if index + 1 < len(top) else []
        names = headers.in_two_rows(row, below)
        if names:
            both = [f"{upper} {lower}" for upper, lower in zip(row, below, strict=True)]
            choices.append((index + 2, names, both))
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


def _rows(found: _Found) -> Iterator[tuple[int, list[str]]]:
    """The rows behind the header, numbered as the spreadsheet shows them; blank ones left out.

    What stands in cells that were merged downwards stands in each of their rows.
    """
    header = list(found.spelled.values())
    merged = _merged(found)
    held: dict[int, tuple[str, int]] = {}  # column → what its merged cells hold, and their last row
    for index, row in enumerate(islice(found.sheet.iter_rows(), found.first, None), found.first):
        cells = [cell if cell.__class__ is str else text(cell) for cell in row]
        for column, last in merged.get(index, ()):
            held[column] = cells[column], last
        if any(cells) and [cell.strip() for cell in cells] != header:  # some repeat it on every page
            for column, (cell, last) in held.items():
                if index <= last:
                    cells[column] = cells[column] or cell
            cells.append("")
            yield index + 1, cells


def _merged(found: _Found) -> dict[int, list[tuple[int, int]]]:
    """First row → column and last row, of cells below the header that were merged over several rows."""
    left = (found.sheet.start or (0, 0))[1]
    merged: dict[int, list[tuple[int, int]]] = {}
    for (top, column), (bottom, _) in found.sheet.merged_cell_ranges or ():
        if bottom > top >= found.first and 0 <= column - left < len(found.spelled):
            merged.setdefault(top, []).append((column - left, bottom))
    return merged


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
