"""Live updates over a real server: in order, each once, from where one left off, whoever and how many listen."""

import json
import random
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from api.app import create_app
from services.core import db
from services.jobs import enqueue, stream
from services.jobs.control import retry_job
from services.jobs.ledger import Ending, write_progress
from services.jobs.stream import Hub
from tests.conftest import headers_for, serving
from tests.jobs.conftest import TestWork, finish, owner, put, start


@dataclass
class Event:
    """One server-sent event, or a comment (`event` is then ":")."""

    event: str
    data: Any
    id: str | None


class Listener:
    """An open stream."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.last: str | None = None
        self._lines = response.iter_lines()

    def next(self, *, comments: bool = False) -> Event | None:
        """The next event; None when the stream has ended."""
        fields: dict[str, str] = {}
        for line in self._lines:
            if line.startswith(":"):
                if comments:
                    return Event(":", line[1:].strip(), None)
            elif line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif fields:
                self.last = fields.get("id", self.last)
                return Event(fields["event"], json.loads(fields["data"]), fields.get("id"))
        return None

    def take(self, count: int) -> list[Event]:
        """So many events."""
        found = [self.next() for _ in range(count)]
        assert None not in found, found
        return found  # type: ignore[return-value]

    def rest(self) -> list[Event]:
        """All until the stream ends."""
        return list(iter(self.next, None))


@contextmanager
def listening(url: str, headers: dict[str, str], last: str | None = None) -> Iterator[Listener]:
    """Open a stream that must be there."""
    sent = headers if last is None else {**headers, "Last-Event-ID": last}
    with httpx.stream("GET", url, headers=sent, timeout=20) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-cache"
        yield Listener(response)


@pytest.fixture(scope="module")
def served():
    """An application of this module's own, whose hub can be looked at, and its address."""
    application = create_app()
    with serving(application) as address:
        yield application, f"{address}/api/v1/jobs"


@pytest.fixture
def url(served):
    """Where the jobs are."""
    return served[1]


@pytest.fixture
def hub(served) -> Hub:
    """What hands out."""
    return served[0].state.job_hub


@pytest.fixture
def headers(merchant):
    """Of an owner of `merchant`."""
    return headers_for(merchant)


@pytest.fixture
def ledger():
    """A kept connection."""
    with db.open_connection(db.get_settings()) as connection:
        yield connection


def events_of(**where: Any) -> list[tuple[str, str, str]]:
    """(id on the wire, state, reason) from the table, in the order of the wire."""
    [(column, value)] = where.items()
    with owner() as connection:
        found = connection.execute(
            f"SELECT xid || '-' || id, state, reason FROM job_events WHERE {column} = %s ORDER BY xid, id", (value,)
        )
        return found.fetchall()


def told(events: list[Event]) -> list[tuple[str | None, str, str]]:
    """The same of state events that were heard."""
    return [(event.id, event.data["status"], event.data["reason"]) for event in events if event.event == "state"]


def run_through(ledger: Any, job_id: uuid.UUID) -> None:
    """Claim a job and end it well."""
    [claim] = start(ledger, job_id)
    finish(ledger, Ending(job_id, claim.claims, "succeeded", "done"))


def test_a_job_from_its_snapshot_to_its_end(url, headers, merchant, ledger):
    job_id = put(merchant, TestWork(n=3))
    with listening(f"{url}/{job_id}/events", headers) as listener:
        [snapshot] = listener.take(1)
        assert snapshot.event == "snapshot"
        assert snapshot.data == httpx.get(url, headers=headers).json()["data"][0]
        assert (snapshot.data["id"], snapshot.data["status"]) == (str(job_id), "queued")
        run_through(ledger, job_id)
        heard = listener.rest()
    assert told(heard) == events_of(job_id=job_id)[1:]
    [running, succeeded] = heard
    assert running.data == {
        "seq": int(running.id.split("-")[1]), "job_id": str(job_id), "kind": "test_work", "queue": "sync",
        "status": "running", "reason": "claimed", "attempt": 1, "error": None, "run_ms": None,
        "at": running.data["at"],
    }  # fmt: skip
    assert (succeeded.data["status"], succeeded.data["reason"]) == ("succeeded", "done")
    assert 0 <= succeeded.data["run_ms"] < 10_000


