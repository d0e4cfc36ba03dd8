"""How long things take: an HTTP request until its job starts, HTTP requests under load, pages of long lists."""

import http.client
import statistics
import threading
import time
from collections.abc import Callable
from uuid import UUID

from ops.bench.lab import Lab
from ops.ports import LOOPBACK


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of them stay under."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def start_latency(lab: Lab, merchant_id: UUID, headers: dict[str, str], requests: int) -> list[float]:
    """Seconds from sending `POST /jobs/{id}/retry` on an idle system to the start of the job's work, each."""
    ids = cancelled_jobs(merchant_id, requests)
    waits = []
    connection = http.client.HTTPConnection(LOOPBACK, lab.api_port)
    with lab.database() as database:
        for id_ in ids:
            sent = time.time()
            _request(connection, "POST", f"/api/v1/jobs/{id_}/retry", headers)
            while True:
                row = database.execute(
                    "SELECT extract(epoch FROM started_at) FROM jobs WHERE id = %s AND state = 'succeeded'", (id_,)
                ).fetchone()
                if row:
                    break
                time.sleep(0.005)
            waits.append(float(str(row[0])) - sent)
            time.sleep(0.02)
    return waits


def enqueue_requests(lab: Lab, merchant_id: UUID, headers: dict[str, str], requests: int) -> tuple[float, list[float]]:
    """Requests per second, and seconds each took, of eight clients that enqueue over HTTP."""
    ids = cancelled_jobs(merchant_id, requests)
    took: list[float] = []

    def client(mine: list[UUID]) -> None:
        connection = http.client.HTTPConnection(LOOPBACK, lab.api_port)
        for id_ in mine:
            began = time.monotonic()
            _request(connection, "POST", f"/api/v1/jobs/{id_}/retry", headers)
            took.append(time.monotonic() - began)

    threads = [threading.Thread(target=client, args=(ids[nth::8],)) for nth in range(8)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(took) / (time.monotonic() - began), took


def list_pages(lab: Lab, callers: "list[dict[str, str]]", requests: int) -> dict[str, list[list[float]]]:
    """Seconds each page of the job list took, by filter and caller; pages are followed by their cursor.

    The callers take turns, so that whatever else the machine does meets all of them.
    """
    filters = {
        "all": "",
        "status=failed": "&status=failed",
        "kind": "&kind=import_csv_products",
        "status and queue": "&status=succeeded&queue=sync",
    }
    connection = http.client.HTTPConnection(LOOPBACK, lab.api_port)
    took: dict[str, list[list[float]]] = {}
    for name, query in filters.items():
        after = ["" for _ in callers]
        took[name] = [[] for _ in callers]
        for nth in range(requests + 20):
            for caller, headers in enumerate(callers):
                began = time.monotonic()
                page = _request(connection, "GET", f"/api/v1/jobs?limit=50{query}{after[caller]}", headers)
                if nth >= 20:  # with a warm cache
                    took[name][caller].append(time.monotonic() - began)
                after[caller] = f"&after={page['next']}" if page.get("next") else ""
    return took


def fill_history(lab: Lab, merchant_id: UUID, jobs: int) -> None:
    """Ended jobs of many kinds for the list to page through. The triggers stay out: it is the list that is measured."""
    with lab.database() as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            """
            INSERT INTO jobs (id, merchant_id, kind, queue, args, state, reason, created_at, started_at, ended_at)
            SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7'
                    || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid,
                %s, CASE WHEN n %% 50 = 0 THEN 'import_csv_products' ELSE 'lab_noop' END,
                CASE WHEN n %% 3 = 0 THEN 'sync' ELSE 'orders' END, '{}',
                CASE WHEN n %% 200 = 0 THEN 'failed' ELSE 'succeeded' END, 'done', at, at, at
            FROM (SELECT n, now() - make_interval(secs => %s - n) AS at FROM generate_series(1, %s) n) rows
            """,
            (merchant_id, jobs, jobs),
        )
        connection.execute("VACUUM ANALYZE jobs")
        connection.execute("CHECKPOINT")


def cancelled_jobs(merchant_id: UUID, count: int) -> list[UUID]:
    """Jobs that only wait for someone to ask for them again."""
    from ops.lab import LabNoop
    from services.core import db
    from services.jobs import enqueue_many
    from services.jobs.control import cancel_jobs

    with db.transaction(merchant_id=merchant_id) as session:
        ids = enqueue_many(session, [LabNoop()] * count, merchant_id=merchant_id)
        cancel_jobs(session, ids)
    return ids


def per_second(act: Callable[[], object], seconds: float = 3.0) -> float:
    """How often something can be done in a second."""
    done, began = 0, time.monotonic()
    while time.monotonic() - began < seconds:
        act()
        done += 1
    return done / (time.monotonic() - began)


def median(values: list[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def _request(
    connection: http.client.HTTPConnection, method: str, path: str, headers: dict[str, str]
) -> "dict[str, object]":
    import json

    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    if answer.status >= 400:
        raise SystemExit(f"{method} {path} answered {answer.status}: {body[:300]!r}")
    parsed: dict[str, object] = json.loads(body)
    return parsed
