"""The sandbox's own time: it runs, stands still or races, and can be set."""

import time


class Clock:
    """Seconds since the epoch, as the suppliers see them."""

    def __init__(self, *, at: float | None = None, speed: float = 1.0) -> None:
        """Starts at `at` (default: the real time). `speed` is sandbox seconds a real second; 0 stands still."""
        self.speed = speed
        self._base = time.time() if at is None else at
        self._mark = time.monotonic()

    def now(self) -> float:
        """The time, in seconds since the epoch."""
        return self._base + (time.monotonic() - self._mark) * self.speed

    def set(self, *, at: float | None = None, speed: float | None = None) -> None:
        """Jump to a time, change the speed, or both."""
        self._base = self.now() if at is None else at
        self._mark = time.monotonic()
        if speed is not None:
            self.speed = speed

    def advance(self, seconds: float) -> None:
        """Let that many seconds pass at once."""
        self.set(at=self.now() + seconds)


_days: dict[int, str] = {}
_TWO = [f"{number:02}" for number in range(60)]


def timestamp(at: float) -> str:
    """`YYYY-MM-DD HH:MM:SS`, UTC. Dates are remembered by day, because large lists hold hundreds of thousands."""
    day, second = divmod(int(at), 86_400)
    date = _days.get(day)
    if date is None:
        if len(_days) > 20_000:
            _days.clear()
        date = _days[day] = time.strftime("%Y-%m-%d", time.gmtime(day * 86_400))
    minute = second // 60
    return f"{date} {_TWO[minute // 60]}:{_TWO[minute % 60]}:{_TWO[second % 60]}"
