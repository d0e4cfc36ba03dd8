"""Orders coming in: each stored once, whatever comes twice; what is known already is changed, and seen to change."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import insert as plain_insert
from sqlalchemy import select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from services.core.clock import now
from services.core.errors import Conflict, Invalid, ShopOptiError
from services.core.ids import new_id
from services.models import Order, OrderLine
from services.orders.events import Step, record
from services.orders.incoming.cancel import take_back
from services.orders.incoming.changes import change_orders, refresh
from services.orders.incoming.said import SaidOrder

Outcome = Literal["created", "changed", "unchanged", "refused"]


class OrderRepeated(Invalid):
    """The same order stands here twice."""


class CancellationChanged(Conflict):
    """This cancellation was taken note of as it was; send what is new under an id of its own."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of an order that came in."""

    outcome: Outcome
    order_id: UUID
    channel: str
    external_id: str
    changes: dict[str, Any] = field(default_factory=dict)  # field → [from, to]
    error: ShopOptiError | None = None  # of one that was refused: nothing of it was stored


def receive(session: Session, said: Sequence[SaidOrder], *, merchant_id: UUID) -> list[Receipt]:
    """Store orders, in a number of statements that hardly grows with theirs. A receipt for each, in their order.

    One that is refused (it changes what was sent, or what was cancelled) does not keep the others from being stored.
    Raises OrderRepeated, with `param` the place of the second.
    """
    places: dict[tuple[str, str], int] = {}
    for place, one in enumerate(said):
        if places.setdefault(_key(one), place) != place:
            raise OrderRepeated(f"Order {one.external_id!r} of {one.channel!r} stands here twice.", param=str(place))
    made = _insert(session, sorted(said, key=_key), merchant_id=merchant_id)
    known = _lock(session, [key for key in places if key not in made], merchant_id=merchant_id)
    _complete(session, [(made[_key(one)], one) for one in said if _key(one) in made], merchant_id=merchant_id)
    found = _again(session, [(known[key], said[places[key]]) for key in known], merchant_id=merchant_id)
    return [
        Receipt("created", made[_key(one)].id, *_key(one)) if _key(one) in made else found[_key(one)] for one in said
    ]


def _key(said: SaidOrder) -> tuple[str, str]:
    return said.channel, said.external_id


def _insert(session: Session, said: Sequence[SaidOrder], *, merchant_id: UUID) -> dict[tuple[str, str], Order]:
    """Rows for those that are not known yet. In one order for everybody, or two lists could wait for each other."""
    if not said:
        return {}
    rows = [
        {
            "id": new_id(),
            "merchant_id": merchant_id,
            "kind": one.kind,
            "state": "received" if one.kind == "order" else "cancelled",
            "cancelled_at": None if one.kind == "order" else now(),
            "said": one.print,
            **{name: getattr(one, name) for name in _SAID},
        }
        for one in said
    ]
    unknown = insert(Order).on_conflict_do_nothing(index_elements=["merchant_id", "channel", "external_id"])
    return {(order.channel, order.external_id): order for order in session.scalars(unknown.returning(Order), rows)}


_SAID = (
    *("channel", "external_id", "number", "currency", "customer", "address"),
    *("shipping_paid", "placed_at", "note"),
)


def _lock(session: Session, keys: Sequence[tuple[str, str]], *, merchant_id: UUID) -> dict[tuple[str, str], Order]:
    if not keys:
        return {}
    own = (
        select(Order)
        .where(Order.merchant_id == merchant_id, tuple_(Order.channel, Order.external_id).in_(keys))
        .order_by(Order.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return {(order.channel, order.external_id): order for order in session.scalars(own)}


def _complete(session: Session, made: Sequence[tuple[Order, SaidOrder]], *, merchant_id: UUID) -> None:
    """Lines, story, variants and state of orders that are new."""
    if not made:
        return
    lines = [
        {
            "id": new_id(),
            "merchant_id": merchant_id,
            "order_id": order.id,
            "n": n,
            "quantity": line.quantity,
            "cancelled_quantity": line.cancelled,
            **{name: getattr(line, name) for name in ("external_id", "sku", "barcode", "title", "price")},
        }
        for order, said in made
        for n, line in enumerate(said.lines or (), start=1)
    ]
    if lines:
        session.execute(plain_insert(OrderLine), lines)
    steps = [
        Step(order.id, "received", {"channel": said.channel, "lines": len(said.lines or ())}) for order, said in made
    ]
    record(session, steps, merchant_id=merchant_id)
    refresh(session, [order for order, _ in made], merchant_id=merchant_id)
    for order, said in made:
        if said.kind == "cancellation":
            take_back(session, order, said)


def _again(
    session: Session, pairs: Sequence[tuple[Order, SaidOrder]], *, merchant_id: UUID
) -> dict[tuple[str, str], Receipt]:
    """Orders that are known, said once more."""
    receipts: dict[tuple[str, str], Receipt] = {}
    differing: list[tuple[Order, SaidOrder]] = []
    for order, said in pairs:
        key = _key(said)
        if order.said == said.print:
            receipts[key] = Receipt("unchanged", order.id, *key)
        elif order.kind == "cancellation":
            receipts[key] = Receipt("refused", order.id, *key, error=CancellationChanged())
        elif said.kind == "cancellation":
            taken = take_back(session, order, said)
            receipts[key] = Receipt("changed" if taken else "unchanged", order.id, *key, changes=taken)
        else:
            differing.append((order, said))
    ids = [order.id for order, _ in differing]
    for id_, (_, said), result in zip(
        ids, differing, change_orders(session, differing, merchant_id=merchant_id), strict=True
    ):
        key = _key(said)
        if isinstance(result, ShopOptiError):
            receipts[key] = Receipt("refused", id_, *key, error=result)
        else:
            receipts[key] = Receipt("changed" if result else "unchanged", id_, *key, changes=result)
    return receipts
