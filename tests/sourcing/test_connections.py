"""Accounts at suppliers: connected, tested, shown, changed, and given up. Against the sandbox, through the API."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr
from sqlalchemy import delete, select, text

from services.core.clock import now
from services.core.db import transaction
from services.core.settings import get_settings
from services.models import (
    Connection,
    Intent,
    Job,
    Offer,
    OfferLink,
    OfferVariant,
    Order,
    Schedule,
    Source,
    SyncRun,
    Variant,
)
from services.sourcing.breaker import DOWN
from services.sourcing.connections import AlreadyConnected, CredentialsChanged, connect, replace_credentials
from services.sourcing.credentials import CredentialsUnreadable
from services.sourcing.reach import ConnectionDisconnected, ReconnectFirst, SandboxNotHere, reach, reconnect_needed
from services.sourcing.trials import trial_of, try_out
from tests.conftest import headers_for
from tests.imports.importing import run_feed
from tests.sourcing.connecting import ALIEXPRESS, secrets_of, tried

PURSE = {"supplier": "bigbuy", "route": "user/purse*"}  # what a connection is tried with


@pytest.fixture
def key(world):
    """An API key of the sandbox's BigBuy, this test's own."""
    return secrets_of(world)["api_key"]


@pytest.fixture
def ask(client, key):
    """`ask(**body)`: POST connect with the sandbox's BigBuy, or with what is given instead."""

    def post(**more):
        headers = more.pop("headers", {})
        body = {"supplier": "bigbuy", "secrets": {"api_key": key}, "sandbox": True, **more}
        return client.post("/api/v1/suppliers/connect", json=body, headers=headers)

    return post


def told(answer):
    """Status and code of an error."""
    return answer.status_code, answer.json().get("code")


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


# -- Changing ----------------------------------------------------------------------------------------------------------


def test_settings_are_changed_and_rules_replaced(client, connection):
    url = f"/api/v1/suppliers/{connection}"
    assert client.patch(url, json={"rules": {"stock_buffer": 3}}).json()["rules"]["stock_buffer"] == 3
    said = client.patch(url, json={"language": "es", "rules": {"preference": 1}}).json()
    assert (said["language"], said["rules"]["stock_buffer"], said["rules"]["preference"]) == ("es", 0, 1)
    for body in ({"language": None}, {"rules": None}, {"name": "x"}, {"currency": "zzz"}, {"rules": {"x": 1}}):
        assert client.patch(url, json=body).status_code == 422, body
    assert client.get(url).json() == said


def held(merchant, connection):
    """The key in use and its version."""
    with transaction(merchant_id=merchant) as session:
        reached = reach(session, connection)
    return reached.connection.secrets["api_key"], reached.secrets_version


def test_new_credentials_are_tried_before_the_old_ones_go(client, world, merchant, connection):
    url = f"/api/v1/suppliers/{connection}/credentials"
    first, version = held(merchant, connection)
    assert told(client.post(url, json={"secrets": {"api_key": "wrong"}})) == (422, "credentials_refused")
    assert held(merchant, connection) == (first, version)
    new = secrets_of(world)["api_key"]
    answer = client.post(url, json={"secrets": {"api_key": f" {new}\n"}})
    assert answer.status_code == 200, answer.text
    assert answer.json()["secrets"] == {"api_key": f"…{new[-4:]}"}
    assert held(merchant, connection) == (new, version + 1)


def test_credentials_of_another_connection_do_not_replace(client, merchant, connect):
    one, other = connect(merchant), connect(merchant, name="other")
    before = held(merchant, one)
    theirs = {"secrets": {"api_key": held(merchant, other)[0]}}
    answer = client.post(f"/api/v1/suppliers/{one}/credentials", json=theirs)
    assert told(answer) == (409, "already_connected")
    assert answer.json()["connection_id"] == str(other)
    assert held(merchant, one) == before


def test_of_two_replacements_at_once_one_is_told_so(world, merchant, connection):
    tested = []
    for secrets in (secrets_of(world), secrets_of(world)):
        with transaction(merchant_id=merchant) as session:
            trial = trial_of(session, connection, secrets)
        tested.append(try_out(trial))
    with transaction(merchant_id=merchant) as session:
        replace_credentials(session, connection, tested[0])
    with pytest.raises(CredentialsChanged), transaction(merchant_id=merchant) as session:
        replace_credentials(session, connection, tested[1])


