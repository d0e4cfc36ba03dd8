"""What a product was at any moment, and what made it so: compared with what was there at those moments."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from services.catalog.apply import PRODUCT_FIELDS, VARIANT_FIELDS
from services.catalog.history import list_changes, state_at
from services.catalog.queries import ProductNotFound
from services.catalog.rows import jsonable
from services.core.db import transaction
from services.core.ids import new_id
from services.core.paging import InvalidCursor
from services.models import Changeset
from tests.catalog.editing import delete, edit, make, snapshot, take_back, variant_ids
from tests.catalog.test_revert import by_id, change_many, changes
from tests.conftest import make_merchant
from tests.examples import examples
from tests.imports.importing import begin, run_feed

LAMP = {"title": "Lamp", "tags": ["warm"]}
SIZES = [{"sku": "L-1", "price": Decimal(10), "stock": 3}, {"sku": "L-2", "price": Decimal(12)}]


def moment(merchant: UUID) -> datetime:
    """Now, on the database's clock."""
    with transaction(merchant_id=merchant) as session:
        found: datetime = session.execute(text("SELECT clock_timestamp()")).scalar_one()
        return found


def then(merchant: UUID, product: UUID, at: datetime) -> Any:
    """The product at that moment."""
    with transaction(merchant_id=merchant) as session:
        return state_at(session, product, merchant_id=merchant, at=at)


def past(merchant: UUID, products: list[UUID], at: datetime) -> dict[UUID, dict[str, Any]]:
    """What `snapshot` would have found then, of these products, as far as fields and keys go."""
    found: dict[UUID, dict[str, Any]] = {}
    for product in products:
        state = then(merchant, product, at)
        for row in [] if state.product is None else [state.product, *state.variants]:
            found[row.id] = {name: field.value for name, field in row.fields.items()} | {"key": row.key}
    return found


def plain(rows: dict[UUID, dict[str, Any]]) -> dict[UUID, dict[str, Any]]:
    """A snapshot in the words of plans."""
    kept = {*PRODUCT_FIELDS, *VARIANT_FIELDS, "key"}
    return {id_: {name: jsonable(value) for name, value in row.items() if name in kept} for id_, row in rows.items()}


def log(merchant: UUID, product: UUID, *, limit: int = 50) -> list[Any]:
    """The whole history, page by page."""
    found, after = [], None
    while True:
        with transaction(merchant_id=merchant) as session:
            page = list_changes(session, product, merchant_id=merchant, limit=limit, after=after)
        found += page.data
        if page.next is None:
            return found
        after = page.next


def test_who_changed_what_and_when(merchant):
    person = new_id()
    product, made = make(merchant, LAMP, SIZES)
    small = variant_ids(merchant, product)[0]
    first = edit(merchant, product, {"title": "Lantern"}, user_id=person)
    second = edit(merchant, product, variants=[{"id": small, "price": Decimal("9.5")}])
    back = take_back(merchant, first.id)
    found = log(merchant, product)
    assert [(each.by.changeset_id, each.by.kind, each.by.op, each.variant_id) for each in found[:3]] == [
        (back.id, "revert", "update", None),
        (second.id, "edit", "update", small),
        (first.id, "edit", "update", None),
    ]
    assert [each.changes for each in found[:3]] == [
        {"title": ["Lantern", "Lamp"]},
        {"price": ["10", "9.5"]},
        {"title": ["Lamp", "Lantern"]},
    ]
    assert [each.by.user_id for each in found[:3]] == [None, None, person]
    assert {each.by.changeset_id for each in found[3:]} == {made.id}
    assert len(found) == 6
    assert [each.at for each in found] == sorted((each.at for each in found), reverse=True)
    for limit in (1, 2, 5):
        assert log(merchant, product, limit=limit) == found


def test_each_field_says_since_when_and_by_whom(merchant):
    product, made = make(merchant, LAMP, SIZES)
    small = variant_ids(merchant, product)[0]
    before = moment(merchant)
    first = edit(merchant, product, {"title": "Lantern"}, variants=[{"id": small, "stock": 7}])
    after = moment(merchant)
    edit(merchant, product, {"title": "Torch"})
    early, late = then(merchant, product, before), then(merchant, product, after)
    assert (early.product.fields["title"].value, late.product.fields["title"].value) == ("Lamp", "Lantern")
    assert early.product.fields["title"].by.changeset_id == made.id
    title = late.product.fields["title"]
    assert (title.by.changeset_id, title.by.op) == (first.id, "update")
    assert before < title.since < after
    stock, price = (late.variants[0].fields[name] for name in ("stock", "price"))
    assert (stock.value, stock.by.changeset_id) == (7, first.id)
    assert (price.value, price.by.changeset_id, price.by.op) == ("10", made.id, "create")
    assert late.product.fields["brand"].by.changeset_id == made.id  # nobody has said it since


