"""What the relay does to the ledger: make due, ring fairly, ring again, rescue, settle parents, forget.

Every function is one short transaction as the ledger role on a kept connection, safe to run in any number of relays
at once: rows are taken with SKIP LOCKED, a queue is dispatched by whoever holds its row.
"""

from dataclasses import dataclass
from uuid import UUID

from services.jobs.ledger import Connection, transaction

NOBODY = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Doorbell:
    """A job whose bell is to be rung."""

    id: UUID
    kind: str


@dataclass(frozen=True, slots=True)
class Flight:
    """What of a queue is out: rung and not yet claimed, and running."""

    rung: int
    running: int


# What is to be changed is named by an array here and below: a subquery would be planned as a join, and on a table whose
# statistics are behind compared every job with every other, or picked anew for each.
_PROMOTE = """
UPDATE jobs SET state = 'queued', reason = 'due', queued_at = clock_timestamp()
WHERE id = ANY (ARRAY(
    SELECT id FROM jobs WHERE state = 'scheduled' AND run_at <= clock_timestamp()
    ORDER BY run_at LIMIT %s FOR NO KEY UPDATE SKIP LOCKED))
"""

_QUEUES_WITH_WORK = """
SELECT name FROM queues
WHERE paused_at IS NULL
  AND EXISTS (SELECT FROM jobs WHERE queue = name AND state = 'queued' AND rung_at IS NULL)
"""

_FLIGHT = """
SELECT count(*) FILTER (WHERE state = 'queued'), count(*) FILTER (WHERE state = 'running')
FROM jobs WHERE queue = %s AND rung_at IS NOT NULL
"""

_NEXT_MERCHANT = """
SELECT merchant_id FROM jobs
WHERE queue = %(queue)s AND state = 'queued' AND rung_at IS NULL AND merchant_id > {after}
ORDER BY merchant_id LIMIT 1
"""

# One relay fills a queue at a time. The lock is a statement of its own: what the next one sees was committed before.
_TAKE_TURN = """
SELECT set_config('shopopti.turn', coalesce((
    SELECT name FROM queues WHERE name = %s AND paused_at IS NULL FOR NO KEY UPDATE SKIP LOCKED), ''), true)
"""

