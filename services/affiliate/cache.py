"""Answers shared by all processes: each is asked for once, whoever wants it at the same time waits for it.

Redis holds them and says who asks. Without it everything works, and everyone asks. What failed is remembered for a
second: those who waited for it are told, and do not ask again one after the other.
"""

import contextlib
import hashlib
import json
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import uuid4

from pydantic import TypeAdapter, ValidationError

from services.core.clock import now
from services.core.errors import ShopOptiError, Unavailable
from services.core.memory import Memory, RedisAway

LEASE_MS = 17_000  # of whoever asks: longer than the pace and the call may take (sources.CALL_SECONDS)
FAILED_SECONDS = 1.0
_VERSION = 1  # of what is kept; another one does not see it

# The key is given up by its holder only.
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"

T = TypeVar("T")


class AffiliateBusy(Unavailable):
    """The same is being asked for already, and takes long. Try again in a moment."""


@dataclass(frozen=True, slots=True)
class Kept(Generic[T]):
    """An answer, when it was given, and whether it comes from the cache."""

    value: T
    at: datetime
    cached: bool


class Cache(Generic[T]):
    """The answers of one kind, out of one source. `prefix` tells them from all others."""

    def __init__(
        self,
        memory: Memory,
        adapter: TypeAdapter[T],
        *,
        prefix: str,
        seconds: float,
        failures: Iterable[type[ShopOptiError]],  # that are shared with whoever waits
    ) -> None:
        self._memory = memory
        self._adapter = adapter
        self._prefix = f"{prefix}:{_VERSION}"
        self._seconds = seconds
        self._failures = {failure.code: failure for failure in failures}

    def get(self, asked: Any, ask: Callable[[], T]) -> Kept[T]:
        """The answer to `asked` (JSON-ready, says all the answer depends on), from the cache or from `ask`.

        Raises what `ask` raises, in this process or in another that asked; AffiliateBusy.
        """
        canonical = json.dumps(asked, sort_keys=True, separators=(",", ":"))
        key = f"{self._prefix}:{hashlib.sha256(canonical.encode()).hexdigest()}"
        try:
            return self._found_or_awaited(key, ask)
        except RedisAway:
            return Kept(ask(), now(), cached=False)

    def _found_or_awaited(self, key: str, ask: Callable[[], T]) -> Kept[T]:
        patience = time.monotonic() + LEASE_MS / 1000
        token, pause = uuid4().hex, 0.02
        while True:
            if (found := self._found(key)) is not None:
                return found
            if self._memory.ask(lambda redis: redis.set(f"{key}:asking", token, nx=True, px=LEASE_MS)):
                return self._asked(key, token, ask)
            if time.monotonic() > patience:
                raise AffiliateBusy(retry_after=2)
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 1.5, 0.2)

    def _found(self, key: str) -> Kept[T] | None:
        kept, failed = self._memory.ask(lambda redis: redis.mget(key, f"{key}:failed"))
        if kept is not None:
            try:
                document = json.loads(kept)
                return Kept(
                    self._adapter.validate_python(document["value"]),
                    datetime.fromisoformat(document["at"]),
                    cached=True,
                )
            except (ValidationError, ValueError, KeyError):
                return None  # another version's; it is replaced
        if failed is not None:
            told = json.loads(failed)
            raise self._failures[told["code"]](told["detail"], retry_after=told["retry_after"], **told["extra"])
        return None

    def _asked(self, key: str, token: str, ask: Callable[[], T]) -> Kept[T]:
        """Ask, as the one who may. Should Redis go away meanwhile, the answer is only not kept."""
        try:
            if (found := self._found(key)) is not None:  # the one before us was done between our two looks
                return found
            return self._kept(key, ask)
        finally:
            self._try(lambda redis: redis.eval(_RELEASE, 1, f"{key}:asking", token))

    def _kept(self, key: str, ask: Callable[[], T]) -> Kept[T]:
        try:
            value, at = ask(), now()
        except ShopOptiError as error:
            if error.code in self._failures:
                told = {"code": error.code, "detail": error.detail, "retry_after": error.retry_after}
                self._keep(f"{key}:failed", {**told, "extra": error.extra}, FAILED_SECONDS)
            raise
        value_as_json = self._adapter.dump_python(value, mode="json")
        self._keep(key, {"at": at.isoformat(), "value": value_as_json}, self._seconds)
        return Kept(value, at, cached=False)

    def _keep(self, key: str, document: Any, seconds: float) -> None:
        self._try(lambda redis: redis.set(key, json.dumps(document), px=round(seconds * 1000)))

    def _try(self, do: Callable[[Any], Any]) -> None:
        with contextlib.suppress(RedisAway):
            self._memory.ask(do)
