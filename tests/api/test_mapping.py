"""What a file would become: the preview, and what a source makes of a file with the mapping kept for it."""

import io
import json
import uuid
import zipfile

import pytest

from services.core.db import transaction
from services.models import Source
from tests import inline
from tests.conftest import headers_for, make_merchant
from tests.imports.importing import begin, catalogue, staged

BARE = "1001;Lamp, large;12,50;4015867568453\n1002;Vase;1.299,00;4006381333931\n"
RULES = {
    "header": False,
    "fields": {"sku": "Column 1", "title": "Column 2", "price": {"column": "Column 3", "expression": "value * 2"}},
}


def _preview(client, content=BARE, **fields):
    data = content.encode() if isinstance(content, str) else content
    if "mapping" in fields and not isinstance(fields["mapping"], str):
        fields["mapping"] = json.dumps(fields["mapping"])
    return client.post("/api/v1/bulk/preview", files={"file": ("list.csv", data)}, data=fields)


def _keep(merchant, source, mapping):
    with transaction(merchant_id=merchant) as session:
        session.add(Source(id=uuid.uuid4(), merchant_id=merchant, name=source, mapping=mapping))


def test_a_file_that_is_recognised(client, merchant, settings):
    answer = _preview(client, "SKU,Title,Price,Foo\nA1,Lamp,10.00,x\nA2,Vase,cheap,y\n", currency="eur")
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["format"], found["encoding"], found["delimiter"], found["refused"]) == (
        *("generic_csv", "utf-8", ","),
        None,
    )
    assert [(one["header"], one["field"], one["samples"]) for one in found["columns"]] == [
        ("SKU", "sku", ["A1", "A2"]),
        ("Title", "title", ["Lamp", "Vase"]),
        ("Price", "price", ["10.00", "cheap"]),
        ("Foo", None, ["x", "y"]),
    ]
    assert all(one["why"] for one in found["columns"])
    assert (found["drafts"][0]["price"], found["drafts"][0]["currency"]) == ("10.00", "EUR")
    assert [(one["line"], one["code"]) for one in found["errors"]] == [(3, "price_unparsable")]
    assert client.get("/api/v1/bulk/operations").json()["data"] == []
    again = _preview(client, "SKU,Title,Price,Foo\nA1,Lamp,10.00,x\nA2,Vase,cheap,y\n", mapping=found["mapping"])
    assert [one["price"] for one in again.json()["drafts"]] == ["10.00", None]


def test_a_file_that_is_not_recognised_is_guessed_edited_kept_and_imported(client, merchant):
    guessed = _preview(client).json()
    assert guessed["refused"]["code"] == "no_product_columns"
    assert guessed["mapping"]["header"] is False
    assert guessed["mapping"]["fields"]["barcode"] == {"column": "Column 4"}
    assert [one["price"] for one in guessed["drafts"]] == ["12.50", "1299.00"]
    edited = _preview(client, mapping=RULES).json()
    assert [one["price"] for one in edited["drafts"]] == ["25", "2598"]
    assert edited["mapping"] == RULES
    assert edited["columns"][2]["why"] == "The mapping says so."
    upload = {"files": {"file": ("list.csv", BARE.encode())}, "data": {"source": "bare"}}
    assert client.post("/api/v1/bulk/import", **upload).json()["code"] == "no_product_columns"
    _keep(merchant, "bare", RULES)
    started = client.post("/api/v1/bulk/import", **upload)
    assert started.status_code == 202, started.text
    ended = inline.work(uuid.UUID(started.json()["job_id"]))
    assert ended["state"] == "succeeded", ended
    made = catalogue(merchant, "bare")
    assert {key: str(one["variants"][key]["price"].normalize()) for key, one in made.items()} == {
        "1001": "25",
        "1002": "2598",
    }


