"""Imports over HTTP: the door, the answers, the reports."""

import csv
import io
import uuid

import pytest
from sqlalchemy import select, text

from services.catalog.jobs import ApplyChangeset
from services.core.db import transaction
from services.jobs import enqueue
from services.models import Changeset, Import, Job, Source
from tests import inline
from tests.conftest import headers_for

FEED = "SKU,Title,Price\nA1,Lamp,10.00\nB2,=HYPERLINK(1),cheap\n=C3,Mug,1,2,3\n"


def _upload(client, feed=FEED, *, name="feed.csv", headers=None, **fields):
    content = feed.encode() if isinstance(feed, str) else feed
    return client.post("/api/v1/bulk/import", files={"file": (name, content)}, data=fields, headers=headers or {})


def _files(settings, merchant):
    from pathlib import Path

    folder = Path(settings.storage_folder) / str(merchant)
    return list(folder.iterdir()) if folder.exists() else []


def test_an_upload_is_noted_and_becomes_products(client, merchant, settings):
    answer = _upload(client, currency="eur", source=" Shop feed ")
    assert answer.status_code == 202, answer.text
    body = answer.json()
    assert set(body) == {"import_id", "job_id", "source", "status_url", "errors_url"}
    assert body["source"] == "Shop feed"
    waiting = client.get(body["status_url"]).json()
    assert (waiting["status"], waiting["phase"], waiting["progress"]) == ("queued", "read", None)
    assert len(_files(settings, merchant)) == 1
    inline.work(uuid.UUID(body["job_id"]))
    found = client.get(body["status_url"]).json()
    assert (found["status"], found["phase"], found["error"]) == ("succeeded", "done", None)
    assert found["progress"] == {"done": 2, "total": 2, "note": None}
    assert (found["format"], found["encoding"], found["delimiter"]) == ("generic_csv", "utf-8", ",")
    assert found["columns"] == {"SKU": "sku", "Title": "title", "Price": "price"}
    assert found["products"] == {"created": 2, "updated": 0, "unchanged": 0}
    assert found["variants"] == {"created": 2, "updated": 0, "unchanged": 0}
    assert (found["rows"], found["errors"], found["warnings"]) == (3, 1, 1)
    assert found["error_codes"] == {"price_unparsable": 1, "row_too_long": 1}
    assert [error["line"] for error in found["first_errors"]] == [3, 4]
    assert (found["currency"], found["filename"], found["bytes"]) == ("EUR", "feed.csv", len(FEED))
    listed = client.get("/api/v1/bulk/operations").json()
    assert [row["id"] for row in listed["data"]] == [body["import_id"]]
    assert client.get("/api/v1/bulk/operations", params={"source": "other"}).json()["data"] == []


