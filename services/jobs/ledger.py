"""The hot path: what a worker process writes to the ledger, always for many jobs in one statement.

All functions take a kept psycopg connection in autocommit mode and run one transaction as the ledger role, pipelined:
one round trip whatever the number of jobs. The caller groups (workers/ledger_writer.py).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import TupleRow

Connection = psycopg.Connection[TupleRow]

STALL_SECONDS = 15.0  # the longest a statement on the ledger may take; leases are longer


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that is ours to run, for as long as `claims` is still the row's."""

    id: UUID
    merchant_id: UUID
    kind: str
    args: dict[str, Any]
    attempt: int
    max_attempts: int
    claims: int
    timeout_seconds: int | None
    request_id: str | None
    parent_id: UUID | None
    cancel_requested_at: datetime | None


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt leaves `running`. `delay` is seconds from now for `scheduled`; `refund` gives the attempt back."""

    id: UUID
    claims: int
    state: str
    reason: str
    refund: int = 0
    delay: float = 0.0
    result: str | None = None  # JSON text
    error_code: str | None = None
    error_message: str | None = None
    error_fingerprint: str | None = None


# Lock first, look second: an UPDATE that looks at the state while it waits for a lock can miss a row whose other
# writer is just committing. Ordered, so that two writers never wait for each other.
_LOCK = "SELECT FROM jobs WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE"

# The second branch is for a claim whose answer was lost with the connection: the row is already ours.
_CLAIM = """
UPDATE jobs SET
    state = 'running', reason = 'claimed', attempt = attempt + (state = 'queued')::int, claims = claims + 1,
    worker = %(worker)s, started_at = clock_timestamp(),
    lease_until = clock_timestamp() + make_interval(secs => %(lease)s),
    error_code = NULL, error_message = NULL, error_fingerprint = NULL, rings = 0
WHERE id = ANY(%(ids)s)
  AND ((state = 'queued' AND rung_at IS NOT NULL) OR (state = 'running' AND worker = %(worker)s))
RETURNING id, merchant_id, kind, args, attempt, max_attempts, claims, timeout_seconds, request_id, parent_id,
    cancel_requested_at
"""

# An ended attempt of a parent waits for its children, whatever its own outcome; `settle_parents` ends it.
# A retry or snooze of a job that someone wants cancelled is a cancellation.
FINISH = """
UPDATE jobs j SET
    state = f.state, reason = f.reason, attempt = j.attempt - f.refund,
    run_at = CASE WHEN f.state = 'scheduled' THEN clock_timestamp() + make_interval(secs => f.delay) ELSE j.run_at END,
    queued_at = CASE WHEN f.state = 'queued' THEN clock_timestamp() ELSE j.queued_at END,
    ended_at = CASE WHEN f.state IN ('succeeded', 'failed', 'cancelled') THEN clock_timestamp() END,
    lease_until = NULL, rung_at = NULL,
    result = coalesce(f.result, j.result), error_code = f.error_code, error_message = f.error_message,
    error_fingerprint = f.error_fingerprint
FROM (
    SELECT given.id, given.claims, given.refund, given.delay, given.result::jsonb AS result,
        given.error_code, given.error_message, given.error_fingerprint,
        CASE WHEN parent.id IS NOT NULL AND given.state IN ('succeeded', 'failed', 'cancelled') THEN 'waiting'
             WHEN given.state IN ('scheduled', 'queued') AND own.cancel_requested_at IS NOT NULL THEN 'cancelled'
             ELSE given.state END AS state,
        CASE WHEN given.state IN ('scheduled', 'queued') AND own.cancel_requested_at IS NOT NULL
             THEN 'cancel_requested' ELSE given.reason END AS reason
    FROM unnest(%(ids)s::uuid[], %(claims)s::int[], %(states)s::text[], %(reasons)s::text[], %(refunds)s::int[],
        %(delays)s::float8[], %(results)s::text[], %(codes)s::text[], %(messages)s::text[], %(fingerprints)s::text[])
        AS given (id, claims, state, reason, refund, delay, result, error_code, error_message, error_fingerprint)
    JOIN jobs own ON own.id = given.id
    LEFT JOIN LATERAL (SELECT child.id FROM jobs child WHERE child.parent_id = given.id LIMIT 1) parent ON true
) f
WHERE j.id = f.id AND j.id = ANY(%(ids)s) AND j.claims = f.claims AND j.state = 'running'
RETURNING j.id
"""

_ENTER = """
SELECT set_config('role', 'shopopti_ledger', true), set_config('statement_timeout', %s, true),
    set_config('plan_cache_mode', 'force_generic_plan', true),
    set_config('synchronous_commit', coalesce(%s, current_setting('synchronous_commit')), true)
