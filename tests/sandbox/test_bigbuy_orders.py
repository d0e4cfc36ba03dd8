"""BigBuy's orders: every error in its shape, uniqueness, what moves with the clock, the purse."""

import copy
import json

import pytest

ADDRESS = {
    "firstName": "John",
    "lastName": "Doe",
    "country": "ES",
    "postcode": "46005",
    "town": "Valencia",
    "address": "C/ Altea",
    "phone": "664869570",
    "email": "john@email.com",
    "comment": "",
}


@pytest.fixture
def goods(sandbox):
    """References that can be bought from warehouse 1, plenty of each, 10.00 euros apiece."""
    products = {item["id"]: item for item in sandbox.bulk("products")}
    truth = [true for true in sandbox.truth().values() if true["active"] and true["warehouse"] == 1]
    simple = [true["sku"] for true in truth if true["id"] in products][:4]
    for sku in simple:
        sandbox.control("PUT", f"bigbuy/products/{sku}", {"stock": 100, "price": 1_000})
    return simple


def elsewhere(sandbox, warehouse):
    """A reference that can be bought from another warehouse."""
    sku = next(t["sku"] for t in sandbox.truth().values() if t["active"] and t["warehouse"] == warehouse)
    sandbox.control("PUT", f"bigbuy/products/{sku}", {"stock": 100, "price": 1_000})
    return sku


def an_order(*lines, reference="R-1", **changed):
    """A body; a line is a reference or (reference, quantity)."""
    pairs = [line if isinstance(line, tuple) else (line, 1) for line in lines]
    order = {
        "internalReference": reference,
        "language": "es",
        "paymentMethod": "moneybox",
        "carriers": [{"name": "correos"}, {"name": "chrono"}, {"name": "gls"}],
        "shippingAddress": dict(ADDRESS),
        "products": [{"reference": sku, "quantity": pieces} for sku, pieces in pairs],
        **changed,
    }
    return {"order": copy.deepcopy(order)}


def nested(answer, code):
    """The data of an error with JSON in its message."""
    assert answer.status_code == 409, answer.text
    body = answer.json()
    assert body["code"] == code
    message = json.loads(body["message"])
    assert set(message) == {"info", "data"}
    return message["data"]


def placed(sandbox, body):
    """The id of a new order."""
    answer = sandbox.bigbuy("order/create", json=body)
    assert answer.status_code == 201, answer.text
    assert answer.content == b""
    assert answer.headers["content-length"] == "0"
    return answer.headers["Location"].removeprefix("/rest/order/")


def test_check_then_create_then_read(sandbox, goods):
    body = an_order((goods[0], 4), goods[1])
    totals = sandbox.bigbuy("order/check", json=body).json()
    assert set(totals) == {"totalWithoutTaxesAndWithoutShippingCost", "totalWithoutTaxes", "total"}
    assert totals["totalWithoutTaxesAndWithoutShippingCost"] == 50.0
    assert 50.0 < totals["totalWithoutTaxes"] < totals["total"]
    assert sandbox.control("GET", "bigbuy/orders") == []
    id_ = placed(sandbox, body)
    assert id_.startswith("119")
    order = sandbox.bigbuy(f"order/{id_}").json()
    assert (order["id"], order["internalReference"], order["status"]) == (id_, "R-1", "Payment accepted")
    assert order["totalPaidTaxIncl"] == totals["total"]
    assert order["totalPaidTaxExcl"] == totals["totalWithoutTaxes"]
    assert order["carriers"][0].keys() == {"id", "name", "price"}
    assert order["shippingAddress"]["town"] == "Valencia"
    assert order["products"][0].keys() == {"id", "reference", "name", "quantity", "priceTaxIncl", "priceTaxExcl"}
    assert {line["reference"]: line["quantity"] for line in order["products"]} == {goods[0]: 4, goods[1]: 1}
    assert sandbox.bigbuy("user/purse").json() == round(10_000 - totals["total"], 2)
    assert sandbox.truth()[goods[0]]["stock"] == 96
    assert sandbox.ledger(effect="order_created")[0]["effects"] == [f"order_created {id_}"]


