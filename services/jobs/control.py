"""Stopping jobs and giving ended ones another life: one at a time or by filter."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, CompoundSelect, Select, Uuid, any_, exists, func, literal, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from services.core.errors import Conflict
from services.jobs.queries import JobFilter, get_job, select_jobs
from services.models import Job

BULK_LIMIT = 10_000

_twin = aliased(Job)


class JobAlreadyEnded(Conflict):
    """This job has already ended."""


class JobNotRetryable(Conflict):
    """Only a job that failed or was cancelled, or a parent with children that did, can be retried."""


class JobAlreadyActive(Conflict):
    """Another job with the same unique key is active."""


# In all statements here rows are named by arrays of ids, and neighbours looked up one by one (LATERAL, OFFSET 0), so
# that they are found through an index whatever the planner believes. On a young table, whose statistics know of nothing
# yet, joins by id compared each job with every other (23 s to cancel 1,000 of 20,000, measured). Children are looked up
# for all of a generation at once: where some parents have thousands, the planner takes every job for such a parent, and
# reads the table for each (60 s and more to cancel 4,000 children of one, measured).
_CHILDREN = text("SELECT id FROM jobs WHERE parent_id = ANY(:ids)")

# What runs is asked to stop; what waits stops here. A waiting parent is ended by the relay once its last child has.
_CANCEL = text("""
WITH locked AS MATERIALIZED (
    SELECT id FROM jobs WHERE id = ANY (:ids) ORDER BY id FOR NO KEY UPDATE
)
UPDATE jobs SET
    cancel_requested_at = coalesce(cancel_requested_at, clock_timestamp()),
    state = CASE WHEN state IN ('scheduled', 'queued') THEN 'cancelled' ELSE state END,
    reason = CASE WHEN state IN ('scheduled', 'queued') THEN 'cancel_requested' ELSE reason END,
    ended_at = CASE WHEN state IN ('scheduled', 'queued') THEN clock_timestamp() END,
    rung_at = CASE WHEN state = 'running' THEN rung_at END
WHERE id = ANY (ARRAY(SELECT id FROM locked)) AND state IN ('scheduled', 'queued', 'running', 'waiting')
RETURNING id
""")

# Whoever brings a child back holds everything above it: the relay settles no parent that is locked.
_LOCK_ANCESTORS = text("""
WITH RECURSIVE above AS (
    SELECT parent_id AS id FROM jobs WHERE id = ANY(:ids)
    UNION SELECT p.parent_id FROM above, LATERAL (SELECT parent_id FROM jobs WHERE id = above.id OFFSET 0) p
)
SELECT FROM jobs WHERE id = ANY (ARRAY(SELECT id FROM above)) ORDER BY id FOR NO KEY UPDATE
""")

# A new life: attempts start again, the fencing token goes on. A twin with the same unique key stays the only one, and
# of several ended twins the newest comes back. A child would take what is above it back to waiting: where an active
# twin is in the way there, the child stays as it is.
_AGAIN = text("""
WITH RECURSIVE locked AS MATERIALIZED (
    SELECT id, merchant_id, kind, unique_key, state, parent_id FROM jobs WHERE id = ANY(:ids)
    ORDER BY id FOR NO KEY UPDATE
),
above AS (
    SELECT locked.id AS child, p.id, p.merchant_id, p.kind, p.unique_key, p.state, p.parent_id
    FROM locked, LATERAL (SELECT * FROM jobs WHERE id = locked.parent_id OFFSET 0) p
    UNION ALL
    SELECT above.child, p.id, p.merchant_id, p.kind, p.unique_key, p.state, p.parent_id
    FROM above, LATERAL (SELECT * FROM jobs WHERE id = above.parent_id OFFSET 0) p
),
barred AS (
    SELECT child FROM above
    WHERE state IN ('succeeded', 'failed', 'cancelled')
      AND EXISTS (SELECT FROM jobs twin WHERE twin.merchant_id = above.merchant_id AND twin.kind = above.kind
                  AND twin.unique_key = above.unique_key AND twin.id <> above.id
                  AND twin.state NOT IN ('succeeded', 'failed', 'cancelled'))
),
chosen AS (
    SELECT id FROM (
        SELECT id, unique_key, row_number() OVER (PARTITION BY merchant_id, kind, unique_key ORDER BY id DESC) AS nth
        FROM locked WHERE state IN ('failed', 'cancelled') AND id NOT IN (SELECT child FROM barred)
    ) ended WHERE unique_key IS NULL OR nth = 1
)
UPDATE jobs SET state = 'queued', reason = 'retry_requested', attempt = 0, run_at = now(),
    queued_at = clock_timestamp(), ended_at = NULL, cancel_requested_at = NULL, result = NULL,
    error_code = NULL, error_message = NULL, error_fingerprint = NULL,
    progress_done = NULL, progress_total = NULL, progress_note = NULL
