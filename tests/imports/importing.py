"""Feeds into a merchant's catalogue, and the catalogue as plain values to compare."""

import io
from typing import Any
from uuid import UUID

from sqlalchemy import select, text

from services.core.db import transaction
from services.imports.receive import drop_upload, start_import, store_upload
from services.models import Import, ImportRowError, Product, Variant
from tests import inline


def begin(merchant: UUID, feed: str | bytes, *, source: str = "default", currency: str | None = None) -> Import:
    """An import of this text and its job, not yet begun."""
    content = feed.encode() if isinstance(feed, str) else feed
    stored = store_upload(io.BytesIO(content), merchant_id=merchant, filename="feed.csv")
    try:
        with transaction(merchant_id=merchant) as session:
            return start_import(session, merchant_id=merchant, source=source, currency=currency, stored=stored)
    except BaseException:
        drop_upload(stored, merchant_id=merchant)
        raise


def run_feed(merchant: UUID, feed: str | bytes, **options: Any) -> dict[str, Any]:
    """Import this text to its end. Returns the job's row; its result has the counts."""
    return inline.work(begin(merchant, feed, **options).job_id)


def reload(import_: Import) -> Import:
    """The import's row as it is now."""
    with transaction(merchant_id=import_.merchant_id) as session:
        return session.get_one(Import, import_.id)


def errors_of(import_: Import) -> list[ImportRowError]:
    """Its row errors, in order."""
    with transaction(merchant_id=import_.merchant_id) as session:
        own = select(ImportRowError).where(ImportRowError.import_id == import_.id).order_by(ImportRowError.n)
        return list(session.scalars(own))


def catalogue(merchant: UUID, source: str = "default") -> dict[str, dict[str, Any]]:
    """Product key → its fields and its variants by key; without ids and times, so that catalogues can be compared."""
    with transaction(merchant_id=merchant) as session:
        products = session.scalars(select(Product).where(Product.source == source)).all()
        variants = session.scalars(select(Variant).order_by(Variant.position)).all()
    fields = ("title", "description", "brand", "category", "tags", "status", "images", "option_names", "version")
    own = {product.id: {name: getattr(product, name) for name in fields} | {"variants": {}} for product in products}
    offered = ("sku", "barcode", "options", "price", "compare_at_price", "cost", "currency", "stock", "weight_grams")
    for variant in variants:
        if variant.product_id in own:
            shown = {name: getattr(variant, name) for name in (*offered, "image_url", "version")}
            own[variant.product_id]["variants"][variant.key] = shown
    return {product.key: own[product.id] for product in products}


def footprints(merchant: UUID) -> set[tuple[Any, ...]]:
    """What changes when a row is written at all: table, id, xmin, place on disk, version and time of change."""
    with transaction(merchant_id=merchant) as session:
        return {
            tuple(row)
            for table in ("products", "variants")
            for row in session.execute(
                text(f"SELECT '{table}', id, xmin::text, ctid::text, xmax::text, version, updated_at FROM {table}")
            )
        }


def staged(merchant: UUID) -> int:
    """How many drafts of the merchant are staged."""
    with transaction(merchant_id=merchant) as session:
        return int(session.execute(text("SELECT count(*) FROM import_drafts")).scalar_one())
