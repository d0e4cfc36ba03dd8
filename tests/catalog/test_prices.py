"""New prices for many at once: what they come to, whom they concern, what is left alone, and what a guard holds."""

import uuid
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.catalog import prices
from services.catalog.prices import PriceChange, PriceTargets, Rounding, update_prices
from services.catalog.queries import ProductFilter
from services.core.db import transaction
from services.models import Variant
from tests import inline
from tests.catalog.editing import edit, items_of, make, reload, snapshot, take_back, variant_ids
from tests.conftest import headers_for, make_merchant
from tests.examples import examples

ALL = PriceTargets(ProductFilter())


def shop(merchant, *amounts, **more):
    """One product of one variant for each price."""
    return [make(merchant, {"title": f"P{n}"}, [{"sku": f"S{n}", "price": price, **more}])[0]
            for n, price in enumerate(amounts)]  # fmt: skip


def prices_of(merchant, field="price"):
    with transaction(merchant_id=merchant) as session:
        return [getattr(variant, field) for variant in session.query(Variant).order_by(Variant.sku)]


def update(merchant, targets=ALL, apply=True, **change):
    with transaction(merchant_id=merchant) as session:
        return update_prices(session, merchant_id=merchant, targets=targets, change=PriceChange(**change), apply=apply)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"op": "set", "value": "11.5"}, ["11.5", "11.5", "11.5"]),
        ({"op": "add", "value": "-0.5"}, ["9.5", "11.85", "0.49"]),
        ({"op": "percent", "value": "10"}, ["11", "13.59", "1.09"]),
        ({"op": "multiply", "value": "1.1"}, ["11", "13.59", "1.09"]),
        ({"op": "multiply", "value": "1.1", "rounding": {"ending": "0.99"}}, ["10.99", "13.99", "0.99"]),
        ({"op": "multiply", "value": "1.1", "rounding": {"ending": "0.99", "mode": "up"}}, ["11.99", "13.99", "1.99"]),
        ({"op": "multiply", "value": "1.1", "rounding": {"ending": "0.99", "mode": "down"}},
         ["10.99", "12.99", "0.99"]),
        ({"op": "multiply", "value": "1.1", "rounding": {"step": "0.05"}}, ["11", "13.6", "1.1"]),
        ({"op": "multiply", "value": "1.1", "rounding": {"step": "10", "ending": "9.5", "mode": "up"}},
         ["19.5", "19.5", "9.5"]),
        ({"op": "set", "value": "7.123456"}, ["7.123456"] * 3),
    ],
)  # fmt: skip
def test_what_they_come_to(merchant, change, expected):
    shop(merchant, Decimal(10), Decimal("12.35"), Decimal("0.99"))
    done = update(merchant, apply=False, **change)
    assert (done.state, prices_of(merchant)) == ("planned", [Decimal(10), Decimal("12.35"), Decimal("0.99")])
    with transaction(merchant_id=merchant) as session:
        from services.catalog.changesets import apply_now, get_changeset

        apply_now(session, get_changeset(session, done.id))
    assert prices_of(merchant) == [Decimal(each) for each in expected]
    assert reload(done).counts["prices"]["matched"] == 3


def test_what_cannot_be_is_left_and_counted(merchant):
    shop(merchant, Decimal(10), Decimal(3), None, Decimal("999999999999"))
    done = update(merchant, apply=False, op="add", value="-5")
    assert done.counts["prices"] == {
        "matched": 4, "unchanged": 0, "no_price": 1, "not_positive": 1, "too_high": 0
    }  # fmt: skip
    assert [item.changes for item in items_of(done)] == [
        {"price": ["10", "5"]},
        {"price": ["999999999999", "999999999994"]},
    ]
    assert update(merchant, apply=False, op="multiply", value="2").counts["prices"]["too_high"] == 1
    assert update(merchant, apply=False, op="add", value="0").items == 0


def test_other_fields_and_bases(merchant):
    shop(merchant, Decimal(10), Decimal(20), cost=Decimal(4), compare_at_price=Decimal(30))
    update(merchant, field="compare_at_price", op="multiply", value="1.5", base="price")
    assert prices_of(merchant, "compare_at_price") == [Decimal(15), Decimal(30)]
    update(merchant, field="compare_at_price", op="clear")
    assert prices_of(merchant, "compare_at_price") == [None, None]
    done = update(merchant, op="multiply", value="2.2", base="cost", apply=False)
    assert {item.changes["price"][1] for item in items_of(done)} == {"8.8"}


