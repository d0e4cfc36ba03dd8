"""What is passed over unread changes nothing that can be seen: the same catalogue, counts, errors and verdicts."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from services.catalog import apply, plan
from services.core.db import transaction
from services.imports import batches, rows
from services.imports.queries import get_operation
from services.jobs import Run
from services.models import Import
from tests import inline
from tests.conftest import make_merchant
from tests.examples import examples, some
from tests.imports.importing import (
    UNGUARDED,
    begin,
    catalogue,
    errors_of,
    footprints,
    make_source,
    plan_of,
    reload,
    run_feed,
    staged,
)
from tests.imports.test_crashes import Doomed, Killed, _empty_staging

HEAD = (
    "Handle,Title,Option1 Name,Option1 Value,Variant SKU,Variant Price,Cost per item,Variant Inventory Qty,Image Src\n"
)


def _rows(*products: int, price: str = "9.00") -> list[str]:
    return [
        row
        for n in products
        for row in (f"p{n:02},Title {n},Size,S,{n}-S,{price},4.00,5,\n", f"p{n:02},,,M,{n}-M,{price},4.00,0,\n")
    ]


def _feed(rows: list[str]) -> str:
    return HEAD + "".join(rows)


def _import(merchant: UUID, feed: str, **options: Any) -> Import:
    import_ = begin(merchant, feed, **options)
    ended = inline.work(import_.job_id)
    assert ended["state"] == "succeeded", ended
    return reload(import_)


def _read_all(merchant: UUID) -> None:
    """Let the next import read every record."""
    with transaction(merchant_id=merchant) as session:
        session.execute(text("UPDATE feed_prints SET run = NULL"))


def _seen(import_: Import) -> dict[str, Any]:
    """All that tells one import from another that did the same."""
    made = plan_of(import_)
    counted = {name: count for name, count in made.counts.items() if name != "rows"}
    numbers = ("rows", "errors", "warnings", "error_codes", "format", "columns")
    done = [f"{what}_{how}" for what in ("products", "variants") for how in ("created", "updated", "unchanged")]
    return {
        "import": {name: getattr(import_, name) for name in (*numbers, *done)},
        "plan": (made.state, counted, made.fields, made.guards, {**made.money, "largest": len(made.money["largest"])}),
        "errors": sorted((error.line, error.code, error.value) for error in errors_of(import_)),
    }


def test_a_feed_that_says_the_same_is_not_staged(merchant):
    feed = _feed(_rows(*range(30)))
    _import(merchant, feed)
    before = footprints(merchant)
    import_ = _import(merchant, feed)
    assert (import_.staged_rows, import_.skipped["rows"], import_.rows) == (0, 60, 60)
    assert (import_.products_unchanged, import_.variants_unchanged, import_.products_updated) == (30, 60, 0)
    assert footprints(merchant) == before
    with transaction(merchant_id=merchant) as session:
        assert get_operation(session, import_.id).progress == {"done": 60, "total": 60, "note": None}


def test_only_products_that_changed_are_read(merchant):
    _import(merchant, _feed(_rows(*range(30))))
    import_ = _import(merchant, _feed([*_rows(*range(14)), *_rows(14, price="8.00"), *_rows(*range(15, 28), 99)]))
    assert (import_.staged_rows, import_.rows) == (4, 58)
    counts = plan_of(import_).counts["products"]
    assert {name: counts[name] for name in ("create", "update", "unchanged", "missing")} == {
        "create": 1, "update": 0, "unchanged": 28, "missing": 2
    }  # fmt: skip
    assert (import_.products_created, import_.variants_updated, import_.variants_unchanged) == (1, 2, 54)
    # What was changed is read once more, compared, and known from then on.
    again = _feed([*_rows(*range(14)), *_rows(14, price="8.00"), *_rows(*range(15, 28), 99)])
    assert _import(merchant, again).staged_rows == 2
    assert _import(merchant, again).staged_rows == 0


@pytest.mark.parametrize(
    "more", ["p05,,,L,5-L,9.00,4.00,1,\n", "p05,,,S,5-S,7.00,4.00,5,\n", "p05,,,,,,,,https://i/1\n"]
)
def test_a_record_elsewhere_in_the_file_has_its_product_read_whole(merchant, more):
    _import(merchant, _feed(_rows(*range(10))))
    other = make_merchant()
    feed = _feed([*_rows(*range(10)), more])
    run_feed(other, feed)
    import_ = _import(merchant, feed)
    assert import_.staged_rows == 3
    assert (reload(import_).error_codes.get("duplicate_variant", 0)) == int(",S," in more)
    strip = {"version": None}
    found, expected = catalogue(merchant)["p05"], catalogue(other)["p05"]
    for one in (found, expected):
        one.update(strip, variants={key: {**row, **strip} for key, row in one["variants"].items()})
    assert found == expected


def test_a_run_that_comes_twice_is_reported(merchant):
    feed = _feed([*_rows(*range(6)), *_rows(3)])
    for _ in range(3):
        import_ = _import(merchant, feed)
        assert [(error.line, error.code) for error in errors_of(import_)] == [
            (8, "duplicate_variant"),
            (9, "duplicate_variant"),
        ]
    assert (import_.staged_rows, import_.rows) == (4, 14)
    _import(merchant, _feed(_rows(*range(6))))
    assert _import(merchant, feed).staged_rows == 4


@pytest.mark.parametrize(
    ("bad", "beside"), [("p01,a,row,of,too,many,cells,for,this,table\n", 2), ("p01,,,L,1-L,cheap,4.00,1,\n", 3)]
)
def test_what_is_wrong_is_reported_every_time(merchant, bad, beside):
    feed = _feed([*_rows(0, 1), bad, *_rows(2)])
    found = []
    for _ in range(3):
        import_ = _import(merchant, feed)
        found.append([(error.line, error.code, error.value) for error in errors_of(import_)])
    assert found[0]
    assert found[0] == found[1] == found[2]
    assert (import_.staged_rows, import_.rows) == (beside, 7)


@pytest.mark.parametrize("table", ["products", "variants"])
@pytest.mark.parametrize("how", ["UPDATE {} SET version = version + 1, {}", "DELETE FROM {}"])
def test_who_changes_a_product_while_the_feed_is_read_has_it_read_after_all(merchant, table, how, monkeypatch):
    monkeypatch.setattr(rows, "_PAUSE", 6)
    feed = _feed(_rows(*range(8)))
    _import(merchant, feed)
    before = catalogue(merchant)
    change = {"products": "title = 'Mine'", "variants": "price = 1"}[table]
    where = "key = 'p04'" if table == "products" else "sku = '4-S'"

    class Disturbed(Run):
        once = True

        def progress(self, done: int, total: int | None = None, note: str | None = None) -> None:
            if (note or "").startswith("reading, ") and self.once:
                self.once = False
                with transaction(merchant_id=merchant) as session:
                    session.execute(text(how.format(table, change) + f" WHERE {where}"))
            super().progress(done, total, note)

    make_source(merchant, missing="archive")
    import_ = begin(merchant, feed)
    assert inline.work(import_.job_id, make_run=Disturbed)["state"] == "succeeded"
    import_ = reload(import_)
    assert (import_.staged_rows, import_.rows, plan_of(import_).counts["products"]["missing"]) == (2, 16, 0)
    after = catalogue(merchant)
    assert after["p04"]["title"] == before["p04"]["title"]
    assert {key: row["price"] for key, row in after["p04"]["variants"].items()} == {
        key: row["price"] for key, row in before["p04"]["variants"].items()
    }


@pytest.mark.parametrize(
    "policy",
    [{"fields": ["price"]}, {"mapping": {"fields": {"tags": {"constant": "new"}}, "others": "recognised"}}],
    ids=lambda policy: next(iter(policy)),
)
def test_other_settings_have_everything_read(merchant, policy):
    feed = _feed(_rows(*range(5)))
    _import(merchant, feed)
    make_source(merchant, **policy)
    assert _import(merchant, feed).staged_rows == 10
    assert _import(merchant, feed).staged_rows == (0 if "fields" in policy else 10)  # the tags were new
    assert _import(merchant, feed).staged_rows == 0
    assert _import(merchant, feed, currency="USD").staged_rows == 10
    assert _import(merchant, feed, source="another").staged_rows == 10


# -- With and without ----------------------------------------------------------------------------------------------

changes = st.lists(
    st.tuples(
        st.sampled_from(["price", "blank", "drop", "double", "move", "break", "add", "edit", "take"]),
        st.integers(0, 13),
    ),
    max_size=4,
)


def _changed(lines: list[str], what: str, n: int) -> None:
    at = n % len(lines)
    if what == "price":
        lines[at] = lines[at].replace("9.00", f"{n + 1}.50")
    elif what == "blank":
        lines[at] = lines[at].replace("9.00", "")
    elif what == "drop" and len(lines) > 2:
        del lines[at]
    elif what == "double":
        lines.insert(n, lines[at])
    elif what == "move":
        lines.append(lines.pop(at))
    elif what == "break":
        lines[at] = lines[at].replace("4.00", "four")
    elif what == "add":
        lines += _rows(20 + n)


def _edit(merchants: tuple[UUID, UUID], what: str, n: int) -> None:
    edits = {
        "edit": "UPDATE variants SET price = 77, version = version + 1 WHERE sku = :sku",
        "take": "DELETE FROM products WHERE key = :key",
    }
    for merchant in merchants:
        if what in edits:
            with transaction(merchant_id=merchant) as session:
                session.execute(text(edits[what]), {"sku": f"{n % 7}-S", "key": f"p{n % 7:02}"})


@settings(max_examples=examples(4), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(changes, min_size=2, max_size=3), st.sampled_from(["leave", "zero_stock", "archive"]))
def test_passing_over_and_reading_everything_come_to_the_same(steps, missing):
    merchants = (make_merchant(), make_merchant())
    lines = _rows(*range(7))
    for merchant in merchants:
        make_source(merchant, missing=missing, guards={**UNGUARDED, "smallest_feed": 1, "smallest_share": 1})
        _import(merchant, _feed(lines), guarded=True)
    for step in steps:
        for what, n in step:
            _changed(lines, what, n)
            _edit(merchants, what, n)
        _read_all(merchants[1])
        quick, slow = (_import(merchant, _feed(lines), guarded=True) for merchant in merchants)
        assert slow.skipped is None
        assert _seen(quick) == _seen(slow)
        assert catalogue(merchants[0]) == catalogue(merchants[1])


# -- Cut anywhere --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("crashed", [False, True], ids=["worker", "worker and postgres"])
def test_cut_anywhere_it_comes_to_the_same(crashed, monkeypatch):
    monkeypatch.setattr(batches, "BATCH_ROWS", 6)
    monkeypatch.setattr(rows, "_PAUSE", 4)
    monkeypatch.setattr(plan, "ROWS", 6)
    monkeypatch.setattr(apply, "RANGE", 4)
    lines = [*_rows(*range(9)), *_rows(9, 10, 11, price="7.00"), *_rows(12, 30), *_rows(0)[1:]]

    def begun() -> tuple[UUID, Import]:
        merchant = make_merchant()
        make_source(merchant, missing="archive", guards=UNGUARDED)
        _import(merchant, _feed(_rows(*range(20))))
        return merchant, begin(merchant, _feed(lines))

    merchant, import_ = begun()
    runs: list[Doomed] = []
    inline.work(import_.job_id, make_run=lambda claim: runs.append(Doomed(claim)) or runs[-1])
    expected, told = catalogue(merchant), _seen(reload(import_))
    assert 0 < reload(import_).staged_rows < len(lines)
    for fatal_step in some(3, range(4, runs[0].steps)):
        merchant, import_ = begun()
        with pytest.raises(Killed):
            inline.work(import_.job_id, make_run=lambda claim, at=fatal_step: Doomed(claim, fatal_step=at))
        if crashed:
            _empty_staging(merchant)
        inline.lose(import_.job_id)
        inline.work(import_.job_id)
        assert catalogue(merchant) == expected, fatal_step
        assert _seen(reload(import_)) == told, fatal_step
        assert staged(merchant) == 0
        with transaction(merchant_id=merchant) as session:
            assert session.scalar(text("SELECT count(*) FROM import_missing")) == 0
