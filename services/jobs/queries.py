"""Reading the ledger: one job, lists, timelines, and why a job is not running yet."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import Select, func, select, text
from sqlalchemy.orm import Session

from services.core.clock import now
from services.core.errors import NotFound
from services.core.paging import Page, Slice, paginate
from services.core.settings import get_settings
from services.jobs.kinds import KINDS
from services.jobs.states import ENDED
from services.models import Job, JobEvent, JobStat, MerchantCap, Queue

ID_SLACK = timedelta(hours=1)


class JobNotFound(NotFound):
    """There is no such job."""


class WorkedOn(Protocol):
    """A row that a job works on."""

    job_id: Any  # a UUID


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs are meant. Empty fields do not narrow."""

    states: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    parent_id: UUID | None = None
    error_fingerprint: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


def select_jobs(matching: JobFilter) -> Select[Job]:
    """The jobs of the transaction's merchant that match, unordered."""
    statement = select(Job)
    for column, values in ((Job.state, matching.states), (Job.kind, matching.kinds), (Job.queue, matching.queues)):
        if values:
            statement = statement.where(column.in_(values) if len(values) > 1 else column == values[0])
    if matching.parent_id is not None:
        statement = statement.where(Job.parent_id == matching.parent_id)
    if matching.error_fingerprint is not None:
        statement = statement.where(Job.error_fingerprint == matching.error_fingerprint, Job.state == "failed")
    # Ids are time-ordered, give or take a transaction's length and a clock's error: they bound the page's index scan.
    if matching.created_after is not None:
        first = _first_id(matching.created_after, -ID_SLACK)
        statement = statement.where(Job.created_at >= matching.created_after, Job.id >= first)
    if matching.created_before is not None:
        last = _first_id(matching.created_before, ID_SLACK)
        statement = statement.where(Job.created_at < matching.created_before, Job.id < last)
    return statement


def _first_id(moment: datetime, slack: timedelta) -> UUID:
    """The least UUIDv7 of that millisecond, give or take the slack. Years that no clock shows are let in."""
    seconds = moment.timestamp() + slack.total_seconds()
    milliseconds = min(max(int(seconds * 1000), 0), 2**48 - 1)
    return UUID(int=milliseconds << 80)


def get_job(session: Session, id_: UUID) -> Job:
    """The job, if it is the merchant's. Raises JobNotFound."""
    job = session.get(Job, id_)
    if job is None:
        raise JobNotFound()
    return job


def list_jobs(session: Session, matching: JobFilter, page: Page, *, merchant_id: UUID) -> Slice[Job]:
    """A page of jobs, newest first."""
    # Said again although the policy says it: a constant lets the planner choose the index by itself.
    statement = select_jobs(matching).where(Job.merchant_id == merchant_id)
    found: Slice[Job] = paginate(session, statement, id_column=Job.id, page=page)
    return found


def jobs_of(session: Session, rows: Iterable[WorkedOn]) -> dict[UUID, Job]:
    """The jobs that work on these rows, by id, as far as they are remembered."""
    ids = [row.job_id for row in rows]
    return {job.id: job for job in session.scalars(select(Job).where(Job.id.in_(ids)))}


def progress_of(job: Job | None) -> dict[str, Any] | None:
    """Units done of how many, and a note; None before there is any."""
    if job is None or job.progress_done is None:
        return None
    return {"done": job.progress_done, "total": job.progress_total, "note": job.progress_note}


def failure_of(job: Job | None) -> dict[str, str | None] | None:
    """Code and message of the last attempt that ended badly."""
    if job is None or job.error_code is None:
        return None
    return {"code": job.error_code, "message": job.error_message}


def timeline(session: Session, id_: UUID) -> list[JobEvent]:
    """Every change of the job's state, oldest first."""
    return list(session.scalars(select(JobEvent).where(JobEvent.job_id == id_).order_by(JobEvent.id)))


def children_counts(session: Session, id_: UUID) -> dict[str, int]:
    """How many children of a job are in each state."""
    counts = select(Job.state, func.count()).where(Job.parent_id == id_).group_by(Job.state)
    return dict(session.execute(counts).all())


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """Failed jobs of one cause."""

    fingerprint: str
    jobs: int
    kinds: list[str]
    first_seen: datetime
    last_seen: datetime
    sample_job_id: UUID  # the newest
    code: str
    sample_message: str | None


_ERROR_GROUPS = text("""
WITH groups AS (
    SELECT error_fingerprint, count(*) AS jobs, array_agg(DISTINCT kind ORDER BY kind) AS kinds,
        min(ended_at) AS first_seen, max(ended_at) AS last_seen
    FROM jobs
    WHERE merchant_id = :merchant_id AND state = 'failed' AND error_fingerprint IS NOT NULL AND ended_at >= :since
    GROUP BY error_fingerprint ORDER BY jobs DESC, error_fingerprint LIMIT 100
)
SELECT groups.*, newest.id, newest.error_code, newest.error_message
FROM groups CROSS JOIN LATERAL (
    SELECT id, error_code, error_message FROM jobs
    WHERE merchant_id = :merchant_id AND state = 'failed' AND error_fingerprint = groups.error_fingerprint
    ORDER BY id DESC LIMIT 1
) newest
ORDER BY jobs DESC, error_fingerprint
""")


