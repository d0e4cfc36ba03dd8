"""Claim and finish: who gets a job, who may end it, and what the timeline says."""

import threading
import time
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy import text

from services.core import db
from services.core.settings import get_settings
from services.jobs import Run, enqueue_many
from services.jobs import ledger as hot_path
from services.jobs.ledger import Connection, Ending, cancel_requests, renew, unring, write_progress
from services.jobs.outcomes import Stopped
from services.jobs.states import ENDED, MOVES
from services.jobs.vitals import is_read_only
from tests.jobs.conftest import TestWork, claim, finish, owner, put, ring_all, row, start, states


def test_the_database_allows_exactly_the_moves_that_the_code_knows() -> None:
    with owner() as connection:
        allowed = set(connection.execute("SELECT from_state, to_state FROM job_moves").fetchall())
    assert allowed == {(was, to) for was, moves in MOVES.items() for to in moves}


def test_an_illegal_move_is_refused_by_the_database(merchant: UUID) -> None:
    id_ = put(merchant)
    with (
        owner() as connection,
        pytest.raises(psycopg.errors.CheckViolation, match="may not go from queued to succeeded"),
    ):
        connection.execute("UPDATE jobs SET state = 'succeeded', ended_at = now() WHERE id = %s", (id_,))
    assert row(id_, "state") == ("queued",)


def test_a_job_is_claimed_once(ledger: Connection, merchant: UUID) -> None:
    id_ = put(merchant, TestWork(n=7))
    ring_all(ledger)
    [claimed] = claim(ledger, id_)
    assert (claimed.id, claimed.merchant_id, claimed.kind, claimed.args) == (id_, merchant, "test_work", {"n": 7})
    assert (claimed.attempt, claimed.max_attempts, claimed.claims, claimed.timeout_seconds) == (1, 3, 1, 60)
    assert claim(ledger, id_, worker="w2") == []
    assert row(id_, "state", "worker", "attempt") == ("running", "w1", 1)


def test_a_job_whose_bell_was_taken_back_is_not_claimed(ledger: Connection, merchant: UUID) -> None:
    id_ = put(merchant)
    assert claim(ledger, id_) == []
    ring_all(ledger)
    unring(ledger, [id_])
    assert claim(ledger, id_) == []
    assert row(id_, "state", "rung_at") == ("queued", None)


