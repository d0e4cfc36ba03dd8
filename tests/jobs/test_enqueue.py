"""Asking for work: in the caller's transaction, once where it must be once."""

import threading
from datetime import timedelta
from uuid import UUID

import pytest
from pydantic import ValidationError
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from services.core import db
from services.core.clock import now
from services.core.log import bind
from services.core.settings import get_settings
from services.jobs import KINDS, Job, enqueue, enqueue_many
from services.jobs.ledger import Connection, Ending
from tests.jobs.conftest import TestOther, TestWork, finish, owner, put, row, start, states


def test_the_row_says_all_that_the_kind_says(merchant: UUID) -> None:
    with bind(request_id="req-1"):
        id_ = put(merchant, TestWork(n=4), priority=7)
    assert row(id_, "merchant_id", "kind", "queue", "args", "state", "priority", "max_attempts", "timeout_seconds") == (
        merchant, "test_work", "sync", {"n": 4}, "queued", 7, 3, 60,
    )  # fmt: skip
    assert row(id_, "request_id", "attempt", "claims", "rung_at", "ended_at") == ("req-1", 0, 0, None, None)
    assert states(id_) == [("queued", "enqueued")]


def test_nothing_is_asked_when_the_transaction_fails(merchant: UUID) -> None:
    with pytest.raises(RuntimeError), db.transaction(merchant_id=merchant) as session:
        enqueue(session, TestWork(), merchant_id=merchant)
        raise RuntimeError("the request failed")
    with owner() as connection:
        assert connection.execute("SELECT count(*) FROM jobs").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM job_events").fetchone() == (0,)


def test_the_commit_is_announced_with_the_queue(merchant: UUID) -> None:
    with db.open_connection(get_settings()) as listener:
        listener.execute("LISTEN shopopti_jobs")
        put(merchant, TestOther())
        heard = [notice.payload for notice in listener.notifies(timeout=2, stop_after=1)]
        assert heard == ["orders"]
        put(merchant, run_at=now() + timedelta(hours=1))
        assert list(listener.notifies(timeout=0.2)) == []


def test_later_is_scheduled_and_the_past_is_now(merchant: UUID) -> None:
    when = now() + timedelta(hours=2)
    assert row(put(merchant, run_at=when), "state", "run_at", "reason") == ("scheduled", when, "scheduled")
    assert row(put(merchant, run_at=now() - timedelta(hours=2)), "state") == ("queued",)


def test_one_active_job_per_unique_key_through_every_state(ledger: Connection, merchant: UUID) -> None:
    """FACTS: unique states with gaps let duplicates in. Scheduled, queued, running, waiting: all count."""
    first = put(merchant, run_at=now() + timedelta(hours=1), unique_key="feed-1")

    def again() -> tuple[UUID, bool]:
        with db.transaction(merchant_id=merchant) as session:
            return enqueue(session, TestWork(), merchant_id=merchant, unique_key="feed-1")

    assert again() == (first, False)
    with owner() as connection:
        connection.execute("UPDATE jobs SET state = 'queued' WHERE id = %s", (first,))
    assert again() == (first, False)
    [claimed] = start(ledger, first)
    assert again() == (first, False)
    child = put(merchant, parent_id=first)
    finish(ledger, Ending(first, claimed.claims, "succeeded", "done"))
    assert row(first, "state") == ("waiting",)
    assert again() == (first, False)
    [running] = start(ledger, child)
    finish(ledger, Ending(child, running.claims, "succeeded", "done"))
    with owner() as connection:
        connection.execute("UPDATE jobs SET state = 'succeeded', ended_at = now() WHERE id = %s", (first,))
    second, created = again()
    assert created
    assert second != first


def test_the_key_is_the_merchants_and_the_kinds_own(merchant: UUID, other_merchant: UUID) -> None:
    ids = {
        put(merchant, TestWork(), unique_key="k"),
        put(merchant, TestOther(), unique_key="k"),
        put(other_merchant, TestWork(), unique_key="k"),
    }
    assert len(ids) == 3


def test_twenty_at_once_make_one(merchant: UUID) -> None:
    results: list[tuple[UUID, bool]] = []

    def ask() -> None:
        with db.transaction(merchant_id=merchant) as session:
            results.append(enqueue(session, TestWork(), merchant_id=merchant, unique_key="once"))

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id_ for id_, _ in results}) == 1
    assert [created for _, created in results].count(True) == 1


def test_many_at_once_keep_their_order_and_leave_duplicates_out(merchant: UUID) -> None:
    with db.transaction(merchant_id=merchant) as session:
        ids = enqueue_many(
            session, [TestWork(n=n) for n in range(4)], merchant_id=merchant, unique_keys=["a", "b", "a", None]
        )
    assert [row(id_, "args")[0]["n"] for id_ in ids] == [0, 1, 3]  # type: ignore[index]
    assert ids == sorted(ids)


def test_a_job_for_someone_else_is_refused_by_the_database(merchant: UUID, other_merchant: UUID) -> None:
    with (
        pytest.raises(ProgrammingError, match="row-level security"),
        db.transaction(merchant_id=merchant) as session,
    ):
        enqueue(session, TestWork(), merchant_id=other_merchant)


def test_arguments_are_checked_where_they_are_given() -> None:
    with pytest.raises(ValidationError):
        TestWork(n="many")
    with pytest.raises(ValidationError):
        TestWork(unknown=1)  # type: ignore[call-arg]


def test_a_kind_and_a_queue_cannot_be_mistaken() -> None:
    with pytest.raises(TypeError, match="already has the kind"):

        class Twin(Job, kind="test_work", queue="sync"):
            pass

    with pytest.raises(TypeError, match="no queue is called 'imports'"):

        class Lost(Job, kind="test_lost", queue="imports"):
            pass

    assert KINDS["test_work"] is TestWork
    assert "test_lost" not in KINDS


def test_the_app_role_cannot_see_or_touch_another_merchants_job(merchant: UUID, other_merchant: UUID) -> None:
    id_ = put(merchant)
    with db.transaction(merchant_id=other_merchant) as session:
        assert session.execute(text("SELECT count(*) FROM jobs")).scalar() == 0
        assert session.execute(text("UPDATE jobs SET priority = 9 WHERE id = :id"), {"id": id_}).rowcount == 0
    with db.transaction() as session:
        assert session.execute(text("SELECT count(*) FROM jobs")).scalar() == 0
