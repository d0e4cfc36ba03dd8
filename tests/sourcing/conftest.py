"""Fixtures of the tests about sourcing: a sandbox, and connections to it."""

import uuid
from collections.abc import Callable, Iterator

import pytest

from services.core.settings import get_settings
from tests.sourcing.connecting import connected
from tests.suppliers.world import World, running


@pytest.fixture(scope="module")
def sandbox() -> Iterator[World]:
    """One sandbox for the module's tests."""
    with running() as world:
        yield world


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
