"""The relay's side of the ledger: fairness, caps, windows, rescue, parents, retention."""

import re
import time
from datetime import timedelta
from uuid import UUID

from services.core import db
from services.core.clock import now
from services.core.ids import new_id
from services.jobs import dispatch, enqueue_many, stats
from services.jobs.ledger import Connection, Ending
from services.jobs.queues import pause_queue, resume_queue, set_merchant_cap, set_queue_caps
from tests.conftest import make_merchant
from tests.jobs.conftest import TestWork, add_up, claim, finish, owner, put, ring_all, row, start, states


def bulk(merchant_id: UUID, count: int, **options: object) -> list[UUID]:
    """Enqueue many jobs of a merchant."""
    with db.transaction(merchant_id=merchant_id) as session:
        return enqueue_many(session, [TestWork(n=n) for n in range(count)], merchant_id=merchant_id, **options)  # type: ignore[arg-type]


def ring(ledger: Connection, window: int = 1000, cap: int = 1000) -> list[UUID]:
    """Ring the queue of the tests."""
    return [bell.id for bell in dispatch.ring(ledger, "sync", window=window, cap=cap)]


def test_within_a_merchant_priority_first_then_age(ledger: Connection, merchant: UUID) -> None:
    low, high = bulk(merchant, 3, priority=-1), bulk(merchant, 2, priority=5)
    assert ring(ledger) == [*high, *low]


def test_everybodys_first_comes_before_anybodys_second(ledger: Connection) -> None:
    merchants = sorted(make_merchant() for _ in range(5))
    jobs = {merchant: bulk(merchant, 4) for merchant in merchants}
    assert ring(ledger) == [jobs[merchant][nth] for nth in range(4) for merchant in merchants]


def test_the_round_goes_on_where_it_stopped(ledger: Connection) -> None:
    merchants = sorted(make_merchant() for _ in range(6))
    for merchant in merchants:
        bulk(merchant, 5)
    served: list[UUID] = []
    for _ in range(6):
        bells = ring(ledger, window=2)
        with owner() as connection:
            served += [
                connection.execute("SELECT merchant_id FROM jobs WHERE id = %s", (b,)).fetchone()[0] for b in bells
            ]  # type: ignore[index]
        claim(ledger, *bells)
    assert sorted(served) == sorted(merchants * 2)
    assert sorted(served[:6]) == merchants


def test_a_backlog_of_ten_thousand_leaves_a_newcomer_a_place(ledger: Connection) -> None:
    bulk(make_merchant(), 10_000)
    assert len(ring(ledger, window=8)) == 8
    [lone] = bulk(make_merchant(), 1)
    assert ring(ledger, window=8) == []
    with owner() as connection:
        rung = [
            r[0] for r in connection.execute("SELECT id FROM jobs WHERE rung_at IS NOT NULL ORDER BY id").fetchall()
        ]
    claim(ledger, *rung[:2])
    assert lone in ring(ledger, window=8)


def test_the_window_counts_what_is_rung_and_not_claimed(ledger: Connection, merchant: UUID) -> None:
    bulk(merchant, 30)
    first = ring(ledger, window=10)
    assert len(first) == 10
    assert ring(ledger, window=10) == []
    claim(ledger, *first[:4])
    assert len(ring(ledger, window=10)) == 4
    assert dispatch.flight(ledger, "sync") == dispatch.Flight(rung=10, running=4)


def test_a_merchants_cap_counts_what_is_in_flight(ledger: Connection, merchant: UUID, other_merchant: UUID) -> None:
    bulk(merchant, 10)
    theirs = bulk(other_merchant, 2)
    rung = ring(ledger, cap=3)
    assert len(rung) == 5
    assert set(theirs) < set(rung)
    assert ring(ledger, cap=3) == []
    with db.transaction(role="shopopti_ledger") as session:
        set_merchant_cap(session, merchant_id=merchant, queue="sync", max_in_flight=5)
    assert len(ring(ledger, cap=3)) == 2


