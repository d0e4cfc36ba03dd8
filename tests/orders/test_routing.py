"""Routing against trying everything: what it finds is the best there is, and what it says of the rest is so."""

import itertools
import random
import time
from collections import defaultdict
from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.orders.routing import solver
from services.orders.routing.extras import learned
from services.orders.routing.filling import UNKNOWN_DAYS, Line, Offered, Rules, Tier
from services.orders.routing.route import Shipping, route
from services.orders.routing.solver import Choice, Limits, Opening
from tests.examples import examples

A, B, C = (UUID(int=number) for number in (1, 2, 3))


def line(number: int, pieces: int = 1, price: str | None = "100", *, variant: int | None = None) -> Line:
    return Line(UUID(int=100 + number), UUID(int=variant or number), pieces, None if price is None else Decimal(price))


def has(supplier: UUID, variant: int, cost: str | None, *, stock: int | None = 10, **more) -> Offered:
    own = f"{supplier.int}-{variant}"
    known = None if cost is None else Decimal(cost)
    return Offered(UUID(int=variant), supplier, own, own, own, known, "EUR", stock, **more)


def ship(**costs: str) -> dict[UUID, Shipping]:
    return {{"a": A, "b": B, "c": C}[name]: Shipping(Decimal(cost), 1) for name, cost in costs.items()}


def routed(lines, offers, *, shipping=None, currency="EUR", paid=None, **rules):
    return route(
        lines, offers, rules=Rules(**rules), currency=currency, shipping=shipping or {}, shipping_paid=paid, seconds=5
    )


def where(routing) -> dict[int, UUID]:
    return {pick.line.id.int - 100: parcel.connection_id for parcel in routing.parcels for pick in parcel.picks}


def codes(routing, number: int) -> dict[int, str]:
    return {one.offer.connection_id.int: one.code for one in routing.others[UUID(int=100 + number)]}


def total(routing) -> Decimal:
    return sum((parcel.total for parcel in routing.parcels), Decimal())


# -- What each rule does -----------------------------------------------------------------------------------------------

CHEAP_APART = [has(A, 1, "5"), has(A, 2, "9"), has(B, 1, "6"), has(B, 2, "7")]


def test_a_cheaper_piece_is_not_worth_a_parcel_of_its_own():
    lines = [line(1), line(2)]
    together = routed(lines, CHEAP_APART, shipping=ship(a="4", b="4"), one_parcel="no")
    assert where(together) == {1: B, 2: B}
    assert (together.proven, total(together)) == (True, Decimal(17))
    assert [(one.code, one.extra_cost) for one in together.others[lines[0].id]] == [("dearer", Decimal(3))]
    apart = routed(lines, CHEAP_APART, shipping=ship(a="0.5", b="0.4"), one_parcel="no")
    assert where(apart) == {1: A, 2: B}
    assert total(apart) == Decimal("12.9")


def test_one_parcel_where_it_can_be_and_where_it_must():
    lines = [line(1), line(2)]
    cheap = ship(a="0.1", b="0.1")
    assert where(routed(lines, CHEAP_APART, shipping=cheap)) == {1: B, 2: B}
    three = routed(lines, [*CHEAP_APART, has(C, 1, "1")], shipping=cheap)
    assert where(three) == {1: B, 2: B}
    assert codes(three, 1) == {1: "dearer", 3: "one_parcel"}  # A has both, C has one only
    only = [has(A, 1, "5"), has(B, 2, "7")]
    assert where(routed(lines, only)) == {1: A, 2: B}
    refused = routed(lines, only, one_parcel="required")
    assert (refused.parcels, {one.code for one in refused.unrouted.values()}) == ((), {"one_parcel"})
    shelves = (Tier(5, 1, "1"), Tier(5, 3, "2"))
    far = [has(A, 1, "5", tiers=shelves[:1]), has(A, 2, "5", tiers=shelves[1:])]
    assert routed(lines, far, one_parcel="required").parcels == ()
    assert [parcel.warehouse for parcel in routed(lines, far).parcels] == ["1", "2"]


