"""The feed of Ceneo, the Polish comparison site: an ``<o>`` per offer, most of it in attributes; prices are in złoty.

Source: the site's public specification.
"""

from collections.abc import Iterable
from typing import Any

from services.formats import headers, trees
from services.formats.flat import local, text_of

_HEADERS = {
    "id": "id", "title": "name", "description": "desc", "brand": "Producent", "category": "cat", "price": "price",
    "currency": "currency", "stock": "stock", "barcode": "EAN", "weight (kg)": "weight", "image": "imgs",
}  # fmt: skip


def recognises(shape: Any) -> bool:
    """Whether this is a Ceneo feed."""
    return bool(shape.root in ("offers", "group") and "o" in shape.names)


def _rows(element: Any, _: trees.LookUp) -> Iterable[trees.Row]:
    cells = {
        "id": element.get("id", ""),
        "price": element.get("price", ""),
        "stock": element.get("stock", ""),
        "weight (kg)": element.get("weight", ""),
        "currency": element.get("currency", "") or "PLN",
    }
    for child in element:
        name = local(child.tag) if isinstance(child.tag, str) else ""
        if name == "name":
            cells["title"] = text_of(child)
        elif name == "desc":
            cells["description"] = text_of(child)
        elif name == "cat":
            cells["category"] = " > ".join(filter(None, map(str.strip, text_of(child).split("/"))))
        elif name == "imgs":
            cells["image"] = "\n".join(one.get("url", "") for one in child if isinstance(one.tag, str))
        elif name == "attrs":
            for one in child:
                said = headers.meaning(one.get("name", "")) if isinstance(one.tag, str) else None
                if said and said.field in ("brand", "barcode"):
                    cells.setdefault(said.field, text_of(one))
    yield cells, cells["id"].strip() or None


DIALECT = trees.Dialect("ceneo_xml", trees.fixed(_HEADERS, _rows), priced=True)
