"""The affiliate proxy: AliExpress's products, categories and links that earn a commission.

The same operations stand at two places: below /api/v1/affiliate for signed-in callers, and at the older addresses that
existing clients know. What they say is AliExpress's, not a merchant's: nothing here opens the database.
"""

import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

import anyio
from fastapi import APIRouter, Depends, Query
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from starlette.requests import Request

from api.errors import Busy
from services.affiliate import ask
from services.affiliate.ask import Answer
from services.affiliate.sources import Market, has_credentials
from services.core.errors import Invalid
from services.core.settings import Settings
from services.suppliers.aliexpress_affiliate.products import MOST, AffiliateProduct, Search

router = APIRouter(prefix="/affiliate", tags=["affiliate"])
older_router = APIRouter(prefix="/api", tags=["affiliate (older addresses)"])

# Requests that may wait for AliExpress at once: the threads of the others stay free.
PLACES = 16
PLACE_SECONDS = 5.0
MOST_CHARACTERS = 95_000  # ChatGPT takes less than 100,000, metadata included

T = TypeVar("T")


class ProductsOrSearch(Invalid):
    """Products are asked for by their ids or searched for, not both."""


def _upper(value: object) -> object:
    return value.strip().upper() if isinstance(value, str) else value


def _split(value: object) -> object:
    """`1,2,3`, a list of such, or a list."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        return value
    return [part.strip() for one in value for part in str(one).split(",") if part.strip()]


Number = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,18}$")]
Numbers = Annotated[list[Number], BeforeValidator(_split), Field(max_length=MOST)]
Amount = Annotated[Decimal, Field(ge=0, le=10_000_000, max_digits=12, decimal_places=4, allow_inf_nan=False)]
Sort = Literal["SALE_PRICE_ASC", "SALE_PRICE_DESC", "LAST_VOLUME_ASC", "LAST_VOLUME_DESC"]

KEYWORDS = "Words to look for."
CATEGORY_IDS = "Ids of categories, comma-separated; a product of any of them fits."
MIN_PRICE = "The lowest price, in target_currency: 4.99 is 4.99, not cents."
MAX_PRICE = "The highest price, in target_currency: 19.90 is 19.90, not cents."
LINKS = "Whether products come with the link that earns a commission."


class SearchIn(BaseModel):
    """What is looked for. Nothing has to be said: then everything is."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    keywords: Annotated[str, Field(max_length=200, description=KEYWORDS, examples=["desk lamp"])] = ""
    category_ids: Annotated[Numbers, Field(description=CATEGORY_IDS)] = []
    min_sale_price: Annotated[Amount | None, Field(description=MIN_PRICE)] = None
    max_sale_price: Annotated[Amount | None, Field(description=MAX_PRICE)] = None
    page_no: Annotated[int, Field(ge=1, le=1000, description="The page, from 1.")] = 1
    page_size: Annotated[int, Field(ge=1, le=MOST, description="Products on a page, 50 at most.")] = 20
    sort: Annotated[Sort | None, BeforeValidator(_upper), Field(description="Price or sales, up or down.")] = None
    delivery_days: Annotated[Literal[3, 5, 7, 10] | None, Field(description="Delivered within so many days.")] = None
    ship_to_country: Annotated[
        str, BeforeValidator(_upper), Field(pattern=r"^[A-Z]{2}$", description="ISO 3166 code of a country.")
    ] = "US"
    target_currency: Annotated[
        str, BeforeValidator(_upper), Field(pattern=r"^[A-Z]{3}$", description="ISO 4217 code of a currency.")
    ] = "USD"
    target_language: Annotated[
        str,
        BeforeValidator(_upper),
        Field(pattern=r"^[A-Z]{2}([_-][A-Z]{2})?$", description="ISO 639 code of a language."),
    ] = "EN"
    hot: Annotated[bool, Field(description="Bestsellers only, which takes a further permission at AliExpress.")] = False
    auto_generate_affiliate_links: Annotated[bool, Field(description=LINKS)] = True

    @property
    def market(self) -> Market:
        """For whom."""
        return Market(self.target_language[:2].lower(), self.ship_to_country, self.target_currency)

    @property
    def search(self) -> Search:
        """What; the same question in other words is the same."""
        return Search(
            keywords=" ".join(self.keywords.split()),
            category_ids=tuple(sorted(set(self.category_ids), key=int)),
            min_price=self.min_sale_price,
            max_price=self.max_sale_price,
            sort=self.sort,
            delivery_days=self.delivery_days,
            page=self.page_no,
            page_size=self.page_size,
        )


