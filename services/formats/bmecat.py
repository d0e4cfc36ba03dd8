"""BMEcat 1.2 and 2005, the catalogue of German-speaking wholesale: new catalogues and updates of prices or products.

Source: the standard. What a merchant pays and what a customer pays are told apart by the type of a price.
"""

from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Any

from services.formats import trees
from services.formats.flat import local, text_of
from services.formats.yml import path

RECORDS = ("HEADER", "CLASSIFICATION_GROUP", "CATALOG_STRUCTURE", "ARTICLE_TO_CATALOGGROUP_MAP",
           "PRODUCT_TO_CATALOGGROUP_MAP", "CLASSIFICATION_SYSTEM_FEATURE_TEMPLATE", "ARTICLE", "PRODUCT")  # fmt: skip
_HEADERS = {
    "id": "SUPPLIER_AID", "title": "DESCRIPTION_SHORT", "description": "DESCRIPTION_LONG",
    "brand": "MANUFACTURER_NAME", "category": "CATALOG_GROUP_ID", "tags": "KEYWORD", "status": "mode",
    "barcode": "EAN", "price": "PRICE_AMOUNT", "list price": "PRICE_AMOUNT (nrp)",
    "cost": "PRICE_AMOUNT (net_customer)", "currency": "PRICE_CURRENCY", "weight (kg)": "WEIGHT",
    "image": "MIME_SOURCE",
}  # fmt: skip
# The surest first: a price for customers, then one that stands for it.
_PRICES = ("gros_list", "net_list", "nrp", "net_customer", "net_customer_exp")
_COSTS = ("net_customer", "net_customer_exp")


def recognises(shape: Any) -> bool:
    """Whether this is a BMEcat document."""
    return bool(shape.root == "BMECAT")


def _all(element: Any, *names: str) -> list[str]:
    """The texts of all elements below that have one of these names."""
    return [text_of(one) for one in element.iter(*(f"{{*}}{name}" for name in names))]


def _one(element: Any, *names: str) -> str:
    return next((text for name in names for text in _all(element, name) if text), "")


def _says(element: Any) -> Iterable[tuple[str, str]]:
    name = local(element.tag)
    if name == "HEADER":
        yield "currency", _one(element, "CURRENCY")
        yield "images", _one(element, "MIME_ROOT")
    elif name.endswith("_MAP"):
        article = _one(element, "ART_ID", "PROD_ID")
        if article:
            yield f"group of {article}", _one(element, "CATALOG_GROUP_ID")
    elif name in ("CATALOG_STRUCTURE", "CLASSIFICATION_GROUP"):
        number = _one(element, "GROUP_ID", "CLASSIFICATION_GROUP_ID")
        yield f"category {number}", _one(element, "GROUP_NAME", "CLASSIFICATION_GROUP_NAME")
        above = _one(element, "PARENT_ID", "CLASSIFICATION_GROUP_PARENT_ID")
        if above and above != number and element.get("type") != "root":
            yield f"parent {number}", above


def _rows(element: Any, look_up: trees.LookUp) -> Iterable[trees.Row]:
    if local(element.tag) not in ("ARTICLE", "PRODUCT"):
        return
    number = _one(element, "SUPPLIER_AID", "SUPPLIER_PID")
    prices = _prices(element)
    kind = next((kind for kind in _PRICES if kind in prices), next(iter(prices), ""))
    price, currency = prices.get(kind, ("", ""))
    cost = next((prices[one][0] for one in _COSTS if one in prices and one != kind), "")
    group = look_up(f"group of {number}") or _one(element, "REFERENCE_FEATURE_GROUP_ID")
    groups = _all(element, "REFERENCE_FEATURE_GROUP_ID")
    category = path(group, look_up) or next((found for one in groups if (found := path(one, look_up))), "")
    root = look_up("images") or ""
    yield (
        {
            "id": number,
            "title": _one(element, "DESCRIPTION_SHORT"),
            "description": _one(element, "DESCRIPTION_LONG"),
            "brand": _one(element, "MANUFACTURER_NAME"),
            "category": category,
            "tags": ", ".join(_all(element, "KEYWORD")),
            "status": "deleted" if element.get("mode") == "delete" else "",
            "barcode": _one(element, "EAN", "INTERNATIONAL_PID"),
            "price": price,
            "list price": prices["nrp"][0] if "nrp" in prices and kind != "nrp" else "",
            "cost": cost,
            "currency": currency or look_up("currency") or "",
            "weight (kg)": _one(element, "WEIGHT"),
            "image": "\n".join(_images(element, root)),
        },
        number or None,
    )


def _prices(element: Any) -> dict[str, tuple[str, str]]:
    """Type of price → amount for one piece at the smallest quantity, and currency."""
    quantity = _number(_one(element, "PRICE_QUANTITY")) or Decimal(1)
    found: dict[str, tuple[Decimal, str, str]] = {}
    for one in element.iter("{*}ARTICLE_PRICE", "{*}PRODUCT_PRICE"):
        amount, kind = _one(one, "PRICE_AMOUNT"), one.get("price_type", "")
        least = _number(_one(one, "LOWER_BOUND")) or Decimal(1)
        if kind in found and found[kind][0] <= least:
            continue
        factor = (_number(_one(one, "PRICE_FACTOR")) or Decimal(1)) / quantity
        value = _number(amount)
        if factor != 1 and value is not None:
            amount = f"{(value * factor).quantize(Decimal('0.0001')).normalize():f}"
        found[kind] = (least, amount, _one(one, "PRICE_CURRENCY"))
    return {kind: (amount, currency) for kind, (_, amount, currency) in found.items()}


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() and 0 < number < 10**12 else None


def _images(element: Any, root: str) -> Iterable[str]:
    for mime in element.iter("{*}MIME"):
        source, kind = _one(mime, "MIME_SOURCE"), _one(mime, "MIME_TYPE")
        if not source or (kind and not kind.startswith(("image", "url"))):
            continue
        if "//" not in source and "//" in root:
            source = f"{root.rstrip('/')}/{source.lstrip('/')}"
        yield source


DIALECT = trees.Dialect("bmecat_xml", trees.fixed(_HEADERS, _rows, says=_says))
