"""Bugs that good job systems shipped, tried on ours. The rest of FACTS' list stands in the tests of its subject:
bad arguments, false alarms and cut connections in tests/workers, unique states in test_enqueue, parents in
test_dispatch, daylight saving in test_schedules.
"""

from uuid import UUID

import psycopg
import pytest

from services.core import db
from services.jobs import dispatch, enqueue_many
from services.jobs import ledger as ledger_module
from services.jobs.ledger import Connection, Ending
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
        blocker.execute("SELECT FROM jobs WHERE id = %s FOR UPDATE", (id_,))
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
