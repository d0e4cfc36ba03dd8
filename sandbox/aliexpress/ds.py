"""Dropshipping: products, discovery, freight."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from sandbox.aliexpress import goods
from sandbox.aliexpress.envelopes import Refused, Wrapped, resp_result
from sandbox.aliexpress.goods import Params
from sandbox.aliexpress.state import State
from sandbox.catalogue import Product
from sandbox.wire import Call, Item

Method = Callable[[State, Call, Params, str], Item]

PAGE = 50
REACHABLE = 2_500  # results beyond are counted and never shown
BLOCKED = {"KP", "SY"}
SERVED = {"FR", "ES", "DE", "IT", "PL", "PT", "NL", "BE", "GB", "US", "BR", "CA", "AT", "IE"}
FEEDS = ("DS_Bestsellers", "DS_NewArrivals")
SERVICES = (
    # code, company, euro cents, least and most days, tracked
    ("CAINIAO_FULFILLMENT_STD", "AliExpress Selection Standard", 199, 6, 8, True),
    ("CAINIAO_STANDARD", "AliExpress Standard Shipping", 149, 9, 15, True),
    ("CAINIAO_ECONOMY", "Cainiao Super Economy", 79, 15, 35, False),
)


def need(params: Params, *names: str) -> None:
    """Raises Refused for the first that is missing."""
    for name in names:
        if not params.get(name):
            raise Refused("MissingParameter", f"The input parameter {name} that is mandatory is not supplied")


def number(params: Params, name: str, default: int, *, most: int = 10**9) -> int:
    """A positive whole number. Raises Refused."""
    text = params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 12 and 1 <= int(text) <= most):
        raise Refused("InvalidParameter", f"The specified parameter {name} is invalid")
    return int(text)


def an_object(params: Params, name: str) -> Item:
    """A parameter that is one JSON text. Raises Refused."""
    need(params, name)
    try:
        value = json.loads(params[name])
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Refused("UnsupportedParamMapping", f"The specified parameter {name} cannot be mapped")
    return value


def product_get(state: State, call: Call, params: Params, account: str) -> Item:
    """The whole product; that it is not there is said in rsp_code."""
    need(params, "product_id", "ship_to_country")
    product = state.catalogue.product(goods.index_of(params["product_id"]), call.at)
    if product is None:
        return {"rsp_code": 605, "rsp_msg": "ITEM_ID_NOT_FOUND"}
    if params["ship_to_country"] in BLOCKED:
        return {"rsp_code": 602, "rsp_msg": "Item is not allowed to this country"}
    articles = state.catalogue.articles(product, call.at)
    language, country = params.get("target_language", "en"), params["ship_to_country"]
    result = goods.whole(product, articles, goods.currency(params), language, country)
    return {"result": call.spoil_one(result), "rsp_code": 200, "rsp_msg": "Call succeeds"}


def found(state: State, call: Call, words: str, category: str, language: str) -> Iterator[Product]:
    """Active products whose names, in English or the language, have all the words."""
    wanted = words.lower().split()
    for product in state.catalogue.all(call.at):
        if (
            not product.active
            or not state.catalogue.articles(product, call.at)
            or (category and category not in map(str, goods.category(product)))
        ):
            continue
        name = goods.title(product, "en").lower() + " " + goods.title(product, language).lower()
        if all(word in name for word in wanted):
            yield product


def search(
    state: State, call: Call, *, words: str, category: str, language: str, page: int, size: int
) -> tuple[list[Product], int]:
    """A page of active products whose names have all the words, and how many there are (more than can be reached)."""
    start = (page - 1) * size
    shown: list[Product] = []
    total = 0
    for product in found(state, call, words, category, language):
        if start <= total < min(start + size, REACHABLE):
            shown.append(product)
        total += 1
        if total >= REACHABLE:
            return shown, estimated(state, total, product)
    return shown, total


def estimated(state: State, total: int, last: Product) -> int:
    """How many there are, by those up to the last one looked at: so that a search ends."""
    return total * state.catalogue.products // (last.index + 1)


def text_search(state: State, call: Call, params: Params, account: str) -> Item:
    """Search by words."""
    need(params, "keyWord", "local", "countryCode", "currency")
    page, size = number(params, "pageIndex", 1), number(params, "pageSize", 20, most=PAGE)
    unit, language = goods.currency(params, "currency"), params["local"]
    shown, total = search(
        state,
        call,
        words=params["keyWord"],
        category=params.get("categoryId", ""),
        language=language,
        page=page,
        size=size,
    )
    items = [_search_row(state, call, product, unit, language) for product in shown]
    order, _, direction = params.get("sortBy", "").partition(",")
    if order == "min_price":
        items.sort(key=lambda item: float(item["targetSalePrice"]), reverse=direction == "desc")
    wrapped = Wrapped("selection_search_product", list(call.spoil(items)), quirk=page)
    return {"code": "00", "data": {"pageIndex": page, "pageSize": size, "totalCount": total, "products": wrapped}}


def _search_row(state: State, call: Call, product: Product, unit: str, language: str) -> Item:
    article = min(state.catalogue.articles(product, call.at), key=lambda each: each.wholesale)
    price = goods.money(article.wholesale, unit)
    number_ = goods.product_id(product.index)
    cents = int(price.replace(".", ""))
    return {
        "originalPrice": goods.money(goods.list_price(article, product), "CNY"),
        "originalPriceCurrency": "CNY",
        "salePrice": goods.money(article.wholesale, "CNY"),
        "salePriceCurrency": "CNY",
        "discount": "0%",
        "itemMainPic": goods.images(product)[0],
        "title": goods.title(product, language),
        "type": "search",
        "score": f"{3 + product.bits[8] % 20 / 10:.1f}",
        "itemId": str(number_),
        "targetSalePrice": price,
        "targetOriginalPrice": goods.money(goods.list_price(article, product), unit),
        "targetOriginalPriceCurrency": unit,
        "originMinPrice": json.dumps({"cent": cents, "currencyCode": unit}),
        "cateId": ",".join(map(str, goods.category(product))),
        "evaluateRate": f"{80 + product.bits[9] % 20}.0",
        "salePriceFormat": f"{price.replace('.', ',')} {unit}",
        "orders": f"{product.bits[9] * 20:,}+",
        "itemUrl": f"//www.aliexpress.com/item/{number_}.html?skuId={goods.sku_id(article)}",
    }


def feed_names(state: State, call: Call, params: Params, account: str) -> Item:
    """The feeds there are."""
    promos: list[Any] = [
        {"promo_name": name, "promo_desc": name.replace("_", " "), "product_num": state.catalogue.products}
        for name in FEEDS
    ]
    wrapped = Wrapped("promo", promos, quirk=0)
    return resp_result({"current_record_count": len(promos), "promos": wrapped})


def feed_ids(state: State, call: Call, params: Params, account: str) -> Item:
    """The ids of a feed's products, by cursor: the last page has no `search_id`."""
    need(params, "feed_name")
    if params["feed_name"] not in FEEDS:
        raise Refused("InvalidParameter", "The specified parameter feed_name is invalid")
    size = number(params, "page_size", 50, most=200)
    cursor = params.get("search_id", "0")
    start = int(cursor) if cursor.isascii() and cursor.isdigit() and len(cursor) < 12 else 0
    # An offset in the catalogue, so that a page costs the same wherever it is.
    stop = min(start + size, state.catalogue.products)
    ids: list[Any] = [
        goods.product_id(index) for index in range(start, stop) if state.catalogue.product(index, call.at) is not None
    ]
    result: Item = {"products": Wrapped("number", ids, quirk=0), "total": state.catalogue.products}
    if stop < state.catalogue.products:
        result["search_id"] = str(stop)
    return {"result": result, "rsp_code": 200, "rsp_msg": "Call succeeds"}


