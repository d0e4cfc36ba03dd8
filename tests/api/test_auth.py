"""Who comes in, for which merchant, and how far."""

import concurrent.futures
import time
import uuid

import httpx
import pytest

from tests.conftest import headers_for, join_merchant, token_for


def bearer(token: str) -> dict[str, str]:
    """The header."""
    return {"Authorization": f"Bearer {token}"}


def test_a_first_visit_makes_a_merchant(anonymous):
    user = uuid.uuid4()
    first = anonymous.get("/api/v1/auth/me", headers=bearer(token_for(user, email="anna@example.com")))
    assert first.status_code == 200
    body = first.json()
    assert (body["user_id"], body["email"]) == (str(user), "anna@example.com")
    assert [(merchant["name"], merchant["role"]) for merchant in body["merchants"]] == [("anna", "owner")]
    assert anonymous.get("/api/v1/auth/me", headers=bearer(token_for(user))).json()["merchants"] == body["merchants"]


def test_first_visits_at_the_same_moment_make_one_merchant(server):
    headers = bearer(token_for(uuid.uuid4()))
    with httpx.Client(base_url=server, headers=headers) as client, concurrent.futures.ThreadPoolExecutor(10) as pool:
        found = list(pool.map(lambda _: client.get("/api/v1/auth/me"), range(10)))
    assert {response.status_code for response in found} == {200}
    assert len({response.json()["merchants"][0]["id"] for response in found}) == 1


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "missing_token"),
        ("", "missing_token"),
        ("Bearer", "missing_token"),
        ("Basic dXNlcjpwdw==", "missing_token"),
        ("Bearer nonsense", "invalid_token"),
        ("Bearer a.b.c", "invalid_token"),
        (f"Bearer {token_for(uuid.uuid4(), exp=int(time.time()) - 100)}", "token_expired"),
        (f"Bearer {token_for(uuid.uuid4(), aud='other')}", "invalid_token"),
        (f"Bearer {token_for(uuid.uuid4())[:-4]}AAAA", "invalid_token"),
    ],
)
def test_without_a_valid_token_nobody_comes_in(anonymous, header, code):
    response = anonymous.get("/api/v1/auth/me", headers={} if header is None else {"Authorization": header})
    assert response.status_code == 401
    assert response.json()["code"] == code
    assert response.headers["www-authenticate"].startswith("Bearer")


def test_addresses_below_the_gate_are_closed_even_where_there_is_no_route(anonymous):
    for method in ("GET", "POST", "DELETE"):
        assert anonymous.request(method, "/api/v1/nothing-here").status_code == 401


def test_a_token_is_looked_at_before_the_body(anonymous):
    assert anonymous.post("/api/v1/nothing-here", content=b"{").status_code == 401


def test_the_merchant_is_chosen_by_header(anonymous, merchant, other_merchant):
    user = uuid.uuid4()
    join_merchant(merchant, user, "viewer")
    headers = bearer(token_for(user))
    mine = anonymous.get("/api/v1/auth/me", headers={**headers, "X-Merchant-Id": str(merchant)})
    assert mine.json()["merchants"][0]["id"] == str(merchant)
    for strange in (other_merchant, uuid.uuid4()):
        response = anonymous.get("/api/v1/auth/me", headers={**headers, "X-Merchant-Id": str(strange)})
        assert response.status_code == 404
        assert response.json()["code"] == "merchant_not_found"
    malformed = anonymous.get("/api/v1/auth/me", headers={**headers, "X-Merchant-Id": "mine"})
    assert (malformed.status_code, malformed.json()["param"]) == (422, "X-Merchant-Id")


def test_viewers_look_and_change_nothing(probe_url, merchant):
    for role, status in (("viewer", 403), ("staff", 201), ("owner", 201)):
        with httpx.Client(base_url=probe_url, headers=headers_for(merchant, role=role)) as client:
            assert client.get("/api/v1/notes").status_code == 200
            response = client.post("/api/v1/notes", json={"name": role})
            assert response.status_code == status
            if status == 403:
                assert response.json()["code"] == "read_only_role"
                assert client.get("/api/v1/notes").json()["data"] == []
