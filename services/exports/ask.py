"""Asking for an export: its row, the job that writes the file, and the job that removes it in the end."""

from datetime import timedelta
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy.orm import Session

from services.catalog.queries import ProductFilter
from services.core.clock import now
from services.core.errors import Invalid
from services.core.ids import new_id
from services.core.settings import get_settings
from services.exports.jobs import ExportProducts, RemoveExport
from services.jobs import enqueue
from services.models import Export

FILTERS = TypeAdapter(ProductFilter)
TABLES = ("csv", "xlsx")


class ColumnsNotForFormat(Invalid):
    """Only tables (csv, xlsx) have columns to choose; JSON holds products as the API shows them."""


def start_export(
    session: Session, *, merchant_id: UUID, format: str, columns: str | None, matching: ProductFilter
) -> Export:
    """An export of the matching products. `format` is csv, xlsx, json or ndjson; `columns` a layout, for tables only.

    Without a layout tables have our own columns (plain). Raises ColumnsNotForFormat.
    """
    if format not in TABLES and columns is not None:
        raise ColumnsNotForFormat(param="columns")
    if format in TABLES:
        columns = columns or "plain"
    moment = now()
    id_ = new_id()
    expires_at = moment + timedelta(days=get_settings().export_days)
    job_id, _ = enqueue(session, ExportProducts(export_id=id_), merchant_id=merchant_id)
    enqueue(session, RemoveExport(export_id=id_), merchant_id=merchant_id, run_at=expires_at)
    named = "" if columns in (None, "plain") else f"-{columns}"
    export = Export(
        id=id_,
        merchant_id=merchant_id,
        job_id=job_id,
        format=format,
        columns=columns,
        filters=FILTERS.dump_python(matching, mode="json", exclude_none=True),
        filename=f"products{named}-{moment:%Y%m%d-%H%M%S}.{format}",
        created_at=moment,
        expires_at=expires_at,
    )
    session.add(export)
    session.flush()
    return export


def status_url(export_id: UUID) -> str:
    """Where to ask how an export is going."""
    return f"/api/v1/bulk/exports/{export_id}"
