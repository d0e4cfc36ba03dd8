"""Drafts into the staging table, with COPY; and whether what was staged is still there.

The table is unlogged: a crash of Postgres empties it. An attempt that was cut, a table that was emptied: either way
the rows are dropped and the stored file is read again. The catalogue knows up to which key it has taken them.
"""

from collections.abc import Iterator
from datetime import datetime
from itertools import chain, islice
from typing import Any, BinaryIO
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.core.clock import now
from services.core.errors import Invalid, Unavailable
from services.formats import delimited
from services.formats.base import Draft, Reading, RowError
from services.imports.row_errors import ErrorTally, forget_errors, record_errors
from services.jobs import Run
from services.models import Import

# With 100,000 rows, batches of 2,500 took a quarter more processor time than of 10,000, and 40,000 saved a twentieth.
# A batch takes about 0.2 s, most of it the reader's, which is also how long a cancellation may have to wait.
BATCH_ROWS = 10_000
LONGEST_KEY = 500  # characters: an index entry holds 2,700 bytes, and a key longer than a sentence is a mistake
_INDEXED = ("sku", "barcode", "brand")

_FIELDS = ", ".join(Draft._fields)
_LOAD = f"CREATE TEMPORARY TABLE draft_load ({', '.join(f'{name} text' for name in Draft._fields)}) ON COMMIT DROP"
_TYPES = {
    "line": "int",
    "image_position": "int",
    "price": "numeric",
    "compare_at_price": "numeric",
    "cost": "numeric",
    "stock": "int",
    "weight_grams": "int",
}
# COPY does not enter a table with row-level security: it fills one of the transaction's own, and an INSERT, which
# the policy can check, takes the rows from there.
_STAGE = text(f"""
INSERT INTO import_drafts (merchant_id, import_id, {_FIELDS})
SELECT :merchant_id, :import_id, {", ".join(f"{name}::{_TYPES.get(name, 'text')}" for name in Draft._fields)}
FROM draft_load
""")  # noqa: S608  # names of fields
_COUNT = text("SELECT count(*) FROM import_drafts WHERE merchant_id = :merchant_id AND import_id = :import_id")
_CLEAR = text("DELETE FROM import_drafts WHERE merchant_id = :merchant_id AND import_id = :import_id")
# What imports that ended without coming through have left behind.
_SWEEP = text("""
DELETE FROM import_drafts WHERE merchant_id = :merchant_id AND import_id IN (
    SELECT imports.id FROM imports LEFT JOIN jobs ON jobs.id = imports.job_id
    WHERE imports.merchant_id = :merchant_id AND imports.finished_at IS NULL
      AND coalesce(jobs.state, 'failed') IN ('succeeded', 'failed', 'cancelled'))
""")


class StagingLost(Unavailable):
    """The staged rows went with a crash of the database; they will be read from the file again."""


class NoUsableRows(Invalid):
    """Not one row of the file could be used."""


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


def stage(run: Run, import_: Import, stream: BinaryIO) -> None:
    """Read the file from its beginning and stage its drafts; at the end, say so in the import's row.

    Raises FeedRefused, NoUsableRows, StagingLost, Stopped.
    """
    known = (
        import_.staged_at is not None
    )  # only the drafts were lost: its errors are recorded, and some are the merge's
    with run.transaction() as session:
        session.execute(_SWEEP, {"merchant_id": import_.merchant_id})
        clear_drafts(session, import_)
        if not known:
            forget_errors(session, merchant_id=import_.merchant_id, import_id=import_.id)
    run.progress(0, None, "reading")
    reading = delimited.read(stream, default_currency=import_.currency)
    size = import_.bytes or 0
    tally = ErrorTally()
    records = iter(reading.records)
    staged = 0
    while (first := next(records, None)) is not None:
        with run.transaction() as session:
            batch = chain((first,), islice(records, BATCH_ROWS - 1))
            staged += _copy(session, batch, tally, merchant_id=import_.merchant_id, import_id=import_.id)
        run.progress(staged, None, f"reading, {100 * stream.tell() // size} %" if size else "reading")
    with run.transaction() as session:
        _conclude(session, import_.id, reading, tally, staged=staged, known=known)
    if not staged:
        raise NoUsableRows(f"Not one of the {tally.fatal} rows could be used. The first: {tally.kept[0].reason}")


def _conclude(
    session: Session, import_id: UUID, reading: Reading, tally: ErrorTally, *, staged: int, known: bool
) -> None:
    import_ = session.get_one(Import, import_id)
    if count_drafts(session, import_) != staged:
        raise StagingLost(retry_after=1)
    if not known:
        record_errors(session, tally, merchant_id=import_.merchant_id, import_id=import_id)
        session.refresh(import_)
    moment: datetime = now()
    import_.format, import_.encoding, import_.delimiter = reading.format, reading.encoding, reading.delimiter
    import_.columns = dict(reading.columns)
    import_.rows, import_.staged_rows, import_.staged_at = staged + tally.fatal, staged, moment
    session.flush()


def _copy(
    session: Session, records: Iterator[Draft | RowError], tally: ErrorTally, *, merchant_id: UUID, import_id: UUID
) -> int:
    """Stage the drafts among the records and tally the errors; how many drafts there were.

    The rows go to the server as they are read: it takes them apart while we read on.
    """
    connection: Any = session.connection().connection.driver_connection
    connection.execute(_LOAD)
    with connection.cursor() as cursor, cursor.copy(f"COPY draft_load ({_FIELDS}) FROM STDIN") as copy:
        write = copy.write_row
        for record in records:
            if type(record) is RowError:
                tally.add(record)
                continue
            draft = _storable(record, tally)  # type: ignore[arg-type]
            if draft is not None:
                write(draft)
    return session.execute(_STAGE, {"merchant_id": merchant_id, "import_id": import_id}).rowcount  # type: ignore[attr-defined, no-any-return]


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
