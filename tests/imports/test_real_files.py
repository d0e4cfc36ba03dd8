"""Real feeds, whole way: what the files in SHOPOPTI_REAL_DATA yield, beside what their index says they should."""

import os
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import text

from services.core.db import transaction
from tests import inline
from tests.imports.importing import begin, reload

FOLDER = os.environ.get("SHOPOPTI_REAL_DATA")
pytestmark = pytest.mark.skipif(not FOLDER, reason="SHOPOPTI_REAL_DATA names no folder of real feeds")

# File (its end is enough) → products, variants, variants with a price, sum of those prices, records left out.
# Where this is not the index's number, the reason stands beside it.
EXPECTED = {}


@pytest.mark.parametrize("file", EXPECTED)
def test_a_real_feed_yields_what_it_should(merchant, file):
    products, variants, priced, total, errors = EXPECTED[file]
    import_ = begin(merchant, (Path(FOLDER or "") / file).read_bytes(), currency="EUR")
    ended = inline.work(import_.job_id)
    assert ended["state"] == "succeeded", ended
    with transaction(merchant_id=merchant) as session:
        found = session.execute(
            text(
                "SELECT (SELECT count(*) FROM products), count(*), count(price), coalesce(sum(price), 0) FROM variants"
            )
        ).one()
    assert (*found, reload(import_).errors) == (products, variants, priced, Decimal(total), errors)
