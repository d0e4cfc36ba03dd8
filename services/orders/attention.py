"""What waits for a person: each item with its cause and what can be done about it. Opening and closing are idempotent.

An item is about an order (or about none: a supplier's order nobody here knows) and, within it, about a `subject`: a
line's id, a parcel's number, nothing. While one is open for a cause and subject, opening it again only refreshes what
it says.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import func, or_, select, text, update
from sqlalchemy.orm import Session

from services.core.clock import now
from services.core.errors import Conflict, NotFound
from services.core.ids import new_id
from services.core.paging import Page, Slice, paginate
from services.models import AttentionItem, Order

# Cause → what somebody can do. An item may say it more exactly.
ACTIONS: dict[str, str] = {
    "unmapped": "Say which variant the line is: POST /api/v1/orders/{order_id}/lines/{line_id}/map.",
    "address_missing": "Have the channel send the order's address, or cancel the order.",
    "address": "Correct the address in the channel and send the order again.",
    "lines_missing": "Import or send the order's lines, or cancel the order.",
    "cancellation_unmatched": "Find the order it takes back and cancel that one, if it was not sent yet.",
    "cancelled_after_sending": "It is too late to keep these pieces from being bought: have them returned.",
    "no_route": "No supplier can fill it as your policy has it: see the reason, change one or cancel the line.",
    # What suppliers refused (services/orders/watch.py): fulfil the order again when it is seen to.
    "out_of_stock": "No supplier you allow has it: wait for stock, allow others in your policy, or cancel the line.",
    "not_shipped": "No supplier you allow ships it there: allow others in your policy, or cancel the line.",
    "too_dear": "It costs more than your ceiling: raise the ceiling in your policy, or cancel the line.",
    "wallet_low": "Top up your account at the supplier, or correct how it pays; then fulfil the order again.",
    "address_refused": "The supplier does not take the address: correct it in the channel and send the order again.",
    "refused": "The supplier refused it: see the reason; fulfil the order again when it no longer holds.",
    # What was sent and wants looking at.
    "outcome_unknown": "Look for the reference on the supplier's page, then say what is there:"
    " POST /api/v1/orders/{order_id}/intents/{intent_id}/resolve.",
    "blocked": "Connect the supplier's account again, or have its problem mended; then fulfil the order again.",
    "part_unaccounted": "Look on the supplier's page for another order under this reference and name it:"
    " POST /api/v1/orders/{order_id}/intents/{intent_id}/resolve.",
    "cost_above_expected": "Compare the supplier's invoice with what was expected, and your prices with both.",
    "unpaid": "Pay the order on the supplier's page before it lapses.",
    "cancelled_by_supplier": "The supplier has cancelled it: ask why and for your money. Fulfil the order again"
    " to have it all the same.",
    "no_tracking": "Ask the supplier where the order is: it has no tracking number yet.",
    "no_movement": "Ask the carrier or the supplier where the parcel is: it has not moved.",
    "not_at_supplier": "The supplier does not have what is noted here: look on its page and ask it.",
    "not_here": "The supplier has an order under your account that is not noted here: look who placed it.",
}
# While one of these is open, an order that has nothing under way is not ready to be fulfilled.
BLOCKING = (
    *("address_missing", "address", "lines_missing"),
    *("out_of_stock", "not_shipped", "too_dear", "wallet_low", "address_refused", "refused", "no_route"),
)
# They ask how pieces that are wanted can be had: settled when that is settled, never by closing them.
OF_WHAT_IS_WANTED = ("unmapped", *BLOCKING)


_OPEN = text("""
INSERT INTO attention_items (id, merchant_id, order_id, intent_id, cause, subject, detail, action)
SELECT id, :merchant_id, order_id, intent_id, cause, subject, detail, action
FROM unnest(CAST(:ids AS uuid[]), CAST(:orders AS uuid[]), CAST(:intents AS uuid[]), CAST(:causes AS text[]),
            CAST(:subjects AS text[]), CAST(:details AS jsonb[]), CAST(:actions AS text[]))
    AS given (id, order_id, intent_id, cause, subject, detail, action)
ON CONFLICT (merchant_id, order_id, cause, subject) WHERE closed_at IS NULL
DO UPDATE SET detail = excluded.detail, action = excluded.action, intent_id = excluded.intent_id
WHERE (attention_items.detail, attention_items.action, attention_items.intent_id)
    IS DISTINCT FROM (excluded.detail, excluded.action, excluded.intent_id)