def test_the_error_report_runs_nothing_in_a_spreadsheet(client):
    body = _upload(client).json()
    inline.work(uuid.UUID(body["job_id"]))
    answer = client.get(body["errors_url"])
    assert answer.headers["content-type"].startswith("text/csv")
    assert "attachment" in answer.headers["content-disposition"]
    rows = list(csv.reader(io.StringIO(answer.text)))
    assert rows[0] == ["line", "code", "column", "value", "reason"]
    assert [row[:2] for row in rows[1:]] == [["3", "price_unparsable"], ["4", "row_too_long"]]
    assert rows[2][3].startswith("'=C3")
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for row in rows for cell in row)
    for asked in ({"params": {"format": "json"}}, {"headers": {"Accept": "application/json"}}):
        data = client.get(body["errors_url"], **asked).json()["data"]
        assert data[1]["value"].startswith("=C3")
        assert (data[1]["fatal"], data[0]["fatal"]) == (True, False)
    assert client.get(body["errors_url"], params={"format": "xml"}).status_code == 422


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty"),
        (b"PK\x03\x04" + bytes(3000), "archive_broken"),
        (b"\x1f\x8b\x09" + bytes(3000), "archive_broken"),
        (bytes(range(256)) * 100, "binary"),
        (b'{"products": []}', "no_records"),
        (b"<rss></rss>", "no_records"),
        (b"Title,Price\n", "no_records"),
        (b"Order number,Total\n1,2\n", "no_product_columns"),
        (b"\xff\xfe\x00", None),
    ],
)
def test_what_is_no_feed_is_refused_and_not_kept(client, merchant, settings, content, code):
    answer = _upload(client, content)
    assert answer.status_code == 422, answer.text
    problem = answer.json()
    assert problem["param"] == "file"
    assert code in (problem["code"], None)
    assert _files(settings, merchant) == []
    assert client.get("/api/v1/bulk/operations").json()["data"] == []


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"currency": "EURO"}, "currency"),
        ({"currency": "XQX"}, "currency"),
        ({"currency": "€"}, "currency"),
        ({"source": "x" * 101}, "source"),
        ({"source": "a\nb"}, "source"),
        ({"source": "   "}, "source"),
        ({"curency": "EUR"}, "curency"),
        ({"bad_rows": "keep"}, "bad_rows"),
    ],
)
def test_fields_that_make_no_sense(client, merchant, settings, fields, param):
    answer = _upload(client, **fields)
    assert answer.status_code == 422
    assert answer.json()["param"] == param
    assert _files(settings, merchant) == []


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "url"),
        ({"url": ""}, "url"),
        ({"url": 5}, "url"),
        ({"url": "http://127.0.0.1/feed.csv"}, "url"),
        ({"url": "http://[::ffff:10.0.0.1]/"}, "url"),
        ({"url": "gopher://example.com/"}, "url"),
        ({"url": "http://93.184.216.34/", "sauce": "x"}, "sauce"),
        ([], "body"),
    ],
)
def test_addresses_that_make_no_sense(client, body, param):
    answer = client.post("/api/v1/bulk/import", json=body)
    assert answer.status_code == 422
    assert answer.json()["param"] == param


def test_bodies_that_make_no_sense(client, settings):
    for kind, body in (("application/json", b"{"), ("application/json", b"\xff"), ("text/csv", b"SKU\n1\n"), ("", b"")):
        answer = client.post("/api/v1/bulk/import", content=body, headers={"Content-Type": kind})
        assert answer.status_code == 422, (kind, answer.text)
    assert client.post("/api/v1/bulk/import", data={"file": "not a file"}).status_code == 422
    broken = client.post("/api/v1/bulk/import", content=b"no boundary", headers={"Content-Type": "multipart/form-data"})
    assert (broken.status_code, broken.json()["param"]) == (422, "file")
    long = client.post(
        "/api/v1/bulk/import",
        content=b'{"url": "' + b"x" * settings.max_body_bytes,
        headers={"Content-Type": "application/json"},
    )
    assert long.status_code == 413
    two = client.post("/api/v1/bulk/import", files=[("file", ("a", b"SKU\n1\n")), ("file", ("b", b"SKU\n2\n"))])
    assert (two.status_code, two.json()["code"]) == (422, "multipart_broken")


def test_a_file_over_the_limit(client, merchant, settings, monkeypatch):
    monkeypatch.setattr(settings, "max_upload_bytes", 1000)
    answer = _upload(client, "SKU,Title\n" + "A1,Lamp\n" * 200)
    assert answer.status_code == 413
    assert answer.json()["code"] == "upload_too_large"
    assert _files(settings, merchant) == []


def test_an_address_is_noted(client, merchant):
    answer = client.post("/api/v1/bulk/import", json={"url": "http://u:p@93.184.216.34/feed.csv", "currency": "USD"})
    assert answer.status_code == 202, answer.text
    found = client.get(answer.json()["status_url"]).json()
    assert (found["url"], found["phase"], found["currency"]) == ("http://93.184.216.34/feed.csv", "fetch", "USD")


