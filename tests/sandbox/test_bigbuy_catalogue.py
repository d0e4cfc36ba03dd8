"""BigBuy's catalogue, rule by rule of the protocol."""

import re

import pytest

from tests.sandbox.conftest import ROOTS

DATE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
NONE = type(None)
PRODUCT = {
    "id": int,
    "sku": str,
    "manufacturer": int,
    "ean13": str,
    "weight": float,
    "height": float,
    "width": float,
    "depth": float,
    "category": int,
    "taxonomy": int,
    "wholesalePrice": float,
    "retailPrice": float,
    "inShopsPrice": float,
    "priceLargeQuantities": list,
    "taxRate": int,
    "taxId": int,
    "active": int,
    "attributes": bool,
    "categories": bool,
    "images": bool,
    "tags": bool,
    "condition": str,
    "logisticClass": str,
    "intrastat": str,
    "partNumber": (str, NONE),
    "canon": NONE,
    "video": str,
    "dateAdd": str,
    "dateUpd": str,
    "dateUpdDescription": str,
    "dateUpdImages": str,
    "dateUpdStock": str,
    "dateUpdProperties": (str, NONE),
    "dateUpdCategories": (str, NONE),
}
PRICES = {"id": int, "sku": str, "wholesalePrice": float, "retailPrice": float, "inShopsPrice": float}
STOCK = {"id": int, "sku": str, "stocks": list}
SHAPES = {
    "products": (PRODUCT, {"ean13"}),
    "productsinformation": (
        {
            "id": int,
            "sku": str,
            "name": str,
            "description": str,
            "url": str,
            "isoCode": str,
            "dateUpdDescription": str,
        },
        set(),
    ),
    "productsimages": ({"id": int, "images": list}, set()),
    "productsvariations": (
        {
            "id": int,
            "sku": str,
            "ean13": str,
            "product": int,
            "extraWeight": float,
            "wholesalePrice": float,
            "retailPrice": float,
            "inShopsPrice": float,
            "width": float,
            "height": float,
            "depth": float,
            "priceLargeQuantities": list,
            "logisticClass": str,
        },
        set(),
    ),
    "variations": ({"id": int, "attributes": list}, set()),
    "productsstockbyhandlingdays": (STOCK, set()),
    "productsvariationsstockbyhandlingdays": (STOCK, set()),
    "productprices": (PRICES, set()),
    "productvariationprices": (PRICES, set()),
    "productstaxonomies": ({"id": int, "taxonomy": int, "product": int}, set()),
    "productstags": ({"id": int, "sku": str, "tag": dict}, set()),
}
FREE = {
    "taxonomies": {
        "id": int,
        "name": str,
        "url": str,
        "parentTaxonomy": int,
        "dateAdd": str,
        "dateUpd": str,
        "urlImages": str,
        "isoCode": str,
    },
    "attributes": {"id": int, "attributeGroup": int, "name": str, "isoCode": str},
    "attributegroups": {"id": int, "name": str, "isoCode": str},
    "manufacturers": {"id": int, "name": str, "urlImage": str, "reference": int},
    "languages": {"name": str, "isoCode": str},
    "new-products": PRODUCT,
}


def fits(item, shape, optional=frozenset()):
    assert set(shape) - set(optional) <= set(item) <= set(shape), item
    for name, value in item.items():
        wanted = shape[name]
        kinds = wanted if isinstance(wanted, tuple) else (wanted,)
        assert type(value) in kinds, (name, value)


@pytest.mark.parametrize("name", SHAPES)
def test_bulk_lists_have_their_shape(sandbox, name):
    shape, optional = SHAPES[name]
    found = sandbox.bulk(name)
    assert len(found) > 90
    for item in found:
        fits(item, shape, optional)
        for field, value in item.items():
            if field.startswith("date") and value is not None:
                assert DATE.fullmatch(value), item
    if "tags" not in name and "taxonomies" not in name:
        assert len({item["id"] for item in found}) == len(found)


@pytest.mark.parametrize("name", FREE)
def test_other_lists_need_no_taxonomy(sandbox, name):
    answer = sandbox.bigbuy(f"catalog/{name}", isoCode="es")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()
    for item in answer.json():
        fits(item, FREE[name], {"ean13"})