def test_merchants_at_their_cap_do_not_stand_in_the_way(ledger: Connection) -> None:
    busy = [make_merchant() for _ in range(40)]
    for merchant in busy:
        bulk(merchant, 3)
    assert len(ring(ledger, cap=1)) == 40
    [lone] = bulk(make_merchant(), 1)
    assert ring(ledger, cap=1, window=41) == [lone]


def test_a_queues_own_cap_bounds_all_merchants_together(ledger: Connection, merchant: UUID) -> None:
    bulk(merchant, 10)
    with db.transaction(role="shopopti_ledger") as session:
        set_queue_caps(session, name="sync", max_running=4)
    assert len(ring(ledger)) == 4
    assert ring(ledger) == []


def test_a_paused_queue_rings_nothing_and_takes_back_what_was_rung(ledger: Connection, merchant: UUID) -> None:
    ids = bulk(merchant, 4)
    ring(ledger, window=2)
    with db.transaction(role="shopopti_ledger") as session:
        pause_queue(session, name="sync", by="op", why="supplier asked")
    assert dispatch.unring_paused(ledger) == 2
    assert claim(ledger, *ids) == []
    assert ring(ledger) == []
    assert dispatch.queues_with_work(ledger) == []
    with db.transaction(role="shopopti_ledger") as session:
        resume_queue(session, name="sync")
    assert dispatch.queues_with_work(ledger) == ["sync"]
    assert len(ring(ledger)) == 4


def test_two_relays_never_ring_the_same_job_nor_overfill_the_window(ledger: Connection, merchant: UUID) -> None:
    bulk(merchant, 50)
    with owner() as other:
        other.execute("BEGIN")
        other.execute("SELECT FROM queues WHERE name = 'sync' FOR NO KEY UPDATE")
        assert ring(ledger, window=20) == []
        other.execute("ROLLBACK")
    assert len(ring(ledger, window=20)) == 20


def test_scheduled_jobs_are_queued_when_their_time_has_come(ledger: Connection, merchant: UUID) -> None:
    later = put(merchant, run_at=now() + timedelta(hours=1))
    soon = put(merchant, run_at=now() + timedelta(hours=1))
    assert row(later, "state", "queued_at") == ("scheduled", None)
    assert dispatch.promote(ledger) == 0
    with owner() as connection:
        connection.execute("UPDATE jobs SET run_at = now() - interval '1 s' WHERE id = %s", (soon,))
    assert dispatch.promote(ledger) == 1
    assert (row(soon, "state", "reason"), row(later, "state")) == (("queued", "due"), ("scheduled",))


def test_lost_bells_are_rung_again_oldest_first_and_ever_more_slowly(ledger: Connection, merchant: UUID) -> None:
    ids = bulk(merchant, 3)
    ring(ledger)
    with owner() as connection:
        connection.execute("UPDATE jobs SET rung_at = clock_timestamp() - interval '12 s'")
    again = dispatch.ring_again(ledger, "sync", lost=2, seconds=10)
    assert len(again) == 2
    assert {bell.id for bell in again} < set(ids)
    assert len(dispatch.ring_again(ledger, "sync", lost=5, seconds=10)) == 1
    with owner() as connection:
        connection.execute("UPDATE jobs SET rung_at = clock_timestamp() - interval '12 s'")
    assert dispatch.ring_again(ledger, "sync", lost=5, seconds=10) == []  # the second ring waits twice as long


def test_a_lease_that_is_over_puts_the_job_back(ledger: Connection, merchant: UUID) -> None:
    alive, dead = put(merchant), put(merchant)
    start(ledger, alive)
    start(ledger, dead, lease=-1)
    assert dispatch.rescue(ledger) == 1
    assert (row(alive, "state"), row(dead, "state", "reason", "attempt")) == (("running",), ("queued", "rescued", 1))


def test_a_job_that_kills_its_workers_is_quarantined_when_its_attempts_are_spent(
    ledger: Connection, merchant: UUID
) -> None:
    id_ = put(merchant)
    for _ in range(3):
        start(ledger, id_, lease=-1)
        dispatch.rescue(ledger)
    assert row(id_, "state", "reason", "error_code", "attempt") == ("failed", "poisoned", "poisoned", 3)
    assert [state for state, _ in states(id_)] == [
        "queued",
        "running",
        "queued",
        "running",
        "queued",
        "running",
        "failed",
    ]


