"""Jobs over HTTP: lists, detail, stopping, retrying, bulk, statistics."""

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from services.core import db
from services.core.clock import now
from services.jobs import Job, control, dispatch, enqueue, enqueue_many, queues
from services.jobs.ledger import Ending, write_progress
from services.jobs.queries import JobFilter, select_jobs
from services.models import Job as Row
from tests.conftest import headers_for, make_merchant
from tests.jobs.conftest import TestOther, TestWork, add_up, finish, owner, put, start

JOBS = "/api/v1/jobs"


class TestSecret(Job, kind="test_api_twin", queue="ai"):
    """A third kind."""

    __test__ = False


@pytest.fixture
def ledger():
    """A kept connection."""
    with db.open_connection(db.get_settings()) as connection:
        yield connection


def fail(ledger: Any, id_: uuid.UUID, fingerprint: str = "f1", message: str = "broken") -> None:
    """Run a job into an error."""
    [claim] = start(ledger, id_)
    finish(
        ledger,
        Ending(id_, claim.claims, "failed", "failed", error_code="e", error_message=message,
               error_fingerprint=fingerprint),
    )  # fmt: skip


def succeed(ledger: Any, id_: uuid.UUID, result: dict[str, Any] | None = None) -> None:
    """Run a job to its end."""
    [claim] = start(ledger, id_)
    finish(ledger, Ending(id_, claim.claims, "succeeded", "done", result=json.dumps(result) if result else None))


def ids(answer: Any) -> list[str]:
    """Of a page."""
    assert answer.status_code == 200, answer.text
    return [job["id"] for job in answer.json()["data"]]


# -- Lists -----------------------------------------------------------------------------------------------------------


def test_pages_from_the_newest_to_the_oldest(client, merchant, other_merchant):
    mine = [str(put(merchant, TestWork(n=n))) for n in range(5)][::-1]
    put(other_merchant)
    first = client.get(JOBS, params={"limit": 2}).json()
    assert ([job["id"] for job in first["data"]], first["has_more"]) == (mine[:2], True)
    second = client.get(JOBS, params={"limit": 2, "after": first["next"]}).json()
    third = client.get(JOBS, params={"limit": 2, "after": second["next"]}).json()
    assert [job["id"] for job in second["data"] + third["data"]] == mine[2:]
    assert (third["has_more"], third["next"]) == (False, None)


def test_every_filter(client, merchant, ledger):
    work, other, child = put(merchant), put(merchant, TestOther()), None
    child = put(merchant, TestWork(n=2), parent_id=work)
    fail(ledger, other, "f7")
    for params, expected in [
        ({"status": "failed"}, [other]),
        ({"status": ["failed", "queued"]}, [child, other, work]),
        ({"status": "running"}, []),
        ({"kind": "test_other"}, [other]),
        ({"kind": ["test_other", "test_work"]}, [child, other, work]),
        ({"queue": "sync"}, [child, work]),
        ({"queue": ["sync", "orders"], "status": "queued"}, [child, work]),
        ({"parent_id": str(work)}, [child]),
        ({"parent_id": str(uuid.uuid4())}, []),
        ({"error_fingerprint": "f7"}, [other]),
        ({"error_fingerprint": "f8"}, []),
    ]:
        assert ids(client.get(JOBS, params=params)) == [str(id_) for id_ in expected], params


