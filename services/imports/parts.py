"""A large file in two parts that two processes read at once, as one would have read it.

Where a record begins can only be known by whoever has read all before it, because quotes may be broken. So the place
in the middle is a guess, and the two find out whether it was right. The first part ends with the run of records that
holds the place: the first run that begins behind it is the second's. The second reads from the place and leaves out
all before the second run that it meets. Records mean the same to both from there on, and had done so for the first,
if both begin that run on the same line and neither has met damage that makes lines be read again.
"""

import re
from typing import BinaryIO

from services.formats import read, sniff
from services.formats.base import FeedRefused, Place
from services.formats.records import LONGEST
from services.imports.batches import Found

_CHUNK = 1 << 20
_HEAD = 8192
_lone_return = re.compile(rb"\r(?!\n)").search  # it ends a line too
_TRIED = 1000  # lines: the one that does not end within quotes is seldom further
_DISPLACING = {"quote_unterminated", "row_too_large"}  # errors of records that may end elsewhere than they seem to


def middle(stream: BinaryIO, size: int) -> Place | None:
    """A line near the middle of a text of so many bytes before which all quotes are closed, if it looks like that.

    None for what is no text of bytes, and where lines end as nobody counts them. The position of the stream is lost.
    """
    stream.seek(0)
    if not _is_text(stream.read(_HEAD)):
        return None
    stream.seek(0)
    lines = quotes = 0
    left = size // 2
    tried = 0
    while tried < _TRIED:
        chunk = stream.read(min(_CHUNK, left)) if left > 0 else stream.readline(LONGEST)
        if left > 0:
            left -= len(chunk)
            if chunk[-1:] == b"\r":
                chunk += stream.read(1)
        elif chunk[-1:] == b"\n":
            tried += 1
        else:  # the end, or a line without one
            return None
        if not chunk or _lone_return(chunk):
            return None
        lines += _count(b"\n", chunk)
        quotes += _count(b'"', chunk)
        if tried and quotes % 2 == 0:
            return Place(stream.tell(), lines + 1)
    return None


def _count(sign: bytes, chunk: bytes) -> int:
    return len(chunk) - len(chunk.replace(sign, b""))  # for one sign this is faster than counting


def fit(first: Found, second: Found) -> bool:
    """Whether two parts that have been read are the whole file, as one reader would have read it."""
    return first.edge == second.edge and (first.edge is None or not _DISPLACING & first.tally.codes.keys())


def join(first: Found, second: Found) -> None:
    """Add to what the first part has found what the second has."""
    first.marks += second.marks
    first.tally.extend(second.tally)


def _is_text(head: bytes) -> bool:
    try:
        return read.kind(head) == "text" and sniff.wide_encoding(head) is None
    except FeedRefused:
        return False
