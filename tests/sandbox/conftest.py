"""The sandbox behind its own server, in a thread; every test begins with a new world that stands still."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from sandbox.app import create_app
from sandbox.bigbuy.supplier import DEFAULT_KEY
from sandbox.server import listening_socket, make_server
from tests.sandbox.aliexpress import AFFILIATE, Client, truth

BEGIN = "2026-03-01T12:00:00Z"
ROOTS = range(2_399, 2_399 + 8 * 86, 86)


class Sandbox:
    """A client of it: `bigbuy(path)` as an adapter would, `control(method, path)` as a test does."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx.Client(base_url=url, timeout=30)

    def control(self, method: str, path: str, json: Any = None, *, expect: int | None = None, **params: Any) -> Any:
        answer = self.http.request(method, f"/control/{path}", json=json, params=params)
        assert answer.status_code == expect if expect else answer.is_success, answer.text
        return answer.json() if answer.content else None

    def bigbuy(
        self, path: str, *, key: str | None = DEFAULT_KEY, json: Any = None, fault: str = "", **params: Any
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        if fault:
            headers["X-Sandbox-Fault"] = fault
        method = "GET" if json is None else "POST"
        return self.http.request(method, f"/bigbuy/rest/{path}.json", headers=headers, json=json, params=params)

    def bulk(self, name: str, **params: Any) -> list[dict[str, Any]]:
        """A list over all roots."""
        found = []
        for taxonomy in ROOTS:
            answer = self.bigbuy(f"catalog/{name}", parentTaxonomy=taxonomy, pageSize=0, isoCode="en", **params)
            assert answer.status_code == 200, answer.text
            found += answer.json()
        return found

    def truth(self) -> dict[str, dict[str, Any]]:
        """What can be bought, by reference, as it truly is."""
        answer = self.http.get("/control/bigbuy/products")
        return {line["sku"]: line for line in map(httpx.Response.json, _lines(answer))}

    def advance(self, **duration: float) -> None:
        """Let time pass: seconds=, hours=, days=."""
        seconds = sum(value * {"seconds": 1, "hours": 3_600, "days": 86_400}[name] for name, value in duration.items())
        self.control("POST", "clock/advance", {"seconds": seconds})

    def ledger(self, **wanted: Any) -> list[dict[str, Any]]:
        """What was received."""
        return self.control("GET", "ledger", **wanted)["data"]


def _lines(answer: httpx.Response) -> Iterator[httpx.Response]:
    return (httpx.Response(200, content=line) for line in answer.text.splitlines())


@pytest.fixture(scope="session")
def _serving() -> Iterator[str]:
    with listening_socket("127.0.0.1", 0) as listener:
        server = make_server(create_app())
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.005)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)


@pytest.fixture
def sandbox(_serving: str) -> Iterator[Sandbox]:
    """A new world: 400 products, no limits, a clock that stands still."""
    found = Sandbox(_serving)
    with found.http:
        found.control("POST", "reset", {"seed": 7, "products": 400, "at": BEGIN, "speed": 0})
        found.control("PUT", "bigbuy/limits", {"enforced": False})
        yield found


@pytest.fixture
def ds(sandbox):
    """A dropshipper with a token."""
    sandbox.control("PUT", "aliexpress/limits", {"enforced": False})
    return Client(sandbox)


@pytest.fixture
def affiliate(sandbox):
    """An affiliate; no token."""
    sandbox.control("PUT", "aliexpress/limits", {"enforced": False})
    return Client(sandbox, AFFILIATE, None)


@pytest.fixture
def sku(sandbox):
    """A SKU with plenty of stock."""
    true = next(line for line in truth(sandbox) if line["sku_attr"] and line["active"])
    sandbox.control("PUT", f"aliexpress/products/{true['sku_id']}", {"stock": 50})
    return true