def test_one_supplier_where_orders_may_not_be_split():
    lines = [line(1), line(2)]
    rules = {"one_parcel": "no", "split": False}
    assert where(routed(lines, CHEAP_APART, **rules)) == {1: B, 2: B}
    assert codes(routed(lines, [*CHEAP_APART, has(C, 1, "1")], **rules), 1) == {1: "dearer", 3: "one_supplier"}
    refused = routed(lines, [has(A, 1, "5"), has(B, 2, "7")], **rules)
    assert {one.code for one in refused.unrouted.values()} == {"one_supplier"}


def test_the_fastest_whole_order_then_the_cheapest_of_those():
    slow, quick = (Tier(9, 7, ""),), (Tier(9, 2, ""),)
    offers = [has(A, 1, "1", tiers=slow), has(B, 1, "5", tiers=quick), has(C, 1, "4", tiers=quick), has(A, 2, "1")]
    found = routed([line(1)], offers, route="fastest")
    assert where(found) == {1: C}
    assert codes(found, 1) == {1: "slower", 2: "dearer"}
    assert found.parcels[0].days == 2
    # The second line takes as long as nobody knows anyway: nothing is paid for haste that gains nothing.
    assert where(routed([line(1), line(2)], offers, route="fastest", one_parcel="no")) == {1: A, 2: A}


def test_the_days_are_those_of_the_last_piece():
    tiers = (Tier(3, 1, "x"), Tier(10, 5, "x"))
    assert routed([line(1, 3)], [has(A, 1, "1", stock=13, tiers=tiers)]).parcels[0].days == 1
    assert routed([line(1, 4)], [has(A, 1, "1", stock=13, tiers=tiers)]).parcels[0].days == 5
    waiting = has(A, 1, "1", stock=13, tiers=tiers, taken=1)
    assert routed([line(1, 3)], [waiting], shipping=ship(a="0")).parcels[0].days == 6


def test_the_preferred_first_and_others_only_where_they_may():
    lines = [line(1), line(2)]
    offers = [has(A, 1, "1"), has(B, 1, "5"), has(A, 2, "1"), has(C, 2, "9")]
    rules = {"route": "preferred", "preferred": (B, C), "one_parcel": "no"}
    assert where(routed(lines, offers, **rules)) == {1: B, 2: C}
    assert codes(routed(lines, offers, **rules), 1) == {1: "less_preferred"}
    # Less preferred, where the best would break the ceiling.
    tight = routed(lines, offers, **rules, cost_ceiling=Decimal(10), ceiling_currency="EUR")
    assert where(tight) == {1: B, 2: A}
    strict = routed(lines, offers[:3], **rules, fallback=False)
    assert where(strict) == {1: B}
    assert strict.unrouted[lines[1].id].code == "not_preferred"


def test_ceilings_hold_for_the_order_or_nothing_is_routed():
    lines = [line(1), line(2)]
    over = routed(lines, CHEAP_APART, shipping=ship(a="4", b="4"), cost_ceiling=Decimal(16), ceiling_currency="EUR")
    assert (over.parcels, {one.code for one in over.unrouted.values()}) == ((), {"over_ceiling"})
    rules = {"one_parcel": "no", "shipping_ceiling": Decimal(4), "ceiling_currency": "EUR"}
    cheap = [has(A, 1, "1"), has(B, 2, "1"), has(C, 1, "50"), has(C, 2, "50")]
    kept = routed(lines, cheap, shipping=ship(a="3", b="3", c="4"), **rules)
    assert where(kept) == {1: C, 2: C}
    assert codes(kept, 1) == {1: "over_ceiling"}
    assert routed(lines, cheap, shipping=ship(a="3", b="3", c="5"), **rules).parcels == ()
    other = routed(lines, cheap, shipping_ceiling=Decimal(4), ceiling_currency="GBP")
    assert {one.code for one in other.unrouted.values()} == {"ceiling_unknown"}


