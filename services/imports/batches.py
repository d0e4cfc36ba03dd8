"""A file as batches that can be staged: rows as the text COPY takes, with those columns only that say something."""

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple

from services.formats import mapping as mappings
from services.formats import read
from services.formats.base import Draft, Reading
from services.imports.known import Known
from services.imports.rows import Row, rows_of
from services.imports.tally import ErrorTally

# With 100,000 rows, batches of 2,500 took a quarter more processor time than of 10,000, and 40,000 saved a twentieth.
# A batch takes about 0.1 s, most of it the reader's, which is also how long a cancellation may have to wait. It is held
# in memory, so rows with long descriptions make smaller ones.
BATCH_ROWS = 10_000
BATCH_CHARACTERS = 10_000_000

_CHUNK = 500  # rows that become text at once: few enough to stay in the processor's cache
COLUMNS = (*Draft._fields, "run", "repeats")
_LINE, _RUN, _REPEATS = (COLUMNS.index(name) for name in ("line", "run", "repeats"))
_NUMBERS = (_LINE, _RUN, _REPEATS)
_NULL = r"\N"


class Batch(NamedTuple):
    """Some rows: `text` has a line for each, with the cells of these columns. It may be empty, where much is known."""

    rows: int
    columns: tuple[str, ...]
    text: bytes
    done: float | None  # how much of the file has been read by now, from 0 to 1


@dataclass(frozen=True, slots=True)
class How:
    """How a file is read."""

    currency: str | None  # of prices that name none
    mapping: Any  # what somebody has said of its columns, as plain data
    salt: bytes  # what the reading of its records depends on besides the file
    again: bool = False  # runs are passed over that were the first time, and no others


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
    return _batches(reading, rows_of(reading, found.tally, salt=how.salt, passed_over=passed_over))


def _batches(reading: Reading, rows: Iterator[list[Row]]) -> Iterator[Batch]:
    """Columns that were needed once are kept: a COPY has the same ones in each of its lines."""
    columns: tuple[int, ...] = ()
    parts: list[str] = []
    count = size = 0

    def batch() -> Batch:
        text = "".join(parts).encode()
        return Batch(count, tuple(COLUMNS[at] for at in columns), text, reading.done() if reading.done else None)

    for chunk in _chunks(rows):
        if chunk:
            cells = _cells(chunk)
            if not cells.keys() <= set(columns):
                if parts:
                    yield batch()
                    parts, count, size = [], 0, 0
                columns = tuple(sorted({*columns, *cells}))
            text = _lines(cells, columns, len(chunk))
            parts.append(text)
            count, size = count + len(chunk), size + len(text)
        if not chunk or count >= BATCH_ROWS or size >= BATCH_CHARACTERS:
            yield batch()
            parts, count, size = [], 0, 0
    if parts:
        yield batch()


def _chunks(rows: Iterator[list[Row]]) -> Iterator[list[Row]]:
    """Some hundred rows at a time; none where the reader has something else to do."""
    most = min(_CHUNK, BATCH_ROWS)
    ended = False
    while not ended:
        chunk: list[Row] = []
        gc.disable()  # it would look through new tuples again and again, and find nothing: a quarter more time
        try:
            for some in rows:
                chunk += some
                if not some or len(chunk) >= most:
                    break
            else:
                ended = True
        finally:
            gc.enable()
        if chunk or not ended:
            yield chunk


def _cells(chunk: list[Row]) -> dict[int, Sequence[str]]:
    """Of each column that says something its cells, as COPY wants them."""
    found: dict[int, Sequence[str]] = {}
    for at, column in enumerate(zip(*chunk, strict=True)):
        if at in _NUMBERS:
            if column.count(None) < len(column):
                found[at] = [_NULL if cell is None else str(cell) for cell in column]
            continue
        cells: Sequence[str] = column
        try:
            text = "\t".join(column)
        except TypeError:  # some say nothing
            if not any(column) and "" not in column:
                continue
            cells = ["" if cell is None else cell for cell in column]
            text = "\t".join(cells)
        if "\\" in text or "\n" in text or "\r" in text or text.count("\t") >= len(cells):
            cells = [_escaped(cell) for cell in cells]
        if cells is not column:
            cells = [_NULL if said is None else cell for cell, said in zip(cells, column, strict=True)]
        found[at] = cells
    return found


def _escaped(cell: str) -> str:
    return cell.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def _lines(cells: dict[int, Sequence[str]], columns: tuple[int, ...], rows: int) -> str:
    nothing = [_NULL] * rows
    lines = map("\t".join, zip(*[cells.get(at, nothing) for at in columns], strict=True))
    return "\n".join(lines) + "\n"
