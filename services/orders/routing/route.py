"""Which supplier fills which line of an order, in which parcels, for how much, and why not another.

Pure: what is known goes in (candidates.py reads it), a `Routing` comes out. What counts is the landed cost: goods, plus
what each parcel costs. The choice is exact (solver.py), not line by line: an offer that is cheaper by itself may need a
parcel of its own. docs/routing.md says what each rule means.

Amounts in different currencies are never compared: lines that can be had in the currency most can be had in are routed
in that one, and others by themselves in theirs.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from uuid import UUID

from services.orders.routing.extras import Extras
from services.orders.routing.filling import (
    UNKNOWN_DAYS,
    Line,
    Offered,
    Option,
    Place,
    Reason,
    Rules,
    Want,
    fill,
    reason,
)
from services.orders.routing.solver import Choice, Limits, Opening, solve

SECONDS = 0.04  # for one order
CENT = Decimal("0.01")
_MICRO = 10**6


@dataclass(frozen=True, slots=True)
class Shipping:
    """What a parcel of a connection costs, whatever is in it, and how long it takes."""

    cost: Decimal | None = None  # in what its offers are compared in; None: no order has told, taken for nothing
    days: int | None = None  # from the warehouse to the buyer; None: no order has told, taken for none
    extras: Extras | None = None  # all that orders have told, in the supplier's currency


UNKNOWN = Shipping()


@dataclass(frozen=True, slots=True)
class Pick:
    """A line, and the offer that fills it."""

    line: Line
    offer: Offered


@dataclass(frozen=True, slots=True)
class Parcel:
    """What one supplier sends from one place. Amounts are in `currency`, in which they were compared."""

    connection_id: UUID
    warehouse: str
    currency: str
    picks: tuple[Pick, ...]
    goods: Decimal
    shipping: Decimal | None  # with taxes and fees; None: nobody knows yet
    days: int | None  # until its last piece is there; None: nobody knows
    expected: Decimal | None = None  # what it comes to at most, if it is like those before; in its offers' own currency

    @property
    def total(self) -> Decimal:
        """All it costs, as far as that is known."""
        return self.goods + (self.shipping or 0)


@dataclass(frozen=True, slots=True)
class Routing:
    """Where an order's lines go."""

    parcels: tuple[Parcel, ...]
    unrouted: Mapping[UUID, Reason]  # by line
    others: Mapping[UUID, tuple[Reason, ...]]  # by line: the offers that were not taken
    proven: bool  # there is no better one; else it is the best that was found in time


@dataclass(frozen=True, slots=True)
class _Scope:
    """What a search may use, and what the offers outside it are told."""

    allows: Callable[[Option], bool]
    code: str = ""


@dataclass(frozen=True, slots=True)
class _Answer:
    """An option for each want; none when the rules leave nothing."""

    picked: tuple[Option, ...]
    score: tuple[int, int] = (0, 0)  # days and price: the less the better
    proven: bool = True
    refused: str = ""  # why there is nothing
    scope: _Scope | None = None
    rivals: tuple["_Answer", ...] = ()  # of other scopes


def route(
    lines: Sequence[Line],
    offers: Iterable[Offered],
    *,
    rules: Rules,
    currency: str | None,
    shipping: Mapping[UUID, Shipping],
    shipping_paid: Decimal | None = None,
    seconds: float = SECONDS,
) -> Routing:
    """The best way to have all of these lines that can be had, by the merchant's rules.

    `currency` is that of the lines' prices and of `shipping_paid`, which the buyer paid beside them. A rule about the
    order as a whole (a ceiling, one parcel, one supplier) is kept, or nothing is routed.
    """
    deadline = time.perf_counter() + seconds
    offered: dict[UUID, list[Offered]] = defaultdict(list)
    for offer in offers:
        offered[offer.variant_id].append(offer)
    alike: dict[UUID, list[Line]] = defaultdict(list)
    for line in lines:
        alike[line.variant_id].append(line)
    unrouted: dict[UUID, Reason] = {}
    others: dict[UUID, list[Reason]] = {line.id: [] for line in lines}
    wants = []
    for variant_id, same in alike.items():
        filling = fill(same, offered[variant_id], rules=rules, currency=currency)
        unrouted |= filling.unfilled
        for line in same:
            others[line.id] += filling.barred
        if filling.want is not None:
            wants.append(filling.want)
    groups = list(_by_currency(wants, currency, others))
    parcels: list[Parcel] = []
    proven = True
    for group in groups:
        case = _Case(group, rules, shipping, _revenue(group, shipping_paid), deadline)
        answer = _Answer((), refused=_apart(rules)) if len(groups) > 1 and _apart(rules) else case.answer()
        proven = proven and answer.proven
        parcels += case.parcels(answer.picked)
        for want, found in zip(group, case.reasons(answer), strict=True):
            for line in want.lines:
                others[line.id] += found
                if answer.refused:
                    unrouted[line.id] = reason(answer.refused)
    return Routing(tuple(parcels), unrouted, {id_: tuple(found) for id_, found in others.items()}, proven)


