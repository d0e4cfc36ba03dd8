"""The core: a world out of a seed, its clock, its ledger, its control API."""

import pytest

from sandbox.catalogue import MAX_VARIANTS, UNITS, Catalogue
from sandbox.ledger import Ledger
from sandbox.world import Options, World
from tests.sandbox.conftest import BEGIN

AT = 1_772_366_400.0  # BEGIN


def picture(catalogue: Catalogue, at: float) -> list[tuple[int, int, int]]:
    """Every article's number, stock and price."""
    return [
        (article.unit, article.stock, article.wholesale)
        for product in catalogue.all(at)
        for article in catalogue.articles(product, at)
    ]


def test_a_seed_is_a_world():
    first, again, other = (Catalogue(seed=seed, salt="x", products=300) for seed in (1, 1, 2))
    assert picture(first, AT) == picture(again, AT)
    assert picture(first, AT) != picture(other, AT)


@pytest.mark.parametrize("size", [1, 10, 200_000])
def test_any_size_and_every_product_on_its_own(size):
    catalogue = Catalogue(seed=3, salt="x", products=size)
    last = catalogue.product(size - 1, AT)
    assert last is not None
    assert catalogue.product(size, AT) is None
    assert catalogue.product(-1, AT) is None
    assert len(catalogue.articles(last, AT)) == max(last.variants, 1)
    assert sum(1 for _ in catalogue.all(AT, start=0, step=max(size // 10, 1))) in (1, 10)


def test_a_larger_catalogue_has_the_smaller_one_in_it():
    small, large = (Catalogue(seed=3, salt="x", products=size) for size in (50, 80))
    assert picture(large, AT)[: len(picture(small, AT))] == picture(small, AT)


def test_some_have_variants_some_no_stock_some_are_inactive():
    catalogue = Catalogue(seed=3, salt="x", products=2_000)
    products = list(catalogue.all(AT))
    variants = [product.variants for product in products]
    assert 0.6 < variants.count(0) / 2_000 < 0.8
    assert set(variants) == {0, *range(2, MAX_VARIANTS + 1)}
    assert 0.005 < sum(not product.active for product in products) / 2_000 < 0.05
    stocks = [stock for _, stock, _ in picture(catalogue, AT)]
    assert 0.05 < stocks.count(0) / len(stocks) < 0.25
    assert min(price for _, _, price in picture(catalogue, AT)) > 0


def test_stock_drifts_by_the_hour_and_prices_by_the_day():
    catalogue = Catalogue(seed=3, salt="x", products=5_000, stock_drift=0.05, price_drift=0.10)

    def changed(field: int, seconds: float) -> float:
        pairs = list(zip(picture(catalogue, AT), picture(catalogue, AT + seconds), strict=True))
        return sum(before[field] != after[field] for before, after in pairs) / len(pairs)

    assert 0.03 < changed(1, 3_600) < 0.06
    assert 0.06 < changed(2, 86_400) < 0.12
    assert changed(1, 3_600 * 40) > 0.7
    still = Catalogue(seed=3, salt="x", products=100, stock_drift=0, price_drift=0)
    assert picture(still, AT) == picture(still, AT + 10**8)


def test_the_moment_of_a_change_is_told():
    catalogue = Catalogue(seed=3, salt="x", products=300, stock_drift=0.2)
    for product in catalogue.all(AT):
        last = max(article.stock_changed for article in catalogue.articles(product, AT))
        assert catalogue.stock_changed(product, AT) == last
        for article in catalogue.articles(product, AT):
            before = catalogue.article(product, article.variant, article.stock_changed - 1)
            after = catalogue.article(product, article.variant, article.stock_changed + 1)
            assert article.stock_changed <= AT
            assert after is not None
            assert before is not None
            assert after.stock == article.stock
            assert before.stock_changed < article.stock_changed


def test_what_is_sold_is_gone_until_the_stock_changes():
    catalogue = Catalogue(seed=3, salt="x", products=50, stock_drift=0.5)
    product = next(p for p in catalogue.all(AT) if p.active and not p.variants and catalogue.total_stock(p, AT) > 5)
    article = catalogue.articles(product, AT)[0]
    catalogue.sell(article, 3, AT)
    now = catalogue.articles(product, AT)[0]
    assert (now.stock, now.stock_changed) == (article.stock - 3, AT)
    assert catalogue.stock_changed(product, AT) == AT
    later = catalogue.articles(product, AT + 7_201)[0]
    assert later.stock_changed > AT
    assert article.unit == product.index * UNITS


def test_the_clock_stands_jumps_and_runs(sandbox):
    assert sandbox.control("GET", "clock") == {"at": BEGIN, "speed": 0.0}
    sandbox.advance(hours=2)
    assert sandbox.control("GET", "clock")["at"] == "2026-03-01T14:00:00Z"
    sandbox.control("PUT", "clock", {"at": "2027-01-01T00:00:00+01:00"})
    assert sandbox.control("GET", "clock")["at"] == "2026-12-31T23:00:00Z"
    sandbox.control("PUT", "clock", {"speed": 100_000})
    first, second = (sandbox.control("GET", "clock")["at"] for _ in range(2))
    assert second > first
    for bad in ({"at": "2027-01-01T00:00:00"}, {"speed": -1}, {"when": 1}):
        sandbox.control("PUT", "clock", bad, expect=422)
    sandbox.control("POST", "clock/advance", {"seconds": -1}, expect=422)


def test_reset_begins_anew(sandbox):
    sandbox.control("POST", "faults", {"kind": "drop"})
    sandbox.control("PUT", "bigbuy/keys/another", {})
    world = sandbox.control("POST", "reset", {"seed": 7, "products": 12, "speed": 0, "at": BEGIN})
    assert world["options"]["products"] == 12
    assert (world["faults"], world["ledger_entries"]) == (0, 0)
    assert sandbox.bigbuy("user/purse", key="another").status_code == 401
    assert {line["product"] for line in sandbox.truth().values()} == {
        line["sku"] for line in sandbox.bulk("productprices")
    }
    assert sandbox.control("POST", "reset")["options"] == world["options"]
    sandbox.control("POST", "reset", {"products": 10**9}, expect=422)


def test_orders_can_begin_where_an_earlier_world_ended():
    first, later = World(Options(products=1)), World(Options(products=1, orders_before=500))
    assert later.bigbuy.state.next_order_id() - first.bigbuy.state.next_order_id() == 500
    assert later.aliexpress.state.first_order > first.aliexpress.state.first_order + 500 * 10_000


def test_the_ledger_tells_what_was_received(sandbox):
    sandbox.bigbuy("user/purse")
    sandbox.bigbuy("catalog/product/100003", isoCode="fr")
    sandbox.bigbuy("user/purse", key="wrong")
    first, second, third = sandbox.ledger()
    assert (first["route"], first["status"], first["key"]) == ("user/purse", 200, "sandbox-bigbuy-key")
    assert (second["route"], second["path"], second["query"]) == (
        "catalog/product",
        "/rest/catalog/product/100003.json",
        {"isoCode": "fr"},
    )
    assert (third["status"], third["key"]) == (401, "wrong")
    assert first["seq"] < second["seq"] < third["seq"]
    assert first["complete"]
    assert first["sent_bytes"] == 7
    assert [each["seq"] for each in sandbox.ledger(status=401)] == [third["seq"]]
    assert [each["seq"] for each in sandbox.ledger(after=first["seq"], limit=1)] == [second["seq"]]
    counts = sandbox.control("GET", "ledger")["counts"]
    assert {"supplier": "bigbuy", "route": "user/purse", "status": 401, "calls": 1} in counts
    sandbox.control("DELETE", "ledger")
    assert sandbox.ledger() == []
    sandbox.control("GET", "ledger", wanted="x", expect=422)


def test_the_ledger_is_bounded():
    ledger = Ledger(limit=100)
    about = {"at": 0.0, "supplier": "s", "route": "r", "method": "GET", "path": "/", "query": {}, "key": None}
    for number in range(250):
        ledger.close(ledger.note(**about, body=str(number)))
    assert len(ledger.entries) == 100
    assert ledger.dropped == 150
    assert ledger.counts[("s", "r", None)] == 250
    many = Ledger(limit=10**6)
    for _ in range(9_000):
        many.note(**about, body="x" * 8_192)
    assert sum(entry.size() for entry in many.entries) <= 64 * 1024 * 1024


def test_the_control_api_is_documented(sandbox):
    paths = sandbox.http.get("/control/openapi.json").json()["paths"]
    assert {"/control/clock", "/control/faults", "/control/ledger", "/control/bigbuy/limits"} <= set(paths)
    for operations in paths.values():
        for operation in operations.values():
            assert operation["description"], operation
    assert "swagger" in sandbox.http.get("/control/docs").text.lower()
