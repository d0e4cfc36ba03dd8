"""Faults on demand: by header and on duty, before and after the effect, to answers and to their items."""

import json
import time

import httpx
import pytest

from tests.sandbox.conftest import ROOTS
from tests.sandbox.test_bigbuy_orders import an_order, goods  # noqa: F401

LIST = "catalog/products"


def listed(sandbox, fault="", **params):
    """One root's products."""
    return sandbox.bigbuy(LIST, fault=fault, parentTaxonomy=ROOTS[0], **params)


def test_latency_and_a_dropped_connection(sandbox):
    started = time.monotonic()
    assert sandbox.bigbuy("user/purse", fault="latency;seconds=0.3").status_code == 200
    assert time.monotonic() - started >= 0.3
    with pytest.raises(httpx.TransportError):
        sandbox.bigbuy("user/purse", fault="drop")
    assert sandbox.ledger()[-1]["status"] is None
    with pytest.raises(httpx.ReadTimeout):
        sandbox.http.get(
            "/bigbuy/rest/user/purse.json", headers={"X-Sandbox-Fault": "latency;seconds=0.5"}, timeout=0.1
        )


def test_errors_and_pages_instead_of_answers(sandbox):
    answer = sandbox.bigbuy("user/purse", fault="server_error;status=503")
    assert (answer.status_code, answer.text) == (503, "Service Unavailable")
    assert sandbox.bigbuy("user/purse", fault="server_error").status_code == 500
    page = sandbox.bigbuy("user/purse", fault="html")
    assert page.status_code == 504
    assert page.headers["content-type"].startswith("text/html")
    assert "<h1>504 Gateway Time-out</h1>" in page.text
    assert sandbox.bigbuy("user/purse", fault="html;status=200").status_code == 200
    assert sandbox.bigbuy("user/purse", fault="empty").content == b""


def test_soft_errors(sandbox):
    soft = listed(sandbox, "soft")
    assert soft.status_code == 200
    assert soft.json()["code"] == 409
    embedded = listed(sandbox, "soft;variant=embedded")
    assert embedded.status_code == 200
    assert embedded.text.startswith("HTTP/1.0 500 Internal Server Error\r\n")
    assert json.loads(embedded.text.partition("\r\n\r\n")[2])["error"].startswith("Information is not available")
    assert listed(sandbox, "soft;variant=inverted").json() == {"code": "Bad request", "message": 400}
    assert listed(sandbox, "soft;variant=none").status_code == 400


@pytest.mark.parametrize("size", [3, 0])
def test_bodies_that_are_broken(sandbox, size):
    whole = listed(sandbox, pageSize=size).content
    for fault in ("malformed", "truncated"):
        answer = listed(sandbox, fault, pageSize=size)
        assert answer.status_code == 200
        assert answer.content != whole
        with pytest.raises(ValueError, match=r".+"):
            answer.json()
    assert listed(sandbox, "truncated;at_byte=100", pageSize=size).content == whole[:100]
    with pytest.raises(httpx.RemoteProtocolError):
        listed(sandbox, "cut;at_byte=500", pageSize=size)
    entry = sandbox.ledger()[-1]
    assert (entry["complete"], entry["sent_bytes"], entry["status"]) == (False, 500, 200)
    with pytest.raises(httpx.RemoteProtocolError):
        sandbox.bigbuy("catalog/product/100001", fault="cut")


def test_items_that_are_doubled_drift_or_spike(sandbox):
    whole = listed(sandbox).json()
    doubled = listed(sandbox, "duplicate;share=0.2").json()
    assert len(doubled) == len(whole) + len(whole) // 5
    assert doubled[0] == doubled[1]
    assert [item for n, item in enumerate(doubled) if item not in doubled[:n]] == whole
    drifted = listed(sandbox, "drift").json()
    assert {item["schemaVersion"] for item in drifted} == {"2"}
    assert drifted[0]["wholesalePrice"] == {"amount": whole[0]["wholesalePrice"], "currency": "EUR"}
    renamed = listed(sandbox, "drift;fields=sku|id").json()[0]
    assert (renamed["sku_v2"], renamed["id_v2"]) == (whole[0]["sku"], whole[0]["id"])
    assert "sku" not in renamed
    spiked = listed(sandbox, "spike;factor=1000;share=0.5").json()
    dear = [item["wholesalePrice"] > before["wholesalePrice"] for before, item in zip(whole, spiked, strict=True)]
    assert dear == [number % 2 == 0 for number in range(len(whole))]
    assert {item["weight"] for item in spiked} == {item["weight"] for item in whole}
    free = listed(sandbox, "spike;factor=0;share=1;fields=retailPrice").json()
    assert {item["retailPrice"] for item in free} == {0}
    assert [item["wholesalePrice"] for item in free] == [item["wholesalePrice"] for item in whole]
    assert listed(sandbox).json() == whole


