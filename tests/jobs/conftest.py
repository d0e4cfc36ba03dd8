"""The ledger's tests look at whole queues, so each starts with an empty ledger."""

import atexit
import contextlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import psycopg
import pytest

from services.core import db
from services.core.settings import get_settings
from services.jobs import Job, enqueue, stats
from services.jobs import ledger as hot_path
from services.jobs.ledger import Claim, Connection, Ending


class TestWork(Job, kind="test_work", queue="sync", timeout=60, max_attempts=3):
    """A job of the tests."""

    __test__ = False
    n: int = 0


class TestOther(Job, kind="test_other", queue="orders", timeout=None, max_attempts=1):
    """Another, in another queue."""

    __test__ = False
    n: int = 0


_kept: dict[str, Connection] = {}  # by address: opening one costs more than most of what is asked
_free = threading.Lock()


@contextmanager
def owner() -> Iterator[Connection]:
    """A connection of the login role, which sees everything: the kept one, or one more while that is in use."""
    if not _free.acquire(blocking=False):
        with db.open_connection(get_settings()) as connection:
            yield connection
        return
    try:
        connection = _alive()
        try:
            yield connection
        except BaseException:
            connection.close()  # in whatever state it was left
            raise
    finally:
        _free.release()


def _alive() -> Connection:
    address = get_settings().database_url
    kept = _kept.get(address)
    if kept is not None:
        with contextlib.suppress(psycopg.OperationalError):  # a test has cut it
            kept.execute("SELECT 1")
            return kept
        kept.close()
    opened = _kept[address] = db.open_connection(get_settings())
    atexit.register(opened.close)
    return opened


@pytest.fixture(autouse=True)
def _empty_ledger() -> None:
    with owner() as connection:
        for table in ("job_events", "job_stats", "job_totals", "merchant_caps", "jobs"):  # a TRUNCATE makes new files
            connection.execute(f"DELETE FROM {table}")
        connection.execute(
            "UPDATE queues SET paused_at = NULL, max_running = NULL, merchant_cap = NULL, last_merchant_id = NULL"
        )


@pytest.fixture
def ledger() -> Iterator[Connection]:
    """A kept connection, as the relay and the ledger writer have one."""
    with db.open_connection(get_settings()) as connection:
        yield connection


def put(merchant_id: UUID, job: Job | None = None, **options: object) -> UUID:
    """Enqueue and commit one job."""
    with db.transaction(merchant_id=merchant_id) as session:
        return enqueue(session, job or TestWork(), merchant_id=merchant_id, **options)[0]  # type: ignore[arg-type]


def add_up(connection: Connection) -> None:
    """Add up all events there are. On a server that others use too, their open transactions hold them back a moment."""
    until = time.monotonic() + 10
    left: tuple[object, ...] | None = (True,)
    while left == (True,):
        assert time.monotonic() < until
        stats.roll_up(connection)
        left = connection.execute(
            "SELECT EXISTS (SELECT FROM job_events e, stats_position p WHERE e.xid >= p.xid)"
        ).fetchone()


def ring_all(connection: Connection) -> None:
    """Mark every queued job as rung, as a relay would."""
    with owner() as boss:
        boss.execute("UPDATE jobs SET rung_at = clock_timestamp() WHERE state = 'queued'")


def claim(connection: Connection, *ids: UUID, worker: str = "w1", lease: float = 30) -> list[Claim]:
    """Claim rung jobs."""
    return hot_path.claim(connection, ids, worker=worker, lease_seconds=lease).done


def start(connection: Connection, *ids: UUID, worker: str = "w1", lease: float = 30) -> list[Claim]:
    """Ring and claim: these only, where other files' tests left thousands of others queued."""
    with owner() as boss:
        boss.execute(
            "UPDATE jobs SET rung_at = clock_timestamp() WHERE id = ANY(%s) AND state = 'queued'", (list(ids),)
        )
    return claim(connection, *ids, worker=worker, lease=lease)


def finish(connection: Connection, *endings: Ending) -> set[UUID]:
    """Write endings."""
    return hot_path.finish(connection, endings).done


def row(id_: UUID, *columns: str) -> tuple[object, ...]:
    """Columns of a job's row, read by the owner."""
    with owner() as connection:
        found = connection.execute(
            psycopg.sql.SQL("SELECT {} FROM jobs WHERE id = %s").format(
                psycopg.sql.SQL(", ").join(map(psycopg.sql.Identifier, columns))
            ),
            (id_,),
        ).fetchone()
    assert found is not None
    return found


def states(id_: UUID) -> list[tuple[str, str]]:
    """The job's timeline as (state, reason)."""
    with owner() as connection:
        return connection.execute(
            "SELECT state, reason FROM job_events WHERE job_id = %s ORDER BY id", (id_,)
        ).fetchall()
