"""Items of plans becoming rows: what is written, what is left alone, and what two plans do to each other."""

import re
import threading
from decimal import Decimal

import pytest
from sqlalchemy import text

from services.catalog import apply
from services.core.clock import now
from services.core.db import transaction
from services.core.ids import new_id
from services.models import Changeset
from tests.catalog.plans import (
    apply_all,
    make_plan,
    of_product,
    of_variant,
    products_of,
    states_of,
    touch,
    variants_of,
    whole,
)
from tests.conftest import make_merchant
from tests.imports.importing import footprints, run_feed, whole_catalogue

FEED = (
    "Handle,Title,Vendor,Tags,Option1 Name,Option1 Value,Variant SKU,Variant Price,Variant Inventory Qty\n"
    + "".join(f"p{n},Title {n},Oak,x,Size,{size},{n}{size},{n + 1}.50,3\n" for n in range(4) for size in "SM")
)


@pytest.fixture
def shop(merchant):
    """A merchant with four products of two variants."""
    run_feed(merchant, FEED, currency="EUR")
    return merchant


def test_only_the_fields_that_are_said_are_written_and_money_keeps_its_digits(shop):
    product = products_of(shop)["p1"]
    variant = variants_of(shop, product)["S"]
    changes = {"title": ["Title 1", None], "tags": [["x"], ["y", "z, w"]], "images": [[], ["https://i.example/1"]]}
    offered = {"price": ["2.5", "123456789012.123456"], "options": [{"Size": "S"}, {"Größe": "S"}], "stock": [3, None]}
    done = apply_all(
        make_plan(shop, of_product(product, "update", changes), of_variant(product, variant, "update", offered))
    )
    assert (done.state, done.applied, done.conflicts) == ("applied", 2, 0)
    assert done.counts["applied"] == {"products": {"update": 1}, "variants": {"update": 1}}
    product = products_of(shop)["p1"]
    assert (product.title, product.tags, product.images, product.version) == (
        None, ["y", "z, w"], ["https://i.example/1"], 2
    )  # fmt: skip
    assert (product.brand, product.status) == ("Oak", "active")
    variant = variants_of(shop, product)["S"]
    assert (variant.price, variant.options, variant.stock) == (Decimal("123456789012.123456"), {"Größe": "S"}, None)
    assert (variant.sku, variant.currency, variant.version) == ("1S", "EUR", 2)
    assert variants_of(shop, product)["M"].version == 1


def test_a_row_that_has_moved_is_a_conflict_and_stays(shop):
    products = products_of(shop)
    plan = make_plan(
        shop,
        of_product(products["p0"], "update", {"title": ["Title 0", "New"]}),
        of_product(products["p1"], "update", {"title": ["Title 1", "New"]}),
        of_product(products["p2"], "update", {"title": ["Title 2", "New"]}, product_id=new_id()),
    )
    touch(shop, "products", products["p1"].id)
    before = footprints(shop)
    done = apply_all(plan)
    assert (done.applied, done.conflicts) == (1, 2)
    assert states_of(plan) == ["applied", "conflict", "conflict"]
    assert {key: product.title for key, product in products_of(shop).items()} == {
        "p0": "New", "p1": "Title 1", "p2": "Title 2", "p3": "Title 3"
    }  # fmt: skip
    assert len({row[:2] for row in footprints(shop) - before}) <= 2  # the one written, and the one that was locked


def test_applied_in_ranges_or_at_once_it_is_the_same_and_a_second_time_nothing(shop):
    products = products_of(shop)
    items = [
        item
        for key, product in products.items()
        for item in (
            of_product(product, "update", {"title": [product.title, f"New {key}"]}),
            *(
                of_variant(product, variant, "update", {"stock": [3, 9]})
                for variant in variants_of(shop, product).values()
            ),
        )
    ]
    plan = make_plan(shop, *items)
    with transaction(merchant_id=shop) as session:
        apply.apply_range(session, session.get_one(Changeset, plan.id))
        expected = whole_catalogue(shop, session)
        session.rollback()
    done = apply_all(plan, items=1)
    assert whole_catalogue(shop) == expected
    assert done.applied == 12
    before = footprints(shop)
    with transaction(merchant_id=shop) as session:
        assert apply.apply_range(session, session.get_one(Changeset, plan.id)) == 0
    assert footprints(shop) == before


