"""A supplier that is down: its jobs wait and spend nothing, one tries, and all go on when it answers."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from services.core.clock import now
from services.core.db import transaction
from services.core.ids import new_id
from services.jobs import Job, Run, enqueue
from services.models import Connection
from services.sourcing.accounts.reach import get_connection
from services.sourcing.jobs import SyncSupplierProducts
from services.sourcing.quotas import breaker
from services.suppliers.errors import (
    FatalForConnection,
    FatalForItem,
    ReconnectNeeded,
    Retry,
    UnknownOutcome,
    WaitUntil,
)
from tests import inline
from tests.conftest import make_merchant
from tests.sourcing import syncing


class CallSupplier(Job, kind="test_call_supplier", queue="sync", timeout=60, max_attempts=4):
    """A job over a connection."""

    connection_id: UUID


def connected(merchant: UUID) -> UUID:
    """A connection that nobody will call."""
    row = Connection(
        id=new_id(), merchant_id=merchant, supplier="bigbuy", name=str(new_id()), secrets="x", account_key=str(new_id())
    )
    with transaction(merchant_id=merchant) as session:
        session.add(row)
    return row.id


def ask(merchant: UUID, connection: UUID) -> UUID:
    with transaction(merchant_id=merchant) as session:
        return enqueue(session, CallSupplier(connection_id=connection), merchant_id=merchant)[0]


def handler(does: Callable[[], Any]) -> Any:
    """What a task does: call the supplier, guarded."""

    def call(run: Run, job: CallSupplier) -> None:
        with breaker.guarded(run, job.connection_id):
            does()

    return call


def down() -> None:
    raise Retry("502")


def up() -> None:
    pass


def attempt(merchant: UUID, connection: UUID, does: Callable[[], Any], *, job: UUID | None = None) -> dict[str, Any]:
    """One attempt at a job."""
    return inline.work(job or ask(merchant, connection), handler=handler(does))


def state_of(merchant: UUID, connection: UUID) -> breaker.Health:
    with transaction(merchant_id=merchant) as session:
        return breaker.health(get_connection(session, connection))


def left(merchant: UUID, connection: UUID) -> float:
    """Seconds until it may be tried."""
    retry_at = state_of(merchant, connection).retry_at
    assert retry_at is not None
    return (retry_at - now()).total_seconds()


def pass_time(merchant: UUID, connection: UUID) -> None:
    """The time it is left alone is over."""
    with transaction(merchant_id=merchant) as session:
        session.execute(text("UPDATE connections SET retry_at = now() WHERE id = :id"), {"id": connection})


def run_at(job: UUID) -> datetime:
    with transaction(role="shopopti_ledger") as session:
        found: datetime = session.execute(text("SELECT run_at FROM jobs WHERE id = :id"), {"id": job}).scalar_one()
        return found


def opened(merchant: UUID) -> UUID:
    """A connection with an open breaker."""
    connection = connected(merchant)
    for _ in range(breaker.THRESHOLD):
        attempt(merchant, connection, down)
    return connection


def test_a_few_failures_in_a_row_open_it_and_an_answer_in_between_does_not(merchant: UUID) -> None:
    connection = connected(merchant)
    job = ask(merchant, connection)
    for expected in ("retry", "retry"):
        assert attempt(merchant, connection, down, job=job)["reason"] == expected
    attempt(merchant, connection, up)
    assert state_of(merchant, connection) == breaker.Health("closed", 0, None, None)
    assert attempt(merchant, connection, down, job=job)["attempt"] == 3
    for _ in range(2):
        ended = attempt(merchant, connection, down)
    assert (ended["state"], ended["reason"], ended["attempt"]) == ("scheduled", "supplier_down", 0)
    health = state_of(merchant, connection)
    assert (health.state, health.failures) == ("open", 3)
    assert 25 < left(merchant, connection) <= 30

    called = []
    for _ in range(5):  # more often than it has attempts
        ended = attempt(merchant, connection, lambda: called.append(1), job=job)
        assert (ended["reason"], ended["attempt"]) == ("supplier_down", 3)
    assert called == []
    assert 25 < (run_at(job) - now()).total_seconds() <= 33


def test_then_exactly_one_job_tries_and_when_it_gets_through_all_go_on(merchant: UUID, other_merchant: UUID) -> None:
    connection, elsewhere = opened(merchant), opened(other_merchant)
    jobs = [ask(merchant, connection) for _ in range(8)]
    foreign = ask(other_merchant, elsewhere)
    attempt(other_merchant, elsewhere, up, job=foreign)
    pass_time(merchant, connection)
    tried: list[int] = []
    others_are_done = threading.Semaphore(0)

    def probe() -> None:
        tried.append(1)
        for _ in jobs[1:]:
            assert others_are_done.acquire(timeout=20)
        assert state_of(merchant, connection).state == "probing"

    all_at_once = threading.Barrier(len(jobs))

    def call(run: Run, job: CallSupplier) -> None:
        all_at_once.wait()
        with breaker.guarded(run, job.connection_id):
            probe()

    def worker(job: UUID) -> dict[str, Any]:
        ended = inline.work(job, handler=call)
        others_are_done.release()
        return ended

    with ThreadPoolExecutor(len(jobs)) as pool:
        ended = list(pool.map(worker, jobs))
    assert len(tried) == 1
    assert sorted(one["reason"] for one in ended) == ["done"] + ["supplier_down"] * 7
    assert state_of(merchant, connection).state == "closed"
    for job, one in zip(jobs, ended, strict=True):
        if one["reason"] != "done":
            assert run_at(job) <= now()  # woken, long before their time
            assert attempt(merchant, connection, up, job=job)["state"] == "succeeded"
    assert run_at(foreign) > now() + timedelta(seconds=20)
    assert state_of(other_merchant, elsewhere).state == "open"


def test_each_probe_that_fails_doubles_the_time_up_to_a_bound_and_spends_no_attempt(merchant: UUID) -> None:
    connection = opened(merchant)
    job, waited = ask(merchant, connection), []
    for _ in range(7):
        pass_time(merchant, connection)
        ended = attempt(merchant, connection, down, job=job)
        waited.append(round(left(merchant, connection)))
    assert waited == [60, 120, 240, 480, 900, 900, 900]
    assert (ended["reason"], ended["attempt"]) == ("supplier_down", 0)
    assert (run_at(job) - now()).total_seconds() <= breaker.PARKED_SECONDS


def test_a_probe_that_dies_is_followed_by_itself_or_when_its_time_is_over_by_another(merchant: UUID) -> None:
    connection = opened(merchant)
    pass_time(merchant, connection)
    job = ask(merchant, connection)

    breaker.Supplier(Run(inline.claim(job)), connection)._admit()  # and then its process is killed
    assert state_of(merchant, connection).state == "probing"
    assert left(merchant, connection) > 500
    other = ask(merchant, connection)
    assert attempt(merchant, connection, up, job=other)["reason"] == "supplier_down"
    soon = (run_at(other) - now()).total_seconds()
    assert soon <= 1.1 * breaker.PROBED_SECONDS, "the probe may close it before this one is put down to be woken"
    assert breaker.pause(state_of(merchant, connection)) <= 1.1 * breaker.PROBED_SECONDS
    inline.lose(job)
    assert attempt(merchant, connection, down, job=job)["reason"] == "supplier_down"  # it went, and failed
    assert 50 < left(merchant, connection) <= 60

    pass_time(merchant, connection)
    with transaction(merchant_id=merchant) as session:
        session.execute(
            text("UPDATE connections SET probe_job_id = :job WHERE id = :id"), {"job": job, "id": connection}
        )
    assert attempt(merchant, connection, up)["state"] == "succeeded"
    assert state_of(merchant, connection).state == "closed"


def test_a_probe_that_did_not_try_leaves_it_to_the_next(merchant: UUID) -> None:
    connection = opened(merchant)
    for gives_way in (WaitUntil(now() + timedelta(hours=1)), ZeroDivisionError()):
        pass_time(merchant, connection)

        def leave(error: Exception = gives_way) -> None:
            raise error

        attempt(merchant, connection, leave)
        assert left(merchant, connection) <= 0
        assert state_of(merchant, connection).failures == 3
    assert attempt(merchant, connection, up)["state"] == "succeeded"


@pytest.mark.parametrize(
    ("error", "failures", "state"),
    [
        (FatalForConnection(kind="signature"), 3, "open"),
        (FatalForConnection(kind="unreachable"), 3, "open"),
        (FatalForConnection(kind="permission"), 0, "closed"),  # another kind of call may well be permitted
        (FatalForItem(kind="out_of_stock"), 0, "closed"),
        (ReconnectNeeded(), 0, "closed"),
        (UnknownOutcome(), 1, "closed"),
        (WaitUntil(now()), 1, "closed"),
        (KeyError(), 1, "closed"),
    ],
    ids=lambda value: f"{type(value).__name__}-{getattr(value, 'kind', '')}" if isinstance(value, Exception) else None,
)
def test_what_counts_as_a_failure(merchant: UUID, error: Exception, failures: int, state: str) -> None:
    connection = connected(merchant)
    if failures == 1 and not isinstance(error, UnknownOutcome):
        attempt(merchant, connection, down)

    def fails() -> None:
        raise error

    ended = attempt(merchant, connection, fails)
    health = state_of(merchant, connection)
    assert (health.failures, health.state) == (failures, state)
    assert ended["reason"] in ("failed", "retry", "supplier_quota")  # what it means to the job is another matter


def test_what_fails_late_says_nothing_new_and_an_answer_closes_it_whoever_has_it(merchant: UUID) -> None:
    connection = connected(merchant)

    def meanwhile() -> None:
        for _ in range(3):
            attempt(merchant, connection, down)
        raise Retry("502")

    ended = attempt(merchant, connection, meanwhile)
    assert (ended["reason"], ended["attempt"]) == ("supplier_down", 0)
    assert state_of(merchant, connection).failures == 3

    def is_up_again(run: Run, job: CallSupplier) -> None:
        with breaker.guarded(run, job.connection_id) as supplier:
            for _ in range(3):
                attempt(merchant, connection, down)
            supplier.answered()
            assert state_of(merchant, connection).state == "closed"

    pass_time(merchant, connection)
    attempt(merchant, connection, up)
    assert inline.work(ask(merchant, connection), handler=is_up_again)["state"] == "succeeded"


def test_after_a_day_jobs_fail_rather_than_wait_for_ever(merchant: UUID) -> None:
    connection = opened(merchant)
    with transaction(merchant_id=merchant) as session:
        session.execute(
            text("UPDATE connections SET opened_at = now() - interval '25 hours', retry_at = now() WHERE id = :id"),
            {"id": connection},
        )
    ended = attempt(merchant, connection, down)
    assert (ended["reason"], ended["attempt"], ended["error_code"]) == ("retry", 1, "supplier_unavailable")


def test_another_merchants_connection_is_not_to_be_had(merchant: UUID) -> None:
    theirs = opened(make_merchant())
    assert attempt(merchant, theirs, up)["state"] == "succeeded"  # nothing of it is seen; `reach` does not find it
    assert attempt(merchant, theirs, down)["reason"] == "retry"


def test_syncs_sit_an_outage_out_and_go_on_where_they_were(world: Any, merchant: UUID, connection: UUID) -> None:
    job = syncing.begin(merchant, SyncSupplierProducts(connection_id=connection))
    with world.fault("server_error", supplier="bigbuy", route="catalog/attributes", status=503, skip=2):
        seen = [inline.work(job) for _ in range(2 * breaker.THRESHOLD)]
    assert [one["reason"] for one in seen[:2]] == ["retry", "retry"]
    assert {(one["reason"], one["attempt"]) for one in seen[3:]} == {("supplier_down", 2)}
    asked = world.ask("GET", "ledger?route=catalog/attributes&status=503")["data"]
    assert len(asked) == breaker.THRESHOLD  # and then it was left alone
    pass_time(merchant, connection)
    assert inline.work(job)["state"] == "succeeded"
    assert syncing.stored(merchant, connection) == syncing.truth(world)