def test_never_below_the_margin():
    rules = {"min_margin": Decimal("0.2")}
    assert routed([line(1, price="10")], [has(A, 1, "8.01")], **rules).unrouted[UUID(int=101)].code == "below_margin"
    assert where(routed([line(1, price="10")], [has(A, 1, "8")], **rules)) == {1: A}
    # Parcels count against the order as a whole; what the buyer paid for them counts for it.
    dear = ship(a="3")
    assert routed([line(1, price="10")], [has(A, 1, "7")], shipping=dear, **rules).parcels == ()
    assert where(routed([line(1, price="10")], [has(A, 1, "7")], shipping=dear, paid=Decimal(3), **rules)) == {1: A}
    # A gift has no margin of its own.
    gift = [line(1, price="50"), line(2, price="0")]
    assert where(routed(gift, [has(A, 1, "5"), has(A, 2, "5")], **rules)) == {1: A, 2: A}
    for unknown in ({"currency": "USD"}, {"currency": None}):
        found = routed([line(1)], [has(A, 1, "1")], **rules, **unknown)
        assert found.unrouted[UUID(int=101)].code == "margin_unknown"
    assert routed([line(1, price=None)], [has(A, 1, "1")], **rules).parcels == ()


def test_lines_of_one_variant_share_its_stock():
    lines = [line(1, 3, variant=7), line(2, 3, variant=7), line(3, 1, variant=7)]
    found = routed(lines, [has(A, 7, "1", stock=4), has(B, 7, "2", stock=3)])
    assert where(found) == {1: A, 3: A}
    assert found.unrouted[lines[1].id].code == "not_enough"
    assert where(routed(lines, [has(A, 7, "1", stock=4), has(B, 7, "2", stock=7)])) == {1: B, 2: B, 3: B}
    taken = routed(lines, [has(A, 7, "1", stock=9, taken=3)])
    assert taken.unrouted[lines[2].id].about == "6 of 7 pieces are there."


def test_what_cannot_be_had_says_why_by_the_offer_nearest_to_it():
    lines = [line(number) for number in range(1, 6)]
    offers = [
        *(has(A, 1, "1", barred="gone"), has(B, 1, "1", stock=0)),
        *(has(A, 2, None), has(B, 2, "1", barred="not_connected")),
        *(has(A, 3, "1", stock=None), has(A, 4, "1", barred="refused")),
    ]
    found = routed(lines, offers)
    assert found.parcels == ()
    assert [found.unrouted[one.id].code for one in lines] == [
        *("not_enough", "no_cost", "stock_unknown", "refused", "no_offer")
    ]
    assert codes(found, 1) == {1: "gone", 2: "not_enough"}
    assert all(one.offer is None for one in found.unrouted.values())


def test_currencies_are_not_compared_unless_a_rate_is_given():
    lines = [line(1), line(2)]
    dollars = {"stock": 9}
    offers = [has(A, 1, "5"), has(A, 2, "5"), replace(has(B, 1, "1", **dollars), currency="USD")]
    assert where(routed(lines, offers)) == {1: A, 2: A}
    assert codes(routed(lines, offers), 1) == {2: "other_currency"}
    only = [has(A, 1, "5"), replace(has(B, 2, "1"), currency="USD")]
    assert {parcel.currency for parcel in routed(lines, only).parcels} == {"EUR", "USD"}
    for whole, code in (({"one_parcel": "required"}, "one_parcel"), ({"split": False}, "one_supplier")):
        assert {one.code for one in routed(lines, only, **whole).unrouted.values()} == {code}
    turned = [*offers[:2], replace(offers[2], rate=Decimal("0.9"), compared_in="EUR")]
    found = routed(lines, turned, one_parcel="no")
    assert where(found) == {1: B, 2: A}
    assert [parcel.goods for parcel in found.parcels] == [Decimal(5), Decimal("0.9")]


# -- Against trying everything -----------------------------------------------------------------------------------------


