"""Files of orders: read once, stored once, whatever they look like and however often they are sent or cut short."""

import gzip
import io
import json
from decimal import Decimal

import pytest
from openpyxl import Workbook
from sqlalchemy import text

from services.core.db import transaction
from services.orders.attention import Item, open_items
from services.orders.files import work
from services.orders.files.columns import moment
from tests import inline
from tests.conftest import headers_for
from tests.orders.coming import line_ids, meant, rows, state, stocked, waiting

ORDERS = "/api/v1/orders"

SHOPIFY = """\
Name,Email,Currency,Shipping,Created at,Lineitem quantity,Lineitem name,Lineitem price,Lineitem sku,\
Lineitem fulfillment status,Billing Name,Shipping Name,Shipping Street,Shipping Address1,Shipping City,Shipping Zip,\
Shipping Country,Shipping Phone,Cancelled at,Discount Code
#1001,ana@example.com,EUR,4.90,2026-03-01 10:00:00 +0100,2,Lamp,12.50,LAMP,pending,Ana Ruiz,Ana Ruiz,\
"Calle Mayor 1, 3º","Calle Mayor 1, 3º",Valencia,'46005,ES,664869570,,
#1001,ana@example.com,,,,1,Vase,7.00,VASE,pending,,,,,,,,,,
#1002,leo@example.com,EUR,0,2026-03-01 11:00:00 +0100,1,Lamp,12.50,LAMP,fulfilled,Leo Gil,Leo Gil,Gran Via 2,\
Gran Via 2,Madrid,28013,ES,600000000,,
#1003,eva@example.com,EUR,0,2026-03-01 12:00:00 +0100,1,Lamp,12.50,LAMP,pending,Eva Sanz,Eva Sanz,Gran Via 3,\
Gran Via 3,Madrid,28013,ES,600000001,2026-03-02 09:00:00 +0100,
"""
INVOICES = """\
InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
536365,85123A,LIGHT HOLDER,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom
536366,71053,LANTERN,6,2010-12-01 08:28:00,3.39,17850.0,United Kingdom
536365,71053,LANTERN,8,2010-12-01 08:26:00,3.39,17850.0,United Kingdom
536365,71053,LANTERN,-3,2010-12-01 08:26:00,3.39,17850.0,United Kingdom
536365,22752,BOXES,0,2010-12-01 08:26:00,7.65,17850.0,United Kingdom
536365,22752,BOXES,-1,2010-12-01 08:26:00,7.65,17850.0,United Kingdom
C536366,71053,LANTERN,-6,2010-12-01 10:00:00,3.39,17850.0,United Kingdom
C536999,D,Discount,-1,2010-12-01 10:01:00,27.5,,Atlantis
536367,21730,"GLASS, ""STAR"" BLUE",many,2010-12-01 08:34:00,4.25,,EIRE
,21730,GLASS,1,2010-12-01 08:34:00,4.25,,EIRE
536368,22960,JAM,6,2010-12-01 08:34:00,4.25,13047.0,EIRE,surplus
"""


def send(client, content, **fields):
    given = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
    content = content.encode() if isinstance(content, str) else content
    return client.post(f"{ORDERS}/import", files={"file": ("orders.csv", content)}, data={"channel": "shop", **given})


def bring(client, content, **fields):
    """Sent and worked off: what the API tells of it."""
    started = send(client, content, **fields)
    assert started.status_code == 202, started.text
    ended = inline.work(started.json()["job_id"])
    told = client.get(started.json()["status_url"]).json()
    assert told["status"] == ended["state"]
    return told


def by_id(merchant):
    return {row["external_id"]: row for row in rows(merchant, "SELECT * FROM orders")}


def test_a_shop_systems_export(client, merchant):
    stocked(merchant, "LAMP")
    stocked(merchant, "VASE")
    told = bring(client, SHOPIFY)
    assert told["status"] == "succeeded", told
    assert (told["rows"], told["errors"], told["orders"]["created"]) == (4, 0, 3)
    assert told["columns"]["Name"] == "external_id"
    orders = by_id(merchant)
    one = orders["#1001"]
    assert (one["state"], one["currency"], one["shipping_paid"]) == ("ready", "EUR", Decimal("4.9"))
    assert one["address"]["line"] == "Calle Mayor 1, 3º"
    assert (one["address"]["first_name"], one["address"]["postcode"]) == ("Ana", "46005")
    assert one["placed_at"].isoformat() == "2026-03-01T09:00:00+00:00"
    # The file, which has names and addresses, is not kept.
    assert rows(merchant, "SELECT storage_key FROM order_imports") == [{"storage_key": None}]
    # What was sent by others, or cancelled, is not to be had.
    assert (orders["#1002"]["state"], orders["#1003"]["state"]) == ("cancelled", "cancelled")

    again = bring(client, SHOPIFY)
    assert again["orders"] == {"created": 0, "changed": 0, "unchanged": 3, "refused": 0}
    assert by_id(merchant) == orders

    moved = bring(client, SHOPIFY.replace("Gran Via 3", "Gran Via 4").replace("Valencia", "Sueca"))
    assert moved["orders"] == {"created": 0, "changed": 1, "unchanged": 1, "refused": 1}
    assert moved["error_codes"] == {"order_cancelled": 1}
    assert by_id(merchant)["#1001"]["address"]["town"] == "Sueca"


