"""The calls of a walk: all of a step are allowed at once; those that were not made when it ends are given back."""

import threading
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol, runtime_checkable

from services.suppliers.base import Meter


@runtime_checkable
class Lenient(Protocol):
    """A meter that takes calls back."""

    def give_back(self, endpoints: Sequence[str]) -> None:
        """These were allowed and not made, and will not be."""


class Leave:
    """A connection's meter for one walk, which is told of each call right before it is made.

    Walks are left while a thread of theirs reads ahead. What was given back must not be called: from then on whoever
    would is stopped by an error that nobody hears.
    """

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._lock = threading.Lock()
        self._unmade: Counter[str] = Counter()
        self._over = False

    def take(self, endpoints: Sequence[str]) -> None:
        """See Meter."""
        self._meter.take(endpoints)
        with self._lock:
            over = self._over
            self._unmade.update(endpoints)
        if over:
            self.end()
            raise RuntimeError("the walk is over")

    def learn(self, endpoint: str, *, limit: int | None, remaining: int | None, reset: datetime | None) -> None:
        """See Meter."""
        self._meter.learn(endpoint, limit=limit, remaining=remaining, reset=reset)

    def make(self, endpoint: str) -> None:
        """This call, which was allowed, is made now."""
        with self._lock:
            if self._over:
                raise RuntimeError("the walk is over")
            self._unmade[endpoint] -= 1

    def end(self) -> None:
        """No call is made any more: give back those that were not."""
        with self._lock:
            self._over = True
            unmade, self._unmade = list((+self._unmade).elements()), Counter()
        if unmade and isinstance(self._meter, Lenient):
            self._meter.give_back(unmade)