def test_an_ended_job_is_a_snapshot_and_nothing_more(url, headers, merchant, ledger):
    job_id = put(merchant)
    run_through(ledger, job_id)
    with listening(f"{url}/{job_id}/events", headers) as listener:
        [snapshot] = listener.rest()
    assert (snapshot.event, snapshot.data["status"]) == ("snapshot", "succeeded")


def test_from_every_id_on_the_rest_and_only_the_rest(url, headers, merchant, ledger):
    job_id = put(merchant)
    [claim] = start(ledger, job_id)
    finish(ledger, Ending(job_id, claim.claims, "queued", "drained", refund=1))
    run_through(ledger, job_id)
    everything = events_of(job_id=job_id)
    assert [state for _, state, _ in everything] == ["queued", "running", "queued", "running", "succeeded"]
    for seen, (id_, _, _) in enumerate(everything[:-1], 1):
        with listening(f"{url}/{job_id}/events", headers, last=id_) as listener:
            assert told(listener.rest()) == everything[seen:]
    # It ended and that was heard: 204 tells an EventSource not to come again.
    answer = httpx.get(f"{url}/{job_id}/events", headers={**headers, "Last-Event-ID": everything[-1][0]})
    assert (answer.status_code, answer.content) == (204, b"")


def test_a_job_that_failed_once_and_was_retried_is_not_over_at_its_first_end(url, headers, merchant, ledger):
    job_id = put(merchant)
    [claim] = start(ledger, job_id)
    finish(ledger, Ending(job_id, claim.claims, "failed", "failed", error_code="e", error_message="broken"))
    httpx.post(f"{url}/{job_id}/retry", headers=headers).raise_for_status()
    everything = events_of(job_id=job_id)
    with listening(f"{url}/{job_id}/events", headers, last=everything[0][0]) as listener:
        failed = listener.take(3)[1]
        assert failed.data["error"] == {"code": "e", "message": "broken"}
        run_through(ledger, job_id)
        assert [event.data["status"] for event in listener.rest()] == ["running", "succeeded"]


def test_all_jobs_of_the_merchant_and_of_no_other(url, headers, merchant, other_merchant, ledger):
    with listening(f"{url}/events", headers) as listener:
        [ready] = listener.take(1)
        assert (ready.event, ready.data) == ("ready", {})
        put(other_merchant)
        first = put(merchant)
        run_through(ledger, put(other_merchant))
        run_through(ledger, first)
        put(merchant)
        assert told(listener.take(4)) == events_of(merchant_id=merchant)
    # "ready" is a place too: from there on, all of it again.
    with listening(f"{url}/events", headers, last=ready.id) as listener:
        assert told(listener.take(4)) == events_of(merchant_id=merchant)


def test_progress_comes_without_an_id(url, headers, merchant, ledger):
    job_id = put(merchant)
    [claim] = start(ledger, job_id)
    with listening(f"{url}/{job_id}/events", headers) as listener:
        [snapshot] = listener.take(1)
        assert snapshot.data["progress"] is None
        write_progress(ledger, [(job_id, claim.claims, 10, 40, "reading")])
        [progress] = listener.take(1)
        assert progress == Event("progress", {"job_id": str(job_id), "done": 10, "total": 40, "note": "reading"}, None)
        time.sleep(0.6)  # what does not change is not said again
        write_progress(ledger, [(job_id, claim.claims, 20, 40, "reading")])
        assert listener.take(1)[0].data["done"] == 20
        finish(ledger, Ending(job_id, claim.claims, "succeeded", "done"))
        assert told(listener.rest()) == events_of(job_id=job_id)[-1:]


