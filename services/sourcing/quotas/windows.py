"""What is left of a quota: one window of calls, judged so that no call of ours can be one too many.

A supplier's window begins with a call and is over some seconds after; the supplier's answers say how much of it is left
and when it ends. What it counts is known from answers only, so a call counts twice over here: as *pending* from the
moment it is allowed, because nobody knows in which window it will arrive, and from its answer on as *spent*, as the
supplier says. A call is allowed when even all pending ones arriving in the current window, or all in the next one,
leave room for it.

Every estimate errs to the safe side. The end of a window is an upper bound: the least of what its answers say (their
times are rounded up) and of a whole window after any of its answers. A call that is never answered is pending for a
window after it was allowed, and for another one (ten minutes at most) before, because it may arrive late.

A supplier that says nothing of its limits has no windows that could be known: then `limit` holds for any `seconds`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

LATE_SECONDS = 600.0  # so long after it was allowed, a call may still be on its way
ROUNDED_SECONDS = 2.0  # by so much a time from headers in whole seconds may be too late
LONGEST_SECONDS = 86_400.0
MOST_USERS = 1_000
FOLLOWED_SECONDS = 2 * 86_400.0  # so long someone who called is counted among those who do


@dataclass(slots=True)
class Window:
    """The state of one endpoint's quota for one credential. Times are seconds since the epoch, by our clock."""

    limit: int
    documented: float  # seconds
    seconds: float  # how long a window was seen to be
    ends: float = 0.0  # no later than this the current window is over
    spent: int = 0  # calls in it, as the supplier last said
    told: bool = False  # the supplier says what is left
    pending: list[tuple[float, str]] = field(default_factory=list)  # allowed and not answered: since when, whose
    users: dict[str, float] = field(default_factory=dict)  # who called, and when last

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Window":
        """The window that `document` gave."""
        return cls(**{**document, "pending": [(at, who) for at, who in document["pending"]]})

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    def settle(self, at: float) -> None:
        """Forget what no longer counts. What a clock that ran ahead has written has happened by now."""
        self.ends = min(self.ends, at + max(self.seconds, self.documented))
        if self.ends <= at:
            self.spent = 0
        far = at + LONGEST_SECONDS
        self.pending = [
            one if one[0] < far else (at, one[1]) for one in self.pending if self._forgotten_at(one[0]) > at
        ]
        self.users = {user: min(last, at) for user, last in self.users.items() if last > at - FOLLOWED_SECONDS}

    def left(self) -> int:
        """How many calls fit now, once settled."""
        return max(0, self.limit - self.spent - len(self.pending))

    def fits_at(self, calls: int, at: float) -> float:
        """When so many calls fit, `at` if they do already. What is asked for beyond the limit waits for all of it."""
        missing = min(calls, self.limit) - (self.limit - self.spent - len(self.pending))
        if missing <= 0:
            return at
        freed = [(self.ends, self.spent)] if self.spent else []
        freed += [(self._due_at(taken, at), 1) for taken, _ in self.pending]
        for moment, calls_freed in sorted(freed):
            missing -= calls_freed
            if missing <= 0:
                return max(moment, at)
        return at + self.seconds

    def take(self, calls: int, at: float, *, meter: str, user: str) -> None:
        """Note that so many calls were allowed; those beyond the limit in the windows that follow."""
        self.pending += [(at + number // max(1, self.limit) * self.seconds, meter) for number in range(calls)]
        if user in self.users or (user and len(self.users) < MOST_USERS):
            self.users[user] = at

    def give_back(self, calls: int, *, meter: str) -> None:
        """Forget so many calls that were allowed to this meter last: they were not made."""
        mine = [place for place, one in enumerate(self.pending) if one[1] == meter][-calls:] if calls else []
        for place in reversed(mine):
            del self.pending[place]

    def learn(self, at: float, *, meter: str, limit: int | None, remaining: int | None, reset: float | None) -> None:
        """Note what the answer to a call of this meter's said."""
        mine = next((place for place, one in enumerate(self.pending) if one[1] == meter), None)
        if mine is not None:
            del self.pending[mine]
        if limit is None and remaining is None and reset is None:
            return
        self.told = True
        if limit is not None and limit > 0:
            self.limit = limit
        if remaining is None:
            return
        ends = self._end(at, reset, first=remaining >= self.limit - 1)
        if ends <= at:
            return  # the answer came when its window was over
        spent = max(0, self.limit - remaining)
        if self.ends > at and ends < self.ends + self.seconds / 2:
            self.spent, self.ends = max(self.spent, spent), min(self.ends, ends)
        else:
            self.spent, self.ends = spent, ends

    def _end(self, at: float, reset: float | None, *, first: bool) -> float:
        """When the answer's window is over. The first call of a window shows how long windows are."""
        if reset is None:
            return at + self.seconds
        left = min(reset - at, LONGEST_SECONDS)
        if left <= self.documented + ROUNDED_SECONDS:
            left = min(left, self.documented)
        if left > self.seconds or (first and left > 0):
            self.seconds = left
        return at + left

    def _forgotten_at(self, taken: float) -> float:
        return taken + self.seconds + (min(self.seconds, LATE_SECONDS) if self.told else 0.0)

    def _due_at(self, taken: float, at: float) -> float:
        """When a pending call may be expected to count no more: a window after it, if it is answered soon."""
        soon = taken + self.seconds
        return soon if soon > at else self._forgotten_at(taken)
