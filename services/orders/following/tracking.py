"""How suppliers' orders stand: asked for when due, by age and state, when a supplier says that one moved, and when
somebody wants to know.

What is read is written only where it is news; each piece of news is a step of the order's story. A supplier that tells
the parcels of many orders in one call is asked for those first: an order of which they say nothing new is seldom read.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.core.clock import now
from services.core.db import transaction
from services.core.ids import new_id
from services.jobs import Run, enqueue
from services.models import Order, SupplierOrder
from services.orders.events import Step, record
from services.orders.incoming.cancel import OrderNotFound
from services.orders.jobs import CheckSupplierOrder, FollowConnection
from services.orders.placing.lookup import unaccounted
from services.orders.states import settle
from services.orders.watch import review
from services.sourcing.accounts.reach import Reached, heeding_refusals, reach
from services.sourcing.quotas import breaker
from services.suppliers.base import OrderState, OrderStatus, Tracking
from services.suppliers.errors import FatalForItem, Retry

# State → (younger than so many hours, asked after again in so many). The first that fits; none: it is over.
_RHYTHM: dict[str, tuple[tuple[float, float], ...]] = {
    "unpaid": ((24, 0.5), (24 * 14, 4), (float("inf"), 24)),
    "processing": ((24, 1), (24 * 3, 3), (24 * 14, 8), (float("inf"), 24)),
    "shipped": ((24 * 7, 6), (24 * 30, 12), (24 * 120, 48)),
    "unknown": ((24, 1), (24 * 30, 6), (float("inf"), 24)),
    "delivered": (),
    "cancelled": (),
}
# States in which there may be parcels: asking for those of the others would be half of all calls, for nothing.
_TRACKED = (OrderState.SHIPPED, OrderState.DELIVERED, OrderState.UNKNOWN)
# So long an order whose parcels say nothing new is not read itself: what it would say is in them.
QUIET = timedelta(hours=12)
AGAIN_MINUTES = 30.0  # after the supplier could not say anything about an order
PART = 100  # orders looked up in the database at a time


def next_look(state: str, *, created_at: datetime, at: datetime) -> datetime | None:
    """When an order in that state is to be asked after again; None: its story is over."""
    age = (at - created_at).total_seconds() / 3600
    hours = next((hours for younger, hours in _RHYTHM[state] if age < younger), None)
    return None if hours is None else at + timedelta(hours=hours)


# -- Who is asked when -------------------------------------------------------------------------------------------------

_DUE_CONNECTIONS = text("""
SELECT DISTINCT due.connection_id FROM supplier_orders due JOIN connections ON connections.id = due.connection_id
WHERE due.merchant_id = :merchant_id AND due.check_at <= clock_timestamp() AND connections.state = 'active'
""")
# With what is known of their parcels, to see whether anything is new.
_DUE = text("""
SELECT due.id, due.state, due.created_at,
    due.state IN ('processing', 'shipped') AND due.checked_at > clock_timestamp() - CAST(:quiet AS interval) AS quiet,
    ARRAY(SELECT jsonb_build_array(number, status, at_text) FROM parcels WHERE parcels.merchant_id = due.merchant_id
        AND parcels.connection_id = due.connection_id AND parcels.supplier_order_id = due.id) AS parcels
