"""Plans over HTTP: looking, deciding, taking back."""

import uuid
from decimal import Decimal

import pytest
from sqlalchemy import text

from services.core.db import transaction
from services.imports.origin import source_named
from services.models import Product
from tests import inline
from tests.catalog.editing import edit, make, reload, snapshot, take_back, variant_ids
from tests.conftest import headers_for
from tests.imports.importing import run_feed

LAMP = {"title": "Lamp"}
SIZES = [{"sku": "L-1", "price": Decimal(10), "stock": 3}, {"sku": "L-2", "price": Decimal(12)}]


@pytest.fixture
def lamp(merchant):
    """A product made by hand."""
    return make(merchant, LAMP, SIZES)[0]


@pytest.fixture
def preview(merchant, lamp):
    """A plan to be decided: taking back an edit of a product and both its variants."""
    small, medium = variant_ids(merchant, lamp)
    plan = edit(merchant, lamp, {"title": "Lantern"}, variants=[
        {"id": small, "price": Decimal("9.5"), "stock": 1}, {"id": medium, "price": Decimal(11)}])  # fmt: skip
    return take_back(merchant, plan.id, apply=False)


def at(plan, *parts):
    return "/".join(("/api/v1/changesets", str(plan.id), *parts))


def apply(client, plan, **body):
    return client.post(at(plan, "apply"), json={"digest": plan.digest, **body})


def test_lists_and_filters(client, merchant, lamp, preview):
    found = client.get("/api/v1/changesets").json()["data"]
    assert [(row["kind"], row["state"]) for row in found] == [
        ("revert", "planned"),
        ("edit", "applied"),
        ("edit", "applied"),
    ]
    assert found[0]["id"] == str(preview.id)
    for asked, many in (
        ({"kind": "revert"}, 1),
        ({"state": "applied"}, 2),
        ({"state": "applied", "kind": "revert"}, 0),
        ({"source": "default"}, 0),
        ({"kind": "edit", "limit": 1}, 1),
    ):
        assert len(client.get("/api/v1/changesets", params=asked).json()["data"]) == many, asked
    first = client.get("/api/v1/changesets", params={"limit": 2}).json()
    rest = client.get("/api/v1/changesets", params={"limit": 2, "after": first["next"]}).json()
    assert [row["id"] for row in first["data"] + rest["data"]] == [row["id"] for row in found]


def test_one_with_all_there_is_to_know(client, merchant, lamp, preview):
    body = client.get(at(preview)).json()
    assert (body["state"], body["held"], body["items"], body["digest"]) == ("planned", False, 3, preview.digest)
    assert body["counts"]["variants"] == {"create": 0, "update": 2, "delete": 0}
    assert body["fields"] == {"price": 2, "stock": 1, "title": 1}
    assert body["reverts"] == str(preview.reverts)
    assert {verdict["guard"] for verdict in body["guards"]} >= {"price_factor", "zero_prices"}
    assert body["money"]["prices"]
    assert [item["sku"] for item in body["sample"]] == [None, "L-1", "L-2"]
    assert {item["title"] for item in body["sample"]} == {"Lantern"}
    assert body["sample"][1]["changes"] == [
        {"field": "price", "from": "9.50", "to": "10.00"},
        {"field": "stock", "from": 1, "to": 3},
    ]
    links = body["links"]
    assert links["apply"] == at(preview, "apply")
    assert (links["revert"], links["job"], links["import"]) == (None, None, None)
    assert client.get(links["items"]).status_code == 200
    undone = client.get(links["reverts"]).json()
    assert undone["reverted_by"] == [str(preview.id)]
    assert (undone["links"]["apply"], undone["links"]["revert"]) == (None, f"{links['reverts']}/revert")