def test_by_time_of_creation(client, merchant):
    old, new = put(merchant), put(merchant)
    moment = now() - timedelta(days=3)
    # As retention tests would: an old job has an old id too.
    old_id = uuid.UUID(int=(int(moment.timestamp() * 1000) << 80) | (old.int & ((1 << 80) - 1)))
    with owner() as connection:
        connection.execute("UPDATE jobs SET id = %s, created_at = %s WHERE id = %s", (old_id, moment, old))
    before, after = (moment - timedelta(seconds=1)).isoformat(), (moment + timedelta(seconds=1)).isoformat()
    assert ids(client.get(JOBS, params={"created_before": after})) == [str(old_id)]
    assert ids(client.get(JOBS, params={"created_after": after})) == [str(new)]
    assert ids(client.get(JOBS, params={"created_after": before})) == [str(new), str(old_id)]
    assert ids(client.get(JOBS, params={"created_after": moment.isoformat()})) == [str(new), str(old_id)]
    assert ids(client.get(JOBS, params={"created_before": moment.isoformat()})) == []
    far = {"created_after": "0001-01-02T00:00:00Z", "created_before": "9999-12-30T00:00:00Z"}
    assert ids(client.get(JOBS, params=far)) == [str(new), str(old_id)]


@pytest.mark.parametrize(
    ("params", "code", "param"),
    [
        ({"status": "done"}, "unknown_status", "status"),
        ({"status": ["queued", "QUEUED"]}, "unknown_status", "status"),
        ({"kind": "mine_bitcoin"}, "unknown_kind", "kind"),
        ({"queue": "imports"}, "unknown_queue", "queue"),
        ({"parent_id": "x"}, "invalid_request", "parent_id"),
        ({"created_after": "yesterday"}, "invalid_request", "created_after"),
        ({"created_before": "2025-01-01T00:00:00"}, "invalid_request", "created_before"),  # whose midnight?
        ({"limit": "0"}, "invalid_request", "limit"),
        ({"after": "x"}, "invalid_cursor", "after"),
    ],
)
def test_filters_nobody_understands(client, params, code, param):
    answer = client.get(JOBS, params=params)
    assert (answer.status_code, answer.json()["code"], answer.json()["param"]) == (422, code, param)


# -- Detail ----------------------------------------------------------------------------------------------------------

INTERNAL = {"lease_until", "worker", "rung_at", "rings", "claims", "unique_key", "merchant_id", "state"}


def test_a_job_with_all_that_is_known_of_it(client, merchant, ledger):
    job_id = put(merchant, TestWork(n=3), priority=5)
    [claim] = start(ledger, job_id)
    write_progress(ledger, [(job_id, claim.claims, 10, 40, "reading")])
    running = client.get(f"{JOBS}/{job_id}").json()
    assert running["progress"] == {"done": 10, "total": 40, "note": "reading"}
    assert (running["status"], running["reason"], running["waiting"], running["attempt"]) == (
        "running", "claimed", None, 1,
    )  # fmt: skip
    finish(ledger, Ending(job_id, claim.claims, "succeeded", "done", result='{"rows": 40}'))
    job = client.get(f"{JOBS}/{job_id}").json()
    assert not INTERNAL & job.keys()
    assert {key: job[key] for key in job if not key.endswith("_at") and key != "timeline"} == {
        "id": str(job_id), "kind": "test_work", "queue": "sync", "status": "succeeded", "reason": "done",
        "priority": 5, "attempt": 1, "max_attempts": 3, "progress": {"done": 10, "total": 40, "note": "reading"},
        "error": None, "parent_id": None, "schedule_id": None, "args": {"n": 3}, "result": {"rows": 40},
        "timeout_seconds": 60, "request_id": None, "waiting": None, "children": {},
    }  # fmt: skip
    assert [(line["status"], line["reason"], line["attempt"]) for line in job["timeline"]] == [
        ("queued", "enqueued", 0), ("running", "claimed", 1), ("succeeded", "done", 1),
    ]  # fmt: skip
    assert [line["run_ms"] is None for line in job["timeline"]] == [True, True, False]
    assert job["created_at"] <= job["queued_at"] <= job["started_at"] <= job["ended_at"]
    assert all(not INTERNAL & line.keys() for line in job["timeline"])
    [listed] = client.get(JOBS).json()["data"]
    assert not {*INTERNAL, "args", "result", "timeline"} & listed.keys()
    assert listed == {key: job[key] for key in listed}


def test_a_failure_says_why(client, merchant, ledger):
    job_id = put(merchant)
    fail(ledger, job_id, "f9", "no such file")
    job = client.get(f"{JOBS}/{job_id}").json()
    assert job["error"] == {"code": "e", "message": "no such file", "fingerprint": "f9"}
    assert job["timeline"][-1]["error"] == {"code": "e", "message": "no such file", "fingerprint": None}


def test_a_waiting_job_says_why(client, merchant, ledger):
    later = now() + timedelta(hours=1)
    scheduled = put(merchant, run_at=later)
    waiting = client.get(f"{JOBS}/{scheduled}").json()["waiting"]
    assert waiting == {
        "code": "due_later",
        "detail": "It is to run later.",
        "estimated_start": later.isoformat().replace("+00:00", "Z"),
    }
    queued = put(merchant, TestSecret())
    with db.transaction(role="shopopti_ledger") as session:
        queues.pause_queue(session, name="ai", by="test", why="a test")
    try:
        waiting = client.get(f"{JOBS}/{queued}").json()["waiting"]
        assert waiting == {
            "code": "queue_paused", "detail": "The queue ai is paused: a test.", "estimated_start": None,
        }  # fmt: skip
    finally:
        with db.transaction(role="shopopti_ledger") as session:
            queues.resume_queue(session, name="ai")


def test_a_parent_counts_its_children(client, merchant, ledger):
    parent = put(merchant)
    [claim] = start(ledger, parent)
    with db.transaction(merchant_id=merchant) as session:
        good, _ = enqueue_many(session, [TestWork(), TestWork()], merchant_id=merchant, parent_id=parent)
    finish(ledger, Ending(parent, claim.claims, "succeeded", "done"))
    succeed(ledger, good)
    job = client.get(f"{JOBS}/{parent}").json()
    assert (job["status"], job["children"]) == ("waiting", {"queued": 1, "succeeded": 1})
    assert job["waiting"]["code"] == "children"


def test_someone_elses_job_is_not_there(client, merchant, other_merchant, ledger):
    theirs = put(other_merchant)
    for method, path in (("GET", ""), ("POST", "/cancel"), ("POST", "/retry")):
        for id_ in (theirs, uuid.uuid4()):
            answer = client.request(method, f"{JOBS}/{id_}{path}")
            assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")
    with owner() as connection:
        assert connection.execute("SELECT state FROM jobs WHERE id = %s", (theirs,)).fetchone() == ("queued",)
    assert client.get(f"{JOBS}/not-a-uuid").status_code == 422


# -- Acting ----------------------------------------------------------------------------------------------------------


def test_cancel_where_it_waits_where_it_runs_and_where_it_is_over(client, merchant, ledger):
    waiting = put(merchant)
    answer = client.post(f"{JOBS}/{waiting}/cancel")
    assert (answer.status_code, answer.json()["status"], answer.json()["reason"]) == (
        200, "cancelled", "cancel_requested",
    )  # fmt: skip
    again = client.post(f"{JOBS}/{waiting}/cancel")
    assert (again.status_code, again.json()["code"], again.json()["state"]) == (409, "job_already_ended", "cancelled")
    running = put(merchant)
    start(ledger, running)
    for _ in range(2):  # asking twice is asking once
        answer = client.post(f"{JOBS}/{running}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (200, "running")
        assert answer.json()["cancel_requested_at"] is not None
    done = put(merchant)
    succeed(ledger, done)
    assert client.post(f"{JOBS}/{done}/cancel").json()["state"] == "succeeded"


def test_retry_what_failed_and_nothing_else(client, merchant, ledger):
    failed = put(merchant)
    fail(ledger, failed)
    answer = client.post(f"{JOBS}/{failed}/retry")
    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["reason"], answer.json()["error"]) == (
        "queued", "retry_requested", None,
    )  # fmt: skip
    again = client.post(f"{JOBS}/{failed}/retry")
    assert (again.status_code, again.json()["code"], again.json()["state"]) == (409, "job_not_retryable", "queued")
    twin = put(merchant, unique_key="k")
    fail(ledger, twin)
    put(merchant, unique_key="k")
    assert client.post(f"{JOBS}/{twin}/retry").json()["code"] == "job_already_active"


def test_the_same_request_twice_acts_once(client, merchant, ledger):
    failed = put(merchant)
    fail(ledger, failed)
    key = {"Idempotency-Key": str(uuid.uuid4())}
    first = client.post(f"{JOBS}/{failed}/retry", headers=key)
    fail(ledger, failed)
    second = client.post(f"{JOBS}/{failed}/retry", headers=key)
    assert second.json() == first.json()
    assert second.headers["Idempotent-Replayed"] == "true"
    assert client.get(f"{JOBS}/{failed}").json()["status"] == "failed"


def test_viewers_look_but_do_not_touch(client, merchant):
    job_id = put(merchant)
    viewer = headers_for(merchant, role="viewer")
    assert client.get(f"{JOBS}/{job_id}", headers=viewer).status_code == 200
    for path, body in ((f"/{job_id}/cancel", None), ("/bulk/cancel", {"status": "queued"})):
        assert client.post(JOBS + path, json=body, headers=viewer).status_code == 403
    assert client.get(f"{JOBS}/{job_id}").json()["status"] == "queued"


def test_bulk_counts_first_and_then_acts_on_the_merchants_own(client, merchant, other_merchant, ledger):
    mine = [put(merchant) for _ in range(3)]
    theirs = put(other_merchant)
    for id_, fingerprint in zip([*mine, theirs], ["f1", "f1", "f2", "f1"], strict=True):
        fail(ledger, id_, fingerprint)
    body = {"error_fingerprint": "f1"}
    counted = client.post(f"{JOBS}/bulk/retry", json={**body, "dry_run": True})
    assert counted.json() == {"matched": 2, "changed": 0, "left": 2, "dry_run": True}
    done = client.post(f"{JOBS}/bulk/retry", json=body)
    assert done.json() == {"matched": 2, "changed": 2, "left": 0, "dry_run": False}
    assert ids(client.get(JOBS, params={"status": "queued"})) == [str(mine[1]), str(mine[0])]
    assert client.post(f"{JOBS}/bulk/cancel", json={"kind": "test_work", "dry_run": True}).json()["matched"] == 2
    assert client.post(f"{JOBS}/bulk/cancel", json={"kind": ["test_work"]}).json()["changed"] == 2
    assert client.post(f"{JOBS}/bulk/cancel", json={"kind": ["test_work"]}).json()["matched"] == 0
    with owner() as connection:
        assert connection.execute("SELECT state FROM jobs WHERE id = %s", (theirs,)).fetchone() == ("failed",)


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({}, "filter_empty", None),
        ({"dry_run": True}, "filter_empty", None),
        ({"status": []}, "filter_empty", None),
        ({"status": ["lost"]}, "unknown_status", "status"),
        ({"kind": "lost"}, "unknown_kind", "kind"),
        ({"queue": ["lost"]}, "unknown_queue", "queue"),
        ({"stauts": ["failed"]}, "invalid_request", "stauts"),
        ({"status": 7}, "invalid_request", "status"),
        ({"status": "failed", "dry_run": "perhaps"}, "invalid_request", "dry_run"),
        ([], "invalid_request", "body"),
    ],
)
def test_bulk_without_a_clear_wish_does_nothing(client, merchant, body, code, param):
    job_id = put(merchant)
    for action in ("cancel", "retry"):
        answer = client.post(f"{JOBS}/bulk/{action}", json=body)
        assert (answer.status_code, answer.json()["code"], answer.json().get("param")) == (422, code, param)
    assert client.get(f"{JOBS}/{job_id}").json()["status"] == "queued"


def test_bulk_retry_brings_back_the_newest_of_ended_twins_and_comes_to_an_end(client, merchant, ledger, monkeypatch):
    monkeypatch.setattr(control, "BULK_LIMIT", 2)
    jobs = [put(merchant)]
    fail(ledger, jobs[0])
    for _ in range(3):
        jobs.append(put(merchant, unique_key="k"))
        fail(ledger, jobs[-1])
    jobs.append(put(merchant))
    fail(ledger, jobs[-1])
    counted = client.post(f"{JOBS}/bulk/retry", json={"status": "failed", "dry_run": True}).json()
    assert (counted["matched"], counted["left"]) == (3, 3)
    answers = [client.post(f"{JOBS}/bulk/retry", json={"status": "failed"}).json() for _ in range(3)]
    assert [(answer["matched"], answer["changed"], answer["left"]) for answer in answers] == [
        (3, 2, 1), (1, 1, 0), (0, 0, 0),
    ]  # fmt: skip
    states = [client.get(f"{JOBS}/{id_}").json()["status"] for id_ in jobs]
    assert states == ["queued", "failed", "failed", "queued", "queued"]


def test_bulk_retry_of_a_parent_repeats_its_children_not_itself(client, merchant, ledger):
    parent = put(merchant)
    [claim] = start(ledger, parent)
    with db.transaction(merchant_id=merchant) as session:
        child, _ = enqueue(session, TestOther(), merchant_id=merchant, parent_id=parent)
    finish(ledger, Ending(parent, claim.claims, "succeeded", "done"))
    fail(ledger, child)
    dispatch.settle_parents(ledger)
    assert client.get(f"{JOBS}/{parent}").json()["reason"] == "children_failed"
    answer = client.post(f"{JOBS}/bulk/retry", json={"status": ["failed"]})
    assert answer.json() == {"matched": 2, "changed": 2, "left": 0, "dry_run": False}
    assert [client.get(f"{JOBS}/{id_}").json()["status"] for id_ in (parent, child)] == ["waiting", "queued"]
    succeed(ledger, child)
    dispatch.settle_parents(ledger)
    assert client.get(f"{JOBS}/{parent}").json()["status"] == "succeeded"


# -- Figures ---------------------------------------------------------------------------------------------------------


def test_the_summary_counts_and_measures(client, merchant, other_merchant, ledger):
    for _ in range(3):
        put(merchant, TestOther())
    ended = [put(merchant) for _ in range(4)]
    for id_ in ended[:3]:
        succeed(ledger, id_)
    fail(ledger, ended[3])
    succeed(ledger, put(other_merchant))
    # Durations that can be told apart: 10, 20, 30 ms and 1 s.
    with owner() as connection:
        for id_, ms in zip(ended, (10, 20, 30, 1000), strict=True):
            connection.execute("UPDATE job_events SET run_ms = %s WHERE job_id = %s AND run_ms IS NOT NULL", (ms, id_))
    put(merchant, run_at=now() + timedelta(hours=1))
    add_up(ledger)
    answer = client.get(f"{JOBS}/stats/summary", params={"window": "1h"})
    assert answer.status_code == 200, answer.text
    summary = answer.json()
    assert summary["window"] == "1h"
    assert summary["counts"] == {
        "scheduled": 1, "queued": 3, "running": 0, "waiting": 0, "succeeded": 3, "failed": 1, "cancelled": 0,
    }  # fmt: skip
    [queue] = summary["queues"]
    [kind] = summary["kinds"]
    assert (queue["queue"], queue["ended"]) == ("sync", {"succeeded": 3, "failed": 1})
    assert kind == {"kind": "test_work", **queue}
    assert kind["p50_ms"] == pytest.approx(20, rel=0.03)
    assert kind["p90_ms"] == kind["p95_ms"] == kind["p99_ms"] == pytest.approx(1000, rel=0.03)
    only = client.get(f"{JOBS}/stats/summary", params={"queue": "orders"}).json()
    assert (only["window"], only["counts"]["queued"], only["kinds"]) == ("24h", 3, [])


