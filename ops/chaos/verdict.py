"""What must be true when the dust has settled, asked of the database alone. Each query returns its violations."""

from collections.abc import Mapping

import psycopg

CHECKS: Mapping[str, str] = {
    "every job has ended": """
        SELECT id, kind, state, reason FROM jobs WHERE ended_at IS NULL""",
    "every job ended exactly once": """
        SELECT job_id, count(*) FROM job_events WHERE state IN ('succeeded', 'failed', 'cancelled')
        GROUP BY job_id HAVING count(*) <> 1""",
    "the end in the timeline is the end in the row, and the last of it": """
        SELECT j.id, j.state, last.state FROM jobs j
        JOIN LATERAL (SELECT e.state FROM job_events e WHERE e.job_id = j.id ORDER BY e.id DESC LIMIT 1) last ON true
        WHERE last.state <> j.state""",
    "between two starts an attempt always ended": """
        SELECT job_id, state, before FROM (
            SELECT job_id, state, lag(state) OVER (PARTITION BY job_id ORDER BY id) AS before FROM job_events) moves
        WHERE state = before OR (state = 'running' AND before IS DISTINCT FROM 'queued')""",
    "no job used more attempts than it has": """
        SELECT id, attempt, max_attempts FROM jobs WHERE attempt > max_attempts""",
    "no start was counted that the timeline does not show": """
        SELECT j.id, j.claims, count(e.id) FROM jobs j
        LEFT JOIN job_events e ON e.job_id = j.id AND e.state = 'running'
        GROUP BY j.id HAVING count(e.id) > j.claims""",
    "only poison and exhaustion fail": """
        SELECT id, kind, reason, error_code, error_message FROM jobs
        WHERE state = 'failed' AND kind NOT IN ('lab_poison', 'lab_lingering')""",
    "poison never succeeds": """
        SELECT id FROM jobs WHERE kind = 'lab_poison' AND state = 'succeeded'""",
    "a done job has its effect once, any other has none": """
        SELECT j.id, j.kind, j.state, count(f.job_id) FROM jobs j LEFT JOIN lab_effects f ON f.job_id = j.id
        WHERE j.kind IN ('lab_effect', 'lab_flaky')
        GROUP BY j.id HAVING count(f.job_id) <> (j.state = 'succeeded')::int""",
    "a parent has all its children or none": """
        SELECT p.id, p.state, count(c.id) FROM jobs p LEFT JOIN jobs c ON c.parent_id = p.id
        WHERE p.kind IN ('lab_parent', 'lab_lingering')
        GROUP BY p.id HAVING count(c.id) NOT IN (0, (p.args->>'children')::int)
            OR (p.state = 'succeeded' AND count(c.id) = 0)""",
    "no parent ended before its last child": """
        SELECT p.id, p.ended_at, max(c.ended_at) FROM jobs p JOIN jobs c ON c.parent_id = p.id
        GROUP BY p.id HAVING p.ended_at < max(c.ended_at)""",
    "no schedule fired twice": """
        SELECT schedule_id, fire_at, count(*) FROM jobs WHERE schedule_id IS NOT NULL
        GROUP BY 1, 2 HAVING count(*) > 1""",
    "no schedule missed a fire": """
        SELECT s.id, due FROM schedules s
        CROSS JOIN LATERAL (SELECT min(fire_at) AS first FROM jobs WHERE schedule_id = s.id) fired
        CROSS JOIN LATERAL generate_series(fired.first, s.last_fire_at, make_interval(secs => s.interval_seconds)) due
        WHERE NOT EXISTS (SELECT FROM jobs WHERE schedule_id = s.id AND fire_at = due)""",
    "every schedule fired at all": """
        SELECT id FROM schedules WHERE last_fire_at IS NULL""",
    "the statistics agree with the timeline": """
        SELECT counted, there FROM (SELECT coalesce(sum(jobs), 0) AS counted FROM job_totals
                                    WHERE state IN ('succeeded', 'failed', 'cancelled')) a,
            (SELECT count(*) AS there FROM job_events WHERE state IN ('succeeded', 'failed', 'cancelled')) b
        WHERE counted <> there""",
}


def violations(connection: "psycopg.Connection[tuple[object, ...]]") -> dict[str, list[tuple[object, ...]]]:
    """The broken promises, with up to ten examples each. Empty when all is well."""
    broken = {}
    for promise, query in CHECKS.items():
        found = connection.execute(query).fetchmany(10)
        if found:
            broken[promise] = found
    return broken


def missing(
    connection: "psycopg.Connection[tuple[object, ...]]", asked: list[tuple[object, str]]
) -> list[tuple[object, str]]:
    """What was asked for, and answered, and is not there (or there twice)."""
    there: dict[str, int] = {}
    for (key,) in connection.execute("SELECT unique_key FROM jobs WHERE unique_key IS NOT NULL").fetchall():
        there[str(key)] = there.get(str(key), 0) + 1
    return [(merchant, key) for merchant, key in asked if there.get(key) != 1]
