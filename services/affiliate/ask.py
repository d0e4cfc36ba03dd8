"""Search, details, categories and links: from the cache, from AliExpress, or from the sandbox that stands in.

Every answer says who gave it. What a supplier's adapter raises is told here in the words of those who only ask: they
have no credentials to mend.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter

from services.affiliate.cache import Cache
from services.affiliate.sources import AffiliateNotSetUp, Market, Source, has_credentials, sources, tracking_id
from services.core.errors import Invalid, ShopOptiError, TooMany, Unavailable
from services.core.memory import RedisAway, memory
from services.core.settings import Settings
from services.suppliers.aliexpress_affiliate import products
from services.suppliers.aliexpress_affiliate.products import AffiliateProduct, Category, Results, Search
from services.suppliers.base import Connection
from services.suppliers.errors import FatalForItem, Retry, SupplierError, WaitUntil

SEARCH_SECONDS = 600.0
CATEGORIES_SECONDS = 86_400.0
LINKS_SECONDS = 86_400.0
SANDBOX_SECONDS = 60.0  # whatever it is that the sandbox answers

T = TypeVar("T")


class AffiliateAway(Unavailable):
    """AliExpress does not answer as it should. It may in a moment."""


class AffiliateOverQuota(TooMany):
    """AliExpress takes no more calls for the moment."""


class AffiliateRefused(Unavailable):
    """AliExpress does not accept the operator's app."""


class AffiliateRequestRefused(Invalid):
    """AliExpress refuses this request, and would again."""


class PricesReversed(Invalid):
    """The lowest price is higher than the highest."""


