"""Reading job events in an order that can be resumed, and putting them into the words of server-sent events.

Nothing is lost or doubled because a reader only goes up to a horizon: events are read in the order of (xid, id), and
only those of transactions older than any that is still open (xid < xmin of the snapshot), so that nothing can commit
behind the reader. The price: a long transaction that writes, anywhere in the cluster, holds live updates back until it
ends. Of one job, two events can come in another order than they happened, when the transaction of the later one began
first; `seq` tells.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Text, cast, exists, func, literal, select, text, tuple_

from services.core import db
from services.core.errors import Invalid
from services.core.settings import Settings
from services.jobs.ledger import Connection, transaction
from services.jobs.queries import JobNotFound
from services.jobs.states import ENDED
from services.models import Job, JobEvent
from services.models.jobs import Xid8

PAGE = 5000  # events in one poll
REPLAY_PAGE = 500

logger = logging.getLogger(__name__)


class LastEventIdInvalid(Invalid):
    """Last-Event-ID is not an id this stream gave out."""


class Cursor(NamedTuple):
    """A place in the order of events."""

    xid: int
    id: int

    def __str__(self) -> str:
        return f"{self.xid}-{self.id}"


def parse_cursor(last_event_id: str) -> Cursor:
    """The place a Last-Event-ID names. Raises LastEventIdInvalid."""
    xid, _, id_ = last_event_id.partition("-")
    if not (xid.isdecimal() and id_.isdecimal() and xid.isascii() and id_.isascii() and len(last_event_id) <= 40):
        raise LastEventIdInvalid(param="Last-Event-ID")
    if int(xid) >= 2**64 or int(id_) >= 2**63:
        raise LastEventIdInvalid(param="Last-Event-ID")
    return Cursor(int(xid), int(id_))


@dataclass(frozen=True, slots=True)
class Message:
    """A piece of the stream, ready for the wire."""

    merchant_id: UUID
    job_id: UUID
    chunk: bytes
    cursor: Cursor | None = None  # None: progress, which is not repeated
    ended: bool = False


def encode(event: str, data: str, *, id_: str | None = None, retry: int | None = None) -> bytes:
    """One server-sent event. `data` is JSON: it has no line breaks of its own."""
    lines = [f"event: {event}", f"data: {data}"]
    if id_ is not None:
        lines.append(f"id: {id_}")
    if retry is not None:
        lines.append(f"retry: {retry}")
    return ("\n".join(lines) + "\n\n").encode()


_COLUMNS = "e.xid, e.id, e.merchant_id, e.job_id, e.kind, e.queue, e.state, e.reason, e.attempt, e.error_code, e.error_message, e.run_ms, e.at"  # fmt: skip  # noqa: E501

_HORIZON = "SELECT pg_snapshot_xmin(pg_current_snapshot())"

# One statement, one snapshot: the horizon and the rows below it.
_EVENTS = f"""
WITH horizon AS MATERIALIZED (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS xid)
SELECT horizon.xid, e.* FROM horizon LEFT JOIN LATERAL (
    SELECT {_COLUMNS} FROM job_events e
    WHERE e.merchant_id = ANY(%(merchants)s) AND (e.xid, e.id) > (%(xid)s::xid8, %(id)s::bigint)
      AND e.xid < horizon.xid
    ORDER BY e.xid, e.id LIMIT {PAGE}
) e ON true
ORDER BY e.xid, e.id
"""  # noqa: S608

_PROGRESS = """
SELECT merchant_id, id, progress_done, progress_total, progress_note FROM jobs
WHERE merchant_id = ANY(%(merchants)s) AND state = 'running' AND progress_done IS NOT NULL
"""

_REPLAY = text(f"""
SELECT {_COLUMNS} FROM job_events e
WHERE e.merchant_id = :merchant_id AND (CAST(:job_id AS uuid) IS NULL OR e.job_id = :job_id)
  AND (e.xid, e.id) > (CAST(:xid AS xid8), :id) AND (e.xid, e.id) <= (CAST(:to_xid AS xid8), :to_id)
