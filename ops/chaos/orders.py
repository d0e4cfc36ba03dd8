"""Orders to suppliers while everything dies and suppliers lose their answers; then the suppliers' own ledgers judge.

What must be so at the end: under each of our references at most one order, nothing there that we do not know of, each
order's pieces bought exactly once, and nothing in doubt any more.
"""

import argparse
import contextlib
import random
import subprocess
import sys
import threading
import time
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import httpx
import psycopg
from sqlalchemy.exc import DBAPIError

from ops.chaos.faults import FAULTS
from ops.chaos.world import World

# What befalls calls to suppliers: the fault, and how likely. First those that have an effect …
MISHAPS: tuple[tuple[dict[str, Any], float], ...] = (
    ({"kind": "lost", "route": "order/create*"}, 0.06),
    ({"kind": "drop", "route": "order/create*"}, 0.03),
    ({"kind": "truncated", "route": "order/create*"}, 0.03),
    ({"kind": "server_error", "route": "order/create*"}, 0.03),
    ({"kind": "html", "route": "order/create*", "after_effect": True}, 0.03),
    ({"kind": "soft", "route": "order/create*", "variant": "code", "after_effect": True}, 0.02),
    ({"kind": "latency", "route": "order/create*", "seconds": 3}, 0.03),
    ({"kind": "lost", "route": "aliexpress.ds.order.create"}, 0.06),
    ({"kind": "cut", "route": "aliexpress.ds.order.create"}, 0.03),
    ({"kind": "server_error", "route": "aliexpress.ds.order.create", "after_effect": True}, 0.03),
    ({"kind": "soft", "route": "aliexpress.ds.order.create", "variant": "remote"}, 0.02),
    ({"kind": "latency", "route": "aliexpress.ds.order.create", "seconds": 3}, 0.03),
    # … then those that only ask.
    ({"kind": "quota", "route": "order/check"}, 0.01),
    ({"kind": "server_error", "route": "order/reference"}, 0.05),
    *(
        ({"kind": kind, "route": route, **more}, 0.005)
        for route, soft in (
            ("order/check*", "code"),
            ("order/reference", "code"),
            ("aliexpress.ds.product.get", "isp"),
            ("aliexpress.ds.freight.query", "isp"),
        )
        for kind, more in (("lost", {}), ("cut", {}), ("server_error", {}), ("html", {}), ("soft", {"variant": soft}))
    ),
)
# Longer than anybody waits for an answer: the order is made when its caller has long given up. Each costs a thread half
# a minute, so a short run has none.
TIMEOUT: dict[str, Any] = {"kind": "latency", "seconds": 35, "probability": 0.02}
TIMED_OUT = ("order/create*", "aliexpress.ds.order.create")
LONG_RUN = 1000  # orders, of which one in five hundred times out at each supplier
# What a long run must have gone through, and how it shows.
NAMED: Mapping[str, tuple[str, ...]] = {
    "lost answers": ("lost", "drop", "cut", "truncated"),
    "5xx": ("server_error", "html"),
    "soft errors": ("soft",),
    "timeouts": ("latency",),
}
MANY = 1_000_000
STUCK_SECONDS = 1000  # longer than the lease of whoever was sending, and than a supplier is ever left alone
# Shops, each with an account of its own. AliExpress is asked twice a second for each, which a long run would wait for.
BIGBUY, ALIEXPRESS = 16, 32


def prepare(world: World) -> None:
    """Keys and the sandbox's address, before any process starts."""
    world.environment["ENCRYPTION_KEYS"] = urlsafe_b64encode(random.randbytes(32)).decode()


