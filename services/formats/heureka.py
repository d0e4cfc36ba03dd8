"""The feeds of the Czech and Slovak comparison sites: Heureka, Zboží, and the universal feed both can read.

Source: the sites' public specifications. An item is a variant; items with one ITEMGROUP_ID are one product. PRICE_VAT
is what a customer pays; PRICE, without tax, stands in where it is missing.
"""

from collections.abc import Iterable
from typing import Any

from services.formats import headers, trees
from services.formats.flat import local, text_of

_SIMPLE = {  # element → header, or a name of our own
    "ITEM_ID": "id", "ITEMGROUP_ID": "item_group_id", "PRODUCTNO": "sku", "CODE": "sku", "PRODUCTNAME": "title",
    "DESCRIPTION": "description", "MANUFACTURER": "brand", "BRAND": "brand", "EAN": "barcode", "ISBN": "barcode",
    "CURRENCY": "currency", "STOCK_QUANTITY": "stock", "AVAILABILITY": "availability",
}  # fmt: skip
_HEADERS = {
    "item_group_id": "ITEMGROUP_ID", "id": "ITEM_ID", "sku": "PRODUCTNO", "title": "PRODUCTNAME",
    "description": "DESCRIPTION", "brand": "MANUFACTURER", "category": "CATEGORYTEXT", "price": "PRICE_VAT",
    "list price": "PRICE_BEFORE_DISCOUNT", "currency": "CURRENCY", "stock": "STOCK_QUANTITY",
    "availability": "AVAILABILITY", "barcode": "EAN", "image": "IMGURL",
    **{f"option{n} name": f"PARAM_NAME {n}" for n in (1, 2, 3)},
    **{f"option{n} value": f"VAL {n}" for n in (1, 2, 3)},
}  # fmt: skip
_AXES = frozenset(("color", "size", "material", "pattern"))


def recognises(shape: Any) -> bool:
    """Whether this is one of these feeds: other shop systems use SHOPITEM too, with other names inside."""
    named, told = shape.names & {"PRODUCTNAME", "PRODUCT"}, shape.names & {"PRICE_VAT", "PRICE", "URL"}
    return bool(shape.root == "SHOP" and named and told)


def _rows(element: Any, _: trees.LookUp) -> Iterable[trees.Row]:
    cells: dict[str, str] = {}
    other: dict[str, str] = {}
    pictures: list[str] = []
    options: list[tuple[str, str]] = []
    for child in element:
        if not isinstance(child.tag, str):
            continue
        name = local(child.tag)
        if name == "PARAM":
            options += _option(child)
        elif name == "PARAMETERS":
            for one in child:
                options += _option(one)
        elif name == "CATEGORIES":
            other.setdefault("CATEGORYTEXT", text_of(child[0]) if len(child) else "")
        elif name in ("IMGURL", "IMGURL_ALTERNATIVE"):
            pictures.append(text_of(child))
        elif name in _SIMPLE:
            cells.setdefault(_SIMPLE[name], text_of(child))
        else:
            other.setdefault(name, text_of(child))
    cells["title"] = cells.get("title") or other.get("PRODUCT", "")
    cells["price"] = other.get("PRICE_VAT") or other.get("PRICE", "")
    cells["list price"] = other.get("PRICE_BEFORE_DISCOUNT", "") if other.get("PRICE_VAT") else ""
    cells["category"] = " > ".join(filter(None, map(str.strip, other.get("CATEGORYTEXT", "").split("|"))))
    # Old feeds number nothing: an item is known by its barcode, else by its page.
    number = cells.get("id") or cells.get("sku") or cells.get("barcode") or other.get("URL", "")
    cells["id"] = number
    cells["image"] = "\n".join(pictures)
    if cells.get("item_group_id"):
        for index, (name, value) in enumerate(options[:3], 1):
            cells[f"option{index} name"], cells[f"option{index} value"] = name, value
    yield cells, number or None


def _option(element: Any) -> list[tuple[str, str]]:
    given = {local(one.tag): text_of(one) for one in element if isinstance(one.tag, str)}
    name, value = given.get("PARAM_NAME") or given.get("NAME", ""), given.get("VAL") or given.get("VALUE", "")
    said = headers.meaning(name)
    return [(name, value)] if value and said and said.field in _AXES else []


DIALECT = trees.Dialect("heureka_xml", trees.fixed(_HEADERS, _rows), priced=True)
