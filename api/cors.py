"""Which pages of which origins may call what."""

from collections.abc import Collection

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

# Where people try out the actions of their GPTs.
CHATGPT = ("https://chat.openai.com", "https://chatgpt.com")

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_HEADERS = [
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "Last-Event-ID",
    "X-Merchant-Id",
    "X-Request-Id",
]
_EXPOSED = [
    "Idempotent-Replayed",
    "RateLimit-Limit",
    "RateLimit-Remaining",
    "RateLimit-Reset",
    "Retry-After",
    "X-Request-Id",
]


class Cors:
    """The dashboards' origins may call everything, ChatGPT's the paths that are for it."""

    def __init__(self, app: ASGIApp, *, origins: Collection[str], for_chatgpt: Collection[str]) -> None:
        self._everywhere = _cors(app, origins)
        self._there = _cors(app, (*origins, *CHATGPT))
        self._for_chatgpt = frozenset(for_chatgpt)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        chosen = self._there if scope.get("path") in self._for_chatgpt else self._everywhere
        await chosen(scope, receive, send)


def _cors(app: ASGIApp, origins: Collection[str]) -> CORSMiddleware:
    return CORSMiddleware(
        app, allow_origins=origins, allow_methods=_METHODS, allow_headers=_HEADERS, expose_headers=_EXPOSED, max_age=600
    )
