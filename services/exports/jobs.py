"""The jobs of this domain."""

from uuid import UUID

from services.jobs import Job


class ExportProducts(Job, kind="export_products", queue="import", timeout=3600):
    """Write products into a file. Every attempt begins anew: what an earlier one has stored is removed first."""

    export_id: UUID


class RemoveExport(Job, kind="remove_export", queue="import", timeout=300):
    """Remove an export's file when its time is over. Enqueued together with the export."""

    export_id: UUID
