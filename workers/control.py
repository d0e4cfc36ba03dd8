"""Flower's revoke and terminate, made true: the ledger is asked to cancel, whatever the job is doing.

Celery's own revocation is a list in each worker's memory that a restart forgets, and its terminate may hit the task
that came after. A job's Celery id is its job id, so the request can go where the truth is.
"""

import logging
from typing import Any
from uuid import UUID

from celery.worker.control import Panel

from services.core import db
from services.jobs.control import cancel_jobs_of_any_merchant

logger = logging.getLogger(__name__)


def _revoke(_state: Any, task_id: Any, terminate: bool = False, signal: Any = None, **_: Any) -> dict[str, str]:
    """Cancel the jobs with these ids: at once when they wait, at their next checkpoint when they run."""
    ids = []
    for given in [task_id] if isinstance(task_id, str) else list(task_id or []):
        try:
            ids.append(UUID(given))
        except ValueError:
            logger.warning("revoke: %s is not a job id", given)
    with db.transaction(role="shopopti_ledger") as session:
        cancelled = cancel_jobs_of_any_merchant(session, ids)
    return {"ok": f"cancel requested for {len(cancelled)} of {len(ids)} jobs"}


def _terminate(state: Any, signal: Any, task_id: Any, **options: Any) -> dict[str, str]:
    """Cancel the jobs with these ids. No process is killed for it."""
    return _revoke(state, task_id, **options)


Panel.register(name="revoke", variadic="task_id", signature="[id1 [id2 [... [idN]]]]")(_revoke)
Panel.register(
    name="terminate", args=[("signal", str)], variadic="task_id", signature="<signal> [id1 [id2 [... [idN]]]]"
)(_terminate)
