"""BigBuy: who may call, which endpoint it is, and which rule answers."""

import hashlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

from sandbox.bigbuy import errors, lists, orders, shipping
from sandbox.bigbuy.errors import OrderError, Refused
from sandbox.bigbuy.limits import LIMITS
from sandbox.bigbuy.state import Account, Settings, State
from sandbox.catalogue import Catalogue
from sandbox.limits import Limits
from sandbox.wire import Answer, Call

DEFAULT_KEY = "sandbox-bigbuy-key"

Handler = Callable[[State, Call, str], Answer]


@dataclass(frozen=True, slots=True)
class Route:
    """An endpoint. `argument` is a pattern of what follows its name, if anything does."""

    name: str
    method: str
    handler: Handler
    argument: str | None = None
    pattern: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        """Compile the address."""
        tail = "" if self.argument is None else f"/({self.argument})"
        object.__setattr__(self, "pattern", re.compile(f"/rest/{self.name}{tail}\\.json"))


def _purse(state: State, call: Call, argument: str) -> Answer:
    return errors.answer(float(state.account(call).purse))


def _auth_status(state: State, call: Call, argument: str) -> Answer:
    return errors.answer(None)


NUMBER, REFERENCE, COUNTRY = r"\d{1,15}", r"[^/]{1,100}", r"[A-Za-z]{2}"

ROUTES = (
    *(Route(f"catalog/{name}", "GET", handler) for name, handler in lists.BULK.items()),
    *(Route(f"catalog/{name}", "GET", handler, NUMBER) for name, handler in lists.SINGLE.items()),
    Route("catalog/productinformationbysku", "GET", lists.information_by_sku, REFERENCE),
    Route("shipping/orders", "POST", shipping.options_of_order),
    Route("shipping/lowest-shipping-cost-by-country", "POST", shipping.lowest_cost),
    Route("shipping/lowest-shipping-costs-by-country", "GET", shipping.lowest_costs, COUNTRY),
    Route("shipping/carriers", "GET", shipping.carriers),
    Route("order/check", "POST", orders.check),
    Route("order/check/multishipping", "POST", orders.check_multishipping),
    Route("order/create", "POST", orders.create),
    Route("order/create/multishipping", "POST", orders.create_multishipping),
    Route("order/reference", "GET", orders.by_reference, REFERENCE),
    Route("order/orderstatuses", "GET", orders.statuses),
    Route("order/delivery-notes", "GET", orders.delivery_notes, NUMBER),
    Route("order/upload_invoice", "POST", orders.upload_invoice),
    Route("order", "GET", orders.by_id, NUMBER),
    Route("tracking/order", "GET", orders.tracking, NUMBER),
    Route("tracking/orders", "POST", orders.trackings),
    Route("tracking/carriers", "GET", shipping.tracking_carriers),
    Route("user/purse", "GET", _purse),
    Route("user/auth/status", "GET", _auth_status),
)
_COOKIE = hashlib.sha256(b"sandbox").hexdigest()


class BigBuy:
    """One BigBuy, with a catalogue, accounts and orders."""

    name = "bigbuy"

    def __init__(self, seed: int, products: int, stock_drift: float, price_drift: float) -> None:
        """A catalogue of that seed and size; one account with the key DEFAULT_KEY."""
        catalogue = Catalogue(
            seed=seed, salt=self.name, products=products, stock_drift=stock_drift, price_drift=price_drift
        )
        account = Account(name="main", purse=Decimal("10000.00"))
        self.state = State(
            catalogue=catalogue,
            accounts={account.name: account},
            keys={DEFAULT_KEY: account.name},
            limits=Limits(LIMITS),
            settings=Settings(),
        )

    def recognise(self, call: Call) -> None:
        """The endpoint without its ids, and the bearer token."""
        found = _route(call)
        call.route = found[0].name if found else _unknown(call.path)
        scheme, _, token = call.headers.get("authorization", "").partition(" ")
        call.key = token.strip() if scheme.lower() == "bearer" and token.strip() else None

    def admit(self, call: Call) -> Answer | None:
        """401 without a key that is valid; 429 over the limit of the endpoint."""
        expires = time.strftime("%a, %d-%b-%Y %H:%M:%S GMT", time.gmtime(call.at + 604_800))
        cookie = f"secure_key={_COOKIE}; expires={expires}; Max-Age=604800; path=/"
        call.extra_headers.append(("Set-Cookie", cookie))
        if call.revoked or call.key is None or call.key not in self.state.keys:
            return errors.plain(401, "Unauthorized")
        verdict = self.state.limits.count(call.key, call.route, call.at)
        if verdict is None:
            return None
        call.extra_headers += verdict.headers()
        return None if verdict.passes else errors.too_many()

    def answer(self, call: Call) -> Answer:
        """What the endpoint says."""
        found = _route(call)
        if found is None:
            if any(route.pattern.fullmatch(call.path) for route in ROUTES):
                return errors.plain(405, f"No route found for {call.method} {call.path}: Method Not Allowed")
            return errors.no_such_page()
        route, argument = found
        if call.method == "POST" and not _is_json(call):
            return errors.plain(415, "Unsupported Media Type")
        try:
            return route.handler(self.state, call, argument)
        except Refused as refused:
            return refused.answer
        except OrderError as error:
            return error.answer()

    def soft_error(self, call: Call, variant: str | None) -> Answer:
        """`code`, `embedded` or `inverted`."""
        return errors.soft(variant)

    def exhausted(self, call: Call) -> Answer:
        """429, and the window stays used up."""
        verdict = self.state.limits.exhausted(call.key or "", call.route, call.at)
        call.extra_headers = [each for each in call.extra_headers if not each[0].startswith("X-RateLimit")]
        call.extra_headers += verdict.headers()
        return errors.too_many()


def _route(call: Call) -> tuple[Route, str] | None:
    for route in ROUTES:
        found = route.pattern.fullmatch(call.path)
        if found is not None and route.method == call.method:
            return route, found[1] if route.argument is not None else ""
    return None


def _unknown(path: str) -> str:
    """A name for addresses that are none: the first two parts, so that their number stays small."""
    parts = path.removeprefix("/rest/").removesuffix(".json").split("/")
    name = "/".join(parts[:2])
    known = {route.name for route in ROUTES} | lists.REMOVED
    return name if name in known else "?"


def _is_json(call: Call) -> bool:
    return call.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"
