"""Real feeds that went wrong on their way: the second import of each is spoiled, and nothing of it is applied."""

import csv
import io
import os
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from services.core.db import transaction
from services.models import Import, Source
from tests import inline
from tests.imports.importing import begin, plan_of, reload, whole_catalogue

FOLDER = os.environ.get("SHOPOPTI_REAL_DATA")
pytestmark = pytest.mark.skipif(not FOLDER, reason="SHOPOPTI_REAL_DATA names no folder of real feeds")

TABLES = (
    "shopifypartners__product-csvs/apparel.csv",
    "YadaYadaSoftware__shopify-variant-splitter/products_export_1.csv",
    "Ronne2406__productfeed/products_export_1.csv",
    "EimantasBlazevicius__Python-Intermediate/products_export_1.csv",
    "fe-riki05__gatsby-shopify-demo/example/products.csv",
    "pharleg__lecc-google-merchant-feed/google_feed.tsv",
    "vendure-ecommerce__vendure/packages/core/mock-data/data-sources/products.csv",
    "lincompch__stizun/features/data/500_products_utf8.csv",
)
# Fewer than five variants are in stock in these, or none is counted: too few to speak of all stock gone.
NO_STOCK = (TABLES[1], TABLES[3], TABLES[4])
XML = "petrfilo-arch__importpc-feed/google_feed.xml"
NUMBER = re.compile(r"\d+(?:\.\d+)?")


def read(file: str) -> bytes:
    """The file as it is."""
    return (Path(FOLDER or "") / file).read_bytes()


def importing(merchant: UUID, content: bytes, *, currency: str = "EUR") -> Import:
    """Import it to the end of its job, which is a good one, held or not."""
    import_ = begin(merchant, content, currency=currency, guarded=True)
    ended = inline.work(import_.job_id)
    assert ended["state"] == "succeeded", ended
    return reload(import_)


def check_held(merchant: UUID, content: bytes, guards: set[str], **options: Any) -> None:
    """The plan awaits approval, at least one of these guards holds it, and the catalogue is as it was."""
    before = whole_catalogue(merchant)
    plan = plan_of(importing(merchant, content, **options))
    found = {verdict["guard"] for verdict in plan.guards if verdict["held"]}
    assert (plan.state, bool(found & guards)) == ("awaiting_approval", True), (plan.state, found, plan.guards)
    assert (plan.applied, whole_catalogue(merchant)) == (0, before)


def changed(first: Import, content: bytes, field: str, change: Callable[[str], str]) -> bytes:
    """The table with the cells of all columns that feed a field changed."""
    text = content.decode(first.encoding or "utf-8")
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=first.delimiter or ","))
    fed = [n for n, header in enumerate(rows[0]) if (first.columns or {}).get(header.strip()) == field]
    assert fed, f"no column feeds {field}: {first.columns}"
    for row in rows[1:]:
        for n in fed:
            if n < len(row):
                row[n] = change(row[n])
    written = io.StringIO(newline="")
    csv.writer(written, delimiter=first.delimiter or ",").writerows(rows)
    return written.getvalue().encode()


def times(factor: str) -> Callable[[str], str]:
    """Multiplies the number in a cell."""
    return lambda cell: NUMBER.sub(lambda found: f"{Decimal(found[0]) * Decimal(factor):f}", cell, count=1)


@pytest.mark.parametrize("file", TABLES)
def test_the_same_file_again_is_not_held(merchant, file):
    assert plan_of(importing(merchant, read(file))).state == "applied"
    again = importing(merchant, read(file) + b"\n")
    assert (plan_of(again).state, plan_of(again).items) == ("applied", 0)


@pytest.mark.parametrize("missing", ["leave", "archive"])
@pytest.mark.parametrize("file", TABLES)
def test_a_file_cut_at_40_percent(merchant, file, missing):
    with transaction(merchant_id=merchant) as session:
        session.add(Source(merchant_id=merchant, name="default", missing=missing))
    importing(merchant, read(file))
    lines = read(file).splitlines(keepends=True)
    check_held(
        merchant, b"".join(lines[: 1 + len(lines) * 4 // 10]), {"short_feed"} if missing == "leave" else {"missing"}
    )


@pytest.mark.parametrize("factor", ["0.01", "100"])
@pytest.mark.parametrize("file", TABLES)
def test_prices_times(merchant, file, factor):
    first = importing(merchant, read(file))
    check_held(merchant, changed(first, read(file), "price", times(factor)), {"price_factor"})


@pytest.mark.parametrize("file", TABLES)
def test_a_blank_price_column(merchant, file):
    first = importing(merchant, read(file))
    check_held(merchant, changed(first, read(file), "price", lambda _: ""), {"blank_prices"})


@pytest.mark.parametrize("file", TABLES)
def test_prices_of_zero(merchant, file):
    first = importing(merchant, read(file))
    check_held(merchant, changed(first, read(file), "price", times("0")), {"blank_prices"})


@pytest.mark.parametrize("file", TABLES)
def test_another_currency(merchant, file):
    first = importing(merchant, read(file))
    other = changed(first, read(file), "price", lambda cell: re.sub(r"[A-Z]{3}", "CZK", cell))
    check_held(merchant, other + b"\n", {"currency_changes"}, currency="CZK")


@pytest.mark.parametrize("file", [file for file in TABLES if file not in NO_STOCK])
def test_all_stock_gone(merchant, file):
    first = importing(merchant, read(file))
    none = changed(first, read(file), "stock", lambda cell: times("0")(cell).replace("in stock", "out of stock"))
    # Where Shopify does not track a variant, a stock of 0 says nothing: then the field has fallen silent.
    check_held(merchant, none, {"sold_out", "silent_fields"})


@pytest.mark.parametrize(
    ("pattern", "to", "guard"),
    [
        (rb"(<g:price>)(\d+)", rb"\g<1>\g<2>00", "price_factor"),
        (rb"(<g:price>)\d+ CZK", rb"\g<1>", "blank_prices"),
        (rb"(<g:price>\d+) CZK", rb"\g<1> PLN", "currency_changes"),
        (rb"(<g:availability>)[^<]*", rb"\g<1>out of stock", "sold_out"),
    ],
)
def test_a_spoiled_xml(merchant, pattern, to, guard):
    importing(merchant, read(XML))
    spoiled, count = re.subn(pattern, to, read(XML))
    assert count > 1000
    check_held(merchant, spoiled, {guard})


def test_an_xml_cut_between_two_items(merchant):
    importing(merchant, read(XML))
    whole = read(XML)
    end = whole.index(b"</item>", len(whole) * 4 // 10) + len(b"</item>")
    check_held(merchant, whole[:end] + b"</channel></rss>", {"short_feed"})


def test_an_xml_cut_anywhere_is_refused(merchant):
    importing(merchant, read(XML))
    before = whole_catalogue(merchant)
    ended = inline.work(begin(merchant, read(XML)[: len(read(XML)) * 4 // 10], guarded=True).job_id)
    assert ended["state"] == "failed"
    assert whole_catalogue(merchant) == before
