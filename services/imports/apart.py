"""A large file is read by a process of its own: reading is Python's work, and so is handing rows to the database.

The process is given the open file and how to read it, and writes batches, then what else it found, to its standard
output. It knows nothing of databases, starts in a tenth of a second, and ends when nobody listens any more: killed
anywhere, either of the two leaves nothing behind.
"""

import contextlib
import io
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import fields, replace
from typing import Any, BinaryIO

from services.core.errors import Unavailable
from services.formats import packed
from services.formats.base import FeedRefused
from services.imports.batches import Batch, Found, How, batches
from services.imports.parts import fit, join, middle

LARGE = 8 * 1024**2  # bytes: what is smaller is read before a process has started; twice that, before two have


class ReaderLost(Unavailable):
    """The process that reads the file has died. The file will be read again from its beginning."""


class NotInParts(Exception):
    """The two parts of the file do not fit together: it is to be read again, by one."""


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


def read_apart(stream: BinaryIO, how: How, found: Found, *, in_parts: bool = True) -> Iterator[Batch]:
    """As `batches`, by another process if the file is large; by two, if it is larger and no run of it is known.

    Raises FeedRefused, ReaderLost, and NotInParts at the end: then nothing that was given out counts.
    """
    size = packed.size_of(stream)
    if size < LARGE:
        stream.seek(0)
        yield from batches(stream, how, found)
        return
    in_parts = in_parts and size >= 2 * LARGE and found.unchanged.is_empty() and not how.again
    with ThreadPoolExecutor(2) as lanes, contextlib.ExitStack() as readers:
        process = readers.enter_context(_reader(stream))
        place = middle(stream, size) if in_parts else None
        if place is None:
            yield from _heard(process, how, found)
            return
        rest = Found()
        first = _heard(process, replace(how, upto=place.line), found)
        second = _heard(readers.enter_context(_reader(stream)), replace(how, behind=place), rest)
        yield from _together(lanes, {first: 0.0, second: place.offset / size})
    if not fit(found, rest):
        raise NotInParts
    join(found, rest)


@contextlib.contextmanager
def _reader(stream: BinaryIO) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that reads the file, as it is going to be told; at the end of the block it ends."""
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
        yield process
    finally:
        process.kill()  # first: somebody may still listen
        process.wait()
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


def _together(lanes: ThreadPoolExecutor, parts: dict[Iterator[Batch], float]) -> Iterator[Batch]:
    """What the readers of parts say, as it comes. `parts`: where in the file, from 0 to 1, each begins."""
    done = dict.fromkeys(parts, 0.0)
    heard = {lanes.submit(next, part, None): part for part in parts}
    while heard:
        for one in wait(heard, return_when=FIRST_COMPLETED).done:
            part, batch = heard.pop(one), one.result()
            if batch is not None:
                heard[lanes.submit(next, part, None)] = part
                done[part] = max(0.0, (batch.done or 0.0) - parts[part])
                yield batch._replace(done=min(1.0, sum(done.values())))


def _heard(process: "subprocess.Popen[bytes]", how: How, found: Found) -> Iterator[Batch]:
    """What a reader says that is told how to read, up to its end."""
    assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018  # they were asked for
    try:
        pickle.dump((how, found), process.stdin)
        process.stdin.close()
        yield from _said(process.stdout, found)
    except (EOFError, pickle.UnpicklingError, BrokenPipeError) as error:
        raise ReaderLost(retry_after=1) from error


def _said(output: Any, found: Found) -> Iterator[Batch]:
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
