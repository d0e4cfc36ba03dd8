"""Who comes in, and how often: tokens and rate limits, looked at before a byte of the body is read.

Closed by default: every address below /api/v1 needs an access token, whatever its route forgets to ask for. The few
that are open are named by the application, and limited by the address the caller comes from.
"""

import ipaddress
import math
import time
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

import anyio
from anyio import to_thread
from limits import RateLimitItem, parse
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from redis import ConnectionPool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import problem, problem_of
from services.core.errors import ShopOptiError, TooMany
from services.core.log import bind
from services.core.memory import RedisAway, Spared, connection_settings
from services.core.settings import Settings
from services.merchants.tokens import SigningKeys, User, authenticate

GUARDED = "/api/v1/"
REDIS_TIMEOUT_SECONDS = 0.25  # every request waits for it


class RateLimited(TooMany):
    """You have sent too many requests; wait as long as Retry-After says."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a caller has left of the limit that is shortest, or of the one that is spent."""

    limit: int
    remaining: int
    reset_seconds: int
    spent: bool

    @property
    def headers(self) -> dict[str, str]:
        """As the IETF draft and as everybody else writes them."""
        values = {"Limit": self.limit, "Remaining": self.remaining, "Reset": self.reset_seconds}
        return {f"{prefix}{name}": str(value) for name, value in values.items() for prefix in _PREFIXES}


_PREFIXES = ("RateLimit-", "X-RateLimit-")


class RateLimits:
    """Limits per caller in Redis, shared by all processes. Without Redis everyone passes."""

    def __init__(self, settings: Settings) -> None:
        self._items: list[RateLimitItem] = sorted(parse(limit) for limit in settings.rate_limits)
        self._pool = ConnectionPool.from_url(settings.redis_url, **connection_settings(REDIS_TIMEOUT_SECONDS))
        storage = RedisStorage(
            settings.redis_url, connection_pool=self._pool, key_prefix=f"{settings.redis_prefix}limits"
        )
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._spared = Spared("requests are not limited")

    def take(self, caller: str) -> Allowance | None:
        """Count one request of the caller. None when there are no limits, or Redis is away."""
        if not self._items:
            return None
        try:
            return self._spared.ask(lambda: self._count(caller))
        except RedisAway:
            return None

    def close(self) -> None:
        """Give the connections back."""
        self._pool.disconnect()

    def _count(self, caller: str) -> Allowance:
        for item in self._items:
            if not self._limiter.hit(item, caller):
                return self._allowance(item, caller, spent=True)
        return self._allowance(self._items[0], caller, spent=False)

    def _allowance(self, item: RateLimitItem, caller: str, *, spent: bool) -> Allowance:
        window = self._limiter.get_window_stats(item, caller)
        reset = max(1, math.ceil(window.reset_time - time.time()))
        return Allowance(item.amount, 0 if spent else window.remaining, reset, spent)


class Gate:
    """Puts the verified user into `scope["state"]["user"]`, or answers 401, 429 or 503 itself.

    `further` paths stand elsewhere and are guarded too. `open_` ones of either kind take everyone, with or without a
    token: nobody is looked up, only counted.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: Settings,
        keys: SigningKeys | None,
        limits: RateLimits,
        further: Collection[str] = (),
        open_: Collection[str] = (),
    ) -> None:
        self.app = app
        self._further = frozenset(further)
        self._open = frozenset(open_)
        self._settings = settings
        self._keys = keys
        self._limits = limits
        # Threads of its own: a slow key server must not take those the endpoints need.
        self._threads: anyio.CapacityLimiter | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        path = scope.get("path", "")
        if scope["type"] not in ("http", "websocket") or not (path.startswith(GUARDED) or path in self._further):
            await self.app(scope, receive, send)
            return
        if self._threads is None:
            self._threads = anyio.CapacityLimiter(40)
        state = scope["state"]
        try:
            admit = partial(self._count, scope) if path in self._open else partial(self._admit, scope)
            user, allowance = await to_thread.run_sync(admit, limiter=self._threads)
        except ShopOptiError as error:
            await problem_of(error)(scope, receive, send)
            return
        if allowance is not None:
            state["headers"].update(allowance.headers)
            if allowance.spent:
                await problem(RateLimited(retry_after=allowance.reset_seconds))(scope, receive, send)
                return
        if user is None:
            await self.app(scope, receive, send)
            return
        state["user"], state["user_id"] = user, str(user.id)
        with bind(user_id=str(user.id)):
            await self.app(scope, receive, send)

    def _admit(self, scope: Scope) -> tuple[User | None, Allowance | None]:
        user = authenticate(_bearer(Headers(scope=scope)), settings=self._settings, keys=self._keys)
        return user, self._limits.take(f"user:{user.id}")

    def _count(self, scope: Scope) -> tuple[User | None, Allowance | None]:
        origin = _origin(scope, self._settings.client_address_header)
        return None, self._limits.take(f"address:{origin}")


def _bearer(headers: Headers) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _origin(scope: Scope, header: str | None = None) -> str:
    """The network a request comes from: as the proxy in front tells in that header, else as the connection does."""
    told = _network(Headers(scope=scope).get(header, "")) if header else None
    host = (scope.get("client") or ("unknown", 0))[0]
    return told or _network(host) or str(host)


def _network(host: str) -> str | None:
    """The address, of IPv6 the network that one subscriber has; None for what is no address."""
    try:
        address = ipaddress.ip_address(host.strip())
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((int(address), 64), strict=False))
    return str(getattr(address, "ipv4_mapped", None) or address)
