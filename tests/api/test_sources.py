"""Sources over HTTP."""

import uuid
from typing import Any

import pytest
from sqlalchemy import text

from services.core.db import transaction
from services.imports.origin import source_named
from services.imports.sources import FIELDS
from services.models import Product, Source
from tests.conftest import headers_for
from tests.imports.importing import begin, run_feed

SOURCES = "/api/v1/sources"
PUBLIC = "http://93.184.216.34/feed.csv"  # a public address needs no name server


def make(client: Any, **body: Any) -> dict[str, Any]:
    """A source."""
    answer = client.post(SOURCES, json={"name": "supplier", **body})
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_made_read_listed_changed_and_forgotten(client):
    made = make(client, name="  supplier ")
    guards = made.pop("guards")
    assert {name: made[name] for name in made if name not in ("id", "created_at", "updated_at")} == {
        "name": "supplier", "url": None, "currency": None, "mapping": None, "fields": None, "missing": "leave",
        "bad_rows": "skip", "apply": "automatic",
    }  # fmt: skip
    assert (guards["price_factor"], guards["short_feed_percent"], guards["currency_changes"]) == (10, 20, 0)
    other = make(client, name="other", missing="archive", guards={"price_factor": None, "error_rows_percent": 12.5})
    assert (other["guards"]["price_factor"], other["guards"]["error_rows_percent"]) == (None, 12.5)
    page = client.get(SOURCES, params={"limit": 1}).json()
    assert ([one["id"] for one in page["data"]], page["has_more"]) == ([other["id"]], True)
    rest = client.get(SOURCES, params={"after": page["next"]}).json()
    assert [one["id"] for one in rest["data"]] == [made["id"]]
    assert [one["id"] for one in client.get(SOURCES, params={"name": "other"}).json()["data"]] == [other["id"]]
    changes = {"currency": "eur", "fields": ["stock", "price", "stock"], "apply": "ask", "bad_rows": "refuse"}
    changed = client.patch(f"{SOURCES}/{other['id']}", json=changes)
    assert changed.status_code == 200, changed.text
    assert (changed.json()["currency"], changed.json()["fields"]) == ("EUR", ["stock", "price"])
    assert (changed.json()["missing"], changed.json()["guards"]) == ("archive", other["guards"])
    assert changed.json()["updated_at"] > other["updated_at"]
    assert client.get(f"{SOURCES}/{other['id']}").json() == changed.json()
    cleared = client.patch(f"{SOURCES}/{other['id']}", json={"fields": None, "currency": None, "guards": {}}).json()
    assert (cleared["fields"], cleared["currency"], cleared["guards"]) == (None, None, guards)
    assert client.delete(f"{SOURCES}/{other['id']}").status_code == 204
    for method in ("GET", "DELETE", "PATCH"):
        answer = client.request(method, f"{SOURCES}/{other['id']}", json={} if method == "PATCH" else None)
        assert (answer.status_code, answer.json()["code"]) == (404, "source_not_found")


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"name": " "}, "invalid_request", "name"),
        ({"name": "a\x00b"}, "invalid_request", "name"),
        ({"name": "x" * 101}, "invalid_request", "name"),
        ({"name": None}, "invalid_request", "name"),
        ({"url": "ftp://example.com/feed"}, "url_not_allowed", "url"),
        ({"url": "http://127.0.0.1/feed"}, "url_not_allowed", "url"),
        ({"url": ""}, "invalid_request", "url"),
        ({"currency": "EURO"}, "currency_unknown", "currency"),
        ({"currency": "XYZ"}, "currency_unknown", "currency"),
        ({"fields": []}, "invalid_request", "fields"),
        ({"fields": ["prize"]}, "invalid_request", "fields.0"),
        ({"mapping": {"fields": {"title": {"kolumn": "x"}}}}, "mapping_invalid", "mapping"),
        ({"mapping": ["x"]}, "invalid_request", "mapping"),
        ({"mapping": {"fields": {"title": {"constant": "a\x00b"}}}}, "mapping_invalid", "mapping"),
        ({"mapping": {"a\x00b": {}}}, "mapping_invalid", "mapping"),
        ({"url": "http://93.184.216.34/\x00"}, "url_not_allowed", "url"),
        ({"missing": "delete"}, "invalid_request", "missing"),
        ({"bad_rows": "keep"}, "invalid_request", "bad_rows"),
        ({"apply": "always"}, "invalid_request", "apply"),
        ({"guards": {"price_factor": 0.5}}, "invalid_request", "guards.price_factor"),
        ({"guards": {"missing_percent": 101}}, "invalid_request", "guards.missing_percent"),
        ({"guards": {"of_honour": 1}}, "invalid_request", "guards.of_honour"),
        ({"guards": None}, "invalid_request", "guards"),
        ({"unheard_of": 1}, "invalid_request", "unheard_of"),
    ],
)
def test_what_cannot_be_a_source(client, body, code, param):
    answer = client.post(SOURCES, json={"name": "supplier", **body})
    assert (answer.status_code, answer.json()["code"], answer.json()["param"]) == (422, code, param), answer.text
    assert client.get(SOURCES).json()["data"] == []
    if "name" not in body:
        kept = make(client, missing="archive")
        answer = client.patch(f"{SOURCES}/{kept['id']}", json=body)
        assert (answer.status_code, answer.json()["code"], answer.json()["param"]) == (422, code, param), answer.text
        assert client.get(f"{SOURCES}/{kept['id']}").json() == kept


