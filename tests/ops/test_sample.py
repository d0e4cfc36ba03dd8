import csv
import io
from decimal import Decimal
from pathlib import Path

from ops.sample import write_sample

SAMPLE = Path(__file__).resolve().parents[2] / "sample" / "catalogue.csv"


def test_the_file_is_what_the_generator_writes() -> None:
    out = io.StringIO()
    write_sample(out)
    assert SAMPLE.read_text() == out.getvalue()


def test_a_few_hundred_products_with_variants() -> None:
    rows = list(csv.DictReader(SAMPLE.read_text().splitlines()))
    variants = [row for row in rows if row["SKU"]]
    assert len({row["URL handle"] for row in rows}) == 300
    assert len({row["SKU"] for row in variants}) == len(variants) > 700
    assert all(Decimal(row["Price"]) > Decimal(row["Cost per item"]) > 0 for row in variants)
    options = [(row["URL handle"], *(row[f"Option{n} value"] for n in (1, 2, 3))) for row in variants]
    assert len(set(options)) == len(options)
