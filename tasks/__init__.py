"""Handlers, one module per queue. A handler decodes nothing and commits nothing itself:

    @task(SyncSupplierStock)
    def sync_supplier_stock(run: Run, job: SyncSupplierStock) -> Outcome | dict | None:
        ...

The Celery task's name and queue are those of the job class; the app's task class (workers/runner.py) claims the row,
calls the handler, and writes its outcome back.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from celery import shared_task

from services.jobs.kinds import Job

JobT = TypeVar("JobT", bound=Job)
Handler = Callable[..., Any]


def task(job: type[JobT]) -> Callable[[Handler], Handler]:
    """Make a function the handler of a kind of job."""

    def register(handler: Handler) -> Handler:
        shared_task(name=job.kind, typing=False)(handler)
        return handler

    return register