WHERE id = ANY (ARRAY(SELECT id FROM chosen)) AND state IN ('failed', 'cancelled')
  AND (unique_key IS NULL OR NOT EXISTS (
      SELECT FROM jobs twin WHERE twin.merchant_id = jobs.merchant_id AND twin.kind = jobs.kind
      AND twin.unique_key = jobs.unique_key AND twin.id <> jobs.id
      AND twin.state NOT IN ('succeeded', 'failed', 'cancelled')))
RETURNING id
""")

_WAIT_AGAIN = text("""
UPDATE jobs SET state = 'waiting', reason = 'retry_requested', ended_at = NULL, cancel_requested_at = NULL,
    error_code = NULL, error_message = NULL, error_fingerprint = NULL
WHERE id = ANY(:ids) AND state IN ('succeeded', 'failed', 'cancelled')
  AND (unique_key IS NULL OR NOT EXISTS (
      SELECT FROM jobs twin WHERE twin.merchant_id = jobs.merchant_id AND twin.kind = jobs.kind
      AND twin.unique_key = jobs.unique_key AND twin.id <> jobs.id
      AND twin.state NOT IN ('succeeded', 'failed', 'cancelled')))
RETURNING id
""")

# A child that gets another life takes what is above it back to waiting: no parent is over before its children are.
# What a parent failed of by itself it keeps.
_LIFT_PARENTS = text("""
WITH RECURSIVE above AS (
    SELECT parent_id AS id FROM jobs WHERE id = ANY(:ids) AND state NOT IN ('succeeded', 'failed', 'cancelled')
    UNION SELECT p.parent_id FROM above, LATERAL (SELECT parent_id FROM jobs WHERE id = above.id OFFSET 0) p
)
UPDATE jobs SET state = 'waiting', reason = 'child_retried', ended_at = NULL, cancel_requested_at = NULL,
    error_code = CASE WHEN error_code <> 'children_failed' THEN error_code END,
    error_message = CASE WHEN error_code <> 'children_failed' THEN error_message END,
    error_fingerprint = CASE WHEN error_code <> 'children_failed' THEN error_fingerprint END
