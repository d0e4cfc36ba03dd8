"""An order that its channel says again, otherwise: what differs, whether that is still possible, and doing it.

What no supplier has been sent yet may change. Intents that still wait for their cancel window are given up, so that
the order is routed anew; what was sent stands, and a change of it is refused whole.
"""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.core.clock import now
from services.core.errors import Conflict, Invalid
from services.models import Intent, IntentLine, Order, OrderLine
from services.orders import intents
from services.orders.attention import Item, close_items, open_items
from services.orders.events import Step, record
from services.orders.incoming.lines import map_lines
from services.orders.incoming.said import SaidLine, SaidOrder, missing_of
from services.orders.states import SENT, settle

_PLAIN = ("number", "shipping_paid", "placed_at", "note")
_OF_LINE = ("sku", "barcode", "title", "price", "external_id")


class OrderAlreadySent(Conflict):
    """This has been sent to a supplier, or may have been: it can no longer be changed or cancelled here."""


class OrderCancelled(Conflict):
    """The order was cancelled; it does not come back. Send it as a new one."""


class CurrencyMismatch(Invalid):
    """An order has one currency."""


def lock_order(session: Session, order_id: UUID) -> Order | None:
    """The order, locked until the transaction ends: who changes it or writes intents for it waits."""
    return session.scalar(
        select(Order).where(Order.id == order_id).with_for_update().execution_options(populate_existing=True)
    )


def change_orders(
    session: Session, pairs: Sequence[tuple[Order, SaidOrder]], *, merchant_id: UUID
) -> list[dict[str, Any] | Conflict | Invalid]:
    """Make locked orders what their channel says now, in a number of statements that hardly grows with theirs.

    For each what differed (field → [from, to]; {}: nothing did), or why nothing of it was done: OrderAlreadySent
    (naming the intents), OrderCancelled, CurrencyMismatch.
    """
    ids = [order.id for order, _ in pairs]
    lines: dict[UUID, list[OrderLine]] = {id_: [] for id_ in ids}
    own = select(OrderLine).where(OrderLine.order_id.in_(ids)).order_by(OrderLine.n)
    for line in session.scalars(own.execution_options(populate_existing=True)):
        lines[line.order_id].append(line)
    meant = set(session.scalars(select(Intent.order_id).where(Intent.order_id.in_(ids)).distinct()))
    results: list[dict[str, Any] | Conflict | Invalid] = []
    changed: list[Order] = []
    steps: list[Step] = []
    for order, said in pairs:
        # Only what has intents can be refused when something was done already.
        undoing = session.begin_nested() if order.id in meant else nullcontext()
        try:
            with undoing:
                changes = _change(session, order, said, lines[order.id], has_intents=order.id in meant)
        except (Conflict, Invalid) as refused:
            results.append(refused)
            continue
        results.append(changes)
        if changes:
            changed.append(order)
            steps.append(Step(order.id, "changed", {"changes": changes}))
    session.flush()
    record(session, steps, merchant_id=merchant_id)
    moved = [step.order_id for step in steps if any(map(_is_contact, (step.data or {})["changes"]))]
    for cause in ("address", "address_refused"):
        close_items(session, moved, cause=cause)
    if changed:
        refresh(session, changed, merchant_id=merchant_id)
    return results


def _change(
    session: Session, order: Order, said: SaidOrder, lines: Sequence[OrderLine], *, has_intents: bool
) -> dict[str, Any]:
    pairs = list(_paired(lines, said.lines)) if said.lines is not None else []
    changes = {**_plain_changes(order, said), **_line_changes(pairs)}
    if changes:
        if order.state == "cancelled":
            raise OrderCancelled
        if has_intents:
            _refuse_sent(session, order, changes, pairs)
        _write(session, order, said, pairs, has_intents=has_intents)
        order.version += 1
        order.updated_at = now()
    order.said = said.print
    return changes


def refresh(session: Session, orders: Sequence[Order], *, merchant_id: UUID) -> None:
    """Map what is not mapped, open and close what that and their addresses ask for, and settle their states."""
    ids = [order.id for order in orders]
    unmapped = session.execute(
        select(OrderLine.id, OrderLine.order_id, OrderLine.variant_id).where(OrderLine.order_id.in_(ids))
    ).all()
    map_lines(session, [row.id for row in unmapped if row.variant_id is None], merchant_id=merchant_id)
    with_lines = {row.order_id for row in unmapped}
    items = []
    complete = []
    for order in orders:
        if order.kind != "order":
            continue
        missing = missing_of(order.address)
        if missing:
            items.append(Item(order.id, "address_missing", {"missing": missing}))
        else:
            complete.append(order.id)
        if order.id not in with_lines:
            items.append(Item(order.id, "lines_missing"))
    close_items(session, complete, cause="address_missing")
    close_items(session, list(with_lines), cause="lines_missing")
    open_items(session, items, merchant_id=merchant_id)
    settle(session, ids, merchant_id=merchant_id)


