"""The catalogue: products, and the variants that are sold. See docs/imports.md for how feeds become rows."""

from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Computed, Index, Numeric, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY, TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from services.models.base import Base, CreatedAt, Id

# Twelve digits and six decimals: whatever a feed reader lets through is kept as it is, never rounded.
Money = Numeric(18, 6)
Key = Text(collation="C")  # compared byte by byte: keys are not words, and it is several times faster


class Product(Base):
    """What a merchant offers, as one source describes it. `(source, key)` is how that source's feeds name it."""

    __tablename__ = "products"
    __table_args__ = (
        CheckConstraint("status IN ('active', 'draft', 'archived')", name="status"),
        UniqueConstraint("merchant_id", "source", "key"),
        # The condition holds for every row; the migration says what it is for.
        Index("products_list_idx", "merchant_id", "id", postgresql_where=text("version > 0")),
        Index("products_search_idx", "search", postgresql_using="gin"),
    )

    id: Mapped[Id]
    merchant_id: Mapped[UUID]  # deleted with the merchant by a trigger: a foreign key's check per row is not free
    source: Mapped[str]
    key: Mapped[str] = mapped_column(Key)
    title: Mapped[str | None]  # None until a feed says it: a stock list may name products nobody has described
    description: Mapped[str | None]
    brand: Mapped[str | None]
    category: Mapped[str | None]
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    status: Mapped[str] = mapped_column(server_default="active")
    images: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))  # the first is the main one
    option_names: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    version: Mapped[int] = mapped_column(server_default="1")
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]
    search: Mapped[str] = mapped_column(
        TSVECTOR, Computed("product_search(merchant_id, title, brand, category, tags)", persisted=True), deferred=True
    )


class Variant(Base):
    """What is sold: a product in one choice of its options. `key` tells it from the product's other variants."""

    __tablename__ = "variants"
    __table_args__ = (
        UniqueConstraint("merchant_id", "product_id", "key"),
        Index("variants_merchant_id_sku_idx", "merchant_id", "sku", postgresql_where=text("sku IS NOT NULL")),
        Index(
            "variants_merchant_id_barcode_idx", "merchant_id", "barcode", postgresql_where=text("barcode IS NOT NULL")
        ),
    )

    id: Mapped[Id]
    merchant_id: Mapped[UUID]
    product_id: Mapped[UUID]  # deleted with the product by a trigger
    key: Mapped[str] = mapped_column(Key)
    sku: Mapped[str | None]
    barcode: Mapped[str | None]
    options: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))  # name → value
    price: Mapped[Decimal | None] = mapped_column(Money)
    compare_at_price: Mapped[Decimal | None] = mapped_column(Money)
    cost: Mapped[Decimal | None] = mapped_column(Money)
    currency: Mapped[str | None]  # ISO 4217; None: neither the feed nor the merchant has said
    stock: Mapped[int | None]  # None: not known, or not counted
    weight_grams: Mapped[int | None]
    image_url: Mapped[str | None]
    position: Mapped[int]  # order within the product when the variant was first seen
    version: Mapped[int] = mapped_column(server_default="1")
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]
