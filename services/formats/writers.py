"""Products into files, one after the other: CSV, XLSX, JSON and NDJSON, in memory that does not grow with the file."""

import csv
import io
import json
import re
from decimal import Decimal
from typing import Any, BinaryIO, Protocol

from services.core.errors import Invalid
from services.formats.formulas import harmless
from services.formats.layouts import PLAIN, SHOPIFY, Layout, Row, WrittenProduct
from services.formats.woocommerce_layout import WOOCOMMERCE

LAYOUTS = {"plain": PLAIN, "shopify": SHOPIFY, "woocommerce": WOOCOMMERCE}


class TooManyRows(Invalid):
    """A spreadsheet has at most 1,048,576 rows, and 2 GB: export these products as CSV."""


class Writer(Protocol):
    """A file being written. `rows` are those written so far, without a header."""

    rows: int
    left_out: int  # cells that the format cannot hold

    def write(self, product: Any) -> None:
        """Add a product: a `WrittenProduct` for a table, for JSON what is to stand in the file. Raises TooManyRows."""
        ...

    def close(self) -> None:
        """Write what is left. The stream stays open."""
        ...


class CsvWriter:
    """RFC 4180 in UTF-8, without cells that a spreadsheet would run."""

    left_out = 0

    def __init__(self, file: BinaryIO, layout: Layout) -> None:
        self.rows = 0
        self._layout, self._products = layout, 0
        self._text = io.TextIOWrapper(file, "utf-8", newline="")
        if layout.byte_order_mark:
            self._text.write("\ufeff")
        self._minimal = csv.writer(self._text).writerow
        self._quoted = csv.writer(self._text, quoting=csv.QUOTE_ALL).writerow
        self._minimal(layout.header)

    def write(self, product: WrittenProduct) -> None:
        """See `Writer`. Readers skip blanks before a cell that is not quoted."""
        self._products += 1
        for row in self._layout.rows(product, self._products):
            cells = [harmless(cell) if cell else "" for cell in row]
            (self._quoted if any(cell[:1] == " " for cell in cells) else self._minimal)(cells)
            self.rows += 1

    def close(self) -> None:
        """See `Writer`."""
        self._text.detach()


class JsonWriter:
    """An array of objects, or one object a line."""

    left_out = 0

    def __init__(self, file: BinaryIO, *, lines: bool) -> None:
        self.rows = 0
        self._file, self._lines = file, lines
        self._encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

    def write(self, product: dict[str, Any]) -> None:
        """See `Writer`."""
        before, after = ("", "\n") if self._lines else (",\n" if self.rows else "[\n", "")
        self._file.write(f"{before}{self._encode(product)}{after}".encode())
        self.rows += 1

    def close(self) -> None:
        """See `Writer`."""
        if not self._lines:
            self._file.write(b"\n]\n" if self.rows else b"[]\n")


# -- XLSX -----------------------------------------------------------------------------------------------------------

_MOST_ROWS = 1_048_576
_MOST_BYTES = 1_000_000_000  # of texts; a part of the archive beyond 2 GiB not every program can open
_LONGEST_CELL = 32_767  # UTF-16 units
# A number that the sheet's own (binary) numbers hold exactly, written as programs write it. Others stay text.
_IS_EXACT = re.compile(r"(?=[\d.]{1,15}$)(?:0|[1-9]\d*|0\.\d{0,3}[1-9]\d*0*|[1-9]\d*\.\d+|0\.0+)").fullmatch
# What XML cannot hold is written _xHHHH_, and so is the beginning of what only looks like that.
_ESCAPED = re.compile(r"[\x00-\x08\x0b-\x1f]|_(?=x[0-9A-Fa-f]{4}_)")
_UNSAYABLE = re.compile("[\ufffe\uffff]").search  # not even so: no characters, says Unicode


class XlsxWriter:
    """A workbook with one sheet. Every text is a text cell, never a formula, and harmless if it is saved as CSV."""

    def __init__(self, file: BinaryIO, layout: Layout) -> None:
        from openpyxl import Workbook
        from openpyxl.cell import WriteOnlyCell

        self._new_cell = WriteOnlyCell
        self.rows = self.left_out = self._bytes = self._products = 0
        self._file = file
        self._layout = layout
        self._numeric = [name in layout.numbers for name in layout.header]
        self._book = Workbook(write_only=True)
        self._sheet = self._book.create_sheet("Products")
        self._sheet.freeze_panes = "A2"
        self._add(layout.header)

    def write(self, product: WrittenProduct) -> None:
        """See `Writer`."""
        self._products += 1
        for row in self._layout.rows(product, self._products):
            self.rows += 1
            if self.rows + 1 > _MOST_ROWS:
                raise TooManyRows
            self._add(row)

    def close(self) -> None:
        """See `Writer`."""
        self._book.save(self._file)

    def _add(self, row: Row) -> None:
        self._sheet.append([self._cell(text, numeric) for text, numeric in zip(row, self._numeric, strict=True)])
        if self._bytes > _MOST_BYTES:
            raise TooManyRows

    def _cell(self, given: str | None, numeric: bool) -> Any:
        if not given:
            return None
        self._bytes += len(given)
        if numeric and _IS_EXACT(given):
            return Decimal(given)
        text = _ESCAPED.sub(_as_code, harmless(given))
        if not _fits(text):
            self.left_out += 1
            return None
        cell = self._new_cell(self._sheet, text)
        cell.data_type = "s"  # also what reads like a formula or an error
        cell.number_format = "@"  # text, whatever is typed into it: 0042 stays 0042
        return cell


def _fits(text: str) -> bool:
    if len(text) * 2 > _LONGEST_CELL and len(text.encode("utf-16-le")) > 2 * _LONGEST_CELL:
        return False
    return text.isascii() or not _UNSAYABLE(text)


def _as_code(found: re.Match[str]) -> str:
    return f"_x{ord(found[0]):04X}_"


def open_writer(file: BinaryIO, format: str, columns: str | None) -> Writer:
    """A writer of csv or xlsx in the columns of a layout, or of json or ndjson."""
    if format == "csv":
        return CsvWriter(file, LAYOUTS[columns or "plain"])
    if format == "xlsx":
        return XlsxWriter(file, LAYOUTS[columns or "plain"])
    return JsonWriter(file, lines=format == "ndjson")
