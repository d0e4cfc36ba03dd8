"""AliExpress for dropshippers (api-sg.aliexpress.com): products by id, orders for a buyer who gave consent.

Source of the protocol: the open platform's pages and answers captured in 2026. The hosts and the retired gateways are
one: `calls.HOST` serves every country.
"""

from services.suppliers.aliexpress.answers import OK, inner
from services.suppliers.aliexpress.calls import business, quotas_of
from services.suppliers.aliexpress.orders import (
    CREATE,
    FREIGHT,
    ORDER,
    TRACKING,
    check_order,
    find_by_reference,
    order_status,
    place_order,
    tracking,
)
from services.suppliers.aliexpress.products import PRODUCT, offers, prices, stock
from services.suppliers.base import AddressRules, Capabilities, Connection, Identity, Quota, Walk
from services.suppliers.errors import Retry

NAME = "aliexpress"
SECRETS: tuple[str, ...] = ("app_key", "app_secret", "access_token")
OPTIONAL: tuple[str, ...] = ("refresh_token",)  # with it the access token is renewed before it expires
COUNTED_BY: tuple[str, ...] = ("app_key", "app_secret")
SANDBOX = "/aliexpress"
CAPABILITIES = Capabilities(
    lists_catalogue=False,
    reads_by_id=True,
    stock_alone=False,
    orders=True,
    finds_by_reference=False,
    finds_all_parts=False,
    resend_seconds=24 * 3600,
    settle_seconds=10,
)
ADDRESS = AddressRules(
    needed=("line", "town", "province", "country", "phone"),
    letters="ascii",
    postcodes=True,
    phone="split",
    name_parts={"US": (2, 32)},
)
FEEDS = "aliexpress.ds.feedname.get"
WALKS = {"offers": Walk(None, {PRODUCT: 1})}

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
    """Ask for the names of product feeds: it takes the app, the signature and the token. Raises what `Adapter` says."""
    code, words, _ = inner(business(connection, FEEDS, {}))
    if code and code not in OK:
        raise Retry(words or f"AliExpress answered {code}.", supplier_code=code)
    return Identity(account=None, balance=None, checked=("the app's key and signature", "the access token"))


def quotas(connection: Connection) -> tuple[Quota, ...]:
    """What is kept to; AliExpress documents no limits per app."""
    return quotas_of(PRODUCT, FREIGHT, CREATE, ORDER, TRACKING, FEEDS)