def test_a_reference_is_used_once(sandbox, goods):
    body = an_order(goods[0])
    id_ = placed(sandbox, body)
    assert nested(sandbox.bigbuy("order/create", json=body), "ER009") == {}
    assert sandbox.bigbuy("order/reference/R-1").status_code == 404
    sandbox.advance(seconds=2)
    assert nested(sandbox.bigbuy("order/create", json=body), "ER008") == {"orderId": id_}
    found = sandbox.bigbuy("order/reference/R-1").json()
    assert found == {"id": id_, "totalPaidTaxIncl": f"{sandbox.bigbuy(f'order/{id_}').json()['totalPaidTaxIncl']:.2f}"}
    assert sandbox.bigbuy("order/reference/R-2").status_code == 404
    sandbox.control("PATCH", "bigbuy/settings", {"missing_order": "empty"})
    nothing = sandbox.bigbuy("order/reference/R-2")
    assert (nothing.status_code, nothing.content) == (200, b"")
    sandbox.control("PATCH", "bigbuy/settings", {"missing_order": "404"})
    assert sandbox.bigbuy("order/check", json=body).status_code == 200
    assert len(sandbox.control("GET", "bigbuy/orders")) == 1
    sandbox.control("PUT", "bigbuy/accounts/second", {})
    sandbox.control("PUT", "bigbuy/keys/second", {"account": "second"})
    assert sandbox.bigbuy("order/create", key="second", json=body).status_code == 201
    assert sandbox.bigbuy(f"order/{id_}", key="second").status_code == 404


def test_a_lost_answer_is_found_by_reference(sandbox, goods):
    import httpx

    with pytest.raises(httpx.RemoteProtocolError):
        sandbox.bigbuy("order/create", json=an_order(goods[0]), fault="lost")
    sandbox.advance(seconds=5)
    id_ = sandbox.bigbuy("order/reference/R-1").json()["id"]
    assert nested(sandbox.bigbuy("order/create", json=an_order(goods[0])), "ER008") == {"orderId": id_}
    lost = sandbox.ledger(route="order/create")[0]
    assert (lost["status"], lost["effects"], lost["faults"]) == (None, [f"order_created {id_}"], ["lost"])


def test_what_is_wrong_with_products(sandbox, goods):
    def data(code, *lines):
        return nested(sandbox.bigbuy("order/check", json=an_order(*lines)), code)

    with_variations = next(item for item in sandbox.bulk("products") if item["attributes"] and item["active"])
    inactive = next(item for item in sandbox.bulk("products") if not item["attributes"] and not item["active"])
    assert data("ER001", goods[0], f"{goods[0][0]}1499992") == {"skus": [f"{goods[0][0]}1499992"]}
    assert data("ER002", goods[0], "nonsense") == {"skus": ["nonsense"]}
    assert data("ER002", with_variations["sku"]) == {"skus": [with_variations["sku"]]}
    assert data("ER003", (goods[0], 101), goods[1]) == {"skus": [goods[0]]}
    assert data(409, inactive["sku"]) == [{"sku": inactive["sku"], "message": "Inactive product."}]
    # Lines of one reference are one line.
    assert data("ER003", (goods[0], 60), (goods[0], 60)) == {"skus": [goods[0]]}


