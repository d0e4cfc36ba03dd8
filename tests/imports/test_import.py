"""One feed after another: what becomes of rows, and what does not."""

import io
import random
from datetime import timedelta
from decimal import Decimal

import psutil
import pytest
from sqlalchemy import text

from services.catalog.changesets import discard
from services.core.clock import now
from services.core.db import transaction
from services.core.settings import get_settings
from services.formats.base import FeedRefused
from services.imports import apart, batches, parts
from services.imports.original_rows import OriginalRowsGone, original_rows
from services.imports.receive import FeedNotUsable, ImportAlreadyActive
from services.imports.tally import KEPT_ERRORS
from services.storage import get_storage
from services.storage.base import FileMissing
from tests import inline
from tests.conftest import make_merchant
from tests.examples import examples
from tests.imports.importing import (
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

SHOPIFY = """\
Handle,Title,Body (HTML),Vendor,Tags,Option1 Name,Option1 Value,SKU,Price,Image Src,Image Position,Status
shirt,Shirt,<p>Fine</p>,Oak,"red, new , red",Size,S,A-S,10.00,https://i.example/2.jpg,2,active
mug,Mug,,Oak,,Title,Default Title,0042,4.5,,,draft
shirt,,,,,,M,A-M,12.00,https://i.example/1.jpg,1,
shirt,,,,,,,,,https://i.example/2.jpg,3,
"""


def test_scattered_rows_become_products_with_variants(merchant):
    ended = run_feed(merchant, SHOPIFY, currency="EUR")
    assert (ended["state"], ended["reason"]) == ("succeeded", "done")
    assert ended["result"]["products"] == {"created": 2, "updated": 0, "unchanged": 0}
    assert ended["result"]["variants"] == {"created": 3, "updated": 0, "unchanged": 0}
    found = catalogue(merchant)
    shirt = found["shirt"]
    assert (shirt["title"], shirt["description"], shirt["brand"]) == ("Shirt", "<p>Fine</p>", "Oak")
    assert shirt["tags"] == ["red", "new"]
    assert shirt["images"] == ["https://i.example/1.jpg", "https://i.example/2.jpg"]
    assert shirt["option_names"] == ["Size"]
    assert [variant["options"] for variant in shirt["variants"].values()] == [{"Size": "S"}, {"Size": "M"}]
    assert [variant["price"] for variant in shirt["variants"].values()] == [Decimal(10), Decimal(12)]
    mug = found["mug"]
    assert mug["status"] == "draft"
    [only] = mug["variants"].values()
    assert (only["sku"], only["price"], only["currency"], only["stock"]) == ("0042", Decimal("4.5"), "EUR", None)
    assert staged(merchant) == 0


def test_the_same_file_again_touches_nothing(merchant):
    run_feed(merchant, SHOPIFY)
    before = footprints(merchant)
    ended = run_feed(merchant, SHOPIFY)
    assert ended["result"]["products"] == {"created": 0, "updated": 0, "unchanged": 2}
    assert ended["result"]["variants"] == {"created": 0, "updated": 0, "unchanged": 3}
    assert footprints(merchant) == before


def test_only_what_changed_is_written(merchant):
    run_feed(merchant, SHOPIFY)
    before = footprints(merchant)
    ended = run_feed(merchant, SHOPIFY.replace("A-M,12.00", "A-M,13.00"))
    assert ended["result"]["products"]["updated"] == 0
    assert ended["result"]["variants"] == {"created": 0, "updated": 1, "unchanged": 2}
    assert len(footprints(merchant) - before) == 1
    changed = catalogue(merchant)["shirt"]["variants"]["M"]
    assert (changed["price"], changed["version"]) == (Decimal(13), 2)


def test_what_a_feed_does_not_say_stays(merchant):
    run_feed(merchant, "SKU,Title,Brand,Price,Stock,Barcode\nA1,Lamp,Oak,10.00,5,4006381333931\n", currency="EUR")
    ended = run_feed(merchant, "SKU,Title,Brand,Price,Stock,Barcode\nA1,,,,7,\n")
    assert ended["result"]["products"]["unchanged"] == 1
    [lamp] = catalogue(merchant).values()
    [variant] = lamp["variants"].values()
    assert (lamp["title"], lamp["brand"]) == ("Lamp", "Oak")
    assert (variant["price"], variant["currency"], variant["barcode"], variant["stock"]) == (
        Decimal(10),
        "EUR",
        "4006381333931",
        7,
    )


@pytest.mark.parametrize("price", ["", "0", "0.00", "free", "-3"])
def test_blank_zero_or_broken_prices_never_become_a_price(merchant, price):
    run_feed(merchant, "SKU,Title,Price\nA1,Lamp,10.00\n")
    run_feed(merchant, f"SKU,Title,Price\nA1,Lamp 2,{price}\n")
    [lamp] = catalogue(merchant).values()
    assert lamp["title"] == "Lamp 2"
    assert [variant["price"] for variant in lamp["variants"].values()] == [Decimal(10)]


def test_without_any_currency_none_is_guessed(merchant):
    run_feed(merchant, "SKU,Title,Price\nA1,Lamp,10.00\n")
    [lamp] = catalogue(merchant).values()
    assert [variant["currency"] for variant in lamp["variants"].values()] == [None]


def test_of_repeated_variants_the_last_word_counts_and_the_others_are_reported(merchant):
    feed = "SKU,Title,Price,Stock\nA1,Lamp,10.00,3\nB2,Mug,1.00,1\nA1,Lamp,12.00,4\nA1,Lamp,,5\n"
    import_ = begin(merchant, feed)
    ended = inline.work(import_.job_id)
    assert ended["result"]["variants"]["created"] == 2
    [variant] = catalogue(merchant)["A1"]["variants"].values()
    assert (variant["price"], variant["stock"]) == (Decimal(12), 5)
    errors = errors_of(import_)
    assert [(error.line, error.code, error.value, error.fatal) for error in errors] == [
        (2, "duplicate_variant", "A1", True),
        (4, "duplicate_variant", "A1", True),
    ]
    assert "Lines 2 and 4" in errors[0].reason
    assert "Lines 4 and 5" in errors[1].reason
    assert reload(import_).error_codes == {"duplicate_variant": 2}


def test_the_same_sku_on_two_products_is_fine(merchant):
    ended = run_feed(merchant, "Handle,Title,Variant SKU,Variant Price\na,A,X1,1.00\nb,B,X1,2.00\n")
    assert ended["result"]["products"]["created"] == 2
    assert ended["result"]["errors"] == 0


def test_one_bad_row_is_one_reported_row(merchant):
    import_ = begin(merchant, 'SKU,Title,Price\nA1,Lamp,10.00\nB2,"Mug",x,y,z\nC3,Vase,cheap\nD4,Bowl,3.00\n')
    ended = inline.work(import_.job_id)
    assert ended["state"] == "succeeded"
    assert set(catalogue(merchant)) == {"A1", "C3", "D4"}
    errors = errors_of(import_)
    assert [(error.line, error.code, error.fatal) for error in errors] == [
        (3, "row_too_long", True),
        (4, "price_unparsable", False),
    ]
    assert (errors[1].column, errors[1].value) == ("Price", "cheap")
    row = reload(import_)
    assert (row.rows, row.errors, row.warnings) == (4, 1, 1)
    assert row.error_codes == {"row_too_long": 1, "price_unparsable": 1}


def test_a_file_without_one_usable_row_fails_and_says_why(merchant):
    import_ = begin(merchant, "SKU,Title,Price\nA1,Lamp,1,2,3\nB2,Mug,1,2,3\n")
    ended = inline.work(import_.job_id)
    assert (ended["state"], ended["error_code"]) == ("failed", "no_usable_rows")
    assert "a delimiter inside a cell" in ended["error_message"]
    assert len(errors_of(import_)) == 2
    assert catalogue(merchant) == {}


def test_errors_are_kept_up_to_a_limit_and_counted_beyond(merchant):
    bad = KEPT_ERRORS + 50
    import_ = begin(merchant, "SKU,Title,Price\n" + "A1,Lamp,1,2,3\n" * bad + "B2,Mug,2.00\nB2,Mug,3.00\n")
    inline.work(import_.job_id)
    row = reload(import_)
    assert row.errors == bad + 1
    assert row.error_codes == {"row_too_long": bad, "duplicate_variant": 1}
    assert len(errors_of(import_)) == KEPT_ERRORS


def test_keys_and_codes_too_long_for_an_index_are_reported(merchant):
    long = "k" * 501
    import_ = begin(merchant, f"SKU,Title,Brand,Price\n{long},Lamp,Oak,1.00\nB2,Mug,{'b' * 3000},2.00\nC3,Bowl,Oak,3\n")
    inline.work(import_.job_id)
    assert [(error.line, error.code, error.fatal) for error in errors_of(import_)] == [
        (2, "key_too_long", True),
        (3, "brand_too_long", False),
    ]
    assert set(catalogue(merchant)) == {"B2", "C3"}


def test_odd_characters_live(merchant):
    feed = 'SKU,Title,Description,Price\nA\\1,"Tab\there ""q"" \\N",é\\.ü\u2028x,1\n"B\n2",\\.,"line\n\\.\nline",2\n'
    run_feed(merchant, feed)
    found = catalogue(merchant)
    assert found["A\\1"]["title"] == 'Tab\there "q" \\N'
    assert found["A\\1"]["description"] == "é\\.ü\u2028x"
    assert found["B\n2"]["description"] == "line\n\\.\nline"


def test_a_variant_with_more_values_than_names(merchant):
    feed = "Handle,Title,Option1 Name,Option1 Value,Option2 Name,Option2 Value,Variant Price\nx,X,Size,S,,Red,1\n"
    run_feed(merchant, feed)
    [variant] = catalogue(merchant)["x"]["variants"].values()
    assert variant["options"] == {"Size": "S", "Option 2": "Red"}


def test_sources_are_catalogues_of_their_own(merchant):
    run_feed(merchant, "SKU,Title,Price\nA1,Lamp,10.00\n", source="one")
    run_feed(merchant, "SKU,Title,Price\nA1,Lantern,11.00\n", source="two")
    assert catalogue(merchant, "one")["A1"]["title"] == "Lamp"
    assert catalogue(merchant, "two")["A1"]["title"] == "Lantern"


def test_merchants_are_catalogues_of_their_own(merchant, other_merchant):
    run_feed(merchant, "SKU,Title,Price\nA1,Lamp,10.00\n")
    run_feed(other_merchant, "SKU,Title,Price\nA1,Lantern,11.00\n")
    assert catalogue(merchant)["A1"]["title"] == "Lamp"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"PK\x03\x04" + bytes(2000), "archive_broken"),
        (bytes(range(256)) * 40, "binary"),
        (b"<?xml version='1.0'?><rss/>", "no_records"),
        (b"Title,Price\n", "no_records"),
        (b"Date,Invoice total\n2024-01-01,3\n", "no_product_columns"),
    ],
)
def test_what_is_no_feed_is_refused_at_the_door(merchant, content, code):
    with pytest.raises(FeedNotUsable) as refused:
        begin(merchant, content)
    assert refused.value.code == code


