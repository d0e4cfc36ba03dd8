"""The message that proves a queue is taken from: relay → broker → worker → database, end to end."""

from celery import Task

from services.core import db
from services.jobs.processes import consumed
from workers.app import app


@app.task(name="ping", base=Task, typing=False)
def ping(queue: str) -> None:
    """Say that a worker has just taken a message from this queue."""
    with db.transaction(role="shopopti_ledger") as session:
        consumed(session, queue)
