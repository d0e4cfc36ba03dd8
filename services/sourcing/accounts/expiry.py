"""When a connection's token ends, and who sees to it that there is another one: always a job.

It is enqueued with the tokens, for three quarters of their life; at once, when a token is used that is about to end or
is refused. `renewal` does the work.
"""

import random
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from services.core.clock import now
from services.core.errors import TooMany
from services.jobs import enqueue
from services.models import Connection
from services.sourcing.jobs import RenewTokens

SHARE = 0.75  # of a token's life, after which it is renewed
NEAR = timedelta(minutes=10)  # so little before its end it is renewed when it is used
AWAITED = timedelta(minutes=10)  # so long after its end, or after it was refused, it is not tried but waited for
FRESH = timedelta(minutes=10)  # a token as young as that which is refused is not worth renewing


class TokenAwaited(TooMany):
    """The access to this account is being renewed."""


def renew_in_time(session: Session, row: Connection) -> None:
    """Have the row's tokens renewed before they end; those that cannot be are told as ended then."""
    at, expires = now(), row.token_expires_at or now()
    if _is_renewable(row):
        ends = min(expires, row.refresh_expires_at or expires)
        expires = at + max(ends - at, timedelta()) * SHARE * random.uniform(0.95, 1.0)
    _enqueue(session, row, run_at=expires, when="in time")


def see_to_expiry(session: Session, row: Connection) -> None:
    """Have a token that is about to end renewed; until then it serves.

    Raises TokenAwaited for one that has just ended or was refused: there is another in a moment.
    """
    if not _is_renewable(row) or row.token_expires_at is None:
        return
    left = row.token_expires_at - now()
    if -AWAITED < left <= timedelta():
        raise TokenAwaited(retry_after=3)
    if left <= NEAR:
        _enqueue(session, row, run_at=None, when="now")


def renew_refused(session: Session, row: Connection) -> bool:
    """Whether a refused token (the row is locked) is renewed: once, if it can be, and if it is not new itself."""
    if not _is_renewable(row) or (row.checked_at is not None and now() - row.checked_at < FRESH):
        return False
    row.token_expires_at = now()
    _enqueue(session, row, run_at=None, when="now")
    session.flush()
    return True


def _is_renewable(row: Connection) -> bool:
    return "refresh_token" in row.hints


def _enqueue(session: Session, row: Connection, *, run_at: datetime | None, when: str) -> None:
    job = RenewTokens(connection_id=row.id, secrets_version=row.secrets_version)
    unique = f"{row.id} {row.secrets_version} {when}"
    enqueue(session, job, merchant_id=row.merchant_id, run_at=run_at, unique_key=unique)
