"""AliExpress: the signature's vectors, envelopes, lists and errors as they were captured, products and tokens."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from services.core.clock import now
from services.suppliers import aliexpress
from services.suppliers.aliexpress import tokens
from services.suppliers.aliexpress.answers import inner, listed
from services.suppliers.aliexpress.sign import (
    base_string,
    is_push_genuine,
    push_signature,
    signature,
    signature_md5,
)
from services.suppliers.base import Connection, Money
from services.suppliers.errors import (
    FatalForConnection,
    FatalForItem,
    NotOffered,
    ReconnectNeeded,
    Retry,
    UnknownOutcome,
    WaitUntil,
)
from tests.suppliers.canned import Says

SECRET = "helloworld"
ORDER = (
    '{"out_order_id":"po-0001","logistics_address":{"address":"12 rue de Rivoli","city":"Paris",'
    '"contact_person":"Jeanne Martin","country":"FR","full_name":"Jeanne Martin","mobile_no":"612345678",'
    '"phone_country":"+33","province":"Ile-de-France","zip":"75001"},"product_items":[{"product_id":1005006123456789,'
    '"product_count":1,"sku_attr":"14:29#Bear;183:200007741","logistics_service_name":"CAINIAO_FULFILLMENT_STD"}]}'
)
SYSTEM = {"app_key": "12345678", "timestamp": "1700000000000", "sign_method": "sha256"}
BUSINESS = {**SYSTEM, "session": "test-token", "format": "json", "v": "2.0"}


@pytest.mark.parametrize(
    ("parameters", "path", "expected"),
    [
        (
            {
                "access_token": "test", "aliexpress_category_id": "200135143", "app_key": "123456",
                "method": "aliexpress.logistics.redefining.getonlinelogisticsinfo", "sign_method": "sha256",
                "timestamp": "1517820392000",
            },
            "",
            "F7F7926B67316C9D1E8E15F7E66940ED3059B1638C497D77973F30046EFB5BBB",
        ),
        (
            {
                "app_key": "12345678", "code": "3_500102_JxZ05Ux3cnnSSUm6dCxYg6Q26", "sign_method": "sha256",
                "timestamp": "1517820392000",
            },
            "/auth/token/create",
            "35607762342831B6A417A0DED84B79C05FEFBF116969C48AD6DC00279A9F4D81",
        ),
        (
            {
                **BUSINESS, "method": "aliexpress.ds.product.get", "simplify": "false",
                "product_id": "1005006123456789", "ship_to_country": "FR", "target_currency": "EUR",
                "target_language": "fr",
            },
            "",
            "295642ED7BF8C20FEE5381F1BBCFC7A092BD065687B9B10C22C958B04B8B5CF3",
        ),
        (
            {**SYSTEM, "refresh_token": "RT-1"},
            "/auth/token/refresh",
            "9C009A25E6B81539611C1EBDEF79FB3A84D5B73229BBBDC48B2BDCA4D0B87B0D",
        ),
        (
            {"Foo": "1", "foo": "2", "foo_bar": "3", "keyWord": "x", "_z": "0"},
            "",
            "D3308A06F65BE90D9A76566F746011A0CB7C7C851DA884680D22443A9A6ED785",
        ),
        (
            {
                **BUSINESS, "method": "aliexpress.ds.order.create",
                "ds_extend_request": '{"payment":{"pay_currency":"USD","try_to_pay":"false"}}',
                "param_place_order_request4_open_api_d_t_o": ORDER,
            },
            "",
            "B1296EDB703306E1A65B815E168DBBFD57A1A16F4D44A1DBE2F5088FAA5CB1D1",
        ),
    ],
)  # fmt: skip
def test_signature_vectors(parameters, path, expected):
    assert signature(parameters, SECRET, path=path) == expected
    assert signature({**parameters, "sign": "x", "empty": ""}, SECRET, path=path) == expected


def test_the_base_of_the_first_vectors():
    assert base_string({"app_key": "12345678", "code": "3"}, "/auth/token/create") == (
        "/auth/token/createapp_key12345678code3"
    )
    assert base_string({"Foo": "1", "foo": "2", "foo_bar": "3", "keyWord": "x", "_z": "0"}) == (
        "Foo1_z0foo2foo_bar3keyWordx"
    )


def test_the_md5_vector():
    parameters = {"foo": "1", "bar": "2", "foo_bar": "3", "foobar": "4"}
    assert signature_md5(parameters, "testsecret") == "54C22189FE38F1B7E6E4D701FB82851E"


def test_the_push_vector():
    body = (
        b'{"seller_id":"1234","message_type":53,"data":{"orderId":1105933950463697,"orderStatus":"OrderShipped",'
        b'"buyerId":1861703697},"timestamp":1719389200,"site":"ae_global"}'
    )
    expected = "5243dd19d544f0390ee83baa894753c7c6a6b82d71d7a0545ac8926610767550"
    assert push_signature("12345678", SECRET, body) == expected
    assert is_push_genuine("12345678", SECRET, body, f" {expected.upper()} ")
    assert not is_push_genuine("12345678", SECRET, body + b" ", expected)
    assert not is_push_genuine("12345678", SECRET, body, "ä")


PRODUCT = {
    "aliexpress_ds_product_get_response": {
        "result": {
            "ae_item_sku_info_dtos": {
                "ae_item_sku_info_d_t_o": [
                    {
                        "sku_attr": "14:29#Bear;183:200007741", "offer_sale_price": "8.01",
                        "sku_id": "12000044126059467", "currency_code": "EUR", "sku_price": "22.23",
                        "sku_available_stock": 27, "id": "14:29#Bear;183:200007741",
                        "ae_sku_property_dtos": {
                            "ae_sku_property_d_t_o": [
                                {
                                    "sku_property_value": "BLANC", "sku_image": "https://ae01.alicdn.com/kf/S1.jpg",
                                    "sku_property_name": "Couleur", "property_value_definition_name": "Bear",
                                },
                                {"sku_property_value": "500MMx800MM", "sku_property_name": "Spécification"},
                            ]
                        },
                    }
                ]
            },
            "ae_multimedia_info_dto": {
                "image_urls": "https://ae01.alicdn.com/kf/S2.jpg;//ae01.alicdn.com/kf/S3.png;"
            },
            "package_info_dto": {"gross_weight": "0.213"},
            "product_id_converter_result": {
                "main_product_id": 1005008177221739, "sub_product_id": '{"US":3256807990906987}',
            },
            "ae_item_base_info_dto": {
                "subject": "Tapis de sol", "product_status_type": "onSelling", "product_id": 1005008177221739,
                "detail": "<div>x</div>", "currency_code": "CNY",
            },
            "ae_item_properties": {"ae_item_property": [{"attr_name_id": 2, "attr_value": "NONE"}]},
        },
        "rsp_code": 200, "rsp_msg": "Call succeeds", "request_id": "2101546d",
    }
}  # fmt: skip
ID = "1005008177221739"


def payload(**changes):
    """The captured product, with some parts of its result changed."""
    told = PRODUCT["aliexpress_ds_product_get_response"]
    return {"aliexpress_ds_product_get_response": {**told, "result": {**told["result"], **changes}}}


@pytest.fixture
def connection(canned):
    canned.on("POST /sync", PRODUCT)
    secrets = {"app_key": "12345678", "app_secret": SECRET, "access_token": "test-token"}
    return Connection(secrets=secrets, base_url=canned.url, country="FR", language="fr")


def test_a_call_is_a_signed_form(canned, connection):
    next(aliexpress.offers(connection, only=[ID]))
    (asked,) = canned.asked
    form = asked.form
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded;charset=UTF-8"
    assert (form["method"], form["session"], form["product_id"]) == ("aliexpress.ds.product.get", "test-token", ID)
    assert (form["ship_to_country"], form["target_currency"], form["target_language"]) == ("FR", "EUR", "fr")
    assert abs(int(form["timestamp"]) / 1000 - now().timestamp()) < 60
    assert form.pop("sign") == signature(form, SECRET)


def test_a_captured_product(canned, connection):
    (page,) = aliexpress.offers(connection, only=[ID])
    (offer,) = page.items
    assert (offer.id, offer.title, offer.brand, offer.active, offer.order_id) == (ID, "Tapis de sol", None, True, None)
    assert offer.image_urls == ("https://ae01.alicdn.com/kf/S2.jpg", "https://ae01.alicdn.com/kf/S3.png")
    (variant,) = offer.variants
    assert (variant.id, variant.order_ref) == ("12000044126059467", "14:29#Bear;183:200007741")
    assert variant.options == (("Couleur", "Bear"), ("Spécification", "500MMx800MM"))
    assert variant.cost == Money(Decimal("8.01"), "EUR")
    assert variant.list_price == Money(Decimal("22.23"), "EUR")
    assert (variant.stock, variant.weight_grams) == (27, 213)
    assert variant.image_url == "https://ae01.alicdn.com/kf/S1.jpg"
    assert next(aliexpress.stock(connection, only=[ID])).items[0].stock == 27
    assert next(aliexpress.prices(connection, only=[ID])).items[0].cost == Money(Decimal("8.01"), "EUR")


def test_the_united_states_order_by_another_id(canned):
    secrets = {"app_key": "1", "app_secret": "s", "access_token": "t"}
    canned.on("POST /sync", PRODUCT)
    there = Connection(secrets=secrets, base_url=canned.url, country="US")
    assert next(aliexpress.offers(there, only=[ID])).items[0].order_id == "3256807990906987"


@pytest.mark.parametrize(
    "shape",
    [
        lambda sku: {"ae_item_sku_info_d_t_o": [sku]},
        lambda sku: {"ae_item_sku_info_d_t_o": sku},
        lambda sku: [sku],
    ],
)
def test_lists_come_in_several_forms(canned, connection, shape):
    told = PRODUCT["aliexpress_ds_product_get_response"]["result"]["ae_item_sku_info_dtos"]
    (sku,) = told["ae_item_sku_info_d_t_o"]
    (first, second) = sku["ae_sku_property_dtos"]["ae_sku_property_d_t_o"]
    for properties in ([first, second], {"ae_sku_property_d_t_o": [first, second]}):
        one = {**sku, "ae_sku_property_dtos": properties}
        canned.on("POST /sync", payload(ae_item_sku_info_dtos=shape(one)))
        (variant,) = next(aliexpress.offers(connection, only=[ID])).items[0].variants
        assert len(variant.options) == 2
    # Without the envelope too, as `simplify` gives it.
    canned.on("POST /sync", payload()["aliexpress_ds_product_get_response"])
    assert next(aliexpress.offers(connection, only=[ID])).items


def test_listed():
    for nothing in (None, {}, [], ""):
        assert listed(nothing, "x") == []
    assert listed({"number": [1, 2]}, "number") == [1, 2]
    assert listed({"number": 7}, "number") == [7]
    assert listed({"a": 1}, "x") == [{"a": 1}]


def test_the_places_of_codes():
    assert inner({"resp_result": {"resp_code": 405, "resp_msg": "The result is empty"}}) == (
        "405", "The result is empty", {},
    )  # fmt: skip
    assert inner({"result": {"a": 1}, "rsp_code": "200", "rsp_msg": "x"}) == ("200", "x", {"a": 1})
    assert inner({"code": "00", "data": {"b": 2}}) == ("00", "", {"b": 2})
    assert inner({"result": {"success": True, "code": 200}})[0] == "200"
    assert inner({"rsp_code": 605, "rsp_msg": "ITEM_ID_NOT_FOUND"})[0] == "605"


def gateway(code, *, kind="ISV", sub=None, message="Said in words"):
    said = {"code": code, "type": kind, "msg": message, "request_id": "r"}
    return Says({"error_response": said | ({"sub_code": sub, "sub_msg": message} if sub else {})})


@pytest.mark.parametrize(
    ("answer", "error", "kind"),
    [
        (gateway("IncompleteSignature"), FatalForConnection, "signature"),
        (gateway("IllegalTimestamp"), FatalForConnection, "signature"),
        (gateway("InvalidAppKey"), FatalForConnection, "signature"),
        (gateway("25"), FatalForConnection, "signature"),
        (gateway("IllegalAccessToken"), ReconnectNeeded, ""),
        (gateway(27), ReconnectNeeded, ""),
        (gateway("InsufficientPermission"), FatalForConnection, "permission"),
        (gateway("15", kind="ISP", sub="isv.insufficient-permission"), FatalForConnection, "permission"),
        (gateway("15", sub="isv.permission-api-package-empty"), FatalForConnection, "permission"),
        (gateway("InvalidApiPath"), FatalForConnection, "endpoint_gone"),
        (gateway("ApiCallLimit", message="this ban will last 3 seconds"), WaitUntil, ""),
        (gateway("AppCallLimit"), WaitUntil, ""),
        (gateway("7"), WaitUntil, ""),
        (gateway("15", kind="ISP", sub="isp.top-flow-control-limited"), WaitUntil, ""),
        (Says("", status=503), Retry, ""),
        (Says("<html>Oops</html>"), Retry, ""),
        (Says("[]"), Retry, ""),
        (Says("{}"), Retry, ""),
        (Says(silent=True), Retry, ""),
        (Says(PRODUCT, cut=200), Retry, ""),
        (Says('{"aliexpress_ds_product_get_response": {"result": '), Retry, ""),
        (Says({"code": "IllegalAccessToken", "type": "ISV", "message": "x", "request_id": "r"}), ReconnectNeeded, ""),
    ],
)
def test_each_error_has_one_class(canned, connection, answer, error, kind):
    canned.on("POST /sync", answer)
    with pytest.raises(error) as caught:
        list(aliexpress.offers(connection, only=[ID]))
    assert caught.value.kind == kind


def test_a_ban_is_waited_for(canned, connection):
    canned.on("POST /sync", gateway("ApiCallLimit", message="exceeds the limit. this ban will last 30 seconds"))
    with pytest.raises(WaitUntil) as caught:
        next(aliexpress.offers(connection, only=[ID]))
    assert timedelta(seconds=30) < caught.value.when - now() <= timedelta(seconds=31)


NO = {
    "605": ({"rsp_code": 605, "rsp_msg": "ITEM_ID_NOT_FOUND", "request_id": "r"}, "not_found"),
    "602": ({"rsp_code": "602", "rsp_msg": "Item is not allowed", "request_id": "r"}, "not_to_country"),
    "404": ({"rsp_code": 404, "rsp_msg": "System Error", "request_id": "r"}, "unavailable"),
    "odd": ({"result": {"x": 1}, "rsp_code": 200, "request_id": "r"}, "unreadable"),
}


@pytest.mark.parametrize("name", NO)
def test_a_product_that_is_not_to_be_had_is_a_problem(canned, connection, name):
    answer, code = NO[name]
    canned.on("POST /sync", {"aliexpress_ds_product_get_response": answer}, PRODUCT)
    (page,) = aliexpress.offers(connection, only=["5", ID])
    assert [offer.id for offer in page.items] == [ID]
    assert [(one.id, one.code) for one in page.problems] == [("5", code)]


@pytest.mark.parametrize(("name", "error"), [("404", Retry), ("odd", FatalForConnection)])
def test_when_no_product_is_to_be_had_the_supplier_is_to_blame(canned, connection, name, error):
    canned.on("POST /sync", {"aliexpress_ds_product_get_response": NO[name][0]})
    with pytest.raises(error):
        list(aliexpress.offers(connection, only=[str(one) for one in range(1, 30)]))


@pytest.mark.parametrize("missing", [{"sku_id"}, {"offer_sale_price", "sku_price"}])
def test_a_variant_without_what_it_needs_makes_its_product_a_problem(canned, connection, missing):
    told = PRODUCT["aliexpress_ds_product_get_response"]["result"]["ae_item_sku_info_dtos"]
    (sku,) = told["ae_item_sku_info_d_t_o"]
    canned.on("POST /sync", payload(ae_item_sku_info_dtos=[{k: v for k, v in sku.items() if k not in missing}]))
    (page,) = aliexpress.offers(connection, only=[ID])
    assert (page.items, page.problems[0].code) == ((), "unreadable")


def test_a_walk_goes_on_where_it_stopped(canned, connection):
    limited = gateway("ApiCallLimit")
    canned.on("POST /sync", *[PRODUCT] * 25, limited)
    only = [str(one) for one in range(1, 61)]
    pages = []
    with pytest.raises(WaitUntil):
        pages.extend(aliexpress.offers(connection, only=only))
    pages = []
    walk = aliexpress.offers(connection, only=only)
    canned.on("POST /sync", *[PRODUCT] * 25, limited)
    with pytest.raises(WaitUntil):
        for page in walk:
            pages.append(page)
    assert [page.cursor for page in pages] == ["20", "25"]
    assert [len(page.items) for page in pages] == [20, 5]
    canned.on("POST /sync", PRODUCT)
    before = len(canned.asked)
    rest = list(aliexpress.offers(connection, only=only, cursor="25"))
    assert [one.form["product_id"] for one in canned.asked[before:]] == only[25:]
    assert rest[-1].cursor is None


def test_ids_that_are_none(canned, connection):
    with pytest.raises(NotOffered):
        aliexpress.offers(connection)
    with pytest.raises(ValueError, match="cursor"):
        aliexpress.offers(connection, only=[ID], cursor="x")
    (page,) = aliexpress.offers(connection, only=["x", "1 2", "-5", "٣"])
    assert {one.code for one in page.problems} == {"invalid"}
    assert len(page.problems) == 4
    assert canned.asked == []


TOKENS = {
    "refresh_token_valid_time": 1726167798000, "expire_time": 1726081398000, "user_nick": "uk1demo",
    "access_token": "50000700", "refresh_token": "50001701", "user_id": "6000000001", "refresh_expires_in": 172800,
    "expires_in": 86400, "account": "someone@example.com", "code": "0", "request_id": "r",
}  # fmt: skip
AT = datetime(2024, 9, 10, 19, 3, 18, tzinfo=UTC)


def test_tokens_are_read():
    found = tokens.tokens_of(TOKENS, at=AT)
    assert (found.access_token, found.refresh_token) == ("50000700", "50001701")
    assert (found.account, found.user_id) == ("someone@example.com", "6000000001")
    assert found.expires_at == datetime(2024, 9, 11, 19, 3, 18, tzinfo=UTC)
    assert found.refresh_expires_at == datetime(2024, 9, 12, 19, 3, 18, tzinfo=UTC)
    short = {"access_token": "a", "expires_in": "60", "refresh_expires_in": 0}
    assert tokens.tokens_of(short, at=AT, old="o") == tokens.Tokens(
        "a", AT + timedelta(minutes=1), "o", None, None, None
    )
    for broken in ({}, {"access_token": "a"}, {"expires_in": 5}, {"access_token": "a", "expires_in": -1}):
        with pytest.raises(Retry):
            tokens.tokens_of(broken, at=AT)
    assert "50000700" not in repr(found)


def test_tokens_are_refreshed(canned, connection):
    canned.on("POST /rest/auth/token/refresh", TOKENS)
    assert tokens.refresh(connection, "RT-1", at=AT).access_token == "50000700"
    form = canned.asked[0].form
    assert form.pop("sign") == signature(form, SECRET, path="/auth/token/refresh")
    assert not {"session", "method"} & form.keys()
    canned.on("POST /rest/auth/token/create", {"/auth/token/create_response": TOKENS})
    assert tokens.create(connection, "3_1", at=AT).access_token == "50000700"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Says({"type": "ISV", "code": "IllegalRefreshToken", "message": "x", "request_id": "r"}), ReconnectNeeded),
        (Says({"type": "ISV", "code": "InvalidParameter", "message": "x", "request_id": "r"}), ReconnectNeeded),
        (Says({"type": "ISV", "code": "IncompleteSignature", "message": "x", "request_id": "r"}), FatalForConnection),
        (Says({"type": "ISV", "code": "ApiCallLimit", "message": "x", "request_id": "r"}), WaitUntil),
        (Says({"type": "ISP", "code": "15", "message": "x", "request_id": "r"}), UnknownOutcome),
        (Says({"code": "0", "request_id": "r"}), UnknownOutcome),
        (Says(silent=True), UnknownOutcome),
        (Says("", status=502), UnknownOutcome),
        (Says("<html/>"), UnknownOutcome),
    ],
)
def test_a_lost_refresh_may_have_spent_the_token(canned, connection, answer, error):
    canned.on("POST /rest/auth/token/refresh", answer)
    with pytest.raises(error):
        tokens.refresh(connection, "RT-1", at=AT)
    canned.stop()
    if error is UnknownOutcome:
        with pytest.raises(Retry):
            tokens.refresh(connection, "RT-1", at=AT)


def test_the_consent_page():
    url = tokens.consent_url("123", redirect_uri="https://shop.example/back?a=1", state="s&t")
    assert url == (
        "https://api-sg.aliexpress.com/oauth/authorize?response_type=code&force_auth=true"
        "&redirect_uri=https%3A%2F%2Fshop.example%2Fback%3Fa%3D1&client_id=123&state=s%26t"
    )


def test_the_connection_is_tried(canned, connection):
    canned.on("POST /sync", {"aliexpress_ds_feedname_get_response": {"resp_result": {"resp_code": 200, "result": {}}}})
    assert "the access token" in aliexpress.who_am_i(connection).checked
    canned.on("POST /sync", gateway("IllegalAccessToken"))
    with pytest.raises(ReconnectNeeded):
        aliexpress.who_am_i(connection)


def test_an_own_word_of_a_gateway_error_is_told(canned, connection):
    canned.on("POST /sync", gateway("15", sub="isv.something", message="No such thing"))
    with pytest.raises(FatalForItem) as caught:
        aliexpress.who_am_i(connection)
    assert caught.value.supplier_code == "isv.something"