""")


class AttentionNotFound(NotFound):
    """There is no such item."""


class AttentionStands(Conflict):
    """This closes by itself when what it asks for is done; until then the order waits."""


class Item(NamedTuple):
    """Something to be opened. `detail` is JSON-ready; without an `action` the cause's usual one is told."""

    order_id: UUID | None
    cause: str
    detail: dict[str, Any] | None = None
    subject: str = ""
    intent_id: UUID | None = None
    action: str | None = None


def open_items(session: Session, items: Iterable[Item], *, merchant_id: UUID) -> None:
    """Put these before somebody. One that is open already says from now on what this one says."""
    wanted = {(item.order_id, item.cause, item.subject): item for item in items}
    if not wanted:
        return
    # In one order for everybody, or two who open the same could wait for each other.
    given = sorted(wanted.values(), key=lambda item: (str(item.order_id), item.cause, item.subject))
    session.execute(
        _OPEN,
        {
            "merchant_id": merchant_id,
            "ids": [new_id() for _ in given],
            "orders": [item.order_id for item in given],
            "intents": [item.intent_id for item in given],
            "causes": [item.cause for item in given],
            "subjects": [item.subject for item in given],
            "details": [json.dumps(item.detail or {}) for item in given],
            "actions": [item.action or ACTIONS[item.cause] for item in given],
        },
    )


def close_items(
    session: Session, order_ids: Sequence[UUID | None], *, cause: str | None = None, subject: str | None = None
) -> int:
    """It is seen to: close what is open of these orders (of that cause, about that subject). Returns how many."""
    owned = [order_id for order_id in order_ids if order_id is not None]
    about = [AttentionItem.order_id.in_(owned)]
    if len(owned) < len(order_ids):
        about.append(AttentionItem.order_id.is_(None))
    closing = update(AttentionItem).where(or_(*about), AttentionItem.closed_at.is_(None)).values(closed_at=now())
    if cause is not None:
        closing = closing.where(AttentionItem.cause == cause)
    if subject is not None:
        closing = closing.where(AttentionItem.subject == subject)
    return len(session.scalars(closing.returning(AttentionItem.id)).all())


def dismiss(session: Session, attention_id: UUID) -> AttentionItem:
    """A person has seen to it: close an item. Closing twice is closing. Raises AttentionNotFound, AttentionStands."""
    item = session.scalar(select(AttentionItem).where(AttentionItem.id == attention_id).with_for_update())
    if item is None:
        raise AttentionNotFound
    if item.closed_at is None:
        if item.cause in OF_WHAT_IS_WANTED:
            raise AttentionStands(action=item.action)
        item.closed_at = now()
        session.flush()
    return item


class Waiting(NamedTuple):
    """An item, and the order it is about as its channel calls it."""

    item: AttentionItem
    channel: str | None
    external_id: str | None


def list_waiting(
    session: Session, page: Page, *, merchant_id: UUID, cause: str | None = None, opened_before: datetime | None = None
) -> Slice[Waiting]:
    """What is open, newest first."""
    found: Any = (
        select(AttentionItem, Order.channel, Order.external_id)
        .outerjoin(Order, Order.id == AttentionItem.order_id)
        .where(AttentionItem.merchant_id == merchant_id, AttentionItem.closed_at.is_(None))
    )
    if cause is not None:
        found = found.where(AttentionItem.cause == cause)
    if opened_before is not None:
        found = found.where(AttentionItem.opened_at < opened_before)
    return paginate(session, found, id_column=AttentionItem.id, page=page).map(lambda row: Waiting(*row[:3]))


def of_order(session: Session, order_id: UUID) -> list[AttentionItem]:
    """An order's items, open and closed, oldest first."""
    own = select(AttentionItem).where(AttentionItem.order_id == order_id).order_by(AttentionItem.id)
    return list(session.scalars(own.execution_options(populate_existing=True)))


def counts(session: Session, *, merchant_id: UUID) -> dict[str, int]:
    """How many are open of each cause."""
    counted = (
        select(AttentionItem.cause, func.count())
        .where(AttentionItem.merchant_id == merchant_id, AttentionItem.closed_at.is_(None))
        .group_by(AttentionItem.cause)
    )
    return {row[0]: row[1] for row in session.execute(counted)}