def test_whom_they_concern(merchant, other_merchant):
    first, second, third = shop(merchant, Decimal(10), Decimal(20), Decimal(30))
    theirs = shop(other_merchant, Decimal(10))
    edit(merchant, third, {"brand": "Oak"})
    variant = variant_ids(merchant, second)[0]
    for targets, skus in (
        (ALL, ["S0", "S1", "S2"]),
        (PriceTargets(ProductFilter(brand="Oak")), ["S2"]),
        (PriceTargets(ProductFilter(sku="S1")), ["S1"]),
        (PriceTargets(ProductFilter(price_min=Decimal(15), price_max=Decimal(25))), ["S1"]),
        (PriceTargets(ProductFilter(in_stock=False)), ["S0", "S1", "S2"]),
        (PriceTargets(ProductFilter(), currency="EUR"), []),
        (PriceTargets(ProductFilter(), product_ids=(first, theirs[0], uuid.uuid4())), ["S0"]),
        (PriceTargets(ProductFilter(), variant_ids=(variant, variant_ids(other_merchant, theirs[0])[0])), ["S1"]),
    ):
        done = update(merchant, targets, apply=False, op="add", value="1")
        rows = snapshot(merchant)
        assert [rows[item.variant_id]["sku"] for item in items_of(done)] == skus, targets
    assert prices_of(other_merchant) == [Decimal(10)]


def test_of_a_products_variants_only_those_meant(merchant):
    product, _ = make(
        merchant, {"title": "Lamp"}, [{"sku": "A", "price": Decimal(1)}, {"sku": "B", "price": Decimal(2)}]
    )
    update(merchant, PriceTargets(ProductFilter(sku="B")), op="set", value="3")
    assert prices_of(merchant) == [Decimal(1), Decimal(3)]
    update(
        merchant, PriceTargets(ProductFilter(), variant_ids=(variant_ids(merchant, product)[0],)), op="set", value="4"
    )
    assert prices_of(merchant) == [Decimal(4), Decimal(3)]


def test_a_guard_holds_what_is_wild(merchant):
    shop(merchant, *(Decimal(n) for n in range(10, 40)))
    held = update(merchant, op="multiply", value="100")
    assert (held.state, held.applied) == ("awaiting_approval", 0)
    assert any(verdict["held"] for verdict in held.guards)
    assert max(prices_of(merchant)) == Decimal(39)
    fine = update(merchant, op="percent", value="5")
    assert (fine.state, fine.applied) == ("applied", 30)


@pytest.mark.parametrize("apply", [True, False])
def test_many_are_planned_by_a_job(merchant, monkeypatch, apply):
    monkeypatch.setattr(prices, "SMALL", 3)
    monkeypatch.setattr(prices, "PRODUCTS", 4)
    shop(merchant, *(Decimal(n) for n in range(10, 20)))
    before = prices_of(merchant)
    asked = PriceTargets(ProductFilter(price_min=Decimal(11)), currency=None)
    done = update(merchant, asked, apply=apply, op="percent", value="10", rounding=Rounding(ending=Decimal("0.99")))
    assert (done.state, done.items) == ("planning", 0)
    ended = inline.work(done.job_id)
    assert ended["state"] == "succeeded", ended
    done = reload(done)
    assert (done.items, done.counts["prices"]["matched"], done.state) == (9, 9, "applying" if apply else "planned")
    if apply:
        inline.work(done.job_id)
        assert prices_of(merchant) == [
            before[0],
            *(Decimal(round(p * Decimal("1.1") - Decimal("0.99"))) + Decimal("0.99") for p in before[1:]),
        ]
        back = take_back(merchant, done.id)
        assert (back.state, back.applied, prices_of(merchant)) == ("applied", 9, before)


@settings(max_examples=examples(8), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.decimals("0.01", "99999", places=2), min_size=1, max_size=5),
    st.sampled_from(["add", "percent", "multiply"]),
    st.decimals("0", "3", places=2),
    st.sampled_from([None, {"ending": "0.99"}, {"step": "0.25"}, {"step": "5", "ending": "4.95", "mode": "down"}]),
)
def test_no_price_is_ever_wild_or_gone(amounts, op, value, rounding):
    """Whatever is asked: above zero, on the grid that was asked for, and not further off than a step of it."""
    merchant = make_merchant()
    shop(merchant, *amounts)
    update(merchant, apply=False, op=op, value=value, rounding=rounding)
    done = update(merchant, op=op, value=value, rounding=rounding)
    step, ending = (
        Decimal((rounding or {"step": "0.01"}).get(name, other)) for name, other in (("step", 1), ("ending", 0))
    )
    for item in items_of(done):
        before, after = (Decimal(each) for each in item.changes["price"])
        exact = {"add": before + value, "percent": before * (100 + value) / 100, "multiply": before * value}[op]
        assert after > 0
        assert (after - ending) % step == 0
        assert abs(after - exact) <= step