def test_refused_secrets_stop_the_connection_unless_there_are_newer_ones(client, world, merchant, connection):
    url, (_, version) = f"/api/v1/suppliers/{connection}", held(merchant, connection)
    with transaction(merchant_id=merchant) as session:
        assert reconnect_needed(session, connection, secrets_version=version, reason="BigBuy said no.")
    said = client.get(url).json()
    assert (said["state"], said["problem"]) == ("reconnect_needed", "BigBuy said no.")
    with transaction(merchant_id=merchant) as session, pytest.raises(ReconnectFirst, match="BigBuy said no"):
        reach(session, connection)
    said = client.post(f"{url}/credentials", json={"secrets": secrets_of(world)}).json()
    assert (said["state"], said["problem"]) == ("active", None)
    # A job that still holds the old ones comes late: nothing is wrong with the new ones.
    with transaction(merchant_id=merchant) as session:
        assert not reconnect_needed(session, connection, secrets_version=version, reason="late")
    assert client.get(url).json()["state"] == "active"


def test_new_credentials_close_the_breaker_and_wake_who_waits(client, world, merchant, connection):
    waiting = Job(
        merchant_id=merchant, kind="sync_supplier_stock", queue="sync", args={"connection_id": str(connection)},
        state="scheduled", reason=DOWN, run_at=now() + timedelta(hours=1),
    )  # fmt: skip
    with transaction(merchant_id=merchant) as session:
        session.add(waiting)
        row = session.get_one(Connection, connection)
        row.failures, row.opened_at, row.retry_at = 4, now(), now() + timedelta(minutes=10)
        row.token_expires_at = now()
    url = f"/api/v1/suppliers/{connection}"
    said = client.get(f"{url}/status").json()
    assert (said["health"], said["breaker"]["state"], said["breaker"]["failures"]) == ("down", "open", 4)
    assert client.post(f"{url}/credentials", json={"secrets": secrets_of(world)}).status_code == 200
    assert client.get(f"{url}/status").json()["health"] == "ok"
    assert client.get(url).json()["token_expires_at"] is None
    with transaction(merchant_id=merchant) as session:
        assert session.get_one(Job, waiting.id).run_at <= now()


# -- Looking at one ----------------------------------------------------------------------------------------------------


def test_the_status_tells_quota_and_runs(client, world, merchant, connection):
    url, job_id = f"/api/v1/suppliers/{connection}/status", uuid.uuid4()
    with transaction(merchant_id=merchant) as session:
        parts = {"kind": "products", "mode": "full", "state": "succeeded", "finished_at": now(), "items": 7}
        session.add(SyncRun(merchant_id=merchant, connection_id=connection, job_id=job_id, **parts))
        reach(session, connection).connection.meter.take(["catalog/products"])
    said = client.get(url).json()
    assert (said["state"], said["health"], said["sandbox"], said["breaker"]["state"]) == (
        "active",
        "ok",
        True,
        "closed",
    )
    left = {one["endpoint"]: (one["left"], one["limit"], one["resets_at"] is None) for one in said["quota"]}
    assert left["catalog/products"] == (9, 10, False)
    assert left["catalog/languages"] == (10, 10, True)
    assert [one["what"] for one in said["freshness"]] == ["products", "prices", "stock"]
    assert all(one["as_of"] is None and one["within_seconds"] > 0 for one in said["freshness"])
    assert said["next_run"] is None
    (run,) = said["last_runs"]
    assert (run["job_id"], run["state"], run["items"], run["changeset_ids"]) == (str(job_id), "succeeded", 7, [])
    client.delete(f"/api/v1/suppliers/{connection}")
    said = client.get(url).json()
    assert (said["health"], said["quota"], said["freshness"]) == ("disconnected", None, None)
    assert len(said["last_runs"]) == 1


# -- Giving up ---------------------------------------------------------------------------------------------------------


