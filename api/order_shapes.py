"""Orders as they come in and go out."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from api.money import Money
from services.core.errors import Invalid
from services.formats.numbers import currency_code
from services.models import AttentionItem, Intent, Order, OrderLine
from services.orders.addresses.check import split_name
from services.orders.addresses.places import countries
from services.orders.incoming.queries import Listed, Returned, Sent, Story
from services.orders.incoming.receive import Receipt
from services.orders.incoming.said import CUSTOMER_FIELDS, SaidLine, SaidOrder

MOST_ORDERS = 200  # in one request
MOST_LINES = 500

Channel = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=r"^[^\x00-\x1f]+$"),
    Field(description="The shop it was sold in.", examples=["shopify"]),
]
Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=500, pattern=r"^[^\x00]*$")]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[^\x00]+$")]
Long = Annotated[str, StringConstraints(max_length=5000, pattern=r"^[^\x00]*$")]
Amount = Annotated[Decimal, Field(ge=0, lt=10**12, max_digits=18, decimal_places=6)]
State = Literal[
    "received", "attention", "ready", "fulfilling", "partly_placed", "placed", "shipped", "delivered", "cancelled"
]


class CountryUnknown(Invalid):
    """This is not an ISO 3166-1 country code."""


class CurrencyUnknown(Invalid):
    """This is not an ISO 4217 currency code."""


class CurrencyMismatch(Invalid):
    """An order has one currency, and so have its lines."""


# -- In ----------------------------------------------------------------------------------------------------------------


class LineIn(BaseModel):
    """Pieces of one thing. A SKU or a barcode says of which; without either somebody has to say it by hand."""

    model_config = ConfigDict(extra="forbid")

    id: Name | None = Field(default=None, description="The channel's own id of the line.")
    sku: Text | None = None
    barcode: Text | None = None
    title: Text | None = None
    quantity: int = Field(strict=True, gt=0, le=1_000_000)
    cancelled_quantity: int = Field(default=0, ge=0, description="Of the quantity: no longer wanted.")
    price: Amount | None = Field(default=None, description="Of one piece.", examples=["12.50"])
    currency: str | None = Field(default=None, max_length=10, description="The order's, if it is said at all.")

    @model_validator(mode="after")
    def _not_more_than_there_are(self) -> Self:
        if self.cancelled_quantity > self.quantity:
            raise ValueError("cancelled_quantity is more than quantity")
        return self


class AddressIn(BaseModel):
    """Where it goes. A name in one piece is taken apart."""

    model_config = ConfigDict(extra="forbid")

    name: Text | None = None
    first_name: Text | None = None
    last_name: Text | None = None
    company: Text | None = None
    line: Name = Field(description="Street and number.")
    line2: Text | None = None
    town: Name
    postcode: Text | None = None
    province: Text | None = None
    country: str = Field(max_length=10, description="ISO 3166-1 alpha-2.", examples=["ES"])
    phone: Text | None = None
    email: Text | None = None
    vat_number: Text | None = None
    comment: Text | None = None

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if not (self.name or self.first_name or self.last_name or self.company):
            raise ValueError("a name or a company is needed")
        return self

    def said(self) -> dict[str, str]:
        """Its parts, with the keys that were said."""
        parts = {name: value for name, value in self.model_dump(exclude={"name"}).items() if value}
        if self.name and not (self.first_name or self.last_name):
            first, last = split_name(self.name)
            parts |= {name: value for name, value in (("first_name", first), ("last_name", last)) if value}
        return {**parts, "country": self.country.upper()}


class CustomerIn(BaseModel):
    """Who bought it."""

    model_config = ConfigDict(extra="forbid")

    name: Text | None = None
    email: Text | None = None
    phone: Text | None = None
    reference: Text | None = Field(default=None, description="The channel's id of the customer.")


class OrderIn(BaseModel):
    """An order as its channel has it now, whole: what it no longer has, it no longer says."""

    model_config = ConfigDict(extra="forbid")

    channel: Channel
    external_id: Name = Field(description="The channel's id of the order: the same again is the same order.")
    number: Text | None = Field(default=None, description="As people call it.", examples=["#1001"])
    currency: str = Field(max_length=10, description="ISO 4217: of all its prices.", examples=["EUR"])
    customer: CustomerIn = Field(default_factory=CustomerIn)
    address: AddressIn
    shipping_paid: Amount | None = Field(default=None, description="By the buyer.")
    placed_at: AwareDatetime | None = Field(default=None, description="By the buyer.")
    note: Long | None = None
    lines: list[LineIn] = Field(min_length=1, max_length=MOST_LINES)

    @field_validator("lines")
    @classmethod
    def _each_once(cls, lines: list[LineIn]) -> list[LineIn]:
        named = [line.id for line in lines if line.id is not None]
        if len(set(named)) < len(named):
            raise ValueError("two lines have the same id")
        return lines

    def said(self, *, where: str = "") -> SaidOrder:
        """What it says. Raises CountryUnknown, CurrencyUnknown, CurrencyMismatch, with `param` below `where`."""
        if currency_code(self.currency) != self.currency.upper():
            raise CurrencyUnknown(param=f"{where}currency")
        if self.address.country.upper() not in countries():
            raise CountryUnknown(param=f"{where}address.country")
        for n, line in enumerate(self.lines):
            if line.currency is not None and line.currency.upper() != self.currency.upper():
                detail = f"The order is in {self.currency.upper()}, this line in {line.currency[:10]}."
                raise CurrencyMismatch(detail, param=f"{where}lines.{n}.currency")
        return SaidOrder(
            channel=self.channel,
            external_id=self.external_id,
            number=self.number or None,
            currency=self.currency.upper(),
            customer={name: value for name in CUSTOMER_FIELDS if (value := getattr(self.customer, name))},
            address=self.address.said(),
            shipping_paid=self.shipping_paid,
            placed_at=self.placed_at,
            note=self.note or None,
            lines=tuple(
                SaidLine(
                    quantity=line.quantity,
                    external_id=line.id,
                    sku=line.sku or None,
                    barcode=line.barcode or None,
                    title=line.title or None,
                    price=line.price,
                    cancelled=line.cancelled_quantity,
                )
                for line in self.lines
            ),
        )


# -- Out ---------------------------------------------------------------------------------------------------------------


class Read(BaseModel):
    """What is read off rows."""

    model_config = ConfigDict(from_attributes=True)


class AttentionOut(Read):
    """Something that waits for somebody."""

    id: UUID
    order_id: UUID | None
    intent_id: UUID | None
    cause: str
    detail: dict[str, Any]
    action: str = Field(description="What can be done about it.")
    opened_at: datetime
    closed_at: datetime | None

    @classmethod
    def of(cls, item: AttentionItem) -> Self:
        """With the ids it is about in its action's address."""
        out = cls.model_validate(item)
        line_id = item.detail.get("line_id") if isinstance(item.detail, dict) else None
        for name, value in (("order_id", item.order_id), ("line_id", line_id), ("intent_id", item.intent_id)):
            if value is not None:
                out.action = out.action.replace(f"{{{name}}}", str(value))
        return out


