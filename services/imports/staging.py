"""Drafts into the staging table, with COPY; and whether what was staged is still there.

The table is unlogged: a crash of Postgres empties it. An attempt that was cut, a table that was emptied: either way
the rows are dropped and the stored file is read again. The catalogue knows up to which key it has taken them.
"""

import gc
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, BinaryIO, TypeVar

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.catalog.drafts import StagingLost
from services.core.clock import now
from services.core.errors import Conflict, Invalid
from services.formats import read
from services.formats.base import Draft, RowError
from services.imports.mappings import saved_mapping
from services.imports.row_errors import ErrorTally, forget_errors, record_errors
from services.imports.turns import sweep_drafts
from services.jobs import Run
from services.models import Import

# With 100,000 rows, batches of 2,500 took a quarter more processor time than of 10,000, and 40,000 saved a twentieth.
# A batch takes about 0.2 s, most of it the reader's, which is also how long a cancellation may have to wait. It is held
# in memory, so rows with long descriptions make smaller ones.
BATCH_ROWS = 10_000
BATCH_CHARACTERS = 10_000_000  # of descriptions
T = TypeVar("T")
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
_STAGE = f"""
INSERT INTO import_drafts (merchant_id, import_id, {_FIELDS}, print)
SELECT %(merchant_id)s, %(import_id)s, {", ".join(f"{name}::{_TYPES.get(name, 'text')}" for name in Draft._fields)},
    hash_record_extended(ROW({", ".join(name for name in Draft._fields if name not in ("line", "product_key"))}), 0)
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
    """What the plan was made of is read otherwise now: a mapping, or the offers of a supplier, have changed since."""


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

    Raises FeedRefused, NoUsableRows, StagedOtherwise, StagingLost, Stopped.
    """
    with run.transaction() as session:
        begin_staging(session, import_)
        mapping = saved_mapping(session, merchant_id=import_.merchant_id, source=import_.source)
    run.progress(0, None, "reading")
    reading = read.read(stream, default_currency=import_.currency, mapping=mapping)
    tally = ErrorTally()
    records = iter(reading.records)
    staged = 0
    batch = _read_on(records, tally)
    while batch is not None:
        with run.transaction() as session:
            staged += len(batch)
            batch = _copy(session, import_, batch, meanwhile=lambda: _read_on(records, tally))
        run.progress(staged, None, f"reading, {100 * reading.done():.0f} %" if reading.done else "reading")
    with run.transaction() as session:
        row = session.get_one(Import, import_.id)
        if row.staged_at is None:
            record_errors(session, tally, merchant_id=row.merchant_id, import_id=row.id)
            session.refresh(row)
        row.format, row.encoding, row.delimiter = reading.format, reading.encoding, reading.delimiter
        row.columns = dict(reading.columns)
        close_staging(session, row, rows=staged + tally.fatal, staged=staged)
    if not staged:
        raise NoUsableRows(f"Not one of the {tally.fatal} rows could be used. The first: {tally.kept[0].reason}")


def begin_staging(session: Session, import_: Import) -> None:
    """Make room for the drafts of an import. If they only were lost, its errors stay: some were found in planning."""
    sweep_drafts(session, merchant_id=import_.merchant_id)
    clear_drafts(session, import_)
    if import_.staged_at is None:
        forget_errors(session, merchant_id=import_.merchant_id, import_id=import_.id)


def close_staging(session: Session, import_: Import, *, rows: int, staged: int) -> None:
    """Say in the import's row that its drafts are all there: `staged` of so many `rows`.

    Raises StagingLost when they are not, and StagedOtherwise when they are not those there were before.
    """
    there = session.execute(_SUM, {"merchant_id": import_.merchant_id, "import_id": import_.id}).one()
    if there.rows != staged:
        raise StagingLost(retry_after=1)
    if import_.staged_at is not None and (staged, there.print) != (import_.staged_rows, import_.staged_print):
        raise StagedOtherwise()
    moment: datetime = now()
    import_.rows, import_.staged_rows, import_.staged_at = rows, staged, moment
    import_.staged_print = there.print
    session.flush()


def _read_on(records: Iterator[Draft | RowError], tally: ErrorTally) -> list[Draft] | None:
    """The next batch of drafts, with the errors among them tallied; None at the end."""
    drafts: list[Draft] = []
    size = 0
    gc.disable()  # it would look through ten thousand new tuples again and again, and find nothing: a quarter more time
    try:
        for record in records:
            if type(record) is RowError:
                tally.add(record)
                continue
            draft = _storable(record, tally)  # type: ignore[arg-type]
            if draft is None:
                continue
            drafts.append(draft)
            size += len(draft.description or "")
            if len(drafts) >= BATCH_ROWS or size >= BATCH_CHARACTERS:
                break
    finally:
        gc.enable()
    return drafts or None


def _copy(session: Session, import_: Import, drafts: list[Draft], *, meanwhile: Callable[[], T]) -> T:
    """Stage the drafts. While the server takes them in, do something else: returns what that returned."""
    connection: Any = session.connection().connection.driver_connection
    connection.execute(_LOAD)
    with connection.cursor() as cursor, cursor.copy(f"COPY draft_load ({_FIELDS}) FROM STDIN") as copy:
        write = copy.write_row
        for draft in drafts:
            write(draft)
    with connection.pipeline() as pipeline:
        connection.execute(_STAGE, {"merchant_id": import_.merchant_id, "import_id": import_.id})
        pipeline.sync()  # sends it; the answer is waited for at the block's end
        return meanwhile()


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
