"""What a task holds while it works: its identity, its way to report, and the points where it may be stopped."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any, cast
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.core import db
from services.jobs.enqueue import encode, storable
from services.jobs.ledger import FINISH, Claim, Connection, Ending, finish_arguments
from services.jobs.outcomes import Cancel, Outcome, Retry, Snooze, Stopped

Progress = tuple[int | None, int | None, str | None]  # done, of how many, a note

_STILL_OURS = text("SELECT claims FROM jobs WHERE id = :id AND claims = :claims AND state = 'running' FOR SHARE")


class Run:
    """One attempt at one job. Its fields are set by the claim; `stop_with` is set by whoever wants it stopped."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.id: UUID = claim.id
        self.merchant_id: UUID = claim.merchant_id
        self.attempt: int = claim.attempt
        self.started = self.renewed = time.monotonic()  # `renewed`: when its lease last began anew
        self.deadline = None if claim.timeout_seconds is None else self.started + claim.timeout_seconds
        self.progress_report: Progress | None = None
        self.progress_written: Progress | None = None  # the one that is in the ledger
        self.ended = False  # the ending is already in the ledger
        self._stop: Stopped | None = None
        if claim.cancel_requested_at is not None:
            self.stop(Cancel())

    # -- for the task ------------------------------------------------------------------------------------------------

    def progress(self, done: int, total: int | None = None, note: str | None = None) -> None:
        """Report how far the work is, and stop here if it should. Cheap: written at most twice a second."""
        self.progress_report = (done, total, None if note is None else storable(note, length=500))
        self.checkpoint()

    def checkpoint(self) -> None:
        """Leave the work here when it is cancelled, past its deadline, taken over, or the process shuts down.

        Raises Stopped. Call it between batches, never inside a transaction.
        """
        if self._stop is None and self.deadline is not None and time.monotonic() > self.deadline:
            self.stop(self.timed_out())
        if self._stop is not None:
            raise self._stop

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Session]:
        """A short transaction as the job's merchant, committed only if the attempt is still ours.

        Raises Stopped (and rolls back) when another worker has taken the job over in the meantime.
        """
        try:
            with db.transaction(merchant_id=self.merchant_id) as session:
                yield session
                if not self.ended:
                    self._fence(session)
        except BaseException:
            # `finish` is rolled back with the rest. Should only the commit's answer be lost, fencing tells.
            self.ended = False
            raise

    def finish(self, session: Session, result: dict[str, Any] | None = None) -> None:
        """End the job as done in the caller's transaction: its effects and its end become true together.

        For work that must not be done twice even if the process dies right after. Raises Stopped when not ours.
        """
        ending = Ending(self.id, self.claim.claims, "succeeded", "done", result=encode(result), progress=self.reported)
        connection = cast("Connection", session.connection().connection.driver_connection)
        if not connection.execute(FINISH, finish_arguments([ending])).fetchall():
            raise Stopped(None)
        self.ended = True

    @property
    def reported(self) -> Progress:
        """What was reported last."""
        return self.progress_report or (None, None, None)

    # -- for the process ---------------------------------------------------------------------------------------------

    def stop(self, outcome: Outcome | None) -> None:
        """Make the next checkpoint raise. The first reason given stands, except that a lost job beats all."""
        if self._stop is None or outcome is None:
            self._stop = Stopped(outcome)

    @property
    def lost(self) -> bool:
        """Whether the attempt is no longer ours."""
        return self._stop is not None and self._stop.outcome is None

    def timed_out(self) -> Outcome:
        """How an attempt past its deadline ends."""
        return Retry("timeout", f"The job did not finish within {self.claim.timeout_seconds} s.")

    def _fence(self, session: Session) -> None:
        found = session.execute(_STILL_OURS, {"id": self.id, "claims": self.claim.claims}).first()
        if found is None:
            self.stop(None)
            raise Stopped(None)


DRAINED = Snooze(0, "drained")
