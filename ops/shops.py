"""Merchants with accounts at the sandbox's suppliers, things to sell, and orders for them."""

import itertools
import json
import random
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx

from services.catalog import edits
from services.core import db
from services.core.ids import new_id
from services.models import Connection, Offer, OfferLink, OfferVariant, Variant
from services.orders.incoming.receive import receive
from services.orders.incoming.said import SaidLine, SaidOrder
from services.sourcing.accounts.credentials import write

PURSE = "999999999"
STOCK = 10_000_000
THINGS = 8  # that each shop sells

ADDRESSES: dict[str, dict[str, str]] = {
    "bigbuy": {
        "first_name": "Ana", "last_name": "García", "line": "Calle Mayor 1", "town": "Valencia", "postcode": "46005",
        "country": "ES", "phone": "664869570", "email": "ana@example.com",
    },
    "aliexpress": {
        "first_name": "Jeanne", "last_name": "Martin", "line": "12 rue de Rivoli", "town": "Paris",
        "postcode": "75001", "province": "Ile-de-France", "country": "FR", "phone": "612345678",
    },
}  # fmt: skip


@dataclass
class Shop:
    """A merchant who sells what one supplier has."""

    supplier: str
    merchant_id: UUID
    skus: list[str]
    order_refs: dict[str, str]  # SKU → what the supplier calls it
    orders: list[UUID] = field(default_factory=list)


def open_shops(sandbox: httpx.Client, *, bigbuy: int, aliexpress: int) -> list[Shop]:
    """So many new shops of each supplier's things: each with a credential, and so a quota, of its own."""
    from ops.lab import new_merchant

    ask(sandbox, "PUT", "bigbuy/accounts/main", {"purse": PURSE})
    ask(sandbox, "PATCH", "aliexpress/settings", {"repeated_order": "same", "access_seconds": 10**8})
    shops = []
    suppliers = ["bigbuy"] * bigbuy + ["aliexpress"] * aliexpress
    for n, supplier in enumerate(suppliers):
        merchant_id = new_merchant(f"Shop {n}")
        name = merchant_id.hex[-12:]
        if supplier == "bigbuy":
            secrets = {"api_key": f"key-{name}"}
            ask(sandbox, "PUT", f"bigbuy/keys/{secrets['api_key']}", {"account": "main"})
        else:
            app = {"app_key": str(90_000_000 + merchant_id.int % 9_999_999), "app_secret": f"secret-{name}"}
            ask(sandbox, "PUT", f"aliexpress/apps/{app['app_key']}", {"secret": app["app_secret"], "group": "ds"})
            made = ask(sandbox, "POST", "aliexpress/tokens", {"app_key": app["app_key"]})
            secrets = {**app, "access_token": made["access_token"]}
        shops.append(_stocked(sandbox, Shop(supplier, merchant_id, [], {}), name, secrets))
    return shops


def _stocked(sandbox: httpx.Client, shop: Shop, name: str, secrets: dict[str, str]) -> Shop:
    connection_id = new_id()
    country = ADDRESSES[shop.supplier]["country"]
    with db.transaction(merchant_id=shop.merchant_id) as session:
        row = Connection(
            id=connection_id, merchant_id=shop.merchant_id, supplier=shop.supplier, name=name, sandbox=True,
            account_key=name, country=country,
        )  # fmt: skip
        write(row, secrets)
        session.add(row)
        session.flush()
        for one in _goods(sandbox, shop.supplier)[:THINGS]:
            sku = f"{name}-{one['id']}"
            product_id, _ = edits.create_product(
                session, merchant_id=shop.merchant_id, said={"title": sku}, variants=[{"sku": sku, "price": "999"}]
            )
            variant = session.query(Variant).filter_by(product_id=product_id).one()
            own = {"merchant_id": shop.merchant_id, "connection_id": connection_id}
            tiers = [{"quantity": STOCK, "min_days": 1, "max_days": 2, "warehouse": one["warehouse"]}]
            session.add_all(
                [
                    Offer(**own, id=f"p{one['id']}", order_id=one["product"], title=sku, print=1),
                    OfferVariant(
                        **own, id=one["id"], offer_id=f"p{one['id']}", order_ref=one["ref"], cost=one["cost"] / 100,
                        currency="EUR", stock=STOCK, tiers=tiers,
                    ),
                    OfferLink(**own, offer_variant_id=one["id"], variant_id=variant.id, how="hand"),
                ]
            )  # fmt: skip
            shop.skus.append(sku)
            shop.order_refs[sku] = one["ref"]
    return shop


def _goods(sandbox: httpx.Client, supplier: str) -> list[dict[str, Any]]:
    """What can be bought without end."""
    found: list[dict[str, Any]]
    if supplier == "bigbuy":
        sold = [one for one in ask(sandbox, "GET", "bigbuy/products") if one["active"] and one["stock"] > 0]
        found = [
            {"id": f"x{one['sku']}", "ref": one["sku"], "product": one["product"], "cost": one["wholesale"],
             "warehouse": str(one["warehouse"])}
            for one in sold[:THINGS]
        ]  # fmt: skip
        for one in found:
            ask(sandbox, "PUT", f"bigbuy/products/{one['ref']}", {"stock": STOCK})
        return found
    sold = [one for one in ask(sandbox, "GET", "aliexpress/products?count=200") if one["active"] and one["stock"] > 0]
    found = [
        {"id": str(one["sku_id"]), "ref": one["sku_attr"], "product": str(one["product_id"]), "cost": one["price"],
         "warehouse": ""}
        for one in sold
        if one["sku_attr"]
    ][:THINGS]  # fmt: skip
    for one in found:
        ask(sandbox, "PUT", f"aliexpress/products/{one['id']}", {"stock": STOCK})
    return found


def take_orders(shops: list[Shop], count: int, dice: random.Random, *, most_lines: int = 3) -> None:
    """So many orders of one to `most_lines` things, shared out among the shops."""
    numbers = itertools.count(1)
    for shop, share in zip(shops, _shares(count, len(shops)), strict=True):
        for first in range(0, share, 200):
            said = [
                SaidOrder(
                    "shop", str(next(numbers)), currency="EUR", address=ADDRESSES[shop.supplier],
                    lines=tuple(
                        SaidLine(dice.randint(1, 3), sku=sku)
                        for sku in dice.sample(shop.skus, dice.randint(1, min(most_lines, len(shop.skus))))
                    ),
                )
                for _ in range(min(200, share - first))
            ]  # fmt: skip
            with db.transaction(merchant_id=shop.merchant_id) as session:
                receipts = receive(session, said, merchant_id=shop.merchant_id)
            shop.orders += [one.order_id for one in receipts]


def _shares(count: int, parts: int) -> list[int]:
    return [count // parts + (n < count % parts) for n in range(parts)]


def ask(sandbox: httpx.Client, method: str, path: str, body: Any = None) -> Any:
    """A call to the sandbox's control; its JSON, or its lines of JSON."""
    answer = sandbox.request(method, f"/control/{path}", json=body)
    answer.raise_for_status()
    if "ndjson" in answer.headers.get("content-type", ""):
        return [json.loads(line) for line in answer.text.splitlines()]
    return answer.json() if answer.content else None
