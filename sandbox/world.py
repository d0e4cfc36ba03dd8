"""Everything the sandbox holds: its clock, ledger, faults and suppliers, and how to begin anew."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from sandbox.aliexpress.supplier import AliExpress
from sandbox.bigbuy.supplier import BigBuy
from sandbox.catalogue import MAX_PRODUCTS
from sandbox.clock import Clock
from sandbox.faults import Faults
from sandbox.feed.supplier import Feed
from sandbox.ledger import Ledger
from sandbox.wire import Supplier


class Options(BaseModel):
    """What a world is made of."""

    model_config = ConfigDict(extra="forbid")

    seed: int = Field(1, description="The same seed makes the same world.")
    products: Annotated[int, Field(ge=1, le=MAX_PRODUCTS)] = Field(1_000, description="Of each supplier.")
    stock_drift: Annotated[float, Field(ge=0, le=60)] = Field(
        0.01, description="Share of articles whose stock changes in an hour; 0: stands still."
    )
    price_drift: Annotated[float, Field(ge=0, le=60)] = Field(
        0.02, description="Share of products whose price changes in a day; 0: stands still."
    )
    at: AwareDatetime | None = Field(None, description="When the world begins; default: now.")
    speed: Annotated[float, Field(ge=0, le=1_000_000)] = Field(1.0, description="Its seconds in a real one; 0: frozen.")
    orders_before: Annotated[int, Field(ge=0, le=10**9)] = Field(
        0, description="Orders' numbers begin so many later: who remembers those of an earlier world meets none again."
    )
    ledger: Annotated[int, Field(ge=10, le=1_000_000)] = Field(20_000, description="Entries the ledger keeps.")


class World:
    """The state of the process; there is one."""

    clock: Clock
    ledger: Ledger
    faults: Faults
    bigbuy: BigBuy
    aliexpress: AliExpress
    feed: Feed
    suppliers: dict[str, Supplier]

    def __init__(self, options: Options | None = None) -> None:
        """A new world."""
        self.reset(options or Options())

    def reset(self, options: Options) -> None:
        """Begin anew: orders, accounts, faults and ledger are forgotten."""
        self.options = options
        self.clock = Clock(at=None if options.at is None else options.at.timestamp(), speed=options.speed)
        self.ledger = Ledger(limit=options.ledger)
        self.faults = Faults(options.seed)
        self.bigbuy = BigBuy(options.seed, options.products, options.stock_drift, options.price_drift)
        self.aliexpress = AliExpress(options.seed, options.products, options.stock_drift, options.price_drift)
        self.feed = Feed(options.seed, options.products, options.stock_drift, options.price_drift)
        self.bigbuy.state.first_order += options.orders_before
        self.aliexpress.state.first_order += options.orders_before * 10_007
        self.suppliers = {each.name: each for each in (self.bigbuy, self.aliexpress, self.feed)}

    def time(self) -> datetime:
        """The sandbox's time."""
        return datetime.fromtimestamp(self.clock.now(), UTC)
