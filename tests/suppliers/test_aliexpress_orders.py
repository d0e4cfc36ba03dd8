"""Orders at AliExpress: the three ids that look alike, freight, and what each answer to a creation means."""

import json
from dataclasses import replace
from decimal import Decimal

import pytest

from services.core.clock import now
from services.suppliers import aliexpress
from services.suppliers.aliexpress.calls import Booked
from services.suppliers.base import Address, Connection, Money, OrderDraft, OrderLine, OrderState
from services.suppliers.errors import (
    FatalForConnection,
    FatalForItem,
    NotOffered,
    ReconnectNeeded,
    Retry,
    UnknownOutcome,
    WaitUntil,
)
from tests.suppliers.canned import Says
from tests.suppliers.test_aliexpress import ID, PRODUCT, gateway

ADDRESS = Address(
    first_name="Jeanne", last_name="Martin", line="12 rue de Rivoli", town="Paris", postcode="75001", country="FR",
    phone="612345678", phone_country="+33", province="Ile-de-France",
)  # fmt: skip
LINE = OrderLine("14:29#Bear;183:200007741", 2, product_id=ID, variant_id="12000044126059467")
DRAFT = OrderDraft("po-0001", (LINE,), ADDRESS)


def freight(*options, **more):
    result = {"msg": "x", "code": 200, "success": True, "delivery_options": {"delivery_option_d_t_o": list(options)}}
    return {"aliexpress_ds_freight_query_response": {"result": {**result, **more}, "request_id": "r"}}


STANDARD = {"code": "CAINIAO_FULFILLMENT_STD", "shipping_fee_currency": "EUR", "shipping_fee_cent": "1.99"}
DEAR = {"code": "DHL", "shipping_fee_currency": "EUR", "shipping_fee_cent": "25.00", "free_shipping": False}
FREE = {"code": "SLOW", "shipping_fee_currency": "EUR", "free_shipping": True}


def made(**result):
    told = {"is_success": True, "order_list": {"number": [8198352049851315]}}
    return {"aliexpress_ds_order_create_response": {"result": {**told, **result}, "request_id": "r"}}


class Platform:
    """Answers by method, at the one address there is."""

    def __init__(self, canned) -> None:
        self.answers = {
            "aliexpress.ds.product.get": PRODUCT,
            "aliexpress.ds.freight.query": freight(DEAR, STANDARD),
            "aliexpress.ds.order.create": made(),
        }
        self.canned = canned
        canned.on("POST /sync", lambda asked: self.answers[asked.form["method"]])

    def asked(self, method):
        return [one.form for one in self.canned.asked if one.form["method"] == method]


@pytest.fixture
def platform(canned):
    return Platform(canned)


@pytest.fixture
def connection(canned):
    secrets = {"app_key": "12345678", "app_secret": "s", "access_token": "t"}
    return Connection(secrets=secrets, base_url=canned.url, country="FR")


def test_each_id_goes_where_it_belongs(platform, connection):
    placed = aliexpress.place_order(connection, DRAFT)
    assert [(order.id, order.paid) for order in placed.orders] == [("8198352049851315", True)]
    asked = json.loads(platform.asked("aliexpress.ds.freight.query")[0]["queryDeliveryReq"])
    assert (asked["selectedSkuId"], asked["quantity"]) == ("12000044126059467", "2")
    form = platform.asked("aliexpress.ds.order.create")[0]
    sent = json.loads(form["param_place_order_request4_open_api_d_t_o"])
    assert sent["out_order_id"] == "po-0001"
    assert sent["product_items"] == [
        {
            "product_id": int(ID), "product_count": 2, "sku_attr": "14:29#Bear;183:200007741",
            "logistics_service_name": "CAINIAO_FULFILLMENT_STD",
        }
    ]  # fmt: skip
    assert sent["logistics_address"] == {
        "address": "12 rue de Rivoli", "city": "Paris", "contact_person": "Jeanne Martin", "country": "FR",
        "full_name": "Jeanne Martin", "mobile_no": "612345678", "phone_country": "+33",
        "province": "Ile-de-France", "zip": "75001",
    }  # fmt: skip
    assert json.loads(form["ds_extend_request"])["payment"] == {"pay_currency": "USD", "try_to_pay": "true"}


