"""Asking for orders to be fulfilled: what is refused at once, and the jobs for the rest."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.core.errors import Conflict, Invalid, ShopOptiError
from services.core.ids import new_id
from services.jobs import enqueue, enqueue_many
from services.orders.events import Step, record
from services.orders.incoming.cancel import OrderNotFound
from services.orders.incoming.changes import OrderAlreadySent, OrderCancelled
from services.orders.incoming.lines import map_lines
from services.orders.jobs import FulfillOrders, ProcessOrderFulfillment
from services.orders.schedules import keep_schedules
from services.orders.states import settle
from services.orders.watch import CANCELLED_THERE, close_refusals, review

BATCH = 1000


class OrderWithoutAddress(Invalid):
    """The order has no address that anything could be sent to."""


class LinesUnmapped(Conflict):
    """Nobody knows what some of the order's lines are: map them, or let your policy send the others without them."""


class OrderNotReady(Conflict):
    """Something of this order waits for you: see its attention items."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The job that sends an order; `again`: it was at work already."""

    job_id: UUID
    again: bool


@dataclass(frozen=True, slots=True)
class AskedMany:
    """The parent of many such jobs, which orders got one, and why others did not."""

    job_id: UUID | None  # None: no order is to be sent
    accepted: list[UUID]
    under_way: list[UUID]  # had a job already
    refused: dict[UUID, ShopOptiError]


def ask(session: Session, *, merchant_id: UUID, order_id: UUID) -> Asked:
    """Have an order sent to its suppliers. Asked twice, it is the same job.

    Raises OrderNotFound, OrderAlreadySent, OrderCancelled, OrderWithoutAddress, LinesUnmapped, OrderNotReady.
    """
    error = _judged(session, [order_id], merchant_id=merchant_id)[order_id]
    if error is not None:
        raise error
    job = ProcessOrderFulfillment(order_id=order_id)
    job_id, created = enqueue(session, job, merchant_id=merchant_id, unique_key=str(order_id))
    if created:
        _note(session, [order_id], [job_id])
        keep_schedules(session, merchant_id=merchant_id)
    return Asked(job_id, again=not created)


def ask_many(session: Session, *, merchant_id: UUID, order_ids: Sequence[UUID]) -> AskedMany:
    """Have many orders sent: a parent with a job for each that may be. What may not is said, and stops nobody else."""
    wanted = list(dict.fromkeys(order_ids))
    errors = _judged(session, wanted, merchant_id=merchant_id)
    refused = {id_: error for id_, error in errors.items() if error is not None}
    review(session, list(refused), merchant_id=merchant_id)
    willing = [id_ for id_ in wanted if id_ not in refused]
    busy = set(session.scalars(_BUSY, {"merchant_id": merchant_id, "keys": [str(id_) for id_ in willing]}))
    free = [id_ for id_ in willing if str(id_) not in busy]
    if not free:
        return AskedMany(None, [], willing, refused)
    parent, _ = enqueue(session, FulfillOrders(orders=len(free)), merchant_id=merchant_id)
    for first in range(0, len(free), BATCH):
        part = free[first : first + BATCH]
        enqueue_many(
            session,
            [ProcessOrderFulfillment(order_id=id_) for id_ in part],
            merchant_id=merchant_id,
            unique_keys=[str(id_) for id_ in part],
            parent_id=parent,
        )
    jobs = {UUID(row.unique_key): row.id for row in session.execute(_CHILDREN, {"parent": parent})}
    _note(session, list(jobs), list(jobs.values()))
    keep_schedules(session, merchant_id=merchant_id)
    late = [id_ for id_ in willing if id_ not in jobs]
    return AskedMany(parent, list(jobs), late, refused)


_BUSY = text("""
SELECT unique_key FROM jobs WHERE merchant_id = :merchant_id AND kind = 'process_order_fulfillment'
    AND unique_key = ANY(:keys) AND state NOT IN ('succeeded', 'failed', 'cancelled')
""")
_CHILDREN = text("SELECT id, unique_key FROM jobs WHERE parent_id = :parent")

_NOTE = text("""
WITH noted AS (
    UPDATE orders SET job_id = given.job_id FROM unnest(:orders, :jobs) AS given (id, job_id)
    WHERE orders.id = given.id RETURNING orders.id, orders.merchant_id, orders.job_id
)
INSERT INTO order_events (id, merchant_id, order_id, kind, data)
SELECT event.id, noted.merchant_id, noted.id, 'fulfilment_asked', jsonb_build_object('job_id', noted.job_id)
FROM noted JOIN unnest(:orders, :events) AS event (order_id, id) ON event.order_id = noted.id
""")