@pytest.mark.parametrize("params", [{"window": "2h"}, {"kind": "lost"}, {"queue": "lost"}])
def test_figures_of_nothing(client, params):
    answer = client.get(f"{JOBS}/stats/summary", params=params)
    assert (answer.status_code, answer.json()["param"]) == (422, next(iter(params)))


def test_errors_by_their_cause(client, merchant, other_merchant, ledger):
    made = [put(merchant), put(merchant, TestOther()), put(merchant)]
    for id_, fingerprint, message in zip(made, ("f1", "f1", "f2"), ("row 1", "row 2", "gone"), strict=True):
        fail(ledger, id_, fingerprint, message)
    fail(ledger, put(other_merchant), "f3")
    old = put(merchant)
    fail(ledger, old, "f4")
    with owner() as connection:
        connection.execute("UPDATE jobs SET ended_at = now() - interval '2 days' WHERE id = %s", (old,))
    groups = client.get(f"{JOBS}/errors", params={"window": "24h"}).json()["data"]
    assert [(g["fingerprint"], g["code"], g["jobs"], g["kinds"], g["sample_message"], g["sample_job_id"])
            for g in groups] == [
        ("f1", "e", 2, ["test_other", "test_work"], "row 2", str(made[1])),
        ("f2", "e", 1, ["test_work"], "gone", str(made[2])),
    ]  # fmt: skip
    assert groups[0]["first_seen"] < groups[0]["last_seen"]
    week = client.get(f"{JOBS}/errors").json()["data"]
    assert {group["fingerprint"] for group in week} == {"f1", "f2", "f4"}


def test_lists_find_their_index_at_a_hundred_thousand_jobs(merchant):
    """No filter may read the merchant's whole history, or the other merchants', for one page."""
    others = [make_merchant(), make_merchant()]
    with owner() as connection:
        connection.execute(
            "TRUNCATE jobs, job_events"
        )  # what other tests left is newer, and none of the plan's business
        connection.execute(
            """
            INSERT INTO jobs (id, merchant_id, kind, queue, args, state, ended_at, created_at)
            SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7000' || '8'
                    || substr(md5(n::text), 1, 15))::uuid, (%s::uuid[])[1 + n %% 3], 'test_work', 'sync', '{}',
                   'succeeded', at, at
            FROM (SELECT n, now() - make_interval(secs => n * 20) AS at FROM generate_series(1, 100000) n) made
            """,
            ([merchant, *others],),
        )
        connection.execute("ANALYZE jobs")
    half = now() - timedelta(days=10)
    for matching in (
        JobFilter(),
        JobFilter(created_before=half),
        JobFilter(states=("succeeded",), created_before=half),
        JobFilter(kinds=("test_work",), created_before=half),
    ):
        statement = select_jobs(matching).where(Row.merchant_id == merchant).order_by(Row.id.desc()).limit(51)
        with db.transaction(merchant_id=merchant) as session:
            asked = statement.compile(session.get_bind(), compile_kwargs={"literal_binds": True})
            [plan] = session.execute(
                text(f"EXPLAIN (ANALYZE, FORMAT JSON) {asked}".replace("::", "\\:\\:"))
            ).scalar_one()
        assert plan["Plan"]["Actual Rows"] == 51
        assert _rows_read(plan["Plan"]) < 1000, matching
    with owner() as connection:
        connection.execute("TRUNCATE jobs, job_events")


def _rows_read(plan: dict[str, Any]) -> float:
    own = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
    return max(own, *(_rows_read(child) for child in plan.get("Plans", [])), 0)


def test_moments_at_the_ends_of_time(client):
    for query in ("created_after=0001-01-01T00:00:00%2B14:00", "created_before=9999-12-31T23:59:59-14:00"):
        assert client.get(f"/api/v1/jobs?{query}").json()["data"] == []
    answer = client.post("/api/v1/jobs/bulk/cancel", json={"created_after": "0001-01-01T00:00:00Z", "dry_run": True})
    assert answer.status_code == 200, answer.text
