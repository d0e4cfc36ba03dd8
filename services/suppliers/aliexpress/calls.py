"""Calls to AliExpress: signed forms, one host for everyone."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from services.core.clock import now
from services.suppliers.aliexpress.answers import Gateway, classified, opened
from services.suppliers.aliexpress.sign import signature
from services.suppliers.base import Connection, Meter, Quota
from services.suppliers.wire import Reply, call

HOST = "https://api-sg.aliexpress.com"

# Not documented per app; what others keep to without being banned for a second.
CALLS_A_SECOND = 2


def quotas_of(*methods: str) -> tuple[Quota, ...]:
    """The limit of each method."""
    return tuple(Quota(method, CALLS_A_SECOND, 1.0) for method in methods)


class Booked:
    """A meter of which some calls were taken together, so that what needs them all never stops between two of them.

    They are made no faster than the quota allows; any other call is taken when it is made.
    """

    def __init__(
        self,
        meter: Meter,
        methods: Sequence[str],
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Raises WaitUntil: not all of them are to be had, and none was taken."""
        meter.take(methods)
        self._meter, self._now, self._sleep = meter, now, sleep
        self._left, self._made = Counter(methods), Counter[str]()
        self._begun = now()
        self.learn = meter.learn

    def take(self, endpoints: Sequence[str]) -> None:
        """Leave for all of them, when it is their turn. Raises what the meter does, which is asked in any case."""
        rest = []
        for one in endpoints:
            if not self._left[one]:
                rest.append(one)
                continue
            turn = self._begun + self._made[one] // CALLS_A_SECOND
            if (wait := turn - self._now()) > 0:
                self._sleep(wait)
            self._left[one] -= 1
            self._made[one] += 1
        self._meter.take(rest)


def business(
    connection: Connection,
    method: str,
    parameters: Mapping[str, str],
    *,
    token: bool = True,
    about: tuple[str, ...] = (),
) -> dict[str, Any]:
    """The payload of a business method. Raises the classes of `errors`."""
    try:
        return opened(method, sent(connection, method, parameters, token=token))
    except Gateway as said:
        raise classified(said.error, about=about) from None


def sent(connection: Connection, method: str, parameters: Mapping[str, str], *, token: bool = True) -> Reply:
    """The bare answer to a business method. Raises Unsent, Retry, WaitUntil (by the meter alone)."""
    connection.meter.take([method])
    asked = {**_system(connection), "method": method, **parameters}
    if token:
        asked["session"] = connection.secrets["access_token"]
    asked = {name: value for name, value in asked.items() if value}
    asked["sign"] = signature(asked, connection.secrets["app_secret"])
    return _post(connection, "/sync", asked)


def system(connection: Connection, path: str, parameters: Mapping[str, str]) -> Reply:
    """The bare answer to a system call (``/auth/token/create``). Raises Unsent, Retry, WaitUntil (by the meter)."""
    connection.meter.take([path])
    asked = {name: value for name, value in {**_system(connection), **parameters}.items() if value}
    asked["sign"] = signature(asked, connection.secrets["app_secret"], path=path)
    return _post(connection, f"/rest{path}", asked)


def _system(connection: Connection) -> dict[str, str]:
    return {
        "app_key": connection.secrets["app_key"],
        "timestamp": str(round(now().timestamp() * 1000)),
        "sign_method": "sha256",
    }


def _post(connection: Connection, path: str, form: Mapping[str, str]) -> Reply:
    content = urlencode(form, encoding="utf-8", errors="replace").encode("ascii")
    return call(
        "POST",
        f"{(connection.base_url or HOST).rstrip('/')}{path}",
        headers={"Content-Type": "application/x-www-form-urlencoded;charset=UTF-8"},
        content=content,
        deadline_seconds=connection.deadline_seconds,
    )