@pytest.mark.parametrize(("changes", "param"), [({"name": "new"}, "name"), ({"missing": None}, "missing")])
def test_what_cannot_be_changed(client, changes, param):
    made = make(client)
    answer = client.patch(f"{SOURCES}/{made['id']}", json=changes)
    assert (answer.status_code, answer.json()["param"]) == (422, param)


def test_the_fields_are_the_catalogues():
    from api.sources import FieldName

    assert set(FieldName.__args__) == set(FIELDS)


def test_one_name_once_and_one_key_once(client):
    key = {"Idempotency-Key": str(uuid.uuid4())}
    first = client.post(SOURCES, json={"name": "supplier"}, headers=key)
    again = client.post(SOURCES, json={"name": "supplier"}, headers=key)
    assert (again.status_code, again.json(), again.headers["Idempotent-Replayed"]) == (201, first.json(), "true")
    taken = client.post(SOURCES, json={"name": "supplier"})
    assert (taken.status_code, taken.json()["code"], taken.json()["param"]) == (409, "source_name_taken", "name")


def test_what_people_make_by_hand_is_no_feeds(client):
    refused = client.post(SOURCES, json={"name": "manual"})
    assert (refused.status_code, refused.json()["code"]) == (409, "source_name_reserved")
    feed = {"file": ("a.csv", b"sku,title\n1,Pan\n")}
    refused = client.post("/api/v1/bulk/import", files=feed, data={"source": "manual"})
    assert (refused.status_code, refused.json()["code"]) == (409, "source_name_reserved")
    assert client.get(SOURCES).json()["data"] == []


def test_secrets_of_an_address_are_kept_encrypted_and_not_shown(client, merchant):
    made = make(client, url="http://me:s3cret@93.184.216.34/feed.csv?key=k3y")
    assert made["url"] == "http://93.184.216.34/feed.csv?…"
    with transaction(merchant_id=merchant) as session:
        row = session.get_one(Source, uuid.UUID(made["id"]))
        kept = f"{row.url} {row.url_secret}"
    assert "s3cret" not in kept
    assert "k3y" not in kept
    changed = client.patch(f"{SOURCES}/{made['id']}", json={"url": PUBLIC}).json()
    assert changed["url"] == PUBLIC
    with transaction(merchant_id=merchant) as session:
        assert session.get_one(Source, uuid.UUID(made["id"])).url_secret is None


def test_an_import_makes_its_source_and_takes_its_currency(client, merchant):
    begin(merchant, "SKU,Title,Price\nA,B,1.00\n", source="fresh")
    (made,) = client.get(SOURCES, params={"name": "fresh"}).json()["data"]
    assert client.patch(f"{SOURCES}/{made['id']}", json={"currency": "CZK"}).status_code == 200
    assert begin(merchant, "SKU,Title,Price\nA,B,2.00\n", source="fresh").currency == "CZK"
    assert begin(merchant, "SKU,Title,Price\nA,B,3.00\n", source="fresh", currency="EUR").currency == "EUR"