@st.composite
def cases(draw):
    """Small orders, of which everything can be tried: lines, offers, shipping and rules."""
    lines = [
        line(n, draw(st.integers(1, 3)), str(draw(st.integers(20, 40)))) for n in range(1, draw(st.integers(2, 5)))
    ]
    suppliers = (A, B, C)[: draw(st.integers(1, 3))]
    offers = []
    for wanted, supplier in itertools.product(lines, suppliers):
        if draw(st.integers(0, 5)):
            shelves = draw(st.lists(st.sampled_from(("1", "2")), min_size=1, max_size=2, unique=True))
            tiers = tuple(Tier(draw(st.integers(0, 4)), draw(st.sampled_from((1, 3, None))), one) for one in shelves)
            stock = sum(tier.pieces for tier in tiers)
            cost = str(draw(st.integers(8, 24)))
            offers.append(has(supplier, wanted.variant_id.int, cost, stock=stock, tiers=tiers))
    shipping = {one: Shipping(Decimal(draw(st.integers(0, 9))), draw(st.integers(0, 3))) for one in suppliers}
    rules = Rules(
        route=draw(st.sampled_from(("cheapest", "fastest", "preferred"))),
        preferred=tuple(draw(st.permutations(suppliers)))[: draw(st.integers(0, 2))],
        one_parcel=draw(st.sampled_from(("preferred", "required", "no"))),
        split=draw(st.booleans()),
        cost_ceiling=draw(st.none() | st.integers(20, 120).map(Decimal)),
        shipping_ceiling=draw(st.none() | st.integers(0, 12).map(Decimal)),
        ceiling_currency="EUR",
        min_margin=draw(st.none() | st.sampled_from((Decimal("0.1"), Decimal("0.3")))),
    )
    return lines, offers, shipping, rules


def ways(lines, offers, shipping, rules):
    """Every way to have all lines that can be had, each as {line: (offer, warehouse, days)}."""
    fillable = {}
    for one in lines:
        options = []
        for offer in offers:
            if offer.variant_id != one.variant_id:
                continue
            if rules.min_margin is not None and one.price - offer.cost < rules.min_margin * one.price:
                continue
            for tier in offer.tiers:
                if tier.pieces >= one.pieces:
                    days = UNKNOWN_DAYS if tier.days is None else tier.days + shipping[offer.connection_id].days
                    options.append((offer, tier.warehouse, days))
        if options:
            fillable[one] = options
    for chosen in itertools.product(*fillable.values()):
        yield dict(zip(fillable, chosen, strict=True))


def judged(way, shipping, rules):
    """What a way comes to; None when it breaks a rule."""
    parcels = {(offer.connection_id, warehouse) for offer, warehouse, _ in way.values()}
    sent = sum((shipping[connection_id].cost for connection_id, _ in parcels), Decimal())
    cost = sent + sum((one.pieces * offer.cost for one, (offer, _, _) in way.items()), Decimal())
    paid = sum((one.pieces * one.price for one in way), Decimal())
    broken = (
        (rules.one_parcel == "required" and len(parcels) > 1)
        or (not rules.split and len({connection_id for connection_id, _ in parcels}) > 1)
        or (rules.cost_ceiling is not None and cost > rules.cost_ceiling)
        or (rules.shipping_ceiling is not None and sent > rules.shipping_ceiling)
        or (rules.min_margin is not None and cost > paid * (1 - rules.min_margin))
    )
    if broken:
        return None
    first = {
        "cheapest": 0,
        "fastest": max(days for _, _, days in way.values()),
        "preferred": sum(rules.rank(offer.connection_id) for offer, _, _ in way.values()),
    }[rules.route]
    several = rules.one_parcel == "preferred" and len(parcels) > 1
    return several, first, cost, len(parcels), sum(days for _, _, days in way.values())


@settings(max_examples=examples(60), deadline=None)
@given(cases())
def test_nothing_is_better_than_what_is_found(case):
    lines, offers, shipping, rules = case
    found = route(lines, offers, rules=rules, currency="EUR", shipping=shipping, seconds=10)
    assert found.proven
    known = {offer.id: offer for offer in offers}
    tried = [score for way in ways(*case) if way and (score := judged(way, shipping, rules)) is not None]
    if not tried:
        assert found.parcels == ()
        assert found.unrouted.keys() == {one.id for one in lines}
        return
    way = {}
    for parcel in found.parcels:
        for pick in parcel.picks:
            (tier,) = (one for one in known[pick.offer.id].tiers if one.warehouse == parcel.warehouse)
            days = UNKNOWN_DAYS if tier.days is None else tier.days + shipping[parcel.connection_id].days
            way[pick.line] = (pick.offer, parcel.warehouse, days)
    assert judged(way, shipping, rules) == min(tried)
    assert {one.id for one in lines} == {one.id for one in way} | found.unrouted.keys()
    for one in lines:  # every offer of a line is accounted for
        said = {other.offer.id for other in found.others[one.id]}
        assert said == {offer.id for offer in offers if offer.variant_id == one.variant_id} - {
            way[one][0].id if one in way else ""
        }


