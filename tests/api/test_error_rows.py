"""The rows of a feed that were in error, as they stood in it, with the reasons behind them."""

import csv
import gzip
import io
import uuid

import pytest

from services.core.db import transaction
from services.imports import original_rows
from services.models import Source
from tests import inline
from tests.conftest import make_merchant
from tests.formats.feeds import archive, xlsx
from tests.imports.importing import begin


def _rows(client, merchant, content, **options):
    import_ = begin(merchant, content, **options)
    inline.work(import_.job_id)
    answer = client.get(f"/api/v1/bulk/operations/{import_.id}/errors", params={"format": "rows"})
    assert answer.status_code == 200, answer.text
    assert f"import-{import_.id}-rows.csv" in answer.headers["content-disposition"]
    return list(csv.reader(io.StringIO(answer.text)))


FEED = (
    'SKU,Title,Price,Note\nA1,Lamp,10.00,\nA2,"Va\nse",cheap,=1+1\nA3,Bowl,1,2,3,4\nA4\nA5,Cup,0,x\n'
    'A6,"Mug,3,x\nA7,Pot,4,x\nA8,Pan,-1,x\n'
)


@pytest.mark.parametrize(
    "pack",
    [str.encode, lambda text: gzip.compress(text.encode()), lambda text: archive({"a.csv": text.encode()})],
    ids=["plain", "gzip", "zip"],
)
def test_rows_of_delimited_text(client, merchant, pack):
    header, *rows = _rows(client, merchant, pack(FEED))
    assert header == ["SKU", "Title", "Price", "Note", "error line", "error code", "error column", "error reason"]
    assert [row[:7] for row in rows] == [
        ["A2", "Va\nse", "cheap", "'=1+1", "3", "price_unparsable", "Price"],
        ["A3", "Bowl", "1", "2 | 3 | 4", "5", "row_too_long", ""],
        ["A4", "", "", "", "6", "row_too_short", ""],
        ["A5", "Cup", "0", "x", "7", "price_zero", "Price"],
        ["A6", '"Mug', "3", "x", "8", "quote_unterminated", ""],
        ["A8", "Pan", "'-1", "x", "10", "price_negative", "Price"],
    ]
    assert all(row[7].endswith(".") for row in rows)


def test_rows_of_a_workbook(client, merchant):
    book = xlsx(["Our list"], ["SKU", "Title", "Price"], ["A1", "Lamp", 10], ["A2", "Vase", "cheap"])
    assert [row[:5] for row in _rows(client, merchant, book)[1:]] == [["A2", "Vase", "cheap", "4", "price_unparsable"]]


def test_records_of_trees(client, merchant):
    xml = "<r><item><sku>A1</sku><price>1</price></item><item><sku>A2</sku><price>?!</price></item></r>"
    header, *rows = _rows(client, merchant, xml)
    assert [dict(zip(header, row, strict=True))["price"] for row in rows] == ["?!"]
    json = '[{"sku": "A1", "price": {"amount": "x1"}}, {"sku": "A2", "price": {"amount": 2}}]'
    header, *rows = _rows(client, merchant, json, source="json")
    assert [row[:3] for row in rows] == [["A1", "x1", "1"]]
    assert header[:2] == ["sku", "price.amount"]


def test_rows_that_go_through_a_mapping_are_those_of_the_file(client, merchant):
    with transaction(merchant_id=merchant) as session:
        rules = {"price": {"column": "Foo", "expression": "value * 2"}}
        session.add(Source(merchant_id=merchant, name="mapped", mapping={"fields": rules}))
    header, *rows = _rows(client, merchant, "SKU,Title,Foo\nA1,Lamp,10\nA2,Vase,much\n", source="mapped")
    assert (header[:3], [row[:6] for row in rows]) == (
        ["SKU", "Title", "Foo"],
        [["A2", "Vase", "much", "3", "mapping_failed", "Foo"]],
    )


def test_errors_found_while_planning_are_there_too(client, merchant):
    rows = _rows(client, merchant, "SKU,Title,Price\nA1,Lamp,10\nA1,Lamp,11\n")
    assert [row[:5] for row in rows[1:]] == [["A1", "Lamp", "10", "2", "duplicate_variant"]]


def test_no_errors_are_a_header_alone(client, merchant):
    assert len(_rows(client, merchant, "SKU,Title,Price\nA1,Lamp,10\n")) == 1


def test_large_trees_are_not_read_again_while_somebody_waits(client, merchant, monkeypatch):
    import_ = begin(merchant, "<r>" + "<item><sku>A1</sku><price>?</price></item>" * 100 + "</r>")
    inline.work(import_.job_id)
    monkeypatch.setattr(original_rows, "LARGEST", 1000)
    answer = client.get(f"/api/v1/bulk/operations/{import_.id}/errors", params={"format": "rows"})
    assert (answer.status_code, answer.json()["code"]) == (413, "original_rows_too_large")


def test_nobody_elses_rows(client, merchant):
    others = begin(make_merchant(), FEED)
    for id_ in (others.id, uuid.uuid4()):
        for form in ("rows", "json", "csv"):
            answer = client.get(f"/api/v1/bulk/operations/{id_}/errors", params={"format": form})
            assert answer.status_code == 404
