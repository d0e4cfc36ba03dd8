"""A signed client of the sandbox's AliExpress, written from the rules on its own."""

import hashlib
import hmac
import json
import time

DS = ("12345678", "helloworld")
AFFILIATE = ("87654321", "helloworld")
ADDRESS = {
    "address": "12 rue de Rivoli",
    "city": "Paris",
    "contact_person": "Jeanne Martin",
    "country": "FR",
    "full_name": "Jeanne Martin",
    "mobile_no": "612345678",
    "phone_country": "+33",
    "province": "Ile-de-France",
    "zip": "75001",
}


def signature(params, secret, path=""):
    """By the written rules, on its own: nothing of the sandbox's."""
    text = path + "".join(key + params[key] for key in sorted(params))
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest().upper()


class Client:
    """A signed client."""

    def __init__(self, sandbox, app=DS, session="test-token"):
        self.sandbox, self.app, self.session = sandbox, app, session

    def raw(self, method, fault="", **business):
        params = {
            "app_key": self.app[0],
            "method": method,
            "timestamp": str(int(time.time() * 1000)),
            "sign_method": "sha256",
            **({"session": self.session} if self.session else {}),
            **{name: value if isinstance(value, str) else json.dumps(value) for name, value in business.items()},
        }
        params["sign"] = signature(params, self.app[1])
        headers = {"X-Sandbox-Fault": fault} if fault else {}
        return self.sandbox.http.post("/aliexpress/sync", data=params, headers=headers)

    def __call__(self, method, **business):
        answer = self.raw(method, **business)
        assert answer.status_code == 200
        body = answer.json()
        return body["error_response"] if "error_response" in body else body[f"{method.replace('.', '_')}_response"]

    def rest(self, path, **params):
        params = {
            "app_key": self.app[0],
            "timestamp": str(int(time.time() * 1000)),
            "sign_method": "sha256",
            **params,
        }
        params["sign"] = signature(params, self.app[1], path)
        answer = self.sandbox.http.post(f"/aliexpress/rest{path}", data=params)
        assert answer.status_code == 200
        return answer.json()


def unwrapped(value, kind):
    """A list out of its wrapper, in whichever form it came."""
    found = (value or {}).get(kind, [])
    return found if isinstance(found, list) else [found]


def truth(sandbox):
    """SKUs as they truly are."""
    return sandbox.control("GET", "aliexpress/products", count=400)


def freight(ds, true, **changed):
    """The answer for one piece of a SKU to France."""
    asked = {
        "quantity": "1",
        "shipToCountry": "FR",
        "productId": str(true["product_id"]),
        "selectedSkuId": str(true["sku_id"]),
        "language": "fr_FR",
        "locale": "fr_FR",
        "currency": "EUR",
        **changed,
    }
    return ds("aliexpress.ds.freight.query", queryDeliveryReq=asked)


def place(ds, *lines, out_order_id="po-1", pay="true", address=None, fault=""):
    """The answer to an order of (SKU, pieces)."""
    request = {
        "out_order_id": out_order_id,
        "logistics_address": address or ADDRESS,
        "product_items": [
            {
                "product_id": true["product_id"],
                "product_count": pieces,
                "sku_attr": true["sku_attr"],
                "logistics_service_name": "CAINIAO_FULFILLMENT_STD",
            }
            for true, pieces in lines
        ],
    }
    return ds.raw(
        "aliexpress.ds.order.create",
        fault,
        param_place_order_request4_open_api_d_t_o=request,
        ds_extend_request={"payment": {"pay_currency": "USD", "try_to_pay": pay}},
    ).json()["aliexpress_ds_order_create_response"]["result"]


def read(ds, id_):
    """An order as ds.order.get shows it, or the error."""
    body = ds("aliexpress.trade.ds.order.get", single_order_query={"order_id": id_})
    return body.get("result", body)
