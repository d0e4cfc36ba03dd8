"""Archives: a gzip file or a zip with a feed in it, unpacked within limits into a file that removes itself.

An archive says how large its content is, but may lie: what counts is what comes out.
"""

import gzip
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, BinaryIO

from services.formats.base import FeedRefused

LARGEST = 1024**3  # bytes that may come out of an archive
_FREE = 64 * 1024**2  # bytes that may come out at any ratio
_RATIO = 200  # bytes for each packed one; feeds reach 10 to 60
_CHUNK = 1024 * 1024
_MOST_MEMBERS = 10_000
_IN_MEMORY = 8 * 1024**2

BROKEN = (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, struct.error, ValueError)


def refused(code: str, reason: str) -> FeedRefused:
    """The refusal of an archive."""
    return FeedRefused(code, reason)


def too_large() -> FeedRefused:
    """The refusal of an archive that holds more than it should."""
    return FeedRefused(
        "expansion_limit",
        f"What comes out of the archive is larger than {LARGEST // 1024**2:,} MB, or {_RATIO} times as large as it is.",
    )


def size_of(stream: BinaryIO) -> int:
    """The length of a stream in bytes. Its position is lost."""
    return stream.seek(0, 2)


def done_of(stream: BinaryIO) -> Callable[[], float]:
    """How far a stream has been read, from 0 to 1. The position of the stream is kept."""
    at = stream.tell()
    size = size_of(stream) or 1
    stream.seek(at)

    def done() -> float:
        try:
            return min(1.0, stream.tell() / size)
        except ValueError:  # it was let go with its last record
            return 1.0

    return done


def keep(chunks: Iterator[bytes], packed: int) -> IO[bytes]:
    """Some bytes as a stream that can be sought. Raises FeedRefused ``expansion_limit`` or ``archive_broken``."""
    kept = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115  it is returned
    total = 0
    try:
        for chunk in chunks:
            total += len(chunk)
            if total > LARGEST or (total > _FREE and total > packed * _RATIO):
                raise too_large()
            kept.write(chunk)
    except BROKEN as error:
        kept.close()
        raise refused("archive_broken", f"The archive is damaged or not complete: {error}.") from None
    except BaseException:
        kept.close()
        raise
    kept.seek(0)
    return kept


def gunzip(stream: BinaryIO) -> IO[bytes]:
    """What a gzip file holds."""
    packed = size_of(stream)
    stream.seek(0)

    def chunks() -> Iterator[bytes]:
        with gzip.GzipFile(fileobj=stream, mode="rb") as opened:
            while chunk := opened.read(_CHUNK):
                yield chunk

    return keep(chunks(), packed)


def directory(stream: BinaryIO) -> zipfile.ZipFile:
    """A zip, opened. Its list of members is not read before it is known to be small."""
    size = size_of(stream)
    stream.seek(max(0, size - 65_557 - 76))
    tail = stream.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        raise refused("archive_broken", "The zip archive has no end: the file is not complete.")
    lengths = [struct.unpack("<L", tail[at + 12 : at + 16])[0]]
    large = tail.rfind(b"PK\x06\x06")
    if 0 <= large <= len(tail) - 56:
        lengths = [value for value in lengths if value != 0xFFFFFFFF]
        lengths.append(struct.unpack("<Q", tail[large + 40 : large + 48])[0])
    if max(lengths) > _MOST_MEMBERS * 200:
        raise refused("archive_too_many", f"The zip archive has more than {_MOST_MEMBERS:,} members.")
    try:
        opened = zipfile.ZipFile(stream)
    except BROKEN as error:
        raise refused("archive_broken", f"The zip archive is damaged: {error}.") from None
    if len(opened.infolist()) > _MOST_MEMBERS:
        raise refused("archive_too_many", f"The zip archive has more than {_MOST_MEMBERS:,} members.")
    if any(info.flag_bits & 1 for info in opened.infolist()):
        raise refused("password_protected", "The zip archive is protected by a password.")
    return opened


def members(opened: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The files in a zip, without what operating systems add to it."""
    return [
        info
        for info in opened.infolist()
        if not info.is_dir()
        and info.file_size
        and not info.filename.startswith("__MACOSX/")
        and not info.filename.rpartition("/")[2].startswith(".")
        and info.filename.rpartition("/")[2].casefold() not in ("thumbs.db", "desktop.ini")
    ]


def unzip(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes]:
    """What one member of a zip holds, however large it says it is."""

    def chunks() -> Iterator[bytes]:
        with opened.open(info) as member:
            while chunk := member.read(_CHUNK):
                yield chunk

    return keep(chunks(), info.compress_size)


def inflate(stream: BinaryIO, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """All that a member really holds, whatever length it declares. Raises what zlib and struct raise."""
    stream.seek(info.header_offset)
    head = stream.read(30)
    name, extra = struct.unpack("<HH", head[26:30])
    stream.seek(info.header_offset + 30 + name + extra)
    left = info.compress_size
    engine = zlib.decompressobj(-15) if info.compress_type == zipfile.ZIP_DEFLATED else None
    while left > 0 and (packed := stream.read(min(left, 64 * 1024))):
        left -= len(packed)
        position = stream.tell()
        if engine is None:
            yield packed
        else:
            while packed:
                chunk = engine.decompress(packed, _CHUNK)
                packed = engine.unconsumed_tail
                yield chunk
        stream.seek(position)