@pytest.mark.parametrize(
    ("options", "shipping", "chosen"),
    [
        ([DEAR, STANDARD], (), ("CAINIAO_FULFILLMENT_STD", "18.01")),
        ([DEAR, STANDARD, FREE], (), ("SLOW", "16.02")),
        ([DEAR, STANDARD, FREE], ("NONE", "DHL", "SLOW"), ("DHL", "41.02")),
    ],
)
def test_the_cheapest_or_the_wanted_freight(platform, connection, options, shipping, chosen):
    service, total = chosen
    platform.answers["aliexpress.ds.freight.query"] = freight(*options)
    draft = OrderDraft("po-0001", (LINE,), ADDRESS, shipping=shipping)
    quote = aliexpress.check_order(connection, draft)
    assert (quote.parts[0].shipping, quote.total) == (service, Money(Decimal(total), "EUR"))


@pytest.mark.parametrize(
    ("line", "answer", "kind"),
    [
        (LINE, freight(msg="DELIVERY_INFO_EMPTY", code=501, success=False), "shipping"),
        (LINE, freight(msg="DELIVERY_NOT_AVAILABLE_TO_YOUR_ADDRESS", code=505, success=False), "shipping"),
        (LINE, freight(), "shipping"),
        (LINE, freight({"code": "X", "shipping_fee_cent": "soon"}), "shipping"),
        (OrderLine(LINE.order_ref, 28, product_id=ID), freight(STANDARD), "out_of_stock"),
        (OrderLine("12000044126059467", 1, product_id=ID), freight(STANDARD), "not_found"),
        (OrderLine(LINE.order_ref, 1, product_id=ID, variant_id="7"), freight(STANDARD), "not_found"),
    ],
)
def test_what_cannot_be_ordered_is_not(platform, connection, line, answer, kind):
    platform.answers["aliexpress.ds.freight.query"] = answer
    draft = OrderDraft("po-0001", (LINE, line), ADDRESS)
    assert aliexpress.check_order(connection, draft).refused[-1].code == kind
    with pytest.raises(FatalForItem):
        aliexpress.place_order(connection, draft)
    assert platform.asked("aliexpress.ds.order.create") == []


class Counting:
    """A meter that notes what is taken, and has something left or has not."""

    learn = None

    def __init__(self, *, left=True):
        self.taken, self.left = [], left

    def take(self, endpoints):
        if not self.left:
            raise WaitUntil(now())
        self.taken.append(list(endpoints))


def test_all_calls_of_a_placing_are_taken_before_the_first(platform, connection):
    """It never stops half-way for a quota, and what is not to be had whole costs nobody anything."""
    meter = Counting()
    draft = replace(DRAFT, lines=(LINE, LINE))
    aliexpress.place_order(replace(connection, meter=meter), draft)
    product, freight, create = (f"aliexpress.ds.{name}" for name in ("product.get", "freight.query", "order.create"))
    assert meter.taken == [[product, freight, freight, create], [], [], [], []]
    platform.canned.asked.clear()
    with pytest.raises(WaitUntil):
        aliexpress.place_order(replace(connection, meter=Counting(left=False)), draft)
    with pytest.raises(FatalForItem):
        aliexpress.place_order(connection, replace(DRAFT, lines=(LINE,) * 61))
    assert platform.canned.asked == []


def test_what_is_taken_ahead_is_called_no_faster_than_allowed():
    clock = [0.0]

    def sleep(seconds):
        clock[0] += seconds

    booked = Booked(Counting(), ["a"] * 5 + ["b"], now=lambda: clock[0], sleep=sleep)
    begun = []
    for _ in range(5):
        booked.take(["a"])
        begun.append(clock[0])
    booked.take(["b"])
    assert begun == [0, 0, 1, 1, 2]


