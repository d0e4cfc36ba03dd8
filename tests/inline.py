"""A worker in the test's own thread: rings, claims, performs and ends one job as runner and relay would."""

import atexit
import json
import threading
from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

import psycopg
from sqlalchemy import text

from services.core import db
from services.core.settings import get_settings
from services.jobs import KINDS, ledger
from services.jobs.ledger import Claim, Connection
from services.jobs.run import Run
from workers.runner import ending_of, perform

WORKER = "test:inline"


def handler_of(kind: str) -> Any:
    """The function registered for a kind of job."""
    from workers.app import app

    app.loader.import_default_modules()
    return app.tasks[kind].run


_ledger = threading.Lock()


_kept: list[ledger.Connection] = []


def connection() -> ledger.Connection:
    """A connection for the ledger's own statements, kept until a test cuts it."""
    if not _kept or _kept[0].closed:
        _kept[:] = [db.open_connection(get_settings())]
        atexit.register(_kept[0].close)
    return _kept[0]


T = TypeVar("T")


def write(ask: Callable[[Connection], T]) -> T:
    """Ask the ledger, from any thread."""
    with _ledger:
        try:
            return ask(connection())
        except psycopg.OperationalError:  # another test cut it; asking again is safe, as it is for the writer
            connection().close()
            return ask(connection())


def claim(job_id: UUID) -> Claim:
    """Ring and claim a job that is queued or scheduled, now. Fails the test when it is not to be had."""
    with db.transaction(role="shopopti_ledger") as session:
        session.execute(
            text("UPDATE jobs SET state = 'queued', run_at = now() WHERE id = :id AND state = 'scheduled'"),
            {"id": job_id},
        )
        session.execute(
            text("UPDATE jobs SET rung_at = clock_timestamp() WHERE id = :id AND state = 'queued'"), {"id": job_id}
        )
    claims = write(lambda kept: ledger.claim(kept, [job_id], worker=WORKER, lease_seconds=300)).done
    assert claims, f"job {job_id} could not be claimed: {state_of(job_id)}"
    return claims[0]


def lose(job_id: UUID) -> None:
    """What the relay does after the worker died without a word: the job is queued again."""
    with db.transaction(role="shopopti_ledger") as session:
        session.execute(
            text(
                "UPDATE jobs SET state = 'queued', reason = 'rescued', lease_until = NULL, rung_at = NULL"
                " WHERE id = :id AND state = 'running'"
            ),
            {"id": job_id},
        )


def work(job_id: UUID, *, handler: Any = None, make_run: Callable[[Claim], Run] = Run) -> dict[str, Any]:
    """Do one attempt at a job and write its ending. Returns the row's state, reason, result and error.

    `make_run` may return a Run that misbehaves. A BaseException that is not Stopped leaves as it would leave a worker
    that is killed: nothing is written, the job stays running until `lose`.
    """
    run = make_run(claim(job_id))
    assert run.claim.kind in KINDS
    outcome = perform(handler or handler_of(run.claim.kind), run)
    if outcome is not None:
        write(lambda kept: ledger.finish(kept, [ending_of(run, outcome)]))
    return state_of(job_id)


def state_of(job_id: UUID) -> dict[str, Any]:
    """What the ledger says of a job."""
    with db.transaction(role="shopopti_ledger") as session:
        row = session.execute(
            text("SELECT state, reason, attempt, result, error_code, error_message FROM jobs WHERE id = :id"),
            {"id": job_id},
        ).one()
    found = dict(row._mapping)
    if isinstance(found["result"], str):
        found["result"] = json.loads(found["result"])
    return found
