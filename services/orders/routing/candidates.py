"""What is known for routing an order: pieces still to be had, offers that may fill them, parcels, the policy.

A handful of statements, however many lines and suppliers there are; nobody is called.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any, NamedTuple, Self
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from services.core.clock import now
from services.models import Connection, Order, OrderPolicy
from services.orders.policy import policy_of
from services.orders.routing.extras import learned
from services.orders.routing.filling import Line, Offered, Rules, Tier
from services.orders.routing.route import UNKNOWN, Routing, Shipping, route
from services.sourcing.accounts.rules import Exchange, rules_of
from services.suppliers.registry import adapters

LEARNED_FROM = 30  # newest orders of a connection that tell what its parcels cost
# An intent that is older than the supplier's stock by so much has been taken off it, or never will be.
RECENT = timedelta(days=2)

_LEFT = text("""
SELECT lines.id, lines.variant_id, lines.quantity - lines.cancelled_quantity - had.pieces AS pieces, lines.price
FROM order_lines lines CROSS JOIN LATERAL (
    SELECT coalesce(sum(mine.quantity), 0) AS pieces FROM intent_lines mine
    JOIN intents alive ON alive.id = mine.intent_id
    WHERE mine.order_line_id = lines.id AND mine.refused_code IS NULL
        AND alive.state NOT IN ('refused', 'cancelled')) had
WHERE lines.order_id = :order_id AND lines.variant_id IS NOT NULL
    AND lines.quantity - lines.cancelled_quantity > had.pieces
ORDER BY lines.n
""")

# A few links, each followed by key: LIMIT says so, since statistics do not know how much is a merchant's (0018).
# `taken` is what orders are about to take, or took since the supplier told its stock: its number knows nothing of that.
# Ids are in the order of time, so that only what is recent is looked at, however long an offer has been sold. Keys of
# offers are collated otherwise than what names them in intents: said here, or its index would not be used.
_OFFERED = text("""
SELECT links.variant_id, found.connection_id, found.id, found.order_ref,
    coalesce(offers.order_id, offers.id) AS product_id, found.cost, found.currency, found.stock, found.tiers,
    extract(epoch FROM clock_timestamp() - fresh.at) AS stock_age, taken.pieces AS taken,
    found.gone_at IS NOT NULL OR offers.gone_at IS NOT NULL AS gone, offers.active
FROM offer_links links
CROSS JOIN LATERAL (
    SELECT * FROM offer_variants WHERE offer_variants.merchant_id = :merchant_id
        AND offer_variants.connection_id = links.connection_id AND offer_variants.id = links.offer_variant_id
    LIMIT 1) found
CROSS JOIN LATERAL (
    SELECT * FROM offers WHERE offers.merchant_id = :merchant_id
        AND offers.connection_id = found.connection_id AND offers.id = found.offer_id
    LIMIT 1) offers
JOIN connections ON connections.id = found.connection_id
CROSS JOIN LATERAL (SELECT greatest(found.stock_at, connections.stock_at, connections.offers_at) AS at) fresh
CROSS JOIN LATERAL (
    SELECT coalesce(sum(lines.quantity), 0) AS pieces FROM intent_lines lines
    JOIN intents ON intents.id = lines.intent_id
    WHERE lines.merchant_id = :merchant_id AND lines.offer_variant_id = found.id COLLATE "default"
        AND lines.intent_id >= :recent
        AND lines.refused_code IS NULL AND intents.connection_id = found.connection_id
        AND (intents.state IN ('planned', 'sending', 'unknown')
             OR intents.state = 'placed' AND intents.updated_at > fresh.at)
) taken
WHERE links.merchant_id = :merchant_id AND links.variant_id = ANY(:ids)
ORDER BY found.connection_id, found.id
""")

# Of each connection's newest intents what their goods cost and what was charged beyond them (each is a parcel here,
# however many the supplier makes of it), and the days from the first sight of a parcel to its delivery: of those to
# this country, where there are some, else of all.
_PARCELS = text("""
SELECT asked.connection_id, coalesce(array_agg(said.goods) FILTER (WHERE said.near AND said.extra IS NOT NULL),
        array_agg(said.goods) FILTER (WHERE said.extra IS NOT NULL), '{}') AS goods,
    coalesce(array_agg(said.extra) FILTER (WHERE said.near AND said.extra IS NOT NULL),
        array_agg(said.extra) FILTER (WHERE said.extra IS NOT NULL), '{}') AS extras,
    coalesce(percentile_disc(0.5) WITHIN GROUP (ORDER BY said.days) FILTER (WHERE said.near),
        percentile_disc(0.5) WITHIN GROUP (ORDER BY said.days)) AS days, max(said.currency) AS currency
