"""Products made, changed, deleted and looked back at over HTTP."""

import threading
import uuid
from datetime import UTC, datetime

import httpx
import pytest

from tests.conftest import headers_for

LAMP = {
    "title": "Lamp",
    "tags": ["warm"],
    "option_names": ["Size"],
    "variants": [
        {"sku": "L-1", "options": {"Size": "S"}, "price": "10", "currency": "eur", "stock": 3},
        {"sku": "L-2", "options": {"Size": "M"}, "price": "12.345", "currency": "EUR"},
    ],
}


@pytest.fixture
def lamp(client):
    """A product, as it was answered."""
    answer = client.post("/api/v1/products", json=LAMP)
    assert answer.status_code == 201, answer.text
    return answer.json()


def where(product, *parts):
    return "/".join(("/api/v1/products", product["id"], *parts))


def test_making_one(client, lamp):
    assert (lamp["title"], lamp["source"], lamp["key"], lamp["status"]) == ("Lamp", "manual", "L-1", "active")
    small, medium = lamp["variants"]
    assert (small["price"], small["currency"], small["stock"], small["version"]) == ("10.00", "EUR", 3, 1)
    assert (medium["price"], medium["stock"], medium["options"]) == ("12.345", None, {"Size": "M"})
    plan = client.get(f"/api/v1/changesets/{lamp['changeset_id']}").json()
    assert (plan["kind"], plan["state"], plan["items"]) == ("edit", "applied", 3)
    assert plan["made_by"] == plan["decided_by"]
    assert client.get(where(lamp)).json() == {name: lamp[name] for name in lamp if name != "changeset_id"}
    taken = client.post("/api/v1/products", json=LAMP)
    assert (taken.status_code, taken.json()["code"], taken.json()["param"]) == (409, "product_exists", "key")


def test_changing_it(client, lamp):
    small, medium = lamp["variants"]
    answer = client.patch(
        where(lamp),
        json={
            "title": " Lantern ",
            "brand": "Oak",
            "images": ["https://i.example/1.jpg", "https://i.example/1.jpg"],
            "variants": [{"id": medium["id"], "price": "11.5", "sku": "L-9", "stock": -2}],
        },
    )
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["title"], body["brand"], body["tags"], body["version"]) == ("Lantern", "Oak", ["warm"], 2)
    assert body["images"] == ["https://i.example/1.jpg"]
    assert body["variants"][0] == small
    assert (body["variants"][1]["price"], body["variants"][1]["sku"], body["variants"][1]["stock"]) == (
        "11.50",
        "L-9",
        -2,
    )
    assert client.patch(where(lamp), json={"title": "Lantern"}).json()["changeset_id"] is None
    cleared = client.patch(where(lamp), json={"brand": None, "variants": [{"id": medium["id"], "price": None}]}).json()
    assert (cleared["brand"], cleared["variants"][1]["price"]) == (None, None)


def test_adding_and_taking_off_variants(client, lamp):
    small, medium = (variant["id"] for variant in lamp["variants"])
    body = {"variants": [{"id": small, "remove": True}, {"sku": "L-3", "options": {"Size": "L"}, "price": "14"}]}
    after = client.patch(where(lamp), json=body).json()
    assert [(one["sku"], one["price"]) for one in after["variants"]] == [("L-2", "12.345"), ("L-3", "14.00")]
    last = client.patch(
        where(lamp), json={"variants": [{"id": one["id"], "remove": True} for one in after["variants"]]}
    )
    assert (last.status_code, last.json()["code"], last.json()["param"]) == (422, "no_variant_left", "variants")
    taken = client.patch(where(lamp), json={"variants": [{"key": "L-2"}]})
    assert (taken.status_code, taken.json()["code"]) == (409, "variant_exists")
    for odd in (
        {"version": 1},
        {"remove": True},
        {"id": medium, "key": "x"},
        {"id": medium, "remove": True, "stock": 1},
    ):
        refused = client.patch(where(lamp), json={"variants": [odd]})
        assert (refused.status_code, refused.json()["param"]) == (422, "variants.0"), refused.text
    assert client.get(where(lamp)).json()["variants"] == after["variants"]


@pytest.mark.parametrize("given", ['"1"', 'W/"1"', "1", " 1 "])
def test_if_match(client, lamp, given):
    first = client.patch(where(lamp), json={"title": "Lantern"}, headers={"If-Match": given})
    assert first.status_code == 200, first.text
    second = client.patch(where(lamp), json={"title": "Torch"}, headers={"If-Match": given})
    assert (second.status_code, second.json()["code"], second.json()["version"]) == (409, "product_moved", 2)
    deleted = client.delete(where(lamp), headers={"If-Match": given})
    assert deleted.status_code == 409
    assert client.delete(where(lamp), headers={"If-Match": '"2"'}).status_code == 200