def test_invoices_whose_lines_are_scattered_and_whose_negatives_take_back(client, merchant):
    for sku in ("85123A", "71053"):
        stocked(merchant, sku)
    told = bring(client, INVOICES, currency="gbp")
    assert told["orders"] == {"created": 4, "changed": 0, "unchanged": 0, "refused": 0}, told
    assert told["error_codes"] == {
        "quantity_invalid": 1, "negative_unmatched": 1, "quantity_unparsable": 1, "order_id_missing": 1,
        "row_too_long": 1, "country_unknown": 1,
    }  # fmt: skip
    assert told["errors"] == 5
    assert {error["line"] for error in told["first_errors"]} == {6, 7, 9, 10, 11, 12}
    orders = by_id(merchant)
    assert orders["536365"]["customer"] == {"reference": "17850"}
    assert (orders["536365"]["currency"], orders["536365"]["address"]) == ("GBP", {"country": "GB"})
    lines = rows(
        merchant,
        "SELECT sku, quantity, cancelled_quantity FROM order_lines WHERE order_id = :id ORDER BY n",
        id=orders["536365"]["id"],
    )
    assert [tuple(line.values()) for line in lines] == [("85123A", 6, 0), ("71053", 8, 3)]
    assert waiting(merchant, orders["536365"]["id"]) == ["address_missing"]
    # The second was taken back whole; of the last nobody knows what it takes back.
    assert orders["536366"]["state"] == "cancelled"
    assert (orders["C536366"]["kind"], orders["C536366"]["state"]) == ("cancellation", "cancelled")
    assert waiting(merchant, orders["C536366"]["id"]) == []
    assert waiting(merchant, orders["C536999"]["id"]) == ["cancellation_unmatched"]

    before = rows(merchant, "SELECT * FROM order_lines ORDER BY id")
    again = bring(client, INVOICES, currency="gbp")
    assert again["orders"]["unchanged"] == 4
    assert rows(merchant, "SELECT * FROM order_lines ORDER BY id") == before


def test_a_cancellation_takes_back_what_was_not_sent(client, merchant):
    stocked(merchant, "LAMP")
    head = "Order ID,SKU,Quantity,Currency,Address,City,Country,Ship Name\n"
    bring(client, head + "7,LAMP,5,EUR,Gran Via 2,Madrid,Spain,Leo Gil\n")
    order_id = by_id(merchant)["7"]["id"]
    (line,) = line_ids(merchant, order_id)
    meant(merchant, order_id, (line, 3), to="placed")
    # Under the order's own id it says how many are cancelled in all; so twice is once.
    for _ in range(2):
        bring(client, head + "7,LAMP,-1,EUR,,,,\n" + "8,LAMP,1,EUR,Gran Via 2,Madrid,Spain,Leo Gil\n")
        assert rows(merchant, "SELECT cancelled_quantity AS n FROM order_lines WHERE id = :id", id=line)[0]["n"] == 1
    bring(client, head + "C7,LAMP,-4,EUR,,,,\n")
    assert rows(merchant, "SELECT cancelled_quantity AS n FROM order_lines WHERE id = :id", id=line)[0]["n"] == 2
    assert waiting(merchant, order_id) == ["cancelled_after_sending"]
    (item,) = client.get(f"{ORDERS}/attention", params={"cause": "cancelled_after_sending"}).json()["data"]
    assert item["detail"]["lines"][0]["quantity"] == 3
    assert state(merchant, order_id) == "placed"


