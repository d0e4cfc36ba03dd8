"""Guards, each at, below and above its threshold, over real rows."""

from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import text

from services.catalog import measure
from services.catalog.drafts import StagingLost
from services.catalog.guards import Thresholds, judge_plan
from services.core.db import transaction
from services.models import Changeset
from tests.catalog.planning import Catalogue, held, verdicts


@pytest.fixture
def shop(session, merchant) -> Catalogue:
    """An empty catalogue."""
    return Catalogue(session, merchant)


def price(to: str, was: str = "10.000000") -> dict[str, list[Any]]:
    """A change of price, as plans write it."""
    return {"price": [was, to]}


def test_nothing_changes_and_nothing_is_held(shop):
    shop.fill(30)
    plan = shop.plan(feed=shop.feed())
    assert held(plan) == set()
    assert plan.money == {"prices": {}, "stock_value": {}, "largest": []}
    assert {guard: found["measured"] for guard, found in verdicts(plan).items()} == {
        "error_rows": 0, "duplicate_rows": 0, "zero_price_rows": 0, "below_cost_rows": 0, "short_feed": 0,
        "silent_fields": 0, "blank_prices": 0, "price_factor": 1, "price_moves": 0, "zero_prices": 0,
        "below_cost": 0, "currency_changes": 0, "sold_out": 0,
    }  # fmt: skip
    for found in plan.guards:
        assert set(found) - {"seen"} == {"guard", "held", "measured", "threshold", "items", "message"}


def test_a_first_import_is_judged_by_its_rows_alone(shop):
    plan = shop.plan(feed=shop.feed(100, price=None, stock=0))
    assert held(plan) == set()
    assert {"blank_prices", "missing"} & set(verdicts(plan)) == set()
    assert verdicts(plan)["silent_fields"]["message"] == "There is no earlier feed to compare the fields with."


@pytest.mark.parametrize(("errors", "is_held"), [(9, False), (10, False), (11, True)])
def test_rows_in_error(shop, errors, is_held):
    plan = shop.plan(feed=shop.feed(100 - errors), errors=errors)
    assert held(plan) == ({"error_rows"} if is_held else set())
    assert verdicts(plan)["error_rows"] == {
        "guard": "error_rows", "held": is_held, "measured": float(errors), "threshold": 10, "items": errors,
        "message": f"{errors} % of the rows cannot be used ({errors} of 100).",
    }  # fmt: skip


@pytest.mark.parametrize(("rows", "is_held"), [(19, False), (20, True)])
def test_shares_of_a_few_rows_are_not_judged(shop, rows, is_held):
    assert held(shop.plan(feed=shop.feed(rows - 5), errors=5)) == ({"error_rows"} if is_held else set())


@pytest.mark.parametrize(
    ("code", "guard", "at"),
    [
        ("duplicate_variant", "duplicate_rows", 10),
        ("price_zero", "zero_price_rows", 50),
        ("price_negative", "zero_price_rows", 50),
    ],
)
def test_rows_that_say_what_cannot_be(shop, code, guard, at):
    for count, is_held in ((at - 1, False), (at, False), (at + 1, True)):
        plan = shop.plan(feed=shop.feed(100), codes={code: count})
        assert held(plan) == ({guard} if is_held else set())
        assert verdicts(plan)[guard]["items"] == count


@pytest.mark.parametrize(("below", "is_held"), [(9, False), (10, False), (11, True)])
def test_a_feed_priced_below_cost(shop, below, is_held):
    feed = shop.feed(below, cost=12) + shop.feed(100 - below, first=below, cost=8)
    assert held(shop.plan(feed=feed)) == ({"below_cost_rows"} if is_held else set())


@pytest.mark.parametrize(("left", "is_held"), [(41, False), (40, False), (39, True)])
def test_a_feed_cut_short(shop, left, is_held):
    shop.fill(50)
    assert held(shop.plan(feed=shop.feed(left))) == ({"short_feed"} if is_held else set())


def test_a_feed_is_as_long_as_the_one_applied_last(shop):
    shop.fill(100)  # of which many have been missing for long
    shop.applied(shop.plan(feed=shop.feed(50)))
    assert held(shop.plan(feed=shop.feed(40))) == set()
    assert held(shop.plan(feed=shop.feed(39))) == {"short_feed"}
    shop.plan(feed=shop.feed(10))  # neither applied nor looked back on
    assert held(shop.plan(feed=shop.feed(39))) == {"short_feed"}


