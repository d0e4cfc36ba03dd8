"""What AliExpress shows its affiliates: search, bestsellers, products by id, categories, links that earn.

No buyer's token is needed; the app must have the affiliate permissions, which a dropshipping app has not. Prices go out
in cents and come in as amounts. The platform announces far more results than it hands out: past some fifty pages a
search is empty.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from services.suppliers.aliexpress.answers import EMPTY, OK, inner, listed
from services.suppliers.aliexpress.calls import business
from services.suppliers.aliexpress.products import is_id
from services.suppliers.base import Connection, Money, Offer, OfferVariant, Page, Problem
from services.suppliers.errors import FatalForItem, NotOffered, Retry
from services.suppliers.wire import Unreadable, count_of, dicts, id_of, number_of, positive, text_of

QUERY = "aliexpress.affiliate.product.query"
HOT = "aliexpress.affiliate.hotproduct.query"
DETAIL = "aliexpress.affiliate.productdetail.get"
CATEGORIES = "aliexpress.affiliate.category.get"
LINKS = "aliexpress.affiliate.link.generate"
MOST = 50  # products, results or links in one call

SORTS = ("SALE_PRICE_ASC", "SALE_PRICE_DESC", "LAST_VOLUME_ASC", "LAST_VOLUME_DESC")
_WHOLE = frozenset({"CLP", "JPY", "KRW", "VND"})  # currencies without cents


@dataclass(frozen=True, slots=True)
class AffiliateProduct:
    """A product as affiliates see it."""

    id: str
    title: str
    url: str | None
    promotion_url: str | None
    image_urls: tuple[str, ...]
    price: Money | None
    original_price: Money | None
    discount_percent: Decimal | None
    rating_percent: Decimal | None
    sold: int | None
    commission_percent: Decimal | None
    category_id: str | None
    category: str | None
    shop: str | None


@dataclass(frozen=True, slots=True)
class Results:
    """A page of a search."""

    products: tuple[AffiliateProduct, ...]
    page: int
    pages: int
    total: int


@dataclass(frozen=True, slots=True)
class Category:
    """A category; `parent` None: at the top."""

    id: str
    name: str
    parent: str | None


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for. Prices are in the connection's currency; both bounds count."""

    keywords: str = ""
    category_ids: tuple[str, ...] = ()
    min_price: Decimal | None = None
    max_price: Decimal | None = None
    sort: str | None = None  # one of SORTS
    delivery_days: int | None = None  # 3, 5, 7 or 10
    page: int = 1
    page_size: int = 20  # 1 to 50


def search(connection: Connection, wanted: Search, *, hot: bool = False) -> Results:
    """Products that fit; `hot`: bestsellers, which takes a further permission. Raises the classes of `errors`."""
    asked = {
        "keywords": wanted.keywords,
        "category_ids": ",".join(wanted.category_ids),
        "min_sale_price": _smallest_units(wanted.min_price, connection.currency, ROUND_CEILING),
        "max_sale_price": _smallest_units(wanted.max_price, connection.currency, ROUND_FLOOR),
        "page_no": str(max(1, wanted.page)),
        "page_size": str(min(max(1, wanted.page_size), MOST)),
        "sort": wanted.sort or "",
        "delivery_days": str(wanted.delivery_days or ""),
        "ship_to_country": connection.country,
        **_target(connection),
    }
    result = _result(connection, HOT if hot else QUERY, asked)
    if result is None:
        return Results((), wanted.page, 0, 0)
    products = _products(result)
    return Results(
        products,
        count_of(result.get("current_page_no")) or wanted.page,
        count_of(result.get("total_page_no")) or 0,
        count_of(result.get("total_record_count")) or len(products),
    )


def details(connection: Connection, product_ids: Sequence[str]) -> tuple[AffiliateProduct, ...]:
    """Those of the products that are to be had; at most 50 are asked for. Raises the classes of `errors`."""
    asked = {"product_ids": ",".join(product_ids[:MOST]), "country": connection.country, **_target(connection)}
    result = _result(connection, DETAIL, asked)
    return () if result is None else _products(result)


def categories(connection: Connection) -> tuple[Category, ...]:
    """All of them. Raises the classes of `errors`."""
    result = _result(connection, CATEGORIES, {})
    found = []
    for one in dicts(listed((result or {}).get("categories"), "category")):
        number, name = id_of(one.get("category_id")), text_of(one.get("category_name"))
        parent = id_of(one.get("parent_category_id"))
        if number is not None and name is not None:
            found.append(Category(str(number), name, None if parent is None else str(parent)))
    return tuple(found)


def links(connection: Connection, urls: Sequence[str], *, hot: bool = False) -> dict[str, str]:
    """For each address a link that earns a commission; the addresses that get none are left out.

    At most 50 are sent. Raises the classes of `errors`; FatalForItem without a tracking id.
    """
    # A comma in an address would make two of it.
    wanted = {url.replace(",", "%2C"): url for url in urls[:MOST]}
    asked = {
        "promotion_link_type": "2" if hot else "0",
        "source_values": ",".join(wanted),
        "tracking_id": _tracking_id(connection),
    }
    if not asked["tracking_id"]:
        raise FatalForItem("Links need the account's tracking id.", kind="invalid")
    result = _result(connection, LINKS, asked)
    made = {}
    for one in dicts(listed((result or {}).get("promotion_links"), "promotion_link")):
        source, link = text_of(one.get("source_value")), text_of(one.get("promotion_link"))
        if source in wanted and link is not None and link.startswith("https://"):
            made[wanted[source]] = link
    return made


