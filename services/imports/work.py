"""One import from its file to the catalogue. Whatever cut an attempt, the next one comes to the same end."""

from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.catalog.merge import Merged, merge_range
from services.formats.base import FeedRefused, RowError
from services.imports.receive import FeedNotUsable
from services.imports.row_errors import ErrorTally, record_errors
from services.imports.staging import StagingLost, clear_drafts, is_staged, stage
from services.jobs import Outcome, Run, Snooze
from services.models import Import
from services.storage import get_storage

# Drafts a batch. With 100,000 rows, 2,000, 8,000 and 20,000 took the same processor time within a tenth. A batch of
# 8,000 is a fifth of a second, far from the 60 s a statement may take, and what a cancellation has to wait for.
MERGE_ROWS = 8_000
WAIT_SECONDS = 2.0


# One import of a source at a time, in the order they were asked for. The lock only guards the decision: whoever has
# the latest turn keeps it until its job has ended.
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('import:' || :merchant_id || ':' || :source, 0))")
_OTHERS = text("""
SELECT
    coalesce(bool_or(other.turn_at > own.turn_at), false) AS overtaken,
    coalesce(bool_or((other.turn_at > coalesce(own.turn_at, '-infinity') OR own.turn_at IS NULL AND other.id < own.id)
                     AND other.finished_at IS NULL AND jobs.state NOT IN ('succeeded', 'failed', 'cancelled')),
             false) AS at_work
FROM imports own
JOIN imports other ON other.merchant_id = own.merchant_id AND other.source = own.source AND other.id <> own.id
LEFT JOIN jobs ON jobs.id = other.job_id
WHERE own.id = :id
""")
_TAKE_TURN = text("UPDATE imports SET turn_at = clock_timestamp() WHERE id = :id AND (turn_at IS NULL OR :anew)")
# Its rows may have been overwritten: what it had done counts for nothing.
_BEGIN_ANEW = text("""
UPDATE imports SET staged_at = NULL, apply_cursor = NULL, applied_rows = 0, products_created = 0, products_updated = 0,
    products_unchanged = 0, variants_created = 0, variants_updated = 0, variants_unchanged = 0
WHERE id = :id
""")
# A batch and the cursor behind it are lost together or not at all, so only the last commit waits for the disk.
_NO_WAIT = text("SET LOCAL synchronous_commit TO off")
_WAIT = text("SET LOCAL synchronous_commit TO DEFAULT")
_ADD = text("""
UPDATE imports SET apply_cursor = :upto, applied_rows = applied_rows + :rows,
    products_created = products_created + :products_created, products_updated = products_updated + :products_updated,
    products_unchanged = products_unchanged + :products_unchanged,
    variants_created = variants_created + :variants_created, variants_updated = variants_updated + :variants_updated,
    variants_unchanged = variants_unchanged + :variants_unchanged
WHERE id = :id
""")


def run_import(run: Run, *, import_id: UUID) -> Outcome | None:
    """Do what is left to do of an import; its last transaction also ends the job.

    Snoozes while another import of the same source is at work. Raises FeedNotUsable, NoUsableRows, StagingLost, what
    fetching and storage raise, and Stopped.
    """
    import_ = _take_turn(run, import_id)
    if import_ is None:
        return Snooze(WAIT_SECONDS, "behind_another_import")
    if import_.url is not None and import_.storage_key is None:
        from services.imports.fetch import fetch  # brings an HTTP client along, which files do not need

        fetch(run, import_)
    with run.transaction() as session:
        import_ = session.get_one(Import, import_id)
        staged = is_staged(session, import_)
    if not staged:
        _stage(run, import_)
    while _merge_next(run, import_id):
        pass
    return None


def _take_turn(run: Run, import_id: UUID) -> Import | None:
    """The import, if it is its turn. One that had its turn, failed, and comes back after another begins anew."""
    with run.transaction() as session:
        import_ = session.get_one(Import, import_id)
        session.execute(_LOCK, {"merchant_id": str(import_.merchant_id), "source": import_.source})
        others = session.execute(_OTHERS, {"id": import_id}).one()
        if others.at_work:
            return None
        if others.overtaken:
            session.execute(_BEGIN_ANEW, {"id": import_id})
        session.execute(_TAKE_TURN, {"id": import_id, "anew": others.overtaken})
        session.refresh(import_)
        return import_


def _stage(run: Run, import_: Import) -> None:
    with get_storage().open(import_.storage_key or "", merchant_id=import_.merchant_id) as file:
        try:
            stage(run, import_, file)
        except FeedRefused as refused:
            raise FeedNotUsable(refused) from refused


def _merge_next(run: Run, import_id: UUID) -> bool:
    """Merge one range of products; False when that was the last. Cursor, counts and rows are one transaction."""
    with run.transaction() as session:
        session.execute(_NO_WAIT)
        import_ = session.get_one(Import, import_id)
        if import_.applied_rows < import_.staged_rows:
            _merge(session, import_)
        done, total = import_.applied_rows, import_.staged_rows
        if done == total:
            _finish(run, session, import_)
    run.progress_report = (done, total, "updating the catalogue")
    if not run.ended:
        run.checkpoint()
    return not run.ended


def _merge(session: Session, import_: Import) -> None:
    merged = merge_range(
        session,
        merchant_id=import_.merchant_id,
        source=import_.source,
        import_id=import_.id,
        after=import_.apply_cursor or "",
        rows=MERGE_ROWS,
    )
    if merged is None or import_.applied_rows + merged.rows > import_.staged_rows:
        raise StagingLost(retry_after=1)
    tally = ErrorTally(map(_repeated, merged.repeated))
    record_errors(session, tally, merchant_id=import_.merchant_id, import_id=import_.id)
    session.execute(_ADD, {"id": import_.id, **_counts(merged), "upto": merged.upto, "rows": merged.rows})
    session.refresh(import_)


def _finish(run: Run, session: Session, import_: Import) -> None:
    session.execute(_WAIT)
    clear_drafts(session, import_)
    session.execute(text("UPDATE imports SET finished_at = now() WHERE id = :id"), {"id": import_.id})
    run.finish(session, {"import_id": str(import_.id), **summary(import_)})


def _repeated(found: Any) -> RowError:
    what = f"variant {found.variant_key!r} of {found.product_key!r}" if found.variant_key else f"{found.product_key!r}"
    reason = (
        f"Lines {found.line} and {found.later_line} are both {what[:300]}; where they differ, the later one counts."
    )
    return RowError(found.line, "duplicate_variant", None, (found.variant_key or found.product_key)[:200], reason)


def _counts(merged: Merged) -> dict[str, int]:
    return {name: getattr(merged, name) for name in COUNTS}


COUNTS = (
    *("products_created", "products_updated", "products_unchanged"),
    *("variants_created", "variants_updated", "variants_unchanged"),
)


def summary(import_: Import) -> dict[str, Any]:
    """What came of an import so far, as its job and the API tell it."""
    return {
        "rows": import_.rows,
        "products": {name: getattr(import_, f"products_{name}") for name in ("created", "updated", "unchanged")},
        "variants": {name: getattr(import_, f"variants_{name}") for name in ("created", "updated", "unchanged")},
        "errors": import_.errors,
        "warnings": import_.warnings,
    }
