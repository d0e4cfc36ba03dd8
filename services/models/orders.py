"""Orders of shops, and what is sent to suppliers for them. See docs/orders.md for the life of an order.

What happens at suppliers hangs on intents: one per supplier order we mean to have, written before anybody is called.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Numeric, Text, UniqueConstraint, Uuid, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from services.models.base import Base, CreatedAt, Id, MerchantId
from services.models.catalog import Money

NO_LIST = text("'[]'")
NO_ARRAY = text("'{}'")
NOTHING = text("'{}'")
NONE_YET = text("0")
Share = Numeric(6, 4)  # 0.05: five per cent


class Order(Base):
    """What a shop has sold, as its channel says it. `(channel, external_id)` is how the channel names it.

    `customer` has `name`, `email`, `phone` and `reference`; `address` the fields of services/suppliers/base.py
    `Address` as far as the channel said them; both without the keys that nobody said.
    """

    __tablename__ = "orders"
    __table_args__ = (
        CheckConstraint("kind IN ('order', 'cancellation')", name="kind"),
        CheckConstraint(
            "state IN ('received', 'attention', 'ready', 'fulfilling', 'partly_placed', 'placed', 'shipped',"
            " 'delivered', 'cancelled')",
            name="state",
        ),
        CheckConstraint("(state = 'cancelled') = (cancelled_at IS NOT NULL)", name="cancelled_at"),
        UniqueConstraint("merchant_id", "channel", "external_id"),
        Index("orders_merchant_id_id_idx", "merchant_id", "id"),
        Index("orders_merchant_id_state_id_idx", "merchant_id", "state", "id"),
        Index("orders_merchant_id_channel_id_idx", "merchant_id", "channel", "id"),
    )

    id: Mapped[Id]
    merchant_id: Mapped[MerchantId]
    channel: Mapped[str]
    external_id: Mapped[str]
    number: Mapped[str | None]  # as people call it: "#1001"
    kind: Mapped[str] = mapped_column(server_default="order")  # a cancellation takes back lines of an order
    state: Mapped[str] = mapped_column(server_default="received")
    currency: Mapped[str | None]  # of all its prices; None: the channel did not say
    customer: Mapped[dict[str, Any]] = mapped_column(server_default=NOTHING)
    address: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    shipping_paid: Mapped[Decimal | None] = mapped_column(Money)  # by the buyer
    placed_at: Mapped[datetime | None]  # by the buyer
    note: Mapped[str | None]
    said: Mapped[int] = mapped_column(BigInteger, server_default=NONE_YET)  # hash of what the channel said
    version: Mapped[int] = mapped_column(server_default="1")
    job_id: Mapped[UUID | None]  # of the last fulfilment
    cancelled_at: Mapped[datetime | None]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]


class OrderLine(Base):
    """Pieces of one thing that was sold. Those neither cancelled nor in an intent that is alive are still to be had.

    The quantity is negative in a cancellation only. The database keeps intents from having more than there are.
    """

    __tablename__ = "order_lines"
    __table_args__ = (
        CheckConstraint("quantity <> 0", name="quantity"),
        CheckConstraint("mapped_by IN ('sku', 'barcode', 'hand')", name="mapped_by"),
        CheckConstraint("(variant_id IS NULL) = (mapped_by IS NULL)", name="mapped"),
        CheckConstraint(
            "cancelled_quantity >= 0 AND returned_quantity >= 0"
            " AND cancelled_quantity + returned_quantity <= abs(quantity)",
            name="counts",
        ),
        UniqueConstraint("merchant_id", "order_id", "n"),
        Index("order_lines_order_id_idx", "order_id"),
        Index("order_lines_unmapped_idx", "merchant_id", "sku", postgresql_where=text("variant_id IS NULL")),
    )

    id: Mapped[Id]
    merchant_id: Mapped[UUID]
    order_id: Mapped[UUID] = mapped_column(ForeignKey("orders.id", ondelete="CASCADE"))
    n: Mapped[int]  # from 1, as the channel lists them; a line that is gone leaves its number unused
    external_id: Mapped[str | None]
    sku: Mapped[str | None]
    barcode: Mapped[str | None]
    title: Mapped[str | None]
    quantity: Mapped[int]
    price: Mapped[Decimal | None] = mapped_column(Money)  # of one piece, in the order's currency
    variant_id: Mapped[UUID | None]  # None: nobody knows which variant it is
    mapped_by: Mapped[str | None]
    cancelled_quantity: Mapped[int] = mapped_column(server_default=NONE_YET)
    returned_quantity: Mapped[int] = mapped_column(server_default=NONE_YET)


class LineMapping(Base):
    """What lines of a SKU, or of a barcode, are, as the merchant has said. A variant that is gone is none."""

    __tablename__ = "line_mappings"
    __table_args__ = (
        CheckConstraint("num_nonnulls(sku, barcode) = 1", name="one"),
        Index("line_mappings_sku_idx", "merchant_id", "sku", unique=True, postgresql_where=text("sku IS NOT NULL")),
        Index(
            "line_mappings_barcode_idx",
            "merchant_id",
            "barcode",
            unique=True,
            postgresql_where=text("barcode IS NOT NULL"),
        ),
        Index("line_mappings_merchant_id_id_idx", "merchant_id", "id"),
    )

    id: Mapped[Id]
    merchant_id: Mapped[MerchantId]
    sku: Mapped[str | None]
    barcode: Mapped[str | None]
    variant_id: Mapped[UUID]
    created_at: Mapped[CreatedAt]


class OrderEvent(Base):
    """One step of an order's story."""

    __tablename__ = "order_events"
    __table_args__ = (Index("order_events_order_id_id_idx", "order_id", "id"),)

    id: Mapped[Id]
    merchant_id: Mapped[UUID]
    order_id: Mapped[UUID] = mapped_column(ForeignKey("orders.id", ondelete="CASCADE"))
    intent_id: Mapped[UUID | None]
    kind: Mapped[str]
    data: Mapped[dict[str, Any]] = mapped_column(server_default=NOTHING)
    at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))


