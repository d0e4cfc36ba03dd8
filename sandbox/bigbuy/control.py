"""What the control API says of BigBuy: accounts, limits, orders, products as they truly are."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from sandbox.bigbuy import items, shelves
from sandbox.bigbuy.state import MAX_KEYS, STATUSES, Account, Order, Settings, State
from sandbox.catalogue import Article, Change, Product
from sandbox.clock import timestamp
from sandbox.control import WorldDep, no_such
from sandbox.wire import Item, encode

router = APIRouter(prefix="/control/bigbuy", tags=["bigbuy"])


class AccountIn(BaseModel):
    """What is to be changed of an account; a new name makes a new one."""

    model_config = ConfigDict(extra="forbid")

    purse: Annotated[Decimal, Field(max_digits=12, decimal_places=2)] | None = Field(None, description="Euros.")
    pack: bool | None = Field(None, description="Without a pack no order is taken: ER014.")


class KeyIn(BaseModel):
    """Whose key it is."""

    model_config = ConfigDict(extra="forbid")

    account: str = "main"


class AccountOut(BaseModel):
    """A customer of BigBuy; an account may have several keys, as when they are rotated."""

    name: str
    purse: Decimal
    pack: bool
    keys: list[str]


class LimitsIn(BaseModel):
    """Limits to change, and whether any are enforced."""

    model_config = ConfigDict(extra="forbid")

    enforced: bool | None = None
    rules: dict[str, tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=1)]]] = Field(
        default_factory=dict, description="Endpoint, or pattern with `*` → [calls, seconds]."
    )


class LimitsOut(BaseModel):
    """The limits that hold: an endpoint's own, else the first pattern that fits, else none."""

    enforced: bool
    rules: dict[str, tuple[int, int]]


class ChangeIn(BaseModel):
    """What a product or variation is from now on, whatever its seed says; all null: as the seed says."""

    model_config = ConfigDict(extra="forbid")

    stock: Annotated[int, Field(ge=0, le=10_000_000)] | None = None
    price: Annotated[int, Field(ge=0, le=100_000_000)] | None = Field(None, description="Wholesale, in cents.")
    active: bool | None = Field(None, description="Products only.")
    gone: bool | None = Field(None, description="Listed nowhere any more.")


class OrderIn(BaseModel):
    """A status that stays, whatever the clock says; null: as the clock says."""

    model_config = ConfigDict(extra="forbid")

    status: str | None


class OrderOut(BaseModel):
    """An order as it truly is."""

    id: str
    account: str
    internal_reference: str
    placed: str
    status: str
    payment: str
    warehouse: int
    carrier: str
    total: Decimal
    products: list[dict[str, Any]]
    address: dict[str, str]
    invoices: int


def _account_out(state: State, account: Account) -> AccountOut:
    keys = [key for key, name in state.keys.items() if name == account.name]
    return AccountOut(name=account.name, purse=account.purse, pack=account.pack, keys=keys)


@router.get("/accounts")
async def list_accounts(world: WorldDep) -> list[AccountOut]:
    """All accounts with their keys and what is in their purses."""
    state = world.bigbuy.state
    return [_account_out(state, account) for account in state.accounts.values()]


@router.put("/accounts/{name}")
async def put_account(world: WorldDep, name: str, given: AccountIn) -> AccountOut:
    """Make an account, or change one. A new one has 10,000.00 in its purse unless you say otherwise."""
    state = world.bigbuy.state
    if name not in state.accounts and len(state.accounts) >= MAX_KEYS:
        raise HTTPException(409, f"at most {MAX_KEYS} accounts")
    account = state.accounts.setdefault(name, Account(name, Decimal("10000.00")))
    account.purse = account.purse if given.purse is None else given.purse
    account.pack = account.pack if given.pack is None else given.pack
    return _account_out(state, account)


@router.put("/keys/{key}", responses=no_such("account"))
async def put_key(world: WorldDep, key: str, given: KeyIn) -> AccountOut:
    """Give an account a key."""
    state = world.bigbuy.state
    if given.account not in state.accounts:
        raise HTTPException(404, "no such account")
    if key not in state.keys and len(state.keys) >= MAX_KEYS:
        raise HTTPException(409, f"at most {MAX_KEYS} keys")
    state.keys[key] = given.account
    return _account_out(state, state.accounts[given.account])


@router.delete("/keys/{key}", status_code=204, responses=no_such("key"))
async def revoke_key(world: WorldDep, key: str) -> None:
    """From now on the key is answered 401."""
    if world.bigbuy.state.keys.pop(key, None) is None:
        raise HTTPException(404, "no such key")


@router.get("/limits")
async def read_limits(world: WorldDep) -> LimitsOut:
    """The limits that hold."""
    limits = world.bigbuy.state.limits
    return LimitsOut(enforced=limits.enforced, rules=limits.rules)