def error_groups(session: Session, *, merchant_id: UUID, window: timedelta) -> list[ErrorGroup]:
    """The causes of which jobs failed within the window, most jobs first, a hundred at most."""
    found = session.execute(_ERROR_GROUPS, {"merchant_id": merchant_id, "since": now() - window})
    return [ErrorGroup(*row) for row in found]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a job is not running: a stable code, a sentence, and about when it will start, where that can be said."""

    code: str
    detail: str
    estimated_start: datetime | None = None


def why_waiting(session: Session, job: Job) -> Waiting | None:
    """What the job waits for, or None when it runs or has ended."""
    if job.state in ENDED or job.state == "running":
        return None
    if job.state == "scheduled":
        return _why_scheduled(job)
    if job.state == "waiting":
        counts = children_counts(session, job.id)
        left = sum(count for state, count in counts.items() if state not in ENDED)
        return Waiting("children", f"It waits for {left} of {sum(counts.values())} child jobs.")
    queue = session.get_one(Queue, job.queue)
    if queue.paused_at is not None:
        return Waiting("queue_paused", f"The queue {job.queue} is paused: {queue.pause_reason or 'no reason given'}.")
    if queue.consumed_at is None or queue.consumed_at < now() - timedelta(seconds=60):
        return Waiting("no_worker", f"No worker has taken from the queue {job.queue} for a minute.")
    if job.kind not in KINDS:
        return Waiting("unknown_kind", f"No process of this release knows jobs of the kind {job.kind}.")
    if job.rung_at is not None:
        return Waiting("next", "It is next: a worker has been told and will start it when one is free.", now())
    return _why_behind(session, job, queue)


def _why_scheduled(job: Job) -> Waiting:
    code = "due_later" if job.reason == "scheduled" else job.reason
    at = f"{job.run_at.astimezone(UTC):%H:%M} UTC"
    words = {
        "due_later": "It is to run later.",
        "unknown_kind": "No worker of this release knows jobs of its kind; it is tried again every minute.",
        "retry": f"Attempt {job.attempt} of {job.max_attempts} failed ({job.error_code}); it will be tried again.",
        "behind_another_sync": "Another sync of the same connection is at work; this one comes after it.",
        "supplier_quota": f"The supplier's quota is spent; there will be room again at about {at}.",
        "supplier_down": f"The supplier is down and left alone; it goes on as soon as it answers, or is asked at {at}.",
    }
    return Waiting(code, words.get(code, f"It was put off: {job.reason}."), job.run_at)


def _why_behind(session: Session, job: Job, queue: Queue) -> Waiting:
    in_flight = session.scalar(
        select(func.count()).where(Job.queue == job.queue, Job.merchant_id == job.merchant_id, Job.rung_at.is_not(None))
    )
    own_cap = session.get(MerchantCap, (job.merchant_id, job.queue))
    usual = get_settings().merchant_cap if queue.merchant_cap is None else queue.merchant_cap
    cap = own_cap.max_in_flight if own_cap else usual
    ahead = _ahead(session, job)
    per_second = _recent_rate(session, job)
    estimate = now() + timedelta(seconds=(ahead + 1) / per_second) if per_second else None
    if (in_flight or 0) >= cap:
        return Waiting(
            "merchant_cap",
            f"{in_flight} of your jobs are in flight here, the most allowed is {cap}; "
            f"{ahead} of yours are ahead of it.",
            estimate,
        )
    limit = f", which runs {queue.max_running} jobs at a time" if queue.max_running is not None else ""
    return Waiting("behind", f"{ahead} of your jobs are ahead of it in the queue {job.queue}{limit}.", estimate)


def _ahead(session: Session, job: Job) -> int:
    """Jobs of the same merchant that go first. Counted to 10,000: beyond that the number says nothing more."""
    first = (
        select(Job.id)
        .where(
            Job.queue == job.queue,
            Job.merchant_id == job.merchant_id,
            Job.state == "queued",
            Job.rung_at.is_(None),
            (Job.priority > job.priority) | ((Job.priority == job.priority) & (Job.id < job.id)),
        )
        .limit(10_000)
    )
    return session.scalar(select(func.count()).select_from(first.subquery())) or 0


def _recent_rate(session: Session, job: Job) -> float:
    """The merchant's jobs ended per second in this queue over the last five minutes."""
    ended: Any = session.scalar(
        select(func.sum(JobStat.jobs)).where(
            JobStat.merchant_id == job.merchant_id,
            JobStat.queue == job.queue,
            JobStat.minute >= now() - timedelta(minutes=5),
        )
    )
    return float(ended or 0) / 300
