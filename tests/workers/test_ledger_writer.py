"""The writer of a worker process, alone: what one job does to it must not reach the others."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import pytest

from services.core.settings import get_settings
from services.jobs import ledger
from services.jobs.ledger import Connection, Ending
from services.jobs.run import Run
from tests.conftest import ROOT
from tests.jobs.conftest import put, ring_all, row
from workers import ledger_writer
from workers.ledger_writer import LedgerWriter


@pytest.fixture(scope="module")
def writer() -> LedgerWriter:
    """A writer with its threads; they end with the test process."""
    settings = get_settings().model_copy(update={"lease_seconds": 3, "heartbeat_seconds": 0.2})
    return LedgerWriter(settings, ending_of_timeout=lambda run: Ending(run.id, run.claim.claims, "failed", "timeout"))


def claimed(writer: LedgerWriter, merchant: UUID) -> Run:
    """A job that the writer holds."""
    id_ = put(merchant)
    with ledger_connection() as connection:
        ring_all(connection)
    run = writer.claim(id_)
    assert run is not None
    return run


@contextmanager
def ledger_connection() -> Iterator[Connection]:
    from services.core import db

    with db.open_connection(get_settings()) as connection:
        yield connection


def until(condition: object, seconds: float = 10) -> None:
    """Wait until it holds."""
    began = time.monotonic()
    while not condition():  # type: ignore[operator]
        assert time.monotonic() - began < seconds
        time.sleep(0.02)


def test_an_ending_that_cannot_be_stored_fails_its_own_job_and_no_other(writer: LedgerWriter, merchant: UUID) -> None:
    runs = [claimed(writer, merchant) for _ in range(6)]
    for number, run in enumerate(runs):
        result = '{"name": "\\u0000"}' if number == 3 else '{"ok": true}'
        writer.end(run, Ending(run.id, run.claim.claims, "succeeded", "done", result=result))
    until(lambda: row(runs[5].id, "state") == ("succeeded",))
    until(lambda: row(runs[3].id, "state") != ("running",))
    assert [row(run.id, "state")[0] for run in runs] == ["succeeded"] * 3 + ["failed"] + ["succeeded"] * 2
    assert row(runs[3].id, "error_code") == ("result_invalid",)
    after = claimed(writer, merchant)  # the process works on
    writer.end(after, Ending(after.id, after.claim.claims, "succeeded", "done"))
    until(lambda: row(after.id, "state") == ("succeeded",))


def test_a_progress_note_that_cannot_be_stored_costs_nobody_a_lease(writer: LedgerWriter, merchant: UUID) -> None:
    noisy, healthy = claimed(writer, merchant), claimed(writer, merchant)
    end = time.monotonic() + 4.5
    while time.monotonic() < end:
        noisy.progress(1, 2, "clean\x00ed")
        noisy.progress_report = (1, 2, "bad\x00note")  # as a bug would
        time.sleep(0.2)
    with ledger_connection() as connection:
        held = {run.id: run.claim.claims for run in (noisy, healthy)}
        assert ledger.renew(connection, held, lease_seconds=3).done == set(held)
        left = connection.execute(
            "SELECT count(*) FROM jobs WHERE id = ANY(%s) AND lease_until > clock_timestamp()", (list(held),)
        ).fetchone()
    assert left == (2,)
    for run in (noisy, healthy):
        writer.end(run, Ending(run.id, run.claim.claims, "succeeded", "done"))
    until(lambda: row(healthy.id, "state") == ("succeeded",))


def test_two_bells_at_once_start_a_job_once(
    writer: LedgerWriter, merchant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ledger.claim

    def slow(*arguments: object, **options: object) -> object:
        time.sleep(0.1)
        return real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(ledger_writer.ledger, "claim", slow)
    id_ = put(merchant)
    with ledger_connection() as connection:
        ring_all(connection)
    answers: list[Run | None] = []
    threads = [threading.Thread(target=lambda: answers.append(writer.claim(id_))) for _ in range(3)]
    for thread in threads:
        thread.start()
        time.sleep(0.03)
    for thread in threads:
        thread.join(5)
    [run] = [answer for answer in answers if answer is not None]
    assert len(answers) == 3
    assert row(id_, "claims") == (1,)
    writer.end(run, Ending(id_, run.claim.claims, "succeeded", "done"))
    until(lambda: row(id_, "state") == ("succeeded",))


def test_a_row_that_somebody_holds_stops_nobody_else(writer: LedgerWriter, merchant: UUID) -> None:
    """A frozen transaction on one job's row, for longer than a lease: it is not lost, and no other job waits for it."""
    stuck, healthy = claimed(writer, merchant), claimed(writer, merchant)
    rung, free = put(merchant), put(merchant)
    with ledger_connection() as blocker:
        ring_all(blocker)
        blocker.execute("BEGIN")
        blocker.execute("SELECT FROM jobs WHERE id = ANY(%s) FOR UPDATE", ([stuck.id, rung],))
        answers: list[Run | None] = []
        waiting = threading.Thread(target=lambda: answers.append(writer.claim(rung)))
        waiting.start()
        began = time.monotonic()
        other = writer.claim(free)
        assert other is not None
        writer.end(other, Ending(free, other.claim.claims, "succeeded", "done"))
        until(lambda: row(free, "state") == ("succeeded",), seconds=2)
        assert time.monotonic() - began < 2
        time.sleep(4)  # the writer's leases are 3 s
        with ledger_connection() as look:
            left = look.execute("SELECT lease_until > clock_timestamp() FROM jobs WHERE id = %s", (healthy.id,))
            assert left.fetchone() == (True,)
        assert not stuck.lost
        assert not healthy.lost
        assert answers == []
        blocker.execute("ROLLBACK")
        waiting.join(5)
    [run] = [answer for answer in answers if answer is not None]
    for each in (stuck, healthy, run):
        writer.end(each, Ending(each.id, each.claim.claims, "succeeded", "done"))
    until(lambda: all(row(each.id, "state") == ("succeeded",) for each in (stuck, healthy, run)))


