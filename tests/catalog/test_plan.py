"""What an import's drafts make of the catalogue, item by item, and what its source's policies make of the plan."""

from decimal import Decimal

import pytest
from sqlalchemy import select, text

from services.catalog import edits, plan
from services.catalog.jobs import ApplyChangeset
from services.core.clock import now
from services.core.db import transaction
from services.core.ids import new_id
from services.jobs import enqueue
from services.models import Changeset, Product
from tests import inline
from tests.catalog.test_apply import SMALL_MERCHANTS
from tests.imports.importing import (
    begin,
    catalogue,
    errors_of,
    footprints,
    items_of,
    make_source,
    plan_of,
    reload,
    run_feed,
    staged,
)

OLD = "SKU,Title,Brand,Price,Stock\nA1,Lamp,Oak,10.00,5\nB2,Mug,Oak,2.00,0\nC3,Vase,Elm,30.00,1\n"
NEW = "SKU,Title,Brand,Price,Stock\nA1,Lamp,Oak,12.5,5\nD4,Bowl,Elm,3.00,9\nB2,Cup,Oak,2.00,0\n"


def _plan(merchant, feed, **policy):
    make_source(merchant, **policy)
    import_ = begin(merchant, feed)
    ended = inline.work(import_.job_id)
    return import_, ended, plan_of(import_)


def _told(changeset):
    return [
        (item.op, item.product_key, item.variant_key, item.line, item.changes, item.state)
        for item in items_of(changeset)
    ]


def test_a_plan_says_what_would_change_and_changes_nothing(merchant):
    run_feed(merchant, OLD)
    before = footprints(merchant)
    import_, ended, found = _plan(merchant, NEW, apply="ask")
    assert (ended["state"], found.state, found.source, found.kind) == (
        "succeeded",
        "awaiting_approval",
        "default",
        "import",
    )
    assert (ended["result"]["changeset_id"], ended["result"]["changeset_state"]) == (str(found.id), "awaiting_approval")
    assert _told(found) == [
        ("update", "A1", "A1", 2, {"price": ["10", "12.5"]}, "planned"),
        ("update", "B2", None, 4, {"title": ["Mug", "Cup"]}, "planned"),
        ("create", "D4", None, 3, None, "planned"),
    ]
    assert footprints(merchant) == before
    assert {name: found.counts["products"][name] for name in ("create", "update", "unchanged", "missing")} == {
        "create": 1, "update": 1, "unchanged": 1, "missing": 1
    }  # fmt: skip
    assert {name: found.counts["variants"][name] for name in ("create", "update", "unchanged")} == {
        "create": 1, "update": 1, "unchanged": 1
    }  # fmt: skip
    assert found.counts["errors"] == 0
    assert found.fields == {"price": 1, "title": 1}
    assert len(found.digest) == 64
    assert staged(merchant) == 3
    assert reload(import_).finished_at is None


def test_the_same_feed_planned_again_has_the_same_items_and_overtakes_the_first(merchant):
    run_feed(merchant, OLD)
    _, _, first = _plan(merchant, NEW, apply="ask")
    second_import, _, second = _plan(merchant, NEW, apply="ask")
    assert plan_of(second_import).state == "awaiting_approval"
    with transaction(merchant_id=merchant) as session:
        session.add(first)
        session.refresh(first)
    assert (first.state, first.note) == ("discarded", f"overtaken by import {second_import.id}")
    assert _told(first) == _told(second)
    assert staged(merchant) == 3  # those of the plan that is still open


