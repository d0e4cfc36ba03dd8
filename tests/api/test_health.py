"""Alive, ready, measured."""

import uuid

import httpx
import pytest
from sqlalchemy import text

from api.health import SCRAPE_CACHE_SECONDS
from services.core.db import transaction
from services.jobs.vitals import newest_schema, unconsumed_queues, vitals
from tests.api.conftest import probe_app
from tests.conftest import make_merchant, serving

ADD_JOBS = text("""
INSERT INTO jobs (id, merchant_id, kind, queue, args, state, priority, queued_at, rung_at, lease_until, run_at)
SELECT gen_random_uuid(), :merchant, 'vitals', :queue, '{}', :state, :priority,
    CASE WHEN :state = 'scheduled' THEN NULL ELSE now() - make_interval(secs => :age) END,
    CASE WHEN :rung THEN now() END, CASE WHEN :state = 'running' THEN now() + interval '1 hour' END, now()
FROM generate_series(1, :count)
""")


def add(session, queue="sync", *, state="queued", count=1, age=0.0, priority=0, rung=False, merchant=None):
    """Jobs in a state."""
    session.execute(
        ADD_JOBS,
        {
            "merchant": merchant or make_merchant(),
            "queue": queue,
            "state": state,
            "count": count,
            "age": age,
            "priority": priority,
            "rung": rung or state == "running",
        },
    )


@pytest.fixture
def ledger():
    """A transaction of the ledger role on an empty ledger, rolled back at the end."""
    with transaction(role="shopopti_ledger") as session:
        session.execute(text("DELETE FROM jobs"))
        session.execute(text("DELETE FROM job_totals"))
        session.execute(text("DELETE FROM processes"))
        yield session
        session.rollback()


def test_alive(anonymous):
    assert anonymous.get("/health").json() == {"status": "ok"}


def test_ready_says_what_is_missing(anonymous):
    with transaction(role="shopopti_ledger") as session:
        session.execute(text("UPDATE queues SET consumed_at = now()"))
    ready = anonymous.get("/ready")
    assert ready.status_code == 200, ready.text
    assert ready.json()["ready"] is True
    with transaction(role="shopopti_ledger") as session:
        session.execute(text("UPDATE queues SET consumed_at = now() - interval '61 seconds' WHERE name = 'sync'"))
        session.execute(text("UPDATE queues SET consumed_at = NULL WHERE name = 'ai'"))
    ready = anonymous.get("/ready")
    assert ready.status_code == 503
    body = ready.json()
    assert body["ready"] is False
    assert body["checks"]["queues"] == {"ok": False, "not_consumed": ["ai", "sync"]}
    assert body["checks"]["migrations"] == {"ok": True, "at": newest_schema(), "newest": newest_schema()}


def test_a_queue_in_which_something_runs_is_being_consumed(ledger):
    ledger.execute(text("UPDATE queues SET consumed_at = NULL"))
    add(ledger, "import", state="running")
    assert "import" not in unconsumed_queues(ledger)
    ledger.execute(text("UPDATE jobs SET lease_until = now() - interval '1 second'"))
    assert "import" in unconsumed_queues(ledger)


def test_a_schema_that_is_behind_is_not_ready(anonymous, monkeypatch):
    monkeypatch.setattr("api.health.newest_schema", lambda: "9999")
    checks = anonymous.get("/ready").json()["checks"]
    assert checks["migrations"] == {"ok": False, "at": newest_schema(), "newest": "9999"}


