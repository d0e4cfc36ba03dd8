"""Exports: products written into a file that is kept for a while. See docs/exports.md."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from services.models.base import Base, CreatedAt, Id, MerchantId

_NONE_YET = text("0")


class Export(Base):
    """One file of products. How it goes is its job's state; here is what was asked for and what came of it."""

    __tablename__ = "exports"
    __table_args__ = (
        CheckConstraint("format IN ('csv', 'xlsx', 'json', 'ndjson')", name="format"),
        Index("exports_merchant_id_id_idx", "merchant_id", "id"),
    )

    id: Mapped[Id]
    merchant_id: Mapped[MerchantId]
    job_id: Mapped[UUID]  # no foreign key: the export is remembered longer than its job
    format: Mapped[str]
    columns: Mapped[str | None]  # plain, shopify or woocommerce; None: JSON has none
    filters: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))  # those that were given
    filename: Mapped[str]  # as it is offered for download
    storage_key: Mapped[str | None]  # said before the file is stored, so that a crash leaves none nobody knows of
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    products: Mapped[int] = mapped_column(server_default=_NONE_YET)
    rows: Mapped[int] = mapped_column(server_default=_NONE_YET)  # without a header; in JSON one per product
    left_out: Mapped[int] = mapped_column(server_default=_NONE_YET)  # cells that the format cannot hold
    created_at: Mapped[CreatedAt]
    finished_at: Mapped[datetime | None]
    expires_at: Mapped[datetime]  # when the file is removed
    removed_at: Mapped[datetime | None]
