"""One import of a source at a time, in the order they were asked for; and what becomes of older plans of the source."""

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.jobs import Run
from services.models import Import

# The lock only guards the decision: whoever has the latest turn keeps it until its job has ended.
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
# A plan that somebody has approved is applied by a job of its own.
_APPLYING = text("""
SELECT EXISTS (
    SELECT FROM changesets c JOIN jobs ON jobs.id = c.job_id
    WHERE c.merchant_id = :merchant_id AND c.source = :source AND c.state = 'applying'
        AND c.import_id <> :id AND jobs.state NOT IN ('succeeded', 'failed', 'cancelled'))
""")
_TAKE = text("UPDATE imports SET turn_at = clock_timestamp() WHERE id = :id AND (turn_at IS NULL OR :anew)")
# Its rows may have been overwritten: what it had planned counts for nothing.
_BEGIN_ANEW = text("""
UPDATE imports SET staged_at = NULL, applied_rows = 0, products_created = 0, products_updated = 0,
    products_unchanged = 0, variants_created = 0, variants_updated = 0, variants_unchanged = 0
WHERE id = :id
""")
# A plan nobody has decided about was made for a catalogue, and by a feed, that are no longer the latest.
_DISCARD_OLDER = text("""
UPDATE changesets c SET state = 'discarded', finished_at = now(), note = 'overtaken by import ' || :import_id
WHERE c.merchant_id = :merchant_id AND c.source = :source AND c.kind = 'import' AND c.finished_at IS NULL
    AND (c.import_id <> :id OR :anew)
    AND NOT (c.state = 'applying' AND EXISTS (
        SELECT FROM jobs WHERE jobs.id = c.job_id AND jobs.id <> :job_id
            AND jobs.state NOT IN ('succeeded', 'failed', 'cancelled')))
""")

_SWEEPS = [
    text(f"""
DELETE FROM {table} WHERE merchant_id = :merchant_id AND import_id IN (
    SELECT imports.id FROM imports LEFT JOIN jobs ON jobs.id = imports.job_id
    WHERE imports.merchant_id = :merchant_id AND coalesce(jobs.state, 'failed') IN ('succeeded', 'failed', 'cancelled')
        AND NOT EXISTS (SELECT FROM changesets c WHERE c.merchant_id = :merchant_id AND c.import_id = imports.id
                        AND c.finished_at IS NULL)
        AND EXISTS (SELECT FROM {table} d WHERE d.merchant_id = :merchant_id AND d.import_id = imports.id))
""")  # noqa: S608  # our own tables
    for table in ("import_drafts", "import_missing")
]


def take_turn(run: Run, import_id: UUID) -> Import | None:
    """The import, if it is its turn; None while another of its source is at work, or an approved plan of it.

    With the turn, plans of the source that are still open are discarded. An import that had its turn, failed, and comes
    back after another begins anew.
    """
    with run.transaction() as session:
        import_ = session.get_one(Import, import_id)
        own = {"id": import_id, "merchant_id": import_.merchant_id, "source": import_.source}
        session.execute(_LOCK, {"merchant_id": str(import_.merchant_id), "source": import_.source})
        others = session.execute(_OTHERS, own).one()
        if others.at_work or session.scalar(_APPLYING, own):
            return None
        more = {"import_id": str(import_id), "job_id": import_.job_id, "anew": others.overtaken}
        session.execute(_DISCARD_OLDER, {**own, **more})
        if session.scalar(_APPLYING, own):  # approved in this moment
            return None
        if others.overtaken:
            session.execute(_BEGIN_ANEW, own)
        session.execute(_TAKE, {**own, "anew": others.overtaken})
        session.refresh(import_)
        return import_


def sweep_drafts(session: Session, *, merchant_id: UUID) -> None:
    """Drop drafts that nobody will need, and what their feeds lack: of imports that ended and have no open plan."""
    for sweep in _SWEEPS:
        session.execute(sweep, {"merchant_id": merchant_id})
