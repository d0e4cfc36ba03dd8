"""Plans made by hand, and what became of them."""

from typing import Any
from uuid import UUID

from sqlalchemy import select, text

from services.catalog.apply import apply_range
from services.catalog.summary import conclude
from services.core.db import transaction
from services.models import Changeset, ChangesetItem, Product, Variant


def make_plan(merchant: UUID, *items: dict[str, Any], state: str = "applying") -> Changeset:
    """A plan of these items, in their order; each says op, row (a Product or Variant) or its ids and keys, changes."""
    with transaction(merchant_id=merchant) as session:
        changeset = Changeset(merchant_id=merchant, kind="edit", state=state)
        session.add(changeset)
        session.flush()
        for n, item in enumerate(items, 1):
            row = {"merchant_id": merchant, "changeset_id": changeset.id, "n": n, "line": None, **item}
            session.add(ChangesetItem(**row))
        changeset.items = len(items)
        session.flush()
        conclude(session, changeset)
        session.refresh(changeset)
    return changeset


def of_product(product: Product, op: str, changes: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An item about a product as it is now."""
    ids = {"product_key": product.key, "product_id": product.id, "base_version": product.version}
    return {"op": op, **ids, "changes": changes, **more}


def of_variant(product: Product, variant: Variant, op: str, changes: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An item about a variant as it is now."""
    ids = {"variant_key": variant.key, "variant_id": variant.id, "base_version": variant.version}
    return {"op": op, "product_key": product.key, "product_id": product.id, **ids, "changes": changes, **more}


def apply_all(changeset: Changeset, *, items: int = 5_000) -> Changeset:
    """Apply the plan to its end, a transaction for each range."""
    while True:
        with transaction(merchant_id=changeset.merchant_id) as session:
            found = session.get_one(Changeset, changeset.id)
            apply_range(session, found, items=items)
            if found.finished_at is not None:
                return found


def products_of(merchant: UUID) -> dict[str, Product]:
    """Key → product."""
    with transaction(merchant_id=merchant) as session:
        return {product.key: product for product in session.scalars(select(Product))}


def variants_of(merchant: UUID, product: Product) -> dict[str, Variant]:
    """Key → variant of the product."""
    with transaction(merchant_id=merchant) as session:
        return {row.key: row for row in session.scalars(select(Variant).where(Variant.product_id == product.id))}


def states_of(changeset: Changeset) -> list[str]:
    """What became of each item, in order."""
    with transaction(merchant_id=changeset.merchant_id) as session:
        own = select(ChangesetItem.state).where(ChangesetItem.changeset_id == changeset.id).order_by(ChangesetItem.n)
        return list(session.scalars(own))


def touch(merchant: UUID, table: str, id_: UUID) -> None:
    """What another plan does to a row: it is one version on."""
    with transaction(merchant_id=merchant) as session:
        session.execute(text(f"UPDATE {table} SET version = version + 1 WHERE id = :id"), {"id": id_})


def whole(row: Product | Variant, op: str) -> dict[str, Any]:
    """All of a row as `changes` of its deletion or creation."""
    if isinstance(row, Product):
        names = ("source", "title", "description", "brand", "category", "tags", "status", "images", "option_names")
    else:
        names = ("sku", "barcode", "options", "price", "compare_at_price", "cost", "currency", "stock", "weight_grams")
        names = (*names, "image_url", "position")
    values = {name: getattr(row, name) for name in (*names, "version")}
    values = {name: str(value) if name in ("price", "compare_at_price", "cost") and value is not None else value
              for name, value in values.items()}  # fmt: skip
    return {name: [value, None] if op == "delete" else [None, value] for name, value in values.items()}
