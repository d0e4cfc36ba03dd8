"""Exports from the request to the file, and the file to its end: consistent, bounded, nobody else's, nothing left."""

import csv
import io
import json
import re
import tracemalloc
import uuid
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from services.core.clock import now
from services.core.db import transaction
from services.core.settings import get_settings
from services.exports import catalogue, work
from services.jobs import Cancel
from services.jobs.control import cancel_job, retry_job
from tests import inline
from tests.conftest import headers_for
from tests.exports.exporting import KINDS, ask, asked, content, exported, fill
from tests.imports.importing import footprints, run_feed
from tests.imports.test_crashes import Doomed, Killed

FEED = "Handle,Title,Vendor,Option1 Name,Option1 Value,Variant SKU,Variant Price,Variant Inventory Qty\n" + "".join(
    f"p{n:02},Title {n},{'Oak' if n % 2 else 'Elm'},Size,S,{n}-S,{n + 1}.00,{n}\np{n:02},,,,M,{n}-M,9.00,0\n"
    for n in range(12)
)


def files_of(merchant: uuid.UUID) -> list[str]:
    """Names of the files the storage keeps for a merchant, unfinished ones too."""
    folder = Path(get_settings().storage_folder or "") / str(merchant)
    return sorted(path.name for path in folder.iterdir() if "products" in path.name) if folder.exists() else []


def fill_many(merchant: uuid.UUID, products: int, variants: int) -> None:
    """A large catalogue, made by the database itself."""
    with transaction(merchant_id=merchant) as session:
        session.execute(
            text("""
            WITH made AS (
                INSERT INTO products (id, merchant_id, source, key, title, description, option_names, images)
                SELECT gen_random_uuid(), :merchant, 'many', 'p' || n, 'Product ' || n, repeat('words ', 50),
                    '{Size}', ARRAY['https://i.example/' || n || '.jpg']
                FROM generate_series(1, :products) n RETURNING id)
            INSERT INTO variants (id, merchant_id, product_id, key, sku, options, price, currency, stock, position)
            SELECT gen_random_uuid(), :merchant, id, 'S' || v, 'sku-' || v, jsonb_build_object('Size', 'S' || v),
                v + 0.5, 'EUR', v, v
            FROM made, generate_series(1, :variants) v
            """),
            {"merchant": merchant, "products": products, "variants": variants},
        )


@pytest.fixture
def _small_ranges(monkeypatch):
    monkeypatch.setattr(catalogue, "RANGE", 2)


@pytest.mark.usefixtures("_small_ranges")
def test_from_the_request_to_the_file(client, merchant):
    run_feed(merchant, FEED, source="mine", currency="EUR")
    response = client.post("/api/v1/bulk/export", json={"format": "csv", "source": "mine", "brand": "Oak"})
    assert response.status_code == 202, response.text
    started = response.json()
    before = client.get(started["status_url"]).json()
    assert (before["status"], before["file_url"], before["filters"]) == (
        "queued",
        None,
        {"source": "mine", "brand": "Oak"},
    )
    early = client.get(started["file_url"])
    assert (early.status_code, early.json()["code"]) == (409, "export_not_ready")

    ended = inline.work(uuid.UUID(started["job_id"]))

    assert ended["state"] == "succeeded"
    after = client.get(started["status_url"]).json()
    assert (after["status"], after["products"], after["rows"], after["left_out"]) == ("succeeded", 6, 12, 0)
    assert after["progress"] == {"done": 6, "total": 6, "note": None}
    file = client.get(after["file_url"])
    assert file.status_code == 200
    assert file.headers["content-type"] == "text/csv; charset=utf-8"
    assert after["filename"] in file.headers["content-disposition"]
    assert len(file.content) == after["bytes"] == ended["result"]["bytes"]
    rows = list(csv.DictReader(io.StringIO(file.content.decode("utf-8-sig"))))
    assert {row["product_key"] for row in rows} == {f"p{n:02}" for n in range(1, 12, 2)}
    assert [row["variant_key"] for row in rows[:2]] == ["S", "M"]


def test_json_is_the_apis_own_shape(client, merchant):
    run_feed(merchant, FEED, currency="EUR")
    shown = [
        client.get(f"/api/v1/products/{row['id']}").json()
        for row in client.get("/api/v1/products?limit=200").json()["data"]
    ]
    found = json.loads(exported(merchant, "json"))
    assert found == list(reversed(shown))  # the list has the newest first
    assert [list(one) for one in found] == [list(one) for one in shown]
    lines = exported(merchant, "ndjson").decode().split("\n")
    assert [json.loads(line) for line in lines if line] == found


def test_the_list_is_pages(client, merchant):
    made = [str(ask(merchant, "json").id) for _ in range(3)]
    first = client.get("/api/v1/bulk/exports?limit=2").json()
    assert [row["id"] for row in first["data"]] == made[:0:-1]
    rest = client.get(f"/api/v1/bulk/exports?limit=2&after={first['next']}").json()
    assert ([row["id"] for row in rest["data"]], rest["has_more"]) == (made[:1], False)


