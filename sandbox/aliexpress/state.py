"""What AliExpress remembers: apps, grants, orders, and the settings of what is not known for certain."""

import secrets
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from sandbox.catalogue import Catalogue
from sandbox.limits import Limits
from sandbox.wire import Item

MAX_APPS = 1_000
MAX_GRANTS = 20_000
MAX_ORDERS = 100_000
FIRST_ORDER = 8_198_352_049_850_000
CODE_SECONDS = 1_800
DAY = 86_400.0

Group = Literal["ds", "affiliate"]


class Settings(BaseModel):
    """What is not known for certain, or differs between accounts."""

    model_config = ConfigDict(extra="forbid")

    check_timestamp: bool = Field(True, description="Timestamps must be within two hours of the real time.")
    access_seconds: Annotated[int, Field(ge=1)] = Field(86_400, description="How long an access token lives.")
    refresh_seconds: Annotated[int, Field(ge=0)] = Field(172_800, description="0: it cannot be refreshed.")
    repeated_order: Literal["error", "same"] = Field(
        "error", description="The same out_order_id within a day: REPEATED_ORDER_ERROR, or the same orders again."
    )
    sync_seconds: Annotated[float, Field(ge=0)] = Field(10.0, description="Until a new order can be read.")
    auto_pay: bool = Field(True, description="Whether try_to_pay pays; if not: created, autoPay fail.")
    pay_hours: Annotated[float, Field(gt=0)] = Field(24.0, description="Unpaid orders are cancelled after so long.")
    review_hours: Annotated[float, Field(ge=0)] = Field(1.0, description="Risk control after payment.")
    ship_days: Annotated[float, Field(ge=0)] = Field(2.0, description="From payment to shipping.")
    transit_days: Annotated[float, Field(ge=0)] = Field(10.0, description="From shipping to the end.")


@dataclass(slots=True)
class App:
    """A developer's app."""

    key: str
    secret: str
    group: Group
    callback: str | None = None  # redirect_uri must equal it; None: any
    push_url: str | None = None


@dataclass(slots=True)
class Grant:
    """A buyer's consent: one pair of tokens."""

    app_key: str
    account: str
    access: str
    refresh: str
    access_ends: float
    refresh_ends: float


@dataclass(slots=True)
class Code:
    """An authorization code, to be used once."""

    app_key: str
    account: str
    ends: float


@dataclass(slots=True)
class Order:
    """An order at one seller. Its status follows from the clock."""

    id: int
    account: str
    out_order_id: str
    placed: float
    store: int
    address: dict[str, str]
    service: str
    amount: Decimal
    currency: str
    lines: list[Item]
    paid: float | None = None
    cancelled: float | None = None
    pushed: int = 0  # how many of its events have been pushed

    def closed_at(self, settings: Settings) -> float | None:
        """When it was cancelled, by somebody or for want of money."""
        if self.cancelled is not None:
            return self.cancelled
        return self.placed + settings.pay_hours * 3_600 if self.paid is None else None

    def shipped_at(self, settings: Settings) -> float | None:
        """When the parcel leaves; None if it does not."""
        return None if self.paid is None or self.cancelled is not None else self.paid + settings.ship_days * DAY

    def status(self, settings: Settings, at: float) -> tuple[str, str, str | None]:
        """(order_status, logistics_status, end_reason)."""
        closed, shipped = self.closed_at(settings), self.shipped_at(settings)
        if closed is not None and at >= closed:
            return "FINISH", "NO_LOGISTICS", "CANCELED"
        if self.paid is None or at < self.paid:
            return "PLACE_ORDER_SUCCESS", "DEFAULT", None
        if shipped is not None and at >= shipped + settings.transit_days * DAY:
            return "FINISH", "BUYER_ACCEPT_GOODS", None
        if shipped is not None and at >= shipped:
            return "WAIT_BUYER_ACCEPT_GOODS", "SELLER_SEND_GOODS", None
        review = at < self.paid + settings.review_hours * 3_600
        return "RISK_CONTROL" if review else "WAIT_SELLER_SEND_GOODS", "WAIT_SELLER_SEND_GOODS", None

    def events(self, settings: Settings, at: float) -> list[str]:
        """What has been pushed, or is to be, in order."""
        closed, shipped = self.closed_at(settings), self.shipped_at(settings)
        moments = [
            (self.placed, "OrderCreated"),
            (self.paid, "PaymentAuthorized"),
            (shipped, "OrderShipped"),
            (None if shipped is None else shipped + settings.transit_days * DAY, "OrderConfirmed"),
            (closed, "OrderClosed"),
        ]
        return [name for moment, name in moments if moment is not None and moment <= at]


@dataclass(slots=True)
class State:
    """All of it."""

    catalogue: Catalogue
    apps: dict[str, App]
    limits: Limits
    settings: Settings
    codes: dict[str, Code] = field(default_factory=dict)
    by_access: dict[str, Grant] = field(default_factory=dict)
    by_refresh: dict[str, Grant] = field(default_factory=dict)
    orders: dict[int, Order] = field(default_factory=dict)
    out_orders: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    first_order: int = FIRST_ORDER

    def grant(self, app_key: str, account: str, at: float) -> Grant:
        """A new pair of tokens. The oldest ones are forgotten when there are too many."""
        if len(self.by_access) >= MAX_GRANTS:
            self.forget(next(iter(self.by_access.values())))
        made = Grant(
            app_key=app_key,
            account=account,
            access=f"5000{secrets.token_hex(24)}",
            refresh=f"5000{secrets.token_hex(24)}",
            access_ends=at + self.settings.access_seconds,
            refresh_ends=at + self.settings.refresh_seconds,
        )
        self.by_access[made.access] = self.by_refresh[made.refresh] = made
        return made

    def forget(self, grant: Grant) -> None:
        """Both tokens are worth nothing any more."""
        self.by_access.pop(grant.access, None)
        self.by_refresh.pop(grant.refresh, None)

    def code(self, app_key: str, account: str, at: float) -> str:
        """A new authorization code."""
        if len(self.codes) >= MAX_GRANTS:
            self.codes.pop(next(iter(self.codes)))
        made = f"3_{app_key}_{secrets.token_urlsafe(18)}"
        self.codes[made] = Code(app_key, account, at + CODE_SECONDS)
        return made
