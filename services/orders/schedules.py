"""The schedules of a merchant whose orders are out: made when the first is sent, and theirs like any other."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from services.core.clock import now
from services.core.ids import new_id
from services.jobs import Job
from services.models import Schedule
from services.orders.jobs import FollowOrders, ReconcileOrders

# Name → the job, and every so many seconds.
SCHEDULES: dict[str, tuple[Job, int]] = {
    "Follow orders": (FollowOrders(), 600),
    "Reconcile orders": (ReconcileOrders(days=3), 86_400),
}


def keep_schedules(session: Session, *, merchant_id: UUID) -> None:
    """Have the schedules, if the merchant does not have them already."""
    rows = [
        {
            "id": new_id(), "merchant_id": merchant_id, "name": name, "kind": job.kind,
            "args": job.model_dump(mode="json"), "interval_seconds": seconds, "misfire": "once", "overlap": "skip",
            "next_fire_at": now() + timedelta(seconds=seconds),
        }
        for name, (job, seconds) in SCHEDULES.items()
    ]  # fmt: skip
    session.execute(insert(Schedule).values(rows).on_conflict_do_nothing())