def lines_of(session: Session, order_id: UUID) -> list[OrderLine]:
    """An order's lines as they stand."""
    own = select(OrderLine).where(OrderLine.order_id == order_id).order_by(OrderLine.n)
    return list(session.scalars(own.execution_options(populate_existing=True)))


def sent_pieces(session: Session, order_id: UUID) -> dict[UUID, int]:
    """Line → pieces that have been sent to suppliers, or may have been."""
    pieces: dict[UUID, int] = {}
    for row in session.execute(
        select(IntentLine.order_line_id, IntentLine.quantity)
        .join(Intent, Intent.id == IntentLine.intent_id)
        .where(Intent.order_id == order_id, Intent.state.in_(SENT), IntentLine.refused_code.is_(None))
    ):
        pieces[row.order_line_id] = pieces.get(row.order_line_id, 0) + row.quantity
    return pieces


def already_sent(session: Session, order_id: UUID, *, param: str | None = None) -> OrderAlreadySent:
    """The refusal, naming what was sent."""
    own = select(Intent).where(Intent.order_id == order_id, Intent.state.in_(SENT)).order_by(Intent.id)
    shown = [
        {"id": str(one.id), "reference": one.reference, "state": one.state, "connection_id": str(one.connection_id)}
        for one in session.scalars(own)
    ]
    return OrderAlreadySent(param=param, intents=shown)


def give_up_planned(
    session: Session, order_id: UUID, *, reason: str, line_ids: Sequence[UUID] | None = None
) -> list[UUID]:
    """Cancel the order's intents that were not sent yet: all, or those with one of these lines. Returns which.

    One that is taken to be sent this very moment is not among them: `sent_pieces` has it from then on.
    """
    own = select(Intent.id).where(Intent.order_id == order_id, Intent.state == "planned")
    if line_ids is not None:
        own = own.where(Intent.id.in_(select(IntentLine.intent_id).where(IntentLine.order_line_id.in_(list(line_ids)))))
    return [id_ for id_ in session.scalars(own).all() if intents.cancel(session, id_, reason=reason)]


# -- What differs ------------------------------------------------------------------------------------------------------

_Pair = tuple[OrderLine | None, SaidLine | None]


def _paired(lines: Sequence[OrderLine], said: Sequence[SaidLine]) -> Iterator[_Pair]:
    """Lines as they were beside what is said of them now; None where there is no other.

    By the channel's own id of a line where both have one, else by what is sold, in the order in which they stand.
    """
    left = list(lines)
    rest: list[SaidLine] = []
    for one in said:
        known = next((line for line in left if one.external_id and line.external_id == one.external_id), None)
        if known is None:
            rest.append(one)
        else:
            left.remove(known)
            yield known, one
    for alike in (("sku", "barcode", "title"), ("sku", "barcode")):
        for one in rest[:]:
            known = next((line for line in left if _same(line, one, alike)), None)
            if known is not None:
                left.remove(known)
                rest.remove(one)
                yield known, one
    for one in rest:
        yield None, one
    for line in left:
        yield line, None


def _same(line: OrderLine, said: SaidLine, by: tuple[str, ...]) -> bool:
    if line.external_id and said.external_id:
        return False
    if by == ("sku", "barcode") and not (said.sku or said.barcode):
        return False
    return all(getattr(line, name) == getattr(said, name) for name in by)


def _plain_changes(order: Order, said: SaidOrder) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for name in _PLAIN:
        was, is_ = getattr(order, name), getattr(said, name)
        if is_ is not None and is_ != was:
            changes[name] = [_shown(was), _shown(is_)]
    if said.currency is not None and said.currency != order.currency:
        if order.currency is not None:
            raise CurrencyMismatch(f"The order is in {order.currency}, not in {said.currency}.", param="currency")
        changes["currency"] = [None, said.currency]
    customer = _customer(order, said)
    for what, was, is_ in (("customer", order.customer, customer), ("address", order.address, said.address)):
        if is_:
            before = was or {}
            changes |= {
                f"{what}.{name}": [before.get(name), is_.get(name)]
                for name in sorted({*before, *is_})
                if before.get(name) != is_.get(name)
            }
    return changes


def _customer(order: Order, said: SaidOrder) -> dict[str, str]:
    """Whole where the order is; who spoke of the order alone (a file beside that of its lines) may say a part."""
    known = order.customer if said.lines is None and said.customer else {}
    return {**known, **said.customer}


def _line_changes(pairs: Sequence[_Pair]) -> dict[str, Any]:
    added, removed, changed = [], [], []
    for line, said in pairs:
        if line is None and said is not None:
            added.append({name: _shown(getattr(said, name)) for name in (*_OF_LINE, "quantity")})
        elif line is not None and said is None:
            if line.quantity > line.cancelled_quantity:
                removed.append({"line_id": str(line.id), "n": line.n, "sku": line.sku, "quantity": line.quantity})
        elif line is not None and said is not None and (differing := _differing(line, said)):
            changed.append({"line_id": str(line.id), "n": line.n, **differing})
    found = {"lines_added": added, "lines_removed": removed, "lines_changed": changed}
    return {name: what for name, what in found.items() if what}


