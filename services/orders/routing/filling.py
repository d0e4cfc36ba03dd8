"""What can fill a line of an order, offer by offer, and why the other offers cannot.

Lines of the same variant want the same pieces: they are filled together, by one offer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

UNKNOWN_DAYS = 999  # slower than anything known

# code → what it means, from the farthest from being usable to the nearest; places in it are filled in.
REASONS = {
    "no_offer": "No supplier offers it.",
    "gone": "The supplier no longer offers it.",
    "takes_no_orders": "This supplier takes no orders.",
    "inactive": "The supplier does not sell it at present.",
    "not_connected": "The connection has to be set up again.",
    "refused": "The supplier has refused it for this order.",
    "not_preferred": "Only your preferred suppliers may be used.",
    "no_cost": "The supplier does not say what it costs.",
    "ceiling_unknown": "Your ceiling is not in {currency}.",
    "margin_unknown": "What the buyer paid is not known in {currency}, so the margin is not known.",
    "below_margin": "It would leave less than the margin you ask for.",
    "stock_unknown": "The supplier does not say how many there are.",
    "not_enough": "{have} of {pieces} pieces are there.",
    "other_currency": "What costs {currency} is not compared with the others.",
    "no_time": "Nothing that keeps your ceilings was found in time.",
    "over_ceiling": "The order would cost more than your ceiling.",
    "one_supplier": "The order would not come from one supplier.",
    "one_parcel": "The order would not come in one parcel.",
    "slower": "It takes longer.",
    "less_preferred": "Another is preferred.",
    "dearer": "Another is cheaper, parcels included.",
    "as_good": "Another is as good.",
}


@dataclass(frozen=True, slots=True)
class Rules:
    """What the merchant wants of a routing: the fields of services/models/orders.py `OrderPolicy`."""

    route: str = "cheapest"  # cheapest | fastest | preferred
    preferred: tuple[UUID, ...] = ()  # connections, best first
    fallback: bool = True  # others may be used, too
    one_parcel: str = "preferred"  # preferred | required | no
    split: bool = True
    cost_ceiling: Decimal | None = None
    shipping_ceiling: Decimal | None = None
    ceiling_currency: str | None = None
    min_margin: Decimal | None = None  # share of what the buyer paid

    def rank(self, connection_id: UUID) -> int:
        """How far down the list of the preferred; behind it, for one that is not in it."""
        return self.preferred.index(connection_id) if connection_id in self.preferred else len(self.preferred)


@dataclass(frozen=True, slots=True)
class Line:
    """Pieces that are still to be had."""

    id: UUID
    variant_id: UUID
    pieces: int
    price: Decimal | None = None  # of one piece, paid by the buyer


@dataclass(frozen=True, slots=True)
class Tier:
    """Pieces that leave a warehouse within so many days."""

    pieces: int
    days: int | None
    warehouse: str


@dataclass(frozen=True, slots=True)
class Offered:
    """What a supplier has for a variant."""

    variant_id: UUID
    connection_id: UUID
    id: str  # of the offer's variant
    order_ref: str
    product_id: str
    cost: Decimal | None  # of one piece
    currency: str  # of the cost; "" where there is none
    stock: int | None  # None: the supplier does not say
    stock_age: float | None = None  # seconds
    tiers: tuple[Tier, ...] = ()
    taken: int = 0  # pieces of the stock that other orders of ours are about to take
    rate: Decimal = Decimal(1)  # what one unit of the currency is taken for, in …
    compared_in: str = ""  # … this currency; "": its own
    fees: Decimal = Decimal()  # share of the cost that is charged beside it: taxes and the like
    barred: str | None = None  # a code of REASONS: it cannot be used, whatever the rules

    @property
    def common(self) -> str:
        """The currency it is compared in."""
        return self.compared_in or self.currency

    @property
    def goods(self) -> Decimal:
        """What a piece costs, in the currency it is compared in. Only where there is a cost."""
        return (self.cost or Decimal()) * self.rate

    @property
    def landed(self) -> Decimal:
        """The same with what is charged beside it, whatever parcel it is in."""
        return self.goods * (1 + self.fees)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an offer was not taken, or a line not routed."""

    code: str  # of REASONS
    about: str
    offer: Offered | None = None
    extra_cost: Decimal | None = None  # for the order as a whole, if this were taken instead


class Place(NamedTuple):
    """Where a parcel comes from. What one supplier sells in two currencies is not added up: two parcels."""

    rank: int  # of the connection, by the rules
    connection_id: UUID
    warehouse: str
    currency: str


@dataclass(frozen=True, slots=True)
class Option:
    """One way to fill a want: all its pieces, in one parcel."""

    offer: Offered
    place: Place
    cost: Decimal  # of all pieces, with their fees, in the currency it is compared in
    days: int | None  # until they leave the warehouse


