"""Reading imports: how they go, what came of them, what was wrong with their rows."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.core.errors import NotFound
from services.core.paging import Page, Slice, paginate
from services.formats.formulas import harmless
from services.models import Changeset, Import, ImportRowError, Job


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
        if self.import_.storage_key is None:
            return "fetch"
        return "read" if self.import_.staged_at is None else "plan"

    @property
    def progress(self) -> dict[str, Any] | None:
        """Rows done of how many, and a note; None before there is any."""
        if self.import_.finished_at is not None:
            unread = (self.import_.skipped or {}).get("rows", 0)
            done, total = self.import_.applied_rows + unread, self.import_.staged_rows + unread
            return {"done": done, "total": total, "note": None}
        if self.job is None or self.job.progress_done is None:
            return None
        return {"done": self.job.progress_done, "total": self.job.progress_total, "note": self.job.progress_note}

    @property
    def error(self) -> dict[str, str | None] | None:
        """Why the last attempt ended badly."""
        if self.job is None or self.job.error_code is None:
            return None
        return {"code": self.job.error_code, "message": self.job.error_message}


def list_operations(session: Session, page: Page, *, merchant_id: UUID, source: str | None = None) -> Slice[Operation]:
    """A page of imports, newest first."""
    statement = select(Import).where(Import.merchant_id == merchant_id)
    if source is not None:
        statement = statement.where(Import.source == source)
    found: Slice[Import] = paginate(session, statement, id_column=Import.id, page=page)
    jobs = {
        job.id: job for job in session.scalars(select(Job).where(Job.id.in_([row.job_id for row in found.data]))).all()
    }
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


def row_errors(session: Session, import_: Import, *, limit: int | None = None) -> list[ImportRowError]:
    """What was wrong with its rows, in the order of the file, as far as it was kept."""
    own = select(ImportRowError).where(
        ImportRowError.merchant_id == import_.merchant_id, ImportRowError.import_id == import_.id
    )
    return list(session.scalars(own.order_by(ImportRowError.n).limit(limit)))


def errors_csv(errors: list[ImportRowError]) -> Iterator[str]:
    """The errors as lines of a CSV that is safe to open in a spreadsheet."""
    yield csv_line(("line", "code", "column", "value", "reason"))
    for error in errors:
        yield csv_line((str(error.line), error.code, error.column or "", error.value or "", error.reason))


def csv_line(cells: tuple[str, ...]) -> str:
    """A line of a CSV that is safe to open in a spreadsheet."""
    text = io.StringIO()
    csv.writer(text).writerow([harmless(cell) for cell in cells])
    return text.getvalue()