class ProductsQuery(SearchIn):
    """The same as parameters, or the ids of products."""

    category_id: Annotated[Numbers, Field(description="As category_ids.")] = []
    product_ids: Annotated[
        Numbers, Field(description="These products and no search; comma-separated, 50 at most.")
    ] = []


# Nothing is fetched from it: this keeps mistakes, and other people's addresses, from being sent to AliExpress.
_ADDRESS = re.compile(r"https?://([a-z0-9-]+\.)*aliexpress\.(com|us)(/[!-~]*)?", re.IGNORECASE)


def _aliexpress(url: str) -> str:
    if not _ADDRESS.fullmatch(url):
        raise ValueError("not an http(s) address of aliexpress.com or aliexpress.us")
    return url


Address = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=1000),
    AfterValidator(_aliexpress),
    Field(description="An address of AliExpress.", examples=["https://www.aliexpress.com/item/1005006000000001.html"]),
]
Hot = Annotated[bool, Field(description="The kind of link that pays more for some products.")]


class LinksIn(BaseModel):
    """Addresses to make links of."""

    model_config = ConfigDict(extra="forbid")

    urls: Annotated[list[Address], Field(min_length=1, max_length=MOST, description="At most 50 addresses.")]
    hot: Hot = False


class LinkIn(BaseModel):
    """An address to make a link of."""

    model_config = ConfigDict(extra="forbid")

    url: Address
    hot: Hot = False


class ProductOut(BaseModel):
    """A product as AliExpress shows it to affiliates. What it does not say is null."""

    product_id: str
    product_title: str
    product_url: str
    affiliate_url: str | None = Field(description="The link that earns a commission.")
    price: str | None
    currency: str | None
    original_price: str | None
    original_price_currency: str | None
    discount: str | None = Field(examples=["50%"])
    commission_rate: str | None = Field(examples=["7.0%"])
    evaluate_rate: str | None = Field(description="Share of good reviews.", examples=["98.5%"])
    orders_count: int | None = Field(description="Sold lately.")
    image_url: str | None
    category_id: str | None
    category_name: str | None
    shop_name: str | None

    @classmethod
    def of(cls, product: AffiliateProduct, *, linked: bool) -> Self:
        """The product in the words older clients know."""
        price, original = product.price, product.original_price
        return cls(
            product_id=product.id,
            product_title=product.title,
            product_url=product.url or f"https://www.aliexpress.com/item/{product.id}.html",
            affiliate_url=product.promotion_url if linked else None,
            price=None if price is None else str(price.amount),
            currency=None if price is None else price.currency,
            original_price=None if original is None else str(original.amount),
            original_price_currency=None if original is None else original.currency,
            discount=_percent(product.discount_percent),
            commission_rate=_percent(product.commission_percent),
            evaluate_rate=_percent(product.rating_percent),
            orders_count=product.sold,
            image_url=next(iter(product.image_urls), None),
            category_id=product.category_id,
            category_name=product.category,
            shop_name=product.shop,
        )


class ProductsOut(BaseModel):
    """Products, and where on the whole list they stand."""

    products: list[ProductOut]
    total_record_count: int = Field(description="As AliExpress counts; it hands out a few thousand at most.")
    current_page: int
    page_size: int


class CategoryOut(BaseModel):
    """A category; `parent_id` null: at the top."""

    category_id: str
    category_name: str
    parent_id: str | None


class LinkOut(BaseModel):
    """A link that earns a commission, or null where AliExpress makes none of that address."""

    original_url: str
    affiliate_url: str | None
    tracking_id: str | None