def test_the_same_key_exports_once(client):
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    one, other = (client.post("/api/v1/bulk/export", json={"format": "json"}, headers=headers) for _ in range(2))
    assert (one.json(), other.headers["Idempotent-Replayed"]) == (other.json(), "true")
    assert len(client.get("/api/v1/bulk/exports").json()["data"]) == 1
    another = client.post("/api/v1/bulk/export", json={"format": "ndjson"}, headers=headers)
    assert another.status_code in (409, 422)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "format"),
        ({"format": "xls"}, "format"),
        ({"format": "csv", "columns": "magento"}, "columns"),
        ({"format": "json", "columns": "plain"}, "columns"),
        ({"format": "csv", "price_min": -1}, "price_min"),
        ({"format": "csv", "brandd": "Oak"}, "brandd"),
        ({"format": "csv", "status": "sold"}, "status"),
        ({"format": "csv", "updated_after": "2026-01-01"}, "updated_after"),
    ],
)
def test_what_cannot_be_exported_is_refused(client, body, param):
    response = client.post("/api/v1/bulk/export", json=body)
    assert response.status_code == 422
    assert param in response.text
    assert client.get("/api/v1/bulk/exports").json()["data"] == []


def test_another_merchants_export_is_not_there(anonymous, merchant, other_merchant):
    run_feed(merchant, FEED)
    export = ask(merchant, "json")
    inline.work(export.job_id)
    theirs = headers_for(other_merchant)
    for path in (f"/api/v1/bulk/exports/{export.id}", f"/api/v1/bulk/exports/{export.id}/file"):
        response = anonymous.get(path, headers=theirs)
        assert (response.status_code, response.json()["code"]) == (404, "export_not_found")
        assert anonymous.get(path, headers=headers_for(merchant)).status_code == 200
    assert json.loads(exported(other_merchant, "json")) == []


def test_readers_may_not_export(anonymous, merchant):
    headers = headers_for(merchant, role="viewer")
    assert anonymous.post("/api/v1/bulk/export", json={"format": "json"}, headers=headers).status_code == 403


FORMULA = '=HYPERLINK("http://evil.example")'


@pytest.mark.parametrize(("format", "columns"), [kind for kind in KINDS if kind[1]])
def test_no_formula_is_alive(merchant, format, columns):
    one: dict[str, Any] = {"key": FORMULA, "sku": "+1", "barcode": "@x", "options": {"=A": FORMULA}, "image_url": None}
    told = dict.fromkeys(("key", "title", "description", "brand", "category"), FORMULA)
    fill(merchant, [{**told, "tags": ["=x"], "option_names": ["=A"], "variants": [one]}])
    found = exported(merchant, format, columns)
    if format == "xlsx":
        with zipfile.ZipFile(io.BytesIO(found)) as book:
            sheet = book.read("xl/worksheets/sheet1.xml").decode()
        assert "<f" not in sheet
        cells = re.findall(r"<t(?: [^>]*)?>(.*?)</t>", sheet, re.DOTALL)
    else:
        cells = [cell for row in csv.reader(io.StringIO(found.decode("utf-8-sig"))) for cell in row]
    assert any("HYPERLINK" in cell for cell in cells)
    assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))] == []


@pytest.mark.parametrize("unfit", ["é" * 32_768, "😀" * 16_384, "a\ufffeb"])
def test_a_text_no_spreadsheet_can_hold_is_left_out_and_counted(merchant, unfit):
    fill(merchant, [{"key": "k", "title": "é" * 32_767, "description": unfit, "variants": []}])
    export = ask(merchant, "xlsx")
    inline.work(export.job_id)
    assert asked(export).export.left_out == 1
    before = footprints(merchant)
    run_feed(merchant, content(export))
    assert footprints(merchant) == before
    assert json.loads(exported(merchant, "json"))[0]["description"] == unfit


@pytest.mark.usefixtures("_small_ranges")
def test_an_export_shows_one_moment(merchant):
    fill(merchant, [{"key": f"k{n}", "title": "before", "variants": []} for n in range(6)])

    class Disturbed(work.Run):
        def progress(self, done: int, total: int | None = None, note: str | None = None) -> None:
            super().progress(done, total, note)
            with transaction(merchant_id=merchant) as session:
                session.execute(text("UPDATE products SET title = 'after'"))
                session.execute(text("DELETE FROM products WHERE key = 'k5'"))

    export = ask(merchant, "json")
    assert inline.work(export.job_id, make_run=Disturbed)["state"] == "succeeded"
    assert [(one["key"], one["title"]) for one in json.loads(content(export))] == [
        (f"k{n}", "before") for n in range(6)
    ]


@pytest.mark.usefixtures("_small_ranges")
def test_cancelled_between_ranges_it_leaves_no_file(merchant):
    fill(merchant, [{"key": f"k{n}", "title": "T", "variants": []} for n in range(6)])
    seen = []

    class Cancelled(work.Run):
        def progress(self, done: int, total: int | None = None, note: str | None = None) -> None:
            seen.append(done)
            if done == 4:
                with transaction(merchant_id=merchant) as session:
                    cancel_job(session, self.id)
                self.stop(Cancel())
            super().progress(done, total, note)

    export = ask(merchant, "xlsx", "plain")
    ended = inline.work(export.job_id, make_run=Cancelled)
    assert (ended["state"], seen) == ("cancelled", [0, 2, 4])
    assert files_of(merchant) == []
    assert asked(export).status == "cancelled"
    with transaction(merchant_id=merchant) as session:
        retry_job(session, export.job_id)
    assert inline.work(export.job_id)["state"] == "succeeded"
    assert len(files_of(merchant)) == 1


