"""What the beginning of a file, and the end of an archive, already give away.

A file is refused where it is handed in, if it can be, and not minutes later by the job that reads it. Looking costs a
few megabytes at most, whatever the file says of itself.
"""

import io
import zlib
from typing import BinaryIO

from services.formats import delimited, markup, packed, read, sheets, sniff
from services.formats.base import FeedRefused

HEAD = 8192  # bytes that tell the kind of a file
_WHOLE = 64 * 1024  # bytes of a workbook that is read at once: unpacked, they are 32 MB at most
# What stands further on may still tell the encoding, or that there are products at all.
_UNSURE = ("undecodable", "no_records")
# A mapping may name the columns of what is no table of products by itself.
MAPPABLE = ("no_product_columns", "no_records", "not_delimited")


def refuse_early(stream: BinaryIO) -> None:
    """Raise FeedRefused if it is certain that the reader of this seekable file would, were it given no mapping.

    The stream is left at its beginning.
    """
    try:
        _look(stream)
    finally:
        stream.seek(0)


def _look(stream: BinaryIO) -> None:
    stream.seek(0)
    head = stream.read(sniff.SAMPLE)
    complete = not stream.read(1)
    found = read.kind(head[:HEAD])
    if found == "ole":
        read.refuse_ole(stream)
        if complete and len(head) <= _WHOLE:
            read.read(stream)
    elif found == "gzip":
        _look_into(_gzip_head(stream))
    elif found == "zip":
        _look_into_zip(stream, len(head) if complete else _WHOLE + 1)
    else:
        _look_at_text(head, found, complete=complete)


def _look_at_text(head: bytes, kind: str, *, complete: bool) -> None:
    if kind == "xml" and not complete:
        markup.refuse_head(head)
    elif kind == "xml" or (kind == "json" and complete):
        read.read(io.BytesIO(head))
    elif kind == "text":
        try:
            delimited.read(io.BytesIO(head))
        except FeedRefused as refused:
            if complete or refused.code not in _UNSURE:
                raise


def _look_into(head: bytes | None) -> None:
    """Look at the beginning of what an archive holds. None: that is too short to be judged."""
    if head is not None:
        found = read.kind(head[:HEAD])
        if found == "gzip":
            raise read.nested()
        if found not in ("zip", "ole"):  # a workbook may be packed once more
            _look_at_text(head, found, complete=False)


def _gzip_head(stream: BinaryIO) -> bytes | None:
    stream.seek(0)
    engine, head = zlib.decompressobj(31), b""
    try:
        while len(head) < sniff.SAMPLE and (chunk := stream.read(64 * 1024)):
            head += engine.decompress(chunk, sniff.SAMPLE - len(head))
    except zlib.error as error:
        raise packed.refused("archive_broken", f"The archive is damaged or not complete: {error}.") from None
    if not head and not engine.eof:
        raise packed.refused("archive_broken", "The archive is damaged or not complete.")
    return head if len(head) == sniff.SAMPLE else None


def _look_into_zip(stream: BinaryIO, size: int) -> None:
    opened = packed.directory(stream)
    workbook = read.workbook_kind(opened)
    inside = [] if workbook else packed.members(opened)
    if workbook:
        if size <= _WHOLE:
            sheets.read(stream, workbook, opened)
    elif size <= _WHOLE and sum(info.file_size for info in inside) <= sniff.SAMPLE:
        read.read(stream)
    else:
        read.refuse_members(inside)
        if len(inside) == 1:
            with opened.open(inside[0]) as member:
                try:
                    head = member.read(sniff.SAMPLE)
                except packed.BROKEN as error:
                    raise packed.refused("archive_broken", f"The archive is damaged: {error}.") from None
            _look_into(head if len(head) == sniff.SAMPLE else None)
