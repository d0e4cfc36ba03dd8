"""Sourcing: accounts at suppliers, what they offer, which offer fills which variant, and how syncs went.

See docs/suppliers.md.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    PrimaryKeyConstraint,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from services.models.base import Base, CreatedAt, Id, MerchantId
from services.models.catalog import Key, Money

_NONE_YET = text("0")


class Connection(Base):
    """A merchant's account at a supplier. Its name is that of the catalogue source its products belong to."""

    __tablename__ = "connections"
    __table_args__ = (
        CheckConstraint("state IN ('active', 'reconnect_needed', 'disconnected')", name="state"),
        CheckConstraint("(secrets IS NULL) = (state = 'disconnected')", name="secrets"),
        UniqueConstraint("merchant_id", "name"),
        Index("connections_merchant_id_id_idx", "merchant_id", "id"),
        Index(
            "connections_account_key",
            "merchant_id",
            "supplier",
            "sandbox",
            "account_key",
            unique=True,
            postgresql_where=text("state <> 'disconnected'"),
        ),
    )

    id: Mapped[Id]
    merchant_id: Mapped[MerchantId]
    supplier: Mapped[str]  # a name of services.suppliers.registry
    name: Mapped[str]
    state: Mapped[str] = mapped_column(server_default="active")
    sandbox: Mapped[bool] = mapped_column(server_default=text("false"))  # the operator's sandbox answers
    secrets: Mapped[str | None] = mapped_column(deferred=True)  # encrypted JSON; None once disconnected
    secrets_version: Mapped[int] = mapped_column(server_default="1")  # grows whenever they are replaced
    hints: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))  # the secrets as they may be shown
    account: Mapped[str | None]  # as the supplier calls it, where it says
    account_key: Mapped[str]  # tells this account of the supplier from others; not for reading
    language: Mapped[str] = mapped_column(server_default="en")
    country: Mapped[str] = mapped_column(server_default="ES")
    currency: Mapped[str] = mapped_column(server_default="EUR")
    rules: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))  # those that are not the defaults
    problem: Mapped[str | None]  # why it is to be connected again, in words
    token_expires_at: Mapped[datetime | None]
    refresh_expires_at: Mapped[datetime | None]
    renewing_until: Mapped[datetime | None]  # somebody renews the tokens, and has until then to say how it went
    checked_at: Mapped[datetime | None]  # when the supplier last took these secrets in a test
    failures: Mapped[int] = mapped_column(server_default=_NONE_YET)  # in a row
    opened_at: Mapped[datetime | None]  # since when it is left alone
    retry_at: Mapped[datetime | None]  # until when it is; None: it may be called
    probe_job_id: Mapped[UUID | None]  # the one job that may try then
    offers_at: Mapped[datetime | None]  # when the last complete full run began: offers are as fresh as that
    stock_at: Mapped[datetime | None]  # when the last complete run over all stock began
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]


class OAuthState(Base):
    """A consent that was asked for and has not come back yet. Used once."""

    __tablename__ = "oauth_states"
    __table_args__ = (Index("oauth_states_merchant_id_expires_at_idx", "merchant_id", "expires_at"),)

    digest: Mapped[str] = mapped_column(primary_key=True)  # SHA-256 of the state: who reads the table cannot use it
    merchant_id: Mapped[MerchantId]
    supplier: Mapped[str]
    connection_id: Mapped[UUID | None]  # the one to be connected again; None: a new one
    settings: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))  # of the new one
    created_by: Mapped[UUID | None]  # the user
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class Quota(Base):
    """What is left of an endpoint's quota. Of nobody: whoever has the secrets that `credential` digests shares it."""

    __tablename__ = "quotas"
    __table_args__ = (
        PrimaryKeyConstraint("credential", "endpoint"),
        Index("quotas_touched_at_idx", "touched_at"),
    )

    credential: Mapped[str]  # services.sourcing.quotas.meter.credential_of
    endpoint: Mapped[str]
    state: Mapped[dict[str, Any]]  # services.sourcing.quotas.windows.Window
    touched_at: Mapped[CreatedAt]


class Offer(Base):
    """A product as a supplier offers it: the fields of `services.suppliers.base.Offer`, and when it was seen."""

    __tablename__ = "offers"
    __table_args__ = (PrimaryKeyConstraint("merchant_id", "connection_id", "id"),)

    merchant_id: Mapped[UUID]
    connection_id: Mapped[UUID]  # deleted with the connection by a trigger
    id: Mapped[str] = mapped_column(Key)  # the supplier's
    title: Mapped[str | None]
    description: Mapped[str | None]
    brand: Mapped[str | None]
    category: Mapped[str | None]
    images: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    url: Mapped[str | None]
    order_id: Mapped[str | None]
    active: Mapped[bool] = mapped_column(server_default=text("true"))
    print: Mapped[int] = mapped_column(BigInteger)  # hash of what it says
    seen_at: Mapped[CreatedAt]  # when it was last written; `Connection.offers_at` confirms it
    gone_at: Mapped[datetime | None]  # None: it is offered


