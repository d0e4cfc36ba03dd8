"""Where windows are kept: Postgres under row locks, Redis by one script that compares before it writes."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Protocol, TypeVar

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.core import db
from services.core.errors import Unavailable
from services.core.memory import Memory, RedisAway, memory
from services.core.settings import get_settings
from services.sourcing.quotas.windows import Window
from services.suppliers.base import Quota

TRIES = 200  # somebody else wrote first every time; of all who try at once, one gets through

T = TypeVar("T")
Decide = Callable[[dict[str, Window]], T]


class CallsUncounted(Unavailable):
    """Calls to the supplier cannot be counted at the moment, so none is made; try again in a moment."""


class Windows(Protocol):
    """A place for windows."""

    def change(self, credential: str, quotas: Sequence[Quota], decide: Decide[T], *, at: float) -> T:
        """What `decide` answers about the windows of these quotas, which it may change: all are kept, or none.

        It may be asked more than once; what an earlier time changed is gone then. Raises Unavailable.
        """


# The policy of `quotas` shows a transaction the rows of the credential it names.
_NAME = text("SELECT set_config('shopopti.credential', :credential, true)")
_LOCK = text(
    "SELECT endpoint, state FROM quotas WHERE credential = :credential AND endpoint = ANY(:endpoints)"
    " ORDER BY endpoint FOR NO KEY UPDATE"
)
_GIVEN = "unnest(CAST(:endpoints AS text[]), CAST(:states AS text[])) AS given (endpoint, state)"
_ADD = text(f"""
INSERT INTO quotas (credential, endpoint, state)
SELECT :credential, given.endpoint, given.state::jsonb FROM {_GIVEN} ORDER BY given.endpoint
ON CONFLICT DO NOTHING
""")  # noqa: S608  # what is put in is this module's own
_WRITE = text(f"""
UPDATE quotas SET state = given.state::jsonb, touched_at = now() FROM {_GIVEN}
WHERE quotas.credential = :credential AND quotas.endpoint = given.endpoint
""")  # noqa: S608  # what is put in is this module's own


class PostgresWindows:
    """Windows in `quotas`, each change in a transaction of its own."""

    def change(self, credential: str, quotas: Sequence[Quota], decide: Decide[T], *, at: float) -> T:
        """See Windows. Raises DatabaseAway, DatabaseBusy."""
        with db.transaction() as session:
            session.execute(_NAME, {"credential": credential})
            windows = _locked(session, credential, quotas)
            before = {endpoint: window.document() for endpoint, window in windows.items()}
            _settle(windows, at)
            answer = decide(windows)
            after = {endpoint: window.document() for endpoint, window in windows.items()}
            changed = {endpoint: state for endpoint, state in after.items() if state != before[endpoint]}
            if changed:
                session.execute(_WRITE, _rows(credential, changed))
            return answer


def _locked(session: Session, credential: str, quotas: Sequence[Quota]) -> dict[str, Window]:
    asked = {"credential": credential, "endpoints": [quota.endpoint for quota in quotas]}
    found = {endpoint: Window.of(state) for endpoint, state in session.execute(_LOCK, asked)}
    if len(found) < len(quotas):
        missing = {quota.endpoint: fresh(quota).document() for quota in quotas if quota.endpoint not in found}
        session.execute(_ADD, _rows(credential, missing))
        found = {endpoint: Window.of(state) for endpoint, state in session.execute(_LOCK, asked)}
    return found


def _rows(credential: str, states: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    documents = [json.dumps(state) for state in states.values()]
    return {"credential": credential, "endpoints": list(states), "states": documents}


# KEYS: windows. ARGV: what was read of each (nothing: there was none), then what is to be written, then for how many
# milliseconds it is kept.
_COMPARE_AND_WRITE = """
local n = #KEYS
for i = 1, n do
    if (redis.call('GET', KEYS[i]) or '') ~= ARGV[i] then return 0 end
