"""AliExpress for affiliates: products to show and links that earn a commission. Nothing is ordered here."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NoReturn

from services.suppliers.aliexpress.calls import quotas_of
from services.suppliers.aliexpress_affiliate.products import (
    CATEGORIES,
    DETAIL,
    HOT,
    LINKS,
    MOST,
    QUERY,
    categories,
    offers,
)
from services.suppliers.base import (
    AddressRules,
    Capabilities,
    Connection,
    Identity,
    OrderDraft,
    OrderStatus,
    Page,
    PlacedOrder,
    Placement,
    PriceLevel,
    Quota,
    Quote,
    StockLevel,
    Tracking,
    Walk,
)
from services.suppliers.errors import NotOffered

NAME = "aliexpress_affiliate"
SECRETS: tuple[str, ...] = ("app_key", "app_secret", "tracking_id")
OPTIONAL: tuple[str, ...] = ()
COUNTED_BY: tuple[str, ...] = ("app_key", "app_secret")
SANDBOX = "/aliexpress"
CAPABILITIES = Capabilities(
    lists_catalogue=False,
    reads_by_id=True,
    stock_alone=False,
    orders=False,
    finds_by_reference=False,
    finds_all_parts=False,
    resend_seconds=0,
    settle_seconds=0,
)
WALKS = {"offers": Walk(None, {DETAIL: 1}, products=MOST)}
ADDRESS = AddressRules()  # nothing is ordered here

__all__ = [
    "ADDRESS",
    "CAPABILITIES",
    "COUNTED_BY",
    "NAME",
    "OPTIONAL",
    "SANDBOX",
    "SECRETS",
    "WALKS",
    "check_order",
    "find_by_reference",
    "offers",
    "order_status",
    "place_order",
    "prices",
    "quotas",
    "stock",
    "tracking",
    "who_am_i",
]


def who_am_i(connection: Connection) -> Identity:
    """Ask for the categories: it takes the app, the signature and the permission. Raises what `Adapter` says."""
    categories(connection)
    return Identity(account=None, balance=None, checked=("the app's key and signature", "the affiliate permission"))


def quotas(connection: Connection) -> tuple[Quota, ...]:
    """What is kept to; AliExpress documents no limits per app."""
    return quotas_of(QUERY, HOT, DETAIL, CATEGORIES, LINKS)


def stock(
    connection: Connection, *, only: Sequence[str] | None = None, cursor: str | None = None
) -> Iterator[Page[StockLevel]]:
    """Not told to affiliates. Raises NotOffered."""
    _nothing("quantities")


def prices(
    connection: Connection, *, only: Sequence[str] | None = None, cursor: str | None = None
) -> Iterator[Page[PriceLevel]]:
    """The prices of `offers`: it costs as many calls."""
    for page in offers(connection, only=only, cursor=cursor):
        levels = [
            PriceLevel(variant.id, None, variant.cost, variant.list_price)
            for offer in page.items
            for variant in offer.variants
            if variant.cost is not None
        ]
        yield Page(tuple(levels), page.cursor, page.problems)


def check_order(connection: Connection, draft: OrderDraft) -> Quote:
    """Raises NotOffered."""
    _nothing("orders")


def place_order(connection: Connection, draft: OrderDraft) -> Placement:
    """Raises NotOffered."""
    _nothing("orders")


def find_by_reference(connection: Connection, reference: str) -> tuple[PlacedOrder, ...]:
    """Raises NotOffered."""
    _nothing("orders")


def order_status(connection: Connection, order_id: str) -> OrderStatus:
    """Raises NotOffered."""
    _nothing("orders")


def tracking(connection: Connection, order_ids: Sequence[str]) -> Mapping[str, tuple[Tracking, ...]]:
    """Raises NotOffered."""
    _nothing("orders")


def _nothing(what: str) -> NoReturn:
    raise NotOffered(f"AliExpress has no {what} for affiliates.")
