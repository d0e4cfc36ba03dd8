"""Bugs that good job systems shipped, tried on ours. The rest of FACTS' list stands in the tests of its subject:
bad arguments, false alarms and cut connections in tests/workers, unique states in test_enqueue, parents in
test_dispatch, daylight saving in test_schedules.
"""

import threading
from uuid import UUID

import psycopg
import pytest

from services.core import db
from services.core.settings import get_settings
from services.jobs import dispatch, enqueue_many
from services.jobs import ledger as ledger_module
from services.jobs.control import bulk_retry, cancel_job
from services.jobs.ledger import Connection, Ending
from services.jobs.queries import JobFilter
from tests.jobs.conftest import TestOther, TestWork, claim, finish, owner, put, ring_all, row, start


def test_a_page_of_long_jobs_does_not_hide_a_stuck_one(ledger: Connection, merchant: UUID) -> None:
    with db.transaction(merchant_id=merchant) as session:
        ids = enqueue_many(session, [TestWork(n=n) for n in range(700)], merchant_id=merchant)
    ring_all(ledger)
    claim(ledger, *ids[:-1])
    claim(ledger, ids[-1], lease=-1)
    assert dispatch.rescue(ledger, limit=1) == 1
    assert row(ids[-1], "reason") == ("rescued",)


