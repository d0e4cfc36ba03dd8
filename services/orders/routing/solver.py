"""Which parcels to open and what to put into each: the least that a set of demands can cost, found exactly.

Every demand is put into one of the parcels it may come in, at a price; a parcel that is used has a price of its own.
That is the uncapacitated facility location problem. It is solved by branch and bound over the parcels, with the lower
bounds and the first solutions of dual ascent (Erlenkotter, "A Dual-Based Procedure for Uncapacitated Facility
Location", Operations Research 26, 1978), which for a few dozen parcels leaves a handful of cases to look at.

Beside its price, by which it is chosen, everything has a cost, which limits are about: what was dear to find may be
cheap to buy. All numbers are whole. Time is bounded: when it is over the best that was found is the answer, and the
answer says that nothing proves it to be the best there is.
"""

import time
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import NamedTuple


class Choice(NamedTuple):
    """A parcel that a demand may come in."""

    parcel: int
    price: int
    cost: int


class Opening(NamedTuple):
    """What a parcel has cost before anything is in it."""

    price: int
    cost: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What all may cost, and the parcels alone; None: no limit."""

    total: int | None = None
    openings: int | None = None


NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Solution:
    """A choice for each demand, by its place among the demand's choices; `price` with that of the parcels."""

    picked: tuple[int, ...]
    price: int
    total: int
    openings: int


@dataclass(frozen=True, slots=True)
class Found:
    """The best solution there is, or, unless `proven`, that was found in time. None: none that keeps the limits."""

    solution: Solution | None
    proven: bool


def solve(
    demands: Sequence[Sequence[Choice]],
    openings: Sequence[Opening],
    *,
    limits: Limits = NO_LIMITS,
    deadline: float,
) -> Found:
    """The solution of the least price within the limits. Every demand must have a choice.

    `deadline` is a moment of time.perf_counter.
    """
    search = _Search(demands, openings, limits, deadline)
    if limits != NO_LIMITS and not search.is_possible():
        return Found(None, True)
    search.run()
    return Found(search.best, search.proven)


def evaluate(demands: Sequence[Sequence[Choice]], openings: Sequence[Opening], picked: Sequence[int]) -> Solution:
    """What a choice for each demand comes to."""
    chosen = [choices[place] for choices, place in zip(demands, picked, strict=True)]
    used = {choice.parcel for choice in chosen}
    shipping = sum(openings[parcel].cost for parcel in used)
    return Solution(
        tuple(picked),
        sum(choice.price for choice in chosen) + sum(openings[parcel].price for parcel in used),
        sum(choice.cost for choice in chosen) + shipping,
        shipping,
    )


