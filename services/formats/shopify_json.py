"""Shopify's products as JSON (``/products.json`` and the Admin API), laid out as the rows of its CSV export.

Source: Shopify's REST reference. A product holds its variants; option values stand on the variants, their names on the
product; pictures stand on the product and name the variants they show.
"""

from collections.abc import Iterable
from typing import Any

from services.formats import shopify, trees

_HEADERS = {
    "Handle": "handle", "Title": "title", "Body (HTML)": "body_html", "Vendor": "vendor", "Type": "product_type",
    "Tags": "tags", "Status": "status",
    "Option1 Name": "options.1", "Option1 Value": "option1", "Option2 Name": "options.2", "Option2 Value": "option2",
    "Option3 Name": "options.3", "Option3 Value": "option3",
    "Variant SKU": "sku", "Variant Barcode": "barcode", "Variant Price": "price",
    "Variant Compare At Price": "compare_at_price", "Cost per item": "cost",
    "Variant Inventory Qty": "inventory_quantity", "Variant Grams": "grams",
    "Image Src": "images.src", "Variant Image": "featured_image.src",
}  # fmt: skip


def recognises(sample: list[dict[str, Any]]) -> bool:
    """Whether these records are Shopify's products."""
    return all("handle" in one and "title" in one and isinstance(one.get("variants"), list) for one in sample) and any(
        "body_html" in one or "product_type" in one or "vendor" in one for one in sample
    )


def _text(value: Any) -> str:
    return "" if value is None or isinstance(value, dict | list | bool) else str(value).strip()


def _source(value: Any) -> str:
    return _text(value.get("src")) if isinstance(value, dict) else _text(value)


def _objects(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _rows(product: dict[str, Any], _: trees.LookUp) -> Iterable[trees.Row]:
    images = product.get("images") or [product.get("image")]
    tags = product.get("tags")
    handle = _text(product.get("handle"))
    options = product.get("options")
    names = [_text(one.get("name")) if isinstance(one, dict) else _text(one) for one in options or ()]
    shown = {
        _text(variant): _source(image)
        for image in _objects(images)
        for variant in image.get("variant_ids") or ()
        if not isinstance(variant, dict | list)
    }
    cells = {
        "Handle": handle,
        "Title": _text(product.get("title")),
        "Body (HTML)": _text(product.get("body_html")),
        "Vendor": _text(product.get("vendor")),
        "Type": _text(product.get("product_type")),
        "Tags": ", ".join(map(_text, tags)) if isinstance(tags, list) else _text(tags),
        "Status": _text(product.get("status")),
        "Image Src": "\n".join(filter(None, map(_source, images if isinstance(images, list) else ()))),
    }
    for variant in _objects(product.get("variants")):
        for number in (1, 2, 3):
            value = _text(variant.get(f"option{number}"))
            cells[f"Option{number} Value"] = value
            cells[f"Option{number} Name"] = (names[number - 1 :][:1] or [f"Option {number}"])[0] if value else ""
        quantity = _text(variant.get("inventory_quantity"))
        if not quantity and variant.get("available") is False:
            quantity = "0"
        if "inventory_management" in variant and variant["inventory_management"] is None:
            quantity = ""  # not tracked
        yield (
            cells
            | {
                "Variant SKU": _text(variant.get("sku")),
                "Variant Barcode": _text(variant.get("barcode")),
                "Variant Price": _text(variant.get("price")),
                "Variant Compare At Price": _text(variant.get("compare_at_price")),
                "Cost per item": _text(variant.get("cost")),
                "Variant Inventory Qty": quantity,
                "Variant Grams": _text(variant.get("grams")),
                "Variant Image": _source(variant.get("featured_image")) or shown.get(_text(variant.get("id")), ""),
            },
            None,
        )
        cells = {"Handle": handle}


DIALECT = trees.Dialect("shopify_json", trees.fixed(_HEADERS, _rows, columns=shopify.mapper))
