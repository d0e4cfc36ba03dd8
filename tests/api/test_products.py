"""Products over HTTP."""

import uuid

import pytest

from tests.conftest import headers_for
from tests.imports.importing import run_feed

FEED = """\
Handle,Title,Body (HTML),Vendor,Option1 Name,Option1 Value,Variant SKU,Variant Price,Variant Inventory Qty,Image Src
shirt,Shirt,<p>Fine</p>,Oak,Size,S,007,10,3,https://i.example/1.jpg
shirt,,,,,M,A-M,12.345,,https://i.example/2.jpg
mug,Mug,,Clay,,,MUG,4.5,0,
"""


@pytest.fixture
def shop(merchant):
    """The merchant, with the feed above."""
    assert run_feed(merchant, FEED, currency="EUR")["state"] == "succeeded"
    return merchant


def test_a_list_and_one_of_it(client, shop):
    body = client.get("/api/v1/products").json()
    assert (body["has_more"], body["next"]) == (False, None)
    [shirt] = [row for row in body["data"] if row["key"] == "shirt"]
    assert (shirt["price_min"], shirt["price_max"], shirt["currency"]) == ("10.00", "12.345", "EUR")
    assert (shirt["variants"], shirt["stock"], shirt["image"]) == (2, 3, "https://i.example/1.jpg")
    found = client.get(f"/api/v1/products/{shirt['id']}").json()
    assert (found["description"], found["option_names"]) == ("<p>Fine</p>", ["Size"])
    assert found["images"] == ["https://i.example/1.jpg", "https://i.example/2.jpg"]
    small, medium = found["variants"]
    assert (small["sku"], small["options"], small["price"], small["stock"]) == ("007", {"Size": "S"}, "10.00", 3)
    assert (medium["price"], medium["stock"], medium["compare_at_price"]) == ("12.345", None, None)


@pytest.mark.parametrize(
    ("asked", "keys"),
    [
        ({"q": "shi"}, {"shirt"}),
        ({"sku": "007"}, {"shirt"}),
        ({"brand": "Clay"}, {"mug"}),
        ({"in_stock": "true"}, {"shirt"}),
        ({"price_min": "11", "price_max": "13"}, {"shirt"}),
        ({"updated_after": "2100-01-01T00:00:00Z"}, set()),
    ],
)
def test_filters(client, shop, asked, keys):
    assert {row["key"] for row in client.get("/api/v1/products", params=asked).json()["data"]} == keys


@pytest.mark.parametrize(
    "asked",
    [
        {"status": "sold"},
        {"price_min": "cheap"},
        {"price_min": "NaN"},
        {"price_max": "-1"},
        {"price_max": "1e30"},
        {"in_stock": "maybe"},
        {"updated_after": "yesterday"},
        {"updated_after": "2024-01-01T00:00:00"},
        {"q": ""},
        {"q": "a\x00b"},
        {"sku": "\x00"},
        {"limit": "0"},
        {"limit": "201"},
        {"after": "nonsense"},
    ],
)
def test_filters_that_make_no_sense(client, asked):
    answer = client.get("/api/v1/products", params=asked)
    assert answer.status_code == 422, answer.text


def test_pages(client, merchant):
    run_feed(merchant, "SKU,Title,Price\n" + "".join(f"{n:02},P,1.00\n" for n in range(7)))
    first = client.get("/api/v1/products", params={"limit": 4}).json()
    second = client.get("/api/v1/products", params={"limit": 4, "after": first["next"]}).json()
    assert [row["key"] for row in first["data"] + second["data"]] == [f"{n:02}" for n in reversed(range(7))]
    assert (first["has_more"], second["has_more"]) == (True, False)


def test_another_merchant_sees_nothing(client, shop, other_merchant):
    id_ = client.get("/api/v1/products").json()["data"][0]["id"]
    stranger = headers_for(other_merchant)
    assert client.get(f"/api/v1/products/{id_}", headers=stranger).status_code == 404
    assert client.get("/api/v1/products", headers=stranger).json()["data"] == []


def test_malformed_and_unknown_ids(client):
    assert client.get("/api/v1/products/nonsense").status_code == 422
    assert client.get(f"/api/v1/products/{uuid.uuid4()}").status_code == 404
