"""What of orders that were sent wants a person, read from their rows: opened while it is so, closed when it is not.

Nobody opens or closes these by hand, so none is forgotten and none outlives its cause. `review` is asked for by
whoever changed an order's intents, supplier orders or parcels, and from time to time for those that only grow old.
"""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import text, update
from sqlalchemy.orm import Session

from services.core.clock import now
from services.models import AttentionItem
from services.orders.attention import Item, open_items

CANCELLED_THERE = "cancelled_there"  # the supplier took it, and has cancelled it since
# Why a supplier refused → the cause under which it is put before somebody.
REFUSALS = {
    **dict.fromkeys(("out_of_stock", "not_found", "inactive"), "out_of_stock"),
    **dict.fromkeys(("shipping", "not_to_country"), "not_shipped"),
    "too_dear": "too_dear",
    "funds": "wallet_low",
    "payment": "wallet_low",
    "address": "address_refused",
    CANCELLED_THERE: "cancelled_by_supplier",
}
REFUSED = "refused"  # for any other reason
# Refusals that another supplier may not share: their pieces are routed anew before anybody is asked.
ELSEWHERE = ("out_of_stock", "not_found", "inactive", "shipping", "not_to_country")

# cause → what is so, as rows of (order_id, subject, intent_id, detail).
_CAUSES: dict[str, str] = {
    "outcome_unknown": """
        SELECT intents.order_id, intents.id::text, intents.id, jsonb_build_object('reference', reference,
            'since', doubt_since, 'code', code, 'reason', reason)
        FROM intents CROSS JOIN policy
        WHERE intents.order_id = ANY(:ids) AND intents.state = 'unknown'
            AND (code = ANY(:dead_ends) OR doubt_since < clock_timestamp() - make_interval(hours => unknown_hours))""",
    "blocked": """
        SELECT intents.order_id, intents.id::text, intents.id, jsonb_build_object('connection_id', connection_id,
            'code', code, 'reason', reason)
        FROM intents WHERE intents.order_id = ANY(:ids) AND intents.state = 'planned' AND code IS NOT NULL""",
    "part_unaccounted": """
        SELECT intents.order_id, intents.id::text, intents.id, jsonb_build_object('reference', reference,
            'order_refs', jsonb_agg(DISTINCT lines.order_ref))
        FROM intents JOIN intent_lines lines ON lines.intent_id = intents.id
        WHERE intents.order_id = ANY(:ids) AND intents.state = 'placed' AND lines.refused_code IS NULL
            AND lines.supplier_order_id IS NULL AND NOT EXISTS (
                SELECT FROM supplier_orders found WHERE found.intent_id = intents.id AND found.refs = '{}')
        GROUP BY intents.id""",
    "cost_above_expected": """
        SELECT intents.order_id, intents.id::text, intents.id, jsonb_build_object('expected', expected::text,
            'charged', charged::text, 'currency', currency)
        FROM intents CROSS JOIN policy
        WHERE intents.order_id = ANY(:ids) AND charged > expected * (1 + cost_tolerance)""",
    "unpaid": """
        SELECT intents.order_id, found.id, intents.id, jsonb_build_object('supplier_order_id', found.id,
            'total', found.total::text, 'currency', found.currency)
        FROM supplier_orders found JOIN intents ON intents.id = found.intent_id
        WHERE intents.order_id = ANY(:ids) AND found.state = 'unpaid'""",
    "cancelled_by_supplier": """
        SELECT intents.order_id, found.id, intents.id, jsonb_build_object('supplier_order_id', found.id,
            'raw', found.raw)
        FROM supplier_orders found JOIN intents ON intents.id = found.intent_id
        WHERE intents.order_id = ANY(:ids) AND found.state = 'cancelled' AND EXISTS (
            SELECT FROM intent_lines given WHERE given.intent_id = intents.id AND given.refused_code IS NULL
                AND coalesce(given.supplier_order_id, found.id) = found.id)""",
    "no_tracking": """
        SELECT intents.order_id, found.id, intents.id, jsonb_build_object('supplier_order_id', found.id,
            'placed_at', found.created_at, 'state', found.state)
        FROM supplier_orders found JOIN intents ON intents.id = found.intent_id CROSS JOIN policy
        WHERE intents.order_id = ANY(:ids) AND found.state IN ('processing', 'shipped', 'unknown')
            AND found.created_at < clock_timestamp() - make_interval(days => no_tracking_days)
            AND NOT EXISTS (SELECT FROM parcels WHERE parcels.merchant_id = found.merchant_id
                AND parcels.connection_id = found.connection_id AND parcels.supplier_order_id = found.id)""",
    "no_movement": """
        SELECT intents.order_id, found.id || '/' || parcels.number, intents.id, jsonb_build_object(
            'supplier_order_id', found.id, 'number', parcels.number, 'carrier', parcels.carrier,
            'status', parcels.status, 'since', parcels.last_change)
        FROM supplier_orders found JOIN intents ON intents.id = found.intent_id CROSS JOIN policy
        JOIN parcels ON parcels.merchant_id = found.merchant_id AND parcels.connection_id = found.connection_id
            AND parcels.supplier_order_id = found.id
        WHERE intents.order_id = ANY(:ids) AND found.state IN ('processing', 'shipped', 'unknown')
            AND parcels.last_change < clock_timestamp() - make_interval(hours => no_movement_hours)""",
}

