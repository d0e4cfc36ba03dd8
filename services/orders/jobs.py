"""Jobs about orders that are here: mapped, sent to suppliers, followed."""

from datetime import date
from uuid import UUID

from services.jobs import Job


class MapOrderLines(Job, kind="map_order_lines", queue="orders", timeout=3600):
    """Look again at lines without a variant: all, or those of a SKU or barcode; with `variant_id` they are that one."""

    sku: str | None = None
    barcode: str | None = None
    variant_id: UUID | None = None


class ProcessOrderFulfillment(Job, kind="process_order_fulfillment", queue="orders", timeout=1800, max_attempts=10):
    """Route an order, send what is to be sent, and stay with it until every supplier has said yes or no."""

    order_id: UUID


class FulfillOrders(Job, kind="bulk_fulfill_orders", queue="orders", timeout=60):
    """The parent of many of these."""

    orders: int


class FollowOrders(Job, kind="follow_orders", queue="orders", timeout=300, schedulable=True):
    """Have suppliers asked how the orders stand that are due, and take up what was left lying."""


class FollowConnection(Job, kind="follow_supplier_orders", queue="orders", timeout=3600, max_attempts=8, backoff=30):
    """Ask one supplier how its orders stand that are due."""

    connection_id: UUID


class CheckSupplierOrder(Job, kind="check_supplier_order", queue="orders", timeout=300):
    """Ask a supplier how one of its orders stands: it says that it moved."""

    connection_id: UUID
    supplier_order_id: str


class ReconcileOrders(Job, kind="reconcile_orders", queue="orders", timeout=3600, schedulable=True):
    """Compare what was sent from `since` to `until` (days in UTC, both included) with what suppliers have.

    Without `since`: the last `days` days. Without a connection: each of the merchant's, in a job of its own.
    """

    connection_id: UUID | None = None
    since: date | None = None
    until: date | None = None
    days: int = 7
    after: UUID | None = None  # the intent up to which an earlier job has come
