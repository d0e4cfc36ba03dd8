"""How a connection's supplier is reached: its adapter, its secrets, its address, and who counts the calls.

    with run.transaction() as session:
        reached = reach(session, connection_id)
    with heeding_refusals(reached):
        for page in reached.adapter.offers(reached.connection): …

No transaction may be open while the supplier is called.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, undefer

from services.core.db import transaction
from services.core.errors import Conflict, Invalid, NotFound
from services.core.settings import Settings, get_settings
from services.models import Connection
from services.sourcing.accounts.credentials import read
from services.sourcing.accounts.expiry import TokenAwaited, renew_refused, see_to_expiry
from services.sourcing.quotas.meter import metered
from services.suppliers import base
from services.suppliers.errors import ReconnectNeeded
from services.suppliers.registry import adapter


class ConnectionNotFound(NotFound):
    """There is no such connection."""


class ConnectionDisconnected(Conflict):
    """This account was disconnected: nothing is asked of its supplier any more."""


class ReconnectFirst(Conflict):
    """The supplier no longer accepts this connection's credentials: it is to be connected again."""

    code = "supplier_reconnect_needed"


class SandboxNotHere(Invalid):
    """No sandbox answers here for this supplier."""


class SandboxOnly(Invalid):
    """Here the sandbox answers, and no supplier is called: MOCK_MODE is true."""


@dataclass(frozen=True, slots=True)
class Reached:
    """What it takes to call a connection's supplier."""

    id: UUID
    merchant_id: UUID
    name: str
    sandbox: bool
    secrets_version: int  # of the secrets in `connection`: say it to `reconnect_needed`
    adapter: base.Adapter
    connection: base.Connection


def reach(session: Session, connection_id: UUID) -> Reached:
    """The adapter and what it is given, for a connection that may be used.

    Raises ConnectionNotFound, ConnectionDisconnected, ReconnectFirst, TokenAwaited, SandboxNotHere, SandboxOnly,
    CredentialsUnreadable.
    """
    row = get_connection(session, connection_id, secrets=True)
    if row.state == "disconnected":
        raise ConnectionDisconnected
    if row.state == "reconnect_needed":
        raise ReconnectFirst(row.problem)
    see_to_expiry(session, row)
    found = adapter(row.supplier)
    return Reached(
        id=row.id,
        merchant_id=row.merchant_id,
        name=row.name,
        sandbox=row.sandbox,
        secrets_version=row.secrets_version,
        adapter=found,
        connection=metered(found, connection_of(row, read(row)), connection_id=row.id),
    )


def get_connection(session: Session, id_: UUID, *, lock: bool = False, secrets: bool = False) -> Connection:
    """The connection, if it is the merchant's; with its `secrets`, which are left where they are otherwise.

    Raises ConnectionNotFound.
    """
    options = [undefer(Connection.secrets)] if secrets else None
    row = session.get(Connection, id_, with_for_update=lock or None, populate_existing=lock, options=options)
    if row is None:
        raise ConnectionNotFound
    return row


def connection_of(row: Connection, secrets: Mapping[str, str]) -> base.Connection:
    """What an adapter is given for this row and these secrets. Raises SandboxNotHere, SandboxOnly."""
    return base.Connection(
        secrets=secrets,
        base_url=base_url(row.supplier, sandbox=row.sandbox),
        language=row.language,
        country=row.country,
        currency=row.currency,
    )


def base_url(supplier: str, *, sandbox: bool, settings: Settings | None = None) -> str | None:
    """Where the supplier is called: None for its own address. Raises NoSuchSupplier, SandboxNotHere, SandboxOnly."""
    settings = settings or get_settings()
    path = adapter(supplier).SANDBOX
    if not sandbox:
        if settings.mock_mode == "true":
            raise SandboxOnly(param="sandbox")
        return None
    if not has_sandbox(supplier, settings=settings):
        raise SandboxNotHere(param="sandbox")
    return f"{(settings.sandbox_url or '').rstrip('/')}{path}"


def has_sandbox(supplier: str, *, settings: Settings | None = None) -> bool:
    """Whether the operator's sandbox may answer for the supplier. Raises NoSuchSupplier."""
    settings = settings or get_settings()
    allowed = settings.mock_mode != "false" and settings.sandbox_url is not None
    return allowed and adapter(supplier).SANDBOX is not None


def reconnect_needed(session: Session, id_: UUID, *, secrets_version: int, reason: str) -> bool:
    """Mark a connection whose supplier refused the secrets of that version.

    False: it has others since, or is to have them soon (`reach` says when); try those.
    """
    row = session.scalar(select(Connection).where(Connection.id == id_).with_for_update())
    if row is None or row.secrets_version != secrets_version:
        return False
    if row.state == "active" and renew_refused(session, row):
        return False
    if row.state == "active":
        row.state, row.problem = "reconnect_needed", reason
    session.flush()
    return True


@contextmanager
def heeding_refusals(reached: Reached) -> Iterator[None]:
    """Call the supplier inside: refused credentials are renewed where they can be, or else the connection is marked.

    Raises TokenAwaited where there are others, or soon will be: begin again with `reach`; ReconnectNeeded where it is
    marked.
    """
    try:
        yield
    except ReconnectNeeded as error:
        with transaction(merchant_id=reached.merchant_id) as session:
            version = reached.secrets_version
            marked = reconnect_needed(session, reached.id, secrets_version=version, reason=error.detail)
        if marked:
            raise
        raise TokenAwaited(retry_after=1) from error
