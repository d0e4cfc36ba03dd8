"""A sandbox, and applications whose proxy asks it: as itself, or in the place of AliExpress."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from services.core.settings import Settings, get_settings
from tests.suppliers.canned import canned
from tests.suppliers.world import World

__all__ = ["canned"]


@pytest.fixture
def world(sandbox: World) -> World:
    """As new."""
    sandbox.reset()
    sandbox.ask("DELETE", "ledger")
    return sandbox


def configured(**changes: Any) -> Settings:
    """Settings with a cache of their own."""
    return get_settings().model_copy(update={"redis_prefix": f"test:{uuid.uuid4().hex}:", **changes})


def real(world: World, **changes: Any) -> dict[str, Any]:
    """Settings of an operator with an app of AliExpress's, whose part the sandbox plays."""
    return {
        "aliexpress_app_key": "87654321",
        "aliexpress_app_secret": SecretStr("helloworld"),
        "aliexpress_tracking_id": "shop-1",
        "affiliate_gateway": f"{world.url}/aliexpress",
        **changes,
    }


@pytest.fixture
def proxy() -> Iterator[Callable[..., Any]]:
    """`proxy(**settings)`: a client of an application with these settings."""
    from api.app import create_app

    opened: list[Any] = []

    def make(**changes: Any) -> Any:
        client = TestClient(create_app(configured(**changes)), raise_server_exceptions=False)
        opened.append(client.__enter__())
        return client

    yield make
    for client in opened:
        client.__exit__(None, None, None)


def asked(world: World) -> list[dict[str, str]]:
    """What the sandbox was asked, as it arrived."""
    return [dict(parse_qsl(entry["body"])) for entry in world.ask("GET", "ledger?supplier=aliexpress")["data"]]