WHERE id = ANY (ARRAY(SELECT id FROM above)) AND state IN ('succeeded', 'failed', 'cancelled')
""")


def cancel_job(session: Session, id_: UUID) -> Job:
    """Cancel a job and its children: at once where it waits, at the next checkpoint where it runs.

    Raises JobNotFound, JobAlreadyEnded (with the state).
    """
    job = get_job(session, id_)
    if id_ not in cancel_jobs(session, [id_]):
        session.refresh(job)
        raise JobAlreadyEnded(f"This job has already ended: it is {job.state}.", state=job.state)
    session.refresh(job)
    return job


def cancel_jobs(session: Session, ids: Sequence[UUID]) -> set[UUID]:
    """Cancel those of the jobs (and their children) that have not ended. Returns the ids it concerned."""
    family = list(ids)
    generation: Sequence[UUID] = family
    while generation:
        generation = session.scalars(_CHILDREN, {"ids": generation}).all()
        family += generation
    return set(session.scalars(_CANCEL, {"ids": family}))


def cancel_jobs_of_any_merchant(session: Session, ids: Sequence[UUID]) -> set[UUID]:
    """The same for an operator: `session` acts as the ledger role."""
    return cancel_jobs(session, ids)


def retry_job(session: Session, id_: UUID) -> Job:
    """Queue an ended job again. A parent's failed and cancelled children are queued and it waits for them.

    Raises JobNotFound, JobNotRetryable (with the state), JobAlreadyActive.
    """
    job = get_job(session, id_)
    unfinished = select(Job.id).where(Job.parent_id == id_, Job.state.in_(("failed", "cancelled")))
    children = list(session.scalars(unfinished)) if job.ended_at is not None else []
    own_failure = job.state == "failed" and job.error_code != "children_failed"
    session.execute(_LOCK_ANCESTORS, {"ids": [id_, *children]})
    try:
        if children and not own_failure:
            if not session.scalars(_WAIT_AGAIN, {"ids": [id_]}).all():
                raise JobAlreadyActive()
            session.execute(_AGAIN, {"ids": children})
        elif job.state not in ("failed", "cancelled"):
            raise JobNotRetryable(f"{JobNotRetryable.__doc__} This one is {job.state}.", state=job.state)
        elif not session.scalars(_AGAIN, {"ids": [id_]}).all():
            raise JobAlreadyActive()
        session.execute(_LIFT_PARENTS, {"ids": [id_]})
    except IntegrityError as error:
        raise JobAlreadyActive() from error
    session.refresh(job)
    return job


def bulk_cancel(session: Session, matching: JobFilter, *, dry_run: bool) -> dict[str, Any]:
    """Cancel up to 10,000 jobs that match and have not ended. `dry_run` only counts all that match."""
    active = Job.state.in_(("scheduled", "queued", "running", "waiting"))
    wanted = select_jobs(matching).where(active).with_only_columns(Job.id)
    matched, ids = _count_and_take(session, wanted, dry_run)
    return {"matched": matched, "changed": len(cancel_jobs(session, ids)) if ids else 0, "dry_run": dry_run}


def bulk_retry(session: Session, matching: JobFilter, *, dry_run: bool) -> dict[str, Any]:
    """Retry up to 10,000 failed or cancelled jobs that match, of twins the newest. `dry_run` only counts all of them.

    Raises JobAlreadyActive when a twin of one was enqueued at the same moment.
    """
    matched, ids = _count_and_take(session, _retryable(matching), dry_run)
    if not ids:
        return {"matched": matched, "changed": 0, "dry_run": dry_run}
    given = any_(literal(ids, ARRAY(Uuid)))
    # A parent that did its own part waits for its children again, and does not run again itself.
    bad = Job.state.in_(("failed", "cancelled"))
    children = dict(session.execute(select(Job.id, Job.parent_id).where(Job.parent_id == given, bad)).all())
    above = any_(literal(list(set(children.values())), ARRAY(Uuid)))
    did_its_part = (Job.state != "failed") | (Job.error_code == "children_failed")
    parents = set(session.scalars(select(Job.id).where(Job.id == above, did_its_part)))
    session.execute(_LOCK_ANCESTORS, {"ids": [*ids, *children]})
    try:
        waiting = set(session.scalars(_WAIT_AGAIN, {"ids": list(parents)}))
        again = {id_ for id_, parent_id in children.items() if parent_id in waiting}
        session.execute(_AGAIN, {"ids": list(again.union(ids) - parents)})
        session.execute(_LIFT_PARENTS, {"ids": ids})
    except IntegrityError as error:
        raise JobAlreadyActive from error
    still = select(func.count()).where(Job.id == given, Job.state.not_in(("failed", "cancelled")))
    return {"matched": matched, "changed": session.scalar(still) or 0, "dry_run": dry_run}


def _retryable(matching: JobFilter) -> CompoundSelect[Any]:
    """The ids of failed and cancelled jobs that match: of those with the same unique key the newest, if none is active.

    The others stay as they are, and must not stand before the rest in every batch.
    """
    ended = select_jobs(matching).where(Job.state.in_(("failed", "cancelled")))
    same = (_twin.merchant_id == Job.merchant_id) & (_twin.kind == Job.kind) & (_twin.unique_key == Job.unique_key)
    active = exists().where(same, _twin.state.not_in(("succeeded", "failed", "cancelled")))
    nth = func.row_number().over(partition_by=(Job.kind, Job.unique_key), order_by=Job.id.desc()).label("nth")
    keyed = (
        ended.where(Job.unique_key.is_not(None), Job.unique_key.is_(None) | ~active)
        .with_only_columns(Job.id, nth)
        .subquery()
    )
    return (
        ended.where(Job.unique_key.is_(None))
        .with_only_columns(Job.id)
        .union_all(select(keyed.c.id).where(keyed.c.nth == 1))
    )


def _count_and_take(
    session: Session, wanted: Select[Any] | CompoundSelect[Any], dry_run: bool
) -> tuple[int, list[UUID]]:
    """How many ids there are, and the first of them, unless they are only to be counted."""
    found = wanted.subquery()
    matched = session.scalar(select(func.count()).select_from(found)) or 0
    return matched, [] if dry_run else list(session.scalars(select(found.c.id).order_by(found.c.id).limit(BULK_LIMIT)))