@st.composite
def problems(draw):
    parcels = draw(st.integers(1, 5))
    openings = [Opening(cost, cost) for cost in draw(st.lists(st.integers(0, 30), min_size=parcels, max_size=parcels))]
    choice = st.builds(Choice, st.integers(0, parcels - 1), st.integers(0, 40), st.integers(0, 40))
    demands = draw(st.lists(st.lists(choice, min_size=1, max_size=5), min_size=1, max_size=5))
    limit = st.none() | st.integers(0, 150)
    return demands, openings, Limits(draw(limit), draw(limit))


def test_taxes_are_told_from_parcels():
    """Bills of 21 % tax on goods and on parcels of 4 to 6; one is odd."""
    bills = [(Decimal(goods), Decimal(goods) * Decimal("0.21") + parcel) for goods, parcel in zip(
        (10, 25, 40, 60, 90, 130, 200), (4, 5, 6, 5, 4, 6, 5), strict=True
    )]  # fmt: skip
    for odd in ([], [(Decimal(50), Decimal(90))]):
        found = learned([*bills, *odd])
        assert found is not None
        assert (float(found.share), float(found.parcel)) == pytest.approx((0.21, 5), abs=0.7)
    found = learned(bills)
    assert found is not None
    for goods, extra in bills:
        assert (found.expected(goods) or 0) >= (goods + extra) * Decimal("0.99"), "an ordinary bill is no surprise"
        assert (found.expected(goods) or 0) <= (goods + extra + 3) * Decimal("1.01"), "and a dear one is"
    assert found.expected(Decimal(4)) is None, "nothing so small was ever billed"
    assert found.expected(Decimal(401)) is None
    assert learned([]) is None
    few = learned(bills[:2])
    assert few is not None
    assert few.expected(Decimal(20)) is None, "two bills say nothing of what is usual"
    same = learned([(Decimal(10), Decimal(3))] * 4)
    assert same is not None
    assert (same.share, same.parcel, same.expected(Decimal(10))) == (0, 3, 13)


def test_what_grows_with_the_goods_is_in_the_landed_cost():
    """A supplier that bills taxes is dearer than it looks; a margin is what is left after them."""
    taxed, plain = has(A, 1, "10", fees=Decimal("0.21")), has(B, 1, "11")
    found = routed([line(1)], [taxed, plain], shipping=ship(a="2", b="2"))
    assert where(found) == {1: B}
    (other,) = found.others[UUID(int=101)]
    assert (other.code, other.extra_cost) == ("dearer", Decimal("1.1"))
    (parcel,) = routed([line(1, 2)], [taxed], shipping=ship(a="2")).parcels
    assert (parcel.goods, parcel.shipping, parcel.total) == (20, Decimal("6.20"), Decimal("26.20"))
    assert where(routed([line(1, price="12.5")], [taxed], min_margin=Decimal("0.03"))) == {1: A}
    assert where(routed([line(1, price="12.5")], [taxed], min_margin=Decimal("0.04"))) == {}


@settings(max_examples=examples(60), deadline=None)
@given(problems())
def test_the_solver_finds_the_least_within_the_limits(problem):
    """Prices and costs have nothing to do with each other here, which no routing asks for."""
    demands, openings, limits = problem
    found = solver.solve(demands, openings, limits=limits, deadline=time.perf_counter() + 10)
    assert found.proven
    every = (
        solver.evaluate(demands, openings, picked)
        for picked in itertools.product(*(range(len(one)) for one in demands))
    )
    least = min(
        (
            made.price
            for made in every
            if (limits.total is None or made.total <= limits.total)
            and (limits.openings is None or made.openings <= limits.openings)
        ),
        default=None,
    )
    assert (found.solution and found.solution.price) == least


