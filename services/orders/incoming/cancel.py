"""Orders that are no longer wanted: cancelled by the merchant, or taken back by their channel, as far as not sent."""

from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.core.clock import now
from services.core.errors import NotFound
from services.models import Order, OrderLine
from services.orders.attention import Item, close_items, open_items
from services.orders.events import Step, record
from services.orders.incoming.changes import already_sent, give_up_planned, lines_of, lock_order, sent_pieces
from services.orders.incoming.said import SaidLine, SaidOrder
from services.orders.states import settle


class OrderNotFound(NotFound):
    """There is no such order."""


def cancel_order(
    session: Session, order_id: UUID, *, merchant_id: UUID, unsent_only: bool = False, reason: str | None = None
) -> Order:
    """Cancel an order before it is sent; with `unsent_only` what of it was not sent. Cancelling twice is cancelling.

    Raises OrderNotFound, and OrderAlreadySent, naming what was sent or is being sent.
    """
    order = lock_order(session, order_id)
    if order is None:
        raise OrderNotFound
    if order.state == "cancelled":
        return order
    given_up = give_up_planned(session, order_id, reason=reason or "The order was cancelled.")
    sent = sent_pieces(session, order_id)
    if sent and not unsent_only:
        raise already_sent(session, order_id)
    taken = []
    for line in lines_of(session, order_id):
        left = line.quantity - line.cancelled_quantity - max(sent.get(line.id, 0), line.returned_quantity)
        if left > 0:
            line.cancelled_quantity += left
            taken.append({"line_id": str(line.id), "n": line.n, "sku": line.sku, "quantity": left})
    session.flush()
    if not sent:
        order.state, order.cancelled_at = "cancelled", now()
        close_items(session, [order_id])
    order.version += 1
    told: dict[str, Any] = {"lines": taken, "reason": reason, "intents": [str(id_) for id_ in given_up]}
    said = {name: value for name, value in told.items() if value}
    step = Step(order_id, "pieces_cancelled" if sent else "cancelled", said)
    record(session, [step], merchant_id=merchant_id)
    _close_unmapped(session, order_id)
    settle(session, [order_id], merchant_id=merchant_id)
    return order


def take_back(session: Session, order: Order, said: SaidOrder) -> dict[str, Any]:
    """A cancellation that came in: take its pieces from the order it names, as far as they were not sent.

    `order` is the cancellation's own row, or, where it came under the order's own id, the order: then it says how many
    pieces are cancelled in all, so that saying it again changes nothing. The caller has locked it.
    """
    under_own_id = order.kind == "order"
    target = order if under_own_id else _named_by(session, order)
    if target is None or target.state == "cancelled":
        if not under_own_id and target is None:
            detail: dict[str, Any] = {"lines": [_shown(line) for line in said.lines or ()]}
            open_items(session, [Item(order.id, "cancellation_unmatched", detail)], merchant_id=order.merchant_id)
        return {}
    taken, too_late, unknown = _take(session, target, said.lines or (), in_all=under_own_id)
    merchant_id = order.merchant_id
    items = []
    if too_late:
        detail = {"lines": too_late, "cancellation": order.external_id}
        items.append(Item(target.id, "cancelled_after_sending", detail, subject=order.external_id))
    if unknown:
        items.append(Item(order.id, "cancellation_unmatched", {"lines": unknown}))
    open_items(session, items, merchant_id=merchant_id)
    if taken:
        target.version += 1
        said_so: dict[str, Any] = {"lines": taken, "cancellation": order.external_id}
        record(session, [Step(target.id, "pieces_cancelled", said_so)], merchant_id=merchant_id)
        _close_unmapped(session, target.id)
        settle(session, [target.id], merchant_id=merchant_id)
    return {"lines_cancelled": taken} if taken else {}


def _named_by(session: Session, cancellation: Order) -> Order | None:
    """The order a cancellation takes back: its id says so, with a C before it."""
    if cancellation.external_id[:1] not in ("C", "c"):
        return None
    named = session.scalar(
        select(Order.id).where(
            Order.merchant_id == cancellation.merchant_id,
            Order.channel == cancellation.channel,
            Order.external_id == cancellation.external_id[1:],
            Order.kind == "order",
        )
    )
    return None if named is None else lock_order(session, named)


def _take(
    session: Session, target: Order, said: tuple[SaidLine, ...], *, in_all: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """What was taken from the order's lines, what could not be because it was sent, and what it does not have."""
    lines = lines_of(session, target.id)
    wanted: dict[UUID, int] = {}
    unknown = []
    for one in said:
        left = -one.quantity
        for line in [line for line in lines if _alike(line, one)]:
            room = line.quantity - line.returned_quantity - wanted.get(line.id, 0)
            part = min(left, room if in_all else room - line.cancelled_quantity)
            if part > 0:
                wanted[line.id] = wanted.get(line.id, 0) + part
                left -= part
        if left:
            unknown.append({**_shown(one), "quantity": -left})
    by_id = {line.id: line for line in lines}
    more = {
        id_: pieces - by_id[id_].cancelled_quantity if in_all else pieces
        for id_, pieces in wanted.items()
        if not in_all or pieces > by_id[id_].cancelled_quantity
    }
    if more:
        give_up_planned(session, target.id, reason="Pieces of the order were cancelled.", line_ids=list(more))
    sent = sent_pieces(session, target.id)
    taken, too_late = [], []
    for id_, pieces in more.items():
        line = by_id[id_]
        free = max(0, line.quantity - line.cancelled_quantity - sent.get(id_, 0))
        told = {"line_id": str(id_), "n": line.n, "sku": line.sku}
        if part := min(pieces, free):
            line.cancelled_quantity += part
            taken.append({**told, "quantity": part})
        if pieces > part:
            too_late.append({**told, "quantity": pieces - part})
    session.flush()
    return taken, too_late, unknown


def _alike(line: OrderLine, said: SaidLine) -> bool:
    if said.external_id and line.external_id:
        return said.external_id == line.external_id
    if said.sku or said.barcode:
        return (line.sku, line.barcode) == (said.sku, said.barcode)
    return said.title is not None and line.title == said.title


def _shown(line: SaidLine) -> dict[str, Any]:
    return {name: getattr(line, name) for name in ("sku", "barcode", "title", "quantity") if getattr(line, name)}


def _close_unmapped(session: Session, order_id: UUID) -> None:
    """Nobody has to say any more what a line is of which nothing is wanted."""
    gone = select(OrderLine.id).where(
        OrderLine.order_id == order_id,
        OrderLine.variant_id.is_(None),
        OrderLine.cancelled_quantity == OrderLine.quantity,
    )
    for line_id in session.scalars(gone):
        close_items(session, [order_id], cause="unmapped", subject=str(line_id))