def test_items_by_what_they_do(client, merchant, lamp, preview):
    other, _ = make(merchant, {"title": "Mug"}, [{"sku": "M"}])
    small = variant_ids(merchant, lamp)[0]
    for asked, places in (
        ({}, [1, 2, 3]),
        ({"op": "update"}, [1, 2, 3]),
        ({"op": "delete"}, []),
        ({"state": "planned"}, [1, 2, 3]),
        ({"state": "conflict"}, []),
        ({"field": "price"}, [2, 3]),
        ({"field": "title"}, [1]),
        ({"sku": "L-1"}, [2]),
        ({"sku": "none"}, []),
        ({"product_id": str(lamp)}, [1, 2, 3]),
        ({"product_id": str(other)}, []),
        ({"field": "price", "sku": "L-2"}, [3]),
    ):
        found = client.get(at(preview, "items"), params=asked).json()["data"]
        assert [item["n"] for item in found] == places, asked
    first = client.get(at(preview, "items"), params={"limit": 2}).json()
    rest = client.get(at(preview, "items"), params={"limit": 2, "after": first["next"]}).json()
    assert [item["n"] for item in first["data"] + rest["data"]] == [1, 2, 3]
    assert (first["has_more"], rest["has_more"]) == (True, False)
    item = client.get(at(preview, "items"), params={"sku": "L-1"}).json()["data"][0]
    assert (item["variant_id"], item["base_version"], item["version"]) == (str(small), 2, None)


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("", {"state": "odd"}),
        ("", {"kind": "odd"}),
        ("", {"source": "a\x00b"}),
        ("", {"sort": "x"}),
        ("items", {"op": "upsert"}),
        ("items", {"field": "x' OR 1"}),
        ("items", {"product_id": "1"}),
        ("items", {"after": "?"}),
        ("items", {"limit": "0"}),
        ("items", {"sku": "\x00"}),
    ],
)
def test_questions_that_make_no_sense(client, preview, path, asked):
    where = at(preview, path) if path else "/api/v1/changesets"
    answer = client.get(where, params=asked)
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"]


def test_a_plan_is_applied_by_a_job_for_who_has_seen_it(client, merchant, lamp, preview):
    answer = apply(client, preview)
    assert answer.status_code == 202, answer.text
    body = answer.json()
    assert body["status_url"] == at(preview)
    assert client.get(at(preview)).json()["state"] == "applying"
    assert inline.work(uuid.UUID(body["job_id"]))["state"] == "succeeded"
    shown = client.get(at(preview)).json()
    assert (shown["state"], shown["applied"], shown["conflicts"]) == ("applied", 3, 0)
    assert shown["decided_by"] is not None
    assert snapshot(merchant)[lamp]["title"] == "Lamp"
    again = apply(client, preview)
    assert (again.status_code, again.json()["code"], again.json()["state"]) == (409, "changeset_not_open", "applied")


def test_another_digest_is_refused_with_the_present_one(client, merchant, lamp, preview):
    answer = client.post(at(preview, "apply"), json={"digest": "0" * 64})
    assert (answer.status_code, answer.json()["code"]) == (409, "changeset_digest_stale")
    assert answer.json()["digest"] == preview.digest
    assert (answer.json()["state"], answer.json()["moved"]) == ("planned", [])
    assert snapshot(merchant)[lamp]["title"] == "Lantern"


def test_rows_that_moved_are_named_and_left_alone_when_that_is_accepted(client, merchant, lamp, preview):
    small = variant_ids(merchant, lamp)[0]
    edit(merchant, lamp, variants=[{"id": small, "price": Decimal(99)}])
    for body in ({}, {"digest": "0" * 64}):
        answer = apply(client, preview, **body)
        assert answer.status_code == 409
        [moved] = answer.json()["moved"]
        assert (moved["n"], moved["variant_id"], moved["base_version"], moved["version"]) == (2, str(small), 2, 3)
    assert reload(preview).state == "planned"
    answer = apply(client, preview, accept_conflicts=True)
    assert answer.status_code == 202
    inline.work(uuid.UUID(answer.json()["job_id"]))
    assert (reload(preview).applied, reload(preview).conflicts) == (2, 1)
    found = snapshot(merchant)
    assert (found[lamp]["title"], found[small]["price"]) == ("Lamp", Decimal(99))
    [left] = client.get(at(preview, "items"), params={"state": "conflict"}).json()["data"]
    assert left["variant_id"] == str(small)


def test_rows_that_are_gone_or_there_already_have_moved_too(client, merchant, lamp):
    made = client.delete(f"/api/v1/products/{lamp}").json()["changeset_id"]
    plan = client.post(f"/api/v1/changesets/{made}/revert").json()
    second = client.post(f"/api/v1/changesets/{made}/revert", json={"apply": True}).json()
    assert second["state"] == "applied"
    answer = client.post(plan["links"]["apply"], json={"digest": plan["digest"]})
    assert (answer.status_code, [row["n"] for row in answer.json()["moved"]]) == (409, [1, 2, 3])
    undo = client.post(f"/api/v1/changesets/{second['id']}/revert").json()
    client.delete(f"/api/v1/products/{lamp}")
    answer = client.post(undo["links"]["apply"], json={"digest": undo["digest"]})
    assert [row["version"] for row in answer.json()["moved"]] == [None] * 3


