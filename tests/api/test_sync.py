"""Syncs over HTTP: asked for, scheduled, remembered; offers looked at and linked."""

import uuid

import pytest

from services.core.db import transaction
from services.core.ids import new_id
from services.models import Connection, Import, Offer, OfferVariant, Product, SyncRun, Variant
from services.sourcing.offers import links
from tests.conftest import headers_for


@pytest.fixture
def connection(merchant):
    """A connection whose supplier is never called, with one offer."""
    row = Connection(
        id=new_id(), merchant_id=merchant, supplier="bigbuy", name="bigbuy", secrets="x", account_key=str(new_id())
    )
    own = {"merchant_id": merchant, "connection_id": row.id}
    with transaction(merchant_id=merchant) as session:
        session.add(row)
        session.flush()
        session.add(Offer(**own, id="P", title="Lamp", print=0, images=[]))
        for id_ in ("v1", "v2", "v3"):
            session.add(OfferVariant(**own, id=id_, offer_id="P", order_ref=id_, sku=f"S-{id_}", stock=3))
    return row.id


def test_asked_for_once(client, connection):
    asked = {"connection_id": str(connection), "kind": "stock"}
    first = client.post("/api/v1/sync/trigger", json=asked, headers={"Idempotency-Key": "k"})
    assert first.status_code == 202
    again = client.post("/api/v1/sync/trigger", json=asked, headers={"Idempotency-Key": "k"})
    assert again.json() == first.json()
    job = client.get(f"/api/v1/jobs/{first.json()['job_id']}").json()
    assert (job["kind"], job["queue"], job["args"]["connection_id"]) == ("sync_supplier_stock", "sync", str(connection))
    refused = client.post("/api/v1/sync/trigger", json=asked)
    assert (refused.status_code, refused.json()["code"]) == (409, "sync_already_active")
    assert refused.json()["job_id"] == first.json()["job_id"]
    everything = client.post(f"/api/v1/suppliers/{connection}/sync", json={"only": ["7", "7", "8"]})
    assert everything.status_code == 202
    job = client.get(f"/api/v1/jobs/{everything.json()['job_id']}").json()
    assert (job["kind"], job["args"]["only"]) == ("sync_supplier_products", ["7", "8"])


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "orders"}, {"only": []}, {"only": ["x"] * 1001}, {"unknown": 1}, {"kind": "stock", "only": ["7"]},
        {"kind": "stock", "accept_gone": True}, {"kind": "products", "prices": False},
    ],
)  # fmt: skip
def test_nonsense_is_refused(client, connection, body):
    assert client.post(f"/api/v1/suppliers/{connection}/sync", json=body).status_code == 422


def test_of_a_connection_that_cannot_be_used(client, merchant, connection):
    for state, code in (("reconnect_needed", "supplier_reconnect_needed"), ("disconnected", "connection_disconnected")):
        with transaction(merchant_id=merchant) as session:
            row = session.get_one(Connection, connection)
            row.state, row.secrets = state, None if state == "disconnected" else "x"
        answer = client.post(f"/api/v1/suppliers/{connection}/sync")
        assert (answer.status_code, answer.json()["code"]) == (409, code)


def test_scheduled_for_two_in_the_morning_in_madrid(client, connection):
    body = {"connection_id": str(connection), "cron": "0 2 * * *", "time_zone": "Europe/Madrid"}
    made = client.post("/api/v1/sync/schedule", json=body)
    assert made.status_code == 201, made.text
    assert made.json()["kind"] == "sync_supplier_products"
    assert all("T02:00:00+0" in fire for fire in made.json()["next_fires"])
    often = {"connection_id": str(connection), "kind": "stock", "interval_seconds": 900, "args": {"prices": False}}
    assert client.post("/api/v1/sync/schedule", json=often).json()["args"]["prices"] is False
    fresh = client.post("/api/v1/sync/schedule", json={**often, "kind": "fresh", "args": {"stock_every": 600}})
    assert fresh.status_code == 201
    found = client.get("/api/v1/sync/schedules", params={"connection_id": str(connection)}).json()["data"]
    assert [one["name"] for one in found] == ["bigbuy: fresh", "bigbuy: stock", "bigbuy: products"]
    assert client.get("/api/v1/sync/schedules", params={"connection_id": str(uuid.uuid4())}).json()["data"] == []
    for wrong, code in (
        ({**body, "time_zone": "Europe/Atlantis"}, "time_zone_unknown"),
        ({**body, "cron": None}, "rhythm_unclear"),
        ({**often, "args": {"unheard": 1}}, "scheduled_arguments_invalid"),
    ):
        answer = client.post("/api/v1/sync/schedule", json={**wrong, "name": "other"})
        assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert client.post("/api/v1/sync/schedule", json=body).json()["code"] == "schedule_name_taken"


