"""Each fire of a schedule becomes a job once; and keeping schedules."""

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text

from services.core import db
from services.core.errors import ShopOptiError
from services.core.ids import new_id
from services.jobs import KINDS, Job, schedules
from services.jobs.schedules import (
    CronInvalid,
    KindNotSchedulable,
    RhythmUnclear,
    ScheduledArgumentsInvalid,
    ScheduleNameTaken,
    ScheduleNotFound,
    ScheduleStillRunning,
    TimeZoneUnknown,
    create_schedule,
    fire_due,
    run_now,
    update_schedule,
)
from services.models import Schedule
from tests.conftest import make_merchant
from tests.jobs.conftest import owner, row, states

MADRID = "Europe/Madrid"
NOON = datetime(2025, 6, 1, 12, tzinfo=UTC)


class TestStock(Job, kind="test_scheduled_stock", queue="sync", schedulable=True, timeout=60, max_attempts=3):
    """A job merchants may schedule."""

    __test__ = False
    n: int = 0


class TestByHand(Job, kind="test_by_hand_only", queue="sync"):
    """A job they may not."""

    __test__ = False


@pytest.fixture(autouse=True)
def _no_schedules() -> None:
    with owner() as connection:
        connection.execute("DELETE FROM schedules")


def seconds(*values: int) -> list[datetime]:
    return [NOON + timedelta(seconds=value) for value in values]


# -- In the database -------------------------------------------------------------------------------------------------


def make(merchant_id: UUID, **changes: Any) -> UUID:
    """A schedule, made as a merchant makes it, every minute unless told otherwise."""
    fields: dict[str, Any] = {"name": str(new_id()), "kind": "test_scheduled_stock", "args": {"n": 7}}
    if "cron" not in changes:
        fields["interval_seconds"] = 60
    with db.transaction(merchant_id=merchant_id) as session:
        return create_schedule(session, merchant_id=merchant_id, **{**fields, **changes}).id


def due_at(id_: UUID, moment: datetime, **columns: Any) -> None:
    """Move a schedule's next fire."""
    with owner() as connection:
        connection.execute("UPDATE schedules SET next_fire_at = %s WHERE id = %s", (moment, id_))
        for name, value in columns.items():
            connection.execute(f"UPDATE schedules SET {name} = %s WHERE id = %s", (value, id_))


def fire(moment: datetime | None = None, *, leave: Collection[UUID] = ()) -> schedules.Fired:
    with db.transaction(role="shopopti_ledger") as session:
        return fire_due(session, leave=leave, moment=moment)


def jobs_of(id_: UUID) -> list[tuple[datetime, str, str]]:
    """(fire_at, state, reason) of a schedule's jobs."""
    with owner() as connection:
        return connection.execute(
            "SELECT fire_at, state, reason FROM jobs WHERE schedule_id = %s ORDER BY fire_at, id", (id_,)
        ).fetchall()


def times(id_: UUID) -> tuple[datetime, datetime | None, bool]:
    with owner() as connection:
        found = connection.execute(
            "SELECT next_fire_at, last_fire_at, enabled FROM schedules WHERE id = %s", (id_,)
        ).fetchone()
    assert found is not None
    return found


@contextmanager
def no_kind(kind: str) -> Iterator[None]:
    """The code of another day, which does not know a kind."""
    known = KINDS.pop(kind)
    try:
        yield
    finally:
        KINDS[kind] = known


def test_a_due_schedule_becomes_a_job_once(merchant: UUID) -> None:
    id_ = make(merchant)
    due_at(id_, NOON)
    fired = fire(NOON + timedelta(seconds=2))
    assert (fired.jobs, fired.skipped, fired.disabled, fired.more) == (1, 0, 0, False)
    assert (fired.lag_seconds, fired.next_in) == (2.0, 58.0)
    assert jobs_of(id_) == [(NOON, "queued", "enqueued")]
    assert times(id_) == (NOON + timedelta(seconds=60), NOON, True)
    with owner() as connection:
        job = connection.execute(
            "SELECT merchant_id, kind, queue, args, timeout_seconds, max_attempts FROM jobs WHERE schedule_id = %s",
            (id_,),
        ).fetchone()
    assert job == (merchant, "test_scheduled_stock", "sync", {"n": 7}, 60, 3)
    assert fire(NOON + timedelta(seconds=59)).jobs == 0
    assert len(jobs_of(id_)) == 1


