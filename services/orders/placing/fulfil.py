"""A job's way with one order: plan its intents, bring each as far as it goes, stay until every supplier has answered.

The order's row is locked while intents are planned, and the database lets no piece be in two of them: however many jobs
work on an order, at once or one after the other, each piece is sent once. What is refused for a reason that another
supplier may not share is routed anew, without what was refused.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from services.core.clock import now
from services.core.errors import ShopOptiError, TooMany, Unavailable
from services.jobs import Outcome, Run, Snooze, Stopped
from services.models import Order
from services.orders import intents
from services.orders.incoming.cancel import OrderNotFound
from services.orders.intents import Standing
from services.orders.placing import lookup, send
from services.orders.placing.planning import plan
from services.orders.placing.send import LEASE, Blocked, Step, Wait, insist
from services.orders.states import settle
from services.orders.watch import review
from services.sourcing.accounts.reach import Reached, ReconnectFirst, get_connection, reach
from services.sourcing.quotas import breaker
from services.suppliers.errors import SupplierError

ROUNDS = 100  # far more than an order's suppliers can refuse
SHORT_SECONDS = 0.05

OPEN = ("planned", "sending", "unknown")


@dataclass(frozen=True, slots=True)
class _Way:
    """A supplier that may be called, and whether its last call went well."""

    reached: Reached
    healthy: bool


@dataclass(frozen=True, slots=True)
class _Work:
    """What is to be done about an order now."""

    open: list[Standing]
    ways: dict[UUID, _Way | Wait | Blocked]  # by connection
    result: dict[str, Any]  # how it all stands


def fulfil(run: Run, *, order_id: UUID) -> Outcome | None:
    """Send what an order needs, and end when nothing of it is under way. Raises OrderNotFound, Stopped.

    The result has the order's `state` and its `intents` with theirs.
    """
    waits: dict[UUID, Wait | Blocked] = {}
    for _ in range(ROUNDS):
        run.checkpoint()
        with run.transaction() as session:
            work = _prepare(session, run, order_id)
            left = [at for at in work.open if at.id not in waits]
            if not left and not any(isinstance(wait, Wait) for wait in waits.values()):
                run.finish(session, work.result)
                return None
        if not left:
            break
        for at in left:
            run.checkpoint()
            step = _advance(run, work.ways[at.connection_id], at)
            if step is not None:
                waits[at.id] = step
    pending = [wait for wait in waits.values() if isinstance(wait, Wait)]
    soonest = min(pending, key=lambda wait: wait.seconds, default=Wait(5.0, "order_unsettled"))
    return Snooze(max(SHORT_SECONDS, soonest.seconds), soonest.reason)


def _advance(run: Run, way: _Way | Wait | Blocked, at: Standing) -> Step:
    """One step of one intent. None: it has moved."""
    merchant_id = run.merchant_id
    if at.state == "sending":
        left = LEASE - (now() - (at.sending_since or now()))
        if left > timedelta():
            return Wait(left.total_seconds(), "being_sent")
        insist(merchant_id, lambda session: intents.abandon(session, at.id, lease=LEASE))
        return None
    if at.state == "planned" and at.send_after > now():
        return Wait((at.send_after - now()).total_seconds(), "cancel_window")
    step = _call(run, way, at) if isinstance(way, _Way) else way
    if isinstance(step, Blocked) and (at.state == "planned" or step.cause == intents.DEAD_END):
        code, reason = step.cause, step.reason
        insist(merchant_id, lambda session: intents.block(session, at.id, code=code, reason=reason))
    return step


def _call(run: Run, way: _Way, at: Standing) -> Step:
    """Call the supplier about one intent, and tell the connection's breaker how it did."""
    act = send.send if at.state == "planned" else lookup.resolve
    errors: list[SupplierError] = []
    step: Step = None
    try:
        if way.healthy:
            step = act(way.reached, at, failed=errors.append)
        if errors or not way.healthy:
            with breaker.guarded(run, at.connection_id):
                if not way.healthy:
                    step = act(way.reached, at, failed=errors.append)
                if errors:
                    raise errors[-1]
    except SupplierError:
        pass
    except Stopped as stopped:
        if not isinstance(stopped.outcome, Snooze) or stopped.outcome.reason != breaker.DOWN:
            raise
        return step or Wait(stopped.outcome.seconds, breaker.DOWN)
    return step


def _prepare(session: Session, run: Run, order_id: UUID) -> _Work:
    """Plan intents for what is still to be had, and bring the order and its attention items up to date."""
    order = session.scalar(select(Order).where(Order.id == order_id).with_for_update())
    if order is None:
        raise OrderNotFound
    standings = intents.standing_of(session, order_id)
    if _give_up_outdated(session, standings, merchant_id=run.merchant_id):
        standings = intents.standing_of(session, order_id)
    if order.state != "cancelled":
        standings += plan(session, order, job_id=run.id, fresh=not standings)
    state = order.state
    open_ = [at for at in standings if at.state in OPEN]
    ways = {id_: _way(session, id_) for id_ in {at.connection_id for at in open_}}
    if not open_ or any(at.attempts or at.code for at in standings):  # of what is only planned there is nothing to tell
        review(session, [order_id], merchant_id=run.merchant_id)
    changed = settle(session, [order_id], merchant_id=run.merchant_id)
    return _Work(open_, ways, _result(order_id, changed.get(order_id, state), standings))


# Of what was not sent: planned over an account that is gone, or by a policy that is another now.
_OUTDATED = text("""
SELECT intents.id, policies.updated_at > intents.created_at AS otherwise FROM intents
LEFT JOIN connections ON connections.id = intents.connection_id
LEFT JOIN order_policies policies ON policies.merchant_id = :merchant_id
WHERE intents.id = ANY(:ids)
    AND (coalesce(connections.state, 'disconnected') = 'disconnected' OR policies.updated_at > intents.created_at)
""")


def _give_up_outdated(session: Session, standings: list[Standing], *, merchant_id: UUID) -> bool:
    """What was not sent, and would not be planned so today, is planned anew. Whether there was any."""
    planned = [at.id for at in standings if at.state == "planned"]
    asked = {"ids": planned, "merchant_id": merchant_id}
    found = session.execute(_OUTDATED, asked).all() if planned else []
    for row in found:
        reason = "The policy was changed." if row.otherwise else "The account was disconnected."
        intents.cancel(session, row.id, reason=reason)
    return bool(found)


def _way(session: Session, connection_id: UUID) -> _Way | Wait | Blocked:
    """The supplier, or why it cannot be called: not yet, or not until somebody has seen to it."""
    try:
        row = get_connection(session, connection_id, secrets=True)  # held, so that it is read once
        reached = reach(session, connection_id)
    except Unavailable:
        raise
    except TooMany as error:
        return Wait(error.retry_after or 1.0, error.code)
    except ReconnectFirst as error:
        return Blocked("reconnect", error.detail)
    except ShopOptiError as error:
        return Blocked("connection", error.detail)
    health = breaker.health(row)
    if (left := breaker.pause(health)) > 0:
        return Wait(left, breaker.DOWN)
    return _Way(reached, healthy=health.state == "closed" and not health.failures)


def _result(order_id: UUID, state: str, standings: list[Standing]) -> dict[str, Any]:
    return {
        "order_id": str(order_id),
        "state": state,
        "intents": [
            {"id": str(at.id), "reference": at.reference, "state": at.state, "code": at.code} for at in standings
        ],
    }