"""

_RENEW = """
UPDATE jobs j SET lease_until = clock_timestamp() + make_interval(secs => %(lease)s)
FROM unnest(%(ids)s::uuid[], %(claims)s::int[]) AS held (id, claims)
WHERE j.id = held.id AND j.claims = held.claims AND j.state = 'running'
RETURNING j.id
"""

_PROGRESS = """
UPDATE jobs j SET progress_done = p.done, progress_total = p.total, progress_note = p.note
FROM unnest(%s::uuid[], %s::int[], %s::bigint[], %s::bigint[], %s::text[]) AS p (id, claims, done, total, note)
WHERE j.id = p.id AND j.claims = p.claims AND j.state = 'running'
"""

_UNRING = """
UPDATE jobs SET rung_at = NULL
WHERE id IN (SELECT id FROM jobs WHERE id = ANY(%s) AND state = 'queued' AND rung_at IS NOT NULL
             ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)
"""


def claim(connection: Connection, ids: Sequence[UUID], *, worker: str, lease_seconds: float) -> list[Claim]:
    """Claim the rung jobs of `ids`. Returns those that are now ours: the others someone else has, or they are over.

    Safe to call again after a lost connection.
    """
    # A claim lost in a crash of the server is a job still queued; what the job itself commits comes after the claim in
    # the log, and takes it along to disk.
    with transaction(connection, synchronous=False):
        connection.execute(_LOCK, (sorted(ids),))
        claimed = connection.execute(_CLAIM, {"ids": list(ids), "worker": worker, "lease": lease_seconds})
    return [Claim(*row) for row in claimed.fetchall()]


def finish(connection: Connection, endings: Sequence[Ending]) -> set[UUID]:
    """Write endings. Returns the ids whose attempt was still ours; the other endings came too late and are dropped.

    Safe to call again after a lost connection.
    """
    with transaction(connection):
        connection.execute(_LOCK, (sorted(ending.id for ending in endings),))
        finished = connection.execute(FINISH, finish_arguments(endings))
    return {row[0] for row in finished.fetchall()}


def finish_arguments(endings: Sequence[Ending]) -> dict[str, Any]:
    """The arrays that FINISH takes."""
    return {
        "ids": [e.id for e in endings],
        "claims": [e.claims for e in endings],
        "states": [e.state for e in endings],
        "reasons": [e.reason for e in endings],
        "refunds": [e.refund for e in endings],
        "delays": [e.delay for e in endings],
        "results": [e.result for e in endings],
        "codes": [e.error_code for e in endings],
        "messages": [e.error_message for e in endings],
        "fingerprints": [e.error_fingerprint for e in endings],
    }


def renew(connection: Connection, held: dict[UUID, int], *, lease_seconds: float) -> set[UUID]:
    """Extend the leases of `held` (id → claims). Returns the ids that are still ours."""
    with transaction(connection):
        connection.execute(_LOCK, (sorted(held),))
        renewed = connection.execute(_RENEW, {"ids": list(held), "claims": list(held.values()), "lease": lease_seconds})
    return {row[0] for row in renewed.fetchall()}


def cancel_requests(connection: Connection, ids: Sequence[UUID]) -> set[UUID]:
    """Which of these running jobs someone wants stopped."""
    with transaction(connection):
        wanted = connection.execute(
            "SELECT id FROM jobs WHERE id = ANY(%s) AND cancel_requested_at IS NOT NULL", (list(ids),)
        )
    return {row[0] for row in wanted.fetchall()}


def write_progress(
    connection: Connection, rows: Sequence[tuple[UUID, int, int | None, int | None, str | None]]
) -> None:
    """Store (id, claims, done, total, note) of running jobs."""
    with transaction(connection):
        connection.execute(_LOCK, (sorted(row[0] for row in rows),))
        connection.execute(_PROGRESS, tuple(list(column) for column in zip(*rows, strict=True)))


def unring(connection: Connection, ids: Sequence[UUID]) -> None:
    """Take back doorbells that will not be answered, so that the relay rings elsewhere at once."""
    with transaction(connection):
        connection.execute(_UNRING, (list(ids),))


@contextmanager
def transaction(connection: Connection, *, synchronous: bool = True) -> Iterator[None]:
    """One transaction and one round trip as the ledger role: results are read after the block.

    No statement may hang: a stalled one raises QueryCanceled. Not `synchronous`: the commit does not wait for the disk.

    The statements of a pipeline are one transaction by themselves, so BEGIN and COMMIT are spared. Plans are made once
    per connection: every statement here goes by id or by a partial index whatever its arguments, and planning them
    anew cost more than running them (445 against 345 µs to claim one job, 748 against 390 to end it).
    """
    with connection.pipeline():
        connection.execute(_ENTER, (f"{STALL_SECONDS * 1000:.0f}", None if synchronous else "off"))
        yield