# Fair dispatch, in words: from the merchant after the
# last one served, walk round the merchants that have waiting jobs (a loose index scan: one probe per merchant, never
# a scan of their backlogs). Give each a share of the free room, bounded by what its cap leaves; take its best jobs;
# interleave, so that everybody's first comes before anybody's second; stop when the room is full.
_RING = f"""
WITH RECURSIVE
turn AS (
    SELECT name, coalesce(last_merchant_id, '{NOBODY}') AS last, coalesce(merchant_cap, %(cap)s) AS cap, max_running
    FROM queues WHERE name = current_setting('shopopti.turn', true)
),
flight AS (
    SELECT merchant_id, count(*) AS jobs, count(*) FILTER (WHERE state = 'queued') AS rung
    FROM jobs WHERE queue = %(queue)s AND rung_at IS NOT NULL GROUP BY merchant_id
),
room AS (
    SELECT greatest(0, least(%(window)s - coalesce(sum(rung), 0),
                             coalesce((SELECT max_running FROM turn), 1000000) - coalesce(sum(jobs), 0))) AS free
    FROM flight
),
behind AS (
    (SELECT first.merchant_id FROM turn, LATERAL ({_NEXT_MERCHANT.format(after="turn.last")}) first)
    UNION ALL
    SELECT next.merchant_id FROM behind, LATERAL ({_NEXT_MERCHANT.format(after="behind.merchant_id")}) next
),
ahead AS (
    (SELECT first.merchant_id FROM turn, LATERAL ({_NEXT_MERCHANT.format(after=f"'{NOBODY}'::uuid")}) first
     WHERE first.merchant_id <= turn.last)
    UNION ALL
    SELECT next.merchant_id FROM turn, ahead, LATERAL ({_NEXT_MERCHANT.format(after="ahead.merchant_id")}) next
    WHERE next.merchant_id <= turn.last
),
seats AS (
    SELECT merchant_id, row_number() OVER () AS seat
    FROM (SELECT merchant_id FROM behind UNION ALL SELECT merchant_id FROM ahead) round
    LIMIT %(window)s + 64
),
shares AS (
    SELECT seats.merchant_id, seat,
        least(coalesce(merchant_caps.max_in_flight, turn.cap) - coalesce(flight.jobs, 0),
              ceil(2.0 * room.free / (SELECT count(*) FROM seats)))::int AS slots
    FROM seats CROSS JOIN turn CROSS JOIN room
    LEFT JOIN flight ON flight.merchant_id = seats.merchant_id
    LEFT JOIN merchant_caps ON merchant_caps.merchant_id = seats.merchant_id AND merchant_caps.queue = turn.name
),
picked AS (
    SELECT best.id, best.kind, shares.merchant_id, shares.seat, best.nth
    FROM shares CROSS JOIN LATERAL (
        SELECT id, kind, row_number() OVER (ORDER BY priority DESC, id) AS nth FROM (
            SELECT id, kind, priority FROM jobs
            WHERE queue = %(queue)s AND merchant_id = shares.merchant_id AND state = 'queued' AND rung_at IS NULL
            ORDER BY priority DESC, id LIMIT greatest(shares.slots, 0) FOR NO KEY UPDATE SKIP LOCKED
        ) taken
    ) best
    ORDER BY best.nth, shares.seat LIMIT (SELECT free FROM room)
),
rung AS (
    UPDATE jobs SET rung_at = clock_timestamp() WHERE id = ANY (ARRAY(SELECT id FROM picked))
    RETURNING id
),
moved AS (
    UPDATE queues SET last_merchant_id = (SELECT merchant_id FROM picked WHERE nth = 1 ORDER BY seat DESC LIMIT 1)
    WHERE name = %(queue)s AND EXISTS (SELECT FROM picked)
)
SELECT picked.id, picked.kind FROM picked JOIN rung ON rung.id = picked.id ORDER BY picked.nth, picked.seat
"""  # noqa: S608  # the parts put in are this module's own

# Oldest first and at most `lost` of them: a queue that is merely busy holds the younger ones at the broker. Each
# further ring waits twice as long, so that a worker-less queue is not flooded with bells.
_RING_AGAIN = """
UPDATE jobs SET rung_at = clock_timestamp(), rings = least(rings + 1, 1000)
WHERE id = ANY (ARRAY(
    SELECT id FROM jobs
    WHERE queue = %(queue)s AND rung_at IS NOT NULL AND state = 'queued'
      AND rung_at < clock_timestamp() - make_interval(secs => %(seconds)s * power(2, least(rings, 6)))
    ORDER BY rung_at LIMIT %(lost)s FOR NO KEY UPDATE SKIP LOCKED))
RETURNING id, kind
"""

_UNRING_PAUSED = """
UPDATE jobs SET rung_at = NULL
WHERE id = ANY (ARRAY(
    SELECT jobs.id FROM jobs JOIN queues ON queues.name = jobs.queue
    WHERE queues.paused_at IS NOT NULL AND rung_at IS NOT NULL AND state = 'queued'
    FOR NO KEY UPDATE OF jobs SKIP LOCKED))
"""

# The lease, not the worker's row or the job's age, says that an attempt is over: a job without a timeout is never
# rescued while its process renews, and there is no page of long jobs for a stuck one to hide behind.
# As at any end, a parent first waits for its children.
_RESCUE = """
UPDATE jobs SET
    state = CASE WHEN cancel_requested_at IS NULL AND attempt < max_attempts THEN 'queued'
                 WHEN EXISTS (SELECT FROM jobs child WHERE child.parent_id = jobs.id) THEN 'waiting'
                 WHEN cancel_requested_at IS NOT NULL THEN 'cancelled' ELSE 'failed' END,
    reason = CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancel_requested'
                  WHEN attempt >= max_attempts THEN 'poisoned' ELSE 'rescued' END,
    ended_at = CASE WHEN (cancel_requested_at IS NOT NULL OR attempt >= max_attempts)
                     AND NOT EXISTS (SELECT FROM jobs child WHERE child.parent_id = jobs.id)
                    THEN clock_timestamp() END,
    queued_at = clock_timestamp(), lease_until = NULL, rung_at = NULL,
    error_code = CASE WHEN cancel_requested_at IS NOT NULL THEN NULL
                      WHEN attempt >= max_attempts THEN 'poisoned' ELSE 'worker_lost' END,
    error_message = CASE WHEN cancel_requested_at IS NULL
        THEN 'The worker running this job stopped answering (attempt ' || attempt || ' of ' || max_attempts || ').' END,
    error_fingerprint = CASE WHEN cancel_requested_at IS NULL AND attempt >= max_attempts THEN 'poisoned' END
WHERE id = ANY (ARRAY(
    SELECT id FROM jobs WHERE rung_at IS NOT NULL AND state = 'running' AND lease_until < clock_timestamp()
    LIMIT %s FOR NO KEY UPDATE SKIP LOCKED))
"""

