"""Lines that are mapped, orders that are cancelled, what waits for somebody, and what the database itself keeps to."""

import itertools
import threading

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from services.core.db import transaction
from services.orders.attention import ACTIONS, Item, close_items, open_items
from services.orders.states import MOVES, settle
from tests.conftest import headers_for
from tests.orders.coming import (
    body,
    line_ids,
    meant,
    move,
    rows,
    said_order,
    state,
    stocked,
    take,
    waiting,
)

ORDERS = "/api/v1/orders"


def an_order(client, *lines, **said):
    made = client.post(ORDERS, json=body(*lines, **said))
    assert made.status_code == 201, made.text
    return made.json()["order_id"]


# -- Mapping -----------------------------------------------------------------------------------------------------------


LINES = [
    ({"sku": "LAMP"}, "lamp", None),
    ({"barcode": "0400"}, "lamp", None),
    ({"sku": "LAMP", "barcode": "0400"}, "lamp", None),
    ({"sku": "OTHER", "barcode": "0400"}, "lamp", None),
    ({"sku": "LAMP", "barcode": "9999"}, "lamp", None),
    ({"sku": "lamp"}, None, "unknown"),
    ({"sku": "LAMP", "barcode": "0500"}, None, "contradictory"),
    ({"sku": "TWIN"}, None, "ambiguous"),
    ({"sku": "TWIN", "barcode": "0600"}, "twin", None),
    ({"barcode": "0700"}, None, "ambiguous"),
    ({"title": "A lamp"}, None, "unknown"),
]


def test_a_line_is_the_variant_its_sku_and_barcode_agree_on(client, merchant, other_merchant):
    known = {
        "lamp": stocked(merchant, "LAMP", barcode="0400"),
        "vase": stocked(merchant, "VASE", barcode="0500"),
        "twin": stocked(merchant, "TWIN", barcode="0600"),
        "twin2": stocked(merchant, "TWIN", barcode="0700"),
        "rug": stocked(merchant, "RUG", barcode="0700"),
    }
    stocked(other_merchant, "OTHER")
    order_id = an_order(client, *({**line, "quantity": 1} for line, _, _ in LINES))
    told = client.get(f"{ORDERS}/{order_id}").json()
    why = {item["detail"]["n"]: item["detail"]["why"] for item in told["attention"]}
    for line, (asked, found, reason) in zip(told["lines"], LINES, strict=True):
        assert line["variant_id"] == (found and str(known[found])), asked
        assert line["mapped_by"] == (found and ("sku" if asked.get("sku") in ("LAMP", "TWIN") else "barcode")), asked
        assert why.get(line["n"]) == reason, asked
    (odd,) = [item for item in told["attention"] if item["detail"]["why"] == "contradictory"]
    assert set(odd["detail"]["candidates"]) == {str(known["lamp"]), str(known["vase"])}
    assert told["state"] == "attention"


def test_a_line_is_mapped_by_hand_and_by_looking_again(client, merchant, other_merchant):
    lamp, vase = stocked(merchant, "LAMP"), stocked(merchant, "VASE")
    order_id = an_order(client, {"sku": "??", "quantity": 1}, {"sku": "RUG", "quantity": 1})
    first, second = line_ids(merchant, order_id)
    (item, *_) = client.get(f"{ORDERS}/attention").json()["data"]
    assert item["action"].endswith(f"/api/v1/orders/{order_id}/lines/{item['detail']['line_id']}/map.")
    where = f"{ORDERS}/{order_id}/lines/{first}/map"
    mapped = client.post(where, json={"variant_id": str(lamp)})
    assert (mapped.status_code, mapped.json()["mapped_by"]) == (200, "hand")
    assert (waiting(merchant, order_id), state(merchant, order_id)) == (["unmapped"], "attention")
    again = f"{ORDERS}/{order_id}/lines/{second}/map"
    assert client.post(again).json()["variant_id"] is None
    rug = stocked(merchant, "RUG")
    assert client.post(again).json()["variant_id"] == str(rug)
    assert (waiting(merchant, order_id), state(merchant, order_id)) == ([], "ready")
    assert client.post(where, json={"variant_id": str(vase)}).json()["variant_id"] == str(vase)
    steps = client.get(f"{ORDERS}/{order_id}").json()["events"]
    assert [step["data"].get("was") for step in steps if step["kind"] == "line_mapped"] == [None, str(lamp)]
    # Not another merchant's variant, not another order's line, not what was meant for a supplier as something else.
    theirs = stocked(other_merchant, "LAMP")
    assert client.post(where, json={"variant_id": str(theirs)}).json()["code"] == "variant_unknown"
    other = an_order(client)
    assert client.post(f"{ORDERS}/{other}/lines/{first}/map").json()["code"] == "order_line_not_found"
    meant(merchant, order_id, (first, 1))
    refused = client.post(where, json={"variant_id": str(lamp)})
    assert (refused.status_code, refused.json()["code"]) == (409, "line_already_sent")


