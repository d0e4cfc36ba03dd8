"""Fixtures of the tests about sourcing: a sandbox, and connections to it."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from services.core.settings import get_settings
from tests.sourcing.connecting import connected, secrets_of
from tests.suppliers.world import World


@pytest.fixture
def world(sandbox: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """The sandbox, reset, and where SANDBOX_URL points; BigBuy says that more calls are allowed than a test makes."""
    sandbox.reset()
    rules = {endpoint: [100_000, 3600] for endpoint in sandbox.ask("GET", "bigbuy/limits")["rules"]}
    sandbox.ask("PUT", "bigbuy/limits", {"enforced": True, "rules": rules})
    monkeypatch.setattr(get_settings(), "sandbox_url", sandbox.url)
    return sandbox


@pytest.fixture
def connection(world: World, merchant: uuid.UUID) -> uuid.UUID:
    """A connection of `merchant` to the sandbox's BigBuy."""
    return connected(world, merchant).id


@pytest.fixture
def connect(world: World) -> Callable[..., uuid.UUID]:
    """`connect(merchant, supplier="bigbuy", **settings)`: the id of a connection to the sandbox."""
    return lambda merchant, supplier="bigbuy", **settings: connected(world, merchant, supplier, **settings).id


@pytest.fixture
def key(world: World) -> str:
    """An API key of the sandbox's BigBuy, this test's own."""
    return secrets_of(world)["api_key"]


@pytest.fixture
def ask(client: Any, key: str) -> Callable[..., Any]:
    """`ask(**body)`: POST connect with the sandbox's BigBuy, or with what is given instead."""

    def post(**more: Any) -> Any:
        headers = more.pop("headers", {})
        body = {"supplier": "bigbuy", "secrets": {"api_key": key}, "sandbox": True, **more}
        return client.post("/api/v1/suppliers/connect", json=body, headers=headers)

    return post