def _by_currency(
    wants: Sequence[Want], currency: str | None, others: Mapping[UUID, list[Reason]]
) -> Iterator[list[Want]]:
    """The wants by the currency they are routed in, each with its options in that one. Why not the rest is noted."""
    left = list(wants)
    while left:
        counts = Counter(name for want in left for name in {option.offer.common for option in want.options})
        chosen = max(counts, key=lambda name: (counts[name], name == currency, name))
        group = []
        for want in left:
            kept = tuple(option for option in want.options if option.offer.common == chosen)
            if not kept:
                continue
            if len(kept) == len(want.options):
                group.append(want)
                continue
            group.append(replace(want, options=kept))
            dropped = {option.offer.id: option.offer for option in want.options if option.offer.common != chosen}
            for line in want.lines:
                others[line.id] += [reason("other_currency", one, currency=one.common) for one in dropped.values()]
        left = [want for want in left if all(option.offer.common != chosen for option in want.options)]
        yield group


def _apart(rules: Rules) -> str:
    """What keeps an order from being had in several currencies."""
    return "one_parcel" if rules.one_parcel == "required" else "" if rules.split else "one_supplier"


def _revenue(group: Sequence[Want], shipping_paid: Decimal | None) -> Decimal:
    paid = [line.pieces * (line.price or Decimal()) for want in group for line in want.lines]
    return sum(paid, shipping_paid or Decimal())


