"""BigBuy's lists, joined: what a catalogue of a few records becomes, and what a bad list becomes."""

import json
import tracemalloc
from collections import Counter
from decimal import Decimal

import pytest

from services.suppliers import bigbuy
from services.suppliers.base import Connection, Money, StockTier
from services.suppliers.elements import elements
from services.suppliers.errors import (
    FatalForConnection,
    NotOffered,
    ReconnectNeeded,
    Retry,
    WaitUntil,
)
from tests.suppliers.canned import Says

TAXONOMIES = [
    {"id": 100, "name": "Home", "parentTaxonomy": 0},
    {"id": 110, "name": "Kitchen", "parentTaxonomy": 100},
    {"id": 200, "name": "Fashion", "parentTaxonomy": 0},
]
PRODUCT = {
    "id": 1, "sku": "S0001", "manufacturer": 7, "ean13": "0012345678905", "weight": 0.255, "taxonomy": 110,
    "wholesalePrice": 10.10, "retailPrice": 15.5, "inShopsPrice": "19.90", "active": 1, "attributes": False,
}  # fmt: skip
SHIRT = {**PRODUCT, "id": 2, "sku": "S0002", "taxonomy": 200, "weight": "0.2", "attributes": True}
RED = {
    "id": 21, "sku": "S0002-R", "ean13": "0012345678912", "product": 2, "extraWeight": 0.05,
    "wholesalePrice": 5, "retailPrice": 9, "inShopsPrice": 0,
}  # fmt: skip
BLUE = {**RED, "id": 22, "sku": "S0002-B", "wholesalePrice": 0}
LISTS = {
    "products": {100: [PRODUCT], 200: [SHIRT]},
    "productsinformation": {
        100: [{"id": 1, "sku": "S0001", "name": "Pan", "description": "<p>A pan ✓</p>"}],
        200: [{"id": 2, "sku": "S0002", "name": "Shirt", "description": ""}],
    },
    "productsimages": {
        100: [{"id": 1, "images": [
            {"id": 1, "isCover": False, "url": "https://cdn.example/b.jpg"},
            {"id": 2, "isCover": "TRUE", "url": "https://cdn.example/a.jpg"},
            {"id": 3, "isCover": False, "url": "javascript:alert(1)"},
        ]}],
        200: [],
    },
    "productsvariations": {100: [], 200: [RED, BLUE]},
    "variations": {100: [], 200: [
        {"id": 21, "attributes": [{"id": 501}, {"id": 601}]}, {"id": 22, "attributes": [{"id": 502}]},
    ]},
    "attributes": {100: [], 200: [
        {"id": 501, "attributeGroup": 5, "name": "Red"}, {"id": 502, "attributeGroup": 5, "name": "Blue"},
        {"id": 601, "attributeGroup": 6, "name": "XL"},
    ]},
    "productsstockbyhandlingdays": {100: [{"id": 1, "sku": "S0001", "stocks": [
        {"quantity": 3, "minHandlingDays": 5, "maxHandlingDays": 9, "warehouse": 2},
        {"quantity": 4, "minHandlingDays": 1, "maxHandlingDays": 2, "warehouse": 1},
    ]}], 200: []},
    "productsvariationsstockbyhandlingdays": {100: [], 200: [
        {"id": 21, "sku": "S0002-R", "stocks": []},
    ]},
    "productprices": {100: [PRODUCT], 200: [SHIRT]},
    "productvariationprices": {100: [], 200: [RED]},
}  # fmt: skip


class Counting:
    """A meter that notes what it is asked, and stops after so many categories."""

    def __init__(self, lets: int = 10**6) -> None:
        self.taken: list[tuple[str, ...]] = []
        self.learnt: list[tuple] = []
        self.given_back: list[str] = []
        self.lets = lets

    def take(self, endpoints):
        if len(self.taken) >= self.lets:
            from datetime import timedelta

            from services.core.clock import now

            raise WaitUntil(now() + timedelta(hours=1))
        self.taken.append(tuple(endpoints))

    def learn(self, endpoint, **facts):
        self.learnt.append((endpoint, facts))

    def give_back(self, endpoints):
        self.given_back += endpoints