class StatusOut(BaseModel):
    """How the proxy is set up; AliExpress was not asked."""

    status: Literal["ready", "not_set_up"]
    problem: str | None
    mock_mode_setting: Literal["auto", "true", "false"]
    mock_fallback: bool
    tracking_id: str | None
    cache: Literal["redis", "away"]
    limits: dict[str, Any] = Field(description="Products on a page, links at once, requests of a caller.")


class MetadataOut(BaseModel):
    """Who answered, and how."""

    mock_mode: bool = Field(description="True: a sandbox made this up; nothing of it is AliExpress's.")
    api_integration: Literal["aliexpress", "sandbox", "sandbox_fallback", "none"]
    processing_time_ms: float
    has_real_credentials: bool
    cached: bool = False
    as_of: AwareDatetime | None = Field(None, description="When it was said.")
    instead_of: str | None = Field(None, description="What AliExpress had to say, where the sandbox stands in for it.")
    requested_count: int | None = None
    generated_count: int | None = None
    left_out: int | None = Field(None, description="Products that made the answer too long.")


class AnswerOut(BaseModel, Generic[T]):
    """What was asked for. Errors are problem documents instead."""

    success: Literal[True] = True
    data: T
    metadata: MetadataOut


class Asked:
    """A request and when it came."""

    def __init__(self, request: Request) -> None:
        self.settings: Settings = request.app.state.settings
        self._started = time.perf_counter()

    def out(self, answer: Answer[Any], data: T, **counts: int | None) -> AnswerOut[T]:
        """The answer in the form that clients know."""
        stands_in = "sandbox" if answer.instead_of is None else "sandbox_fallback"
        return AnswerOut(
            data=data,
            metadata=MetadataOut(
                **self.always(),
                mock_mode=answer.sandbox,
                api_integration=stands_in if answer.sandbox else "aliexpress",
                cached=answer.cached,
                as_of=answer.at,
                instead_of=answer.instead_of,
                **counts,
            ),
        )

    def always(self) -> dict[str, Any]:
        """What metadata say of every answer."""
        return {
            "processing_time_ms": round((time.perf_counter() - self._started) * 1000, 1),
            "has_real_credentials": has_credentials(self.settings),
        }


async def _place(request: Request) -> AsyncIterator[Asked]:
    places: anyio.CapacityLimiter = request.app.state.affiliate_places
    asked, held = Asked(request), object()
    try:
        with anyio.fail_after(PLACE_SECONDS):
            await places.acquire_on_behalf_of(held)
    except TimeoutError:
        raise Busy(retry_after=2) from None
    try:
        yield asked
    finally:
        places.release_on_behalf_of(held)


AskedDep = Annotated[Asked, Depends(_place, scope="function")]


def places() -> anyio.CapacityLimiter:
    """The places of one process; they belong to its event loop."""
    return anyio.CapacityLimiter(PLACES)


def search_products(body: SearchIn, asked: AskedDep) -> AnswerOut[ProductsOut]:
    """Products by words, categories, price and delivery."""
    return _found(asked, body)


def list_products(query: Annotated[ProductsQuery, Query()], asked: AskedDep) -> AnswerOut[ProductsOut]:
    """Products by words, categories, price and delivery, or by their ids."""
    if not query.product_ids:
        wanted = query.model_copy(update={"category_ids": [*query.category_ids, *query.category_id]})
        return _found(asked, wanted)
    if query.keywords or query.category_ids or query.category_id:
        raise ProductsOrSearch(param="product_ids")
    answer = ask.details(asked.settings, query.product_ids, market=query.market)
    shown = [ProductOut.of(one, linked=query.auto_generate_affiliate_links) for one in answer.data]
    found, left_out = _fitting(shown)
    data = ProductsOut(products=found, total_record_count=len(shown), current_page=1, page_size=len(shown))
    return asked.out(answer, data, left_out=left_out)


def list_categories(
    asked: AskedDep,
    parent_id: Annotated[Number | None, Query(description="Only those below this one; without it, all.")] = None,
) -> AnswerOut[list[CategoryOut]]:
    """Categories with their ids, for category_ids."""
    answer = ask.categories(asked.settings)
    shown = [
        CategoryOut(category_id=one.id, category_name=one.name, parent_id=one.parent)
        for one in answer.data
        if parent_id is None or one.parent == parent_id
    ]
    return asked.out(answer, shown)