def test_a_parent_ends_once_when_its_last_child_has(ledger: Connection, merchant: UUID) -> None:
    parent = put(merchant)
    [claimed] = start(ledger, parent)
    children = bulk(merchant, 3, parent_id=parent)
    finish(ledger, Ending(parent, claimed.claims, "succeeded", "done", result='{"own": 1}'))
    assert row(parent, "state", "ended_at") == ("waiting", None)
    outcomes = ["succeeded", "failed", "cancelled"]
    for child, outcome in zip(children, outcomes, strict=True):
        assert dispatch.settle_parents(ledger) == 0
        [running] = start(ledger, child)
        finish(ledger, Ending(child, running.claims, outcome, outcome))
    assert dispatch.settle_parents(ledger) == 1
    assert dispatch.settle_parents(ledger) == 0
    assert row(parent, "state", "reason", "result") == (
        "succeeded",
        "partly_done",
        {"own": 1, "children": {"succeeded": 1, "failed": 1, "cancelled": 1}},
    )
    assert [state for state, _ in states(parent)].count("succeeded") == 1


def test_a_parent_whose_children_all_failed_failed(ledger: Connection, merchant: UUID) -> None:
    parent = put(merchant)
    [claimed] = start(ledger, parent)
    [child] = bulk(merchant, 1, parent_id=parent)
    finish(ledger, Ending(parent, claimed.claims, "succeeded", "done"))
    [running] = start(ledger, child)
    finish(ledger, Ending(child, running.claims, "failed", "failed", error_code="x"))
    dispatch.settle_parents(ledger)
    assert row(parent, "state", "reason", "error_code") == ("failed", "children_failed", "children_failed")


def test_a_parent_that_failed_itself_still_waits_for_its_children(ledger: Connection, merchant: UUID) -> None:
    parent = put(merchant)
    [claimed] = start(ledger, parent)
    [child] = bulk(merchant, 1, parent_id=parent)
    finish(ledger, Ending(parent, claimed.claims, "failed", "failed", error_code="broke", error_message="It broke."))
    assert row(parent, "state") == ("waiting",)
    [running] = start(ledger, child)
    finish(ledger, Ending(child, running.claims, "succeeded", "done"))
    dispatch.settle_parents(ledger)
    assert row(parent, "state", "error_code", "error_message") == ("failed", "broke", "It broke.")


def test_waiting_parents_are_looked_at_one_by_one_whatever_the_statistics_say(merchant: UUID) -> None:
    """On a young table, 3,000 waiting parents held the relay up for six seconds at every look."""
    waiting = """
    WITH parents AS (
        INSERT INTO jobs (id, merchant_id, kind, queue, args, state)
        SELECT gen_random_uuid(), %s, 'test_work', 'sync', '{}', 'waiting' FROM generate_series(1, 300) RETURNING *
    )
    INSERT INTO jobs (id, merchant_id, kind, queue, args, parent_id)
    SELECT gen_random_uuid(), merchant_id, kind, queue, args, id FROM parents
    """
    with owner() as connection, connection.transaction(force_rollback=True):
        connection.execute(waiting, (merchant,))
        connection.execute("UPDATE pg_class SET reltuples = 1 WHERE oid = 'jobs'::regclass")
        connection.execute("SET LOCAL ROLE shopopti_ledger")
        explained = connection.execute("EXPLAIN (ANALYZE, TIMING OFF) " + dispatch._SETTLE, (500,))
        plan = "\n".join(line for (line,) in explained)
    assert max(int(count) for count in re.findall(r"Removed by (?:Join )?Filter: (\d+)", plan)) <= 300, plan


