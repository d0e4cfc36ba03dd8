"""Reading orders: lists by filter, and one with its whole story."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.core.paging import Page, Slice, paginate
from services.models import (
    AttentionItem,
    Intent,
    IntentLine,
    Order,
    OrderEvent,
    OrderLine,
    Parcel,
    Return,
    ReturnLine,
    SupplierOrder,
)
from services.orders.attention import of_order
from services.orders.incoming.cancel import OrderNotFound
from services.orders.incoming.changes import lines_of

MOST_EVENTS = 500  # of a story: the newest


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """Which orders are asked for; None does not filter."""

    state: str | None = None
    channel: str | None = None
    external_id: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    attention: str | None = None  # a cause that is open, or "any"


@dataclass(frozen=True, slots=True)
class Listed:
    """An order in a list."""

    order: Order
    lines: int
    pieces: int
    attention: tuple[str, ...]  # causes that are open


@dataclass(frozen=True, slots=True)
class Sent:
    """An intent, what it is for, and what became of it at the supplier."""

    intent: Intent
    lines: list[IntentLine]
    supplier_orders: list[SupplierOrder]
    parcels: list[Parcel]


@dataclass(frozen=True, slots=True)
class Returned:
    """What was sent back together."""

    of: Return
    lines: list[ReturnLine]


@dataclass(frozen=True, slots=True)
class Story:
    """All there is of an order."""

    order: Order
    lines: list[OrderLine]
    events: list[OrderEvent]
    intents: list[Sent]
    returns: list[Returned]
    attention: list[AttentionItem]


def list_orders(session: Session, matching: OrderFilter, page: Page, *, merchant_id: UUID) -> Slice[Listed]:
    """The merchant's orders, newest first."""
    found = select(Order).where(Order.merchant_id == merchant_id)
    for column, value in (
        (Order.state, matching.state),
        (Order.channel, matching.channel),
        (Order.external_id, matching.external_id),
    ):
        if value is not None:
            found = found.where(column == value)
    if matching.created_after is not None:
        found = found.where(Order.created_at > matching.created_after)
    if matching.created_before is not None:
        found = found.where(Order.created_at < matching.created_before)
    if matching.attention is not None:
        waiting = select(AttentionItem.id).where(AttentionItem.order_id == Order.id, AttentionItem.closed_at.is_(None))
        if matching.attention != "any":
            waiting = waiting.where(AttentionItem.cause == matching.attention)
        found = found.where(waiting.exists())
    shown = paginate(session, found, id_column=Order.id, page=page)
    beside = _beside(session, [order.id for order in shown.data])
    return shown.map(lambda order: Listed(order, *beside(order.id)))


def listed(session: Session, order_ids: Sequence[UUID]) -> dict[UUID, Listed]:
    """These orders as a list shows them."""
    found = select(Order).where(Order.id.in_(order_ids)).execution_options(populate_existing=True)
    beside = _beside(session, order_ids)
    return {order.id: Listed(order, *beside(order.id)) for order in session.scalars(found)}


def _beside(session: Session, ids: Sequence[UUID]) -> Callable[[UUID], tuple[int, int, tuple[str, ...]]]:
    """What a list tells of orders beside their rows: lines, pieces, causes."""
    wanted = func.sum(OrderLine.quantity - OrderLine.cancelled_quantity)
    counted = (
        select(OrderLine.order_id, func.count(), wanted).where(OrderLine.order_id.in_(ids)).group_by(OrderLine.order_id)
    )
    pieces = {row[0]: (row[1], row[2]) for row in session.execute(counted)}
    open_causes = (
        select(AttentionItem.order_id, AttentionItem.cause)
        .where(AttentionItem.order_id.in_(ids), AttentionItem.closed_at.is_(None))
        .distinct()
        .order_by(AttentionItem.cause)
    )
    causes: dict[UUID, list[str]] = {}
    for row in session.execute(open_causes):
        if row.order_id is not None:
            causes.setdefault(row.order_id, []).append(row.cause)
    return lambda id_: (*pieces.get(id_, (0, 0)), tuple(causes.get(id_, ())))


def get_story(session: Session, order_id: UUID) -> Story:
    """One order with everything that is known of it. Raises OrderNotFound."""
    order = session.scalar(select(Order).where(Order.id == order_id).execution_options(populate_existing=True))
    if order is None:
        raise OrderNotFound
    newest = select(OrderEvent).where(OrderEvent.order_id == order_id).order_by(OrderEvent.id.desc())
    return Story(
        order,
        lines_of(session, order_id),
        list(session.scalars(newest.limit(MOST_EVENTS)))[::-1],
        _sent(session, order_id),
        _returned(session, order_id),
        of_order(session, order_id),
    )


def _sent(session: Session, order_id: UUID) -> list[Sent]:
    fresh = {"populate_existing": True}
    own = select(Intent).where(Intent.order_id == order_id).order_by(Intent.id)
    intents = list(session.scalars(own.execution_options(**fresh)))
    ids = [one.id for one in intents]
    of: dict[type[Any], dict[UUID, list[Any]]] = {IntentLine: {}, SupplierOrder: {}, Parcel: {}}
    for kind, rows in of.items():
        for row in (
            session.scalars(select(kind).where(kind.intent_id.in_(ids)).execution_options(**fresh)) if ids else ()
        ):
            rows.setdefault(row.intent_id, []).append(row)
    return [Sent(one, *(of[kind].get(one.id, []) for kind in (IntentLine, SupplierOrder, Parcel))) for one in intents]


def _returned(session: Session, order_id: UUID) -> list[Returned]:
    returns = list(session.scalars(select(Return).where(Return.order_id == order_id).order_by(Return.id)))
    lines: dict[UUID, list[ReturnLine]] = {}
    for line in session.scalars(select(ReturnLine).where(ReturnLine.return_id.in_([one.id for one in returns]))):
        lines.setdefault(line.return_id, []).append(line)
    return [Returned(one, lines.get(one.id, [])) for one in returns]
