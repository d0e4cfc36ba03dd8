"""WordPress' own export (WXR) of a WooCommerce shop, laid out as the rows of WooCommerce's CSV export.

Source: WordPress' exporter and WooCommerce's post types. Products, variations and pictures are posts of one list;
prices and article numbers are their metadata; a variation names its product and its pictures by their numbers.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from services.formats import trees, woocommerce
from services.formats.flat import local, text_of
from services.formats.yml import path

_ATTRIBUTES = (1, 2, 3)
_HEADERS = {
    "ID": "wp:post_id", "Type": "wp:post_type", "SKU": "_sku", "Name": "title", "Published": "wp:status",
    "Short description": "excerpt:encoded", "Description": "content:encoded", "Categories": "category product_cat",
    "Tags": "category product_tag", "Brands": "category product_brand", "GTIN, UPC, EAN, or ISBN": "_global_unique_id",
    "Sale price": "_sale_price", "Regular price": "_regular_price",
    "Date sale price starts": "_sale_price_dates_from", "Date sale price ends": "_sale_price_dates_to",
    "Cost of goods": "_cogs_total_value", "Stock": "_stock", "In stock?": "_stock_status", "Weight": "_weight",
    "Images": "_thumbnail_id", "Parent": "wp:post_parent",
    **{f"Attribute {n} name": f"attribute {n} name" for n in _ATTRIBUTES},
    **{f"Attribute {n} value(s)": f"attribute {n}" for n in _ATTRIBUTES},
}  # fmt: skip
_STATUSES = {"publish": "1", "private": "0", "draft": "-1", "pending": "2", "future": "-1", "trash": "-1"}
_ATTRIBUTE = re.compile(r'"name";s:\d+:"(.*?)";.*?"is_variation";[isb]:"?([01])', re.S)


def recognises(shape: Any) -> bool:
    """Whether this is a WordPress export."""
    return any(uri.startswith("http://wordpress.org/export/") for uri in shape.namespaces)


def _post(element: Any) -> tuple[dict[str, str], dict[str, str], list[tuple[str, str, str]]]:
    """A post's own values, its metadata, and its terms as (taxonomy, slug, name)."""
    own: dict[str, str] = {}
    meta: dict[str, str] = {}
    terms: list[tuple[str, str, str]] = []
    for child in element:
        if not isinstance(child.tag, str):
            continue
        name = local(child.tag)
        if name == "postmeta":
            pair = {local(one.tag): text_of(one) for one in child if isinstance(one.tag, str)}
            meta.setdefault(pair.get("meta_key", ""), pair.get("meta_value", ""))
        elif name == "category":
            terms.append((child.get("domain", ""), child.get("nicename", ""), text_of(child)))
        else:  # two elements are called "encoded": the content and the excerpt
            own.setdefault("excerpt" if "excerpt" in child.tag else name, text_of(child))
    return own, meta, terms


def _says(element: Any) -> Iterable[tuple[str, str]]:
    if local(element.tag) == "term":
        pair = {local(one.tag): text_of(one) for one in element if isinstance(one.tag, str)}
        taxonomy, slug = pair.get("term_taxonomy", ""), pair.get("term_slug", "")
        yield f"term {taxonomy} {slug}", pair.get("term_name", "")
        if taxonomy == "product_cat":
            yield f"category {slug}", pair.get("term_name", "")
            if pair.get("term_parent"):
                yield f"parent {slug}", pair["term_parent"]
        return
    own, meta, terms = _post(element)
    number, kind = own.get("post_id", ""), own.get("post_type")
    if kind == "attachment":
        yield f"picture {number}", own.get("attachment_url", "")
    elif kind == "product":
        yield f"key {number}", meta.get("_sku") or f"id:{number}"
        for taxonomy, slug, name in terms:
            if taxonomy.startswith("pa_"):
                yield f"term {taxonomy} {slug}", name


def _rows(element: Any, look_up: trees.LookUp) -> Iterable[trees.Row]:
    if local(element.tag) != "item":
        return
    own, meta, terms = _post(element)
    kind = own.get("post_type")
    if kind not in ("product", "product_variation"):
        return
    is_child = kind == "product_variation"
    given: dict[str, list[str]] = {}
    for taxonomy, slug, name in terms:
        whole = (path(slug, look_up) if taxonomy == "product_cat" else "") or name
        given.setdefault(taxonomy, []).append(whole.replace(",", "\\,"))
    pictures = [meta.get("_thumbnail_id", ""), *meta.get("_product_image_gallery", "").split(",")]
    cells = {
        "ID": own.get("post_id", ""),
        "Type": "variation" if is_child else next(iter(given.get("product_type", ())), "simple"),
        "SKU": meta.get("_sku", ""),
        "Name": own.get("title", ""),
        "Published": _STATUSES.get(own.get("status", ""), ""),
        "Short description": own.get("excerpt", ""),
        "Description": own.get("encoded", ""),
        "Categories": ", ".join(given.get("product_cat", ())),
        "Tags": ", ".join(given.get("product_tag", ())),
        "Brands": ", ".join(given.get("product_brand", ())),
        "GTIN, UPC, EAN, or ISBN": meta.get("_global_unique_id", ""),
        "Sale price": meta.get("_sale_price", ""),
        "Regular price": meta.get("_regular_price", ""),
        "Date sale price starts": _day(meta.get("_sale_price_dates_from", "")),
        "Date sale price ends": _day(meta.get("_sale_price_dates_to", "")),
        "Cost of goods": meta.get("_cogs_total_value", ""),
        "Stock": meta.get("_stock", "") if meta.get("_manage_stock") == "yes" else "",
        "In stock?": "0" if meta.get("_stock_status") == "outofstock" else "1",
        "Weight": meta.get("_weight", ""),
        "Images": ", ".join(filter(None, (look_up(f"picture {one.strip()}") for one in pictures if one.strip()))),
        "Parent": _parent(own.get("post_parent", ""), look_up) if is_child else "",
    }
    for index, (name, value) in enumerate(_attributes(meta, is_child, look_up)[:3], 1):
        cells[f"Attribute {index} name"], cells[f"Attribute {index} value(s)"] = name, value
    yield cells, None


def _parent(number: str, look_up: trees.LookUp) -> str:
    return (look_up(f"key {number}") or f"id:{number}") if number.strip("0") else ""


def _attributes(meta: dict[str, str], is_child: bool, look_up: trees.LookUp) -> list[tuple[str, str]]:
    """The names (and on a variation the values) of the attributes that tell variations apart."""
    if not is_child:
        found = _ATTRIBUTE.findall(meta.get("_product_attributes", ""))
        return [(_label(name), "") for name, tells in found if tells == "1"]
    pairs = [(key.removeprefix("attribute_"), value) for key, value in meta.items() if key.startswith("attribute_")]
    return [(_label(name), look_up(f"term {name} {value}") or value) for name, value in pairs]


def _label(name: str) -> str:
    """``pa_shoe-size`` as a shop shows it."""
    plain = name.removeprefix("pa_").replace("-", " ").replace("_", " ")
    return plain[:1].upper() + plain[1:]


def _day(stamp: str) -> str:
    return datetime.fromtimestamp(int(stamp), UTC).date().isoformat() if stamp.isdigit() and len(stamp) < 11 else stamp


DIALECT = trees.Dialect("woocommerce_wxr", trees.fixed(_HEADERS, _rows, columns=woocommerce.mapper, says=_says))
