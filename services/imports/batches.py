"""A file as batches that can be staged: rows as the text that COPY takes."""

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple

from services.formats import mapping as mappings
from services.formats import read
from services.formats.base import Place, Reading
from services.formats.runs import Run
from services.imports.known import Known
from services.imports.rows import rows_of
from services.imports.tally import ErrorTally

# With 100,000 rows, batches of 2,500 took a quarter more processor time than of 10,000, and 40,000 saved a twentieth.
# A batch takes about 0.1 s, most of it the reader's, which is also how long a cancellation may have to wait. It is held
# in memory, so rows with long descriptions make smaller ones.
BATCH_ROWS = 10_000
BATCH_CHARACTERS = 10_000_000
_AT_ONCE = 64  # lines put together at a time: the next ones find the memory still at hand, a thirtieth less time


class Batch(NamedTuple):
    """Some rows: `text` has a line for each. It may be empty, where much is known."""

    rows: int
    text: bytes
    done: float | None  # how much of the file has been read by now, from 0 to 1


@dataclass(frozen=True, slots=True)
class How:
    """How a file is read."""

    currency: str | None  # of prices that name none
    mapping: Any  # what somebody has said of its columns, as plain data
    salt: bytes  # what the reading of its records depends on besides the file
    again: bool = False  # runs are passed over that were the first time, and no others
    upto: int | None = None  # a line: the first run that begins behind it is not read any more, nor what follows
    behind: Place | None = None  # only what follows the first run from here on is read


@dataclass(slots=True)
class Found:
    """What reading a file has found besides its rows."""

    unchanged: Known = field(default_factory=Known)
    marks: bytearray = field(default_factory=bytearray)  # a byte for each run: 1, it was passed over
    tally: ErrorTally = field(default_factory=ErrorTally)
    format: str = ""
    encoding: str = ""
    delimiter: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    edge: int | None = None  # of a part of a file: the line on which it has left off, or has begun

    def note(self, n: int, print_: int | None) -> bool:
        """Whether the nth run, the next that is met, is passed over."""
        return self.unchanged.note(self.marks, print_)

    def noted(self, n: int, print_: int | None) -> bool:
        """Whether the nth run was passed over when the file was read before."""
        return self.marks[n : n + 1] == b"\1"


def batches(
    stream: BinaryIO, how: How, found: Found, passed_over: Callable[[int, int | None], bool] | None = None
) -> Iterator[Batch]:
    """Read a file from its beginning. What is found besides its rows is in `found` at the end.

    ``passed_over`` says of a run, by its number and its hash, whether it is left out; usually `found` does. Raises
    FeedRefused.
    """
    mapping = mappings.parse(how.mapping) if how.mapping else None
    reading = read.read(stream, default_currency=how.currency, mapping=mapping)
    found.format, found.encoding, found.delimiter = reading.format, reading.encoding, reading.delimiter
    found.columns = dict(reading.columns)
    passed_over = passed_over or (found.noted if how.again else found.note)
    runs = reading.runs(how.salt, how.behind) if reading.runs is not None else None
    if how.behind is not None:
        runs = _behind(runs or iter(()), found)
    elif how.upto is not None and runs is not None:
        runs = _upto(how.upto, runs, found)
    return _batches(reading, rows_of(reading, runs, found.tally, passed_over=passed_over))


def _upto(line: int, runs: Iterator[Run], found: Found) -> Iterator[Run]:
    """The runs before the first one that begins behind a line."""
    for run in runs:
        if run.items[0][0] > line:
            found.edge = run.items[0][0]
            return
        yield run


def _behind(runs: Iterator[Run], found: Found) -> Iterator[Run]:
    """The runs behind the first one; none if that has errors: then who knows where a record begins."""
    first = next(runs, None)
    if first is None or first.print is None:
        return
    for run in runs:
        if found.edge is None:
            found.edge = run.items[0][0]
        yield run


def _batches(reading: Reading, rows: Iterator[list[str]]) -> Iterator[Batch]:
    ended = False
    while not ended:
        texts: list[bytes] = []
        lines: list[str] = []
        count = size = 0
        gc.disable()  # it would look through what is new again and again, and find nothing: a quarter more time
        try:
            for some in rows:
                lines += some
                count += len(some)
                size += sum(map(len, some))
                if len(lines) >= _AT_ONCE:
                    texts.append(_text(lines))
                    lines.clear()
                if not some or count >= BATCH_ROWS or size >= BATCH_CHARACTERS:
                    break
            else:
                ended = True
        finally:
            gc.enable()
        if count or not ended:
            texts.append(_text(lines))
            yield Batch(count, b"".join(texts), reading.done() if reading.done else None)


def _text(lines: list[str]) -> bytes:
    return "\n".join([*lines, ""]).encode()
