"""The intent: what is to be ordered from a supplier under one reference, and how far that has come.

    planned ─▶ sending ─▶ placed | refused
       ▲  │       │  ▲
       │  ▼       ▼  │ sent again, the same
       │ cancelled  unknown ─▶ placed | refused
       └── nothing was sent

Each move is one statement that names the state it starts from and answers whether it was made; it tells the order's
story in the same statement. Whoever sends holds `sender`, a token of their own: what comes too late moves nothing.
`doubt_since` is when a call began whose answer was lost. It is never taken back: from then on a refusal alone does not
prove that nothing is there (the lost call may have bought the last piece), so it is believed after a look-up only.

Decision 0017 says why.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause, insert, text
from sqlalchemy.orm import Session

from services.core.ids import new_id
from services.models import Intent, IntentLine
from services.suppliers.base import Address, Money, OrderDraft, OrderLine, PlacedOrder, Placement

KNOWN_THERE = "known_there"  # the supplier has it and does not say as what
DEAD_END = "outcome_unknown"  # neither a look-up nor sending it again can tell
NOT_THERE = "not_there"  # a person has looked: nothing is there


@dataclass(frozen=True, slots=True)
class PlannedLine:
    """Pieces of one line of an order, and what they are at the supplier."""

    order_line_id: UUID
    offer_variant_id: str
    order_ref: str
    quantity: int
    product_id: str = ""
    expected_cost: Decimal | None = None  # of one piece


@dataclass(frozen=True, slots=True)
class Planned:
    """One supplier order that is to be."""

    connection_id: UUID
    lines: tuple[PlannedLine, ...]
    address: dict[str, Any]  # the fields of suppliers.base.Address
    repairs: list[Any]  # what was changed in it for this supplier
    currency: str
    expected: Decimal | None = None  # all of it, as far as can be told
    ceiling: Decimal | None = None  # dearer than this it is not placed
    shipping: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sending:
    """An intent that is ours to send."""

    id: UUID
    order_id: UUID
    connection_id: UUID
    sender: str
    doubtful: bool  # an earlier call of it may have arrived
    draft: OrderDraft


@dataclass(frozen=True, slots=True)
class Standing:
    """How far an intent has come."""

    id: UUID
    order_id: UUID
    connection_id: UUID
    reference: str
    state: str
    attempts: int
    code: str | None
    reason: str | None
    send_after: datetime
    sending_since: datetime | None
    unknown_since: datetime | None
    doubt_since: datetime | None
    looked_up_at: datetime | None


def write(
    session: Session,
    *,
    merchant_id: UUID,
    order_id: UUID,
    job_id: UUID,
    planned: Sequence[Planned],
    send_after: datetime,
) -> list[Standing]:
    """Intents as they are planned, none sent before `send_after`: how they stand. The caller holds the order's row.

    Pieces that another live intent has already are refused by the database (order_lines_once_check).
    """
    ids = [new_id() for _ in planned]
    if not ids:
        return []
    session.execute(
        insert(Intent),
        [
            {
                "id": id_, "merchant_id": merchant_id, "order_id": order_id, "connection_id": one.connection_id,
                "job_id": job_id, "reference": reference_of(id_), "address": one.address, "repairs": one.repairs,
                "shipping": list(one.shipping), "ceiling": one.ceiling, "expected": one.expected,
                "currency": one.currency, "send_after": send_after,
            }
            for id_, one in zip(ids, planned, strict=True)
        ],
    )  # fmt: skip
    session.execute(
        insert(IntentLine),
        [
            {
                "merchant_id": merchant_id, "intent_id": id_, "order_line_id": line.order_line_id,
                "offer_variant_id": line.offer_variant_id, "order_ref": line.order_ref,
                "product_id": line.product_id, "quantity": line.quantity, "expected_cost": line.expected_cost,
            }
            for id_, one in zip(ids, planned, strict=True)
            for line in one.lines
        ],
    )  # fmt: skip
    nothing_yet = dict.fromkeys(("sending_since", "unknown_since", "doubt_since", "looked_up_at", "code", "reason"))
    return [
        Standing(
            id_, order_id, one.connection_id, reference_of(id_), "planned", 0, send_after=send_after, **nothing_yet
        )
        for id_, one in zip(ids, planned, strict=True)
    ]


def reference_of(intent_id: UUID) -> str:
    """What suppliers know the intent by: letters and digits that all of them take."""
    return f"SO{intent_id.hex}"


_STANDING = """
SELECT id, order_id, connection_id, reference, state, attempts, code, reason, send_after, sending_since, unknown_since,
    doubt_since, looked_up_at FROM intents