# -- Cancelling --------------------------------------------------------------------------------------------------------


def test_an_order_is_cancelled_before_it_is_sent_once_and_for_all(client, merchant):
    stocked(merchant, "LAMP")
    order = body({"sku": "LAMP", "quantity": 2}, {"sku": "??", "quantity": 1})
    order_id = client.post(ORDERS, json=order).json()["order_id"]
    intent = meant(merchant, order_id, (line_ids(merchant, order_id)[0], 2))
    first = client.post(f"{ORDERS}/{order_id}/cancel", json={"reason": "changed their mind"})
    assert (first.status_code, first.json()["state"]) == (200, "cancelled")
    told = first.json()
    assert [(one["id"], one["state"]) for one in told["intents"]] == [(str(intent), "cancelled")]
    assert all(item["closed_at"] for item in told["attention"])
    assert told["events"][-1]["data"]["reason"] == "changed their mind"
    assert client.post(f"{ORDERS}/{order_id}/cancel").json() == told
    assert client.post(ORDERS, json=order).json()["outcome"] == "unchanged"
    back = client.post(ORDERS, json={**order, "note": "after all"})
    assert (back.status_code, back.json()["code"]) == (409, "order_cancelled")


@pytest.mark.parametrize("to", ["sending", "unknown", "placed"])
def test_what_is_sent_is_not_cancelled(client, merchant, to):
    stocked(merchant, "LAMP")
    order_id = an_order(client, {"sku": "LAMP", "quantity": 3})
    (line,) = line_ids(merchant, order_id)
    meant(merchant, order_id, (line, 1))
    sent = meant(merchant, order_id, (line, 1), to=to)
    refused = client.post(f"{ORDERS}/{order_id}/cancel")
    assert (refused.status_code, refused.json()["code"]) == (409, "order_already_sent")
    assert [(one["id"], one["state"]) for one in refused.json()["intents"]] == [(str(sent), to)]
    assert {row["state"] for row in rows(merchant, "SELECT state FROM intents")} == {"planned", to}
    rest = client.post(f"{ORDERS}/{order_id}/cancel", json={"unsent_only": True}).json()
    assert rest["lines"][0]["cancelled_quantity"] == 2
    assert rest["state"] == ("placed" if to == "placed" else "fulfilling")


# -- What waits --------------------------------------------------------------------------------------------------------


def test_items_are_opened_and_closed_once(merchant, client, other_merchant):
    (receipt,) = take(merchant, said_order())
    about = Item(receipt.order_id, "unpaid", {"n": 1}, subject="7", action="Pay.")
    with transaction(merchant_id=merchant) as session:
        for n in (1, 2):
            open_items(session, [about._replace(detail={"n": n})], merchant_id=merchant)
        open_items(session, [Item(None, "unpaid", subject="x", action="Pay.")] * 2, merchant_id=merchant)
    listed = client.get(f"{ORDERS}/attention", params={"cause": "unpaid"}).json()["data"]
    assert [(one["order_id"], one["external_id"], one["detail"]) for one in listed] == [
        (None, None, {}),
        (str(receipt.order_id), receipt.external_id, {"n": 2}),
    ]
    assert client.get(f"{ORDERS}/attention/summary").json() == {"unpaid": 2, "unmapped": 1}
    theirs = headers_for(other_merchant)
    assert client.get(f"{ORDERS}/attention", headers=theirs).json()["data"] == []
    assert client.get(f"{ORDERS}/attention/summary", headers=theirs).json() == {}
    with transaction(merchant_id=merchant) as session:
        assert close_items(session, [receipt.order_id, None], cause="unpaid") == 2
        assert close_items(session, [receipt.order_id, None], cause="unpaid") == 0
        open_items(session, [about], merchant_id=merchant)  # it is back: another item
    told = client.get(f"{ORDERS}/{receipt.order_id}").json()["attention"]
    assert [bool(one["closed_at"]) for one in told if one["cause"] == "unpaid"] == [True, False]
    page = client.get(f"{ORDERS}/attention", params={"limit": 1}).json()
    assert page["has_more"]
    assert len(client.get(f"{ORDERS}/attention", params={"after": page["next"]}).json()["data"]) == 1