@pytest.fixture
def shop(canned):
    """A canned BigBuy; `shop.lists` may be changed."""
    canned.lists = json.loads(json.dumps(LISTS, ensure_ascii=False))
    roots = [one for one in TAXONOMIES if one["parentTaxonomy"] == 0]
    canned.on("GET /rest/catalog/taxonomies.json", lambda asked: roots if "firstLevel" in asked.query else TAXONOMIES)
    canned.on("GET /rest/catalog/manufacturers.json", [{"id": 7, "name": "Acme", "reference": 1}])
    canned.on("GET /rest/catalog/attributegroups.json", [{"id": 5, "name": "Colour"}, {"id": 6, "name": "Size"}])
    for name in LISTS:

        def answer(asked, name=name):
            return canned.lists[name][asked.query["parentTaxonomy"]]

        canned.on(f"GET /rest/catalog/{name}.json", answer)
    return canned


def connect(shop, **more):
    return Connection(secrets={"api_key": "secret-key"}, base_url=shop.url, **more)


def all_of(pages):
    pages = list(pages)
    assert pages[-1].cursor is None
    return {getattr(item, "variant_id", None) or item.id: item for page in pages for item in page.items}


def test_lists_become_offers(shop):
    offers = all_of(bigbuy.offers(connect(shop, language="es")))
    pan, shirt = offers["1"], offers["2"]
    assert (pan.title, pan.description, pan.brand) == ("Pan", "<p>A pan ✓</p>", "Acme")
    assert pan.category == "Home > Kitchen"
    assert pan.image_urls == ("https://cdn.example/a.jpg", "https://cdn.example/b.jpg")
    (only,) = pan.variants
    assert (only.id, only.order_ref, only.barcode) == ("p1", "S0001", "0012345678905")
    assert only.cost == Money(Decimal("10.1"), "EUR")
    assert (only.list_price, only.recommended_price) == (Money(Decimal("19.90"), "EUR"), Money(Decimal("15.5"), "EUR"))
    assert (only.stock, only.weight_grams) == (7, 255)
    assert only.tiers == (StockTier(4, 1, 2, "1"), StockTier(3, 5, 9, "2"))
    red, blue = shirt.variants
    assert (red.id, red.order_ref, red.options) == ("v21", "S0002-R", (("Colour", "Red"), ("Size", "XL")))
    assert (red.cost, red.list_price) == (Money(Decimal(5), "EUR"), None)  # zero is no price
    assert (red.stock, red.weight_grams) == (0, 250)
    assert (blue.cost, blue.stock, blue.options) == (None, None, (("Colour", "Blue"),))  # not said is not none
    asked = next(one for one in shop.asked if one.path.endswith("productsinformation.json"))
    assert asked.query == {"parentTaxonomy": "100", "pageSize": "0", "isoCode": "es"}
    assert asked.headers["authorization"] == "Bearer secret-key"


def test_a_walk_goes_on_where_it_stopped(shop):
    pages = bigbuy.offers(connect(shop, meter=Counting(lets=1)))
    first = next(pages)
    assert [offer.id for offer in first.items] == ["1"]
    with pytest.raises(WaitUntil):
        next(pages)
    before = len(shop.asked)
    rest = list(bigbuy.offers(connect(shop), cursor=first.cursor))
    assert [offer.id for page in rest for offer in page.items] == ["2"]
    assert not [one for one in shop.asked[before:] if one.query.get("parentTaxonomy") == "100"]


def test_all_calls_of_a_category_are_asked_for_before_the_first(shop):
    meter = Counting()
    list(bigbuy.offers(connect(shop, meter=meter)))
    assert sorted(meter.taken[0]) == sorted(
        one.path.removeprefix("/rest/").removesuffix(".json")
        for one in shop.asked
        if one.query.get("parentTaxonomy") in (None, "100")
    )
    none = Counting(lets=0)
    with pytest.raises(WaitUntil):
        next(bigbuy.offers(connect(shop, meter=none)))
    assert sum(map(len, meter.taken)) == len(shop.asked)