def test_what_is_wrong_with_the_rest(sandbox, goods):
    def data(code, *lines, **changed):
        return nested(sandbox.bigbuy("order/create", json=an_order(*(lines or goods[:1]), **changed)), code)

    assert data("ER004", shippingAddress={**ADDRESS, "postcode": "4600"}) == {"zipExample": "NNNNN"}
    assert data("ER010", carriers=[{"name": "tnt"}]) == {}
    assert data("ER011", paymentMethod="shells") == {}
    assert data("ER013", shippingAddress={**ADDRESS, "country": "US", "postcode": "10001"}) == {}
    wire = data("ER012", paymentMethod="bankwire")
    assert wire["minBankwire"] == 250
    sandbox.control("PATCH", "bigbuy/settings", {"minimum_purchase": 20})
    low = data("ER007")
    assert low["minimunPurchase"] == 20
    assert low["totalOrder"] > 10
    sandbox.control("PATCH", "bigbuy/settings", {"minimum_purchase": 0})
    sandbox.control("PUT", "bigbuy/accounts/main", {"purse": "12.00"})
    poor = data("ER005")
    assert poor["moneyBoxAmount"] == 12
    assert poor["totalOrder"] > 12
    sandbox.control("PUT", "bigbuy/accounts/main", {"pack": False})
    assert data("ER014") == {}
    assert sandbox.control("GET", "bigbuy/orders") == []


def test_the_purse_runs_low(sandbox, goods):
    sandbox.control("PUT", "bigbuy/accounts/main", {"purse": "50.00"})
    made = 0
    while sandbox.bigbuy("order/create", json=an_order(goods[0], reference=f"R{made}")).status_code == 201:
        made += 1
    assert made in (2, 3)
    refused = sandbox.bigbuy("order/create", json=an_order(goods[0], reference="last"))
    left = sandbox.bigbuy("user/purse").json()
    assert nested(refused, "ER005")["moneyBoxAmount"] == left
    first = sandbox.control("GET", "bigbuy/orders")[0]
    for _ in range(2):
        sandbox.control("PATCH", f"bigbuy/orders/{first['id']}", {"status": "Cancelled"})
    assert sandbox.bigbuy("user/purse").json() == pytest.approx(left + float(first["total"]))
    assert sandbox.bigbuy(f"order/{first['id']}").json()["status"] == "Cancelled"


def test_forms_are_validated_as_symfony_does(sandbox, goods):
    bad = an_order(goods[0])
    bad["order"]["internalReference"] = ""
    bad["order"]["shippingAddress"]["address"] = "x" * 71
    bad["order"]["products"].append({"reference": goods[1], "quantity": 0})
    answer = sandbox.bigbuy("order/create", json=bad)
    assert answer.status_code == 400
    body = answer.json()
    assert (body["code"], body["message"]) == (400, "Validation Failed")
    children = body["errors"]["children"]
    assert children["internalReference"] == {"errors": ["This value should not be blank."]}
    assert children["language"] == children["carriers"] == children["cashOnDelivery"] == children["dateAdd"] == []
    address = children["shippingAddress"]["children"]
    assert address["address"] == {"errors": ["This value is too long. It should have 70 characters or less."]}
    assert address["town"] == []
    assert children["products"]["children"][0] == []
    assert children["products"]["children"][1]["children"]["quantity"] == {"errors": ["This value is not valid."]}
    extra = an_order(goods[0], nonsense=1)
    body = sandbox.bigbuy("order/check", json=extra).json()
    assert body["message"] == "ERROR: This form should not contain extra fields.\n"
    assert body["errors"]["errors"] == ["This form should not contain extra fields."]
    for nothing in ({}, [], {"order": []}, {"order": {"products": [[]], "carriers": [3]}}):
        assert sandbox.bigbuy("order/create", json=nothing).status_code == 400
    assert sandbox.control("GET", "bigbuy/orders") == []


def test_bodies_must_be_json(sandbox):
    headers = {"Authorization": "Bearer sandbox-bigbuy-key"}
    url = "/bigbuy/rest/order/check.json"
    assert sandbox.http.post(url, headers=headers, data={"order": "x"}).status_code == 415
    headers["Content-Type"] = "application/json"
    for body in ("{", "", '{"order": ' + "[" * 100_000):
        assert sandbox.http.post(url, headers=headers, content=body).status_code == 400