def test_what_only_shows_further_on_fails_the_job_and_imports_nothing(merchant):
    # A header and nothing but blank lines for longer than the door looks: no records.
    import_ = begin(merchant, "SKU,Title,Price\n" + "\n" * 400_000)
    ended = inline.work(import_.job_id)
    assert (ended["state"], ended["error_code"]) == ("failed", "no_records")
    assert catalogue(merchant) == {}
    assert reload(import_).finished_at is None


def test_the_same_content_is_not_imported_twice_at_once(merchant):
    first = begin(merchant, SHOPIFY)
    with pytest.raises(ImportAlreadyActive) as refused:
        begin(merchant, SHOPIFY)
    assert refused.value.extra["import_id"] == first.id
    assert refused.value.extra["job_id"] == first.job_id
    begin(merchant, SHOPIFY, source="another")
    inline.work(first.job_id)
    begin(merchant, SHOPIFY)


def test_rows_go_with_their_merchant(merchant):
    run_feed(merchant, SHOPIFY)
    with transaction(merchant_id=merchant) as session:
        session.execute(text("DELETE FROM merchants"))
    with transaction(merchant_id=merchant) as session:
        for table in ("products", "variants", "imports"):
            assert session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() == 0


def test_the_same_feed_with_and_without_a_currency_named_beside_it(merchant):
    """What a file never says cannot fall silent."""
    feed = "SKU,Title,Price\n" + "".join(f"A{n},Lamp {n},10.00\n" for n in range(30))
    for currency in ("EUR", None):
        ended = inline.work(begin(merchant, feed, currency=currency, guarded=True).job_id)
        assert ended["result"]["changeset_state"] == "applied", ended


