"""Whatever goes wrong, the answer is a problem document that says what a caller can do, and nothing of the inside."""

import concurrent.futures
import json
import socket
import uuid

import httpx
import pytest
from sqlalchemy import text

from services.core.db import transaction
from tests.api.conftest import probe_app
from tests.conftest import headers_for, serving


def problem(response: httpx.Response, status: int, code: str) -> dict:
    """The body, after a look at everything all problems share."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == status
    assert body["code"] == code
    assert body["type"] == f"urn:shopopti:problem:{code}"
    assert body["title"]
    assert body["detail"]
    assert body["request_id"] == response.headers["x-request-id"]
    return body


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"name": ""}, "name"),
        ({}, "name"),
        ({"name": 7}, "name"),
        ({"name": "x", "lines": [1, "two"]}, "lines.1"),
        ([], "body"),
        ({"name": "\ud800"}, "name"),
    ],
)
def test_a_malformed_body_names_the_field(probe, body, param):
    found = problem(probe.post("/api/v1/notes", content=json.dumps(body), headers=JSON), 422, "invalid_request")
    assert found["param"] == param
    assert found["errors"][0]["param"] == param
    assert found["errors"][0]["in"] == "body"


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 5000, b'{"name": NaN}', b"9" * 5000])
def test_what_is_no_json_is_a_malformed_body(probe, content):
    response = probe.post("/api/v1/notes", content=content, headers=JSON)
    assert response.status_code == 422, response.text
    assert response.json()["code"] == "invalid_request"
    assert response.json()["param"] == ("name" if b"name" in content else "body")


@pytest.mark.parametrize(
    ("query", "param"), [("limit=0", "limit"), ("limit=x", "limit"), ("limit=999", "limit"), ("after=zzz", "after")]
)
def test_a_malformed_query_names_the_parameter(probe, query, param):
    response = probe.get(f"/api/v1/notes?{query}")
    assert response.status_code == 422
    assert response.json()["param"] == param


def test_a_value_the_database_cannot_store_is_no_500(probe):
    problem(probe.post("/api/v1/notes", json={"name": "a\x00b"}), 422, "invalid_value")


def test_unknown_addresses_and_methods(probe):
    problem(probe.get("/nowhere"), 404, "route_not_found")
    problem(probe.get("/api/v1/nowhere"), 404, "route_not_found")
    response = probe.delete("/api/v1/auth/me")
    problem(response, 405, "method_not_allowed")
    assert "GET" in response.headers["allow"]


def test_a_crash_tells_nothing_of_the_inside(probe, caplog):
    response = probe.get("/api/v1/notes/boom")
    problem(response, 500, "internal")
    assert "hunter2" not in response.text
    assert "secret.py" not in response.text
    assert any("hunter2" in str(record.exc_info) for record in caplog.records)


def test_a_commit_that_fails_is_an_error_and_not_a_success(probe):
    problem(probe.get("/api/v1/notes/broken-commit"), 500, "internal")


def test_a_connection_lost_in_the_middle_is_a_503(probe):
    response = probe.get("/api/v1/notes/terminated")
    problem(response, 503, "database_away")
    assert int(response.headers["retry-after"]) >= 1
    assert probe.get("/api/v1/auth/me").status_code == 200


def test_a_database_that_is_away_is_a_503(monkeypatch, merchant):
    from services.core import db
    from services.core.settings import get_settings

    headers = headers_for(merchant)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    db.get_engine().dispose()
    db.get_engine.cache_clear()
    monkeypatch.setattr(get_settings(), "database_url", f"postgresql+psycopg://nobody:secret@127.0.0.1:{port}/nothing")
    try:
        with serving(probe_app()) as url, httpx.Client(base_url=url, headers=headers) as client:
            response = client.get("/api/v1/auth/me")
            problem(response, 503, "database_away")
            assert "secret" not in response.text
            assert int(response.headers["retry-after"]) >= 1
            assert client.get("/health").status_code == 200
            ready = client.get("/ready")
            assert ready.status_code == 503
            assert ready.json()["checks"]["database"] == {"ok": False}
            assert ready.json()["checks"]["broker"] == {"ok": True}
            assert client.get("/metrics").status_code == 503
    finally:
        db.get_engine.cache_clear()


def test_more_requests_than_connections_wait_and_are_served(probe_url, merchant):
    headers = headers_for(merchant)
    with concurrent.futures.ThreadPoolExecutor(80) as pool:
        limits = httpx.Limits(max_connections=100)
        with httpx.Client(base_url=probe_url, headers=headers, timeout=30, limits=limits) as client:
            found = list(pool.map(lambda _: client.get("/api/v1/notes/slow").status_code, range(80)))
    assert found == [200] * 80


def test_bodies_over_the_limit(probe):
    big = {"name": "x" * 20_000}
    problem(probe.post("/api/v1/notes", json=big), 413, "too_large")

    def chunks():
        yield b'{"name": "'
        for _ in range(20):
            yield b"x" * 1000
        yield b'"}'

    problem(probe.post("/api/v1/notes", content=chunks(), headers=JSON), 413, "too_large")
    problem(probe.request("GET", "/api/v1/auth/me", json={"name": "x" * 20_000}), 413, "too_large")


def test_uploads_have_a_limit_of_their_own(probe):
    assert probe.post("/api/v1/uploads", files={"file": ("a.csv", b"x" * 50_000)}).json() == {"bytes": 50_000}
    problem(probe.post("/api/v1/uploads", files={"file": ("a.csv", b"x" * 120_000)}), 413, "too_large")
    problem(probe.post("/api/v1/uploads", data={"other": "x"}), 422, "invalid_request")
    broken = {"Content-Type": "multipart/form-data; boundary=b"}
    assert probe.post("/api/v1/uploads", content=b"nonsense", headers=broken).status_code in (400, 422)


def test_request_ids_are_taken_over_when_sane(probe):
    given = str(uuid.uuid4())
    assert probe.get("/health", headers={"X-Request-Id": given}).headers["x-request-id"] == given
    for odd in ("short", "x" * 500, 'a"b<script>12345', "with spaces in it"):
        assert probe.get("/health", headers={"X-Request-Id": odd}).headers["x-request-id"] != odd


def test_the_dashboard_may_call_and_others_may_not(probe, probe_url):
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "idempotency-key"}
    good = httpx.options(f"{probe_url}/api/v1/notes", headers={"Origin": "https://dash.example", **asked})
    assert good.headers["access-control-allow-origin"] == "https://dash.example"
    bad = httpx.options(f"{probe_url}/api/v1/notes", headers={"Origin": "https://evil.example", **asked})
    assert "access-control-allow-origin" not in bad.headers
    for path in ("/api/v1/notes/boom", "/api/v1/auth/me"):
        answer = probe.get(path, headers={"Origin": "https://dash.example"})
        assert answer.headers["access-control-allow-origin"] == "https://dash.example"
        assert "X-Request-Id" in answer.headers["access-control-expose-headers"]


def test_a_transaction_is_open_only_for_those_who_ask(probe, merchant):
    assert probe.get("/api/v1/notes/early").json() == {"merchant": str(merchant)}


def test_lists_are_pages(probe, merchant):
    with transaction(merchant_id=merchant) as session:
        for number in range(5):
            session.execute(
                text("""INSERT INTO schedules (id, merchant_id, name, kind, args, interval_seconds, next_fire_at)
                        VALUES (:id, :merchant, :name, 'k', '{}', 60, now())"""),
                {"id": uuid.UUID(int=number + 1), "merchant": merchant, "name": str(number)},
            )
    first = probe.get("/api/v1/notes?limit=3").json()
    second = probe.get("/api/v1/notes", params={"limit": 3, "after": first["next"]}).json()
    assert [note["name"] for note in first["data"] + second["data"]] == ["4", "3", "2", "1", "0"]
    assert (first["has_more"], second["has_more"], second["next"]) == (True, False, None)


def test_the_documentation_is_there_and_whole(probe):
    document = probe.get("/api/openapi.json").json()
    assert "/api/v1/auth/me" in document["paths"]
    responses = document["paths"]["/api/v1/auth/me"]["get"]["responses"]
    assert responses["422"]["content"]["application/problem+json"]["schema"]["$ref"].endswith("/Problem")
    assert "application/json" not in responses["401"]["content"]
    assert document["paths"]["/api/v1/auth/me"]["get"]["security"]
    assert "Problem" in document["components"]["schemas"]
    for path in ("/api/docs", "/api/redoc"):
        assert probe.get(path).status_code == 200


def test_a_parameter_that_does_not_exist_is_refused_by_name(client):
    for address in ("/api/v1/jobs?state=failed", "/api/v1/products?brandd=x", "/api/v1/schedules?enabled=1"):
        answer = client.get(address)
        assert answer.status_code == 422, address
        assert answer.json()["code"] == "unknown_parameter"
        assert answer.json()["param"] == address.partition("?")[2].partition("=")[0]
