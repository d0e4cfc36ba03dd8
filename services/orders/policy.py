"""How a merchant wants orders to be routed, sent and watched; the defaults where they have said nothing."""

from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from services.core.errors import Invalid
from services.models import Connection, Order, OrderPolicy
from services.orders.states import settle

# What may be said, as it is where nothing was. The table's defaults are the same; a test holds the two together.
DEFAULTS: dict[str, Any] = {
    **dict.fromkeys(("cost_ceiling", "shipping_ceiling", "ceiling_currency", "min_margin")),
    **{"route": "cheapest", "preferred": [], "fallback": True, "one_parcel": "preferred", "split": True},
    **{"cost_tolerance": Decimal("0.05"), "cancel_window_seconds": 0, "partial": False, "no_tracking_days": 7},
    **{"no_movement_hours": 48, "unknown_hours": 2, "return_window_days": 30},
}
SETTLED_AT_ONCE = 1000  # orders that wait, per statement


class ConnectionUnknown(Invalid):
    """There is no such connection to a supplier."""


def policy_of(session: Session, merchant_id: UUID) -> OrderPolicy:
    """The merchant's policy; of one who has said nothing the defaults, which are in no table."""
    found = session.scalar(select(OrderPolicy).where(OrderPolicy.merchant_id == merchant_id))
    return found or OrderPolicy(merchant_id=merchant_id, **DEFAULTS)


def set_policy(session: Session, *, merchant_id: UUID, said: dict[str, Any]) -> OrderPolicy:
    """Change what is said of DEFAULTS' fields. Orders that wait are looked at anew: `partial` may let them go on.

    Raises ConnectionUnknown, with `param` ``preferred``.
    """
    wanted = said.get("preferred") or []
    known = set(session.scalars(select(Connection.id).where(Connection.id.in_(wanted)))) if wanted else set()
    for id_ in wanted:
        if id_ not in known:
            raise ConnectionUnknown(f"There is no connection {id_}.", param="preferred")
    session.execute(insert(OrderPolicy).values(merchant_id=merchant_id).on_conflict_do_nothing())
    own = select(OrderPolicy).where(OrderPolicy.merchant_id == merchant_id).with_for_update()
    policy = session.scalars(own).one()
    partial = policy.partial
    for name, value in said.items():
        setattr(policy, name, value)
    policy.updated_at = func.clock_timestamp()  # the database's clock, by which intents are created, too
    session.flush()
    if policy.partial != partial:
        _settle_waiting(session, merchant_id)
    return policy


def _settle_waiting(session: Session, merchant_id: UUID) -> None:
    last = UUID(int=0)
    while True:
        waiting = select(Order.id).where(
            Order.merchant_id == merchant_id, Order.state.in_(("attention", "ready")), Order.id > last
        )
        ids = list(session.scalars(waiting.order_by(Order.id).limit(SETTLED_AT_ONCE)))
        if not ids:
            return
        settle(session, ids, merchant_id=merchant_id)
        last = ids[-1]
