"""How often a caller may come: counted in Redis, and not counted when Redis is away."""

import socket
import threading
import time
import uuid

import httpx
import pytest

from tests.api.conftest import probe_app
from tests.conftest import serving, token_for


def caller() -> dict[str, str]:
    """Headers of a new user."""
    return {"Authorization": f"Bearer {token_for(uuid.uuid4())}"}


@pytest.fixture(scope="module")
def limited():
    """An application with narrow limits."""
    with serving(probe_app(rate_limits=["100/hour", "3/minute"])) as url, httpx.Client(base_url=url) as client:
        yield client


def test_a_caller_has_a_limit_and_is_told(limited):
    headers = caller()
    remaining = []
    for _ in range(3):
        response = limited.get("/api/v1/auth/me", headers=headers)
        assert response.status_code == 200
        assert response.headers["ratelimit-limit"] == response.headers["x-ratelimit-limit"] == "3"
        assert 1 <= int(response.headers["ratelimit-reset"]) <= 60
        remaining.append(int(response.headers["ratelimit-remaining"]))
    assert remaining == [2, 1, 0]
    refused = limited.get("/api/v1/auth/me", headers=headers)
    assert refused.status_code == 429
    assert refused.json()["code"] == "rate_limited"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.headers["ratelimit-remaining"] == "0"
    assert limited.get("/api/v1/auth/me", headers=caller()).status_code == 200
    assert limited.get("/health", headers=headers).status_code == 200


def test_the_longer_limit_counts_too():
    with serving(probe_app(rate_limits=["50/minute", "2/hour"])) as url:
        headers = caller()
        found = [httpx.get(f"{url}/api/v1/auth/me", headers=headers) for _ in range(3)]
    assert [response.status_code for response in found] == [200, 200, 429]
    assert found[2].headers["ratelimit-limit"] == "2"
    assert int(found[2].headers["retry-after"]) > 60


def test_behind_a_proxy_callers_without_a_token_are_told_apart_by_what_it_says():
    app = probe_app(rate_limits=["1/minute"], client_address_header="Fly-Client-IP", redis_prefix=f"{uuid.uuid4()}:")
    with serving(app) as url, httpx.Client(base_url=url) as client:

        def asks(**headers):
            return client.get("/api/v1/aliexpress/callback", headers=headers).status_code

        for told in ("203.0.113.7", "2001:db8:1:2::3", "nonsense"):
            assert asks(**{"Fly-Client-IP": told}) != 429
        for told in ("203.0.113.7", "2001:db8:1:2:ffff::1", "other nonsense"):  # no address: the connection's counts
            assert asks(**{"Fly-Client-IP": told}) == 429


def silent_server():
    """Accepts connections and never says a word."""
    listener = socket.create_server(("127.0.0.1", 0))
    held = []

    def accept():
        while True:
            try:
                held.append(listener.accept()[0])
            except OSError:
                return

    threading.Thread(target=accept, daemon=True).start()
    return listener


def test_redis_away_or_silent_lets_everyone_pass_quickly(caplog):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = closed.getsockname()[1]
    with silent_server() as listener:
        for port in (nobody, listener.getsockname()[1]):
            app = probe_app(rate_limits=["1/minute"], redis_url=f"redis://127.0.0.1:{port}/0")
            caplog.clear()
            with serving(app) as url, httpx.Client(base_url=url, headers=caller()) as client:
                started = time.monotonic()
                assert [client.get("/api/v1/auth/me").status_code for _ in range(5)] == [200] * 5
                assert time.monotonic() - started < 1.5
                assert client.get("/ready").json()["checks"]["broker"] == {"ok": False}
            told = [record for record in caplog.records if "not limited" in record.message]
            assert len(told) == 1


def test_limits_are_shared_by_all_processes_of_a_stack_and_no_other():
    headers = caller()
    with serving(probe_app(rate_limits=["2/minute"])) as one, serving(probe_app(rate_limits=["2/minute"])) as two:
        statuses = [httpx.get(f"{url}/api/v1/auth/me", headers=headers).status_code for url in (one, two, one)]
    assert statuses == [200, 200, 429]
    with serving(probe_app(rate_limits=["2/minute"], redis_prefix="beside:")) as url:
        assert httpx.get(f"{url}/api/v1/auth/me", headers=headers).status_code == 200