def categories(state: State, call: Call, params: Params, account: str) -> Item:
    """The tree of categories."""
    found = goods.categories()
    if params.get("categoryId"):
        found = [item for item in found if str(item.get("parent_category_id")) == params["categoryId"]]
    wrapped = Wrapped("category", found, quirk=1)
    return resp_result({"total_result_count": len(found), "categories": wrapped})


def freight(state: State, call: Call, params: Params, account: str) -> Item:
    """How a SKU gets there. A sku_attr, or the id of another product, finds nothing and does not say why."""
    asked = an_object(params, "queryDeliveryReq")
    for name in ("quantity", "shipToCountry", "productId", "selectedSkuId", "language", "locale", "currency"):
        if not asked.get(name):
            raise Refused("MissingParameter", f"The input parameter {name} that is mandatory is not supplied")
    asked = {name: value if isinstance(value, str) else "" for name, value in asked.items()} | {
        "productId": str(asked["productId"])
    }
    if not (asked["quantity"].isascii() and asked["quantity"].isdigit() and len(asked["quantity"]) < 10):
        raise Refused("UnsupportedParamMapping", "The specified parameter quantity cannot be mapped")
    if asked["shipToCountry"] not in SERVED:
        return _no_freight(505, "DELIVERY_NOT_AVAILABLE_TO_YOUR_ADDRESS")
    product = state.catalogue.product(goods.index_of(asked["productId"]), call.at)
    articles = [] if product is None else state.catalogue.articles(product, call.at)
    unit = goods.unit_of(asked["selectedSkuId"])
    article = next((each for each in articles if each.unit == unit), None)
    if product is None or article is None or article.stock < int(asked["quantity"]):
        return _no_freight(501, "DELIVERY_INFO_EMPTY")
    currency = goods.currency(asked, "currency")
    options = [_option(product, article.stock, service, currency) for service in SERVICES]
    shown = options[: 1 + product.bits[24] % len(options)]
    wrapped = Wrapped("delivery_option_d_t_o", list(call.spoil(shown)), quirk=product.bits[24])
    return {"result": {"msg": "Call succeeds", "code": 200, "success": True, "delivery_options": wrapped}}