def test_one_request_twice_makes_one_job(client, merchant, preview):
    key = {"Idempotency-Key": "once"}
    first = client.post(at(preview, "apply"), json={"digest": preview.digest}, headers=key)
    again = client.post(at(preview, "apply"), json={"digest": preview.digest}, headers=key)
    assert first.json() == again.json()
    assert apply(client, preview).status_code == 409
    with transaction(merchant_id=merchant) as session:
        assert session.scalar(text("SELECT count(*) FROM jobs WHERE kind = 'apply_changeset'")) == 1


@pytest.mark.parametrize("end", ["cancelled", "failed"])
def test_a_plan_whose_job_ended_early_goes_on(client, merchant, lamp, preview, end):
    job_id = uuid.UUID(apply(client, preview).json()["job_id"])
    if end == "cancelled":
        client.post(f"/api/v1/jobs/{job_id}/cancel")
    else:
        with transaction(role="shopopti_ledger") as session:
            session.execute(
                text("UPDATE jobs SET state = 'running', lease_until = now() WHERE id = :id"), {"id": job_id}
            )
            session.execute(
                text("UPDATE jobs SET state = 'failed', ended_at = now(), lease_until = NULL WHERE id = :id"),
                {"id": job_id},
            )  # fmt: skip
    assert client.get(at(preview)).json()["state"] == "applying"
    answer = apply(client, preview)
    assert answer.status_code == 202, answer.text
    assert answer.json()["job_id"] != str(job_id)
    inline.work(uuid.UUID(answer.json()["job_id"]))
    assert reload(preview).state == "applied"


def test_a_job_that_is_about_to_end_is_not_given_more(client, merchant, preview):
    """Cancelled, it puts the plan back and only then ends: in between there is nobody to go on."""
    job_id = apply(client, preview).json()["job_id"]
    with transaction(merchant_id=merchant) as session:
        session.execute(text("UPDATE changesets SET state = 'planned' WHERE id = :id"), {"id": preview.id})
    answer = apply(client, preview)
    assert (answer.status_code, answer.json()["code"]) == (409, "changeset_not_open")
    assert answer.json()["job_id"] == job_id
    assert reload(preview).state == "planned"


def test_what_is_being_applied_cannot_be_decided(client, merchant, preview):
    apply(client, preview)
    for path, body in (("apply", {"digest": preview.digest}), ("discard", None), ("revert", None)):
        assert client.post(at(preview, path), json=body).status_code == 409, path


def test_discarding(client, merchant, lamp, preview):
    body = client.post(at(preview, "discard")).json()
    assert (body["state"], body["applied"]) == ("discarded", 0)
    assert body["decided_by"] is not None
    assert body["links"]["apply"] is None
    assert apply(client, preview).status_code == 409
    assert client.post(at(preview, "discard")).status_code == 409
    assert snapshot(merchant)[lamp]["title"] == "Lantern"


def test_reverting_over_http(client, merchant, lamp):
    changed = client.patch(f"/api/v1/products/{lamp}", json={"title": "Lantern"}).json()["changeset_id"]
    where = f"/api/v1/changesets/{changed}"
    looked = client.post(f"{where}/revert", json={"note": "a try"})
    assert looked.status_code == 201, looked.text
    assert (looked.json()["state"], looked.json()["kind"], looked.json()["note"]) == ("planned", "revert", "a try")
    assert snapshot(merchant)[lamp]["title"] == "Lantern"
    applied = client.post(f"{where}/revert", json={"apply": True}).json()
    assert (applied["state"], applied["applied"]) == ("applied", 1)
    assert snapshot(merchant)[lamp]["title"] == "Lamp"
    again = client.post(applied["links"]["revert"], json={"apply": True}).json()
    assert (again["reverts"], snapshot(merchant)[lamp]["title"]) == (applied["id"], "Lantern")


