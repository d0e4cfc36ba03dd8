"""The feed: the same catalogue in every form, for those who have a key, and once more only when it has changed."""

import csv
import gzip
import io
import xml.etree.ElementTree as ET

import httpx
import pytest

KEY = {"X-Api-Key": "sandbox-feed-key"}
G = "{http://base.google.com/ns/1.0}"


def fetch(sandbox, name="catalogue.json", headers=KEY, **params) -> httpx.Response:
    return sandbox.http.get(f"/feed/{name}", headers=headers, params=params)


def truth(sandbox) -> dict[str, tuple[int, int]]:
    lines = sandbox.http.get("/control/feed/products").text.splitlines()
    found = [httpx.Response(200, content=line).json() for line in lines]
    return {one["sku"]: (one["wholesale"], one["stock"]) for one in found}


def said(rows) -> dict[str, tuple[int, int]]:
    return {row["sku"]: (round(float(row["cost"]) * 100), int(row["quantity"])) for row in rows}


def test_every_form_says_the_same(sandbox):
    true = truth(sandbox)
    assert len(true) > 400
    records = fetch(sandbox).json()
    assert said(records) == true
    table = fetch(sandbox, "catalogue.csv")
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    assert said(csv.DictReader(io.StringIO(table.text, newline=""))) == true
    packed = fetch(sandbox, "catalogue.csv.gz")
    assert gzip.decompress(packed.content) == table.content
    items = ET.fromstring(fetch(sandbox, "catalogue.xml").content).iter("item")
    assert said({name: item.findtext(f"{G}{name}") for name in ("sku", "cost", "quantity")} for item in items) == true


def test_about_half_of_the_articles_are_bigbuys_too(sandbox):
    theirs = {
        one["ean13"] for name in ("products", "productsvariations") for one in sandbox.bulk(name) if one.get("ean13")
    }
    records = fetch(sandbox).json()
    shared = [one for one in records if one.get("gtin") in theirs]
    assert 0.2 < len(shared) / len(records) < 0.8
    assert all(len(one["gtin"]) == 13 for one in records if "gtin" in one)


@pytest.mark.parametrize(
    "headers", [{}, {"X-Api-Key": "wrong"}, {"Authorization": "Basic !!"}, {"Authorization": "Bearer sandbox-feed-key"}]
)
def test_without_the_key_there_is_nothing(sandbox, headers):
    assert fetch(sandbox, headers=headers).status_code == 401


def test_the_key_has_three_places(sandbox):
    assert fetch(sandbox, headers={}, key="sandbox-feed-key").is_success
    assert sandbox.http.get("/feed/catalogue.csv", auth=("anybody", "sandbox-feed-key")).is_success
    sandbox.control("PUT", "feed/keys/another")
    sandbox.control("DELETE", "feed/keys/sandbox-feed-key")
    assert fetch(sandbox).status_code == 401
    assert fetch(sandbox, headers={"X-Api-Key": "another"}).is_success
    assert sandbox.control("GET", "feed/keys") == ["another"]


def test_a_file_has_its_etag_until_something_in_it_changes(sandbox):
    first = fetch(sandbox)
    again = fetch(sandbox, headers={**KEY, "If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    number = first.json()[0]["sku"]
    sandbox.control("PUT", f"feed/products/{number}", {"stock": 4321, "price": 199})
    changed = fetch(sandbox, headers={**KEY, "If-None-Match": first.headers["etag"]})
    assert changed.status_code == 200
    assert said(changed.json())[number] == truth(sandbox)[number] == (199, 4321)
    sandbox.control("PUT", f"feed/products/{number}", {"gone": True})
    assert number not in said(fetch(sandbox).json())
    sandbox.control("PUT", f"feed/products/{number}", {})
    assert number in said(fetch(sandbox).json())
    sandbox.control("PUT", "feed/products/F999999", {"stock": 1}, expect=404)
    sandbox.control("PUT", "feed/products/nonsense", {"stock": 1}, expect=404)


def test_too_many_downloads_are_refused_until_the_hour_is_over(sandbox):
    sandbox.control("POST", "reset", {"products": 3, "speed": 0})
    for _ in range(60):
        assert fetch(sandbox).is_success
    refused = fetch(sandbox)
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= 3601
    sandbox.advance(hours=1)
    assert fetch(sandbox).is_success


def test_faults_befall_files_too(sandbox):
    def with_fault(fault, name="catalogue.csv"):
        return fetch(sandbox, name, headers={**KEY, "X-Sandbox-Fault": fault})

    assert "back soon" in with_fault("soft").text
    assert with_fault("soft;variant=object").json() == {"status": "maintenance"}
    assert with_fault("soft;variant=nothing").status_code == 400
    assert with_fault("revoked").status_code == 401
    header = with_fault("drift;fields=cost").text.splitlines()[0].split(",")
    assert ("cost_v2" in header, "cost" in header) == (True, False)
    assert b"<g:amount>" in with_fault("drift", "catalogue.xml").content
    plain = len(fetch(sandbox, "catalogue.csv").content)
    assert len(with_fault("truncated;at_byte=500").content) == 500
    assert len(with_fault("duplicate;share=1").content) > plain * 1.9
    assert fetch(sandbox, "other.csv").status_code == 404
    assert sandbox.http.post("/feed/catalogue.csv", headers=KEY).status_code == 405
    assert with_fault("quota").status_code == 429
    assert fetch(sandbox, "catalogue.csv").status_code == 429  # it stays used up
