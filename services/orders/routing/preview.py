"""How an order would be routed now. Nothing is changed, nobody is called."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.models import Order, OrderLine
from services.orders.incoming.cancel import OrderNotFound
from services.orders.incoming.changes import OrderCancelled
from services.orders.routing.candidates import Known, known
from services.orders.routing.route import Routing


@dataclass(frozen=True, slots=True)
class Preview:
    """What is left of an order, and where it would go."""

    order: Order
    lines: tuple[OrderLine, ...]  # still to be had, those that are not mapped included
    known: Known
    routing: Routing


def preview(session: Session, order_id: UUID, *, otherwise: Mapping[str, Any]) -> Preview:
    """Route an order by the merchant's policy, but for what is said `otherwise` (fields of `Rules`).

    Raises OrderNotFound, OrderCancelled.
    """
    order = session.get(Order, order_id)
    if order is None:
        raise OrderNotFound
    if order.kind == "cancellation" or order.state == "cancelled":
        raise OrderCancelled("A cancelled order goes nowhere.")
    found = known(session, order)
    found = replace(found, rules=replace(found.rules, **otherwise))
    own = select(OrderLine).where(OrderLine.order_id == order_id).order_by(OrderLine.n)
    left = {line.id for line in found.lines}
    lines = tuple(
        line
        for line in session.scalars(own)
        if line.id in left or (line.variant_id is None and line.quantity > line.cancelled_quantity)
    )
    return Preview(order, lines, found, found.route())
