"""What the control API says of AliExpress: apps, tokens, limits, orders, products as they truly are, push messages."""

from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from sandbox.aliexpress import goods, push
from sandbox.aliexpress.state import MAX_APPS, App, Group, Order, Settings, State
from sandbox.catalogue import Change
from sandbox.clock import timestamp
from sandbox.control import WorldDep, no_such

router = APIRouter(prefix="/control/aliexpress", tags=["aliexpress"])


class AppIn(BaseModel):
    """An app: one group of permissions each."""

    model_config = ConfigDict(extra="forbid")

    secret: str
    group: Group = "ds"
    callback: str | None = Field(None, description="redirect_uri must equal it; null: any will do.")
    push_url: str | None = Field(None, description="Where push messages go.")


class AppOut(AppIn):
    """An app with its key."""

    key: str


class TokenIn(BaseModel):
    """A grant out of nothing, without the dance."""

    model_config = ConfigDict(extra="forbid")

    app_key: str
    account: str = "buyer@example.com"


class TokenOut(BaseModel):
    """A pair of tokens."""

    access_token: str
    refresh_token: str


class LimitsIn(BaseModel):
    """Limits to change, and whether any are enforced."""

    model_config = ConfigDict(extra="forbid")

    enforced: bool | None = None
    rules: dict[str, tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=1)]]] = Field(
        default_factory=dict, description="Method, or pattern with `*` → [calls, seconds]."
    )


class LimitsOut(BaseModel):
    """The limits that hold: a method's own, else the first pattern that fits."""

    enforced: bool
    rules: dict[str, tuple[int, int]]


class ChangeIn(BaseModel):
    """What a product or SKU is from now on, whatever its seed says; all null: as the seed says."""

    model_config = ConfigDict(extra="forbid")

    stock: Annotated[int, Field(ge=0, le=10_000_000)] | None = None
    price: Annotated[int, Field(ge=0, le=100_000_000)] | None = Field(None, description="Euro cents.")
    active: bool | None = Field(None, description="Products only.")
    gone: bool | None = None


class OrderIn(BaseModel):
    """What happens to an order now."""

    model_config = ConfigDict(extra="forbid")

    paid: bool = False
    cancelled: bool = False


class OrderOut(BaseModel):
    """An order as it truly is."""

    id: str
    account: str
    out_order_id: str
    placed: str
    status: str
    logistics_status: str
    end_reason: str | None
    store: int
    amount: Decimal
    lines: list[dict[str, Any]]
    address: dict[str, Any]


class PushOut(BaseModel):
    """A push message and what it was answered."""

    app_key: str
    order: str
    event: str
    status: int | None = Field(description="null: nobody answered.")


def _app_out(app: App) -> AppOut:
    return AppOut(key=app.key, secret=app.secret, group=app.group, callback=app.callback, push_url=app.push_url)


@router.get("/apps")
async def list_apps(world: WorldDep) -> list[AppOut]:
    """All apps."""
    return [_app_out(app) for app in world.aliexpress.state.apps.values()]


@router.put("/apps/{key}")
async def put_app(world: WorldDep, key: str, given: AppIn) -> AppOut:
    """Make an app, or change one."""
    apps = world.aliexpress.state.apps
    if key not in apps and len(apps) >= MAX_APPS:
        raise HTTPException(409, f"at most {MAX_APPS} apps")
    apps[key] = App(key=key, **given.model_dump())
    return _app_out(apps[key])


@router.post("/tokens", status_code=201, responses=no_such("app"))
async def make_tokens(world: WorldDep, given: TokenIn) -> TokenOut:
    """A pair of tokens for an app."""
    state = world.aliexpress.state
    if given.app_key not in state.apps:
        raise HTTPException(404, "no such app")
    grant = state.grant(given.app_key, given.account, world.clock.now())
    return TokenOut(access_token=grant.access, refresh_token=grant.refresh)


@router.delete("/tokens/{access_token}", status_code=204, responses=no_such("token"))
async def revoke_token(world: WorldDep, access_token: str) -> None:
    """The buyer takes the consent back: both tokens are worth nothing any more."""
    grant = world.aliexpress.state.by_access.get(access_token)
    if grant is None:
        raise HTTPException(404, "no such token")
    world.aliexpress.state.forget(grant)


@router.get("/limits")
async def read_limits(world: WorldDep) -> LimitsOut:
    """The limits that hold."""
    limits = world.aliexpress.state.limits
    return LimitsOut(enforced=limits.enforced, rules=limits.rules)


