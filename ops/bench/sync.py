"""Syncs with the sandbox's BigBuy, beside its download and what Postgres alone does with the same rows."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import httpx

from ops.bench.lab import REPOSITORY, Lab
from ops.bench.table import Table

KEY = "sandbox-bigbuy-key"
QUOTA = (3, 60)  # calls of every list, in so many seconds, where quotas are on
_LISTS = (
    *("products", "productsinformation", "productsimages", "productsvariations", "variations", "attributes"),
    *("productsstockbyhandlingdays", "productsvariationsstockbyhandlingdays"),
)
_ALONE = ("taxonomies", "manufacturers", "attributegroups")
_STOCK = ("productsstockbyhandlingdays", "productsvariationsstockbyhandlingdays")


def measure(lab: Lab, table: Table, merchant_id: UUID, *, products: int) -> None:
    """All rows of the table that concern syncs. `products` is how many the supplier has."""
    with sandbox(lab.folder, 200) as world:
        lab.start("relay")
        lab.start_worker()
        _by_quota(lab, table, world)  # first: the worker has then loaded all it needs
        world.post("/control/reset", json={"products": products, "seed": 3}).raise_for_status()
        # The sandbox says that its quotas are as good as none: what is documented would be kept to otherwise.
        rules = {f"catalog/{name}": [1_000_000, 3600] for name in (*_LISTS, *_ALONE)}
        world.put("/control/bigbuy/limits", json={"enforced": True, "rules": rules}).raise_for_status()
        _everything(lab, table, merchant_id, world, products)
        for name in ("relay", "worker-io"):
            lab.stop(name)


def _everything(lab: Lab, table: Table, merchant_id: UUID, world: httpx.Client, products: int) -> None:
    connection_id = connect(merchant_id)
    _policy(merchant_id, "ask")
    download = _download(world, _LISTS, _ALONE)
    took = _sync(lab, merchant_id, connection_id, "products")
    copied, rows = _copy_and_merge(lab)
    table.add(f"download of {products:,} BigBuy products alone", f"{download:.1f} s")
    table.add(f"COPY and merge of their {rows:,} rows alone", f"{copied:.1f} s")
    share = took / (download + copied)
    table.add("sync of them into offers and a plan", f"{took:.1f} s")
    table.add("sync ÷ (download, COPY, merge)", f"{share:.2f}", bar="≤ 2", met=share <= 2)
    _policy(merchant_id, "automatic")
    applied = _sync(lab, merchant_id, connection_id, "products")
    table.add("sync again, and the plan into the catalogue", f"{applied:.1f} s")
    again = _sync(lab, merchant_id, connection_id, "products")
    table.add("sync of everything, nothing changed", f"{again:.1f} s")
    world.post("/control/clock/advance", json={"seconds": 3600})  # stock of one article in a hundred changes in an hour
    download = _download(world, _STOCK, ("taxonomies",))
    took = _sync(lab, merchant_id, connection_id, "stock", prices=False)
    table.add("download of their stock alone", f"{download:.1f} s")
    table.add("sync of their stock, 1 % changed", f"{took:.1f} s, {took / download:.2f} x the download")


def _by_quota(lab: Lab, table: Table, world: httpx.Client) -> None:
    """A catalogue that takes several windows of the quota, and next to no time otherwise."""
    limit, seconds = QUOTA
    rules = {f"catalog/{name}": [limit, seconds] for name in _LISTS}
    world.put("/control/bigbuy/limits", json={"enforced": True, "rules": rules}).raise_for_status()
    world.put("/control/bigbuy/keys/bench-key", json={}).raise_for_status()
    merchant_id = new_merchant()
    roots = len(world.get("/bigbuy/rest/catalog/taxonomies.json", params={"firstLevel": "", "isoCode": "en"}).json())
    windows = -(-roots // limit)
    took = _sync(lab, merchant_id, connect(merchant_id, key="bench-key"), "products")
    least = (windows - 1) * seconds
    refused = world.get("/control/ledger", params={"status": 429}).json()["data"]
    share = took / least
    table.add(f"sync by quota ({roots} categories, {limit} calls in {seconds} s)", f"{took:.1f} s, at least {least} s")
    table.add("time ÷ the least the quota allows", f"{share:.3f}", bar="≤ 1.05", met=share <= 1.05)
    table.add("calls over the quota", f"{len(refused)}", bar="none", met=not refused)


# -- The parts -----------------------------------------------------------------------------------------------------


@contextmanager
def sandbox(folder: Path, products: int) -> Iterator[httpx.Client]:
    """A sandbox of that size in a process of its own, and SANDBOX_URL pointing to it."""
    from services.core.settings import get_settings

    command = [sys.executable, "-m", "sandbox", "--port", "0", "--products", str(products), "--seed", "3"]
    with (folder / "sandbox.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[1]
        os.environ["SANDBOX_URL"] = get_settings().sandbox_url = url
        headers = {"Authorization": f"Bearer {KEY}"}
        with httpx.Client(base_url=url, headers=headers, timeout=600, trust_env=False) as client:
            yield client
    finally:
        process.terminate()
        process.wait(10)


def new_merchant() -> UUID:
    """A merchant of its own."""
    from ops.lab import new_merchant as make

    return make("Bench of syncs")


def connect(merchant_id: UUID, *, key: str = KEY) -> UUID:
    """A connection to the sandbox's BigBuy, whose plans no guard holds."""
    from services.catalog.guards import Thresholds
    from services.core import db
    from services.imports.origin import source_named
    from services.sourcing.accounts.connections import connect as keep
    from services.sourcing.accounts.trials import new_trial, try_out

    given = {"language": "en", "country": "ES", "currency": "EUR"}
    tested = try_out(new_trial(merchant_id, "bigbuy", {"api_key": key}, sandbox=True, **given))
    with db.transaction(merchant_id=merchant_id) as session:
        connection_id: UUID = keep(session, tested, merchant_id=merchant_id, name="bigbuy", **given).id
        limits = {name: None for name in Thresholds.model_fields if not name.startswith("smallest")}
        source_named(session, merchant_id=merchant_id, name="bigbuy").guards = limits
    return connection_id