def test_disconnecting_forgets_the_credentials_and_keeps_the_offers(client, world, merchant, connection):
    args = {"connection_id": str(connection)}
    rhythm = {"interval_seconds": 60, "next_fire_at": now()}
    schedule = Schedule(merchant_id=merchant, name="n", kind="sync_supplier_stock", args=args, **rhythm)
    jobs = [
        Job(merchant_id=merchant, kind="sync_supplier_stock", queue="sync", args={"connection_id": str(of)})
        for of in (connection, uuid.uuid4())
    ]
    with transaction(merchant_id=merchant) as session:
        session.add_all([schedule, *jobs])
        session.add(Offer(merchant_id=merchant, connection_id=connection, id="1", print=1))
    url = f"/api/v1/suppliers/{connection}"
    for _ in range(2):
        assert client.delete(url).status_code == 204
    said = client.get(url).json()
    assert (said["state"], said["secrets"]) == ("disconnected", {})
    with transaction(merchant_id=merchant) as session:
        assert session.scalars(text("SELECT secrets FROM connections")).one() is None
        assert session.scalars(select(Offer.id)).one() == "1"
        assert session.get_one(Schedule, schedule.id).enabled is False
        assert [session.get_one(Job, job.id).state for job in jobs] == ["cancelled", "queued"]
        with pytest.raises(ConnectionDisconnected):
            reach(session, connection)
    assert told(client.patch(url, json={"country": "FR"})) == (409, "connection_disconnected")
    again = client.post(f"{url}/credentials", json={"secrets": secrets_of(world)})
    assert told(again) == (409, "connection_disconnected")


def test_offers_and_links_go_with_what_they_belong_to(merchant, connect):
    ids = [connect(merchant, name=name) for name in ("one", "other")]
    run_feed(merchant, "SKU,Title,Price\nA1,Lamp,10.00\nA2,Chair,20.00\n")
    parts = {"merchant_id": merchant}
    with transaction(merchant_id=merchant) as session:
        first, second = session.scalars(select(Variant.id).order_by(Variant.sku))
        for of in ids:
            session.add(Offer(connection_id=of, id="1", print=1, **parts))
            session.add(OfferVariant(connection_id=of, id="v1", offer_id="1", order_ref="r", **parts))
        for of, offered, variant in ((ids[0], "v1", first), (ids[1], "v1", second), (ids[1], "v2", first)):
            session.add(OfferLink(connection_id=of, offer_variant_id=offered, variant_id=variant, how="hand", **parts))
    with transaction(merchant_id=merchant) as session:
        session.execute(delete(Variant).where(Variant.id == first))
        links = select(OfferLink.connection_id, OfferLink.offer_variant_id)
        assert session.execute(links).all() == [(ids[1], "v1")]
        session.execute(delete(Connection).where(Connection.id == ids[1]))
        assert session.execute(links).all() == []
        for table in (Offer, OfferVariant):
            assert session.scalars(select(table.connection_id)).all() == [ids[0]]


def test_what_may_have_been_ordered_is_found_out_first(client, merchant, connection):
    order = Order(merchant_id=merchant, channel="shop", external_id="1")
    with transaction(merchant_id=merchant) as session:
        session.add(order)
        session.flush()
        parts = {"merchant_id": merchant, "order_id": order.id, "connection_id": connection, "address": {}}
        intent = Intent(reference=uuid.uuid4().hex, **parts)
        session.add(intent)
        session.flush()
        intent.state, intent.sender, intent.sending_since = "sending", "x", now()
    answer = client.delete(f"/api/v1/suppliers/{connection}")
    assert told(answer) == (409, "orders_in_doubt")
    assert answer.json()["intent_ids"] == [str(intent.id)]
    assert held(merchant, connection)


def test_connecting_under_its_name_brings_it_back(ask, client, world):
    first = ask(country="PT", rules={"stock_buffer": 4}).json()
    client.delete(f"/api/v1/suppliers/{first['id']}")
    elsewhere = ask(supplier="aliexpress", secrets=ALIEXPRESS, name="bigbuy")
    assert told(elsewhere) == (409, "connection_name_taken")
    back = ask(secrets=secrets_of(world), language="es")
    assert back.status_code == 201, back.text
    said = back.json()
    assert (said["id"], said["state"], said["language"]) == (first["id"], "active", "es")
    assert (said["country"], said["rules"]["stock_buffer"]) == ("PT", 4)
