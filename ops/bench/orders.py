"""Orders in bulk through the sandbox, with 50 ms of latency a call, beside what quotas and concurrency allow."""

import os
import random
import time

import httpx

from ops.bench import sync
from ops.bench.lab import Lab
from ops.bench.table import Table
from ops.shops import ask, open_shops, take_orders

LATENCY_SECONDS = 0.05
CALLS = 2  # of an order: checked, created
SHOPS = 24  # each with a key, and so a quota, of its own: a call of a kind each second
MANY = 1_000_000
_LIMITED = ("order", "order/*", "tracking/*")


def measure(lab: Lab, table: Table, *, orders: int) -> None:
    """All rows of the table that concern orders."""
    with sync.sandbox(lab.folder, 200) as world:
        ask(world, "POST", "faults", {"kind": "latency", "seconds": LATENCY_SECONDS, "route": "order/*"})
        for name in ("relay", "worker-io"):
            lab.start(name)
        quota = _rate(lab, world, min(orders, 30 * SHOPS))
        table.add(f"orders placed by quota ({SHOPS} keys, 1 call of a kind a second)", f"{quota:.2f} /s")
        share = quota / SHOPS
        table.add("÷ what the quotas allow", f"{share:.2f}", bar="≥ 0.8", met=share >= 0.8)
        rules = {name: [MANY, 1] for name in _LIMITED}
        ask(world, "PUT", "bigbuy/limits", {"rules": rules})
        free = _rate(lab, world, orders)
        threads = int(os.environ.get("WORKER_IO_THREADS", "16"))
        allowed = threads / (CALLS * LATENCY_SECONDS)
        table.add(f"orders placed without quotas, {threads} at once", f"{free:.1f} /s")
        table.add("÷ what the latency allows", f"{free / allowed:.2f}")
        for name in ("relay", "worker-io"):
            lab.stop(name)


def _rate(lab: Lab, world: httpx.Client, orders: int) -> float:
    """Orders per second, fulfilled in bulk by every shop at once."""
    from services.core import db
    from services.orders.placing.ask import ask_many

    shops = open_shops(world, bigbuy=SHOPS, aliexpress=0)
    take_orders(shops, orders, random.Random(1), most_lines=1)
    began = time.monotonic()
    for shop in shops:
        with db.transaction(merchant_id=shop.merchant_id) as session:
            ask_many(session, merchant_id=shop.merchant_id, order_ids=shop.orders)
    merchants = [shop.merchant_id for shop in shops]
    with lab.database() as connection:
        while connection.execute(_BUSY, (merchants,)).fetchone() == (True,):
            time.sleep(0.1)
        took = time.monotonic() - began
        ended = connection.execute(_STATES, (merchants,)).fetchall()
    if ended != [("placed", orders)]:
        raise SystemExit(f"the orders ended as {ended}")
    return orders / took


_BUSY = """
SELECT EXISTS (SELECT FROM jobs WHERE merchant_id = ANY(%s) AND kind = 'process_order_fulfillment'
               AND ended_at IS NULL)
"""
_STATES = "SELECT state, count(*) FROM orders WHERE merchant_id = ANY(%s) GROUP BY 1"
