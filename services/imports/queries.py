"""Reading imports: how they go, and what came of them."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.core.errors import NotFound
from services.core.paging import Page, Slice, paginate
from services.jobs.queries import failure_of, jobs_of, progress_of
from services.models import Changeset, Import, Job


class ImportNotFound(NotFound):
    """There is no such import."""


@dataclass(frozen=True, slots=True)
class Operation:
    """An import, its latest plan if it has come so far, and, as long as it is remembered, its job."""

    import_: Import
    job: Job | None
    changeset: Changeset | None = None

    @property
    def status(self) -> str:
        """The job's state. Of an import whose job is forgotten: succeeded, or expired when it never came through."""
        if self.import_.finished_at is not None:
            return "succeeded"
        if self.job is not None:
            return self.job.state
        planned = self.changeset is not None and self.changeset.planned_at is not None
        return "succeeded" if planned else "expired"

    @property
    def phase(self) -> str:
        """What is next to be done: fetch, read, plan, awaiting_approval (by somebody), apply; or done."""
        plan = self.changeset
        if self.import_.finished_at is not None or (plan is not None and plan.finished_at is not None):
            return "done"
        if plan is not None and plan.planned_at is not None:
            return "apply" if plan.state == "applying" else "awaiting_approval"
        if self.import_.storage_key is None and self.import_.connection_id is None:
            return "fetch"
        return "read" if self.import_.staged_at is None else "plan"

    @property
    def progress(self) -> dict[str, Any] | None:
        """Rows done of how many, and a note; None before there is any."""
        if self.import_.finished_at is not None:
            unread = (self.import_.skipped or {}).get("rows", 0)
            done, total = self.import_.applied_rows + unread, self.import_.staged_rows + unread
            return {"done": done, "total": total, "note": None}
        return progress_of(self.job)

    @property
    def error(self) -> dict[str, str | None] | None:
        """Why the last attempt ended badly."""
        return failure_of(self.job)


def list_operations(session: Session, page: Page, *, merchant_id: UUID, source: str | None = None) -> Slice[Operation]:
    """A page of imports, newest first."""
    statement = select(Import).where(Import.merchant_id == merchant_id)
    if source is not None:
        statement = statement.where(Import.source == source)
    found: Slice[Import] = paginate(session, statement, id_column=Import.id, page=page)
    jobs = jobs_of(session, found.data)
    plans = _plans(session, [row.id for row in found.data], merchant_id=merchant_id)
    return found.map(lambda import_: Operation(import_, jobs.get(import_.job_id), plans.get(import_.id)))


def get_operation(session: Session, id_: UUID) -> Operation:
    """One import, if it is the merchant's. Raises ImportNotFound."""
    import_ = session.get(Import, id_)
    if import_ is None:
        raise ImportNotFound()
    plans = _plans(session, [id_], merchant_id=import_.merchant_id)
    return Operation(import_, session.get(Job, import_.job_id), plans.get(id_))


def _plans(session: Session, ids: list[UUID], *, merchant_id: UUID) -> dict[UUID, Changeset]:
    """The latest plan of each import: one that was overtaken and began anew has several."""
    own = select(Changeset).where(Changeset.merchant_id == merchant_id, Changeset.import_id.in_(ids))
    return {plan.import_id: plan for plan in session.scalars(own.order_by(Changeset.id)) if plan.import_id is not None}
