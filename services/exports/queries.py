"""Reading exports: how they go, and their files."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.core.errors import Conflict, NotFound
from services.core.paging import Page, Slice, paginate
from services.jobs.queries import failure_of, jobs_of, progress_of
from services.models import Export, Job
from services.storage import get_storage

_CHUNK = 256 * 1024


class ExportNotFound(NotFound):
    """There is no such export."""


class ExportExpired(NotFound):
    """The file has been removed. Export again."""


class ExportNotReady(Conflict):
    """There is no file yet."""


@dataclass(frozen=True, slots=True)
class Asked:
    """An export and, as long as it is remembered, its job."""

    export: Export
    job: Job | None

    @property
    def status(self) -> str:
        """The job's state; succeeded once there is a file, expired once there is none any more."""
        if self.export.removed_at is not None:
            return "expired"
        if self.export.finished_at is not None:
            return "succeeded"
        return "expired" if self.job is None else self.job.state

    @property
    def is_ready(self) -> bool:
        """Whether there is a file."""
        return self.export.finished_at is not None and self.export.removed_at is None

    @property
    def progress(self) -> dict[str, Any] | None:
        """Products done of how many, and a note; None before there is any."""
        if self.export.finished_at is not None:
            return {"done": self.export.products, "total": self.export.products, "note": None}
        return progress_of(self.job)

    @property
    def error(self) -> dict[str, str | None] | None:
        """Why the last attempt ended badly."""
        return failure_of(self.job)


def list_exports(session: Session, page: Page, *, merchant_id: UUID) -> Slice[Asked]:
    """A page of exports, newest first."""
    found: Slice[Export] = paginate(
        session, select(Export).where(Export.merchant_id == merchant_id), id_column=Export.id, page=page
    )
    jobs = jobs_of(session, found.data)
    return found.map(lambda export: Asked(export, jobs.get(export.job_id)))


def get_export(session: Session, id_: UUID) -> Asked:
    """One export, if it is the merchant's. Raises ExportNotFound."""
    export = session.get(Export, id_)
    if export is None:
        raise ExportNotFound()
    return Asked(export, session.get(Job, export.job_id))


def open_file(asked: Asked) -> BinaryIO:
    """The export's file; close it. Call it outside any transaction.

    Raises ExportNotReady (with its status), ExportExpired, FileMissing, StorageAway.
    """
    export = asked.export
    if asked.status == "expired":
        raise ExportExpired()
    if not asked.is_ready or export.storage_key is None:
        raise ExportNotReady(f"There is no file: the export is {asked.status}.", export_status=asked.status)
    return get_storage().open(export.storage_key, merchant_id=export.merchant_id)


def chunks(file: BinaryIO) -> Iterator[bytes]:
    """The file piece by piece; it is closed behind the last one, or when nobody wants more."""
    with file:
        while chunk := file.read(_CHUNK):
            yield chunk
