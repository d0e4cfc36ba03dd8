"""BigBuy's limits: a fixed window for each key and endpoint."""

import pytest

from sandbox.bigbuy.limits import LIMITS
from tests.sandbox.conftest import ROOTS


@pytest.fixture
def limited(sandbox):
    """With the limits enforced."""
    sandbox.control("PUT", "bigbuy/limits", {"enforced": True})
    return sandbox


def test_ten_lists_an_hour_and_not_one_more(limited):
    begin = 1_772_366_400
    for number in range(10):
        limited.advance(seconds=60)
        answer = limited.bigbuy("catalog/products", parentTaxonomy=ROOTS[0], pageSize=1)
        assert answer.status_code == 200
        assert answer.headers["X-RateLimit-Limit"] == "10"
        assert answer.headers["X-RateLimit-Remaining"] == str(9 - number)
        assert answer.headers["X-RateLimit-Reset"] == str(begin + 60 + 3_600)
    refused = limited.bigbuy("catalog/products", parentTaxonomy=ROOTS[0])
    assert refused.status_code == 429
    assert refused.text == "You exceeded the rate limit"
    assert refused.headers["content-type"].startswith("text/plain")
    assert refused.headers["X-Ratelimit-Reset"] == str(begin + 3_660)
    assert "retry-after" not in refused.headers
    assert limited.bigbuy("catalog/productsimages", parentTaxonomy=ROOTS[0]).status_code == 200
    limited.control("PUT", "bigbuy/keys/other", {})
    assert limited.bigbuy("catalog/products", parentTaxonomy=ROOTS[0], key="other").status_code == 200
    limited.control("PUT", "clock", {"at": "2026-03-01T13:00:59Z"})
    assert limited.bigbuy("catalog/products", parentTaxonomy=ROOTS[0]).status_code == 429
    limited.control("PUT", "clock", {"at": "2026-03-01T13:01:00Z"})
    again = limited.bigbuy("catalog/products", parentTaxonomy=ROOTS[0])
    assert again.status_code == 200
    assert again.headers["X-RateLimit-Reset"] == str(begin + 3_660 + 3_600)


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        ("catalog/productsinformation", LIMITS["catalog/productsinformation"]),
        ("catalog/taxonomies", (24, 3_600)),
        ("catalog/attributes", (24, 3_600)),
        ("catalog/manufacturers", (5, 3_600)),
        ("catalog/languages", (10, 3_600)),
        ("catalog/productsvariations", (10, 3_600)),
        ("catalog/product/100001", (1, 5)),
        ("catalog/productinformationbysku/S1000000", (1, 5)),
        ("order/orderstatuses", (1, 1)),
        ("order/1190000001", (1, 1)),
        ("shipping/carriers", (1, 1)),
        ("tracking/carriers", (1, 1)),
    ],
)
def test_the_documented_limits(limited, path, limit):
    calls, seconds = limit
    for _ in range(calls):
        assert limited.bigbuy(path).status_code != 429
    assert limited.bigbuy(path).status_code == 429
    limited.advance(seconds=seconds)
    assert limited.bigbuy(path).status_code != 429


def test_single_items_share_an_endpoint(limited):
    assert limited.bigbuy("catalog/product/100001").status_code == 200
    assert limited.bigbuy("catalog/product/100002").status_code == 429


def test_a_wrong_key_and_a_failed_call(limited):
    """401 costs nothing; a call that fails costs as much as any other."""
    for _ in range(3):
        assert limited.bigbuy("catalog/product/100001", key="wrong").status_code == 401
    assert limited.bigbuy("catalog/productimages/1", isoCode="xx").status_code == 400
    assert limited.bigbuy("catalog/productimages/100001").status_code == 429


def test_limits_can_be_changed(limited):
    limits = limited.control("PUT", "bigbuy/limits", {"rules": {"catalog/products": [2, 10]}})
    assert limits["rules"]["catalog/products"] == [2, 10]
    assert limits["rules"]["catalog/taxonomies"] == [24, 3_600]
    statuses = [limited.bigbuy("catalog/products", parentTaxonomy=ROOTS[0]).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    limited.control("PUT", "bigbuy/limits", {"enforced": False})
    answer = limited.bigbuy("catalog/products", parentTaxonomy=ROOTS[0])
    assert answer.status_code == 200
    assert "x-ratelimit-limit" not in answer.headers
    assert [e["status"] for e in limited.ledger(route="catalog/products", status=429)] == [429]


def test_a_clock_that_is_set_back_locks_nobody_out(limited):
    assert limited.bigbuy("catalog/product/100001").status_code == 200
    limited.control("PUT", "clock", {"at": "2026-02-01T12:00:00Z"})
    assert limited.bigbuy("catalog/product/100001").status_code == 200
