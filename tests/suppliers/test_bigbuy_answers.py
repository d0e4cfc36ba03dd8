"""Every known shape of BigBuy's errors, as bodies over HTTP, and the class each becomes."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import formatdate

import pytest

from services.core.clock import now
from services.suppliers.base import Connection
from services.suppliers.bigbuy.answers import OrderExists, Said, Split, classified, is_refusal, refusal
from services.suppliers.bigbuy.calls import get
from services.suppliers.errors import (
    FatalForConnection,
    FatalForItem,
    ReconnectNeeded,
    Retry,
    SupplierError,
    WaitUntil,
)
from services.suppliers.wire import Reply
from tests.suppliers.canned import Says

NESTED = {"info": "Said in words.", "data": {"skus": ["S0100001", "S0100002"]}}
WAREHOUSES = {
    "code": 409,
    "message": "This cart contains products from different warehouses. Order them apart.",
    "error_detail": {"warehouses": [{"id": 1, "references": ["59430878"]}, {"id": 3, "references": ["S7106391"]}]},
}
FORM = {
    "code": 400,
    "message": "Validation Failed",
    "errors": {
        "children": {
            "delivery": {"children": {"isoCountry": [], "postcode": {"errors": ["Invalid postcode format."]}}},
            "products": [],
        }
    },
}
TOP_OF_FORM = {"code": 400, "message": "ERROR: This value is not valid.\n", "errors": {"errors": ["Too much."]}}
EMBEDDED = (
    "HTTP/1.0 500 Internal Server Error\r\nCache-Control: no-cache\r\nContent-Type: application/json\r\n\r\n"
    '{"error":"Information is not available right now. Try it again later"}'
)
GATEWAY = "<html><head><title>504</title></head><body><h1>504 Gateway Time-out</h1>No answer in time.</body></html>"


def er(code, data=None, info="Said in words."):
    return Says({"code": code, "message": json.dumps({"info": info, "data": data or {}})}, status=409)


def raised(canned, answer):
    canned.on("GET /rest/order.json", answer)
    with pytest.raises(SupplierError) as caught:
        get(Connection(secrets={"api_key": "k"}, base_url=canned.url), "order")
    return caught.value


@pytest.mark.parametrize(
    ("answer", "error", "kind"),
    [
        (er("ER001", NESTED["data"]), FatalForItem, "not_found"),
        (er("ER002", NESTED["data"]), FatalForItem, "not_found"),
        (er("ER003", NESTED["data"]), FatalForItem, "out_of_stock"),
        (er("ER004", {"zipExample": "NNNNN"}), FatalForItem, "address"),
        (er("ER005", {"moneyBoxAmount": 1.5, "totalOrder": 20}), FatalForItem, "funds"),
        (er("ER007", {"minimunPurchase": 5, "totalOrder": 2}), FatalForItem, "minimum"),
        (er("ER008", {"orderId": 11900001}), OrderExists, "known_there"),
        (er("ER009"), WaitUntil, ""),
        (er("ER010"), FatalForItem, "shipping"),
        (er("ER011"), FatalForItem, "payment"),
        (er("ER012", {"minBankwire": 100}), FatalForItem, "funds"),
        (er("ER013"), FatalForItem, "invalid"),
        (er("ER014"), FatalForConnection, "permission"),
        (Says(WAREHOUSES, status=409), Split, ""),
        (Says(FORM, status=400), FatalForItem, "address"),
        (Says(TOP_OF_FORM, status=400), FatalForItem, "invalid"),
        (Says({"errors": [{"code": 34, "message": "No such page"}]}, status=404), FatalForItem, "not_found"),
        (Says({"code": "Bad request", "message": 400}, status=400), FatalForItem, "invalid"),
        (Says({"code": 401, "message": "Bad token"}, status=401), ReconnectNeeded, ""),
        (Says("<html>no</html>", status=403), FatalForConnection, "permission"),
        (Says({"code": 409, "message": "Something went wrong 5678"}), Retry, ""),
        (Says({"code": "409", "message": "Something went wrong 5678"}), Retry, ""),
        (Says({"code": 500, "message": "No."}), Retry, ""),
        (Says({"error": "Information is not available right now."}), Retry, ""),
        (Says(EMBEDDED), Retry, ""),
        (Says("HTTP/1.1 401 Unauthorized\r\n\r\n{}"), ReconnectNeeded, ""),
        (Says("HTTP/1.0 200 OK\r\n\r\nHTTP/1.0 200 OK\r\n\r\n[]"), Retry, ""),
        (Says(GATEWAY, status=504, headers={"Content-Type": "text/html"}), Retry, ""),
        (Says(GATEWAY, status=200, headers={"Content-Type": "text/html"}), Retry, ""),
        (Says("Idle timeout reached for https://x/", status=500), Retry, ""),
        (Says("", status=503), Retry, ""),
        (Says("", status=302, headers={"Location": "http://127.0.0.1/"}), Retry, ""),
        (Says('{"id": 1', status=200), Retry, ""),
        (Says({"id": "1" * 400}, cut=100), Retry, ""),
        (Says("[" * 100_000), Retry, ""),
        (Says('{"a": NaN}'), Retry, ""),
        (Says(silent=True), Retry, ""),
        (Says(b"\xff\xfe\x00nonsense"), Retry, ""),
    ],
)
def test_each_shape_has_one_class(canned, answer, error, kind):
    found = raised(canned, answer)
    assert isinstance(found, error), repr(found)
    assert found.kind == kind


def test_what_it_was_about_is_told(canned):
    assert raised(canned, er("ER003", NESTED["data"])).items == ("S0100001", "S0100002")
    assert raised(canned, Says(WAREHOUSES, status=409)).items == ("59430878", "S7106391")
    assert "moneyBoxAmount 1.5" in raised(canned, er("ER005", {"moneyBoxAmount": 1.5, "totalOrder": 20})).detail
    assert raised(canned, er("ER008", {"orderId": 11900001})).order_id == "11900001"
    assert raised(canned, Says(FORM, status=400)).detail == "delivery.postcode: Invalid postcode format."
    assert "504 Gateway Time-out" in raised(canned, Says(GATEWAY, status=504)).detail


def test_products_with_a_complaint_each(canned):
    body = {"info": "Products error.", "data": [{"sku": "S5001344", "message": "Inactive product."}]}
    found = raised(canned, Says({"code": 409, "message": json.dumps(body)}, status=409))
    assert (type(found), found.kind, found.items) == (FatalForItem, "inactive", ("S5001344",))
    assert "Inactive product." in found.detail


def test_too_many_calls_are_told_until_when(canned):
    when = int((now() + timedelta(minutes=40)).timestamp())
    found = raised(canned, Says("You exceeded the rate limit", status=429, headers={"X-RateLimit-Reset": str(when)}))
    assert isinstance(found, WaitUntil)
    assert found.when == datetime.fromtimestamp(when, UTC)
    assert 2300 < found.retry_after <= 2400


def test_a_reset_is_reckoned_from_the_answers_own_date(canned):
    """BigBuy's clock may be days off."""
    headers = {"X-RateLimit-Reset": str(800_000_000 + 2400), "Date": formatdate(800_000_000, usegmt=True)}
    found = raised(canned, Says("You exceeded the rate limit", status=429, headers=headers))
    assert 2390 < found.retry_after <= 2400
    headers["Date"] = "yesterday"
    assert raised(canned, Says("You exceeded the rate limit", status=429, headers=headers)).retry_after <= 1