def test_the_parts_of_parts(sandbox):
    for product in sandbox.bulk("products"):
        assert product["condition"] == "NEW"
        assert product["active"] in (0, 1)
        assert product["wholesalePrice"] < product["retailPrice"] <= product["inShopsPrice"] * 1.1
        for tier in product["priceLargeQuantities"]:
            fits(tier, {"id": int, "quantity": int, "price": float})
    for product in sandbox.bulk("productsimages"):
        for image in product["images"]:
            assert {"id", "isCover", "name", "url"} <= set(image)
        assert [image["isCover"] in (True, "TRUE") for image in product["images"]].count(True) == 1
    covers = {type(i["isCover"]) for p in sandbox.bulk("productsimages") for i in p["images"]}
    assert covers == {bool, str}
    for product in sandbox.bulk("productstags"):
        fits(product["tag"], {"id": int, "name": str, "linkRewrite": str, "language": str})
    for product in sandbox.bulk("productsstockbyhandlingdays"):
        for stock in product["stocks"]:
            fits(stock, {"quantity": int, "minHandlingDays": int, "maxHandlingDays": int, "warehouse": int})
            assert stock["minHandlingDays"] <= stock["maxHandlingDays"]
    ids = {item["id"] for item in sandbox.bigbuy("catalog/attributes").json()}
    groups = {item["id"] for item in sandbox.bigbuy("catalog/attributegroups").json()}
    assert {item["attributeGroup"] for item in sandbox.bigbuy("catalog/attributes").json()} == groups
    for variation in sandbox.bulk("variations"):
        assert {each["id"] for each in variation["attributes"]} <= ids


def test_the_lists_join_to_what_is_true(sandbox):
    """Products, variations, stock and prices by id and product, as an adapter joins them."""
    truth = sandbox.truth()
    products = {item["id"]: item for item in sandbox.bulk("products")}
    variations = {item["id"]: item for item in sandbox.bulk("productsvariations")}
    stocks = {item["sku"]: item for item in sandbox.bulk("productsstockbyhandlingdays")}
    stocks |= {item["sku"]: item for item in sandbox.bulk("productsvariationsstockbyhandlingdays")}
    prices = {item["sku"]: item for item in sandbox.bulk("productprices")}
    prices |= {item["sku"]: item for item in sandbox.bulk("productvariationprices")}
    joined = {item["sku"] for item in products.values() if not item["attributes"]}
    joined |= {item["sku"] for item in variations.values()}
    assert joined == set(truth)
    assert {products[item["product"]]["attributes"] for item in variations.values()} == {True}
    assert {item["id"] for item in sandbox.bulk("variations")} == set(variations)
    for sku, true in truth.items():
        assert sum(part["quantity"] for part in stocks[sku]["stocks"]) == true["stock"]
        assert {part["warehouse"] for part in stocks[sku]["stocks"]} <= {true["warehouse"]}
        assert round(prices[sku]["wholesalePrice"] * 100) == true["wholesale"]
    for product in products.values():
        if product["attributes"]:
            parts = sum(part["quantity"] for part in stocks[product["sku"]]["stocks"])
            own = [true["stock"] for true in truth.values() if true["product"] == product["sku"]]
            assert parts == sum(own)


def test_eans_are_valid_or_missing(sandbox):
    eans = [item.get("ean13") for item in sandbox.bulk("products")]
    assert None in eans
    assert "" in eans
    for ean in filter(None, eans):
        assert re.fullmatch(r"\d{13}", ean)
        assert sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(ean)) % 10 == 0


def test_every_root_has_its_own_products(sandbox):
    roots = sandbox.http.get(
        "/bigbuy/rest/catalog/taxonomies.json?firstLevel&isoCode=en",
        headers={"Authorization": "Bearer sandbox-bigbuy-key"},
    ).json()
    assert [item["id"] for item in roots] == list(ROOTS)
    assert {item["parentTaxonomy"] for item in roots} == {0}
    parents = {item["id"]: item["parentTaxonomy"] for item in sandbox.bigbuy("catalog/taxonomies").json()}
    assert set(parents.values()) <= {0, *parents}
    for root in ROOTS:
        for item in sandbox.bigbuy("catalog/products", parentTaxonomy=root).json():
            taxonomy = item["taxonomy"]
            while parents[taxonomy]:
                taxonomy = parents[taxonomy]
            assert taxonomy == root