class OrderPolicy(Base):
    """How a merchant wants orders to be routed, sent and watched. A merchant without a row has the defaults."""

    __tablename__ = "order_policies"
    __table_args__ = (
        CheckConstraint("route IN ('cheapest', 'fastest', 'preferred')", name="route"),
        CheckConstraint("one_parcel IN ('preferred', 'required', 'no')", name="one_parcel"),
        CheckConstraint(
            "cost_ceiling > 0 AND shipping_ceiling >= 0 AND min_margin < 1 AND cost_tolerance >= 0", name="amounts"
        ),
        CheckConstraint(
            "ceiling_currency IS NOT NULL OR (cost_ceiling IS NULL AND shipping_ceiling IS NULL)",
            name="ceiling_currency",
        ),
        CheckConstraint(
            "cancel_window_seconds BETWEEN 0 AND 604800 AND no_tracking_days > 0 AND no_movement_hours > 0"
            " AND unknown_hours > 0 AND return_window_days >= 0",
            name="periods",
        ),
    )

    merchant_id: Mapped[MerchantId] = mapped_column(primary_key=True)
    route: Mapped[str] = mapped_column(server_default="cheapest")
    preferred: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid), server_default=NO_ARRAY)  # connections, best first
    fallback: Mapped[bool] = mapped_column(server_default=text("true"))  # others than the preferred may be used
    one_parcel: Mapped[str] = mapped_column(server_default="preferred")
    split: Mapped[bool] = mapped_column(server_default=text("true"))  # an order may go to several suppliers
    cost_ceiling: Mapped[Decimal | None] = mapped_column(Money)  # of an order, with shipping
    shipping_ceiling: Mapped[Decimal | None] = mapped_column(Money)  # of an order
    ceiling_currency: Mapped[str | None]
    min_margin: Mapped[Decimal | None] = mapped_column(Share)  # of what the buyer paid; None: not looked at
    cost_tolerance: Mapped[Decimal] = mapped_column(Share, server_default="0.05")  # above what was expected
    cancel_window_seconds: Mapped[int] = mapped_column(server_default=NONE_YET)  # before an intent is sent
    partial: Mapped[bool] = mapped_column(server_default=text("false"))  # lines that are mapped go on without the rest
    no_tracking_days: Mapped[int] = mapped_column(server_default="7")
    no_movement_hours: Mapped[int] = mapped_column(server_default="48")
    unknown_hours: Mapped[int] = mapped_column(server_default="2")
    return_window_days: Mapped[int] = mapped_column(server_default="30")
    updated_at: Mapped[CreatedAt]


