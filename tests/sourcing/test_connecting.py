"""Accounts at suppliers: connected, once, and where the sandbox answers. Through the API."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr
from sqlalchemy import select, text

from services.core.clock import now
from services.core.db import transaction
from services.core.settings import get_settings
from services.models import (
    Connection,
    Source,
)
from services.sourcing.accounts.connections import (
    AlreadyConnected,
    connect,
)
from services.sourcing.accounts.credentials import CredentialsUnreadable
from services.sourcing.accounts.reach import SandboxNotHere, reach
from tests.conftest import headers_for
from tests.sourcing.connecting import ALIEXPRESS, secrets_of, told, tried

PURSE = {"supplier": "bigbuy", "route": "user/purse*"}  # what a connection is tried with


def names_of(merchant):
    """Names of the merchant's connections, and of its sources: both are kept, or neither."""
    with transaction(merchant_id=merchant) as session:
        found = list(session.scalars(select(Connection.name).order_by(Connection.name)))
        assert found == list(session.scalars(select(Source.name).order_by(Source.name)))
    return found


# -- Connecting --------------------------------------------------------------------------------------------------------


def test_connecting_answers_with_what_was_checked(ask, client, key, merchant):
    answer = ask(name="My BigBuy", country="FR", rules={"stock_buffer": 2})
    assert answer.status_code == 201, answer.text
    said = answer.json()
    assert said["checked"] == ["the API key", "the wallet's balance"]
    assert said["balance"]["currency"] == "EUR"
    assert (said["state"], said["sandbox"], said["country"], said["language"]) == ("active", True, "FR", "en")
    assert (said["rules"]["stock_buffer"], said["rules"]["out_of_stock"]) == (2, "zero")
    assert said["secrets"] == {"api_key": f"…{key[-4:]}"}
    assert names_of(merchant) == ["My BigBuy"]
    with transaction(merchant_id=merchant) as session:
        assert session.scalars(select(Source.currency)).one() == "EUR"
        reached = reach(session, uuid.UUID(said["id"]))
        assert (reached.connection.secrets, reached.connection.country) == ({"api_key": key}, "FR")
    (listed,) = client.get("/api/v1/suppliers", params={"supplier": "bigbuy", "state": "active"}).json()["data"]
    assert listed == {name: said[name] for name in listed}
    assert client.get(f"/api/v1/suppliers/{said['id']}").json() == listed
    assert client.get("/api/v1/suppliers", params={"state": "disconnected"}).json()["data"] == []


def test_secrets_are_kept_encrypted_and_shown_to_nobody(ask, client, key, merchant):
    said = ask(headers={"Idempotency-Key": "one"}).json()
    with transaction(merchant_id=merchant) as session:
        tables = ("connections", "idempotency_keys", "sources")
        stored = [one for table in tables for one in session.scalars(text(f"SELECT to_jsonb(t)::text FROM {table} t"))]
        row = session.scalars(select(Connection)).one()
    assert len(stored) == 3
    assert key not in " ".join(stored)
    shown = client.get("/api/v1/suppliers").text + client.get(f"/api/v1/suppliers/{said['id']}").text
    assert key not in shown
    assert row.account_key not in shown