def test_a_product_goes_with_its_variants_and_comes_back_one_version_on(shop):
    product = products_of(shop)["p2"]
    touch(shop, "products", product.id)
    product = products_of(shop)["p2"]
    variants = variants_of(shop, product)
    gone = make_plan(
        shop,
        of_product(product, "delete", whole(product, "delete")),
        *(of_variant(product, row, "delete", whole(row, "delete")) for row in variants.values()),
    )
    done = apply_all(gone)
    assert (done.applied, done.counts["applied"]) == (3, {"products": {"delete": 1}, "variants": {"delete": 2}})
    assert "p2" not in products_of(shop)
    assert variants_of(shop, product) == {}
    back = make_plan(
        shop,
        of_product(product, "create", whole(product, "create"), base_version=None),
        *(of_variant(product, row, "create", whole(row, "create"), base_version=None) for row in variants.values()),
    )
    assert apply_all(back).applied == 3
    again = products_of(shop)["p2"]
    assert (again.id, again.title, again.tags, again.source, again.version) == (
        product.id, "Title 2", ["x"], "default", 3
    )  # fmt: skip
    assert {row.id: (row.price, row.sku, row.version, row.position) for row in variants_of(shop, again).values()} == {
        row.id: (row.price, row.sku, 2, row.position) for row in variants.values()
    }
    assert apply_all(make_plan(shop, of_product(product, "create", whole(product, "create")))).conflicts == 1


@pytest.mark.parametrize("moved", ["variant changed", "variant more", "product changed"])
def test_a_product_is_deleted_as_it_was_planned_or_not_at_all(shop, moved):
    product = products_of(shop)["p2"]
    variants = variants_of(shop, product)
    plan = make_plan(
        shop,
        of_product(product, "delete", {}),
        *(of_variant(product, row, "delete", {}) for row in variants.values()),
    )
    if moved == "variant more":
        run_feed(shop, FEED + "p2,,,,Size,L,2L,1.00,1\n")
    else:
        table, id_ = ("products", product.id) if moved == "product changed" else ("variants", variants["M"].id)
        touch(shop, table, id_)
    before = whole_catalogue(shop)
    done = apply_all(plan, items=1)
    assert (done.applied, done.conflicts) == (0, 3)
    assert whole_catalogue(shop) == before


def test_one_variant_goes_alone(shop):
    product = products_of(shop)["p2"]
    variants = variants_of(shop, product)
    touch(shop, "variants", variants["S"].id)
    plan = make_plan(shop, *(of_variant(product, variants[key], "delete", {}) for key in "SM"))
    assert apply_all(plan).counts["applied"]["variants"] == {"delete": 1}
    assert set(variants_of(shop, product)) == {"S"}


def test_a_variant_of_a_product_that_has_gone_is_a_conflict(shop):
    product = products_of(shop)["p2"]
    made = {"op": "create", "product_key": "p2", "product_id": product.id, "variant_key": "L", "variant_id": new_id()}
    taken = {**made, "variant_key": "S", "variant_id": new_id()}
    plan = make_plan(shop, {**made, "changes": {"price": [None, "3"]}}, {**taken, "changes": {}})
    assert apply_all(plan).conflicts == 1
    assert variants_of(shop, product)["L"].price == 3
    with transaction(merchant_id=shop) as session:
        session.execute(text("DELETE FROM products WHERE id = :id"), {"id": product.id})
    plan = make_plan(shop, {**made, "variant_id": new_id(), "changes": {}})
    assert apply_all(plan).conflicts == 1


