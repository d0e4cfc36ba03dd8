"""What becomes of orders at suppliers: states, parcels, what wants somebody, what is sent back, what is pushed."""

import hashlib
import hmac
import json

import pytest
from sqlalchemy import select

from services.core.clock import now
from services.core.db import transaction
from services.jobs.control import cancel_job
from services.models import Job
from services.orders.incoming.cancel import cancel_order
from services.orders.incoming.changes import OrderAlreadySent
from tests import inline
from tests.conftest import headers_for, make_merchant
from tests.orders.selling import FRANCE, Shop, connect, goods_of, stock_up

DAY = 86_400


@pytest.fixture(params=["aliexpress", "bigbuy"])
def shop(request, world):
    return Shop(world, supplier=request.param)


def due(shop):
    """Time enough has passed that everything is to be asked after."""
    shop.rows("UPDATE supplier_orders SET check_at = now() WHERE check_at IS NOT NULL RETURNING id")


def follow(shop):
    """One round, and the jobs it set going."""
    with transaction(merchant_id=shop.merchant) as session:
        from services.jobs import enqueue
        from services.orders.jobs import FollowOrders

        job_id, _ = enqueue(session, FollowOrders(), merchant_id=shop.merchant)
    ended = inline.work(job_id)
    assert ended["state"] == "succeeded", ended
    for id_ in active(shop, "follow_supplier_orders"):
        assert inline.work(id_)["state"] == "succeeded"
    return ended["result"]


def active(shop, kind):
    with transaction(merchant_id=shop.merchant) as session:
        mine = select(Job.id).where(Job.merchant_id == shop.merchant, Job.kind == kind, Job.ended_at.is_(None))
        return list(session.scalars(mine))


def test_states_and_parcels_are_followed_to_the_door(shop, client):
    client.headers.update(headers_for(shop.merchant))
    order_id = shop.order(1)
    shop.fulfil(order_id)
    seen = [shop.state(order_id)]
    while seen[-1] != "delivered" and len(seen) < 4:
        shop.world.ask("POST", "clock/advance", {"seconds": DAY})
        due(shop)
        follow(shop)
        if shop.state(order_id) != seen[-1]:
            seen.append(shop.state(order_id))
    assert seen == ["placed", "shipped", "delivered"]
    told = client.get(f"/api/v1/orders/{order_id}/tracking").json()
    (one,) = told["supplier_orders"]
    (parcel,) = one["parcels"]
    assert (told["state"], one["state"], told["parcels"], told["under_way"]) == ("delivered", "delivered", 1, [])
    assert parcel["number"]
    assert parcel["carrier"]
    assert told["shipped_at"] <= told["delivered_at"]
    kinds = [row["kind"] for row in shop.rows("SELECT kind FROM order_events WHERE order_id = :id", id=order_id)]
    assert kinds.count("parcel_found") == 1
    assert kinds.count("supplier_order_moved") >= 2
    assert shop.rows("SELECT id FROM supplier_orders WHERE check_at IS NOT NULL") == []  # its story is over
    assert shop.waiting(order_id) == []


def test_parcels_of_several_suppliers_are_one_orders(world, client):
    shop = Shop(world, things=1)
    client.headers.update(headers_for(shop.merchant))
    other = connect(world, shop.merchant, "aliexpress")
    shop.skus.append(stock_up(shop.merchant, other, goods_of(world, "aliexpress")[0]))
    order_id = shop.order(1, 1, address={**FRANCE, "email": "jeanne@example.com"})
    shop.fulfil(order_id)
    assert (shop.state(order_id), shop.waiting(order_id)) == ("placed", [])
    for _ in range(12):
        world.ask("POST", "clock/advance", {"seconds": DAY})
        due(shop)
        follow(shop)
        if shop.state(order_id) != "placed":
            break
    told = client.get(f"/api/v1/orders/{order_id}/tracking").json()
    assert {one["connection_id"] for one in told["supplier_orders"]} == {str(shop.connection_id), str(other)}
    assert told["state"] == "shipped", told
    assert (told["parcels"], [len(one["parcels"]) for one in told["supplier_orders"]]) == (2, [1, 1])