def _policy(merchant_id: UUID, apply: str) -> None:
    from services.core import db
    from services.imports.origin import source_named

    with db.transaction(merchant_id=merchant_id) as session:
        source_named(session, merchant_id=merchant_id, name="bigbuy").apply = apply


def _download(world: httpx.Client, lists: tuple[str, ...], alone: tuple[str, ...]) -> float:
    """Seconds to receive these lists of all categories, looking at none of it."""
    began = time.monotonic()
    roots = world.get("/bigbuy/rest/catalog/taxonomies.json", params={"firstLevel": "", "isoCode": "en"}).json()
    for name in alone:
        _receive(world, name, {"isoCode": "en"})
    for root in roots:
        for name in lists:
            _receive(world, name, {"isoCode": "en", "parentTaxonomy": str(root["id"]), "pageSize": "0"})
    return time.monotonic() - began


def _receive(world: httpx.Client, name: str, params: dict[str, str]) -> None:
    with world.stream("GET", f"/bigbuy/rest/catalog/{name}.json", params=params) as answer:
        answer.raise_for_status()
        for _ in answer.iter_raw():
            pass


def _copy_and_merge(lab: Lab) -> tuple[float, int]:
    """Seconds of COPY into unlogged tables and INSERT … ON CONFLICT into indexed ones, of the rows that are stored."""
    rows, seconds = 0, 0.0
    with lab.database() as connection:
        for name in ("offers", "offer_variants"):
            kept = lab.folder / f"{name}.copy"
            with kept.open("wb") as file, connection.cursor().copy(f"COPY {name} TO STDOUT") as copy:
                for chunk in copy:
                    file.write(chunk)
            connection.execute(f"CREATE UNLOGGED TABLE limit_staged (LIKE {name})")
            connection.execute(f"CREATE TABLE limit_merged (LIKE {name} INCLUDING ALL)")
            began = time.monotonic()
            with kept.open("rb") as file, connection.cursor().copy("COPY limit_staged FROM STDIN") as copy:
                while chunk := file.read(1 << 20):
                    copy.write(chunk)
            merged = connection.execute(
                "INSERT INTO limit_merged SELECT * FROM limit_staged ON CONFLICT (merchant_id, connection_id, id)"
                " DO UPDATE SET gone_at = excluded.gone_at"
            )
            seconds += time.monotonic() - began
            rows += merged.rowcount
            connection.execute("DROP TABLE limit_staged, limit_merged")
    return seconds, rows


def _sync(lab: Lab, merchant_id: UUID, connection_id: UUID, kind: str, **asked: bool) -> float:
    """Seconds from the start of a sync's job to its end, which must be its plan applied."""
    from services.core import db
    from services.jobs import enqueue
    from services.sourcing.jobs import SyncSupplierProducts, SyncSupplierStock

    job = (SyncSupplierProducts if kind == "products" else SyncSupplierStock)(connection_id=connection_id, **asked)
    with db.transaction(merchant_id=merchant_id) as session:
        job_id, _ = enqueue(session, job, merchant_id=merchant_id)
    ended = lab.ended(job_id)
    with lab.database() as connection:
        story = connection.execute(
            "SELECT array_agg(concat_ws(' ', reason, error_code, error_message) ORDER BY id) FROM job_events"
            " WHERE job_id = %s", (job_id,)
        ).fetchone()  # fmt: skip
    applied = (ended["result"] or {}).get("changeset_state")
    if ended["state"] != "succeeded" or ended["attempt"] != 1 or applied not in ("applied", "awaiting_approval", None):
        raise SystemExit(f"the sync of {kind} ended as {ended}, by way of {story}")
    return float(ended["since_made"])