class Intent(Base):
    """One supplier order we mean to have: what, where, for how much at most, under which reference of ours.

    It is committed before anybody is called. The legal moves, that there is one sender at a time, and that what was
    planned is what is sent, are kept by the database (migration 0007).
    """

    __tablename__ = "intents"
    __table_args__ = (
        CheckConstraint("state IN ('planned', 'sending', 'placed', 'refused', 'unknown', 'cancelled')", name="state"),
        CheckConstraint(
            "(state = 'sending') = (sender IS NOT NULL) AND (state <> 'sending' OR sending_since IS NOT NULL)",
            name="sender",
        ),
        CheckConstraint("(state = 'unknown') = (unknown_since IS NOT NULL)", name="unknown"),
        CheckConstraint(
            "currency IS NOT NULL OR (ceiling IS NULL AND expected IS NULL AND charged IS NULL)", name="money"
        ),
        Index("intents_order_id_idx", "order_id"),
        Index(
            "intents_merchant_id_state_idx",
            "merchant_id",
            "state",
            "id",
            postgresql_where=text("state IN ('planned', 'sending', 'unknown')"),
        ),
        Index("intents_merchant_id_connection_id_idx", "merchant_id", "connection_id", "id"),
    )

    id: Mapped[Id]
    merchant_id: Mapped[UUID]
    order_id: Mapped[UUID] = mapped_column(ForeignKey("orders.id", ondelete="CASCADE"))
    connection_id: Mapped[UUID]  # no foreign key: what was bought is remembered longer than where
    reference: Mapped[str] = mapped_column(unique=True)  # ours, at the supplier
    state: Mapped[str] = mapped_column(server_default="planned")
    address: Mapped[dict[str, Any]]  # as sent
    repairs: Mapped[list[Any]] = mapped_column(JSONB, server_default=NO_LIST)  # field, from, to, why
    shipping: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=NO_ARRAY)  # services, best first
    ceiling: Mapped[Decimal | None] = mapped_column(Money)
    expected: Mapped[Decimal | None] = mapped_column(Money)
    charged: Mapped[Decimal | None] = mapped_column(Money)
    currency: Mapped[str | None]
    send_after: Mapped[datetime] = mapped_column(server_default=text("now()"))  # until then it may be cancelled
    job_id: Mapped[UUID | None]  # the latest job that works on it
    sender: Mapped[str | None]  # the claim of whoever is sending
    sending_since: Mapped[datetime | None]  # when it was last claimed; kept
    unknown_since: Mapped[datetime | None]
    doubt_since: Mapped[datetime | None]  # when the first call began whose answer was lost; kept
    looked_up_at: Mapped[datetime | None]  # when a look-up last found nothing; None after each call in doubt
    attempts: Mapped[int] = mapped_column(server_default=NONE_YET)
    code: Mapped[str | None]  # of the last refusal, or of why the outcome is unknown
    reason: Mapped[str | None]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]


class IntentLine(Base):
    """What of an order's line an intent is for, and as what the supplier sells it."""

    __tablename__ = "intent_lines"
    __table_args__ = (
        CheckConstraint("quantity > 0", name="quantity"),
        Index("intent_lines_order_line_id_idx", "order_line_id"),
        Index("intent_lines_offer_idx", "merchant_id", "offer_variant_id", "intent_id"),
    )

    merchant_id: Mapped[UUID]
    intent_id: Mapped[UUID] = mapped_column(ForeignKey("intents.id", ondelete="CASCADE"), primary_key=True)
    order_line_id: Mapped[UUID] = mapped_column(ForeignKey("order_lines.id", ondelete="CASCADE"), primary_key=True)
    offer_variant_id: Mapped[str]  # with the intent's connection: the offer
    order_ref: Mapped[str]
    product_id: Mapped[str] = mapped_column(server_default="")
    quantity: Mapped[int]
    expected_cost: Mapped[Decimal | None] = mapped_column(Money)  # of one piece, in the intent's currency
    supplier_order_id: Mapped[str | None]  # the order it became part of, where the supplier says so
    refused_code: Mapped[str | None]  # the supplier took the order without this line: it is to be had elsewhere