def test_the_encryption_key_can_be_replaced(merchant, connection, monkeypatch):
    settings = get_settings()
    old, new = settings.encryption_keys, SecretStr(Fernet.generate_key().decode())
    with transaction(merchant_id=merchant) as session:
        before = reach(session, connection).connection.secrets
        monkeypatch.setattr(settings, "encryption_keys", [new, *old])
        assert reach(session, connection).connection.secrets == before
        monkeypatch.setattr(settings, "encryption_keys", [new])
        with pytest.raises(CredentialsUnreadable):
            reach(session, connection)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"secrets": {"api_key": "wrong-key"}}, "does not accept this API key"),
        ({"secrets": {"api_key": "kéy\u0007"}}, "no API key of BigBuy's"),
        ({"supplier": "aliexpress", "secrets": ALIEXPRESS | {"access_token": "gone"}}, "access token is invalid"),
        ({"supplier": "aliexpress", "secrets": ALIEXPRESS | {"app_secret": "wrong"}}, "signature"),
    ],
)
def test_a_wrong_key_is_told_with_the_suppliers_reason_and_nothing_is_kept(ask, merchant, body, reason):
    answer = ask(**body)
    assert told(answer) == (422, "credentials_refused")
    assert reason in answer.json()["detail"]
    assert names_of(merchant) == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"supplier": "nobody"}, (404, "no_such_supplier", None)),
        ({"secrets": {}}, (422, "secrets_incomplete", "secrets.api_key")),
        ({"secrets": {"api_key": " "}}, (422, "secrets_incomplete", "secrets.api_key")),
        ({"secrets": {"api_key": "abc", "token": "x"}}, (422, "secrets_incomplete", "secrets.token")),
        ({"secrets": {"api_key": 5}}, (422, "invalid_request", "secrets.api_key")),
        ({"secrets": {"api_key": "x" * 20_001}}, (422, "invalid_request", "secrets.api_key")),
        ({"name": "a\x00b"}, (422, "invalid_request", "name")),
        ({"name": " "}, (422, "invalid_request", "name")),
        ({"country": "Spain"}, (422, "invalid_request", "country")),
        ({"currency": "XXQ"}, (422, "currency_unknown", "currency")),
        ({"rules": {"stock_buffer": -1}}, (422, "invalid_request", "rules.stock_buffer")),
        ({"surprise": 1}, (422, "invalid_request", "surprise")),
    ],
)
def test_what_cannot_be_connected(ask, key, merchant, body, expected):
    answer = ask(**body)
    assert (*told(answer), answer.json().get("param")) == expected
    assert key not in answer.text
    assert names_of(merchant) == []


@pytest.mark.parametrize("fault", ["html", "server_error", "empty", "drop"])
def test_a_supplier_that_is_away_is_a_503_and_nothing_is_kept(ask, world, merchant, fault):
    with world.fault(fault, **PURSE):
        assert told(ask()) == (503, "supplier_unavailable")
    assert names_of(merchant) == []


def test_no_transaction_is_open_while_the_supplier_is_asked(ask, world):
    holding = text("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'")
    with world.fault("latency", seconds=0.5, **PURSE), ThreadPoolExecutor() as pool:
        answer = pool.submit(ask)
        seen, until = 0, now() + timedelta(seconds=0.4)
        while now() < until:
            with transaction() as session:
                seen += session.scalars(holding).one()
        assert answer.result().status_code == 201
    assert seen == 0


# -- Once --------------------------------------------------------------------------------------------------------------


def test_the_same_key_twice_is_one_connection_even_when_the_supplier_has_gone(ask, world, merchant):
    once = {"Idempotency-Key": "connect-1"}
    first = ask(headers=once)
    with world.fault("server_error", **PURSE):
        again = ask(headers=once)
    assert again.json() == first.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    assert names_of(merchant) == ["bigbuy"]
    assert told(ask(headers=once, secrets={"api_key": "another"})) == (422, "idempotency_key_reused")


def test_an_account_is_connected_once_however_it_is_called(ask, world, merchant):
    first = ask().json()
    answer = ask(name="Other")
    assert told(answer) == (409, "already_connected")
    assert answer.json()["connection_id"] == first["id"]
    assert told(ask(secrets=secrets_of(world))) == (409, "connection_name_taken")
    assert names_of(merchant) == ["bigbuy"]


def test_of_those_who_connect_one_account_at_once_one_succeeds(world, merchant):
    tested, start = tried(world, merchant), threading.Barrier(6)

    def go(n):
        mine = replace(tested, trial=replace(tested.trial, connection_id=uuid.uuid4()))
        start.wait()
        try:
            with transaction(merchant_id=merchant) as session:
                return connect(session, mine, name=f"n{n % 2}").id
        except AlreadyConnected as error:
            return error.extra["connection_id"]

    with ThreadPoolExecutor(6) as pool:
        found = {str(id_) for id_ in pool.map(go, range(6))}
    assert len(found) == 1
    assert len(names_of(merchant)) == 1


def test_another_merchant_may_connect_the_same_account(ask, other_merchant):
    assert ask().status_code == 201
    assert ask(headers=headers_for(other_merchant)).status_code == 201


