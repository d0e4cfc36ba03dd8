"""The breaker of a connection: while its supplier is down its jobs wait, and one of them at a time tries.

    with breaker.guarded(run, connection_id) as supplier:
        for page in reached.adapter.offers(reached.connection):
            supplier.answered()
            …

It is closed until THRESHOLD calls in a row have failed. Then it is open until `connections.retry_at`: jobs end with a
Snooze, which uses no attempt. From then on the first to come is the probe: taking `retry_at` further ahead is its
permission, so that there is one, and another when it has died. An answer closes the breaker and brings forward the jobs
that wait; another failure doubles the time.

All of it is one row, and every step a short transaction that locks it: any number of workers may be at it.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.core import db
from services.core.clock import now
from services.core.errors import Unavailable
from services.jobs import Run, Snooze, Stopped
from services.models import Connection
from services.suppliers.errors import (
    FatalForConnection,
    NotOffered,
    Retry,
    SupplierError,
    UnknownOutcome,
    WaitUntil,
)

DOWN = "supplier_down"  # why a job waits
THRESHOLD = 3  # failures in a row
FIRST_SECONDS = 30.0  # it is left alone for so long,
LONGEST_SECONDS = 900.0  # and doubled, for so long at most
PROBE_SECONDS = 600.0  # a probe that has said nothing for so long is taken for dead; BigBuy takes minutes to begin
GIVEN_UP = timedelta(days=1)  # after so long jobs fail one after the other rather than wait for ever
# A job that went to wait just as the breaker closed is not woken: so long at most it waits; less while there is a
# probe, which closes it any moment.
PARKED_SECONDS = 300.0
PROBED_SECONDS = 30.0

# Nothing works over the connection; other kinds of FatalForConnection concern one kind of call.
_NOTHING_WORKS = ("signature", "unreachable")

_LOOK = """
SELECT failures, opened_at, retry_at, probe_job_id, clock_timestamp() AS at FROM connections WHERE id = :id
"""
_STATE, _LOCK = text(_LOOK), text(f"{_LOOK} FOR NO KEY UPDATE")
_WRITE = text("""
UPDATE connections SET failures = :failures, opened_at = :opened_at, retry_at = :retry_at, probe_job_id = :probe_job_id
WHERE id = :id
""")
_RELEASE = text("""
UPDATE connections SET probe_job_id = NULL, retry_at = clock_timestamp() WHERE id = :id AND probe_job_id = :job
""")

# Those of the merchant's other connections come along; they look, and wait again.
_RESUME = text("""
UPDATE jobs SET run_at = clock_timestamp()
WHERE id IN (SELECT id FROM jobs WHERE merchant_id = :merchant_id AND state = 'scheduled' AND reason = :reason
             ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)
""")


@dataclass(frozen=True, slots=True)
class Health:
    """How a connection's supplier does, and when a job may try next while it is left alone."""

    state: str  # closed | open | probing
    failures: int  # in a row
    opened_at: datetime | None
    retry_at: datetime | None


def health(row: Connection) -> Health:
    """The breaker of a connection."""
    state = "closed" if row.retry_at is None else "open" if row.probe_job_id is None else "probing"
    return Health(state, row.failures, row.opened_at, row.retry_at)