@router.put("/limits")
async def set_limits(world: WorldDep, given: LimitsIn) -> LimitsOut:
    """Change limits. Windows begin anew."""
    limits = world.bigbuy.state.limits
    limits.enforced = limits.enforced if given.enforced is None else given.enforced
    limits.rules = {**given.rules, **{name: rule for name, rule in limits.rules.items() if name not in given.rules}}
    limits.windows.clear()
    return LimitsOut(enforced=limits.enforced, rules=limits.rules)


@router.get("/settings")
async def read_settings(world: WorldDep) -> Settings:
    """What is not known for certain of the real service, and what is assumed here."""
    return world.bigbuy.state.settings


@router.patch("/settings")
async def change_settings(world: WorldDep, given: Settings) -> Settings:
    """Change the settings that are given."""
    state = world.bigbuy.state
    state.settings = state.settings.model_copy(update=given.model_dump(exclude_unset=True))
    return state.settings


@router.put("/products/{sku}", status_code=204, responses=no_such("product or variation"))
async def change_product(world: WorldDep, sku: str, given: ChangeIn) -> None:
    """Say what a product or variation is like from now on."""
    catalogue = world.bigbuy.state.catalogue
    place, unit = shelves.from_sku(sku), shelves.unit_of(sku)
    if place is None or unit is None or not 0 <= place[0] < catalogue.products:
        raise HTTPException(404, "no such product")
    try:
        catalogue.change(unit, Change(**given.model_dump(), at=world.clock.now()))
    except OverflowError as error:
        raise HTTPException(409, str(error)) from None


@router.delete("/products", status_code=204)
async def forget_changes(world: WorldDep) -> None:
    """All products are as their seed says again."""
    world.bigbuy.state.catalogue.changes.clear()


@router.get("/products", response_class=StreamingResponse)
async def true_products(world: WorldDep) -> StreamingResponse:
    """Everything that can be bought as it truly is now, without limits or faults: a JSON object a line.

    `sku`, `product` (reference of the product), `id`, `wholesale` (cents), `stock`, `active`, `warehouse`, `ean13`,
    `name` (English).
    """
    return StreamingResponse(_true_lines(world.bigbuy.state, world.clock.now()), media_type="application/x-ndjson")


async def _true_lines(state: State, at: float) -> AsyncIterator[str]:
    lines: list[str] = []
    for product in state.catalogue.all(at):
        for article in state.catalogue.articles(product, at):
            lines.append(f"{encode(_truth(product, article))}\n")
        if len(lines) >= 500:
            yield "".join(lines)
            lines = []
            await asyncio.sleep(0)
    yield "".join(lines)


def _truth(product: Product, article: Article) -> Item:
    index, variant = product.index, article.variant
    return {
        "sku": shelves.sku(index, variant),
        "product": shelves.sku(index),
        "id": shelves.variation_id(index, variant) if variant else shelves.product_id(index),
        "wholesale": article.wholesale,
        "stock": article.stock,
        "active": product.active,
        "warehouse": items.warehouse(product),
        "ean13": items.ean13(product, variant),
        "name": items.name(product, "en"),
    }


# -- Orders --------------------------------------------------------------------------------------------------------


def _order_out(state: State, order: Order, at: float) -> OrderOut:
    return OrderOut(
        id=str(order.id),
        account=order.account,
        internal_reference=order.reference,
        placed=timestamp(order.placed),
        status=order.status(state.settings, at),
        payment=order.payment,
        warehouse=order.warehouse,
        carrier=order.carrier,
        total=order.total,
        products=order.lines,
        address=order.address,
        invoices=order.invoices,
    )


@router.get("/orders")
async def list_orders(world: WorldDep, reference: str | None = None, after: str = "0") -> list[OrderOut]:
    """Orders as they truly are, oldest first, a thousand at most; with `after`, those of greater ids."""
    state, at = world.bigbuy.state, world.clock.now()
    last = int(after) if after.isascii() and after.isdigit() and len(after) < 16 else 0
    found = (order for order in state.orders.values() if order.id > last and reference in (None, order.reference))
    return [_order_out(state, order, at) for order, _ in zip(found, range(1_000), strict=False)]


@router.patch("/orders/{order_id}", responses=no_such("order"))
async def change_order(world: WorldDep, order_id: int, given: OrderIn) -> OrderOut:
    """Set an order's status. `Cancelled` gives the money back, once."""
    state, at = world.bigbuy.state, world.clock.now()
    order = state.orders.get(order_id)
    if order is None:
        raise HTTPException(404, "no such order")
    if given.status is not None and given.status not in STATUSES.values():
        raise HTTPException(422, f"one of {', '.join(STATUSES.values())}")
    order.set_status = given.status
    if given.status == "Cancelled" and order.payment == "moneybox" and not order.refunded:
        order.refunded = True
        state.accounts[order.account].purse += order.total
    return _order_out(state, order, at)