def test_twenty_workers_at_once_win_each_job_once(ledger: Connection, merchant: UUID) -> None:
    with db.transaction(merchant_id=merchant) as session:
        ids = enqueue_many(session, [TestWork(n=n) for n in range(50)], merchant_id=merchant)
    ring_all(ledger)
    won: list[UUID] = []

    def compete(name: str) -> None:
        with db.open_connection(get_settings()) as connection:
            won.extend(c.id for c in claim(connection, *ids, worker=name))

    threads = [threading.Thread(target=compete, args=(f"w{n}",)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == sorted(ids)


def test_a_claim_leaves_a_row_that_somebody_holds_and_then_sees_its_newest_state(
    ledger: Connection, merchant: UUID
) -> None:
    """FACTS: a claim that looked before it locked lost a job whose other writer was just committing."""
    held, other = put(merchant), put(merchant)
    ring_all(ledger)
    with owner() as blocker:
        blocker.execute("BEGIN")
        blocker.execute("UPDATE jobs SET priority = 1 WHERE id = %s", (held,))
        written = hot_path.claim(ledger, [held, other, uuid4()], worker="w1", lease_seconds=30)
        assert ([claim.id for claim in written.done], written.busy) == ([other], {held})
        blocker.execute("COMMIT")
    assert sorted(each.id for each in claim(ledger, held, other)) == [held, other]  # asked again after a lost answer


def test_a_row_that_somebody_holds_costs_the_others_nothing(ledger: Connection, merchant: UUID) -> None:
    held, other = start(ledger, put(merchant), put(merchant))
    with owner() as blocker:
        blocker.execute("BEGIN")
        blocker.execute("SELECT FROM jobs WHERE id = %s FOR UPDATE", (held.id,))
        renewed = renew(ledger, {held.id: held.claims, other.id: other.claims}, lease_seconds=60)
        assert (renewed.done, renewed.busy) == ({other.id}, {held.id})
        write_progress(ledger, [(held.id, held.claims, 1, 2, None), (other.id, other.claims, 1, 2, None)])
        endings = [Ending(claim.id, claim.claims, "succeeded", "done") for claim in (held, other)]
        written = hot_path.finish(ledger, endings)
        assert (written.done, written.busy) == ({other.id}, {held.id})
        blocker.execute("ROLLBACK")
    assert hot_path.finish(ledger, endings).done == {held.id}


def test_a_claim_whose_answer_was_lost_can_be_asked_again_without_spending_another_attempt(
    ledger: Connection, merchant: UUID
) -> None:
    id_ = put(merchant)
    [first] = start(ledger, id_)
    [again] = claim(ledger, id_)
    assert (first.attempt, again.attempt) == (1, 1)
    assert again.claims == 2
    assert states(id_) == [("queued", "enqueued"), ("running", "claimed")]


def test_an_ending_is_written_only_by_the_latest_claim(ledger: Connection, merchant: UUID) -> None:
    id_ = put(merchant)
    [stale] = start(ledger, id_, lease=0)
    finish(ledger, Ending(id_, stale.claims, "queued", "rescued"))
    [current] = start(ledger, id_, worker="w2")
    assert finish(ledger, Ending(id_, stale.claims, "succeeded", "done")) == set()
    assert row(id_, "state", "worker") == ("running", "w2")
    assert finish(ledger, Ending(id_, current.claims, "failed", "failed", error_code="x", error_message="y")) == {id_}
    assert row(id_, "state", "error_code") == ("failed", "x")
    assert finish(ledger, Ending(id_, current.claims, "succeeded", "done")) == set()


def test_claims_and_endings_of_many_jobs_are_a_transaction_each(ledger: Connection, merchant: UUID) -> None:
    ids = [put(merchant) for _ in range(3)]
    claimed = start(ledger, *ids)
    assert sorted(claim.id for claim in claimed) == ids  # answered in no order
    endings = [Ending(claim.id, claim.claims, "succeeded", "done", result='{"rows": 3}') for claim in claimed]
    assert finish(ledger, *endings) == set(ids)
    assert row(ids[0], "state", "result", "lease_until", "rung_at") == ("succeeded", {"rows": 3}, None, None)
    with owner() as connection:
        found = connection.execute(
            "SELECT state, count(DISTINCT xid), count(*) FROM job_events"
            " WHERE job_id = ANY(%s) AND state IN ('running', 'succeeded') GROUP BY state ORDER BY state",
            (ids,),
        ).fetchall()
    assert found == [("running", 1, 3), ("succeeded", 1, 3)]


@pytest.mark.parametrize(
    ("state", "refund", "expected"),
    [("scheduled", 0, ("scheduled", 1)), ("scheduled", 1, ("scheduled", 0)), ("queued", 1, ("queued", 0))],
)
def test_a_snooze_gives_the_attempt_back(
    ledger: Connection, merchant: UUID, state: str, refund: int, expected: tuple[str, int]
) -> None:
    id_ = put(merchant)
    [running] = start(ledger, id_)
    finish(ledger, Ending(id_, running.claims, state, "test", refund=refund, delay=60))
    assert row(id_, "state", "attempt") == expected
    assert row(id_, "claims") == (1,)


def test_a_retry_of_a_job_that_is_to_be_cancelled_is_a_cancellation(ledger: Connection, merchant: UUID) -> None:
    id_ = put(merchant)
    [running] = start(ledger, id_)
    with owner() as connection:
        connection.execute("UPDATE jobs SET cancel_requested_at = now() WHERE id = %s", (id_,))
    assert cancel_requests(ledger, [id_]) == {id_}
    finish(ledger, Ending(id_, running.claims, "scheduled", "retry", delay=5))
    assert row(id_, "state", "reason") == ("cancelled", "cancel_requested")


def test_renew_keeps_only_what_is_ours(ledger: Connection, merchant: UUID) -> None:
    mine, taken = put(merchant), put(merchant)
    claims = {c.id: c.claims for c in start(ledger, mine, taken, lease=1)}
    assert renew(ledger, {mine: claims[mine], taken: claims[taken] - 1, uuid4(): 1}, lease_seconds=300).done == {mine}
    with owner() as connection:
        left = dict(
            connection.execute(
                "SELECT id, extract(epoch FROM lease_until - clock_timestamp()) FROM jobs WHERE state = 'running'"
            ).fetchall()
        )
    assert 290 < left[mine] <= 300
    assert left[taken] <= 1


def test_progress_is_stored_under_the_fence(ledger: Connection, merchant: UUID) -> None:
    id_ = put(merchant)
    [running] = start(ledger, id_)
    write_progress(ledger, [(id_, running.claims, 3, 10, "reading")])
    assert row(id_, "progress_done", "progress_total", "progress_note") == (3, 10, "reading")
    write_progress(ledger, [(id_, running.claims - 1, 9, 10, "stale")])
    assert row(id_, "progress_done") == (3,)


def test_effects_and_end_become_true_together_or_not_at_all(ledger: Connection, merchant: UUID) -> None:
    id_ = put(merchant)
    [claimed] = start(ledger, id_)
    run = Run(claimed)
    with pytest.raises(RuntimeError), run.transaction() as session:
        enqueue_many(session, [TestWork(n=99)], merchant_id=merchant)
        run.finish(session, {"ok": True})
        raise RuntimeError("killed before the commit")
    assert row(id_, "state") == ("running",)
    run = Run(claimed)
    with run.transaction() as session:
        enqueue_many(session, [TestWork(n=100)], merchant_id=merchant)
        run.finish(session, {"ok": True})
    assert row(id_, "state", "result") == ("succeeded", {"ok": True})
    with owner() as connection:
        numbers = connection.execute("SELECT (args->>'n')::int FROM jobs WHERE id <> %s", (id_,)).fetchall()
    assert numbers == [(100,)]


def test_a_zombie_commits_nothing(ledger: Connection, merchant: UUID) -> None:
    id_ = put(merchant)
    [claimed] = start(ledger, id_)
    zombie = Run(claimed)
    finish(ledger, Ending(id_, claimed.claims, "queued", "rescued"))
    start(ledger, id_, worker="w2")
    with pytest.raises(Stopped), zombie.transaction() as session:
        enqueue_many(session, [TestWork(n=1)], merchant_id=merchant)
    assert zombie.lost
    with pytest.raises(Stopped), zombie.transaction() as session:
        zombie.finish(session)
    with owner() as connection:
        assert connection.execute("SELECT count(*) FROM jobs").fetchone() == (1,)


def test_the_timeline_says_how_long_an_attempt_ran_and_where(ledger: Connection, merchant: UUID) -> None:
    id_ = put(merchant)
    [running] = start(ledger, id_)
    time.sleep(0.05)
    finish(ledger, Ending(id_, running.claims, "succeeded", "done"))
    with owner() as connection:
        events = connection.execute(
            "SELECT state, worker, attempt, run_ms FROM job_events WHERE job_id = %s ORDER BY id", (id_,)
        ).fetchall()
    assert [event[:3] for event in events] == [("queued", None, 0), ("running", "w1", 1), ("succeeded", "w1", 1)]
    assert [event[3] is None for event in events] == [True, True, False]
    assert 50 <= events[2][3] < 2000


def test_ended_states_are_the_ones_with_an_end(merchant: UUID) -> None:
    assert ENDED == {"succeeded", "failed", "cancelled"}
    with owner() as connection, pytest.raises(psycopg.errors.CheckViolation, match="jobs_ended_at_check"):
        connection.execute("UPDATE jobs SET ended_at = now() WHERE id = %s", (put(merchant),))


def test_an_end_that_is_rolled_back_is_none(ledger: Connection, merchant: UUID) -> None:
    """What goes wrong after `finish` is told, not hidden behind an end that never came."""
    [claimed] = start(ledger, put(merchant))
    run = Run(claimed)
    with pytest.raises(ValueError, match="the real reason"), run.transaction() as session:
        run.finish(session)
        raise ValueError("the real reason")
    assert not run.ended
    assert row(run.id, "state") == ("running",)


def test_a_database_that_takes_no_changes_is_to_be_tried_again(merchant: UUID) -> None:
    with pytest.raises(db.DatabaseReadOnly) as caught, db.transaction(merchant_id=merchant) as session:
        session.execute(text("SET TRANSACTION READ ONLY"))
        assert is_read_only(session)
        session.execute(text("UPDATE jobs SET priority = 1"))
    assert caught.value.retry_after == 2
