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
from services.models import Import, ImportRowError, Job


class ImportNotFound(NotFound):
    """There is no such import."""


@dataclass(frozen=True, slots=True)
class Operation:
    """An import and, as long as it is remembered, its job."""

    import_: Import
    job: Job | None

    @property
    def status(self) -> str:
        """The job's state. Of an import whose job is forgotten: succeeded, or expired when it never came through."""
        if self.import_.finished_at is not None:
            return "succeeded"
        return "expired" if self.job is None else self.job.state

    @property
    def phase(self) -> str:
        """What is next to be done: fetch, read, apply; or done."""
        if self.import_.finished_at is not None:
            return "done"
        if self.import_.storage_key is None:
            return "fetch"
        return "read" if self.import_.staged_at is None else "apply"

    @property
    def progress(self) -> dict[str, Any] | None:
        """Rows done of how many, and a note; None before there is any."""
        if self.import_.finished_at is not None:
            return {"done": self.import_.applied_rows, "total": self.import_.staged_rows, "note": None}
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
    return found.map(lambda import_: Operation(import_, jobs.get(import_.job_id)))


def get_operation(session: Session, id_: UUID) -> Operation:
    """One import, if it is the merchant's. Raises ImportNotFound."""
    import_ = session.get(Import, id_)
    if import_ is None:
        raise ImportNotFound()
    return Operation(import_, session.get(Job, import_.job_id))


def row_errors(session: Session, import_: Import, *, limit: int | None = None) -> list[ImportRowError]:
    """What was wrong with its rows, in the order of the file, as far as it was kept."""
    own = select(ImportRowError).where(
        ImportRowError.merchant_id == import_.merchant_id, ImportRowError.import_id == import_.id
    )
    return list(session.scalars(own.order_by(ImportRowError.n).limit(limit)))


def errors_csv(errors: list[ImportRowError]) -> Iterator[str]:
    """The errors as lines of a CSV that is safe to open in a spreadsheet."""
    yield _line(("line", "code", "column", "value", "reason"))
    for error in errors:
        yield _line((str(error.line), error.code, error.column or "", error.value or "", error.reason))


def _line(cells: tuple[str, ...]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow([_harmless(cell) for cell in cells])
    return text.getvalue()


def _harmless(cell: str) -> str:
    """A cell that a spreadsheet shows and does not run (OWASP, CSV injection)."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell
