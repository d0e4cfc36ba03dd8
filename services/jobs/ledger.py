"""The hot path: what a worker process writes to the ledger, always for many jobs in one statement.

All functions take a kept psycopg connection in autocommit mode and run one transaction as the ledger role, pipelined:
one round trip whatever the number of jobs. The caller groups (workers/ledger_writer.py).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

import psycopg
from psycopg.rows import TupleRow

Connection = psycopg.Connection[TupleRow]
Answer = TypeVar("Answer")

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
    progress: "tuple[int | None, int | None, str | None]" = (None, None, None)  # None: as it was last reported


# Lock first, look second: an UPDATE that looks at the state while it waits for a lock can miss a row whose other
# writer is just committing. What somebody else holds is not waited for: one stuck row must not cost the others of its
# group their claim, their ending or their lease. The caller asks again for the busy ones. Ordered, so that two writers
# never wait for each other; which rows are ours now is told to the next statement through a setting.
_LOCK = """
WITH free AS MATERIALIZED (
    SELECT id FROM jobs WHERE id = ANY(%(ids)s) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
)
SELECT set_config('shopopti.free', (SELECT coalesce(array_agg(id), '{}')::text FROM free), true),
    ARRAY(SELECT id FROM jobs WHERE id = ANY(%(ids)s) EXCEPT SELECT id FROM free) AS busy
"""
_FREE = "ANY(current_setting('shopopti.free')::uuid[])"

# The second branch is for a claim whose answer was lost with the connection: the row is already ours.
_CLAIM = f"""
UPDATE jobs SET
    state = 'running', reason = 'claimed', attempt = attempt + (state = 'queued')::int, claims = claims + 1,
    worker = %(worker)s, started_at = clock_timestamp(),
    lease_until = clock_timestamp() + make_interval(secs => %(lease)s),
    error_code = NULL, error_message = NULL, error_fingerprint = NULL, rings = 0
WHERE id = {_FREE}
  AND ((state = 'queued' AND rung_at IS NOT NULL) OR (state = 'running' AND worker = %(worker)s))
RETURNING id, merchant_id, kind, args, attempt, max_attempts, claims, timeout_seconds, request_id, parent_id,
    cancel_requested_at
"""  # noqa: S608  # what is put in is this module's own

# An ended attempt of a parent waits for its children, whatever its own outcome; `settle_parents` ends it.
# A retry or snooze of a job that someone wants cancelled is a cancellation.
FINISH = """
UPDATE jobs j SET
    state = f.state, reason = f.reason, attempt = j.attempt - f.refund,
    run_at = CASE WHEN f.state = 'scheduled' THEN clock_timestamp() + make_interval(secs => f.delay) ELSE j.run_at END,
    queued_at = CASE WHEN f.state = 'queued' THEN clock_timestamp() ELSE j.queued_at END,
    ended_at = CASE WHEN f.state IN ('succeeded', 'failed', 'cancelled') THEN clock_timestamp() END,
    lease_until = NULL, rung_at = NULL,
    progress_done = coalesce(f.done, j.progress_done), progress_total = coalesce(f.total, j.progress_total),
    progress_note = coalesce(f.note, j.progress_note),
    result = coalesce(f.result, j.result), error_code = f.error_code, error_message = f.error_message,
    error_fingerprint = f.error_fingerprint
FROM (
    SELECT given.id, given.claims, given.refund, given.delay, given.result::jsonb AS result,
        given.error_code, given.error_message, given.error_fingerprint, given.done, given.total, given.note,
        CASE WHEN given.state IN ('scheduled', 'queued') AND own.cancel_requested_at IS NULL THEN given.state
             WHEN parent.id IS NOT NULL THEN 'waiting'
             WHEN given.state IN ('scheduled', 'queued') THEN 'cancelled'
             ELSE given.state END AS state,
        CASE WHEN given.state IN ('scheduled', 'queued') AND own.cancel_requested_at IS NOT NULL
             THEN 'cancel_requested' ELSE given.reason END AS reason
    FROM unnest(%(ids)s::uuid[], %(claims)s::int[], %(states)s::text[], %(reasons)s::text[], %(refunds)s::int[],
        %(delays)s::float8[], %(results)s::text[], %(codes)s::text[], %(messages)s::text[], %(fingerprints)s::text[],
        %(done)s::bigint[], %(totals)s::bigint[], %(notes)s::text[])
        AS given (id, claims, state, reason, refund, delay, result, error_code, error_message, error_fingerprint,
                  done, total, note)
    JOIN jobs own ON own.id = given.id
    LEFT JOIN LATERAL (SELECT child.id FROM jobs child WHERE child.parent_id = given.id LIMIT 1) parent ON true
) f
WHERE j.id = f.id AND j.id = ANY(%(ids)s) AND j.claims = f.claims AND j.state = 'running'
RETURNING j.id
"""
_FINISH_FREE = FINISH.replace("j.id = ANY(%(ids)s)", f"j.id = {_FREE}")

_ENTER = """
SELECT set_config('role', 'shopopti_ledger', true), set_config('statement_timeout', %s, true),
    set_config('plan_cache_mode', 'force_generic_plan', true), set_config('jit', 'off', true),
    set_config('synchronous_commit', coalesce(%s, current_setting('synchronous_commit')), true)
"""

_RENEW = f"""
UPDATE jobs j SET lease_until = clock_timestamp() + make_interval(secs => %(lease)s)
FROM unnest(%(ids)s::uuid[], %(claims)s::int[]) AS held (id, claims)
WHERE j.id = held.id AND j.id = {_FREE} AND j.claims = held.claims AND j.state = 'running'
RETURNING j.id
"""  # noqa: S608  # what is put in is this module's own

_PROGRESS = f"""
UPDATE jobs j SET progress_done = p.done, progress_total = p.total, progress_note = p.note
FROM unnest(%s::uuid[], %s::int[], %s::bigint[], %s::bigint[], %s::text[]) AS p (id, claims, done, total, note)
WHERE j.id = p.id AND j.id = {_FREE} AND j.claims = p.claims AND j.state = 'running'
"""  # noqa: S608  # what is put in is this module's own

_UNRING = """
UPDATE jobs SET rung_at = NULL
WHERE id = ANY (ARRAY(SELECT id FROM jobs WHERE id = ANY(%s) AND state = 'queued' AND rung_at IS NOT NULL
                      ORDER BY id FOR NO KEY UPDATE SKIP LOCKED))
"""


@dataclass(frozen=True, slots=True)
class Written(Generic[Answer]):
    """What a statement answered, and the ids it left alone because somebody else held their rows: ask again."""

    done: Answer
    busy: set[UUID]


def claim(connection: Connection, ids: Sequence[UUID], *, worker: str, lease_seconds: float) -> Written[list[Claim]]:
    """Claim the rung jobs of `ids`. Answers those that are now ours; the rest someone else has, is over, or is busy.

    Safe to call again after a lost connection.
    """
    # A claim lost in a crash of the server is a job still queued; what the job itself commits comes after the claim in
    # the log, and takes it along to disk.
    with transaction(connection, synchronous=False):
        locked = connection.execute(_LOCK, {"ids": list(ids)})
        claimed = connection.execute(_CLAIM, {"worker": worker, "lease": lease_seconds})
    return Written([Claim(*row) for row in claimed.fetchall()], _busy(locked))


def finish(connection: Connection, endings: Sequence[Ending]) -> Written[set[UUID]]:
    """Write endings. Answers the ids whose attempt was still ours; those neither among them nor busy came too late.

    Safe to call again after a lost connection.
    """
    with transaction(connection):
        locked = connection.execute(_LOCK, {"ids": [ending.id for ending in endings]})
        finished = connection.execute(_FINISH_FREE, finish_arguments(endings))
    return Written({row[0] for row in finished.fetchall()}, _busy(locked))


def _busy(locked: psycopg.Cursor[TupleRow]) -> set[UUID]:
    return set(locked.fetchall()[0][1])


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
        "done": [e.progress[0] for e in endings],
        "totals": [e.progress[1] for e in endings],
        "notes": [e.progress[2] for e in endings],
    }


def renew(connection: Connection, held: dict[UUID, int], *, lease_seconds: float) -> Written[set[UUID]]:
    """Extend the leases of `held` (id → claims). Answers the ids that are still ours; neither those nor busy: lost."""
    with transaction(connection):
        locked = connection.execute(_LOCK, {"ids": list(held)})
        renewed = connection.execute(_RENEW, {"ids": list(held), "claims": list(held.values()), "lease": lease_seconds})
    return Written({row[0] for row in renewed.fetchall()}, _busy(locked))


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
    """Store (id, claims, done, total, note) of running jobs, except where somebody holds the row just now."""
    with transaction(connection):
        connection.execute(_LOCK, {"ids": [row[0] for row in rows]})
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
