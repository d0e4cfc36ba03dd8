"""Taking plans back: what still is as the plan left it goes back, what was changed since stays and is listed."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from services.catalog import edits, revert
from services.catalog.apply import PRODUCT_FIELDS, VARIANT_FIELDS
from services.catalog.changesets import ChangesetNotFound, discard, get_changeset
from services.catalog.revert import ChangesetNotRevertible
from services.core.db import transaction
from services.models import Changeset, Product, Variant
from tests import inline
from tests.catalog.editing import delete, edit, items_of, make, reload, snapshot, take_back, variant_ids
from tests.conftest import make_merchant
from tests.examples import examples
from tests.imports.importing import run_feed

LAMP = {"title": "Lamp", "tags": ["warm"]}
SIZES = [{"sku": "L-1", "price": Decimal(10), "stock": 3}, {"sku": "L-2", "price": Decimal(12)}]


def change_many(merchant, changes: dict[Any, dict[str, Any]]) -> Changeset:
    """One plan that sets fields of many products and variants, by id."""
    with transaction(merchant_id=merchant) as session:
        items = []
        for product in session.query(Product).order_by(Product.id):
            items += edits._item_of(product, edits.differences(product, changes.get(product.id, {})))
            for variant in session.query(Variant).where(Variant.product_id == product.id).order_by(Variant.id):
                own = edits.differences(variant, changes.get(variant.id, {}))
                items += edits._item_of(product, own, variant)
        return edits._carry_out(session, merchant, items, user_id=None)


def set_stock(merchant, id_, stock):
    """As a plan made before anything was recorded would have: the row alone."""
    with transaction(merchant_id=merchant) as session:
        session.execute(
            text("UPDATE variants SET stock = :stock, version = version + 1 WHERE id = :id"),
            {"id": id_, "stock": stock},
        )


def test_what_was_edited_since_is_kept_and_listed(merchant):
    product, _ = make(merchant, LAMP, SIZES)
    small, medium = variant_ids(merchant, product)
    plan = edit(merchant, product, {"title": "Sale!", "brand": "Oak"}, variants=[
        {"id": small, "price": Decimal(5), "stock": 1}, {"id": medium, "price": Decimal(6)}])  # fmt: skip
    edit(merchant, product, {"title": "Mine"}, variants=[{"id": small, "price": Decimal(7)}])
    preview = take_back(merchant, plan.id, apply=False)
    assert (preview.state, preview.reverts, preview.counts["kept"]) == ("planned", plan.id, 2)
    assert snapshot(merchant)[product]["title"] == "Mine"
    assert [(item.variant_id, item.state, item.changes) for item in items_of(preview)] == [
        (None, "planned", {"brand": ["Oak", None]}),
        (None, "conflict", {"title": ["Mine", "Lamp"]}),
        (small, "planned", {"stock": [1, 3]}),
        (small, "conflict", {"price": ["7", "10"]}),
        (medium, "planned", {"price": ["6", "12"]}),
    ]
    assert preview.fields == {"brand": 1, "stock": 1, "price": 1}
    assert preview.counts["products"]["update"] == 1
    done = take_back(merchant, plan.id)
    assert (done.state, done.applied, done.conflicts) == ("applied", 3, 2)
    found = snapshot(merchant)
    assert (found[product]["title"], found[product]["brand"]) == ("Mine", None)
    assert (found[small]["price"], found[small]["stock"], found[medium]["price"]) == (Decimal(7), 3, Decimal(12))


def test_a_revert_can_be_reverted_and_again(merchant):
    product, _ = make(merchant, LAMP, SIZES)
    before = snapshot(merchant)
    plan = edit(merchant, product, {"title": "Lantern", "tags": [], "images": ["https://i.example/1.jpg"]})
    after = snapshot(merchant)
    back = take_back(merchant, plan.id)
    assert snapshot(merchant) == before
    again = take_back(merchant, back.id)
    assert snapshot(merchant) == after
    take_back(merchant, again.id)
    assert snapshot(merchant) == before


def test_reverting_twice_finds_nothing_more_to_do(merchant):
    product, _ = make(merchant, LAMP, SIZES)
    plan = edit(merchant, product, {"title": "Lantern"})
    take_back(merchant, plan.id)
    second = take_back(merchant, plan.id)
    assert (second.state, second.items, second.conflicts) == ("applied", 0, 0)


def test_a_product_nobody_touched_since_it_was_made_goes(merchant):
    make(merchant, {"title": "Mug"}, [{"sku": "M"}])
    before = snapshot(merchant)
    product, made = make(merchant, LAMP, SIZES)
    with_lamp = snapshot(merchant)
    back = take_back(merchant, made.id)
    assert [(item.op, item.state) for item in items_of(back)] == [("delete", "applied")] * 3
    assert snapshot(merchant) == before
    take_back(merchant, back.id)
    assert snapshot(merchant) == with_lamp
    assert variant_ids(merchant, product)


@pytest.mark.parametrize("what", ["product", "variant"])
def test_a_product_somebody_touched_since_it_was_made_stays(merchant, what):
    product, made = make(merchant, LAMP, SIZES)
    small = variant_ids(merchant, product)[0]
    if what == "product":
        touched = edit(merchant, product, {"title": "Mine"})
    else:
        touched = edit(merchant, product, variants=[{"id": small, "stock": 4}])
    now_is = snapshot(merchant)
    kept = take_back(merchant, made.id)
    assert (kept.applied, kept.conflicts, kept.counts["kept"]) == (0, 1, 1)
    assert [(item.op, item.state, item.product_id) for item in items_of(kept)] == [("delete", "conflict", product)]
    assert snapshot(merchant) == now_is
    take_back(merchant, touched.id)  # as it was made, though its version is another
    take_back(merchant, made.id)
    assert snapshot(merchant) == {}


def test_what_was_deleted_since_cannot_get_its_fields_back(merchant):
    product, _ = make(merchant, LAMP, SIZES)
    plan = edit(merchant, product, {"title": "Lantern"})
    gone = delete(merchant, product)
    kept = take_back(merchant, plan.id)
    assert [(item.op, item.state, item.changes) for item in items_of(kept)] == [
        ("update", "conflict", {"title": [None, "Lamp"]})
    ]
    take_back(merchant, gone.id)
    take_back(merchant, plan.id)
    assert snapshot(merchant)[product]["title"] == "Lamp"


def test_a_deleted_product_comes_back_one_version_on_and_as_old_as_it_was(merchant):
    product, _ = make(merchant, LAMP, SIZES)
    edit(merchant, product, {"title": "Lantern"})
    rows = "SELECT id, version, created_at FROM products UNION ALL SELECT id, version, created_at FROM variants"
    with transaction(merchant_id=merchant) as session:
        before = {row.id: row for row in session.execute(text(rows))}
    gone = delete(merchant, product)
    take_back(merchant, gone.id)
    with transaction(merchant_id=merchant) as session:
        after = {row.id: row for row in session.execute(text(rows))}
    assert {id_: (row.version, row.created_at) for id_, row in after.items()} == {
        id_: (row.version + 1, row.created_at) for id_, row in before.items()
    }


def test_a_deleted_product_whose_name_is_taken_stays_away(merchant):
    product, _ = make(merchant, {**LAMP, "key": "lamp"}, SIZES)
    gone = delete(merchant, product)
    make(merchant, {"title": "Another", "key": "lamp"}, [{"sku": "A"}])
    now_is = snapshot(merchant)
    kept = take_back(merchant, gone.id)
    assert (kept.applied, kept.conflicts) == (0, 3)
    assert snapshot(merchant) == now_is


def test_a_feeds_products_go_with_their_variants(merchant):
    """Items of these hold no values: what they were made with follows from today's and what was changed since."""
    run_feed(merchant, "SKU,Title,Price\nA,Lamp,10\nB,Mug,5\nC,Vase,7\n", currency="EUR")
    rows = snapshot(merchant)
    ids = {row["key"]: id_ for id_, row in rows.items() if "source" in row}
    with transaction(merchant_id=merchant) as session:
        imported = session.query(Changeset).one()
    mug = variant_ids(merchant, ids["B"])[0]
    edit(merchant, ids["B"], variants=[{"id": mug, "price": Decimal(6)}])
    there_and_back = edit(merchant, ids["C"], {"title": "Urn"})
    take_back(merchant, there_and_back.id)
    back = take_back(merchant, imported.id)
    assert (back.applied, back.conflicts) == (4, 1)
    assert {row["key"] for row in snapshot(merchant).values() if "source" in row} == {"B"}
    take_back(merchant, back.id)
    edited = {**rows, mug: {**rows[mug], "price": Decimal(6)}}
    assert snapshot(merchant) == edited