FROM unnest(CAST(:connections AS uuid[])) AS asked (connection_id)
CROSS JOIN LATERAL (
    SELECT intents.address ->> 'country' IS NOT DISTINCT FROM :country AS near, intents.currency, parts.days,
        bill.cost AS goods, CASE WHEN bill.whole THEN greatest(0, intents.charged - bill.cost) END AS extra
    FROM (
        SELECT * FROM intents WHERE intents.merchant_id = :merchant_id
            AND intents.connection_id = asked.connection_id AND state = 'placed' AND charged IS NOT NULL
        ORDER BY intents.id DESC LIMIT :most
    ) intents
    CROSS JOIN LATERAL (
        SELECT sum(quantity * expected_cost) AS cost,
            bool_and(expected_cost IS NOT NULL AND refused_code IS NULL) AS whole
        FROM intent_lines WHERE intent_id = intents.id) bill
    CROSS JOIN LATERAL (
        SELECT ceil(extract(epoch FROM max(state_at) FILTER (WHERE state = 'delivered') - (
            SELECT min(first_seen) FROM parcels WHERE parcels.intent_id = intents.id)) / 86400) AS days
        FROM supplier_orders WHERE intent_id = intents.id) parts
) said
GROUP BY asked.connection_id
""")

# Of the order's ceilings, what is spent on what is under way.
_SPENT = text("""
SELECT count(*) AS intents, coalesce(sum(coalesce(charged, expected, goods.cost)), 0) AS total,
    coalesce(sum(greatest(0, coalesce(charged, expected) - goods.cost)), 0) AS shipping
FROM intents CROSS JOIN LATERAL (
    SELECT coalesce(sum(quantity * expected_cost), 0) AS cost FROM intent_lines WHERE intent_id = intents.id) goods
WHERE order_id = :order_id AND state NOT IN ('refused', 'cancelled')
    AND EXISTS (SELECT FROM intent_lines given WHERE given.intent_id = intents.id AND given.refused_code IS NULL)
""")


class Spent(NamedTuple):
    """What is under way of an order, and what it costs."""

    intents: int
    total: Decimal
    shipping: Decimal


NOTHING_SPENT = Spent(0, Decimal(), Decimal())


@dataclass(frozen=True, slots=True)
class Known:
    """All that routing an order takes."""

    lines: tuple[Line, ...]
    offers: tuple[Offered, ...]
    connections: Mapping[UUID, Connection]  # of all offers
    shipping: Mapping[UUID, Shipping]  # by connection
    rules: Rules
    currency: str | None
    shipping_paid: Decimal | None

    def route(self) -> Routing:
        """The best way to have the lines."""
        return route(
            self.lines,
            self.offers,
            rules=self.rules,
            currency=self.currency,
            shipping=self.shipping,
            shipping_paid=self.shipping_paid,
        )


def known(
    session: Session,
    order: Order,
    *,
    policy: OrderPolicy | None = None,
    waiting: Collection[UUID] = (),
    refused: Collection[tuple[UUID, str]] = (),
    fresh: bool = False,
) -> Known:
    """What is known for routing what is left of an order. `fresh`: nothing was ever sent of it. `policy` where it is
    read already.

    Without the lines that are `waiting` for somebody; offers that were `refused` (connection, offer variant) are
    barred.
    """
    left = [row for row in session.execute(_LEFT, {"order_id": order.id}) if row.id not in waiting]
    lines = tuple(Line(row.id, row.variant_id, int(row.pieces), row.price) for row in left)
    asked = {
        "merchant_id": order.merchant_id,
        "ids": list({line.variant_id for line in lines}),
        "recent": UUID(int=int((now() - RECENT).timestamp() * 1000) << 80),
    }
    rows = session.execute(_OFFERED, asked).all()
    ids = {row.connection_id for row in rows}
    found = session.scalars(select(Connection).where(Connection.id.in_(ids))) if ids else ()
    accounts = {row.id: _Account.of(row) for row in found}
    shipping = _shipping(session, order, accounts)
    offers = tuple(
        _offered(
            row,
            accounts[row.connection_id],
            shipping.get(row.connection_id, UNKNOWN),
            refused=(row.connection_id, row.id) in refused,
        )
        for row in rows
    )
    spent = NOTHING_SPENT if fresh else Spent(*session.execute(_SPENT, {"order_id": order.id}).one())
    rules = policy_rules(policy or policy_of(session, order.merchant_id))
    return Known(
        lines,
        offers,
        {id_: account.row for id_, account in accounts.items()},
        shipping,
        replace(
            rules,
            cost_ceiling=_left(rules.cost_ceiling, spent.total),
            shipping_ceiling=_left(rules.shipping_ceiling, spent.shipping),
        ),
        order.currency,
        None if spent.intents else order.shipping_paid,  # it has paid for the parcels that are on their way
    )


def policy_rules(policy: OrderPolicy) -> Rules:
    """What the merchant's policy says of routing."""
    return Rules(
        route=policy.route,
        preferred=tuple(policy.preferred),
        fallback=policy.fallback,
        one_parcel=policy.one_parcel,
        split=policy.split,
        cost_ceiling=policy.cost_ceiling,
        shipping_ceiling=policy.shipping_ceiling,
        ceiling_currency=policy.ceiling_currency,
        min_margin=policy.min_margin,
    )