def test_what_was_let_through_is_not_asked_about_again(shop):
    shop.fill(100)
    shop.applied(shop.plan(feed=shop.feed(100)))
    changes_only = shop.applied(shop.plan(feed=shop.feed(30)))
    assert held(changes_only) == {"short_feed"}
    shop.applied(shop.plan(feed=shop.feed(100)))
    assert held(shop.plan(feed=shop.feed(25))) == set()
    assert held(shop.plan(feed=shop.feed(20))) == {"short_feed"}


@pytest.mark.parametrize(
    ("missing", "change"),
    [
        ("archive", {"status": ["active", "archived"]}),
        ("unpublish", {"status": ["active", "draft"]}),
        ("zero_stock", {"stock": [5, 0]}),
    ],
)
def test_products_that_would_be_taken_off(shop, missing, change):
    shop.policy(missing=missing)
    shop.fill(40)
    shop.fill(20, status="archived", stock=0)  # taken off before: no longer counted
    off = {"short_feed_percent": None}
    for gone, is_held in ((7, False), (8, False), (9, True)):
        plan = shop.plan(feed=shop.feed(40 - gone), missing=dict.fromkeys(range(40 - gone, 40), change), thresholds=off)
        assert held(plan) == ({"missing"} if is_held else set())
        assert (verdicts(plan)["missing"]["items"], verdicts(plan)["missing"]["measured"]) == (gone, gone * 2.5)


@pytest.mark.parametrize(("blank", "is_held"), [(4, False), (5, False), (6, True)])
def test_a_blank_price_column(shop, blank, is_held):
    shop.fill(50)
    shop.fill(50, price=None)  # that have none now do not thin it out, nor do new ones
    feed = shop.feed(blank, price=None) + shop.feed(300 - blank, first=blank)
    plan = shop.plan(feed=feed)
    assert held(plan) == ({"blank_prices"} if is_held else set())
    assert verdicts(plan)["blank_prices"]["items"] == blank


def test_a_price_that_another_row_of_the_variant_names_is_not_blank(shop):
    shop.fill(50)
    again = [{**draft, "line": draft["line"] + 100, "price": None} for draft in shop.feed()]
    assert verdicts(shop.plan(feed=shop.feed() + again))["blank_prices"]["items"] == 0


@pytest.mark.parametrize(("silent", "is_held"), [(29, False), (30, False), (31, True)])
def test_a_field_that_falls_silent(shop, silent, is_held):
    shop.fill(100)
    shop.applied(shop.plan(feed=shop.feed()))
    plan = shop.plan(feed=shop.feed(silent, title=None) + shop.feed(100 - silent, first=silent))
    assert held(plan) == ({"silent_fields"} if is_held else set())
    said = f"{silent} of 100 rows do not name title: {silent}.00 points more than before."
    assert verdicts(plan)["silent_fields"]["message"] == said


def test_fields_a_source_does_not_write_may_fall_silent(shop):
    shop.fill(50)
    shop.applied(shop.plan(feed=shop.feed()))
    plan = shop.plan(feed=shop.feed(title=None, price=None), judged=False)
    plan.writes = ["stock", "sku"]
    assert not judge_plan(shop.session, plan)


def test_a_stock_list_is_compared_with_stock_lists(shop):
    shop.fill(50)
    whole, stock_list = shop.feed(), shop.feed(title=None, price=None, currency=None)
    shop.applied(shop.plan(feed=whole))
    assert held(shop.applied(shop.plan(feed=stock_list))) == {"silent_fields", "blank_prices"}
    assert held(shop.applied(shop.plan(feed=whole))) == set()
    assert held(shop.applied(shop.plan(feed=stock_list))) == set()
    # And a whole feed with whole feeds: its prices are missed.
    assert held(shop.plan(feed=shop.feed(price=None))) == {"silent_fields", "blank_prices"}


@pytest.mark.parametrize(
    ("to", "is_held"), [("99.99", False), ("100", True), ("100.01", True), ("1.01", False), ("1", True)]
)
def test_one_price_that_leaps(shop, to, is_held):
    shop.fill(30)
    plan = shop.plan({3: price(to)}, feed=shop.feed())
    assert held(plan) == ({"price_factor"} if is_held else set())
    if is_held:
        assert f"S3 goes from 10.00 to {Decimal(to):.2f}." in verdicts(plan)["price_factor"]["message"]


@pytest.mark.parametrize(
    ("count", "to", "is_held"),
    [(9, "20", False), (10, "20", False), (11, "20", True), (11, "13", False), (11, "13.01", True), (11, "6.99", True)],
)
def test_many_prices_that_move(shop, count, to, is_held):
    shop.fill(50)
    plan = shop.plan({n: price(to) for n in range(count)}, feed=shop.feed())
    assert held(plan) == ({"price_moves"} if is_held else set())


