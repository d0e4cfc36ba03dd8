"""Who everything belongs to: merchants, their members, and the requests they sent with an Idempotency-Key."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Index
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from services.models.base import Base, CreatedAt, Id, MerchantId


class Merchant(Base):
    """A seller. Every tenant row carries its id, and Postgres compares it with the transaction's merchant."""

    __tablename__ = "merchants"

    id: Mapped[Id]
    name: Mapped[str]
    founder_user_id: Mapped[UUID | None] = mapped_column(unique=True)  # whose first visit made it
    created_at: Mapped[CreatedAt]


class Member(Base):
    """A user's place at a merchant."""

    __tablename__ = "members"
    __table_args__ = (
        CheckConstraint("role IN ('owner', 'staff', 'viewer')", name="role"),
        Index("members_user_id_idx", "user_id"),
    )

    merchant_id: Mapped[MerchantId] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    role: Mapped[str]
    created_at: Mapped[CreatedAt]


class IdempotencyKey(Base):
    """The answer a POST got, kept so that the same request sent again gets the same answer."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index("idempotency_keys_expires_at_idx", "expires_at"),)

    merchant_id: Mapped[MerchantId] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    route: Mapped[str]  # "POST /api/v1/jobs"
    fingerprint: Mapped[str]  # SHA-256 of what was asked
    status: Mapped[int | None]  # None while the first request is still inside its transaction
    body: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[datetime]