end
for i = 1, n do
    redis.call('SET', KEYS[i], ARGV[n + i], 'PX', ARGV[2 * n + i])
end
return 1
"""


class RedisWindows:
    """Windows in Redis; in `fallback` while it is away.

    What may have been counted where we cannot look is taken for spent: for one window after Redis was emptied, and
    after this process went from one place to the other.
    """

    def __init__(self, memory: Memory, *, prefix: str, fallback: Windows) -> None:
        self._memory = memory
        self._prefix = prefix
        self._fallback = fallback
        self._is_away = False
        self._moved_at = float("-inf")

    def change(self, credential: str, quotas: Sequence[Quota], decide: Decide[T], *, at: float) -> T:
        """See Windows. Raises CallsUncounted, and what the fallback raises."""
        try:
            if self._is_away:
                self._memory.ask(lambda redis: redis.ping())
            self._move(at, away=False)
            return self._memory.ask(lambda redis: self._change(redis, credential, quotas, decide, at))
        except RedisAway:
            self._move(at, away=True)

        def decide_here(windows: dict[str, Window]) -> T:
            for quota in quotas:
                _take_for_spent(windows[quota.endpoint], quota, self._moved_at, at)
            return decide(windows)

        return self._fallback.change(credential, quotas, decide_here, at=at)

    def _change(self, redis: Any, credential: str, quotas: Sequence[Quota], decide: Decide[T], at: float) -> T:
        keys = [f"{self._prefix}quota:{credential}:{quota.endpoint}" for quota in quotas]
        for _ in range(TRIES):
            windows, read = self._read(redis, keys, quotas, at)
            _settle(windows, at)
            answer = decide(windows)
            written = [json.dumps(window.document()) for window in windows.values()]
            kept = [round(1000 * _memory_seconds(window)) for window in windows.values()]
            if written == read or redis.eval(_COMPARE_AND_WRITE, len(keys), *keys, *read, *written, *kept):
                return answer
        raise CallsUncounted(retry_after=1)

    def _read(
        self, redis: Any, keys: list[str], quotas: Sequence[Quota], at: float
    ) -> tuple[dict[str, Window], list[str]]:
        since_key = f"{self._prefix}quota:since"  # when Redis, if it was emptied, began to remember
        told, *found = redis.mget([since_key, *keys])
        if told is None:
            redis.set(since_key, repr(at), nx=True)
        since = at if told is None else float(told)
        windows = {}
        for quota, raw in zip(quotas, found, strict=True):
            window = Window.of(json.loads(raw)) if raw else fresh(quota)
            if raw is None:
                _take_for_spent(window, quota, since, at)
            _take_for_spent(window, quota, self._moved_at, at)
            windows[quota.endpoint] = window
        return windows, [raw or "" for raw in found]

    def _move(self, at: float, *, away: bool) -> None:
        if away != self._is_away:
            self._is_away, self._moved_at = away, at


@cache
def postgres_windows() -> PostgresWindows:
    """The process's own."""
    return PostgresWindows()


@cache
def redis_windows() -> RedisWindows:
    """The process's own, on the Redis of the settings."""
    settings = get_settings()
    return RedisWindows(memory(settings), prefix=settings.redis_prefix, fallback=postgres_windows())


def fresh(quota: Quota) -> Window:
    """A window of which nothing is known."""
    return Window(quota.limit, documented=quota.seconds, seconds=quota.seconds)


def _take_for_spent(window: Window, quota: Quota, since: float, at: float) -> None:
    """Before `since` it may have been called, who knows how often."""
    if 0 <= at - since < quota.seconds:
        window.spent, window.ends = window.limit, max(window.ends, since + quota.seconds)


def _settle(windows: Mapping[str, Window], at: float) -> None:
    for window in windows.values():
        window.settle(at)


def _memory_seconds(window: Window) -> float:
    """For how long a window that nobody touches may matter, generously."""
    return 4 * max(window.seconds, window.documented) + 60
