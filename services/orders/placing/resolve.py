"""A person has looked on a supplier's page where nothing else could tell: what they say is checked, and noted."""

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.core.db import transaction
from services.core.errors import Conflict, Invalid, NotFound
from services.orders import intents
from services.orders.intents import NOT_THERE, Standing
from services.orders.placing.lookup import unaccounted
from services.orders.states import settle
from services.orders.watch import review
from services.sourcing.accounts.reach import heeding_refusals, reach
from services.suppliers.base import PlacedOrder, Placement
from services.suppliers.errors import FatalForItem


class IntentNotFound(NotFound):
    """The order has no such intent."""


class NothingInDoubt(Conflict):
    """Nothing of this intent is in doubt."""


class SupplierHasNoSuchOrder(Invalid):
    """The supplier knows no order of this number."""


class BelongsElsewhere(Conflict):
    """The supplier's order of this number is that of another intent."""


def seen_there(*, merchant_id: UUID, order_id: UUID, intent_id: UUID, supplier_order_id: str) -> PlacedOrder:
    """The order of that number as the supplier has it. No transaction may be open: the supplier is asked.

    Raises IntentNotFound, NothingInDoubt, SupplierHasNoSuchOrder, what `reach` and `heeding_refusals` raise, errors of
    suppliers.
    """
    with transaction(merchant_id=merchant_id) as session:
        at = _in_doubt(session, order_id, intent_id)
        reached = reach(session, at.connection_id)
    try:
        with heeding_refusals(reached):
            status = reached.adapter.order_status(reached.connection, supplier_order_id)
    except FatalForItem as error:
        raise SupplierHasNoSuchOrder(error.detail, param="supplier_order_id") from error
    return PlacedOrder(status.id, refs=status.refs, total=status.total)


_TAKEN = text("""
SELECT intent_id FROM supplier_orders WHERE connection_id = :connection_id AND id = :id AND intent_id <> :intent_id
""")
_REFUSE_LINES = text("""
UPDATE intent_lines SET refused_code = :code
WHERE intent_id = :id AND order_ref = ANY(:refs) AND supplier_order_id IS NULL AND refused_code IS NULL
""")


def resolve(
    session: Session,
    *,
    merchant_id: UUID,
    order_id: UUID,
    intent_id: UUID,
    found: PlacedOrder | None,
    user_id: UUID,
) -> None:
    """Note what was found, or that nothing is there: then its pieces are to be had again.

    Raises IntentNotFound, NothingInDoubt, BelongsElsewhere.
    """
    at = _in_doubt(session, order_id, intent_id)
    if found is not None:
        asked = {"connection_id": at.connection_id, "id": found.id, "intent_id": intent_id}
        if session.scalar(_TAKEN, asked) is not None:
            raise BelongsElsewhere(param="supplier_order_id")
        intents.place(session, intent_id, Placement((found,), existed=True), how="by_hand")
    elif at.state == "unknown":
        intents.deny(session, intent_id, user_id=user_id)
    else:
        missing = unaccounted(session, intent_id)
        session.execute(_REFUSE_LINES, {"id": intent_id, "refs": missing, "code": NOT_THERE})
    review(session, [order_id], merchant_id=merchant_id)
    settle(session, [order_id], merchant_id=merchant_id)


def _in_doubt(session: Session, order_id: UUID, intent_id: UUID) -> Standing:
    at = intents.standing(session, intent_id)
    if at is None or at.order_id != order_id:
        raise IntentNotFound
    if at.state != "unknown" and not (at.state == "placed" and unaccounted(session, intent_id)):
        raise NothingInDoubt(state=at.state)
    return at