def test_quota_and_credential(sandbox):
    sandbox.control("PUT", "bigbuy/limits", {"enforced": True})
    answer = listed(sandbox, "quota")
    assert (answer.status_code, answer.text) == (429, "You exceeded the rate limit")
    assert answer.headers.get_list("x-ratelimit-remaining") == ["0"]
    assert listed(sandbox).status_code == 429
    sandbox.advance(hours=1)
    assert listed(sandbox).status_code == 200
    assert sandbox.bigbuy("user/purse", fault="revoked").status_code == 401
    assert sandbox.bigbuy("user/purse").status_code == 200


def test_the_effect_may_come_first(sandbox, goods):  # noqa: F811
    kinds = ("server_error", "html;status=502", "soft", "empty;status=500")
    for number, kind in enumerate(kinds):
        before = sandbox.bigbuy("order/create", json=an_order(goods[0], reference=f"A{number}"), fault=kind)
        after = sandbox.bigbuy(
            "order/create", json=an_order(goods[0], reference=f"B{number}"), fault=f"{kind};after_effect=true"
        )
        assert before.status_code == after.status_code != 201
    made = [order["internal_reference"] for order in sandbox.control("GET", "bigbuy/orders")]
    assert made == [f"B{number}" for number in range(len(kinds))]


def test_faults_on_duty(sandbox):
    fault = sandbox.control(
        "POST", "faults", {"kind": "server_error", "supplier": "bigbuy", "route": "catalog/*", "skip": 1, "count": 2}
    )
    assert [listed(sandbox).status_code for _ in range(5)] == [200, 500, 500, 200, 200]
    assert sandbox.bigbuy("user/purse").status_code == 200
    (shown,) = sandbox.control("GET", "faults")
    assert (shown["id"], shown["hits"], shown["count"]) == (fault["id"], 2, 2)
    sandbox.control("DELETE", f"faults/{fault['id']}")
    sandbox.control("DELETE", f"faults/{fault['id']}", expect=404)
    sandbox.control("POST", "faults", {"kind": "html", "method": "POST"})
    sandbox.control("POST", "faults", {"kind": "html", "key": "another"})
    sandbox.control("POST", "faults", {"kind": "html", "supplier": "aliexpress"})
    assert sandbox.bigbuy("user/purse").status_code == 200
    sandbox.control("DELETE", "faults")
    sandbox.control("POST", "faults", {"kind": "empty", "status": 500, "probability": 0.5})
    statuses = [sandbox.bigbuy("user/purse").status_code for _ in range(60)]
    assert 10 < statuses.count(500) < 50
    sandbox.control("POST", "faults", {"kind": "explosion"}, expect=422)
    sandbox.control("POST", "faults", {"kind": "drop", "probability": 2}, expect=422)


@pytest.mark.parametrize("header", ["explosion", "latency;seconds=x", "latency;minutes=1", ";"])
def test_a_header_that_names_no_fault_is_told(sandbox, header):
    answer = sandbox.bigbuy("user/purse", fault=header)
    assert answer.status_code == 400
    assert "x-sandbox-fault" in answer.text


def test_several_at_once_and_several_on_one_connection(sandbox):
    started = time.monotonic()
    with pytest.raises(httpx.TransportError):
        sandbox.bigbuy("user/purse", fault="latency;seconds=0.2, lost")
    assert time.monotonic() - started >= 0.2
    assert sandbox.bigbuy("user/purse").status_code == 200
    assert sandbox.ledger()[-2]["faults"] == ["latency", "lost"]
