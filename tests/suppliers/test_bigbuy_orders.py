"""Orders at BigBuy: what each answer to each step means, and above all what a lost one means."""

import json
from decimal import Decimal

import pytest

from services.suppliers import bigbuy
from services.suppliers.base import Address, Connection, Money, OrderDraft, OrderLine, OrderState
from services.suppliers.errors import (
    FatalForConnection,
    FatalForItem,
    ReconnectNeeded,
    Retry,
    UnknownOutcome,
    WaitUntil,
)
from tests.suppliers.canned import Says

ADDRESS = Address(
    first_name="John", last_name="Doe", line="C/ Altea", town="Valencia", postcode="46005", country="ES",
    phone="664869570", email="john@example.com",
)  # fmt: skip
DRAFT = OrderDraft("ref-1", (OrderLine("S1", 1), OrderLine("H1500113", 2)), ADDRESS, language="es")
CHECKED = {"totalWithoutTaxesAndWithoutShippingCost": 4.52, "totalWithoutTaxes": 8.52, "total": 9.81}
SPLIT = Says(
    {
        "code": 409,
        "message": "This cart contains products from different warehouses.",
        "error_detail": {"warehouses": [{"id": 1, "references": ["S1"]}, {"id": 2, "references": ["H1500113"]}]},
    },
    status=409,
)
PARTS = {
    "orders": [
        {"productReferences": ["S1"], **CHECKED, "warehouse": 1},
        {"productReferences": ["H1500113"], **CHECKED, "warehouse": 2},
    ],
    "errors": [],
}
CREATED = Says(b"", status=201, headers={"Location": "/rest/order/11900001"})
WHOLE = {
    "id": "11900001", "internalReference": "ref-1", "status": "Processing", "totalPaidTaxIncl": 9.81,
    "products": [{"reference": "S1", "quantity": 1}, {"reference": "H1500113", "quantity": 2}],
}  # fmt: skip


def er(code, data=None):
    return Says({"code": code, "message": json.dumps({"info": "x", "data": data or {}})}, status=409)


@pytest.fixture
def connection(canned):
    canned.on("POST /rest/order/check.json", CHECKED)
    canned.on("POST /rest/order/create.json", CREATED)
    canned.on("GET /rest/order/11900001.json", WHOLE)
    return Connection(secrets={"api_key": "k"}, base_url=canned.url)


def test_an_order_is_checked_and_created(canned, connection):
    placed = bigbuy.place_order(connection, DRAFT)
    (order,) = placed.orders
    assert (order.id, order.refs, order.total) == ("11900001", ("S1", "H1500113"), Money(Decimal("9.81"), "EUR"))
    assert not placed.existed
    check, create = canned.asked
    assert check.path == "/rest/order/check.json"
    assert check.body == create.body
    assert create.headers["content-type"] == "application/json"
    sent = json.loads(create.body)["order"]
    assert (sent["internalReference"], sent["language"], sent["paymentMethod"]) == ("ref-1", "es", "moneybox")
    assert sent["products"] == [{"reference": "S1", "quantity": 1}, {"reference": "H1500113", "quantity": 2}]
    assert sent["shippingAddress"]["town"] == "Valencia"
    assert {"name": "correos"} in sent["carriers"]


def test_an_order_above_its_ceiling_is_not_placed(canned, connection):
    for ceiling in (Money(Decimal("9.80"), "EUR"), Money(Decimal(100), "USD")):
        dear = OrderDraft("ref-1", DRAFT.lines, ADDRESS, ceiling=ceiling)
        with pytest.raises(FatalForItem) as caught:
            bigbuy.place_order(connection, dear)
        assert caught.value.kind == "too_dear"
    assert canned.count("/rest/order/create.json") == 0
    just = OrderDraft("ref-1", DRAFT.lines, ADDRESS, ceiling=Money(Decimal("9.81"), "EUR"))
    assert bigbuy.place_order(connection, just).orders


LOST = [
    Says(silent=True),
    Says(b"", status=500),
    Says("<html><h1>504 Gateway Time-out</h1></html>", status=504),
    Says("<html>Oops</html>", status=200, headers={"Location": "/rest/order/1"}),
    Says(b"", status=201),
    Says(b"", status=201, headers={"Location": "/"}),
    Says(b"x" * 100, status=201, cut=10, headers={"Location": "/rest/order/1"}),
    Says({"code": 409, "message": "Something went wrong 5678"}),
    Says("HTTP/1.0 500 Internal Server Error\r\n\r\n{}"),
    Says(b"", status=302, headers={"Location": "/rest/order/1"}),
    Says("not json", status=409),
    er("ER009"),
]


