"""Cancel and retry: one job, a family, or all that match."""

import re
from uuid import UUID

import pytest
from sqlalchemy import text

from services.core import db
from services.core.errors import NotFound
from services.jobs import control, dispatch, enqueue_many
from services.jobs.control import (
    JobAlreadyActive,
    JobAlreadyEnded,
    JobNotRetryable,
    bulk_cancel,
    bulk_retry,
    cancel_job,
    cancel_jobs,
    retry_job,
)
from services.jobs.ledger import Connection, Ending
from services.jobs.queries import JobFilter
from tests.jobs.conftest import TestWork, claim, finish, owner, put, ring_all, row, start, states


def cancel(merchant: UUID, id_: UUID) -> str:
    """Cancel and say the state."""
    with db.transaction(merchant_id=merchant) as session:
        return cancel_job(session, id_).state


def retry(merchant: UUID, id_: UUID) -> str:
    """Retry and say the state."""
    with db.transaction(merchant_id=merchant) as session:
        return retry_job(session, id_).state


def fail(ledger: Connection, id_: UUID, code: str = "broke", fingerprint: str = "f1") -> None:
    """Run a job into failure."""
    [claimed] = start(ledger, id_)
    finish(
        ledger,
        Ending(
            id_, claimed.claims, "failed", "failed", error_code=code, error_message="x", error_fingerprint=fingerprint
        ),
    )


def test_what_waits_is_cancelled_at_once(ledger: Connection, merchant: UUID) -> None:
    id_ = put(merchant)
    ring_all(ledger)
    assert cancel(merchant, id_) == "cancelled"
    assert claim(ledger, id_) == []
    assert states(id_)[-1] == ("cancelled", "cancel_requested")


def test_what_runs_is_asked_to_stop(ledger: Connection, merchant: UUID) -> None:
    id_ = put(merchant)
    [claimed] = start(ledger, id_)
    assert cancel(merchant, id_) == "running"
    assert row(id_, "cancel_requested_at") != (None,)
    finish(ledger, Ending(id_, claimed.claims, "succeeded", "done"))
    assert row(id_, "state") == ("succeeded",)  # it was faster


def test_what_has_ended_cannot_be_cancelled_and_says_so(ledger: Connection, merchant: UUID) -> None:
    id_ = put(merchant)
    fail(ledger, id_)
    with pytest.raises(JobAlreadyEnded) as raised:
        cancel(merchant, id_)
    assert (raised.value.status, raised.value.extra) == (409, {"state": "failed"})


def test_someone_elses_job_is_not_there(merchant: UUID, other_merchant: UUID) -> None:
    id_ = put(merchant)
    for act in (cancel, retry):
        with pytest.raises(NotFound):
            act(other_merchant, id_)
    assert row(id_, "state") == ("queued",)


def test_a_parent_takes_its_children_with_it(ledger: Connection, merchant: UUID) -> None:
    parent = put(merchant)
    [claimed] = start(ledger, parent)
    with db.transaction(merchant_id=merchant) as session:
        children = enqueue_many(session, [TestWork(), TestWork()], merchant_id=merchant, parent_id=parent)
    finish(ledger, Ending(parent, claimed.claims, "succeeded", "done"))
    [running] = start(ledger, children[0])
    assert cancel(merchant, parent) == "waiting"
    assert [row(child, "state")[0] for child in children] == ["running", "cancelled"]
    finish(ledger, Ending(children[0], running.claims, "cancelled", "cancel_requested"))
    dispatch.settle_parents(ledger)
    assert row(parent, "state", "reason") == ("cancelled", "cancel_requested")


def test_a_lease_that_runs_out_on_a_job_to_be_cancelled_cancels_it(ledger: Connection, merchant: UUID) -> None:
    id_ = put(merchant)
    start(ledger, id_, lease=-1)
    cancel(merchant, id_)
    dispatch.rescue(ledger)
    assert row(id_, "state", "error_code") == ("cancelled", None)


def test_a_failed_job_gets_another_life(ledger: Connection, merchant: UUID) -> None:
    id_ = put(merchant)
    fail(ledger, id_)
    assert retry(merchant, id_) == "queued"
    assert row(id_, "attempt", "claims", "error_code", "ended_at") == (0, 1, None, None)
    [claimed] = start(ledger, id_)
    assert (claimed.attempt, claimed.claims) == (1, 2)


def test_a_cancelled_job_can_be_retried_and_is_no_longer_to_be_cancelled(ledger: Connection, merchant: UUID) -> None:
    id_ = put(merchant)
    cancel(merchant, id_)
    retry(merchant, id_)
    [claimed] = start(ledger, id_)
    assert claimed.cancel_requested_at is None