@dataclass
class _Search:
    demands: Sequence[Sequence[Choice]]
    openings: Sequence[Opening]
    limits: Limits
    deadline: float
    best: Solution | None = None
    proven: bool = True
    _by_price: list[list[tuple[int, int, int]]] = field(init=False)  # (price, parcel, place), cheapest first

    def __post_init__(self) -> None:
        self._by_price = [
            sorted((choice.price, choice.parcel, place) for place, choice in enumerate(choices))
            for choices in self.demands
        ]

    def is_possible(self) -> bool:
        """Whether anything keeps each limit by itself; what does is a first solution if it keeps both."""
        for limit, of_goods in ((self.limits.total, 1), (self.limits.openings, 0)):
            if limit is None:
                continue
            demands = [[Choice(one.parcel, of_goods * one.cost, one.cost) for one in each] for each in self.demands]
            openings = [Opening(one.cost, one.cost) for one in self.openings]
            found = solve(demands, openings, deadline=self.deadline)
            assert found.solution is not None  # noqa: S101  without limits there always is one
            if found.proven and found.solution.price > limit:
                return False
            self.offer(found.solution.picked)
        return True

    def offer(self, picked: Sequence[int]) -> None:
        """Keep a solution if it is the best so far."""
        made = evaluate(self.demands, self.openings, picked)
        if self.keeps(made) and (self.best is None or made.price < self.best.price):
            self.best = made

    def keeps(self, made: Solution) -> bool:
        """Whether a solution keeps the limits."""
        total, openings = self.limits.total, self.limits.openings
        return (total is None or made.total <= total) and (openings is None or made.openings <= openings)

    def run(self) -> None:
        """Look at every case that may hold something better."""
        everything = frozenset(choice.parcel for choices in self.demands for choice in choices)
        self._look(frozenset(), everything)

    def _look(self, opened: frozenset[int], undecided: frozenset[int]) -> None:
        """The best with all of `opened` paid for and any of `undecided` besides."""
        # The first case always holds something, unless limits are in its way.
        if (self.best is not None or self.limits != NO_LIMITS) and time.perf_counter() > self.deadline:
            self.proven = False
            return
        available = opened | undecided
        if not self._may_keep(opened, available):
            return
        bound = _ascend(self._by_price, self.openings, opened, available)
        if bound is None or (self.best is not None and bound.price >= self.best.price):
            return
        picked = self._pruned(bound.tight | opened)
        self.offer(picked)
        made = evaluate(self.demands, self.openings, picked)
        if made.price <= bound.price and self.keeps(made):
            return
        if not undecided:
            self._look_at_leaf(opened)
            return
        used = {choices[place].parcel for choices, place in zip(self.demands, picked, strict=True)}
        parcel = min(used & undecided or bound.tight & undecided or undecided)
        self._look(opened | {parcel}, undecided - {parcel})
        self._look(opened, undecided - {parcel})

    def _may_keep(self, opened: frozenset[int], available: frozenset[int]) -> bool:
        """Whether what uses all of `opened` can keep the limits at all."""
        paid = sum(self.openings[parcel].cost for parcel in opened)
        if self.limits.openings is not None and paid > self.limits.openings:
            return False
        if self.limits.total is None:
            return True
        least = (
            min((choice.cost for choice in choices if choice.parcel in available), default=0)
            for choices in self.demands
        )
        return paid + sum(least) <= self.limits.total

    def _pruned(self, parcels: frozenset[int]) -> tuple[int, ...]:
        """Each demand where it is cheapest among these parcels, without those that are not worth their opening."""
        picked = self._cheapest(parcels)
        assert picked is not None  # noqa: S101  dual ascent leaves every demand one
        price = evaluate(self.demands, self.openings, picked).price
        while True:
            used = {choices[place].parcel for choices, place in zip(self.demands, picked, strict=True)}
            better = None
            for parcel in sorted(used) if len(used) > 1 else ():
                without = self._cheapest(used - {parcel})
                if without is not None and (made := evaluate(self.demands, self.openings, without)).price < price:
                    better, price = without, made.price
            if better is None:
                return picked
            picked = better

    def _cheapest(self, parcels: AbstractSet[int]) -> tuple[int, ...] | None:
        """Each demand where it is cheapest among these; None when one has no choice there."""
        picked = []
        for choices in self._by_price:
            place = next((place for _, parcel, place in choices if parcel in parcels), None)
            if place is None:
                return None
            picked.append(place)
        return tuple(picked)

    def _look_at_leaf(self, opened: frozenset[int]) -> None:
        """The least price with all of `opened` paid for, where the cheapest choices together cost too much.

        Demand by demand, of what comes to the same cost only the cheapest is kept, and of what is dearer only what
        costs less.
        """
        left = None if self.limits.total is None else self.limits.total - sum(self.openings[one].cost for one in opened)
        front: list[tuple[int, int, tuple[int, ...]]] = [(0, 0, ())]  # (price, cost, picked), price up, cost down
        for choices in self.demands:
            if time.perf_counter() > self.deadline:
                self.proven = False
                return
            grown = sorted(
                (price + choice.price, cost + choice.cost, (*picked, place))
                for price, cost, picked in front
                for place, choice in enumerate(choices)
                if choice.parcel in opened and (left is None or cost + choice.cost <= left)
            )
            front = []
            for one in grown:
                if not front or one[1] < front[-1][1]:
                    front.append(one)
        if front:
            self.offer(front[0][2])


class _Bound(NamedTuple):
    price: int
    tight: frozenset[int]  # parcels whose opening the demands would pay for between them


def _ascend(
    by_price: Sequence[Sequence[tuple[int, int, int]]],
    openings: Sequence[Opening],
    opened: frozenset[int],
    available: frozenset[int],
) -> _Bound | None:
    """A price that nothing with all of `opened` and any of `available` falls below; None: a demand has no choice.

    Each demand bids ever more. What it bids above its price in a parcel goes towards opening that parcel, and nobody
    bids when a parcel that they may come in is paid for.
    """
    slack = {parcel: 0 if parcel in opened else openings[parcel].price for parcel in available}
    bids, waiting = 0, []
    for choices in by_price:
        own = [(price, parcel) for price, parcel, _ in choices if parcel in available]
        if not own:
            return None
        bids += own[0][0]
        waiting.append((own, own[0][0], _upto(own, 0, own[0][0])))
    while waiting:
        again = []
        for own, bid, reached in waiting:
            step = min(slack[parcel] for _, parcel in own[:reached])
            if step <= 0:
                continue
            if reached < len(own):
                step = min(step, own[reached][0] - bid)
            for _, parcel in own[:reached]:
                slack[parcel] -= step
            bids += step
            again.append((own, bid + step, _upto(own, reached, bid + step)))
        waiting = again
    paid = sum(openings[parcel].price for parcel in opened)
    return _Bound(bids + paid, frozenset(parcel for parcel, left in slack.items() if left <= 0))


def _upto(own: list[tuple[int, int]], reached: int, bid: int) -> int:
    """How many of a demand's choices cost no more than its bid."""
    while reached < len(own) and own[reached][0] <= bid:
        reached += 1
    return reached