@pytest.mark.usefixtures("_small_ranges")
@pytest.mark.parametrize("format", ["csv", "xlsx"])
def test_killed_at_every_step_there_is_one_file_in_the_end(merchant, monkeypatch, format):
    fill(merchant, [{"key": f"k{n}", "title": "T", "variants": []} for n in range(3)])
    expected = exported(merchant, "csv")
    runs: list[Doomed] = []
    undisturbed = ask(merchant, format)
    inline.work(undisturbed.job_id, make_run=lambda claim: runs.append(Doomed(claim)) or runs[-1])
    known = files_of(merchant)
    assert runs[0].steps > 10
    for fatal_step in range(1, runs[0].steps + 1):
        export = ask(merchant, format)
        with monkeypatch.context() as dead, pytest.raises(Killed):
            dead.setattr("pathlib.Path.unlink", lambda *_, **__: None)  # who is dead tidies nothing up
            inline.work(export.job_id, make_run=lambda claim, at=fatal_step: Doomed(claim, fatal_step=at))
        inline.lose(export.job_id)
        if inline.state_of(export.job_id)["state"] != "succeeded":
            inline.work(export.job_id)
        assert asked(export).status == "succeeded", fatal_step
        known = sorted([*known, *(set(files_of(merchant)) - set(known))])
        assert len(known) == 2 + fatal_step, "one file more, and no other"
        assert files_of(merchant) == known
        if format == "csv":
            assert content(export) == expected


def test_killed_while_storing_the_half_file_goes(merchant, monkeypatch):
    fill(merchant, [{"key": "k", "title": "T", "variants": []}])
    export = ask(merchant, "json")

    def killed(*_: object) -> None:
        raise Killed

    monkeypatch.setattr("os.replace", killed)
    monkeypatch.setattr("pathlib.Path.unlink", lambda *_, **__: None)  # the dead tidy nothing up
    with pytest.raises(Killed):
        inline.work(export.job_id)
    monkeypatch.undo()
    assert [name[:6] for name in files_of(merchant)] == [".part-"]
    inline.lose(export.job_id)
    assert inline.work(export.job_id)["state"] == "succeeded"
    assert [name[:6] != ".part-" for name in files_of(merchant)] == [True]


def test_an_attempt_that_was_overtaken_takes_its_file_away(merchant):
    fill(merchant, [{"key": "k", "title": "T", "variants": []}])
    export = ask(merchant, "json")

    class Slow(work.Run):
        def checkpoint(self) -> None:
            if self.progress_report == (1, 1, "writing products") and not overtaken:
                overtaken.append(1)
                inline.lose(self.id)
                assert inline.work(self.id)["state"] == "succeeded"
            super().checkpoint()

    overtaken: list[int] = []
    inline.work(export.job_id, make_run=Slow)
    assert overtaken
    assert len(files_of(merchant)) == 1
    assert json.loads(content(export))[0]["key"] == "k"


def _jobs(merchant: uuid.UUID, kind: str) -> list[Any]:
    with transaction(merchant_id=merchant) as session:
        return list(session.execute(text("SELECT id, state, run_at FROM jobs WHERE kind = :kind"), {"kind": kind}))


def test_files_are_removed_when_their_time_is_over(client, merchant):
    fill(merchant, [{"key": "k", "title": "T", "variants": []}])
    export = ask(merchant, "json")
    (removal,) = _jobs(merchant, "remove_export")
    assert removal.state == "scheduled"
    assert abs(removal.run_at - now() - timedelta(days=get_settings().export_days)) < timedelta(minutes=5)
    assert inline.work(removal.id)["reason"] == "export_at_work"  # it is still to be written
    inline.work(export.job_id)
    assert len(files_of(merchant)) == 1

    assert inline.work(removal.id)["state"] == "succeeded"

    assert files_of(merchant) == []
    assert client.get(f"/api/v1/bulk/exports/{export.id}").json()["status"] == "expired"
    gone = client.get(f"/api/v1/bulk/exports/{export.id}/file")
    assert (gone.status_code, gone.json()["code"]) == (404, "export_expired")


@pytest.mark.parametrize(("format", "columns"), [("csv", "shopify"), ("xlsx", "plain"), ("json", None)])
def test_memory_does_not_grow_with_the_catalogue(merchant, format, columns):
    fill_many(merchant, 800, 4)
    peaks = []
    for brand in (None, "nobody"):
        export = ask(merchant, format, columns, **({"brand": brand} if brand else {}))
        tracemalloc.start()
        try:
            assert inline.work(export.job_id)["state"] == "succeeded"
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[0] - peaks[1] < 5_000_000, peaks
    assert asked(export).export.products == 0
