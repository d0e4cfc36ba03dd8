"""What BigBuy remembers: accounts, keys, orders, and the settings of what is not known for certain."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from sandbox.catalogue import Catalogue
from sandbox.limits import Limits
from sandbox.wire import Call, Item

MAX_ORDERS = 100_000
MAX_KEYS = 1_000
FIRST_ORDER = 1_190_000_001

DAY = 86_400.0


class Settings(BaseModel):
    """What is not known for certain, or differs between accounts."""

    model_config = ConfigDict(extra="forbid")

    first_page: Annotated[int, Field(ge=0, le=1)] = Field(
        1, description="The number of the first page. With 1, page 0 is the first page too."
    )
    information_by_sku: Literal["dict", "list"] = Field(
        "dict", description="Whether productinformationbysku answers with an object or a list of one."
    )
    missing_item: Literal["empty", "404"] = Field(
        "empty", description="What a single catalogue item that is not there is: 200 with an empty body, or 404."
    )
    missing_order: Literal["empty", "404"] = Field("404", description="The same for orders and their parcels.")
    minimum_purchase: Annotated[float, Field(ge=0)] = Field(0.0, description="Euros; below: ER007.")
    minimum_bank_wire: Annotated[float, Field(ge=0)] = Field(250.0, description="Euros; below: ER012.")
    temporary_seconds: Annotated[float, Field(ge=0)] = Field(
        2.0, description="For so long a new order is temporary: creating it again is ER009, and it is not found yet."
    )
    preparation_hours: Annotated[float, Field(ge=0)] = Field(6.0, description="From payment to preparation.")
    transit_days: Annotated[float, Field(ge=0)] = Field(3.0, description="From shipping to delivery.")
    wire_days: Annotated[float, Field(ge=0)] = Field(2.0, description="Until money sent by bank wire is there.")


@dataclass(slots=True)
class Account:
    """A customer of BigBuy."""

    name: str
    purse: Decimal
    pack: bool = True  # may order


@dataclass(slots=True)
class Order:
    """An order as it was placed. Its status follows from the clock, unless one was set."""

    id: int
    account: str
    reference: str  # the customer's
    placed: float
    payment: str
    warehouse: int
    address: dict[str, str]
    carrier: str  # its code
    goods: Decimal  # euros, without taxes
    shipping: Decimal
    tax: Decimal
    lines: list[Item]
    handling_days: int
    set_status: str | None = None
    refunded: bool = False
    invoices: int = 0

    @property
    def total(self) -> Decimal:
        """Euros, taxes and shipping included."""
        return self.goods + self.shipping + self.tax

    def paid_at(self, settings: Settings) -> float:
        """When the money was there; what is paid by wire takes its days."""
        return self.placed + (settings.wire_days * DAY if self.payment == "bankwire" else 0.0)

    def shipped_at(self, settings: Settings) -> float:
        """When the parcel leaves."""
        return self.paid_at(settings) + settings.preparation_hours * 3_600 + self.handling_days * DAY

    def delivered_at(self, settings: Settings) -> float:
        """When the parcel is there."""
        return self.shipped_at(settings) + settings.transit_days * DAY

    def status(self, settings: Settings, at: float) -> str:
        """One of STATUSES."""
        if self.set_status is not None:
            return self.set_status
        if at < self.paid_at(settings):
            return "Payment pending"
        if at >= self.delivered_at(settings):
            return "Delivered"
        if at >= self.shipped_at(settings):
            return "Shipped"
        begun = self.paid_at(settings) + settings.preparation_hours * 3_600
        return "Preparation in process" if at >= begun else "Payment accepted"


STATUSES = {
    1: "Payment pending",
    2: "Payment accepted",
    3: "Preparation in process",
    4: "Shipped",
    5: "Delivered",
    6: "Cancelled",
    8: "Payment error",
    9: "Pending invoice",
}


@dataclass(slots=True)
class State:
    """All of it."""

    catalogue: Catalogue
    accounts: dict[str, Account]
    keys: dict[str, str]  # key → account
    limits: Limits
    settings: Settings
    orders: dict[int, Order] = field(default_factory=dict)
    references: dict[tuple[str, str], int] = field(default_factory=dict)  # (account, reference) → first order
    first_order: int = FIRST_ORDER

    def account(self, call: Call) -> Account:
        """Whose key it is."""
        return self.accounts[self.keys[call.key or ""]]

    def next_order_id(self) -> int:
        """Ids go up."""
        return self.first_order + len(self.orders)

    def add(self, order: Order) -> None:
        """Keep an order. The first of several with one reference is the one that is found by it."""
        self.orders[order.id] = order
        self.references.setdefault((order.account, order.reference), order.id)
