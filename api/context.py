"""The outermost layers: a request's id, its log line, and the promise that every answer is well-formed.

Pure ASGI, because a middleware that runs the application in a task of its own would cut the contextvars' thread.
"""

import logging
import re
import time
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import problem, problem_of
from services.core.errors import TooLarge
from services.core.ids import new_id
from services.core.log import bind

_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{8,128}")
_QUIET_PATHS = frozenset({"/health", "/ready", "/metrics"})

logger = logging.getLogger("shopopti.requests")


class RequestContext:
    """Gives every request an id (or takes over its X-Request-Id), binds it to the log and answers it back.

    Headers that inner layers leave in `scope["state"]["headers"]` go out with whatever the answer turns out to be.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        offered = Headers(scope=scope).get("x-request-id", "")
        request_id = offered if _SANE_ID.fullmatch(offered) else str(new_id())
        state: dict[str, Any] = scope.setdefault("state", {})
        state["request_id"] = request_id
        state["headers"] = {"X-Request-Id": request_id}
        status: int | None = None

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(raw=list(message["headers"]))
                for name, value in state["headers"].items():
                    headers[name] = value
                message = {**message, "headers": headers.raw}
            await send(message)

        started = time.perf_counter()
        with bind(request_id=request_id):
            try:
                await self.app(scope, receive, send_with_headers)
            finally:
                if scope["type"] == "http":
                    _log(scope, status, time.perf_counter() - started)


def _log(scope: Scope, status: int | None, seconds: float) -> None:
    level = logging.DEBUG if scope["path"] in _QUIET_PATHS else logging.INFO
    if logger.isEnabledFor(level):
        extra: dict[str, Any] = {"status": status, "ms": round(seconds * 1000, 1)}
        extra.update((name, scope["state"][name]) for name in ("merchant_id", "user_id") if name in scope["state"])
        logger.log(level, "%s %s %s", scope["method"], scope["path"], status, extra=extra)


class LastResort:
    """Turns what escaped every handler, and the framework's own plain 413, into problem documents."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = replaced = False

        async def send_problems(message: Message) -> None:
            nonlocal started, replaced
            if message["type"] == "http.response.start":
                started = True
                plain = Headers(raw=message["headers"]).get("content-type", "").startswith("text/plain")
                if message["status"] == 413 and plain:
                    replaced = True
                    await problem(TooLarge())(scope, receive, send)
            if not replaced:
                await send(message)

        try:
            await self.app(scope, receive, send_problems)
        except Exception as error:
            if started:
                raise  # half an answer is out: the server closes the connection
            await problem_of(error)(scope, receive, send)