# A cancelled parent may have gone on and asked for children after the request: they are cancelled like the others.
_CANCEL_LATE_CHILDREN = """
UPDATE jobs SET
    cancel_requested_at = clock_timestamp(),
    state = CASE WHEN state IN ('scheduled', 'queued') THEN 'cancelled' ELSE state END,
    reason = CASE WHEN state IN ('scheduled', 'queued') THEN 'cancel_requested' ELSE reason END,
    ended_at = CASE WHEN state IN ('scheduled', 'queued') THEN clock_timestamp() END,
    rung_at = CASE WHEN state = 'running' THEN rung_at END
WHERE id = ANY (ARRAY(
    SELECT c.id FROM jobs p JOIN jobs c ON c.parent_id = p.id
    WHERE p.state = 'waiting' AND p.cancel_requested_at IS NOT NULL
      AND c.state IN ('scheduled', 'queued', 'running', 'waiting') AND c.cancel_requested_at IS NULL
    LIMIT %s FOR NO KEY UPDATE OF c SKIP LOCKED))
"""

# A parent ends once all its children have, with its own error if it had one. Some succeeded: so did the parent,
# and its result says how many did not. OFFSET 0: each parent's children are looked up by themselves, whatever the
# statistics say of how many there are.
_SETTLE = """
WITH ready AS (
    SELECT p.id FROM jobs p
    WHERE p.state = 'waiting'
      AND NOT EXISTS (SELECT FROM jobs c WHERE c.parent_id = p.id
                      AND c.state IN ('scheduled', 'queued', 'running', 'waiting') OFFSET 0)
    LIMIT %s FOR NO KEY UPDATE SKIP LOCKED
),
tally AS (
    SELECT ready.id, count(c.id) FILTER (WHERE c.state = 'succeeded') AS succeeded,
        count(c.id) FILTER (WHERE c.state = 'failed') AS failed,
        count(c.id) FILTER (WHERE c.state = 'cancelled') AS cancelled
    FROM ready LEFT JOIN jobs c ON c.parent_id = ready.id GROUP BY ready.id
),
verdict AS (
    SELECT tally.*, CASE WHEN p.cancel_requested_at IS NOT NULL THEN 'cancelled'
                         WHEN p.error_code IS NOT NULL OR (tally.succeeded = 0 AND tally.failed > 0) THEN 'failed'
                         ELSE 'succeeded' END AS state
    FROM tally JOIN jobs p USING (id)
)
UPDATE jobs SET
    state = verdict.state,
    reason = CASE WHEN verdict.state = 'succeeded' AND verdict.failed + verdict.cancelled > 0 THEN 'partly_done'
                  WHEN verdict.state = 'succeeded' THEN 'done'
                  WHEN verdict.state = 'cancelled' THEN 'cancel_requested'
                  WHEN jobs.error_code <> 'children_failed' THEN 'failed' ELSE 'children_failed' END,
    error_code = CASE WHEN verdict.state = 'failed' THEN coalesce(jobs.error_code, 'children_failed') END,
    error_message = CASE WHEN verdict.state = 'failed'
        THEN coalesce(jobs.error_message, 'All ' || verdict.failed || ' child jobs failed.') END,
    error_fingerprint = CASE WHEN verdict.state = 'failed'
        THEN coalesce(jobs.error_fingerprint, 'children_failed') END,
    result = coalesce(jobs.result, '{}') || jsonb_build_object('children', jsonb_build_object(
        'succeeded', verdict.succeeded, 'failed', verdict.failed, 'cancelled', verdict.cancelled)),
    ended_at = clock_timestamp()
FROM verdict WHERE jobs.id = verdict.id
"""

