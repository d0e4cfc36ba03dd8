"""The pace of one app's calls to AliExpress, kept by all processes together: each call is given its moment."""

import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from services.core.clock import now
from services.core.memory import RedisAway, memory
from services.core.settings import Settings
from services.suppliers.errors import WaitUntil

PATIENCE_SECONDS = 3.0  # a moment later than this is not waited for

# The next free moment of a method, in microseconds of Redis's clock; one that is too far off is not taken.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local free = math.max(now, tonumber(redis.call('GET', KEYS[1]) or 0))
local wait = free - now
if wait <= tonumber(ARGV[2]) then
    redis.call('SET', KEYS[1], string.format('%.0f', free + ARGV[1]), 'PX', math.ceil((wait + ARGV[1]) / 1000) + 1000)
end
return wait
"""

_lock = threading.Lock()
_free: dict[str, float] = defaultdict(float)  # while Redis is away: this process's own moments


class Pace:
    """A meter (services.suppliers.base.Meter) that lets calls of a method pass at even distances."""

    def __init__(self, settings: Settings, app: str, *, calls_a_second: float) -> None:
        self._memory = memory(settings)
        self._prefix = f"{settings.redis_prefix}affiliate:pace:{app}"
        self._distance = 1.0 / calls_a_second

    def take(self, endpoints: Sequence[str]) -> None:
        """Wait for the moment of each call. Raises WaitUntil when it is further off than PATIENCE_SECONDS."""
        for endpoint in endpoints:
            wait = self._take(f"{self._prefix} {endpoint}")
            if wait > PATIENCE_SECONDS:
                raise WaitUntil(now() + timedelta(seconds=wait), "AliExpress is being asked too much at the moment.")
            if wait > 0:
                time.sleep(wait)

    def learn(self, endpoint: str, *, limit: int | None, remaining: int | None, reset: datetime | None) -> None:
        """AliExpress says nothing of its limits."""

    def _take(self, key: str) -> float:
        arguments = (round(self._distance * 1e6), round(PATIENCE_SECONDS * 1e6))
        try:
            return float(self._memory.ask(lambda redis: redis.eval(_TAKE, 1, key, *arguments))) / 1e6
        except RedisAway:
            return self._take_here(key)

    def _take_here(self, key: str) -> float:
        moment = time.monotonic()
        with _lock:
            wait = max(0.0, _free[key] - moment)
            if wait <= PATIENCE_SECONDS:
                _free[key] = moment + wait + self._distance
        return wait