def test_a_clock_put_back_after_a_crash_fires_nothing_again(merchant: UUID) -> None:
    id_ = make(merchant, overlap="queue")
    due_at(id_, NOON)
    fire(NOON)
    due_at(id_, NOON)  # as if the schedule's row had been restored from yesterday
    assert fire(NOON).jobs == 0
    assert jobs_of(id_) == [(NOON, "queued", "enqueued")]
    assert times(id_)[0] == NOON + timedelta(seconds=60)


@pytest.mark.parametrize(
    ("misfire", "overlap", "active", "expected"),
    [
        # every minute; three fires missed (0, 60, 120), one on time (180); is the previous job still active?
        ("skip", "skip", False, {180: "queued"}),
        ("skip", "skip", True, {180: "overlap"}),
        ("skip", "queue", False, {180: "queued"}),
        ("skip", "queue", True, {180: "queued"}),
        ("once", "skip", False, {0: "queued", 180: "overlap"}),
        ("once", "skip", True, {0: "overlap", 180: "overlap"}),
        ("once", "queue", False, {0: "queued", 180: "queued"}),
        ("once", "queue", True, {0: "queued", 180: "queued"}),
        ("catch_up", "skip", False, {0: "queued", 60: "overlap", 120: "overlap", 180: "overlap"}),
        ("catch_up", "skip", True, {0: "overlap", 60: "overlap", 120: "overlap", 180: "overlap"}),
        ("catch_up", "queue", False, {0: "queued", 60: "queued", 120: "queued", 180: "queued"}),
        ("catch_up", "queue", True, {0: "queued", 60: "queued", 120: "queued", 180: "queued"}),
    ],
)
def test_misfire_and_overlap(
    merchant: UUID, misfire: str, overlap: str, active: bool, expected: dict[int, str]
) -> None:
    id_ = make(merchant, misfire=misfire, overlap=overlap)
    due_at(id_, NOON - timedelta(minutes=1))
    fire(NOON - timedelta(minutes=1))
    if not active:
        with db.transaction(role="shopopti_ledger") as session:
            session.execute(text("UPDATE jobs SET state = 'cancelled', ended_at = now() WHERE state = 'queued'"))
    fired = fire(NOON + timedelta(seconds=190))
    found = {
        int((fire_at - NOON).total_seconds()): reason if state == "cancelled" else state
        for fire_at, state, reason in jobs_of(id_)[1:]
    }
    assert found == expected
    assert fired.jobs == list(expected.values()).count("queued")
    assert fired.skipped == list(expected.values()).count("overlap")
    assert times(id_)[0] == NOON + timedelta(seconds=240)


def test_a_fire_left_out_is_on_record_and_can_be_retried_later(merchant: UUID) -> None:
    from services.jobs.control import retry_job

    id_ = make(merchant)
    due_at(id_, NOON)
    fire(NOON)
    fire(NOON + timedelta(seconds=60))
    with owner() as connection:
        first, second = [
            r[0] for r in connection.execute("SELECT id FROM jobs WHERE schedule_id = %s ORDER BY fire_at", (id_,))
        ]
    assert row(second, "state", "reason", "started_at") == ("cancelled", "overlap", None)
    assert states(second) == [("cancelled", "overlap")]
    with db.transaction(role="shopopti_ledger") as session:
        session.execute(text("UPDATE jobs SET state = 'cancelled', ended_at = now() WHERE id = :id"), {"id": first})
    with db.transaction(merchant_id=merchant) as session:
        assert retry_job(session, second).state == "queued"


