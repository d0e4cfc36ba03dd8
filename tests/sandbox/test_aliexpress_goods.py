"""AliExpress: products, search, freight, affiliate; envelopes, wrappers and faults."""

import json

import pytest

from tests.sandbox.aliexpress import freight, truth, unwrapped


def test_a_product_in_its_wrappers(sandbox, ds):
    skus = {}
    for line in truth(sandbox):
        skus.setdefault(line["product_id"], []).append(line)
    shapes = set()
    for number, lines in list(skus.items())[:80]:
        body = ds(
            "aliexpress.ds.product.get",
            product_id=str(number),
            ship_to_country="FR",
            target_currency="EUR",
            target_language="fr",
        )
        assert (body["rsp_code"], body["rsp_msg"]) == (200, "Call succeeds")
        wrapper = body["result"]["ae_item_sku_info_dtos"]["ae_item_sku_info_d_t_o"]
        shapes.add((type(wrapper), len(lines) == 1))
        found = unwrapped(body["result"]["ae_item_sku_info_dtos"], "ae_item_sku_info_d_t_o")
        for sku, true in zip(found, lines, strict=True):
            assert (sku["sku_id"], sku["sku_attr"]) == (str(true["sku_id"]), true["sku_attr"])
            assert sku["sku_available_stock"] == true["stock"]
            assert round(float(sku["offer_sale_price"]) * 100) == true["price"]
            assert sku["currency_code"] == "EUR"
            assert bool(sku.get("ae_sku_property_dtos")) == bool(true["sku_attr"])
        base = body["result"]["ae_item_base_info_dto"]
        assert base["product_id"] == number
        assert base["currency_code"] == "CNY"
    assert shapes == {(list, True), (dict, True), (list, False)}
    assert ds("aliexpress.ds.product.get", product_id="1", ship_to_country="FR")["rsp_code"] == 605
    blocked = ds("aliexpress.ds.product.get", product_id=str(number), ship_to_country="KP")
    assert blocked["rsp_code"] == 602
    converter = json.loads(body["result"]["product_id_converter_result"]["sub_product_id"])
    us = ds("aliexpress.ds.product.get", product_id=str(converter["US"]), ship_to_country="US")
    assert us["result"]["ae_item_base_info_dto"]["product_id"] == number


def test_simplify_takes_envelope_and_wrappers_away(sandbox, ds):
    number = truth(sandbox)[0]["product_id"]
    body = ds.raw("aliexpress.ds.product.get", product_id=str(number), ship_to_country="FR", simplify="true").json()
    assert isinstance(body["result"]["ae_item_sku_info_dtos"], list)


def test_search_feeds_and_categories(sandbox, ds):
    body = ds(
        "aliexpress.ds.text.search", keyWord="Lampe", local="fr_FR", countryCode="FR", currency="EUR", pageSize="3"
    )
    assert body["code"] == "00"
    rows = unwrapped(body["data"]["products"], "selection_search_product")
    assert len(rows) == 3
    assert body["data"]["totalCount"] > 3
    assert all("Lampe" in row["title"] and isinstance(row["itemId"], str) for row in rows)
    nothing = ds("aliexpress.ds.text.search", keyWord="zzz", local="fr_FR", countryCode="FR", currency="EUR")
    assert nothing["data"]["products"] == {}
    feeds = ds("aliexpress.ds.feedname.get")["resp_result"]["result"]["promos"]["promo"]
    ids, cursor = [], {}
    for _ in range(20):
        page = ds("aliexpress.ds.feed.itemids.get", feed_name=feeds[0]["promo_name"], page_size="60", **cursor)
        ids += unwrapped(page["result"]["products"], "number")
        if "search_id" not in page["result"]:
            break
        cursor = {"search_id": page["result"]["search_id"]}
    assert sorted(ids) == sorted({line["product_id"] for line in truth(sandbox)})
    tree = ds("aliexpress.ds.category.get")["resp_result"]["result"]["categories"]["category"]
    roots = {item["category_id"] for item in tree if "parent_category_id" not in item}
    assert {item["parent_category_id"] for item in tree if "parent_category_id" in item} == roots


