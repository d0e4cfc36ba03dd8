"""Orders over HTTP: each stored once, whatever is sent twice; what cannot be understood is refused by its field."""

import threading
from uuid import UUID

import pytest

from tests import inline
from tests.conftest import headers_for, make_merchant
from tests.orders.coming import ADDRESS, body, line_ids, meant, rows, state, stocked, take, waiting

ORDERS = "/api/v1/orders"


def count(merchant):
    return rows(merchant, "SELECT count(*) AS n FROM orders")[0]["n"]


def test_an_order_comes_in_once_and_is_ready(client, merchant):
    variant = stocked(merchant, "LAMP")
    order = body({"sku": "LAMP", "quantity": 2, "price": "12.50"}, number="#1001", shipping_paid="4.90")
    first = client.post(ORDERS, json=order)
    assert first.status_code == 201, first.text
    made = first.json()
    assert (made["outcome"], made["state"], made["changes"], made["attention"]) == ("created", "ready", {}, [])

    again = client.post(ORDERS, json=order)
    assert (again.status_code, again.json()["outcome"]) == (200, "unchanged")
    assert again.json()["order_id"] == made["order_id"]
    assert count(merchant) == 1

    told = client.get(f"{ORDERS}/{made['order_id']}").json()
    (line,) = told["lines"]
    assert (line["variant_id"], line["mapped_by"], line["price"]) == (str(variant), "sku", "12.50")
    assert (told["number"], told["shipping_paid"], told["version"]) == ("#1001", "4.90", 1)
    assert [event["kind"] for event in told["events"]] == ["received"]


def test_the_same_id_of_another_channel_or_merchant_is_another_order(client, merchant, other_merchant):
    order = body()
    ids = {client.post(ORDERS, json=order).json()["order_id"]}
    ids.add(client.post(ORDERS, json={**order, "channel": "ebay"}).json()["order_id"])
    ids.add(client.post(ORDERS, json=order, headers=headers_for(other_merchant)).json()["order_id"])
    assert len(ids) == 3


def test_a_changed_order_is_an_update_that_can_be_seen(client, merchant):
    stocked(merchant, "LAMP")
    stocked(merchant, "VASE")
    order = body({"id": "1", "sku": "LAMP", "quantity": 2, "price": "12.50"}, note="ring twice")
    made = client.post(ORDERS, json=order).json()
    order["address"]["town"] = "Sueca"
    order["lines"][0]["quantity"] = 3
    order["lines"].append({"id": "2", "sku": "VASE", "quantity": 1})
    changed = client.post(ORDERS, json=order)
    assert changed.status_code == 200
    told = changed.json()
    assert (told["outcome"], told["state"]) == ("changed", "ready")
    assert told["changes"]["address.town"] == ["Valencia", "Sueca"]
    assert told["changes"]["lines_changed"][0]["quantity"] == [2, 3]
    assert told["changes"]["lines_added"][0]["sku"] == "VASE"
    story = client.get(f"{ORDERS}/{made['order_id']}").json()
    assert story["version"] == 2
    assert story["events"][-1]["data"]["changes"] == told["changes"]

    del order["lines"][1]
    less = client.post(ORDERS, json=order).json()
    assert [line["sku"] for line in less["changes"]["lines_removed"]] == ["VASE"]
    assert len(line_ids(merchant, made["order_id"])) == 1


def test_what_was_sent_does_not_change(client, merchant):
    stocked(merchant, "LAMP")
    order = body({"id": "1", "sku": "LAMP", "quantity": 3})
    made = client.post(ORDERS, json=order).json()
    (line,) = line_ids(merchant, made["order_id"])
    meant(merchant, made["order_id"], (line, 2), to="unknown")
    for what, param in (
        ({"address": {**order["address"], "town": "Sueca"}}, "address"),
        ({"lines": [{"id": "1", "sku": "LAMP", "quantity": 1}]}, "lines"),
        ({"lines": [{"id": "1", "sku": "VASE", "quantity": 3}]}, "lines"),
        ({"lines": [{"id": "2", "sku": "VASE", "quantity": 3}]}, "lines"),
    ):
        refused = client.post(ORDERS, json={**order, "note": "new", **what})
        assert refused.status_code == 409, refused.text
        assert (refused.json()["code"], refused.json()["param"]) == ("order_already_sent", param)
        assert refused.json()["intents"][0]["state"] == "unknown"
    told = client.get(f"{ORDERS}/{made['order_id']}").json()
    assert (told["note"], told["address"]["town"], told["lines"][0]["quantity"]) == (None, "Valencia", 3)
    assert told["version"] == 1
    # What was not sent of it may.
    taken = client.post(ORDERS, json={**order, "note": "new", "lines": [{"id": "1", "sku": "LAMP", "quantity": 2}]})
    assert taken.status_code == 200, taken.text