@pytest.mark.parametrize("name", SHAPES)
def test_bulk_lists_want_a_root_taxonomy(sandbox, name):
    for params in ({}, {"parentTaxonomy": ROOTS[0] + 1}, {"parentTaxonomy": "x"}, {"parentTaxonomy": 1}):
        answer = sandbox.bigbuy(f"catalog/{name}", pageSize=0, **params)
        assert answer.status_code == 400
        assert answer.json()["code"] == 400


@pytest.mark.parametrize("name", ["products", "productsvariations"])
@pytest.mark.parametrize("first", [0, 1])
def test_pages(sandbox, name, first):
    sandbox.control("PATCH", "bigbuy/settings", {"first_page": first})
    everything = sandbox.bigbuy(f"catalog/{name}", parentTaxonomy=ROOTS[2], pageSize=0).json()
    assert sandbox.bigbuy(f"catalog/{name}", parentTaxonomy=ROOTS[2]).json() == everything
    assert sandbox.bigbuy(f"catalog/{name}", parentTaxonomy=ROOTS[2], pageSize=0, page=9).json() == everything
    paged, page = [], first
    while got := sandbox.bigbuy(f"catalog/{name}", parentTaxonomy=ROOTS[2], pageSize=7, page=page).json():
        paged += got
        page += 1
    assert paged == everything
    assert sandbox.bigbuy(f"catalog/{name}", parentTaxonomy=ROOTS[2], pageSize=7, page=0).json() == everything[:7]
    assert sandbox.bigbuy(f"catalog/{name}", parentTaxonomy=ROOTS[2], pageSize=7, page=999).content == b"[]"
    assert sandbox.bigbuy(f"catalog/{name}", parentTaxonomy=ROOTS[2], pageSize=-1).status_code == 400


def test_words_are_in_the_language_asked_for(sandbox):
    english, spanish = (
        sandbox.bigbuy("catalog/productsinformation", parentTaxonomy=ROOTS[0], isoCode=code).json()
        for code in ("en", "es")
    )
    assert [item["id"] for item in english] == [item["id"] for item in spanish]
    assert {item["isoCode"] for item in spanish} == {"es"}
    assert [item["name"] for item in english] != [item["name"] for item in spanish]
    assert "<li>" in english[0]["description"]
    assert sandbox.bigbuy("catalog/productsinformation", parentTaxonomy=ROOTS[0], isoCode="xx").status_code == 400


def test_single_items(sandbox):
    product = next(item for item in sandbox.bulk("products") if item["attributes"])
    id_, sku = product["id"], product["sku"]
    assert sandbox.bigbuy(f"catalog/product/{id_}").json() == product
    assert sandbox.bigbuy(f"catalog/productinformation/{id_}", isoCode="fr").json()["isoCode"] == "fr"
    by_sku = sandbox.bigbuy(f"catalog/productinformationbysku/{sku}").json()
    assert by_sku["id"] == id_
    sandbox.control("PATCH", "bigbuy/settings", {"information_by_sku": "list"})
    assert sandbox.bigbuy(f"catalog/productinformationbysku/{sku}").json() == [by_sku]
    assert sandbox.bigbuy(f"catalog/productimages/{id_}").json()["images"]
    variations = sandbox.bigbuy(f"catalog/productvariations/{id_}").json()
    assert {item["product"] for item in variations} == {id_}
    assert sandbox.bigbuy(f"catalog/productstockbyhandlingdays/{id_}").json()["sku"] == sku
    assert {item["product"] for item in sandbox.bigbuy(f"catalog/producttaxonomies/{id_}").json()} == {id_}
    compliance = sandbox.bigbuy(f"catalog/productcompliance/{id_}").json()
    assert set(compliance) == {"id", "sku", "generalProductSafetyRegulations", "productComplianceDocuments"}
    assert sandbox.bigbuy("catalog/attribute/23001").json()["id"] == 23_001
    assert sandbox.bigbuy("catalog/attributegroup/11").json()["id"] == 11
    assert sandbox.bigbuy("catalog/manufacturer/7").json()["id"] == 7
    for missing in ("product/1", "productvariations/99999999", "productinformationbysku/S9", "attribute/1"):
        sandbox.control("PATCH", "bigbuy/settings", {"missing_item": "empty"})
        nothing = sandbox.bigbuy(f"catalog/{missing}")
        assert (nothing.status_code, nothing.content) == (200, b"")
        sandbox.control("PATCH", "bigbuy/settings", {"missing_item": "404"})
        assert sandbox.bigbuy(f"catalog/{missing}").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "catalog/productsstock",
        "catalog/productsvariationsstock",
        "catalog/productstock/100001",
        "catalog/productsstockavailable",
        "catalog/productsstockbyreference",
        "module/platforms",
        "catalog/nothing",
    ],
)
def test_what_was_removed_is_no_page(sandbox, path):
    answer = sandbox.bigbuy(path)
    assert answer.status_code == 404
    assert answer.json() == {"errors": [{"code": 34, "message": "Sorry, that page does not exist"}]}


