"""Runs over suppliers' offers: one of a connection at a time, resumed where it was cut, remembered afterwards."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from services.core.clock import now
from services.core.ids import new_id
from services.core.paging import Page, Slice, paginate
from services.jobs import Run
from services.models import Changeset, Job, SyncRun
from services.sourcing.offers.store import forget_seen

ENDED = ("succeeded", "failed", "cancelled")

_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('sync:' || :connection_id, 0))")


@dataclass(frozen=True, slots=True)
class Remembered:
    """A run, how it stands, and the plans it made: of the connection's products, and of linked variants."""

    sync: SyncRun
    state: str  # running | succeeded | failed | cancelled
    waits_for: str | None  # why its job waits, while it does
    changesets: list[Changeset]


def begin(run: Run, *, connection_id: UUID, kind: str, mode: str) -> SyncRun | None:
    """The run of this job: a new one, or the one that was cut. None while another one of the connection is at work.

    Of one that was given up (its job has ended) nothing is gone on with: what it stored stays, and counts for nothing.
    """
    with run.transaction() as session:
        session.execute(_LOCK, {"connection_id": str(connection_id)})
        mine = {SyncRun.merchant_id: run.merchant_id, SyncRun.connection_id: connection_id}
        others = (
            select(SyncRun, Job.state)
            .outerjoin(Job, Job.id == SyncRun.job_id)
            .where(*(column == value for column, value in mine.items()))
            .where(SyncRun.state == "running", SyncRun.job_id != run.id)
        )
        for other, job_state in session.execute(others).all():
            if job_state is not None and job_state not in ENDED:
                return None
            end(other, job_state if job_state in ("failed", "cancelled") else "failed", code="given_up")
        own = select(SyncRun).where(SyncRun.merchant_id == run.merchant_id, SyncRun.job_id == run.id)
        sync = session.scalar(own.with_for_update())
        if sync is not None and sync.state == "running":
            return sync
        if sync is not None:  # it had ended, and its job is retried: from the beginning, supplier and all
            session.delete(sync)
            session.flush()
        sync = SyncRun(
            id=new_id(), merchant_id=run.merchant_id, connection_id=connection_id, job_id=run.id, kind=kind, mode=mode,
            pages=0, items=0, problems=0, counts={},
        )  # fmt: skip
        session.add(sync)
        session.flush()
        session.refresh(sync)
        if mode == "full":
            forget_seen(session, sync)
        return sync


def end(sync: SyncRun, state: str, *, code: str | None = None, message: str | None = None) -> None:
    """Close a run: succeeded, failed or cancelled."""
    sync.state, sync.finished_at = state, now()
    sync.error_code, sync.error = code, None if message is None else message[:2000]


def list_runs(
    session: Session, page: Page, *, merchant_id: UUID, connection_id: UUID | None = None, kind: str | None = None
) -> Slice[Remembered]:
    """A page of runs, newest first."""
    statement = select(SyncRun).where(SyncRun.merchant_id == merchant_id)
    if connection_id is not None:
        statement = statement.where(SyncRun.connection_id == connection_id)
    if kind is not None:
        statement = statement.where(SyncRun.kind == kind)
    found: Slice[SyncRun] = paginate(session, statement, id_column=SyncRun.id, page=page)
    jobs = {job.id: job for job in session.scalars(select(Job).where(Job.id.in_([row.job_id for row in found.data])))}
    plans = _plans(session, found.data, merchant_id=merchant_id)
    return found.map(lambda sync: _remembered(sync, jobs.get(sync.job_id), plans))


def _plans(session: Session, runs: list[SyncRun], *, merchant_id: UUID) -> list[Changeset]:
    of_imports = Changeset.import_id.in_([run.import_id for run in runs if run.import_id is not None])
    named = Changeset.id.in_([run.changeset_id for run in runs if run.changeset_id is not None])
    own = select(Changeset).where(Changeset.merchant_id == merchant_id, of_imports | named)
    return list(session.scalars(own.order_by(Changeset.id)))


def _remembered(sync: SyncRun, job: Job | None, plans: list[Changeset]) -> Remembered:
    own = [
        plan
        for plan in plans
        if plan.id == sync.changeset_id or (plan.import_id is not None and plan.import_id == sync.import_id)
    ]
    state: str = sync.state
    if state == "running":  # nobody may have been there to close it
        state = "failed" if job is None else job.state if job.state in ENDED else "running"
    waits = job.reason if job is not None and state == "running" and job.state in ("scheduled", "queued") else None
    return Remembered(sync, state, waits, own)


def counted(sync: SyncRun) -> dict[str, Any]:
    """What a job's result says of its run."""
    told = {name: value for name, value in sync.counts.items() if name not in ("problems", "seen")}
    return {"sync_run_id": str(sync.id), "items": sync.items, "problems": sync.problems, **told}