def _differing(line: OrderLine, said: SaidLine) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in (*_OF_LINE, "quantity"):
        was, is_ = getattr(line, name), getattr(said, name)
        if is_ is not None and is_ != was:
            found[name] = [_shown(was), _shown(is_)]
    if (cancelled := _cancelled(line, said)) != line.cancelled_quantity:
        found["cancelled_quantity"] = [line.cancelled_quantity, cancelled]
    return found


def _cancelled(line: OrderLine, said: SaidLine) -> int:
    """How many pieces of a line are cancelled, once it is what is said now.

    What was taken back does not come back by being said again; pieces the channel has left out are not taken twice.
    """
    left_out = max(0, line.quantity - said.quantity)
    wanted = max(said.cancelled, line.cancelled_quantity - left_out)
    return max(0, min(wanted, said.quantity - line.returned_quantity))


def _shown(value: Any) -> Any:
    if isinstance(value, Decimal):
        return str(value.normalize()) if value == value.to_integral() and value == 0 else f"{value:f}"
    return value.isoformat() if isinstance(value, datetime) else value


# -- Doing it ----------------------------------------------------------------------------------------------------------


def _refuse_sent(session: Session, order: Order, changes: dict[str, Any], pairs: Sequence[_Pair]) -> None:
    """Refuse what concerns things that were sent; give up the intents of what concerns things that were not."""
    readdressed = any(name.startswith("address.") for name in changes)
    touched = [line for line, said_ in pairs if line is not None and _concerns(line, said_)]
    if any(map(_is_contact, changes)):
        give_up_planned(session, order.id, reason="The order's address has changed.")
    elif touched:
        ids = [line.id for line in touched]
        give_up_planned(session, order.id, reason="Lines of the order have changed.", line_ids=ids)
    sent = sent_pieces(session, order.id)
    if readdressed and sent:
        raise already_sent(session, order.id, param="address")
    for line, said_ in pairs:
        if line is None or not sent.get(line.id):
            continue
        left = 0 if said_ is None else said_.quantity - _cancelled(line, said_)
        other = said_ is not None and any(name in _differing(line, said_) for name in ("sku", "barcode"))
        if left < sent[line.id] or other:
            raise already_sent(session, order.id, param="lines")


def _is_contact(change: str) -> bool:
    """Whether what is sent as the address may be another now: what it lacks is the customer's."""
    return change.startswith(("address.", "customer.")) and change != "customer.reference"


def _concerns(line: OrderLine, said: SaidLine | None) -> bool:
    """Whether an intent with this line would be another now."""
    if said is None:
        return True
    return bool({"sku", "barcode", "quantity", "cancelled_quantity"} & _differing(line, said).keys())


def _write(session: Session, order: Order, said: SaidOrder, pairs: Sequence[_Pair], *, has_intents: bool) -> None:
    for name in (*_PLAIN, "currency"):
        if (value := getattr(said, name)) is not None:
            setattr(order, name, value)
    if said.customer:
        order.customer = _customer(order, said)
    if said.address is not None:
        order.address = said.address
    last = max((line.n for line, _ in pairs if line is not None), default=0)
    for line, one in pairs:
        if line is None and one is not None:
            last += 1
            session.add(made_line(order, one, n=last))
        elif line is not None and one is None:
            _remove(session, line, may_be_meant=has_intents)
        elif line is not None and one is not None:
            _update(line, one)
    if has_intents:
        session.flush()


def made_line(order: Order, said: SaidLine, *, n: int) -> OrderLine:
    """A new line of an order."""
    return OrderLine(
        merchant_id=order.merchant_id,
        order_id=order.id,
        n=n,
        quantity=said.quantity,
        cancelled_quantity=said.cancelled,
        **{name: getattr(said, name) for name in _OF_LINE},
    )


def _remove(session: Session, line: OrderLine, *, may_be_meant: bool) -> None:
    if line.quantity == line.cancelled_quantity:
        return
    close_items(session, [line.order_id], cause="unmapped", subject=str(line.id))
    own = select(IntentLine.intent_id).where(IntentLine.order_line_id == line.id).limit(1)
    if not may_be_meant or session.scalar(own) is None:
        session.delete(line)
    else:  # it has been in an intent, and stays for that one's story
        line.cancelled_quantity = line.quantity - line.returned_quantity


def _update(line: OrderLine, said: SaidLine) -> None:
    differing = _differing(line, said)
    line.cancelled_quantity = _cancelled(line, said)
    for name in (*_OF_LINE, "quantity"):
        if name in differing:
            setattr(line, name, getattr(said, name))
    if {"sku", "barcode"} & differing.keys() and line.mapped_by != "hand":
        line.variant_id = line.mapped_by = None
