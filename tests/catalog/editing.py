"""Products made and changed by hand, and the catalogue as plain values by id, to compare moments."""

from typing import Any
from uuid import UUID

from sqlalchemy import select

from services.catalog import edits
from services.catalog.apply import PRODUCT_FIELDS, VARIANT_FIELDS
from services.catalog.changesets import get_changeset
from services.catalog.revert import revert
from services.core.db import transaction
from services.models import Changeset, ChangesetItem, Product, Variant


def make(merchant: UUID, said: dict[str, Any], variants: list[dict[str, Any]]) -> tuple[UUID, Changeset]:
    """A product made by hand."""
    with transaction(merchant_id=merchant) as session:
        return edits.create_product(session, merchant_id=merchant, said=said, variants=variants)


def edit(merchant: UUID, product_id: UUID, said: dict[str, Any] | None = None, **rest: Any) -> Changeset | None:
    """Fields set by hand."""
    with transaction(merchant_id=merchant) as session:
        return edits.edit_product(session, product_id, said=said or {}, **rest)


def delete(merchant: UUID, product_id: UUID) -> Changeset:
    """A product deleted by hand."""
    with transaction(merchant_id=merchant) as session:
        return edits.delete_product(session, product_id)


def take_back(merchant: UUID, changeset_id: UUID, *, apply: bool = True) -> Changeset:
    """A plan reverted."""
    with transaction(merchant_id=merchant) as session:
        return revert(session, changeset_id, apply=apply)


def reload(changeset: Changeset) -> Changeset:
    """The plan as it is now."""
    with transaction(merchant_id=changeset.merchant_id) as session:
        return get_changeset(session, changeset.id)


def items_of(changeset: Changeset) -> list[ChangesetItem]:
    """A plan's items, in order."""
    with transaction(merchant_id=changeset.merchant_id) as session:
        own = select(ChangesetItem).where(ChangesetItem.changeset_id == changeset.id).order_by(ChangesetItem.n)
        return list(session.scalars(own))


def variant_ids(merchant: UUID, product_id: UUID) -> list[UUID]:
    """Of a product, in order."""
    with transaction(merchant_id=merchant) as session:
        own = select(Variant.id).where(Variant.product_id == product_id)
        return list(session.scalars(own.order_by(Variant.position, Variant.id)))


def snapshot(merchant: UUID) -> dict[UUID, dict[str, Any]]:
    """Everything in the catalogue, by id: fields, key, whose it is; without versions and times."""
    with transaction(merchant_id=merchant) as session:
        found: dict[UUID, dict[str, Any]] = {}
        for product in session.scalars(select(Product)):
            own = {name: getattr(product, name) for name in PRODUCT_FIELDS}
            found[product.id] = {**own, "key": product.key, "source": product.source}
        for variant in session.scalars(select(Variant)):
            own = {name: getattr(variant, name) for name in VARIANT_FIELDS}
            found[variant.id] = {
                **own, "key": variant.key, "position": variant.position, "product_id": variant.product_id
            }  # fmt: skip
        return found
