"""AliExpress: placing orders, what becomes of them, push messages."""

import hashlib
import hmac
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest

from tests.sandbox.aliexpress import ADDRESS, DS, Client, place, read, truth, unwrapped


def test_an_order_and_what_becomes_of_it(sandbox, ds, sku):
    result = place(ds, (sku, 2))
    (id_,) = unwrapped(result["order_list"], "number")
    assert result == {"is_success": True, "order_list": {"number": [id_]}}
    early = read(ds, id_)
    assert (early["code"], early["sub_code"]) == ("15", "isv.insufficient-permission")
    sandbox.advance(seconds=10)
    statuses, logistics = [], []
    for _ in range(30):
        order = read(ds, id_)
        statuses.append(order["order_status"])
        logistics.append(order["logistics_status"])
        sandbox.advance(hours=12)
    assert list(dict.fromkeys(statuses)) == [
        "RISK_CONTROL",
        "WAIT_SELLER_SEND_GOODS",
        "WAIT_BUYER_ACCEPT_GOODS",
        "FINISH",
    ]
    assert logistics[-1] == "BUYER_ACCEPT_GOODS"
    (child,) = unwrapped(order["child_order_list"], "aeop_child_order_info")
    assert (child["product_count"], child["sku_id"]) == (2, str(sku["sku_id"]))
    assert set(order["user_order_amount"]) == {"amount", "currency_code"}
    stranger = sandbox.control("POST", "aliexpress/tokens", {"app_key": DS[0], "account": "someone"})["access_token"]
    assert read(Client(sandbox, session=stranger), id_)["code"] == "15"
    assert next(line for line in truth(sandbox) if line["sku_id"] == sku["sku_id"])["stock"] == 48


def test_an_out_order_id_is_used_once_a_day(sandbox, ds, sku):
    first = place(ds, (sku, 1))
    again = place(ds, (sku, 1))
    assert (again["is_success"], again["error_code"]) == (False, "REPEATED_ORDER_ERROR")
    sandbox.control("PATCH", "aliexpress/settings", {"repeated_order": "same"})
    assert place(ds, (sku, 1)) == first
    with pytest.raises(httpx.RemoteProtocolError):
        place(ds, (sku, 1), out_order_id="po-2", fault="lost")
    place(ds, (sku, 1), out_order_id="po-2")
    assert len(sandbox.control("GET", "aliexpress/orders")) == 2
    sandbox.advance(hours=25)
    assert place(ds, (sku, 1)) != first
    assert len(sandbox.ledger(effect="order_created")) == 3


def test_created_but_not_paid(sandbox, ds, sku):
    sandbox.control("PATCH", "aliexpress/settings", {"auto_pay": False})
    result = place(ds, (sku, 1))
    assert result["is_success"]
    assert result["error_msg"] == "OrderCreated, autoPay fail:APIPayFail"
    id_ = result["order_list"]["number"][0]
    sandbox.advance(hours=1)
    order = read(ds, id_)
    assert (order["order_status"], order["pay_timeout_second"]) == ("PLACE_ORDER_SUCCESS", 82_800)
    sandbox.advance(hours=24)
    order = read(ds, id_)
    assert order["order_status"] == "FINISH"
    assert unwrapped(order["child_order_list"], "aeop_child_order_info")[0]["end_reason"] == "CANCELED"


def test_orders_that_cannot_be(sandbox, ds, sku):
    def code(*lines, **changed):
        result = place(ds, *(lines or [(sku, 1)]), **changed)
        assert not result["is_success"]
        return result["error_code"]

    camel = {"address": "x", "city": "y", "provinceName": "z", "country": "FR", "mobileNo": "1"}
    assert code(address=camel) == "B_DROPSHIPPER_DELIVERY_ADDRESS_VALIDATE_FAIL"
    assert code(address={**ADDRESS, "mobile_no": "61 23"}) == "B_DROPSHIPPER_DELIVERY_ADDRESS_VALIDATE_FAIL"
    assert code(({**sku, "sku_attr": str(sku["sku_id"])}, 1)) == "SKU_NOT_EXIST"
    assert code(({**sku, "product_id": 5}, 1)) == "ITEM_ID_NOT_FOUND"
    assert code((sku, 51)) == "INVENTORY_HOLD_ERROR"
    assert code((sku, 30), (sku, 30)) == "INVENTORY_HOLD_ERROR"
    assert sandbox.control("GET", "aliexpress/orders") == []


def test_one_call_can_make_several_orders(sandbox, ds, sku):
    other = next(t for t in truth(sandbox) if t["store"] != sku["store"] and t["active"] and t["stock"] > 2)
    ids = place(ds, (sku, 1), (other, 1))["order_list"]["number"]
    assert len(ids) == 2
    assert {order["store"] for order in sandbox.control("GET", "aliexpress/orders")} == {sku["store"], other["store"]}


def test_tracking(sandbox, ds, sku):
    id_ = place(ds, (sku, 1))["order_list"]["number"][0]
    asked = {"ae_order_id": str(id_), "language": "en_US"}
    nothing = {"ret": False, "msg": "TRACKING DATA NOT FOUND", "code": "1001"}
    assert ds("aliexpress.ds.order.tracking.get", **asked)["result"] == nothing
    assert ds("aliexpress.ds.order.tracking.get", **{**asked, "ae_order_id": "7"})["result"] == nothing
    sandbox.advance(days=8)
    result = ds("aliexpress.ds.order.tracking.get", **asked)["result"]
    (parcel,) = unwrapped(result["data"]["tracking_detail_line_list"], "tracking_detail")
    nodes = unwrapped(parcel["detail_node_list"], "detail_node")
    assert [node["tracking_name"] for node in nodes] == ["In transit", "Package in preparation"]
    assert nodes[0]["time_stamp"] > nodes[1]["time_stamp"] > 10**12
    assert unwrapped(parcel["package_item_list"], "package_item")[0]["quantity"] == 1


def test_push_messages_are_signed_and_repeated_until_taken(sandbox, ds, sku):
    received, refusing = [], [True]

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.headers["Authorization"], body))
            self.send_response(503 if refusing[0] else 200)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/push"
        sandbox.control("PUT", f"aliexpress/apps/{DS[0]}", {"secret": DS[1], "push_url": url})
        id_ = place(ds, (sku, 1))["order_list"]["number"][0]
        refused = sandbox.control("POST", "aliexpress/push")
        assert {(push["event"], push["status"]) for push in refused} == {("OrderCreated", 503)}
        refusing[0] = False
        sandbox.control("POST", "aliexpress/push")
        sandbox.advance(days=3)
        sandbox.control("POST", "aliexpress/push")
        deadline = time.monotonic() + 10  # the sandbox may be pushing by itself at the same time
        while time.monotonic() < deadline and not any(b"OrderShipped" in body for _, body in received):
            time.sleep(0.05)
        assert sandbox.control("POST", "aliexpress/push") == []
        sandbox.control("PUT", f"aliexpress/apps/{DS[0]}", {"secret": DS[1]})
        server.shutdown()
        thread.join()
    for authorization, body in received:
        expected = hmac.new(b"helloworld", b"12345678" + body, hashlib.sha256).hexdigest()
        assert authorization == expected
    events = [json.loads(body)["data"] for _, body in received]
    assert {event["orderId"] for event in events} == {id_}
    assert list(dict.fromkeys(event["orderStatus"] for event in events)) == [
        "OrderCreated",
        "PaymentAuthorized",
        "OrderShipped",
    ]