class SupplierOrder(Base):
    """An order as the supplier has it. One intent may become several."""

    __tablename__ = "supplier_orders"
    __table_args__ = (
        CheckConstraint(
            "state IN ('unpaid', 'processing', 'shipped', 'delivered', 'cancelled', 'unknown')", name="state"
        ),
        Index("supplier_orders_intent_id_idx", "intent_id"),
        Index(
            "supplier_orders_check_at_idx",
            "merchant_id",
            "connection_id",
            "check_at",
            postgresql_where=text("check_at IS NOT NULL"),
        ),
    )

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    connection_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)  # the supplier's
    intent_id: Mapped[UUID] = mapped_column(ForeignKey("intents.id", ondelete="CASCADE"))
    state: Mapped[str] = mapped_column(server_default="unknown")  # services/suppliers/base.py OrderState
    raw: Mapped[str | None]  # the supplier's word
    total: Mapped[Decimal | None] = mapped_column(Money)
    currency: Mapped[str | None]
    paid: Mapped[bool | None]
    warehouse: Mapped[str | None]
    refs: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=NO_ARRAY)
    created_at: Mapped[CreatedAt]
    state_at: Mapped[CreatedAt]  # since when it has been in this state, as far as we saw
    checked_at: Mapped[datetime | None]
    check_at: Mapped[datetime | None]  # when it is to be asked after next; None: it is over


class Parcel(Base):
    """A parcel on its way, under the number its carrier gave it."""

    __tablename__ = "parcels"
    __table_args__ = (
        UniqueConstraint(
            "merchant_id", "connection_id", "supplier_order_id", "number", name="parcels_of_supplier_order_key"
        ),
        Index("parcels_intent_id_idx", "intent_id"),
    )

    id: Mapped[Id]
    merchant_id: Mapped[UUID]
    connection_id: Mapped[UUID]
    supplier_order_id: Mapped[str]
    intent_id: Mapped[UUID] = mapped_column(ForeignKey("intents.id", ondelete="CASCADE"))
    number: Mapped[str]
    carrier: Mapped[str | None]
    status: Mapped[str | None]  # the newest event, in words
    at: Mapped[datetime | None]  # of that event
    at_text: Mapped[str | None]  # as the supplier wrote it, where its time zone is not known
    url: Mapped[str | None]
    first_seen: Mapped[CreatedAt]
    last_change: Mapped[CreatedAt]


class Return(Base):
    """What a buyer sends back of an order."""

    __tablename__ = "returns"
    __table_args__ = (
        CheckConstraint("state IN ('requested', 'approved', 'received', 'refunded', 'rejected')", name="state"),
        Index("returns_order_id_idx", "order_id"),
        Index("returns_merchant_id_id_idx", "merchant_id", "id"),
    )

    id: Mapped[Id]
    merchant_id: Mapped[UUID]
    order_id: Mapped[UUID] = mapped_column(ForeignKey("orders.id", ondelete="CASCADE"))
    state: Mapped[str] = mapped_column(server_default="requested")
    refund: Mapped[Decimal | None] = mapped_column(Money)
    currency: Mapped[str | None]
    note: Mapped[str | None]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]


class ReturnLine(Base):
    """How many pieces of a line are sent back, and why."""

    __tablename__ = "return_lines"
    __table_args__ = (
        CheckConstraint("quantity > 0", name="quantity"),
        Index("return_lines_order_line_id_idx", "order_line_id"),
    )

    merchant_id: Mapped[UUID]
    return_id: Mapped[UUID] = mapped_column(ForeignKey("returns.id", ondelete="CASCADE"), primary_key=True)
    order_line_id: Mapped[UUID] = mapped_column(ForeignKey("order_lines.id", ondelete="CASCADE"), primary_key=True)
    quantity: Mapped[int]
    reason: Mapped[str]


class AttentionItem(Base):
    """Something that waits for a person: why, about what, and what they can do. See services/orders/attention.py."""

    __tablename__ = "attention_items"
    __table_args__ = (
        Index(
            "attention_items_open_idx",
            "merchant_id",
            "order_id",
            "cause",
            "subject",
            unique=True,
            postgresql_nulls_not_distinct=True,
            postgresql_where=text("closed_at IS NULL"),
        ),
        Index("attention_items_merchant_id_id_idx", "merchant_id", "id", postgresql_where=text("closed_at IS NULL")),
        Index("attention_items_order_id_idx", "order_id"),
    )

    id: Mapped[Id]
    merchant_id: Mapped[MerchantId]
    order_id: Mapped[UUID | None] = mapped_column(ForeignKey("orders.id", ondelete="CASCADE"))
    intent_id: Mapped[UUID | None]
    cause: Mapped[str]
    subject: Mapped[str] = mapped_column(server_default="")  # which line, field or parcel; one item is open for each
    detail: Mapped[dict[str, Any]] = mapped_column(server_default=NOTHING)
    action: Mapped[str]  # what somebody can do about it
    opened_at: Mapped[CreatedAt]
    closed_at: Mapped[datetime | None]
