"""What buyers send back: within the merchant's window, of what was placed, each piece once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from services.core.clock import now
from services.core.errors import Conflict, Invalid, NotFound
from services.core.ids import new_id
from services.models import OrderLine, Return, ReturnLine
from services.orders.events import Step, record
from services.orders.incoming.cancel import OrderNotFound
from services.orders.incoming.changes import lock_order
from services.orders.incoming.lines import OrderLineNotFound
from services.orders.incoming.queries import Returned
from services.orders.policy import policy_of

# What a return may become next.
MOVES: Mapping[str, tuple[str, ...]] = {
    "requested": ("approved", "rejected"),
    "approved": ("received", "rejected"),
    "received": ("refunded", "rejected"),
    "refunded": (),
    "rejected": (),
}


class ReturnNotFound(NotFound):
    """The order has no such return."""


class NothingToReturn(Conflict):
    """Nothing of this order has been sent to a buyer yet."""


class ReturnWindowOver(Conflict):
    """The time in which this order could be sent back is over."""


class TooManyPieces(Invalid):
    """So many pieces of this line cannot be sent back."""


class ReturnMoveNotAllowed(Conflict):
    """A return cannot go there from where it is."""


@dataclass(frozen=True, slots=True)
class Back:
    """Pieces of a line that come back."""

    line_id: UUID
    quantity: int
    reason: str


# Pieces that a supplier has, by line; and since when all of it has been delivered, or at least placed.
_PLACED = text("""
SELECT given.order_line_id, sum(given.quantity) AS pieces FROM intent_lines given
JOIN intents ON intents.id = given.intent_id
WHERE intents.order_id = :order_id AND intents.state = 'placed' AND given.refused_code IS NULL GROUP BY 1
""")
_SINCE = text("""
SELECT max(CASE WHEN found.state = 'delivered' THEN found.state_at END) AS delivered,
    bool_and(found.state = 'delivered') AS all_delivered, max(found.created_at) AS placed
FROM supplier_orders found JOIN intents ON intents.id = found.intent_id
WHERE intents.order_id = :order_id AND found.state <> 'cancelled'
""")


def ask_return(
    session: Session, order_id: UUID, *, merchant_id: UUID, back: Sequence[Back], note: str | None = None
) -> Returned:
    """Note that a buyer sends pieces back. The window counts from the delivery, where it is known.

    Raises OrderNotFound, NothingToReturn, ReturnWindowOver, OrderLineNotFound, TooManyPieces.
    """
    order = lock_order(session, order_id)
    if order is None:
        raise OrderNotFound
    placed = {row.order_line_id: row.pieces for row in session.execute(_PLACED, {"order_id": order_id})}
    if not placed:
        raise NothingToReturn
    since = session.execute(_SINCE, {"order_id": order_id}).one()
    days = policy_of(session, merchant_id).return_window_days
    if since.all_delivered and since.delivered + timedelta(days=days) < now():
        raise ReturnWindowOver(ended_at=(since.delivered + timedelta(days=days)).isoformat())
    lines = {line.id: line for line in session.scalars(select(OrderLine).where(OrderLine.order_id == order_id))}
    made = Return(id=new_id(), merchant_id=merchant_id, order_id=order_id, currency=order.currency, note=note)
    session.add(made)
    session.flush()
    for place, one in enumerate(back):
        line = lines.get(one.line_id)
        if line is None:
            raise OrderLineNotFound(param=f"lines.{place}.line_id")
        left = min(placed.get(line.id, 0), line.quantity - line.cancelled_quantity) - line.returned_quantity
        if one.quantity > left:
            raise TooManyPieces(f"{left} pieces of it can be sent back.", param=f"lines.{place}.quantity")
        line.returned_quantity += one.quantity
        session.add(
            ReturnLine(
                merchant_id=merchant_id, return_id=made.id, order_line_id=line.id, quantity=one.quantity,
                reason=one.reason,
            )
        )  # fmt: skip
    told = {
        "return_id": str(made.id),
        "lines": [{"line_id": str(one.line_id), "quantity": one.quantity, "reason": one.reason} for one in back],
    }
    record(session, [Step(order_id, "return_requested", told)], merchant_id=merchant_id)
    session.flush()
    session.refresh(made)
    return _with_lines(session, made)


def move_return(
    session: Session, order_id: UUID, return_id: UUID, *, merchant_id: UUID, state: str, refund: Decimal | None = None
) -> Returned:
    """Bring a return further. Rejected, its pieces may be sent back again; refunded, `refund` is what was paid back.

    Raises ReturnNotFound, ReturnMoveNotAllowed.
    """
    lock_order(session, order_id)
    own = select(Return).where(Return.id == return_id, Return.order_id == order_id).with_for_update()
    row = session.scalar(own.execution_options(populate_existing=True))
    if row is None:
        raise ReturnNotFound
    if state == row.state:
        return _with_lines(session, row)
    if state not in MOVES[row.state]:
        raise ReturnMoveNotAllowed(
            f"A return that is {row.state} can become: {', '.join(MOVES[row.state]) or 'nothing else'}.",
            param="state",
            state=row.state,
        )
    if state == "rejected":
        for one in session.scalars(select(ReturnLine).where(ReturnLine.return_id == return_id)):
            line = session.get_one(OrderLine, one.order_line_id)
            line.returned_quantity -= one.quantity
    told = {"return_id": str(return_id), "from": row.state, "to": state, "refund": refund and str(refund)}
    row.state, row.updated_at = state, now()
    if refund is not None:
        row.refund = refund
    record(
        session,
        [Step(order_id, "return_moved", {name: value for name, value in told.items() if value is not None})],
        merchant_id=merchant_id,
    )
    session.flush()
    return _with_lines(session, row)


def _with_lines(session: Session, row: Return) -> Returned:
    return Returned(row, list(session.scalars(select(ReturnLine).where(ReturnLine.return_id == row.id))))