class WaitingOut(AttentionOut):
    """The same in a list, with the order as its channel calls it."""

    channel: str | None
    external_id: str | None


class LineOut(Read):
    """Pieces of one thing."""

    id: UUID
    n: int
    external_id: str | None
    sku: str | None
    barcode: str | None
    title: str | None
    quantity: int = Field(description="Below zero in a cancellation only.")
    cancelled_quantity: int
    returned_quantity: int
    price: Money | None
    variant_id: UUID | None = Field(description="Null: nobody knows which variant it is.")
    mapped_by: Literal["sku", "barcode", "hand"] | None


class OrderOut(Read):
    """An order in a list."""

    id: UUID
    channel: str
    external_id: str
    number: str | None
    kind: Literal["order", "cancellation"]
    state: State
    currency: str | None
    customer: dict[str, Any]
    placed_at: datetime | None
    job_id: UUID | None
    version: int
    lines: int
    pieces: int = Field(description="That are still wanted.")
    attention: list[str] = Field(description="Causes that are open.")
    created_at: datetime
    updated_at: datetime
    cancelled_at: datetime | None

    @classmethod
    def listed(cls, found: Listed) -> Self:
        """As a list shows it."""
        more = {"lines": found.lines, "pieces": found.pieces, "attention": list(found.attention)}
        return cls(**{**_plain(found.order, cls), **more})


class EventOut(Read):
    """A step of its story."""

    id: UUID
    kind: str
    intent_id: UUID | None
    data: dict[str, Any]
    at: datetime


class IntentLineOut(Read):
    """What of a line an intent is for."""

    order_line_id: UUID
    offer_variant_id: str
    order_ref: str
    quantity: int
    expected_cost: Money | None
    supplier_order_id: str | None
    refused_code: str | None


class SupplierOrderOut(Read):
    """An order as the supplier has it."""

    id: str
    state: str
    raw: str | None
    total: Money | None
    currency: str | None
    paid: bool | None
    warehouse: str | None
    created_at: datetime
    state_at: datetime
    checked_at: datetime | None = Field(description="When it was read last.")
    check_at: datetime | None = Field(description="When the supplier is asked after it next; null: it is over.")


class ParcelOut(Read):
    """A parcel on its way."""

    supplier_order_id: str
    number: str
    carrier: str | None
    status: str | None
    at: datetime | None
    at_text: str | None
    url: str | None
    first_seen: datetime
    last_change: datetime