class _Case:
    """Wants that can be had in one currency."""

    def __init__(
        self,
        wants: Sequence[Want],
        rules: Rules,
        shipping: Mapping[UUID, Shipping],
        revenue: Decimal,
        deadline: float,
    ) -> None:
        self.wants, self.rules, self.shipping, self.deadline = wants, rules, shipping, deadline
        self.places = sorted({option.place for want in wants for option in want.options})
        self._numbers = {place: number for number, place in enumerate(self.places)}
        self._limits, self._too_much = self._ceilings(revenue)
        openings = [_micro(self._opening(place)) for place in self.places]
        # One whole number for all that counts: rank, then cost, then fewer parcels, then fewer days.
        self._tie = 1 + 1000 * (len(wants) + len(self.places))
        dearest = sum(max(_micro(option.cost) for option in want.options) for want in wants)
        self._rank = (1 + dearest + sum(openings)) if rules.route == "preferred" else 0
        self._openings = [Opening(cost * self._tie + 1000, cost) for cost in openings]

    def _ceilings(self, revenue: Decimal) -> tuple[Limits, str]:
        """What all may cost, and what is said when it costs more."""
        total, code = self.rules.cost_ceiling, "over_ceiling"
        if self.rules.min_margin is not None:
            worth = revenue * (1 - self.rules.min_margin)
            if total is None or worth < total:
                total, code = worth, "below_margin"
        openings = self.rules.shipping_ceiling
        whole = Limits(None if total is None else _micro(total), None if openings is None else _micro(openings))
        return whole, code

    def _opening(self, place: Place) -> Decimal:
        return self._shipping(place).cost or Decimal()

    def _shipping(self, place: Place) -> Shipping:
        return self.shipping.get(place.connection_id, UNKNOWN)

    def days(self, option: Option) -> int:
        """From now to the buyer."""
        if option.days is None:
            return UNKNOWN_DAYS
        return min(UNKNOWN_DAYS, option.days + (self._shipping(option.place).days or 0))

    # -- the search ----------------------------------------------------------------------------------------------------

    def answer(self) -> _Answer:
        """The best that keeps the rules."""
        anything = _Scope(lambda option: True)
        by_parcel = [
            _Scope(lambda option, own=place: option.place == own, "one_parcel")  # type: ignore[misc]
            for place in self.places
        ]
        by_supplier = [
            _Scope(lambda option, own=id_: option.place.connection_id == own, "one_supplier")  # type: ignore[misc]
            for id_ in dict.fromkeys(place.connection_id for place in self.places)
        ]
        if self.rules.one_parcel == "required":
            return self._best(by_parcel, "one_parcel")
        if self.rules.one_parcel == "preferred":
            found = self._best(by_parcel, "")
            if found.picked:
                return found
        return self._best([anything], "") if self.rules.split else self._best(by_supplier, "one_supplier")

    def _best(self, scopes: Sequence[_Scope], otherwise: str) -> _Answer:
        """The best answer of any scope; when none has one, why."""
        found = [answer for scope in scopes if (answer := self._search(scope)) is not None]
        if not found:
            return _Answer((), refused=otherwise)
        proven = all(answer.proven for answer in found)
        some = [answer for answer in found if answer.picked]
        if some:
            best = min(some, key=lambda answer: answer.score)
            return replace(best, proven=proven, rivals=tuple(answer for answer in found if answer is not best))
        return _Answer((), refused=self._too_much if proven else "no_time", proven=proven)

    def _search(self, scope: _Scope) -> _Answer | None:
        """The best within a scope. None: it does not have everything; nothing picked: not within the ceilings."""
        allowed = [[option for option in want.options if scope.allows(option)] for want in self.wants]
        if not all(allowed):
            return None
        if self.rules.route != "fastest":
            return self._solve(allowed, scope)
        slowest = max(min(self.days(option) for option in options) for options in allowed)
        levels = sorted({days for options in allowed for option in options if (days := self.days(option)) >= slowest})
        answer = None
        for level in levels:
            quick = [[option for option in options if self.days(option) <= level] for options in allowed]
            answer = self._solve(quick, scope)
            if answer.picked or not answer.proven:
                return replace(answer, score=(level, answer.score[1]))
        return answer

    def _solve(self, allowed: Sequence[Sequence[Option]], scope: _Scope) -> _Answer:
        choices = [[self._choice(option) for option in options] for options in allowed]
        found = solve(choices, self._openings, limits=self._limits, deadline=self.deadline)
        if found.solution is None:
            return _Answer((), proven=found.proven, scope=scope)
        picked = tuple(options[place] for options, place in zip(allowed, found.solution.picked, strict=True))
        return _Answer(picked, (0, found.solution.price), found.proven, scope=scope)

    def _choice(self, option: Option) -> Choice:
        cost = _micro(option.cost)
        price = (option.place.rank * self._rank + cost) * self._tie + self.days(option)
        return Choice(self._numbers[option.place], price, cost)

    # -- what came of it -----------------------------------------------------------------------------------------------

    def parcels(self, picked: Sequence[Option]) -> Iterator[Parcel]:
        """The parcels of an answer, the preferred suppliers' first."""
        for place in sorted({option.place for option in picked}):
            inside = [(want, one) for want, one in zip(self.wants, picked, strict=True) if one.place == place]
            days = max(self.days(option) for _, option in inside)
            offer = inside[0][1].offer
            goods = sum((want.pieces * one.offer.goods for want, one in inside), Decimal())
            fees = sum((one.cost for _, one in inside), Decimal()) - goods
            told = self._shipping(place)
            yield Parcel(
                place.connection_id,
                place.warehouse,
                offer.common,
                tuple(Pick(line, option.offer) for want, option in inside for line in want.lines),
                goods,
                None if told.cost is None else (told.cost + fees).quantize(CENT),
                days if days < UNKNOWN_DAYS else None,
                None if told.extras is None else told.extras.expected(goods / offer.rate),
            )

    def reasons(self, answer: _Answer) -> Iterator[list[Reason]]:
        """For each want, why every other offer that could fill it does not."""
        if not answer.picked:
            for want in self.wants:
                offers = {(option.place.connection_id, option.offer.id): option.offer for option in want.options}
                yield [reason(answer.refused, offer) for offer in offers.values()]
            return
        filled = Counter(option.place for option in answer.picked)
        for want, taken in zip(self.wants, answer.picked, strict=True):
            found: dict[tuple[UUID, str], Reason] = {}
            for option in sorted(want.options, key=lambda option: option.cost):
                key = option.place.connection_id, option.offer.id
                if key not in found and option.offer is not taken.offer:
                    found[key] = self._why_not(option, taken, answer, filled)
            yield list(found.values())

    def _why_not(self, option: Option, taken: Option, answer: _Answer, filled: Mapping[Place, int]) -> Reason:
        extra = option.cost - taken.cost
        if option.place != taken.place:
            extra += self._opening(option.place) if not filled.get(option.place) else 0
            extra -= self._opening(taken.place) if filled[taken.place] == 1 else 0
        if answer.scope is not None and not answer.scope.allows(option):
            return self._why_no_rival(option, answer, extra)
        if self.rules.route == "fastest" and self.days(option) > answer.score[0]:
            code = "slower"
        elif self.rules.route == "preferred" and option.place.rank > taken.place.rank:
            code = "less_preferred"
        else:
            code = "dearer" if extra > 0 else "as_good" if extra == 0 else "over_ceiling"
        return reason(code, option.offer, extra_cost=extra)

    def _why_no_rival(self, option: Option, answer: _Answer, extra: Decimal) -> Reason:
        """Why not the parcel, or the supplier, that this option would be of: with all of the order."""
        rival = next((one for one in answer.rivals if one.scope is not None and one.scope.allows(option)), None)
        if rival is None:
            return reason(answer.scope.code if answer.scope else "dearer", option.offer, extra_cost=extra)
        if not rival.picked:
            return reason(self._too_much, option.offer)
        extra = self._total(rival) - self._total(answer)
        if rival.score[0] > answer.score[0]:
            code = "slower"
        elif self._ranks(rival) > self._ranks(answer):
            code = "less_preferred"
        else:
            code = "dearer" if extra > 0 else "as_good"
        return reason(code, option.offer, extra_cost=extra)

    def _total(self, answer: _Answer) -> Decimal:
        opened = [self._opening(place) for place in {option.place for option in answer.picked}]
        return sum((option.cost for option in answer.picked), sum(opened, Decimal()))

    def _ranks(self, answer: _Answer) -> int:
        return sum(option.place.rank for option in answer.picked) if self.rules.route == "preferred" else 0


def _micro(amount: Decimal) -> int:
    return int((amount * _MICRO).to_integral_value())