def test_what_ended_long_ago_is_forgotten_with_its_timeline(ledger: Connection, merchant: UUID) -> None:
    dispatch.forget(ledger, days=30)  # what other tests have left
    old, recent, waiting = put(merchant), put(merchant), put(merchant)
    for claimed in start(ledger, old, recent):
        finish(ledger, Ending(claimed.id, claimed.claims, "succeeded", "done"))
    with owner() as connection:
        connection.execute("UPDATE jobs SET ended_at = ended_at - interval '31 days' WHERE id = %s", (old,))
    assert dispatch.forget(ledger, days=30) == 1
    with owner() as connection:
        assert {r[0] for r in connection.execute("SELECT id FROM jobs").fetchall()} == {recent, waiting}
        assert connection.execute("SELECT count(*) FROM job_events WHERE job_id = %s", (old,)).fetchone() == (0,)


def test_forgetting_keeps_up_with_a_busy_system(ledger: Connection, merchant: UUID) -> None:
    """A batch goes by index: with a hundred thousand jobs there, of which a few are due, it does not read them all."""
    with owner() as connection, connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute(
            "INSERT INTO jobs (id, merchant_id, kind, queue, args, state, reason, created_at, ended_at)"
            " SELECT gen_random_uuid(), %s, 'test_work', 'sync', '{}', 'succeeded', 'done', at, at FROM"
            " (SELECT now() - make_interval(days => CASE WHEN n <= 10000 THEN 40 ELSE 1 END) AS at"
            "  FROM generate_series(1, 100000) n) rows",
            (merchant,),
        )
        connection.execute("ANALYZE jobs")  # as autovacuum would have by the time a table is so large
    began = time.monotonic()
    rounds = [dispatch.forget(ledger, days=30) for _ in range(11)]
    assert rounds == [1000] * 10 + [0]
    assert time.monotonic() - began < 10  # alone on the machine it is one second


def test_children_stay_as_long_as_their_parent_needs_counting(ledger: Connection, merchant: UUID) -> None:
    parent = put(merchant)
    [claimed] = start(ledger, parent)
    done, _open = bulk(merchant, 2, parent_id=parent)
    finish(ledger, Ending(parent, claimed.claims, "succeeded", "done"))
    [running] = start(ledger, done)
    finish(ledger, Ending(done, running.claims, "succeeded", "done"))
    with owner() as connection:
        connection.execute("UPDATE jobs SET ended_at = ended_at - interval '31 days' WHERE ended_at IS NOT NULL")
    assert dispatch.forget(ledger, days=30) == 0


def test_statistics_count_every_end_once(ledger: Connection, merchant: UUID) -> None:
    ids = bulk(merchant, 10)
    for claimed in start(ledger, *ids):
        finish(ledger, Ending(claimed.id, claimed.claims, "failed" if claimed.args["n"] < 3 else "succeeded", "done"))
    for _ in range(3):
        add_up(ledger)
    with db.transaction(merchant_id=merchant) as session:
        active, kinds = stats.summary(session, merchant_id=merchant, window=timedelta(hours=1))
    assert active == {}
    assert [(kind.kind, kind.queue, dict(kind.ended)) for kind in kinds] == [
        ("test_work", "sync", {"failed": 3, "succeeded": 7})
    ]
    assert 0 <= (kinds[0].percentile(0.5) or -1) < 1000


def test_statistics_wait_for_transactions_that_are_still_open(ledger: Connection, merchant: UUID) -> None:
    """An event that commits late behind a counted one must not be missed."""
    id_, late = put(merchant), put(merchant)
    first, second = start(ledger, id_, late)
    with owner() as slow:
        slow.execute("BEGIN")
        slow.execute(
            "UPDATE jobs SET state = 'succeeded', ended_at = now(), lease_until = NULL, rung_at = NULL WHERE id = %s",
            (first.id,),
        )
        finish(ledger, Ending(second.id, second.claims, "succeeded", "done"))
        stats.roll_up(ledger)
        slow.execute("COMMIT")
    add_up(ledger)
    with owner() as connection:
        assert connection.execute("SELECT sum(jobs)::int FROM job_totals").fetchone() == (2,)


def test_ring_all_marks_what_is_queued(ledger: Connection, merchant: UUID) -> None:
    id_ = put(merchant)
    ring_all(ledger)
    assert row(id_, "rung_at") != (None,)
    assert new_id() > id_
