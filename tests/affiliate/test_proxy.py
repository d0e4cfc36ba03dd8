"""What the proxy answers, at both addresses, from the sandbox over HTTP."""

import json
from decimal import Decimal

import pytest

from tests.affiliate.conftest import asked, real
from tests.conftest import token_for

SEARCH = "/api/products/search"
ITEM = "https://www.aliexpress.com/item/1005006000000001.html"


def bearer() -> dict[str, str]:
    """A signed-in caller."""
    return {"Authorization": f"Bearer {token_for()}"}


def test_both_addresses_answer_alike_and_say_that_it_is_a_sandbox(proxy, world):
    client = proxy(sandbox_url=world.url)
    older = client.post(SEARCH, json={"page_size": 3}).json()
    newer = client.post("/api/v1/affiliate/products/search", json={"page_size": 3}, headers=bearer()).json()
    assert older["success"] is True
    assert older["data"] == newer["data"]
    for found in (older, newer):
        metadata = found["metadata"]
        assert (metadata["mock_mode"], metadata["api_integration"]) == (True, "sandbox")
        assert metadata["has_real_credentials"] is False
        assert metadata["processing_time_ms"] > 0
    assert (older["metadata"]["cached"], newer["metadata"]["cached"]) == (False, True)
    assert older["metadata"]["as_of"] == newer["metadata"]["as_of"]
    product = older["data"]["products"][0]
    assert product["product_id"].startswith("10050")
    assert product["affiliate_url"].startswith("https://s.click.aliexpress.com/")
    assert (product["currency"], product["commission_rate"]) == ("USD", "7.0%")
    assert Decimal(product["price"]) > 0
    assert client.post("/api/v1/affiliate/products/search", json={}).status_code == 401


