"""Products and their variants."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, Field
from starlette.responses import Response

from api.changesets import ChangesetDetailOut, detail
from api.deps import CallerDep, IdempotencyKey, PageDep, SessionDep
from api.edits import IfMatch, PriceUpdateIn, ProductIn, ProductPatch, version_asked
from api.money import Money
from api.product_history import HistoryOut, HistoryQuery, StateOut
from services.catalog import edits, history, prices, queries
from services.catalog.queries import Listed, ProductFilter
from services.core.paging import ListOut
from services.models import Changeset, Product, Variant

router = APIRouter(prefix="/products", tags=["products"])

Status = Literal["active", "draft", "archived"]
Text = Annotated[str, Field(min_length=1, max_length=500)]
Price = Annotated[Decimal, Field(ge=0, lt=10**12, max_digits=18, decimal_places=6)]


class ProductQuery(BaseModel):
    """Which products are asked for."""

    q: Text | None = Field(default=None, description="Words, beginnings of words, or a whole SKU or barcode.")
    sku: Text | None = None
    barcode: Text | None = None
    brand: Text | None = None
    category: Text | None = None
    status: Status | None = None
    source: Text | None = None
    updated_after: AwareDatetime | None = Field(default=None, description="The product or one of its variants.")
    in_stock: bool | None = Field(default=None, description="Whether a variant is known to be there.")
    price_min: Price | None = Field(
        default=None, description="With price_max and in_stock: of one and the same variant."
    )
    price_max: Price | None = None


class ProductOut(BaseModel):
    """A product in a list, its variants added up."""

    id: UUID
    source: str
    key: str = Field(description="How the source's feeds name the product.")
    title: str | None
    brand: str | None
    category: str | None
    tags: list[str]
    status: Status
    image: str | None = Field(description="The main picture.")
    variants: int
    price_min: Money | None
    price_max: Money | None
    currency: str | None = Field(description="ISO 4217; null where no feed has said, or where the variants differ.")
    stock: int | None = Field(description="Of the variants whose stock is known.")
    version: int
    created_at: datetime
    updated_at: datetime


class VariantOut(BaseModel):
    """What is sold."""

    id: UUID
    key: str
    sku: str | None
    barcode: str | None
    options: dict[str, str]
    price: Money | None
    compare_at_price: Money | None
    cost: Money | None
    currency: str | None
    stock: int | None
    weight_grams: int | None
    image_url: str | None
    version: int
    created_at: datetime
    updated_at: datetime


class ProductDetailOut(BaseModel):
    """A product with all its variants."""

    id: UUID
    source: str
    key: str
    title: str | None
    description: str | None
    brand: str | None
    category: str | None
    tags: list[str]
    status: Status
    images: list[str]
    option_names: list[str] = Field(description="The order in which the variants' options are to be shown.")
    variants: list[VariantOut]
    version: int
    created_at: datetime
    updated_at: datetime


class ProductEditedOut(ProductDetailOut):
    """A product as it is now, and the plan that made it so."""

    changeset_id: UUID | None = Field(description="Null: nothing had to be changed.")


class ProductDeletedOut(BaseModel):
    """What is gone, and the plan that can bring it back."""

    id: UUID
    changeset_id: UUID


@router.get("")
def list_products(
    session: SessionDep, caller: CallerDep, page: PageDep, asked: Annotated[ProductQuery, Query()]
) -> ListOut[ProductOut]:
    """The merchant's products, newest first."""
    matching = ProductFilter(**asked.model_dump())
    found = queries.list_products(session, matching, page, merchant_id=caller.merchant_id).map(_listed)
    return ListOut[ProductOut].model_validate(found, from_attributes=True)


@router.post("", status_code=201, response_model=ProductEditedOut)
def create_product(body: ProductIn, session: SessionDep, caller: CallerDep, once: IdempotencyKey) -> Response:
    """Make a product by hand, with its variants. It belongs to the source `manual`, which no feed touches."""

    def make() -> ProductEditedOut:
        said = body.said()
        product_id, changeset = edits.create_product(
            session,
            merchant_id=caller.merchant_id,
            said=said,
            variants=[variant.said() for variant in body.variants],
            user_id=caller.user.id,
        )
        return _edited(session, product_id, changeset)

    return once(session, body, status=201, make=make)


