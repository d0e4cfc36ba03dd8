"""Which processes are alive, and which queues are being taken from: what /ready and the metrics look at."""

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.jobs.ledger import Connection, transaction

_SEEN = """
INSERT INTO processes (id, role, queues, lag_seconds) VALUES (%(id)s, %(role)s, %(queues)s, %(lag)s)
ON CONFLICT (id) DO UPDATE SET seen_at = now(), lag_seconds = excluded.lag_seconds
"""


def seen(connection: Connection, *, id_: str, role: str, queues: list[str], lag_seconds: float | None) -> None:
    """Say that a process is alive. Rows not refreshed for a day are dropped: nothing but people reads them by then."""
    with transaction(connection):
        connection.execute(_SEEN, {"id": id_, "role": role, "queues": queues, "lag": lag_seconds})
        connection.execute("DELETE FROM processes WHERE seen_at < now() - interval '1 day'")


def consumed(session: Session, queue: str) -> None:
    """Say that a worker has just taken a message from a queue."""
    session.execute(text("UPDATE queues SET consumed_at = now() WHERE name = :queue"), {"queue": queue})