def test_a_feeds_line_is_named_and_what_it_made_is_told(merchant):
    feed = "SKU,Title,Price,Stock\nA,Lamp,10.50,3\nB,Mug,5,1\n"
    start = moment(merchant)
    run_feed(merchant, feed, currency="EUR")
    made = moment(merchant)
    import_ = begin(merchant, feed.replace("B,Mug,5", "B,Mug,6"), currency="EUR")
    from tests import inline

    inline.work(import_.job_id)
    rows = snapshot(merchant)
    mug = next(id_ for id_, row in rows.items() if row.get("title") == "Mug")
    state = then(merchant, mug, moment(merchant))
    price, stock = (state.variants[0].fields[name] for name in ("price", "stock"))
    assert (price.value, price.by.import_id, price.by.line, price.by.kind) == ("6", import_.id, 3, "import")
    assert (stock.value, stock.by.op, stock.by.line, stock.by.source) == (1, "create", 3, "default")
    assert then(merchant, mug, made).variants[0].fields["price"].value == "5"
    assert then(merchant, mug, start).product is None
    change, creation = log(merchant, mug)
    assert (change.changes, change.by.line) == ({"price": ["5", "6"]}, 3)
    assert creation.changes["title"] == [None, "Mug"]
    [variant] = creation.variants
    assert (variant.fields["price"].value, variant.fields["currency"].value) == ("5", "EUR")


def test_a_product_that_is_gone_has_its_history(merchant):
    product, _ = make(merchant, LAMP, SIZES)
    before = moment(merchant)
    small = variant_ids(merchant, product)[0]
    edit(merchant, product, variants=[{"id": small, "price": Decimal(9)}])
    rows, there = snapshot(merchant), moment(merchant)
    gone = delete(merchant, product)
    assert past(merchant, [product], there) == plain(rows)
    assert then(merchant, product, before).variants[0].fields["price"].value == "10"
    assert then(merchant, product, moment(merchant)).product is None
    assert {each.by.changeset_id for each in log(merchant, product)[:3]} == {gone.id}


def test_what_was_before_plans_is_told_as_it_is_and_by_nobody(merchant):
    product = new_id()
    with transaction(merchant_id=merchant) as session:
        session.execute(
            text("""INSERT INTO products (id, merchant_id, source, key, title, created_at)
                    VALUES (:id, :merchant, 'old', 'k', 'Old', now() - interval '1 day')"""),
            {"id": product, "merchant": merchant},
        )
    assert log(merchant, product) == []
    before = moment(merchant)
    edit(merchant, product, {"title": "New"})
    title = then(merchant, product, before).product.fields["title"]
    assert (title.value, title.by) == ("Old", None)
    assert title.since < before - timedelta(hours=23)
    assert then(merchant, product, before - timedelta(days=2)).product is None


def test_nobody_sees_the_history_of_others(merchant, other_merchant):
    product, _ = make(merchant, LAMP, SIZES)
    delete(merchant, product)
    for whose, which in ((other_merchant, product), (merchant, new_id())):
        with pytest.raises(ProductNotFound):
            log(whose, which)
        with pytest.raises(ProductNotFound):
            then(whose, which, datetime.now(UTC))


@pytest.mark.parametrize("cursor", ["nonsense", "AAAA", "", "é", "f" + "_" * 37])
def test_a_cursor_that_is_none(merchant, cursor):
    product, _ = make(merchant, LAMP, SIZES)
    with transaction(merchant_id=merchant) as session, pytest.raises(InvalidCursor):
        list_changes(session, product, merchant_id=merchant, limit=5, after=cursor)


# What happens to the shop: fields change in many places at once, a product goes, a plan is taken back.
steps = st.lists(
    st.one_of(
        changes.map(lambda drawn: ("change", drawn)),
        st.integers(0, 2).map(lambda n: ("delete", n)),
        st.integers(0, 20).map(lambda n: ("revert", n)),
        st.integers(0, 3).map(lambda n: ("feed", n)),
    ),
    min_size=1,
    max_size=7,
)


def feed(n: int) -> str:
    """Of four different ones; the second variant is not in all of them."""
    second = f"lamp,,,M,L-2,{n + 2}\n" if n % 2 else ""
    return (
        "Handle,Title,Option1 Name,Option1 Value,Variant SKU,Variant Price\n"
        f"lamp,Lamp {n // 2},Size,S,L-1,{n + 1}\n{second}mug,Mug,,,M-1,{5 * (n + 1)}\n"
    )


@settings(max_examples=examples(6), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps)
def test_any_moment_is_told_as_it_was(drawn):
    merchant = make_merchant()
    products = [make(merchant, {"title": f"P{n}"}, [{"key": "1"}, {"key": "2"}])[0] for n in range(3)]
    ids = [*products, *(id_ for product in products for id_ in variant_ids(merchant, product))]
    seen: list[tuple[datetime, dict[UUID, dict[str, Any]]]] = []
    known = set(products)
    for what, how in (("start", None), *drawn):
        rows = snapshot(merchant)
        if what == "change":
            change_many(merchant, by_id(ids, how))
        elif what == "delete" and products[how] in rows:
            delete(merchant, products[how])
        elif what == "feed":
            run_feed(merchant, feed(how))
        elif what == "revert":
            with transaction(merchant_id=merchant) as session:
                plans = session.query(Changeset.id).filter(Changeset.applied > 0).order_by(Changeset.id).all()
            take_back(merchant, plans[how % len(plans)][0])
        seen.append((moment(merchant), snapshot(merchant)))
        known |= {id_ for id_, row in seen[-1][1].items() if "source" in row}
    for at, rows in seen:
        assert past(merchant, sorted(known), at) == plain(rows)
    for product in known:
        if product in seen[-1][1]:
            # From today back to nothing: each change finds what the one before it left.
            for field in ("title", "brand"):
                pairs = [
                    each.changes[field]
                    for each in log(merchant, product)
                    if each.variant_id is None and field in each.changes
                ]
                assert all(later[0] == earlier[1] for later, earlier in pairwise(pairs))
