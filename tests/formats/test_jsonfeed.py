"""JSON feeds: where the products stand, the dialects, and broken files."""

import json
from typing import Any

import pytest
from feeds import any_drafts, any_feed, drafts, refusal, said, split
from hypothesis import given, settings
from hypothesis import strategies as st

from services.formats.base import Draft

LAMP = {"id": 7, "sku": "L-1", "title": "Lamp", "price": 9.90, "stock": 3}
LAMP_SAYS = {"product_key": "7", "variant_key": "L-1", "sku": "L-1", "title": "Lamp", "price": "9.90", "stock": "3"}
ONE = '{"id": 7, "sku": "L-1", "title": "Lamp", "price": 9.90, "stock": 3}'
TWO = ONE.replace("7", "8").replace("L-1", "L-2")


@pytest.mark.parametrize(
    "document",
    [
        f"[{ONE},{TWO}]",
        f"\ufeff \n[ {ONE} ,\r\n {TWO} ]\n",
        f"{ONE}\n{TWO}\n",
        f"{ONE}{TWO}",
        f"{ONE},\n{TWO}\n",
        f'{{"products": [{ONE}, {TWO}], "total": 2}}',
        f'{{"status": "ok", "ids": [1, 2], "data": {{"page": {{"items": [{ONE}, {TWO}]}}, "next": null}}}}',
        f'{{"groups": [{{"id": 1, "name": "A"}}, {{"id": 2, "name": "B"}}, {{"id": 3}}], "list": [{ONE},{TWO}]}}',
    ],
)
def test_where_the_products_stand(document: str) -> None:
    found = any_feed(document)
    assert found.format == "generic_json"
    assert found.columns == {"id": "product_key", "sku": "sku", "title": "title", "price": "price", "stock": "stock"}
    first, second = split(found)[0]
    assert said(first) == LAMP_SAYS
    assert (first.line, second.line, second.sku) == (1, 2, "L-2")


def test_one_product_alone() -> None:
    assert [said(one) for one in any_drafts(ONE)] == [LAMP_SAYS]
    assert any_drafts('{"shop": "x", "product": {"id": 1}, "products": [' + ONE + "]}")[0].sku == "L-1"


def test_a_nested_record() -> None:
    record: dict[str, Any] = LAMP | {
        "description": "A\nlamp", "brand": {"id": 5, "name": "Ours"}, "category": {"id": 9, "title": "Light"},
        "tags": ["a", "b"], "images": ["https://i.example/1.jpg", "https://i.example/2.jpg"],
        "thumbnail": "https://i.example/t.jpg", "meta": {"barcode": "0012", "qrCode": "https://q.example"},
        "dimensions": {"width": 1, "weight": 5}, "reviews": [{"rating": 1, "title": "Bad", "price": 1}],
        "shipping": {"price": 4.9}, "supplier": {"sku": "NO"}, "active": True, "related": [1, 2],
    }  # fmt: skip
    (draft,) = any_drafts(json.dumps([record]))
    assert said(draft) == LAMP_SAYS | {
        "price": "9.9", "description": "A\nlamp", "brand": "Ours", "category": "Light", "tags": "a, b",
        "barcode": "0012", "status": "active", "weight_grams": "5000",
        "image_urls": "https://i.example/1.jpg\nhttps://i.example/2.jpg",
    }  # fmt: skip


def test_what_stands_deeper_is_not_the_products_state_or_name() -> None:
    (draft,) = any_drafts('[{"sku": "A", "price": 1, "meta": {"status": "deleted", "title": "Page", "handle": "h"}}]')
    assert said(draft) == {"product_key": "A", "variant_key": "A", "sku": "A", "price": "1"}


@pytest.mark.parametrize("shift", range(9))
def test_a_number_that_is_cut_by_the_end_of_a_piece(shift: int) -> None:
    document = '{"pad": "' + "x" * (1024 * 1024 - 24 - shift) + f'", "total": 1234567, "products": [{ONE}]}}'
    assert [one.sku for one in any_drafts(document)] == ["L-1"]


def test_prices_as_objects() -> None:
    (draft,) = any_drafts('[{"id": 1, "name": "A", "price": {"amount": "12.50", "currency": "USD"}, "ean": "123"}]')
    assert (draft.price, draft.currency) == ("12.50", "USD")


