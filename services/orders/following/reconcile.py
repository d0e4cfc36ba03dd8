"""Our ledger beside the suppliers': what of a period either side lacks.

No supplier lists its orders. One that finds them by reference is asked for every reference of ours, also for those that
came to nothing; one that does not is asked for every order of it that we know.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from services.core.clock import now
from services.core.db import transaction
from services.core.errors import Invalid
from services.jobs import Run, enqueue, enqueue_many
from services.models import Connection
from services.orders import intents
from services.orders.attention import Item, close_items, open_items
from services.orders.events import Step, record
from services.orders.jobs import ReconcileOrders
from services.sourcing.accounts.reach import Reached, get_connection, heeding_refusals, reach
from services.sourcing.quotas import breaker
from services.suppliers.base import PlacedOrder, Placement
from services.suppliers.errors import FatalForItem

PART = 200  # intents in one job: what a quota makes wait begins again there
LONGEST = timedelta(days=366)


class PeriodInvalid(Invalid):
    """A period ends after it begins, and is a year at most."""


@dataclass(frozen=True, slots=True)
class _Sent:
    """An intent that a supplier may have heard of, and the orders noted for it."""

    id: UUID
    order_id: UUID
    reference: str
    state: str
    noted: tuple[str, ...]


def ask_reconcile(session: Session, job: ReconcileOrders, *, merchant_id: UUID) -> UUID:
    """Have a period compared. Returns the job's id. Raises PeriodInvalid, ConnectionNotFound."""
    first, last = period(job)
    if not first < last <= first + LONGEST:
        raise PeriodInvalid(param="since")
    if job.connection_id is not None:
        get_connection(session, job.connection_id)
    job_id, _ = enqueue(session, job, merchant_id=merchant_id)
    return job_id


def period(job: ReconcileOrders) -> tuple[datetime, datetime]:
    """From when, and until before when."""
    today = now().date()
    last = (job.until or today) + timedelta(days=1)
    first = job.since or last - timedelta(days=max(1, job.days))
    return _midnight(first), _midnight(last)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def reconcile(run: Run, job: ReconcileOrders) -> dict[str, Any]:
    """Compare a period, or share it out among the merchant's connections.

    The result counts intents `compared`, and what is `not_at_supplier` and `not_here`; each is in the attention list.
    Raises what `reach` and `heeding_refusals` raise, errors of suppliers, Stopped.
    """
    if job.connection_id is None:
        return _share_out(run, job)
    with run.transaction() as session:
        reached = reach(session, job.connection_id)
        part = _part(session, job)
    found: Counter[str] = Counter(compared=0, not_at_supplier=0, not_here=0)
    with heeding_refusals(reached), breaker.guarded(run, reached.id) as supplier:
        for sent in part:
            run.progress(found["compared"], None, "comparing")
            found.update(_compare(reached, sent))
            found["compared"] += 1
            supplier.answered()
    if len(part) == PART:
        with run.transaction() as session:
            following = job.model_copy(update={"after": part[-1].id})
            enqueue(session, following, merchant_id=run.merchant_id, parent_id=run.id)
            run.finish(session, dict(found))
    return dict(found)


def _share_out(run: Run, job: ReconcileOrders) -> dict[str, Any]:
    with run.transaction() as session:
        mine = select(Connection.id).where(Connection.merchant_id == run.merchant_id, Connection.state == "active")
        ids = list(session.scalars(mine.order_by(Connection.id)))
        jobs = [job.model_copy(update={"connection_id": id_}) for id_ in ids]
        if jobs:
            enqueue_many(session, jobs, merchant_id=run.merchant_id, parent_id=run.id)
        run.finish(session, {"connections": len(ids)})
    return {"connections": len(ids)}


_PART = text("""
SELECT intents.id, intents.order_id, intents.reference, intents.state,
    coalesce(array_agg(found.id) FILTER (WHERE found.id IS NOT NULL), '{}') AS noted
FROM intents LEFT JOIN supplier_orders found ON found.intent_id = intents.id
WHERE intents.merchant_id = :merchant_id AND intents.connection_id = :connection_id
    AND (intents.attempts > 0 OR (intents.state = 'cancelled' AND intents.sending_since IS NOT NULL))
    AND intents.state IN ('placed', 'refused', 'planned', 'cancelled') AND intents.created_at >= :first
    AND intents.created_at < :last AND intents.id > :after
GROUP BY intents.id ORDER BY intents.id LIMIT :part
""")


def _part(session: Session, job: ReconcileOrders) -> list[_Sent]:
    first, last = period(job)
    owner = session.scalars(select(Connection.merchant_id).where(Connection.id == job.connection_id)).one()
    asked = {
        "merchant_id": owner, "connection_id": job.connection_id, "first": first, "last": last,
        "after": job.after or UUID(int=0), "part": PART,
    }  # fmt: skip
    return [
        _Sent(row.id, row.order_id, row.reference, row.state, tuple(row.noted)) for row in session.execute(_PART, asked)
    ]


def _compare(reached: Reached, sent: _Sent) -> dict[str, int]:
    """One intent beside its supplier. Differences are put before somebody."""
    offered = reached.adapter.CAPABILITIES
    there: dict[str, PlacedOrder] = {}
    whole = offered.finds_by_reference and (offered.finds_all_parts or len(sent.noted) <= 1)
    if offered.finds_by_reference:
        try:
            there = {one.id: one for one in reached.adapter.find_by_reference(reached.connection, sent.reference)}
        except FatalForItem:  # of this one there is no telling by its reference
            whole = False
    lacking = [id_ for id_ in sent.noted if id_ not in there and (whole or not _exists(reached, id_))]
    strange = [one for id_, one in there.items() if id_ not in sent.noted]
    with transaction(merchant_id=reached.merchant_id) as session:
        _note(session, reached, sent, lacking, strange)
    return {"not_at_supplier": len(lacking), "not_here": len(strange)}


def _exists(reached: Reached, order_id: str) -> bool:
    try:
        reached.adapter.order_status(reached.connection, order_id)
    except FatalForItem as error:
        if error.kind != "not_found":
            raise
        return False
    return True


def _note(session: Session, reached: Reached, sent: _Sent, lacking: list[str], strange: list[PlacedOrder]) -> None:
    """What differs; an order there that was not known of is noted as this intent's, so that it is followed."""
    told = {"connection_id": str(reached.id), "reference": sent.reference}
    for cause, ids in (("not_at_supplier", lacking), ("not_here", [one.id for one in strange])):
        if not ids:
            close_items(session, [sent.order_id], cause=cause, subject=str(sent.id))
            continue
        detail = {**told, "supplier_order_ids": ids, "state": sent.state}
        item = Item(sent.order_id, cause, detail, subject=str(sent.id), intent_id=sent.id)
        open_items(session, [item], merchant_id=reached.merchant_id)
        record(session, [Step(sent.order_id, cause, detail, sent.id)], merchant_id=reached.merchant_id)
    if strange:
        intents.place(session, sent.id, Placement(tuple(strange), existed=True), how="looked_up")
