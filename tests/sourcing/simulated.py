"""A world in which a week takes a second: a clock, work that waits, and BigBuy's windows as they are documented."""

import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from math import ceil, floor
from typing import TypeVar

from services.sourcing.quotas.meter import SharedMeter
from services.sourcing.quotas.stores import fresh
from services.sourcing.quotas.windows import Window
from services.suppliers.base import Quota
from services.suppliers.errors import WaitUntil

T = TypeVar("T")

Waits = Iterator[float]  # seconds until it goes on


class World:
    """Work in order of its time. Nothing happens in between."""

    def __init__(self, *, seed: int = 1, at: float = 1_800_000_000.0) -> None:
        self.at = self.begun = at
        self.chance = random.Random(seed)
        self._due: list[tuple[float, int, Waits]] = []
        self._turns = 0

    def now(self) -> datetime:
        """The time, as meters ask for it."""
        return datetime.fromtimestamp(self.at, UTC)

    def start(self, work: Waits, *, after: float = 0.0) -> None:
        """Have the work begin."""
        self._turns += 1
        heapq.heappush(self._due, (self.at + after, self._turns, work))

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        until = self.at + seconds
        while self._due and self._due[0][0] <= until:
            self.at, _, work = heapq.heappop(self._due)
            for wait in work:
                self.start(work, after=max(wait, 0.0))
                break
        self.at = until


class Server:
    """Fixed windows, each begun by its first call, told of in whole seconds of a clock that is not ours."""

    def __init__(self, world: World, rules: dict[str, tuple[int, float]], *, ahead: float = 0.0) -> None:
        self._world, self._rules, self._ahead = world, rules, ahead
        self._windows: dict[tuple[str, str], list[float]] = {}  # end, calls
        self.calls: Counter[str] = Counter()
        self.refused: list[tuple[str, str, float]] = []

    def call(self, key: str, endpoint: str) -> tuple[int, int, float]:
        """Count a call. Limit, remaining, and seconds to the reset as its headers say."""
        limit, seconds = self._rules[endpoint]
        at = self._world.at
        window = self._windows.get((key, endpoint))
        if window is None or at >= window[0]:
            window = self._windows[key, endpoint] = [at + seconds, 0]
        window[1] += 1
        self.calls[endpoint] += 1
        if window[1] > limit:
            self.refused.append((key, endpoint, at))
        there = at + self._ahead
        return limit, max(0, limit - int(window[1])), ceil(window[0] + self._ahead) - floor(there)


class Kept:
    """Windows in memory, for meters of one process."""

    def __init__(self) -> None:
        self.windows: dict[tuple[str, str], Window] = {}

    def change(
        self, credential: str, quotas: Sequence[Quota], decide: Callable[[dict[str, Window]], T], *, at: float
    ) -> T:
        """Nobody else is at it: what `decide` changes is kept."""
        found = {
            quota.endpoint: self.windows.setdefault((credential, quota.endpoint), fresh(quota)) for quota in quotas
        }
        for window in found.values():
            window.settle(at)
        return decide(found)


class Asleep(Exception):
    """A meter would wait here."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


def sleep(seconds: float) -> None:
    """What a simulated meter sleeps with."""
    raise Asleep(seconds)


def taken(meter: SharedMeter, world: World, endpoints: Sequence[str]) -> Waits:
    """Wait for leave as a job does: a moment here, or put off until it is said to be had."""
    while True:
        try:
            meter.take(endpoints)
            return
        except Asleep as pause:
            yield pause.seconds
        except WaitUntil as error:
            yield error.when.timestamp() - world.at


def called(meter: SharedMeter, world: World, server: Server, endpoint: str, *, way: float, lost: bool = False) -> Waits:
    """A call that was taken: on its way, counted, answered after as long again."""
    yield way
    limit, remaining, left = server.call(meter.credential, endpoint)
    yield way
    if not lost:
        reset = datetime.fromtimestamp(world.at + left, UTC)
        meter.learn(endpoint, limit=limit, remaining=remaining, reset=reset)
