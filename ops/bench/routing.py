"""Routing: how long the choice takes by itself, and with everything read that it is made from."""

import gc
import random
import time
from decimal import Decimal
from uuid import UUID

from ops.bench.lab import Lab
from ops.bench.latency import percentile
from ops.bench.table import Table

SUPPLIERS, LINES, VARIANTS, ORDERS = 10, 20, 2_000, 300
WAREHOUSES = 2

# Everything a merchant has who can buy every variant from every supplier.
_CONNECTIONS = """
INSERT INTO connections (id, merchant_id, supplier, name, secrets, account_key, stock_at)
SELECT gen_random_uuid(), :merchant_id, 'bigbuy', 'supplier ' || n, 'none', n::text, now()
FROM generate_series(1, :suppliers) n
"""
_VARIANTS = """
WITH made AS (
    INSERT INTO products (id, merchant_id, source, key, title)
    SELECT gen_random_uuid(), :merchant_id, 'bench', n::text, 'Product ' || n FROM generate_series(1, :variants) n
    RETURNING id, key
)
INSERT INTO variants (id, merchant_id, product_id, key, position, sku, price, currency)
SELECT gen_random_uuid(), :merchant_id, id, key, 1, 'S' || key, 60, 'EUR' FROM made
"""
_OFFERS = """
INSERT INTO offers (merchant_id, connection_id, id, title, print)
SELECT :merchant_id, connections.id, variants.key, 'Product ' || variants.key, 1
FROM connections CROSS JOIN variants
WHERE connections.merchant_id = :merchant_id AND variants.merchant_id = :merchant_id
"""
_OFFER_VARIANTS = """
INSERT INTO offer_variants (merchant_id, connection_id, id, offer_id, order_ref, cost, currency, stock, tiers, stock_at)
SELECT :merchant_id, connection_id, id, id, id, round((20 + 20 * random())::numeric, 2), 'EUR', 50,
    jsonb_build_array(jsonb_build_object('quantity', 50, 'min_days', 1, 'max_days', (1 + 5 * random())::int,
        'warehouse', (1 + random() * (:warehouses - 1))::int::text)), now()
FROM offers WHERE merchant_id = :merchant_id
"""
_LINKS = """
INSERT INTO offer_links (merchant_id, connection_id, offer_variant_id, variant_id, how)
SELECT :merchant_id, offers.connection_id, offers.id, variants.id, 'sku'
FROM offers JOIN variants ON variants.merchant_id = :merchant_id AND variants.key = offers.id
WHERE offers.merchant_id = :merchant_id
"""


def measure(lab: Lab, table: Table, merchant_id: UUID) -> None:
    """All rows of the table that concern routing."""
    alone = [1000 * took for took in _alone()]
    what = f"{LINES} lines at {SUPPLIERS} suppliers"
    table.add(f"route {what}, everything known, p99", f"{percentile(alone, 0.99):.1f} ms")
    order_ids = _stock(lab, merchant_id)
    _route(merchant_id, order_ids[:10])  # a worker imports and compiles once
    gc.collect()
    gc.freeze()  # what the bench holds is not looked through: a full collection of it takes 120 ms
    took, proven = _route(merchant_id, order_ids)
    p50, p99 = (1000 * percentile(took, share) for share in (0.5, 0.99))
    table.add(f"route {what}, read and chosen, p50", f"{p50:.1f} ms")
    table.add(f"route {what}, read and chosen, p99", f"{p99:.1f} ms", bar="≤ 50", met=p99 <= 50)
    table.add("of them proven to be the best", f"{proven} of {len(took)}", bar="all", met=proven == len(took))


def _alone() -> list[float]:
    from services.orders.routing.filling import Line, Offered, Rules, Tier
    from services.orders.routing.route import Shipping, route

    chance = random.Random(1)
    suppliers = [UUID(int=number) for number in range(1, SUPPLIERS + 1)]
    shipping = {one: Shipping(Decimal(f"{chance.uniform(3, 15):.2f}")) for one in suppliers}
    took = []
    for _ in range(ORDERS):
        lines = [Line(UUID(int=n), UUID(int=n), chance.randint(1, 3), Decimal(60)) for n in range(1, LINES + 1)]
        offers = [
            Offered(
                line.variant_id, one, f"{line.id}", "ref", "", Decimal(f"{chance.uniform(20, 40):.2f}"), "EUR", 50,
                tiers=(Tier(50, chance.randint(1, 6), str(chance.randint(1, WAREHOUSES))),),
            )
            for line in lines
            for one in suppliers
        ]  # fmt: skip
        began = time.perf_counter()
        route(lines, offers, rules=Rules(one_parcel="no"), currency="EUR", shipping=shipping)
        took.append(time.perf_counter() - began)
    return took


def _stock(lab: Lab, merchant_id: UUID) -> list[UUID]:
    """Suppliers, offers and orders of that merchant; the orders' ids."""
    from sqlalchemy import text

    from services.core.db import transaction
    from services.orders.incoming.receive import receive
    from services.orders.incoming.said import SaidLine, SaidOrder
    from services.orders.policy import set_policy

    sizes = {"suppliers": SUPPLIERS, "variants": VARIANTS, "warehouses": WAREHOUSES}
    for statement in (_CONNECTIONS, _VARIANTS, _OFFERS, _OFFER_VARIANTS, _LINKS):
        with transaction(merchant_id=merchant_id) as session:
            session.execute(text(statement), {"merchant_id": merchant_id, **sizes})
        with lab.database() as connection:
            connection.execute("ANALYZE")  # the next one joins what this one made
    chance = random.Random(2)
    address = {"first_name": "Ana", "last_name": "Bo", "line": "1", "town": "X", "postcode": "46005", "country": "ES"}
    orders = [
        SaidOrder(
            channel="bench",
            external_id=str(number),
            currency="EUR",
            address=address,
            lines=tuple(
                SaidLine(chance.randint(1, 3), sku=f"S{one}", price=Decimal(60))
                for one in chance.sample(range(1, VARIANTS + 1), LINES)
            ),
        )
        for number in range(ORDERS)
    ]
    with transaction(merchant_id=merchant_id) as session:
        set_policy(session, merchant_id=merchant_id, said={"one_parcel": "no"})
        taken = receive(session, orders, merchant_id=merchant_id)
    with lab.database() as connection:
        connection.execute("ANALYZE")
    return [one.order_id for one in taken if one.order_id is not None]


def _route(merchant_id: UUID, order_ids: list[UUID]) -> tuple[list[float], int]:
    """Seconds that each took, and how many were proven."""
    from services.core.db import transaction
    from services.orders.routing.preview import preview

    took, proven = [], 0
    for order_id in order_ids:
        with transaction(merchant_id=merchant_id) as session:
            began = time.perf_counter()
            found = preview(session, order_id, otherwise={})
            took.append(time.perf_counter() - began)
        proven += found.routing.proven
        if len({pick.line.id for parcel in found.routing.parcels for pick in parcel.picks}) != LINES:
            raise SystemExit(f"order {order_id} was not routed whole")
    return took, proven