def test_the_last_progress_is_written_with_the_end(writer: LedgerWriter, merchant: UUID) -> None:
    run = claimed(writer, merchant)
    run.progress(4, 4, "all of it")
    writer.end(run, Ending(run.id, run.claim.claims, "succeeded", "done"))
    until(lambda: row(run.id, "state") == ("succeeded",))
    assert row(run.id, "progress_done", "progress_total", "progress_note") == (4, 4, "all of it")


# A process with a job that comes to no checkpoint and a thread that waits for a claim, told to go.
_DRAINED = """
import logging, sys, threading, time
from uuid import UUID
from services.core.settings import get_settings
from services.jobs.ledger import Claim
from services.jobs.run import Run
from workers import ledger_writer

logging.basicConfig(format="%(message)s")
ledger_writer.LAST_WORDS = 0.2
settings = get_settings().model_copy(update={"drain_seconds": 0.3, "heartbeat_seconds": 0.1})
writer = ledger_writer.LedgerWriter(settings, ending_of_timeout=None)
held = Claim(UUID(int=1), UUID(int=2), "lab_stubborn", {}, 1, 5, 1, None, None, None, None)
writer.held[held.id] = Run(held)
threading.Thread(target=writer.claim, args=(UUID(int=3),)).start()
time.sleep(0.2)
ledger_writer.drain()
time.sleep(60)
"""


def test_draining_ends_in_time_while_the_database_is_silent() -> None:
    """Half a minute late, the platform would have killed it, and its log would say that jobs went back."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"postgresql://nobody:x@127.0.0.1:{silent.getsockname()[1]}/nothing"
        ended = subprocess.run(
            [sys.executable, "-c", _DRAINED], cwd=ROOT, env={**os.environ, "DATABASE_URL": address},
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.splitlines()[-1] == (
        "drain time is over, 1 jobs left to their leases: the ledger cannot be written"
    )
    assert "heartbeat failed" not in ended.stderr  # the keeper was still at its first attempt to connect
