"""What a person changes by hand: a plan of one product, made and applied in one transaction."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from services.catalog.changesets import apply_now, propose
from services.catalog.queries import ProductNotFound
from services.catalog.rows import PRODUCT_ROW, VARIANT_ROW, appearing, differences, vanishing, vanishing_sql
from services.core.errors import Conflict, Invalid, NotFound
from services.core.ids import new_id
from services.models import Changeset, ChangesetItem, Product, Variant

MANUAL = "manual"  # the source of products made by hand
_ABOUT = ("id", "version", "remove", "key")  # what is said of a variant beside its fields


class VariantNotFound(NotFound):
    """The product has no such variant."""


class VariantRepeated(Invalid):
    """The same variant is named twice."""


class VariantExists(Conflict):
    """The product has a variant with that key."""


class NoVariantLeft(Invalid):
    """A product keeps one variant at least. To take it off, delete the product."""


class ProductMoved(Conflict):
    """It has been changed since you read it."""


class ProductExists(Conflict):
    """There is a product made by hand with that key."""


def lock_product(session: Session, id_: UUID, *, version: int | None = None, delete: bool = False) -> Product:
    """The product, locked until the transaction ends: who else changes it by hand waits. To be deleted: whole.

    Raises ProductNotFound, ProductMoved (with the present version).
    """
    product = session.scalar(
        select(Product)
        .where(Product.id == id_)
        .with_for_update(key_share=not delete)
        .execution_options(populate_existing=True)
    )
    if product is None:
        raise ProductNotFound
    if version is not None and version != product.version:
        raise ProductMoved(f"The product is at version {product.version} by now.", version=product.version)
    return product


def edit_product(
    session: Session,
    id_: UUID,
    *,
    said: dict[str, Any],
    variants: Sequence[dict[str, Any]] = (),
    version: int | None = None,
    user_id: UUID | None = None,
) -> Changeset | None:
    """Set fields of a product, and of variants: each of `variants` has `id`, maybe `version`, and its fields.

    One with `remove` goes, one without `id` is made; it may say its `key`. Returns the plan, applied; None when
    everything is as said already. Raises ProductNotFound, VariantNotFound and VariantRepeated (naming which),
    VariantExists, NoVariantLeft, ProductMoved where a `version` is no longer the row's.
    """
    product = lock_product(session, id_, version=version, delete=any(entry.get("remove") for entry in variants))
    items = _item_of(product, differences(product, said))
    made = [(place, entry) for place, entry in enumerate(variants) if entry.get("id") is None]
    known = _locked_variants(
        session, product, {place: one["id"] for place, one in enumerate(variants) if one.get("id")}
    )
    gone: set[UUID] = set()
    for place, entry in enumerate(variants):
        if entry.get("id") is None:
            continue
        variant = known.get(entry["id"])
        if variant is None:
            raise VariantNotFound(param=f"variants.{place}.id")
        if entry.get("version") not in (None, variant.version):
            raise ProductMoved(
                f"Variant {variant.id} is at version {variant.version} by now.",
                param=f"variants.{place}.version",
                version=variant.version,
            )
        if entry.get("remove"):
            gone.add(variant.id)
            items.append(_leaving(product, variant))
            continue
        own = {name: value for name, value in entry.items() if name not in _ABOUT}
        items += _item_of(product, differences(variant, own), variant)
    if made or gone:
        items += _coming(session, product, made, gone=gone)
    return _carry_out(session, product.merchant_id, items, user_id=user_id) if items else None


def _leaving(product: Product, variant: Variant) -> ChangesetItem:
    return ChangesetItem(
        op="delete",
        product_key=product.key,
        variant_key=variant.key,
        product_id=product.id,
        variant_id=variant.id,
        base_version=variant.version,
        changes=vanishing(variant, VARIANT_ROW),
    )


def _coming(
    session: Session, product: Product, made: Sequence[tuple[int, dict[str, Any]]], *, gone: set[UUID]
) -> list[ChangesetItem]:
    """Items of new variants, behind those that are there. Raises VariantExists, NoVariantLeft."""
    own = select(Variant.id, Variant.key, Variant.position).where(
        Variant.merchant_id == product.merchant_id, Variant.product_id == product.id
    )
    there = session.execute(own).all()
    if not made and all(row.id in gone for row in there):
        raise NoVariantLeft(param="variants")
    taken = {row.key for row in there}  # also by those that go: they may come back
    last = max((row.position for row in there), default=0)
    items = []
    for number, (place, entry) in enumerate(made, start=last + 1):
        usual = (entry.get("sku"), str(number), str(new_id()))
        key = entry.get("key") or next(one for one in usual if one and one not in taken)
        if key in taken:
            raise VariantExists(f"The product has a variant with the key {key!r}.", param=f"variants.{place}.key")
        taken.add(key)
        said = {name: value for name, value in entry.items() if name not in _ABOUT}
        items.append(_variant_made(product.key, product.id, key, {**said, "position": number}))
    return items


def _variant_made(product_key: str, product_id: UUID, key: str, said: dict[str, Any]) -> ChangesetItem:
    return ChangesetItem(
        op="create",
        product_key=product_key,
        variant_key=key,
        product_id=product_id,
        variant_id=new_id(),
        changes=appearing(said),
    )


def create_product(
    session: Session,
    *,
    merchant_id: UUID,
    said: dict[str, Any],
    variants: Sequence[dict[str, Any]],
    user_id: UUID | None = None,
) -> tuple[UUID, Changeset]:
    """Make a product of the source `manual`, with its variants; each may say its `key`, and so may the product.

    Without keys the first SKU, or else the id, names a product; a SKU, or else the place, names a variant. Returns the
    product's id and the plan, applied. Raises ProductExists, VariantRepeated.
    """
    id_ = new_id()
    first_sku = next((entry["sku"] for entry in variants if entry.get("sku")), None)
    key = said.get("key") or first_sku or str(id_)
    values = {name: value for name, value in said.items() if name != "key"}
    items = [
        ChangesetItem(op="create", product_key=key, product_id=id_, changes=appearing({**values, "source": MANUAL}))
    ]
    keys: set[str] = set()
    for place, entry in enumerate(variants):
        variant_key = entry.get("key") or entry.get("sku") or str(place + 1)
        if variant_key in keys:
            raise VariantRepeated(f"Two variants have the key {variant_key!r}.", param=f"variants.{place}.key")
        keys.add(variant_key)
        own = {name: value for name, value in entry.items() if name != "key"}
        items.append(_variant_made(key, id_, variant_key, {**own, "position": place + 1}))
    changeset = _carry_out(session, merchant_id, items, user_id=user_id)
    if changeset.conflicts:
        raise ProductExists(f"There is a product made by hand with the key {key!r}.", param="key")
    return id_, changeset


# The whole of it, so that it can come back.
_VANISH = text(f"""
INSERT INTO changeset_items
    (merchant_id, changeset_id, n, op, product_key, variant_key, product_id, variant_id, base_version, changes)
