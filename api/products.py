"""Products and their variants."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, Field, PlainSerializer

from api.deps import CallerDep, PageDep, SessionDep
from services.catalog import queries
from services.catalog.queries import Listed, ProductFilter
from services.core.paging import ListOut
from services.models import Product, Variant

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


def _money(amount: Decimal) -> str:
    """Two decimals, more only where they say something."""
    whole, _, part = f"{amount:f}".partition(".")
    return f"{whole}.{part.rstrip('0'):0<2}"


Money = Annotated[Decimal, PlainSerializer(_money, return_type=str), Field(examples=["12.50"])]


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


@router.get("")
def list_products(
    session: SessionDep, caller: CallerDep, page: PageDep, asked: Annotated[ProductQuery, Query()]
) -> ListOut[ProductOut]:
    """The merchant's products, newest first."""
    matching = ProductFilter(**asked.model_dump())
    found = queries.list_products(session, matching, page, merchant_id=caller.merchant_id).map(_listed)
    return ListOut[ProductOut].model_validate(found, from_attributes=True)


@router.get("/{product_id}")
def get_product(product_id: UUID, session: SessionDep) -> ProductDetailOut:
    """One product and its variants."""
    product = queries.get_product(session, product_id)
    return _detail(product, queries.variants_of(session, product))


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


def _detail(product: Product, variants: list[Variant]) -> ProductDetailOut:
    own = {name: getattr(product, name) for name in ProductDetailOut.model_fields if name != "variants"}
    shown = [VariantOut.model_validate(variant, from_attributes=True) for variant in variants]
    return ProductDetailOut(**own, variants=shown)
