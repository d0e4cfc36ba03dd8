"""What BigBuy's few calls are spent on: never one too many, and stock as fresh as was promised."""

from collections import Counter, defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from services.core.clock import now
from services.core.db import transaction
from services.jobs.schedules import create_schedule
from services.sourcing.accounts.reach import get_connection, reach
from services.sourcing.jobs import KeepSupplierFresh
from services.sourcing.quotas.meter import SharedMeter, credential_of
from services.sourcing.syncs.planner import Pace, Sharing, Wishes, look, next_run, outlook, pace
from services.suppliers import aliexpress, bigbuy
from services.suppliers.base import Connection
from services.suppliers.errors import WaitUntil
from tests import inline
from tests.inline import state_of
from tests.sourcing.simulated import Asleep, Kept, Server, Waits, World, called, sleep
from tests.sourcing.syncing import begin, runs_of

HOUR, WEEK = 3600.0, 7 * 86_400.0
SETTLED = 2 * 86_400.0  # all twenty are new together, and those who share a key get in each other's way at first
LIMITS = {quota.endpoint: (quota.limit, quota.seconds) for quota in bigbuy.QUOTAS}
# Connections by the key they have: some have one together, as the shops of one owner do.
KEYS = {"six": 6, "four": 4, "three": 3, "two": 2, "a": 1, "b": 1, "c": 1, "d": 1, "e": 1}


class Shop:
    """A simulated connection, synced as the planner says; what is stored is as old as the runs say."""

    def __init__(self, world: World, server: Server, store: Kept, key: str, pace: Pace) -> None:
        self.world, self.server, self.store, self.key, self.pace = world, server, store, key, pace
        self.begun: datetime | None = None
        self.products: datetime | None = None
        self.stock: datetime | None = None
        self.oldest: dict[str, float] = defaultdict(float)  # the greatest age of what was stored, once there was any
        self.runs: Counter[str] = Counter()

    def keep_fresh(self) -> Waits:
        """For ever."""
        while True:
            kind, at = next_run(self.pace, at=self.world.now(), begun_at=self.begun, products_at=self.products)
            yield (at - self.world.now()).total_seconds()
            self.begun = self.world.now()
            yield from self.walk("offers" if kind == "products" else "stock")
            self.runs[kind] += 1
            self.note("stock", self.stock)
            self.stock = self.begun
            if kind == "products":
                self.note("products", self.products)
                self.products = self.begun

    def note(self, what: str, since: datetime | None) -> None:
        if since is not None and self.world.at > self.world.begun + SETTLED:
            self.oldest[what] = max(self.oldest[what], (self.world.now() - since).total_seconds())

    def walk(self, name: str) -> Waits:
        """As the adapter does it: a category's calls are taken together; a walk that is gone on with begins anew."""
        walk = bigbuy.WALKS[name]
        step, begin = (list(Counter(calls).elements()) for calls in (walk.step, walk.begin))
        wanted, meter = begin + step, self.meter()
        for _ in range(walk.steps or 0):
            while True:
                try:
                    meter.take(wanted)
                    break
                except Asleep as pause:
                    yield pause.seconds
                except WaitUntil as error:  # the job is put off
                    yield error.when.timestamp() - self.world.at + self.world.chance.random()
                    wanted, meter = begin + step, self.meter()
            for endpoint in wanted:
                way, lost = self.world.chance.choice((0.05, 0.2, 4.0)), self.world.chance.random() < 0.002
                yield from called(meter, self.world, self.server, endpoint, way=way, lost=lost)
            wanted = step

    def meter(self) -> SharedMeter:
        return SharedMeter(self.key, bigbuy.QUOTAS, scarce=self.store, fast=self.store, now=self.world.now, sleep=sleep)


def test_a_week_of_twenty_connections() -> None:
    """No call too many, no stock older than promised: BigBuy's windows, clocks that differ, answers that are lost."""
    world, store = World(), Kept()
    server = Server(world, LIMITS, ahead=93.7)
    shops = []
    for key, sharers in KEYS.items():
        for place in range(sharers):
            shop = Shop(world, server, store, key, pace(bigbuy, bigbuy.QUOTAS, sharing=Sharing(place, sharers)))
            shops.append(shop)
            world.start(shop.keep_fresh(), after=world.chance.random() * 3 * HOUR)
    world.run(WEEK)
    assert len(shops) == 20
    assert server.refused == []
    for shop in shops:
        promised = shop.pace
        assert 0.8 * promised.stock_within < shop.oldest["stock"] <= promised.stock_within, shop.key
        assert 0.8 * promised.products_within < shop.oldest["products"] <= promised.products_within, shop.key
    # What there is is spent: of each key's ten calls an hour, and no lists are read that nobody waits for.
    possible = len(KEYS) * WEEK / HOUR * 10
    assert 0.85 * possible < server.calls["catalog/productsstockbyhandlingdays"] <= possible
    assert server.calls["catalog/products"] < 0.35 * possible