class IntentOut(Read):
    """One supplier order: meant, sent, there."""

    id: UUID
    connection_id: UUID
    reference: str
    state: Literal["planned", "sending", "placed", "refused", "unknown", "cancelled"]
    address: dict[str, Any] = Field(description="As sent.")
    repairs: list[Any] = Field(description="What was changed in the address for this supplier.")
    shipping: list[str]
    ceiling: Money | None
    expected: Money | None
    charged: Money | None
    currency: str | None
    send_after: datetime
    sending_since: datetime | None
    unknown_since: datetime | None
    looked_up_at: datetime | None
    attempts: int
    code: str | None
    reason: str | None
    created_at: datetime
    updated_at: datetime
    lines: list[IntentLineOut]
    supplier_orders: list[SupplierOrderOut]
    parcels: list[ParcelOut]

    @classmethod
    def of(cls, sent: Sent) -> Self:
        """With what became of it."""
        lines = [IntentLineOut.model_validate(line) for line in sent.lines]
        orders = [SupplierOrderOut.model_validate(one) for one in sent.supplier_orders]
        parcels = [ParcelOut.model_validate(parcel) for parcel in sent.parcels]
        return cls(**_plain(sent.intent, cls), lines=lines, supplier_orders=orders, parcels=parcels)


class ReturnLineOut(Read):
    """Pieces sent back."""

    order_line_id: UUID
    quantity: int
    reason: str


class ReturnOut(Read):
    """What is sent back together."""

    id: UUID
    state: Literal["requested", "approved", "received", "refunded", "rejected"]
    refund: Money | None
    currency: str | None
    note: str | None
    created_at: datetime
    updated_at: datetime
    lines: list[ReturnLineOut]

    @classmethod
    def of(cls, returned: Returned) -> Self:
        """With its lines."""
        return cls(**_plain(returned.of, cls), lines=[ReturnLineOut.model_validate(line) for line in returned.lines])


class OrderDetailOut(Read):
    """An order and its whole story."""

    id: UUID
    channel: str
    external_id: str
    number: str | None
    kind: Literal["order", "cancellation"]
    state: State
    currency: str | None
    customer: dict[str, Any]
    address: dict[str, Any] | None
    shipping_paid: Money | None
    placed_at: datetime | None
    note: str | None
    job_id: UUID | None
    version: int
    created_at: datetime
    updated_at: datetime
    cancelled_at: datetime | None
    lines: list[LineOut]
    intents: list[IntentOut]
    returns: list[ReturnOut]
    attention: list[AttentionOut]
    events: list[EventOut] = Field(description="What happened, in order; of a long story the newest part.")

    @classmethod
    def of(cls, story: Story) -> Self:
        """All of it."""
        return cls(
            **_plain(story.order, cls),
            lines=[LineOut.model_validate(line) for line in story.lines],
            intents=[IntentOut.of(sent) for sent in story.intents],
            returns=[ReturnOut.of(one) for one in story.returns],
            attention=[AttentionOut.of(item) for item in story.attention],
            events=[EventOut.model_validate(event) for event in story.events],
        )


class RefusedOut(BaseModel):
    """Why an order was not taken."""

    code: str
    detail: str
    param: str | None = None
    intents: list[dict[str, Any]] | None = Field(default=None, description="What was sent of it already.")


class ReceiptOut(BaseModel):
    """What became of an order that came in."""

    outcome: Literal["created", "changed", "unchanged", "refused"]
    order_id: UUID
    channel: str
    external_id: str
    state: State
    changes: dict[str, Any] = Field(description="Field → [before, now]; lines apart.")
    attention: list[str] = Field(description="Causes that are open.")
    error: RefusedOut | None
    order_url: str

    @classmethod
    def of(cls, receipt: Receipt, listed: Listed) -> Self:
        """With how the order stands now."""
        error = receipt.error
        return cls(
            outcome=receipt.outcome,
            order_id=receipt.order_id,
            channel=receipt.channel,
            external_id=receipt.external_id,
            state=listed.order.state,
            changes=receipt.changes,
            attention=list(listed.attention),
            error=None
            if error is None
            else RefusedOut(
                code=error.code, detail=error.detail, param=error.param, intents=error.extra.get("intents")
            ),
            order_url=f"/api/v1/orders/{receipt.order_id}",
        )


class ReceiptsOut(BaseModel):
    """What became of each, in the order in which they were sent."""

    data: list[ReceiptOut]


def _plain(row: Order | Intent | OrderLine | Any, shape: type[BaseModel]) -> dict[str, Any]:
    """The row's columns that the shape has."""
    columns = type(row).__table__.columns.keys()
    return {name: getattr(row, name) for name in shape.model_fields if name in columns}
