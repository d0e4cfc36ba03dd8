"""Feeds into a merchant's catalogue, and the catalogue as plain values to compare."""

import io
from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from services.catalog.guards import Thresholds
from services.core.db import transaction
from services.imports.receive import drop_upload, start_import, store_upload
from services.models import Changeset, ChangesetItem, Import, ImportRowError, Product, Source, Variant
from tests import inline

UNGUARDED = {name: None for name in Thresholds.model_fields if not name.startswith("smallest")}


def begin(
    merchant: UUID,
    feed: str | bytes,
    *,
    source: str = "default",
    currency: str | None = None,
    bad_rows: str | None = None,
    guarded: bool = False,
) -> Import:
    """An import of this text and its job, not yet begun. Unless `guarded`, no guard of its source holds it."""
    if not guarded:
        make_source(merchant, source, guards=UNGUARDED)
    content = feed.encode() if isinstance(feed, str) else feed
    stored = store_upload(io.BytesIO(content), merchant_id=merchant, filename="feed.csv")
    try:
        with transaction(merchant_id=merchant) as session:
            return start_import(
                session, merchant_id=merchant, source=source, currency=currency, bad_rows=bad_rows, stored=stored
            )
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


def plan_of(import_: Import) -> Changeset:
    """The import's latest plan."""
    with transaction(merchant_id=import_.merchant_id) as session:
        own = select(Changeset).where(Changeset.import_id == import_.id).order_by(Changeset.id.desc()).limit(1)
        return session.scalars(own).one()


def items_of(changeset: Changeset) -> list[ChangesetItem]:
    """The plan's items, in order."""
    with transaction(merchant_id=changeset.merchant_id) as session:
        own = select(ChangesetItem).where(ChangesetItem.changeset_id == changeset.id).order_by(ChangesetItem.n)
        return list(session.scalars(own))


def make_source(merchant: UUID, name: str = "default", **policy: Any) -> None:
    """A source with these policies; one that is there takes them on."""
    with transaction(merchant_id=merchant) as session:
        source = session.scalar(select(Source).where(Source.merchant_id == merchant, Source.name == name))
        if source is None:
            source = Source(merchant_id=merchant, name=name)
            session.add(source)
        for field, value in policy.items():
            setattr(source, field, value)


def whole_catalogue(merchant: UUID, session: Session | None = None) -> list[tuple[Any, ...]]:
    """Every row with its ids, but for times: what two runs of the same plan must agree on."""
    if session is None:
        with transaction(merchant_id=merchant) as own:
            return whole_catalogue(merchant, own)
    return [
        (table, tuple(sorted((name, str(value)) for name, value in row._mapping.items() if not name.endswith("_at"))))
        for table in ("products", "variants")
        for row in session.execute(text(f"SELECT * FROM {table} ORDER BY id"))
    ]


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