def test_a_feeds_updates_go_back_and_new_variants_go(merchant):
    feed = "Handle,Title,Option1 Name,Option1 Value,Variant SKU,Variant Price\nlamp,Lamp,Size,S,L-1,10\n"
    run_feed(merchant, feed)
    before = snapshot(merchant)
    run_feed(merchant, feed.replace("L-1,10", "L-1,11") + "lamp,,,M,L-2,12\n")
    with transaction(merchant_id=merchant) as session:
        second = session.query(Changeset).order_by(Changeset.id.desc()).first()
    assert len(snapshot(merchant)) == 3
    take_back(merchant, second.id)
    assert snapshot(merchant) == before


def test_only_what_is_over_can_be_taken_back(merchant, other_merchant):
    product, _ = make(merchant, LAMP, SIZES)
    plan = edit(merchant, product, {"title": "Lantern"})
    preview = take_back(merchant, plan.id, apply=False)
    with pytest.raises(ChangesetNotRevertible):
        take_back(merchant, preview.id)
    with transaction(merchant_id=merchant) as session:
        discard(session, preview.id)
    with pytest.raises(ChangesetNotRevertible):
        take_back(merchant, preview.id)
    with pytest.raises(ChangesetNotFound):
        take_back(other_merchant, plan.id)


@pytest.mark.parametrize("apply", [True, False])
def test_a_large_plan_is_taken_back_by_jobs(merchant, monkeypatch, apply):
    monkeypatch.setattr(revert, "SMALL", 2)
    monkeypatch.setattr(revert, "ROWS", 3)
    ids = [make(merchant, {"title": f"P{n}"}, [{"sku": f"S{n}", "stock": n}])[0] for n in range(8)]
    before = snapshot(merchant)
    variants = [variant_ids(merchant, id_)[0] for id_ in ids]
    plan = change_many(merchant, {id_: {"brand": "Oak"} for id_ in ids} | {id_: {"stock": 9} for id_ in variants})
    edit(merchant, ids[3], {"brand": "Elm"})
    back = take_back(merchant, plan.id, apply=apply)
    assert (back.state, back.job_id is not None) == ("planning", True)
    ended = inline.work(back.job_id)
    assert ended["state"] == "succeeded", ended
    back = reload(back)
    assert (back.items, back.counts["kept"]) == (16, 1)
    assert [item.n for item in items_of(back)] == list(range(1, 17))
    if not apply:
        assert (back.state, back.applied) == ("planned", 0)
        return
    assert inline.work(back.job_id)["state"] == "succeeded"
    assert snapshot(merchant) == {**before, ids[3]: {**before[ids[3]], "brand": "Elm"}}


