"""What a reading gives out, as rows that can be staged: checked against what the tables can hold, marked by runs."""

from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Any

from services.formats.base import Draft, Reading, RowError
from services.formats.runs import Run
from services.imports.tally import ErrorTally

LONGEST_KEY = 500  # characters: an index entry holds 2,700 bytes, and a key longer than a sentence is a mistake
_INDEXED = ("sku", "barcode", "brand")
_judged = itemgetter(*map(Draft._fields.index, ("product_key", "variant_key", *_INDEXED, "tags")))
_PAUSE = 20_000  # runs passed over, until there is time for something else

# A row is a line of what COPY takes: the fields of a draft, and `run` and `repeats` as the drafts' table has them.
COLUMNS = (*Draft._fields, "run", "repeats")
NULL = "\1"  # a cell that is nothing but this says nothing
# A product's own fields: what a record of a run says of them, behind another that says the same, need not be kept.
REPEATABLE = ("title", "description", "brand", "category", "tags", "status")
_FROM = Draft._fields.index(REPEATABLE[0])
_UPTO = _FROM + len(REPEATABLE)
_UNSAID = (NULL,) * len(REPEATABLE)
_BITS = tuple(1 << n for n in range(len(REPEATABLE)))
_UNMARKED = (NULL, "0")
_TABS = len(COLUMNS) - 1


def rows_of(
    reading: Reading, runs: Iterator[Run] | None, tally: ErrorTally, *, passed_over: Callable[[int, int | None], bool]
) -> Iterator[list[str]]:
    """The rows of one record or run after the other; an empty list now and then, where many runs give none.

    ``runs`` are those of the reading that are meant, None where it is not read in runs. Errors are added to the tally.
    ``passed_over`` says of each run, by its number among them and its hash, whether it is left out.
    """
    if runs is None or reading.drafts_of is None:
        for record in reading.records:
            row = _row(record, tally)
            if row is not None:
                yield [_line(row, *_UNMARKED)]
        return
    drafts_of = reading.drafts_of
    since = 0
    for n, run in enumerate(runs):
        if passed_over(n, run.print):
            since += 1
            if since == _PAUSE:
                since = 0
                yield []
            continue
        rows = _of_run(run, drafts_of(run), tally)
        if rows:
            yield rows


def _of_run(run: Run, drafts: Iterator[Draft | RowError], tally: ErrorTally) -> list[str]:
    """The rows of a run, marked with its hash if all is well: nothing is wrong, one product, no variant twice."""
    before = tally.total
    rows = [row for record in drafts if (row := _row(record, tally)) is not None]
    if run.print is None or tally.total != before or len(rows) != len(run.items) or not _is_one(rows):
        return [_line(row, *_UNMARKED) for row in rows]
    lines = [_line(rows[0], str(run.print), "0")]
    if len(rows) > 1:
        said = rows[0][_FROM:_UPTO]
        repeated = str(sum([bit for bit, text in zip(_BITS, said, strict=True) if text is not None]))
        for row in rows[1:]:
            if row[_FROM:_UPTO] == said:
                lines.append(_line(row, "0", repeated))
            else:
                lines.append(_line(row, "0", "0"))
    return lines


def _line(row: tuple[Any, ...], run: str, repeats: str) -> str:
    """A row as COPY takes it; what `repeats` speaks of is left out."""
    cells = [NULL if cell is None else cell for cell in row]
    cells[0] = str(row[0])
    if repeats != "0":
        cells[_FROM:_UPTO] = _UNSAID
    cells += (run, repeats)
    line = "\t".join(cells)
    if "\\" in line or "\n" in line or "\r" in line or line.count("\t") != _TABS:
        line = "\t".join([_escaped(cell) for cell in cells])
    return line


def _escaped(cell: str) -> str:
    return cell.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def _is_one(rows: list[Draft]) -> bool:
    if len(rows) == 1:
        return True
    if len({row[1] for row in rows}) > 1:
        return False
    variants = [variant for row in rows if (variant := row[2]) is not None]
    return len(set(variants)) == len(variants)


def _row(record: Draft | RowError, tally: ErrorTally) -> Draft | None:
    """The draft as the tables can hold it, or None when it has no usable key; an error goes to the tally."""
    if type(record) is not Draft:
        tally.add(record)  # type: ignore[arg-type]
        return None
    key, variant, sku, barcode, brand, tags = _judged(record)
    longest = len(key) + len(variant or "") + len(sku or "") + len(barcode or "") + len(brand or "")
    if longest <= LONGEST_KEY and tags is None:  # nearly all
        return record
    return _storable(record, tally)


def _storable(draft: Draft, tally: ErrorTally) -> Draft | None:
    """The draft as the tables can hold it, or None when it has no usable key."""
    if len(draft.product_key) > LONGEST_KEY or (draft.variant_key and len(draft.variant_key) > LONGEST_KEY):
        key = draft.product_key if len(draft.product_key) > LONGEST_KEY else str(draft.variant_key)
        reason = f"The key of the product or variant has {len(key)} characters; {LONGEST_KEY} are allowed."
        tally.add(RowError(draft.line, "key_too_long", None, key[:200], reason))
        return None
    for name in _INDEXED:
        value = getattr(draft, name)
        if value is not None and len(value) > LONGEST_KEY:
            reason = f"The cell has {len(value)} characters; {LONGEST_KEY} are allowed here."
            tally.add(RowError(draft.line, f"{name}_too_long", name, value[:200], reason, fatal=False))
            draft = draft._replace(**{name: None})  # type: ignore[arg-type]
    if draft.tags is not None:
        tags = ",".join(dict.fromkeys(tag for part in draft.tags.split(",") if (tag := part.strip())))
        draft = draft._replace(tags=tags or None)
    return draft