FROM supplier_orders due
WHERE merchant_id = :merchant_id AND connection_id = :connection_id AND check_at <= clock_timestamp()
ORDER BY check_at LIMIT :part
""")
_OF_ORDER = text("""
SELECT found.connection_id, found.id FROM supplier_orders found JOIN intents ON intents.id = found.intent_id
WHERE intents.order_id = :order_id AND found.check_at IS NOT NULL ORDER BY found.connection_id, found.id
""")


def follow(session: Session, *, merchant_id: UUID) -> list[UUID]:
    """Have the orders that are due asked after: a job for each connection, one at a time. Returns the connections."""
    due = list(session.scalars(_DUE_CONNECTIONS, {"merchant_id": merchant_id}))
    for id_ in due:
        enqueue(session, FollowConnection(connection_id=id_), merchant_id=merchant_id, unique_key=str(id_))
    return due


def ask_after(session: Session, order_id: UUID, *, merchant_id: UUID) -> list[UUID]:
    """Have the suppliers asked now how an order stands: a job for each of their orders that is not over.

    Raises OrderNotFound.
    """
    if session.get(Order, order_id) is None:
        raise OrderNotFound
    jobs = []
    for connection_id, id_ in session.execute(_OF_ORDER, {"order_id": order_id}).all():
        job = CheckSupplierOrder(connection_id=connection_id, supplier_order_id=id_)
        jobs.append(enqueue(session, job, merchant_id=merchant_id, unique_key=f"{connection_id}/{id_}")[0])
    return jobs


def follow_connection(run: Run, *, connection_id: UUID) -> dict[str, Any]:
    """Ask one supplier after every order that is due, as fast as its quotas allow.

    Raises what `reach` and `check` raise, Stopped.

    The result's `checked` counts this attempt's.
    """
    with run.transaction() as session:
        reached = reach(session, connection_id)
    checked = 0
    while True:
        with run.transaction() as session:
            asked = {"merchant_id": run.merchant_id, "connection_id": connection_id, "part": PART, "quiet": QUIET}
            due = session.execute(_DUE, asked).all()
        if not due:
            return {"checked": checked}
        with breaker.guarded(run, connection_id) as supplier:
            at_once = max(1, reached.adapter.CAPABILITIES.tracked_at_once)
            for first in range(0, len(due), at_once):
                some = due[first : first + at_once]
                run.progress(checked, None, "following")
                parcels = _of_all(reached, [row.id for row in some]) if at_once > 1 else None
                news = [row for row in some if parcels is None or _is_news(row, parcels.get(row.id, ()))]
                _leave_quiet(reached, [row for row in some if row not in news])
                for row in news:
                    run.checkpoint()
                    check(reached, row.id, parcels=None if parcels is None else parcels.get(row.id, ()))
                    supplier.answered()
                checked += len(some)
                supplier.answered()


def check_one(run: Run, *, connection_id: UUID, supplier_order_id: str) -> None:
    """Ask a supplier after one of its orders. Raises what `reach` and `check` raise, Stopped."""
    with run.transaction() as session:
        reached = reach(session, connection_id)
    with breaker.guarded(run, connection_id):
        check(reached, supplier_order_id)


def check(reached: Reached, order_id: str, *, parcels: Sequence[Tracking] | None = None) -> None:
    """Ask a supplier after one of its orders, and write what is new. `parcels` where they are known already.

    Raises Retry, WaitUntil, TokenAwaited, ReconnectNeeded (the connection is marked), FatalForConnection.
    """
    try:
        with heeding_refusals(reached):
            status = reached.adapter.order_status(reached.connection, order_id)
        if parcels is None:
            parcels = _parcels_of(reached, [order_id]).get(order_id, ()) if status.state in _TRACKED else ()
    except (FatalForItem, Retry) as error:
        with transaction(merchant_id=reached.merchant_id) as session:
            _put_off(session, reached, order_id)
        if isinstance(error, Retry):
            raise
        return
    with transaction(merchant_id=reached.merchant_id) as session:
        write(session, status, parcels, merchant_id=reached.merchant_id, connection_id=reached.id)


def _of_all(reached: Reached, order_ids: Sequence[str]) -> Mapping[str, tuple[Tracking, ...]] | None:
    """None: one of them spoils the call for all, and they are to be asked after one by one."""
    try:
        return _parcels_of(reached, order_ids)
    except FatalForItem:
        return None


def _parcels_of(reached: Reached, order_ids: Sequence[str]) -> Mapping[str, tuple[Tracking, ...]]:
    with heeding_refusals(reached):
        return reached.adapter.tracking(reached.connection, order_ids)


# -- What is new -------------------------------------------------------------------------------------------------------


def _is_news(row: Any, parcels: Sequence[Tracking]) -> bool:
    """Whether an order is to be read: its parcels have moved, or it was not read for long."""
    known = {tuple(parcel) for parcel in row.parcels}
    return not row.quiet or any((one.number, one.status, one.at_text) not in known for one in parcels)


_QUIET = text("""
UPDATE supplier_orders SET check_at = given.at
FROM unnest(CAST(:ids AS text[]), CAST(:ats AS timestamptz[])) AS given (id, at)
WHERE merchant_id = :merchant_id AND connection_id = :connection_id AND supplier_orders.id = given.id
    AND check_at IS NOT NULL
""")


def _leave_quiet(reached: Reached, rows: Sequence[Any]) -> None:
    if not rows:
        return
    at = now()
    told = {
        "merchant_id": reached.merchant_id, "connection_id": reached.id, "ids": [row.id for row in rows],
        "ats": [next_look(row.state, created_at=row.created_at, at=at) for row in rows],
    }  # fmt: skip
    with transaction(merchant_id=reached.merchant_id) as session:
        session.execute(_QUIET, told)


_PUT_OFF = text("""
UPDATE supplier_orders SET checked_at = clock_timestamp(),
    check_at = clock_timestamp() + make_interval(mins => :minutes)
