"""Killed at every step, overtaken at every step, told twice: each order is at its supplier once, and known to be."""

import contextlib
import itertools
import random
import threading
from collections.abc import Iterator

import pytest

from services.jobs.ledger import Claim
from services.jobs.run import Run
from services.orders.placing import send
from tests import inline
from tests.examples import examples
from tests.orders.selling import Shop
from tests.suppliers.subjects import SUBJECTS


class Killed(BaseException):
    """SIGKILL: nothing that runs afterwards may be relied upon."""


class Steps:
    """Counts the steps of an attempt: begins, ends and commits of transactions, and calls. One of them is fatal."""

    def __init__(self) -> None:
        self.taken = 0
        self.fatal = None
        self.strike = self.kill
        self.inside = True

    def kill(self) -> None:
        raise Killed

    def step(self) -> None:
        self.taken += 1
        if self.taken == self.fatal:
            self.fatal = None
            self.strike()

    def around(self, opened):
        @contextlib.contextmanager
        def transaction(*args, **how):
            self.step()
            with opened(*args, **how) as session:
                yield session
                if self.inside:  # who is put to sleep here holds its locks: nobody can overtake
                    self.step()
            self.step()

        return transaction


class Watched(Run):
    """A run whose transactions are steps."""

    def __init__(self, claim: Claim, steps: Steps) -> None:
        super().__init__(claim)
        self.transaction = steps.around(super().transaction)


@pytest.fixture
def steps(monkeypatch):
    counted = Steps()
    monkeypatch.setattr(send, "transaction", counted.around(send.transaction))
    asked = send._InTime.take

    def take(meter, endpoints):
        counted.step()
        asked(meter, endpoints)
        counted.step()

    monkeypatch.setattr(send._InTime, "take", take)
    return counted


@pytest.fixture(params=["aliexpress", "bigbuy"])
def shop(request, world):
    return Shop(world, supplier=request.param)


def settled(shop, order_id, at):
    """It is there once, and we know it."""
    (intent,) = shop.standings(order_id)
    there = shop.truth(intent.reference)
    noted = shop.rows("SELECT id FROM supplier_orders WHERE intent_id = :id", id=intent.id)
    assert (intent.state, len(there)) == ("placed", 1), at
    assert [one["id"] for one in noted] == there, at
    assert shop.state(order_id) == "placed", at


def some_steps() -> Iterator[int]:
    """Every third step from a random one on, with EXAMPLES=3 every one; for ever: a way ends where it has no more."""
    stride = max(1, 3 // examples(1))
    return itertools.count(random.randint(1, stride), stride)


def test_killed_at_any_step(shop, steps):
    killed = 0
    for at in some_steps():
        order_id = shop.order(1)
        job_id = shop.ask(order_id)
        steps.taken, steps.fatal = 0, at
        try:
            inline.work(job_id, make_run=lambda claim: Watched(claim, steps))
            break
        except Killed:
            killed += 1
        steps.fatal = None
        inline.lose(job_id)
        shop.later()
        shop.work(job_id)
        settled(shop, order_id, at)
    assert at > 15
    assert len(shop.bought()) == killed + 1


def test_killed_while_the_answer_is_lost_and_killed_again(shop, steps):
    """The answer to the first call is lost; whoever looks it up or sends it again dies at each step of that."""
    creates = SUBJECTS[shop.supplier].creates
    killed = 0
    for at in some_steps():
        order_id = shop.order(1)
        job_id = shop.ask(order_id)
        with shop.world.fault("lost", route=creates, count=1):
            inline.work(job_id)
        shop.later()
        steps.taken, steps.fatal = 0, at
        try:
            inline.work(job_id, make_run=lambda claim: Watched(claim, steps))
            break
        except Killed:
            killed += 1
        steps.fatal = None
        inline.lose(job_id)
        shop.later()
        shop.work(job_id)
        settled(shop, order_id, at)
    assert at > 8
    assert len(shop.bought()) == killed + 1


@pytest.mark.parametrize("late", [False, True], ids=["at once", "after the lease"])
def test_overtaken_at_any_step(shop, steps, late):
    """A worker sleeps through its lease at each step; another does the job; then the first wakes up and goes on."""
    slept, steps.inside = 0, False
    for at in some_steps():
        order_id = shop.order(1)
        job_id = shop.ask(order_id)

        def overtake(job_id=job_id):
            inline.lose(job_id)
            if late:
                shop.later()
            if inline.state_of(job_id)["state"] == "queued":
                inline.work(job_id)
            shop.later()

        steps.strike, steps.taken, steps.fatal = overtake, 0, at
        inline.work(job_id, make_run=lambda claim: Watched(claim, steps))
        shop.later()
        shop.work(job_id)
        settled(shop, order_id, at)
        if steps.fatal is not None:
            break
        slept += 1
    assert len(shop.bought()) == slept + 1


def test_two_jobs_at_once_for_one_order(shop):
    """However it came to two: one supplier order."""
    for _ in range(3):
        order_id = shop.order(1)
        first = shop.ask(order_id)
        shop.rows("UPDATE jobs SET unique_key = NULL WHERE id = :id RETURNING id", id=first)
        second = shop.ask(order_id)
        assert first != second
        threads = [threading.Thread(target=shop.work, args=(job_id,)) for job_id in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        settled(shop, order_id, 0)
    assert len(shop.bought()) == 3
