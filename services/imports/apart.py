"""A large file is read by a process of its own: reading is Python's work, and so is handing rows to the database.

The process is given the open file and how to read it, and writes batches, then what else it found, to its standard
output. It knows nothing of databases, starts in a tenth of a second, and ends when nobody listens any more: killed
anywhere, either of the two leaves nothing behind.
"""

import io
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from typing import Any, BinaryIO

from services.core.errors import Unavailable
from services.formats import packed
from services.formats.base import FeedRefused
from services.imports.batches import Batch, Found, How, batches

LARGE = 8 * 1024**2  # bytes: what is smaller is read before a process has started


class ReaderLost(Unavailable):
    """The process that reads the file has died. The file will be read again from its beginning."""


class ReaderFailed(RuntimeError):
    """The process that reads the file met an error of ours; the message has its traceback."""


class _Own(io.RawIOBase):
    """A file that is open elsewhere too, with a position of its own."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._at = descriptor, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        read = os.preadv(self._descriptor, [buffer], self._at)
        self._at += read
        return read

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = (0, self._at, os.fstat(self._descriptor).st_size)[whence]
        self._at = max(0, start + offset)
        return self._at

    def tell(self) -> int:
        return self._at


def read_apart(stream: BinaryIO, how: How, found: Found) -> Iterator[Batch]:
    """As `batches`, by another process if the file is large. Raises FeedRefused, ReaderLost."""
    if packed.size_of(stream) < LARGE:
        stream.seek(0)
        yield from batches(stream, how, found)
        return
    descriptor = stream.fileno()
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, str(descriptor)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[descriptor],
        start_new_session=True,  # a signal to stop is for the worker, which ends this process when it has to
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018  # they were asked for
    try:
        with process.stdin, process.stdout:
            try:
                pickle.dump((how, found), process.stdin)
                process.stdin.close()
                yield from _heard(process.stdout, found)
            except (EOFError, pickle.UnpicklingError, BrokenPipeError) as error:
                raise ReaderLost(retry_after=1) from error
    finally:
        process.kill()
        process.wait()


def _heard(output: Any, found: Found) -> Iterator[Batch]:
    """What the other process says, up to its end."""
    while True:
        said = pickle.load(output)  # noqa: S301  # our own process
        if isinstance(said, Batch):
            yield said
            continue
        if isinstance(said, Found):
            for each in fields(Found):
                setattr(found, each.name, getattr(said, each.name))
            return
        if isinstance(said, str):
            raise ReaderFailed(said)
        code, reason, seen = said
        raise FeedRefused(code, reason, seen=seen)


def main() -> None:
    """Read the file whose descriptor is the first argument, as standard input says."""
    how, found = pickle.load(sys.stdin.buffer)  # noqa: S301  # from the process that started this one
    output = sys.stdout.buffer
    try:
        try:
            for batch in batches(io.BufferedReader(_Own(int(sys.argv[1])), 1 << 16), how, found):
                pickle.dump(batch, output, pickle.HIGHEST_PROTOCOL)
                output.flush()
            pickle.dump(found, output, pickle.HIGHEST_PROTOCOL)
        except FeedRefused as refused:
            pickle.dump((refused.code, refused.reason, refused.seen), output)
        except BrokenPipeError:
            raise
        except Exception:
            import traceback

            pickle.dump(traceback.format_exc(), output)
        output.flush()
    except BrokenPipeError:  # nobody listens any more
        os._exit(0)


if __name__ == "__main__":
    main()