@dataclass(frozen=True, slots=True)
class Want:
    """Lines of one variant that can be filled, and how."""

    lines: tuple[Line, ...]
    options: tuple[Option, ...]

    @property
    def pieces(self) -> int:
        """Of all its lines."""
        return sum(line.pieces for line in self.lines)


@dataclass(frozen=True, slots=True)
class Filling:
    """What can fill lines of one variant: the want, the lines that nothing fills, and the offers that fill nothing."""

    want: Want | None
    unfilled: Mapping[UUID, Reason]  # by line
    barred: tuple[Reason, ...]


def reason(code: str, offer: Offered | None = None, *, extra_cost: Decimal | None = None, **places: object) -> Reason:
    """A reason with its words."""
    return Reason(code, REASONS[code].format(**places), offer, extra_cost)


def fill(lines: Sequence[Line], offers: Sequence[Offered], *, rules: Rules, currency: str | None) -> Filling:
    """What can fill these lines, all of one variant, whose prices are in `currency`."""
    barred, usable = [], []
    for offer in offers:
        why = _barred(offer, lines, rules, currency)
        usable.append(offer) if why is None else barred.append(why)
    there = [(offer, {warehouse: _there(offer, warehouse) for warehouse in _warehouses(offer)}) for offer in usable]
    most = max((pieces for _, have in there for pieces in have.values()), default=0)
    fitting: list[Line] = []
    for line in lines:
        if sum(one.pieces for one in fitting) + line.pieces <= most:
            fitting.append(line)
    pieces = sum(line.pieces for line in (fitting or lines))
    options = []
    for offer, have in there:
        own = [_option(offer, warehouse, pieces, rules) for warehouse, few in have.items() if pieces <= few]
        options += own
        if not own:
            barred.append(reason("not_enough", offer, have=max(have.values()), pieces=pieces))
    unfilled = {}
    for line in lines:
        if line not in fitting:
            short = reason("not_enough", have=most, pieces=sum(one.pieces for one in lines))
            unfilled[line.id] = short if fitting else replace(_nearest(barred), offer=None)
    want = Want(tuple(fitting), tuple(options)) if fitting else None
    return Filling(want, unfilled, tuple(barred))


def _nearest(barred: Sequence[Reason]) -> Reason:
    """Of the reasons against all offers the one that the least would have to change for."""
    order = list(REASONS)
    return max(barred, key=lambda one: order.index(one.code), default=reason("no_offer"))


def _barred(offer: Offered, lines: Sequence[Line], rules: Rules, currency: str | None) -> Reason | None:
    """Why an offer fills none of these lines, if that does not depend on how many pieces there are."""
    if offer.barred is not None:
        return reason(offer.barred, offer)
    if not rules.fallback and rules.preferred and offer.connection_id not in rules.preferred:
        return reason("not_preferred", offer)
    if offer.cost is None:
        return reason("no_cost", offer)
    has_ceiling = rules.cost_ceiling is not None or rules.shipping_ceiling is not None
    if has_ceiling and offer.common != rules.ceiling_currency:
        return reason("ceiling_unknown", offer, currency=offer.common)
    if rules.min_margin is not None:
        prices = [line.price for line in lines if line.price is not None]
        if offer.common != currency or len(prices) < len(lines):
            return reason("margin_unknown", offer, currency=offer.common)
        # What was given away earns nothing by itself: the order as a whole has to.
        least = min((price for price in prices if price > 0), default=None)
        if least is not None and least - offer.landed < rules.min_margin * least:
            return reason("below_margin", offer)
    return reason("stock_unknown", offer) if offer.stock is None else None


def _warehouses(offer: Offered) -> list[str]:
    return list(dict.fromkeys(tier.warehouse for tier in offer.tiers)) or [""]


def _there(offer: Offered, warehouse: str) -> int:
    """Pieces that may be had from there."""
    stock = max(0, (offer.stock or 0) - offer.taken)
    if not offer.tiers:
        return stock
    own = sum(tier.pieces for tier in offer.tiers if tier.warehouse == warehouse)
    return max(0, min(stock, own - offer.taken))


def _option(offer: Offered, warehouse: str, pieces: int, rules: Rules) -> Option:
    place = Place(rules.rank(offer.connection_id), offer.connection_id, warehouse, offer.currency)
    return Option(offer, place, pieces * offer.landed, _days(offer, warehouse, pieces))


def _days(offer: Offered, warehouse: str, pieces: int) -> int | None:
    """When the last piece leaves: the soonest go to those who came before."""
    own = [tier for tier in offer.tiers if tier.warehouse == warehouse]
    left = offer.taken + pieces
    for tier in sorted(own, key=lambda tier: UNKNOWN_DAYS if tier.days is None else tier.days):
        left -= tier.pieces
        if left <= 0:
            return tier.days
    return None
