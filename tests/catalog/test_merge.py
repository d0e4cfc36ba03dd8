"""How the merge reads the catalogue: never more of it than it changes, whatever the planner's statistics say."""

import pytest
from sqlalchemy import text

from services.catalog import merge
from services.core.db import transaction
from services.core.ids import new_id

SMALL_MERCHANTS = """
DELETE FROM variants; DELETE FROM products;
INSERT INTO products (id, merchant_id, source, key)
SELECT gen_random_uuid(), gen_random_uuid(), 'default', 'A1' FROM generate_series(1, 500);
INSERT INTO variants (id, merchant_id, product_id, key, position)
SELECT gen_random_uuid(), merchant_id, id, '', 1 FROM products;
ANALYZE products; ANALYZE variants; ANALYZE import_drafts
"""


@pytest.mark.parametrize("statement", ["_PRODUCTS", "_VARIANTS"])
def test_every_row_is_looked_up_by_its_whole_key(merchant, statement):
    """With many small merchants before, the planner expects a merchant it does not know to have one row."""
    arguments = {"merchant_id": merchant, "import_id": new_id(), "after": "", "upto": "z", "source": "default"}
    with transaction(merchant_id=merchant) as session:
        session.execute(text("SELECT set_config('role', 'none', true)"))
        for one in SMALL_MERCHANTS.split(";"):
            session.execute(text(one))
        session.execute(text("SELECT set_config('role', 'shopopti_app', true)"))
        session.execute(merge._SET_UP)
        explained = session.execute(
            text("EXPLAIN " + getattr(merge, statement).text), {**arguments, "id_start": new_id().bytes[:12]}
        )
        plan = [line.strip() for line in explained.scalars()]
        session.rollback()
    for table, key in (("products", "AND (key = "), ("variants", "AND (product_id = said.product_id) AND (key = ")):
        scans = [index for index, line in enumerate(plan) if f" on {table} " in line and "Insert" not in line]
        assert scans or (table, statement) == ("variants", "_PRODUCTS"), plan
        for index in scans:
            assert "Index Scan" in plan[index], plan
            assert key in plan[index + 1], plan