def test_orders_in_one_file_and_their_lines_in_another(client, merchant):
    stocked(merchant, "11")
    headers = "orderID,orderDate,shipName,shipAddress,shipCity,shipPostalCode,shipCountry\n"
    bring(client, headers + "10248,1996-07-04 00:00:00.000,Vins,59 rue de l'Abbaye,Reims,51100,France\n")
    order_id = by_id(merchant)["10248"]["id"]
    assert waiting(merchant, order_id) == ["lines_missing"]
    details = "orderID,productID,unitPrice,quantity,discount\n10248,11,14.00,12,0.05\n10249,11,9,1,0\n"
    told = bring(client, details)
    assert told["orders"] == {"created": 1, "changed": 1, "unchanged": 0, "refused": 0}
    assert (state(merchant, order_id), waiting(merchant, order_id)) == ("ready", [])
    (line,) = rows(merchant, "SELECT price FROM order_lines WHERE order_id = :id", id=order_id)
    assert line["price"] == Decimal("13.3")
    assert waiting(merchant, by_id(merchant)["10249"]["id"]) == ["address_missing"]
    for content in (details, headers + "10248,1996-07-04 00:00:00.000,Vins,59 rue de l'Abbaye,Reims,51100,France\n"):
        again = bring(client, content)
        assert again["orders"]["changed"] == 0, again
    assert by_id(merchant)["10248"]["version"] == 2
    # What a supplier insists on and both lack may come in a third; of the customer it says a part.
    with transaction(merchant_id=merchant) as session:
        open_items(session, [Item(order_id, "address", {"faults": []}, subject="x")], merchant_id=merchant)
    contact = "orderID,customer_phone,customer_email\n10248,+33 612345678,a@example.com\n"
    reference = "orderID,customerID,customer_phone\n10248,VINET,+33 612345678\n"
    for content, changed in ((contact, 1), (reference, 1), (contact, 0)):
        assert bring(client, content)["orders"]["changed"] == changed
    assert (waiting(merchant, order_id), sorted(by_id(merchant)["10248"]["customer"])) == (
        [],
        ["email", "phone", "reference"],
    )


def workbook(*table):
    book, out = Workbook(), io.BytesIO()
    for row in table:
        book.active.append(row)
    book.save(out)
    return out.getvalue()


SAID = [["Best.", "Art.", "Stück"], [7, "LAMP", 2], [7, "VASE", 1], [8, "LAMP", 1]]
FIELDS = {"external_id": "Best.", "sku": "Art.", "quantity": "Stück"}
CSV = "\n".join(";".join(map(str, row)) for row in SAID)
NUMBERED = {"external_id": "Column 1", "sku": "Column 2", "quantity": "Column 3"}


@pytest.mark.parametrize(
    ("content", "mapping"),
    [
        (CSV.encode("cp1252"), {"fields": FIELDS}),
        (gzip.compress(CSV.encode()), {"fields": FIELDS}),
        (workbook(["Orders of May"], [], *SAID), {"fields": FIELDS}),
        (CSV.partition("\n")[2].replace(";", "\t").encode(), {"fields": NUMBERED, "header": False}),
    ],
    ids=["code page", "gzip", "workbook", "no header"],
)
def test_a_mapping_says_what_the_columns_are(client, merchant, content, mapping):
    told = bring(client, content, mapping=mapping)
    assert (told["status"], told["orders"]["created"], told["rows"]) == ("succeeded", 2, 3), told
    assert rows(merchant, "SELECT sum(quantity) AS n FROM order_lines")[0]["n"] == 4


@pytest.mark.parametrize(
    ("content", "fields", "code"),
    [
        ("", {}, "empty"),
        ("SKU,Title,Price\nA,Lamp,1\n", {}, "no_order_columns"),
        ("Order ID,Colour\n1,red\n", {}, "no_order_columns"),
        ('[{"id": 1}]', {}, "not_a_table"),
        (b"%PDF-1.7 \x00\x01", {}, "binary"),
        (CSV, {"mapping": {"fields": {"sku": "Nowhere"}}}, "mapping_column_missing"),
        (CSV, {"mapping": {"fields": {"colour": "Art."}}}, "order_mapping_invalid"),
        (CSV, {"mapping": {"fields": ["Art."]}}, "order_mapping_invalid"),
        (CSV, {"mapping": "{"}, "invalid"),
        (SHOPIFY, {"currency": "XXY"}, "currency_unknown"),
        (SHOPIFY, {"country": "Spain"}, "country_unknown"),
        (SHOPIFY, {"channel": ""}, "invalid_request"),
        (SHOPIFY, {"colour": "red"}, "invalid_request"),
    ],
)
def test_what_is_no_file_of_orders_is_refused_at_the_door(client, merchant, content, fields, code):
    refused = send(client, content, **fields)
    assert (refused.status_code, refused.json()["code"]) == (422, code), refused.text
    assert rows(merchant, "SELECT count(*) AS n FROM order_imports")[0]["n"] == 0