def test_calls_that_were_allowed_and_not_made_are_given_back(shop):
    shop.on("GET /rest/catalog/attributegroups.json", Says("<html>", status=503))
    meter = Counting()
    with pytest.raises(Retry):
        next(bigbuy.offers(connect(shop, meter=meter)))
    made = [one.path.removeprefix("/rest/").removesuffix(".json") for one in shop.asked]
    assert len(made) == 4  # among them the one that failed: whether it arrived nobody knows
    assert Counter(meter.taken[0]) - Counter(meter.given_back) == Counter(made)


def test_what_answers_say_of_quotas_is_told_to_the_meter(shop):
    meter = Counting()
    head = {"X-RateLimit-Limit": "10", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"}
    shop.on("GET /rest/catalog/productprices.json", Says([], headers=head))
    list(bigbuy.prices(connect(shop, meter=meter)))
    endpoint, facts = meter.learnt[0]
    assert (endpoint, facts["limit"], facts["remaining"]) == ("catalog/productprices", 10, 0)


def test_stock_and_prices_alone(shop):
    stock = all_of(bigbuy.stock(connect(shop)))
    assert {key: level.stock for key, level in stock.items()} == {"p1": 7, "v21": 0}
    prices = all_of(bigbuy.prices(connect(shop)))
    assert {key: level.cost.amount for key, level in prices.items()} == {
        "p1": Decimal("10.1"), "p2": Decimal("10.1"), "v21": Decimal(5),
    }  # fmt: skip


def test_a_record_that_comes_twice_counts_once(shop):
    shop.lists["products"]["100"] *= 2
    shop.lists["productsstockbyhandlingdays"]["100"] *= 2
    assert len(next(bigbuy.offers(connect(shop))).items) == 1
    assert len(next(bigbuy.stock(connect(shop))).items) == 1


def test_one_bad_record_is_one_problem(shop):
    shop.lists["products"]["100"] += [{"id": 3, "sku": ""}, {"id": "x"}, 5, {**PRODUCT, "id": 4, "attributes": True}]
    page = next(bigbuy.offers(connect(shop)))
    assert [offer.id for offer in page.items] == ["1"]
    assert [(one.id, one.code) for one in page.problems] == [
        ("3", "product_unreadable"), (None, "product_unreadable"), (None, "product_unreadable"),
        ("4", "variations_missing"),
    ]  # fmt: skip


def test_a_product_with_a_bad_variation_is_left_alone(shop):
    shop.lists["productsvariations"]["200"] += [{"id": 23, "product": 2}]
    page = list(bigbuy.offers(connect(shop)))[-1]
    assert page.items == ()
    assert [(one.id, one.code) for one in page.problems] == [("2", "variation_unreadable")]


@pytest.mark.parametrize("stocks", [None, {"a": 1}, [{"quantity": -1}], [{"quantity": "many"}], [{}], [7]])
def test_stock_that_cannot_be_read_is_not_known(shop, stocks):
    shop.lists["productsstockbyhandlingdays"]["100"][0]["stocks"] = stocks
    assert next(bigbuy.offers(connect(shop))).items[0].variants[0].stock is None
    page = next(bigbuy.stock(connect(shop)))
    assert page.items == ()
    assert page.problems[0].id == "p1"


@pytest.mark.parametrize("field", ["id", "sku", "wholesalePrice"])
def test_a_list_in_another_form_is_refused_whole(shop, field):
    many = [{**PRODUCT, "id": number} for number in range(1, 40)]
    for one in many:
        one[f"new_{field}"] = one.pop(field)
    shop.lists["products"]["100"] = many
    with pytest.raises(FatalForConnection) as caught:
        list(bigbuy.offers(connect(shop)))
    assert caught.value.kind == "schema"


GOOD = json.dumps([{**PRODUCT, "id": number} for number in range(1, 1500)])


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Says(GOOD, cut=len(GOOD) // 2), Retry),
        (Says(GOOD[: len(GOOD) // 2], unframed=True), Retry),
        (Says(GOOD[:-1], unframed=True), Retry),
        (Says(GOOD + "]"), Retry),
        (Says(GOOD.replace('"id": 700,', '"id": ,')), Retry),
        (Says("<html>Oops</html>"), Retry),
        (Says({"code": 409, "message": "Something went wrong 5678"}), Retry),
        (Says("HTTP/1.0 500 Internal Server Error\r\n\r\n{}"), Retry),
        (Says("nonsense"), Retry),
        (Says("", status=500), Retry),
        (Says(silent=True), Retry),
        (Says({"products": []}), FatalForConnection),
        (Says({"errors": [{"code": 34, "message": "no such page"}]}, status=404), FatalForConnection),
        (Says({"code": 401}, status=401), ReconnectNeeded),
        (Says("You exceeded the rate limit", status=429), WaitUntil),
        (Says('[{"id": 1, "x": "' + "y" * 9_000_000 + '"}]'), Retry),
    ],
)
@pytest.mark.parametrize("name", ["products", "productsstockbyhandlingdays"])
def test_a_list_that_did_not_come_whole_yields_no_offer(shop, name, answer, error):
    shop.on(f"GET /rest/catalog/{name}.json", answer)
    seen = []
    with pytest.raises(error):
        seen.extend(bigbuy.offers(connect(shop)))
    assert seen == []


@pytest.mark.parametrize("answer", [Says(""), Says("null"), Says(" []")])
def test_a_category_may_be_empty(shop, answer):
    shop.on("GET /rest/catalog/products.json", answer)
    shop.on("GET /rest/catalog/productsinformation.json", answer)
    assert all_of(bigbuy.offers(connect(shop))) == {}


@pytest.mark.parametrize("name", ["products", "productsinformation"])
def test_a_category_cannot_be_half_empty(shop, name):
    shop.on(f"GET /rest/catalog/{name}.json", "")
    with pytest.raises(Retry):
        list(bigbuy.offers(connect(shop)))


@pytest.mark.parametrize(("answer", "error"), [(Says([]), FatalForConnection), (Says(""), Retry), (Says({}), None)])
def test_a_catalogue_without_categories_is_an_error(shop, answer, error):
    shop.on("GET /rest/catalog/taxonomies.json", answer)
    with pytest.raises(error or FatalForConnection):
        list(bigbuy.offers(connect(shop)))


def test_a_cursor_of_another_kind_is_refused(shop):
    for cursor in ("x", '{"a": 1}', '["a"]'):
        with pytest.raises(ValueError, match=r"cursor|Expecting"):
            next(bigbuy.offers(connect(shop), cursor=cursor))


def test_products_by_id_are_not_offered(shop):
    with pytest.raises(NotOffered):
        next(iter(bigbuy.offers(connect(shop), only=["1"])))


def test_memory_does_not_grow_with_the_list(shop):
    """12,000 products with texts of 1 kB, 18 MB of JSON."""
    many = [{**PRODUCT, "id": number, "sku": f"S{number}"} for number in range(1, 12_001)]
    texts = [{"id": number, "name": f"Pan {number}", "description": "x" * 1000} for number in range(1, 12_001)]
    shop.on("GET /rest/catalog/products.json", Says(json.dumps(many)))
    shop.on("GET /rest/catalog/productsinformation.json", Says(json.dumps(texts)))
    first = connect(shop)
    held = []
    seen = 0
    tracemalloc.start()
    try:
        for page in bigbuy.offers(first, cursor="[200]"):
            seen += len(page.items)
            held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert seen == 12_000
    # The canned server's own 18 MB are there before and after: what counts is that pages add nothing.
    assert max(held) - min(held) < 3_000_000


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_an_array_is_read_from_pieces_of_any_size(size):
    def read(text):
        return list(elements(iter([text[at : at + size] for at in range(0, len(text), size)]), longest=200))

    for text in (
        b"[]", b" [ ] ", b"[12,34]", b'[{"a":[1,"\xc3\xa9,]"]}, "x" , null]\n', b'[{"a":1.50}, 1e5 ]', b"[[],[]]"
    ):  # fmt: skip
        assert read(text) == json.loads(text, parse_float=str)
    for text in (
        b"", b"[", b"[1", b"[1,]", b"[,1]", b"[1 2]", b"[1]x", b"[1]]", b"{}", b"[NaN]", b"[1,2", b'["a]', b"[\xff]",
        b"[1]\xc3", b"[1.]", b"[" * 5000, b'["' + b"a" * 200 + b'"]',
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"not an array|more than|too|decode"):
            read(text)


def test_secrets_are_not_shown(shop):
    assert "secret-key" not in repr(connect(shop))