@pytest.fixture
def posted(client, merchant):
    """POST of a price update to a shop of three."""
    shop(merchant, Decimal(10), Decimal(20), Decimal(30), currency="EUR")
    return lambda **body: client.post("/api/v1/products/bulk-price-update", json=body)


def test_over_http(client, merchant, posted):
    looked = posted(filter={"price_min": "15"}, op="percent", value=10, rounding={"ending": "0.99"})
    assert looked.status_code == 201, looked.text
    body = looked.json()
    assert (body["state"], body["items"], body["counts"]["prices"]["matched"]) == ("planned", 2, 2)
    assert [item["changes"] for item in body["sample"]] == [
        [{"field": "price", "from": "20.00", "to": "21.99"}],
        [{"field": "price", "from": "30.00", "to": "32.99"}],
    ]
    assert body["money"]["prices"]["EUR"]["items"] == 2
    applied = client.post(body["links"]["apply"], json={"digest": body["digest"]})
    inline.work(uuid.UUID(applied.json()["job_id"]))
    assert prices_of(merchant) == [Decimal(10), Decimal("21.99"), Decimal("32.99")]
    at_once = posted(all=True, op="add", value="0.01", apply=True, note="a cent").json()
    assert (at_once["state"], at_once["note"]) == ("applied", "a cent")
    assert prices_of(merchant)[0] == Decimal("10.01")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"op": "set", "value": 1}, "all"),
        ({"all": True, "filter": {"q": "x"}, "op": "set", "value": 1}, "all"),
        ({"filter": {}, "op": "set", "value": 1}, "filter"),
        ({"filter": {"colour": "red"}, "op": "set", "value": 1}, "filter.colour"),
        ({"filter": {"q": "\x00"}, "op": "set", "value": 1}, "filter.q"),
        ({"product_ids": [], "op": "set", "value": 1}, "product_ids"),
        ({"product_ids": ["x"], "op": "set", "value": 1}, "product_ids.0"),
        ({"all": True, "op": "set"}, "value"),
        ({"all": True, "op": "set", "value": "-1"}, "value"),
        ({"all": True, "op": "set", "value": "NaN"}, "value"),
        ({"all": True, "op": "set", "value": "Infinity"}, "value"),
        ({"all": True, "op": "multiply", "value": "-2"}, "value"),
        ({"all": True, "op": "percent", "value": "-100"}, "value"),
        ({"all": True, "op": "percent", "value": "1e13"}, "value"),
        ({"all": True, "op": "clear"}, "op"),
        ({"all": True, "op": "clear", "field": "compare_at_price", "value": 1}, "value"),
        ({"all": True, "op": "halve", "value": 1}, "op"),
        ({"all": True, "op": "set", "value": 1, "field": "cost"}, "field"),
        ({"all": True, "op": "set", "value": 1, "rounding": {"step": 0}}, "rounding.step"),
        ({"all": True, "op": "set", "value": 1, "rounding": {"step": 1, "ending": 1}}, "rounding.ending"),
        ({"all": True, "op": "set", "value": 1, "currency": "ZZZ"}, "currency"),
        ({"all": True, "op": "set", "value": 1, "note": "\x00"}, "note"),
        ({"all": True, "op": "set", "value": 1, "dry_run": True}, "dry_run"),
    ],
)
def test_what_is_unclear_is_refused_by_name(merchant, posted, body, param):
    answer = posted(**body)
    assert (answer.status_code, answer.json().get("param")) == (422, param), answer.text
    assert prices_of(merchant) == [Decimal(10), Decimal(20), Decimal(30)]


def test_viewers_may_not(client, merchant, posted):
    viewer = headers_for(merchant, role="viewer")
    body = {"all": True, "op": "set", "value": 1}
    assert client.post("/api/v1/products/bulk-price-update", json=body, headers=viewer).status_code == 403
