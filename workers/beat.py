"""Beat: every second or sooner, due schedules become jobs. `python -m workers beat` runs it.

Any number of beats may run at once: the rows decide (services/jobs/schedules.py). It needs Postgres only. While that is
away it tries again every second, and Redis it never asks: jobs wait in the ledger for the relay.
"""

import logging
import os
import socket
import time
from typing import Any
from uuid import UUID

import psycopg
from celery.beat import Scheduler

from services.core import db
from services.core.ids import new_id
from services.core.settings import get_settings
from services.jobs import processes
from services.jobs.ledger import Connection
from services.jobs.schedules import fire_due

ALIVE_SECONDS = 5.0
LEAVE_SECONDS = 30.0  # before another look at a schedule that this release does not understand
SHORTEST = 0.05  # seconds between two looks when what is due is in another beat's hands

logger = logging.getLogger(__name__)


class LedgerScheduler(Scheduler):
    """Celery's scheduler with the schedules table instead of entries: `tick` fires what is due."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.id = f"{socket.gethostname()}:{os.getpid()}:{str(new_id())[-8:]}"
        self._connection: Connection | None = None
        self._told = float("-inf")
        self._lag = 0.0  # the worst since it was told last
        self._left: dict[UUID, float] = {}  # schedules for another release → when to look at them again

    def tick(self, *_: Any, **__: Any) -> float:
        """Fire what is due. Returns the seconds to sleep: until the next one, at most a second. Never raises."""
        longest = min(1.0, float(self.max_interval))
        try:
            moment = time.monotonic()
            self._left = {id_: again for id_, again in self._left.items() if again > moment}
            with db.transaction(role="shopopti_ledger") as session:
                fired = fire_due(session, leave=self._left)
            self._left.update(dict.fromkeys(fired.left, moment + LEAVE_SECONDS))
            if fired.jobs or fired.skipped or fired.disabled:
                logger.info(
                    "%d jobs from schedules, %d skipped, %d schedules disabled",
                    fired.jobs, fired.skipped, fired.disabled,
                )  # fmt: skip
            self._lag = max(self._lag, fired.lag_seconds)
            self._tell()
        except Exception as error:
            # A beat that dies of an outage is a beat that is away when the outage is over.
            logger.warning("no schedules were fired, trying again: %s", error, exc_info=not _is_outage(error))
            self._forget_connection()
            return longest
        if fired.more:
            return 0.0
        return longest if fired.next_in is None else min(longest, max(SHORTEST, fired.next_in))

    def _tell(self) -> None:
        """Say now and then that this beat is alive, and how late it was at worst."""
        moment = time.monotonic()
        if moment - self._told < ALIVE_SECONDS:
            return
        if self._connection is None:
            self._connection = db.open_connection(get_settings())
        processes.seen(self._connection, id_=self.id, role="beat", queues=[], lag_seconds=self._lag)
        self._told, self._lag = moment, 0.0

    def _forget_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _is_outage(error: Exception) -> bool:
    return isinstance(error, db.DatabaseAway | psycopg.Error)
