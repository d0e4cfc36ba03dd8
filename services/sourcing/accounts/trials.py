"""Trying credentials: with the supplier, before anything is kept, and outside of any transaction."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from services.core.clock import now
from services.core.errors import Invalid
from services.core.ids import new_id
from services.core.settings import get_settings
from services.sourcing.accounts.credentials import complete, digest, read
from services.sourcing.accounts.reach import ConnectionDisconnected, base_url, connection_of, get_connection
from services.sourcing.quotas.meter import metered
from services.suppliers import base
from services.suppliers.errors import FatalForConnection, ReconnectNeeded
from services.suppliers.registry import adapter

PATIENCE_SECONDS = 20.0  # somebody waits for the answer


class CredentialsRefused(Invalid):
    """The supplier does not accept these credentials."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Credentials to be tried."""

    merchant_id: UUID
    connection_id: UUID  # of the row they are for; of a new one, if there is none yet
    supplier: str
    sandbox: bool
    connection: base.Connection
    instead_of: int = 0  # the version of those they are to replace; 0: of none


@dataclass(frozen=True, slots=True)
class Tested:
    """Credentials that their supplier has just taken."""

    trial: Trial
    identity: base.Identity
    account_key: str = field(repr=False)
    at: datetime


def new_trial(
    merchant_id: UUID,
    supplier: str,
    given: Mapping[str, str],
    *,
    sandbox: bool | None,
    language: str,
    country: str,
    currency: str,
) -> Trial:
    """Secrets for a connection that is not there yet. `sandbox` None: not, unless MOCK_MODE is true.

    Raises NoSuchSupplier, SecretsIncomplete, SandboxNotHere, SandboxOnly.
    """
    if sandbox is None:
        sandbox = get_settings().mock_mode == "true"
    connection = base.Connection(
        secrets=complete(supplier, given),
        base_url=base_url(supplier, sandbox=sandbox),
        language=language,
        country=country,
        currency=currency,
    )
    return Trial(
        merchant_id=merchant_id, connection_id=new_id(), supplier=supplier, sandbox=sandbox, connection=connection
    )


def trial_of(session: Session, connection_id: UUID, given: Mapping[str, str]) -> Trial:
    """Secrets to put in place of a connection's; those that are not given stay.

    Raises ConnectionNotFound, ConnectionDisconnected, SecretsIncomplete, SandboxNotHere, SandboxOnly,
    CredentialsUnreadable.
    """
    row = get_connection(session, connection_id)
    if row.state == "disconnected":
        raise ConnectionDisconnected
    secrets = complete(row.supplier, given, before=read(row))
    return Trial(
        merchant_id=row.merchant_id,
        connection_id=row.id,
        supplier=row.supplier,
        sandbox=row.sandbox,
        connection=connection_of(row, secrets),
        instead_of=row.secrets_version,
    )


def try_out(trial: Trial, *, account: str | None = None) -> Tested:
    """Have the supplier say whose credentials these are; `account`, where it is known without that.

    No transaction may be open. Raises CredentialsRefused with the supplier's reason, and what else an adapter may
    raise (`services.suppliers.errors`): away, over its quota, no permission.
    """
    asked = adapter(trial.supplier)
    connection = metered(asked, trial.connection, connection_id=trial.connection_id)
    try:
        said = asked.who_am_i(replace(connection, deadline_seconds=PATIENCE_SECONDS))
    except ReconnectNeeded as error:
        raise CredentialsRefused(error.detail, param="secrets", **error.extra) from error
    except FatalForConnection as error:
        if error.kind == "signature":  # an app's secret that is wrong signs wrongly
            raise CredentialsRefused(error.detail, param="secrets", **error.extra) from error
        raise
    account = account or said.account
    named = {"account": account} if account else {name: trial.connection.secrets[name] for name in asked.SECRETS}
    return Tested(
        trial=trial,
        identity=base.Identity(account=account, balance=said.balance, checked=said.checked),
        account_key=digest(trial.merchant_id, named),
        at=now(),
    )