@pytest.mark.parametrize("state", ["queued", "running", "succeeded"])
def test_nothing_else_can_be_retried(ledger: Connection, merchant: UUID, state: str) -> None:
    id_ = put(merchant)
    if state != "queued":
        [claimed] = start(ledger, id_)
    if state == "succeeded":
        finish(ledger, Ending(id_, claimed.claims, "succeeded", "done"))
    with pytest.raises(JobNotRetryable) as raised:
        retry(merchant, id_)
    assert raised.value.extra == {"state": state}


def test_a_retry_yields_to_an_active_twin(ledger: Connection, merchant: UUID) -> None:
    id_ = put(merchant, unique_key="k")
    fail(ledger, id_)
    put(merchant, unique_key="k")
    with pytest.raises(JobAlreadyActive):
        retry(merchant, id_)
    assert row(id_, "state") == ("failed",)


def test_retrying_a_parent_runs_again_only_the_children_that_did_not_succeed(
    ledger: Connection, merchant: UUID
) -> None:
    parent = put(merchant)
    [claimed] = start(ledger, parent)
    with db.transaction(merchant_id=merchant) as session:
        good, bad = enqueue_many(session, [TestWork(), TestWork()], merchant_id=merchant, parent_id=parent)
    finish(ledger, Ending(parent, claimed.claims, "succeeded", "done"))
    [running] = start(ledger, good)
    finish(ledger, Ending(good, running.claims, "succeeded", "done"))
    fail(ledger, bad)
    dispatch.settle_parents(ledger)
    assert row(parent, "reason") == ("partly_done",)
    assert retry(merchant, parent) == "waiting"
    assert (row(good, "state"), row(bad, "state")) == (("succeeded",), ("queued",))
    [running] = start(ledger, bad)
    finish(ledger, Ending(bad, running.claims, "succeeded", "done"))
    dispatch.settle_parents(ledger)
    assert row(parent, "state", "reason") == ("succeeded", "done")


def test_bulk_acts_on_what_matches_and_counts_first(ledger: Connection, merchant: UUID, other_merchant: UUID) -> None:
    mine = [put(merchant) for _ in range(4)]
    theirs = put(other_merchant)
    for id_, fingerprint in zip([*mine, theirs], ["f1", "f1", "f2", "f1", "f1"], strict=True):
        fail(ledger, id_, fingerprint=fingerprint)
    wanted = JobFilter(error_fingerprint="f1")
    with db.transaction(merchant_id=merchant) as session:
        assert bulk_retry(session, wanted, dry_run=True) == {"matched": 3, "changed": 0, "dry_run": True}
    assert row(mine[0], "state") == ("failed",)
    with db.transaction(merchant_id=merchant) as session:
        assert bulk_retry(session, wanted, dry_run=False) == {"matched": 3, "changed": 3, "dry_run": False}
    assert [row(id_, "state")[0] for id_ in [*mine, theirs]] == ["queued", "queued", "failed", "queued", "failed"]
    with db.transaction(merchant_id=merchant) as session:
        assert bulk_cancel(session, JobFilter(kinds=("test_work",)), dry_run=False)["changed"] == 3
    with owner() as connection:
        left = connection.execute("SELECT count(*) FROM jobs WHERE state = 'queued'").fetchone()
    assert left == (0,)


def family(ledger: Connection, merchant: UUID, generations: int) -> list[UUID]:
    """A parent, its child, its grandchild …: all but the last wait, the last is queued."""
    ids = [put(merchant)]
    while len(ids) < generations:
        [claimed] = start(ledger, ids[-1])
        with db.transaction(merchant_id=merchant) as session:
            ids += enqueue_many(session, [TestWork()], merchant_id=merchant, parent_id=ids[-1])
        finish(ledger, Ending(claimed.id, claimed.claims, "succeeded", "done"))
    return ids


def settle(ledger: Connection) -> None:
    """As the relay does, again and again."""
    for _ in range(4):
        dispatch.settle_parents(ledger)


def test_a_retried_grandchild_takes_all_above_it_back_to_waiting(ledger: Connection, merchant: UUID) -> None:
    top, middle, bottom = family(ledger, merchant, 3)
    fail(ledger, bottom)
    settle(ledger)
    assert [row(id_, "state") for id_ in (top, middle)] == [("failed",), ("failed",)]
    assert retry(merchant, bottom) == "queued"
    assert [row(id_, "state") for id_ in (top, middle)] == [("waiting",), ("waiting",)]
    [claimed] = start(ledger, bottom)
    finish(ledger, Ending(bottom, claimed.claims, "succeeded", "done"))
    settle(ledger)
    assert [row(id_, "state") for id_ in (top, middle, bottom)] == [("succeeded",)] * 3


def test_bulk_brings_back_whole_families_from_the_bottom(ledger: Connection, merchant: UUID) -> None:
    families = [family(ledger, merchant, 3) for _ in range(2)]
    for *_, bottom in families:
        fail(ledger, bottom)
    settle(ledger)
    with db.transaction(merchant_id=merchant) as session:
        assert bulk_retry(session, JobFilter(states=("failed",)), dry_run=False)["changed"] == 6
    for ids in families:
        assert [row(id_, "state")[0] for id_ in ids] == ["waiting", "waiting", "queued"]