"""
_STANDING_OF_ORDER = text(f"{_STANDING} WHERE order_id = :order_id ORDER BY id")
_STANDING_ONE = text(f"{_STANDING} WHERE id = :id")


def standing_of(session: Session, order_id: UUID) -> list[Standing]:
    """All intents of an order, oldest first."""
    return [Standing(*row) for row in session.execute(_STANDING_OF_ORDER, {"order_id": order_id})]


def standing(session: Session, intent_id: UUID) -> Standing | None:
    """One intent, if there is such a one."""
    row = session.execute(_STANDING_ONE, {"id": intent_id}).first()
    return None if row is None else Standing(*row)


# -- The moves ---------------------------------------------------------------------------------------------------------


def _move(kind: str, *, sets: str, where: str, returns: str = "id") -> TextClause:
    """A statement that moves intent `:id`, if it is where it must be, and tells it as `kind` with `:data`."""
    return text(f"""
    WITH moved AS (
        UPDATE intents SET updated_at = clock_timestamp(), {sets} WHERE id = :id AND {where} RETURNING *
    ), told AS (
        INSERT INTO order_events (id, merchant_id, order_id, intent_id, kind, data)
        SELECT :event_id, merchant_id, order_id, id, {kind}, CAST(:data AS jsonb)
            || jsonb_build_object('reference', reference, 'state', state, 'attempt', attempts)
        FROM moved
    )
    SELECT {returns} FROM moved
    """)  # noqa: S608  # what is put in is this module's own


def _made(session: Session, statement: TextClause, intent_id: UUID, *, data: dict[str, Any], **more: Any) -> Any:
    told = json.dumps({name: value for name, value in data.items() if value is not None}, default=str)
    return session.execute(statement, {"id": intent_id, "event_id": new_id(), "data": told, **more}).first()


_CLAIM = _move(
    "'intent_sending'",
    sets="""state = 'sending', sender = :sender, sending_since = clock_timestamp(), attempts = attempts + 1,
        unknown_since = NULL, code = NULL, reason = NULL""",
    where="""((state = 'planned' AND send_after <= clock_timestamp())
        OR (state = 'unknown' AND code IS NULL
            AND CASE WHEN CAST(:blind_since AS timestamptz) IS NULL THEN looked_up_at IS NOT NULL
                     ELSE doubt_since > :blind_since END))""",
    returns="""id, order_id, connection_id, sender, doubt_since, reference, address, shipping, ceiling, currency, ARRAY(
        SELECT jsonb_build_array(order_ref, sum(quantity), product_id, offer_variant_id) FROM intent_lines
        WHERE intent_id = moved.id GROUP BY order_ref, product_id, offer_variant_id ORDER BY min(order_line_id::text)
    ) AS lines""",
)


def claim(
    session: Session, intent_id: UUID, *, sender: str, language: str, blind_since: datetime | None = None
) -> Sending | None:
    """planned → sending, or unknown → sending: the same once more under its reference. None: it is not to be had.

    Of an unknown one either a look-up must have found nothing since the last call, or, with a supplier that finds
    nothing by reference, the first call must be younger than `blind_since`.
    """
    row = _made(session, _CLAIM, intent_id, data={}, sender=sender, blind_since=blind_since)
    if row is None:
        return None
    ceiling = None if row.ceiling is None else Money(row.ceiling, row.currency)
    draft = OrderDraft(
        row.reference,
        tuple(OrderLine(ref, int(quantity), product, variant) for ref, quantity, product, variant in row.lines),
        Address(**row.address),
        language=language,
        shipping=tuple(row.shipping),
        ceiling=ceiling,
    )
    return Sending(row.id, row.order_id, row.connection_id, sender, row.doubt_since is not None, draft)


_GIVE_BACK = _move(
    "'intent_put_back'",
    sets="""state = CASE WHEN doubt_since IS NULL THEN 'planned' ELSE 'unknown' END, sender = NULL,
        unknown_since = CASE WHEN doubt_since IS NULL THEN NULL ELSE clock_timestamp() END,
        code = CASE WHEN doubt_since IS NULL THEN CAST(:blocked AS text) END, reason = :reason,
        attempts = attempts - CASE WHEN :tried THEN 0 ELSE 1 END""",
    where="state = 'sending' AND sender = :sender",
)


def give_back(
    session: Session,
    intent_id: UUID,
    *,
    sender: str,
    code: str,
    reason: str,
    blocked: str | None = None,
    tried: bool = True,
) -> bool:
    """sending → planned (or unknown, if it was in doubt before): this call certainly changed nothing.

    `blocked` says for what it waits when a person must act before it can be sent. What was only a quota's no was not
    `tried`: it is no attempt, and does not make the next wait longer.
    """
    data = {"code": code, "reason": reason}
    more = {"sender": sender, "blocked": blocked, "reason": reason, "tried": tried}
    return bool(_made(session, _GIVE_BACK, intent_id, data=data, **more))


_WAITING = text("""
SELECT count(*) FROM (SELECT FROM intents WHERE merchant_id = :merchant_id AND connection_id = :connection_id
    AND state = 'planned' AND code IS NULL AND send_after <= clock_timestamp() LIMIT :most) waiting
