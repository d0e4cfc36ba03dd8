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


class Memory:
    """A Redis, shared by all processes. Its client serves any number of threads, and notices a fork by itself."""

    def __init__(self, url: str) -> None:
        self._client: Redis = Redis.from_url(
            url,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )
        self._lock = threading.Lock()
        self._paused_until = 0.0
        self._logged_at = float("-inf")

    def ask(self, do: Callable[[Any], T]) -> T:
        """What `do` makes of the client. Raises RedisAway."""
        if time.monotonic() < self._paused_until:
            raise RedisAway
        try:
            return do(self._client)
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
        logger.warning("Redis is away, and is done without: %s", error)


def memory(settings: Settings) -> Memory:
    """The process's handle on the Redis of the settings."""
    return _memory(settings.redis_url)


@cache
def _memory(url: str) -> Memory:
    return Memory(url)
