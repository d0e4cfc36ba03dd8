"""Accounts at suppliers that are connected: changed, looked at, and given up. Through the API."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import delete, select, text

from services.core.clock import now
from services.core.db import transaction
from services.models import (
    Connection,
    Intent,
    Job,
    Offer,
    OfferLink,
    OfferVariant,
    Order,
    Schedule,
    SyncRun,
    Variant,
)
from services.sourcing.accounts.connections import (
    AnotherAccount,
    CredentialsChanged,
    connect,
    disconnect,
    replace_credentials,
)
from services.sourcing.accounts.reach import ConnectionDisconnected, ReconnectFirst, reach, reconnect_needed
from services.sourcing.accounts.trials import trial_of, try_out
from services.sourcing.jobs import SyncSupplierProducts
from services.sourcing.quotas.breaker import DOWN
from tests.imports.importing import run_feed
from tests.inline import work
from tests.sourcing.connecting import ALIEXPRESS, secrets_of, told, tried
from tests.sourcing.syncing import begin, stored, sync_products, truth

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


def test_secrets_that_are_left_out_stay_and_empty_ones_go(ask, client, merchant):
    secrets = {"url": "catalogue.csv", "header": "X-Api-Key: sandbox-feed-key"}
    made = ask(supplier="feed", name="list", secrets=secrets)
    assert made.status_code == 201, made.text
    url = f"/api/v1/suppliers/{made.json()['id']}/credentials"
    with_user = client.post(url, json={"secrets": {"user": "anna", "password": "b"}}).json()["secrets"]
    assert with_user.keys() == {"url", "header", "user", "password"}
    without = client.post(url, json={"secrets": {"user": "", "password": ""}}).json()["secrets"]
    assert without.keys() == {"url", "header"}
    with transaction(merchant_id=merchant) as session:
        assert reach(session, uuid.UUID(made.json()["id"])).connection.secrets == secrets
    assert told(client.post(url, json={"secrets": {"url": ""}})) == (422, "secrets_incomplete")
    moved = client.post(url, json={"secrets": {"url": "catalogue.json"}})
    assert moved.status_code == 200, moved.text


def test_orders_do_not_change_hands(world, merchant):
    def named(account):
        tested = tried(world, merchant)
        return replace(tested, identity=replace(tested.identity, account=account), account_key=account)

    with transaction(merchant_id=merchant) as session:
        row = connect(session, named("anna"), name="bigbuy")
        of_ben = named("ben")
        of_ben = replace(of_ben, trial=replace(of_ben.trial, instead_of=row.secrets_version))
        with pytest.raises(AnotherAccount):
            replace_credentials(session, row.id, of_ben)
        disconnect(session, row.id)
        with pytest.raises(AnotherAccount):
            connect(session, of_ben, name="bigbuy")
        assert connect(session, named("anna"), name="bigbuy").id == row.id


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


def test_a_sync_whose_credentials_are_refused_ends_and_says_so(client, world, merchant, connection):
    world.ask("DELETE", f"bigbuy/keys/{held(merchant, connection)[0]}")
    ended = sync_products(merchant, connection)
    assert (ended["state"], ended["error_code"]) == ("failed", "supplier_reconnect_needed")
    said = client.get(f"/api/v1/suppliers/{connection}/status").json()
    assert (said["health"], said["last_runs"][0]["state"]) == ("reconnect_needed", "failed")
    assert "API key" in said["problem"]
    assert sync_products(merchant, connection)["error_code"] == "supplier_reconnect_needed"


def test_a_sync_goes_on_with_credentials_that_came_while_it_ran(client, world, merchant, connection):
    old, new = held(merchant, connection)[0], secrets_of(world)
    job = begin(merchant, SyncSupplierProducts(connection_id=connection))
    with (
        world.fault("latency", seconds=1.5, supplier="bigbuy", route="catalog/*", count=1),
        ThreadPoolExecutor() as pool,
    ):
        attempt = pool.submit(work, job)
        while not world.ask("GET", f"ledger?key={old}&route=catalog/*"):
            assert not attempt.done()
        answer = client.post(f"/api/v1/suppliers/{connection}/credentials", json={"secrets": new})
        assert answer.status_code == 200, answer.text
        world.ask("DELETE", f"bigbuy/keys/{old}")
        parked = attempt.result()
    assert (parked["state"], parked["reason"]) == ("scheduled", "token_awaited")
    assert work(job)["state"] == "succeeded"
    assert client.get(f"/api/v1/suppliers/{connection}").json()["state"] == "active"
    assert stored(merchant, connection) == truth(world)


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


def test_the_status_of_a_supplier_that_is_read_by_ids(client, merchant, connect):
    said = client.get(f"/api/v1/suppliers/{connect(merchant, 'aliexpress')}/status").json()
    assert (said["supplier"], said["health"], len(said["freshness"])) == ("aliexpress", "ok", 3)
    assert {one["left"] for one in said["quota"]} <= {1, 2}


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
