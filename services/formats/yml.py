"""Yandex Market's YML, as Ecwid, Prom, Rozetka and many Russian and Ukrainian shops write it.

Source: the format's public description. An offer is a variant; offers with one ``group_id`` are one product.
"""

from collections.abc import Iterable
from typing import Any

from services.formats import headers, trees
from services.formats.flat import local, text_of

_SIMPLE = {  # element → header
    "description": "description", "vendor": "brand", "price": "price", "oldprice": "list price",
    "purchase_price": "cost", "currencyId": "currency", "barcode": "barcode", "weight": "weight (kg)",
    "stock_quantity": "stock", "quantity_in_stock": "stock", "quantity": "stock", "count": "stock",
}  # fmt: skip
_HEADERS = {
    "item_group_id": "group_id", "id": "id", "sku": "vendorCode", "title": "name", "description": "description",
    "brand": "vendor", "category": "categoryId", "price": "price", "list price": "oldprice",
    "cost": "purchase_price", "currency": "currencyId", "stock": "stock_quantity", "availability": "available",
    "barcode": "barcode", "weight (kg)": "weight", "image": "picture",
    **{f"option{n} name": f"param {n} name" for n in (1, 2, 3)},
    **{f"option{n} value": f"param {n}" for n in (1, 2, 3)},
}  # fmt: skip
_AXES = frozenset(("color", "size", "material", "pattern"))


def recognises(shape: Any) -> bool:
    """Whether this is a YML document."""
    return bool(shape.root == "yml_catalog" or {"offers", "offer", "categoryId"} <= shape.names)


def _says(element: Any) -> Iterable[tuple[str, str]]:
    """A category's name and the category above it."""
    if local(element.tag) == "category":
        yield f"category {element.get('id')}", text_of(element)
        if element.get("parentId"):
            yield f"parent {element.get('id')}", element.get("parentId")


def path(number: str, look_up: trees.LookUp) -> str:
    """The names of a category and of those above it."""
    steps: list[str] = []
    above: str | None = number
    while above and len(steps) < 10:
        name = look_up(f"category {above}")
        if name:
            steps.insert(0, name)
        above = look_up(f"parent {above}")
    return " > ".join(steps)


def _rows(element: Any, look_up: trees.LookUp) -> Iterable[trees.Row]:
    if local(element.tag) != "offer":
        return
    number, group = element.get("id", "").strip(), element.get("group_id", "").strip()
    cells = {"id": number, "item_group_id": group, "availability": element.get("available", "")}
    other: dict[str, str] = {}
    pictures: list[str] = []
    options: list[tuple[str, str]] = []
    for child in element:
        if not isinstance(child.tag, str):
            continue
        name, text = local(child.tag), text_of(child)
        if name == "param" and group and text:
            said = headers.meaning(child.get("name", ""))
            if said and said.field in _AXES:
                options.append((child.get("name"), text))
        elif name == "picture":
            pictures.append(text)
        elif name == "outlets":
            counts = [outlet.get("instock", "") for outlet in child if isinstance(outlet.tag, str)]
            if counts and all(map(str.isdigit, counts)):
                cells["stock"] = str(sum(map(int, counts)))
        elif name in _SIMPLE:
            cells.setdefault(_SIMPLE[name], text)
        else:
            other.setdefault(name, text)
    # "vendor.model" offers have no name: it is put together as the market does.
    spoken = (other.get("typePrefix", ""), cells.get("brand", ""), other.get("model", ""))
    cells["title"] = other.get("name") or (" ".join(filter(None, spoken)) if other.get("model") else "")
    cells["sku"] = other.get("vendorCode") or other.get("shop-sku") or number
    cells["category"] = path(other.get("categoryId", ""), look_up) or other.get("category", "")
    cells["image"] = "\n".join(pictures)
    for index, (name, value) in enumerate(options[:3], 1):
        cells[f"option{index} name"], cells[f"option{index} value"] = name, value
    yield cells, number or None


DIALECT = trees.Dialect("yandex_yml", trees.fixed(_HEADERS, _rows, says=_says), priced=True)