def test_parcels_of_many_orders_are_asked_for_in_one_call(world):
    """And what they say nothing new of is not read, but for now and then."""
    shop = Shop(world)
    orders = [shop.order(1) for _ in range(3)]
    for order_id in orders:
        shop.fulfil(order_id)

    def told():
        counts = world.ask("GET", "ledger?limit=1")["counts"]
        return [sum(one["calls"] for one in counts if one["route"] == route) for route in ("order", "tracking/orders")]

    def calls():
        due(shop)
        before = told()
        follow(shop)
        return tuple(now - then for now, then in zip(told(), before, strict=True))

    assert calls() == (3, 1), "read once by themselves"
    assert calls() == (0, 1)
    with world.fault("soft", route="tracking/orders", variant="inverted", count=1):
        assert calls()[0] == 3, "where all cannot be asked after together, each is by itself"
    world.ask("POST", "clock/advance", {"seconds": 3 * DAY})
    assert calls() == (3, 1), "their parcels are news"
    assert {shop.state(order_id) for order_id in orders} <= {"shipped", "delivered"}
    shop.rows("UPDATE supplier_orders SET check_at = now(), state = 'shipped' RETURNING id")
    assert calls() == (0, 1)
    shop.rows("UPDATE supplier_orders SET check_at = now(), checked_at = now() - interval '13 hours' RETURNING id")
    assert calls() == (3, 1), "what was not read for long may have been cancelled"


def test_somebody_wants_to_know_now(shop, client):
    client.headers.update(headers_for(shop.merchant))
    order_id = shop.order(1)
    shop.fulfil(order_id)
    shop.world.ask("POST", "clock/advance", {"seconds": 3 * DAY})
    asked = client.post(f"/api/v1/orders/{order_id}/tracking")
    assert asked.status_code == 202, asked.text
    (job_id,) = asked.json()["job_ids"]
    assert client.post(f"/api/v1/orders/{order_id}/tracking").json()["job_ids"] == [job_id]
    assert inline.work(job_id)["state"] == "succeeded"
    told = client.get(f"/api/v1/orders/{order_id}/tracking").json()
    assert (told["state"], told["parcels"]) in (("shipped", 1), ("delivered", 1))
    client.headers.update(headers_for(make_merchant()))
    assert client.post(f"/api/v1/orders/{order_id}/tracking").json()["code"] == "order_not_found"


def test_what_grows_old_is_put_before_somebody_and_taken_away_again(shop):
    order_id = shop.order(1)
    shop.fulfil(order_id)
    shop.rows("UPDATE supplier_orders SET created_at = now() - interval '8 days' RETURNING id")
    follow(shop)
    assert shop.waiting(order_id) == ["no_tracking"]
    for _ in range(20):
        shop.world.ask("POST", "clock/advance", {"seconds": DAY})
        due(shop)
        follow(shop)
        if shop.state(order_id) == "shipped":
            break
    assert shop.waiting(order_id) == []
    shop.rows("UPDATE parcels SET last_change = now() - interval '49 hours' RETURNING id")
    follow(shop)
    assert shop.waiting(order_id) == ["no_movement"]


def test_what_a_supplier_has_cancelled_is_bought_again_when_somebody_asks(shop):
    order_id = shop.order(1)
    shop.fulfil(order_id)
    (true,) = shop.bought()
    gone = {"status": "Cancelled"} if shop.supplier == "bigbuy" else {"cancelled": True}
    shop.world.ask("PATCH", f"{shop.supplier}/orders/{true['id']}", gone)
    due(shop)
    shop.later()
    follow(shop)
    assert (shop.state(order_id), shop.waiting(order_id)) == ("placed", ["cancelled_by_supplier"])
    assert len(shop.bought()) == 1
    shop.fulfil(order_id)
    assert (shop.state(order_id), shop.waiting(order_id), len(shop.bought())) == ("placed", [], 2)
    first, second = shop.standings(order_id)
    assert (first.state, second.state) == ("placed", "placed")
    with pytest.raises(OrderAlreadySent):
        shop.ask(order_id)


