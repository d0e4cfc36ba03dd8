"""Connections to the sandbox, for tests that need one."""

from typing import Any
from uuid import UUID, uuid4

from services.core.db import transaction
from services.models import Connection
from services.sourcing.accounts.connections import connect
from services.sourcing.accounts.trials import Tested, new_trial, try_out
from tests.suppliers.world import World

ALIEXPRESS = {"app_key": "12345678", "app_secret": "helloworld", "access_token": "test-token"}  # docs/sandbox.md


def secrets_of(world: World, supplier: str = "bigbuy") -> dict[str, str]:
    """Good credentials. BigBuy's are new ones every time: nobody has spent their quota, in no other test either."""
    if supplier == "aliexpress":
        return ALIEXPRESS
    key = uuid4().hex
    world.ask("PUT", f"bigbuy/keys/{key}", {})
    return {"api_key": key}


def tried(world: World, merchant_id: UUID, supplier: str = "bigbuy", **settings: Any) -> Tested:
    """Credentials that the sandbox's supplier has taken."""
    given = {"language": "en", "country": "ES", "currency": "EUR", **settings}
    return try_out(new_trial(merchant_id, supplier, secrets_of(world, supplier), sandbox=True, **given))


def connected(
    world: World, merchant_id: UUID, supplier: str = "bigbuy", *, name: str | None = None, **settings: Any
) -> Connection:
    """A connection to the sandbox's supplier."""
    tested = tried(world, merchant_id, supplier)
    with transaction(merchant_id=merchant_id) as session:
        return connect(session, tested, name=name or supplier, **settings)


def told(answer: Any) -> tuple[int, str | None]:
    """Status and code of an error."""
    return answer.status_code, answer.json().get("code")
