"""The job ledger, which is also the outbox: asking for work, doing it once, and telling how it went.

Asking: `enqueue(session, SyncSupplierStock(connection_id=…), merchant_id=…)` in the transaction that makes it needed.
Doing:  a handler in tasks/ gets a `Run` and the decoded job, and returns an outcome.
"""

from services.jobs.enqueue import enqueue, enqueue_many
from services.jobs.kinds import KINDS, QUEUES, Job
from services.jobs.outcomes import Cancel, Done, Fail, Outcome, Retry, Snooze, Stopped
from services.jobs.run import Run

__all__ = [
    "KINDS",
    "QUEUES",
    "Cancel",
    "Done",
    "Fail",
    "Job",
    "Outcome",
    "Retry",
    "Run",
    "Snooze",
    "Stopped",
    "enqueue",
    "enqueue_many",
]