def test_a_digest_tells_one_plan_from_another(merchant):
    run_feed(merchant, OLD)
    digests = [
        _plan(merchant, feed, apply="ask")[2].digest
        for feed in (OLD.replace("10.00", "11.00"), OLD.replace("10.00", "11.00"), OLD.replace("10.00", "11.01"))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_a_dry_run_stays_a_plan(merchant):
    _, ended, found = _plan(merchant, OLD, apply="dry_run")
    assert (ended["state"], found.state, found.decided_at) == ("succeeded", "planned", None)
    assert catalogue(merchant) == {}


def test_nothing_to_change_needs_nobody(merchant):
    run_feed(merchant, OLD)
    _, _, found = _plan(merchant, OLD, apply="ask")
    assert (found.state, found.items, found.counts["products"]["unchanged"]) == ("applied", 0, 3)


def test_held_by_a_guard_it_waits_and_the_last_good_state_goes_on(merchant):
    rows = "".join(f"S{n},Title {n},{n}.00\n" for n in range(10, 60))
    run_feed(merchant, "SKU,Title,Price\n" + rows)
    before = footprints(merchant)
    make_source(merchant, guards={})
    import_ = begin(merchant, "SKU,Title,Price\n" + rows.replace(".00", "00.00"), guarded=True)
    ended = inline.work(import_.job_id)
    assert (ended["state"], plan_of(import_).state) == ("succeeded", "awaiting_approval")
    assert any(verdict["held"] for verdict in plan_of(import_).guards)
    assert footprints(merchant) == before


@pytest.mark.parametrize(
    ("policy", "field", "became"),
    [
        ("leave", None, None),
        ("zero_stock", "stock", 0),
        ("unpublish", "status", "draft"),
        ("archive", "status", "archived"),
    ],
)
def test_what_becomes_of_products_the_feed_no_longer_has(merchant, policy, field, became):
    run_feed(merchant, OLD)
    run_feed(merchant, OLD.replace("C3", "Z9"), source="another")
    _, ended, found = _plan(merchant, OLD.partition("C3")[0], missing=policy)
    assert found.state == "applied"
    assert found.counts["products"]["missing"] == 1
    assert ended["result"]["products"]["unchanged"] == 2
    vase = catalogue(merchant)["C3"]
    assert {**vase, "variants": None, **vase["variants"]["C3"]}.get(field) == became
    assert catalogue(merchant, "another")["Z9"]["status"] == "active"
    # Once more there is nothing left to do for it.
    _, _, again = _plan(merchant, OLD.partition("C3")[0], missing=policy)
    assert (again.items, again.counts["products"]["missing"]) == (0, 1)


@pytest.mark.parametrize(("policy", "became"), [("unpublish", "draft"), ("archive", "archived")])
def test_a_product_that_is_there_again_gets_its_status_back(merchant, policy, became):
    run_feed(merchant, OLD)
    _plan(merchant, OLD.partition("C3")[0], missing=policy)
    assert catalogue(merchant)["C3"]["status"] == became
    _, _, found = _plan(merchant, OLD, missing=policy)
    assert _told(found) == [("update", "C3", None, 4, {"status": [became, "active"]}, "applied")]
    assert catalogue(merchant)["C3"]["status"] == "active"


def test_a_status_that_somebody_chose_stays(merchant):
    run_feed(merchant, OLD)
    _plan(merchant, OLD.partition("C3")[0], missing="unpublish")
    with transaction(merchant_id=merchant) as session:
        product = session.scalars(select(Product).where(Product.key == "C3")).one()
        edits.edit_product(session, product.id, said={"status": "archived"})
    _, _, found = _plan(merchant, OLD, missing="unpublish")
    assert found.items == 0
    assert catalogue(merchant)["C3"]["status"] == "archived"


def test_a_source_writes_only_its_fields(merchant):
    run_feed(merchant, OLD)
    feed = "SKU,Title,Brand,Price,Stock\nA1,Other,Other,99.00,7\nE5,New,Elm,1.00,2\n"
    _, _, found = _plan(merchant, feed, fields=["stock", "title"])
    assert _told(found)[0] == ("update", "A1", None, 2, {"title": ["Lamp", "Other"]}, "applied")
    lamp, new = catalogue(merchant)["A1"], catalogue(merchant)["E5"]
    assert (lamp["title"], lamp["brand"], lamp["variants"]["A1"]["price"], lamp["variants"]["A1"]["stock"]) == (
        "Other", "Oak", Decimal(10), 7
    )  # fmt: skip
    assert (new["title"], new["brand"], new["variants"]["E5"]["price"], new["variants"]["E5"]["stock"]) == (
        "New", None, None, 2
    )  # fmt: skip
    # More fields, the same feed: what it was not let to say before it says now.
    _, _, found = _plan(merchant, feed, fields=None)
    assert found.fields == {"brand": 2, "price": 2, "sku": 1}


def test_what_somebody_changed_meanwhile_is_compared_again(merchant):
    """A feed that changed nothing last time is not compared again, unless anything of its products has been changed."""
    run_feed(merchant, OLD)
    assert run_feed(merchant, OLD)["result"]["variants"]["unchanged"] == 3
    with transaction(merchant_id=merchant) as session:
        session.execute(text("UPDATE variants SET price = 99, version = version + 1 WHERE key = 'A1'"))
        session.execute(text("UPDATE products SET title = 'Mine', version = version + 1 WHERE key = 'B2'"))
        session.execute(text("DELETE FROM products WHERE key = 'C3'"))
    ended = run_feed(merchant, OLD)
    assert ended["result"]["products"] == {"created": 1, "updated": 1, "unchanged": 1}
    assert ended["result"]["variants"] == {"created": 1, "updated": 1, "unchanged": 1}
    assert catalogue(merchant)["A1"]["variants"]["A1"]["price"] == Decimal(10)
    assert catalogue(merchant)["B2"]["title"] == "Mug"


def test_what_moved_between_plan_and_apply_is_left_alone(merchant):
    run_feed(merchant, OLD)
    import_, _, found = _plan(merchant, NEW, apply="ask")
    with transaction(merchant_id=merchant) as session:
        session.execute(text("UPDATE variants SET price = 11, version = version + 1 WHERE key = 'A1'"))
        session.add(Product(merchant_id=merchant, source="default", key="D4", title="Mine"))
        approved = session.get_one(Changeset, found.id)
        approved.state, approved.decided_at = "applying", now()
        job_id, _ = enqueue(session, ApplyChangeset(changeset_id=found.id), merchant_id=merchant)
    ended = inline.work(job_id)
    found = plan_of(import_)
    assert (ended["state"], found.state, found.applied, found.conflicts) == ("succeeded", "applied", 1, 2)
    assert [told[-1] for told in _told(found)] == ["conflict", "applied", "conflict"]
    after = catalogue(merchant)
    assert (after["A1"]["variants"]["A1"]["price"], after["D4"]["title"], after["B2"]["title"]) == (11, "Mine", "Cup")
    assert ended["result"]["products"]["created"] == 0


@pytest.mark.parametrize(
    "bad", ["E5,Bowl,Elm,1.00,1,too,many\n", "A1,Lamp,Oak,11.00,5\n"], ids=["a broken row", "a repeated variant"]
)
def test_a_source_may_refuse_files_with_bad_rows(merchant, bad):
    run_feed(merchant, OLD)
    before = footprints(merchant)
    make_source(merchant, bad_rows="refuse")
    import_ = begin(merchant, OLD.replace("Lamp", "Lantern") + bad)
    ended = inline.work(import_.job_id)
    assert (ended["state"], ended["error_code"]) == ("failed", "bad_rows")
    assert plan_of(import_).state == "failed"
    assert len(errors_of(import_)) == 1
    assert footprints(merchant) == before
    assert staged(merchant) == 0
    # Said with the file it counts for this one, whatever the source says.
    assert run_feed(merchant, OLD.replace("Lamp", "Light") + bad, bad_rows="skip")["state"] == "succeeded"
    make_source(merchant, bad_rows="skip")
    assert run_feed(merchant, OLD.replace("Lamp", "Lantern") + bad, bad_rows="refuse")["error_code"] == "bad_rows"


def test_new_variants_of_known_products_are_items_with_their_values(merchant):
    head = "Handle,Title,Option1 Name,Option1 Value,Variant SKU,Variant Price\n"
    run_feed(merchant, head + "p,Shirt,Size,S,1,9.00\n")
    _, _, found = _plan(merchant, head + "p,Shirt,Size,S,1,9.00\np,,,M,2,9.50\n")
    [item] = items_of(found)
    assert (item.op, item.product_key, item.variant_key, item.state, item.version) == ("create", "p", "M", "applied", 1)
    assert item.changes == {
        "sku": [None, "2"], "price": [None, "9.5"], "options": [None, {"Size": "M"}], "position": [None, 2]
    }  # fmt: skip
    assert catalogue(merchant)["p"]["variants"]["M"]["options"] == {"Size": "M"}


def test_a_feed_that_shrank_to_nothing_leaves_ranges_of_missing_products_behind(merchant, monkeypatch):
    monkeypatch.setattr(plan, "ROWS", 7)
    run_feed(merchant, "SKU,Title\n" + "".join(f"S{n:03},T\n" for n in range(50)))
    _, _, found = _plan(merchant, "SKU,Title\nS020,T\n", missing="archive")
    assert (found.applied, found.counts["products"]["missing"]) == (49, 49)
    assert [key for key, row in catalogue(merchant).items() if row["status"] == "active"] == ["S020"]


def test_reading_never_takes_in_more_than_its_range_whatever_the_statistics_say(merchant):
    """With many small merchants before, the planner expects a merchant it does not know to have one row."""
    arguments = {
        **{"merchant_id": merchant, "import_id": new_id(), "changeset_id": new_id(), "source": "default", "after": ""},
        **{"upto": "z", "first_key": "a", "last_key": "z", "items": 0, "salt": 0},
        "id_start": new_id().bytes[:10],
    }
    with transaction(merchant_id=merchant) as session:
        session.execute(text("SELECT set_config('role', 'none', true)"))
        for one in SMALL_MERCHANTS.split(";"):
            session.execute(text(one))
        session.execute(text("SELECT set_config('role', 'shopopti_app', true)"))
        session.execute(plan._SET_UP)
        explained = session.execute(text("EXPLAIN " + plan._statement(None, "zero_stock").text), arguments)
        told = [line.strip() for line in explained.scalars()]
        session.rollback()
    for table, keys in (
        ("products", ("AND (key ",)),
        ("variants", ("(product_id = ",)),
        ("import_drafts", ("(product_key ",)),
    ):
        scans = [index for index, line in enumerate(told) if f" on {table} " in line and "Insert" not in line]
        assert scans, told
        for index in scans:
            assert "Index" in told[index], told
            assert any(key in told[index + 1] for key in keys), told[index : index + 2]