def test_an_order_above_its_ceiling_is_not_placed(platform, connection):
    draft = OrderDraft("po-0001", (LINE,), ADDRESS, ceiling=Money(Decimal("18.00"), "EUR"))
    with pytest.raises(FatalForItem) as caught:
        aliexpress.place_order(connection, draft)
    assert caught.value.kind == "too_dear"
    assert platform.asked("aliexpress.ds.order.create") == []


@pytest.mark.parametrize(
    "answer",
    [
        Says(silent=True),
        Says("", status=500),
        Says("<html/>"),
        Says("{}"),
        Says(made(), cut=40),
        Says(json.dumps(made())[:50], unframed=True),
        made(order_list={}),
        made(order_list=None),
        made(is_success=None),
        made(is_success=False),
        made(is_success=False, error_code="REPEATED_ORDER_ERROR", error_msg="Repeated"),
        {"aliexpress_ds_order_create_response": {"request_id": "r"}},
        gateway("15", kind="ISP", sub="isp.remote-service-timeout"),
        gateway("InternalError", kind="SYSTEM"),
    ],
)
def test_a_lost_answer_to_a_creation_is_an_unknown_outcome(platform, connection, answer):
    platform.answers["aliexpress.ds.order.create"] = answer
    with pytest.raises(UnknownOutcome):
        aliexpress.place_order(connection, DRAFT)
    assert len(platform.asked("aliexpress.ds.order.create")) == 1


@pytest.mark.parametrize(
    ("answer", "error", "kind"),
    [
        (gateway("ApiCallLimit", message="ban will last 1 seconds"), WaitUntil, ""),
        (gateway("IllegalAccessToken"), ReconnectNeeded, ""),
        (gateway("IncompleteSignature"), FatalForConnection, "signature"),
        (gateway("15", sub="isv.insufficient-permission"), FatalForConnection, "permission"),
        (gateway("MissingParameter"), FatalForItem, "invalid"),
        (
            made(is_success=False, error_code="B_DROPSHIPPER_DELIVERY_ADDRESS_VALIDATE_FAIL", error_msg="City?"),
            FatalForItem,
            "address",
        ),
        (made(is_success="false", error_code="INVENTORY_HOLD_ERROR"), FatalForItem, "out_of_stock"),
        (made(is_success=False, error_code="SKU_NOT_EXIST"), FatalForItem, "not_found"),
        (made(is_success=False, error_code="DELIVERY_METHOD_NOT_EXIST"), FatalForItem, "shipping"),
        (made(is_success=False, error_code="A001_ORDER_CANNOT_BE_PLACED"), FatalForItem, "invalid"),
        (made(is_success=False, error_code="USER_ACCOUNT_DISABLED"), FatalForConnection, "permission"),
        (made(is_success=False, error_code="BLACKLIST_BUYER_IN_LIST"), FatalForConnection, "permission"),
    ],
)
def test_a_clear_no_is_no_unknown_outcome(platform, connection, answer, error, kind):
    platform.answers["aliexpress.ds.order.create"] = answer
    with pytest.raises(error) as caught:
        aliexpress.place_order(connection, DRAFT)
    assert caught.value.kind == kind


def test_an_order_that_was_made_and_not_paid(platform, connection):
    platform.answers["aliexpress.ds.order.create"] = made(error_msg="OrderCreated, autoPay fail:APIPayFail")
    placed = aliexpress.place_order(connection, DRAFT)
    assert placed.orders[0].paid is False
    assert "autoPay fail" in placed.note
    platform.answers["aliexpress.ds.order.create"] = made(order_list={"number": 8198352049851315})
    unpaid = aliexpress.place_order(connection, OrderDraft("po-1", (LINE,), ADDRESS, pay=False))
    assert [(order.id, order.paid) for order in unpaid.orders] == [("8198352049851315", False)]


