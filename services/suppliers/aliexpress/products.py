"""AliExpress products for dropshippers: read one by one, by their ids.

There is no list of everything and no stock alone: what a merchant sells is asked for again and again. Three ids of a
variant look alike. `sku_id` (a number) names it in freight queries: it is `OfferVariant.id`. `sku_attr`
("14:29#Bear;183:200007741", nothing for a product without choices) names it in orders: it is
`OfferVariant.order_ref`. `id` repeats `sku_attr`, is to go away, and is not used.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeVar

from services.suppliers.aliexpress.answers import OK, inner, listed
from services.suppliers.aliexpress.calls import business
from services.suppliers.base import (
    Connection,
    Money,
    Offer,
    OfferVariant,
    Page,
    PriceLevel,
    Problem,
    StockLevel,
)
from services.suppliers.errors import FatalForConnection, FatalForItem, NotOffered, Retry, SupplierError
from services.suppliers.wire import Unreadable, count_of, dicts, id_of, number_of, positive, text_of

PRODUCT = "aliexpress.ds.product.get"
PAGE_SIZE = 20
BRAND = 2  # the attribute that is the brand
_FAILING = 5  # so many in a row are not the products' fault

T = TypeVar("T")

# rsp_code → kind
_CODES = {"602": "not_to_country", "605": "not_found"}
_LANGUAGES = {"en": "en", "pt": "pt", "es": "es", "fr": "fr", "de": "de", "it": "it", "nl": "nl", "pl": "pl"}


def offers(
    connection: Connection, *, only: Sequence[str] | None = None, cursor: str | None = None
) -> Iterator[Page[Offer]]:
    """The products of those ids, in the order of ids. Raises what `Adapter` says; NotOffered without `only`."""
    if only is None:
        raise NotOffered("AliExpress has no list of everything: name the products.")
    wanted = sorted(filter(is_id, set(only)), key=_rank)
    if cursor is None:
        odd = [one for one in sorted(set(only)) if not is_id(one)]
        return _pages(connection, wanted, [Problem(one[:100], "invalid", "This is no product's id.") for one in odd])
    if not is_id(cursor):
        raise ValueError("not a cursor of AliExpress's walks")
    return _pages(connection, [one for one in wanted if _rank(one) > _rank(cursor)], [])


def is_id(text: str) -> bool:
    """Whether it can be a product's id."""
    return re.fullmatch(r"[1-9][0-9]{0,18}", text) is not None


def _rank(product_id: str) -> int:
    return int(product_id)


def stock(
    connection: Connection, *, only: Sequence[str] | None = None, cursor: str | None = None
) -> Iterator[Page[StockLevel]]:
    """The quantities of `offers`: it costs as many calls."""
    for page in offers(connection, only=only, cursor=cursor):
        levels = [
            StockLevel(variant.id, variant.sku, variant.stock)
            for offer in page.items
            for variant in offer.variants
            if variant.stock is not None
        ]
        yield Page(tuple(levels), page.cursor, page.problems)


def prices(
    connection: Connection, *, only: Sequence[str] | None = None, cursor: str | None = None
) -> Iterator[Page[PriceLevel]]:
    """The prices of `offers`: it costs as many calls."""
    for page in offers(connection, only=only, cursor=cursor):
        levels = [
            PriceLevel(variant.id, variant.sku, variant.cost, variant.list_price)
            for offer in page.items
            for variant in offer.variants
            if variant.cost is not None
        ]
        yield Page(tuple(levels), page.cursor, page.problems)


def product(connection: Connection, product_id: str) -> Offer:
    """One product, for the connection's country, in its currency and language. Raises the classes of `errors`.

    FatalForItem ``not_found``, ``not_to_country``; Retry for what cannot be read.
    """
    payload = business(
        connection,
        PRODUCT,
        {
            "product_id": product_id,
            "ship_to_country": connection.country,
            "target_currency": connection.currency,
            "target_language": _LANGUAGES.get(connection.language[:2].lower(), "en"),
        },
    )
    code, words, result = inner(payload)
    if code in _CODES:
        raise FatalForItem(words or None, kind=_CODES[code], supplier_code=code, items=(product_id,))
    if code and code not in OK:
        raise Retry(words or f"AliExpress answered {code}.", supplier_code=code)
    return _offer(result, product_id, connection.country)


@dataclass(slots=True)
class _Page:
    items: list[Offer]
    problems: list[Problem]
    last: str | None = None

    def out(self, *, final: bool) -> Page[Offer]:
        return Page(tuple(self.items), None if final else self.last, tuple(self.problems))