def test_two_beats_at_once_never_double(merchant: UUID) -> None:
    ids = [make(merchant, overlap="queue", misfire="catch_up", interval_seconds=10) for _ in range(30)]
    for id_ in ids:
        due_at(id_, NOON)
    gate = threading.Barrier(4)
    failed: list[BaseException] = []

    def beat() -> None:
        try:
            gate.wait()
            for tick in range(40):
                fire(NOON + timedelta(seconds=5 * tick))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=beat) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    fire(NOON + timedelta(seconds=199))
    for id_ in ids:
        assert [at for at, _, _ in jobs_of(id_)] == seconds(*range(0, 200, 10))


def test_a_schedule_in_anothers_hands_is_left_to_it(merchant: UUID) -> None:
    mine, theirs = make(merchant), make(merchant)
    due_at(mine, NOON)
    due_at(theirs, NOON)
    with db.transaction(role="shopopti_ledger") as other:
        other.execute(text("SELECT FROM schedules WHERE id = :id FOR UPDATE"), {"id": theirs})
        fired = fire(NOON)
    assert fired.jobs == 1
    assert (len(jobs_of(mine)), len(jobs_of(theirs))) == (1, 0)
    assert fire(NOON).jobs == 1


@pytest.mark.parametrize(
    ("column", "value"),
    [("time_zone", "Mars/Olympus"), ("cron", "0 0 31 2 *"), ("cron", "nonsense")],
)
def test_a_schedule_that_cannot_fire_is_disabled_and_stops_no_other(merchant: UUID, column: str, value: str) -> None:
    bad, good = make(merchant, cron="* * * * *"), make(merchant)
    due_at(bad, NOON - timedelta(seconds=1), **{column: value})
    due_at(good, NOON)
    fired = fire(NOON)
    assert (fired.jobs, fired.disabled) == (1, 1)
    assert jobs_of(bad) == []
    assert times(bad) == (NOON - timedelta(seconds=1), None, False)
    assert len(jobs_of(good)) == 1
    with db.transaction(merchant_id=merchant) as session:
        broken = session.get_one(Schedule, bad)
        assert schedules.problem(broken) is not None
        assert schedules.upcoming(broken, 5) == []


def test_a_kind_of_another_release_is_left_to_that_release(merchant: UUID) -> None:
    """While a deploy rolls, an old beat and a new one run side by side."""
    id_ = make(merchant)
    due_at(id_, NOON)
    with no_kind("test_scheduled_stock"):
        fired = fire(NOON)
        assert (fired.jobs, fired.disabled, fired.more, fired.next_in) == (0, 0, False, None)
        with db.transaction(merchant_id=merchant) as session:
            assert schedules.problem(session.get_one(Schedule, id_)) is not None
    assert fire(NOON).jobs == 1


@pytest.mark.parametrize(
    ("column", "value"),
    [("kind", "test_by_hand_only"), ("args", '{"n": "many"}'), ("args", '{"m": 1}')],
)
def test_what_only_another_release_understands_is_left_to_it_and_stops_no_other(
    merchant: UUID, monkeypatch: pytest.MonkeyPatch, column: str, value: str
) -> None:
    monkeypatch.setattr(schedules, "PAGE", 1)
    strange, good = make(merchant), make(merchant)
    due_at(strange, NOON - timedelta(seconds=1), **{column: value})
    due_at(good, NOON)
    first = fire(NOON)
    assert (first.jobs, first.disabled, first.left, first.more) == (0, 0, [strange], True)
    second = fire(NOON, leave=first.left)
    assert (second.jobs, second.left) == (1, [])
    assert fire(NOON, leave=first.left).next_in == 60
    assert times(strange) == (NOON - timedelta(seconds=1), None, True)
    with db.transaction(merchant_id=merchant) as session:
        broken = session.get_one(Schedule, strange)
        assert schedules.problem(broken) is not None
        assert schedules.upcoming(broken, 5) == []
    due_at(strange, NOON, kind="test_scheduled_stock", args='{"n": 1}')  # the release that understands it
    assert fire(NOON).jobs == 1