@pytest.fixture
def waiting(client, merchant):
    """A feed's plan that awaits approval, as it was answered."""
    with transaction(merchant_id=merchant) as session:
        source_named(session, merchant_id=merchant, name="asks").apply = "ask"
    run_feed(merchant, "SKU,Title,Price\nA-1,Lamp,10\nB-1,Mug,5\n", source="asks")
    [row] = client.get("/api/v1/changesets", params={"source": "asks"}).json()["data"]
    return client.get(f"/api/v1/changesets/{row['id']}").json()


def test_a_feeds_plan_is_looked_at_before_its_products_are_there(client, merchant, waiting):
    assert (waiting["state"], waiting["kind"], waiting["counts"]["products"]["create"]) == (
        "awaiting_approval",
        "import",
        2,
    )
    assert snapshot(merchant) == {}
    assert [(item["title"], item["sku"], item["changes"]) for item in waiting["sample"]] == [
        ("Lamp", "A-1", []),
        ("Mug", "B-1", []),
    ]
    [mug] = client.get(waiting["links"]["items"], params={"sku": "B-1"}).json()["data"]
    assert (mug["product_key"], mug["line"], mug["op"]) == ("B-1", 3, "create")
    applied = client.post(waiting["links"]["apply"], json={"digest": waiting["digest"]})
    inline.work(uuid.UUID(applied.json()["job_id"]))
    assert mug["product_id"] in {str(id_) for id_ in snapshot(merchant)}
    [mug] = client.get(waiting["links"]["items"], params={"sku": "B-1"}).json()["data"]
    assert (mug["title"], mug["state"], mug["version"]) == ("Mug", "applied", 1)


def test_products_somebody_made_meanwhile_have_moved(client, merchant, waiting):
    with transaction(merchant_id=merchant) as session:
        session.add(Product(merchant_id=merchant, source="asks", key="B-1"))
    answer = client.post(waiting["links"]["apply"], json={"digest": waiting["digest"]})
    assert (answer.status_code, [row["product_key"] for row in answer.json()["moved"]]) == (409, ["B-1"])


def test_a_feeds_plan_that_is_discarded_changes_nothing(client, merchant, waiting):
    assert client.post(waiting["links"]["discard"]).json()["state"] == "discarded"
    assert snapshot(merchant) == {}
    assert (
        client.post(f"/api/v1/changesets/{waiting['id']}/apply", json={"digest": waiting["digest"]}).status_code == 409
    )
    run_feed(merchant, "SKU,Title,Price\nA-1,Lamp,11\n", source="asks")
    [later, _] = client.get("/api/v1/changesets", params={"source": "asks"}).json()["data"]
    assert later["state"] == "awaiting_approval"


def test_viewers_look_and_change_nothing(client, merchant, lamp, preview):
    viewer = headers_for(merchant, role="viewer")
    assert client.get(at(preview), headers=viewer).status_code == 200
    assert client.get(at(preview, "items"), headers=viewer).status_code == 200
    for path, body in (("apply", {"digest": preview.digest}), ("discard", None), ("revert", None)):
        answer = client.post(at(preview, path), json=body, headers=viewer)
        assert (answer.status_code, answer.json()["code"]) == (403, "read_only_role"), path
    assert reload(preview).state == "planned"


def test_plans_of_others_are_not_there(client, preview, other_merchant):
    stranger = headers_for(other_merchant)
    assert client.get("/api/v1/changesets", headers=stranger).json()["data"] == []
    assert client.get(at(preview), headers=stranger).status_code == 404
    assert client.get(at(preview, "items"), headers=stranger).status_code == 404
    for path, body in (("apply", {"digest": preview.digest}), ("discard", None), ("revert", None)):
        answer = client.post(at(preview, path), json=body, headers=stranger)
        assert (answer.status_code, answer.json()["code"]) == (404, "changeset_not_found"), path


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("apply", {}, "digest"),
        ("apply", {"digest": ""}, "digest"),
        ("apply", {"digest": 7}, "digest"),
        ("apply", {"digest": "x", "force": True}, "force"),
        ("apply", {"digest": "x", "accept_conflicts": "perhaps"}, "accept_conflicts"),
        ("revert", {"apply": "perhaps"}, "apply"),
        ("revert", {"note": "a\x00b"}, "note"),
    ],
)
def test_bodies_that_make_no_sense(client, preview, path, body, param):
    answer = client.post(at(preview, path), json=body)
    assert (answer.status_code, answer.json()["param"]) == (422, param), answer.text
