"""What is looked at before a spreadsheet is given to the library that reads it.

The library builds the full rectangle of a sheet's cells in memory and gives every cell its own text: one cell in the
last row and column, or a long text that a million cells refer to, would take the machine with it. Both can be told from
the packed XML, which has to be measured anyway.
"""

import zipfile
from array import array
from collections.abc import Iterator
from typing import Any, BinaryIO

from services.formats import packed
from services.formats.base import FeedRefused
from services.formats.flat import local

LARGEST = 256 * 1024**2  # bytes of XML in a workbook
MOST_CELLS = 8_000_000  # of the rectangle around a sheet's cells
_FREE = 32 * 1024**2
_RATIO = 400  # sheets of numbers pack better than feeds do
_MOST_TEXT = 256 * 1024**2  # characters in all cells of a sheet together


def refuse_oversized(stream: BinaryIO, opened: zipfile.ZipFile) -> None:
    """Raise FeedRefused ``expansion_limit``, ``too_large`` or ``workbook_broken`` for a workbook beyond measure."""
    from lxml import etree

    total, size = 0, packed.size_of(stream)

    def counted(info: zipfile.ZipInfo) -> Iterator[bytes]:
        nonlocal total
        for chunk in packed.inflate(stream, info):
            total += len(chunk)
            if total > LARGEST or (total > _FREE and total > size * _RATIO):
                raise FeedRefused("expansion_limit", f"The workbook holds more than {LARGEST // 1024**2} MB.")
            yield chunk

    lengths = array("L")
    sheets: list[tuple[zipfile.ZipInfo, int]] = []
    try:
        for info in opened.infolist():
            cells = _measure(counted(info), lengths)
            if cells:
                sheets.append((info, cells))
        longest = max(lengths, default=0)
        for info, cells in sheets:
            if cells * longest > _MOST_TEXT and _text_of(packed.inflate(stream, info), lengths) > _MOST_TEXT:
                raise _too_large()
    except packed.BROKEN as error:
        raise FeedRefused("workbook_broken", f"The workbook is damaged: {error}.") from None
    except etree.XMLSyntaxError as error:
        raise FeedRefused("workbook_broken", f"The workbook is damaged: {str(error.msg)[:200]}.") from None


def _too_large() -> FeedRefused:
    return FeedRefused("too_large", f"A sheet has more than {MOST_CELLS:,} cells. Save it as CSV.")


def _elements(chunks: Iterator[bytes], tags: tuple[str, ...]) -> Iterator[Any]:
    from lxml import etree

    parser: Any = etree.XMLPullParser(
        events=("end",), tag=tags, resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True
    )
    first = True
    for chunk in chunks:
        if first and not chunk.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"<", b"\xff\xfe", b"\xfe\xff")):
            for _ in chunks:  # a picture, or a part in a format of its own: it only counts
                pass
            return
        first = False
        parser.feed(chunk)
        for _, element in parser.read_events():
            yield element
            element.clear(keep_tail=False)
            parent = element.getparent()
            while parent is not None and element.getprevious() is not None:
                del parent[0]


def _measure(chunks: Iterator[bytes], lengths: "array[int]") -> int:
    """How many cells a part has; the lengths of shared texts are added. Raises FeedRefused ``too_large``."""
    cells = 0
    row = top = 0
    left, right, bottom = 10**9, 0, 0
    for element in _elements(chunks, ("{*}row", "{*}si", "{*}table-row")):
        name = local(element.tag)
        if name == "si":
            lengths.append(sum(map(len, element.itertext())))
        elif name == "row":
            row = max(row + 1, _number(element.get("r")))
            at = [_column(one.get("r")) for one in element]
            if not at:
                continue
            cells += len(at)
            top = top or row
            bottom = row
            left, right = min(left, *at), max(right, len(at), *at)
        else:
            row += _number(element.get("{urn:oasis:names:tc:opendocument:xmlns:table:1.0}number-rows-repeated")) or 1
            width = _ods_width(element)
            if width:
                cells += width
                left, right, bottom = 1, max(right, width), row
        if bottom and (bottom - max(top, 1) + 1) * (right - min(left, right) + 1) > MOST_CELLS:
            raise _too_large()
    return cells


def _ods_width(row: Any) -> int:
    """The number of columns up to the last cell with something in it."""
    width = at = 0
    for cell in row.iter("{*}table-cell", "{*}covered-table-cell"):
        at += _number(cell.get("{urn:oasis:names:tc:opendocument:xmlns:table:1.0}number-columns-repeated")) or 1
        if len(cell):
            width = at
    return width


def _text_of(chunks: Iterator[bytes], lengths: "array[int]") -> int:
    """The characters of all cells of a sheet, as they refer to the shared texts."""
    total = 0
    for row in _elements(chunks, ("{*}row",)):
        for cell in row:
            if cell.get("t") == "s":
                index = _number("".join(cell.itertext()).strip())
                total += lengths[index] if index < len(lengths) else 0
    return total


def _number(text: str | None) -> int:
    return int(text) if text and text.isdigit() and len(text) < 10 else 0


def _column(address: str | None) -> int:
    """``AB12`` is column 28; 0 for a cell without an address."""
    column = 0
    for sign in address or "":
        if not sign.isalpha():
            break
        column = column * 26 + (ord(sign.upper()) - 64)
    return column