def _left(ceiling: Decimal | None, spent: Decimal) -> Decimal | None:
    return None if ceiling is None else max(Decimal(), ceiling - spent)


@dataclass(frozen=True, slots=True)
class _Account:
    """What is true of all offers of a connection."""

    row: Connection
    swap: Exchange | None
    bar: str | None  # why nothing of it can be used

    @classmethod
    def of(cls, row: Connection) -> Self:
        """As it is for that row."""
        supplier = adapters().get(row.supplier)
        sells = supplier is not None and supplier.CAPABILITIES.orders
        bar = "takes_no_orders" if not sells else "not_connected" if row.state != "active" else None
        return cls(row, rules_of(row.rules).exchange, bar)

    def rate(self, currency: str | None) -> Decimal:
        """What a unit of that currency is taken for."""
        return self.swap.rate if self.swap is not None and self.swap.given == currency else Decimal(1)


def _offered(row: Any, account: _Account, shipping: Shipping, *, refused: bool) -> Offered:
    bars = ((row.gone, "gone"), (account.bar, account.bar), (not row.active, "inactive"), (refused, "refused"))
    return Offered(
        variant_id=row.variant_id,
        connection_id=row.connection_id,
        id=row.id,
        order_ref=row.order_ref,
        product_id=row.product_id,
        cost=row.cost if row.currency else None,
        currency=row.currency or "",
        stock=row.stock,
        stock_age=None if row.stock_age is None else float(row.stock_age),
        tiers=tuple(_tier(tier) for tier in row.tiers),
        taken=int(row.taken),
        rate=account.rate(row.currency),
        fees=shipping.extras.share if shipping.extras is not None else Decimal(),
        compared_in=account.swap.wanted if account.swap is not None and account.swap.given == row.currency else "",
        barred=next((code for so, code in bars if so), None),
    )


def _tier(said: Mapping[str, Any]) -> Tier:
    days = said.get("max_days")
    return Tier(said.get("quantity") or 0, said.get("min_days") if days is None else days, said.get("warehouse") or "")


def _shipping(session: Session, order: Order, accounts: Mapping[UUID, _Account]) -> dict[UUID, Shipping]:
    """What a parcel of each connection costs and how long it is on its way, by its orders so far."""
    asked = {
        "merchant_id": order.merchant_id,
        "connections": list(accounts),
        "country": (order.address or {}).get("country"),
        "most": LEARNED_FROM,
    }
    found = {}
    for row in session.execute(_PARCELS, asked):
        extras = learned(list(zip(row.goods, row.extras, strict=True)))
        rate = accounts[row.connection_id].rate(row.currency)
        cost = None if extras is None else extras.parcel * rate
        found[row.connection_id] = Shipping(cost, None if row.days is None else max(0, int(row.days)), extras)
    return found