def _no_freight(code: int, message: str) -> Item:
    return {"result": {"msg": message, "code": code, "success": False}}


def _option(product: Product, stock: int, service: tuple[str, str, int, int, int, bool], unit: str) -> Item:
    code, company, cents, least, most, tracked = service
    free = product.bits[23] < goods.FREE_SHIPPING
    option: Item = {
        "code": code,
        "shipping_fee_currency": unit,
        "free_shipping": free,
        "free_shipping_threshold": f"0,00{unit}",
        "min_delivery_days": least,
        "max_delivery_days": most,
        "guaranteed_delivery_days": "60",
        "delivery_date_desc": f"{least} - {most} days",
        "company": company,
        "ship_from_country": "CN",
        "tracking": tracked,
        "available_stock": str(stock),
        "mayHavePFS": False,
    }
    if not free:
        option["shipping_fee_cent"] = goods.money(cents, unit)  # not cents, whatever its name
        option["shipping_fee_format"] = f"{goods.money(cents, unit).replace('.', ',')}{unit}"
    return option


def shipping_cents(product: Product, service: str) -> int | None:
    """What a service costs for a product, in euro cents; None if it is not offered for it."""
    offered = SERVICES[: 1 + product.bits[24] % len(SERVICES)]
    cents = next((each[2] for each in offered if each[0] == service), None)
    return 0 if cents is not None and product.bits[23] < goods.FREE_SHIPPING else cents


METHODS: dict[str, Method] = {
    "aliexpress.ds.product.get": product_get,
    "aliexpress.ds.text.search": text_search,
    "aliexpress.ds.feedname.get": feed_names,
    "aliexpress.ds.feed.itemids.get": feed_ids,
    "aliexpress.ds.category.get": categories,
    "aliexpress.ds.freight.query": freight,
}
