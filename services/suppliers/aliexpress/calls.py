"""Calls to AliExpress: signed forms, one host for everyone."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from services.core.clock import now
from services.suppliers.aliexpress.answers import Gateway, classified, opened
from services.suppliers.aliexpress.sign import signature
from services.suppliers.base import Connection, Quota
from services.suppliers.wire import Reply, call

HOST = "https://api-sg.aliexpress.com"

# Not documented per app; what others keep to without being banned for a second.
CALLS_A_SECOND = 2


def quotas_of(*methods: str) -> tuple[Quota, ...]:
    """The limit of each method."""
    return tuple(Quota(method, CALLS_A_SECOND, 1.0) for method in methods)


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
