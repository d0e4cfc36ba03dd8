"""Drafts into the staging table, with COPY; and whether what was staged is still there.

The table is unlogged: a crash of Postgres empties it. An attempt that was cut, a table that was emptied: either way
the rows are dropped and the stored file is read again. The catalogue knows up to which key it has taken them.
"""

import contextlib
import functools
import gc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any, BinaryIO

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.catalog.applying import NO_WAIT
from services.catalog.drafts import StagingLost
from services.core.clock import now
from services.core.errors import Conflict, Invalid
from services.formats import read
from services.formats.base import Draft, Reading
from services.imports.mappings import mapping_of
from services.imports.row_errors import ErrorTally, forget_errors, record_errors
from services.imports.rows import Row, rows_of
from services.imports.turns import sweep_drafts
from services.imports.unchanged import Known, known_runs, pack, salt_of, settle, unpack
from services.jobs import Run
from services.models import Changeset, Import

# With 100,000 rows, batches of 2,500 took a quarter more processor time than of 10,000, and 40,000 saved a twentieth.
# A batch takes about 0.2 s, most of it the reader's, which is also how long a cancellation may have to wait. It is held
# in memory, so rows with long descriptions make smaller ones.
BATCH_ROWS = 10_000
BATCH_CHARACTERS = 10_000_000  # of descriptions
_DESCRIPTION = Draft._fields.index("description")

_FIELDS = ", ".join(Draft._fields)
_LOAD = f"""
CREATE TEMPORARY TABLE draft_load ({", ".join(f"{name} text" for name in Draft._fields)}, run bigint) ON COMMIT DROP
"""
_TYPES = {
    "line": "int",
    "image_position": "int",
    "price": "numeric",
    "compare_at_price": "numeric",
    "cost": "numeric",
    "stock": "int",
    "weight_grams": "int",
}
_HASHED = [name for name in Draft._fields if name not in ("line", "product_key")]
# COPY does not enter a table with row-level security: it fills one of the transaction's own, and an INSERT, which
# the policy can check, takes the rows from there.
_STAGE = f"""
INSERT INTO import_drafts (merchant_id, import_id, {_FIELDS}, run, print)
SELECT %(merchant_id)s, %(import_id)s,
    {", ".join(f"{name}::{_TYPES.get(name, 'text')}" for name in Draft._fields)}, run,
    hash_record_extended(ROW({", ".join(_HASHED)}), 0)
FROM draft_load
"""  # noqa: S608  # names of fields
_COUNT = text("SELECT count(*) FROM import_drafts WHERE merchant_id = :merchant_id AND import_id = :import_id")
_SUM = text("""
SELECT count(*) AS rows, sum(print) AS print FROM import_drafts
WHERE merchant_id = :merchant_id AND import_id = :import_id
""")
_CLEAR = text("DELETE FROM import_drafts WHERE merchant_id = :merchant_id AND import_id = :import_id")


class NoUsableRows(Invalid):
    """Not one row of the file could be used."""


class StagedOtherwise(Conflict):
    """What the plan was made of is read otherwise now: by another version, or the offers of a supplier have changed."""


def is_staged(session: Session, import_: Import) -> bool:
    """Whether the drafts are all there to be merged."""
    if import_.staged_at is None:
        return False
    return count_drafts(session, import_) == import_.staged_rows


def count_drafts(session: Session, import_: Import) -> int:
    """How many drafts of the import are staged."""
    where = {"merchant_id": import_.merchant_id, "import_id": import_.id}
    return int(session.execute(_COUNT, where).scalar_one())


def clear_drafts(session: Session, import_: Import) -> None:
    """Drop the staged drafts of the import."""
    session.execute(_CLEAR, {"merchant_id": import_.merchant_id, "import_id": import_.id})


def stage(run: Run, import_: Import, changeset: Changeset, stream: BinaryIO) -> None:
    """Read the file from its beginning and stage its drafts; at the end, say so in the import's row.

    Records that are known to say nothing new are passed over. Raises FeedRefused, NoUsableRows, StagedOtherwise,
    StagingLost, Stopped.
    """
    known = import_.staged_at is not None  # only the drafts were lost
    with run.transaction() as session:
        begin_staging(session, import_)
        mapping = mapping_of(import_)
        salt = salt_of(import_, changeset)
        unchanged = Known() if known else known_runs(session, import_)
    run.progress(0, None, "reading")
    reading = read.read(stream, default_currency=import_.currency, mapping=mapping)
    tally = ErrorTally()
    marks = bytearray(unpack(import_.skipped_runs) if import_.skipped_runs and known else b"")

    def stage_but(passed_over: Callable[[int, int | None], bool]) -> int:
        return _stage(run, import_, reading, rows_of(reading, tally, salt=salt, passed_over=passed_over))

    if known:
        staged = stage_but(lambda n, _: marks[n : n + 1] == b"\1")
        with run.transaction() as session:
            _verify(session, session.get_one(Import, import_.id), staged=staged)
        return
    staged = stage_but(lambda _, print_: unchanged.note(marks, print_))
    while wrong := _conclude(run, import_, reading, tally, unchanged, marks=marks, staged=staged):
        unchanged.take_back(wrong)
        staged += stage_but(functools.partial(_not_among, wrong, marks))
    if not staged and not any(marks):
        raise NoUsableRows(f"Not one of the {tally.fatal} rows could be used. The first: {tally.kept[0].reason}")