def test_the_same_file_at_once_is_one_import_and_others_do_not_see_it(client, merchant, other_merchant):
    first = send(client, SHOPIFY).json()
    second = send(client, SHOPIFY)
    assert (second.status_code, second.json()["code"]) == (409, "order_import_active")
    assert second.json()["order_import_id"] == first["order_import_id"]
    assert send(client, SHOPIFY, channel="ebay").status_code == 202
    theirs = headers_for(other_merchant)
    assert client.get(f"{ORDERS}/imports", headers=theirs).json()["data"] == []
    assert len(client.get(f"{ORDERS}/imports").json()["data"]) == 2
    assert len(client.get(f"{ORDERS}/imports", params={"channel": "ebay"}).json()["data"]) == 1
    assert client.get(first["errors_url"], headers=theirs).status_code == 404


def test_row_errors_can_be_downloaded(client, merchant):
    told = bring(client, "Order ID,SKU,Quantity,City\n1,=HYPERLINK(1),none,Madrid\n2,A,1,Madrid\n")
    listed = client.get(told["errors_url"], params={"format": "json"}).json()["data"]
    assert [(one["line"], one["code"], one["column"]) for one in listed] == [(2, "quantity_missing", "Quantity")]
    text_ = client.get(told["errors_url"]).text
    assert text_.splitlines()[0] == "line,code,column,value,reason"
    nothing = bring(client, "Order ID,SKU,Quantity\n1,A,x\n")
    assert (nothing["status"], nothing["error"]["code"]) == ("failed", "no_usable_orders")


def many(orders):
    head = "Order ID,SKU,Quantity,Currency,Address,City,Country,Ship Name\n"
    return head + "".join(
        f"{n % orders:05},SKU-{n // orders},1,EUR,Street {n % orders},Madrid,ES,Leo Gil\n" for n in range(2 * orders)
    )


def test_cut_anywhere_it_comes_to_the_same_end(client, merchant, monkeypatch):
    monkeypatch.setattr(work, "STAGED_AT_ONCE", 7)
    monkeypatch.setattr(work, "ORDERS_AT_ONCE", 3)
    started = send(client, many(20)).json()
    job, attempts = started["job_id"], 0
    real, real_copy = work._store_next, work._copy
    copied = []

    def cut_copying(*asked):
        real_copy(*asked)
        copied.append(asked)
        if len(copied) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(work, "_copy", cut_copying)

    def cut(run, order_import_id):
        nonlocal attempts
        attempts += 1
        if attempts == 4:  # Postgres was not shut down properly
            with transaction(merchant_id=merchant) as session:
                session.execute(text("DELETE FROM order_drafts"))
        going = real(run, order_import_id)
        if attempts in (2, 6):
            raise KeyboardInterrupt  # the process dies: nobody says how the attempt ended
        return going

    monkeypatch.setattr(work, "_store_next", cut)
    for left in (None, None, "scheduled", None, "succeeded"):
        if left is None:
            with pytest.raises(KeyboardInterrupt):
                inline.work(job)
            inline.lose(job)
        else:
            ended = inline.work(job)
            assert ended["state"] == left, ended
    assert ended["state"] == "succeeded", ended
    assert ended["result"]["orders"] == {"created": 20, "changed": 0, "unchanged": 0, "refused": 0}
    each = "SELECT count(*) AS n, min(c) AS least FROM (SELECT count(*) AS c FROM order_lines GROUP BY order_id) o"
    assert rows(merchant, each) == [{"n": 20, "least": 2}]
    assert rows(merchant, "SELECT count(*) AS n FROM order_drafts")[0]["n"] == 0
    assert rows(merchant, "SELECT count(*) AS n FROM order_events")[0]["n"] == 20


def test_an_order_of_too_many_lines_is_a_mistake_in_the_column_of_ids(client, merchant, monkeypatch):
    monkeypatch.setattr(work, "MOST_LINES", 3)
    told = bring(client, "Order ID,SKU,Quantity\n" + "1,A,1\n" * 4 + "2,A,1\n")
    assert (told["orders"]["created"], told["orders"]["refused"]) == (1, 1)
    assert told["error_codes"] == {"order_too_long": 1}


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("2010-12-01 08:26:00", "2010-12-01T08:26:00+00:00"),
        ("1996-07-04 00:00:00.000", "1996-07-04T00:00:00+00:00"),
        ("2026-03-01 10:00:00 +0100", "2026-03-01T10:00:00+01:00"),
        ("2026-03-01T10:00:00Z", "2026-03-01T10:00:00+00:00"),
        ("12/1/2010 8:26", "2010-12-01T08:26:00+00:00"),
        ("31/12/2010", "2010-12-31T00:00:00+00:00"),
        ("31.12.2010 8:05", "2010-12-31T08:05:00+00:00"),
        ("soon", None),
        ("99/99/9999", None),
    ],
)
def test_dates_as_they_are_written(cell, said):
    found = moment(cell)
    assert (found and found.isoformat()) == said