def make_links(body: LinksIn, asked: AskedDep) -> AnswerOut[list[LinkOut]]:
    """Links that earn a commission, for at most fifty addresses of AliExpress."""
    answer = ask.links(asked.settings, body.urls, hot=body.hot)
    made = [_link(url, answer) for url in body.urls]
    generated = sum(one.affiliate_url is not None for one in made)
    return asked.out(answer, made, requested_count=len(made), generated_count=generated)


def make_link(body: LinkIn, asked: AskedDep) -> AnswerOut[LinkOut]:
    """The link that earns a commission, for one address of AliExpress."""
    answer = ask.links(asked.settings, [body.url], hot=body.hot)
    return asked.out(answer, _link(body.url, answer))


def get_link(query: Annotated[LinkIn, Query()], asked: AskedDep) -> AnswerOut[LinkOut]:
    """The link that earns a commission, for one address of AliExpress."""
    return make_link(query, asked)


def get_status(request: Request) -> AnswerOut[StatusOut]:
    """How the proxy is set up, and what is missing."""
    asked = Asked(request)
    known = ask.status(asked.settings)
    data = StatusOut(
        status="not_set_up" if known.answers is None else "ready",
        problem=known.problem,
        mock_mode_setting=asked.settings.mock_mode,
        mock_fallback=known.mock_fallback,
        tracking_id=known.tracking_id,
        cache="redis" if known.cache else "away",
        limits={"page_size": MOST, "links": MOST, "requests": asked.settings.rate_limits},
    )
    metadata = MetadataOut(
        **asked.always(), mock_mode=known.answers == "sandbox", api_integration=known.answers or "none"
    )
    return AnswerOut(data=data, metadata=metadata)


def _found(asked: Asked, wanted: SearchIn) -> AnswerOut[ProductsOut]:
    answer = ask.search(asked.settings, wanted.search, market=wanted.market, hot=wanted.hot)
    shown = [ProductOut.of(one, linked=wanted.auto_generate_affiliate_links) for one in answer.data.products]
    found, left_out = _fitting(shown)
    data = ProductsOut(
        products=found, total_record_count=answer.data.total, current_page=wanted.page_no, page_size=wanted.page_size
    )
    return asked.out(answer, data, left_out=left_out)


def _fitting(products: Sequence[ProductOut]) -> tuple[list[ProductOut], int | None]:
    """The first of them, as many as ChatGPT takes, and how many that leaves out."""
    fitting, characters = [], 0
    for product in products:
        characters += len(product.model_dump_json()) + 1
        if characters > MOST_CHARACTERS:
            break
        fitting.append(product)
    return fitting, len(products) - len(fitting) or None


def _link(url: str, answer: Answer[dict[str, str]]) -> LinkOut:
    return LinkOut(original_url=url, affiliate_url=answer.data.get(url), tracking_id=answer.tracking_id)


def _percent(value: Decimal | None) -> str | None:
    return None if value is None else f"{value}%"


# Below /api/v1/affiliate, at the older place, what answers.
_ROUTES: tuple[tuple[str, str, str, Callable[..., Any]], ...] = (
    ("POST", "/products/search", "/products/search", search_products),
    ("GET", "/products", "/products", list_products),
    ("GET", "/categories", "/categories", list_categories),
    ("POST", "/links", "/affiliate/links", make_links),
    ("GET", "/link", "/affiliate/link", get_link),
    ("POST", "/link", "/affiliate/link", make_link),
    ("GET", "/status", "/status", get_status),
)
for _method, _path, _older, _endpoint in _ROUTES:
    router.add_api_route(_path, _endpoint, methods=[_method])
    older_router.add_api_route(_older, _endpoint, methods=[_method])

OLDER_PATHS = frozenset(f"{older_router.prefix}{older}" for _, _, older, _ in _ROUTES)
PATHS = OLDER_PATHS | {f"/api/v1{router.prefix}{path}" for _, path, _, _ in _ROUTES}