class Killed(BaseException):
    """As a worker dies: nothing more is written."""


def test_a_worker_killed_between_ranges_changes_nothing_of_the_plan(merchant, monkeypatch):
    monkeypatch.setattr(revert, "SMALL", 2)
    monkeypatch.setattr(revert, "ROWS", 2)
    ids = [make(merchant, {"title": f"P{n}"}, [{"sku": f"S{n}"}])[0] for n in range(6)]
    plan = change_many(merchant, {id_: {"brand": "Oak"} for id_ in ids})
    undisturbed = take_back(merchant, plan.id, apply=False)
    inline.work(undisturbed.job_id)
    disturbed = take_back(merchant, plan.id, apply=False)
    planned = revert._plan_range
    for kill_at in (1, 2, 3):
        calls = 0

        def dying(*args, kill_at=kill_at):
            nonlocal calls
            calls += 1
            done = planned(*args)
            if calls == kill_at:
                raise Killed
            return done

        monkeypatch.setattr(revert, "_plan_range", dying)
        with pytest.raises(Killed):
            inline.work(disturbed.job_id)
        inline.lose(disturbed.job_id)
    monkeypatch.setattr(revert, "_plan_range", planned)
    assert inline.work(disturbed.job_id)["state"] == "succeeded"
    first, second = reload(undisturbed), reload(disturbed)
    assert (first.digest, first.items, first.counts) == (second.digest, second.items, second.counts)