def test_what_commits_late_is_neither_lost_nor_doubled(url, headers, merchant):
    """The transaction that began first commits last: a reader that went ahead would never look back."""
    with ExitStack() as streams:
        listener = streams.enter_context(listening(f"{url}/events", headers))
        [ready] = listener.take(1)
        with db.transaction(merchant_id=merchant) as early:
            slow, _ = enqueue(early, TestWork(n=1), merchant_id=merchant)
            quick = put(merchant, TestWork(n=2))
            back = streams.enter_context(listening(f"{url}/events", headers, last=ready.id))
            time.sleep(0.8)  # three polls
        heard = listener.take(2)
        assert back.take(2) == heard
        assert [event.data["job_id"] for event in heard] == [str(slow), str(quick)]
        assert told(heard) == events_of(merchant_id=merchant)
    with listening(f"{url}/events", headers, last=heard[0].id) as listener:
        assert told(listener.take(1)) == told(heard[1:])


def test_what_the_snapshot_shows_is_not_told_again(url, headers, merchant, ledger):
    """The horizon is held back by another's open transaction; the job's events are known already."""
    job_id = put(merchant)
    with db.transaction(merchant_id=merchant) as other:
        enqueue(other, TestWork(), merchant_id=merchant)
        [claim] = start(ledger, job_id)
        with listening(f"{url}/{job_id}/events", headers) as listener:
            [snapshot] = listener.take(1)
            assert snapshot.data["status"] == "running"
            other.commit()
            finish(ledger, Ending(job_id, claim.claims, "succeeded", "done"))
            assert [event.data["status"] for event in listener.rest()] == ["succeeded"]


def test_the_end_is_the_latest_event_not_the_last_told(url, headers, merchant, ledger):
    """The transaction that retries the job began before the one that failed it: its event is told first."""
    job_id = put(merchant)
    [claim] = start(ledger, job_id)
    with listening(f"{url}/{job_id}/events", headers) as listener:
        listener.take(1)
        with db.transaction(merchant_id=merchant) as early:
            early.execute(text("SELECT pg_current_xact_id()"))
            finish(ledger, Ending(job_id, claim.claims, "failed", "failed", error_code="e", error_message="broken"))
            retry_job(early, job_id)
        queued, failed = listener.take(2)
        assert (queued.data["status"], failed.data["status"]) == ("queued", "failed")
        assert queued.data["seq"] > failed.data["seq"]
        run_through(ledger, job_id)
        assert [event.data["status"] for event in listener.rest()] == ["running", "succeeded"]


def test_a_listener_that_comes_and_goes_hears_everything_once(url, headers, merchant):
    """Writers in several transactions at once, some of them slow; a connection that breaks after a few events."""
    writers, jobs = 4, 25
    gate = threading.Barrier(writers + 1)

    def write(seed: int) -> None:
        chance = random.Random(seed)
        gate.wait()
        for n in range(jobs):
            with db.transaction(merchant_id=merchant) as session:
                enqueue(session, TestWork(n=n), merchant_id=merchant)
                time.sleep(chance.choice([0, 0, 0.002, 0.05]))

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(writers)]
    for thread in threads:
        thread.start()
    heard: list[Event] = []
    with listening(f"{url}/events", headers) as listener:
        listener.take(1)
        gate.wait()
        last = listener.last
    chance = random.Random(7)
    while len(heard) < writers * jobs:
        with listening(f"{url}/events", headers, last=last) as listener:
            heard += listener.take(min(chance.randint(1, 9), writers * jobs - len(heard)))
            last = listener.last
    for thread in threads:
        thread.join()
    assert told(heard) == events_of(merchant_id=merchant)
    assert len({event.id for event in heard}) == writers * jobs


def test_a_replay_of_many_pages(url, headers, merchant):
    with listening(f"{url}/events", headers) as listener:
        listener.take(1)
        last = listener.last
    with db.transaction(merchant_id=merchant) as session:
        for n in range(1203):
            enqueue(session, TestWork(n=n), merchant_id=merchant)
    with listening(f"{url}/events", headers, last=last) as listener:
        heard = listener.take(1203)
        put(merchant)
        heard += listener.take(1)
    assert told(heard) == events_of(merchant_id=merchant)