def test_a_hundred_schedules_a_tick_and_more_is_said(merchant: UUID) -> None:
    for _ in range(101):
        due_at(make(merchant), NOON)
    first, second = fire(NOON), fire(NOON)
    assert (first.jobs, first.more) == (100, True)
    assert (second.jobs, second.more) == (1, False)


def test_a_long_absence_is_caught_up_over_several_ticks(merchant: UUID) -> None:
    id_ = make(merchant, misfire="catch_up", overlap="queue", interval_seconds=10)
    due_at(id_, NOON)
    later = NOON + timedelta(seconds=2495)
    ticks = [fire(later) for _ in range(4)]
    assert [(tick.jobs, tick.more) for tick in ticks] == [(100, True), (100, True), (50, False), (0, False)]
    assert [at for at, _, _ in jobs_of(id_)] == seconds(*range(0, 2500, 10))


def test_disabled_schedules_and_those_of_tomorrow_do_not_fire(merchant: UUID) -> None:
    off, later = make(merchant, enabled=False), make(merchant)
    due_at(off, NOON)
    due_at(later, NOON + timedelta(seconds=1))
    fired = fire(NOON)
    assert (fired.jobs, fired.next_in) == (0, 1.0)
    assert jobs_of(off) == jobs_of(later) == []


def test_without_a_moment_the_databases_clock_counts(merchant: UUID) -> None:
    id_ = make(merchant)
    due_at(id_, datetime.now(UTC) - timedelta(seconds=1))
    fired = fire()
    assert fired.jobs == 1
    assert 0.9 < fired.lag_seconds < 30
    assert fired.next_in is not None
    assert 30 < fired.next_in < 59.1


# -- Keeping them ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "error", "param"),
    [
        ({"kind": "test_gone"}, KindNotSchedulable, "kind"),
        ({"kind": "test_by_hand_only", "args": {}}, KindNotSchedulable, "kind"),
        ({"args": {"n": "many"}}, ScheduledArgumentsInvalid, "args.n"),
        ({"args": {"m": 1}}, ScheduledArgumentsInvalid, "args.m"),
        ({"cron": "99 * * * *"}, CronInvalid, "cron"),
        ({"cron": "0 2 * * *", "time_zone": "Mars/Olympus"}, TimeZoneUnknown, "time_zone"),
        ({"time_zone": "Mars/Olympus"}, TimeZoneUnknown, "time_zone"),
        ({"cron": "0 2 * * *", "interval_seconds": 60}, RhythmUnclear, "cron"),
        ({"cron": None}, RhythmUnclear, "cron"),
    ],
)
def test_a_schedule_that_could_not_fire_is_not_made(
    merchant: UUID, fields: dict[str, Any], error: type[ShopOptiError], param: str
) -> None:
    with pytest.raises(error) as raised:
        make(merchant, **fields)
    assert raised.value.param == param
    with db.transaction(merchant_id=merchant) as session:
        assert session.scalar(text("SELECT count(*) FROM schedules")) == 0


def test_names_are_the_merchants_own(merchant: UUID) -> None:
    make(merchant, name="Nightly")
    make(make_merchant(), name="Nightly")
    with db.transaction(merchant_id=merchant) as session:
        with pytest.raises(ScheduleNameTaken):
            create_schedule(
                session, merchant_id=merchant, name="Nightly", kind="test_scheduled_stock", args={}, interval_seconds=60
            )
        assert session.scalar(text("SELECT count(*) FROM schedules")) == 1  # the transaction is still good


