"""What is applied is what was planned, item by item, on random catalogues and random feeds; and nothing besides."""

from decimal import Decimal
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from services.catalog import apply
from services.catalog.jobs import ApplyChangeset
from services.core.db import transaction
from services.jobs import enqueue
from services.models import Changeset, Product, Variant
from tests import inline
from tests.conftest import make_merchant
from tests.examples import examples
from tests.imports.importing import begin, items_of, make_source, plan_of, run_feed
from tests.imports.test_properties import _text, feeds

MONEY = ("price", "compare_at_price", "cost")


def rows_of(merchant: UUID) -> dict[UUID, dict[str, Any]]:
    """Every product and variant by its id, with all that a plan may change."""
    with transaction(merchant_id=merchant) as session:
        rows = [*session.scalars(select(Product)), *session.scalars(select(Variant))]
    kept = ("key", "version", "product_id", "position", *apply.PRODUCT_FIELDS, *apply.VARIANT_FIELDS)
    return {row.id: {name: getattr(row, name) for name in kept if hasattr(row, name)} for row in rows}


def value(field: str, told: Any) -> Any:
    """What a value of `changes` stands for."""
    return Decimal(told) if field in MONEY and told is not None else told


@settings(max_examples=examples(5), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(feeds, max_size=2),
    feeds,
    st.sampled_from(["leave", "zero_stock", "unpublish", "archive"]),
    st.sampled_from([None, ["price", "stock"], ["title", "tags", "images", "options"]]),
    st.integers(1, 7),
)
def test_what_was_applied_is_what_was_planned(before, feed, missing, fields, items):
    merchant = make_merchant()
    for rows in before:
        run_feed(merchant, _text(rows))
    make_source(merchant, missing=missing, fields=fields, apply="ask")
    known = rows_of(merchant)
    import_ = begin(merchant, _text(feed))
    assert inline.work(import_.job_id)["state"] == "succeeded"
    plan = plan_of(import_)
    assert rows_of(merchant) == known
    if plan.state == "awaiting_approval":
        with transaction(merchant_id=merchant) as session:
            approved = session.get_one(Changeset, plan.id)
            approved.state = "applying"
            job_id, _ = enqueue(session, ApplyChangeset(changeset_id=plan.id), merchant_id=merchant)
        whole, apply.RANGE = apply.RANGE, items
        try:
            assert inline.work(job_id)["state"] == "succeeded"
        finally:
            apply.RANGE = whole
    plan, found = plan_of(import_), rows_of(merchant)
    assert (plan.state, plan.conflicts, plan.applied) == ("applied", 0, plan.items)
    told = items_of(plan)
    assert [item.n for item in told] == list(range(1, plan.items + 1))
    assert [item.product_key for item in told] == sorted(item.product_key for item in told)
    made = {item.product_id for item in told if item.op == "create" and item.variant_id is None}
    for item in told:
        row_id = item.variant_id or item.product_id
        expected = dict(known.get(row_id, {}))
        changes = item.changes or {}
        if item.op == "update":
            assert item.base_version == expected["version"]
            assert {name: expected[name] for name in changes} == {
                name: value(name, was) for name, (was, _) in changes.items()
            }
        else:
            assert not expected
            assert item.base_version is None
        after = found.pop(row_id)
        assert item.version == after["version"] == expected.get("version", 0) + 1
        assert {name: after[name] for name in changes} == {name: value(name, is_) for name, (_, is_) in changes.items()}
        if item.op == "update":
            assert {**after, **dict.fromkeys((*changes, "version"))} == {
                **expected,
                **dict.fromkeys((*changes, "version")),
            }
    came_along = {id_: row for id_, row in found.items() if row.get("product_id") in made}
    assert len(came_along) == plan.counts["variants"]["with_products"]
    assert {id_: row for id_, row in found.items() if id_ not in came_along} == {
        id_: row for id_, row in known.items() if id_ in found
    }
    assert set(known) <= set(found) | {item.variant_id or item.product_id for item in told}