@pytest.mark.parametrize("gone", ["0", "0.000000", "-1", None])
def test_a_price_that_becomes_nothing(shop, gone):
    shop.fill(30)
    plan = shop.plan({3: {"price": ["10.000000", gone]}}, feed=shop.feed())
    assert held(plan) == {"zero_prices"}
    assert (
        held(shop.plan({3: {"price": ["10.000000", gone]}}, feed=shop.feed(), thresholds={"zero_prices": 1})) == set()
    )


def test_a_price_that_was_nothing_may_stay_so(shop):
    shop.fill(30, price=0)
    assert held(shop.plan({3: {"stock": [5, 4]}}, feed=shop.feed(price=None))) == set()


@pytest.mark.parametrize(("below", "is_held"), [(4, False), (5, False), (6, True)])
def test_prices_that_fall_below_cost(shop, below, is_held):
    shop.fill(50, cost=9)
    feed = shop.feed(cost=None)
    assert held(shop.plan({n: price("8.5") for n in range(below)}, feed=feed)) == ({"below_cost"} if is_held else set())
    risen = {n: {"cost": ["9.000000", "10.5"]} for n in range(below)}
    assert held(shop.plan(risen, feed=feed)) == ({"below_cost"} if is_held else set())


def test_what_is_below_cost_already_may_stay_so(shop):
    shop.fill(50, cost=12)
    assert held(shop.plan({n: price("11") for n in range(50)}, feed=shop.feed(cost=None))) == set()


@pytest.mark.parametrize(("count", "limit", "is_held"), [(1, 0, True), (2, 2, False), (3, 2, True), (3, None, False)])
def test_a_currency_that_changes(shop, count, limit, is_held):
    shop.fill(30)
    changes: dict[int, Any] = {n: {"currency": ["EUR", "USD"]} for n in range(count)}
    plan = shop.plan(changes, feed=shop.feed(), thresholds={"currency_changes": limit})
    assert held(plan) == ({"currency_changes"} if is_held else set())


def test_a_currency_that_becomes_known_is_no_change(shop):
    shop.fill(30, currency=None)
    assert held(shop.plan({3: {"currency": [None, "EUR"]}}, feed=shop.feed(currency="EUR"))) == set()


@pytest.mark.parametrize(("count", "is_held"), [(44, False), (45, False), (46, True), (50, True)])
def test_all_stock_gone(shop, count, is_held):
    shop.fill(50)
    shop.fill(50, stock=0)
    feed = shop.feed(count, stock=0) + shop.feed(100 - count, first=count)
    plan = shop.plan({n: {"stock": [5, 0]} for n in range(count)}, feed=feed)
    assert held(plan) == ({"sold_out"} if is_held else set())


def test_stock_that_was_not_counted_can_go_too(shop):
    shop.fill(50, stock=None)
    plan = shop.plan({n: {"stock": [None, 0]} for n in range(50)}, feed=shop.feed(stock=0))
    assert held(plan) == {"sold_out"}
    few = shop.plan({n: {"stock": [None, 0]} for n in range(10)}, feed=shop.feed(10, stock=0) + shop.feed(40, first=10))
    assert held(few) == set()


def test_an_edit_that_sells_everything_out(shop):
    shop.fill(20)
    shop.fill(20, stock=0)
    assert held(shop.plan({n: {"stock": [5, 0]} for n in range(19)})) == {"sold_out"}
    assert held(shop.plan({n: {"stock": [5, 0]} for n in range(18)})) == set()


def test_an_edit_is_judged_by_what_it_changes(shop):
    shop.fill(10)
    assert set(verdicts(shop.plan({0: price("11")}))) == {
        "price_factor", "price_moves", "zero_prices", "below_cost", "currency_changes", "sold_out",
    }  # fmt: skip
    assert held(shop.plan({n: price("14") for n in range(5)})) == {"price_moves"}
    assert held(shop.plan({n: price("14") for n in range(4)})) == set()  # too few to speak of a share