def test_a_change_gives_up_what_still_waits_to_be_sent(client, merchant):
    stocked(merchant, "LAMP")
    order = body({"id": "1", "sku": "LAMP", "quantity": 3})
    made = client.post(ORDERS, json=order).json()
    (line,) = line_ids(merchant, made["order_id"])
    meant(merchant, made["order_id"], (line, 3))
    assert client.post(ORDERS, json={**order, "note": "new"}).status_code == 200
    assert client.get(f"{ORDERS}/{made['order_id']}").json()["intents"][0]["state"] == "planned"
    order["lines"][0]["quantity"] = 2
    assert client.post(ORDERS, json=order).json()["state"] == "ready"
    story = client.get(f"{ORDERS}/{made['order_id']}").json()
    assert story["intents"][0]["state"] == "cancelled"
    assert "intent_cancelled" in [event["kind"] for event in story["events"]]
    # What is sent as the address has the customer's phone: another phone, another intent, but not once it was sent.
    meant(merchant, made["order_id"], (line, 2))
    client.post(ORDERS, json={**order, "customer": {"phone": "600 000 000"}})
    assert rows(merchant, "SELECT state FROM intents ORDER BY id DESC LIMIT 1") == [{"state": "cancelled"}]
    meant(merchant, made["order_id"], (line, 2), to="placed")
    assert client.post(ORDERS, json={**order, "customer": {"phone": "600 000 001"}}).status_code == 200


def test_pieces_taken_back_do_not_come_back_and_are_not_taken_twice(client, merchant):
    stocked(merchant, "LAMP")
    order = body({"id": "1", "sku": "LAMP", "quantity": 5, "cancelled_quantity": 2})
    order_id = client.post(ORDERS, json=order).json()["order_id"]

    def said(quantity, **more):
        order["lines"][0] = {"id": "1", "sku": "LAMP", "quantity": quantity, **more}
        assert client.post(ORDERS, json={**order, "note": f"{quantity} {more}"}).status_code == 200
        (line,) = client.get(f"{ORDERS}/{order_id}").json()["lines"]
        return line["quantity"], line["cancelled_quantity"]

    assert said(5) == (5, 2)
    assert said(6) == (6, 2)
    assert said(5, cancelled_quantity=3) == (5, 3)
    assert said(3) == (3, 1)
    assert said(1) == (1, 0)


LINE = {"sku": "LAMP", "quantity": 1}
BAD = {
    "address.country": [{"address": {**ADDRESS, "country": "XX"}}, {"address": {**ADDRESS, "country": "Spain"}}],
    "address.town": [{"address": {**ADDRESS, "town": " "}}],
    "address": [{"address": None}, {"address": {"line": "x", "town": "y", "country": "ES"}}],
    "currency": [{"currency": "XYZ"}, {"currency": "€"}, {"currency": None}],
    "lines": [{"lines": []}, {"lines": [{**LINE, "id": "1"}, {**LINE, "id": "1"}]}],
    "lines.1.quantity": [
        {"lines": [LINE, {**LINE, "quantity": quantity}]} for quantity in (0, -1, 1.5, True, "2", 10**9)
    ],
    "lines.0.currency": [{"lines": [{**LINE, "currency": "USD"}]}],
    "lines.0.price": [{"lines": [{**LINE, "price": price}]} for price in ("-1", "NaN", "12,50")],
    "lines.0.cancelled_quantity": [{"lines": [{**LINE, "cancelled_quantity": -1}]}],
    "lines.0": [{"lines": [{**LINE, "cancelled_quantity": 2}]}],
    "external_id": [{"external_id": ""}, {"external_id": "a\0b"}],
    "channel": [{"channel": None}, {"channel": "x" * 101}],
    "placed_at": [{"placed_at": "2026-01-01T00:00:00"}],
    "colour": [{"colour": "red"}],
}


@pytest.mark.parametrize(("param", "said"), [(param, said) for param, cases in BAD.items() for said in cases])
def test_what_cannot_be_understood_is_refused_by_its_field_and_nothing_is_kept(client, merchant, param, said):
    alone = client.post(ORDERS, json=body(LINE) | said)
    assert alone.status_code == 422, alone.text
    assert alone.json()["param"] == param
    among = client.post(ORDERS, json=[body(LINE), body(LINE) | said])
    assert (among.status_code, among.json()["param"]) == (422, f"1.{param}")
    assert count(merchant) == 0