@pytest.mark.parametrize("answer", LOST)
def test_a_lost_answer_to_a_creation_is_an_unknown_outcome(canned, connection, answer):
    canned.on("POST /rest/order/create.json", answer)
    with pytest.raises(UnknownOutcome):
        bigbuy.place_order(connection, DRAFT)
    assert canned.count("/rest/order/create.json") == 1


@pytest.mark.parametrize("answer", LOST)
def test_a_lost_answer_to_a_check_is_tried_again(canned, connection, answer):
    canned.on("POST /rest/order/check.json", answer)
    with pytest.raises((Retry, WaitUntil)):
        bigbuy.place_order(connection, DRAFT)
    assert canned.count("/rest/order/create.json") == 0


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Says("You exceeded the rate limit", status=429), WaitUntil),
        (Says({"code": 401, "message": "x"}, status=401), ReconnectNeeded),
        (er("ER003", {"skus": ["S1"]}), FatalForItem),
        (er("ER014"), FatalForConnection),
        (Says({"code": 400, "message": "Validation Failed", "errors": {"errors": ["no"]}}, status=400), FatalForItem),
    ],
)
def test_a_clear_no_is_no_unknown_outcome(canned, connection, answer, error):
    canned.on("POST /rest/order/create.json", answer)
    with pytest.raises(error):
        bigbuy.place_order(connection, DRAFT)


def test_no_connection_is_no_unknown_outcome(canned, connection):
    canned.stop()
    with pytest.raises(Retry):
        bigbuy.place_order(connection, DRAFT)


def test_an_order_that_is_there_already_is_the_order(canned, connection):
    canned.on("POST /rest/order/create.json", er("ER008", {"orderId": 11900001}))
    placed = bigbuy.place_order(connection, DRAFT)
    assert placed.existed
    assert [(order.id, order.refs) for order in placed.orders] == [("11900001", ("S1", "H1500113"))]
    canned.on("GET /rest/order/11900001.json", Says(b"", status=500))
    assert [(order.id, order.refs) for order in bigbuy.place_order(connection, DRAFT).orders] == [("11900001", ())]
    canned.on("GET /rest/order/11900001.json", {"id": "11900001", "internalReference": "another", "products": []})
    with pytest.raises(UnknownOutcome):
        bigbuy.place_order(connection, DRAFT)
    canned.on("GET /rest/order/reference/ref-1.json", {"id": "11900001", "totalPaidTaxIncl": "9.81"})
    with pytest.raises(FatalForItem) as caught:
        bigbuy.find_by_reference(connection, "ref-1")
    assert caught.value.kind == "another"


def test_an_order_that_is_there_without_its_id_is_looked_up(canned, connection):
    canned.on("POST /rest/order/create.json", er("ER008"))
    canned.on("GET /rest/order/reference/ref-1.json", {"id": "11900001", "totalPaidTaxIncl": "9.81"})
    assert bigbuy.place_order(connection, DRAFT).orders[0].id == "11900001"
    canned.on("GET /rest/order/reference/ref-1.json", b"")
    with pytest.raises(UnknownOutcome):
        bigbuy.place_order(connection, DRAFT)


def test_several_warehouses_are_several_orders(canned, connection):
    canned.on("POST /rest/order/check.json", SPLIT)
    canned.on("POST /rest/order/check/multishipping.json", PARTS)
    refused = {
        "status": 409, "code": "ER003", "message": "Products have no stock.", "productReferences": ["H1500113"],
        "warehouse": 2,
    }  # fmt: skip
    made = {"productReferences": ["S1"], "id": "123", "warehouse": 1, "url": "/rest/order/123"}
    canned.on("POST /rest/order/create/multishipping.json", {"orders": [made], "errors": [refused]})
    quote = bigbuy.check_order(connection, DRAFT)
    assert (len(quote.parts), quote.total) == (2, Money(Decimal("19.62"), "EUR"))
    placed = bigbuy.place_order(connection, DRAFT)
    assert [(order.id, order.refs, order.warehouse) for order in placed.orders] == [("123", ("S1",), "1")]
    assert [(one.refs, one.code) for one in placed.refused] == [(("H1500113",), "out_of_stock")]
    # Both refused: a no. Nothing said of either: not known.
    canned.on("POST /rest/order/create/multishipping.json", {"orders": [], "errors": [refused]})
    with pytest.raises(FatalForItem):
        bigbuy.place_order(connection, DRAFT)
    for answer in ({"orders": [], "errors": []}, {}, b"", Says({"orders": [made] * 5}, cut=30), {"orders": [{}]}):
        canned.on("POST /rest/order/create/multishipping.json", answer)
        with pytest.raises(UnknownOutcome):
            bigbuy.place_order(connection, DRAFT)
    again = {"status": 409, "code": "ER008", "message": "x", "orderId": 77, "productReferences": ["S1"]}
    canned.on("POST /rest/order/create/multishipping.json", {"orders": [], "errors": [again]})
    assert bigbuy.place_order(connection, DRAFT).orders[0].id == "77"


