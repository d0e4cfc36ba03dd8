"""Any feed at an address as a supplier: CSV, TSV, XLSX, XML, JSON, packed or not, in any dialect
that imports read. It sells nothing by itself: there is no interface to order at.

Secrets: `url` is where the file is. `user` and `password`, or a `header` ("X-Api-Key: 12345"), go with the request.
`mapping` (JSON, docs/feeds.md) says what its columns are where the feed does not: of a list with one price, for
instance, that it is what the merchant pays.
"""

from collections.abc import Mapping, Sequence
from typing import NoReturn
from urllib.parse import urlsplit

from services.suppliers.base import (
    AddressRules,
    Capabilities,
    Connection,
    Identity,
    OrderDraft,
    OrderStatus,
    PlacedOrder,
    Placement,
    Quota,
    Quote,
    Tracking,
    Walk,
)
from services.suppliers.errors import NotOffered
from services.suppliers.feed.catalogue import offers, prices, stock
from services.suppliers.feed.fetch import ENDPOINT

NAME = "feed"
SECRETS: tuple[str, ...] = ("url",)
OPTIONAL: tuple[str, ...] = ("user", "password", "header", "mapping")
COUNTED_BY: tuple[str, ...] = ()
SANDBOX = "/feed"
CAPABILITIES = Capabilities(
    lists_catalogue=True,
    reads_by_id=False,
    stock_alone=False,
    orders=False,
    finds_by_reference=False,
    finds_all_parts=False,
    resend_seconds=0,
    settle_seconds=0,
)
ADDRESS = AddressRules()  # nothing is ordered here
# Nobody says how often a file may be fetched. Every five minutes is more often than most are written.
QUOTAS = (Quota(ENDPOINT, 12, 3600.0),)
WALKS = {"offers": Walk(1, {ENDPOINT: 1})}

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
    """Read the head of the file and say what it is. Raises what `Adapter` says."""
    from services.suppliers.feed.look import found

    return Identity(account=_account(connection), balance=None, checked=("the address", found(connection)))


def _account(connection: Connection) -> str | None:
    """The address, where it is sure to hold no secret: the same feed with another password is the same account."""
    parts = urlsplit(connection.secrets["url"].strip())
    return None if parts.query else f"{parts.hostname or ''}{parts.path}"[:200] or None


def quotas(connection: Connection) -> tuple[Quota, ...]:
    """What we keep to."""
    return QUOTAS


def check_order(connection: Connection, draft: OrderDraft) -> Quote:
    """Raises NotOffered."""
    _no_orders()


def place_order(connection: Connection, draft: OrderDraft) -> Placement:
    """Raises NotOffered."""
    _no_orders()


def find_by_reference(connection: Connection, reference: str) -> tuple[PlacedOrder, ...]:
    """Raises NotOffered."""
    _no_orders()


def order_status(connection: Connection, order_id: str) -> OrderStatus:
    """Raises NotOffered."""
    _no_orders()


def tracking(connection: Connection, order_ids: Sequence[str]) -> Mapping[str, tuple[Tracking, ...]]:
    """Raises NotOffered."""
    _no_orders()


def _no_orders() -> NoReturn:
    raise NotOffered("A feed takes no orders.")
