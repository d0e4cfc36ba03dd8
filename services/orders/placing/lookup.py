"""What becomes of an intent whose outcome is not known: it is looked up, and only what is not there is sent again.

A supplier that finds orders by reference is asked, `settle_seconds` after the call at the earliest. One that does not
is sent the same order again while it still knows the reference (`resend_seconds`): it answers with the order it has,
or makes it now. When neither is to be had, a person must look.
"""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.core.clock import now
from services.orders import intents
from services.orders.intents import Standing
from services.orders.placing.send import LEASE, Blocked, Failed, Step, Wait, insist, pause_after, send
from services.sourcing.accounts.reach import Reached, reconnect_needed
from services.suppliers.base import Placement
from services.suppliers.errors import FatalForConnection, FatalForItem, ReconnectNeeded, SupplierError, WaitUntil

# A refusal after a doubt is believed when a look-up finds nothing, and then the pieces are bought elsewhere: no other
# look costs as much when it comes too early.
SURE_SECONDS = 60.0
FIRST_PAUSE = 5.0  # after a look-up that was not answered


def resolve(reached: Reached, at: Standing, *, failed: Failed) -> Step:
    """Bring an unknown intent nearer to the truth by one look-up or one more sending."""
    since = at.unknown_since or now()
    offered = reached.adapter.CAPABILITIES
    if at.code == intents.DEAD_END or (at.code == intents.KNOWN_THERE and not offered.finds_by_reference):
        return Blocked(at.code, at.reason or "")
    settled = max(pause_after(at.attempts, offered.settle_seconds), SURE_SECONDS if at.code is not None else 0.0)
    left = (since - now()).total_seconds() + settled
    if left > 0:
        return Wait(left, "outcome_unknown")
    if offered.finds_by_reference:
        if at.looked_up_at is None:
            return _look_up(reached, at, failed=failed)
        return send(reached, at, failed=failed)
    if at.code is not None:  # it was refused since, which says nothing about the first call
        return Blocked(intents.DEAD_END, at.reason or "")
    if _is_still_known(at, offered.resend_seconds):
        return send(reached, at, failed=failed, blind=True)
    return Blocked(intents.DEAD_END, "It is too long ago to be sent again safely.")


def _is_still_known(at: Standing, resend_seconds: int) -> bool:
    return not resend_seconds or (
        at.doubt_since is not None and at.doubt_since > now() - timedelta(seconds=resend_seconds) + LEASE
    )


def _look_up(reached: Reached, at: Standing, *, failed: Failed) -> Step:
    merchant_id = reached.merchant_id
    try:
        found = reached.adapter.find_by_reference(reached.connection, at.reference)
    except WaitUntil as error:
        failed(error)
        return Wait(error.retry_after or 1.0, "supplier_quota")
    except ReconnectNeeded as error:
        failed(error)
        reason = error.detail
        refused = insist(
            merchant_id,
            lambda session: reconnect_needed(
                session, reached.id, secrets_version=reached.secrets_version, reason=reason
            ),
        )
        return Blocked("reconnect", reason) if refused else Wait(0, "reconnected")
    except (FatalForConnection, FatalForItem) as error:
        failed(error)
        return Blocked(intents.DEAD_END if error.kind == "another" else "connection", error.detail)
    except SupplierError as error:
        failed(error)
        return Wait(_later(at), "supplier_unavailable")
    if found:
        placement = Placement(found, existed=True)
        insist(merchant_id, lambda session: intents.place(session, at.id, placement, how="looked_up"))
    else:
        insist(merchant_id, lambda session: intents.nothing_there(session, at.id, seen=at.unknown_since))
    return None


def _later(at: Standing) -> float:
    """The longer it has been unknown, the longer until it is asked for again; between seconds and a quarter hour."""
    return max(FIRST_PAUSE, min(900.0, (now() - (at.unknown_since or now())).total_seconds() / 2))


_UNACCOUNTED = text("""
SELECT array_agg(DISTINCT lines.order_ref ORDER BY lines.order_ref)
FROM intent_lines lines JOIN intents ON intents.id = lines.intent_id
WHERE lines.intent_id = :id AND intents.state = 'placed' AND lines.refused_code IS NULL
    AND lines.supplier_order_id IS NULL
    AND NOT EXISTS (SELECT FROM supplier_orders found WHERE found.intent_id = lines.intent_id AND found.refs = '{}')
""")


def unaccounted(session: Session, intent_id: UUID) -> list[str]:
    """What of a placed intent is in none of the supplier's orders that are known, though all say what is in them.

    Of an order that was split, a look-up may name one part only. The rest may be there or not.
    """
    return list(session.scalar(_UNACCOUNTED, {"id": intent_id}) or [])
