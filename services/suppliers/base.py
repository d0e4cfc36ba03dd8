"""What every supplier's adapter is: functions that take a connection and give dataclasses, and know no database.

An adapter is a package of this folder that offers `Adapter`'s functions. It speaks HTTP and nothing else: what it
reads is checked, what it cannot read is named, and every failure is raised as exactly one of the classes of
`services.suppliers.errors`. Money is `Decimal` with a currency; identifiers are text; None means *the supplier did not
say*, never zero.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Generic, Literal, Protocol, TypeVar


class Meter(Protocol):
    """Who counts the calls of one credential. It is asked before every call and told what the answers say."""

    def take(self, endpoints: Sequence[str]) -> None:
        """Leave to call each of these once (one named twice: twice): for all of them, or WaitUntil is raised.

        Of one that is named more often than its quota allows at once the rest is for the windows that follow.
        """

    def learn(self, endpoint: str, *, limit: int | None, remaining: int | None, reset: datetime | None) -> None:
        """What an answer said of its endpoint's quota; `remaining` 0 with `reset` after a refusal."""


class Unmetered:
    """Lets every call pass."""

    def take(self, endpoints: Sequence[str]) -> None:
        """Nothing is counted."""

    def learn(self, endpoint: str, *, limit: int | None, remaining: int | None, reset: datetime | None) -> None:
        """Nothing is kept."""


@dataclass(frozen=True, slots=True)
class Connection:
    """One merchant's account at a supplier, and how its data is wanted.

    `base_url` is the operator's to set (a sandbox), never a merchant's: its address is not checked for being public.
    """

    secrets: Mapping[str, str] = field(repr=False)  # the names are the adapter's `SECRETS` and `OPTIONAL`
    base_url: str | None = None  # None: the supplier's own
    language: str = "en"  # ISO 639-1
    country: str = "ES"  # ISO 3166-1, where it is sold to
    currency: str = "EUR"  # ISO 4217; a supplier with one currency ignores it
    deadline_seconds: float = 60.0  # of a call with a short answer, answer included
    meter: Meter = field(default_factory=Unmetered)


