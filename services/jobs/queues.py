"""What operators do to queues: pause, resume, cap. The relay obeys within a second."""

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from services.core.errors import NotFound
from services.models import Queue


class QueueNotFound(NotFound):
    """There is no such queue."""


def list_queues(session: Session) -> list[Queue]:
    """All queues, by name."""
    return list(session.scalars(select(Queue).order_by(Queue.name)))


def pause_queue(session: Session, *, name: str, by: str, why: str) -> Queue:
    """Start nothing more of a queue. What runs goes on; what was rung waits with the rest."""
    queue = _get(session, name)
    if queue.paused_at is None:
        session.execute(text("UPDATE queues SET paused_at = now() WHERE name = :name"), {"name": name})
        session.refresh(queue)
    queue.paused_by, queue.pause_reason = by, why
    session.flush()
    return queue


def resume_queue(session: Session, *, name: str) -> Queue:
    """Let a paused queue go on."""
    queue = _get(session, name)
    queue.paused_at = queue.paused_by = queue.pause_reason = None
    session.flush()
    session.execute(text("SELECT pg_notify('shopopti_jobs', :name)"), {"name": name})
    return queue


def set_queue_caps(
    session: Session, *, name: str, max_running: int | None = None, merchant_cap: int | None = None
) -> Queue:
    """Bound how many jobs of the queue are in flight, over all merchants and for each. None is no bound of its own."""
    queue = _get(session, name)
    queue.max_running, queue.merchant_cap = max_running, merchant_cap
    session.flush()
    return queue


def set_merchant_cap(session: Session, *, merchant_id: object, queue: str, max_in_flight: int | None) -> None:
    """Give one merchant a cap of its own in a queue, or take it back with None."""
    _get(session, queue)
    arguments = {"merchant_id": merchant_id, "queue": queue, "cap": max_in_flight}
    if max_in_flight is None:
        session.execute(
            text("DELETE FROM merchant_caps WHERE merchant_id = :merchant_id AND queue = :queue"), arguments
        )
        return
    session.execute(
        text("""INSERT INTO merchant_caps (merchant_id, queue, max_in_flight) VALUES (:merchant_id, :queue, :cap)
                ON CONFLICT (merchant_id, queue) DO UPDATE SET max_in_flight = excluded.max_in_flight"""),
        arguments,
    )


def _get(session: Session, name: str) -> Queue:
    queue = session.get(Queue, name)
    if queue is None:
        raise QueueNotFound(f"There is no queue {name!r}.")
    return queue
