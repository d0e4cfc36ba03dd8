"""Beat: the process that fires schedules."""

import logging
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.exc import OperationalError

from services.core import db
from tests.conftest import ROOT
from tests.jobs.conftest import owner
from tests.jobs.test_schedules import _no_schedules, due_at, jobs_of, make  # noqa: F401  # the fixture works by name
from workers.app import app
from workers.beat import LedgerScheduler


def test_beat_fires_tells_that_it_lives_and_never_raises(
    merchant: UUID, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    beat = LedgerScheduler(app=app)
    id_ = make(merchant, interval_seconds=10)
    due_at(id_, datetime.now(UTC) - timedelta(seconds=3))
    assert 0 < beat.tick() <= 1
    assert [state for _, state, _ in jobs_of(id_)] == ["queued"]
    with owner() as connection:
        [(role, lag)] = connection.execute(
            "SELECT role, lag_seconds FROM processes WHERE id = %s", (beat.id,)
        ).fetchall()
    assert role == "beat"
    assert 3 <= lag < 20
    due_at(id_, datetime.now(UTC) + timedelta(seconds=0.4))
    assert 0 < beat.tick() <= 0.4
    due_at(id_, datetime.now(UTC) + timedelta(hours=1))

    strange = make(merchant)  # of another release: told once, and then left alone for a while
    due_at(strange, datetime.now(UTC), args='{"m": 1}')
    with caplog.at_level(logging.WARNING, logger="services.jobs.schedules"):
        beat.tick()
        assert beat.tick() > 0.1
    assert [record.getMessage() for record in caplog.records if str(strange) in record.getMessage()] == [
        f"schedule {strange} is left to a release that understands it: args.m: Extra inputs are not permitted"
    ]

    away = db.get_engine()
    monkeypatch.setattr(type(away), "connect", _refuse)
    assert beat.tick() == 1.0
    monkeypatch.undo()
    due_at(id_, datetime.now(UTC))
    beat.tick()
    assert len(jobs_of(id_)) == 2
    beat.close()
    assert "producer" not in vars(beat)  # the broker was never asked
    assert "connection" not in vars(beat)


def _refuse(*_: Any, **__: Any) -> None:
    raise OperationalError("SELECT 1", {}, Exception("connection refused"))


def test_the_beat_process_needs_no_redis_and_outlives_its_connections(merchant: UUID, tmp_path: Path) -> None:
    id_ = make(merchant, interval_seconds=10, overlap="queue")
    environment = {
        **os.environ, "REDIS_URL": "redis://127.0.0.1:1/0", "EXTRA_TASK_MODULES": "tests.jobs.test_schedules",
        "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    with (tmp_path / "log").open("wb") as log:
        beat = subprocess.Popen(
            [sys.executable, "-m", "workers", "beat", "--pidfile="],
            cwd=tmp_path, env=environment, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        for fired in (1, 2):
            due_at(id_, datetime.now(UTC))
            deadline = time.monotonic() + 60
            while len(jobs_of(id_)) < fired:
                assert beat.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.05)
            with owner() as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            db.get_engine().dispose()
        with owner() as connection:
            assert connection.execute(
                "SELECT count(*) FROM processes WHERE role = 'beat' AND id LIKE %s", (f"%:{beat.pid}:%",)
            ).fetchone() == (1,)
        beat.terminate()
        assert beat.wait(20) == 0
    finally:
        beat.kill()
        beat.wait()
    assert [path.name for path in tmp_path.iterdir()] == ["log"]  # no schedule file