ORDER BY e.xid, e.id LIMIT {REPLAY_PAGE}
""")  # noqa: S608
_REPLAY_JOB = text(_REPLAY.text.replace("(CAST(:job_id AS uuid) IS NULL OR e.job_id = :job_id)", "e.job_id = :job_id"))


def _message(row: Any) -> Message:
    xid, id_, merchant_id, job_id, kind, queue, state, reason, attempt, code, message, run_ms, at = row
    data = {
        "seq": id_, "job_id": str(job_id), "kind": kind, "queue": queue, "status": state, "reason": reason,
        "attempt": attempt,
        "error": None if code is None else {"code": code, "message": message},
        "run_ms": run_ms, "at": at.isoformat(),
    }  # fmt: skip
    cursor = Cursor(int(xid), id_)
    return Message(
        merchant_id, job_id, encode("state", json.dumps(data), id_=str(cursor)), cursor, ended=state in ENDED
    )


def _progress_message(row: Any) -> Message:
    merchant_id, job_id, done, total, note = row
    data = {"job_id": str(job_id), "done": done, "total": total, "note": note}
    return Message(merchant_id, job_id, encode("progress", json.dumps(data)))


class Visible:
    """What a snapshot of Postgres saw: "xmin:xmax:xip,…"."""

    def __init__(self, snapshot: str) -> None:
        xmin, xmax, running = snapshot.split(":")
        self.xmin, self._xmax = int(xmin), int(xmax)
        self._running = frozenset(int(xid) for xid in running.split(",") if xid)

    def __contains__(self, xid: int) -> bool:
        return xid < self.xmin or (xid < self._xmax and xid not in self._running)


@dataclass(frozen=True, slots=True)
class Sight:
    """A job at one moment: its description, what is in it already, and whether more is to be told."""

    ended: bool
    description: str  # JSON
    visible: Visible
    news: bool  # there are events after the listener's last


def look(merchant_id: UUID, job_id: UUID, describe: Callable[[Job], str], last: Cursor | None) -> Sight:
    """The job, all from one snapshot of the database. Raises JobNotFound."""
    with db.transaction(merchant_id=merchant_id) as session:
        after = last or Cursor(0, 0)
        place = tuple_(JobEvent.xid, JobEvent.id) > tuple_(cast(literal(str(after.xid)), Xid8), after.id)
        news = exists().where(JobEvent.job_id == Job.id, place)
        statement = select(Job, cast(func.pg_current_snapshot(), Text), news).where(Job.id == job_id)
        found = session.execute(statement).one_or_none()
        if found is None:
            raise JobNotFound
        job, snapshot, more = found
        return Sight(job.state in ENDED, describe(job), Visible(snapshot), more)


def replay(merchant_id: UUID, job_id: UUID | None, after: Cursor, until: Cursor) -> list[Message]:
    """Up to REPLAY_PAGE events of the merchant, or of one job, that come after one place and not after another."""
    arguments = {
        "merchant_id": merchant_id, "job_id": job_id, "xid": str(after.xid), "id": after.id,
        "to_xid": str(until.xid), "to_id": until.id,
    }  # fmt: skip
    with db.transaction(merchant_id=merchant_id) as session:
        return [_message(row) for row in session.execute(_REPLAY if job_id is None else _REPLAY_JOB, arguments)]


class Poller:
    """The thread's connection and its place in the order of events."""

    def __init__(self, settings: Settings) -> None:
        self.horizon = 0
        self._settings = settings
        self._connection: Connection | None = None
        self._position: Cursor | None = None
        self._progress: dict[UUID, Any] = {}

    def poll(self, merchants: list[UUID]) -> tuple[Cursor, list[Message], bool]:
        """Where this poll began, what came after, and whether there is more already. Raises psycopg.Error."""
        if self._connection is None:
            self._connection = db.open_connection(self._settings)
        since = self._position or self._begin(self._connection)
        arguments = {"merchants": merchants, "xid": str(since.xid), "id": since.id}
        with transaction(self._connection):
            events = self._connection.execute(_EVENTS, arguments)
            progress = self._connection.execute(_PROGRESS, arguments)
        rows = events.fetchall()
        self.horizon = int(rows[0][0])
        messages = [_message(row[1:]) for row in rows if row[1] is not None]
        more = len(messages) == PAGE
        self._position = messages[-1].cursor if more else Cursor(self.horizon, 0)
        if self.horizon < since.xid:
            logger.warning("the database is older than the last one: it was restored, or lost its latest transactions")
        return since, messages + self._changed(progress.fetchall()), more

    def disconnect(self) -> None:
        """Give the connection up; the place is kept."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def forget_position(self) -> None:
        """Begin from now the next time."""
        self._position = None
        self._progress = {}

    def _begin(self, connection: Connection) -> Cursor:
        row = connection.execute(_HORIZON).fetchone()
        return Cursor(int(row[0]) if row else 0, 0)

    def _changed(self, rows: list[Any]) -> list[Message]:
        before, self._progress = self._progress, {row[1]: row for row in rows}
        return [_progress_message(row) for row in rows if before.get(row[1]) != row]
