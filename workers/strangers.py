"""Bells for kinds of jobs that this release does not know: its deploy is not over, or the kind has gone.

Left rung and unclaimed, a handful of them would fill the queue's window and stop it for everybody. So their jobs are
put off for a minute, without using an attempt.
"""

import logging
import queue
import threading
from typing import Any
from uuid import UUID

import psycopg
from celery import signals

from services.core import db
from services.core.settings import get_settings
from services.jobs import ledger
from services.jobs.ledger import Ending

logger = logging.getLogger(__name__)

LATER = 60.0  # seconds

_bells: "queue.SimpleQueue[UUID]" = queue.SimpleQueue()
_awake = threading.Lock()


@signals.task_unknown.connect
def _heard(id: str | None = None, name: str | None = None, **_: Any) -> None:
    """In the consumer's thread, which must not wait for the database."""
    try:
        _bells.put(UUID(str(id)))
    except ValueError:
        return  # no bell of ours
    logger.warning("no handler for jobs of the kind %s; job %s is put off", name, id)
    if _awake.acquire(blocking=False):
        threading.Thread(target=_put_off_all, name="strangers", daemon=True).start()


def _put_off_all() -> None:
    try:
        with db.open_connection(get_settings()) as connection:
            while not _bells.empty():
                put_off(connection, [_bells.get() for _ in range(_bells.qsize())])
    except psycopg.Error as error:
        logger.warning("jobs of unknown kinds could not be put off; they will be rung again: %s", error)
    finally:
        _awake.release()


def put_off(connection: ledger.Connection, ids: list[UUID]) -> None:
    """Claim the rung jobs and snooze them."""
    claims = ledger.claim(connection, ids, worker="strangers", lease_seconds=LATER).done
    endings = [Ending(claim.id, claim.claims, "scheduled", "unknown_kind", refund=1, delay=LATER) for claim in claims]
    if endings:
        ledger.finish(connection, endings)
