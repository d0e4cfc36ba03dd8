"""Connections: a merchant's accounts at suppliers, connected, changed and given up.

Credentials are tried outside of any transaction (`trials.try_out`); what was tested is then kept in a short one.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from services.core.errors import Conflict
from services.core.paging import Page, Slice, paginate
from services.imports.receive import known_currency
from services.imports.sources import create_source
from services.jobs.control import cancel_jobs
from services.models import Connection, Intent, Job, Schedule, Source
from services.sourcing.accounts.credentials import write
from services.sourcing.accounts.reach import ConnectionDisconnected, get_connection
from services.sourcing.accounts.rules import kept
from services.sourcing.accounts.trials import Tested
from services.sourcing.quotas import breaker
from services.suppliers.registry import adapter

ENDED = ("succeeded", "failed", "cancelled")


class ConnectionNameTaken(Conflict):
    """There is already a connection with this name."""


class AlreadyConnected(Conflict):
    """This account is connected already."""


class AnotherAccount(Conflict):
    """These credentials belong to another account than the connection: connect it under a name of its own."""


class OrdersInDoubt(Conflict):
    """It is not known yet whether an order arrived at this supplier; finding out takes the credentials."""


class CredentialsChanged(Conflict):
    """The connection's credentials were replaced while these were tried; look at it, and try again."""


def connect(session: Session, tested: Tested, *, name: str, **settings: Any) -> Connection:
    """Keep an account whose credentials were tested, and make the catalogue's source of its name.

    Settings: language, country, currency, rules. A connection of that name that was disconnected from the same
    supplier comes back, with its offers, its links, and the settings that are not given.

    Raises ConnectionNameTaken; AlreadyConnected, with the `connection_id`; SourceNameTaken, when feeds use the name;
    AnotherAccount, CurrencyUnknown.
    """
    trial = tested.trial
    own = select(Connection).where(Connection.merchant_id == trial.merchant_id, Connection.name == name)
    row = before = session.scalar(own.with_for_update())
    if row is None:
        row = Connection(id=trial.connection_id, merchant_id=trial.merchant_id, name=name)
        row.supplier, row.sandbox = trial.supplier, trial.sandbox
    else:
        _must_be_given_up(row, tested)
    _change(row, settings)
    _put(session, row, tested)
    if before is None or not _has_source(session, row):
        create_source(session, merchant_id=trial.merchant_id, name=name, currency=row.currency)
    return row


def update_connection(session: Session, id_: UUID, changes: Mapping[str, Any]) -> Connection:
    """Change language, country, currency or rules. What was synced before stays until the next run.

    Raises ConnectionNotFound, ConnectionDisconnected, CurrencyUnknown.
    """
    row = get_connection(session, id_, lock=True)
    if row.state == "disconnected":
        raise ConnectionDisconnected
    _change(row, changes)
    row.updated_at = func.clock_timestamp()
    session.flush()
    session.refresh(row)
    return row


def replace_credentials(session: Session, id_: UUID, tested: Tested) -> Connection:
    """Keep tested credentials in place of those that their trial was to replace; the breaker starts anew.

    Jobs that run with the old ones go on with them, and ask for the new ones when those are refused. Raises
    ConnectionNotFound, ConnectionDisconnected, CredentialsChanged, AnotherAccount, AlreadyConnected.
    """
    row = get_connection(session, id_, lock=True)
    if row.state == "disconnected":
        raise ConnectionDisconnected
    if row.secrets_version != tested.trial.instead_of:
        raise CredentialsChanged
    _same_account(row, tested)
    _put(session, row, tested)
    return row