def test_versions_in_the_body(client, lamp):
    small = lamp["variants"][0]
    assert client.patch(where(lamp), json={"title": "Lantern", "version": 1}).status_code == 200
    stale = client.patch(where(lamp), json={"title": "Torch", "version": 1})
    assert (stale.status_code, stale.json()["code"]) == (409, "product_moved")
    body = {"variants": [{"id": small["id"], "version": 1, "stock": 9}]}
    assert client.patch(where(lamp), json=body).status_code == 200
    body["variants"][0]["stock"] = 10
    stale = client.patch(where(lamp), json=body)
    assert (stale.status_code, stale.json()["param"]) == (409, "variants.0.version")
    both = client.patch(where(lamp), json={"version": 2, "title": "X"}, headers={"If-Match": '"1"'})
    assert (both.status_code, both.json()["param"]) == (422, "If-Match")
    assert client.patch(where(lamp), json={"title": "X"}, headers={"If-Match": "abc"}).status_code == 422


def test_two_at_once_over_http(server, merchant):
    headers = headers_for(merchant)
    with httpx.Client(base_url=server, headers=headers, timeout=30) as client:
        product = client.post("/api/v1/products", json=LAMP).json()
        ids = [variant["id"] for variant in product["variants"]]
        codes = []

        def go(n):
            with httpx.Client(base_url=server, headers=headers, timeout=30) as own:
                for turn in range(6):
                    body = {"variants": [{"id": ids[n % 2], "stock" if n < 2 else "weight_grams": turn + 1}]}
                    codes.append(own.patch(where(product), json=body).status_code)

        threads = [threading.Thread(target=go, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = client.get(where(product)).json()["variants"]
    assert codes == [200] * 24
    assert [(variant["stock"], variant["weight_grams"], variant["version"]) for variant in found] == [(6, 6, 13)] * 2


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"variants": [{"price": "-1"}]}, "variants.0.price"),
        ({"variants": [{"price": "NaN"}]}, "variants.0.price"),
        ({"variants": [{"price": "1e30"}]}, "variants.0.price"),
        ({"variants": [{"price": "0.0000001"}]}, "variants.0.price"),
        ({"variants": [{"price": "cheap"}]}, "variants.0.price"),
        ({"variants": [{"compare_at_price": -0.01}]}, "variants.0.compare_at_price"),
        ({"variants": [{"cost": "-5"}]}, "variants.0.cost"),
        ({"variants": [{"currency": "XXZ"}]}, "variants.0.currency"),
        ({"variants": [{"currency": "€"}]}, "variants.0.currency"),
        ({"variants": [{"stock": 10**10}]}, "variants.0.stock"),
        ({"variants": [{"stock": 1.5}]}, "variants.0.stock"),
        ({"variants": [{"weight_grams": -1}]}, "variants.0.weight_grams"),
        ({"variants": [{"sku": "a\x00b"}]}, "variants.0.sku"),
        ({"variants": [{"sku": "x" * 501}]}, "variants.0.sku"),
        ({"variants": [{"sku": ""}]}, "variants.0.sku"),
        ({"variants": [{"barcode": "x" * 501}]}, "variants.0.barcode"),
        ({"variants": [{"options": None}]}, "variants.0.options"),
        ({"variants": [{"options": {"Size": "\x00"}}]}, "variants.0.options.Size"),
        ({"variants": [{"options": {f"O{n}": "x" for n in range(4)}}]}, "variants.0.options"),
        ({"variants": [{"image_url": "javascript:alert(1)"}]}, "variants.0.image_url"),
        ({"variants": [{"position": 1}]}, "variants.0.position"),
        ({"title": "a\x00b"}, "title"),
        ({"title": ""}, "title"),
        ({"title": "x" * 2001}, "title"),
        ({"title": ["x"]}, "title"),
        ({"brand": "x" * 501}, "brand"),
        ({"status": "sold"}, "status"),
        ({"status": None}, "status"),
        ({"tags": None}, "tags"),
        ({"tags": ["a,b"]}, "tags.0"),
        ({"tags": ["x"] * 251}, "tags"),
        ({"images": ["ftp://i.example/1.jpg"]}, "images.0"),
        ({"images": ["https://i.example/a b.jpg"]}, "images.0"),
        ({"option_names": ["a", "b", "c", "d"]}, "option_names"),
        ({"source": "default"}, "source"),
        ({"version": 0}, "version"),
        ({"version": 2**31}, "version"),
    ],
)
def test_bad_values_are_refused_by_name_and_change_nothing(client, lamp, body, param):
    if "variants" in body:
        body = {"variants": [{"id": lamp["variants"][0]["id"], **body["variants"][0]}]}
    answer = client.patch(where(lamp), json={"category": "Home", **body})
    assert (answer.status_code, answer.json().get("param")) == (422, param), answer.text
    unchanged = client.get(where(lamp)).json()
    assert (unchanged["category"], unchanged["version"]) == (None, 1)
    if "version" not in body:
        made = {key: value for key, value in body.get("variants", [{}])[0].items() if key != "id"}
        whole = {
            "title": "New",
            "variants": [{"sku": "N", **made}],
            **{k: v for k, v in body.items() if k != "variants"},
        }
        answer = client.post("/api/v1/products", json=whole)
        assert (answer.status_code, answer.json().get("param")) == (422, param), answer.text


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "title"),
        ({"title": "X", "variants": []}, "variants"),
        ({"title": "X", "variants": [{"sku": "a"}, {"sku": "a"}]}, "variants.1.key"),
        ({"title": None, "variants": [{}]}, "title"),
        ({"title": "X", "key": "\x00", "variants": [{}]}, "key"),
        ({"title": "X", "variants": [{"id": str(uuid.uuid4())}]}, "variants.0.id"),
    ],
)
def test_a_product_that_is_none(client, body, param):
    answer = client.post("/api/v1/products", json=body)
    assert (answer.status_code, answer.json()["param"]) == (422, param), answer.text
    assert client.get("/api/v1/products").json()["data"] == []