def test_a_name_that_feeds_use_is_taken(ask, client, merchant):
    assert client.post("/api/v1/sources", json={"name": "bigbuy"}).status_code == 201
    assert told(ask()) == (409, "source_name_taken")
    with transaction(merchant_id=merchant) as session:
        assert session.scalars(select(Connection)).all() == []


def test_the_source_of_a_connection_stays_while_it_is_connected(client, connection):
    (source,) = client.get("/api/v1/sources", params={"name": "bigbuy"}).json()["data"]
    url = f"/api/v1/sources/{source['id']}"
    answer = client.delete(url)
    assert (*told(answer), answer.json()["connection_id"]) == (409, "source_in_use", str(connection))
    client.delete(f"/api/v1/suppliers/{connection}")
    assert client.delete(url).status_code == 204


def test_a_viewer_may_look_and_nothing_else(client, merchant, connection):
    viewer, url = headers_for(merchant, role="viewer"), f"/api/v1/suppliers/{connection}"
    for path in (url, "/api/v1/suppliers", "/api/v1/suppliers/available"):
        assert client.get(path, headers=viewer).status_code == 200
    secrets = {"secrets": {"api_key": "x"}}
    for method, path, body in (
        ("POST", "/api/v1/suppliers/connect", {"supplier": "bigbuy", **secrets}),
        ("POST", f"{url}/credentials", secrets),
        ("PATCH", url, {"country": "FR"}),
        ("DELETE", url, None),
    ):
        assert client.request(method, path, json=body, headers=viewer).status_code == 403


# -- The sandbox -------------------------------------------------------------------------------------------------------


def test_the_sandbox_answers_only_where_it_may(ask, client, merchant, connection, monkeypatch):
    for name, value in (("mock_mode", "false"), ("sandbox_url", None)):
        with monkeypatch.context() as patch:
            patch.setattr(get_settings(), name, value)
            assert told(ask(name="x")) == (422, "sandbox_not_here")
            with transaction(merchant_id=merchant) as session, pytest.raises(SandboxNotHere):
                reach(session, connection)
            assert not any(one["sandbox"] for one in client.get("/api/v1/suppliers/available").json())


def test_where_the_sandbox_always_answers_no_supplier_is_called(ask, monkeypatch):
    monkeypatch.setattr(get_settings(), "mock_mode", "true")
    assert told(ask(sandbox=False)) == (422, "sandbox_only")
    answer = ask(sandbox=None, supplier="aliexpress", secrets=ALIEXPRESS)
    assert (answer.status_code, answer.json()["sandbox"]) == (201, True)


def test_which_suppliers_there_are(client, world):
    found = {one["name"]: one for one in client.get("/api/v1/suppliers/available").json()}
    assert {"bigbuy", "aliexpress", "aliexpress_affiliate"} <= found.keys()
    assert (found["bigbuy"]["secrets"], found["bigbuy"]["sandbox"]) == (["api_key"], True)
    assert found["bigbuy"]["about"].endswith("orders paid from a wallet.")
    assert found["bigbuy"]["capabilities"]["lists_catalogue"] is True
    assert found["aliexpress"]["capabilities"]["lists_catalogue"] is False


def test_no_feed_fills_a_suppliers_source(ask, client):
    connection_id = ask().json()["id"]
    source_id = client.get("/api/v1/sources?name=bigbuy").json()["data"][0]["id"]
    feed = {"file": ("feed.csv", "sku,title,price\nA1,Lamp,9.90\n")}
    for answer in (
        client.post("/api/v1/bulk/import", files=feed, data={"source": "bigbuy"}),
        client.patch(f"/api/v1/sources/{source_id}", json={"url": "https://93.184.215.14/feed.csv"}),
    ):
        assert (*told(answer), answer.json()["connection_id"]) == (409, "source_of_supplier", connection_id)
    # Nor once it is given up: it may come back.
    assert client.delete(f"/api/v1/suppliers/{connection_id}").status_code == 204
    assert told(client.post("/api/v1/bulk/import", files=feed, data={"source": "bigbuy"}))[1] == "source_of_supplier"
    assert client.patch(f"/api/v1/sources/{source_id}", json={"apply": "ask"}).status_code == 200
