"""A POST sent twice with the same key acts once and is answered the same."""

import concurrent.futures
import time

import httpx
import pytest
from sqlalchemy import func, select, text

from services.core.db import transaction
from services.models import IdempotencyKey, Schedule
from tests.conftest import headers_for

URL = "/api/v1/notes"


def count(merchant) -> int:
    """How many notes the merchant has."""
    with transaction(merchant_id=merchant) as session:
        return session.scalar(select(func.count()).select_from(Schedule))


def key(value: str) -> dict[str, str]:
    """The header."""
    return {"Idempotency-Key": value}


def test_the_same_request_again_gets_the_same_answer(probe, merchant):
    first = probe.post(URL, json={"name": "a", "lines": [1]}, headers=key("k"))
    again = probe.post(URL, content='{ "lines": [1], "name": "a" }', headers=JSON | key("k"))
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert count(merchant) == 1


JSON = {"Content-Type": "application/json"}


def test_without_a_key_every_request_acts(probe, merchant):
    assert [probe.post(URL, json={"name": name}).status_code for name in "ab"] == [201, 201]
    assert count(merchant) == 2


def test_a_key_belongs_to_one_request(probe, merchant):
    assert probe.post(URL, json={"name": "a"}, headers=key("k")).status_code == 201
    for other in (probe.post(URL, json={"name": "b"}, headers=key("k")), probe.put(f"{URL}/x", headers=key("k"))):
        assert other.status_code == 422
        assert other.json()["code"] == "idempotency_key_reused"
        assert other.json()["param"] == "Idempotency-Key"
    assert count(merchant) == 1


def test_a_key_belongs_to_one_merchant(probe, probe_url, merchant, other_merchant):
    assert probe.post(URL, json={"name": "a"}, headers=key("shared")).status_code == 201
    other = httpx.post(f"{probe_url}{URL}", json={"name": "z"}, headers=headers_for(other_merchant) | key("shared"))
    assert other.status_code == 201
    assert (count(merchant), count(other_merchant)) == (1, 1)


def test_a_refused_request_leaves_the_key_free(probe, merchant):
    assert probe.post(URL, json={"name": "refused"}, headers=key("k")).status_code == 409
    assert probe.post(URL, json={"name": ""}, headers=key("k")).status_code == 422
    assert probe.post(URL, json={"name": "good"}, headers=key("k")).status_code == 201
    assert count(merchant) == 1


def test_two_at_once_act_once(probe, merchant):
    asked = {"name": "slow", "wait": 0.3}
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: probe.post(URL, json=asked, headers=key("k")), range(6)))
    assert [response.status_code for response in found] == [201] * 6
    assert len({response.json()["id"] for response in found}) == 1
    assert sum("idempotent-replayed" in response.headers for response in found) == 5
    assert count(merchant) == 1


def test_when_the_first_of_two_fails_the_second_acts(probe, merchant):
    with transaction(merchant_id=merchant) as session:
        session.execute(
            text("""INSERT INTO idempotency_keys (merchant_id, key, route, fingerprint, expires_at)
                    VALUES (:merchant, 'k', 'POST /x', 'f', now() + interval '1 day')"""),
            {"merchant": merchant},
        )
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(probe.post, URL, json={"name": "a"}, headers=key("k"))
            time.sleep(0.3)
            assert not waiting.done()
            session.rollback()
            assert waiting.result(10).status_code == 201


def test_a_first_that_takes_too_long_is_a_conflict(probe, merchant, monkeypatch):
    monkeypatch.setattr("services.merchants.answers.PATIENCE_SECONDS", 0.2)
    with transaction(merchant_id=merchant) as session:
        session.execute(
            text("""INSERT INTO idempotency_keys (merchant_id, key, route, fingerprint, expires_at)
                    VALUES (:merchant, 'k', 'POST /x', 'f', now() + interval '1 day')"""),
            {"merchant": merchant},
        )
        response = probe.post(URL, json={"name": "a"}, headers=key("k"))
        assert response.status_code == 409
        assert response.json()["code"] == "idempotency_key_in_use"
        assert response.headers["retry-after"]
        session.rollback()


def test_keys_expire(probe, merchant):
    first = probe.post(URL, json={"name": "a"}, headers=key("k"))
    with transaction(merchant_id=merchant) as session:
        kept = session.scalar(select(func.max(IdempotencyKey.expires_at - IdempotencyKey.created_at)))
        assert kept.total_seconds() == 24 * 3600
        session.execute(text("UPDATE idempotency_keys SET expires_at = now() - interval '1 second'"))
    second = probe.post(URL, json={"name": "b"}, headers=key("k"))
    assert (first.status_code, second.status_code) == (201, 201)
    assert probe.post(URL, json={"name": "b"}, headers=key("k")).json() == second.json()
    assert count(merchant) == 2


@pytest.mark.parametrize("bad", ["", "x" * 256, "é", "tab\there"])
def test_keys_are_short_printable_text(probe, bad):
    response = probe.post(URL, json={"name": "a"}, headers={"Idempotency-Key": bad.encode("latin-1")})
    assert response.status_code == 422
    assert response.json()["param"] == "Idempotency-Key"
    assert probe.post(URL, json={"name": "a"}, headers=key("x" * 255)).status_code == 201
