"""Measure everything in one run and print one table: figure, bar, verdict."""

import argparse
import sys
import time
from collections.abc import Callable
from uuid import UUID

from ops.bench import imports, latency, orders, routing, sync, throughput
from ops.bench.lab import Lab, lab
from ops.bench.table import Table


def main() -> int:
    """Run the bench. Exit code 0 when every bar is met."""
    parser = argparse.ArgumentParser(prog="python -m ops.bench", description=__doc__)
    parser.add_argument("--jobs", type=int, default=6000, help="no-op jobs per throughput round")
    parser.add_argument("--rounds", type=int, default=3, help="throughput rounds; the median counts")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the large feed")
    parser.add_argument("--only", choices=("jobs", "imports", "sync", "routing", "orders"), help="one part of it")
    parser.add_argument("--products", type=int, default=100_000, help="of the supplier that is synced")
    parser.add_argument("--orders", type=int, default=10_000, help="orders to suppliers")
    parser.add_argument("--history", type=int, default=1_000_000, help="rows of the long list")
    options = parser.parse_args()
    table = Table()
    with lab() as made:
        if options.only in (None, "jobs"):
            _jobs(made, table, options)
        if options.only in (None, "imports"):
            imports.measure(made, table, _new_caller()[0], rows=options.rows)
        if options.only in (None, "sync"):
            sync.measure(made, table, sync.new_merchant(), products=options.products)
        if options.only in (None, "routing"):
            routing.measure(made, table, _new_caller()[0])
        if options.only in (None, "orders"):
            orders.measure(made, table, orders=options.orders)
    table.print()
    return 0 if table.met else 1


def _jobs(made: Lab, table: Table, options: argparse.Namespace) -> None:
    merchant_id, headers = _new_caller()
    _throughput(made, table, merchant_id, options)
    _enqueue(table, merchant_id)
    made.start_api()
    _memory(made, table)
    _start_latency(made, table, merchant_id, headers)
    for name in ("worker-io", "relay"):
        made.stop(name)
    _http(made, table, merchant_id, headers)
    _lists(made, table, options.history)


def _throughput(made: Lab, table: Table, merchant_id: UUID, options: argparse.Namespace) -> None:
    ways: dict[str, Callable[[], float]] = {
        "Celery alone, as it comes": lambda: throughput.plain_celery(made, options.jobs),
        "Celery alone, our settings": lambda: throughput.doorbells(made, options.jobs),
        "through the ledger": lambda: throughput.ledger(made, merchant_id, options.jobs),
        "Procrastinate": lambda: throughput.procrastinate(made, options.jobs),
    }
    made.start_worker()
    rounds = [{name: measure() for name, measure in ways.items()} for _ in range(options.rounds)]
    rate = {name: latency.median([found[name] for found in rounds]) for name in ways}
    for name in ways:
        table.add(f"no-op jobs: {name}", f"{rate[name]:,.0f} /s", spread=[found[name] for found in rounds])
    celery, settings, ledger, procrastinate = rate.values()
    table.add("ledger ÷ Celery as it comes", f"{ledger / celery:.2f}", bar="≥ 0.6", met=ledger / celery >= 0.6)
    table.add("ledger ÷ Celery, our settings", f"{ledger / settings:.2f}")
    table.add("ledger ÷ Procrastinate", f"{ledger / procrastinate:.2f}", bar="≥ 1.5", met=ledger / procrastinate >= 1.5)


def _enqueue(table: Table, merchant_id: UUID) -> None:
    from ops.lab import LabNoop
    from services.core import db
    from services.jobs import enqueue

    def one() -> None:
        with db.transaction(merchant_id=merchant_id) as session:
            enqueue(session, LabNoop(), merchant_id=merchant_id)

    table.add("enqueue, one to a transaction", f"{latency.per_second(one):,.0f} /s")
    bulk = throughput.enqueue_noops(merchant_id, 60_000)
    table.add("enqueue, 1,000 to a transaction", f"{bulk:,.0f} /s", bar="≥ 20,000", met=bulk >= 20_000)


def _memory(made: Lab, table: Table) -> None:
    with made.database() as connection:
        connection.execute("TRUNCATE jobs, job_events")
    for name in ("relay", "beat", "worker-import", "flower"):
        made.start(name)
    time.sleep(12)
    for name, size in sorted(made.memory().items()):
        barred = name in ("worker-io", "api")
        mb = size / 1e6
        table.add(f"memory of {name}, idle", f"{mb:.0f} MB", bar="≤ 130" if barred else "", met=not barred or mb <= 130)
    for name in ("beat", "worker-import", "flower"):
        made.stop(name)


def _start_latency(made: Lab, table: Table, merchant_id: UUID, headers: dict[str, str]) -> None:
    waits = [1000 * wait for wait in latency.start_latency(made, merchant_id, headers, 300)]
    p50, p99 = latency.percentile(waits, 0.5), latency.percentile(waits, 0.99)
    table.add("request → start of the job, idle, p50", f"{p50:.1f} ms", bar="≤ 20", met=p50 <= 20)
    table.add("request → start of the job, idle, p99", f"{p99:.1f} ms", bar="≤ 100", met=p99 <= 100)


def _http(made: Lab, table: Table, merchant_id: UUID, headers: dict[str, str]) -> None:
    rate, took = latency.enqueue_requests(made, merchant_id, headers, 2000)
    table.add("enqueue over HTTP, 8 clients", f"{rate:,.0f} /s")
    table.add("enqueue over HTTP, p99", f"{1000 * latency.percentile(took, 0.99):.1f} ms")


def _lists(made: Lab, table: Table, history: int) -> None:
    short, long = _new_caller(), _new_caller()
    latency.fill_history(made, short[0], 10_000)
    latency.fill_history(made, long[0], history)
    for name, took in latency.list_pages(made, [short[1], long[1]], 1000).items():
        few, many = (1000 * latency.percentile(found, 0.99) for found in took)
        table.add(
            f"job list ({name}), p99 at 10 k → {history / 1e6:g} M rows",
            f"{few:.1f} → {many:.1f} ms",
            bar="≤ 2 x",
            met=many <= 2 * few,
        )


def _new_caller() -> tuple[UUID, dict[str, str]]:
    """A merchant, and the headers of its owner."""
    from ops.lab import new_merchant
    from services.core import db
    from services.core.ids import new_id
    from services.models import Member

    merchant_id, user_id = new_merchant("Bench"), new_id()
    with db.transaction(merchant_id=merchant_id) as session:
        session.add(Member(merchant_id=merchant_id, user_id=user_id, role="owner"))
    return merchant_id, {"Authorization": f"Bearer {_token(user_id)}", "X-Merchant-Id": str(merchant_id)}


def _token(user_id: UUID) -> str:
    import jwt

    from services.core.settings import get_settings

    settings = get_settings()
    assert settings.jwt_secret is not None
    claims = {
        "sub": str(user_id),
        "iss": settings.jwt_issuer,
        "aud": settings.jwt_audience,
        "role": "authenticated",
        "email": "bench@example.com",
        "iat": int(time.time()),
        "exp": int(time.time()) + 7200,
    }
    return jwt.encode(claims, settings.jwt_secret.get_secret_value(), algorithm="HS256")


if __name__ == "__main__":
    sys.exit(main())
