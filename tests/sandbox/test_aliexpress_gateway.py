"""AliExpress: signatures by the vectors, what the gateway refuses, OAuth."""

from urllib.parse import parse_qs, urlsplit

import pytest

from sandbox.aliexpress import signing
from tests.sandbox.aliexpress import DS, Client

VECTORS = [
    (
        "access_tokentestaliexpress_category_id200135143app_key123456methodaliexpress.logistics.redefining."
        "getonlinelogisticsinfosign_methodsha256timestamp1517820392000",
        {
            "access_token": "test",
            "aliexpress_category_id": "200135143",
            "app_key": "123456",
            "method": "aliexpress.logistics.redefining.getonlinelogisticsinfo",
            "sign_method": "sha256",
            "timestamp": "1517820392000",
        },
        "",
        "F7F7926B67316C9D1E8E15F7E66940ED3059B1638C497D77973F30046EFB5BBB",
    ),
    (
        "/auth/token/createapp_key12345678code3_500102_JxZ05Ux3cnnSSUm6dCxYg6Q26sign_methodsha256"
        "timestamp1517820392000",
        {
            "app_key": "12345678",
            "code": "3_500102_JxZ05Ux3cnnSSUm6dCxYg6Q26",
            "sign_method": "sha256",
            "timestamp": "1517820392000",
        },
        "/auth/token/create",
        "35607762342831B6A417A0DED84B79C05FEFBF116969C48AD6DC00279A9F4D81",
    ),
    (
        "Foo1_z0foo2foo_bar3keyWordx",
        {"Foo": "1", "foo": "2", "foo_bar": "3", "keyWord": "x", "_z": "0"},
        "",
        "D3308A06F65BE90D9A76566F746011A0CB7C7C851DA884680D22443A9A6ED785",
    ),
]


@pytest.mark.parametrize(("base", "params", "path", "sign"), VECTORS)
def test_signature_vectors(base, params, path, sign):
    assert signing.base({**params, "sign": "x", "empty": ""}, path=path) == base
    assert signing.sign(params, secret="helloworld", path=path) == sign


def test_the_legacy_and_the_push_vectors():
    params = {"foo": "1", "bar": "2", "foo_bar": "3", "foobar": "4"}
    assert signing.sign(params, secret="testsecret", method="md5") == "54C22189FE38F1B7E6E4D701FB82851E"
    assert signing.sign(params, secret="x", method="sha1") is None
    body = (
        b'{"seller_id":"1234","message_type":53,"data":{"orderId":1105933950463697,"orderStatus":"OrderShipped",'
        b'"buyerId":1861703697},"timestamp":1719389200,"site":"ae_global"}'
    )
    expected = "5243dd19d544f0390ee83baa894753c7c6a6b82d71d7a0545ac8926610767550"
    assert signing.sign_push(body, app_key="12345678", secret="helloworld") == expected


ORDER_VECTOR = {
    "app_key": "12345678",
    "method": "aliexpress.ds.order.create",
    "session": "test-token",
    "timestamp": "1700000000000",
    "format": "json",
    "v": "2.0",
    "sign_method": "sha256",
    "ds_extend_request": '{"payment":{"pay_currency":"USD","try_to_pay":"false"}}',
    "param_place_order_request4_open_api_d_t_o": (
        '{"out_order_id":"po-0001","logistics_address":{"address":"12 rue de Rivoli","city":"Paris",'
        '"contact_person":"Jeanne Martin","country":"FR","full_name":"Jeanne Martin","mobile_no":"612345678",'
        '"phone_country":"+33","province":"Ile-de-France","zip":"75001"},"product_items":[{"product_id":'
        '1005006123456789,"product_count":1,"sku_attr":"14:29#Bear;183:200007741","logistics_service_name":'
        '"CAINIAO_FULFILLMENT_STD"}]}'
    ),
    "sign": "B1296EDB703306E1A65B815E168DBBFD57A1A16F4D44A1DBE2F5088FAA5CB1D1",
}
GET_VECTOR = {
    "app_key": "12345678",
    "method": "aliexpress.ds.product.get",
    "session": "test-token",
    "timestamp": "1700000000000",
    "format": "json",
    "v": "2.0",
    "simplify": "false",
    "product_id": "1005006123456789",
    "ship_to_country": "FR",
    "target_currency": "EUR",
    "target_language": "fr",
    "sign_method": "sha256",
    "sign": "295642ED7BF8C20FEE5381F1BBCFC7A092BD065687B9B10C22C958B04B8B5CF3",
}


@pytest.mark.parametrize("params", [GET_VECTOR, ORDER_VECTOR])
def test_vectors_over_the_wire_in_query_form_and_both(sandbox, ds, params):
    sandbox.control("PATCH", "aliexpress/settings", {"check_timestamp": False})
    half = len(params) // 2
    first, second = dict(list(params.items())[:half]), dict(list(params.items())[half:])
    for query, form in ((params, {}), ({}, params), (first, second)):
        body = sandbox.http.post("/aliexpress/sync", params=query, data=form).json()
        assert "error_response" not in body
    changed = {**params, "v": "2.1"}
    body = sandbox.http.post("/aliexpress/sync", data=changed).json()
    assert body["error_response"]["code"] == "IncompleteSignature"
    sandbox.control("PATCH", "aliexpress/settings", {"check_timestamp": True})
    body = sandbox.http.post("/aliexpress/sync", data=params).json()
    assert body["error_response"]["code"] == "IllegalTimestamp"


