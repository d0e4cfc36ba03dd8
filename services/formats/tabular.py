"""Any table, whatever it is about: delimited text or a workbook, packed or not, record by record.

The readers of products stand on the same machinery; this one asks only that there is a table, and leaves what its
columns mean to the caller.
"""

import contextlib
import io
import zipfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import IO, BinaryIO

from services.formats import packed, read, records, sheets, sniff, table
from services.formats.base import FeedRefused, RowError
from services.formats.mapping import Mapping, Rule

_HEAD = 8192
Record = tuple[int, list[str]]


@dataclass(frozen=True, slots=True)
class Records:
    """A table being read: its records in file order, a one-shot stream, each with its line and a cell per header."""

    format: str  # csv | xlsx | ods | xls
    encoding: str  # "" for a workbook
    delimiter: str
    headers: tuple[str, ...]  # as spelled
    sample: tuple[list[str], ...]  # cells of the first records
    records: Iterator[Record | RowError]
    done: Callable[[], float] | None = None


@contextlib.contextmanager
def opened(
    stream: BinaryIO, *, named: Collection[str], header: bool = True, sheet: str | None = None
) -> Iterator[Records]:
    """The table in a seekable stream, for as long as the block runs. Each record ends with one cell more, empty.

    `named` are headers it may have, by which the header row is found; without a `header` the columns are called
    "Column 1" … Raises FeedRefused with the codes of services/formats/read.py, and ``not_a_table`` for XML and JSON.
    """
    stream.seek(0)
    found = read.kind(stream.read(_HEAD))
    wanted = Mapping({"sku": Rule(tuple(named))}, header=header, sheet=sheet)
    with contextlib.ExitStack() as kept:
        outer = found
        if found == "gzip":
            stream = kept.enter_context(_unpacked(packed.gunzip(stream)))
            found = read.kind(stream.read(_HEAD))
        if found == "zip":
            directory = packed.directory(stream)
            kind = read.workbook_kind(directory)
            if kind is not None:
                yield _workbook(stream, kind, wanted, directory)
                return
            if outer != "zip":
                raise read.nested()
            stream = kept.enter_context(_only_member(directory))
            found = read.kind(stream.read(_HEAD))
        if found == "ole":
            read.refuse_ole(stream)
            yield _workbook(stream, "xls", wanted, None)
            return
        if found in ("gzip", "zip"):
            raise read.nested()
        if found != "text":
            raise FeedRefused("not_a_table", f"This is {found.upper()}, not a table: send CSV, TSV or a workbook.")
        yield _text(stream, named=named, header=header)


@contextlib.contextmanager
def _unpacked(kept: IO[bytes]) -> Iterator[BinaryIO]:
    try:
        yield kept  # type: ignore[misc]  # a stream of bytes either way
    finally:
        kept.close()


def _only_member(directory: zipfile.ZipFile) -> contextlib.AbstractContextManager[BinaryIO]:
    inside = packed.members(directory)
    read.refuse_members(inside)
    if len(inside) > 1:
        shown = ", ".join(info.filename for info in inside[:5])
        raise FeedRefused("archive_ambiguous", f"The archive holds several files: {shown}. Pack one of them.")
    return _unpacked(packed.unzip(directory, inside[0]))


def _text(stream: BinaryIO, *, named: Collection[str], header: bool) -> Records:
    encoding, clean = sniff.encoding(stream)

    def from_line(delimiter: str, first_line: int, width: int, trims: bool) -> Iterator[Record | RowError]:
        stream.seek(0)
        text = io.TextIOWrapper(stream, encoding, errors="replace", newline=None)
        try:
            for _ in range(first_line - 1):
                text.readline(records.LONGEST)
            found = records.records(text, delimiter=delimiter, width=width, line=first_line, trims=trims, clean=clean)
            yield from (item if isinstance(item, RowError) else item[:2] for item in found)
        finally:
            with contextlib.suppress(ValueError):  # its owner has closed it already
                text.detach()

    found = table.find(sniff.sample(stream, encoding), None, lambda *_: iter(()), named=named, headless=not header)
    return Records(
        "csv",
        encoding,
        found.delimiter,
        tuple(found.headers),
        tuple(row[:-1] for row in found.sample[: table.SHOWN]),
        from_line(found.delimiter, found.first_line, len(found.headers), found.trims),
        packed.done_of(stream),
    )


def _workbook(stream: BinaryIO, kind: str, mapping: Mapping, directory: zipfile.ZipFile | None) -> Records:
    names, rows = sheets.plain_rows(stream, directory, mapping)
    width = len(names)

    def fitted() -> Iterator[Record | RowError]:
        for line, cells in rows():
            yield line, (cells + [""] * (width + 1))[: width + 1]

    sample = [row[:width] for _, row in islice(rows(), table.SHOWN)]
    return Records(kind, "", "", tuple(names), tuple(sample), fitted())