@contextmanager
def sandbox(world: World, *, products: int = 200) -> Iterator[httpx.Client]:
    """The suppliers' worlds in a process that nobody kills; the stack is told where it is."""
    command = [sys.executable, "-m", "sandbox", "--port", "0", "--products", str(products), "--seed", "11"]
    with (world.folder / "sandbox.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[1]
        world.environment["SANDBOX_URL"] = url
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
            yield client
    finally:
        process.terminate()
        process.wait(10)


def run(world: World, suppliers: httpx.Client, options: argparse.Namespace, seed: int) -> dict[str, list[Any]]:
    """Take orders, have them fulfilled while faults strike, wait until all is said, and judge. The broken promises."""
    from ops.shops import ask, open_shops, take_orders

    dice = random.Random(seed)
    # The sandbox says that its quotas are as good as none: what is documented would be kept to otherwise.
    ask(suppliers, "PUT", "bigbuy/limits", {"rules": {name: [MANY, 1] for name in ("order", "order/*", "tracking/*")}})
    shops = open_shops(suppliers, bigbuy=BIGBUY, aliexpress=ALIEXPRESS)
    take_orders(shops, options.orders, dice)
    print(f"chaos: {options.orders} orders of {len(shops)} shops", flush=True)
    for fault, probability in MISHAPS:
        supplier = "aliexpress" if fault["route"].startswith("aliexpress") else "bigbuy"
        ask(suppliers, "POST", "faults", {**fault, "supplier": supplier, "probability": probability})
    if options.orders >= LONG_RUN:
        for route in TIMED_OUT:
            ask(suppliers, "POST", "faults", {**TIMEOUT, "route": route, "count": options.orders // 500})
    struck: Counter[str] = Counter()
    asking = threading.Thread(target=_ask_for_all, args=(shops, dice.randrange(1 << 30)), daemon=True)
    asking.start()
    owed = dice.sample(FAULTS, len(FAULTS))  # each at least once, then by weight
    began = time.monotonic()
    while asking.is_alive() or (_left(world) and time.monotonic() - began < options.minutes * 60):
        time.sleep(dice.uniform(0.2, 1.8) * options.every)
        fault_ = owed.pop() if owed else dice.choices(FAULTS, [one.weight for one in FAULTS])[0]
        fault_.do(world, dice)
        struck[fault_.name] += 1
        print(f"  {sum(struck.values()):4d} {fault_.name}", flush=True)
    asking.join()
    world.proxy.thaw()
    took = time.monotonic() - began
    settled = _settle(world)
    befell = _befell(suppliers)
    print(f"{sum(struck.values())} faults in {took:.0f} s: " + ", ".join(f"{n} {name}" for name, n in struck.items()))
    print(f"{sum(befell.values())} calls to suppliers went wrong; settled {settled:.0f} s after the last fault")
    print("    " + ", ".join(f"{count} {what}" for what, count in sorted(befell.items())))
    with psycopg.connect(world.postgres.url, autocommit=True) as connection:
        rescued = _report(connection)
        broken = judge(connection, _bought(suppliers))
    if options.orders >= LONG_RUN:
        spared = [name for name, kinds in NAMED.items() if not any(what.split()[0] in kinds for what in befell)]
        spared += [name for name in ("deliver_again", "kill_worker", "kill_child") if not struck[name]]
        spared += [] if rescued else ["a rescue by the relay"]
        broken |= {"every fault befell them": spared} if spared else {}
    return broken


def _befell(suppliers: httpx.Client) -> Counter[str]:
    """How often which mishap befell which call."""
    from ops.shops import ask

    befell: Counter[str] = Counter()
    for one in ask(suppliers, "GET", "faults"):
        slow = one["kind"] == "latency" and one["seconds"] < TIMEOUT["seconds"]
        if one["hits"]:
            befell[f"{'slow' if slow else one['kind']} {one['route']}"] += one["hits"]
    return befell


def _ask_for_all(shops: list[Any], seed: int) -> None:
    """Have every order fulfilled: in lots, one in ten of them twice, again when the answer was lost."""
    from services.core import db
    from services.core.errors import ShopOptiError
    from services.orders.placing.ask import ask_many

    dice = random.Random(seed)
    lots: list[tuple[UUID, list[UUID]]] = []
    for shop in shops:
        for first in range(0, len(shop.orders), 50):
            lots.append((shop.merchant_id, shop.orders[first : first + 50]))
    dice.shuffle(lots)
    for merchant_id, ids in lots + dice.sample(lots, max(1, len(lots) // 10)):
        while True:
            with contextlib.suppress(ShopOptiError, DBAPIError), db.transaction(merchant_id=merchant_id) as session:
                ask_many(session, merchant_id=merchant_id, order_ids=ids)
                break
            time.sleep(0.2)
        time.sleep(0.05)


_LEFT = """
SELECT (SELECT count(*) FROM orders WHERE state NOT IN ('placed', 'shipped', 'delivered', 'attention'))
     + (SELECT count(*) FROM jobs WHERE kind IN ('process_order_fulfillment', 'bulk_fulfill_orders')
        AND ended_at IS NULL)
"""


def _left(world: World) -> int:
    with contextlib.suppress(psycopg.Error), psycopg.connect(world.postgres.url, autocommit=True) as connection:
        row = connection.execute(_LEFT).fetchone()
        return int(str(row[0])) if row else 0
    return 1


def _settle(world: World) -> float:
    began = progressed = time.monotonic()
    fewest = None
    while time.monotonic() - progressed < STUCK_SECONDS:
        left = _left(world)
        if left == 0:
            break
        if fewest is None or left < fewest:
            fewest, progressed = left, time.monotonic()
        time.sleep(0.5)
    return time.monotonic() - began


# -- What is true ------------------------------------------------------------------------------------------------------


def _bought(suppliers: httpx.Client) -> list[dict[str, Any]]:
    """Every order the suppliers have: id, reference, and pieces by product (and SKU)."""
    from ops.shops import ask

    found: list[dict[str, Any]] = []
    for supplier, reference in (("bigbuy", "internal_reference"), ("aliexpress", "out_order_id")):
        after = "0"
        while page := ask(suppliers, "GET", f"{supplier}/orders?after={after}"):
            after = page[-1]["id"]
            for one in page:
                pieces: Counter[str] = Counter()
                for line in one["products"] if supplier == "bigbuy" else one["lines"]:
                    named = line["reference"] if supplier == "bigbuy" else str(line["sku_id"])
                    pieces[named] += line["quantity"] if supplier == "bigbuy" else line["product_count"]
                found.append({"supplier": supplier, "id": one["id"], "reference": one[reference], "pieces": pieces})
    return found


CHECKS: Mapping[str, str] = {
    "every order was fulfilled": "SELECT id, state FROM orders WHERE state NOT IN ('placed', 'shipped', 'delivered')",
    "every intent is settled": """
        SELECT id, state, code, reason FROM intents WHERE state IN ('planned', 'sending', 'unknown')""",
    "no order waits for a person": """
        SELECT order_id, cause, detail FROM attention_items
        WHERE closed_at IS NULL AND order_id IS NOT NULL AND cause <> 'cost_above_expected'""",
    "no supplier's order is noted twice": """
        SELECT connection_id, id, count(*) FROM supplier_orders GROUP BY 1, 2 HAVING count(*) > 1""",
    "each intent's story ends once": """
        SELECT intent_id, count(*) FROM order_events WHERE kind IN ('intent_placed', 'intent_refused')
        GROUP BY 1 HAVING count(*) > 1""",
    "no piece of an order is in two live intents": """
        SELECT lines.id FROM order_lines lines JOIN intent_lines given ON given.order_line_id = lines.id
        JOIN intents ON intents.id = given.intent_id AND intents.state = 'placed'
        WHERE given.refused_code IS NULL GROUP BY lines.id HAVING sum(given.quantity) <> lines.quantity""",
}
_EXPECTED = """
SELECT intents.reference, given.order_ref, given.offer_variant_id, sum(given.quantity)
FROM intents JOIN intent_lines given ON given.intent_id = intents.id
WHERE intents.state = 'placed' AND given.refused_code IS NULL GROUP BY 1, 2, 3
"""
_NOTED = """
SELECT intents.reference, supplier_orders.id FROM supplier_orders JOIN intents ON intents.id = supplier_orders.intent_id
"""


def judge(connection: "psycopg.Connection[tuple[Any, ...]]", bought: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """The broken promises, with up to ten examples each."""
    broken: dict[str, list[Any]] = {
        promise: connection.execute(query).fetchmany(10) for promise, query in CHECKS.items()
    }
    # One call may become several orders, by warehouse or seller; what is in one of them is in no other.
    there = Counter((one["reference"], named) for one in bought for named in one["pieces"])
    broken["each intent is at its supplier at most once"] = [item for item in there.items() if item[1] > 1][:10]
    noted = {(str(row[0]), str(row[1])) for row in connection.execute(_NOTED).fetchall()}
    truly = {(one["reference"], one["id"]) for one in bought}
    broken["what suppliers have is what is noted here"] = sorted(noted ^ truly)[:10]
    expected: dict[str, Counter[str]] = {}
    for reference, ref, variant, pieces in connection.execute(_EXPECTED).fetchall():
        named = str(ref) if str(variant).startswith("x") else str(variant)
        expected.setdefault(str(reference), Counter())[named] += int(pieces)
    got: dict[str, Counter[str]] = {}
    for one in bought:
        got.setdefault(one["reference"], Counter()).update(one["pieces"])
    wrong = [reference for reference in expected | got if expected.get(reference) != got.get(reference)]
    broken["what was bought is what was ordered, piece by piece"] = wrong[:10]
    return {promise: examples for promise, examples in broken.items() if examples}


PROMISES = len(CHECKS) + 4


def _report(connection: "psycopg.Connection[tuple[Any, ...]]") -> int:
    """What became of everything. Returns how many jobs were rescued."""
    orders = connection.execute("SELECT state, count(*) FROM orders GROUP BY 1 ORDER BY 1").fetchall()
    intents = connection.execute("SELECT state, count(*), max(attempts) FROM intents GROUP BY 1 ORDER BY 1").fetchall()
    doubt = connection.execute("SELECT count(*) FROM intents WHERE doubt_since IS NOT NULL").fetchone()
    again = connection.execute(
        "SELECT count(*), count(*) FILTER (WHERE reason = 'rescued') FROM job_events"
        " WHERE reason IN ('rescued', 'drained')"
    ).fetchone()
    print("orders: " + ", ".join(f"{count} {state}" for state, count in orders))
    print("intents: " + ", ".join(f"{count} {state} (attempts ≤ {most})" for state, count, most in intents))
    print(f"{doubt[0] if doubt else 0} were in doubt on the way; {again[0] if again else 0} jobs lost their worker\n")
    return int(str(again[1])) if again else 0
