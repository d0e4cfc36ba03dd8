"""One per worker process: claims, endings, leases and progress of all its jobs, written in groups.

Pool threads ask for a claim and wait; endings are handed over and the thread is free. Two lanes, one for claims and one
for endings, each take whatever has gathered and write it in one transaction, so the busier the process, the fewer
statements a job costs. The keeper thread renews leases, brings back cancel requests and writes progress. The watch
looks at the clock only: it enforces deadlines and the end of draining, whatever the database does.
"""

import logging
import mmap
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Generic, TypeVar
from uuid import UUID

import psycopg

from services.core import db
from services.core.ids import new_id
from services.core.settings import Settings
from services.jobs import ledger
from services.jobs.ledger import Claim, Connection, Ending
from services.jobs.outcomes import Cancel
from services.jobs.run import DRAINED, Run

logger = logging.getLogger(__name__)

# A byte shared with forked pool children: the parent hears SIGTERM, the children must stop too.
_draining = mmap.mmap(-1, 1)

LAST_WORDS = 5.0  # seconds to write what is put back when drain time is over
DEADLINE_GRACE = 5.0  # seconds past its deadline that a job may take to reach a checkpoint
PROGRESS_EVERY = 0.5
# A lane that wrote less than BUSY ago waits a moment for others to join: a group of eight costs little more than one.
BUSY, GATHER_CLAIMS, GATHER_ENDINGS = 0.02, 0.003, 0.01

Item = TypeVar("Item")


def drain() -> None:
    """Tell every thread and pool child of this worker to put its work back and claim no more."""
    _draining[0] = 1


def draining() -> bool:
    """Whether the worker is shutting down."""
    return _draining[0] == 1