def test_numbers_keep_their_digits() -> None:
    (draft,) = any_drafts('[{"sku": 12345678901234567890123, "name": "A", "price": 19.90, "ean": 4006381333931}]')
    assert (draft.sku, draft.price, draft.barcode) == ("12345678901234567890123", "19.90", "4006381333931")


def test_variants_inside_a_product() -> None:
    document = json.dumps([
        {"id": 1, "title": "Shirt", "price": 10, "brand": "Ours", "variants": [
            {"id": 11, "title": "Red", "sku": "S-R", "price": 12, "ean": "1", "color": "Red"},
            {"id": 12, "title": "Blue", "sku": "S-B", "ean": "2", "color": "Blue"}]},
        {"id": 2, "title": "Hat", "sku": "H", "price": 5, "variants": []},
    ])  # fmt: skip
    red, blue, hat = any_drafts(document)
    assert (red.product_key, red.title, red.sku, red.price, red.variant_key) == ("1", "Shirt", "S-R", "12", "Red")
    assert (blue.product_key, blue.title, blue.sku, blue.price, blue.brand) == ("1", "Shirt", "S-B", "10", "Ours")
    assert (hat.product_key, hat.variant_key) == ("2", "H")
    assert [one.line for one in (red, blue, hat)] == [1, 2, 3]


SHOPIFY = {
    "id": 1, "title": "Tee", "handle": "tee", "body_html": "<p>Soft</p>", "vendor": "Ours", "product_type": "Tops",
    "tags": ["a", "b"], "options": [{"name": "Size", "position": 1}, {"name": "Color"}],
    "variants": [
        {"id": 11, "option1": "S", "option2": "Red", "option3": None, "sku": "T-S", "price": "20.00",
         "compare_at_price": "25.00", "grams": 150, "available": True,
         "featured_image": {"src": "https://i.example/1.jpg"}},
        {"id": 12, "option1": "M", "option2": "Red", "option3": None, "sku": "", "price": "0.00",
         "compare_at_price": None, "grams": 0, "available": False}],
    "images": [{"src": "https://i.example/1.jpg"}, {"src": "https://i.example/2.jpg", "variant_ids": [12]}],
}  # fmt: skip


@pytest.mark.parametrize("document", [json.dumps([SHOPIFY]), json.dumps({"products": [SHOPIFY]}), json.dumps(SHOPIFY)])
def test_shopify(document: str) -> None:
    found = any_feed(document, currency="EUR")
    assert found.format == "shopify_json"
    (small, medium), errors = split(found)
    assert said(small) == {
        "product_key": "tee", "variant_key": "S / Red", "title": "Tee", "description": "<p>Soft</p>", "brand": "Ours",
        "category": "Tops", "tags": "a, b", "image_urls": "https://i.example/1.jpg\nhttps://i.example/2.jpg",
        "option_names": "Size\nColor", "option_values": "S\nRed", "sku": "T-S", "price": "20.00",
        "compare_at_price": "25.00", "currency": "EUR", "weight_grams": "150",
        "variant_image_url": "https://i.example/1.jpg",
    }  # fmt: skip
    assert said(medium) == {
        "product_key": "tee", "variant_key": "M / Red", "option_names": "Size\nColor", "option_values": "M\nRed",
        "stock": "0", "variant_image_url": "https://i.example/2.jpg",
    }  # fmt: skip
    assert [(one.line, one.code, one.column) for one in errors] == [(2, "price_zero", "price")]


def test_shopify_json_and_csv_name_variants_alike() -> None:
    """So that a shop may change from one to the other without a second catalogue."""
    table = "Handle,Title,Option1 Name,Option1 Value,Variant SKU,Variant Price\ntee,Tee,Title,Default Title,T,5\n"
    plain = {"title": "Title", "option1": "Default Title", "sku": "T", "price": "5"}
    product = {"title": "Tee", "handle": "tee", "vendor": "", "options": [{"name": "Title"}], "variants": [plain]}
    assert [said(one) for one in any_drafts(json.dumps([product]))] == [said(one) for one in drafts(table)]


