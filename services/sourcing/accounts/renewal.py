"""Access tokens renewed before they expire, by exactly one of all who would.

AliExpress replaces both tokens at once: two who renew together would leave one with tokens that are worth nothing. So
whoever renews says so in the row first, and is left alone until `renewing_until`; what came of it is kept only in place
of the secrets it was made of. No transaction is open while AliExpress is asked.

An answer that was lost may have spent the token that renews. It is tried again with the same one: either that works, or
AliExpress refuses it and the connection needs its merchant (decision 0015).
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from services.core.clock import now
from services.core.db import transaction
from services.core.errors import ShopOptiError, Unavailable
from services.jobs import Outcome, Run, Snooze
from services.models import Connection
from services.sourcing.accounts.credentials import read, write
from services.sourcing.accounts.expiry import renew_in_time
from services.sourcing.accounts.reach import (
    ConnectionNotFound,
    SandboxNotHere,
    SandboxOnly,
    connection_of,
    get_connection,
)
from services.sourcing.jobs import RenewTokens
from services.suppliers import base
from services.suppliers.aliexpress.tokens import Tokens, refresh
from services.suppliers.errors import FatalForConnection, ReconnectNeeded, SupplierError

CALL_SECONDS = 30.0
LEASE = timedelta(seconds=60)  # more than the call takes
WRITE_SECONDS = 30.0  # tokens that were given are not lost because the database is away for a moment
AGAIN_SECONDS = 30.0  # AliExpress was away, or its answer was lost
MENDING_SECONDS = 3600.0  # the app is refused: somebody must mend it


class RenewalUnderway(Unavailable):
    """The connection's tokens are being renewed; there are others in a moment."""


@dataclass(frozen=True, slots=True)
class _Claim:
    connection: base.Connection
    until: datetime
    refusal: str | None = None  # why it cannot be renewed


def keep_tokens(session: Session, row: Connection, tokens: Tokens) -> None:
    """Write what a supplier gave into the row, which must be locked, and see to it that it is renewed in time."""
    before = {name: value for name, value in read(row).items() if name not in ("access_token", "refresh_token")}
    write(row, {**before, **secrets_of(tokens)})
    note_expiry(session, row, tokens)


def note_expiry(session: Session, row: Connection, tokens: Tokens) -> None:
    """Note until when the row's secrets, just given, serve, and have them renewed before."""
    row.token_expires_at, row.refresh_expires_at = tokens.expires_at, tokens.refresh_expires_at
    row.renewing_until, row.checked_at = None, now()
    row.updated_at = func.clock_timestamp()
    session.flush()
    session.refresh(row)
    renew_in_time(session, row)


def secrets_of(tokens: Tokens) -> dict[str, str]:
    """The tokens as a connection's secrets; one that renews nothing is none."""
    renewable = tokens.refresh_token is not None and tokens.refresh_expires_at is not None
    renewing = {"refresh_token": tokens.refresh_token or ""} if renewable else {}
    return {"access_token": tokens.access_token, **renewing}


def run_renewal(run: Run, job: RenewTokens) -> Outcome | None:
    """Renew the tokens the job was made for; if there are others by now, nothing is left to do.

    What stands in the way is waited for without using an attempt. Raises ReconnectNeeded when the merchant must act:
    the job fails with its code, and its event says so.
    """
    try:
        renew(run.merchant_id, job.connection_id, secrets_version=job.secrets_version)
    except ConnectionNotFound:
        return None
    except ReconnectNeeded:
        raise
    except (FatalForConnection, SandboxNotHere, SandboxOnly) as error:
        return Snooze(MENDING_SECONDS, error.code)  # the operator has something to mend
    except (Unavailable, SupplierError) as error:
        return Snooze(max(error.retry_after or 0.0, AGAIN_SECONDS * random.uniform(0.8, 1.2)), error.code)
    return None


