"""Consent and its way back over HTTP, against the sandbox's AliExpress."""

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
from sqlalchemy import text

from services.core.db import transaction
from services.imports.sources import create_source
from services.models import Connection
from services.sourcing.accounts import credentials
from services.sourcing.accounts.reach import reach
from tests.conftest import headers_for, make_merchant

PATH = "/api/v1/aliexpress"
CALLBACK = f"{PATH}/callback"


def consent(client: Any, **body: Any) -> dict[str, str]:
    """The parameters that AliExpress sends the browser back with."""
    asked = client.post(f"{PATH}/oauth/url", json=body)
    assert asked.status_code == 200, asked.text
    assert asked.json()["sandbox"] is True
    page = httpx.get(asked.json()["url"], trust_env=False)
    assert page.status_code == 302, page.text
    back = urlsplit(page.headers["location"])
    assert back.path == CALLBACK
    return dict(parse_qsl(back.query))


def come_back(client: Any, given: dict[str, str], **headers: str) -> httpx.Response:
    """The browser at the callback: it has no token."""
    return client.get(CALLBACK, params=given, headers={"Authorization": "", **headers}, follow_redirects=False)


def row_of(merchant: uuid.UUID) -> Connection:
    """The merchant's only connection."""
    with transaction(merchant_id=merchant) as session:
        found = session.query(Connection).filter_by(merchant_id=merchant).one()
        assert found.secrets is not None  # it is loaded while the session lives
        return found


def granted(world: Any) -> int:
    """How often the sandbox gave tokens."""
    return len(world.ask("GET", "ledger?supplier=aliexpress&effect=tokens_issued")["data"])


def test_an_account_is_connected_by_its_owners_consent(client, merchant, world):
    body = {"name": "my aliexpress", "country": "FR", "language": "fr"}
    answer = come_back(client, consent(client, **body), accept="text/html")
    assert answer.status_code == 200, answer.text
    assert "my aliexpress (buyer@example.com)" in answer.text
    assert (answer.headers["referrer-policy"], answer.headers["cache-control"]) == ("no-referrer", "no-store")
    status = client.get(f"{PATH}/status").json()
    (access,) = status["connections"]
    assert (access["state"], access["name"], access["account"]) == ("active", "my aliexpress", "buyer@example.com")
    assert (access["sandbox"], access["renewable"], access["problem"]) == (True, True, None)
    assert access["token_expires_at"] < access["refresh_expires_at"]
    row = row_of(merchant)
    secrets = credentials.read(row)
    assert set(secrets) == {"app_key", "app_secret", "access_token", "refresh_token"}
    with transaction(merchant_id=merchant) as session:
        stored = session.execute(text("SELECT to_jsonb(c)::text FROM connections c")).scalar_one()
    for secret in (secrets["access_token"], secrets["refresh_token"]):
        assert secret not in json.dumps(status)
        assert secret not in stored
    with transaction(merchant_id=merchant) as session:
        reached = reach(session, row.id)
    assert reached.adapter.who_am_i(reached.connection).checked
    assert (reached.connection.country, reached.connection.language) == ("FR", "fr")


def test_a_state_serves_once_for_whoever_it_was_made(client, merchant, world):
    given = consent(client)
    state = given["state"]
    other = consent(client)["state"]
    theirs = make_merchant()
    stranger = client.post(f"{PATH}/oauth/url", json={}, headers=headers_for(theirs)).json()["url"]
    strangers = dict(parse_qsl(urlsplit(stranger).query))["state"]
    # A merchant's name before somebody else's secret is no state of either.
    mixed = f"{strangers.partition('.')[0]}.{state.partition('.')[2]}"
    for wrong in ("", "x", "x.y", mixed, state[:-1], state + "A", "é.x", "." * 300, f"{state.partition('.')[0]}."):
        answer = come_back(client, {**given, "state": wrong})
        assert (answer.status_code, answer.json()["code"]) == (400, "consent_state_invalid"), wrong
    assert granted(world) == 0
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: come_back(client, given).status_code, range(4)))
    assert sorted(answers) == [200, 400, 400, 400]
    assert granted(world) == 1
    with transaction(merchant_id=merchant) as session:
        session.execute(text("UPDATE oauth_states SET expires_at = now() - interval '1 second' WHERE used_at IS NULL"))
        (kept,) = session.execute(text("SELECT count(*) FROM oauth_states WHERE digest = :it"), {"it": other}).one()
        assert kept == 0  # the digest is kept, and not the state
    assert come_back(client, {**given, "state": other}).status_code == 400
    page = come_back(client, {"state": other}, accept="text/html")
    assert (page.status_code, page.headers["content-type"]) == (400, "text/html; charset=utf-8")


def test_no_consent_no_code_no_member_no_connection(client, merchant, world):
    denied = come_back(client, {"state": consent(client)["state"], "error": "access_denied", "sp": "ae"})
    assert (denied.status_code, denied.json()["code"]) == (400, "consent_refused")
    refused = come_back(client, {**consent(client), "code": "3_12345678_invented"})
    assert (refused.status_code, refused.json()["code"]) == (422, "code_refused")
    given = consent(client)
    with transaction(merchant_id=merchant) as session:
        session.execute(text("UPDATE members SET role = 'viewer'"))
    gone = come_back(client, given)
    assert (gone.status_code, gone.json()["code"]) == (400, "consent_state_invalid")
    assert granted(world) == 0
    with transaction(merchant_id=merchant) as session:
        assert session.query(Connection).count() == 0
    for method in ("POST", "GET"):
        looks_only = client.request(method, f"{PATH}/oauth/url", json={} if method == "POST" else None)
        assert (looks_only.status_code, looks_only.json()["code"]) == (403, "read_only_role")


