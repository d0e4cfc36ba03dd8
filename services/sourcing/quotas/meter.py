"""Who counts the calls to suppliers: one meter per credential, shared by all workers of all merchants who have it.

Where a quota's state is kept follows from how long it matters:

- Windows of a minute and more (BigBuy's lists: a few calls an hour) are in Postgres, in `quotas`, changed under a row
  lock. They are few, each is dear, and nothing that befalls Redis may make us forget one.
- Shorter ones (a call a second) are in Redis, changed by one script that writes all of them or none, if none has
  changed since it was read. While Redis is away they are in Postgres too. What was lost with Redis is taken for spent
  for a window's length.

Rows and keys are named by a digest of the secrets: who has the secrets shares the quota, and nobody else finds it.
Decision 0013 says why, `windows` what is decided.
"""

import contextlib
import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID, uuid4

from services.core import clock
from services.core.errors import Unavailable
from services.sourcing.quotas.stores import Windows, postgres_windows, redis_windows
from services.sourcing.quotas.windows import Window
from services.suppliers.base import Adapter, Connection, Quota
from services.suppliers.errors import WaitUntil

SCARCE_SECONDS = 60.0  # windows this long are in Postgres
PATIENCE_SECONDS = 1.5  # what is to be had so soon is waited for here: putting a job off would take longer

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class QuotaLeft:
    """What is left of an endpoint's quota."""

    endpoint: str
    limit: int
    seconds: float  # the length of its window
    left: int
    resets_at: datetime | None  # when all of it is to be had again; None: it is now