def test_several_warehouses(sandbox, goods):
    far = elsewhere(sandbox, 3)
    split = sandbox.bigbuy("order/create", json=an_order(goods[0], far))
    assert split.status_code == 409
    body = split.json()
    assert body["message"].startswith("This cart contains products from different warehouses.")
    assert body["error_detail"] == {"warehouses": [{"id": 1, "references": [goods[0]]}, {"id": 3, "references": [far]}]}
    checked = sandbox.bigbuy("order/check/multishipping", json=an_order(goods[0], far)).json()
    assert checked["errors"] == []
    assert [part["warehouse"] for part in checked["orders"]] == [1, 3]
    assert set(checked["orders"][0]) == {
        "productReferences",
        "totalWithoutTaxesAndWithoutShippingCost",
        "totalWithoutTaxes",
        "total",
        "warehouse",
    }
    answer = sandbox.bigbuy("order/create/multishipping", json=an_order(goods[0], far))
    assert answer.status_code == 201
    first, second = answer.json()["orders"]
    assert first == {
        "productReferences": [goods[0]],
        "id": first["id"],
        "url": f"/rest/order/{first['id']}",
        "warehouse": 1,
    }
    assert "\\/rest\\/order" in answer.text
    sandbox.advance(seconds=5)
    assert sandbox.bigbuy("order/reference/R-1").json()["id"] == first["id"]
    assert sandbox.bigbuy(f"order/{second['id']}").json()["internalReference"] == "R-1"
    again = sandbox.bigbuy("order/create/multishipping", json=an_order(goods[0], far))
    assert nested(again, "ER008") == {"orderId": first["id"]}


def test_multishipping_succeeds_in_part(sandbox, goods):
    far = elsewhere(sandbox, 3)
    answer = sandbox.bigbuy("order/create/multishipping", json=an_order(goods[0], (far, 500)))
    assert answer.status_code == 201
    body = answer.json()
    assert [part["productReferences"] for part in body["orders"]] == [[goods[0]]]
    assert body["errors"] == [
        {
            "status": 409,
            "code": "ER003",
            "message": "Products have no stock.",
            "productReferences": [far],
            "warehouse": 3,
        }
    ]
    total = sandbox.bigbuy("order/check", json=an_order(goods[0])).json()["total"]
    sandbox.control("PUT", "bigbuy/accounts/main", {"purse": f"{total + 1:.2f}"})
    body = sandbox.bigbuy("order/create/multishipping", json=an_order(goods[0], far, reference="R-2")).json()
    assert len(body["orders"]) == 1
    assert [(error["code"], error["warehouse"]) for error in body["errors"]] == [("ER005", 3)]
    assert sandbox.bigbuy("user/purse").json() == pytest.approx(1.0)


def test_statuses_tracking_and_notes_move_with_the_clock(sandbox, goods):
    id_ = placed(sandbox, an_order((goods[0], 2)))
    sandbox.control("PUT", f"bigbuy/products/{goods[1]}", {"stock": 100, "price": 30_000})
    other = placed(sandbox, an_order(goods[1], reference="R-2", paymentMethod="bankwire"))
    assert sandbox.bigbuy(f"order/{other}").json()["status"] == "Payment pending"
    names = {item["name"] for item in sandbox.bigbuy("order/orderstatuses").json()}
    assert sandbox.bigbuy(f"tracking/order/{id_}").json() == []
    assert sandbox.bigbuy(f"order/delivery-notes/{id_}").json() == []
    seen = []
    for _ in range(12):
        seen.append(sandbox.bigbuy(f"order/{id_}").json()["status"])
        sandbox.advance(hours=18)
    ordered = list(dict.fromkeys(seen))
    assert ordered == ["Payment accepted", "Preparation in process", "Shipped", "Delivered"]
    assert set(ordered) <= names
    (tracked,) = sandbox.bigbuy(f"tracking/order/{id_}").json()
    assert (tracked["id"], tracked["reference"]) == (int(id_), "R-1")
    (parcel,) = tracked["trackings"]
    assert set(parcel) == {"trackingNumber", "statusDescription", "statusDate", "carrier", "descriptionTranslated"}
    assert set(parcel["carrier"]) == {"id", "name"}
    sandbox.control("PATCH", f"bigbuy/orders/{other}", {"status": "Payment pending"})
    many = sandbox.bigbuy("tracking/orders", json={"track": {"orders": [{"id": 1}, {"id": other}, {"id": int(id_)}]}})
    assert many.json() == [tracked]
    (note,) = sandbox.bigbuy(f"order/delivery-notes/{id_}").json()
    assert note["order"] == id_
    assert note["products"] == [{"reference": goods[0], "quantity": 2}]
    assert sandbox.bigbuy("tracking/order/5").status_code == 404
    assert sandbox.bigbuy("order/delivery-notes/5").status_code == 404


