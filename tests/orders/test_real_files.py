"""Real files of orders, whole way in: what the folder SHOPOPTI_REAL_DATA yields, against counts made by other means."""

import io
import os
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import pytest

from services.core.db import transaction
from services.imports.receive import FeedNotUsable
from services.orders.files.intake import mapping_of, start_order_import, store_orders
from tests import inline
from tests.orders.coming import rows

FOLDER = os.environ.get("SHOPOPTI_REAL_DATA")
pytestmark = pytest.mark.skipif(not FOLDER, reason="SHOPOPTI_REAL_DATA names no folder of real feeds")

RETAIL = "databricks__Spark-The-Definitive-Guide/data/retail-data/by-day"
NORTHWIND = "neo4j-contrib__northwind-neo4j/data"
ADVENTURES = "microsoft__sql-server-samples/samples/databases/adventure-works/oltp-install-script"
DETAIL = {
    "external_id": "Column 1",
    "line_id": "Column 2",
    "quantity": "Column 4",
    "sku": "Column 5",
    "price": "Column 6",
}
HEADER = {"external_id": "Column 1", "placed_at": "Column 7", "shipping_paid": "Column 11"}


class Expected(NamedTuple):
    """What a file holds; the sum is that of quantity times price."""

    orders: int
    cancellations: int
    lines: int
    total: str
    errors: int = 0


def bring(merchant, file, mapping=None):
    content = io.BytesIO((Path(FOLDER or "") / file).read_bytes())
    stored = store_orders(content, merchant_id=merchant, filename=file, mapping=mapping_of(mapping))
    with transaction(merchant_id=merchant) as session:
        asked = {"channel": "shop", "currency": "GBP", "mapping": mapping, "stored": stored}
        job_id = start_order_import(session, merchant_id=merchant, **asked).job_id
    ended = inline.work(job_id)
    assert ended["state"] == "succeeded", ended
    return ended["result"]


def held(merchant):
    (counted,) = rows(
        merchant,
        """SELECT count(DISTINCT o.id) AS orders,
            count(DISTINCT o.id) FILTER (WHERE kind = 'cancellation') AS taken_back,
            count(l.id) AS lines, coalesce(sum(l.quantity * l.price), 0) AS total
        FROM orders o LEFT JOIN order_lines l ON l.order_id = o.id""",
    )
    return Expected(counted["orders"], counted["taken_back"], counted["lines"], f"{counted['total']:.2f}")


@pytest.mark.parametrize(
    ("file", "expected", "left_out"),
    [
        # Negative quantities without price beside a C are losses the shop booked: cancellations all the same.
        (f"{RETAIL}/2010-12-01.csv", Expected(143, 7, 3108, "58635.56"), 0),
        (f"{RETAIL}/2011-12-05.csv", Expected(151, 19, 5331, "57751.32"), 0),
        (f"{RETAIL}/2011-12-09.csv", Expected(49, 5, 1632, "32131.53"), 0),
    ],
    ids=lambda one: one if isinstance(one, str) else None,
)
def test_invoices_of_a_shop(merchant, file, expected, left_out):
    result = bring(merchant, file)
    assert (held(merchant), result["errors"]) == (expected, left_out)
    again = bring(merchant, file)
    assert again["orders"] == {"created": 0, "changed": 0, "unchanged": expected.orders, "refused": 0}
    assert held(merchant) == expected


def test_orders_and_their_lines_in_two_files(merchant):
    first = bring(merchant, f"{NORTHWIND}/orders.csv")
    # An address with a comma and no quotes is not shifted: the row is reported.
    assert (first["orders"]["created"], first["errors"]) == (654, 176)
    second = bring(merchant, f"{NORTHWIND}/order-details.csv")
    assert (second["orders"]["created"], second["orders"]["changed"], second["errors"]) == (176, 654, 0)
    assert held(merchant) == Expected(830, 0, 2155, "1265793.04")
    (one,) = rows(
        merchant,
        """SELECT array_agg(quantity || 'x' || trim_scale(price) ORDER BY n) AS lines FROM order_lines
        WHERE order_id = (SELECT id FROM orders WHERE external_id = '10248')""",
    )
    assert one["lines"] == ["12x14", "10x9.8", "5x34.8"]


def test_tables_without_a_header(merchant):
    bring(merchant, f"{ADVENTURES}/PurchaseOrderHeader.csv", {"fields": HEADER, "header": False})
    result = bring(merchant, f"{ADVENTURES}/PurchaseOrderDetail.csv", {"fields": DETAIL, "header": False})
    assert result["errors"] == 0
    assert held(merchant) == Expected(4012, 0, 8845, "63791994.84")
    (sum_,) = rows(merchant, "SELECT sum(quantity * price) AS total FROM order_lines")
    assert sum_["total"] == Decimal("63791994.8380")


def test_a_table_that_names_no_order_is_refused(merchant):
    with pytest.raises(FeedNotUsable) as refused:
        bring(merchant, "magento__magento2-sample-data/app/code/Magento/SalesSampleData/fixtures/orders.csv")
    assert refused.value.code == "no_order_columns"