def test_no_statement_compares_every_job_with_every_other(merchant: UUID) -> None:
    """The statistics of a table lag behind it: 10,000 jobs of a young one were cancelled in minutes, not in seconds."""
    parent = put(merchant)
    with db.transaction(merchant_id=merchant) as session:
        children = enqueue_many(session, [TestWork()] * 200, merchant_id=merchant, parent_id=parent)
        keyed = enqueue_many(
            session, [TestWork()] * 200, merchant_id=merchant, unique_keys=[str(n) for n in range(200)]
        )
    again = [control._WAIT_AGAIN, control._LOCK_ANCESTORS, control._AGAIN, control._LIFT_PARENTS]
    with owner() as connection, connection.transaction(force_rollback=True):
        connection.execute("UPDATE pg_class SET reltuples = 1 WHERE oid = 'jobs'::regclass")
        connection.execute("SELECT set_config('shopopti.merchant_id', %s, true)", (str(merchant),))
        cancel = [control._CHILDREN, control._CANCEL]
        for role, statements in (("shopopti_app", [*cancel, *again]), ("shopopti_ledger", cancel)):
            connection.execute(f"SET LOCAL ROLE {role}")
            for statement in statements:
                explained = "EXPLAIN (ANALYZE, TIMING OFF) " + statement.text.replace(":ids", "%(ids)s")
                plan = "\n".join(
                    line for (line,) in connection.execute(explained, {"ids": [parent, *children, *keyed]})
                )
                lost = [int(count) for count in re.findall(r"Removed by (?:Join )?Filter: (\d+)", plan)]
                assert max(lost, default=0) <= 401, plan


def test_cancelling_a_large_family_does_not_read_the_table_for_each_child(merchant: UUID) -> None:
    """The statistics say that a parent has hundreds of children, and every child is taken for such a parent."""
    parents = [put(merchant) for _ in range(2)]
    with db.transaction(merchant_id=merchant) as session:
        for parent in parents:
            enqueue_many(session, [TestWork()] * 200, merchant_id=merchant, parent_id=parent)
    with owner() as connection:
        connection.execute("ANALYZE jobs")
    read = text("SELECT seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = 'jobs'")
    with db.transaction(merchant_id=merchant) as session:
        assert len(cancel_jobs(session, [parents[0]])) == 201
        assert (session.scalar(read) or 0) < 10_000


def test_a_retried_parent_in_the_middle_takes_the_top_along(ledger: Connection, merchant: UUID) -> None:
    top, middle, bottom = family(ledger, merchant, 3)
    fail(ledger, bottom)
    settle(ledger)
    assert retry(merchant, middle) == "waiting"
    assert [row(id_, "state") for id_ in (top, bottom)] == [("waiting",), ("queued",)]


def test_no_parent_is_settled_while_a_child_is_brought_back(ledger: Connection, merchant: UUID) -> None:
    """The last sibling ends, and the relay looks, between a retry and its commit."""
    parent = put(merchant)
    [claimed] = start(ledger, parent)
    with db.transaction(merchant_id=merchant) as session:
        first, last = enqueue_many(session, [TestWork(), TestWork()], merchant_id=merchant, parent_id=parent)
    finish(ledger, Ending(parent, claimed.claims, "succeeded", "done"))
    fail(ledger, first)
    [running] = start(ledger, last)
    with db.transaction(merchant_id=merchant) as session:
        retry_job(session, first)
        finish(ledger, Ending(last, running.claims, "succeeded", "done"))
        settle(ledger)
    settle(ledger)
    assert (row(parent, "state"), row(first, "state")) == (("waiting",), ("queued",))


def test_a_child_whose_parent_has_an_active_twin_stops_no_other(ledger: Connection, merchant: UUID) -> None:
    parent = put(merchant, unique_key="one")
    [claimed] = start(ledger, parent)
    with db.transaction(merchant_id=merchant) as session:
        [child] = enqueue_many(session, [TestWork()], merchant_id=merchant, parent_id=parent)
    finish(ledger, Ending(parent, claimed.claims, "succeeded", "done"))
    fail(ledger, child)
    settle(ledger)
    twin, lone = put(merchant, unique_key="one"), put(merchant)
    fail(ledger, lone)
    with pytest.raises(JobAlreadyActive):
        retry(merchant, child)
    with db.transaction(merchant_id=merchant) as session:
        done = bulk_retry(session, JobFilter(error_fingerprint="f1"), dry_run=False)
    assert (done["matched"], done["changed"]) == (2, 1)
    assert [row(id_, "state")[0] for id_ in (parent, child, lone, twin)] == ["failed", "failed", "queued", "queued"]
