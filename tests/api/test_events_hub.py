"""The hub of live updates: who is too slow, who comes in vain, and five hundred at once."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest

from api.app import create_app
from services.core import db
from services.jobs import enqueue_many, stream
from services.jobs.events import Cursor, Visible
from services.jobs.stream import Hub
from tests.api.test_events import events_of, listening, wait_until
from tests.conftest import ROOT, headers_for, make_merchant, serving
from tests.jobs.conftest import TestWork, owner, put

# -- The hub itself --------------------------------------------------------------------------------------------------


def test_a_listener_too_slow_is_dropped_with_a_word_and_can_go_on(merchant, monkeypatch):
    monkeypatch.setattr(stream, "PENDING", 10)

    async def listen() -> tuple[list[bytes], list[bytes]]:
        hub = Hub(db.get_settings())
        try:
            slow = await hub.open(merchant_id=merchant, job_id=None, last=None, describe=str)
            quick = await hub.open(merchant_id=merchant, job_id=None, last=None, describe=str)
            heard: list[bytes] = []

            async def read() -> None:
                async for chunk in quick.chunks():
                    heard.extend(piece for piece in chunk.split(b"\n\n") if piece)

            reading = asyncio.create_task(read())
            for number in range(1, 26):
                await asyncio.to_thread(put, merchant)
                while number == 11 and len(heard) < 1 + 11:  # however few looks the hub has come to by now
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.6)
            missed: list[bytes] = []
            async for chunk in slow.chunks():
                missed.extend(piece for piece in chunk.split(b"\n\n") if piece)
                await asyncio.to_thread(put, merchant)  # while it is being sent, more comes: after a gap
                await asyncio.sleep(0.6)
            slow.close()
            quick.end()
            await reading
            quick.close()
            assert hub.listeners == 0
        finally:
            await asyncio.to_thread(hub.close)
        return missed, heard

    missed, heard = asyncio.run(listen())
    assert len(heard) == 1 + 25 + 3
    assert missed.pop() == b'event: dropped\ndata: {"code": "too_slow"}'
    assert 10 < len(missed) - 1 < 25
    assert missed[1:] == heard[1 : len(missed)]


def test_a_burst_drops_nobody_who_keeps_up(merchant):
    async def listen() -> list[bytes]:
        hub = Hub(db.get_settings())
        try:
            stream_ = await hub.open(merchant_id=merchant, job_id=None, last=None, describe=str)
            await asyncio.to_thread(put_many, merchant, 6000)
            heard: list[bytes] = []
            async for chunk in stream_.chunks():
                heard.extend(piece for piece in chunk.split(b"\n\n") if piece)
                if len(heard) >= 1 + 6000:
                    break
            stream_.close()
            return heard
        finally:
            await asyncio.to_thread(hub.close)

    heard = asyncio.run(listen())
    assert len(heard) == len(set(heard)) == 1 + 6000


def put_many(merchant_id: uuid.UUID, count: int) -> None:
    """Enqueue in one statement."""
    with db.transaction(merchant_id=merchant_id) as session:
        enqueue_many(session, [TestWork(n=n) for n in range(count)], merchant_id=merchant_id)


def test_a_full_house_is_closed(merchant, monkeypatch):
    monkeypatch.setattr(stream, "MAX_LISTENERS", 1)

    async def crowd() -> str:
        hub = Hub(db.get_settings())
        first = await hub.open(merchant_id=merchant, job_id=None, last=None, describe=str)
        try:
            await hub.open(merchant_id=merchant, job_id=None, last=None, describe=str)
        except stream.TooManyStreams as error:
            return error.code
        finally:
            first.close()
            await asyncio.to_thread(hub.close)
        return "open"

    assert asyncio.run(crowd()) == "too_many_streams"


def test_without_a_database_a_newcomer_is_told_so(merchant, monkeypatch):
    monkeypatch.setattr(stream, "PATIENCE_SECONDS", 0.3)

    def refuse(*_: Any) -> None:
        raise psycopg.OperationalError("connection refused")

    monkeypatch.setattr(db, "open_connection", refuse)

    async def come() -> int:
        hub = Hub(db.get_settings())
        try:
            await hub.open(merchant_id=merchant, job_id=None, last=None, describe=str)
        except db.DatabaseAway:
            return hub.listeners
        finally:
            await asyncio.to_thread(hub.close)
        return -1

    assert asyncio.run(come()) == 0


def test_what_a_snapshot_of_postgres_saw():
    visible = Visible("10:20:12,15")
    assert [xid for xid in range(8, 23) if xid in visible] == [8, 9, 10, 11, 13, 14, 16, 17, 18, 19]
    assert Visible("7:7:").xmin == 7
    assert str(Cursor(3, 4)) == "3-4"


# -- The crowd -------------------------------------------------------------------------------------------------------

LISTENERS = 500


async def crowd(url: str, headers: list[dict[str, str]], act: Any) -> list[list[tuple[float, bytes]]]:
    """Open a socket for each of the headers; `act` when all are connected; what each heard until `act` is done."""
    address = urlsplit(url)
    heard: list[list[tuple[float, bytes]]] = [[] for _ in headers]
    ready = asyncio.Semaphore(0)
    entering = asyncio.Semaphore(50)

    async def listen(place: int) -> None:
        await entering.acquire()
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers[place].items())
        writer.write(f"GET {address.path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n".encode())
        first = await reader.readuntil(b"event: ready")
        assert first.startswith(b"HTTP/1.1 200"), first
        entering.release()
        ready.release()
        try:
            while line := await reader.readline():
                if line.startswith(b'data: {"seq"'):
                    heard[place].append((time.time(), line[6:].strip()))
        finally:
            writer.close()

    tasks = [asyncio.create_task(listen(place)) for place in range(len(headers))]
    for _ in tasks:
        await asyncio.wait_for(ready.acquire(), 60)
    await act(heard)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return heard


@pytest.fixture
def served():
    """An application whose hub can be looked at, and its address."""
    application = create_app()
    with serving(application) as address:
        yield application.state.job_hub, f"{address}/api/v1/jobs"


def test_five_hundred_listeners_cost_postgres_no_more_than_one(served):
    """Ten merchants, fifty listeners each: the polls are the hub's, the connections the pool's, the events all."""
    hub, url = served
    merchants = [make_merchant() for _ in range(10)]
    own = [headers_for(merchant) for merchant in merchants]
    figures: dict[str, Any] = {}

    def commits() -> int:
        with owner() as connection:
            connection.execute("SELECT pg_stat_force_next_flush()")
            return connection.execute(
                "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
            ).fetchone()[0]

    async def act(heard: list[list[tuple[float, bytes]]]) -> None:
        await asyncio.sleep(1.2)  # the last newcomers' polls
        figures["listeners"] = hub.listeners
        before, polls, began = await asyncio.to_thread(commits), hub.polls, time.monotonic()
        await asyncio.sleep(2)
        figures["polls_per_second"] = (hub.polls - polls) / (time.monotonic() - began)
        figures["commits_per_second"] = (await asyncio.to_thread(commits) - before) / (time.monotonic() - began)
        with owner() as connection:
            figures["backends"] = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            ).fetchone()[0]
        for n in range(2):
            for merchant in merchants:
                await asyncio.to_thread(put, merchant, TestWork(n=n))
            await asyncio.sleep(0.2)
        deadline = time.monotonic() + 20
        while sum(map(len, heard)) < LISTENERS * 2 and time.monotonic() < deadline:
            await asyncio.sleep(0.05)

    heard = asyncio.run(crowd(f"{url}/events", [own[n % 10] for n in range(LISTENERS)], act))
    assert figures["listeners"] == LISTENERS
    assert figures["polls_per_second"] <= 4.5
    assert figures["commits_per_second"] < 10  # two looks at the statistics among them
    assert figures["backends"] < 40
    expected = [[id_.split("-")[1] for id_, _, _ in events_of(merchant_id=merchant)] for merchant in merchants]
    for place, events in enumerate(heard):
        assert [str(json.loads(data)["seq"]) for _, data in events] == expected[place % 10]
    wait_until(lambda: hub.listeners == 0)


def test_a_server_told_to_stop_does_not_wait_for_its_listeners(merchant):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "--factory", "api.serve:app", "--port", str(port),
         "--timeout-graceful-shutdown", "20"],
        cwd=ROOT, env=dict(os.environ), stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        address = f"http://127.0.0.1:{port}"

        def alive() -> bool:
            try:
                return httpx.get(f"{address}/health").status_code == 200
            except httpx.TransportError:
                return False

        wait_until(alive, 60)
        with listening(f"{address}/api/v1/jobs/events", headers_for(merchant)) as listener:
            listener.take(1)
            began = time.monotonic()
            server.send_signal(signal.SIGTERM)
            assert listener.rest() == []
            server.wait(15)
            assert time.monotonic() - began < 5
    finally:
        server.kill()
        server.wait()
        assert server.stderr is not None
        said = server.stderr.read().decode()
        server.stderr.close()
    assert "Traceback" not in said
    assert "ERROR" not in said
