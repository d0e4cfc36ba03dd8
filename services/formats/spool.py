"""Plain values on disk for the time between two readings of a file, so that it need not be parsed twice."""

import marshal
import struct
import tempfile
import weakref
from collections.abc import Iterator
from typing import Any

_LENGTH = struct.Struct("<L")
_IN_MEMORY = 256 * 1024  # bytes
LARGEST = 1024**3  # bytes: names that repeat make some files grow


class Spool:
    """Values that are written once and then read as often as wanted. The file goes when nobody holds it any more."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115  it is closed below
        weakref.finalize(self, self._file.close)
        self._bytes = self._read = 0
        self._turn: object = None  # of the reader that read last: where the file stands is its place

    def add(self, value: Any) -> bool:
        """Keep one more: texts, numbers, None, and lists, tuples and dicts of them. False when it has no room."""
        packed = marshal.dumps(value)
        self._bytes += len(packed) + _LENGTH.size
        if self._bytes > LARGEST:
            return False
        self._file.write(_LENGTH.pack(len(packed)))
        self._file.write(packed)
        return True

    def done(self) -> float:
        """How much of it has been read, from 0 to 1."""
        return self._read / self._bytes if self._bytes else 1.0

    def __iter__(self) -> Iterator[Any]:
        """All of them, from the first. A reader that has begun goes on where it was, whoever else reads."""
        file, at, turn = self._file, 0, object()
        while True:
            if self._turn is not turn:
                file.seek(at)
                self._turn = turn
            length = file.read(_LENGTH.size)
            if not length:
                return
            packed = file.read(_LENGTH.unpack(length)[0])
            self._read = at = at + len(length) + len(packed)
            yield marshal.loads(packed)  # noqa: S302  we wrote it
