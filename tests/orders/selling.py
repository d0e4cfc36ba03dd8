"""A merchant who sells what the sandbox's suppliers have: accounts, offers, links, orders, and what became of them."""

import itertools
from typing import Any
from uuid import UUID

from sqlalchemy import text

from services.core.db import transaction
from services.core.ids import new_id
from services.models import Connection, Offer, OfferLink, OfferVariant
from services.orders import intents
from services.orders.incoming.receive import receive
from services.orders.incoming.said import SaidLine, SaidOrder
from services.orders.intents import Standing
from services.orders.placing.ask import ask
from services.orders.policy import set_policy
from services.sourcing.accounts.credentials import write
from tests import inline
from tests.catalog.editing import make, variant_ids
from tests.conftest import make_merchant
from tests.suppliers.subjects import SUBJECTS
from tests.suppliers.world import World

_numbers = itertools.count(1)

SPAIN = {
    "first_name": "Ana", "last_name": "García", "line": "Calle Mayor 1", "town": "Valencia", "postcode": "46005",
    "country": "ES", "phone": "664869570", "email": "ana@example.com",
}  # fmt: skip
FRANCE = {
    "first_name": "Jeanne", "last_name": "Martin", "line": "12 rue de Rivoli", "town": "Paris", "postcode": "75001",
    "province": "Ile-de-France", "country": "FR", "phone": "612345678", "phone_country": "+33",
}  # fmt: skip


class Shop:
    """One merchant, and what they sell: `skus` of the catalogue, each filled by an offer."""

    def __init__(self, world: World, *, supplier: str = "bigbuy", things: int = 2, same_warehouse: bool = True) -> None:
        self.world = world
        self.supplier = supplier
        self.merchant = make_merchant()
        self.connection_id = connect(world, self.merchant, supplier)
        self.goods = goods_of(world, supplier, same_warehouse=same_warehouse)[:things]
        self.skus = [stock_up(self.merchant, self.connection_id, one) for one in self.goods]

    def policy(self, **said: Any) -> None:
        """How the merchant wants it."""
        with transaction(merchant_id=self.merchant) as session:
            set_policy(session, merchant_id=self.merchant, said=said)

    def variant_of(self, sku: str) -> UUID:
        """The catalogue's variant."""
        return UUID(str(self.rows("SELECT id FROM variants WHERE sku = :sku", sku=sku)[0]["id"]))

    def order(self, *quantities: int, **said: Any) -> UUID:
        """An order that came in, of so many pieces of each thing; one of the first, unless said."""
        lines = tuple(SaidLine(pieces, sku=sku) for sku, pieces in zip(self.skus, quantities or (1,), strict=False))
        address = SPAIN if self.supplier == "bigbuy" else FRANCE
        one = SaidOrder(
            **{"channel": "shop", "external_id": f"{next(_numbers)}", "currency": "EUR", "address": dict(address),
               "lines": lines, **said}
        )  # fmt: skip
        with transaction(merchant_id=self.merchant) as session:
            (receipt,) = receive(session, [one], merchant_id=self.merchant)
        assert receipt.error is None, receipt
        return receipt.order_id

    def ask(self, order_id: UUID) -> UUID:
        """Have it fulfilled: the job's id."""
        with transaction(merchant_id=self.merchant) as session:
            return ask(session, merchant_id=self.merchant, order_id=order_id).job_id

    def fulfil(self, order_id: UUID, *, times: int = 12) -> dict[str, Any]:
        """The job's end, or how it stands after so many attempts, each as soon as it may be."""
        job_id = self.ask(order_id)
        return self.work(job_id, times=times)

    def work(self, job_id: UUID, *, times: int = 12, **how: Any) -> dict[str, Any]:
        """Let time pass and a worker take the job, until it has ended or that often."""
        ended = inline.state_of(job_id)
        for _ in range(times):
            if ended["state"] in ("succeeded", "failed", "cancelled"):
                break
            ended = inline.work(job_id, **how)
            self.later()
        return ended

    def later(self, seconds: float = 200) -> None:
        """So much time passes, here and there."""
        self.world.ask("POST", "clock/advance", {"seconds": seconds})
        with transaction(merchant_id=self.merchant) as session:
            session.execute(
                text("""
                UPDATE intents SET sending_since = sending_since - make_interval(secs => :s),
                    unknown_since = unknown_since - make_interval(secs => :s),
                    doubt_since = doubt_since - make_interval(secs => :s),
                    looked_up_at = looked_up_at - make_interval(secs => :s),
                    send_after = send_after - make_interval(secs => :s)"""),
                {"s": seconds},
            )

    def standings(self, order_id: UUID) -> list[Standing]:
        """Its intents."""
        with transaction(merchant_id=self.merchant) as session:
            return intents.standing_of(session, order_id)

    def rows(self, statement: str, **asked: Any) -> list[dict[str, Any]]:
        """Rows of this merchant's."""
        with transaction(merchant_id=self.merchant) as session:
            return [dict(row._mapping) for row in session.execute(text(statement), asked)]

    def state(self, order_id: UUID) -> str:
        """The order's."""
        return str(self.rows("SELECT state FROM orders WHERE id = :id", id=order_id)[0]["state"])

    def waiting(self, order_id: UUID) -> list[str]:
        """The causes for which it is before somebody."""
        asked = "SELECT cause FROM attention_items WHERE order_id = :id AND closed_at IS NULL ORDER BY cause"
        return [row["cause"] for row in self.rows(asked, id=order_id)]

    def truth(self, reference: str) -> list[str]:
        """The supplier's orders under a reference, as they truly are."""
        return SUBJECTS[self.supplier].placed(self.world, reference)

    def bought(self) -> list[dict[str, Any]]:
        """Every order the supplier has."""
        return list(self.world.ask("GET", f"{self.supplier}/orders"))