def test_a_mapping_set_while_a_feed_waits_is_for_the_next_one(merchant):
    feed = "SKU,Title\nA,One\n"
    said = {"fields": {"title": {"constant": "Two"}}}
    first = begin(merchant, feed)
    make_source(merchant, mapping=said)
    second = begin(merchant, feed)  # the same content, but it says something else now
    make_source(merchant, mapping=None)
    assert inline.work(first.job_id)["state"] == "succeeded"
    assert catalogue(merchant)["A"]["title"] == "One"
    assert inline.work(second.job_id)["state"] == "succeeded"
    assert catalogue(merchant)["A"]["title"] == "Two"
    assert (reload(first).mapping, reload(second).mapping) == (None, said)


def test_file_and_row_errors_of_an_import_go_when_their_time_is_over_and_the_rest_stays(merchant):
    import_ = begin(merchant, "SKU,Title,Price\nA,One,1.00\n,,2.00\n")
    make_source(merchant, apply="ask")
    with transaction(merchant_id=merchant) as session:
        (removal,) = session.execute(text("SELECT id, run_at FROM jobs WHERE kind = 'remove_feed'"))
    assert abs(removal.run_at - now() - timedelta(days=get_settings().feed_days)) < timedelta(minutes=5)
    assert inline.work(removal.id)["reason"] == "import_is_open"
    inline.work(import_.job_id)
    assert inline.work(removal.id)["reason"] == "import_is_open"  # its drafts may have to be read again
    with transaction(merchant_id=merchant) as session:
        discard(session, plan_of(import_).id)
        assert list(original_rows(session, import_.id).lines())[1].startswith(",,2.00")

    assert inline.work(removal.id)["state"] == "succeeded"

    kept = reload(import_)
    assert (kept.file_removed_at is not None, kept.errors, kept.error_codes) == (True, 1, {"key_missing": 1})
    assert errors_of(import_) == []
    with pytest.raises(FileMissing):
        get_storage().open(kept.storage_key or "", merchant_id=merchant)
    with pytest.raises(OriginalRowsGone), transaction(merchant_id=merchant) as session:
        original_rows(session, import_.id)