_FAILURES = (AffiliateAway, AffiliateOverQuota, AffiliateRefused, AffiliateRequestRefused)
_REFUSED_SECONDS = 300.0  # before trying again is of any use


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What was asked for, and who says so since when."""

    data: T
    sandbox: bool
    cached: bool
    at: datetime
    tracking_id: str | None
    instead_of: str | None  # what the real service had to say, where the sandbox stands in for it


@dataclass(frozen=True, slots=True)
class Status:
    """How the proxy is set up. Nobody was asked."""

    answers: str | None  # "aliexpress" or "sandbox"; None: nobody would answer
    problem: str | None
    mock_mode: str
    mock_fallback: bool
    has_credentials: bool
    tracking_id: str | None
    cache: bool


def search(settings: Settings, wanted: Search, *, market: Market, hot: bool = False) -> Answer[Results]:
    """Products that fit; `hot`: bestsellers. Raises AffiliateNotSetUp, PricesReversed, AffiliateAway,
    AffiliateOverQuota, AffiliateRefused, AffiliateRequestRefused, AffiliateBusy."""
    low, high = wanted.min_price, wanted.max_price
    if low is not None and high is not None and low > high:
        raise PricesReversed(param="min_sale_price")
    return _answered(
        settings, _RESULTS, lambda to: products.search(to, wanted, hot=hot),
        market=market, kind="search", asked={**asdict(wanted), "hot": hot}, seconds=SEARCH_SECONDS,
    )  # fmt: skip


def details(settings: Settings, product_ids: Sequence[str], *, market: Market) -> Answer[tuple[AffiliateProduct, ...]]:
    """Those of the products (fifty at most) that are to be had. Raises as `search` does."""
    wanted = sorted(set(product_ids), key=int)
    return _answered(
        settings, _PRODUCTS, lambda to: products.details(to, wanted),
        market=market, kind="details", asked=wanted, seconds=SEARCH_SECONDS,
    )  # fmt: skip


def categories(settings: Settings) -> Answer[tuple[Category, ...]]:
    """All of them. Raises as `search` does."""
    return _answered(
        settings, _CATEGORIES, products.categories,
        market=Market(), kind="categories", asked={}, seconds=CATEGORIES_SECONDS,
    )  # fmt: skip


def links(settings: Settings, urls: Sequence[str], *, hot: bool = False) -> Answer[dict[str, str]]:
    """For each of at most fifty addresses a link that earns a commission; those that get none are left out.

    Raises as `search` does; AffiliateNotSetUp also without a tracking id.
    """
    if not sources(settings, Market())[0].sandbox and not settings.aliexpress_tracking_id:
        raise AffiliateNotSetUp("Links earn nothing without the account's tracking id: set ALIEXPRESS_TRACKING_ID.")
    wanted = sorted(set(urls))
    return _answered(
        settings, _LINKS, lambda to: products.links(to, wanted, hot=hot),
        market=Market(), kind="links", asked={"urls": wanted, "hot": hot}, seconds=LINKS_SECONDS,
    )  # fmt: skip


def status(settings: Settings) -> Status:
    """Who would answer, and what is missing for it."""
    problem = None
    try:
        first: Source | None = sources(settings, Market())[0]
    except ShopOptiError as error:
        first, problem = None, error.detail
    try:
        cache = bool(memory(settings).ask(lambda redis: redis.ping()))
    except RedisAway:
        cache = False
    return Status(
        answers=None if first is None else "sandbox" if first.sandbox else "aliexpress",
        problem=problem,
        mock_mode=settings.mock_mode,
        mock_fallback=settings.mock_fallback,
        has_credentials=has_credentials(settings),
        tracking_id=None if first is None else tracking_id(settings, sandbox=first.sandbox),
        cache=cache,
    )


_RESULTS: TypeAdapter[Results] = TypeAdapter(Results)
_PRODUCTS: TypeAdapter[tuple[AffiliateProduct, ...]] = TypeAdapter(tuple[AffiliateProduct, ...])
_CATEGORIES: TypeAdapter[tuple[Category, ...]] = TypeAdapter(tuple[Category, ...])
_LINKS: TypeAdapter[dict[str, str]] = TypeAdapter(dict[str, str])


def _answered(
    settings: Settings,
    adapter: TypeAdapter[T],
    ask: Callable[[Connection], T],
    *,
    market: Market,
    kind: str,
    asked: Any,
    seconds: float,
) -> Answer[T]:
    """The first source's answer, or the next one's when it fails through no fault of the request."""
    instead_of: str | None = None
    *others, last = sources(settings, market)
    for source in (*others, last):
        cache = Cache(
            memory(settings),
            adapter,
            prefix=f"{settings.redis_prefix}affiliate:{source.scope}:{kind}",
            seconds=SANDBOX_SECONDS if source.sandbox else seconds,
            failures=_FAILURES,
        )
        key = {"asked": _plain(asked), "market": asdict(market)}
        try:
            kept = cache.get(key, _classifying(ask, source))
        except (AffiliateAway, AffiliateOverQuota, AffiliateRefused) as error:
            if source is last:
                raise
            instead_of = error.detail
            continue
        tracking = tracking_id(settings, sandbox=source.sandbox)
        return Answer(kept.value, source.sandbox, kept.cached, kept.at, tracking, instead_of)
    raise AssertionError("the last source answers or raises")


def _classifying(ask: Callable[[Connection], T], source: Source) -> Callable[[], T]:
    """The call, its failures in our words."""

    def classified() -> T:
        try:
            return ask(source.connection)
        except SupplierError as error:
            raise _told(error, "The sandbox" if source.sandbox else "AliExpress") from error

    return classified


def _told(error: SupplierError, who: str) -> ShopOptiError:
    extra: dict[str, Any] = {} if error.supplier_code is None else {"supplier_code": error.supplier_code}
    said = f"{who}: {error.detail}"
    match error:
        case WaitUntil():
            return AffiliateOverQuota(said, retry_after=error.retry_after, **extra)
        case Retry():
            return AffiliateAway(said, retry_after=error.retry_after or 5.0, **extra)
        case FatalForItem():
            return AffiliateRequestRefused(said, **extra)
        case _:
            return AffiliateRefused(said, retry_after=_REFUSED_SECONDS, **extra)


def _plain(asked: Any) -> Any:
    """JSON-ready; prices of the same value are the same."""
    if isinstance(asked, Decimal):
        return format(asked.normalize(), "f")
    if isinstance(asked, dict):
        return {name: _plain(value) for name, value in asked.items()}
    return asked