def disconnect(session: Session, id_: UUID) -> Connection:
    """Forget an account's credentials, disable its schedules, and have its syncs end at their next step.

    Its offers and links stay, as those of a connection that is `disconnected`: nothing is ordered over it, and no plan
    is made of them. Doing it again does nothing. Raises ConnectionNotFound, and OrdersInDoubt with the `intent_ids`.
    """
    row = get_connection(session, id_, lock=True)
    if row.state == "disconnected":
        return row
    in_doubt = select(Intent.id).where(Intent.connection_id == id_, Intent.state.in_(("sending", "unknown")))
    if intents := session.scalars(in_doubt.where(Intent.merchant_id == row.merchant_id).limit(100)).all():
        raise OrdersInDoubt(intent_ids=[str(one) for one in intents])
    row.state, row.secrets, row.hints, row.problem = "disconnected", None, {}, None
    row.secrets_version += 1
    _forget_past(row)
    session.flush()
    breaker.close(session, row.id, merchant_id=row.merchant_id)
    session.execute(update(Schedule).where(Schedule.args["connection_id"].astext == str(id_)).values(enabled=False))
    syncs = select(Job.id).where(Job.queue == "sync", Job.args["connection_id"].astext == str(id_))
    cancel_jobs(session, session.scalars(syncs.where(Job.state.not_in(ENDED))).all())
    session.flush()
    session.refresh(row)
    return row


def list_connections(
    session: Session, page: Page, *, merchant_id: UUID, supplier: str | None = None, state: str | None = None
) -> Slice[Connection]:
    """A page of connections, newest first."""
    statement = select(Connection).where(Connection.merchant_id == merchant_id)
    if supplier is not None:
        statement = statement.where(Connection.supplier == supplier)
    if state is not None:
        statement = statement.where(Connection.state == state)
    found: Slice[Connection] = paginate(session, statement, id_column=Connection.id, page=page)
    return found


def _must_be_given_up(row: Connection, tested: Tested) -> None:
    """Raise unless the row is a connection to this supplier that was disconnected, and perhaps to this account."""
    same_supplier = (row.supplier, row.sandbox) == (tested.trial.supplier, tested.trial.sandbox)
    if row.state != "disconnected" and same_supplier and row.account_key == tested.account_key:
        raise AlreadyConnected(connection_id=str(row.id))
    if row.state != "disconnected" or not same_supplier:
        raise ConnectionNameTaken(param="name")
    _same_account(row, tested)


def _same_account(row: Connection, tested: Tested) -> None:
    """Raise AnotherAccount where the supplier named both, and differently: what was ordered is known to one of them.

    A feed takes no orders; it may move to another address.
    """
    account = tested.identity.account
    named = row.account is not None and account is not None
    if named and row.account != account and adapter(row.supplier).CAPABILITIES.orders:
        raise AnotherAccount


def _has_source(session: Session, row: Connection) -> bool:
    named = select(Source.id).where(Source.merchant_id == row.merchant_id, Source.name == row.name)
    return session.scalar(named) is not None


def _change(row: Connection, changes: Mapping[str, Any]) -> None:
    changes = dict(changes)
    if "currency" in changes:
        row.currency = known_currency(changes.pop("currency")) or row.currency
    if "rules" in changes:
        row.rules = kept(changes.pop("rules"))
    for name, value in changes.items():
        setattr(row, name, value)


def _put(session: Session, row: Connection, tested: Tested) -> None:
    """Write the row with its tested credentials. Raises AlreadyConnected, ConnectionNameTaken."""
    try:
        with session.begin_nested():
            session.add(row)
            write(row, tested.trial.connection.secrets)
            row.account, row.account_key = tested.identity.account, tested.account_key
            row.checked_at = tested.at
            _forget_past(row)
            session.flush()
            breaker.close(session, row.id, merchant_id=row.merchant_id)
    except IntegrityError as error:
        constraint = getattr(getattr(error.orig, "diag", None), "constraint_name", None)
        if constraint not in ("connections_account_key", "connections_merchant_id_name_key"):
            raise
        if (other := session.scalar(_of_account(tested))) is not None:
            raise AlreadyConnected(connection_id=str(other)) from None
        raise ConnectionNameTaken(param="name") from None
    session.refresh(row)


def _of_account(tested: Tested) -> Select[UUID]:
    trial = tested.trial
    return select(Connection.id).where(
        Connection.merchant_id == trial.merchant_id,
        Connection.supplier == trial.supplier,
        Connection.sandbox == trial.sandbox,
        Connection.account_key == tested.account_key,
        Connection.state != "disconnected",
    )


def _forget_past(row: Connection) -> None:
    """What is known of the secrets before says nothing of others."""
    row.token_expires_at = row.refresh_expires_at = row.renewing_until = None
    row.updated_at = func.clock_timestamp()