def offers(
    connection: Connection, *, only: Sequence[str] | None = None, cursor: str | None = None
) -> Iterator[Page[Offer]]:
    """The products of those ids, fifty to a page. Raises what `Adapter` says; NotOffered without `only`."""
    if only is None:
        raise NotOffered("AliExpress has no list of everything: name the products.")
    if cursor is not None and not is_id(cursor):
        raise ValueError("not a cursor of AliExpress's walks")
    wanted = sorted(filter(is_id, set(only)), key=int)
    wanted = [one for one in wanted if cursor is None or int(one) > int(cursor)]
    odd = () if cursor else tuple(one for one in sorted(set(only)) if not is_id(one))
    return _walk(connection, wanted, tuple(Problem(one[:100], "invalid", "This is no product's id.") for one in odd))


def _walk(connection: Connection, wanted: list[str], odd: tuple[Problem, ...]) -> Iterator[Page[Offer]]:
    if not wanted:
        yield Page((), None, odd)
        return
    for start in range(0, len(wanted), MOST):
        batch = wanted[start : start + MOST]
        found = {one.id: _offer(one) for one in details(connection, batch) if one.id in batch}
        absent = tuple(
            Problem(one, "unavailable", "AliExpress shows affiliates no such product.")
            for one in batch
            if one not in found
        )
        last = start + MOST >= len(wanted)
        yield Page(tuple(found.values()), None if last else batch[-1], (odd if start == 0 else ()) + absent)


def _result(connection: Connection, method: str, asked: dict[str, str]) -> dict[str, Any] | None:
    """A method's result; None when it found nothing."""
    more = {"tracking_id": _tracking_id(connection)} if method != CATEGORIES else {}
    payload = business(connection, method, {**more, **asked}, token=False)
    code, words, result = inner(payload)
    if code == EMPTY:
        return None
    if not code and not result:
        raise Unreadable(f"AliExpress's answer to {method} cannot be read.")
    if code and code not in OK:
        raise Retry(words or f"AliExpress answered {code}.", supplier_code=code)
    return result


def _products(result: dict[str, Any]) -> tuple[AffiliateProduct, ...]:
    listing = dicts(listed(result.get("products"), "product"))
    found = [product for one in listing if (product := _product(one))]
    if len(listing) > 2 * len(found):
        raise Unreadable("AliExpress's products have another form than before.")
    return tuple({product.id: product for product in found}.values())


def _product(one: dict[str, Any]) -> AffiliateProduct | None:
    number, title = id_of(one.get("product_id")), text_of(one.get("product_title"))
    if number is None or title is None:
        return None
    images = [
        one.get("product_main_image_url"), *listed(one.get("product_small_image_urls"), "string"),
    ]  # fmt: skip
    category = text_of(one.get("second_level_category_name")) or text_of(one.get("first_level_category_name"))
    return AffiliateProduct(
        id=str(number),
        title=title,
        url=_web(one.get("product_detail_url")),
        promotion_url=_web(one.get("promotion_link")),
        image_urls=tuple(dict.fromkeys(url for image in images if (url := _web(image)))),
        price=_money(one, "sale_price"),
        original_price=_money(one, "original_price"),
        discount_percent=_percent(one.get("discount")),
        rating_percent=_percent(one.get("evaluate_rate")),
        sold=count_of(one.get("lastest_volume")),  # so it is spelled
        commission_percent=_percent(one.get("commission_rate")),
        category_id=text_of(one.get("second_level_category_id")) or text_of(one.get("first_level_category_id")),
        category=category,
        shop=text_of(one.get("shop_name")),
    )


def _offer(product: AffiliateProduct) -> Offer:
    image = product.image_urls[0] if product.image_urls else None
    variant = OfferVariant(
        id=product.id, order_ref="", cost=product.price, list_price=product.original_price, image_url=image
    )
    return Offer(
        id=product.id,
        title=product.title,
        variants=(variant,),
        category=product.category,
        image_urls=product.image_urls,
        url=product.promotion_url or product.url,
    )


def _money(one: dict[str, Any], name: str) -> Money | None:
    """The price in the wanted currency, else in the seller's."""
    for field in (f"target_{name}", name):
        amount, currency = positive(one.get(field)), text_of(one.get(f"{field}_currency"))
        if currency is None and field.startswith("target_"):
            currency = text_of(one.get("target_sale_price_currency"))
        if amount is not None and currency is not None:
            return Money(amount, currency)
    return None


def _percent(value: object) -> Decimal | None:
    return number_of((text_of(value) or "").removesuffix("%"))


def _smallest_units(price: Decimal | None, currency: str, rounding: str) -> str:
    """Cents, or what a currency has instead."""
    if price is None:
        return ""
    return str(int((price * (1 if currency in _WHOLE else 100)).to_integral_value(rounding)))


def _web(value: object) -> str | None:
    url = text_of(value) or ""
    url = f"https:{url}" if url.startswith("//") else url
    return url if url.startswith(("https://", "http://")) and not set(url) & set(" \n\r\t") else None


def _target(connection: Connection) -> dict[str, str]:
    return {"target_currency": connection.currency, "target_language": connection.language[:2].upper()}


def _tracking_id(connection: Connection) -> str:
    return connection.secrets.get("tracking_id", "")