WHERE merchant_id = :merchant_id AND connection_id = :connection_id AND id = :id AND check_at IS NOT NULL
""")


def _put_off(session: Session, reached: Reached, order_id: str) -> None:
    session.execute(
        _PUT_OFF,
        {"merchant_id": reached.merchant_id, "connection_id": reached.id, "id": order_id, "minutes": AGAIN_MINUTES},
    )


def write(
    session: Session,
    status: OrderStatus,
    parcels: Sequence[Tracking],
    *,
    merchant_id: UUID,
    connection_id: UUID,
) -> bool:
    """Note how an order stands and where its parcels are. Whether anything of it was new. An order of nobody's here
    is left alone.
    """
    key = (merchant_id, connection_id, status.id)
    row = session.get(SupplierOrder, key, with_for_update=True, populate_existing=True)
    if row is None:
        return False
    order_id = session.scalars(_ORDER_OF, {"id": row.intent_id}).one()
    steps = [*_state_news(row, status, order_id), *_parcel_news(session, row, parcels, order_id)]
    at = now()
    if status.refs and not row.refs:
        row.refs = list(status.refs)
        found = {"id": row.intent_id, "refs": row.refs, "order_id": row.id}
        session.execute(_LINES, found)
    if status.total is not None and status.total.currency == (row.currency or status.total.currency):
        row.total, row.currency = status.total.amount, status.total.currency
    row.checked_at, row.check_at = at, next_look(row.state, created_at=row.created_at, at=at)
    session.flush()
    session.execute(_CHARGED, {"id": row.intent_id})
    if missing := unaccounted(session, row.intent_id):
        steps += [Step(order_id, "part_unaccounted", {"order_refs": missing}, row.intent_id)] if steps else []
    record(session, steps, merchant_id=merchant_id)
    review(session, [order_id], merchant_id=merchant_id)
    if steps:
        settle(session, [order_id], merchant_id=merchant_id)
    return bool(steps)


_ORDER_OF = text("SELECT order_id FROM intents WHERE id = :id")
_LINES = text("""
UPDATE intent_lines SET supplier_order_id = :order_id
WHERE intent_id = :id AND order_ref = ANY(:refs) AND supplier_order_id IS NULL AND refused_code IS NULL
""")
# What was charged is known when every part says what it cost, in the intent's currency.
_CHARGED = text("""
UPDATE intents SET charged = parts.total
FROM (SELECT sum(total) AS total, min(currency) AS currency, bool_and(total IS NOT NULL) AS all_said,
        count(DISTINCT currency) AS currencies FROM supplier_orders WHERE intent_id = :id) parts
WHERE intents.id = :id AND parts.all_said AND parts.currencies = 1 AND parts.currency = intents.currency
    AND intents.charged IS DISTINCT FROM parts.total
""")


def _state_news(row: SupplierOrder, status: OrderStatus, order_id: UUID) -> list[Step]:
    state = status.state.value
    if (row.state, row.raw) == (state, status.raw):
        return []
    told = {"supplier_order_id": row.id, "from": row.state, "to": state, "raw": status.raw}
    moved = row.state != state
    row.raw = status.raw
    if not moved:
        return []
    row.state, row.state_at = state, now()
    if state in ("processing", "shipped", "delivered"):
        row.paid = True
    return [Step(order_id, "supplier_order_moved", told, row.intent_id)]


_PARCEL = text("""
INSERT INTO parcels (id, merchant_id, connection_id, supplier_order_id, intent_id, number, carrier, status, at, at_text,
    url)
VALUES (:id, :merchant_id, :connection_id, :order_id, :intent_id, :number, :carrier, :status, :at, :at_text, :url)
ON CONFLICT (merchant_id, connection_id, supplier_order_id, number) DO UPDATE SET
    carrier = coalesce(excluded.carrier, parcels.carrier), status = excluded.status, at = excluded.at,
    at_text = excluded.at_text, url = coalesce(excluded.url, parcels.url), last_change = clock_timestamp()
WHERE (parcels.status, parcels.at, parcels.at_text) IS DISTINCT FROM (excluded.status, excluded.at, excluded.at_text)
RETURNING xmax = 0 AS fresh
""")


def _parcel_news(session: Session, row: SupplierOrder, parcels: Sequence[Tracking], order_id: UUID) -> list[Step]:
    steps = []
    for one in parcels:
        said = {"number": one.number, "carrier": one.carrier, "status": one.status, "at_text": one.at_text}
        found = session.execute(
            _PARCEL,
            {
                **said, "id": new_id(), "merchant_id": row.merchant_id, "connection_id": row.connection_id,
                "order_id": row.id, "intent_id": row.intent_id, "at": one.at, "url": one.url,
            },
        ).first()  # fmt: skip
        if found is not None:
            told = {
                "supplier_order_id": row.id, **said, "at": one.at and one.at.isoformat(), "url": one.url,
            }  # fmt: skip
            kept = {name: value for name, value in told.items() if value is not None}
            steps.append(Step(order_id, "parcel_found" if found.fresh else "parcel_moved", kept, row.intent_id))
    return steps