words = st.sampled_from([None, "a", "b", ""])
product_fields = st.fixed_dictionaries(
    {},
    optional={
        "title": words,
        "brand": words,
        "tags": st.sampled_from([[], ["x"], ["x", "y"]]),
        "status": st.sampled_from(["active", "draft"]),
    },
)
variant_fields = st.fixed_dictionaries(
    {},
    optional={
        "sku": words,
        "price": st.sampled_from([None, Decimal(1), Decimal("1.50"), Decimal("2.000001")]),
        "stock": st.sampled_from([None, 0, 1]),
        "options": st.sampled_from([{}, {"Size": "S"}, {"Size": "M", "Colour": "Red"}]),
    },
)
ROWS_OF_SHOP = 9  # three products with two variants each
changes = st.tuples(*([product_fields] * 3), *([variant_fields] * 6))


def by_id(ids: list[Any], drawn: tuple[dict[str, Any], ...]) -> dict[Any, dict[str, Any]]:
    """What was drawn, for each of the shop's rows."""
    return dict(zip(ids, drawn, strict=True))


@settings(max_examples=examples(8), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(changes, changes, st.lists(changes, max_size=2), st.booleans())
def test_exactly_the_untouched_fields_go_back(first, planned, edited, looked):
    merchant = make_merchant()
    products = [make(merchant, {"title": f"P{n}"}, [{"key": "1"}, {"key": "2"}])[0] for n in range(3)]
    ids = [*products, *(id_ for product in products for id_ in variant_ids(merchant, product))]
    change_many(merchant, by_id(ids, first))
    before = snapshot(merchant)
    plan = change_many(merchant, by_id(ids, planned))
    written = snapshot(merchant)
    for drawn in edited:
        change_many(merchant, by_id(ids, drawn))
    now_is = snapshot(merchant)
    preview = take_back(merchant, plan.id, apply=False) if looked and plan.applied else None
    back = take_back(merchant, plan.id) if plan.applied else plan
    expected = {
        id_: {
            name: before[id_][name] if before[id_][name] != written[id_][name] == value else value
            for name, value in row.items()
        }
        for id_, row in now_is.items()
    }
    assert snapshot(merchant) == expected
    if not plan.applied:
        return
    kept = {
        (item.variant_id or item.product_id, name)
        for item in items_of(back)
        if item.state == "conflict"
        for name in item.changes
    }
    assert kept == {
        (id_, name)
        for id_, row in now_is.items()
        for name in (*PRODUCT_FIELDS, *VARIANT_FIELDS)
        if name in row and before[id_][name] != written[id_][name] != row[name] != before[id_][name]
    }
    if preview is not None:
        assert reload(preview).digest == back.digest
    take_back(merchant, back.id) if back.applied else None
    assert snapshot(merchant) == now_is


def test_what_no_plan_recorded_is_taken_for_what_it_is(merchant):
    product, _ = make(merchant, LAMP, SIZES)
    small = variant_ids(merchant, product)[0]
    plan = edit(merchant, product, variants=[{"id": small, "stock": 8}])
    set_stock(merchant, small, 5)
    back = take_back(merchant, plan.id)
    assert (back.applied, back.conflicts, snapshot(merchant)[small]["stock"]) == (0, 1, 5)


def test_a_row_that_moves_between_preview_and_apply_is_left_alone(merchant):
    product, _ = make(merchant, LAMP, SIZES)
    plan = edit(merchant, product, {"title": "Lantern"})
    preview = take_back(merchant, plan.id, apply=False)
    edit(merchant, product, {"title": "Mine"})
    with transaction(merchant_id=merchant) as session:
        from services.catalog.changesets import apply_now

        changeset = get_changeset(session, preview.id)
        changeset.state = "applying"
        apply_now(session, changeset)
    assert (reload(preview).conflicts, snapshot(merchant)[product]["title"]) == (1, "Mine")