def _pages(connection: Connection, wanted: Sequence[str], odd: list[Problem]) -> Iterator[Page[Offer]]:
    page = _Page([], odd)
    failing, unreadable, good = 0, 0, 0
    for position, product_id in enumerate(wanted):
        try:
            page.items.append(product(connection, product_id))
            failing, good = 0, good + 1
        except FatalForItem as error:
            page.problems.append(Problem(product_id, error.kind or "invalid", error.detail))
            failing = 0
        except _Drifted as error:
            page.problems.append(Problem(product_id, "unreadable", error.detail))
            unreadable += 1
            if unreadable >= _FAILING and unreadable > good:
                raise FatalForConnection(
                    "AliExpress's products have another form than before.", kind="schema"
                ) from None
        except SupplierError as error:
            failing += 1
            alone = isinstance(error, Retry) and error.supplier_code is not None and failing < _FAILING
            if not alone:  # what was read is not lost; the next walk begins with this product
                if page.last is not None:
                    yield page.out(final=False)
                raise
            page.problems.append(Problem(product_id, "unavailable", error.detail))
        page.last = product_id
        if position + 1 < len(wanted) and len(page.items) + len(page.problems) >= PAGE_SIZE:
            yield page.out(final=False)
            page = _Page([], [])
    yield page.out(final=True)


class _Drifted(Unreadable):
    """A product without what makes a product."""

    code = "supplier_unavailable"


def _offer(result: dict[str, Any], product_id: str, country: str) -> Offer:
    base = result.get("ae_item_base_info_dto")
    skus = dicts(listed(result.get("ae_item_sku_info_dtos"), "ae_item_sku_info_d_t_o"))
    if not isinstance(base, dict) or text_of(base.get("product_id")) is None or not skus:
        raise _Drifted(f"AliExpress's answer about product {product_id} lacks its parts.")
    package = result.get("package_info_dto")
    kilograms = number_of(package.get("gross_weight")) if isinstance(package, dict) else None
    grams = round(kilograms * 1000) if kilograms is not None and 0 < kilograms < 100_000 else None
    media = result.get("ae_multimedia_info_dto")
    urls = (text_of(media.get("image_urls")) or "").split(";") if isinstance(media, dict) else []
    number = text_of(base["product_id"]) or product_id
    return Offer(
        id=number,
        title=text_of(base.get("subject")),
        description=text_of(base.get("detail")),
        variants=tuple(_variant(sku, product_id, grams) for sku in skus),
        brand=_brand(result),
        image_urls=tuple(dict.fromkeys(url for one in urls if (url := _address(one)))),
        active=text_of(base.get("product_status_type")) in ("onSelling", None),
        url=f"https://www.aliexpress.com/item/{number}.html",
        order_id=_id_in(result, country),
    )


def _variant(sku: dict[str, Any], product_id: str, grams: int | None) -> OfferVariant:
    number, reference, currency = id_of(sku.get("sku_id")), sku.get("sku_attr"), text_of(sku.get("currency_code"))
    if number is None or not isinstance(reference, str | None):
        raise _Drifted(f"AliExpress names a variant of product {product_id} without its id.")
    if not {"offer_sale_price", "sku_price"} & sku.keys():
        raise _Drifted(f"AliExpress names a variant of product {product_id} without a price.")
    properties = dicts(listed(sku.get("ae_sku_property_dtos"), "ae_sku_property_d_t_o"))
    options: dict[str, str] = {}
    images = []
    for one in properties:
        name = text_of(one.get("sku_property_name"))
        value = text_of(one.get("property_value_definition_name")) or text_of(one.get("sku_property_value"))
        if name and value:
            options.setdefault(name, value)
        images.append(_address(one.get("sku_image")))
    available = sku.get("sku_available_stock", sku.get("s_k_u_available_stock", sku.get("ipm_sku_stock")))
    return OfferVariant(
        id=str(number),
        order_ref=reference or "",
        barcode=text_of(sku.get("barcode")) or text_of(sku.get("ean_code")),
        options=tuple(options.items()),
        cost=_money(sku.get("offer_sale_price"), currency),
        list_price=_money(sku.get("sku_price"), currency),
        stock=count_of(available),
        weight_grams=grams,
        image_url=next((image for image in images if image), None),
    )


def _brand(result: dict[str, Any]) -> str | None:
    for one in dicts(listed(result.get("ae_item_properties"), "ae_item_property")):
        if id_of(one.get("attr_name_id")) == BRAND:
            brand = text_of(one.get("attr_value"))
            return None if brand is None or brand.upper() in ("NONE", "NO BRAND", "NO") else brand
    return None


def _id_in(result: dict[str, Any], country: str) -> str | None:
    """In the United States a product is ordered by another id."""
    converted = result.get("product_id_converter_result")
    if country != "US" or not isinstance(converted, dict):
        return None
    try:
        found = json.loads(text_of(converted.get("sub_product_id")) or "{}")
    except ValueError:
        return None
    return text_of(found.get("US")) if isinstance(found, dict) else None


def _address(value: object) -> str | None:
    url = text_of(value) or ""
    url = f"https:{url}" if url.startswith("//") else url
    return url if url.startswith(("https://", "http://")) and not set(url) & set(" \n\r\t") else None


def _money(value: object, currency: str | None) -> Money | None:
    amount: Decimal | None = positive(value)
    return None if amount is None or currency is None else Money(amount, currency)
