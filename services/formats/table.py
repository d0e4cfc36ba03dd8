"""Where the table begins: the delimiter and the header row, found by what the cells say, not by counting commas."""

import csv
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from services.formats import headers, records
from services.formats.base import Draft, FeedRefused, RowError
from services.formats.numbers import word_set
from services.formats.sniff import Sample

_DELIMITERS = ",;\t|"
_NAMED = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}
_TITLE_LINES = 30  # a header stands within the first so many records
MOST_COLUMNS = 2000
SHOWN = 100  # records that show what the columns hold
# A record is a product's when one of these says which.
IDENTIFYING = word_set("handle group id sku title barcode")
_OPTIONS = word_set("color size material pattern")
_NUMBERS = word_set("handle group id sku mpn barcode")  # they say which product it is, and nothing of it


class Table(NamedTuple):
    """A table whose header is known. ``sample`` has its first records, each ``len(headers) + 1`` cells wide."""

    delimiter: str
    headers: list[str]
    first_line: int  # physical line behind the header
    sample: list[list[str]]
    trims: bool
    default_currency: str | None
    reread: Callable[[], Iterator[list[str]]]  # all records once more, for what is only known from other records


# A record of a table to a draft. Errors are added to the list; None with an error there is a dropped record.
Mapper = Callable[[list[str], int, list[RowError]], Draft | None]


class Apart(NamedTuple):
    """That each record of a table is read by itself, whatever other records say."""

    keys: tuple[int, ...]  # columns that name the product; of a record the first that is filled counts
    learned: str  # what its reading depends on besides its cells, the headers and the default currency


# Of a table: the columns that are used (header → Draft field), the mapper, and whether records are read apart.
Columns = Callable[[Table], tuple[dict[str, str], Mapper, Apart | None]]


class _Candidate(NamedTuple):
    score: int
    fitting: int
    delimiter: str
    header: int  # index of the row; of two the lower
    rows: list[list[str]]
    names: list[str]


def find(
    sample: Sample,
    default_currency: str | None,
    reread: Callable[[str, int, int], Iterator[list[str]]],
    *,
    named: Collection[str] | None = None,
    headless: bool = False,
) -> Table:
    """Find delimiter and header row in the beginning of a file.

    ``reread`` gives all records again for a delimiter, a first line and a width. ``named`` are the columns a mapping
    speaks of (None: there is no mapping), ``headless`` says that there is no header row. Raises FeedRefused
    ``too_many_columns``, ``not_delimited`` or ``no_product_columns``; the last not where there is a mapping.
    """
    lines = [line + "\n" for line in sample.text.split("\n")]
    wanted = frozenset(map(headers.normal, named or ()))
    best = max(
        (_judge(lines, delimiter, wanted) for delimiter in _DELIMITERS),
        key=lambda one: (one.score, one.fitting, len(one.names)),
    )
    if headless and best.rows:
        return _headless(sample, best, default_currency, reread)
    names = [name.strip("\ufeff \t\n") for name in best.names]
    known = {found.field for found in headers.meanings(names[:MOST_COLUMNS]) if found}
    if len(names) > MOST_COLUMNS:
        raise FeedRefused("too_many_columns", f"The table has more than {MOST_COLUMNS} columns.")
    _refuse_long_delimiter(names)
    if named is None and (
        not known & IDENTIFYING
        or (len(known) == 1 and len(names) > 40)
        or headers.order_headers(names)
        or (known <= _NUMBERS and len(names) > 1)
    ):
        raise _refusal(names, best.rows[best.header : best.header + 100])
    first_line = _line_behind(lines, best)
    body = [row for row in records.parse(lines[first_line - 1 :], best.delimiter) if not records.is_blank(row)]
    if not sample.complete:
        body = body[:-1]  # its end may be missing
    width = len(names)
    return Table(
        best.delimiter,
        names,
        first_line,
        [(row + [""] * (width + 1 - len(row)))[: width + 1] for row in body if len(row) <= width + 1],
        records.trims_rows(body, width),
        default_currency,
        lambda: reread(best.delimiter, first_line, width),
    )


