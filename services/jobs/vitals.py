"""What /ready and /metrics look at: is the system able to work, and how much work is there.

Every figure stays cheap with a million jobs: counts come from partial indexes, the oldest job is found by a loose scan
(one probe per queue, merchant and priority).
"""

import re
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.orm import Session

QUIET_SECONDS = 60

_VERSIONS = Path(__file__).resolve().parents[2] / "migrations" / "versions"

_UNCONSUMED = text("""
SELECT name FROM queues
WHERE (consumed_at IS NULL OR consumed_at < now() - make_interval(secs => :quiet))
  AND NOT EXISTS (SELECT FROM jobs WHERE jobs.queue = queues.name AND rung_at IS NOT NULL
                  AND state = 'running' AND lease_until > now())
ORDER BY name
""")

_WAITING = text("""
SELECT name, coalesce(waiting.jobs, 0) FROM queues LEFT JOIN (
    SELECT queue, count(*) AS jobs FROM jobs WHERE state = 'queued' AND rung_at IS NULL GROUP BY queue
) waiting ON waiting.queue = name
""")

_IN_FLIGHT = text("""
SELECT queue, count(*) FILTER (WHERE state = 'queued'), count(*) FILTER (WHERE state = 'running'),
    extract(epoch FROM clock_timestamp() - min(queued_at) FILTER (WHERE state = 'queued'))
FROM jobs WHERE rung_at IS NOT NULL GROUP BY queue
""")

# The first job of each (queue, merchant, priority) is the one of that group that was asked for first.
_OLDEST = text("""
WITH RECURSIVE heads AS (
    (SELECT queue, merchant_id, priority, queued_at FROM jobs WHERE state = 'queued' AND rung_at IS NULL
     ORDER BY queue, merchant_id, priority DESC, id LIMIT 1)
    UNION ALL
    SELECT following.* FROM heads, LATERAL (
        (SELECT queue, merchant_id, priority, queued_at FROM jobs
         WHERE state = 'queued' AND rung_at IS NULL
           AND queue = heads.queue AND merchant_id = heads.merchant_id AND priority < heads.priority
         ORDER BY priority DESC, id LIMIT 1)
        UNION ALL
        (SELECT queue, merchant_id, priority, queued_at FROM jobs
         WHERE state = 'queued' AND rung_at IS NULL AND (queue, merchant_id) > (heads.queue, heads.merchant_id)
         ORDER BY queue, merchant_id, priority DESC, id LIMIT 1)
        LIMIT 1
    ) following
)
SELECT queue, extract(epoch FROM clock_timestamp() - min(queued_at)) FROM heads GROUP BY queue
""")

_SCHEDULED = text("SELECT count(*) FROM jobs WHERE state = 'scheduled'")

_TOTALS = text("SELECT kind, queue, state, reason, bucket, jobs FROM job_totals")

_LAG = text("""
SELECT role, max(coalesce(lag_seconds, 0)) FROM processes
WHERE seen_at > now() - make_interval(secs => :quiet) GROUP BY role
""")


@dataclass(slots=True)
class QueueVitals:
    """One queue at one moment."""

    depth: int = 0  # waiting, rung or not
    running: int = 0
    oldest_seconds: float = 0.0


@dataclass(slots=True)
class Vitals:
    """The whole system at one moment. `totals` are (kind, queue, state, reason, bucket, jobs), see `JobTotal`."""

    queues: dict[str, QueueVitals] = field(default_factory=lambda: defaultdict(QueueVitals))
    scheduled: int = 0
    totals: list[tuple[str, str, str, str, int, int]] = field(default_factory=list)
    lag_seconds: dict[str, float] = field(default_factory=dict)  # by role of process


def vitals(session: Session) -> Vitals:
    """Everything, in one transaction of the ledger role."""
    found = Vitals()
    for queue, waiting in session.execute(_WAITING):
        found.queues[queue].depth = waiting
    for queue, rung, running, oldest in session.execute(_IN_FLIGHT):
        row = found.queues[queue]
        row.depth += rung
        row.running = running
        row.oldest_seconds = float(oldest or 0)
    for queue, oldest in session.execute(_OLDEST):
        row = found.queues[queue]
        row.oldest_seconds = max(row.oldest_seconds, float(oldest or 0))
    found.scheduled = session.execute(_SCHEDULED).scalar_one()
    found.totals = [(*row,) for row in session.execute(_TOTALS)]
    found.lag_seconds = {role: float(lag) for role, lag in session.execute(_LAG, {"quiet": QUIET_SECONDS})}
    return found


def unconsumed_queues(session: Session) -> list[str]:
    """Queues from which nothing was taken for a minute and in which nothing runs."""
    return list(session.scalars(_UNCONSUMED, {"quiet": QUIET_SECONDS}))


def is_read_only(session: Session) -> bool:
    """Whether the database takes no changes: a standby, or one whose disk is full."""
    return bool(session.scalar(text("SELECT current_setting('transaction_read_only')::bool")))


def schema_version(session: Session) -> str | None:
    """The revision the database is at; None before the first migration."""
    if session.execute(text("SELECT to_regclass('alembic_version')")).scalar_one() is None:
        return None
    return session.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


@cache
def newest_schema() -> str | None:
    """The newest revision this code brings, by the file names in migrations/versions; None when they are not here."""
    names = (re.match(r"(\d{4,})_", file.name) for file in _VERSIONS.glob("*.py"))
    return max((name[1] for name in names if name), default=None)
