"""The job of files of orders."""

from uuid import UUID

from services.jobs import Job


class ImportOrders(Job, kind="import_orders", queue="import", timeout=3600):
    """Store the orders of a file. Every attempt goes on where the one before it ended."""

    order_import_id: UUID