""")
MOST_WAITING = 5000


def waiting(session: Session, *, merchant_id: UUID, connection_id: UUID) -> int:
    """How many intents could be sent over a connection now, if it had the calls; MOST_WAITING at most."""
    asked = {"merchant_id": merchant_id, "connection_id": connection_id, "most": MOST_WAITING}
    return int(session.scalar(_WAITING, asked) or 0)


_BLOCK = text("""
UPDATE intents SET code = :code, reason = :reason, updated_at = clock_timestamp()
WHERE id = :id AND state IN ('planned', 'unknown') AND code IS DISTINCT FROM :code
""")


def block(session: Session, intent_id: UUID, *, code: str, reason: str) -> None:
    """Note that a planned or unknown intent can go on only when a person has acted."""
    session.execute(_BLOCK, {"id": intent_id, "code": code, "reason": reason})


_REFUSE = _move(
    "CASE state WHEN 'refused' THEN 'intent_refused' ELSE 'intent_unknown' END",
    sets="""state = CASE WHEN doubt_since IS NULL AND :sure THEN 'refused' ELSE 'unknown' END, sender = NULL,
        unknown_since = CASE WHEN doubt_since IS NULL AND :sure THEN NULL ELSE clock_timestamp() END,
        doubt_since = CASE WHEN :sure THEN doubt_since ELSE coalesce(doubt_since, sending_since) END,
        looked_up_at = NULL, code = :code, reason = :reason""",
    where="state = 'sending' AND sender = :sender",
)


def refuse(
    session: Session, intent_id: UUID, *, sender: str, code: str, reason: str, items: Sequence[str], sure: bool = True
) -> bool:
    """sending → refused. One that was in doubt before, and a refusal that is not `sure`, → unknown: the refusal is
    noted, and believed once a look-up has found nothing.
    """
    data = {"code": code, "reason": reason, "items": list(items) or None}
    more = {"sender": sender, "code": code, "reason": reason, "sure": sure}
    return bool(_made(session, _REFUSE, intent_id, data=data, **more))


_IN_DOUBT = """state = 'unknown', sender = NULL, unknown_since = clock_timestamp(), looked_up_at = NULL,
    doubt_since = coalesce(doubt_since, sending_since), code = :code, reason = :reason"""
_DOUBT = _move("'intent_unknown'", sets=_IN_DOUBT, where="state = 'sending' AND sender = :sender")
_ABANDON = _move(
    "'intent_unknown'",
    sets=_IN_DOUBT,
    where="state = 'sending' AND sending_since <= clock_timestamp() - CAST(:lease AS interval)",
)


def doubt(session: Session, intent_id: UUID, *, sender: str, reason: str, code: str | None = None) -> bool:
    """sending → unknown: it may or may not be there. `code` is KNOWN_THERE when the supplier says it has it."""
    data = {"code": code, "reason": reason}
    return bool(_made(session, _DOUBT, intent_id, data=data, sender=sender, code=code, reason=reason))


def abandon(session: Session, intent_id: UUID, *, lease: timedelta) -> bool:
    """sending → unknown, when whoever was sending has been silent for longer than any call of theirs can take."""
    reason = "Whoever was sending it did not come back."
    return bool(_made(session, _ABANDON, intent_id, data={"reason": reason}, lease=lease, code=None, reason=reason))


_MISNAMED = _move("'intent_unknown'", sets=_IN_DOUBT, where="state IN ('sending', 'unknown')")


_NO_REFUSAL = f"(code IS NULL OR code IN ('{KNOWN_THERE}', '{DEAD_END}'))"
_NOTHING_THERE = _move(
    "CASE state WHEN 'refused' THEN 'intent_refused' ELSE 'intent_not_found' END",
    sets=f"""state = CASE WHEN {_NO_REFUSAL} THEN 'unknown' ELSE 'refused' END,
        unknown_since = CASE WHEN {_NO_REFUSAL} THEN unknown_since END, looked_up_at = clock_timestamp()""",
    where="state = 'unknown' AND unknown_since = :seen",
    returns="state",
)


def nothing_there(session: Session, intent_id: UUID, *, seen: datetime | None) -> str | None:
    """A look-up that began after the doubt of `seen` found nothing: it may be sent again, or a refusal be believed.

    Answers the state it is in now, None when it has moved meanwhile.
    """
    row = _made(session, _NOTHING_THERE, intent_id, data={}, seen=seen)
    return None if row is None else str(row.state)


_DENY = _move(
    "'intent_refused'",
    sets="state = 'refused', unknown_since = NULL, code = :code, reason = :reason",
    where="state = 'unknown'",
)


def deny(session: Session, intent_id: UUID, *, user_id: UUID) -> bool:
    """unknown → refused, by the word of a person who has looked at the supplier's page."""
    reason = "Somebody has looked: the supplier does not have it."
    data = {"code": NOT_THERE, "reason": reason, "user_id": user_id}
    return bool(_made(session, _DENY, intent_id, data=data, code=NOT_THERE, reason=reason))