def _headless(
    sample: Sample,
    best: _Candidate,
    default_currency: str | None,
    reread: Callable[[str, int, int], Iterator[list[str]]],
) -> Table:
    """A table whose first row is data: its columns are called by their numbers."""
    body = [row for row in best.rows if not records.is_blank(row)]
    width = Counter(map(len, body)).most_common(1)[0][0] if body else 0
    if width > MOST_COLUMNS:
        raise FeedRefused("too_many_columns", f"The table has more than {MOST_COLUMNS} columns.")
    return Table(
        best.delimiter,
        [f"Column {number}" for number in range(1, width + 1)],
        1,
        [(row + [""] * (width + 1 - len(row)))[: width + 1] for row in body if len(row) <= width + 1],
        records.trims_rows(body, width),
        default_currency,
        lambda: reread(best.delimiter, 1, width),
    )


def _judge(lines: list[str], delimiter: str, wanted: frozenset[str]) -> _Candidate:
    """How well the beginning of a file reads with one delimiter."""
    rows = records.parse(lines[:400], delimiter)
    filled = [index for index, row in enumerate(rows) if not records.is_blank(row)][:_TITLE_LINES]
    if not filled:
        return _Candidate(0, 0, delimiter, 0, rows, rows[0] if rows else [])
    scores = {index: _known_fields(rows[index]) + _wanted_names(rows[index], wanted) for index in filled}
    header = max(filled, key=lambda index: (scores[index], -index))
    if scores[header] < 2:  # one word may stand anywhere: only the first row can be a header of one known column
        header = filled[0]
    score, names = scores[header], rows[header]
    for index in filled[:-1]:  # in two rows only where they say more than one, or the second would be taken for data
        below = rows[index + 1]
        two = headers.in_two_rows(rows[index], below) if scores.get(index + 1, 0) > 1 and _is_header(below) else []
        if two and (known := _known_fields(two) + _wanted_names(two, wanted)) > score - (header == index):
            score, names, header = known, two, index + 1
    width = len(names)
    fitting = sum(len(row) == width for row in rows) if width > 1 else 0
    return _Candidate(score, fitting, delimiter, header, rows, names)


def _known_fields(row: list[str]) -> int:
    if len(row) > MOST_COLUMNS:
        return 0
    return len({found.field for cell in row if cell and (found := headers.meaning(cell.strip()))})


def _is_header(row: list[str]) -> bool:
    """Whether a row below a header may be its second half; names of options stand among data, too."""
    found = {said.field for cell in row[:MOST_COLUMNS] if cell and (said := headers.meaning(cell.strip()))}
    return len(found - _OPTIONS) > 1


def _wanted_names(row: list[str], wanted: frozenset[str]) -> int:
    """A row with the columns a mapping speaks of is the header, whatever else it says."""
    return 100 * len(wanted.intersection(map(headers.normal, row[:MOST_COLUMNS]))) if wanted else 0


def _line_behind(lines: list[str], best: _Candidate) -> int:
    """The number of the physical line behind the header record."""
    reader = csv.reader(lines, delimiter=best.delimiter, skipinitialspace=True)
    for _ in range(best.header + 1):
        next(reader)
    return reader.line_num + 1


def _refuse_long_delimiter(names: list[str]) -> None:
    """Delimiters of several signs leave their other signs behind at the end of every cell."""
    ends = {name[-1:] for name in names[:-1]}
    if len(names) > 2 and len(ends) == 1 and ends <= set("+~^&#|@$:;<>=-\\"):
        raise FeedRefused("not_delimited", f"The delimiter seems to be several signs, one of them {ends.pop()}.")


def looks_like_data(names: list[str]) -> bool:
    """Whether a row that should be a header has the cells of a record."""
    return sum(not name or not name[0].isalpha() for name in names) * 3 > len(names)


def _refusal(names: list[str], rows: list[list[str]]) -> FeedRefused:
    shown = ", ".join(name[:40] for name in names[:20] if name)
    orders = headers.order_headers(names)
    if orders:
        return FeedRefused("no_product_columns", f"This looks like a list of orders (columns: {', '.join(orders)}).")
    if len(names) < 2:
        return FeedRefused(
            "not_delimited", f"No {', '.join(_NAMED.values())} separates columns. The file begins: {shown[:80]}"
        )
    if looks_like_data(names):
        return FeedRefused(
            "no_product_columns",
            f"The first row looks like data: the table needs a row of headers. It is: {shown}",
            seen=rows,
        )
    known = {found.field for found in headers.meanings(names[:MOST_COLUMNS]) if found}
    lacks = (
        "says anything of a product but its number"
        if known & IDENTIFYING
        else ("says which product a row is (title, SKU or key)")
    )
    return FeedRefused("no_product_columns", f"No column {lacks}. Columns found: {shown}", seen=rows)
