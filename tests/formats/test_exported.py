"""What is written is read back as it was: for any catalogue, in every kind of file, by the readers of all feeds."""

import io
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings

from services.exports.catalogue import as_written
from services.formats import read
from services.formats.base import Draft
from services.formats.formulas import harmless, restored
from services.formats.layouts import WrittenProduct
from services.formats.woocommerce_layout import escaped_lines, escaped_list, restored_lines, restored_list
from services.formats.writers import open_writer
from tests.examples import examples
from tests.exports.exporting import KINDS, TRICKY, catalogues, texts

TABLES = [kind for kind in KINDS if kind[1]]
PRODUCT = ("title", "description", "brand", "category", "status")
VARIANT = ("sku", "barcode", "price", "compare_at_price", "cost", "currency", "stock", "weight_grams", "image_url")


class Record:
    """A row of the database, as the queries of exports give it."""

    def __init__(self, fields: dict[str, Any]) -> None:
        vars(self).update({"source": "s", **fields})


def written(products: list[dict[str, Any]]) -> list[WrittenProduct]:
    """The products as a writer gets them."""
    return [as_written(Record(product), [Record(one) for one in product["variants"]]) for product in products]


def file_of(products: list[dict[str, Any]], format: str, columns: str) -> io.BytesIO:
    """These products as a file."""
    file = io.BytesIO()
    writer = open_writer(file, format, columns)
    for product in written(products):
        writer.write(product)
    writer.close()
    file.seek(0)
    return file


def said_by(drafts: list[Draft]) -> list[dict[str, Any]]:
    """The products of some drafts: what the import makes of them in an empty catalogue, the slow way."""
    found: dict[str, dict[str, Any]] = {}
    for draft in drafts:
        product = found.setdefault(draft.product_key, {"key": draft.product_key, "pictures": [], "variants": {}})
        for name in (*PRODUCT, "tags", "option_names"):
            if product.get(name) is None:
                product[name] = getattr(draft, name)
        place = int(draft.image_position or 10**9)
        product["pictures"] += [(place, url) for url in (draft.image_urls or "").split("\n") if url]
        if draft.variant_key is not None:
            assert draft.variant_key not in product["variants"]
            product["variants"][draft.variant_key] = draft
    return [_product(product) for product in found.values()]


def _product(found: dict[str, Any]) -> dict[str, Any]:
    names = found["option_names"].split("\n") if found["option_names"] else []
    return {
        **{name: found[name] for name in ("key", *PRODUCT)},
        "tags": [tag.strip() for tag in found["tags"].split(",")] if found["tags"] else [],
        "images": [url for _, url in sorted(found["pictures"], key=lambda pair: pair[0])],
        "option_names": names,
        "variants": [_variant(key, draft, names) for key, draft in found["variants"].items()],
    }


def _variant(key: str, draft: Draft, product_names: list[str]) -> dict[str, Any]:
    names = draft.option_names.split("\n") if draft.option_names else list(product_names)
    names += [f"Option {number}" for number in range(len(names) + 1, 4)]
    values = draft.option_values.split("\n") if draft.option_values else []
    given = {name: getattr(draft, name) for name in VARIANT if name != "image_url"}
    for name in ("price", "compare_at_price", "cost"):
        given[name] = None if given[name] is None else Decimal(given[name])
    for name in ("stock", "weight_grams"):
        given[name] = None if given[name] is None else int(given[name])
    return {
        "key": key,
        **given,
        "image_url": draft.variant_image_url,
        "options": dict(zip(names, values, strict=False)),
    }


@pytest.mark.parametrize(("format", "columns"), TABLES)
@settings(max_examples=examples(8), deadline=None, suppress_health_check=list(HealthCheck))
@given(products=catalogues)
@example(products=TRICKY)
def test_any_products_come_back_as_they_were(format, columns, products):
    reading = read.read(file_of(products, format, columns))
    items = list(reading.records)
    assert [item for item in items if not isinstance(item, Draft)] == []
    assert said_by(items) == products


@settings(max_examples=100)
@given(text=texts)
def test_what_is_made_harmless_can_be_taken_back(text):
    assert not harmless(text).startswith(("=", "+", "-", "@", "\t", "\r"))
    assert restored(harmless(text)) == text


@settings(max_examples=100)
@given(text=texts, other=texts)
def test_woocommerces_escapes_can_be_taken_back(text, other):
    assert restored_lines(escaped_lines(f"{text}{other}")) == f"{text}{other}"
    values = [text, other.lstrip(" ") or "x"]
    assert restored_list(escaped_list(values)) == values
    assert restored_list(escaped_list(values[:1])) == values[:1]