# The newest refusal of each line of which pieces are still to be had.
_REFUSED = """
    SELECT DISTINCT ON (lines.id) lines.order_id, lines.id::text AS subject, intents.id AS intent_id,
        coalesce(given.refused_code, intents.code) AS code, jsonb_build_object('line_id', lines.id, 'sku', lines.sku,
            'quantity', lines.quantity - lines.cancelled_quantity - had.pieces, 'reason', intents.reason,
            'code', coalesce(given.refused_code, intents.code), 'connection_id', intents.connection_id) AS detail
    FROM order_lines lines
    JOIN intent_lines given ON given.order_line_id = lines.id
    JOIN intents ON intents.id = given.intent_id AND (intents.state = 'refused' OR given.refused_code IS NOT NULL)
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(mine.quantity), 0) AS pieces FROM intent_lines mine
        JOIN intents alive ON alive.id = mine.intent_id
        WHERE mine.order_line_id = lines.id AND mine.refused_code IS NULL
            AND alive.state NOT IN ('refused', 'cancelled')) had
    WHERE lines.order_id = ANY(:ids) AND lines.quantity - lines.cancelled_quantity > had.pieces
    ORDER BY lines.id, intents.id DESC
"""

_POLICY = """
policy AS (
    SELECT coalesce(max(unknown_hours), 2) AS unknown_hours, coalesce(max(no_tracking_days), 7) AS no_tracking_days,
        coalesce(max(no_movement_hours), 48) AS no_movement_hours, coalesce(max(cost_tolerance), 0.05) AS cost_tolerance
    FROM order_policies WHERE merchant_id = :merchant_id
)
"""
_ROWS = " UNION ALL ".join(
    f"SELECT '{cause}' AS cause, found.* FROM ({rows}) found (order_id, subject, intent_id, detail)"  # noqa: S608
    for cause, rows in _CAUSES.items()
)
REFUSAL_CAUSES = (*dict.fromkeys(REFUSALS.values()), REFUSED)
CAUSES = (*_CAUSES, *REFUSAL_CAUSES)

# What differs: to be opened (`open_id` is null), or to be closed (`found` is not so).
_DIFFERS = text(f"""
WITH {_POLICY}, refused AS ({_REFUSED}), wanted AS (
    SELECT true AS found, rows.* FROM (
        {_ROWS}
        UNION ALL SELECT coalesce(CAST(:refusals AS jsonb) ->> code, :refused), order_id, subject, intent_id, detail
        FROM refused
    ) rows
), there AS (
    SELECT id AS open_id, order_id, cause, subject FROM attention_items
    WHERE order_id = ANY(:ids) AND closed_at IS NULL AND cause = ANY(:causes)
)
SELECT * FROM wanted FULL JOIN there USING (order_id, cause, subject) WHERE open_id IS NULL OR found IS NULL
""")  # noqa: S608  # what is put in is this module's own


def review(session: Session, order_ids: Sequence[UUID], *, merchant_id: UUID) -> None:
    """Bring the attention items that follow from what was sent up to what is so."""
    ids = list(order_ids)
    asked: dict[str, Any] = {
        "ids": ids, "merchant_id": merchant_id, "refusals": json.dumps(REFUSALS), "refused": REFUSED,
        "dead_ends": ["known_there", "outcome_unknown"], "causes": list(CAUSES),
    }  # fmt: skip
    differing = session.execute(_DIFFERS, asked).all()
    over = [row.open_id for row in differing if row.found is None]
    if over:
        session.execute(update(AttentionItem).where(AttentionItem.id.in_(over)).values(closed_at=now()))
    new = (
        Item(row.order_id, row.cause, row.detail, subject=row.subject, intent_id=row.intent_id)
        for row in differing
        if row.found
    )
    open_items(session, new, merchant_id=merchant_id)


def close_refusals(session: Session, order_ids: Sequence[UUID]) -> None:
    """What kept these orders from being sent is to be tried again: it is no reason to wait any more."""
    causes = (*REFUSAL_CAUSES, "no_route", "address")
    waiting = update(AttentionItem).where(AttentionItem.order_id.in_(order_ids), AttentionItem.closed_at.is_(None))
    session.execute(waiting.where(AttentionItem.cause.in_(causes)).values(closed_at=now()))