def renew(merchant_id: UUID, connection_id: UUID, *, secrets_version: int) -> None:
    """Replace the connection's tokens if they are still those of that version. No transaction may be open.

    Raises RenewalUnderway while another does it; ReconnectNeeded, and then the connection is marked; and what
    `aliexpress.tokens.refresh` raises.
    """
    with transaction(merchant_id=merchant_id) as session:
        claim = _claim(session, connection_id, secrets_version)
    if claim is None:
        return
    if claim.refusal is not None:
        raise ReconnectNeeded(claim.refusal)
    try:
        tokens = refresh(claim.connection, claim.connection.secrets["refresh_token"], at=now())
    except ReconnectNeeded as error:
        reason = f"AliExpress no longer takes the token that renews this connection: {error.detail}"
        with transaction(merchant_id=merchant_id) as session:
            given_up = _give_up(session, connection_id, secrets_version, reason)
        if given_up:
            raise ReconnectNeeded(reason, supplier_code=error.supplier_code) from error
        return  # somebody has put others there
    except ShopOptiError:
        _release(merchant_id, connection_id, claim.until)
        raise
    _keep(merchant_id, connection_id, secrets_version, tokens)


def _claim(session: Session, connection_id: UUID, secrets_version: int) -> _Claim | None:
    """Leave to renew, in the row. None: there is nothing to renew any more. Raises RenewalUnderway."""
    row = get_connection(session, connection_id, lock=True)
    at = now()
    if row.state != "active" or row.secrets_version != secrets_version:
        return None
    if row.renewing_until is not None and row.renewing_until > at:
        raise RenewalUnderway(retry_after=min(2.0, (row.renewing_until - at).total_seconds()))
    secrets = read(row)
    connection = replace(connection_of(row, secrets), deadline_seconds=CALL_SECONDS)
    refusal = _refusal(row, secrets, at)
    if refusal is not None:
        _give_up(session, connection_id, secrets_version, refusal)
        return _Claim(connection, at, refusal)
    row.renewing_until = at + LEASE
    session.flush()
    return _Claim(connection, row.renewing_until)


def _refusal(row: Connection, secrets: Mapping[str, str], at: datetime) -> str | None:
    if "refresh_token" not in secrets:
        return "The access to the account has expired, and AliExpress gave nothing to renew it with: connect it again."
    if row.refresh_expires_at is not None and row.refresh_expires_at <= at:
        return "The access to the account was not renewed in time: connect it again."
    return None


def _give_up(session: Session, connection_id: UUID, secrets_version: int, reason: str) -> bool:
    """Mark the connection, if its secrets are still those of that version: its merchant must act."""
    row = session.scalar(select(Connection).where(Connection.id == connection_id).with_for_update())
    if row is None or row.secrets_version != secrets_version or row.state != "active":
        return False
    row.state, row.problem, row.renewing_until = "reconnect_needed", reason, None
    session.flush()
    return True


def _release(merchant_id: UUID, connection_id: UUID, until: datetime) -> None:
    mine = update(Connection).where(Connection.id == connection_id, Connection.renewing_until == until)
    with transaction(merchant_id=merchant_id) as session:
        session.execute(mine.values(renewing_until=None))


def _keep(merchant_id: UUID, connection_id: UUID, secrets_version: int, tokens: Tokens) -> None:
    """Keep what was given, whatever it takes: nobody gives it twice."""
    # Here, because every API process would carry it (4 MB), and few ever renew.
    from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

    patient: Any = Retrying(
        stop=stop_after_delay(WRITE_SECONDS),
        wait=wait_exponential_jitter(multiplier=0.1, max=3.0, jitter=0.2),
        retry=retry_if_exception_type(Unavailable),
        reraise=True,
    )
    for attempt in patient:
        with attempt, transaction(merchant_id=merchant_id) as session:
            row = get_connection(session, connection_id, lock=True)
            # Replaced meanwhile, or given up: then those tokens are nobody's.
            if row.state == "active" and row.secrets_version == secrets_version:
                keep_tokens(session, row, tokens)