def test_a_change_of_rhythm_counts_from_now_and_others_do_not(merchant: UUID) -> None:
    id_ = make(merchant, interval_seconds=3600)
    due_at(id_, NOON)
    with db.transaction(merchant_id=merchant) as session:
        update_schedule(session, id_, {"name": "Other", "misfire": "skip", "args": {"n": 8}, "interval_seconds": 3600})
    assert times(id_)[0] == NOON
    with db.transaction(merchant_id=merchant) as session:
        changed = update_schedule(session, id_, {"cron": "0 0 1 1 *", "time_zone": MADRID})
        assert (changed.cron, changed.interval_seconds, changed.args) == ("0 0 1 1 *", None, {"n": 8})
        madrid = changed.next_fire_at.astimezone(ZoneInfo(MADRID))
        assert (madrid.month, madrid.day, madrid.hour, madrid.minute) == (1, 1, 0, 0)
        assert madrid > datetime.now(UTC)
    with db.transaction(merchant_id=merchant) as session:
        changed = update_schedule(session, id_, {"interval_seconds": 10})
        assert (changed.cron, changed.interval_seconds) == (None, 10)
    with db.transaction(merchant_id=merchant) as session, pytest.raises(RhythmUnclear):
        update_schedule(session, id_, {"interval_seconds": None})


def test_someone_elses_schedule_is_not_there(merchant: UUID, other_merchant: UUID) -> None:
    id_ = make(other_merchant)
    with db.transaction(merchant_id=merchant) as session:
        for act in (
            lambda: schedules.get_schedule(session, id_),
            lambda: update_schedule(session, id_, {"enabled": False}),
            lambda: schedules.delete_schedule(session, id_),
            lambda: run_now(session, id_),
        ):
            with pytest.raises(ScheduleNotFound):
                act()
    assert times(id_)[2] is True


def test_running_it_now_respects_the_overlap_rule(merchant: UUID) -> None:
    id_ = make(merchant)
    with db.transaction(merchant_id=merchant) as session:
        job_id = run_now(session, id_)
    assert row(job_id, "schedule_id", "fire_at", "state") == (id_, None, "queued")
    with db.transaction(merchant_id=merchant) as session, pytest.raises(ScheduleStillRunning) as raised:
        run_now(session, id_)
    assert raised.value.extra == {"job_id": str(job_id)}
    due_at(id_, NOON)
    assert fire(NOON).skipped == 1  # beat sees it too
    both = make(merchant, overlap="queue")
    with db.transaction(merchant_id=merchant) as session:
        assert run_now(session, both) != run_now(session, both)


def test_from_queue_to_skip_what_is_active_holds_the_turn(merchant: UUID) -> None:
    id_ = make(merchant, overlap="queue")
    due_at(id_, NOON)
    fire(NOON)
    with db.transaction(merchant_id=merchant) as session:
        update_schedule(session, id_, {"overlap": "skip"})
    fired = fire(NOON + timedelta(seconds=60))
    assert (fired.jobs, fired.skipped) == (0, 1)


def test_deleting_a_schedule_leaves_its_jobs(merchant: UUID) -> None:
    id_ = make(merchant)
    due_at(id_, NOON)
    fire(NOON)
    with db.transaction(merchant_id=merchant) as session:
        schedules.delete_schedule(session, id_)
    assert jobs_of(id_) == [(NOON, "queued", "enqueued")]


def test_a_column_nobody_foresaw_is_the_schedules_trouble_only(merchant: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    bad, good = make(merchant), make(merchant)
    due_at(bad, NOON - timedelta(seconds=1))
    due_at(good, NOON)
    real = schedules._enqueue

    def enqueue(session: Any, schedule: Schedule, job: Job, due: list[datetime]) -> Any:
        if schedule.id == bad:
            session.execute(text("SELECT 1 / 0"))
        return real(session, schedule, job, due)

    monkeypatch.setattr(schedules, "_enqueue", enqueue)
    fired = fire(NOON)
    assert (fired.jobs, fired.disabled) == (1, 1)
    assert times(bad)[2] is False
    assert len(jobs_of(good)) == 1
