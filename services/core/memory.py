"""Redis as it may be used here: quick, or not at all. Whoever asks must be able to go on without it."""

import logging
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from services.core.settings import Settings

TIMEOUT_SECONDS = 0.5
PAUSE_SECONDS = 5.0  # without Redis after it failed, so that not every request waits for it to fail again

T = TypeVar("T")

logger = logging.getLogger(__name__)


class RedisAway(Exception):
    """Redis does not answer, or did not a moment ago."""


def connection_settings(timeout_seconds: float = TIMEOUT_SECONDS) -> dict[str, Any]:
    """How a client made for this use connects: answers soon or not at all, and is not asked twice."""
    return {
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": timeout_seconds,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),
    }


class Spared:
    """Asks Redis, and spares it for a while after it failed. Any number of threads may ask."""

    def __init__(self, meanwhile: str) -> None:
        self._meanwhile = meanwhile  # what its being away comes to, for the log
        self._lock = threading.Lock()
        self._paused_until = 0.0
        self._logged_at = float("-inf")

    def ask(self, do: Callable[[], T]) -> T:
        """What `do`, which talks to Redis, returns. Raises RedisAway."""
        if time.monotonic() < self._paused_until:
            raise RedisAway
        try:
            return do()
        except (RedisError, OSError) as error:
            self._pause(error)
            raise RedisAway from error

    def _pause(self, error: Exception) -> None:
        now = time.monotonic()
        with self._lock:
            self._paused_until = now + PAUSE_SECONDS
            if now - self._logged_at < 60:
                return
            self._logged_at = now
        logger.warning("Redis is away, %s: %s", self._meanwhile, error)


class Memory:
    """A Redis, shared by all processes. Its client serves any number of threads, and notices a fork by itself."""

    def __init__(self, url: str) -> None:
        self._client: Redis = Redis.from_url(url, decode_responses=True, **connection_settings())
        self._spared = Spared("and is done without")

    def ask(self, do: Callable[[Any], T]) -> T:
        """What `do` makes of the client. Raises RedisAway."""
        return self._spared.ask(lambda: do(self._client))


def memory(settings: Settings) -> Memory:
    """The process's handle on the Redis of the settings."""
    return _memory(settings.redis_url)


@cache
def _memory(url: str) -> Memory:
    return Memory(url)