def test_prices_are_asked_for_in_cents_and_both_bounds_count(proxy, world):
    client = proxy(sandbox_url=world.url)
    everything = client.get("/api/products", params={"page_size": 50, "target_currency": "EUR"}).json()["data"]
    prices = sorted({Decimal(one["price"]) for one in everything["products"]})
    low, high = prices[len(prices) // 4], prices[len(prices) // 2]
    within = {"min_sale_price": str(low), "max_sale_price": str(high), "target_currency": "eur", "page_size": 50}
    found = client.get("/api/products", params=within).json()["data"]["products"]
    assert {Decimal(one["price"]) for one in found} == {price for price in prices if low <= price <= high}
    form = asked(world)[-1]
    assert (form["min_sale_price"], form["max_sale_price"]) == (str(int(low * 100)), str(int(high * 100)))
    yen = {"min_sale_price": "499.5", "max_sale_price": "700", "target_currency": "JPY"}
    client.post(SEARCH, json=yen)
    assert (asked(world)[-1]["min_sale_price"], asked(world)[-1]["max_sale_price"]) == ("500", "700")


def test_a_search_says_what_it_was_asked(proxy, world):
    client = proxy(sandbox_url=world.url)
    body = {
        "keywords": " desk  lamp ", "category_ids": "7, 3", "sort": "sale_price_desc", "delivery_days": 7,
        "ship_to_country": "fr", "target_language": "fr_FR", "page_no": 2, "page_size": 50, "hot": True,
        "auto_generate_affiliate_links": False,
    }  # fmt: skip
    assert client.post(SEARCH, json=body).status_code == 200
    (form,) = asked(world)
    wanted = {
        "method": "aliexpress.affiliate.hotproduct.query",
        "keywords": "desk lamp", "category_ids": "3,7", "sort": "SALE_PRICE_DESC", "delivery_days": "7",
        "ship_to_country": "FR", "target_language": "FR", "page_no": "2", "page_size": "50",
    }  # fmt: skip
    assert {name: form[name] for name in wanted} == wanted
    unlinked = client.post(SEARCH, json={"auto_generate_affiliate_links": False}).json()["data"]["products"]
    assert {one["affiliate_url"] for one in unlinked} == {None}
    nothing = client.post(SEARCH, json={"keywords": "nothing is called like this"}).json()
    assert (nothing["success"], nothing["data"]["products"]) == (True, [])


def test_products_by_id(proxy, world):
    client = proxy(sandbox_url=world.url)
    known = [str(one["product_id"]) for one in world.ask("GET", "aliexpress/products?count=3")]
    found = client.get("/api/products", params={"product_ids": ",".join([*known, "9"])}).json()["data"]
    assert {one["product_id"] for one in found["products"]} <= set(known)
    assert found["products"]
    both = client.get("/api/products", params={"product_ids": known[0], "keywords": "lamp"})
    assert (both.status_code, both.json()["param"]) == (422, "product_ids")


def test_categories(proxy, world):
    client = proxy(sandbox_url=world.url)
    everything = client.get("/api/categories").json()["data"]
    top = [one["category_id"] for one in everything if one["parent_id"] is None]
    below = client.get("/api/categories", params={"parent_id": top[0]}).json()["data"]
    assert below == [one for one in everything if one["parent_id"] == top[0]]
    assert below


def test_links_in_the_order_they_were_asked_for(proxy, world):
    client = proxy(sandbox_url=world.url)
    other = "https://de.aliexpress.com/item/1005006000000002.html?a=1,2"
    answer = client.post("/api/affiliate/links", json={"urls": [other, ITEM, other]}).json()
    assert [one["original_url"] for one in answer["data"]] == [other, ITEM, other]
    assert all(one["affiliate_url"].startswith("https://s.click.") for one in answer["data"])
    assert (answer["metadata"]["requested_count"], answer["metadata"]["generated_count"]) == (3, 3)
    assert answer["data"][0]["tracking_id"] == "sandbox"
    one = client.post("/api/affiliate/link", json={"url": ITEM}).json()["data"]
    assert one == client.get("/api/affiliate/link", params={"url": ITEM}).json()["data"] == answer["data"][1]
    # An address that AliExpress makes no link of is told so.
    strange = client.get("/api/affiliate/link", params={"url": "https://www.aliexpress.us/item/1.html"}).json()
    assert (strange["success"], strange["data"]["affiliate_url"]) == (True, None)
    fifty = [f"https://www.aliexpress.com/item/{number}.html" for number in range(50)]
    assert len(client.post("/api/affiliate/links", json={"urls": fifty}).json()["data"]) == 50


@pytest.mark.parametrize(
    "refused",
    [
        ("POST", "/products/search", {"page_size": 51}, "page_size"),
        ("POST", "/products/search", {"page_size": 0}, "page_size"),
        ("POST", "/products/search", {"page_no": 0}, "page_no"),
        ("POST", "/products/search", {"min_sale_price": "5", "max_sale_price": "4.99"}, "min_sale_price"),
        ("POST", "/products/search", {"min_sale_price": "-1"}, "min_sale_price"),
        ("POST", "/products/search", {"max_sale_price": "NaN"}, "max_sale_price"),
        ("POST", "/products/search", {"delivery_days": 4}, "delivery_days"),
        ("POST", "/products/search", {"sort": "CHEAPEST"}, "sort"),
        ("POST", "/products/search", {"category_ids": ["1; DROP"]}, "category_ids.0"),
        ("POST", "/products/search", {"keyword": "lamp"}, "keyword"),
        ("GET", "/products", {"page_size": "51"}, "page_size"),
        ("GET", "/products", {"colour": "red"}, "colour"),
        ("GET", "/products", {"product_ids": ",".join(["1"] * 51)}, "product_ids"),
        ("POST", "/links", {"urls": [ITEM] * 51}, "urls"),
        ("POST", "/links", {"urls": []}, "urls"),
        ("POST", "/links", {"urls": [ITEM, "https://example.com/x"]}, "urls.1"),
        ("POST", "/link", {"url": "https://aliexpress.com.evil.example/item/1"}, "url"),
        ("POST", "/link", {"url": "https://aliexpress.com@evil.example/"}, "url"),
        ("POST", "/link", {"url": "https://evilaliexpress.com/"}, "url"),
        ("GET", "/link", {"url": "javascript:alert(1)//aliexpress.com"}, "url"),
        ("GET", "/link", {"url": "https://www.aliexpress.com/item\n/1"}, "url"),
    ],
)
def test_what_cannot_be_is_refused_before_anyone_is_asked(client, refused):
    method, path, given, param = refused
    sent = {"json": given} if method == "POST" else {"params": given}
    answer = client.request(method, f"/api/v1/affiliate{path}", **sent)
    assert (answer.status_code, answer.json()["param"]) == (422, param)


def test_status_asks_nobody_and_says_what_is_missing(proxy, world):
    ready = proxy(**real(world)).get("/api/status").json()
    assert (ready["data"]["status"], ready["data"]["tracking_id"], ready["data"]["cache"]) == (
        "ready", "shop-1", "redis",
    )  # fmt: skip
    assert (ready["metadata"]["has_real_credentials"], ready["metadata"]["mock_mode"]) == (True, False)
    assert "helloworld" not in json.dumps(ready)
    nobody = proxy(sandbox_url=None).get("/api/v1/affiliate/status", headers=bearer()).json()
    assert (nobody["data"]["status"], nobody["metadata"]["api_integration"]) == ("not_set_up", "none")
    assert "ALIEXPRESS_APP_KEY" in nobody["data"]["problem"]
    assert asked(world) == []


def test_fifty_products_fit_into_what_chatgpt_takes(proxy, world):
    world.reset(products=400)
    answer = proxy(sandbox_url=world.url).post(SEARCH, json={"page_size": 50})
    assert len(answer.json()["data"]["products"]) == 50
    assert len(answer.text) < 100_000
    assert len(proxy(sandbox_url=world.url).get("/api/categories").text) < 100_000