def test_orders_are_found_by_our_reference(canned, connection):
    canned.on("GET /rest/order/reference/ref-1.json", {"id": "11900001", "totalPaidTaxIncl": "9.81"})
    (found,) = bigbuy.find_by_reference(connection, "ref-1")
    assert (found.id, found.refs, found.total.amount) == ("11900001", ("S1", "H1500113"), Decimal("9.81"))
    for nothing in (b"", [], Says({"code": 404, "message": "Not found"}, status=404)):
        canned.on("GET /rest/order/reference/ref-1.json", nothing)
        assert bigbuy.find_by_reference(connection, "ref-1") == ()
    for odd, error in ((er("ER009"), WaitUntil), (Says(b"", status=500), Retry), ({}, Retry), ([1], Retry)):
        canned.on("GET /rest/order/reference/ref-1.json", odd)
        with pytest.raises(error):
            bigbuy.find_by_reference(connection, "ref-1")


@pytest.mark.parametrize("reference", ["", "..", "a/b", "a?b", "a b", "ä", "x" * 101])
def test_a_reference_cannot_lead_elsewhere(canned, connection, reference):
    with pytest.raises(FatalForItem):
        bigbuy.find_by_reference(connection, reference)
    assert canned.asked == []


@pytest.mark.parametrize(
    ("raw", "state"),
    [
        ("Processing", OrderState.PROCESSING),
        ("Payment accepted", OrderState.PROCESSING),
        ("Shipped", OrderState.SHIPPED),
        ("Delivered", OrderState.DELIVERED),
        ("Canceled", OrderState.CANCELLED),
        ("Awaiting payment", OrderState.UNPAID),
        ("Quantum", OrderState.UNKNOWN),
    ],
)
def test_states(canned, connection, raw, state):
    canned.on("GET /rest/order/11900001.json", {**WHOLE, "status": raw})
    assert bigbuy.order_status(connection, "11900001").state is state


def test_an_order_that_is_not_there(canned, connection):
    canned.on("GET /rest/order/11900001.json", b"")
    with pytest.raises(FatalForItem) as caught:
        bigbuy.order_status(connection, "11900001")
    assert caught.value.kind == "not_found"


def test_parcels(canned, connection):
    event = {"trackingNumber": "T1", "statusDescription": "On its way", "statusDate": "2026-11-02 10:00:00",
             "carrier": {"id": "1", "name": "GLS"}, "descriptionTranslated": "x"}  # fmt: skip
    older = {**event, "statusDescription": "Packed", "statusDate": "2026-11-01 10:00:00"}
    mine = {"id": 11900001, "reference": "ref-1", "trackings": [event, older, {"trackingNumber": ""}]}
    others = [{"id": 7, "trackings": [event]}, {"id": 11900002, "trackings": []}, {"trackings": [event]}]
    canned.on("POST /rest/tracking/orders.json", [mine, *others])
    found = bigbuy.tracking(connection, ["11900001", "11900002"])
    assert list(found) == ["11900001"], "what was not asked for is nobody's"
    (parcel,) = found["11900001"]
    assert (parcel.number, parcel.carrier, parcel.status, parcel.at) == ("T1", "GLS", "On its way", None)
    for nothing in (b"", [], Says({"code": 404, "message": "x"}, status=404)):
        canned.on("POST /rest/tracking/orders.json", nothing)
        assert bigbuy.tracking(connection, ["11900001"]) == {}
    assert bigbuy.tracking(connection, ["no number"]) == {}


def test_the_key_is_tried_on_the_wallet(canned, connection):
    canned.on("GET /rest/user/purse.json", '"12.50"')
    assert bigbuy.who_am_i(connection).balance == Money(Decimal("12.50"), "EUR")
    for answer, error in ((Says({}, status=401), ReconnectNeeded), ("<html/>", Retry), ("", Retry), ("{}", Retry)):
        canned.on("GET /rest/user/purse.json", answer)
        with pytest.raises(error):
            bigbuy.who_am_i(connection)
    asked = len(canned.asked)
    for odd in ("", "a b", "a\r\nX: y", "ключ"):
        with pytest.raises(ReconnectNeeded):
            bigbuy.who_am_i(Connection(secrets={"api_key": odd}, base_url=canned.url))
    assert len(canned.asked) == asked
