"""Who answers: AliExpress, the sandbox in its place, or nobody. The label is never wrong."""

import socket

import pytest
from pydantic import SecretStr

from services.core.memory import memory
from tests.affiliate.conftest import asked, configured, real
from tests.suppliers.canned import Says

SEARCH = "/api/products/search"
ITEM = "https://www.aliexpress.com/item/1005006000000001.html"
SYNC = "POST /sync"


def nowhere() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return f"http://127.0.0.1:{closed.getsockname()[1]}"


def test_credentials_are_used_where_there_are_some(proxy, world):
    client = proxy(**real(world), sandbox_url=nowhere())
    answer = client.post(SEARCH, json={}).json()
    metadata = answer["metadata"]
    assert (metadata["mock_mode"], metadata["api_integration"], metadata["has_real_credentials"]) == (
        False, "aliexpress", True,
    )  # fmt: skip
    assert asked(world)[0]["tracking_id"] == "shop-1"


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({}, "SANDBOX_URL"),
        ({"mock_mode": "true"}, "SANDBOX_URL"),
        ({"mock_mode": "false", "sandbox_url": "http://127.0.0.1:9"}, "ALIEXPRESS_APP_KEY"),
        ({"aliexpress_app_key": "1"}, "ALIEXPRESS_APP_SECRET"),
    ],
)
def test_without_anyone_to_ask_it_says_what_to_set(proxy, changes, missing):
    client = proxy(**{"sandbox_url": None, **changes})
    for answer in (client.post(SEARCH, json={}), client.get("/api/categories"), client.get("/api/products")):
        assert (answer.status_code, answer.json()["code"]) == (409, "affiliate_not_set_up")
        assert missing in answer.json()["detail"]


def test_links_need_somebody_they_earn_for(proxy, world):
    answer = proxy(**real(world, aliexpress_tracking_id=None)).get("/api/affiliate/link", params={"url": ITEM})
    assert (answer.status_code, answer.json()["code"]) == (409, "affiliate_not_set_up")
    assert "ALIEXPRESS_TRACKING_ID" in answer.json()["detail"]


FAILURES = [
    (Says("<html>gateway</html>"), 503, "affiliate_away"),
    (Says("boom", status=500), 503, "affiliate_away"),
    (Says(cut=3, body="{}" * 40), 503, "affiliate_away"),
    (
        {"error_response": {"type": "ISV", "code": "ApiCallLimit", "request_id": "1",
                            "msg": "Api access frequency exceeds the limit. this ban will last 7 seconds"}},
        429, "affiliate_over_quota",
    ),
    (
        {"error_response": {"type": "ISV", "code": "IncompleteSignature", "request_id": "1", "msg": "bad"}},
        503, "affiliate_refused",
    ),
    (
        {"error_response": {"type": "ISV", "code": "InsufficientPermission", "request_id": "1", "msg": "no"}},
        503, "affiliate_refused",
    ),
]  # fmt: skip


@pytest.mark.parametrize("failure", FAILURES, ids=range(len(FAILURES)))
def test_what_fails_is_an_error_unless_the_sandbox_may_stand_in(proxy, world, canned, failure):
    said, status, code = failure
    canned.on(SYNC, said)
    there = real(world, affiliate_gateway=canned.url, sandbox_url=world.url)
    answer = proxy(**there).post(SEARCH, json={})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert int(answer.headers["retry-after"]) >= (8 if code == "affiliate_over_quota" else 1)
    assert asked(world) == []
    settings = configured(**there, mock_fallback=True, redis_prefix=f"{code}{status}{canned.url}:")
    stood_in = proxy(**settings.model_dump(exclude={"aliexpress_app_secret"}), aliexpress_app_secret=SecretStr("x"))
    answer = stood_in.post(SEARCH, json={})
    metadata = answer.json()["metadata"]
    assert (answer.status_code, metadata["mock_mode"], metadata["api_integration"]) == (200, True, "sandbox_fallback")
    assert metadata["has_real_credentials"] is True
    assert metadata["instead_of"].startswith("AliExpress: ")
    # What the sandbox said is nowhere that a real answer would be looked for.
    kept = memory(settings).ask(lambda redis: list(redis.scan_iter(match=f"{settings.redis_prefix}affiliate:*")))
    assert [key for key in kept if ":sandbox:" in key]
    assert not [key for key in kept if ":real:" in key and ":failed" not in key]
    never = proxy(**there, mock_mode="false", mock_fallback=True).post(SEARCH, json={})
    assert never.status_code == status


def test_a_request_that_is_refused_is_the_callers_to_mend(proxy, world, canned):
    refused = {"type": "ISV", "code": "InvalidParameter", "request_id": "1", "msg": "category_ids is invalid"}
    canned.on(SYNC, {"error_response": refused})
    client = proxy(**real(world, affiliate_gateway=canned.url, sandbox_url=world.url, mock_fallback=True))
    answer = client.post(SEARCH, json={})
    assert (answer.status_code, answer.json()["code"]) == (422, "affiliate_request_refused")
    assert asked(world) == []


def test_mock_mode_true_leaves_aliexpress_alone(proxy, world, canned):
    client = proxy(**real(world, affiliate_gateway=canned.url, sandbox_url=world.url, mock_mode="true"))
    metadata = client.post(SEARCH, json={}).json()["metadata"]
    assert (metadata["mock_mode"], metadata["api_integration"]) == (True, "sandbox")
    assert canned.asked == []


def test_an_account_that_was_pasted_with_its_line_end_still_signs(monkeypatch):
    from services.core.settings import Settings

    monkeypatch.setenv("ALIEXPRESS_APP_KEY", "87654321\r\n")
    monkeypatch.setenv("ALIEXPRESS_APP_SECRET", " helloworld\n")
    settings = Settings()
    assert settings.aliexpress_app_key == "87654321"
    assert settings.aliexpress_app_secret == SecretStr("helloworld")