class _Lane(Generic[Item]):
    """A thread with a connection of its own that writes whatever has gathered in one transaction.

    `write` removes from the list what is settled; what is left when the connection fails is written again. `refused`
    gets the rest when the database is there and will not take it.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        name: str,
        gather: float,
        write: Callable[[Connection, list[Item]], None],
        refused: Callable[[list[Item]], None] | None = None,
    ) -> None:
        self._settings, self._gather, self._write = settings, gather, write
        self._refused = refused or self.put_back
        self._waiting: list[Item] = []
        self._ready = threading.Condition()
        threading.Thread(target=self._run, name=f"ledger-{name}", daemon=True).start()

    def put(self, item: Item) -> None:
        """Hand over one item; it is written within milliseconds of the database being there."""
        with self._ready:
            self._waiting.append(item)
            self._ready.notify()

    def put_back(self, items: list[Item]) -> None:
        """To the front, to be written first."""
        with self._ready:
            self._waiting[:0] = items
            self._ready.notify()

    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting

    def _run(self) -> None:
        connection: Connection | None = None
        pause, wrote = 0.05, 0.0
        while True:
            with self._ready:
                while not self._waiting:
                    self._ready.wait()
            if time.monotonic() - wrote < BUSY:
                time.sleep(self._gather)
            with self._ready:
                items, self._waiting = self._waiting, []
            try:
                connection = connection or db.open_connection(self._settings)
                self._write(connection, items)
                wrote, pause = time.monotonic(), 0.05
            except (psycopg.Error, UnicodeError) as error:
                _close(connection)
                connection = None
                away = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
                logger.warning("the ledger cannot be written, trying again: %s", error)
                (self.put_back if away else self._refused)(items)
                time.sleep(pause)
                pause = min(pause * 2, 2.0)
            except BaseException:
                logger.exception("ledger writer stopped; the process ends so that its jobs are rescued")
                os._exit(70)


class _ClaimRequest:
    """A pool thread waiting for the answer to its bell; or, while draining, a bell to be given back."""

    __slots__ = ("answered", "claim", "id", "wanted")

    def __init__(self, id_: UUID, *, wanted: bool = True) -> None:
        self.id = id_
        self.wanted = wanted
        self.claim: Claim | None = None
        self.answered = threading.Lock()  # the cheapest one-shot signal there is
        self.answered.acquire()


class LedgerWriter:
    """The process's only writer to the ledger. Start it after the fork, in the process that runs the jobs."""

    def __init__(self, settings: Settings, *, ending_of_timeout: Callable[[Run], Ending]) -> None:
        self.settings = settings
        self.worker = f"{socket.gethostname()}:{os.getpid()}:{str(new_id())[-8:]}"
        self.held: dict[UUID, Run] = {}
        self._ending_of_timeout = ending_of_timeout
        self._asked: set[UUID] = set()  # claims on their way
        self._busy_claims: deque[_ClaimRequest] = deque()  # somebody held their rows: asked again at the next look
        self._busy_endings: deque[tuple[Run, Ending]] = deque()
        self._asking = threading.Lock()
        # Lanes of their own: a thread waits for each claim, and must not wait for the disk as endings do.
        self._claims = _Lane[_ClaimRequest](settings, name="claims", gather=GATHER_CLAIMS, write=self._answer)
        self._endings = _Lane[tuple[Run, Ending]](
            settings, name="endings", gather=GATHER_ENDINGS, write=self._finish, refused=self._finish_singly
        )
        for work in (self._keep, self._watch):
            threading.Thread(target=self._for_ever, args=(work,), name=f"ledger{work.__name__}", daemon=True).start()

    # -- pool threads ------------------------------------------------------------------------------------------------

    def claim(self, id_: UUID) -> Run | None:
        """Make the job ours and return its run, or None when it is not to be had."""
        if draining():
            self._claims.put(_ClaimRequest(id_, wanted=False))
            return None
        with self._asking:
            if id_ in self.held or id_ in self._asked:
                return None  # a second bell for what this process is doing already
            self._asked.add(id_)
        request = _ClaimRequest(id_)
        self._claims.put(request)
        request.answered.acquire()
        return self.held[id_] if request.claim is not None else None

    def end(self, run: Run, ending: Ending | None) -> None:
        """Hand over how the attempt ended (None: it is no longer ours, or already in the ledger) and forget it."""
        if ending is None or run.lost:
            self._forget(run)
        elif run.progress_report is None:
            self._endings.put((run, ending))
        else:
            self._endings.put((run, replace(ending, progress=run.reported)))

    def flush(self, *, timeout: float) -> bool:
        """Wait until everything handed over is written. False when time ran out first."""
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            if self._endings.empty() and self._claims.empty() and not (self.held or self._asked):
                return True
            time.sleep(0.01)
        return False

    # -- the lanes' threads ------------------------------------------------------------------------------------------

    def _answer(self, connection: Connection, requests: list[_ClaimRequest]) -> None:
        unwanted = [request.id for request in requests if not request.wanted]
        if unwanted:
            ledger.unring(connection, unwanted)
            requests[:] = [request for request in requests if request.wanted]
        if not requests:
            return
        written = ledger.claim(
            connection,
            [request.id for request in requests],
            worker=self.worker,
            lease_seconds=self.settings.lease_seconds,
        )
        won = {claim.id: claim for claim in written.done}
        for request in requests:
            if request.id in written.busy:
                self._busy_claims.append(request)
                continue
            claim = won.pop(request.id, None)  # two bells for one job: the first gets it
            if claim is not None:
                self.held[claim.id] = Run(claim)
                request.claim = claim
            self._asked.discard(request.id)
            request.answered.release()
        requests.clear()

    def _finish(self, connection: Connection, endings: list[tuple[Run, Ending]]) -> None:
        busy = ledger.finish(connection, [ending for _, ending in endings]).busy
        for run, ending in endings:
            if run.id in busy:
                self._busy_endings.append((run, ending))
            else:
                self._forget(run)
        endings.clear()

    def _finish_singly(self, endings: list[tuple[Run, Ending]]) -> None:
        """One at a time, so that what cannot be stored fails its own job and no other."""
        try:
            with db.open_connection(self.settings) as connection:
                while endings:
                    self._store(connection, *endings[0])
                    endings.pop(0)
        except psycopg.Error as error:
            logger.warning("the ledger cannot be written, trying again: %s", error)
            self._endings.put_back(endings)

    def _store(self, connection: Connection, run: Run, ending: Ending) -> None:
        for candidate in (ending, _unstorable(ending)):
            try:
                self._finish(connection, [(run, candidate)])
                return
            except (psycopg.DataError, psycopg.IntegrityError, UnicodeError) as error:
                logger.error("the ending of job %s cannot be stored: %s", run.id, error)
        self._forget(run)  # its lease runs out

    def _forget(self, run: Run) -> None:
        if self.held.get(run.id) is run:  # a later attempt of the same job may have taken its place
            del self.held[run.id]

    # -- the keeper's and the watch's threads ------------------------------------------------------------------------

    def _for_ever(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException:
            logger.exception("a thread of the ledger stopped; the process ends so that its jobs are rescued")
            os._exit(70)

    def _watch(self) -> None:
        drain_until: float | None = None
        while True:
            self._nap()
            runs = list(self.held.values())
            now = time.monotonic()
            self._ask_again()
            self._enforce_deadlines(runs, now)
            if draining():
                drain_until = drain_until or now + self.settings.drain_seconds
                self._drain(runs, late=now > drain_until)

    def _keep(self) -> None:
        connection: Connection | None = None
        looked = time.monotonic()
        while True:
            self._nap()
            if not self.held:
                continue
            now = time.monotonic()
            steps: list[Callable[[Connection], None]] = [self._renew_leases]  # first: nothing else may cost a lease
            if now - looked >= self.settings.heartbeat_seconds:
                looked = now
                steps.append(self._bring_cancel_requests)
            steps.append(self._report_progress)
            for step in steps:
                try:
                    connection = connection or db.open_connection(self.settings)
                    step(connection)
                except Exception as error:
                    _close(connection)
                    connection = None
                    logger.warning("heartbeat failed, trying again: %s", error)

    def _nap(self) -> None:
        time.sleep(min(PROGRESS_EVERY, self.settings.heartbeat_seconds))

    def _ask_again(self) -> None:
        """What somebody else held at the last look."""
        for _ in range(len(self._busy_claims)):
            self._claims.put(self._busy_claims.popleft())
        for _ in range(len(self._busy_endings)):
            self._endings.put(self._busy_endings.popleft())

    def _enforce_deadlines(self, runs: list[Run], now: float) -> None:
        """End, in the ledger, what is past its deadline and comes to no checkpoint. Its late result will be refused."""
        for run in runs:
            if run.deadline is not None and now > run.deadline + DEADLINE_GRACE and not run.lost:
                ending = self._ending_of_timeout(run)
                run.stop(None)
                self._endings.put((run, ending))

    def _drain(self, runs: list[Run], *, late: bool) -> None:
        for run in runs:
            run.stop(DRAINED)
        if not late or not (runs or self._asked):
            return
        # What comes to no checkpoint goes back too, and the process ends at once, so that it cannot work on.
        for run in runs:
            self._endings.put((run, Ending(run.id, run.claim.claims, "queued", "drained", refund=1)))
        written = self.flush(timeout=LAST_WORDS)
        told = "put back unfinished" if written else "left to their leases: the ledger cannot be written"
        logger.warning("drain time is over, %d jobs %s", len(runs), told)
        os._exit(0)

    def _report_progress(self, connection: Connection) -> None:
        reports = [(run, run.progress_report) for run in list(self.held.values())]
        fresh = [(run, report) for run, report in reports if report is not None and report is not run.progress_written]
        for run, report in fresh:
            run.progress_written = report  # also where it cannot be: the next one will tell, and the ending does
        if fresh:
            ledger.write_progress(connection, [(run.id, run.claim.claims, *report) for run, report in fresh])

    def _bring_cancel_requests(self, connection: Connection) -> None:
        for id_ in ledger.cancel_requests(connection, list(self.held)):
            run = self.held.get(id_)
            if run is not None:
                run.stop(Cancel())

    def _renew_leases(self, connection: Connection) -> None:
        """Each lease once a third of it is over; one whose row somebody holds is tried again at the next look."""
        now = time.monotonic()
        third = self.settings.lease_seconds / 3
        due = {run.id: run for run in list(self.held.values()) if now - run.renewed >= third}
        if not due:
            return
        held = {id_: run.claim.claims for id_, run in due.items()}
        written = ledger.renew(connection, held, lease_seconds=self.settings.lease_seconds)
        for id_, run in due.items():
            if id_ in written.done:
                run.renewed = now
            elif id_ not in written.busy and not run.ended and self.held.get(id_) is run:
                run.stop(None)


def _unstorable(ending: Ending) -> Ending:
    return Ending(
        ending.id, ending.claims, "failed", "failed", error_code="result_invalid",
        error_message="What the job returned cannot be stored.", error_fingerprint="result_invalid",
    )  # fmt: skip


def _close(connection: Connection | None) -> None:
    if connection is not None:
        connection.close()