def test_categories_are_empty_and_the_suffix_chooses_the_format(sandbox):
    assert sandbox.bigbuy("catalog/categories").json() == []
    key = {"Authorization": "Bearer sandbox-bigbuy-key"}
    assert sandbox.http.get("/bigbuy/rest/catalog/languages.json", headers=key).status_code == 200
    assert sandbox.http.get("/bigbuy/rest/catalog/languages", headers=key).status_code == 404
    assert sandbox.http.delete("/bigbuy/rest/catalog/languages.json", headers=key).status_code == 405


def test_who_may_come_in(sandbox):
    for headers in ({}, {"Authorization": "Basic eDp5"}, {"Authorization": "Bearer no"}):
        answer = sandbox.http.get("/bigbuy/rest/user/purse.json", headers=headers)
        assert answer.status_code == 401
    status = sandbox.bigbuy("user/auth/status")
    assert status.content == b"null"
    assert "secure_key" in status.headers["set-cookie"]
    assert sandbox.bigbuy("user/purse").content == b"10000.0"
    sandbox.control("PUT", "bigbuy/accounts/poor", {"purse": "3.50", "pack": False})
    sandbox.control("PUT", "bigbuy/keys/first", {"account": "poor"})
    sandbox.control("PUT", "bigbuy/keys/second", {"account": "poor"})
    assert [sandbox.bigbuy("user/purse", key=key).json() for key in ("first", "second")] == [3.5, 3.5]
    sandbox.control("DELETE", "bigbuy/keys/first")
    assert sandbox.bigbuy("user/purse", key="first").status_code == 401
    assert sandbox.bigbuy("user/purse", key="second").status_code == 200


def test_a_test_can_say_what_a_product_is_like(sandbox):
    simple = next(item for item in sandbox.bulk("products") if not item["attributes"] and item["active"])
    sandbox.advance(hours=1)
    sandbox.control("PUT", f"bigbuy/products/{simple['sku']}", {"stock": 4_321, "price": 1_999})
    now = sandbox.bigbuy(f"catalog/product/{simple['id']}").json()
    assert now["wholesalePrice"] == 19.99
    assert now["dateUpdStock"] == now["dateUpd"] == "2026-03-01 13:00:00"
    parts = sandbox.bigbuy(f"catalog/productstockbyhandlingdays/{simple['id']}").json()["stocks"]
    assert sum(part["quantity"] for part in parts) == 4_321
    sandbox.control("PUT", f"bigbuy/products/{simple['sku']}", {"active": False})
    assert sandbox.bigbuy(f"catalog/product/{simple['id']}").json()["active"] == 0
    sandbox.control("PUT", f"bigbuy/products/{simple['sku']}", {"gone": True})
    assert sandbox.bigbuy(f"catalog/product/{simple['id']}").content == b""
    assert simple["id"] not in {item["id"] for item in sandbox.bulk("products")}
    variation = sandbox.bulk("productsvariations")[0]
    sandbox.control("PUT", f"bigbuy/products/{variation['sku']}", {"gone": True})
    assert variation["sku"] not in {item["sku"] for item in sandbox.bulk("productvariationprices")}
    sandbox.control("DELETE", "bigbuy/products")
    assert sandbox.bigbuy(f"catalog/product/{simple['id']}").json()["active"] == 1
    sandbox.control("PUT", "bigbuy/products/X0000000", {}, expect=404)


def test_new_products_are_those_of_the_last_seven_days(sandbox):
    sandbox.control("POST", "reset", {"seed": 7, "products": 3_000, "at": "2026-03-01T12:00:00Z", "speed": 0})
    now = sandbox.bigbuy("catalog/new-products").json()
    assert 20 < len(now) < 120
    assert all(item["dateUpd"] >= "2026-02-22 12:00:00" for item in now)
    sandbox.advance(days=8)
    later = sandbox.bigbuy("catalog/new-products").json()
    assert not {item["id"] for item in now} & {item["id"] for item in later}