def test_bigbuy() -> None:
    variations = '[{"id": 9, "product": 14, "sku": "V1", "ean13": "75", "extraWeight": 0.391, "wholesalePrice": 4.26,'
    variations += ' "retailPrice": 8.36, "inShopsPrice": 19.8}, {"id": 8, "product": 14, "sku": "V2", "ean13": null,'
    variations += ' "wholesalePrice": 5, "retailPrice": 9}]'
    found = any_feed(variations, currency="EUR")
    assert found.format == "bigbuy_json"
    first, second = split(found)[0]
    assert said(first) == {"product_key": "14", "variant_key": "V1", "sku": "V1", "barcode": "75", "price": "8.36",
                           "cost": "4.26", "currency": "EUR"}  # fmt: skip
    assert (second.product_key, second.variant_key, second.price) == ("14", "V2", "9")
    (text,) = any_drafts(
        '[{"id": 1, "name": "V\\u00e6rkt\\u00f8j", "description": "<p>", "sku": "F1", "isoCode": "da"}]'
    )
    assert said(text) == {
        "product_key": "1",
        "variant_key": "F1",
        "sku": "F1",
        "title": "Værktøj",
        "description": "<p>",
    }


@pytest.mark.parametrize(
    ("document", "code", "reason"),
    [
        (f"[{ONE},\n{TWO}", "json_broken", "line 2"),
        (f"[{ONE},\n{TWO}}}", "json_broken", "line 2, column 68"),
        (f"[{ONE},\n{TWO.replace(':', '', 1)}]", "json_broken", "line 2, column 7"),
        (f"[{ONE}\n{TWO}]", "json_broken", "comma"),
        (f"[{ONE},]", "json_broken", "comma"),
        (f"[{ONE}] [1]", "json_broken", "follows"),
        (f'{{"products": [{ONE}], }}', "json_broken", "comma"),
        (f'{{"products": [{ONE}], x: 1}}', "json_broken", "quotation"),
        (f"{ONE}\n{{broken", "json_broken", "line 2"),
        ("[]", "no_records", ""),
        ("{}", "no_records", ""),
        ("[1, 2]", "no_records", ""),
        ('{"a": {"b": []}}', "no_records", ""),
        ('[{"id": 1, "name": "Chairs", "isoCode": "da"}]', "no_product_columns", "isoCode"),
        ('[{"orderId": 1, "sku": "A", "price": 1}]', "no_product_columns", "orders"),
        ("[" * 100_000, "nested_too_deep", ""),
        ('[{"sku": "a", "x": ' + "[" * 100_000, "nested_too_deep", ""),
        ('{"a":' * 100_000, "nested_too_deep", ""),
    ],
)  # fmt: skip
def test_refused(document: str, code: str, reason: str) -> None:
    found = refusal(document)
    assert found.code == code
    assert reason in found.reason


def test_the_position_far_into_a_file() -> None:
    document = "[" + ",\n".join([ONE] * 5000) + ",\n" + ONE[:20] + "]"
    assert refusal(document).reason.startswith("The JSON is broken in line 5001, column ")
    one_line = "[" + ",".join([ONE] * 5000) + "x]"
    found = refusal(one_line)
    assert f"line 1, column {len(one_line) - 1}" in found.reason


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=40) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(st.text(max_size=8), values, max_size=4), min_size=1, max_size=4), st.integers(0, 300))
def test_any_records_are_read_wherever_the_pieces_end(records: list[dict[str, Any]], shift: int) -> None:
    """The text is read in pieces of 64 KB: records must not depend on where one ends."""
    rows = [{**one, "sku": f"S{number}", "name": "N", "price": 1} for number, one in enumerate(records)]
    filler = {"sku": "F", "name": "x" * (64 * 1024 - 150 - shift), "price": 1}
    document = json.dumps([filler, *rows, filler, *rows], ensure_ascii=False)
    found = [one for one in any_feed(document).records if isinstance(one, Draft)]
    assert [one.sku for one in found] == ["F", *(row["sku"] for row in rows)] * 2


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "cp1251"])
def test_encodings(encoding: str) -> None:
    document = json.dumps([{"sku": "1", "name": "Настольная лампа", "price": 5}] * 5, ensure_ascii=False)
    assert any_drafts(document.encode(encoding))[0].title == "Настольная лампа"


def test_nul_in_a_value() -> None:
    assert any_drafts('[{"sku": "A\\u0000B", "name": "N", "price": 1}]')[0].sku == "AB"


def test_a_number_that_all_records_share_makes_no_products_of_them() -> None:
    makers = [{"id": n, "name": f"M{n}", "reference": 0, "urlImage": f"https://x.example/{n}.png"} for n in range(30)]
    assert refusal(json.dumps(makers)).code == "no_product_columns"
    priced = [{"name": f"Lamp {n}", "reference": 0, "price": n + 1} for n in range(30)]
    assert len(any_drafts(json.dumps(priced))) == 30
