"""Answers kept under an Idempotency-Key, so that a request sent twice acts once.

The key's row is written in the transaction of the work itself: either both are there or neither. Only answers are
kept, not refusals: after an error the same key may be used again.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from services.core.db import sqlstate
from services.core.errors import Conflict, Invalid

KEPT = timedelta(hours=24)
MAX_KEY_LENGTH = 255
PATIENCE_SECONDS = 10


class IdempotencyKeyReused(Invalid):
    """This Idempotency-Key came with another request before; use a new one."""


class IdempotencyKeyInUse(Conflict):
    """The first request with this Idempotency-Key is still being worked on; try again in a moment."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the first request was answered."""

    status: int
    body: Any


# An expired row is as good as none: the newcomer takes it over.
_RESERVE = text("""
INSERT INTO idempotency_keys AS kept (merchant_id, key, route, fingerprint, expires_at)
VALUES (nullif(current_setting('shopopti.merchant_id', true), '')::uuid, :key, :route, :fingerprint, now() + :kept)
ON CONFLICT (merchant_id, key) DO UPDATE SET route = excluded.route, fingerprint = excluded.fingerprint,
    status = NULL, body = NULL, created_at = now(), expires_at = excluded.expires_at
WHERE kept.expires_at < now()
RETURNING true
""")
_READ = text("SELECT route, fingerprint, status, body FROM idempotency_keys WHERE key = :key")
_KEEP = text("UPDATE idempotency_keys SET status = :status, body = cast(:body AS jsonb) WHERE key = :key")
_LOCK_TIMEOUT = text("SELECT set_config('lock_timeout', :timeout, true)")


def reserve(session: Session, *, key: str, route: str, fingerprint: str) -> Answer | None:
    """Take the key for the transaction's merchant: None means go on, an Answer is to be given again.

    Waits while another transaction holds the same key. Raises IdempotencyKeyReused when it came with something else,
    IdempotencyKeyInUse when the wait takes too long.
    """
    before = session.execute(text("SELECT current_setting('lock_timeout')")).scalar_one()
    session.execute(_LOCK_TIMEOUT, {"timeout": f"{PATIENCE_SECONDS}s"})
    try:
        taken = session.execute(
            _RESERVE, {"key": key, "route": route, "fingerprint": fingerprint, "kept": KEPT}
        ).scalar_one_or_none()
    except OperationalError as error:
        if sqlstate(error) == "55P03":  # lock_not_available
            raise IdempotencyKeyInUse(retry_after=2) from error
        raise
    session.execute(_LOCK_TIMEOUT, {"timeout": before})
    if taken:
        return None
    kept = session.execute(_READ, {"key": key}).one()
    if (kept.route, kept.fingerprint) != (route, fingerprint):
        raise IdempotencyKeyReused(param="Idempotency-Key")
    return Answer(kept.status, kept.body)


def keep(session: Session, *, key: str, status: int, body: str) -> None:
    """Keep the answer (`body` is JSON text) under the key taken by `reserve` in this transaction."""
    session.execute(_KEEP, {"key": key, "status": status, "body": body})