def test_history_says_what_came_of_each(client, merchant, connection):
    with transaction(merchant_id=merchant) as session:
        for kind, state in (("products", "running"), ("stock", "running")):
            session.add(
                SyncRun(
                    id=new_id(), merchant_id=merchant, connection_id=connection, job_id=new_id(), kind=kind,
                    mode="full" if kind == "products" else "delta", state=state, items=7, pages=1, problems=0,
                    counts={"offers_new": 7, "seen": 7},
                )
            )  # fmt: skip
            session.flush()
    found = client.get("/api/v1/sync/history", params={"connection_id": str(connection), "limit": 1}).json()
    assert [run["kind"] for run in found["data"]] == ["stock"]
    assert found["data"][0]["counts"] == {"offers_new": 7}
    assert found["data"][0]["state"] == "failed"  # its job is gone: nobody works on it
    assert found["data"][0]["links"]["changesets"] == []
    more = client.get("/api/v1/sync/history", params={"kind": "products"}).json()
    assert [run["kind"] for run in more["data"]] == ["products"]


def test_offers_are_listed_and_linked(client, merchant, connection, monkeypatch):
    variant = new_id()
    with transaction(merchant_id=merchant) as session:
        product = Product(id=new_id(), merchant_id=merchant, source="shop", key="P")
        session.add(product)
        session.flush()
        session.add(Variant(id=variant, merchant_id=merchant, product_id=product.id, key="1", sku="S-v2", position=1))
    address = f"/api/v1/suppliers/{connection}"
    first = client.get(f"{address}/offers", params={"limit": 2}).json()
    assert [one["id"] for one in first["data"]] == ["v1", "v2"]
    assert first["data"][1]["candidates"] == [{"variant_id": str(variant), "by": "sku"}]
    second = client.get(f"{address}/offers", params={"limit": 2, "after": first["next"]}).json()
    assert ([one["id"] for one in second["data"]], second["has_more"]) == (["v3"], False)
    assert [one["id"] for one in client.get(f"{address}/offers?ambiguous=true").json()["data"]] == ["v2"]
    with monkeypatch.context() as patch:  # a page ends after so many were tried, whether they fit or not
        patch.setattr(links, "TRIED", 1)
        pages, after = [], None
        while not pages or after is not None:
            asked = {"ambiguous": True, **({"after": after} if after else {})}
            page = client.get(f"{address}/offers", params=asked).json()
            pages.append([one["id"] for one in page["data"]])
            after = page["next"]
        assert pages == [[], ["v2"], [], []]
        found = client.get(f"{address}/offers", params={"sku": "S-v3", "ambiguous": False}).json()
        assert ([one["id"] for one in found["data"]], found["has_more"]) == (["v3"], False)  # by value: looked up
    said = client.put(f"{address}/links", json={"offer_variant_id": "v2", "variant_id": str(variant)})
    assert (said.status_code, said.json()["how"]) == (200, "hand")
    assert [one["id"] for one in client.get(f"{address}/offers?linked=true").json()["data"]] == ["v2"]
    assert client.put(f"{address}/links", json={"offer_variant_id": "v2", "variant_id": None}).status_code == 200
    assert client.get(f"{address}/offers?linked=true").json()["data"] == []
    assert client.get(f"{address}/offers?after=!").json()["code"] == "invalid_cursor"
    missing = client.put(f"{address}/links", json={"offer_variant_id": "no", "variant_id": str(variant)})
    assert (missing.status_code, missing.json()["code"]) == (404, "offer_not_found")


def test_another_merchants_connection_is_not_there(client, other_merchant, connection):
    client.headers.update(headers_for(other_merchant))
    address = f"/api/v1/suppliers/{connection}"
    assert client.get(f"{address}/offers").status_code == 404
    assert client.post(f"{address}/sync").status_code == 404
    assert client.put(f"{address}/links", json={"offer_variant_id": "v1", "variant_id": None}).status_code == 404
    assert client.post("/api/v1/sync/trigger", json={"connection_id": str(connection)}).status_code == 404
    rhythm = {"connection_id": str(connection), "interval_seconds": 900}
    assert client.post("/api/v1/sync/schedule", json=rhythm).status_code == 404
    assert client.get("/api/v1/sync/history").json()["data"] == []


def test_an_import_made_of_offers_is_read_not_fetched(client, merchant, connection):
    with transaction(merchant_id=merchant) as session:
        import_ = Import(id=new_id(), merchant_id=merchant, job_id=new_id(), source="bigbuy", connection_id=connection)
        session.add(import_)
    assert client.get(f"/api/v1/bulk/operations/{import_.id}").json()["phase"] == "read"