@pytest.mark.parametrize("sent", [[], [[]], "order", 1, None, [1], {}])
def test_bodies_that_are_no_orders(client, sent):
    assert client.post(ORDERS, json=sent).status_code == 422


def test_a_list_is_taken_order_by_order(client, merchant):
    stocked(merchant, "LAMP")
    orders = [body({"sku": "LAMP", "quantity": 2}) for _ in range(3)]
    first = client.post(ORDERS, json=orders[:2])
    assert (first.status_code, [one["outcome"] for one in first.json()["data"]]) == (200, ["created", "created"])
    sent = first.json()["data"][0]["order_id"]
    meant(merchant, sent, (line_ids(merchant, sent)[0], 2), to="placed")
    orders[0]["lines"][0]["quantity"] = 1
    orders[1]["note"] = "new"
    told = client.post(ORDERS, json=orders).json()["data"]
    assert [one["outcome"] for one in told] == ["refused", "changed", "created"]
    assert told[0]["error"]["code"] == "order_already_sent"
    assert [one["external_id"] for one in told] == [order["external_id"] for order in orders]
    assert client.post(ORDERS, json=[orders[0], orders[0]]).json()["code"] == "order_repeated"
    assert client.post(ORDERS, json=[body() for _ in range(201)]).status_code == 422


def test_an_idempotency_key_answers_as_it_did(client, merchant):
    order = body()
    sent = [client.post(ORDERS, json=order, headers={"Idempotency-Key": "k1"}) for _ in range(2)]
    assert [one.status_code for one in sent] == [201, 201]
    assert sent[0].json() == sent[1].json()
    assert client.post(ORDERS, json=body(), headers={"Idempotency-Key": "k1"}).status_code in (409, 422)


