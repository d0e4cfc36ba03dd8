"""Exports: ask for a file of products, follow it, fetch it."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response, StreamingResponse

from api.deps import CallerDep, EarlyCallerDep, IdempotencyKey, PageDep, SessionDep
from api.products import ProductQuery
from api.work import FailureOut, ProgressOut, Status
from services.catalog.queries import ProductFilter
from services.core.db import transaction
from services.core.paging import ListOut
from services.exports import queries
from services.exports.ask import start_export, status_url
from services.exports.queries import Asked

router = APIRouter(prefix="/bulk", tags=["bulk"])

Format = Literal["csv", "xlsx", "json", "ndjson"]
Columns = Literal["plain", "shopify", "woocommerce"]

_MEDIA_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "json": "application/json",
    "ndjson": "application/x-ndjson",
}


class ExportIn(ProductQuery):
    """What is to be exported, and how. The filters are those of the list of products; without any, all are."""

    model_config = ConfigDict(extra="forbid")

    format: Format
    columns: Columns | None = Field(default=None, description="For csv and xlsx; `plain`, our own, by default.")


class ExportStartedOut(BaseModel):
    """An export on its way."""

    export_id: UUID
    job_id: UUID
    status_url: str
    file_url: str


class ExportOut(BaseModel):
    """An export: what was asked for, how far it is, and its file."""

    id: UUID
    job_id: UUID
    status: Status
    progress: ProgressOut | None
    error: FailureOut | None
    format: Format
    columns: Columns | None
    filters: dict[str, Any]
    filename: str
    file_url: str | None = Field(description="Where the file is; null while there is none.")
    bytes: int | None
    products: int
    rows: int = Field(description="Of the table, without its header; in JSON one per product.")
    left_out: int = Field(description="Cells that were left empty because the format cannot hold them.")
    created_at: datetime
    finished_at: datetime | None
    expires_at: datetime = Field(description="When the file is removed.")


@router.post("/export", status_code=202, response_model=ExportStartedOut)
def start(body: ExportIn, session: SessionDep, caller: CallerDep, once: IdempotencyKey) -> Response:
    """Write products into a file, as a job. Answers as soon as it is safely noted."""

    def make() -> ExportStartedOut:
        filters = body.model_dump(include=set(ProductQuery.model_fields))
        export = start_export(
            session,
            merchant_id=caller.merchant_id,
            format=body.format,
            columns=body.columns,
            matching=ProductFilter(**filters),
        )
        where = status_url(export.id)
        return ExportStartedOut(export_id=export.id, job_id=export.job_id, status_url=where, file_url=f"{where}/file")

    return once(session, body, status=202, make=make)


@router.get("/exports")
def list_exports(session: SessionDep, caller: CallerDep, page: PageDep) -> ListOut[ExportOut]:
    """The merchant's exports, newest first."""
    found = queries.list_exports(session, page, merchant_id=caller.merchant_id).map(_shown)
    return ListOut[ExportOut].model_validate(found, from_attributes=True)


@router.get("/exports/{export_id}")
def get_export(export_id: UUID, session: SessionDep) -> ExportOut:
    """One export."""
    return _shown(queries.get_export(session, export_id))


@router.get(
    "/exports/{export_id}/file",
    response_class=Response,
    responses={200: {"content": {kind.partition(";")[0]: {} for kind in _MEDIA_TYPES.values()}}},
)
def get_file(export_id: UUID, caller: EarlyCallerDep) -> Response:
    """The file. 409 while there is none, 404 once it has been removed."""
    with transaction(merchant_id=caller.merchant_id, user_id=caller.user.id) as session:
        found = queries.get_export(session, export_id)
    file = queries.open_file(found)  # fetched over the network, perhaps: no transaction is open
    return StreamingResponse(
        queries.chunks(file),
        media_type=_MEDIA_TYPES[found.export.format],
        headers={
            "Content-Disposition": f'attachment; filename="{found.export.filename}"',
            "Content-Length": str(found.export.bytes),
            "X-Content-Type-Options": "nosniff",
        },
    )


def _shown(found: Asked) -> ExportOut:
    export = found.export
    own = ("id", "job_id", "format", "columns", "filters", "filename", "bytes", "products", "rows", "left_out")
    return ExportOut(
        **{name: getattr(export, name) for name in (*own, "created_at", "finished_at", "expires_at")},
        status=found.status,
        progress=found.progress,
        error=found.error,
        file_url=f"{status_url(export.id)}/file" if found.is_ready else None,
    )
