"""Asking for work: a row in the caller's transaction. The commit makes it so; no broker is touched."""

import json
import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.core.ids import new_id
from services.core.log import bound
from services.jobs.kinds import Job

# ON CONFLICT covers "one active X" (unique_key) and "one job per fire time" (schedule_id, fire_at).
_INSERT = text("""
INSERT INTO jobs (id, merchant_id, kind, queue, args, state, reason, priority, run_at, queued_at, max_attempts,
    timeout_seconds, unique_key, parent_id, schedule_id, fire_at, request_id)
SELECT given.id, :merchant_id, given.kind, given.queue, given.args::jsonb,
    CASE WHEN later THEN 'scheduled' ELSE 'queued' END, CASE WHEN later THEN 'scheduled' ELSE 'enqueued' END,
    :priority, coalesce(run_at, now()), CASE WHEN later THEN NULL ELSE clock_timestamp() END,
    given.max_attempts, given.timeout_seconds, given.unique_key, :parent_id, :schedule_id, :fire_at, :request_id
FROM (SELECT CAST(:run_at AS timestamptz) AS run_at, CAST(:run_at AS timestamptz) > now() AS later) due,
    unnest(CAST(:ids AS uuid[]), CAST(:kinds AS text[]), CAST(:queues AS text[]), CAST(:args AS text[]),
        CAST(:max_attempts AS int[]), CAST(:timeouts AS int[]), CAST(:unique_keys AS text[]))
        AS given (id, kind, queue, args, max_attempts, timeout_seconds, unique_key)
ON CONFLICT DO NOTHING
RETURNING id
""")

_ACTIVE = text("""
SELECT id FROM jobs WHERE merchant_id = :merchant_id AND kind = :kind AND unique_key = :unique_key
    AND state NOT IN ('succeeded', 'failed', 'cancelled')
""")


def enqueue(
    session: Session,
    job: Job,
    *,
    merchant_id: UUID,
    run_at: datetime | None = None,
    priority: int = 0,
    unique_key: str | None = None,
    parent_id: UUID | None = None,
    schedule_id: UUID | None = None,
    fire_at: datetime | None = None,
) -> tuple[UUID, bool]:
    """Insert one job. Returns its id and True, or, when one with the same unique key is active, that one's and False.

    `run_at` in the future makes it `scheduled`. `priority` is -100…100, higher first within the merchant.
    """
    while True:
        ids = enqueue_many(
            session,
            [job],
            merchant_id=merchant_id,
            run_at=run_at,
            priority=priority,
            unique_keys=[unique_key],
            parent_id=parent_id,
            schedule_id=schedule_id,
            fire_at=fire_at,
        )
        if ids:
            return ids[0], True
        if fire_at is not None:
            return UUID(int=0), False
        active = session.scalar(_ACTIVE, {"merchant_id": merchant_id, "kind": job.kind, "unique_key": unique_key})
        if active is not None:
            return active, False
        # It ended between the two statements: now there is room for ours.


def enqueue_many(
    session: Session,
    jobs: Sequence[Job],
    *,
    merchant_id: UUID,
    run_at: datetime | None = None,
    priority: int = 0,
    unique_keys: Sequence[str | None] | None = None,
    parent_id: UUID | None = None,
    schedule_id: UUID | None = None,
    fire_at: datetime | None = None,
) -> list[UUID]:
    """Insert many jobs in one statement. Returns the ids of those inserted, in order; duplicates are left out."""
    given = [new_id() for _ in jobs]
    arguments: dict[str, Any] = {
        "merchant_id": merchant_id,
        "ids": given,
        "kinds": [job.kind for job in jobs],
        "queues": [job.queue for job in jobs],
        "args": [job.model_dump_json() for job in jobs],
        "max_attempts": [job.max_attempts for job in jobs],
        "timeouts": [job.timeout for job in jobs],
        "unique_keys": list(unique_keys) if unique_keys is not None else [None] * len(jobs),
        "run_at": run_at,
        "priority": priority,
        "parent_id": parent_id,
        "schedule_id": schedule_id,
        "fire_at": fire_at,
        "request_id": bound("request_id"),
    }
    inserted = set(session.scalars(_INSERT, arguments))
    return [id_ for id_ in given if id_ in inserted]


def encode(document: dict[str, Any] | None) -> str | None:
    """JSON text of a result that Postgres takes, or None."""
    return None if document is None else json.dumps(_storable(document), default=str)


def storable(text: str, *, length: int = 2000) -> str:
    """The text without what Postgres refuses (NUL, lone surrogates), cut to `length`."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()[:length]


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value, length=1_000_000)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {storable(str(key)): _storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_storable(item) for item in value]
    return value
