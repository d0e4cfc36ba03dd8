"""Changes by hand: each is a plan of its own, applied at once, and none is lost."""

import threading
from decimal import Decimal
from uuid import uuid4

import pytest
from sqlalchemy import text

from services.catalog import edits
from services.catalog.edits import (
    NoVariantLeft,
    ProductExists,
    ProductMoved,
    VariantExists,
    VariantNotFound,
    VariantRepeated,
)
from services.catalog.queries import ProductNotFound
from services.core.db import transaction
from services.core.ids import new_id
from tests.catalog.editing import delete, edit, items_of, make, reload, snapshot, take_back, variant_ids

LAMP = {"title": "Lamp", "tags": ["warm"], "status": "active"}
SIZES = [
    {"sku": "L-1", "options": {"Size": "S"}, "price": Decimal("10.00"), "currency": "EUR", "stock": 3},
    {"sku": "L-2", "options": {"Size": "M"}, "price": Decimal("12.345"), "currency": "EUR"},
]


def versions(merchant):
    with transaction(merchant_id=merchant) as session:
        rows = session.execute(text("SELECT id, version FROM products UNION ALL SELECT id, version FROM variants"))
        return dict(rows.all())


def test_a_product_made_by_hand_is_a_plan(merchant):
    product, changeset = make(merchant, {**LAMP, "key": "lamp"}, SIZES)
    found = snapshot(merchant)
    small, medium = variant_ids(merchant, product)
    assert (found[product]["title"], found[product]["source"], found[product]["key"]) == ("Lamp", "manual", "lamp")
    assert (found[product]["tags"], found[product]["images"]) == (["warm"], [])
    assert (found[small]["sku"], found[small]["price"], found[small]["stock"]) == ("L-1", Decimal(10), 3)
    assert (found[medium]["price"], found[medium]["stock"], found[medium]["key"]) == (Decimal("12.345"), None, "L-2")
    assert (changeset.kind, changeset.state, changeset.items, changeset.applied) == ("edit", "applied", 3, 3)
    assert changeset.counts["products"]["create"] == 1
    assert changeset.counts["variants"]["create"] == 2
    assert set(versions(merchant).values()) == {1}
    assert len({item.applied_at for item in items_of(changeset)}) == 1


def test_only_what_differs_is_written(merchant):
    product, _ = make(merchant, LAMP, SIZES)
    small, medium = variant_ids(merchant, product)
    changeset = edit(
        merchant,
        product,
        {"title": "Lamp", "brand": "Oak"},
        variants=[{"id": small, "price": Decimal("10.000"), "stock": 0}, {"id": medium, "price": Decimal("12.345")}],
    )
    assert [(item.op, item.variant_id, item.changes) for item in items_of(changeset)] == [
        ("update", None, {"brand": [None, "Oak"]}),
        ("update", small, {"stock": [3, 0]}),
    ]
    assert versions(merchant) == {product: 2, small: 2, medium: 1}
    assert changeset.fields == {"brand": 1, "stock": 1}


def test_what_is_as_said_already_makes_no_plan(merchant):
    product, _ = make(merchant, LAMP, SIZES)
    assert edit(merchant, product, {"title": "Lamp", "tags": ["warm"]}) is None
    assert set(versions(merchant).values()) == {1}


def test_money_keeps_every_digit(merchant):
    product, _ = make(merchant, LAMP, SIZES)
    small = variant_ids(merchant, product)[0]
    changeset = edit(merchant, product, variants=[{"id": small, "price": Decimal("999999999999.123456")}])
    assert items_of(changeset)[0].changes == {"price": ["10", "999999999999.123456"]}
    assert snapshot(merchant)[small]["price"] == Decimal("999999999999.123456")


def test_a_version_that_is_no_longer_the_rows_is_refused(merchant):
    product, _ = make(merchant, LAMP, SIZES)
    small = variant_ids(merchant, product)[0]
    edit(merchant, product, {"title": "Lantern"}, variants=[{"id": small, "stock": 9}])
    with pytest.raises(ProductMoved) as refused:
        edit(merchant, product, {"title": "Torch"}, version=1)
    assert refused.value.extra["version"] == 2
    with pytest.raises(ProductMoved) as refused:
        edit(merchant, product, variants=[{"id": small, "version": 1, "stock": 1}])
    assert refused.value.param == "variants.0.version"
    assert edit(merchant, product, {"title": "Torch"}, version=2, variants=[{"id": small, "version": 2, "stock": 1}])


