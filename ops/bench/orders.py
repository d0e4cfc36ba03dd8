"""Orders in bulk through the sandbox, with 50 ms of latency a call, beside what suppliers allow.

They allow the less of two: what their quotas do (BigBuy's: a call of a kind a second, so an order a second for each
key), and what their latency leaves to as many calls at once as the worker has threads. The bar is on the share of
that. Without quotas the latency would allow more than a few cores can do: that row, and the processor time that an
order takes, tell what the machine can.
"""

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
SHOPS = 24  # each with a key, and so a quota, of its own
UNLIMITED = 2_000  # orders without quotas
MANY = 1_000_000
_LIMITED = ("order", "order/*", "tracking/*")


def measure(lab: Lab, table: Table, *, orders: int) -> None:
    """All rows of the table that concern orders."""
    threads = int(os.environ.get("WORKER_IO_THREADS", "16"))
    by_latency = threads / (CALLS * LATENCY_SECONDS)
    with sync.sandbox(lab.folder, 200) as world:
        ask(world, "POST", "faults", {"kind": "latency", "seconds": LATENCY_SECONDS, "route": "order/*"})
        for name in ("relay", "worker-io"):
            lab.start(name)
        rate, busy = _rate(lab, world, orders)
        table.add(f"{orders:,} orders placed, {SHOPS} keys", f"{rate:.2f} /s")
        share = rate / min(SHOPS, by_latency)
        what = f"÷ what suppliers allow: the less of {SHOPS}/s by quotas and {by_latency:.0f}/s by latency"
        table.add(what, f"{share:.2f}", bar="≥ 0.8", met=share >= 0.8)
        table.add("processor time of such an order", _told(busy))
        ask(world, "PUT", "bigbuy/limits", {"rules": {name: [MANY, 1] for name in _LIMITED}})
        some = min(orders, UNLIMITED)
        rate, busy = _rate(lab, world, some)
        table.add(f"{some:,} orders placed without quotas, {threads} at once", f"{rate:.1f} /s")
        table.add("÷ what the latency allows, were there processors enough", f"{rate / by_latency:.2f}")
        table.add("processor time of such an order", _told(busy))
        for name in ("relay", "worker-io"):
            lab.stop(name)


def _told(busy: dict[str, float]) -> str:
    parts = ", ".join(f"{name} {1000 * seconds:.0f}" for name, seconds in busy.items())
    return f"{1000 * sum(busy.values()):.0f} ms ({parts})"


def _rate(lab: Lab, world: httpx.Client, orders: int) -> tuple[float, dict[str, float]]:
    """Orders a second, fulfilled in bulk by every shop at once, and the processor seconds of one, by process."""
    from services.core import db
    from services.orders.placing.ask import ask_many

    shops = open_shops(world, bigbuy=SHOPS, aliexpress=0)
    take_orders(shops, orders, random.Random(1), most_lines=1)
    began, before = time.monotonic(), lab.busy()
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
    return orders / took, {name: (spent - before[name]) / orders for name, spent in lab.busy().items()}


_BUSY = """
SELECT EXISTS (SELECT FROM jobs WHERE merchant_id = ANY(%s) AND kind = 'process_order_fulfillment'
               AND ended_at IS NULL)
"""
_STATES = "SELECT state, count(*) FROM orders WHERE merchant_id = ANY(%s) GROUP BY 1"