@router.post("/bulk-price-update", status_code=201, response_model=ChangesetDetailOut)
def update_prices(body: PriceUpdateIn, session: SessionDep, caller: CallerDep, once: IdempotencyKey) -> Response:
    """Plan new prices for many variants, to be looked at and applied; with `apply`, apply them if no guard objects.

    For many products a job makes the plan: its state is then `planning`.
    """

    def make() -> ChangesetDetailOut:
        made = prices.update_prices(
            session,
            merchant_id=caller.merchant_id,
            targets=body.targets(),
            change=body.change(),
            apply=body.apply,
            note=body.note,
            user_id=caller.user.id,
        )
        return detail(session, made)

    return once(session, body, status=201, make=make)


@router.get("/{product_id}")
def get_product(product_id: UUID, session: SessionDep) -> ProductDetailOut:
    """One product and its variants."""
    product = queries.get_product(session, product_id)
    return ProductDetailOut(**_detail(product, queries.variants_of(session, product)))


@router.patch("/{product_id}")
def update_product(
    product_id: UUID, body: ProductPatch, session: SessionDep, caller: CallerDep, if_match: IfMatch = None
) -> ProductEditedOut:
    """Set fields of a product and of its variants; what is left out stays. It is a plan of its own: see `changeset_id`.

    A variant without an `id` is a new one, one with `remove` goes.

    409 when a `version` (or If-Match) is given and somebody has changed that row since.
    """
    changeset = edits.edit_product(
        session,
        product_id,
        said=body.said(),
        variants=[variant.said() for variant in body.variants],
        version=version_asked(body.version, if_match),
        user_id=caller.user.id,
    )
    return _edited(session, product_id, changeset)


@router.delete("/{product_id}")
def delete_product(
    product_id: UUID, session: SessionDep, caller: CallerDep, if_match: IfMatch = None
) -> ProductDeletedOut:
    """Delete a product with its variants. Reverting `changeset_id` brings them back as they were."""
    changeset = edits.delete_product(session, product_id, version=version_asked(None, if_match), user_id=caller.user.id)
    return ProductDeletedOut(id=product_id, changeset_id=changeset.id)


@router.get("/{product_id}/history")
def get_history(
    product_id: UUID,
    session: SessionDep,
    caller: CallerDep,
    asked: Annotated[HistoryQuery, Query()],
) -> HistoryOut | StateOut:
    """What changed of a product and its variants, newest first, by which plan, source, line or person; deleted or not.

    With `at`: what each field was at that moment, since when, and by whom.
    """
    whose = caller.merchant_id
    if asked.at is not None:
        return StateOut.of(product_id, history.state_at(session, product_id, merchant_id=whose, at=asked.at))
    found = history.list_changes(session, product_id, merchant_id=whose, limit=asked.limit, after=asked.after)
    return HistoryOut.of(found)


def _listed(row: Listed) -> ProductOut:
    product = row.product
    return ProductOut(
        id=product.id,
        source=product.source,
        key=product.key,
        title=product.title,
        brand=product.brand,
        category=product.category,
        tags=product.tags,
        status=product.status,
        image=product.images[0] if product.images else None,
        variants=row.variants,
        price_min=row.price_min,
        price_max=row.price_max,
        currency=row.currency,
        stock=row.stock,
        version=product.version,
        created_at=product.created_at,
        updated_at=product.updated_at,
    )


def _detail(product: Product, variants: list[Variant]) -> dict[str, Any]:
    own = {name: getattr(product, name) for name in ProductDetailOut.model_fields if name != "variants"}
    return {**own, "variants": [VariantOut.model_validate(variant, from_attributes=True) for variant in variants]}


def _edited(session: SessionDep, product_id: UUID, changeset: Changeset | None) -> ProductEditedOut:
    product = queries.get_product(session, product_id)
    shown = _detail(product, queries.variants_of(session, product))
    return ProductEditedOut(**shown, changeset_id=None if changeset is None else changeset.id)
