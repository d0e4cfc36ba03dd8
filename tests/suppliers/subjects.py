"""Each adapter and its sandbox, in the words of the conformance suite."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from services.suppliers import aliexpress, bigbuy, feed
from services.suppliers.base import Address, Connection, OrderDraft, OrderLine
from tests.suppliers.world import World

Truth = dict[str, tuple[Decimal, int]]  # `Subject.key` of a variant → cost, stock


@dataclass(frozen=True)
class Subject:
    """What the suite must know of a supplier beside its contract."""

    adapter: Any
    connect: Callable[..., Connection]  # (world, **fields)
    prepare: Callable[[World], None]  # after a reset
    spoil: dict[str, str]  # a secret that is wrong
    truth: Callable[[World], Truth]
    reads: str  # the route that a walk's faults befall
    draft: Callable[[World, str], OrderDraft] | None = None  # None, and the next two: it takes no orders
    placed: Callable[[World, str], list[str]] | None = None  # ids of the orders with a reference, as they truly are
    creates: str = ""  # the route that makes orders
    several_pages: int = 45  # products that make more than one page
    calls: int = 3  # of `reads` that go well before a fault
    soft: tuple[str, ...] = ()
    only: Callable[[World], Sequence[str]] | None = None
    key: str = "order_ref"  # what the truth names a variant by
    drift_fields: tuple[tuple[str, ...], ...] = field(default_factory=tuple)


def _bigbuy_prepare(world: World) -> None:
    world.ask("PUT", "bigbuy/limits", {"enforced": False})


def _bigbuy_connect(world: World, *, secrets: dict[str, str] | None = None, **more: Any) -> Connection:
    (account,) = world.ask("GET", "bigbuy/accounts")
    return Connection(
        secrets={"api_key": account["keys"][0], **(secrets or {})}, base_url=f"{world.url}/bigbuy", **more
    )


def _bigbuy_truth(world: World) -> Truth:
    return {one["sku"]: (Decimal(one["wholesale"]) / 100, one["stock"]) for one in world.ask("GET", "bigbuy/products")}


def _bigbuy_draft(world: World, reference: str) -> OrderDraft:
    sold = [one for one in world.ask("GET", "bigbuy/products") if one["active"] and one["stock"] > 3]
    address = Address(
        first_name="John", last_name="Doe", line="C/ Altea 1", town="Valencia", postcode="46005", country="ES",
        phone="664869570", email="john@example.com",
    )  # fmt: skip
    return OrderDraft(reference, (OrderLine(sold[0]["sku"], 2),), address, language="es")


def _bigbuy_placed(world: World, reference: str) -> list[str]:
    return [one["id"] for one in world.ask("GET", f"bigbuy/orders?reference={reference}")]


def _aliexpress_prepare(world: World) -> None:
    world.ask("PUT", "aliexpress/limits", {"enforced": False})
    world.ask("PATCH", "aliexpress/settings", {"repeated_order": "same", "access_seconds": 10**8})


def _aliexpress_connect(world: World, *, secrets: dict[str, str] | None = None, **more: Any) -> Connection:
    (app,) = (one for one in world.ask("GET", "aliexpress/apps") if one["group"] == "ds")
    tokens = world.ask("POST", "aliexpress/tokens", {"app_key": app["key"]})
    given = {"app_key": app["key"], "app_secret": app["secret"], "access_token": tokens["access_token"]}
    url = f"{world.url}/aliexpress"
    return Connection(secrets={**given, **(secrets or {})}, base_url=url, country="FR", language="fr", **more)


def _aliexpress_products(world: World) -> list[dict[str, Any]]:
    return world.ask("GET", "aliexpress/products?count=1000")


def _aliexpress_only(world: World) -> list[str]:
    return [str(one["product_id"]) for one in _aliexpress_products(world)]


def _aliexpress_truth(world: World) -> Truth:
    return {str(one["sku_id"]): (Decimal(one["price"]) / 100, one["stock"]) for one in _aliexpress_products(world)}


def _aliexpress_draft(world: World, reference: str) -> OrderDraft:
    sold = [one for one in _aliexpress_products(world) if one["active"] and one["stock"] > 3 and one["sku_attr"]]
    line = OrderLine(sold[0]["sku_attr"], 2, product_id=str(sold[0]["product_id"]), variant_id=str(sold[0]["sku_id"]))
    address = Address(
        first_name="Jeanne", last_name="Martin", line="12 rue de Rivoli", town="Paris", postcode="75001",
        country="FR", phone="612345678", phone_country="+33", province="Ile-de-France",
    )  # fmt: skip
    return OrderDraft(reference, (line,), address, language="fr")


def _aliexpress_placed(world: World, reference: str) -> list[str]:
    return [one["id"] for one in world.ask("GET", f"aliexpress/orders?out_order_id={reference}")]


def _feed_prepare(world: World) -> None:
    world.ask("PUT", "feed/limits", {"enforced": False})


def _feed_connect(world: World, *, secrets: dict[str, str] | None = None, **more: Any) -> Connection:
    (key,) = world.ask("GET", "feed/keys")
    given = {"url": "catalogue.json", "header": f"X-Api-Key: {key}", **(secrets or {})}
    return Connection(secrets=given, base_url=f"{world.url}/feed", **more)


def _feed_truth(world: World) -> Truth:
    return {one["sku"]: (Decimal(one["wholesale"]) / 100, one["stock"]) for one in world.ask("GET", "feed/products")}


SUBJECTS = {
    "aliexpress": Subject(
        adapter=aliexpress,
        connect=_aliexpress_connect,
        prepare=_aliexpress_prepare,
        spoil={"app_secret": "wrong"},
        truth=_aliexpress_truth,
        draft=_aliexpress_draft,
        placed=_aliexpress_placed,
        reads="aliexpress.ds.product.get",
        creates="aliexpress.ds.order.create",
        soft=("isp", "remote", "flow", "inner"),
        only=_aliexpress_only,
        key="id",
        drift_fields=(("sku_id",), ("offer_sale_price",), ("sku_available_stock",), ("subject",)),
    ),
    "bigbuy": Subject(
        adapter=bigbuy,
        connect=_bigbuy_connect,
        prepare=_bigbuy_prepare,
        spoil={"api_key": "wrong"},
        truth=_bigbuy_truth,
        draft=_bigbuy_draft,
        placed=_bigbuy_placed,
        reads="catalog/products*",
        creates="order/create*",
        soft=("code", "embedded", "inverted"),
        drift_fields=(("id",), ("sku",), ("wholesalePrice",), ("stocks",), ("name",)),
    ),
    "feed": Subject(
        adapter=feed,
        connect=_feed_connect,
        prepare=_feed_prepare,
        spoil={"header": "X-Api-Key: wrong"},
        truth=_feed_truth,
        reads="catalogue.json",
        several_pages=700,
        calls=0,
        soft=("page", "object"),
        key="sku",
        drift_fields=(("cost",), ("quantity",), ("title",), ("item_group_id",)),
    ),
}
