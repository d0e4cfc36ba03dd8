"""Jobs per second: through Celery alone, through the ledger, and through Procrastinate, on the same servers."""

import asyncio
import time
from uuid import UUID

from ops.bench.lab import Lab


def plain_celery(lab: Lab, jobs: int) -> float:
    """No-op tasks per second of Celery as it comes: its own settings, the same pool, number of threads and broker."""
    from ops.bench.plain import app, noop

    with app.producer_pool.acquire() as producer:
        for _ in range(jobs):
            noop.apply_async(("x",), producer=producer)
    lab.start("plain")
    broker = lab.broker()
    rate = _drain(lambda: int(broker.llen(app.conf.task_default_queue)), jobs)
    lab.stop("plain")
    return rate


def doorbells(lab: Lab, jobs: int) -> float:
    """No-op Celery tasks per second of a running worker-io, without ledger and relay: what our settings make of it."""
    from workers.app import app

    lab.stop("worker-io")
    producer = app.amqp.Producer(app.connection_for_write(transport_options={"retry_on_timeout": False}))
    with producer.batch(max_size=500):
        for _ in range(jobs):
            app.send_task("lab_raw", args=("x",), queue="sync", producer=producer, ignore_result=True, retry=False)
    lab.start("worker-io")
    broker, key = lab.broker(), f"{_prefix()}sync"
    return _drain(lambda: int(broker.llen(key)), jobs)


def ledger(lab: Lab, merchant_id: UUID, jobs: int) -> float:
    """No-op jobs per second from the ledger through relay, broker and a running worker-io back to the ledger."""
    lab.stop("worker-io")
    enqueue_noops(merchant_id, jobs)
    lab.start("relay")
    lab.start("worker-io")
    with lab.database() as connection:
        # Looking must cost nothing: two probes of partial indexes now, and the rate from the timeline afterwards.
        while connection.execute(_BUSY).fetchone() == (True,):
            time.sleep(0.2)
        found = connection.execute(_RATE, (jobs, jobs - jobs // 10)).fetchone()
    lab.stop("relay")
    return float(str(found[0])) if found else 0.0


_BUSY = """
SELECT EXISTS (SELECT FROM jobs WHERE queue = 'sync' AND state = 'queued' AND rung_at IS NULL)
    OR EXISTS (SELECT FROM jobs WHERE queue = 'sync' AND rung_at IS NOT NULL)
"""

# Of the round's jobs, all but the first tenth: starting up is not measured.
_RATE = """
SELECT count(*) / extract(epoch FROM max(ended_at) - min(ended_at)) FROM (
    SELECT ended_at FROM (SELECT ended_at FROM jobs WHERE ended_at IS NOT NULL ORDER BY ended_at DESC LIMIT %s) round
    ORDER BY ended_at DESC LIMIT %s) measured
"""


def enqueue_noops(merchant_id: UUID, jobs: int, *, batch: int = 1000) -> float:
    """Enqueue no-op jobs, `batch` to a transaction. Returns jobs per second."""
    from ops.lab import LabNoop
    from services.core import db
    from services.jobs import enqueue_many

    began = time.monotonic()
    for first in range(0, jobs, batch):
        with db.transaction(merchant_id=merchant_id) as session:
            enqueue_many(session, [LabNoop()] * min(batch, jobs - first), merchant_id=merchant_id)
    return jobs / (time.monotonic() - began)


def procrastinate(lab: Lab, jobs: int) -> float:
    """No-op jobs per second through Procrastinate on the same Postgres, concurrency as worker-io's threads."""
    from procrastinate import App, PsycopgConnector

    app = App(connector=PsycopgConnector(conninfo=lab.postgres.url))

    @app.task(name="noop")
    async def noop() -> None:
        pass

    async def run() -> float:
        async with app.open_async():
            if not await app.check_connection_async():
                await app.schema_manager.apply_schema_async()
            for _ in range(0, jobs, 500):
                await noop.batch_defer_async(*([{}] * 500))
            began = time.monotonic()
            await app.run_worker_async(wait=False, concurrency=16, install_signal_handlers=False)
            return jobs / (time.monotonic() - began)

    return asyncio.run(run())


def _drain(left: "object", jobs: int) -> float:
    """Jobs per second between a tenth and all of them done: starting up is not measured."""
    assert callable(left)
    while (first := left()) > jobs * 0.9:
        time.sleep(0.01)
    began = time.monotonic()
    while left() > 0:
        time.sleep(0.02)
    return float(first / (time.monotonic() - began))


def _prefix() -> str:
    from services.core.settings import get_settings

    return get_settings().redis_prefix
