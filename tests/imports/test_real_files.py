"""Real feeds, whole way: what the files in SHOPOPTI_REAL_DATA yield, by the table that `make real-data` prints."""

import os
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import text

from ops.real_data.expected import EXPECTED, REFUSED, Expected, Refused
from services.catalog.guards import Thresholds
from services.core.db import transaction
from services.imports.receive import FeedNotUsable
from services.models import Source
from tests import inline
from tests.imports.importing import begin, footprints, reload

FOLDER = os.environ.get("SHOPOPTI_REAL_DATA")
pytestmark = pytest.mark.skipif(not FOLDER, reason="SHOPOPTI_REAL_DATA names no folder of real feeds")

STIZUN = "lincompch__stizun"
UNHELD = {name: None for name in Thresholds.model_fields if not name.startswith("smallest")}


def _import(merchant, file):
    with transaction(merchant_id=merchant) as session:  # what is tried is the readers
        session.add(Source(merchant_id=merchant, name="default", guards=UNHELD))
    return begin(merchant, (Path(FOLDER or "") / file).read_bytes(), currency="EUR")


@pytest.mark.parametrize("expected", EXPECTED, ids=lambda one: one.file)
def test_a_real_feed_yields_what_it_should(merchant, expected: Expected):
    import_ = _import(merchant, expected.file)
    ended = inline.work(import_.job_id)
    assert ended["state"] == "succeeded", ended
    with transaction(merchant_id=merchant) as session:
        found = session.execute(
            text(
                "SELECT (SELECT count(*) FROM products), count(*), count(price), coalesce(sum(price), 0) FROM variants"
            )
        ).one()
    row = reload(import_)
    assert (row.format, *found, row.errors) == (*expected[1:5], Decimal(expected.total), expected.errors)


@pytest.mark.parametrize("refused", REFUSED, ids=lambda one: one.file)
def test_what_holds_no_products_is_refused_and_leaves_nothing(merchant, refused: Refused):
    try:
        code = inline.work(_import(merchant, refused.file).job_id)["error_code"]
    except FeedNotUsable as at_once:
        code = at_once.code
    assert code == refused.code
    assert footprints(merchant) == set()


def test_where_we_differ_from_the_index_the_table_says_why():
    for one in EXPECTED:
        products, variants, total = one.index_says
        agrees = (
            products in (None, one.products)
            and variants in (None, one.variants)
            and (total is None or Decimal(total) == Decimal(one.total))
        )
        assert agrees or one.note, one.file


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ("features/data/500_products_utf8.csv", "spec/data/500_products_with_5_changes.csv", 5),
        ("spec/data/370_im_products.csv", "spec/data/370_im_products_with_4_changes.csv", 4),
    ],
)
def test_a_real_update_writes_what_it_changes(merchant, before, after, changed):
    folder = Path(FOLDER or "") / STIZUN
    inline.work(_import(merchant, f"{STIZUN}/{before}").job_id)
    untouched = footprints(merchant)
    ended = inline.work(begin(merchant, (folder / after).read_bytes(), currency="EUR").job_id)
    assert ended["result"]["variants"]["updated"] == changed
    assert len(footprints(merchant) - untouched) == changed + ended["result"]["products"]["updated"]