# -- Large files: a process of its own -----------------------------------------------------------------------------


def test_a_large_file_is_read_by_another_process_to_the_same_end(merchant, monkeypatch):
    lines = "".join(f"p{n % 50:02},T\\{n % 50},{n}-S,{n + 1}.50,{'x9y' if n == 70 else 3}\n" for n in range(100))
    feed = "Handle,Title,Variant SKU,Variant Price,Variant Inventory Qty\n" + "".join(sorted(lines.splitlines(True)))
    other = make_merchant()
    run_feed(other, feed)
    monkeypatch.setattr(apart, "LARGE", 0)
    monkeypatch.setattr(apart, "batches", None)  # of this process
    import_ = begin(merchant, feed)
    assert inline.work(import_.job_id)["state"] == "succeeded"
    assert catalogue(merchant) == catalogue(other)
    assert [error.code for error in errors_of(import_)] == ["stock_unparsable"]
    assert reload(import_).format == "shopify_csv"
    again = begin(merchant, feed)
    assert inline.work(again.job_id)["result"]["products"] == {"created": 0, "updated": 0, "unchanged": 50}
    assert reload(again).staged_rows == 2  # but for the product with the error nothing was read


CELLS = ("plain", "", '"quoted, comma"', '"two\nlines"', '"x\n\n\ny,1,2,3,4"', '"l\nA,b,S1,1.00,2\nA,b,S2,1,2"')
BROKEN = ('5" wide', '"open', "a\rb", "\x1f", "\0", '" ', "\u2028")


