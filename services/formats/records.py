"""Text into records of equal width, whatever the text does to us.

Two kinds of damage decide this module. A quote that is opened and never closed swallows the lines behind it: the
swallowed lines are read again, one by one, and only the broken one is reported. And a cell or line without an end
must not fill the memory: a record has a greatest size, and what is beyond it is skipped, not kept.
"""

import csv
import functools
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Literal, TextIO

from services.formats.base import RowError
from services.formats.cells import fatal, problem

LONGEST = 1_000_000  # characters of one record
Record = tuple[int, list[str], str]  # line, cells, and the text they were read from

# A process-wide limit of the csv module: never lowered, and our own limit does not depend on it.
csv.field_size_limit(max(csv.field_size_limit(), LONGEST))


class _TooLarge(Exception):
    """The record being read has reached LONGEST."""


def parse(lines: Sequence[str], delimiter: str, quoting: Literal[0, 3] = csv.QUOTE_MINIMAL) -> list[list[str]]:
    """Split some lines into records. The one place that knows the dialect: a quote may follow a space."""
    try:
        return list(csv.reader(lines, delimiter=delimiter, skipinitialspace=True, quoting=quoting))
    except csv.Error:
        return []


def is_blank(row: list[str]) -> bool:
    """Whether a record has nothing but spaces in its cells."""
    return not any(map(str.strip, row))


def _is_ruled(row: list[str]) -> bool:
    """Whether a record is a line drawn below the header, or at the end."""
    return len(row) == 1 and len(row[0].strip()) > 4 and not row[0].strip().strip("-=_+")


def records(  # noqa: PLR0915  one loop, and the state it shares with the reader of lines
    text: TextIO, *, delimiter: str, width: int, line: int, trims: bool, clean: bool, judged: bool = True
) -> Iterator[Record | RowError]:
    """Yield (line, cells, text) for each record from here to the end, or a RowError for one that cannot be used.

    ``line`` is the number of the next physical line. Every record comes with ``width`` cells and one empty cell
    more, to which a mapper points the columns a file has not. ``trims`` says that the writer of this file leaves
    empty cells at the end of a row away. ``clean`` says that no character was replaced while decoding.
    Where rows are not to be ``judged``, a broken one comes as it is, with the cells that can be made out.
    """
    pending: deque[str] = deque()  # swallowed lines, to be read again
    again_until = 0  # lines below this number are being read again: they are not given a third chance
    lines: list[str] = []  # of the record being read
    damaged = False
    readline = functools.partial(text.readline, LONGEST)

    def next_lines() -> Iterator[str]:
        nonlocal damaged
        held = 0
        while got := pending.popleft() if pending else readline():
            held = held + len(got) if lines else len(got)
            if held >= LONGEST:
                lines.append(got)
                while got and got[-1] != "\n":
                    got = readline()
                raise _TooLarge
            if "\0" in got:
                damaged, got = True, got.replace("\0", "")
            elif not clean and "\ufffd" in got:
                damaged = True
            lines.append(got)
            yield got

    while True:
        row: list[str] | None
        # Anew each time: an iterator that has met the end of the file does not look at pending lines any more.
        reader = csv.reader(next_lines(), delimiter=delimiter, skipinitialspace=True)
        try:
            for row in reader:
                count = len(lines)
                if count > 1 and width > 1 and line >= again_until and _swallowed(lines, row, delimiter, width):
                    break
                start, line = line, line + count
                own = lines[0] if count == 1 else "".join(lines)
                fault = None
                if damaged:
                    damaged = False
                    reason = "Some characters could not be read and were left out or replaced."
                    yield problem(start, "characters_damaged", None, own, reason)
                lines.clear()
                if len(row) != width:
                    if is_blank(row) or _is_ruled(row):
                        continue
                    fault = _fit(row, width, trims, start) if judged else None
                row.append("")
                yield fault or (start, row, own)
            else:
                return
            too_large = False
        except (_TooLarge, csv.Error):
            too_large = True
        # A record went wrong: keep its first line apart and read the others again, but only once.
        count = len(lines)
        rest = [] if too_large and (count == 1 or line < again_until) else lines[1:]
        pending.extendleft(reversed(rest))
        again_until = max(again_until, line + count)
        start, line = line, line + count - len(rest)
        row = None if too_large and not rest else next(iter(parse(lines[:1], delimiter, csv.QUOTE_NONE)), None)
        first = lines[0] if lines else ""
        lines.clear()
        damaged = False
        reason = "A quotation mark opens in this row and is not closed."
        if row is not None and len(row) == width:  # it was an inch mark or a slip: without quotes the row fits
            row.append("")
            yield problem(start, "quote_unterminated", None, first, reason)
            yield start, row, first
        elif not judged:
            yield start, [*(row or [first])], first
        elif rest:
            yield fatal(start, "quote_unterminated", reason, first)
        else:
            what = f"Lines {start} to {start + count - 1} are" if count > 1 else "The row is"
            yield fatal(start, "row_too_large", f"{what} larger than {LONGEST:,} characters.", first)


def _swallowed(lines: list[str], row: list[str], delimiter: str, width: int) -> bool:
    """Whether a record of several lines is really several records behind a quote that was never closed.

    It is when it does not fit the table or has an odd number of quotes, and most of its lines do fit by themselves.
    """
    if len(row) == width and sum(line.count('"') for line in lines) % 2 == 0:
        return False
    rest = [line for line in lines[1:] if line.strip()]
    fitting = sum(any(len(alone) == width for alone in parse([line], delimiter)) for line in rest)
    return fitting * 2 > len(rest)


def _fit(row: list[str], width: int, trims: bool, line: int) -> RowError | None:
    """Bring a record to the width of the header, or say why not.

    Empty cells too many are harmless. A filled one means that every cell behind some point stands in the wrong
    column, nobody knows from where. One cell too few is a delimiter left away at the end; more are missing somewhere
    in the middle, unless this writer is known to trim its rows.
    """
    if len(row) > width:
        if is_blank(row[width:]):
            del row[width:]
            return None
        reason = f"The row has {len(row)} cells, the header {width}: a delimiter inside a cell is not quoted."
        return fatal(line, "row_too_long", reason, " | ".join(row))
    if width - len(row) > 1 and not trims:
        reason = f"The row has {len(row)} cells, the header {width}: some are missing."
        return fatal(line, "row_too_short", reason, " | ".join(row))
    row.extend([""] * (width - len(row)))
    return None


def trims_rows(sample: list[list[str]], width: int) -> bool:
    """Whether the writer of a file leaves away empty cells at the end of rows, as Excel does.

    A single short row is a broken row. Many of them, none ending in an empty cell, are a habit.
    """
    short = [row for row in sample if len(row) < width - 1 and not is_blank(row)]
    return len(short) >= 5 and len(short) * 10 >= len(sample) and all(row[-1].strip() for row in short)