def test_the_same_account_again_renews_its_connection(client, merchant, world):
    assert come_back(client, consent(client)).status_code == 200
    before = row_of(merchant)
    with transaction(merchant_id=merchant) as session:
        session.get_one(Connection, before.id).state = "reconnect_needed"
    assert come_back(client, consent(client, name="another name")).status_code == 200
    after = row_of(merchant)
    assert (after.id, after.state, after.name) == (before.id, "active", "aliexpress")
    assert after.secrets_version == before.secrets_version + 1
    assert come_back(client, consent(client, connection_id=str(after.id))).status_code == 200
    assert row_of(merchant).secrets_version == before.secrets_version + 2
    world.ask("PATCH", "aliexpress/settings", {"refresh_seconds": 0})
    assert come_back(client, consent(client)).status_code == 200
    assert "refresh_token" not in credentials.read(row_of(merchant))
    theirs = client.post(
        f"{PATH}/oauth/url", json={"connection_id": str(after.id)}, headers=headers_for(make_merchant())
    )
    assert (theirs.status_code, theirs.json()["code"]) == (404, "connection_not_found")


def test_an_account_that_nobody_named_takes_a_free_name(client, merchant, world):
    with transaction(merchant_id=merchant) as session:
        create_source(session, merchant_id=merchant, name="aliexpress")
    for account in ("one", "two"):
        given = consent(client)
        with transaction(merchant_id=merchant) as session:  # the sandbox has one buyer: make the one before another
            session.execute(text("UPDATE connections SET account_key = account_key || :it"), {"it": account})
        assert come_back(client, given).status_code == 200
    named = [one["name"] for one in client.get(f"{PATH}/status").json()["connections"]]
    assert named == ["aliexpress 3", "aliexpress 2"]
    with transaction(merchant_id=merchant) as session:
        session.execute(text("UPDATE connections SET account_key = account_key || 'x'"))
    taken = come_back(client, consent(client, name="aliexpress 2"))
    assert (taken.status_code, taken.json()["code"]) == (409, "connection_name_taken")


def test_a_code_is_exchanged_by_hand_once(client, merchant, world):
    code = consent(client)["code"]
    bad = client.post(f"{PATH}/oauth/token", json={"code": "3_12345678_invented"})
    assert (bad.status_code, bad.json()["code"], bad.json()["param"]) == (422, "code_refused", "code")
    key = {"Idempotency-Key": uuid.uuid4().hex}
    made = client.post(f"{PATH}/oauth/token", json={"code": code, "name": "by hand"}, headers=key)
    assert made.status_code == 201, made.text
    assert made.json()["name"] == "by hand"
    again = client.post(f"{PATH}/oauth/token", json={"code": code, "name": "by hand"}, headers=key)
    assert (again.json(), again.headers["idempotent-replayed"]) == (made.json(), "true")
    assert granted(world) == 1
    assert client.post(f"{PATH}/oauth/token", json={"code": code}).json()["code"] == "code_refused"


def test_the_browser_goes_back_to_a_dashboard_and_nowhere_else(client, merchant, world, settings, monkeypatch):
    monkeypatch.setattr(settings, "cors_origins", ["https://app.example.com"])
    for elsewhere in ("https://evil.example/", "https://app.example.com.evil.example/", "//app.example.com/x",
                      "https://app.example.com@evil.example/", "javascript:alert(1)"):  # fmt: skip
        answer = client.post(f"{PATH}/oauth/url", json={"return_to": elsewhere})
        assert (answer.status_code, answer.json()["code"]) == (422, "return_not_allowed"), elsewhere
    home = "https://app.example.com/suppliers?tab=1#x"
    answer = come_back(client, consent(client, return_to=home))
    assert answer.status_code == 303
    assert answer.headers["location"] == (
        f"https://app.example.com/suppliers?tab=1&connection_id={row_of(merchant).id}#x"
    )
    denied = come_back(client, {"state": consent(client, return_to=home)["state"]})
    assert denied.headers["location"] == "https://app.example.com/suppliers?tab=1&error=consent_refused#x"


def test_where_the_consent_page_is_and_what_it_is_told(client, world, settings, monkeypatch):
    monkeypatch.setattr(settings, "aliexpress_callback_url", "https://api.example.com/api/v1/aliexpress/callback")
    monkeypatch.setattr(settings, "aliexpress_app_key", "500001")
    monkeypatch.setattr(settings, "aliexpress_app_secret", type(settings.jwt_secret)("real-secret-of-the-app"))
    answer = client.get(f"{PATH}/oauth/url", params={"name": "real"}).json()
    assert answer["sandbox"] is False
    address = urlsplit(answer["url"])
    assert f"{address.scheme}://{address.netloc}{address.path}" == "https://api-sg.aliexpress.com/oauth/authorize"
    told = dict(parse_qsl(address.query))
    assert (told["client_id"], told["response_type"]) == ("500001", "code")
    assert told["redirect_uri"] == settings.aliexpress_callback_url
    app = client.get(f"{PATH}/status").json()["app"]
    assert app == {"configured": True, "app_key": "…", "callback_url": settings.aliexpress_callback_url}
    assert client.post(f"{PATH}/oauth/url", json={"sandbox": True}).json()["url"].startswith(world.url)
    monkeypatch.setattr(settings, "aliexpress_app_key", None)
    monkeypatch.setattr(settings, "mock_mode", "false")
    nobody = client.post(f"{PATH}/oauth/url", json={})
    assert (nobody.status_code, nobody.json()["code"]) == (409, "aliexpress_app_not_set_up")