@dataclass(frozen=True, slots=True)
class Money:
    """An amount, as many digits as the supplier gave."""

    amount: Decimal
    currency: str  # ISO 4217


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a supplier offers. A function that is missing raises NotOffered."""

    lists_catalogue: bool  # `offers`, `stock`, `prices` can run over everything; else they need `only`
    reads_by_id: bool  # `only` may be given
    stock_alone: bool  # `stock` and `prices` cost less than `offers`
    orders: bool  # check_order, place_order, order_status, tracking
    finds_by_reference: bool
    finds_all_parts: bool  # an order that was split is found whole by its reference
    resend_seconds: int  # a lost order may be sent again under its reference so long; 0: for ever
    settle_seconds: int  # so long after a call, looking it up may not find what is there
    tracked_at_once: int = 1  # orders in one call for their parcels


@dataclass(frozen=True, slots=True)
class Quota:
    """At most `limit` calls of the endpoint in any `seconds`, as documented."""

    endpoint: str
    limit: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Walk:
    """What a walk over everything takes of the quotas, in calls by endpoint."""

    steps: int | None  # about so many; None: what is known is read by its ids
    step: Mapping[str, int]  # for each
    begin: Mapping[str, int] = field(default_factory=dict)  # at the begin, and each time it is gone on with
    products: int = 1  # a step reads so many, where it is by ids


@dataclass(frozen=True, slots=True)
class Identity:
    """What the credentials proved."""

    account: str | None
    balance: Money | None
    checked: tuple[str, ...]  # what was tried, in words


@dataclass(frozen=True, slots=True)
class StockTier:
    """So many pieces that leave a warehouse within so many days."""

    quantity: int
    min_days: int | None
    max_days: int | None
    warehouse: str | None


@dataclass(frozen=True, slots=True)
class OfferVariant:
    """What can be ordered."""

    id: str  # the supplier's, unique among the supplier's variants
    order_ref: str  # what an order names it by
    sku: str | None = None
    barcode: str | None = None
    options: tuple[tuple[str, str], ...] = ()  # ("Colour", "Red")
    cost: Money | None = None  # what the merchant pays, without tax; more than zero
    list_price: Money | None = None  # struck through, or usual in shops
    recommended_price: Money | None = None
    stock: int | None = None
    tiers: tuple[StockTier, ...] = ()  # `stock` by the time it takes, where the supplier says so
    weight_grams: int | None = None
    image_url: str | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """A product as a supplier offers it. It has one variant at least."""

    id: str
    title: str | None
    variants: tuple[OfferVariant, ...]
    description: str | None = None  # HTML as it came
    brand: str | None = None
    category: str | None = None  # "Home > Kitchen"
    image_urls: tuple[str, ...] = ()  # the first is the main one
    active: bool = True
    url: str | None = None  # its page, or the link that earns a commission
    order_id: str | None = None  # what an order names the product by, where that is not the id


@dataclass(frozen=True, slots=True)
class StockLevel:
    """How much there is of a variant now."""

    variant_id: str
    sku: str | None
    stock: int
    tiers: tuple[StockTier, ...] = ()


@dataclass(frozen=True, slots=True)
class PriceLevel:
    """What a variant costs now."""

    variant_id: str
    sku: str | None
    cost: Money | None
    list_price: Money | None = None
    recommended_price: Money | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """An item that could not be had. With the code ``not_found`` it is gone; with any other nothing is known of it."""

    id: str | None
    code: str  # stable
    reason: str


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items. Once they are stored, a walk that goes on from `cursor` reads the rest, and perhaps some again."""

    items: tuple[T, ...]
    cursor: str | None  # None: this was the last page
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Address:
    """Where an order goes. Its parts are sent as they are; each supplier's `ADDRESS` is the caller's to keep."""

    first_name: str
    last_name: str
    line: str
    town: str
    postcode: str
    country: str  # ISO 3166-1
    phone: str
    email: str = ""
    line2: str = ""
    province: str = ""
    phone_country: str = ""  # "+33"
    company: str = ""
    vat_number: str = ""
    comment: str = ""


@dataclass(frozen=True, slots=True)
class AddressRules:
    """What a supplier takes of an address; what it does not say is not limited. Fields are those of `Address`."""

    needed: tuple[str, ...] = ()  # fields that may not be empty
    longest: Mapping[str, int] = field(default_factory=dict)  # field → characters
    line2: bool = True  # whether there is a second line
    letters: Literal["any", "latin", "ascii"] = "any"
    postcodes: bool = False  # whether they must have their country's form
    phone: Literal["any", "digits", "split"] = "any"  # split: the national number's digits, beside `phone_country`
    name_parts: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # country → length of each word of a name


@dataclass(frozen=True, slots=True)
class OrderLine:
    """Pieces of one variant."""

    order_ref: str  # OfferVariant.order_ref
    quantity: int
    product_id: str = ""  # Offer.order_id, else Offer.id
    variant_id: str = ""  # OfferVariant.id


@dataclass(frozen=True, slots=True)
class OrderDraft:
    """An order to be sent, under a reference of ours that is used for no other."""

    reference: str
    lines: tuple[OrderLine, ...]
    address: Address
    language: str = "en"
    shipping: tuple[str, ...] = ()  # services that may be used, best first; none: any
    ceiling: Money | None = None  # dearer than this it is not placed
    pay: bool = True  # have it paid at once, where the account allows it; BigBuy's wallet always pays


@dataclass(frozen=True, slots=True)
class OrderPart:
    """What one shipment of a checked order would cost."""

    refs: tuple[str, ...]  # order_ref of its lines
    total: Money  # all that is paid
    goods: Money | None = None  # without tax and shipping
    shipping: str | None = None  # the service
    warehouse: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Lines the supplier would not take."""

    refs: tuple[str, ...]
    code: str  # stable, ours
    reason: str


@dataclass(frozen=True, slots=True)
class Quote:
    """What an order would come to."""

    parts: tuple[OrderPart, ...]
    refused: tuple[Refusal, ...] = ()

    @property
    def total(self) -> Money:
        """All that would be paid. Raises ValueError when nothing would be shipped or the parts' currencies differ."""
        (currency,) = {part.total.currency for part in self.parts}
        return Money(sum((part.total.amount for part in self.parts), Decimal()), currency)


