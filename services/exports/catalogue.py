"""The matching products and their variants, a range at a time, in the order in which they were made.

Their ids come through one cursor of the server's: asked for range by range, a planner whose statistics do not know the
merchant yet read and sorted all that was left each time. Variants come through a cursor too, so that a range of
products with thousands of variants each is not held as a whole: one product is.
"""

from collections.abc import Generator
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from itertools import groupby
from typing import Any
from uuid import UUID

from sqlalchemy import Uuid, any_, func, literal, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from services.catalog.queries import ProductFilter, select_products
from services.formats.layouts import WrittenProduct, WrittenVariant, amount
from services.models import Product, Variant

RANGE = 200  # products; their descriptions are in memory together
_FETCHED = 2_000  # variants

_PRODUCT = (
    *(Product.id, Product.source, Product.key, Product.title, Product.description, Product.brand, Product.category),
    *(Product.tags, Product.status, Product.images, Product.option_names, Product.version, Product.created_at),
    Product.updated_at,
)
_VARIANT = (
    *(Variant.product_id, Variant.id, Variant.key, Variant.sku, Variant.barcode, Variant.options, Variant.price),
    *(Variant.compare_at_price, Variant.cost, Variant.currency, Variant.stock, Variant.weight_grams),
    *(Variant.image_url, Variant.version, Variant.created_at, Variant.updated_at),
)

# Rows are looked up by their ids, whatever the planner believes of a merchant it does not know yet: it would read all
# the merchant's index entries for each range. The ids themselves may need a bitmap (words are searched with one).
_SET_UP = text("""
SELECT set_config('enable_bitmapscan', 'off', true), set_config('enable_seqscan', 'off', true),
    set_config('plan_cache_mode', 'force_custom_plan', true)
""")

Record = Any  # a row of a query: its columns are attributes
Found = tuple[Record, list[Record]]  # a product and its variants


def count_products(session: Session, matching: ProductFilter, *, merchant_id: UUID) -> int:
    """How many products match."""
    own = select_products(matching, merchant_id=merchant_id).with_only_columns(Product.id)
    return session.scalars(select(func.count()).select_from(own.subquery())).one()


def ranges(
    session: Session, matching: ProductFilter, *, merchant_id: UUID
) -> Generator[Generator[Found, None, None], None, None]:
    """The matching products in ranges. A range has to be used up, or closed, before the next is asked for."""
    own = select_products(matching, merchant_id=merchant_id).with_only_columns(Product.id).order_by(Product.id)
    with closing(session.execute(own.execution_options(yield_per=RANGE))) as found:
        session.execute(_SET_UP)
        for rows in found.partitions():
            yield _read(session, [id_ for (id_,) in rows], merchant_id=merchant_id)


def _read(session: Session, ids: list[UUID], *, merchant_id: UUID) -> Generator[Found, None, None]:
    wanted = any_(literal(ids, ARRAY(Uuid)))
    products = session.execute(
        select(*_PRODUCT).where(Product.merchant_id == merchant_id, Product.id == wanted).order_by(Product.id)
    ).all()
    own = select(*_VARIANT).where(Variant.merchant_id == merchant_id, Variant.product_id == wanted)
    own = own.order_by(Variant.product_id, Variant.position, Variant.id)
    with closing(session.execute(own.execution_options(yield_per=_FETCHED))) as rows:
        groups = groupby(rows, key=lambda row: row.product_id)
        group = next(groups, None)
        for product in products:
            variants: list[Record] = []
            if group is not None and group[0] == product.id:
                variants = list(group[1])
                group = next(groups, None)
            yield product, variants


def as_written(product: Record, variants: list[Record]) -> WrittenProduct:
    """A product for the layouts of tables."""
    return WrittenProduct(
        product.source,
        product.key,
        product.title,
        product.description,
        product.brand,
        product.category,
        product.tags,
        product.status,
        product.images,
        product.option_names,
        [
            WrittenVariant(
                variant.key,
                variant.sku,
                variant.barcode,
                variant.options,
                _money(variant.price),
                _money(variant.compare_at_price),
                _money(variant.cost),
                variant.currency,
                _whole(variant.stock),
                _whole(variant.weight_grams),
                variant.image_url,
            )
            for variant in variants
        ],
    )


def as_json(product: Record, variants: list[Record]) -> dict[str, Any]:
    """A product as `GET /products/{id}` shows it."""
    found = dict(product._mapping)
    shown = {**found, "id": str(found["id"]), "variants": [_variant_as_json(variant) for variant in variants]}
    shown["version"] = shown.pop("version")  # behind the variants, as the API has it
    for name in ("created_at", "updated_at"):
        shown[name] = _instant(shown.pop(name))
    return shown


def _variant_as_json(variant: Record) -> dict[str, Any]:
    shown = dict(variant._mapping)
    del shown["product_id"]
    shown["id"] = str(shown["id"])
    for name in ("price", "compare_at_price", "cost"):
        shown[name] = _money(shown[name])
    for name in ("created_at", "updated_at"):
        shown[name] = _instant(shown[name])
    return shown


def _money(value: Decimal | None) -> str | None:
    return None if value is None else amount(value)


def _whole(value: int | None) -> str | None:
    return None if value is None else str(value)


def _instant(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