def test_the_refresh_vector_passes_the_gate(sandbox, ds):
    sandbox.control("PATCH", "aliexpress/settings", {"check_timestamp": False})
    params = {
        "app_key": "12345678",
        "refresh_token": "RT-1",
        "timestamp": "1700000000000",
        "sign_method": "sha256",
        "sign": "9C009A25E6B81539611C1EBDEF79FB3A84D5B73229BBBDC48B2BDCA4D0B87B0D",
    }
    body = sandbox.http.post("/aliexpress/rest/auth/token/refresh", data=params).json()
    assert (body["code"], body["type"]) == ("IllegalRefreshToken", "ISV")
    assert {"message", "request_id"} <= set(body)


def test_what_the_gateway_refuses(sandbox, ds, affiliate):
    assert Client(sandbox, ("1", "x"))("aliexpress.ds.category.get")["code"] == "InvalidAppKey"
    assert Client(sandbox, (DS[0], "other"))("aliexpress.ds.category.get")["code"] == "IncompleteSignature"
    assert Client(sandbox, session="no")("aliexpress.ds.category.get")["code"] == "IllegalAccessToken"
    assert ds("aliexpress.affiliate.category.get")["code"] == "InsufficientPermission"
    assert affiliate("aliexpress.ds.category.get")["code"] == "InsufficientPermission"
    assert ds("aliexpress.nothing")["code"] == "InvalidApiPath"
    refused = ds("aliexpress.ds.product.get", product_id="1")
    assert (refused["code"], refused["type"]) == ("MissingParameter", "ISV")
    assert {"msg", "request_id"} <= set(refused)
    assert sandbox.http.post("/aliexpress/sync").json()["error_response"]["code"] == "MissingParameter"
    sandbox.control("PUT", "aliexpress/limits", {"enforced": True, "rules": {"aliexpress.ds.category.get": [2, 1]}})
    codes = [ds("aliexpress.ds.category.get").get("code") for _ in range(3)]
    assert codes == [None, None, "ApiCallLimit"]
    sandbox.advance(seconds=1)
    assert "resp_result" in ds("aliexpress.ds.category.get")


def test_the_oauth_dance(sandbox, ds):
    callback = "https://shop.example/callback"
    sandbox.control("PUT", f"aliexpress/apps/{DS[0]}", {"secret": DS[1], "callback": callback})
    asked = {
        "response_type": "code",
        "force_auth": "true",
        "redirect_uri": callback,
        "client_id": DS[0],
        "state": "s/1",
    }
    answer = sandbox.http.get("/aliexpress/oauth/authorize", params=asked)
    assert answer.status_code == 302
    target = urlsplit(answer.headers["location"])
    given = parse_qs(target.query)
    assert (target.netloc, given["state"]) == ("shop.example", ["s/1"])
    for wrong in ({"redirect_uri": callback + "/x"}, {"client_id": "1"}, {"response_type": "token"}):
        assert sandbox.http.get("/aliexpress/oauth/authorize", params={**asked, **wrong}).status_code == 400
    tokens = ds.rest("/auth/token/create", code=given["code"][0])
    assert tokens["code"] == "0"
    assert (tokens["expires_in"], tokens["refresh_expires_in"]) == (86_400, 172_800)
    assert tokens["expire_time"] == 1_772_366_400_000 + 86_400_000
    assert ds.rest("/auth/token/create", code=given["code"][0])["code"] == "InvalidParameter"
    assert "resp_result" in Client(sandbox, session=tokens["access_token"])("aliexpress.ds.category.get")
    sandbox.advance(hours=25)
    expired = Client(sandbox, session=tokens["access_token"])
    assert expired("aliexpress.ds.category.get")["code"] == "IllegalAccessToken"
    fresh = ds.rest("/auth/token/refresh", refresh_token=tokens["refresh_token"])
    assert fresh["access_token"] != tokens["access_token"]
    assert fresh["refresh_token"] != tokens["refresh_token"]
    used = ds.rest("/auth/token/refresh", refresh_token=tokens["refresh_token"])
    assert (used["code"], used["type"]) == ("IllegalRefreshToken", "ISV")
    sandbox.control("DELETE", f"aliexpress/tokens/{fresh['access_token']}")
    assert ds.rest("/auth/token/refresh", refresh_token=fresh["refresh_token"])["code"] == "IllegalRefreshToken"
    assert [e["effects"][0].split()[0] for e in sandbox.ledger(effect="") if e["effects"]] == [
        "code_issued",
        "tokens_issued",
        "tokens_issued",
    ]