class Supplier:
    """What the code inside `guarded` tells of the supplier."""

    def __init__(self, run: Run, connection_id: UUID) -> None:
        self._run, self._id = run, connection_id
        self._told = False

    def answered(self) -> None:
        """It did as asked. Cheap: it is written once."""
        if not self._told:
            with db.transaction(merchant_id=self._run.merchant_id) as session:
                close(session, self._id, merchant_id=self._run.merchant_id)
            self._told = True

    def _admit(self) -> None:
        with db.transaction(merchant_id=self._run.merchant_id) as session:
            now_open = session.execute(_STATE, {"id": self._id}).first()
            if now_open is None or now_open.retry_at is None:
                return
            row = session.execute(_LOCK, {"id": self._id}).one()
            if row.retry_at is None:
                return
            if row.retry_at <= row.at or row.probe_job_id == self._run.id:  # the probe again: its worker was lost
                until = row.at + timedelta(seconds=PROBE_SECONDS)
                self._write(session, row.failures, row.opened_at, until, self._run.id)
                return
        raise Stopped(_parked(row.retry_at - row.at, probed=row.probe_job_id is not None))

    def _failed(self, error: SupplierError, *, at_once: bool = False) -> None:
        """Count it. Raises Stopped when it has the breaker open: the job waits, and spends no attempt on an outage."""
        with db.transaction(merchant_id=self._run.merchant_id) as session:
            row = session.execute(_LOCK, {"id": self._id}).first()
            if row is None:
                return
            opened_at, retry_at = row.opened_at, row.retry_at
            # What fails while it is open, and is not the probe, began before: it says nothing new.
            if retry_at is None or row.probe_job_id == self._run.id:
                failures = max(row.failures + 1, THRESHOLD if at_once else 0)
                if failures >= THRESHOLD:
                    wait = max(FIRST_SECONDS * 2.0 ** min(failures - THRESHOLD, 20), error.retry_after or 0.0)
                    retry_at = row.at + timedelta(seconds=min(wait, LONGEST_SECONDS))
                    opened_at = opened_at or row.at
                self._write(session, failures, opened_at, retry_at, None)
        self._told = False
        if retry_at is not None and isinstance(error, Retry) and row.at - opened_at < GIVEN_UP:
            raise Stopped(_parked(retry_at - row.at)) from error

    def _release(self) -> None:
        """Whoever was the probe has not tried: the next one may."""
        with suppress(Unavailable), db.transaction(merchant_id=self._run.merchant_id) as session:
            session.execute(_RELEASE, {"id": self._id, "job": self._run.id})

    def _write(
        self,
        session: Session,
        failures: int,
        opened_at: datetime | None,
        retry_at: datetime | None,
        probe_job_id: UUID | None,
    ) -> None:
        values = {"failures": failures, "opened_at": opened_at, "retry_at": retry_at, "probe_job_id": probe_job_id}
        session.execute(_WRITE, {"id": self._id, **values})


@contextmanager
def guarded(run: Run, connection_id: UUID) -> Iterator[Supplier]:
    """Call the connection's supplier inside. Ending well says that it answered.

    Raises Stopped (the job waits) while the breaker is open, and when a failure inside has it open.
    """
    supplier = Supplier(run, connection_id)
    supplier._admit()
    try:
        yield supplier
    except (Retry, UnknownOutcome) as error:
        with suppress(Unavailable):
            supplier._failed(error)
        raise
    except FatalForConnection as error:
        with suppress(Unavailable):
            if error.kind in _NOTHING_WORKS:
                supplier._failed(error, at_once=True)
            else:
                supplier.answered()
        raise
    except SupplierError as error:
        if isinstance(error, WaitUntil | NotOffered):  # perhaps nobody was asked
            supplier._release()
        else:
            with suppress(Unavailable):
                supplier.answered()
        raise
    except BaseException:
        supplier._release()
        raise
    supplier.answered()


def close(session: Session, connection_id: UUID, *, merchant_id: UUID) -> None:
    """The supplier answers, or has credentials that are new: have the jobs that wait for it run now."""
    row = session.execute(_STATE, {"id": connection_id}).first()
    if row is None or (row.failures == 0 and row.retry_at is None):
        return
    was = session.execute(_LOCK, {"id": connection_id}).one()
    cleared = {"failures": 0, "opened_at": None, "retry_at": None, "probe_job_id": None}
    session.execute(_WRITE, {"id": connection_id, **cleared})
    if was.retry_at is not None:
        session.execute(_RESUME, {"merchant_id": merchant_id, "reason": DOWN})


def pause(of: Health) -> float:
    """For how many seconds a job leaves the supplier alone; 0: it may call."""
    left = timedelta() if of.retry_at is None else of.retry_at - now()
    return _parked(left, probed=of.state == "probing").seconds if left > timedelta() else 0.0


def _parked(left: timedelta, *, probed: bool = False) -> Snooze:
    """Until the supplier may be tried again; not all at once, because one of them is enough."""
    wait = max(left.total_seconds(), 1.0)
    wait = min(wait, PROBED_SECONDS) if probed else wait
    return Snooze(min(wait * random.uniform(1.0, 1.1), PARKED_SECONDS), DOWN)
