"""What ChatGPT's Actions need, and who may come how often."""

import re

import httpx
import pytest
from starlette.testclient import TestClient

from api import gpt
from api.app import create_app
from api.cors import CHATGPT
from tests.affiliate.conftest import configured
from tests.conftest import serving, token_for

SEARCH = "/api/products/search"


def document(client) -> dict:
    """The description, as it is sent."""
    answer = client.get("/openapi-gpt.json")
    assert answer.status_code == 200
    assert len(answer.text) < 100_000
    return answer.json()


def walk(value):
    """Every object in a document."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner)


def test_the_description_keeps_to_the_limits_of_actions(proxy):
    found = document(proxy(api_url="https://api.example.com/"))
    assert found["openapi"] == "3.1.0"
    assert found["servers"] == [{"url": "https://api.example.com"}]
    operations = [one for path in found["paths"].values() for one in path.values()]
    names = [one["operationId"] for one in operations]
    assert sorted(names) == sorted(set(names)) == [
        "get_link", "get_status", "list_categories", "list_products", "make_link", "make_links", "search_products",
    ]  # fmt: skip
    for one in operations:
        assert re.fullmatch(r"\w{1,64}", one["operationId"])
        assert 0 < len(one["summary"]) <= 300
        assert 0 < len(one["description"]) <= 300
        assert one["x-openai-isConsequential"] is False
        assert all(parameter["in"] == "query" for parameter in one.get("parameters", ()))
        assert "security" not in one
    for one in walk(found):
        assert len(one.get("description") or "") <= 700
        if isinstance(reference := one.get("$ref"), str):
            assert reference.rpartition("/")[2] in found["components"]["schemas"]
    assert set(found["paths"]) == {
        SEARCH, "/api/products", "/api/categories", "/api/affiliate/links", "/api/affiliate/link", "/api/status",
    }  # fmt: skip


def test_it_says_where_it_was_asked_and_whether_a_token_is_needed(proxy):
    found = document(proxy(api_url=None, affiliate_public=False))
    assert found["servers"] == [{"url": "http://testserver"}]
    assert found["components"]["securitySchemes"] == {"bearer": {"type": "http", "scheme": "bearer"}}
    assert all(one["security"] == [{"bearer": []}] for path in found["paths"].values() for one in path.values())


def test_texts_that_are_too_long_are_cut():
    operation = {
        "operationId": "say_api_say_get", "summary": "s" * 400, "description": "d" * 400,
        "parameters": [{"in": "query", "name": "q", "description": "p" * 800}, {"in": "header", "name": "X"}],
        "responses": {"200": {}, "422": {}},
    }  # fmt: skip
    paths = {path: {"get": operation} for path in gpt.affiliate.OLDER_PATHS}
    found = gpt.described({"paths": paths, "components": {"schemas": {}}}, server="x", public=True)
    said = found["paths"][SEARCH]["get"]
    assert (len(said["summary"]), len(said["description"]), len(said["parameters"])) == (300, 300, 1)
    assert len(said["parameters"][0]["description"]) == 700
    assert list(said["responses"]) == ["200"]


@pytest.mark.parametrize("origin", CHATGPT)
def test_pages_of_chatgpt_may_call_the_proxy_and_nothing_else(origin):
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    settings = configured(cors_origins=["https://dash.example"])
    with TestClient(create_app(settings)) as client:
        allowed = client.options(SEARCH, headers=headers)
        assert allowed.headers["access-control-allow-origin"] == origin
        assert "access-control-allow-origin" in client.options("/api/v1/affiliate/link", headers=headers).headers
        elsewhere = client.options("/api/v1/products", headers=headers)
        assert "access-control-allow-origin" not in elsewhere.headers
        dashboard = {**headers, "Origin": "https://dash.example"}
        for path in (SEARCH, "/api/v1/products"):
            assert client.options(path, headers=dashboard).headers["access-control-allow-origin"] == dashboard["Origin"]
        described = client.get("/openapi-gpt.json", headers=headers)
        assert (described.json()["openapi"], described.headers["access-control-allow-origin"]) == ("3.1.0", origin)


def test_callers_are_limited_by_address_at_the_older_places_and_by_user_at_the_new_ones():
    settings = configured(rate_limits=["3/minute"], sandbox_url=None)
    with serving(create_app(settings)) as url, httpx.Client(base_url=url, trust_env=False) as client:
        before = [client.get("/api/status").status_code for _ in range(4)]
        refused = client.get("/api/categories")
        bearer = {"Authorization": f"Bearer {token_for()}"}
        assert client.get("/api/v1/affiliate/status", headers=bearer).status_code == 200
        still = client.get("/api/status", headers=bearer)
    assert (before, still.status_code) == ([200, 200, 200, 429], 429)
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.headers["ratelimit-limit"] == "3"


def test_an_operator_may_close_the_older_places(proxy):
    client = proxy(affiliate_public=False, sandbox_url=None)
    closed = client.get("/api/status")
    assert (closed.status_code, closed.json()["code"]) == (401, "missing_token")
    assert client.get("/api/status", headers={"Authorization": f"Bearer {token_for()}"}).status_code == 200


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("testclient", "testclient"),
    ],
)
def test_an_address_is_a_subscriber(host, origin):
    from api.gate import _origin

    assert _origin({"client": (host, 1)}) == origin
