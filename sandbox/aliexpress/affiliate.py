"""Affiliate: search, details, categories and links. No buyer's token is needed."""

import hashlib
from collections.abc import Callable
from urllib.parse import urlsplit

from sandbox.aliexpress import ds, goods
from sandbox.aliexpress.ds import need, number
from sandbox.aliexpress.envelopes import Refused, Wrapped, resp_result
from sandbox.aliexpress.goods import Params
from sandbox.aliexpress.state import State
from sandbox.catalogue import Article, Product
from sandbox.wire import Call, Item

Method = Callable[[State, Call, Params], Item]

MOST = 50
EMPTY = (405, "The result is empty")


def _row(state: State, call: Call, product: Product, params: Params) -> Item:
    article = _cheapest(state, call, product)
    unit, bits = goods.currency(params), product.bits
    first, second = goods.category(product)
    number_, pictures, store = goods.product_id(product.index), goods.images(product), goods.store_of(product)
    was = goods.list_price(article, product)
    row: Item = {
        "product_id": number_,
        "product_title": goods.title(product, params.get("target_language", "EN")),
        "product_detail_url": f"https://www.aliexpress.com/item/{number_}.html",
        "product_main_image_url": pictures[0],
        "product_small_image_urls": Wrapped("string", list(pictures), quirk=0),
        "product_video_url": "",
        "original_price": goods.money(was, "CNY"),
        "original_price_currency": "CNY",
        "sale_price": goods.money(article.wholesale, "CNY"),
        "sale_price_currency": "CNY",
        "discount": f"{100 - article.wholesale * 100 // max(was, 1)}%",
        "evaluate_rate": f"{80 + bits[9] % 20}.0%",
        "lastest_volume": bits[9] * 20,
        "commission_rate": "7.0%",
        "hot_product_commission_rate": "9.0%",
        "relevant_market_commission_rate": "7.0%",
        "first_level_category_id": first,
        "first_level_category_name": goods.category_name(first),
        "second_level_category_id": second,
        "second_level_category_name": goods.category_name(second),
        "shop_id": store,
        "shop_url": f"https://www.aliexpress.com/store/{store}",
        "shop_name": f"Shop{store} Store",
        "platform_product_type": "ALL",
        "ship_to_days": f"ship to {params.get('ship_to_country', 'US')} in {5 + bits[27] % 15} days",
        "sku_id": str(goods.sku_id(article)),
    }
    for name, cents in (
        ("original_price", was),
        ("sale_price", article.wholesale),
        ("app_sale_price", article.wholesale),
    ):
        row[f"target_{name}"] = goods.money(cents, unit)
        row[f"target_{name}_currency"] = unit
    if params.get("tracking_id"):
        row["promotion_link"] = _link(row["product_detail_url"], params["tracking_id"])
    return row


def _link(address: str, tracking: str) -> str:
    return f"https://s.click.aliexpress.com/s/{hashlib.sha256(f'{tracking} {address}'.encode()).hexdigest()[:24]}"


def _cents(params: Params, name: str) -> int | None:
    """A limit in the currency's smallest unit."""
    return number(params, name, 1) if params.get(name) else None


def query(state: State, call: Call, params: Params) -> Item:
    """Search by words, categories and price (in cents)."""
    page, size = number(params, "page_no", 1), number(params, "page_size", 20, most=MOST)
    between = _cents(params, "min_sale_price"), _cents(params, "max_sale_price")
    categories = set(filter(None, params.get("category_ids", "").split(",")))
    language = params.get("target_language", "EN")
    rows, total = [], 0
    start = (page - 1) * size
    for product in ds.found(state, call, params.get("keywords", ""), "", language):
        if categories and not categories & set(map(str, goods.category(product))):
            continue
        if any(between) and not _is_between(between, _cheapest(state, call, product), goods.currency(params)):
            continue
        if start <= total < min(start + size, ds.REACHABLE):
            rows.append(product)
        total += 1
        if total >= ds.REACHABLE:
            total = ds.estimated(state, total, product)
            break
    if not rows:
        return resp_result(None, *EMPTY)
    items = [_row(state, call, product, params) for product in rows]
    sort = params.get("sort", "")
    if sort.startswith("SALE_PRICE"):
        items.sort(key=lambda item: float(item["target_sale_price"]), reverse=sort.endswith("DESC"))
    elif sort.startswith("LAST_VOLUME"):
        items.sort(key=lambda item: int(item["lastest_volume"]), reverse=sort.endswith("DESC"))
    return resp_result(
        {
            "current_record_count": len(items),
            "current_page_no": page,
            "total_record_count": total,
            "total_page_no": -(-total // size),
            "is_finished": start + size >= total,
            "products": Wrapped("product", list(call.spoil(items)), quirk=page),
        }
    )


def _cheapest(state: State, call: Call, product: Product) -> Article:
    return min(state.catalogue.articles(product, call.at), key=lambda each: each.wholesale)


def _is_between(between: tuple[int | None, int | None], article: Article, unit: str) -> bool:
    cents = int(goods.money(article.wholesale, unit).replace(".", ""))
    least, most = between
    return (least is None or cents >= least) and (most is None or cents <= most)


def details(state: State, call: Call, params: Params) -> Item:
    """Products by id; those that are not there are left out."""
    need(params, "product_ids")
    ids = [each for each in params["product_ids"].split(",") if each.strip()]
    if len(ids) > MOST:
        raise Refused("InvalidParameter", "The specified parameter product_ids is invalid")
    found = [
        product
        for each in ids
        if (product := state.catalogue.product(goods.index_of(each), call.at))
        and state.catalogue.articles(product, call.at)
    ]
    if not found:
        return resp_result(None, *EMPTY)
    items = list(call.spoil(_row(state, call, product, params) for product in found))
    return resp_result({"current_record_count": len(items), "products": Wrapped("product", items, quirk=len(ids[0]))})


def categories(state: State, call: Call, params: Params) -> Item:
    """All categories."""
    found = goods.categories()
    return resp_result({"total_result_count": len(found), "categories": Wrapped("category", found, quirk=0)})


def links(state: State, call: Call, params: Params) -> Item:
    """Links that pay; an address that is not AliExpress' has a message instead."""
    need(params, "source_values", "tracking_id", "promotion_link_type")
    if params["promotion_link_type"] not in ("0", "2"):
        raise Refused("InvalidParameter", "The specified parameter promotion_link_type is invalid")
    sources = [each.strip() for each in params["source_values"].split(",") if each.strip()]
    if not sources or len(sources) > MOST:
        raise Refused("InvalidParameter", "The specified parameter source_values is invalid")
    made = [_promoted(source, params["tracking_id"]) for source in sources]
    call.effects.append(f"links_made {len(made)}")
    wrapped = Wrapped("promotion_link", list(call.spoil(made)), quirk=len(sources[0]))
    return resp_result(
        {"total_result_count": len(made), "tracking_id": params["tracking_id"], "promotion_links": wrapped}
    )


def _promoted(source: str, tracking: str) -> Item:
    host = urlsplit(source if "//" in source else f"//{source}").netloc.lower()
    if host == "aliexpress.com" or host.endswith(".aliexpress.com"):
        return {"promotion_link": _link(source, tracking), "source_value": source}
    return {"message": "the link is not an affiliate link", "source_value": source}


METHODS: dict[str, Method] = {
    "aliexpress.affiliate.product.query": query,
    "aliexpress.affiliate.hotproduct.query": query,
    "aliexpress.affiliate.productdetail.get": details,
    "aliexpress.affiliate.category.get": categories,
    "aliexpress.affiliate.link.generate": links,
}