def test_a_name_is_made_once_however_many_come_at_once(merchant):
    import threading

    found: list[uuid.UUID] = []
    together = threading.Barrier(6)

    def come() -> None:
        together.wait()
        with transaction(merchant_id=merchant) as session:
            found.append(source_named(session, merchant_id=merchant, name="crowded").id)

    crowd = [threading.Thread(target=come) for _ in range(6)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    assert len(found) == 6
    assert len(set(found)) == 1


def test_a_source_that_is_forgotten_leaves_its_products(client, merchant):
    run_feed(merchant, "SKU,Title,Price\nA,B,1.00\n", source="gone")
    (made,) = client.get(SOURCES, params={"name": "gone"}).json()["data"]
    assert client.delete(f"{SOURCES}/{made['id']}").status_code == 204
    with transaction(merchant_id=merchant) as session:
        assert session.query(Product).filter_by(source="gone").count() == 1


def test_a_source_in_use_is_not_forgotten(client, merchant):
    made = make(client, url=PUBLIC)
    job_id = client.post(f"{SOURCES}/{made['id']}/run").json()["job_id"]
    answer = client.delete(f"{SOURCES}/{made['id']}")
    assert (answer.status_code, answer.json()["code"], answer.json()["job_id"]) == (409, "source_in_use", job_id)
    client.post(f"/api/v1/jobs/{job_id}/cancel")
    schedule = {"name": "Hourly", "kind": "import_source", "args": {"source_id": made["id"]}, "interval_seconds": 3600}
    scheduled = client.post("/api/v1/schedules", json=schedule).json()
    answer = client.delete(f"{SOURCES}/{made['id']}")
    assert (answer.status_code, answer.json()["schedule_id"]) == (409, scheduled["id"])
    client.delete(f"/api/v1/schedules/{scheduled['id']}")
    import_ = begin(merchant, "SKU,Title,Price\nA,B,1.00\n", source="supplier")
    answer = client.delete(f"{SOURCES}/{made['id']}")
    assert (answer.status_code, answer.json()["job_id"]) == (409, str(import_.job_id))
    client.post(f"/api/v1/jobs/{import_.job_id}/cancel")
    assert client.delete(f"{SOURCES}/{made['id']}").status_code == 204


def test_run(client, merchant):
    made = make(client)
    answer = client.post(f"{SOURCES}/{made['id']}/run")
    assert (answer.status_code, answer.json()["code"]) == (409, "source_without_url")
    client.patch(f"{SOURCES}/{made['id']}", json={"url": PUBLIC})
    key = {"Idempotency-Key": "once"}
    started = client.post(f"{SOURCES}/{made['id']}/run", json={"anew": True}, headers=key)
    assert started.status_code == 202
    assert client.post(f"{SOURCES}/{made['id']}/run", json={"anew": True}, headers=key).json() == started.json()
    again = client.post(f"{SOURCES}/{made['id']}/run")
    assert (again.status_code, again.json()["code"]) == (409, "source_already_running")
    assert again.json()["job_id"] == started.json()["job_id"]
    with transaction(merchant_id=merchant) as session:
        rows = session.execute(text("SELECT kind, queue, args FROM jobs")).all()
    assert rows == [("import_source", "sync", {"source_id": made["id"], "anew": True})]


def test_another_merchants_sources_are_not_there(client, merchant, other_merchant):
    made = make(client, url=PUBLIC)
    theirs = headers_for(other_merchant)
    for method, path, body in (
        ("GET", "", None), ("PATCH", "", {"missing": "archive"}), ("PATCH", "", {"url": PUBLIC}),
        ("DELETE", "", None), ("POST", "/run", {}),
    ):  # fmt: skip
        answer = client.request(method, f"{SOURCES}/{made['id']}{path}", json=body, headers=theirs)
        assert (answer.status_code, answer.json()["code"]) == (404, "source_not_found"), method
    assert client.get(SOURCES, headers=theirs).json()["data"] == []
    assert client.post(SOURCES, json={"name": "supplier"}, headers=theirs).status_code == 201  # the name is theirs too
    assert client.get(f"{SOURCES}/{made['id']}").json() == made


@pytest.mark.parametrize("role", ["viewer"])
def test_who_may_only_look_changes_nothing(client, merchant, role):
    made = make(client)
    looking = headers_for(merchant, role=role)
    assert client.get(SOURCES, headers=looking).status_code == 200
    for method, path in (
        ("POST", SOURCES),
        ("PATCH", f"{SOURCES}/{made['id']}"),
        ("DELETE", f"{SOURCES}/{made['id']}"),
    ):
        body = {"name": "x"} if method == "POST" else {"missing": "archive"}
        assert client.request(method, path, json=body, headers=looking).status_code == 403