@pytest.mark.parametrize("last", ["x", "1", "-", "1-", "-1", "1-2-3", "٣-1", "1-99999999999999999999", "9" * 50 + "-1"])
def test_an_id_that_is_none(url, headers, last):
    answer = httpx.get(f"{url}/events", headers={**headers, "Last-Event-ID": last.encode()})
    assert (answer.status_code, answer.json()["code"], answer.json()["param"]) == (
        422, "last_event_id_invalid", "Last-Event-ID",
    )  # fmt: skip


def test_an_id_from_another_database_begins_anew(url, headers, merchant):
    with listening(f"{url}/events", headers, last="900000000000-1") as listener:
        assert listener.take(1)[0].event == "ready"
        put(merchant)
        assert told(listener.take(1)) == events_of(merchant_id=merchant)


def test_who_may_not_listen(url, headers, merchant, other_merchant):
    theirs = put(other_merchant)
    for job_id in (theirs, uuid.uuid4()):
        for last in ({}, {"Last-Event-ID": "1-1"}):
            answer = httpx.get(f"{url}/{job_id}/events", headers={**headers, **last})
            assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")
    assert httpx.get(f"{url}/{put(merchant)}/events").status_code == 401
    assert httpx.get(f"{url}/events", headers={**headers, "X-Merchant-Id": str(other_merchant)}).status_code == 404
    with listening(f"{url}/events", headers_for(merchant, role="viewer")) as listener:
        assert listener.take(1)[0].event == "ready"


def test_silence_is_broken_now_and_then(url, headers, monkeypatch):
    monkeypatch.setattr(stream, "HEARTBEAT_SECONDS", 0.2)
    with listening(f"{url}/events", headers) as listener:
        listener.take(1)
        assert [listener.next(comments=True).event for _ in range(3)] == [":", ":", ":"]


def test_a_stream_ends_when_its_time_is_up(url, headers, monkeypatch):
    monkeypatch.setattr("api.jobs.LIFETIME_SECONDS", 0.5)
    began = time.monotonic()
    with listening(f"{url}/events", headers) as listener:
        assert [event.event for event in listener.rest()] == ["ready"]
    assert 0.4 < time.monotonic() - began < 5


def test_a_stream_outlives_no_token(url, merchant, token_for):
    from tests.conftest import join_merchant

    user = uuid.uuid4()
    join_merchant(merchant, user)
    token = token_for(user, exp=int(time.time()) + 2)
    with listening(f"{url}/events", {"Authorization": f"Bearer {token}", "X-Merchant-Id": str(merchant)}) as listener:
        assert [event.event for event in listener.rest()] == ["ready"]


def test_a_lost_database_connection_loses_nothing(url, headers, merchant, ledger):
    with listening(f"{url}/events", headers) as listener:
        listener.take(1)
        put(merchant)
        first = listener.take(1)
        with owner() as boss:
            boss.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                " AND query LIKE '%%progress_done%%' AND pid <> pg_backend_pid()"
            )
        put(merchant)
        assert told(first + listener.take(1)) == events_of(merchant_id=merchant)


def wait_until(condition: Any, seconds: float = 10) -> None:
    """Poll until it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def test_nobody_listens_and_nothing_is_asked(url, hub, headers):
    with listening(f"{url}/events", headers) as listener:
        listener.take(1)
        wait_until(lambda: hub.listeners >= 1)
    wait_until(lambda: hub.listeners == 0)
    time.sleep(0.3)
    polls = hub.polls
    time.sleep(1)
    assert hub.polls == polls


def test_the_description_names_the_stream(anonymous):
    paths = anonymous.get("/api/openapi.json").json()["paths"]
    for path in ("/api/v1/jobs/events", "/api/v1/jobs/{job_id}/events"):
        assert "text/event-stream" in paths[path]["get"]["responses"]["200"]["content"]
