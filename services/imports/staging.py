"""Drafts into the staging table, with COPY; and whether what was staged is still there.

The table is unlogged: a crash of Postgres empties it. An attempt that was cut, a table that was emptied: either way
the rows are dropped and the stored file is read again. The catalogue knows up to which key it has taken them.
"""

import contextlib
import functools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any, BinaryIO

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.catalog.applying import NO_WAIT
from services.catalog.drafts import StagingLost
from services.core.clock import now
from services.core.errors import Conflict, Invalid
from services.formats.base import Draft
from services.imports.apart import NotInParts, read_apart
from services.imports.batches import Batch, Found, How, batches
from services.imports.mappings import mapping_of
from services.imports.row_errors import forget_errors, record_errors
from services.imports.rows import COLUMNS, NULL, REPEATABLE
from services.imports.turns import sweep_drafts
from services.imports.unchanged import known_runs, pack, salt_of, settle, unpack
from services.jobs import Run
from services.models import Changeset, Import
from services.models.imports import SAYS

_TYPES = {
    "line": "int",
    "image_position": "int",
    "price": "numeric",
    "compare_at_price": "numeric",
    "cost": "numeric",
    "stock": "int",
    "weight_grams": "int",
    "run": "bigint",
    "repeats": "int",
}
_HASHED = [name for name in Draft._fields if name not in ("line", "product_key")]
_REPEATED = list(SAYS).index(REPEATABLE[0])  # the bit of `says` for the first that a record may repeat


_KINDS = {name: _TYPES.get(name, "text") for name in COLUMNS}
# COPY does not enter a table with row-level security: it fills one of the transaction's own, and an INSERT, which
# the policy can check, takes the rows from there.
_LOAD = f"CREATE TEMPORARY TABLE draft_load ({', '.join(map(' '.join, _KINDS.items()))}) ON COMMIT DROP"
_FILL = f"COPY draft_load FROM STDIN (NULL '{NULL}')"
_FIELDS = ", ".join(name for name in COLUMNS if name != "repeats")
_STAGE = f"""
INSERT INTO import_drafts (merchant_id, import_id, {_FIELDS}, repeats, print)
SELECT %(merchant_id)s, %(import_id)s, {_FIELDS}, repeats << {_REPEATED},
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
    again = import_.staged_at is not None  # only the drafts were lost
    with run.transaction() as session:
        begin_staging(session, import_)
        mapping_of(import_)  # said here, before a file is opened
        how = How(import_.currency, import_.mapping, salt_of(import_, changeset), again)
        found = Found() if again else Found(known_runs(session, import_))
    run.progress(0, None, "reading")
    if again:
        found.marks = bytearray(unpack(import_.skipped_runs) if import_.skipped_runs else b"")
    try:
        staged = _stage(run, import_, read_apart(stream, how, found))
    except NotInParts:
        found = Found()
        with run.transaction() as session:
            begin_staging(session, import_)
        staged = _stage(run, import_, read_apart(stream, how, found, in_parts=False))
    if again:
        with run.transaction() as session:
            _verify(session, session.get_one(Import, import_.id), staged=staged)
        return
    while wrong := _conclude(run, import_, found, staged=staged):
        found.unchanged.take_back(wrong)
        stream.seek(0)
        more = batches(stream, how, found, functools.partial(_not_among, wrong, found.marks))
        staged += _stage(run, import_, more)
    if not staged and not any(found.marks):
        raise NoUsableRows(
            f"Not one of the {found.tally.fatal} rows could be used. The first: {found.tally.kept[0].reason}"
        )


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


def _stage(run: Run, import_: Import, rows: Iterator[Batch]) -> int:
    """Stage all of these. Returns how many drafts they were. While the server takes a batch in, the next is read."""
    staged = 0
    with contextlib.closing(rows), ThreadPoolExecutor(1) as lane:  # type: ignore[type-var]
        batch = next(rows, None)
        while batch is not None:
            copied = lane.submit(_copy, run, import_, batch)
            staged, done = staged + batch.rows, batch.done
            batch = next(rows, None)
            copied.result()
            run.progress(staged, None, "reading" if done is None else f"reading, {100 * done:.0f} %")
    return staged


class _Wrong(Exception):
    """Some runs should not have been passed over: leaves a transaction that must not stand."""


def _conclude(run: Run, import_: Import, found: Found, *, staged: int) -> set[int]:
    """Say in the import's row that it is staged. Returns the runs that are to be staged too; then it says nothing."""
    with contextlib.suppress(_Wrong), run.transaction() as session:
        current = session.get_one(Import, import_.id)
        if wrong := settle(session, current, found.unchanged):
            raise _Wrong
        record_errors(session, found.tally, of=current)
        current.format, current.encoding, current.delimiter = found.format, found.encoding, found.delimiter
        current.columns = found.columns
        skipped = (current.skipped or {}).get("rows", 0)
        close_staging(session, current, rows=staged + skipped + found.tally.fatal, staged=staged)
        current.skipped_runs = pack(found.marks) if skipped else None
    return wrong


def _copy(run: Run, import_: Import, batch: Batch) -> None:
    """Stage some drafts, in a transaction of their own. Should a crash of the server lose it, the others are too."""
    if not batch.rows:
        return
    with run.transaction() as session:
        session.execute(NO_WAIT)
        connection: Any = session.connection().connection.driver_connection
        connection.execute(_LOAD)
        with connection.cursor() as cursor, cursor.copy(_FILL) as copy:
            copy.write(batch.text)
        connection.execute(_STAGE, {"merchant_id": import_.merchant_id, "import_id": import_.id})