def test_what_was_left_lying_is_taken_up_by_the_next_round(shop):
    order_id = shop.order(1)
    job_id = shop.ask(order_id)
    with shop.world.fault("lost", route="*create*", count=1):
        inline.work(job_id)
    shop.rows("UPDATE jobs SET state = 'cancelled', ended_at = now() WHERE id = :id RETURNING id", id=job_id)
    shop.rows("UPDATE intents SET updated_at = now() - interval '1 hour' RETURNING id")
    assert follow(shop)["taken_up"] == 1
    assert follow(shop)["taken_up"] == 0  # a job is at it
    (taken_up,) = active(shop, "process_order_fulfillment")
    shop.later()
    shop.work(taken_up)
    assert (shop.state(order_id), len(shop.bought())) == ("placed", 1)


def test_what_a_cancelled_job_has_not_sent_is_given_up(shop):
    """One order has one intent that waits, another is with its supplier: it stays."""
    sent = shop.order(1)
    shop.fulfil(sent)
    shop.policy(cancel_window_seconds=3600)
    order_id = shop.order(1)
    job_id = shop.ask(order_id)
    inline.work(job_id)
    assert follow(shop)["given_up"] == 0
    with transaction(merchant_id=shop.merchant) as session:
        cancel_job(session, job_id)
    assert (shop.state(order_id), follow(shop)["given_up"]) == ("fulfilling", 1)
    assert (shop.state(order_id), shop.state(sent)) == ("ready", "placed")
    assert [at.state for at in shop.standings(order_id)] == ["cancelled"]
    assert follow(shop)["given_up"] == 0


def test_lines_are_sent_back_once_within_the_window(shop, client):
    client.headers.update(headers_for(shop.merchant))
    order_id = shop.order(2)
    line = str(shop.rows("SELECT id FROM order_lines WHERE order_id = :id", id=order_id)[0]["id"])
    body = {"lines": [{"line_id": line, "quantity": 1, "reason": "too small"}]}
    assert client.post(f"/api/v1/orders/{order_id}/return", json=body).json()["code"] == "nothing_to_return"
    shop.fulfil(order_id)
    made = client.post(f"/api/v1/orders/{order_id}/return", json=body, headers={"Idempotency-Key": f"r-{order_id}"})
    assert made.status_code == 201, made.text
    again = client.post(f"/api/v1/orders/{order_id}/return", json=body, headers={"Idempotency-Key": f"r-{order_id}"})
    assert again.json() == made.json()
    body["lines"][0]["quantity"] = 2
    refused = client.post(f"/api/v1/orders/{order_id}/return", json=body)
    assert (refused.status_code, refused.json()["param"]) == (422, "lines.0.quantity")
    where = f"/api/v1/orders/{order_id}/returns/{made.json()['id']}"
    assert client.patch(where, json={"state": "refunded"}).json()["code"] == "return_move_not_allowed"
    assert client.patch(where, json={"state": "approved"}).json()["state"] == "approved"
    assert client.patch(where, json={"state": "rejected"}).json()["state"] == "rejected"
    assert client.post(f"/api/v1/orders/{order_id}/return", json=body).status_code == 201  # all of it may come again
    shop.rows("UPDATE supplier_orders SET state = 'delivered', state_at = now() - interval '31 days' RETURNING id")
    late = client.post(f"/api/v1/orders/{order_id}/return", json=body)
    assert (late.status_code, late.json()["code"]) == (409, "return_window_over")