class OfferVariant(Base):
    """What can be ordered: the fields of `services.suppliers.base.OfferVariant`, and how old they are."""

    __tablename__ = "offer_variants"
    __table_args__ = (
        PrimaryKeyConstraint("merchant_id", "connection_id", "id"),
        Index("offer_variants_merchant_id_offer_id_idx", "merchant_id", "offer_id"),
        Index("offer_variants_merchant_id_sku_idx", "merchant_id", "sku", postgresql_where=text("sku IS NOT NULL")),
        Index(
            "offer_variants_merchant_id_barcode_idx",
            "merchant_id",
            "barcode",
            postgresql_where=text("barcode IS NOT NULL"),
        ),
    )

    merchant_id: Mapped[UUID]
    connection_id: Mapped[UUID]
    id: Mapped[str] = mapped_column(Key)  # the supplier's
    offer_id: Mapped[str] = mapped_column(Key)
    position: Mapped[int] = mapped_column(server_default="1")  # in the supplier's order
    order_ref: Mapped[str]
    sku: Mapped[str | None]
    barcode: Mapped[str | None]
    options: Mapped[list[Any]] = mapped_column(JSONB, server_default=text("'[]'"))  # pairs of name and value
    cost: Mapped[Decimal | None] = mapped_column(Money)
    list_price: Mapped[Decimal | None] = mapped_column(Money)
    recommended_price: Mapped[Decimal | None] = mapped_column(Money)
    currency: Mapped[str | None]  # of all three
    stock: Mapped[int | None]
    tiers: Mapped[list[Any]] = mapped_column(JSONB, server_default=text("'[]'"))  # StockTier as objects
    weight_grams: Mapped[int | None]
    image_url: Mapped[str | None]
    # When the supplier said so. What it says again is not written again: `Connection.stock_at`, `offers_at` confirm it.
    stock_at: Mapped[datetime | None]
    price_at: Mapped[datetime | None]
    gone_at: Mapped[datetime | None]


class OfferLink(Base):
    """Which variant of the catalogue an offered variant fills. A variant may have several suppliers."""

    __tablename__ = "offer_links"
    __table_args__ = (
        PrimaryKeyConstraint("merchant_id", "connection_id", "offer_variant_id"),
        CheckConstraint("how IN ('made', 'sku', 'barcode', 'hand')", name="how"),
        CheckConstraint("variant_id IS NOT NULL OR how = 'hand'", name="variant"),
        Index("offer_links_merchant_id_variant_id_idx", "merchant_id", "variant_id"),
    )

    merchant_id: Mapped[UUID]
    connection_id: Mapped[UUID]
    offer_variant_id: Mapped[str] = mapped_column(Key)
    variant_id: Mapped[UUID | None]  # deleted with the variant by a trigger; None: somebody said that it is none
    how: Mapped[str]  # made: the sync made the variant of this offer
    created_at: Mapped[CreatedAt]


class SyncSeen(Base):
    """What the full run of a connection that is under way has come across: what is not among it is gone at the end."""

    __tablename__ = "sync_seen"
    __table_args__ = (PrimaryKeyConstraint("merchant_id", "connection_id", "id"), {"prefixes": ["UNLOGGED"]})

    merchant_id: Mapped[UUID]
    connection_id: Mapped[UUID]
    id: Mapped[str] = mapped_column(Key)  # of the offer


class SyncRun(Base):
    """One run over a supplier's offers. How it goes is its job's state; here is how far it came and what came of it."""

    __tablename__ = "sync_runs"
    __table_args__ = (
        CheckConstraint("kind IN ('products', 'stock')", name="kind"),
        CheckConstraint("mode IN ('full', 'delta')", name="mode"),
        CheckConstraint("state IN ('running', 'succeeded', 'failed', 'cancelled')", name="state"),
        CheckConstraint("(finished_at IS NULL) = (state = 'running')", name="finished"),
        UniqueConstraint("merchant_id", "job_id"),
        Index("sync_runs_merchant_id_id_idx", "merchant_id", "id"),
        Index("sync_runs_connection_idx", "merchant_id", "connection_id", "id"),
    )

    id: Mapped[Id]
    merchant_id: Mapped[MerchantId]
    connection_id: Mapped[UUID] = mapped_column(ForeignKey("connections.id", ondelete="CASCADE"))
    job_id: Mapped[UUID]  # no foreign key: the run is remembered longer than its job
    kind: Mapped[str]
    mode: Mapped[str]
    state: Mapped[str] = mapped_column(server_default="running")
    cursor: Mapped[str | None]  # pages up to here are stored
    pages: Mapped[int] = mapped_column(server_default=_NONE_YET)
    items: Mapped[int] = mapped_column(server_default=_NONE_YET)
    problems: Mapped[int] = mapped_column(server_default=_NONE_YET)  # items the supplier could not give
    counts: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    import_id: Mapped[UUID | None]
    changeset_id: Mapped[UUID | None]
    error_code: Mapped[str | None]
    error: Mapped[str | None]
    started_at: Mapped[CreatedAt]
    walked_at: Mapped[datetime | None]  # when the last page was stored
    finished_at: Mapped[datetime | None]
