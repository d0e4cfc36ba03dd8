"""Counts and durations of ended jobs, added up from the timeline exactly once.

Durations are kept in logarithmic buckets, `round(20 * ln(milliseconds + 1))`: a percentile read from them is within
2.5 % of the true one, and a week of a merchant's millions of jobs is a few thousand rows.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.core.clock import now
from services.jobs.ledger import Connection, transaction
from services.models import Job, JobStat

NEVER_RAN = -1
STATS_DAYS = 8

# The position and the sums move in one transaction, and only events of transactions that can no longer be joined by
# an older one are read (xid < xmin of the snapshot): nothing is counted twice or missed, whoever runs it.
_ROLL_UP = """
WITH position AS MATERIALIZED (
    SELECT xid, pg_snapshot_xmin(pg_current_snapshot()) AS horizon FROM stats_position FOR NO KEY UPDATE SKIP LOCKED
),
fresh AS MATERIALIZED (
    SELECT e.merchant_id, date_trunc('minute', e.at) AS minute, e.kind, e.queue, e.state, e.reason,
        coalesce(round(20 * ln(greatest(e.run_ms, 0) + 1)), -1)::smallint AS bucket
    FROM position, LATERAL (
        SELECT * FROM job_events
        WHERE xid >= position.xid AND xid < position.horizon
          AND (state IN ('succeeded', 'failed', 'cancelled') OR reason = 'rescued')
    ) e
),
minutes AS (
    INSERT INTO job_stats AS s (merchant_id, minute, kind, queue, state, bucket, jobs)
    SELECT merchant_id, minute, kind, queue, state, bucket, count(*) FROM fresh
    WHERE state <> 'queued'
    GROUP BY 1, 2, 3, 4, 5, 6
    ON CONFLICT (merchant_id, minute, kind, queue, state, bucket) DO UPDATE SET jobs = s.jobs + excluded.jobs
),
totals AS (
    INSERT INTO job_totals AS t (kind, queue, state, reason, bucket, jobs)
    SELECT kind, queue, state, reason, bucket, count(*) FROM fresh GROUP BY 1, 2, 3, 4, 5
    ON CONFLICT (kind, queue, state, reason, bucket) DO UPDATE SET jobs = t.jobs + excluded.jobs
)
UPDATE stats_position SET xid = position.horizon FROM position
"""


def roll_up(connection: Connection) -> None:
    """Add the events since the last time to the statistics, and drop minutes older than eight days."""
    with transaction(connection):
        connection.execute(_ROLL_UP)
        connection.execute("DELETE FROM job_stats WHERE minute < now() - make_interval(days => %s)", (STATS_DAYS,))


@dataclass(slots=True)
class KindSummary:
    """Jobs of one kind that ended within a window."""

    kind: str
    queue: str
    ended: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # state → jobs
    buckets: dict[int, int] = field(default_factory=lambda: defaultdict(int))

    def percentile(self, share: float) -> float | None:
        """The duration in milliseconds that `share` of the attempts stayed under, or None when none ran."""
        total = sum(self.buckets.values())
        if not total:
            return None
        seen = 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen >= share * total:
                break
        return round(math.exp(bucket / 20) - 1, 1)


def summary(
    session: Session, *, merchant_id: UUID, window: timedelta, kinds: tuple[str, ...] = (), queues: tuple[str, ...] = ()
) -> tuple[dict[str, int], list[KindSummary]]:
    """Jobs by state that have not ended, and what ended within the window by kind and queue."""
    active = select(Job.state, func.count()).where(
        Job.merchant_id == merchant_id, Job.state.in_(("scheduled", "queued", "running", "waiting"))
    )
    ended = select(JobStat.kind, JobStat.queue, JobStat.state, JobStat.bucket, func.sum(JobStat.jobs)).where(
        JobStat.merchant_id == merchant_id, JobStat.minute >= now() - window
    )
    for wanted, of_job, of_stat in ((kinds, Job.kind, JobStat.kind), (queues, Job.queue, JobStat.queue)):
        if wanted:
            active, ended = active.where(of_job.in_(wanted)), ended.where(of_stat.in_(wanted))
    found: dict[tuple[str, str], KindSummary] = {}
    grouped = ended.group_by(JobStat.kind, JobStat.queue, JobStat.state, JobStat.bucket)
    for kind, queue, state, bucket, jobs in session.execute(grouped):
        row = found.setdefault((kind, queue), KindSummary(kind, queue))
        row.ended[state] += int(jobs)
        if bucket != NEVER_RAN:
            row.buckets[bucket] += int(jobs)
    counts = dict(session.execute(active.group_by(Job.state)).all())
    return counts, sorted(found.values(), key=lambda row: (row.queue, row.kind))


def by_queue(kinds: Iterable[KindSummary]) -> list[KindSummary]:
    """The same added up over the kinds of each queue; `kind` is empty."""
    found: dict[str, KindSummary] = {}
    for row in kinds:
        queue = found.setdefault(row.queue, KindSummary("", row.queue))
        for state, jobs in row.ended.items():
            queue.ended[state] += jobs
        for bucket, jobs in row.buckets.items():
            queue.buckets[bucket] += jobs
    return [found[name] for name in sorted(found)]