@pytest.mark.parametrize("header", [{}, {"X-RateLimit-Reset": "soon"}, {"X-RateLimit-Reset": "1"}])
def test_a_reset_that_is_no_time_to_come_is_waited_for_briefly(canned, header):
    found = raised(canned, Says("You exceeded the rate limit", status=429, headers=header))
    assert timedelta() < found.when - now() <= timedelta(seconds=60)


def test_a_reset_in_the_far_future_is_waited_for_a_day(canned):
    found = raised(canned, Says("No", status=429, headers={"X-RateLimit-Reset": "999999999999"}))
    assert found.when - now() <= timedelta(days=1)


def test_what_was_asked_for_is_no_error():
    for body in (b"", b"[]", b"null", b'"12.5"', b'{"total": 9.81}', b'[{"code": 500, "message": "x"}]'):
        assert refusal(Reply(200, {}, body)) is None


def test_only_words_of_bigbuys_own_are_a_no():
    """A status alone may come from anything between; what was done behind it is not known."""
    assert is_refusal(Said(409, "ER003", "x"))
    assert is_refusal(Said(400, "", "Validation Failed", fields=("a: b",)))
    assert is_refusal(Said(429, understood=False))
    assert is_refusal(Said(401, understood=False))
    assert not is_refusal(Said(409, "ER009", "x"))
    assert not is_refusal(Said(409, "409", "Something went wrong 1"))
    assert not is_refusal(Said(409, understood=False))
    assert not is_refusal(Said(500, "500", "x"))
    assert not is_refusal(Said(302, understood=False))
    assert not is_refusal(Said(502, understood=False))


def test_errors_go_into_a_problem_body():
    found = classified(Said(409, "ER003", "x", {"skus": ["S1"]}))
    assert found.extra == {"kind": "out_of_stock", "supplier_code": "ER003", "items": ["S1"]}
    assert (found.status, found.code) == (422, "supplier_refused")