def test_a_job_without_a_timeout_is_not_rescued_while_its_lease_is_renewed(ledger: Connection, merchant: UUID) -> None:
    id_ = put(merchant, TestOther())
    [claimed] = start(ledger, id_)
    with owner() as connection:
        connection.execute("UPDATE jobs SET started_at = now() - interval '3 days', lease_until = now() + '1 s'")
    assert claimed.timeout_seconds is None
    assert dispatch.rescue(ledger) == 0
    assert row(id_, "state") == ("running",)


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger that gives a statement a third of a second."""
    monkeypatch.setattr(ledger_module, "STALL_SECONDS", 0.3)


@pytest.mark.usefixtures("_impatient")
def test_a_stalled_database_call_does_not_hang_the_caller(ledger: Connection, merchant: UUID) -> None:
    id_ = put(merchant)
    ring_all(ledger)
    with owner() as blocker:
        blocker.execute("BEGIN")
        blocker.execute("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(psycopg.errors.QueryCanceled):
            claim(ledger, id_)
        blocker.execute("ROLLBACK")
    ledger.rollback()
    assert [c.id for c in claim(ledger, id_)] == [id_]


def test_an_owner_that_died_while_its_claim_was_committed_is_found_out(ledger: Connection, merchant: UUID) -> None:
    """The row says running, nobody knows of it: only the lease can tell, and does."""
    id_ = put(merchant)
    start(ledger, id_, worker="died-in-commit", lease=-1)
    assert dispatch.rescue(ledger) == 1
    assert row(id_, "state", "reason") == ("queued", "rescued")


def test_a_parent_is_not_settled_twice_by_two_relays(ledger: Connection, merchant: UUID) -> None:
    parent = put(merchant)
    [claimed] = start(ledger, parent)
    with db.transaction(merchant_id=merchant) as session:
        [child] = enqueue_many(session, [TestWork()], merchant_id=merchant, parent_id=parent)
    finish(ledger, Ending(parent, claimed.claims, "succeeded", "done"))
    [running] = start(ledger, child)
    finish(ledger, Ending(child, running.claims, "succeeded", "done"))
    with owner() as other:
        other.execute("BEGIN")
        other.execute("SELECT FROM jobs WHERE id = %s FOR NO KEY UPDATE", (parent,))
        assert dispatch.settle_parents(ledger) == 0  # in other hands, left alone
        other.execute("COMMIT")
    assert dispatch.settle_parents(ledger) + dispatch.settle_parents(ledger) == 1


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_parent_that_dies_for_good_still_waits_for_its_children(
    ledger: Connection, merchant: UUID, cancelled: bool
) -> None:
    parent = put(merchant)
    with owner() as connection:
        connection.execute("UPDATE jobs SET max_attempts = 1 WHERE id = %s", (parent,))
    start(ledger, parent, lease=-1)
    with db.transaction(merchant_id=merchant) as session:
        [child] = enqueue_many(session, [TestWork()], merchant_id=merchant, parent_id=parent)
    if cancelled:
        with owner() as connection:
            connection.execute("UPDATE jobs SET cancel_requested_at = now() WHERE id = %s", (parent,))
    dispatch.rescue(ledger)
    assert row(parent, "state", "ended_at") == ("waiting", None)
    if not cancelled:
        [running] = start(ledger, child)
        finish(ledger, Ending(child, running.claims, "succeeded", "done"))
    dispatch.settle_parents(ledger)
    dispatch.settle_parents(ledger)
    assert row(parent, "state") == (("cancelled",) if cancelled else ("failed",))
    assert row(child, "state") == (("cancelled",) if cancelled else ("succeeded",))


def test_children_made_after_the_cancellation_are_cancelled_too(ledger: Connection, merchant: UUID) -> None:
    parent = put(merchant)
    [claimed] = start(ledger, parent)
    with db.transaction(merchant_id=merchant) as session:
        cancel_job(session, parent)
    with db.transaction(merchant_id=merchant) as session:
        [late] = enqueue_many(session, [TestWork()], merchant_id=merchant, parent_id=parent)
    finish(ledger, Ending(parent, claimed.claims, "succeeded", "done"))
    dispatch.settle_parents(ledger)
    dispatch.settle_parents(ledger)
    assert (row(late, "state"), row(parent, "state")) == (("cancelled",), ("cancelled",))


def test_a_cancelled_parent_that_is_put_back_waits_for_its_children(ledger: Connection, merchant: UUID) -> None:
    parent = put(merchant)
    [held] = start(ledger, parent)
    child = put(merchant, parent_id=parent)
    [working] = start(ledger, child)
    with db.transaction(merchant_id=merchant) as session:
        cancel_job(session, parent)
        [late] = enqueue_many(session, [TestWork()], merchant_id=merchant, parent_id=parent)
    finish(ledger, Ending(parent, held.claims, "queued", "drained", refund=1))
    dispatch.settle_parents(ledger)
    assert [row(id_, "state") for id_ in (parent, child, late)] == [("waiting",), ("running",), ("cancelled",)]
    finish(ledger, Ending(child, working.claims, "cancelled", "cancel_requested"))
    dispatch.settle_parents(ledger)
    assert row(parent, "state", "reason") == ("cancelled", "cancel_requested")


def test_a_retried_child_takes_its_ended_parent_back_to_waiting(ledger: Connection, merchant: UUID) -> None:
    parent = put(merchant)
    [claimed] = start(ledger, parent)
    with db.transaction(merchant_id=merchant) as session:
        [child] = enqueue_many(session, [TestWork()], merchant_id=merchant, parent_id=parent)
    finish(ledger, Ending(parent, claimed.claims, "succeeded", "done"))
    [running] = start(ledger, child)
    finish(ledger, Ending(child, running.claims, "failed", "failed", error_code="x", error_fingerprint="f"))
    dispatch.settle_parents(ledger)
    assert row(parent, "state") == ("failed",)
    with db.transaction(merchant_id=merchant) as session:
        bulk_retry(session, JobFilter(error_fingerprint="f"), dry_run=False)
    assert (row(parent, "state", "error_code"), row(child, "state")) == (("waiting", None), ("queued",))
    [running] = start(ledger, child)
    finish(ledger, Ending(child, running.claims, "succeeded", "done"))
    dispatch.settle_parents(ledger)
    assert row(parent, "state", "reason") == ("succeeded", "done")


def test_relays_in_a_race_never_overshoot_a_cap(merchant: UUID) -> None:
    with db.transaction(merchant_id=merchant) as session:
        enqueue_many(session, [TestWork(n=n) for n in range(300)], merchant_id=merchant)
    over: list[int] = []

    def relay() -> None:
        with db.open_connection(get_settings()) as connection:
            for _ in range(25):
                bells = dispatch.ring(connection, "sync", window=100, cap=2)
                in_flight = connection.execute("SELECT count(*) FROM jobs WHERE rung_at IS NOT NULL").fetchone()
                over.append(int(str(in_flight[0] if in_flight else 0)))
                for claimed in claim(connection, *(bell.id for bell in bells)):
                    finish(connection, Ending(claimed.id, claimed.claims, "succeeded", "done"))

    threads = [threading.Thread(target=relay) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert max(over) <= 2
    assert len(over) == 75


def test_behind_a_transaction_pooler_nothing_is_left_with_the_server(merchant: UUID) -> None:
    """FACTS: there each transaction has another connection, and statements that were prepared on the last one fail."""
    for pooler in (False, True):
        behind = get_settings().model_copy(update={"database_transaction_pooler": pooler})
        with db.open_connection(behind) as connection:
            for _ in range(6):
                assert claim(connection, merchant) == []
            left = connection.execute("SELECT count(*) > 0 FROM pg_prepared_statements").fetchone()
        assert left == (not pooler,)