# -- Time --------------------------------------------------------------------------------------------------------------


def hard(parcels: int, demands: int) -> tuple[list[Line], list[Offered], dict[UUID, Shipping]]:
    """Suppliers that are much alike: many combinations of them are nearly the best."""
    chance = random.Random(3)
    numbers = [UUID(int=1000 + number) for number in range(parcels)]
    lines = [line(number, price="99") for number in range(demands)]
    offers = [
        has(one, wanted.variant_id.int, f"{chance.uniform(20, 40):.2f}")
        for one in numbers
        for wanted in lines
        if chance.random() < 0.7
    ]
    return lines, offers, {one: Shipping(Decimal(f"{chance.uniform(3, 15):.2f}"), 1) for one in numbers}


def test_when_time_is_over_the_best_so_far_is_told_for_what_it_is():
    lines, offers, shipping = hard(30, 20)
    ask = {"currency": "EUR", "shipping": shipping}
    rushed = route(lines, offers, rules=Rules(one_parcel="no"), **ask, seconds=0.0)
    assert not rushed.proven
    assert len(where(rushed)) == 20
    best = route(lines, offers, rules=Rules(one_parcel="no"), **ask, seconds=20)
    assert best.proven
    assert total(best) <= total(rushed)
    # The cheapest has too dear a parcel, the cheapest parcel is too dear in all: no time for what lies between.
    offers = [has(A, 1, "10"), has(B, 1, "14"), has(C, 1, "20")]
    ask = {"currency": "EUR", "shipping": ship(a="6", b="4", c="2")}
    rules = {"cost_ceiling": Decimal(19), "shipping_ceiling": Decimal(5), "ceiling_currency": "EUR", "one_parcel": "no"}
    rushed = route([line(1)], offers, rules=Rules(**rules), **ask, seconds=0.0)
    assert (rushed.parcels, rushed.proven) == ((), False)
    assert {one.code for one in rushed.unrouted.values()} == {"no_time"}
    assert where(route([line(1)], offers, rules=Rules(**rules), **ask, seconds=5)) == {1: B}


def test_twenty_lines_at_ten_suppliers_end_in_time_whatever_the_rules():
    """Suppliers much alike, limits that only just can be kept, or only just cannot."""
    lines, offers, shipping = hard(10, 20)
    ask = {"currency": "EUR", "shipping": shipping}
    least = total(route(lines, offers, rules=Rules(one_parcel="no"), **ask, seconds=5))
    every = (("cheapest", "fastest", "preferred"), ("preferred", "no"), (True, False), ("0.999", "1.001", "1.1"))
    for name, one_parcel, split, tight in itertools.product(*every):
        ceiling = {"cost_ceiling": least * Decimal(tight), "ceiling_currency": "EUR", "shipping_ceiling": Decimal(25)}
        rules = Rules(route=name, one_parcel=one_parcel, split=split, preferred=tuple(shipping)[:5], **ceiling)
        began = time.process_time()
        found = route(lines, offers, rules=rules, **ask, seconds=0.01)
        assert time.process_time() - began < 0.25, rules
        if found.parcels:
            assert total(found) <= rules.cost_ceiling
            assert len(where(found)) == 20


def test_many_lines_take_no_longer_than_they_may():
    lines, offers, shipping = hard(10, 400)
    began = time.perf_counter()
    found = route(lines, offers, rules=Rules(), currency="EUR", shipping=shipping, seconds=0.2)
    assert time.perf_counter() - began < 5
    parcels = defaultdict(int)
    for parcel in found.parcels:
        parcels[parcel.connection_id] += len(parcel.picks)
    assert sum(parcels.values()) == 400


@pytest.mark.parametrize("name", ["preferred", "cheapest", "fastest"])
def test_the_same_question_has_the_same_answer(name):
    lines, offers, shipping = hard(6, 8)
    rules = Rules(route=name, one_parcel="no")
    first, again = (
        route(lines, some, rules=rules, currency="EUR", shipping=shipping, seconds=5)
        for some in (offers, list(reversed(offers)))
    )
    assert first.parcels == again.parcels