@router.put("/limits")
async def set_limits(world: WorldDep, given: LimitsIn) -> LimitsOut:
    """Change limits. Windows begin anew."""
    limits = world.aliexpress.state.limits
    limits.enforced = limits.enforced if given.enforced is None else given.enforced
    limits.rules = {**given.rules, **{name: rule for name, rule in limits.rules.items() if name not in given.rules}}
    limits.windows.clear()
    return LimitsOut(enforced=limits.enforced, rules=limits.rules)


@router.get("/settings")
async def read_settings(world: WorldDep) -> Settings:
    """What is not known for certain of the real service, and what is assumed here."""
    return world.aliexpress.state.settings


@router.patch("/settings")
async def change_settings(world: WorldDep, given: Settings) -> Settings:
    """Change the settings that are given."""
    state = world.aliexpress.state
    state.settings = state.settings.model_copy(update=given.model_dump(exclude_unset=True))
    return state.settings


@router.put("/products/{id}", status_code=204, responses=no_such("product or SKU"))
async def change_product(world: WorldDep, id: str, given: ChangeIn) -> None:
    """Say what a product (by product_id) or a SKU (by sku_id) is like from now on."""
    catalogue = world.aliexpress.state.catalogue
    sku = goods.unit_of(id)
    index = goods.index_of_unit(sku) if sku >= 0 else goods.index_of(id)
    if not 0 <= index < catalogue.products:
        raise HTTPException(404, "no such product")
    try:
        catalogue.change(
            sku if sku >= 0 else goods.unit_of_product(index), Change(**given.model_dump(), at=world.clock.now())
        )
    except OverflowError as error:
        raise HTTPException(409, str(error)) from None


@router.delete("/products", status_code=204)
async def forget_changes(world: WorldDep) -> None:
    """All products are as their seed says again."""
    world.aliexpress.state.catalogue.changes.clear()


@router.get("/products")
async def true_products(
    world: WorldDep, first: Annotated[int, Field(ge=0)] = 0, count: Annotated[int, Field(ge=1, le=1_000)] = 100
) -> list[dict[str, Any]]:
    """SKUs of the products from the first on as they truly are now, without limits or faults.

    `product_id`, `sku_id`, `sku_attr`, `price` (euro cents), `stock`, `active`, `store`.
    """
    catalogue, at = world.aliexpress.state.catalogue, world.clock.now()
    products = (catalogue.product(index, at) for index in range(first, first + count))
    return [
        {
            "product_id": goods.product_id(product.index),
            "sku_id": goods.sku_id(article),
            "sku_attr": goods.sku_attr(article),
            "price": article.wholesale,
            "stock": article.stock,
            "active": product.active,
            "store": goods.store_of(product),
        }
        for product in products
        if product is not None
        for article in catalogue.articles(product, at)
    ]


def _order_out(state: State, order: Order, at: float) -> OrderOut:
    status, logistics, end_reason = order.status(state.settings, at)
    return OrderOut(
        id=str(order.id),
        account=order.account,
        out_order_id=order.out_order_id,
        placed=timestamp(order.placed),
        status=status,
        logistics_status=logistics,
        end_reason=end_reason,
        store=order.store,
        amount=order.amount,
        lines=order.lines,
        address=order.address,
    )


@router.get("/orders")
async def list_orders(world: WorldDep, out_order_id: str | None = None, after: int = 0) -> list[OrderOut]:
    """Orders as they truly are, oldest first, a thousand at most; with `after`, those of greater ids."""
    state, at = world.aliexpress.state, world.clock.now()
    found = (
        order for order in state.orders.values() if order.id > after and out_order_id in (None, order.out_order_id)
    )
    return [_order_out(state, order, at) for order, _ in zip(found, range(1_000), strict=False)]


@router.patch("/orders/{order_id}", responses=no_such("order"))
async def change_order(world: WorldDep, order_id: int, given: OrderIn) -> OrderOut:
    """Pay an order, or cancel it, now."""
    state, at = world.aliexpress.state, world.clock.now()
    order = state.orders.get(order_id)
    if order is None:
        raise HTTPException(404, "no such order")
    if given.paid and order.paid is None:
        order.paid = at
    if given.cancelled and order.cancelled is None:
        order.cancelled = at
    return _order_out(state, order, at)


@router.post("/push")
async def push_now(world: WorldDep, again: bool = False) -> list[PushOut]:
    """Push what is new now rather than within a second; `again`: everything, also what was pushed before."""
    done = await push.push_news(world, again=again)
    return [PushOut(app_key=each.app_key, order=str(each.order), event=each.event, status=each.status) for each in done]
