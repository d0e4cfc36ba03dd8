"""Never a call too many, whoever asks, whatever is lost on the way; and none too few by more than that takes."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis
from sqlalchemy import text

from ops.embedded import start_redis
from services.core import db
from services.core.clock import now
from services.core.memory import Memory
from services.sourcing.quotas.meter import SharedMeter, credential_of, meter_for
from services.sourcing.quotas.stores import PostgresWindows, RedisWindows, postgres_windows
from services.suppliers import aliexpress, bigbuy, feed
from services.suppliers.base import Connection, Quota
from services.suppliers.errors import WaitUntil
from tests.examples import examples
from tests.sourcing.simulated import Asleep, Kept, Server, Waits, World, called, sleep, taken

HOURLY = Quota("lists", 10, 3600.0)
OTHER = Quota("texts", 24, 3600.0)
QUICK = Quota("orders", 1, 1.0)
RULES = {quota.endpoint: (quota.limit, quota.seconds) for quota in (HOURLY, OTHER, QUICK)}


def fresh_name() -> str:
    return uuid4().hex


def meter_of(credential: str, *quotas: Quota, **options: Any) -> SharedMeter:
    """A meter on the real stores, which refuses rather than waits."""
    return SharedMeter(credential, quotas or (HOURLY, OTHER, QUICK), sleep=sleep, **options)


def refused(meter: SharedMeter, endpoint: str, at: datetime) -> float:
    """For how many seconds a call is; 0 when it is not, and taken."""
    try:
        meter.take([endpoint])
        return 0.0
    except Asleep as pause:
        return pause.seconds
    except WaitUntil as error:
        return (error.when - at).total_seconds()


# -- Judged in a world of its own ----------------------------------------------------------------------------------


def simulated(world: World, store: Kept, credential: str = "key", quotas: Sequence[Quota] = (HOURLY, OTHER, QUICK)):
    return SharedMeter(credential, quotas, scarce=store, fast=store, now=world.now, sleep=sleep)


def test_a_clock_that_ran_ahead_has_nobody_wait_longer_than_a_window() -> None:
    world = World()
    meter = simulated(world, Kept())
    world.at += 365 * 86_400
    for _ in range(3):
        meter.take(["lists"])
    meter.learn("lists", limit=10, remaining=0, reset=datetime.fromtimestamp(world.at + 3600, UTC))
    world.at -= 365 * 86_400
    assert 0 < refused(meter, "lists", world.now()) <= 3600
    world.at += 3601
    meter.take(["lists"] * 8)  # beside two that were never answered
    world.at += 3600 + 601
    meter.take(["lists"] * 10)


def test_what_is_given_back_is_there_again_and_no_more_than_was_taken() -> None:
    world, store = World(), Kept()
    mine, other = simulated(world, store), simulated(world, store)
    other.take(["lists"] * 4)
    mine.take(["lists"] * 6)
    assert refused(mine, "lists", world.now()) > 0
    mine.give_back(["lists"] * 9 + ["not counted"])
    assert {left.endpoint: left.left for left in mine.left()}["lists"] == 6


@pytest.mark.parametrize("seed", range(examples(3)))
def test_however_late_and_lost_calls_are_none_is_refused(seed: int) -> None:
    """Workers come and go, die between leave and call, lose answers; calls arrive minutes after their leave."""
    world = World(seed=seed)
    chance, store = world.chance, Kept()
    server = Server(world, RULES, ahead=chance.choice((0.0, -7200.4, 3600.7)))

    def worker() -> Waits:
        meter = simulated(world, store)  # each attempt at a job has one of its own
        wanted = chance.choice((["lists"], ["lists", "texts"], ["texts", "texts", "lists"], ["orders"]))
        yield from taken(meter, world, wanted)
        for endpoint in wanted:
            if chance.random() < 0.05:
                return  # killed
            way = chance.choice((0.01, 0.3, 1.0)) if endpoint == "orders" else chance.choice((0.05, 2.0, 120.0))
            yield from called(meter, world, server, endpoint, way=way, lost=chance.random() < 0.05)
            if chance.random() < 0.05:
                return

    def crowd() -> Waits:
        while True:
            world.start(worker())
            yield chance.expovariate(1 / 90)

    world.start(crowd())
    world.run(86_400)
    assert server.refused == []
    assert server.calls["lists"] > 0.7 * 24 * 10  # and what there is is used: those that die have theirs kept back
    assert server.calls["texts"] > 100


def test_an_hours_calls_are_there_again_when_the_window_is_over_and_not_much_later() -> None:
    """A window begins with its first call, not with the hour; the time for many is the least that there can be."""
    world, store = World(), Kept()
    server = Server(world, RULES, ahead=-86_000.2)
    ended = []

    def walk() -> Waits:
        meter = simulated(world, store)
        for _ in range(45):
            yield from taken(meter, world, ["lists"])
            yield from called(meter, world, server, "lists", way=0.2)
            yield 20  # the list is read
        ended.append(world.at - world.begun)

    world.start(walk())
    world.run(86_400)
    assert server.refused == []
    least = 4 * 3600 + 5 * 20.4
    assert least <= ended[0] <= 1.002 * least


def test_what_the_supplier_says_is_believed_over_what_it_documents() -> None:
    """Half the limit, windows of a minute, somebody else who uses the key, and a refusal in spite of it all."""
    world, store = World(), Kept()
    server = Server(world, {"lists": (5, 60.0)})
    done = []

    def walk() -> Waits:
        meter = simulated(world, store)
        for _ in range(16):
            yield from taken(meter, world, ["lists"])
            yield from called(meter, world, server, "lists", way=0.1)
            done.append(world.at - world.begun)

    world.start(walk())
    world.run(3600)
    assert server.refused == []
    assert len(done) == 16
    assert done[-1] < 3 * 62 + 5

    meter = simulated(world, store)
    for _ in range(3):
        server.call("key", "lists")  # somebody else
    world.start(called(meter, world, server, "lists", way=0.1))
    world.run(1)
    assert meter.left()[0].left == 1
    meter.learn("lists", limit=None, remaining=0, reset=world.now() + timedelta(seconds=30))
    with pytest.raises(WaitUntil) as caught:
        meter.take(["lists"])
    assert (caught.value.when - world.now()).total_seconds() == pytest.approx(30, abs=0.1)
    world.run(30.1)
    meter.take(["lists"])


def test_where_nothing_is_said_the_limit_holds_for_any_stretch_of_time() -> None:
    world, store, at = World(), Kept(), []
    quota = Quota("method", 2, 1.0)

    def caller() -> Waits:
        while True:
            yield from taken(simulated(world, store, quotas=(quota,)), world, ["method"])
            at.append(world.at)
            yield world.chance.random() / 4

    world.start(caller())
    world.start(caller())
    world.run(100)
    assert all(later - first >= 0.99999 for first, later in zip(at, at[2:], strict=False))
    assert len(at) > 185


def test_all_of_them_or_none_and_the_moment_is_that_of_the_last() -> None:
    world, store = World(), Kept()
    meter = simulated(world, store)
    for _ in range(10):
        meter.take(["lists"])
    world.run(600)
    for _ in range(20):
        meter.take(["texts"])
    with pytest.raises(WaitUntil) as caught:
        meter.take(["texts"] * 5 + ["lists"])
    assert caught.value.when == datetime.fromtimestamp(world.begun + 4200, UTC)
    assert "texts" in str(caught.value)
    assert {one.endpoint: one.left for one in meter.left()} == {"lists": 0, "texts": 4, "orders": 1}
    meter.take(["texts"] * 4)
    meter.take(["not counted"] * 100)


def test_more_than_a_window_has_is_for_those_that_follow() -> None:
    world, store = World(), Kept()
    meter = simulated(world, store, quotas=(Quota("method", 2, 1.0),))
    meter.take(["method"] * 5)
    with pytest.raises(WaitUntil) as caught:
        meter.take(["method"])
    assert caught.value.when == datetime.fromtimestamp(world.begun + 2, UTC)
    world.run(2)
    meter.take(["method"])  # beside the fifth
    assert [one.left for one in meter.left()] == [0]


# -- Shared by all workers, for real -------------------------------------------------------------------------------


@pytest.mark.parametrize("quota", [HOURLY, Quota("bursts", 10, 50.0)], ids=["postgres", "redis"])
def test_of_many_workers_at_once_as_many_pass_as_may(quota: Quota) -> None:
    second, credential = Quota("second", 7, quota.seconds), fresh_name()
    meter_of(credential).left()  # from now on Redis remembers
    later = now() + timedelta(seconds=60)
    gate = threading.Barrier(16)

    def worker(_: int) -> bool:
        meter = meter_of(credential, quota, second, now=lambda: later)
        gate.wait()
        try:
            meter.take([quota.endpoint, second.endpoint])
        except WaitUntil:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(worker, range(16))) == 7
    left = meter_of(credential, quota, second, now=lambda: later).left()
    assert {one.endpoint: one.left for one in left} == {quota.endpoint: 3, "second": 0}


def test_postgres_knows_when_redis_was_emptied_or_is_away(tmp_path: Any) -> None:
    """Hourly windows do not care; quick ones are taken for spent as long as they last."""
    server = start_redis(tmp_path / "redis", persist=False)
    clock = [now()]
    try:
        fast = RedisWindows(Memory(server.url), prefix="t:", fallback=postgres_windows())
        credential = fresh_name()
        meter = meter_of(credential, fast=fast, now=lambda: clock[0])
        clock[0] += timedelta(seconds=5)  # what was before it began to remember is over
        with pytest.raises(Asleep):  # the very first call: nothing is known of the last second
            meter.take(["orders"])
        clock[0] += timedelta(seconds=1)
        meter.take(["orders", "lists"])
        for _ in range(9):
            meter.take(["lists"])

        Redis.from_url(server.url).flushall()
        for wanted, wait in (("orders", 1), ("lists", 3600)):
            assert refused(meter, wanted, clock[0]) == pytest.approx(wait, abs=1)
        clock[0] += timedelta(seconds=1)
        meter.take(["orders"])
    finally:
        server.stop()
    clock[0] += timedelta(seconds=0.2)
    assert refused(meter, "orders", clock[0]) == pytest.approx(1, abs=0.01)
    clock[0] += timedelta(seconds=1)
    meter.take(["orders"])
    other = meter_of(credential, fast=fast, now=lambda: clock[0])
    assert refused(other, "orders", clock[0]) == pytest.approx(1, abs=0.01)
    assert {one.endpoint: one.left for one in other.left()} == {"lists": 0, "texts": 24, "orders": 0}


def test_an_answer_that_cannot_be_noted_does_not_hurt_the_work() -> None:
    nowhere = RedisWindows(Memory("redis://127.0.0.1:1"), prefix="t:", fallback=PostgresWindows())
    meter = meter_of(fresh_name(), fast=nowhere)
    meter.learn("orders", limit=1, remaining=0, reset=now() + timedelta(seconds=1))
    meter.take(["lists"])
    with pytest.raises(Asleep):
        meter.take(["orders"])


# -- Whose quota it is ---------------------------------------------------------------------------------------------


def test_one_key_has_one_quota_whoever_connected_it(merchant: Any, other_merchant: Any) -> None:
    key = Connection(secrets={"api_key": fresh_name()})
    first, second = (meter_for(bigbuy, key, connection_id=uuid4()) for _ in range(2))
    assert first is not None
    assert second is not None
    first.take(["catalog/manufacturers"] * 3)
    second.take(["catalog/manufacturers"] * 2)
    with pytest.raises(WaitUntil):
        first.take(["catalog/manufacturers"])
    assert {meter.sharing(["catalog/manufacturers"]) for meter in (first, second)} == {(0, 2), (1, 2)}
    assert first.sharing(["catalog/products"]) == (0, 1)


def test_tokens_change_and_the_quota_stays_but_the_sandbox_has_its_own() -> None:
    app = {"app_key": "1", "app_secret": "s", "access_token": "a"}

    def digest(**changed: Any) -> str:
        secrets = {**app, **changed.pop("secrets", {})}
        return credential_of(aliexpress, Connection(secrets=secrets, **changed), uuid4())

    assert digest() == digest(secrets={"access_token": "b"})
    assert digest() != digest(secrets={"app_secret": "guessed"})
    assert digest() != digest(base_url="http://sandbox")
    file = Connection(secrets={"url": "https://anybody.knows/it.csv"})
    assert credential_of(feed, file, uuid4()) != credential_of(feed, file, uuid4())


def test_who_does_not_have_the_key_finds_nothing(merchant: Any) -> None:
    credential = fresh_name()
    meter_of(credential).take(["lists"])
    with db.transaction(merchant_id=merchant) as session:
        assert session.scalar(text("SELECT count(*) FROM quotas")) == 0
        session.execute(text("SELECT set_config('shopopti.credential', :name, true)"), {"name": credential})
        assert session.scalar(text("SELECT count(*) FROM quotas")) == 1
    with db.transaction(merchant_id=merchant) as session:
        assert session.scalar(text("SELECT count(*) FROM quotas")) == 0


def test_what_nobody_has_asked_after_for_long_is_forgotten_when_something_new_comes() -> None:
    old, young = fresh_name(), fresh_name()
    for name in (old, young):
        meter_of(name).take(["lists"])
    for name, days in ((old, 31), (young, 29)):
        with db.transaction() as session:
            session.execute(text("SELECT set_config('shopopti.credential', :name, true)"), {"name": name})
            session.execute(text("UPDATE quotas SET touched_at = now() - make_interval(days => :n)"), {"n": days})
    assert counted(old) == 1
    meter_of(fresh_name()).take(["lists"])
    assert (counted(old), counted(young)) == (0, 1)


def counted(credential: str) -> int:
    """How many windows are remembered of it."""
    with db.transaction() as session:
        session.execute(text("SELECT set_config('shopopti.credential', :name, true)"), {"name": credential})
        found: int = session.scalars(text("SELECT count(*) FROM quotas")).one()
        return found


def test_a_moment_is_waited_for_here_and_more_is_not() -> None:
    slept: list[float] = []
    clock = [now()]

    def pause(seconds: float) -> None:
        slept.append(seconds)
        clock[0] += timedelta(seconds=seconds)

    store = Kept()
    options = {"fast": store, "scarce": store, "now": lambda: clock[0], "sleep": pause}
    meter = SharedMeter("key", (QUICK, HOURLY), **options)
    for _ in range(3):
        meter.take(["orders"])
    assert slept == pytest.approx([1.0, 1.0], abs=0.01)
    meter.take(["lists"] * 10)
    with pytest.raises(WaitUntil):
        meter.take(["lists"])
    assert len(slept) == 2
