"""An intent to its supplier and the answer back: claim, commit, check and place, write what was said.

Between the claim's commit and the answer's there is no transaction, and whatever may happen there is accounted for: a
clear no, a clear nothing, or a doubt. A process that dies leaves the intent `sending`; when no call of it can be under
way any more (LEASE), whoever comes by makes that a doubt, too.
"""

import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

from sqlalchemy.orm import Session

from services.core.clock import now
from services.core.db import transaction
from services.core.errors import Unavailable
from services.core.ids import new_id
from services.orders import intents
from services.orders.intents import Sending, Standing
from services.sourcing.accounts.reach import Reached, reconnect_needed
from services.suppliers.base import Meter
from services.suppliers.errors import (
    FatalForConnection,
    FatalForItem,
    NotOffered,
    ReconnectNeeded,
    Retry,
    SupplierError,
    UnknownOutcome,
    WaitUntil,
)
from services.suppliers.wire import DEADLINE_SECONDS, Unsent

logger = logging.getLogger(__name__)

SEND_SECONDS = 60.0  # no call of a placement begins later than that after its claim
LEASE = timedelta(seconds=SEND_SECONDS + DEADLINE_SECONDS + 15)  # nor is one under way after this
INSIST = (0.1, 0.5, 1.0, 2.0, 4.0)  # seconds between tries to write an answer that is at hand
LONGEST_PAUSE = 900.0
# Who waits for a quota comes back at some moment of the time that all who wait for it will need, not all at the next
# call: most would come in vain. A little closer together than they can be served, so that no call is left unused.
CROWDED = 0.6

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing can be done about an intent before so many seconds have passed, and why."""

    seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class Blocked:
    """Nothing can be done about an intent until a person has acted."""

    cause: str  # of the attention list
    reason: str


Step = Wait | Blocked | None  # None: it has moved; look at it again
Failed = Callable[[SupplierError], object]  # is told what a supplier did wrong


class _InTime:
    """A connection's meter that lets no call begin after `until` (monotonic): the lease outlives every call."""

    def __init__(self, meter: Meter, *, until: float) -> None:
        self._meter = meter
        self._until = until
        self.learn = meter.learn

    def take(self, endpoints: Sequence[str]) -> None:
        """Leave for all of them. Raises WaitUntil, and Unsent when the time for this placement is over."""
        self._meter.take(endpoints)
        if time.monotonic() >= self._until:
            raise Unsent("There was no time left to send it.")


def send(reached: Reached, at: Standing, *, failed: Failed, blind: bool = False) -> Step:
    """Place an intent that is planned, or once more one that is unknown: after a look-up that found nothing, or
    `blind`, where nothing is found by reference, while the supplier still knows the reference.
    """
    merchant_id = reached.merchant_id
    resend = reached.adapter.CAPABILITIES.resend_seconds
    blind_since = now() - (timedelta(seconds=resend) - LEASE if resend else timedelta(days=36500)) if blind else None
    claimed_at = time.monotonic()
    with transaction(merchant_id=merchant_id) as session:
        sending = intents.claim(
            session, at.id, sender=new_id().hex, language=reached.connection.language, blind_since=blind_since
        )
    if sending is None:
        return None
    write = _asked(reached, sending, attempts=at.attempts + 1, until=claimed_at + SEND_SECONDS, failed=failed)
    return insist(merchant_id, write)


def insist(merchant_id: UUID, write: Callable[[Session], T]) -> T:
    """Write what a supplier has said, again and again while the database is away: it cannot be asked for again."""
    for pause in (*INSIST, None):
        try:
            with transaction(merchant_id=merchant_id) as session:
                return write(session)
        except Unavailable:
            if pause is None:
                raise
            time.sleep(pause)
    raise AssertionError("unreachable")


def pause_after(attempts: int, seconds: float) -> float:
    """How long to leave a supplier alone that did not answer `attempts` times."""
    return min(LONGEST_PAUSE, seconds * 2.0 ** min(attempts - 1, 10))


def _asked(
    reached: Reached, sending: Sending, *, attempts: int, until: float, failed: Failed
) -> Callable[[Session], Step]:
    """Call the supplier. What it says, as what is to be written."""
    id_, sender = sending.id, sending.sender
    connection = replace(reached.connection, meter=_InTime(reached.connection.meter, until=until))

    def put_back(code: str, reason: str, then: Wait | Blocked) -> Callable[[Session], Step]:
        blocked = then.cause if isinstance(then, Blocked) else None

        def write(session: Session) -> Step:
            intents.give_back(session, id_, sender=sender, code=code, reason=reason, blocked=blocked)
            return then

        return write

    def doubted(reason: str, code: str | None = None) -> Callable[[Session], Step]:
        def write(session: Session) -> Step:
            intents.doubt(session, id_, sender=sender, reason=reason, code=code)
            return None

        return write

    try:
        placement = reached.adapter.place_order(connection, sending.draft)
    except WaitUntil as error:
        failed(error)
        soonest, every, code, reason = error.retry_after or 1.0, error.every or 0.0, error.code, error.detail

        def put_off(session: Session) -> Step:
            intents.give_back(session, id_, sender=sender, code=code, reason=reason, tried=False)
            waiting = intents.waiting(session, merchant_id=reached.merchant_id, connection_id=reached.id)
            return Wait(soonest + random.uniform(0.0, CROWDED * waiting * every), "supplier_quota")

        return put_off
    except Retry as error:
        failed(error)
        wait = Wait(pause_after(attempts, 5.0), "supplier_unavailable")
        return put_back(error.code, error.detail, wait)
    except ReconnectNeeded as error:
        failed(error)
        code, reason = error.code, error.detail

        def reconnect(session: Session) -> Step:
            refused = reconnect_needed(session, reached.id, secrets_version=reached.secrets_version, reason=reason)
            blocked = "reconnect" if refused else None
            intents.give_back(session, id_, sender=sender, code=code, reason=reason, blocked=blocked)
            return Blocked("reconnect", reason) if refused else Wait(0, "reconnected")

        return reconnect
    except (FatalForConnection, NotOffered) as error:
        failed(error)
        return put_back(error.code, error.detail, Blocked("connection", error.detail))
    except FatalForItem as refusal:
        kind, detail, items = refusal.kind or "invalid", refusal.detail, refusal.items
        # A no without a reason that we know may be a mishap on the way of a yes: where that can be found out, it is.
        sure = kind != "invalid" or not reached.adapter.CAPABILITIES.finds_by_reference

        def refused(session: Session) -> Step:
            intents.refuse(session, id_, sender=sender, code=kind, reason=detail, items=items, sure=sure)
            return None

        return refused
    except UnknownOutcome as error:
        failed(error)
        return doubted(error.detail, intents.KNOWN_THERE if error.kind == intents.KNOWN_THERE else None)
    except Exception as error:
        logger.exception("intent %s: an adapter failed in a way it should not", id_)
        return doubted(f"{type(error).__name__}: {error}"[:300])

    def placed(session: Session) -> Step:
        intents.place(session, id_, placement, how="existed" if placement.existed else "answer")
        return None

    return placed