def test_depth_age_and_running_by_queue(ledger):
    here, there = make_merchant(), make_merchant()
    add(ledger, count=3, age=10, merchant=here)
    add(ledger, count=2, age=300, priority=-5, merchant=here)
    add(ledger, count=1, age=50, priority=9, merchant=there)
    add(ledger, count=2, age=20, rung=True)
    add(ledger, count=4, state="running")
    add(ledger, "ai", count=1, age=1000, rung=True)
    add(ledger, "import", count=7, state="scheduled")
    found = vitals(ledger)
    assert (found.queues["sync"].depth, found.queues["sync"].running) == (8, 4)
    assert found.queues["sync"].oldest_seconds == pytest.approx(300, abs=10)
    assert (found.queues["ai"].depth, found.queues["ai"].running) == (1, 0)
    assert found.queues["ai"].oldest_seconds == pytest.approx(1000, abs=10)
    assert (found.queues["import"].depth, found.queues["import"].oldest_seconds) == (0, 0)
    assert found.scheduled == 7


def test_metrics(monkeypatch):
    kind = f"kind_{uuid.uuid4().hex[:8]}"
    with transaction(role="shopopti_ledger") as session:
        session.execute(
            text("""INSERT INTO job_totals (kind, queue, state, reason, bucket, jobs) VALUES
                (:kind, 'sync', 'succeeded', 'done', 92, 3), (:kind, 'sync', 'succeeded', 'done', 138, 2),
                (:kind, 'sync', 'failed', 'poisoned', 92, 1), (:kind, 'sync', 'queued', 'rescued', 92, 5),
                (:kind, 'sync', 'cancelled', 'cancel_requested', -1, 4)"""),
            {"kind": kind},
        )
        session.execute(
            text("INSERT INTO processes (id, role, lag_seconds) VALUES (:kind, 'relay', 0.25)"), {"kind": kind}
        )
    monkeypatch.setattr("api.health.SCRAPE_CACHE_SECONDS", -1)
    with serving(probe_app()) as url:
        response = httpx.get(f"{url}/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    lines = response.text.splitlines()
    for line in (
        'shopopti_queue_depth{queue="webhooks"} 0.0',
        f'shopopti_jobs_ended_total{{kind="{kind}",queue="sync",reason="done",state="succeeded"}} 5.0',
        f'shopopti_jobs_ended_total{{kind="{kind}",queue="sync",reason="cancel_requested",state="cancelled"}} 4.0',
        f'shopopti_job_duration_seconds_bucket{{kind="{kind}",le="0.05"}} 0.0',
        f'shopopti_job_duration_seconds_bucket{{kind="{kind}",le="0.1"}} 4.0',
        f'shopopti_job_duration_seconds_bucket{{kind="{kind}",le="1.0"}} 6.0',
        f'shopopti_job_duration_seconds_bucket{{kind="{kind}",le="+Inf"}} 6.0',
        f'shopopti_job_duration_seconds_count{{kind="{kind}"}} 6.0',
    ):
        assert line in lines
    assert any(line.startswith('shopopti_process_lag_seconds{role="relay"}') for line in lines)
    assert any(line.startswith("shopopti_jobs_scheduled ") for line in lines)
    rescues = next(line for line in lines if line.startswith("shopopti_lease_rescues_total"))
    assert float(rescues.split()[1]) >= 6


def test_scrapes_are_cached(anonymous):
    assert SCRAPE_CACHE_SECONDS >= 1
    name = f"q{uuid.uuid4().hex[:8]}"
    anonymous.get("/metrics")
    with transaction(role="shopopti_ledger") as session:
        session.execute(text("INSERT INTO queues (name) VALUES (:name)"), {"name": name})
    try:
        assert name not in anonymous.get("/metrics").text
    finally:
        with transaction(role="shopopti_ledger") as session:
            session.execute(text("DELETE FROM queues WHERE name = :name"), {"name": name})


def test_metrics_may_ask_for_a_token():
    from pydantic import SecretStr

    with serving(probe_app(metrics_token=SecretStr("s3cret"))) as url:
        assert httpx.get(f"{url}/metrics").status_code == 401
        assert httpx.get(f"{url}/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert httpx.get(f"{url}/metrics", headers={"Authorization": "Bearer s3cret"}).status_code == 200
