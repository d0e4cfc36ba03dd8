"""BigBuy's catalogue lists as JSON: products, their texts, their variations, each a list of its own.

Source: BigBuy's API reference. A variation names its product by number; a wholesale price is what the merchant pays.
The weight of a variation is only what it weighs more than its product, and is left out.
"""

from collections.abc import Iterable
from typing import Any

from services.formats import trees

_FIELDS = {  # BigBuy's name → header
    "product": "item_group_id", "id": "id", "sku": "sku", "name": "title", "description": "description",
    "ean13": "barcode", "retailPrice": "price", "wholesalePrice": "cost", "weight": "weight (kg)",
    "active": "status", "currency": "currency",
}  # fmt: skip


def recognises(sample: list[dict[str, Any]]) -> bool:
    """Whether these records are BigBuy's products or variations. Its lists of texts are read like any other list."""
    return all({"sku", "wholesalePrice", "retailPrice"} <= one.keys() for one in sample)


def _rows(record: dict[str, Any], _: trees.LookUp) -> Iterable[trees.Row]:
    cells = {
        header: str(record[name]).strip()
        for name, header in _FIELDS.items()
        if record.get(name) is not None and not isinstance(record[name], dict | list)
    }
    yield cells, cells.get("sku")


DIALECT = trees.Dialect("bigbuy_json", trees.fixed({header: name for name, header in _FIELDS.items()}, _rows))
