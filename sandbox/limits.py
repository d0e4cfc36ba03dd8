"""Limits: a fixed window for each key and endpoint, begun by its first call."""

import fnmatch
from dataclasses import dataclass

MAX_WINDOWS = 20_000


@dataclass(slots=True)
class Window:
    """Calls since its begin; over at `ends`."""

    ends: float
    calls: int


@dataclass(slots=True)
class Verdict:
    """Whether a call may pass, and what the headers say."""

    passes: bool
    limit: int
    remaining: int
    reset: int  # seconds since the epoch

    def headers(self) -> list[tuple[str, str]]:
        """BigBuy's three headers, on every answer of a limited endpoint."""
        return [
            ("X-RateLimit-Limit", str(self.limit)),
            ("X-RateLimit-Remaining", str(self.remaining)),
            ("X-RateLimit-Reset", str(self.reset)),
        ]


class Limits:
    """All windows, and the limits they enforce."""

    def __init__(self, rules: dict[str, tuple[int, int]]) -> None:
        """Endpoint, or pattern with `*` → (calls, seconds); enforced."""
        self.enforced = True
        self.rules = dict(rules)
        self.windows: dict[tuple[str, str], Window] = {}

    def rule(self, route: str) -> tuple[int, int] | None:
        """(calls, seconds) of an endpoint; None if it has no limit."""
        exact = self.rules.get(route)
        if exact is not None:
            return exact
        return next((rule for pattern, rule in self.rules.items() if fnmatch.fnmatchcase(route, pattern)), None)

    def count(self, key: str, route: str, at: float) -> Verdict | None:
        """Count a call; None if the endpoint has no limit."""
        rule = self.rule(route) if self.enforced else None
        if rule is None:
            return None
        limit, seconds = rule
        window = self.windows.get((key, route))
        # A clock that was set back would otherwise close the window for as long as it was set back.
        if window is None or at >= window.ends or window.ends - at > seconds:
            self._make_room(at)
            window = self.windows[(key, route)] = Window(at + seconds, 0)
        window.calls += 1
        return Verdict(window.calls <= limit, limit, max(limit - window.calls, 0), -int(-window.ends // 1))

    def _make_room(self, at: float) -> None:
        if len(self.windows) >= MAX_WINDOWS:
            self.windows = {name: window for name, window in self.windows.items() if window.ends > at}
        if len(self.windows) >= MAX_WINDOWS:
            self.windows.clear()

    def exhausted(self, key: str, route: str, at: float) -> Verdict:
        """Use the rest of a window up."""
        limit, seconds = self.rule(route) or (1, 1)
        window = self.windows.get((key, route))
        if window is None or at >= window.ends:
            window = self.windows[(key, route)] = Window(at + seconds, 0)
        window.calls = max(window.calls, limit)
        return Verdict(False, limit, 0, -int(-window.ends // 1))