def test_at_once_from_everywhere_it_is_one_order(merchant):
    from tests.orders.coming import said_order

    said = [said_order(external_id=f"race-{n}") for n in range(20)]
    receipts = []

    def go(orders):
        receipts.extend(take(merchant, *orders))

    threads = [threading.Thread(target=go, args=(orders,)) for orders in (said, said[::-1], said[10:] + said[:10])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(receipt.outcome for receipt in receipts) == ["created"] * 20 + ["unchanged"] * 40
    assert rows(merchant, "SELECT count(*) AS n FROM order_lines")[0]["n"] == 20
    assert rows(merchant, "SELECT count(*) AS n FROM attention_items")[0]["n"] == 20


def test_orders_are_listed_by_what_is_asked(client, merchant):
    stocked(merchant, "LAMP")
    ready = client.post(ORDERS, json=body(LINE)).json()["order_id"]
    unknown = client.post(ORDERS, json=body(channel="ebay")).json()["order_id"]
    newest = [one["id"] for one in client.get(ORDERS).json()["data"]]
    assert newest == [unknown, ready]

    def found(**asked):
        answer = client.get(ORDERS, params=asked)
        assert answer.status_code == 200, answer.text
        return [one["id"] for one in answer.json()["data"]]

    assert found(state="ready") == [ready]
    assert found(channel="ebay") == found(attention="unmapped") == found(attention="any") == [unknown]
    assert found(attention="address_missing") == found(created_before="2020-01-01T00:00:00Z") == []
    assert found(created_after="2020-01-01T00:00:00Z") == newest
    page = client.get(ORDERS, params={"limit": 1}).json()
    assert page["has_more"]
    assert found(limit=1, after=page["next"]) == [ready]
    assert client.get(ORDERS, params={"state": "odd"}).status_code == 422
    assert client.get(ORDERS, params={"stat": "ready"}).status_code == 422
    (one,) = [one for one in client.get(ORDERS).json()["data"] if one["id"] == unknown]
    assert (one["attention"], one["lines"], one["pieces"]) == (["unmapped"], 1, 1)


def test_policy_says_what_goes_on_and_is_checked(client, merchant):
    stocked(merchant, "LAMP")
    assert client.get(f"{ORDERS}/policy").json()["partial"] is False
    half = client.post(ORDERS, json=body(LINE, {"sku": "NOBODY-KNOWS", "quantity": 1})).json()
    none = client.post(ORDERS, json=body()).json()
    assert (half["state"], none["state"]) == ("attention", "attention")
    put = client.put(
        f"{ORDERS}/policy",
        json={"partial": True, "min_margin": "0.15", "cost_ceiling": "80", "ceiling_currency": "eur"},
    )
    assert put.status_code == 200, put.text
    assert (put.json()["ceiling_currency"], put.json()["cost_ceiling"]) == ("EUR", "80.00")
    assert client.get(f"{ORDERS}/policy").json() == put.json()
    assert state(merchant, half["order_id"]) == "ready"  # what maps goes on
    assert state(merchant, none["order_id"]) == "attention"  # there is nothing to go on with
    assert waiting(merchant, half["order_id"]) == ["unmapped"]
    for wrong, code in (
        ({"preferred": ["0197a0a0-0000-7000-8000-000000000000"]}, "connection_unknown"),
        ({"cost_ceiling": "80"}, "invalid_request"),
        ({"cost_ceiling": "80", "ceiling_currency": "XXY"}, "currency_unknown"),
        ({"route": "dearest"}, "invalid_request"),
        ({"min_margin": "1"}, "invalid_request"),
        ({"cancel_window_seconds": -1}, "invalid_request"),
    ):
        refused = client.put(f"{ORDERS}/policy", json=wrong)
        assert (refused.status_code, refused.json()["code"]) == (422, code), refused.text
    assert client.put(f"{ORDERS}/policy", json={}).json()["partial"] is False
    assert state(merchant, half["order_id"]) == "attention"


def test_policies_defaults_are_the_tables(merchant, session):
    from services.models import OrderPolicy
    from services.orders.policy import DEFAULTS, policy_of

    unsaid = {name: getattr(policy_of(session, merchant), name) for name in DEFAULTS}
    session.add(OrderPolicy(merchant_id=merchant))
    session.flush()
    session.expire_all()
    assert {name: getattr(policy_of(session, merchant), name) for name in DEFAULTS} == unsaid


def test_lines_that_are_alike_are_mapped_together_and_the_rest_when_the_catalogue_knows_them(client, merchant):
    def ordered(*skus):
        said = body(*({"sku": sku, "quantity": 1} for sku in skus))
        return client.post(ORDERS, json=said).json()["order_id"]

    many = [ordered("OLD-NAME") for _ in range(3)]
    later, both = ordered("LATER"), ordered("LATER", "NEVER")
    lamp = stocked(merchant, "LAMP")
    stranger = make_merchant()
    asked = client.post(f"{ORDERS}/map", json={"sku": "OLD-NAME", "variant_id": str(lamp)})
    assert asked.status_code == 202, asked.text
    assert inline.work(UUID(asked.json()["job_id"]))["result"] == {"looked_at": 3, "mapped": 3}
    assert {state(merchant, id_) for id_ in many} == {"ready"}
    assert [waiting(merchant, id_) for id_ in many] == [[], [], []]
    told = client.get(f"{ORDERS}/{many[0]}").json()
    assert (told["lines"][0]["mapped_by"], told["events"][-1]["kind"]) == ("hand", "line_mapped")

    assert state(merchant, ordered("OLD-NAME")) == "ready", "what was said is known for later orders"
    (kept,) = client.get(f"{ORDERS}/mappings").json()["data"]
    assert (kept["sku"], kept["barcode"], kept["variant_id"]) == ("OLD-NAME", None, str(lamp))
    theirs = headers_for(stranger)
    assert client.get(f"{ORDERS}/mappings", headers=theirs).json()["data"] == []
    assert client.delete(f"{ORDERS}/mappings/{kept['id']}", headers=theirs).status_code == 404
    other = client.post(ORDERS, json=body({"sku": "OLD-NAME", "quantity": 1}), headers=theirs).json()["order_id"]
    assert state(stranger, other) == "attention"
    assert client.delete(f"{ORDERS}/mappings/{kept['id']}").status_code == 204
    assert state(merchant, ordered("OLD-NAME")) == "attention"

    stocked(merchant, "LATER")
    asked = client.post(f"{ORDERS}/map", json={})
    assert inline.work(UUID(asked.json()["job_id"]))["result"] == {"looked_at": 2, "mapped": 2}
    assert (state(merchant, later), state(merchant, both), waiting(merchant, both)) == (
        "ready", "attention", ["unmapped"],
    )  # fmt: skip
    stocked(merchant, "NEVER")
    assert client.post(f"{ORDERS}/{both}/fulfill").status_code == 202, "whoever has it sent has it looked at again"

    for wrong, status, code in (
        ({"variant_id": str(lamp)}, 422, "nothing_named"),
        ({"sku": "NOBODYS", "variant_id": str(lamp)}, 404, "order_line_not_found"),
        ({"sku": "NOBODYS", "variant_id": str(stocked(stranger, "X"))}, 404, "variant_unknown"),
    ):
        refused = client.post(f"{ORDERS}/map", json=wrong)
        assert (refused.status_code, refused.json()["code"]) == (status, code)