def test_one_call_may_make_several_orders(platform, connection):
    platform.answers["aliexpress.ds.order.create"] = made(order_list={"number": [1, 2]})
    placed = aliexpress.place_order(connection, DRAFT)
    assert [(order.id, order.refs, order.total) for order in placed.orders] == [("1", (), None), ("2", (), None)]


def test_orders_are_not_found_by_reference(connection):
    with pytest.raises(NotOffered):
        aliexpress.find_by_reference(connection, "po-0001")


def status(**result):
    told = {"order_status": "WAIT_SELLER_SEND_GOODS", "user_order_amount": {"amount": "8.34", "currency_code": "USD"}}
    return {"aliexpress_trade_ds_order_get_response": {"result": {**told, **result}, "request_id": "r"}}


CANCELLED = {"aeop_child_order_info": [{"end_reason": "CANCELED"}]}


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (status(), OrderState.PROCESSING),
        (status(order_status="PLACE_ORDER_SUCCESS"), OrderState.UNPAID),
        (status(order_status="WAIT_BUYER_ACCEPT_GOODS"), OrderState.SHIPPED),
        (status(order_status="FINISH", logistics_status="BUYER_ACCEPT_GOODS"), OrderState.DELIVERED),
        (status(order_status="FINISH", child_order_list=CANCELLED), OrderState.CANCELLED),
        (status(order_status="FINISH", logistics_status="DEFAULT"), OrderState.UNKNOWN),
        (status(order_status="BRAND_NEW"), OrderState.UNKNOWN),
    ],
)
def test_states(platform, connection, answer, state):
    platform.answers["aliexpress.trade.ds.order.get"] = answer
    found = aliexpress.order_status(connection, "8198352049851315")
    assert (found.state, found.total) == (state, Money(Decimal("8.34"), "USD"))
    asked = platform.asked("aliexpress.trade.ds.order.get")[0]
    assert json.loads(asked["single_order_query"]) == {"order_id": 8198352049851315}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (gateway("15", kind="ISP", sub="isv.insufficient-permission"), FatalForItem),
        (gateway("isv.invalid-authorization"), FatalForItem),
        (gateway("15", kind="ISP"), Retry),
        (status(order_status=None), Retry),
        ({"aliexpress_trade_ds_order_get_response": {"result": []}}, Retry),
    ],
)
def test_an_order_of_another(platform, connection, answer, error):
    platform.answers["aliexpress.trade.ds.order.get"] = answer
    with pytest.raises(error):
        aliexpress.order_status(connection, "1")


def parcels(**result):
    return {"aliexpress_ds_order_tracking_get_response": {"result": result}}


def test_parcels(platform, connection):
    nodes = [
        {"time_stamp": 1770194210868, "tracking_name": "Package in preparation"},
        {"time_stamp": 1770294210868, "tracking_name": "On its way"},
    ]
    line = {"mail_no": "62727952231", "carrier_name": "Standard", "detail_node_list": {"detail_node": nodes}}
    told = {"tracking_detail_line_list": {"tracking_detail": line}}
    platform.answers["aliexpress.ds.order.tracking.get"] = parcels(ret=True, code="0", msg="", data=told)
    (parcel,) = aliexpress.tracking(connection, ["1"])["1"]
    assert (parcel.number, parcel.carrier, parcel.status) == ("62727952231", "Standard", "On its way")
    assert parcel.at.isoformat() == "2026-02-05T12:23:30.868000+00:00"
    platform.answers["aliexpress.ds.order.tracking.get"] = parcels(ret=False, msg="TRACKING DATA NOT FOUND", code=1001)
    assert aliexpress.tracking(connection, ["1"]) == {}
    for odd in (parcels(ret=False, code="9", msg="x"), parcels(ret=True, code="0"), parcels()):
        platform.answers["aliexpress.ds.order.tracking.get"] = odd
        with pytest.raises(Retry):
            aliexpress.tracking(connection, ["1"])