_CANCEL = _move("'intent_cancelled'", sets="state = 'cancelled', reason = :reason", where="state = 'planned'")


def cancel(session: Session, intent_id: UUID, *, reason: str) -> bool:
    """planned → cancelled. What is being sent, or may be there, cannot be cancelled here."""
    return bool(_made(session, _CANCEL, intent_id, data={"reason": reason}, reason=reason))


# -- Placed ------------------------------------------------------------------------------------------------------------

_PLACE = _move(
    "'intent_placed'",
    sets="""state = 'placed', sender = NULL, unknown_since = NULL, code = NULL, reason = :note,
        charged = CASE WHEN CAST(:currency AS text) = currency THEN CAST(:charged AS numeric) END""",
    where="state IN ('sending', 'unknown')",
)

# An id that another intent has is left with that one: nothing is noted, and no row comes back.
_SUPPLIER_ORDER = text("""
WITH noted AS (
    INSERT INTO supplier_orders (merchant_id, connection_id, id, intent_id, state, total, currency, paid, warehouse,
        refs, check_at)
    SELECT merchant_id, connection_id, :id, id, :state, CAST(:total AS numeric), :currency, :paid, :warehouse, :refs,
        clock_timestamp() + CAST(:first_look AS interval)
    FROM intents WHERE id = :intent_id
    ON CONFLICT (merchant_id, connection_id, id) DO UPDATE SET
        total = coalesce(supplier_orders.total, excluded.total),
        currency = coalesce(supplier_orders.currency, excluded.currency),
        paid = coalesce(supplier_orders.paid, excluded.paid),
        refs = CASE WHEN supplier_orders.refs = '{}' THEN excluded.refs ELSE supplier_orders.refs END
    WHERE supplier_orders.intent_id = excluded.intent_id
    RETURNING id, intent_id
), lines AS (
    UPDATE intent_lines SET supplier_order_id = noted.id FROM noted
    WHERE intent_lines.intent_id = noted.intent_id AND order_ref = ANY(:refs) AND supplier_order_id IS NULL
        AND refused_code IS NULL
)
SELECT id FROM noted
""")