def test_a_person_closes_what_only_they_can_see_to(client, merchant):
    order_id = an_order(client)
    with transaction(merchant_id=merchant) as session:
        open_items(session, [Item(order_id, "no_movement")], merchant_id=merchant)
    items = {one["cause"]: one["id"] for one in client.get(f"{ORDERS}/attention").json()["data"]}
    for _ in range(2):
        assert client.post(f"{ORDERS}/attention/{items['no_movement']}/close").json()["closed_at"]
    refused = client.post(f"{ORDERS}/attention/{items['unmapped']}/close")
    assert (refused.status_code, refused.json()["code"]) == (409, "attention_stands")
    assert waiting(merchant, order_id) == ["unmapped"]


def test_pieces_nobody_wants_are_nobodys_concern(client, merchant):
    order = body({"id": "1", "sku": "??", "quantity": 2})
    order_id = client.post(ORDERS, json=order).json()["order_id"]
    assert waiting(merchant, order_id) == ["unmapped"]
    order["lines"][0]["cancelled_quantity"] = 2
    assert client.post(ORDERS, json=order).json()["state"] == "cancelled"
    assert waiting(merchant, order_id) == []
    stocked(merchant, "LAMP")
    some = an_order(client, {"sku": "LAMP", "quantity": 1}, {"sku": "??", "quantity": 2, "cancelled_quantity": 2})
    assert (waiting(merchant, some), state(merchant, some)) == ([], "ready")


def test_what_an_item_asked_for_closes_it(client, merchant):
    lamp, vase = stocked(merchant, "LAMP"), stocked(merchant, "VASE")
    order = body({"id": "1", "sku": "LAMP", "quantity": 1}, {"id": "2", "sku": "RUG", "quantity": 1})
    order_id = client.post(ORDERS, json=order).json()["order_id"]
    faults = [Item(order_id, "address", {"faults": []}, subject="x"), Item(order_id, "address_refused")]
    with transaction(merchant_id=merchant) as session:
        open_items(session, faults, merchant_id=merchant)
    order["lines"] = [{"id": "1", "sku": "VASE", "quantity": 1}, {"id": "2", "sku": "LAMP", "quantity": 1}]
    assert client.post(ORDERS, json=order).json()["attention"] == ["address", "address_refused"]
    told = client.get(f"{ORDERS}/{order_id}").json()
    assert [line["variant_id"] for line in told["lines"]] == [str(vase), str(lamp)]
    order["address"]["line"] = "Calle Menor 2"
    assert client.post(ORDERS, json=order).json()["state"] == "ready"
    assert waiting(merchant, order_id) == []
    with transaction(merchant_id=merchant) as session:
        open_items(session, faults, merchant_id=merchant)
    order["customer"] = {"phone": "600 000 000"}  # what the address lacked
    assert client.post(ORDERS, json=order).json()["state"] == "ready"
    assert waiting(merchant, order_id) == []


def test_every_cause_says_what_can_be_done():
    assert all(action.strip() for action in ACTIONS.values())


# -- What the database keeps to ----------------------------------------------------------------------------------------


def refused_by(merchant, statement, **asked):
    """The constraint that refuses a statement."""
    with pytest.raises(IntegrityError) as caught, transaction(merchant_id=merchant) as session:
        session.execute(text(statement), asked)
    return caught.value.orig.diag.constraint_name


WAYS = {  # state → how it is reached from `planned`
    "planned": (),
    "sending": ("sending",),
    "placed": ("sending", "placed"),
    "refused": ("sending", "refused"),
    "unknown": ("sending", "unknown"),
    "cancelled": ("cancelled",),
}


def test_intents_move_as_the_python_says_and_not_otherwise(merchant):
    (receipt,) = take(merchant, said_order())
    for was, to in itertools.product(WAYS, WAYS):
        if was == to:
            continue
        intent = meant(merchant, receipt.order_id)
        for step in WAYS[was]:
            move(merchant, intent, step)
        if to in MOVES[was]:
            move(merchant, intent, to)
        else:
            with pytest.raises(IntegrityError) as caught:
                move(merchant, intent, to)
            assert caught.value.orig.diag.constraint_name == "intents_move_check", (was, to)


def test_whoever_sends_is_alone_and_sends_what_was_planned(merchant):
    (receipt,) = take(merchant, said_order())
    (line,) = line_ids(merchant, receipt.order_id)
    intent = meant(merchant, receipt.order_id, (line, 1), to="sending")
    update = "UPDATE intents SET {} WHERE id = :id"
    assert refused_by(merchant, update.format("sender = 'another'"), id=intent) == "intents_one_sender_check"
    assert refused_by(merchant, update.format("sender = NULL"), id=intent) == "intents_sender_check"
    for what in ("address = '{}'", "ceiling = 5, currency = 'EUR'", "shipping = '{x}'"):
        assert refused_by(merchant, update.format(what), id=intent) == "intents_as_sent_check"
    for what in ("reference = 'other'", "connection_id = gen_random_uuid()"):
        assert refused_by(merchant, update.format(what), id=intent) == "intents_same_check"
    lines = "WHERE intent_id = :id"
    for what in (f"DELETE FROM intent_lines {lines}", f"UPDATE intent_lines SET quantity = 2 {lines}"):
        assert refused_by(merchant, what, id=intent) == "intents_as_sent_check"
    assert refused_by(merchant, update.format("state = 'planned'"), id=intent) == "intents_sender_check"


