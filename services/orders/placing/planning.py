"""What of an order is still to be had, from whom, and the intents for it.

Called with the order's row locked. What a supplier refused to this job for a reason another may not share is routed
again without that offer; what needs a person first waits for the next time somebody asks.
"""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from decimal import ROUND_DOWN, Decimal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.core.clock import now
from services.models import Order
from services.orders import intents
from services.orders.addresses.check import Fitted, fit
from services.orders.attention import Item, close_items, open_items
from services.orders.intents import Planned, PlannedLine, Standing
from services.orders.policy import policy_of
from services.orders.routing.candidates import Known, known
from services.orders.routing.route import CENT, Parcel, Routing
from services.orders.watch import ELSEWHERE
from services.sourcing.accounts.reach import get_connection
from services.suppliers.registry import adapter

# Whether anything is to be planned, and what this job was refused.
_LEFT = text("""
SELECT EXISTS (
    SELECT FROM order_lines lines WHERE lines.order_id = :order_id AND lines.variant_id IS NOT NULL
        AND lines.quantity - lines.cancelled_quantity > (
            SELECT coalesce(sum(mine.quantity), 0) FROM intent_lines mine
            JOIN intents alive ON alive.id = mine.intent_id
            WHERE mine.order_line_id = lines.id AND mine.refused_code IS NULL
                AND alive.state NOT IN ('refused', 'cancelled')))
""")
_REFUSED = text("""
SELECT intents.connection_id, lines.offer_variant_id, lines.order_line_id,
    coalesce(lines.refused_code, intents.code) AS code
FROM intents JOIN intent_lines lines ON lines.intent_id = intents.id
WHERE intents.order_id = :order_id AND intents.job_id = :job_id
    AND (intents.state = 'refused' OR lines.refused_code IS NOT NULL)
""")


def plan(session: Session, order: Order, *, job_id: UUID, fresh: bool) -> list[Standing]:
    """Write intents for what is still to be had and can be: the new ones. `fresh`: the order has had none so far.

    What cannot be had from anybody is put before somebody; unless the policy sends parts of orders (`partial`), an
    order of which nothing was sent yet waits whole.
    """
    if not fresh and not session.scalar(_LEFT, {"order_id": order.id}):
        return []
    refused = [] if fresh else session.execute(_REFUSED, {"order_id": order.id, "job_id": job_id}).all()
    waiting = {row.order_line_id for row in refused if row.code not in ELSEWHERE}
    policy = policy_of(session, order.merchant_id)
    facts = known(
        session,
        order,
        policy=policy,
        waiting=waiting,
        refused={(row.connection_id, row.offer_variant_id) for row in refused},
        fresh=fresh,
    )
    routing = facts.route()
    if refused:  # what could not be routed a moment ago may be now, or for another reason
        close_items(session, [order.id], cause="no_route")
    _tell_unrouted(session, order, routing, but={row.order_line_id for row in refused})
    if (routing.unrouted or waiting) and not policy.partial and (fresh or not _anything_sent(session, order.id)):
        return []
    fitted = _addresses(session, order, routing.parcels)
    planned = [
        _planned(parcel, routing, facts, fitted[parcel.connection_id])
        for parcel in routing.parcels
        if not fitted[parcel.connection_id].faults
    ]
    return intents.write(
        session,
        merchant_id=order.merchant_id,
        order_id=order.id,
        job_id=job_id,
        planned=planned,
        send_after=now() + timedelta(seconds=policy.cancel_window_seconds),
    )


_SENT = text("SELECT EXISTS (SELECT FROM intents WHERE order_id = :id AND state NOT IN ('refused', 'cancelled'))")


def _anything_sent(session: Session, order_id: UUID) -> bool:
    return bool(session.scalar(_SENT, {"id": order_id}))


def _tell_unrouted(session: Session, order: Order, routing: Routing, *, but: set[UUID]) -> None:
    """Put lines that nobody can fill before somebody; of those a supplier refused, the refusal is told instead."""
    items = [
        Item(order.id, "no_route", {"line_id": str(id_), "code": why.code, "reason": why.about}, subject=str(id_))
        for id_, why in routing.unrouted.items()
        if id_ not in but
    ]
    open_items(session, items, merchant_id=order.merchant_id)


def _addresses(session: Session, order: Order, parcels: Sequence[Parcel]) -> dict[UUID, Fitted]:
    """The order's address as each supplier wants it; what no repair makes right is put before somebody."""
    fitted = {}
    for id_ in dict.fromkeys(parcel.connection_id for parcel in parcels):
        supplier = get_connection(session, id_).supplier
        fitted[id_] = fit(order.address, adapter(supplier).ADDRESS, customer=order.customer)
    items = [
        Item(order.id, "address", {"connection_id": str(id_), "faults": one.shown_faults()}, subject=str(id_))
        for id_, one in fitted.items()
        if one.faults
    ]
    open_items(session, items, merchant_id=order.merchant_id)
    return fitted


def _planned(parcel: Parcel, routing: Routing, facts: Known, fitted: Fitted) -> Planned:
    lines = tuple(
        PlannedLine(
            pick.line.id,
            pick.offer.id,
            pick.offer.order_ref,
            pick.line.pieces,
            pick.offer.product_id,
            pick.offer.cost,
        )
        for pick in parcel.picks
    )
    # Amounts are in the currency they were compared in; the supplier's own is one of its offers'.
    offer = parcel.picks[0].offer
    ceiling = _ceiling(parcel, routing, facts)
    return Planned(
        parcel.connection_id,
        lines,
        asdict(fitted.address),
        fitted.shown_repairs(),
        offer.currency,
        expected=parcel.expected,
        ceiling=None if ceiling is None else max(CENT, (ceiling / offer.rate).quantize(CENT, ROUND_DOWN)),
    )


def _ceiling(parcel: Parcel, routing: Routing, facts: Known) -> Decimal | None:
    """What the parcel may cost at most: what it is expected to, and its part of what the order's limits leave beyond
    that. However many parcels grow dearer until they are sent, together they keep the policy's ceiling and margin.
    None: there is no limit in its currency.
    """
    alike = [one for one in routing.parcels if one.currency == parcel.currency]
    rules, limits = facts.rules, []
    if rules.cost_ceiling is not None and rules.ceiling_currency == parcel.currency:
        limits.append(rules.cost_ceiling)
    lines = [pick.line for one in alike for pick in one.picks]
    if rules.min_margin is not None and facts.currency == parcel.currency:
        worth = sum((line.pieces * (line.price or 0) for line in lines), facts.shipping_paid or Decimal())
        limits.append(worth * (1 - rules.min_margin))
    if not limits:
        return None
    beyond = min(limits) - sum((one.total for one in alike), Decimal())
    return parcel.total + beyond / len(alike)