def test_a_push_is_a_hint_that_is_read_again(world, anonymous):
    shop = Shop(world, supplier="aliexpress")
    order_id = shop.order(1)
    shop.fulfil(order_id)
    (known,) = shop.rows("SELECT id FROM supplier_orders")
    where = f"/push/aliexpress/{shop.merchant}/{shop.connection_id}"

    def push(id_, *, secret=b"helloworld", status="OrderShipped", to=where):
        body = json.dumps({"message_type": 53, "data": {"orderId": int(id_), "orderStatus": status}}).encode()
        signed = hmac.new(secret, b"12345678" + body, hashlib.sha256).hexdigest()
        return anonymous.post(to, content=body, headers={"Authorization": signed})

    assert anonymous.get(where).status_code == 200
    assert push(known["id"], secret=b"wrong").status_code == 401
    assert push(known["id"], to=where.replace(str(shop.merchant), str(shop.connection_id))).status_code == 404
    assert active(shop, "check_supplier_order") == []
    assert push("999").status_code == 200  # nobody's here
    assert push(known["id"]).status_code == 200
    assert push(known["id"]).status_code == 200
    (job_id,) = active(shop, "check_supplier_order")  # however often it is told
    assert inline.work(job_id)["state"] == "succeeded"
    assert shop.state(order_id) == "placed"  # it lied: AliExpress has not shipped it


def reconcile(shop, client):
    """A comparison of today, on demand: its result."""
    asked = {"connection_id": str(shop.connection_id), "since": now().date().isoformat()}
    answer = client.post("/api/v1/orders/reconcile", json=asked)
    assert answer.status_code == 202, answer.text
    ended = inline.work(answer.json()["job_id"])
    assert ended["state"] == "succeeded", ended
    return ended["result"]


def test_the_ledgers_are_compared_and_either_side_may_lack_something(world, client):
    shop = Shop(world)
    client.headers.update(headers_for(shop.merchant))
    placed, forgotten, invented = shop.order(1), shop.order(1), shop.order(1)
    for order_id in (placed, forgotten, invented):
        shop.fulfil(order_id)
    shop.later()
    assert reconcile(shop, client) == {"compared": 3, "not_at_supplier": 0, "not_here": 0}
    # Of one order nothing was noted here; of another something that never was.
    (lost,) = shop.standings(forgotten)
    (true,) = shop.rows("DELETE FROM supplier_orders WHERE intent_id = :id RETURNING id", id=lost.id)
    (odd,) = shop.standings(invented)
    shop.rows("UPDATE supplier_orders SET id = '999' WHERE intent_id = :id RETURNING id", id=odd.id)
    assert reconcile(shop, client) == {"compared": 3, "not_at_supplier": 1, "not_here": 2}
    assert (shop.waiting(placed), shop.waiting(forgotten)) == ([], ["not_here"])
    assert shop.waiting(invented) == ["not_at_supplier", "not_here"]
    # What was taken back when a supplier had said that it takes no more calls, and was made all the same.
    gone = shop.order(1)
    with world.fault("quota", route="order/create", after_effect=True, count=1):
        inline.work(shop.ask(gone))
    with transaction(merchant_id=shop.merchant) as session:
        cancel_order(session, gone, merchant_id=shop.merchant)
    shop.later()
    assert reconcile(shop, client) == {"compared": 4, "not_at_supplier": 1, "not_here": 1}
    assert (shop.state(gone), shop.waiting(gone)) == ("cancelled", ["not_here"])
    # What is there is followed from now on, and the next comparison finds it.
    assert shop.rows("SELECT id FROM supplier_orders WHERE intent_id = :id", id=lost.id) == [true]
    assert reconcile(shop, client)["not_here"] == 0
    assert shop.waiting(forgotten) == []
    wrong = client.post("/api/v1/orders/reconcile", json={"since": "2020-01-01"})
    assert (wrong.status_code, wrong.json()["param"]) == (422, "since")
    # Refused credentials are told to the merchant.
    with world.fault("revoked", supplier="bigbuy", route="order/*"):
        asked = {"connection_id": str(shop.connection_id), "since": now().date().isoformat()}
        job_id = client.post("/api/v1/orders/reconcile", json=asked).json()["job_id"]
        assert inline.work(job_id)["error_code"] == "supplier_reconnect_needed"
    assert client.get(f"/api/v1/suppliers/{shop.connection_id}").json()["state"] == "reconnect_needed"
