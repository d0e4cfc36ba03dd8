"""Orders sent over HTTP: asked for, refused with a reason, never twice; and what only a person can tell."""

import pytest

from tests import inline
from tests.conftest import headers_for
from tests.orders.conftest import world  # noqa: F401  # a fixture
from tests.orders.selling import Shop

ORDERS = "/api/v1/orders"


@pytest.fixture
def shop(world, client):  # noqa: F811
    made = Shop(world)
    client.headers.update(headers_for(made.merchant))
    return made


def test_fulfil_twice_with_the_same_or_another_key_is_one_supplier_order(shop, client):
    order_id = str(shop.order(1))
    key = {"Idempotency-Key": f"once-{order_id}"}
    first = client.post(f"{ORDERS}/fulfill", json={"order_id": order_id}, headers=key)
    assert (first.status_code, first.json()["under_way"]) == (202, False)
    assert client.post(f"{ORDERS}/fulfill", json={"order_id": order_id}, headers=key).json() == first.json()
    other = client.post(f"{ORDERS}/{order_id}/fulfill", headers={"Idempotency-Key": f"other-{order_id}"})
    assert (other.status_code, other.json()["under_way"]) == (202, True)
    assert other.json()["job_id"] == first.json()["job_id"]
    shop.work(first.json()["job_id"])
    assert len(shop.bought()) == 1
    sent = client.post(f"{ORDERS}/{order_id}/fulfill")
    assert (sent.status_code, sent.json()["code"], sent.json()["state"]) == (409, "order_already_sent", "placed")
    assert sent.json()["param"] == "order_id"
    assert client.post(f"{ORDERS}/fulfill", json={"order_id": order_id}, headers=key).json() == first.json()
    assert len(shop.bought()) == 1


@pytest.mark.parametrize(
    ("said", "status", "code"),
    [
        ({"address": None}, 422, "order_without_address"),
        ({"lines": "unknown"}, 409, "lines_unmapped"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_the_reason_and_nothing_is_sent(shop, client, said, status, code):
    from services.orders.incoming.said import SaidLine

    if said.get("lines"):
        said = {"lines": (SaidLine(1, sku="nobody-has-this"),)}
    order_id = shop.order(1, **said)
    answer = client.post(f"{ORDERS}/{order_id}/fulfill")
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert shop.standings(order_id) == []
    assert shop.bought() == []


def test_many_at_once_with_what_cannot_be_sent_told(shop, client):
    good = [str(shop.order(1)) for _ in range(3)]
    under_way = str(shop.order(1))
    client.post(f"{ORDERS}/{under_way}/fulfill")
    homeless, nobodys = str(shop.order(1, address=None)), "01900000-0000-7000-8000-000000000000"
    asked = {"order_ids": [*good, good[0], under_way, homeless, nobodys]}
    answer = client.post(f"{ORDERS}/bulk-fulfill", json=asked)
    assert answer.status_code == 202, answer.text
    told = answer.json()
    assert (told["accepted"], told["under_way"]) == (3, [under_way])
    assert {one["order_id"]: one["code"] for one in told["refused"]} == {
        homeless: "order_without_address",
        nobodys: "order_not_found",
    }
    assert inline.work(told["job_id"])["state"] == "waiting"
    children = client.get(f"/api/v1/jobs?parent_id={told['job_id']}").json()["data"]
    assert len(children) == 3
    for child in children:
        assert shop.work(child["id"])["state"] == "succeeded"
    assert [shop.state(id_) for id_ in good] == ["placed"] * 3
    assert len(shop.bought()) == 3


def test_within_the_cancel_window_nothing_is_sent_and_the_order_can_be_cancelled(shop, client):
    shop.rows(
        "INSERT INTO order_policies (merchant_id, cancel_window_seconds) VALUES (:m, 3600) RETURNING route",
        m=shop.merchant,
    )
    waits, goes = shop.order(1), shop.order(1)
    for order_id in (waits, goes):
        ended = inline.work(client.post(f"{ORDERS}/{order_id}/fulfill").json()["job_id"])
        assert (ended["state"], ended["reason"]) == ("scheduled", "cancel_window")
    assert shop.bought() == []
    assert client.post(f"{ORDERS}/{waits}/cancel", json={}).status_code == 200
    assert [one.state for one in shop.standings(waits)] == ["cancelled"]
    shop.later(4000)
    for row in shop.rows("SELECT id FROM jobs WHERE kind = 'process_order_fulfillment' AND ended_at IS NULL"):
        shop.work(row["id"])
    assert (shop.state(waits), shop.state(goes)) == ("cancelled", "placed")
    assert len(shop.bought()) == 1


def in_doubt(world, client):  # noqa: F811
    """An order at AliExpress of which neither a look-up nor sending it again can tell."""
    shop = Shop(world, supplier="aliexpress")
    client.headers.update(headers_for(shop.merchant))
    world.ask("PATCH", "aliexpress/settings", {"repeated_order": "error"})
    order_id = shop.order(1)
    with world.fault("lost", route="aliexpress.ds.order.create", count=1):
        assert shop.fulfil(order_id)["state"] == "succeeded"
    (intent,) = shop.standings(order_id)
    assert (intent.state, intent.code) == ("unknown", "known_there")
    assert shop.waiting(order_id) == ["outcome_unknown"]
    return shop, order_id, f"{ORDERS}/{order_id}/intents/{intent.id}/resolve"


def test_what_a_person_has_found_is_looked_up_and_noted(world, client):  # noqa: F811
    shop, order_id, where = in_doubt(world, client)
    (true,) = shop.bought()
    wrong = client.post(where, json={"supplier_order_id": "nonsense"})
    assert (wrong.status_code, wrong.json()["param"]) == (422, "supplier_order_id")
    assert client.post(where, json={"supplier_order_id": true["id"]}).status_code == 200
    assert (shop.state(order_id), shop.waiting(order_id)) == ("placed", [])
    assert client.post(where, json={"supplier_order_id": true["id"]}).json()["code"] == "nothing_in_doubt"


def test_what_a_person_has_not_found_may_be_bought_again(world, client):  # noqa: F811
    shop, order_id, where = in_doubt(world, client)
    assert client.post(where, json={"supplier_order_id": None}).status_code == 200
    (intent,) = shop.standings(order_id)
    assert (intent.state, intent.code) == ("refused", "not_there")
    assert client.post(f"{ORDERS}/{order_id}/fulfill").status_code == 202


def test_a_supplier_that_no_longer_knows_us_waits_for_the_merchant(shop, client):
    order_id = shop.order(1)
    key = shop.world.ask("GET", "bigbuy/accounts")[0]["keys"][0]
    with shop.world.fault("revoked", key=key):
        shop.fulfil(order_id)
    (intent,) = shop.standings(order_id)
    assert (intent.state, intent.code, shop.waiting(order_id)) == ("planned", "reconnect", ["blocked"])
    assert shop.rows("SELECT state FROM connections")[0]["state"] == "reconnect_needed"
    shop.rows("UPDATE connections SET state = 'active', problem = NULL RETURNING id")
    shop.work(client.post(f"{ORDERS}/{order_id}/fulfill").json()["job_id"])
    assert (shop.state(order_id), shop.waiting(order_id), len(shop.bought())) == ("placed", [], 1)