def test_items_that_were_planned_as_conflicts_are_counted_and_not_touched(shop):
    product = products_of(shop)["p0"]
    plan = make_plan(shop, of_product(product, "update", {"title": ["Title 0", "New"]}, state="conflict"))
    done = apply_all(plan)
    assert (done.applied, done.conflicts, products_of(shop)["p0"].title) == (0, 1, "Title 0")


def test_another_merchants_rows_are_out_of_reach(shop):
    stranger = make_merchant()
    theirs = products_of(shop)["p0"]
    plan = make_plan(
        stranger, of_product(theirs, "update", {"title": ["Title 0", "Mine"]}), of_product(theirs, "delete", {})
    )
    assert apply_all(plan).conflicts == 2
    assert products_of(shop)["p0"].title == "Title 0"


def test_two_plans_at_once_conflict_row_by_row_and_never_interleave(shop):
    """Both were made for the same rows, in opposite orders: each row is one plan's, and neither waits for ever."""
    products = list(products_of(shop).values())
    plans = [
        make_plan(shop, *(of_product(product, "update", {"title": [product.title, name]}) for product in order))
        for name, order in (("one", products), ("two", products[::-1]))
    ]
    threads = [threading.Thread(target=apply_all, args=(plan,), kwargs={"items": 4}) for plan in plans]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    titles = [product.title for product in products_of(shop).values()]
    assert titles in (["one"] * 4, ["two"] * 4)
    assert sorted(states_of(plans[0]) + states_of(plans[1])) == ["applied"] * 4 + ["conflict"] * 4
    assert {product.version for product in products_of(shop).values()} == {2}


SMALL_MERCHANTS = """
DELETE FROM variants; DELETE FROM products; DELETE FROM changeset_items;
INSERT INTO products (id, merchant_id, source, key)
SELECT gen_random_uuid(), gen_random_uuid(), 'default', 'A1' FROM generate_series(1, 500);
INSERT INTO variants (id, merchant_id, product_id, key, position)
SELECT gen_random_uuid(), merchant_id, id, '', 1 FROM products;
INSERT INTO changeset_items (merchant_id, changeset_id, n, op, product_key, product_id)
SELECT merchant_id, gen_random_uuid(), 1, 'create', 'A1', id FROM products;
ANALYZE products; ANALYZE variants; ANALYZE import_drafts; ANALYZE changeset_items
"""


@pytest.mark.parametrize(
    "statement", [name for name in vars(apply) if name.startswith(("_UPDATE_", "_DELETE_", "_CREATE_"))]
)
def test_rows_are_looked_up_one_by_one_whatever_the_statistics_say(merchant, statement):
    """With many small merchants before, the planner expects a merchant it does not know to have one row."""
    arguments = {"merchant_id": merchant, "changeset_id": new_id(), "after": 0, "upto": 5_000, "at": now()}
    with transaction(merchant_id=merchant) as session:
        session.execute(text("SELECT set_config('role', 'none', true)"))
        for one in SMALL_MERCHANTS.split(";"):
            session.execute(text(one))
        session.execute(text("SELECT set_config('role', 'shopopti_app', true)"))
        session.execute(apply.ROW_BY_ROW)
        explained = session.execute(text("EXPLAIN " + getattr(apply, statement).text), arguments)
        plan = [line.strip() for line in explained.scalars()]
        session.rollback()
    scans = [
        (line, plan[index + 1])
        for index, line in enumerate(plan)
        if re.search(" on (products|variants|changeset_items) ", line)
        and not re.search("->  (Insert|Update|Delete) ", line)
    ]
    whole = (
        "TID Cond",
        "Index Cond: (id = ",
        " AND (id = ",
        " AND (product_id = ",
        " AND (source = ",
        " AND (changeset_id = ",
    )
    assert [scan for scan in scans[1:] if not any(key in scan[1] for key in whole)] == []
    assert len(scans) > 2