SELECT own.merchant_id, :changeset_id, 1, 'delete', own.key, NULL, own.id, NULL, own.version,
    {vanishing_sql(PRODUCT_ROW, "own")}
FROM products own WHERE own.id = :product_id
UNION ALL
SELECT own.merchant_id, :changeset_id, 1 + row_number() OVER (ORDER BY own.position, own.id), 'delete', :key, own.key,
    own.product_id, own.id, own.version, {vanishing_sql(VARIANT_ROW, "own")}
FROM variants own WHERE own.merchant_id = :merchant_id AND own.product_id = :product_id
""")  # noqa: S608  # names of fields
_LOCK_VARIANTS = text("""
SELECT FROM variants WHERE merchant_id = :merchant_id AND product_id = :product_id ORDER BY id FOR UPDATE
""")


def delete_product(
    session: Session, id_: UUID, *, version: int | None = None, user_id: UUID | None = None
) -> Changeset:
    """Delete a product with its variants. Returns the plan, applied: reverting it brings them back as they were.

    Raises ProductNotFound, ProductMoved.
    """
    product = lock_product(session, id_, version=version, delete=True)
    which = {"merchant_id": product.merchant_id, "product_id": product.id}
    session.execute(_LOCK_VARIANTS, which)
    changeset = _plan(session, product.merchant_id, user_id=user_id)
    written: Any = session.execute(_VANISH, {**which, "changeset_id": changeset.id, "key": product.key})
    changeset.items = written.rowcount
    session.expunge(product)
    return _conclude(session, changeset)


def _locked_variants(session: Session, product: Product, places: dict[int, UUID]) -> dict[UUID, Variant]:
    ids = list(places.values())
    for nth, place in enumerate(places):
        if ids[nth] in ids[:nth]:
            raise VariantRepeated(param=f"variants.{place}.id")
    own = select(Variant).where(
        Variant.merchant_id == product.merchant_id, Variant.product_id == product.id, Variant.id.in_(ids)
    )
    locked = own.order_by(Variant.id).with_for_update(key_share=True).execution_options(populate_existing=True)
    return {variant.id: variant for variant in session.scalars(locked)} if ids else {}


def _item_of(product: Product, changes: dict[str, Any], variant: Variant | None = None) -> list[ChangesetItem]:
    if not changes:
        return []
    return [
        ChangesetItem(
            op="update",
            product_key=product.key,
            variant_key=None if variant is None else variant.key,
            product_id=product.id,
            variant_id=None if variant is None else variant.id,
            base_version=(variant or product).version,
            changes=changes,
        )
    ]


def _carry_out(
    session: Session, merchant_id: UUID, items: Sequence[ChangesetItem], *, user_id: UUID | None
) -> Changeset:
    changeset = _plan(session, merchant_id, user_id=user_id)
    for n, item in enumerate(items, start=1):
        item.merchant_id, item.changeset_id, item.n = merchant_id, changeset.id, n
    session.add_all(items)
    changeset.items = len(items)
    return _conclude(session, changeset)


def _plan(session: Session, merchant_id: UUID, *, user_id: UUID | None) -> Changeset:
    changeset = Changeset(id=new_id(), merchant_id=merchant_id, kind="edit", made_by=user_id)
    session.add(changeset)
    session.flush()
    session.refresh(changeset)
    return changeset


def _conclude(session: Session, changeset: Changeset) -> Changeset:
    """Apply it: a person who names one product is not to be asked whether they mean it, nor to wait for guards."""
    session.flush()
    propose(session, changeset, apply=True, measured=False)
    apply_now(session, changeset)
    session.expire_all()
    session.refresh(changeset)
    return changeset