def test_a_surrogate_is_no_text(client, lamp):
    answer = client.patch(where(lamp), content=b'{"title": "\\ud800"}', headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["param"]) == (422, "title")


def test_deleting_and_bringing_back(client, lamp):
    gone = client.delete(where(lamp))
    assert gone.status_code == 200
    assert client.get(where(lamp)).status_code == 404
    assert client.delete(where(lamp)).status_code == 404
    back = client.post(f"/api/v1/changesets/{gone.json()['changeset_id']}/revert", json={"apply": True})
    assert back.json()["state"] == "applied"
    again = client.get(where(lamp)).json()
    assert [variant["id"] for variant in again["variants"]] == [variant["id"] for variant in lamp["variants"]]
    assert (again["title"], again["created_at"]) == (lamp["title"], lamp["created_at"])


def test_its_history(client, lamp):
    small = lamp["variants"][0]
    before = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    changed = client.patch(where(lamp), json={"title": "Lantern", "variants": [{"id": small["id"], "price": "9.5"}]})
    client.delete(where(lamp))
    body = client.get(where(lamp, "history"), params={"limit": 5}).json()
    assert (len(body["data"]), body["has_more"]) == (5, True)
    price = body["data"][3]
    assert price["changes"] == [{"field": "price", "from": "10.00", "to": "9.50"}]
    assert (price["variant_id"], price["by"]["changeset_id"]) == (small["id"], changed.json()["changeset_id"])
    assert price["by"]["user_id"] is not None
    rest = client.get(where(lamp, "history"), params={"limit": 5, "after": body["next"]}).json()
    assert (len(rest["data"]), rest["next"]) == (3, None)
    then = client.get(where(lamp, "history"), params={"at": before}).json()
    assert (then["existed"], then["fields"]["title"]["value"]) == (True, "Lamp")
    assert then["variants"][0]["fields"]["price"]["value"] == "10.00"
    assert then["variants"][0]["fields"]["price"]["by"]["changeset_id"] == lamp["changeset_id"]
    now_is = client.get(where(lamp, "history"), params={"at": datetime.now(UTC).isoformat()}).json()
    assert (now_is["existed"], now_is["fields"], now_is["variants"]) == (False, {}, [])


@pytest.mark.parametrize("asked", [{"at": "yesterday"}, {"at": "2024-01-01T00:00:00"}, {"after": "x"}, {"limit": "0"}])
def test_questions_about_history_that_make_no_sense(client, lamp, asked):
    assert client.get(where(lamp, "history"), params=asked).status_code == 422


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00"])
def test_the_ends_of_time(client, lamp, at):
    answer = client.get(where(lamp, "history"), params={"at": at})
    assert answer.status_code in (200, 422), answer.text


def test_viewers_and_strangers(client, lamp, merchant, other_merchant):
    small = lamp["variants"][0]["id"]
    calls = [
        ("PATCH", where(lamp), {"title": "X"}),
        ("PATCH", where(lamp), {"variants": [{"id": small, "stock": 1}]}),
        ("DELETE", where(lamp), None),
    ]
    viewer, stranger = headers_for(merchant, role="viewer"), headers_for(other_merchant)
    for method, path, body in calls:
        assert client.request(method, path, json=body, headers=viewer).status_code == 403
        assert client.request(method, path, json=body, headers=stranger).status_code == 404
    assert client.post("/api/v1/products", json=LAMP, headers=viewer).status_code == 403
    assert client.get(where(lamp, "history"), headers=viewer).status_code == 200
    assert client.get(where(lamp, "history"), headers=stranger).status_code == 404
    at = {"at": datetime.now(UTC).isoformat()}
    assert client.get(where(lamp, "history"), params=at, headers=stranger).status_code == 404
    theirs = client.post("/api/v1/products", json=LAMP, headers=stranger).json()
    mixed = client.patch(where(lamp), json={"variants": [{"id": theirs["variants"][0]["id"], "stock": 1}]})
    assert (mixed.status_code, mixed.json()["code"]) == (404, "variant_not_found")
    assert client.get(where(lamp)).json()["version"] == 1