class OrderState(StrEnum):
    """Where an order stands, in our words."""

    UNPAID = "unpaid"
    PROCESSING = "processing"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"  # the supplier's word is a new one


@dataclass(frozen=True, slots=True)
class PlacedOrder:
    """An order the supplier has."""

    id: str
    refs: tuple[str, ...] = ()  # order_ref of its lines; empty: not said
    total: Money | None = None
    paid: bool | None = None
    warehouse: str | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """How placing an order ended: the orders it became, and the lines that were refused."""

    orders: tuple[PlacedOrder, ...]
    refused: tuple[Refusal, ...] = ()
    existed: bool = False  # the reference was known there: an earlier call of ours had arrived
    note: str | None = None  # what the supplier said beside its yes


@dataclass(frozen=True, slots=True)
class OrderStatus:
    """What has become of an order."""

    id: str
    state: OrderState
    raw: str  # the supplier's word
    total: Money | None = None
    refs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tracking:
    """A parcel on its way."""

    number: str
    carrier: str | None
    status: str | None  # the newest event, in words
    at: datetime | None  # of that event, where the supplier says its time zone
    at_text: str | None = None  # the time as the supplier wrote it, where it does not
    url: str | None = None


class Adapter(Protocol):
    """The contract. Modules of plain functions keep it; each function may raise every class of `errors`.

    A walk (`offers`, `stock`, `prices`) is an iterator of pages. When it raises, the pages it gave are good, and it is
    resumed from the last one's cursor. A cursor is text of at most a few kilobytes; one that is not the adapter's
    raises ValueError.
    """

    NAME: str
    SECRETS: tuple[str, ...]
    OPTIONAL: tuple[str, ...]  # secrets that may be left out
    COUNTED_BY: tuple[str, ...]  # the secrets that name whose calls its quotas count; none: each connection's own
    WALKS: Mapping[str, Walk]  # what "offers", "stock" and "prices" cost; without `stock_alone` "offers" is all
    SANDBOX: str | None  # what the sandbox's address goes on with; None: it speaks for no such supplier
    CAPABILITIES: Capabilities
    ADDRESS: AddressRules

    def who_am_i(self, connection: Connection, /) -> Identity:
        """Try the credentials, at no cost and without effect."""

    def quotas(self, connection: Connection, /) -> tuple[Quota, ...]:
        """What the supplier documents. Endpoints are named as `Meter` hears of them."""

    def offers(
        self, connection: Connection, /, *, only: Sequence[str] | None = None, cursor: str | None = None
    ) -> Iterator[Page[Offer]]:
        """All there is to sell, or the products with those ids."""

    def stock(
        self, connection: Connection, /, *, only: Sequence[str] | None = None, cursor: str | None = None
    ) -> Iterator[Page[StockLevel]]:
        """Quantities alone."""

    def prices(
        self, connection: Connection, /, *, only: Sequence[str] | None = None, cursor: str | None = None
    ) -> Iterator[Page[PriceLevel]]:
        """Prices alone."""

    def check_order(self, connection: Connection, draft: OrderDraft, /) -> Quote:
        """What the order would cost, without placing it."""

    def place_order(self, connection: Connection, draft: OrderDraft, /) -> Placement:
        """Check it and place it. UnknownOutcome: it may or may not be there. All else that is raised: it is not."""

    def find_by_reference(self, connection: Connection, reference: str, /) -> tuple[PlacedOrder, ...]:
        """The orders placed under our reference; none when the supplier knows none."""

    def order_status(self, connection: Connection, order_id: str, /) -> OrderStatus:
        """Where the order stands."""

    def tracking(self, connection: Connection, order_ids: Sequence[str], /) -> Mapping[str, tuple[Tracking, ...]]:
        """The parcels of `tracked_at_once` orders at most; an order of which nothing was shipped is missing."""