def test_alone_with_a_key_stock_is_hours_old_at_most_and_six_wait_for_each_other() -> None:
    alone, six = (pace(bigbuy, bigbuy.QUOTAS, sharing=Sharing(0, of)) for of in (1, 6))
    assert (alone.turn / HOUR, alone.stock_within / HOUR) == pytest.approx((2.1, 4.7), abs=0.05)
    assert (six.turn / HOUR, six.stock_within / HOUR) == pytest.approx((12.6, 15.0), abs=0.05)
    assert alone.products_within / HOUR < 28
    rarely = pace(bigbuy, bigbuy.QUOTAS, wishes=Wishes(stock=6 * HOUR, products=2 * 86_400, prices=True))
    assert (rarely.turn, rarely.products) == (6 * HOUR, 2 * 86_400)
    assert rarely.takes > alone.takes + HOUR  # one list after the other
    crowd = pace(bigbuy, bigbuy.QUOTAS, sharing=Sharing(0, 30))
    assert crowd.products == crowd.turn > 2 * 86_400  # every turn is over everything: it costs no more
    unlimited = pace(bigbuy, ())
    assert (unlimited.turn, unlimited.products) == (HOUR, 24 * HOUR)
    some = pace(aliexpress, aliexpress.quotas(Connection(secrets={})), products=50_000)
    assert some.turn == pytest.approx(50_000 / 2 / 0.95)


def test_turns_come_one_after_the_other_and_begin_at_once() -> None:
    at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    mine = Pace(turn=3600, products=86_400, takes=600)
    assert next_run(mine, at=at, begun_at=None, products_at=None) == ("products", at)
    ago = at - timedelta(minutes=20)
    assert next_run(mine, at=at, begun_at=ago, products_at=ago) == ("stock", at + timedelta(minutes=40))
    assert next_run(mine, at=at, begun_at=ago, products_at=None) == ("products", at + timedelta(minutes=40))
    long_ago = at - timedelta(days=3)
    assert next_run(mine, at=at, begun_at=long_ago, products_at=long_ago) == ("products", at)
    due = at - timedelta(hours=23, minutes=20)
    assert next_run(mine, at=at, begun_at=ago, products_at=due)[0] == "products"  # before it is too late
    begins = [
        next_run(replace(mine, sharing=Sharing(place, 3)), at=at, begun_at=at, products_at=at)[1] for place in range(3)
    ]
    assert sorted((begin - at).total_seconds() for begin in begins) == [1200, 2400, 3600]


# -- With the sandbox ----------------------------------------------------------------------------------------------


def documented() -> dict[str, tuple[int, int]]:
    """BigBuy's limits."""
    return {quota.endpoint: (quota.limit, round(quota.seconds)) for quota in bigbuy.QUOTAS}


class Meanwhile(SharedMeter):
    """A meter in a time that is set along with the sandbox's; adapters reckon from the real one."""

    ahead = timedelta()

    @classmethod
    def of(cls, connection: Connection) -> "Meanwhile":
        credential = credential_of(bigbuy, connection, uuid4())
        return cls(credential, bigbuy.QUOTAS, now=lambda: now() + cls.ahead)

    def learn(self, endpoint: str, *, limit: int | None, remaining: int | None, reset: datetime | None) -> None:
        there = None if reset is None else reset + self.ahead
        super().learn(endpoint, limit=limit, remaining=remaining, reset=there)


def test_bigbuys_windows_over_http_are_used_to_the_end_and_never_over(world: Any) -> None:
    """Five walks over eight categories, by workers who come and go; its clock is an hour and a half ahead."""
    world.reset(at=(now() + timedelta(minutes=90)).isoformat(), products=30, speed=1)
    world.ask("PUT", "bigbuy/limits", {"enforced": True, "rules": documented()})
    (account,) = world.ask("GET", "bigbuy/accounts")
    shop = Connection(secrets={"api_key": account["keys"][0]}, base_url=f"{world.url}/bigbuy")
    Meanwhile.ahead = timedelta()
    seen, waited = 0, timedelta()
    for walk in (bigbuy.offers, bigbuy.stock, bigbuy.stock, bigbuy.offers, bigbuy.stock):
        cursor, over = None, False
        while not over:
            try:
                for page in walk(replace(shop, meter=Meanwhile.of(shop)), cursor=cursor):
                    cursor, over = page.cursor, page.cursor is None
                    seen += len(page.items)
            except WaitUntil as error:
                pause = max(error.when - now() - Meanwhile.ahead, timedelta(seconds=0.001))
                waited += pause
                Meanwhile.ahead += pause
                world.ask("POST", "clock/advance", {"seconds": pause.total_seconds()})
    assert seen > 5 * 30
    assert world.ask("GET", "ledger?status=429")["data"] == []
    assert timedelta(hours=2.99) < waited < timedelta(hours=3.01)  # forty calls, ten an hour: no less is possible