def test_variants_of_others_and_repeated_ones(merchant, other_merchant):
    product, _ = make(merchant, LAMP, SIZES)
    elsewhere, _ = make(other_merchant, LAMP, SIZES)
    other = variant_ids(other_merchant, elsewhere)[0]
    small = variant_ids(merchant, product)[0]
    for id_ in (other, uuid4()):
        with pytest.raises(VariantNotFound) as refused:
            edit(merchant, product, {"title": "X"}, variants=[{"id": small, "stock": 1}, {"id": id_, "stock": 1}])
        assert refused.value.param == "variants.1.id"
    with pytest.raises(VariantRepeated):
        edit(merchant, product, variants=[{"id": small, "stock": 1}, {"id": small, "stock": 2}])
    with pytest.raises(ProductNotFound):
        edit(merchant, elsewhere, {"title": "X"})
    with pytest.raises(ProductNotFound):
        delete(merchant, elsewhere)
    assert snapshot(merchant)[product]["title"] == "Lamp"
    assert snapshot(merchant)[small]["stock"] == 3


def test_variants_come_and_go_and_come_back(merchant):
    product, _ = make(merchant, LAMP, SIZES)
    small, medium = variant_ids(merchant, product)
    before = snapshot(merchant)
    new = {"sku": "L-3", "options": {"Size": "L"}, "price": Decimal("14.50")}
    plan = edit(merchant, product, variants=[{"id": small, "remove": True}, {"id": medium, "stock": 1}, new, {}])
    assert [(item.op, item.variant_key, item.state) for item in items_of(plan)] == [
        ("delete", "L-1", "applied"), ("update", "L-2", "applied"),
        ("create", "L-3", "applied"), ("create", "4", "applied"),
    ]  # fmt: skip
    now_is = snapshot(merchant)
    assert small not in now_is
    kept, large, plain = variant_ids(merchant, product)
    assert (kept, now_is[large]["options"], now_is[large]["position"]) == (medium, {"Size": "L"}, 3)
    assert (now_is[plain]["key"], now_is[plain]["position"]) == ("4", 4)

    back = take_back(merchant, plan.id)
    assert snapshot(merchant) == before
    take_back(merchant, back.id)
    assert snapshot(merchant) == now_is
    replaced = edit(merchant, product, variants=[{"id": large, "remove": True}, new])  # its key stays its own
    take_back(merchant, replaced.id)
    assert snapshot(merchant) == now_is


def test_variants_that_cannot_come_or_go(merchant):
    product, _ = make(merchant, LAMP, SIZES)
    small, medium = variant_ids(merchant, product)
    before = snapshot(merchant)
    for refusal, param, variants in (
        (NoVariantLeft, "variants", [{"id": small, "remove": True}, {"id": medium, "remove": True}]),
        (VariantExists, "variants.1.key", [{"id": small, "stock": 5}, {"key": "L-2"}]),
        (VariantExists, "variants.1.key", [{"key": "L-7"}, {"key": "L-7"}]),
        (VariantNotFound, "variants.1.id", [{}, {"id": uuid4(), "remove": True}]),
        (ProductMoved, "variants.0.version", [{"id": small, "version": 2, "remove": True}]),
    ):
        with pytest.raises(refusal) as refused:
            edit(merchant, product, {"title": "X"}, variants=variants)
        assert refused.value.param == param
    assert snapshot(merchant) == before
    everything = [{"id": small, "remove": True}, {"id": medium, "remove": True}, {"sku": "L-3"}]
    edit(merchant, product, variants=everything)
    assert len(variant_ids(merchant, product)) == 1