def test_invoices(sandbox, goods):
    id_ = placed(sandbox, an_order(goods[0]))
    invoice = {"id_order": id_, "file": "eA==", "mime_type": "application/pdf", "concept": "x", "amount": 3.2}
    assert sandbox.bigbuy("order/upload_invoice", json={"invoice": invoice}).json() == [True]
    assert sandbox.control("GET", "bigbuy/orders")[0]["invoices"] == 1
    assert sandbox.bigbuy("order/upload_invoice", json={"invoice": {**invoice, "id_order": "1"}}).status_code == 404
    assert sandbox.bigbuy("order/upload_invoice", json={"invoice": {}}).status_code == 400


def test_shipping(sandbox, goods):
    def options(**delivery):
        where = {"isoCountry": "ES", "postcode": "46005", **delivery}
        order = {"delivery": where, "products": [{"reference": goods[0], "quantity": 1}]}
        return sandbox.bigbuy("shipping/orders", json={"order": order})

    body = options().json()
    assert isinstance(body, dict)
    for option in body["shippingOptions"]:
        assert set(option) == {"shippingService", "cost", "weight"}
        assert set(option["shippingService"]) == {"id", "delay", "name", "transportMethod", "serviceName"}
    wrong = options(postcode="4600")
    assert wrong.status_code == 400
    assert wrong.json()["errors"]["children"]["delivery"]["children"]["postcode"]["errors"] == [
        "Invalid postcode format. Valid format for the selected country is 'NNNNN'."
    ]
    assert wrong.json()["errors"]["children"]["products"] == []
    carriers = sandbox.bigbuy("shipping/carriers").json()
    assert set(carriers[0]) == {"id", "name", "shippingServices"}
    assert set(carriers[0]["shippingServices"][0]) == {"id", "delay", "name", "pod"}
    asked = {"product_country": {"reference": goods[0], "countryIsoCode": "FR"}}
    lowest = sandbox.bigbuy("shipping/lowest-shipping-cost-by-country", json=asked).json()
    assert set(lowest) == {"reference", "cost", "carrierId", "carrierName"}
    assert float(lowest["cost"]) > 0
    assert isinstance(lowest["carrierId"], str)
    asked["product_country"]["countryIsoCode"] = "US"
    assert sandbox.bigbuy("shipping/lowest-shipping-cost-by-country", json=asked).json()["cost"] is None
    all_of_them = sandbox.bigbuy("shipping/lowest-shipping-costs-by-country/FR").json()
    assert lowest in all_of_them
    assert {item["reference"] for item in all_of_them} == set(sandbox.truth())
    assert {item["id"] for item in sandbox.bigbuy("tracking/carriers").json()} == {item["id"] for item in carriers}
    # The cheapest of the carriers named is taken.
    prices = {o["shippingService"]["name"]: o["cost"] for o in body["shippingOptions"]}
    id_ = placed(sandbox, an_order(goods[0]))
    used = sandbox.bigbuy(f"order/{id_}").json()["carriers"][0]
    assert used["price"] == min(price for name, price in prices.items() if name in {"Correos", "Chrono", "GLS"})