def test_the_same_request_again_is_the_same_import(client, merchant, settings):
    key = {"Idempotency-Key": "one"}
    first = _upload(client, headers=key)
    again = _upload(client, headers=key)
    assert again.status_code == 202
    assert again.json() == first.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(_files(settings, merchant)) == 1
    other = _upload(client, FEED + "D4,Bowl,2.00\n", headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert len(_files(settings, merchant)) == 1


def test_the_same_content_while_it_is_active(client, merchant, settings):
    first = _upload(client).json()
    again = _upload(client)
    assert again.status_code == 409
    problem = again.json()
    assert problem["code"] == "import_already_active"
    assert (problem["import_id"], problem["job_id"]) == (first["import_id"], first["job_id"])
    assert problem["status_url"] == first["status_url"]
    assert len(_files(settings, merchant)) == 1
    assert _upload(client, source="another").status_code == 202
    inline.work(uuid.UUID(first["job_id"]))
    assert _upload(client).status_code == 202


def test_import_and_job_are_one_transaction(client, merchant):
    body = _upload(client).json()
    with transaction(merchant_id=merchant) as session:
        job = session.get_one(Job, uuid.UUID(body["job_id"]))
        import_ = session.scalars(select(Import)).one()
    assert (job.kind, job.queue, job.args) == ("import_csv_products", "import", {"import_id": body["import_id"]})
    assert import_.job_id == job.id


def test_xml_goes_by_a_name_of_its_own(client, merchant):
    body = _upload(client, b"<items><item><sku>A</sku><name>Pan</name><price>1</price></item></items>").json()
    ended = inline.work(uuid.UUID(body["job_id"]))
    assert (ended["state"], ended["result"]["products"]["created"]) == ("succeeded", 1)
    assert client.get(f"/api/v1/jobs/{body['job_id']}").json()["kind"] == "import_xml_feed"


def test_an_import_outlives_its_job(client, merchant):
    body = _upload(client).json()
    with transaction(role="shopopti_ledger") as session:
        session.execute(text("DELETE FROM jobs WHERE id = :id"), {"id": body["job_id"]})
    assert client.get(body["status_url"]).json()["status"] == "expired"


def test_another_merchant_sees_nothing(client, other_merchant):
    body = _upload(client).json()
    stranger = headers_for(other_merchant)
    for url in (body["status_url"], body["errors_url"]):
        assert client.get(url, headers=stranger).status_code == 404
    assert client.get("/api/v1/bulk/operations", headers=stranger).json()["data"] == []


def test_a_viewer_may_look_and_not_import(client, merchant):
    body = _upload(client).json()
    viewer = headers_for(merchant, role="viewer")
    assert client.get(body["status_url"], headers=viewer).status_code == 200
    assert _upload(client, "SKU\n9\n", headers=viewer).status_code == 403


def test_malformed_and_unknown_ids(client):
    for path in ("", "/errors"):
        assert client.get(f"/api/v1/bulk/operations/nonsense{path}").status_code == 422
        assert client.get(f"/api/v1/bulk/operations/{uuid.uuid4()}{path}").status_code == 404
    assert client.get("/api/v1/bulk/operations", params={"after": "?"}).status_code == 422


def test_no_token(anonymous):
    assert anonymous.post("/api/v1/bulk/import").status_code == 401


def test_an_import_whose_plan_waits_says_so(client, merchant):
    with transaction(merchant_id=merchant) as session:
        session.add(Source(merchant_id=merchant, name="default", apply="ask"))
    body = _upload(client).json()
    assert client.get(body["status_url"]).json()["changeset_id"] is None
    inline.work(uuid.UUID(body["job_id"]))
    found = client.get(body["status_url"]).json()
    assert (found["status"], found["phase"], found["changeset_state"]) == (
        "succeeded", "awaiting_approval", "awaiting_approval"
    )  # fmt: skip
    assert (found["products"]["created"], found["finished_at"]) == (0, None)
    with transaction(role="shopopti_ledger") as session:
        session.execute(text("DELETE FROM jobs WHERE id = :id"), {"id": body["job_id"]})
    assert client.get(body["status_url"]).json()["status"] == "succeeded"
    with transaction(merchant_id=merchant) as session:
        plan = session.get_one(Changeset, uuid.UUID(found["changeset_id"]))
        plan.state = "applying"
        job_id, _ = enqueue(session, ApplyChangeset(changeset_id=plan.id), merchant_id=merchant)
    assert client.get(body["status_url"]).json()["phase"] == "apply"
    inline.work(job_id)
    found = client.get(body["status_url"]).json()
    assert (found["phase"], found["changeset_state"], found["products"]["created"]) == ("done", "applied", 2)
    assert found["progress"] == {"done": 2, "total": 2, "note": None}
