"""Who answers: AliExpress with the operator's app, or the operator's sandbox, which is always labelled."""

import hashlib
from dataclasses import dataclass

from services.affiliate.pace import Pace
from services.core.errors import Conflict
from services.core.settings import Settings
from services.suppliers.aliexpress.calls import CALLS_A_SECOND, HOST
from services.suppliers.base import Connection, Meter, Unmetered

CALL_SECONDS = 12.0  # with waiting for a place, for someone else's call and for the pace: less than ChatGPT's 45
SANDBOX_SECONDS = 5.0

# What the sandbox's affiliate app is called there (docs/sandbox.md). It opens nothing but that.
_SANDBOX_APP = {"app_key": "87654321", "app_secret": "helloworld", "tracking_id": "sandbox"}


class AffiliateNotSetUp(Conflict):
    """Nobody could answer: set ALIEXPRESS_APP_KEY and ALIEXPRESS_APP_SECRET, or SANDBOX_URL for a sandbox's answers."""


@dataclass(frozen=True, slots=True)
class Market:
    """For whom products are shown."""

    language: str = "en"  # ISO 639-1
    country: str = "US"  # ISO 3166-1, where it is shipped to
    currency: str = "USD"  # ISO 4217; price filters and prices are in it


@dataclass(frozen=True, slots=True)
class Source:
    """One that answers. `scope` keeps what is cached of it apart from everyone else's."""

    sandbox: bool
    scope: str
    connection: Connection


def has_credentials(settings: Settings) -> bool:
    """Whether the operator's own app is set."""
    return bool(settings.aliexpress_app_key and settings.aliexpress_app_secret)


def tracking_id(settings: Settings, *, sandbox: bool) -> str | None:
    """What the links of either source earn for."""
    return _SANDBOX_APP["tracking_id"] if sandbox else settings.aliexpress_tracking_id


def sources(settings: Settings, market: Market) -> tuple[Source, ...]:
    """Who is asked, in this order: the next one only when the one before fails. Never empty.

    The sandbox stands in where there are no credentials; behind the real service only with MOCK_FALLBACK; alone with
    MOCK_MODE=true; never with MOCK_MODE=false. Raises AffiliateNotSetUp.
    """
    real = (_real(settings, market),) if has_credentials(settings) and settings.mock_mode != "true" else ()
    may_stand_in = settings.mock_mode != "false" and settings.sandbox_url is not None
    if may_stand_in and (not real or settings.mock_fallback):
        return (*real, _sandbox(settings, market))
    if not real:
        raise AffiliateNotSetUp(_MISSING[settings.mock_mode])
    return real


_MISSING = {
    "auto": None,
    "true": "MOCK_MODE is true, and nobody stands in: set SANDBOX_URL.",
    "false": "MOCK_MODE is false: set ALIEXPRESS_APP_KEY and ALIEXPRESS_APP_SECRET.",
}


def _real(settings: Settings, market: Market) -> Source:
    secret = settings.aliexpress_app_secret
    app = {
        "app_key": settings.aliexpress_app_key or "",
        "app_secret": secret.get_secret_value() if secret else "",
        "tracking_id": settings.aliexpress_tracking_id or "",
    }
    url = settings.affiliate_gateway or HOST
    scope = hashlib.sha256("\n".join((url, app["app_key"], app["tracking_id"])).encode()).hexdigest()[:16]
    pace = Pace(settings, f"{url} {app['app_key']}", calls_a_second=CALLS_A_SECOND)
    return Source(False, f"real:{scope}", _connection(app, url, market, CALL_SECONDS, pace))


def _sandbox(settings: Settings, market: Market) -> Source:
    url = f"{(settings.sandbox_url or '').rstrip('/')}/aliexpress"
    scope = hashlib.sha256(url.encode()).hexdigest()[:16]
    return Source(True, f"sandbox:{scope}", _connection(_SANDBOX_APP, url, market, SANDBOX_SECONDS, Unmetered()))


def _connection(app: dict[str, str], url: str, market: Market, seconds: float, meter: Meter) -> Connection:
    return Connection(
        secrets=app, base_url=url, language=market.language, country=market.country, currency=market.currency,
        deadline_seconds=seconds, meter=meter,
    )  # fmt: skip
