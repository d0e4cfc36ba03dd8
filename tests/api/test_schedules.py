"""Schedules over HTTP."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.jobs import Job
from tests.conftest import headers_for
from tests.jobs.conftest import owner

SCHEDULES = "/api/v1/schedules"


class TestNightly(Job, kind="test_api_nightly", queue="sync", schedulable=True):
    """A job for the night."""

    __test__ = False
    n: int = 0


class TestNever(Job, kind="test_api_never", queue="sync"):
    """A job for no schedule."""

    __test__ = False


BODY: dict[str, Any] = {
    "name": "Nightly stock", "kind": "test_api_nightly", "args": {"n": 7}, "cron": "30 2 * * *",
    "time_zone": "Europe/Madrid",
}  # fmt: skip


def make(client: Any, **changes: Any) -> dict[str, Any]:
    """A schedule."""
    body = {key: value for key, value in {**BODY, **changes}.items() if value is not ...}
    answer = client.post(SCHEDULES, json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_made_read_listed_and_forgotten(client):
    made = make(client)
    assert {key: made[key] for key in made if key not in ("id", "created_at", "next_fires")} == {
        "name": "Nightly stock", "kind": "test_api_nightly", "args": {"n": 7}, "cron": "30 2 * * *",
        "interval_seconds": None, "time_zone": "Europe/Madrid", "misfire": "once", "overlap": "skip",
        "enabled": True, "problem": None, "last_fire_at": None,
    }  # fmt: skip
    fires = [datetime.fromisoformat(fire) for fire in made["next_fires"]]
    assert len(fires) == 5
    assert all(fire.utcoffset() in (timedelta(hours=1), timedelta(hours=2)) for fire in fires)
    assert datetime.now(UTC) < fires[0] < datetime.now(UTC) + timedelta(days=2)
    assert fires == sorted(fires)
    assert client.get(f"{SCHEDULES}/{made['id']}").json() == made
    assert len(client.get(f"{SCHEDULES}/{made['id']}", params={"fires": 30}).json()["next_fires"]) == 30
    other = make(client, name="Hourly", cron=..., time_zone=..., interval_seconds=3600)
    assert (other["interval_seconds"], other["time_zone"]) == (3600, "UTC")
    page = client.get(SCHEDULES, params={"limit": 1}).json()
    assert ([s["id"] for s in page["data"]], page["has_more"]) == ([other["id"]], True)
    assert client.get(SCHEDULES, params={"fires": 6}).status_code == 422  # two hundred schedules' fires take seconds
    rest = client.get(SCHEDULES, params={"after": page["next"], "fires": 1}).json()["data"]
    assert [(s["id"], len(s["next_fires"])) for s in rest] == [(made["id"], 1)]
    assert client.delete(f"{SCHEDULES}/{made['id']}").status_code == 204
    for method in ("GET", "DELETE"):
        answer = client.request(method, f"{SCHEDULES}/{made['id']}")
        assert (answer.status_code, answer.json()["code"]) == (404, "schedule_not_found")


@pytest.mark.parametrize(
    ("changes", "code", "param"),
    [
        ({"cron": "30 25 * * *"}, "cron_invalid", "cron"),
        ({"cron": "* * * * * *"}, "cron_invalid", "cron"),
        ({"cron": "0 0 31 2 *"}, "cron_invalid", "cron"),
        ({"time_zone": "Europe/Atlantis"}, "time_zone_unknown", "time_zone"),
        ({"kind": "test_api_never", "args": {}}, "kind_not_schedulable", "kind"),
        ({"kind": "lost"}, "kind_not_schedulable", "kind"),
        ({"args": {"n": "many"}}, "scheduled_arguments_invalid", "args.n"),
        ({"args": {"x": 1}}, "scheduled_arguments_invalid", "args.x"),
        ({"interval_seconds": 60}, "rhythm_unclear", "cron"),
        ({"cron": ...}, "rhythm_unclear", "cron"),
        ({"cron": ..., "interval_seconds": 9}, "invalid_request", "interval_seconds"),
        ({"misfire": "twice"}, "invalid_request", "misfire"),
        ({"overlap": "twice"}, "invalid_request", "overlap"),
        ({"name": " "}, "invalid_request", "name"),
        ({"name": ...}, "invalid_request", "name"),
        ({"nmae": "x"}, "invalid_request", "nmae"),
    ],
)
def test_what_cannot_be_a_schedule(client, changes, code, param):
    body = {key: value for key, value in {**BODY, **changes}.items() if value is not ...}
    answer = client.post(SCHEDULES, json=body)
    assert (answer.status_code, answer.json()["code"], answer.json()["param"]) == (422, code, param), answer.text
    assert client.get(SCHEDULES).json()["data"] == []


def test_one_name_once_and_one_key_once(client):
    key = {"Idempotency-Key": str(uuid.uuid4())}
    first = client.post(SCHEDULES, json=BODY, headers=key)
    again = client.post(SCHEDULES, json=BODY, headers=key)
    assert (again.status_code, again.json()) == (201, first.json())
    taken = client.post(SCHEDULES, json=BODY)
    assert (taken.status_code, taken.json()["code"], taken.json()["param"]) == (409, "schedule_name_taken", "name")
    other = make(client, name="Another")
    answer = client.patch(f"{SCHEDULES}/{other['id']}", json={"name": BODY["name"]})
    assert (answer.status_code, answer.json()["code"]) == (409, "schedule_name_taken")
    assert client.get(f"{SCHEDULES}/{other['id']}").json()["name"] == "Another"


def test_changes(client):
    made = make(client)
    path = f"{SCHEDULES}/{made['id']}"
    changed = client.patch(path, json={"interval_seconds": 60, "misfire": "skip", "overlap": "queue"}).json()
    assert (changed["cron"], changed["interval_seconds"], changed["misfire"], changed["overlap"]) == (
        None, 60, "skip", "queue",
    )  # fmt: skip
    off = client.patch(path, json={"enabled": False}).json()
    assert (off["enabled"], off["next_fires"]) == (False, [])
    on = client.patch(path, json={"enabled": True, "cron": "0 0 1 1 *", "time_zone": "Asia/Tokyo"}).json()
    assert (on["enabled"], on["interval_seconds"]) == (True, None)
    assert on["next_fires"][0].endswith("-01-01T00:00:00+09:00")
    for body, code, param in (
        ({"cron": "x"}, "cron_invalid", "cron"),
        ({"cron": None}, "rhythm_unclear", "cron"),
        ({"time_zone": "x"}, "time_zone_unknown", "time_zone"),
        ({"args": {"n": []}}, "scheduled_arguments_invalid", "args.n"),
        ({"name": None}, "invalid_request", "name"),
        ({"kind": "test_api_never"}, "invalid_request", "kind"),
    ):
        answer = client.patch(path, json=body)
        assert (answer.status_code, answer.json()["code"], answer.json()["param"]) == (422, code, param)
    assert client.get(path).json() == on


def test_running_it_now(client, merchant):
    made = make(client)
    answer = client.post(f"{SCHEDULES}/{made['id']}/run-now")
    assert answer.status_code == 202
    job_id = answer.json()["job_id"]
    job = client.get(f"/api/v1/jobs/{job_id}").json()
    assert (job["kind"], job["args"], job["schedule_id"], job["fire_at"]) == (
        "test_api_nightly", {"n": 7}, made["id"], None,
    )  # fmt: skip
    assert job["request_id"] == answer.headers["X-Request-Id"]
    again = client.post(f"{SCHEDULES}/{made['id']}/run-now")
    assert (again.status_code, again.json()["code"], again.json()["job_id"]) == (
        409, "schedule_still_running", job_id,
    )  # fmt: skip
    client.post(f"/api/v1/jobs/{job_id}/cancel").raise_for_status()
    assert client.post(f"{SCHEDULES}/{made['id']}/run-now").status_code == 202


def test_someone_elses_schedule_is_not_there(client, other_merchant):
    made = make(client)
    path, stranger = f"{SCHEDULES}/{made['id']}", headers_for(other_merchant)
    for method, address, body in (
        ("GET", path, None), ("PATCH", path, {"enabled": False}), ("DELETE", path, None),
        ("POST", f"{path}/run-now", None),
    ):  # fmt: skip
        answer = client.request(method, address, json=body, headers=stranger)
        assert (answer.status_code, answer.json()["code"]) == (404, "schedule_not_found")
    assert client.get(SCHEDULES, headers=stranger).json()["data"] == []
    assert client.get(path).json() == made


def test_a_schedule_whose_kind_is_gone_says_so(client):
    made = make(client)
    with owner() as connection:
        connection.execute("UPDATE schedules SET kind = 'gone', enabled = false WHERE id = %s", (made["id"],))
    found = client.get(f"{SCHEDULES}/{made['id']}").json()
    assert found["problem"].startswith("'gone' cannot be put on a schedule")
    assert found["next_fires"] == []
    answer = client.post(f"{SCHEDULES}/{made['id']}/run-now")
    assert (answer.status_code, answer.json()["code"]) == (422, "kind_not_schedulable")
    assert client.patch(f"{SCHEDULES}/{made['id']}", json={"enabled": True}).status_code == 422


def test_viewers_look_only(client, merchant):
    made = make(client)
    viewer = headers_for(merchant, role="viewer")
    assert client.get(f"{SCHEDULES}/{made['id']}", headers=viewer).status_code == 200
    assert client.post(f"{SCHEDULES}/{made['id']}/run-now", headers=viewer).status_code == 403
    assert client.delete(f"{SCHEDULES}/{made['id']}", headers=viewer).status_code == 403