def test_two_who_take_off_a_variant_each_leave_one(merchant):
    product, _ = make(merchant, LAMP, SIZES)
    outcomes = []

    def go(id_):
        try:
            outcomes.append(edit(merchant, product, variants=[{"id": id_, "remove": True}]).applied)
        except NoVariantLeft:
            outcomes.append(0)

    threads = [threading.Thread(target=go, args=(id_,)) for id_ in variant_ids(merchant, product)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == [0, 1]
    assert len(variant_ids(merchant, product)) == 1


def test_keys_of_products_made_by_hand_are_theirs_alone(merchant):
    make(merchant, {**LAMP, "key": "lamp"}, SIZES)
    with pytest.raises(ProductExists):
        make(merchant, {**LAMP, "key": "lamp"}, SIZES)
    with pytest.raises(VariantRepeated):
        make(merchant, LAMP, [{"sku": "same"}, {"sku": "same"}])
    make(merchant, LAMP, [{"price": Decimal(1)}, {"price": Decimal(2)}])
    make(merchant, LAMP, [{"price": Decimal(1)}])
    assert sum("source" in row for row in snapshot(merchant).values()) == 3


def test_two_of_the_same_key_at_once_are_one(merchant):
    outcomes = []

    def go():
        try:
            make(merchant, {**LAMP, "key": "lamp"}, SIZES)
            outcomes.append("made")
        except ProductExists:
            outcomes.append("exists")

    threads = [threading.Thread(target=go) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["exists"] * 5 + ["made"]


def test_edits_at_once_never_lose_one_another(merchant):
    """Eight at a time, each of another field or variant, and all of one counter, read and written under the lock."""
    product, _ = make(merchant, LAMP, [{"sku": f"S-{n}", "stock": 0} for n in range(8)])
    ids = variant_ids(merchant, product)
    failed = []

    def go(n):
        try:
            for turn in range(5):
                edit(merchant, product, {"title": f"{n}-{turn}"}, variants=[{"id": ids[n], "stock": turn + 1}])
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=go, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    found = snapshot(merchant)
    assert [found[id_]["stock"] for id_ in ids] == [5] * 8
    assert versions(merchant)[product] == 41
    with transaction(merchant_id=merchant) as session:
        chain = session.execute(
            text("""SELECT changes -> 'title' ->> 0, changes -> 'title' ->> 1 FROM changeset_items
                    WHERE variant_id IS NULL AND op = 'update' ORDER BY version""")
        ).all()
        assert session.scalar(text("SELECT count(*) FROM changesets WHERE conflicts > 0")) == 0
        times = session.scalars(
            text("SELECT applied_at FROM changeset_items WHERE variant_id IS NULL ORDER BY version")
        ).all()
    assert [before for before, _ in chain[1:]] == [after for _, after in chain[:-1]]
    assert times == sorted(times)


def test_an_edit_and_a_plan_made_before_it(merchant):
    """What a person did between plan and apply is a conflict, and stays."""
    product, _ = make(merchant, LAMP, SIZES)
    first = edit(merchant, product, {"title": "Lantern"})
    planned = take_back(merchant, first.id, apply=False)
    edit(merchant, product, {"brand": "Oak"})
    with transaction(merchant_id=merchant) as session:
        from services.catalog.apply import apply_range

        apply_range(session, session.merge(planned, load=True))
    assert (reload(planned).conflicts, snapshot(merchant)[product]["title"]) == (1, "Lantern")


def test_deleting_takes_the_variants_along_and_keeps_them_in_the_plan(merchant):
    product, _ = make(merchant, LAMP, SIZES)
    keep, _ = make(merchant, {"title": "Mug"}, [{"sku": "M"}])
    before = snapshot(merchant)
    changeset = delete(merchant, product)
    assert (changeset.items, changeset.applied, changeset.counts["products"]["delete"]) == (3, 3, 1)
    assert keep in snapshot(merchant)
    assert len(snapshot(merchant)) == 2
    with pytest.raises(ProductNotFound):
        delete(merchant, product)
    take_back(merchant, changeset.id)
    assert snapshot(merchant) == before


def test_a_product_with_a_stale_version_is_not_deleted(merchant):
    product, _ = make(merchant, LAMP, SIZES)
    with transaction(merchant_id=merchant) as session, pytest.raises(ProductMoved):
        edits.delete_product(session, product, version=7)
    assert product in snapshot(merchant)


def test_nothing_is_known_of_an_unknown_product(merchant):
    for call in (edit, delete):
        with pytest.raises(ProductNotFound):
            call(merchant, new_id())