def begin_staging(session: Session, import_: Import) -> None:
    """Make room for the drafts of an import. If they only were lost, its errors stay: some were found in planning."""
    sweep_drafts(session, merchant_id=import_.merchant_id)
    clear_drafts(session, import_)
    if import_.staged_at is None:
        forget_errors(session, of=import_)


def close_staging(session: Session, import_: Import, *, rows: int, staged: int) -> None:
    """Say in the import's row that its drafts are all there: `staged` of so many `rows`.

    Raises StagingLost when they are not, and StagedOtherwise when they are not those there were before.
    """
    import_.staged_print = _verify(session, import_, staged=staged)
    import_.rows, import_.staged_rows, import_.staged_at = rows, staged, now()
    session.flush()


def _verify(session: Session, import_: Import, *, staged: int) -> Decimal | None:
    """The sum of the drafts' hashes. Raises StagingLost, and StagedOtherwise."""
    there = session.execute(_SUM, {"merchant_id": import_.merchant_id, "import_id": import_.id}).one()
    if there.rows != staged:
        raise StagingLost(retry_after=1)
    if import_.staged_at is not None and (staged, there.print) != (import_.staged_rows, import_.staged_print):
        raise StagedOtherwise()
    print_: Decimal | None = there.print
    return print_


def _not_among(wrong: set[int], marks: bytearray, n: int, print_: int | None) -> bool:
    """Whether a run is staged already, or passed over rightly; else it no longer is passed over."""
    if marks[n] and print_ in wrong:
        marks[n] = 0
        return False
    return True


def _stage(run: Run, import_: Import, reading: Reading, rows: Iterator[list[Row]]) -> int:
    """Stage all of these. Returns how many drafts they were. While the server takes a batch in, the next is read."""
    staged = 0
    batch = _read_on(rows)
    with ThreadPoolExecutor(1) as lane:
        while batch is not None:
            copied = lane.submit(_copy, run, import_, batch)
            staged += len(batch)
            batch = _read_on(rows)
            copied.result()
            run.progress(staged, None, f"reading, {100 * reading.done():.0f} %" if reading.done else "reading")
    return staged


class _Wrong(Exception):
    """Some runs should not have been passed over: leaves a transaction that must not stand."""


def _conclude(
    run: Run, import_: Import, reading: Reading, tally: ErrorTally, unchanged: Known, *, marks: bytearray, staged: int
) -> set[int]:
    """Say in the import's row that it is staged. Returns the runs that are to be staged too; then it says nothing."""
    with contextlib.suppress(_Wrong), run.transaction() as session:
        current = session.get_one(Import, import_.id)
        if wrong := settle(session, current, unchanged):
            raise _Wrong
        record_errors(session, tally, of=current)
        current.format, current.encoding, current.delimiter = reading.format, reading.encoding, reading.delimiter
        current.columns = dict(reading.columns)
        skipped = (current.skipped or {}).get("rows", 0)
        close_staging(session, current, rows=staged + skipped + tally.fatal, staged=staged)
        current.skipped_runs = pack(marks) if skipped else None
    return wrong


def _read_on(rows: Iterator[list[Row]]) -> list[Row] | None:
    """The next batch; None at the end. It may be empty, where much is passed over."""
    batch: list[Row] = []
    size = 0
    gc.disable()  # it would look through ten thousand new tuples again and again, and find nothing: a quarter more time
    try:
        for some in rows:
            if not some:
                return batch
            batch += some
            size += sum(len(text) for row in some if (text := row[_DESCRIPTION]))
            if len(batch) >= BATCH_ROWS or size >= BATCH_CHARACTERS:
                return batch
    finally:
        gc.enable()
    return batch or None


def _copy(run: Run, import_: Import, drafts: list[Row]) -> None:
    """Stage some drafts, in a transaction of their own. Should a crash of the server lose it, the others are too."""
    if not drafts:
        return
    with run.transaction() as session:
        session.execute(NO_WAIT)
        connection: Any = session.connection().connection.driver_connection
        connection.execute(_LOAD)
        with connection.cursor() as cursor, cursor.copy(f"COPY draft_load ({_FIELDS}, run) FROM STDIN") as copy:
            write = copy.write_row
            for draft in drafts:
                write(draft)
        connection.execute(_STAGE, {"merchant_id": import_.merchant_id, "import_id": import_.id})