def _feed(*, broken: float) -> bytes:
    rows = [("Handle", "Title", "Variant SKU", "Variant Price", "Variant Inventory Qty")]
    for n in range(random.randrange(12, 40)):
        cell = random.choice(BROKEN if random.random() < broken else CELLS)
        rows.append((f"p{n // 3}", cell, f"S{n}", random.choice(("1.00", "2.50", "x")), "1"))
    return random.choice(("\n", "\r\n")).join(map(",".join, rows)).encode(random.choice(("utf-8", "utf-8-sig")))


def _read(feed: bytes, **part: object) -> tuple[bytes, batches.Found]:
    found = batches.Found()
    rows = batches.batches(io.BytesIO(feed), batches.How("EUR", None, b"salt", **part), found)  # type: ignore[arg-type]
    return b"".join(batch.text for batch in rows), found


@pytest.mark.parametrize("broken", [0.0, 0.02])
def test_two_parts_of_a_file_are_what_one_reader_finds_or_do_not_fit(broken):
    fitting = 0
    for _ in range(examples(10)):
        feed = _feed(broken=broken)
        whole, found = _read(feed)
        place = parts.middle(io.BytesIO(feed), len(feed))
        if place is None:
            continue
        (first, own), (second, rest) = _read(feed, upto=place.line), _read(feed, behind=place)
        if not parts.fit(own, rest):
            continue
        fitting += bool(first and second)
        parts.join(own, rest)
        assert first + second == whole, feed
        assert (vars(own.tally), own.marks) == (vars(found.tally), found.marks), feed
    assert fitting or broken


def test_parts_that_do_not_fit_are_read_again_as_one_file(merchant, monkeypatch):
    rows = [f'p{n // 2:02},"two\nlines",{n}-S,{n + 1}.50\n' for n in range(40)]
    rows[3] = 'p01,5" wide,3-S,1.00\n'  # one quote more: where they seem to be closed they are open
    feed = "Handle,Title,Variant SKU,Variant Price\n" + "".join(rows)
    other = make_merchant()
    run_feed(other, feed)
    monkeypatch.setattr(apart, "LARGE", 0)
    fits = []
    monkeypatch.setattr(apart, "fit", lambda first, second: fits.append(parts.fit(first, second)) or fits[-1])
    import_ = begin(merchant, feed)
    assert inline.work(import_.job_id)["state"] == "succeeded"
    assert fits == [False]
    assert catalogue(merchant) == catalogue(other)
    assert (errors_of(import_), reload(import_).staged_rows) == ([], 40)


def test_when_the_other_process_dies_the_file_is_read_again(merchant, monkeypatch):
    monkeypatch.setattr(apart, "LARGE", 0)
    import_ = begin(merchant, SHOPIFY)
    with monkeypatch.context() as patched:
        patched.setattr(apart.sys, "executable", "/bin/false")
        ended = inline.work(import_.job_id)
    assert (ended["state"], ended["error_code"]) == ("scheduled", "reader_lost")
    assert inline.work(import_.job_id)["state"] == "succeeded"
    assert len(catalogue(merchant)) == 2


def test_whoever_leaves_off_reading_leaves_no_process_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(apart, "LARGE", 0)
    path = tmp_path / "feed.csv"
    path.write_text("sku,title\n" + "".join(f"{n},{'long ' * 40}\n" for n in range(30_000)))
    with path.open("rb") as file:
        reading = apart.read_apart(file, batches.How(None, None, b""), batches.Found())
        assert next(reading).rows == batches.BATCH_ROWS
        readers = [child for child in psutil.Process().children() if apart.__name__ in child.cmdline()]
        reading.close()
    assert [reader.is_running() for reader in readers] == [False, False]


def test_the_other_process_refuses_a_file_as_this_one_does(tmp_path, monkeypatch):
    monkeypatch.setattr(apart, "LARGE", 0)
    path = tmp_path / "feed.xml"
    path.write_text("<r><item><sku>A1</sku><price>1</price></item><item>")
    with path.open("rb") as file, pytest.raises(FeedRefused) as caught:
        next(apart.read_apart(file, batches.How(None, None, b""), batches.Found()))
    assert (caught.value.code, caught.value.reason.count("line 1, column ")) == ("xml_broken", 1)