_FORGET = """
WITH gone AS (
    DELETE FROM jobs WHERE id = ANY (ARRAY(
        SELECT j.id FROM jobs j
        WHERE j.ended_at < now() - make_interval(days => %(days)s)
          AND NOT EXISTS (SELECT FROM jobs p WHERE p.id = j.parent_id AND p.ended_at IS NULL)
        ORDER BY j.ended_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED))
    RETURNING id
),
events AS (DELETE FROM job_events WHERE job_id = ANY (ARRAY(SELECT id FROM gone)))
SELECT id FROM gone
"""

_FORGET_KEYS = """
DELETE FROM idempotency_keys WHERE (merchant_id, key) IN (
    SELECT merchant_id, key FROM idempotency_keys WHERE expires_at < now()
    ORDER BY expires_at LIMIT %s FOR UPDATE SKIP LOCKED)
"""


def promote(connection: Connection, *, limit: int = 1000) -> int:
    """Queue the scheduled jobs whose time has come. Returns how many."""
    return _run(connection, _PROMOTE, (limit,))


def queues_with_work(connection: Connection) -> list[str]:
    """Unpaused queues in which something waits to be rung."""
    with transaction(connection):
        rows = connection.execute(_QUEUES_WITH_WORK)
    return [row[0] for row in rows.fetchall()]


def flight(connection: Connection, queue: str) -> Flight:
    """How much of the queue is out."""
    with transaction(connection):
        rows = connection.execute(_FLIGHT, (queue,))
    return Flight(*rows.fetchall()[0])


def ring(connection: Connection, queue: str, *, window: int, cap: int) -> list[Doorbell]:
    """Mark the next jobs of the queue as rung, fairly, so that at most `window` are rung and unclaimed.

    The caller rings them in the order given. Nothing comes back when the queue is paused, full, empty, or in another
    relay's hands.
    """
    with transaction(connection, synchronous=False):  # a bell forgotten in a crash is rung again
        connection.execute(_TAKE_TURN, (queue,))
        rows = connection.execute(_RING, {"queue": queue, "window": window, "cap": cap})
    return [Doorbell(*row) for row in rows.fetchall()]


def ring_again(connection: Connection, queue: str, *, lost: int, seconds: float) -> list[Doorbell]:
    """Take up to `lost` of the oldest unanswered bells that are older than `seconds`, to be rung once more."""
    with transaction(connection):
        rows = connection.execute(_RING_AGAIN, {"queue": queue, "lost": lost, "seconds": seconds})
    return [Doorbell(*row) for row in rows.fetchall()]


def unring_paused(connection: Connection) -> int:
    """Take back the bells of paused queues: what was rung but not started waits with the rest."""
    return _run(connection, _UNRING_PAUSED, ())


def rescue(connection: Connection, *, limit: int = 500) -> int:
    """Put back, or fail as poisoned, the running jobs whose lease is over. Returns how many."""
    return _run(connection, _RESCUE, (limit,))


def settle_parents(connection: Connection, *, limit: int = 500) -> int:
    """End the parents whose children have all ended. Returns how many."""
    _run(connection, _CANCEL_LATE_CHILDREN, (limit,))
    return _run(connection, _SETTLE, (limit,))


def forget(connection: Connection, *, days: int, limit: int = 1000) -> int:
    """Delete up to `limit` jobs that ended long ago, with their timelines, and expired idempotency keys.

    Returns how many rows of the fuller of the two went: when that is `limit`, there may be more.
    """
    keys = _run(connection, _FORGET_KEYS, (limit,))
    return max(keys, _run(connection, _FORGET, {"days": days, "limit": limit}))


def _run(connection: Connection, statement: str, arguments: "tuple[object, ...] | dict[str, object]") -> int:
    with transaction(connection):
        cursor = connection.execute(statement, arguments)
    return cursor.rowcount