_LINES_REFUSED = text("""
UPDATE intent_lines SET refused_code = :code
WHERE intent_id = :id AND order_ref = ANY(:refs) AND supplier_order_id IS NULL AND refused_code IS NULL
""")

FIRST_LOOK = timedelta(seconds=30)  # suppliers need a moment until an order can be read


def place(session: Session, intent_id: UUID, placement: Placement, *, how: str) -> bool:
    """sending or unknown → placed: that an order is there is believed from whoever has seen it. Lines that were refused
    are given back to the order.

    `how` it is known: ``answer``, ``existed``, ``looked_up`` or ``by_hand``. False when it was not expected any more;
    what is there is noted all the same. Also False when all that the supplier names are orders of other intents: then
    this one is nowhere to be seen, and a person must look (DEAD_END).
    """
    noted = [one for one in placement.orders if _note(session, intent_id, one)]
    if not noted:
        told = ", ".join(one.id for one in placement.orders)
        reason = f"The supplier names an order that is another's: {told}"[:500]
        _made(session, _MISNAMED, intent_id, data={"code": DEAD_END, "reason": reason}, code=DEAD_END, reason=reason)
        return False
    money = _sum(placement.orders)
    data: dict[str, Any] = {
        "how": how,
        "orders": [one.id for one in placement.orders],
        "refused": [{"refs": one.refs, "code": one.code, "reason": one.reason} for one in placement.refused] or None,
        "note": placement.note,
    }
    moved = _made(
        session, _PLACE, intent_id, data=data, note=placement.note, charged=money and money.amount,
        currency=money and money.currency,
    )  # fmt: skip
    for refusal in placement.refused:
        session.execute(_LINES_REFUSED, {"id": intent_id, "refs": list(refusal.refs), "code": refusal.code})
    return moved is not None


def _note(session: Session, intent_id: UUID, order: PlacedOrder) -> bool:
    """Whether it is this intent's, as far as anybody knew."""
    found = session.execute(
        _SUPPLIER_ORDER,
        {
            "id": order.id, "intent_id": intent_id, "state": "unpaid" if order.paid is False else "processing",
            "total": order.total and order.total.amount, "currency": order.total and order.total.currency,
            "paid": order.paid, "warehouse": order.warehouse, "refs": list(order.refs), "first_look": FIRST_LOOK,
        },
    ).first()  # fmt: skip
    return found is not None


def _sum(orders: Sequence[PlacedOrder]) -> Money | None:
    """What they cost together, if all of them say so in one currency."""
    totals = [one.total for one in orders if one.total is not None]
    if len(totals) != len(orders) or len({total.currency for total in totals}) != 1:
        return None
    return Money(sum((total.amount for total in totals), Decimal()), totals[0].currency)