@pytest.mark.parametrize("name", ["offers", "stock", "prices"])
def test_a_walk_costs_what_the_adapter_says(world: Any, name: str) -> None:
    taken: Counter[str] = Counter()

    class Counting:
        def take(self, endpoints: Any) -> None:
            taken.update(endpoints)

        def learn(self, endpoint: str, **facts: Any) -> None:
            pass

    (account,) = world.ask("GET", "bigbuy/accounts")
    shop = Connection(secrets={"api_key": account["keys"][0]}, base_url=f"{world.url}/bigbuy", meter=Counting())
    list(getattr(bigbuy, name)(shop))
    walk = bigbuy.WALKS[name]
    assert taken == Counter(walk.begin) + Counter({endpoint: 8 * calls for endpoint, calls in walk.step.items()})


# -- A connection's ------------------------------------------------------------------------------------------------


def test_a_connection_is_kept_fresh_and_says_how_fresh(merchant: UUID, connection: UUID) -> None:
    def ask() -> dict[str, Any]:
        return inline.work(begin(merchant, KeepSupplierFresh(connection_id=connection)))["result"]

    def see() -> Any:
        with transaction(merchant_id=merchant) as session:
            row = get_connection(session, connection)
            facts = look(session, row, bigbuy)
            reached = reach(session, connection)
        return outlook(facts, reached.connection.meter)

    before = see()
    assert (before.next_kind, before.next_at) == (None, None)
    assert [(one.what, one.as_of) for one in before.freshness] == [
        ("products", None),
        ("prices", None),
        ("stock", None),
    ]
    assert [round(one.within_seconds / HOUR, 1) for one in before.freshness] == [27.5, 27.5, 4.7]

    first = ask()
    assert (first["outcome"], first["next"]) == ("enqueued", "products")
    assert ask()["job_id"] == first["job_id"]  # it is not asked for twice
    inline.work(UUID(first["job_id"]))
    assert state_of(UUID(first["job_id"]))["state"] == "succeeded"
    second = ask()
    assert (second["outcome"], second["next"]) == ("fresh", "stock")
    assert timedelta(minutes=58) < datetime.fromisoformat(second["at"]) - now() < timedelta(hours=1)  # it may be called

    with transaction(merchant_id=merchant) as session:
        create_schedule(
            session,
            merchant_id=merchant,
            name="fresh",
            kind="keep_supplier_fresh",
            args={"connection_id": str(connection), "stock_every": 4 * 3600, "prices": True},
            interval_seconds=300,
        )
    kept = see()
    assert kept.next_kind == "stock"
    assert timedelta(hours=3.9) < kept.next_at - now() < timedelta(hours=4.1)
    assert all(now() - one.as_of < timedelta(minutes=1) for one in kept.freshness)
    assert kept.freshness[1].within_seconds == kept.freshness[2].within_seconds

    with transaction(merchant_id=merchant) as session:
        session.execute(
            text("UPDATE sync_runs SET started_at = started_at - interval '5 hours' WHERE connection_id = :id"),
            {"id": connection},
        )
    third = ask()
    assert (third["outcome"], third["next"]) == ("enqueued", "stock")
    assert inline.work(UUID(third["job_id"]))["state"] == "succeeded"
    assert [run.kind for run in runs_of(merchant, connection)] == ["products", "stock"]


def test_another_merchants_connection_is_not_kept_fresh(other_merchant: UUID, connection: UUID) -> None:
    ended = inline.work(begin(other_merchant, KeepSupplierFresh(connection_id=connection)))
    assert (ended["state"], ended["error_code"]) == ("failed", "connection_not_found")


def test_a_connection_that_cannot_be_used_is_left_as_it_is(merchant: UUID, connection: UUID) -> None:
    with transaction(merchant_id=merchant) as session:
        get_connection(session, connection).state = "reconnect_needed"
    ended = inline.work(begin(merchant, KeepSupplierFresh(connection_id=connection)))
    assert (ended["state"], ended["result"]) == ("succeeded", {"outcome": "supplier_reconnect_needed"})
