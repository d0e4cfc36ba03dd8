"""Handlers of the queue `orders`: what is sent to suppliers, and what becomes of it there."""

from typing import Any

from services.jobs import Outcome, Run
from services.orders.jobs import (
    CheckSupplierOrder,
    FollowConnection,
    FollowOrders,
    FulfillOrders,
    MapOrderLines,
    ProcessOrderFulfillment,
    ReconcileOrders,
)
from tasks import task


@task(MapOrderLines)
def map_order_lines(run: Run, job: MapOrderLines) -> dict[str, int]:
    """Lines that nobody knew."""
    from services.orders.incoming.again import map_again

    return map_again(run, job)


@task(ProcessOrderFulfillment)
def process_order_fulfillment(run: Run, job: ProcessOrderFulfillment) -> Outcome | None:
    """An order, to every supplier it needs."""
    from services.orders.placing.fulfil import fulfil  # brings an HTTP client along, which most jobs do not need

    return fulfil(run, order_id=job.order_id)


@task(FulfillOrders)
def bulk_fulfill_orders(_run: Run, job: FulfillOrders) -> dict[str, Any]:
    """Its children do the work."""
    return {"orders": job.orders}


@task(FollowOrders)
def follow_orders(run: Run, _job: FollowOrders) -> dict[str, Any]:
    """What is due, to jobs of their own; what was left lying, taken up."""
    from services.orders.following.rounds import look_after  # brings routing along, which most jobs do not need

    return look_after(run)


@task(FollowConnection)
def follow_supplier_orders(run: Run, job: FollowConnection) -> dict[str, Any]:
    """A supplier's orders that are due."""
    from services.orders.following.tracking import follow_connection

    return follow_connection(run, connection_id=job.connection_id)


@task(CheckSupplierOrder)
def check_supplier_order(run: Run, job: CheckSupplierOrder) -> None:
    """One order that its supplier says has moved."""
    from services.orders.following.tracking import check_one

    check_one(run, connection_id=job.connection_id, supplier_order_id=job.supplier_order_id)


@task(ReconcileOrders)
def reconcile_orders(run: Run, job: ReconcileOrders) -> dict[str, Any]:
    """A period of ours beside the suppliers'."""
    from services.orders.following.reconcile import reconcile

    return reconcile(run, job)
