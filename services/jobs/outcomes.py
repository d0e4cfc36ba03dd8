"""How an attempt ends: a value the task returns, or an exception that says the same.

Returning None or a dict is `Done`. Raising an `Unavailable` is `Retry` (after its `retry_after`, if it has one), a
`TooMany` is `Snooze` (until then), any other error family is `Fail` with its code, and an exception nobody foresaw is
`Retry`.
"""

import hashlib
import random
import re
from dataclasses import dataclass
from typing import Any

from services.core.errors import ShopOptiError, TooMany, Unavailable

MAX_BACKOFF = 3600.0
LEAST_SNOOZE = 1.0  # seconds: who is told to come back at once comes back a little later
USUAL_SNOOZE = 60.0  # where nobody says for how long


@dataclass(frozen=True, slots=True)
class Done:
    """It worked. `result` is JSON shown to the merchant."""

    result: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """It did not work this time. Uses an attempt; the last attempt's Retry is a Fail."""

    code: str
    message: str
    after: float | None = None  # seconds; None is the kind's back-off with jitter
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class Snooze:
    """Not now, and nobody's fault (rate limit, breaker open, draining). Uses no attempt."""

    seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """The work was given up because someone asked."""

    reason: str = "cancel_requested"


@dataclass(frozen=True, slots=True)
class Fail:
    """It cannot work; trying again would not help."""

    code: str
    message: str
    fingerprint: str | None = None


Outcome = Done | Retry | Snooze | Cancel | Fail


class Stopped(BaseException):
    """Raised by `run.checkpoint()` to leave the work. Not an Exception: no `except Exception` may swallow it."""

    def __init__(self, outcome: Outcome | None) -> None:
        super().__init__(outcome)
        self.outcome = outcome  # None: the attempt is no longer ours, nothing may be written


def outcome_of(error: Exception) -> Outcome:
    """What an exception that left a task means."""
    if isinstance(error, Unavailable):
        return Retry(error.code, error.detail, after=error.retry_after)
    if isinstance(error, TooMany):
        wait = USUAL_SNOOZE if error.retry_after is None else error.retry_after
        return Snooze(max(wait, LEAST_SNOOZE), error.code)
    if isinstance(error, ShopOptiError):
        return Fail(error.code, error.detail)
    return Retry("unexpected", _told(error), fingerprint=fingerprint(error))


def _told(error: Exception) -> str:
    """The first line: a merchant reads it. What follows, with a database's error the statement and its values, is
    for the log."""
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {cause}".splitlines()[0][:300]


def fingerprint(error: Exception) -> str:
    """A short name shared by failures of one cause: the error's type and where in our code it was raised."""
    frames, place = error.__traceback__, ""
    while frames is not None:
        code = frames.tb_frame.f_code
        place = f"{code.co_filename.rsplit('/', 2)[-2:]}:{code.co_name}"
        frames = frames.tb_next
    return _digest(f"{type(error).__name__}@{place}")


def fingerprint_of(code: str, message: str) -> str:
    """The same for an error known by code and message: numbers, ids and quoted parts do not count."""
    shape = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|'[^']*'|\"[^\"]*\"|\d+", "·", message)
    return _digest(f"{code}:{shape}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def backoff(base: float, attempt: int) -> float:
    """Seconds to wait after the `attempt`-th attempt failed: base x 2^(attempt-1), at most an hour, ±20 % jitter."""
    return min(base * 2.0 ** min(attempt - 1, 20), MAX_BACKOFF) * random.uniform(0.8, 1.2)