def test_freight_wants_the_numeric_id(sandbox, ds):
    true = next(line for line in truth(sandbox) if line["sku_attr"] and line["stock"] > 2)
    result = freight(ds, true)["result"]
    assert (result["success"], result["code"]) == (True, 200)
    for option in unwrapped(result["delivery_options"], "delivery_option_d_t_o"):
        assert option["free_shipping"] != ("shipping_fee_cent" in option)
        assert float(option.get("shipping_fee_cent", 0)) < 10
    wrong = freight(ds, true, selectedSkuId=true["sku_attr"])["result"]
    assert wrong == {"msg": "DELIVERY_INFO_EMPTY", "code": 501, "success": False}
    assert freight(ds, true, shipToCountry="AQ")["result"]["code"] == 505
    assert freight(ds, true, quantity=1)["code"] == "UnsupportedParamMapping"


def test_affiliate_search_in_cents(sandbox, affiliate):
    body = affiliate(
        "aliexpress.affiliate.product.query",
        min_sale_price="1000",
        max_sale_price="2000",
        target_currency="EUR",
        page_size="50",
        sort="SALE_PRICE_ASC",
        tracking_id="t",
    )["resp_result"]
    assert (body["resp_code"], body["resp_msg"]) == (200, "success")
    rows = unwrapped(body["result"]["products"], "product")
    prices = [float(row["target_sale_price"]) for row in rows]
    assert prices == sorted(prices)
    assert 10 <= min(prices) <= max(prices) <= 20
    assert rows[0]["promotion_link"].startswith("https://s.click.aliexpress.com/s/")
    assert isinstance(rows[0]["product_small_image_urls"]["string"], list)
    nothing = affiliate("aliexpress.affiliate.product.query", keywords="zzz")["resp_result"]
    assert nothing == {"resp_code": 405, "resp_msg": "The result is empty"}
    assert affiliate("aliexpress.affiliate.product.query", page_size="51")["code"] == "InvalidParameter"
    got = affiliate("aliexpress.affiliate.productdetail.get", product_ids=f"{rows[0]['product_id']},5")["resp_result"]
    (found,) = unwrapped(got["result"]["products"], "product")
    assert found["product_id"] == rows[0]["product_id"]


def test_affiliate_links(sandbox, affiliate):
    sources = "https://www.aliexpress.com/item/1.html,https://example.com/x"
    result = affiliate(
        "aliexpress.affiliate.link.generate", promotion_link_type="0", source_values=sources, tracking_id="t"
    )["resp_result"]["result"]
    good, bad = unwrapped(result["promotion_links"], "promotion_link")
    assert set(good) == {"promotion_link", "source_value"}
    assert set(bad) == {"message", "source_value"}
    many = ",".join(["https://www.aliexpress.com/item/1.html"] * 51)
    refused = affiliate(
        "aliexpress.affiliate.link.generate", promotion_link_type="0", source_values=many, tracking_id="t"
    )
    assert refused["code"] == "InvalidParameter"


def test_faults_in_its_own_words(sandbox, ds, sku):
    asked = {"product_id": str(sku["product_id"]), "ship_to_country": "FR"}
    method = "aliexpress.ds.product.get"
    get = lambda fault: ds.raw(method, fault, **asked).json()  # noqa: E731
    assert get("quota")["error_response"]["code"] == "ApiCallLimit"
    assert get("revoked")["error_response"]["code"] == "IllegalAccessToken"
    assert get("soft")["error_response"]["code"] == "isp.service-unavailable"
    assert get("soft;variant=remote")["message"] == "Remote service error"
    assert get("soft;variant=flow")["error_response"]["code"] == "7"
    assert get("soft;variant=inner")["aliexpress_ds_product_get_response"]["rsp_code"] == 404
    plain, spiked = (
        unwrapped(
            body["aliexpress_ds_product_get_response"]["result"]["ae_item_sku_info_dtos"], "ae_item_sku_info_d_t_o"
        )
        for body in (get(""), get("spike;factor=10"))
    )
    assert float(spiked[0]["offer_sale_price"]) == pytest.approx(10 * float(plain[0]["offer_sale_price"]))
    assert spiked[0]["sku_id"] == plain[0]["sku_id"]