def test_no_piece_is_in_two_intents_that_may_both_reach_a_supplier(merchant):
    (receipt,) = take(merchant, said_order(external_id="pieces"))
    (line,) = line_ids(merchant, receipt.order_id)
    with transaction(merchant_id=merchant) as session:
        session.execute(text("UPDATE order_lines SET quantity = 3 WHERE id = :id"), {"id": line})
    first = meant(merchant, receipt.order_id, (line, 2), to="unknown")
    with pytest.raises(IntegrityError) as caught:
        meant(merchant, receipt.order_id, (line, 2))
    assert caught.value.orig.diag.constraint_name == "order_lines_once_check"
    less = "UPDATE order_lines SET cancelled_quantity = :n WHERE id = :id"
    assert refused_by(merchant, less, n=2, id=line) == "order_lines_once_check"
    with transaction(merchant_id=merchant) as session:
        session.execute(text(less), {"n": 1, "id": line})
    move(merchant, first, "refused")
    second = meant(merchant, receipt.order_id, (line, 2), to="placed")  # of one that was refused they are free again
    with transaction(merchant_id=merchant) as session:  # the supplier took the order without this line
        session.execute(
            text("UPDATE intent_lines SET refused_code = 'out_of_stock' WHERE intent_id = :id"), {"id": second}
        )
    meant(merchant, receipt.order_id, (line, 2))
    back = "UPDATE intent_lines SET refused_code = NULL WHERE intent_id = :id"
    assert refused_by(merchant, back, id=second) == "intents_as_sent_check"


def test_two_who_plan_at_once_do_not_both_get_the_piece(merchant):
    (receipt,) = take(merchant, said_order(external_id="race"))
    (line,) = line_ids(merchant, receipt.order_id)
    began, ends = threading.Barrier(4), []

    def plan():
        began.wait()
        try:
            ends.append(meant(merchant, receipt.order_id, (line, 1)))
        except IntegrityError as refused:
            ends.append(refused.orig.diag.constraint_name)

    threads = [threading.Thread(target=plan) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ends.count("order_lines_once_check") == 3, ends


def test_an_orders_state_follows_from_its_rows(merchant):
    stocked(merchant, "LAMP")
    (receipt,) = take(merchant, said_order(external_id="story"))
    order_id = receipt.order_id
    (line,) = line_ids(merchant, order_id)

    def settled():
        with transaction(merchant_id=merchant) as session:
            settle(session, [order_id], merchant_id=merchant)
        return state(merchant, order_id)

    def supplier_order(intent, id_, state_):
        with transaction(merchant_id=merchant) as session:
            session.execute(
                text("""INSERT INTO supplier_orders (merchant_id, connection_id, id, intent_id, state)
                    SELECT merchant_id, connection_id, :id, id, :state FROM intents WHERE id = :intent
                    ON CONFLICT (merchant_id, connection_id, id) DO UPDATE SET state = excluded.state"""),
                {"id": id_, "state": state_, "intent": intent},
            )

    assert settled() == "attention"
    with transaction(merchant_id=merchant) as session:
        session.execute(
            text(
                "UPDATE order_lines SET quantity = 3, variant_id = gen_random_uuid(), mapped_by = 'hand' WHERE id = :id"
            ),
            {"id": line},
        )
    assert settled() == "ready"
    first = meant(merchant, order_id, (line, 2))
    assert settled() == "fulfilling"
    move(merchant, first, "sending")
    move(merchant, first, "unknown")
    assert settled() == "fulfilling"
    move(merchant, first, "placed")
    assert settled() == "partly_placed"
    second = meant(merchant, order_id, (line, 1), to="refused")
    assert settled() == "partly_placed"
    third = meant(merchant, order_id, (line, 1), to="placed")
    assert settled() == "placed"
    supplier_order(first, "a", "shipped")
    supplier_order(third, "b", "processing")
    assert settled() == "placed"
    supplier_order(third, "b", "delivered")
    assert settled() == "shipped"
    supplier_order(first, "a", "delivered")
    assert settled() == "delivered"
    assert second
