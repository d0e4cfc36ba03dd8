"""The states of intents and of orders: which moves there are, and what an order's state follows from."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session
from sqlalchemy.orm.util import identity_key

from services.models import Order
from services.orders.attention import BLOCKING, OF_WHAT_IS_WANTED, close_items

# What an intent may do next. Migration 0007 says the same, and the database keeps to it.
MOVES: dict[str, tuple[str, ...]] = {
    "planned": ("sending", "cancelled"),
    "sending": ("placed", "refused", "unknown", "planned"),  # planned again: it certainly did not arrive
    "unknown": ("placed", "refused", "sending"),  # sending again: looked up, and not there
    "placed": (),
    "refused": (),
    "cancelled": (),
}
ALIVE = ("planned", "sending", "unknown", "placed")  # may reach, or has reached, a supplier
SENT = ("sending", "unknown", "placed")  # too late to change anything

# An order's state follows from its rows, so whoever changed some of them asks for it anew; nobody sets it by hand.
_SETTLE = text("""
WITH wanted AS (
    SELECT id, kind, address IS NOT NULL AS has_address FROM orders WHERE id = ANY(:order_ids) ORDER BY id FOR UPDATE
), pieces AS (
    SELECT lines.order_id, count(*) AS lines,
        sum(lines.quantity - lines.cancelled_quantity) FILTER (WHERE lines.quantity > 0) AS wanted,
        bool_or(lines.variant_id IS NOT NULL AND lines.quantity > lines.cancelled_quantity) AS some_mapped,
        bool_or(lines.variant_id IS NULL AND lines.quantity > lines.cancelled_quantity) AS some_unmapped
    FROM order_lines lines WHERE lines.order_id = ANY(:order_ids) GROUP BY 1
), sent AS (
    SELECT intents.order_id, bool_or(intents.state IN ('planned', 'sending', 'unknown')) AS under_way,
        coalesce(sum(given.quantity) FILTER (WHERE intents.state = 'placed'), 0) AS placed
    FROM intents LEFT JOIN (
        SELECT intent_id, sum(quantity) AS quantity FROM intent_lines WHERE refused_code IS NULL GROUP BY 1
    ) given ON given.intent_id = intents.id
    WHERE intents.order_id = ANY(:order_ids) GROUP BY 1
), shipped AS (
    SELECT intents.order_id, bool_and(supplier_orders.state IN ('shipped', 'delivered')) AS all_shipped,
        bool_and(supplier_orders.state = 'delivered') AS all_delivered
    FROM intents JOIN supplier_orders ON supplier_orders.intent_id = intents.id
    WHERE intents.order_id = ANY(:order_ids) AND supplier_orders.state <> 'cancelled' GROUP BY 1
), settled AS (
    SELECT wanted.id, CASE
        WHEN wanted.kind = 'cancellation' THEN 'cancelled'
        WHEN sent.under_way THEN 'fulfilling'
        WHEN coalesce(sent.placed, 0) > 0 AND sent.placed < pieces.wanted THEN 'partly_placed'
        WHEN coalesce(sent.placed, 0) > 0 AND shipped.all_delivered THEN 'delivered'
        WHEN coalesce(sent.placed, 0) > 0 AND shipped.all_shipped THEN 'shipped'
        WHEN coalesce(sent.placed, 0) > 0 THEN 'placed'
        WHEN pieces.wanted = 0 THEN 'cancelled'
        WHEN pieces.lines IS NULL OR NOT wanted.has_address THEN 'attention'
        WHEN NOT pieces.some_mapped OR (pieces.some_unmapped AND NOT coalesce(policies.partial, false)) THEN 'attention'
        WHEN EXISTS (SELECT FROM attention_items items WHERE items.order_id = wanted.id
                     AND items.closed_at IS NULL AND items.cause = ANY(:blocking)) THEN 'attention'
        ELSE 'ready' END AS state
    FROM wanted LEFT JOIN pieces ON pieces.order_id = wanted.id LEFT JOIN sent ON sent.order_id = wanted.id
        LEFT JOIN shipped ON shipped.order_id = wanted.id
        LEFT JOIN order_policies policies ON policies.merchant_id = :merchant_id
)
UPDATE orders SET state = settled.state, updated_at = now(),
    cancelled_at = CASE WHEN settled.state = 'cancelled' THEN coalesce(orders.cancelled_at, now()) END
FROM settled WHERE orders.id = settled.id AND orders.state <> settled.state
RETURNING orders.id, orders.state
""")


def settle(session: Session, order_ids: Sequence[UUID], *, merchant_id: UUID) -> dict[UUID, str]:
    """Bring the states of these orders up to what their rows say. Returns the states that changed.

    An `Order` that the session holds shows its new state.
    """
    session.flush()
    changed = session.execute(
        _SETTLE, {"order_ids": list(order_ids), "blocking": list(BLOCKING), "merchant_id": merchant_id}
    ).all()
    gone = [row.id for row in changed if row.state == "cancelled"]
    for cause in OF_WHAT_IS_WANTED if gone else ():
        close_items(session, gone, cause=cause)
    for row in changed:
        held = session.identity_map.get(identity_key(Order, row.id))
        if held is not None:
            session.expire(held, ["state", "cancelled_at", "updated_at"])
    return {row.id: row.state for row in changed}
