"""What is looked at before a spreadsheet is given to the library that reads it.

The library builds the full rectangle of a sheet's cells in memory and gives every cell its own text: one cell in the
last row and column, or a long text that a million cells refer to, would take the machine with it. Both can be told from
the packed XML, which has to be measured anyway.
"""

import zipfile
from array import array
from collections.abc import Callable, Iterator
from typing import BinaryIO
from xml.parsers import expat

from services.formats import packed
from services.formats.base import FeedRefused

LARGEST = 256 * 1024**2  # bytes of XML in a workbook
MOST_CELLS = 8_000_000  # of the rectangle around a sheet's cells
_FREE = 32 * 1024**2
_RATIO = 400  # sheets of numbers pack better than feeds do
_MOST_TEXT = 256 * 1024**2  # characters in all cells of a sheet together


_DEEPEST = 64  # elements inside each other

Attributes = dict[str, str]


def refuse_oversized(stream: BinaryIO, opened: zipfile.ZipFile) -> None:
    """Raise FeedRefused ``expansion_limit``, ``too_large`` or ``workbook_broken`` for a workbook beyond measure."""
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
            sheet = _Sheet(lengths)
            _parse(counted(info), sheet)
            if sheet.cells:
                sheets.append((info, sheet.cells))
        longest = max(lengths, default=0)
        for info, cells in sheets:
            if cells * longest > _MOST_TEXT:
                texts = _Texts(lengths)
                _parse(packed.inflate(stream, info), texts)
                if texts.total > _MOST_TEXT:
                    raise _too_large()
    except packed.BROKEN as error:
        raise FeedRefused("workbook_broken", f"The workbook is damaged: {error}.") from None
    except expat.ExpatError as error:
        raise FeedRefused("workbook_broken", f"The workbook is damaged: {str(error)[:200]}.") from None


def _too_large() -> FeedRefused:
    return FeedRefused("too_large", f"A sheet has more than {MOST_CELLS:,} cells. Save it as CSV.")


def _parse(chunks: Iterator[bytes], meter: "_Meter") -> None:
    """Show a part of a workbook to a meter; nothing of it is kept."""
    parser = expat.ParserCreate()
    parser.buffer_text = True
    meter.listen = lambda handler: setattr(parser, "CharacterDataHandler", handler)
    parser.StartElementHandler, parser.EndElementHandler = meter.start, meter.end
    parser.EntityDeclHandler = meter.entity
    first = True
    for chunk in chunks:
        if first and not chunk.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"<", b"\xff\xfe", b"\xfe\xff")):
            for _ in chunks:  # a picture, or a part in a format of its own: it only counts
                pass
            return
        first = False
        parser.Parse(chunk, False)
    if not first:
        parser.Parse(b"", True)


class _Meter:
    """What is told about the elements of a part, one after the other."""

    listen: Callable[[Callable[[str], None] | None], None]
    depth = seen = 0

    def start(self, name: str, attributes: Attributes) -> None:
        """An element begins."""
        self.depth += 1
        self.seen += 1
        if self.seen > 3 * MOST_CELLS:
            raise _too_large()
        if self.depth > _DEEPEST:
            raise FeedRefused("workbook_broken", "The workbook is damaged: its XML is nested too deep.")
        self.look(name.rpartition(":")[2], attributes)

    def end(self, _: str) -> None:
        """An element ends."""
        self.depth -= 1

    def entity(self, *_: object) -> None:
        """An entity is declared, which no program does that writes workbooks."""
        raise FeedRefused("xml_entities", "The workbook declares entities of its own. Such files are not read.")

    def look(self, name: str, attributes: Attributes) -> None:
        """The local name of an element that begins."""


class _Sheet(_Meter):
    """The size of the rectangle around a sheet's cells, and the lengths of shared texts."""

    def __init__(self, lengths: "array[int]") -> None:
        self._lengths = lengths
        self.cells = self._row = self._at = self._right = 0

    def look(self, name: str, attributes: Attributes) -> None:
        """Rows and cells, of either kind of workbook."""
        if name == "c":
            self.cells += 1
            self._at = _column(attributes.get("r")) or self._at + 1
            self._cover()
        elif name == "row":
            self._row, self._at = _number(attributes.get("r")) or self._row + 1, 0
        elif name == "si":
            self._lengths.append(0)
            self.listen(self._text)
        elif name == "table-cell":
            self._at += _number(attributes.get("table:number-columns-repeated")) or 1
            if "office:value-type" in attributes:
                self._cover()
        elif name == "table-row":
            self._row, self._at = self._row + (_number(attributes.get("table:number-rows-repeated")) or 1), 0
        elif name == "p" and self._at:
            self._cover()

    def _cover(self) -> None:
        self._right = max(self._right, self._at)
        if self._row * self._right > MOST_CELLS:
            raise _too_large()

    def _text(self, text: str) -> None:
        self._lengths[-1] += len(text)


class _Texts(_Meter):
    """The characters of all cells of a sheet, as they refer to the shared texts."""

    def __init__(self, lengths: "array[int]") -> None:
        self._lengths, self.total = lengths, 0
        self._shared = False

    def look(self, name: str, attributes: Attributes) -> None:
        """Cells that refer to shared texts, and their values."""
        if name == "c":
            self._shared = attributes.get("t") == "s"
        self.listen(self._text if name == "v" and self._shared else None)

    def _text(self, text: str) -> None:
        index = _number(text.strip())
        self.total += self._lengths[index] if index < len(self._lengths) else 0


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
