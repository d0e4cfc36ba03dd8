"""Syncs with a sandbox that misbehaves, beside the other load, and whether what is stored is what it truly has."""

import base64
import json
import random
import secrets
import subprocess
import sys
import threading
import time
from decimal import Decimal
from uuid import UUID

import httpx
import psycopg

from ops.chaos.verdict import CHECKS, violations
from ops.chaos.world import World

PROMISES = len(CHECKS) + 3
PRODUCTS = 150
MERCHANTS = 3  # the last two have one key, and so one quota
QUOTA = (60, 15)  # calls of a list, in so many seconds: enough to go on, too few to go on at once
# What a supplier does to whoever reads from it; each for a few calls, in any order.
FAULTS = (
    {"kind": "html"}, {"kind": "server_error"}, {"kind": "drop"}, {"kind": "cut"}, {"kind": "truncated"},
    {"kind": "latency", "seconds": 1.5}, {"kind": "duplicate", "share": 0.2}, {"kind": "malformed"},
)  # fmt: skip


class Sandbox:
    """The suppliers' world in a process of its own, which nobody kills."""

    def __init__(self, world: World) -> None:
        folder = world.folder
        command = [sys.executable, "-m", "sandbox", "--port", "0", "--products", str(PRODUCTS), "--seed", "5"]
        with (folder / "sandbox.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().split()[1]
        self.http = httpx.Client(base_url=self.url, timeout=30, trust_env=False)
        limits = self.http.get("/control/bigbuy/limits").json()["rules"]
        rules = {name: QUOTA if name.startswith("catalog") else rule for name, rule in limits.items()}
        self.http.put("/control/bigbuy/limits", json={"enforced": True, "rules": rules}).raise_for_status()
        world.environment |= {
            "ENCRYPTION_KEYS": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "SANDBOX_URL": self.url,
            "STORAGE_FOLDER": str(folder / "files"),
        }

    def stop(self) -> None:
        """End it."""
        self.http.close()
        self._process.terminate()
        self._process.wait(10)


class Load:
    """Has merchants' connections synced again and again, while the sandbox misbehaves and its stock changes."""

    def __init__(self, sandbox: Sandbox, *, seed: int) -> None:
        from ops.lab import new_merchant

        self._sandbox, self._dice = sandbox, random.Random(seed)
        self.connections: dict[UUID, UUID] = {}  # merchant → connection
        for n in range(MERCHANTS):
            merchant_id = new_merchant(f"Chaos of syncs {n}")
            self.connections[merchant_id] = _connect(sandbox, merchant_id, key=f"chaos-{min(n, 1)}")
        self.asked = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="syncs", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask for no more, and let the sandbox behave."""
        self._stop.set()
        self._thread.join()
        self._sandbox.http.delete("/control/faults").raise_for_status()
        self._sandbox.http.put("/control/clock", json={"speed": 0}).raise_for_status()

    def finish(self) -> None:
        """Ask for everything once more."""
        for merchant_id, connection_id in self.connections.items():
            _ask(merchant_id, connection_id, "products")

    def violations(self, connection: "psycopg.Connection[tuple[object, ...]]") -> dict[str, list[tuple[object, ...]]]:
        """The promises about syncs that are broken, with examples."""
        broken = violations(connection)
        truth = {}
        for line in self._sandbox.http.get("/control/bigbuy/products").text.splitlines():
            one = json.loads(line)
            truth[one["sku"]] = (Decimal(one["wholesale"]) / 100, one["stock"])
        for merchant_id, id_ in self.connections.items():
            rows = connection.execute(
                "SELECT sku, cost, stock FROM offer_variants WHERE connection_id = %s AND gone_at IS NULL", (id_,)
            ).fetchall()
            stored = {row[0]: (row[1], row[2]) for row in rows}
            wrong: list[tuple[object, ...]] = [
                (merchant_id, sku, truth.get(str(sku)), stored.get(sku))
                for sku in {*truth, *stored}
                if truth.get(str(sku)) != stored.get(sku)
            ]
            if wrong or len(rows) != len(stored):
                broken.setdefault("offers are what the supplier truly has", []).extend(wrong[:5])
        over = self._sandbox.http.get("/control/ledger", params={"status": 429, "supplier": "bigbuy"}).json()["data"]
        if over:
            broken["no call was over the quota"] = [(one["route"], one["at"]) for one in over[:5]]
        unlike = connection.execute(_UNLIKE).fetchall()
        if unlike:
            broken["products are what is offered, each once"] = list(unlike[:5])
        return broken

    def _run(self) -> None:
        while not self._stop.wait(self._dice.uniform(0.5, 2.5)):
            fault = {**self._dice.choice(FAULTS), "supplier": "bigbuy", "route": "catalog/*"}
            self._sandbox.http.post(
                "/control/faults", json={**fault, "count": self._dice.randint(1, 3), "probability": 0.3}
            ).raise_for_status()
            merchant_id, connection_id = self._dice.choice(list(self.connections.items()))
            _ask(merchant_id, connection_id, self._dice.choice(("products", "stock", "stock")))
            self.asked += 1


_UNLIKE = """
SELECT c.id, count(DISTINCT p.id), count(DISTINCT o.id) FROM connections c
LEFT JOIN offers o ON o.connection_id = c.id AND o.gone_at IS NULL AND o.active
LEFT JOIN products p ON p.merchant_id = c.merchant_id AND p.source = c.name AND p.key = o.id
GROUP BY c.id HAVING count(DISTINCT p.id) <> count(DISTINCT o.id)
"""


def _connect(sandbox: Sandbox, merchant_id: UUID, *, key: str) -> UUID:
    from services.catalog.guards import Thresholds
    from services.core import db
    from services.imports.origin import source_named
    from services.sourcing.accounts.connections import connect
    from services.sourcing.accounts.trials import new_trial, try_out

    sandbox.http.put(f"/control/bigbuy/keys/{key}", json={}).raise_for_status()
    given = {"language": "en", "country": "ES", "currency": "EUR"}
    tested = try_out(new_trial(merchant_id, "bigbuy", {"api_key": key}, sandbox=True, **given))
    with db.transaction(merchant_id=merchant_id) as session:
        connection_id: UUID = connect(session, tested, name="bigbuy", **given).id
        limits = {name: None for name in Thresholds.model_fields if not name.startswith("smallest")}
        source_named(session, merchant_id=merchant_id, name="bigbuy").guards = limits
    return connection_id


def _ask(merchant_id: UUID, connection_id: UUID, kind: str) -> None:
    """Ask for a sync; while one is active, that one is it."""
    from sqlalchemy.exc import DBAPIError

    from services.core import db
    from services.core.errors import Unavailable
    from services.sourcing.syncs.asking import SyncAlreadyActive, ask

    while True:
        try:
            with db.transaction(merchant_id=merchant_id) as session:
                ask(session, connection_id, kind="products" if kind == "products" else "stock")
        except SyncAlreadyActive:
            return
        except (Unavailable, DBAPIError):
            time.sleep(0.2)
        else:
            return
