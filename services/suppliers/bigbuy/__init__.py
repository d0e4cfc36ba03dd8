"""BigBuy (bigbuy.eu): one catalogue in EUR for everyone, an API key, few and large lists, orders paid from a wallet.

Source of the protocol: BigBuy's API guide and reference, and the behaviour recorded by pybigbuy 3.25.
"""

from services.suppliers.base import AddressRules, Capabilities, Connection, Identity, Money, Quota
from services.suppliers.bigbuy.calls import QUOTAS, get
from services.suppliers.bigbuy.catalogue import CURRENCY, WALKS, offers, prices, stock
from services.suppliers.bigbuy.orders import check_order, find_by_reference, order_status, place_order, tracking
from services.suppliers.wire import Unreadable, number_of

NAME = "bigbuy"
SECRETS: tuple[str, ...] = ("api_key",)
OPTIONAL: tuple[str, ...] = ()
COUNTED_BY: tuple[str, ...] = ("api_key",)
SANDBOX = "/bigbuy"
CAPABILITIES = Capabilities(
    lists_catalogue=True,
    reads_by_id=False,
    stock_alone=True,
    orders=True,
    finds_by_reference=True,
    finds_all_parts=False,
    resend_seconds=0,
    settle_seconds=10,
    tracked_at_once=100,
)
ADDRESS = AddressRules(
    needed=("first_name", "last_name", "line", "town", "postcode", "country", "phone", "email"),
    longest={"first_name": 70, "last_name": 70, "line": 70, "town": 70, "company": 70},
    line2=False,
    letters="latin",
    postcodes=True,
)

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
    """Ask for the wallet's balance: it takes the key and nothing else. Raises what `Adapter` says."""
    balance = number_of(get(connection, "user/purse"))
    if balance is None:
        raise Unreadable("BigBuy's answer about the wallet cannot be read.")
    return Identity(account=None, balance=Money(balance, CURRENCY), checked=("the API key", "the wallet's balance"))


def quotas(connection: Connection) -> tuple[Quota, ...]:
    """BigBuy's limits: per key and endpoint."""
    return QUOTAS