def _note(session: Session, order_ids: list[UUID], job_ids: list[UUID]) -> None:
    session.execute(_NOTE, {"orders": order_ids, "jobs": job_ids, "events": [new_id() for _ in order_ids]})


_LOOK = text("""
SELECT orders.id, orders.state, orders.kind, orders.address IS NOT NULL AS has_address, (
    SELECT array_agg(lines.n ORDER BY lines.n) FROM order_lines lines
    WHERE lines.order_id = orders.id AND lines.variant_id IS NULL AND lines.quantity > lines.cancelled_quantity
) AS unmapped, EXISTS (
    SELECT FROM order_lines lines
    WHERE lines.order_id = orders.id AND lines.variant_id IS NOT NULL AND lines.quantity > lines.cancelled_quantity
) AS some_mapped
FROM orders WHERE orders.id = ANY(:ids) ORDER BY orders.id FOR NO KEY UPDATE
""")
# Of what was placed, the lines of orders that the supplier has cancelled since: they are to be had again. Where it does
# not say what is in which order, only when it has cancelled all of them.
_LAPSED = text("""
WITH given_up AS (
    UPDATE intent_lines SET refused_code = :code FROM intents
    WHERE intents.id = intent_lines.intent_id AND intents.order_id = ANY(:ids) AND intents.state = 'placed'
        AND intent_lines.refused_code IS NULL
        AND EXISTS (SELECT FROM supplier_orders found WHERE found.intent_id = intents.id AND found.state = 'cancelled'
            AND coalesce(intent_lines.supplier_order_id, found.id) = found.id)
        AND NOT EXISTS (SELECT FROM supplier_orders found WHERE found.intent_id = intents.id
            AND found.state <> 'cancelled' AND coalesce(intent_lines.supplier_order_id, found.id) = found.id)
    RETURNING intents.order_id, intents.id, intent_lines.order_line_id
)
SELECT order_id, id, array_agg(order_line_id::text) AS lines FROM given_up GROUP BY order_id, id ORDER BY id
""")
_UNMAPPED = text("""
SELECT id FROM order_lines WHERE order_id = ANY(:ids) AND variant_id IS NULL AND quantity > cancelled_quantity
""")
_PARTIAL = text("SELECT partial FROM order_policies WHERE merchant_id = :merchant_id")
_OPEN = text("""
SELECT order_id, array_agg(DISTINCT cause ORDER BY cause) AS causes FROM attention_items
WHERE order_id = ANY(:ids) AND closed_at IS NULL GROUP BY order_id
""")


def _judged(session: Session, ids: Sequence[UUID], *, merchant_id: UUID) -> dict[UUID, ShopOptiError | None]:
    """Why each may not be sent now, or None. It is asked for: what a supplier refused before may be tried again, what
    it has cancelled since is to be had elsewhere, and lines that nobody knew may be known by now.
    """
    close_refusals(session, ids)
    _take_back_lapsed(session, ids, merchant_id=merchant_id)
    settle(session, ids, merchant_id=merchant_id)
    unmapped = list(session.scalars(_UNMAPPED, {"ids": list(ids)}))
    if unmapped and any(one.variant_id for one in map_lines(session, unmapped, merchant_id=merchant_id)):
        settle(session, ids, merchant_id=merchant_id)
    rows = {row.id: row for row in session.execute(_LOOK, {"ids": list(ids)})}
    partial = bool(session.scalar(_PARTIAL, {"merchant_id": merchant_id}))
    waiting = {row.order_id: row.causes for row in session.execute(_OPEN, {"ids": list(ids)})}
    return {
        id_: OrderNotFound() if id_ not in rows else _why_not(rows[id_], partial, waiting.get(id_, [])) for id_ in ids
    }


def _take_back_lapsed(session: Session, ids: Sequence[UUID], *, merchant_id: UUID) -> None:
    lapsed = session.execute(_LAPSED, {"ids": list(ids), "code": CANCELLED_THERE}).all()
    steps = [Step(row.order_id, "pieces_wanted_again", {"line_ids": row.lines}, row.id) for row in lapsed]
    record(session, steps, merchant_id=merchant_id)


def _why_not(row: Any, partial: bool, causes: Sequence[str]) -> ShopOptiError | None:
    if row.kind == "cancellation" or row.state == "cancelled":
        return OrderCancelled("A cancelled order is not sent.")
    if row.state in ("placed", "shipped", "delivered"):
        return OrderAlreadySent("This order has been sent to its suppliers.", param="order_id", state=row.state)
    if row.state in ("fulfilling", "partly_placed"):
        return None
    if not row.has_address:
        return OrderWithoutAddress(param="address")
    if row.unmapped and not (partial and row.some_mapped):
        return LinesUnmapped(param="lines", lines=list(row.unmapped))
    if row.state == "attention":
        return OrderNotReady(causes=list(causes))
    return None