def connect(world: World, merchant: UUID, supplier: str, **secrets: str) -> UUID:
    """An account in the sandbox."""
    subject = SUBJECTS[supplier]
    given = subject.connect(world)
    id_ = new_id()
    with transaction(merchant_id=merchant) as session:
        row = Connection(
            id=id_, merchant_id=merchant, supplier=supplier, name=f"{supplier} {id_}", sandbox=True,
            account_key=str(id_), country="ES" if supplier == "bigbuy" else "FR",
        )  # fmt: skip
        write(row, {**given.secrets, **secrets})
        session.add(row)
    return id_


def goods_of(world: World, supplier: str, *, same_warehouse: bool = True) -> list[dict[str, Any]]:
    """What can be bought, in the words of offers: enough of each, and, if wanted, all in one warehouse."""
    if supplier == "bigbuy":
        sold = [one for one in world.ask("GET", "bigbuy/products") if one["active"] and one["stock"] > 20]
        kept = [one for one in sold if not same_warehouse or one["warehouse"] == sold[0]["warehouse"]]
        return [
            {"id": f"x{one['sku']}", "ref": one["sku"], "product": one["product"], "cost": one["wholesale"],
             "stock": one["stock"], "warehouse": str(one["warehouse"])}
            for one in kept
        ]  # fmt: skip
    sold = [one for one in world.ask("GET", "aliexpress/products?count=1000") if one["active"] and one["stock"] > 20]
    return [
        {"id": str(one["sku_id"]), "ref": one["sku_attr"], "product": str(one["product_id"]), "cost": one["price"],
         "stock": one["stock"], "warehouse": None}
        for one in sold
        if one["sku_attr"]
    ]  # fmt: skip


def stock_up(merchant: UUID, connection_id: UUID, one: dict[str, Any], *, sku: str | None = None) -> str:
    """An offer, and a variant of the catalogue that it fills: its SKU."""
    sku = sku or f"OWN-{new_id().hex[-12:]}"
    product_id, _ = make(merchant, {"title": one["ref"]}, [{"sku": sku, "price": "999.00", "currency": "EUR"}])
    (variant_id,) = variant_ids(merchant, product_id)
    offer(merchant, connection_id, one, variant_id)
    return sku


def offer(merchant: UUID, connection_id: UUID, one: dict[str, Any], variant_id: UUID) -> None:
    """What the supplier has, linked to a variant."""
    own = {"merchant_id": merchant, "connection_id": connection_id}
    tiers = [{"quantity": one["stock"], "min_days": 1, "max_days": 3, "warehouse": one["warehouse"]}]
    with transaction(merchant_id=merchant) as session:
        session.merge(Offer(**own, id=one["product"], title=one["ref"], print=1))
        session.merge(
            OfferVariant(
                **own, id=one["id"], offer_id=one["product"], order_ref=one["ref"], cost=one["cost"] / 100,
                currency="EUR", stock=one["stock"], tiers=tiers,
            )
        )  # fmt: skip
        session.merge(OfferLink(**own, offer_variant_id=one["id"], variant_id=variant_id, how="hand"))