@pytest.mark.parametrize("many", [0, measure.MANY])
def test_money(shop, monkeypatch, many):
    monkeypatch.setattr(measure, "MANY", many)  # a large plan is measured by another statement
    shop.fill(8)
    shop.fill(4, currency="USD", price=20)
    changes = {
        0: price("12.50"), 1: price("5"), 2: {"stock": [5, 7]}, 3: {"price": [None, "3"]},
        8: price("30", "20"), 9: {**price("10", "20"), "currency": ["USD", "EUR"]},
    }  # fmt: skip
    money = shop.plan(changes, feed=shop.feed()).money
    assert money["prices"] == {
        "EUR": {"items": 3, "before": "20.00", "after": "27.50", "difference": "7.50"},
        "USD": {"items": 2, "before": "40.00", "after": "30.00", "difference": "-10.00"},
    }
    assert money["stock_value"] == {
        "EUR": {"before": "150.00", "after": "222.50", "difference": "72.50"},
        "USD": {"before": "200.00", "after": "150.00", "difference": "-50.00"},
    }
    variant = shop.variants[1]
    assert money["largest"][0] == {
        "product_id": str(variant["product_id"]), "variant_key": "V1", "sku": "S1", "from": "10.00", "to": "5.00",
        "currency": "EUR", "percent": -50.0,
    }  # fmt: skip
    assert [move["variant_key"] for move in money["largest"]] == ["V1", "V9", "V8", "V0"]


def test_the_largest_moves_are_ten_and_a_price_lost_is_the_largest(shop):
    shop.fill(20)
    changes = {n: price(str(11 + n)) for n in range(20)} | {7: price("0")}
    moves = shop.plan(changes, feed=shop.feed()).money["largest"]
    assert len(moves) == 10
    assert [move["variant_key"] for move in moves[:3]] == ["V7", "V19", "V18"]
    assert moves[0]["percent"] == -100


def test_thresholds_are_the_sources_own(shop):
    shop.fill(50)
    shop.policy(guards={"currency_changes": None, "price_factor": 3})
    plan = shop.plan({0: {**price("30"), "currency": ["EUR", "USD"]}}, feed=shop.feed(), judged=False)
    assert judge_plan(shop.session, plan)
    assert held(plan) == {"price_factor"}
    assert verdicts(plan)["currency_changes"]["threshold"] is None
    assert verdicts(plan)["currency_changes"]["items"] == 1


def test_all_guards_can_be_switched_off(shop):
    shop.fill(50, cost=8)
    shop.policy(missing="archive")
    shop.applied(shop.plan(feed=shop.feed()))
    off = {name: None for name in Thresholds.model_fields if not name.startswith("smallest_")}
    wild = {**price("0.01"), "currency": ["EUR", "USD"], "stock": [5, 0]}
    gone = {n: {"status": ["active", "archived"]} for n in range(10, 50)}
    arguments: dict[str, Any] = {
        "missing": gone, "feed": shop.feed(10, title=None, price=None, cost=None), "errors": 50,
        "codes": {"price_zero": 60, "duplicate_variant": 60},
    }  # fmt: skip
    assert len(held(shop.plan(dict.fromkeys(range(10), wild), **arguments))) >= 8
    assert held(shop.plan(dict.fromkeys(range(10), wild), **arguments, thresholds=off)) == set()


@pytest.mark.parametrize(
    "wrong",
    [
        {"missing_percent": -1}, {"missing_percent": 101}, {"missing_percent": "many"}, {"price_factor": 1},
        {"price_factor": "nan"}, {"currency_changes": 1.5}, {"smallest_feed": None}, {"unheard_of": 1},
    ],
)  # fmt: skip
def test_what_is_no_threshold(shop, wrong):
    with pytest.raises(ValidationError):
        shop.plan(feed=shop.feed(1), thresholds=wrong)


def test_another_merchants_rows_count_for_nothing(shop, other_merchant):
    with transaction(merchant_id=other_merchant) as session:
        theirs = Catalogue(session, other_merchant)
        theirs.fill(50)
        theirs.applied(theirs.plan(feed=theirs.feed()))
    assert held(shop.plan(feed=shop.feed(10))) == set()


def test_a_feed_whose_rows_were_lost_is_not_judged(shop):
    plan = shop.plan(feed=shop.feed(30))
    shop.session.execute(text("DELETE FROM import_drafts WHERE import_id = :id AND line > 20"), {"id": plan.import_id})
    with pytest.raises(StagingLost):
        judge_plan(shop.session, plan)


def test_judging_again_says_the_same(shop):
    shop.fill(30)
    plan = shop.plan({n: price("100") for n in range(30)}, feed=shop.feed())
    first = (plan.guards, plan.money)
    assert judge_plan(shop.session, plan)
    assert (plan.guards, plan.money) == first
    shop.session.expire(plan)
    again = shop.session.get_one(Changeset, plan.id)
    assert (again.guards, again.money) == first
