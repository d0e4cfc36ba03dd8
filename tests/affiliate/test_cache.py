"""One question at a time, whoever asks it: threads, processes, Redis away, one that dies while it asks."""

import json
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from pydantic import TypeAdapter

from services.affiliate import ask, cache, pace
from services.affiliate.ask import AffiliateAway
from services.affiliate.cache import Cache
from services.affiliate.sources import Market
from services.core.memory import Memory, RedisAway, memory
from services.core.settings import get_settings
from services.suppliers.aliexpress_affiliate.products import Search
from services.suppliers.errors import WaitUntil
from tests.affiliate.conftest import asked, configured, real
from tests.conftest import ROOT


def of(settings, **changes):
    """A cache of lists of numbers."""
    given = {"prefix": settings.redis_prefix, "seconds": 60.0, "failures": (AffiliateAway,), **changes}
    return Cache(memory(settings), TypeAdapter(list[int]), **given)


def test_many_at_once_ask_once(proxy, world):
    client = proxy(sandbox_url=world.url)
    with world.fault("latency", supplier="aliexpress", seconds=0.3), ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda _: client.post("/api/products/search", json={}).json(), range(12)))
    assert len(asked(world)) == 1
    assert sorted(answer["metadata"]["cached"] for answer in answers) == [False, *[True] * 11]
    assert all(answer["data"] == answers[0]["data"] for answer in answers)


def test_other_questions_are_others(world):
    settings = configured(sandbox_url=world.url)
    wanted = Search(keywords="lamp")
    for market in (Market(), Market(currency="EUR"), Market(country="FR"), Market(language="fr")):
        assert not ask.search(settings, wanted, market=market).cached
    assert not ask.search(settings, replace(wanted, page=2), market=Market()).cached
    assert not ask.search(settings, wanted, market=Market(), hot=True).cached
    assert ask.search(settings, replace(wanted), market=Market()).cached
    # Another account's answers are others' too.
    for tracking in ("shop-1", "shop-2"):
        mine = real(world, aliexpress_tracking_id=tracking, redis_prefix=settings.redis_prefix, sandbox_url=None)
        assert not ask.search(configured(**mine), wanted, market=Market()).cached


def test_processes_ask_once_together(world):
    settings = configured(sandbox_url=world.url)
    code = f"""
from services.affiliate import ask
from services.affiliate.sources import Market
from services.core.settings import get_settings
settings = get_settings().model_copy(update={{"redis_prefix": {settings.redis_prefix!r}, "sandbox_url": {world.url!r}}})
input()
print(len(ask.categories(settings).data))
"""
    started = [
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=-1, stdout=-1, text=True) for _ in range(2)
    ]
    with world.fault("latency", supplier="aliexpress", seconds=0.3):
        for process in started:
            process.stdin.write("\n")
            process.stdin.flush()
        found = {process.communicate(timeout=30)[0] for process in started}
    assert len(found) == 1
    assert len(asked(world)) == 1


def test_what_failed_is_told_to_all_who_waited():
    mine, calls = of(configured()), []

    def fails():
        calls.append(1)
        time.sleep(0.2)
        raise AffiliateAway("AliExpress: nothing", retry_after=5, supplier_code="15")

    def get(_):
        with pytest.raises(AffiliateAway) as raised:
            mine.get("x", fails)
        return raised.value.detail, raised.value.retry_after, raised.value.extra

    with ThreadPoolExecutor(6) as threads:
        told = list(threads.map(get, range(6)))
    assert told == [("AliExpress: nothing", 5, {"supplier_code": "15"})] * 6
    assert len(calls) == 1
    time.sleep(cache.FAILED_SECONDS + 0.1)
    assert mine.get("x", lambda: [1]).value == [1]


def test_whoever_dies_while_asking_is_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr(cache, "LEASE_MS", 200)
    mine = of(configured())
    asking, hanging = threading.Event(), threading.Event()

    def hangs():
        asking.set()
        hanging.wait(10)
        return [0]

    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(mine.get, "x", hangs)
        asking.wait(10)
        assert mine.get("x", lambda: [1]).value == [1]
        hanging.set()
        assert first.result().value == [0]
    # The one that was given up says nothing of the lease that followed its own.
    assert mine.get("y", lambda: [2]).value == [2]


def test_without_redis_everyone_asks(world, caplog):
    from tests.affiliate.test_modes import nowhere

    settings = configured(sandbox_url=world.url, redis_url=nowhere().replace("http", "redis"))
    started = time.monotonic()
    for _ in range(3):
        assert not ask.categories(settings).cached
    assert time.monotonic() - started < 2
    assert len(asked(world)) == 3
    assert len([record for record in caplog.records if "Redis is away" in record.message]) == 1
    assert ask.status(settings).cache is False


def test_redis_that_goes_away_while_asking_costs_nothing_but_the_cache():
    class Gone(Memory):
        left = 3

        def ask(self, do):
            self.left -= 1
            if self.left < 0:
                raise RedisAway
            return super().ask(do)

    calls = []
    mine = Cache(
        Gone(get_settings().redis_url), TypeAdapter(list[int]), prefix="gone", seconds=1, failures=(),
    )  # fmt: skip
    assert mine.get(str(time.time()), lambda: calls.append(1) or [1]).value == [1]
    assert len(calls) == 1


def test_what_cannot_be_read_is_asked_for_again():
    settings = configured()
    mine = of(settings)
    mine.get("x", lambda: [1])
    for odd in ("{", json.dumps({"value": "no list", "at": "2026-01-01T00:00:00Z"}), json.dumps({"at": 1})):
        (key,) = memory(settings).ask(lambda redis: list(redis.scan_iter(match=f"{settings.redis_prefix}*")))
        memory(settings).ask(lambda redis, key=key, odd=odd: redis.set(key, odd))
        assert mine.get("x", lambda: [7]).value == [7]
        assert mine.get("x", lambda: [8]).value == [7]


@pytest.mark.parametrize("away", [False, True])
def test_the_pace_is_kept_and_a_crowd_is_told_to_wait(monkeypatch, away):
    monkeypatch.setattr(pace, "PATIENCE_SECONDS", 0.31)
    settings = configured(**({"redis_url": "redis://127.0.0.1:9/0"} if away else {}))
    meter = pace.Pace(settings, uuid.uuid4().hex, calls_a_second=20)
    meter.take(["m"])  # with Redis away, the first one finds that out

    def take(_):
        try:
            meter.take(["m"])
        except WaitUntil as error:
            return error.retry_after
        return None

    started = time.monotonic()
    with ThreadPoolExecutor(9) as threads:
        told = [wait for wait in threads.map(take, range(9)) if wait is not None]
    assert 0.25 <= time.monotonic() - started < 2
    assert len(told) >= 2  # six or seven moments lie within the patience
    assert all(0.25 < wait < 0.5 for wait in told)
