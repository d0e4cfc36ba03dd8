"""The outermost layer: a request's id, its log line, and the promise that every answer is well-formed.

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
        answer = _Answer(send, state)
        started = time.perf_counter()
        with bind(request_id=request_id):
            try:
                await self.app(scope, receive, answer.send)
            except Exception as error:
                if answer.status is not None or scope["type"] != "http":
                    raise  # half an answer is out: the server closes the connection
                await problem_of(error)(scope, receive, answer.send)
            finally:
                level = logging.DEBUG if scope["path"] in _QUIET_PATHS else logging.INFO
                if scope["type"] == "http" and logger.isEnabledFor(level):
                    logger.log(
                        level,
                        "%s %s %s",
                        scope["method"],
                        scope["path"],
                        answer.status,
                        extra={
                            "status": answer.status,
                            "ms": round((time.perf_counter() - started) * 1000, 1),
                            "merchant_id": state.get("merchant_id"),
                            "user_id": state.get("user_id"),
                        },
                    )


class _Answer:
    """Adds the headers, and turns the framework's own plain 413 into a problem document."""

    def __init__(self, send: Send, state: dict[str, Any]) -> None:
        self._send = send
        self._state = state
        self._replaced = False
        self.status: int | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(raw=list(message["headers"]))
            if self.status == 413 and headers.get("content-type", "").startswith("text/plain"):
                self._replaced = True
                response = problem(TooLarge())
                message = {**message, "headers": response.raw_headers}
                headers = MutableHeaders(raw=list(response.raw_headers))
            for name, value in self._state["headers"].items():
                headers[name] = value
            await self._send({**message, "headers": headers.raw})
            if self._replaced:
                await self._send({"type": "http.response.body", "body": response.body})
        elif not (self._replaced and message["type"] == "http.response.body"):
            await self._send(message)