class SharedMeter:
    """`services.suppliers.base.Meter` for one credential: it makes the WaitUntil that an adapter raises."""

    def __init__(
        self,
        credential: str,
        quotas: Sequence[Quota],
        *,
        user: str = "",
        scarce: Windows | None = None,
        fast: Windows | None = None,
        now: Callable[[], datetime] = clock.now,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`user` is who calls, of all who share the credential. An endpoint without a quota is not counted."""
        self.credential = credential
        self._quotas = {quota.endpoint: quota for quota in quotas}
        self._user = user
        self._id = uuid4().hex[:12]  # whose calls are whose
        self._scarce = scarce or postgres_windows()
        self._fast = fast or redis_windows()
        self._now, self._sleep = now, sleep

    def take(self, endpoints: Sequence[str]) -> None:
        """Leave to call each of these once (one named twice: twice): for all of them, or WaitUntil is raised.

        What can be had within PATIENCE_SECONDS is waited for. Raises Unavailable when neither store can be reached.
        """
        wanted = Counter(endpoint for endpoint in endpoints if endpoint in self._quotas)
        begun = self._now().timestamp()
        # The scarce ones come last: what is taken in vain is back after seconds.
        for windows, mine in self._by_store(wanted):
            while (refused := self._take(windows, {one: wanted[one] for one in mine}, mine)) is not None:
                when, endpoint = refused
                at = self._now().timestamp()
                if when - begun > PATIENCE_SECONDS:
                    raise _spent(self._quotas[endpoint], when, wanted[endpoint])
                self._sleep(max(when - at, 0.001))

    def learn(self, endpoint: str, *, limit: int | None, remaining: int | None, reset: datetime | None) -> None:
        """What an answer said of its endpoint's quota; `remaining` 0 with `reset` after a refusal.

        What cannot be noted is not: until it is forgotten the call counts as one that was not answered.
        """
        quota = self._quotas.get(endpoint)
        if quota is None:
            return
        at = self._now().timestamp()
        ends = None if reset is None else reset.timestamp()

        def note(windows: dict[str, Window]) -> None:
            windows[endpoint].learn(at, meter=self._id, limit=limit, remaining=remaining, reset=ends)

        with contextlib.suppress(Unavailable):
            self._store(quota).change(self.credential, [quota], note, at=at)

    def give_back(self, endpoints: Sequence[str]) -> None:
        """Calls that were allowed were not made, and will not be. What cannot be noted counts as one that was lost."""
        unmade = Counter(endpoint for endpoint in endpoints if endpoint in self._quotas)
        at = self._now().timestamp()

        def note(windows: dict[str, Window]) -> None:
            for endpoint, window in windows.items():
                window.give_back(unmade[endpoint], meter=self._id)

        with contextlib.suppress(Unavailable):
            for windows, mine in self._by_store(unmade):
                self._ask(windows, mine, note, at)

    def left(self) -> tuple[QuotaLeft, ...]:
        """What is left of every endpoint's quota, in the adapter's order. Raises Unavailable."""
        at = self._now().timestamp()
        found: dict[str, QuotaLeft] = {}

        def look(windows: dict[str, Window]) -> None:
            for endpoint, window in windows.items():
                whole = window.fits_at(window.limit, at)
                reset = None if whole <= at else datetime.fromtimestamp(whole, UTC)
                found[endpoint] = QuotaLeft(endpoint, window.limit, window.seconds, window.left(), reset)

        for windows, mine in self._by_store(self._quotas):
            self._ask(windows, mine, look, at)
        return tuple(found[endpoint] for endpoint in self._quotas)

    def sharing(self, endpoints: Sequence[str]) -> tuple[int, int]:
        """Which of those who called one of these in the last two days this one is, from 0, and how many they are.

        Of scarce calls only: nobody waits long for the others.
        """
        at = self._now().timestamp()

        def look(windows: dict[str, Window]) -> set[str]:
            return {user for window in windows.values() for user in window.users}

        stores = self._by_store(dict.fromkeys(one for one in endpoints if one in self._quotas))
        users = {self._user}.union(*(self._ask(windows, mine, look, at) for windows, mine in stores))
        return sorted(users).index(self._user), len(users)

    def _take(self, windows: Windows, wanted: Mapping[str, int], mine: Sequence[str]) -> tuple[float, str] | None:
        """None: they are taken. Else when they may be, and which of them is the last to be had."""
        at = self._now().timestamp()

        def decide(found: dict[str, Window]) -> tuple[float, str] | None:
            when, endpoint = max((window.fits_at(wanted[one], at), one) for one, window in found.items())
            if when > at:
                return when, endpoint
            for one, window in found.items():
                window.take(wanted[one], at, meter=self._id, user=self._user if windows is self._scarce else "")
            return None

        return self._ask(windows, mine, decide, at)

    def _ask(self, windows: Windows, mine: Sequence[str], decide: Callable[[dict[str, Window]], T], at: float) -> T:
        return windows.change(self.credential, [self._quotas[one] for one in mine], decide, at=at)

    def _store(self, quota: Quota) -> Windows:
        return self._scarce if quota.seconds >= SCARCE_SECONDS else self._fast

    def _by_store(self, endpoints: Mapping[str, object]) -> list[tuple[Windows, list[str]]]:
        fast = [one for one in endpoints if self._quotas[one].seconds < SCARCE_SECONDS]
        scarce = [one for one in endpoints if self._quotas[one].seconds >= SCARCE_SECONDS]
        return [(windows, mine) for windows, mine in ((self._fast, fast), (self._scarce, scarce)) if mine]


def meter_for(adapter: Adapter, connection: Connection, *, connection_id: UUID) -> SharedMeter | None:
    """The meter of a connection's credential. None where the supplier counts nothing."""
    quotas = adapter.quotas(connection)
    if not quotas:
        return None
    user = hashlib.sha256(connection_id.bytes).hexdigest()[:16]
    return SharedMeter(credential_of(adapter, connection, connection_id), quotas, user=user)


def metered(adapter: Adapter, connection: Connection, *, connection_id: UUID) -> Connection:
    """The connection with its meter."""
    meter = meter_for(adapter, connection, connection_id=connection_id)
    return connection if meter is None else replace(connection, meter=meter)


def credential_of(adapter: Adapter, connection: Connection, connection_id: UUID) -> str:
    """A digest of what the supplier counts calls by. The secrets in it are long: it gives none of them away."""
    named = [connection.secrets.get(name, "") for name in adapter.COUNTED_BY] or [str(connection_id)]
    told = json.dumps([adapter.NAME, connection.base_url or "", *named])
    return hashlib.sha256(told.encode()).hexdigest()


def _spent(quota: Quota, when: float, calls: int) -> WaitUntil:
    moment = datetime.fromtimestamp(when, UTC)
    every = calls * quota.seconds / quota.limit
    return WaitUntil(moment, f"The calls of {quota.endpoint} are spent until {moment:%H:%M:%S} UTC.", every=every)