def test_a_kept_mapping_that_does_not_fit_fails_the_job_and_imports_nothing(merchant):
    _keep(merchant, "bare", {"fields": {"price": "Preis"}})
    ended = inline.work(begin(merchant, "SKU,Title,Price\nA1,Lamp,10\n", source="bare").job_id)
    assert (ended["state"], ended["error_code"]) == ("failed", "mapping_column_missing")
    assert (catalogue(merchant, "bare"), staged(merchant)) == ({}, 0)


def test_a_mapping_of_another_merchants_source_of_that_name_is_not_used(merchant, other_merchant):
    _keep(other_merchant, "default", {"fields": {"price": "Preis"}})
    assert inline.work(begin(merchant, "SKU,Title,Price\nA1,Lamp,10\n").job_id)["state"] == "succeeded"


def test_the_stored_file_of_an_import(client, merchant):
    own = begin(merchant, "SKU,Title,Price\nA1,Lamp,10\n")
    found = client.post("/api/v1/bulk/preview", json={"import_id": str(own.id)})
    assert found.json()["drafts"][0]["sku"] == "A1"
    others = begin(make_merchant(), "SKU,Title,Price\nA1,Lamp,10\n")
    assert client.post("/api/v1/bulk/preview", json={"import_id": str(others.id)}).status_code == 404
    assert client.post("/api/v1/bulk/preview", json={"import_id": str(uuid.uuid4())}).status_code == 404


@pytest.mark.parametrize(
    ("content", "fields", "code", "param"),
    [
        (b"\x89PNG", {}, "binary", "file"),
        ("<a><b/></a>", {}, "no_records", "file"),
        ("SKU,Title\nA,B\n", {"mapping": {"fields": {"price": "Preis"}}}, "mapping_column_missing", "mapping"),
        ("SKU,Title\nA,B\n", {"mapping": {"fields": {"cost": {"expression": "a("}}}}, "mapping_invalid", "mapping"),
        ("SKU,Title\nA,B\n", {"mapping": "{"}, "invalid", "mapping"),
        ("SKU,Title\nA,B\n", {"mapping": "[" * 100_000}, "invalid", "mapping"),
        ("SKU,Title\nA,B\n", {"mapping": "[]"}, "invalid_request", "mapping"),
        ("SKU,Title\nA,B\n", {"currency": "XXQ"}, "currency_unknown", "currency"),
        ("SKU,Title\nA,B\n", {"colour": "red"}, "invalid_request", "colour"),
    ],
)
def test_what_cannot_be_shown_says_why(client, content, fields, code, param):
    answer = _preview(client, content, **fields)
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] == code
    assert param in json.dumps(answer.json())


@pytest.mark.parametrize(
    "body", [{}, {"url": "http://127.0.0.1/x"}, {"url": "file:///etc/passwd"}, {"mapping": {}}, {"url": ""}, []]
)
def test_bodies_that_name_no_file_of_ours(client, body):
    assert client.post("/api/v1/bulk/preview", json=body).status_code == 422
    assert client.post("/api/v1/bulk/preview", content=b"x").status_code == 422


def test_long_tables_are_shown_by_their_beginning_and_other_large_files_are_not(client, monkeypatch):
    monkeypatch.setattr("services.imports.mappings.LARGEST", 100_000)
    monkeypatch.setattr("services.imports.mappings._HEAD", 50_000)
    text = "SKU,Title,Price\n" + "".join(f"A{n},Lamp,10.00\n" for n in range(10_000))
    assert len(_preview(client, text).json()["drafts"]) == 20
    answer = _preview(client, "<r>" + "<item><sku>A1</sku><price>1</price></item>" * 5_000 + "</r>")
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large_to_preview")


def test_only_members_who_may_write_ask(anonymous, merchant):
    anonymous.headers.update(headers_for(merchant, role="viewer"))
    assert _preview(anonymous).status_code == 403
    anonymous.headers.clear()


def test_a_zip_that_is_none(client):
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as packed:
        packed.writestr("../../etc/list.csv", "SKU,Title,Price\nA1,Lamp,10\n")
    assert _preview(client, held.getvalue()).json()["drafts"][0]["sku"] == "A1"
    assert _preview(client, held.getvalue()[:60]).json()["code"] == "archive_broken"
