"""BigBuy's orders: checked, placed under our reference, looked up, followed.

`internalReference` is unique there: an order that is sent again is answered with 409 ER008 and the id of the first.
So an answer that was lost is looked up by reference, and only what is not there is sent again.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from services.suppliers.base import (
    Address,
    Connection,
    Money,
    OrderDraft,
    OrderPart,
    OrderState,
    OrderStatus,
    PlacedOrder,
    Placement,
    Quote,
    Refusal,
    Tracking,
)
from services.suppliers.bigbuy.answers import OrderExists, Said, Split, classified, is_refusal, refusal, unreadable
from services.suppliers.bigbuy.calls import get, parsed, post
from services.suppliers.bigbuy.catalogue import CURRENCY
from services.suppliers.errors import FatalForItem, Retry, SupplierError, UnknownOutcome
from services.suppliers.wire import Reply, Unsent, dicts, id_of, number_of, text_of

# In orders carriers go by these names; all are named, so that BigBuy takes the cheapest.
CARRIERS = ("chrono", "correos", "correosinternational", "dhl", "gls", "seur", "tnt", "ups")

# A word of the status, in lower case → state. The first that is found counts.
_STATES = (
    (("cancel", "refund", "error", "rechaz", "refused"), OrderState.CANCELLED),
    (("delivered", "entregado"), OrderState.DELIVERED),
    (("shipped", "sent", "transit", "enviado", "dispatched"), OrderState.SHIPPED),
    (("awaiting payment", "pending payment", "awaiting bank", "unpaid"), OrderState.UNPAID),
    (
        ("process", "prepar", "accepted", "paid", "pending", "stock", "received", "created", "warehouse"),
        OrderState.PROCESSING,
    ),
)


def check_order(connection: Connection, draft: OrderDraft) -> Quote:
    """What it would cost; split by warehouse where it must be. Raises what `Adapter` says."""
    return _check(connection, draft)[0]


def place_order(connection: Connection, draft: OrderDraft) -> Placement:
    """Check, then create. Raises what `Adapter` says; FatalForItem ``too_dear`` above the draft's ceiling."""
    try:
        quote, split = _check(connection, draft)
    except OrderExists as known:  # the check minds the reference too
        return _existing(connection, draft, known)
    if not quote.parts:
        raise FatalForItem(
            "; ".join(one.reason for one in quote.refused),
            kind=quote.refused[0].code,
            items=tuple(ref for one in quote.refused for ref in one.refs),
        )
    total = quote.total
    if draft.ceiling is not None and (draft.ceiling.currency != total.currency or total.amount > draft.ceiling.amount):
        raise FatalForItem(
            f"It costs {total.amount} {total.currency}, more than {draft.ceiling.amount} {draft.ceiling.currency}.",
            kind="too_dear",
        )
    endpoint = "order/create/multishipping" if split else "order/create"
    reply = _sent(connection, endpoint, draft)
    if said := refusal(reply):
        if not is_refusal(said):
            raise _lost(draft, said.message, said.code)
        error = classified(said, about=tuple(line.order_ref for line in draft.lines))
        if isinstance(error, OrderExists):
            return _existing(connection, draft, error)
        raise error
    return _parts(connection, draft, reply) if split else _single(draft, reply, quote)


def find_by_reference(connection: Connection, reference: str) -> tuple[PlacedOrder, ...]:
    """The order of that reference; of a split one BigBuy names a single part.

    Raises what `Adapter` says; FatalForItem ``another`` when the order that is named says another reference.
    """
    try:
        answer = get(connection, "order/reference", suffix=f"/{_path_part(reference)}")
    except FatalForItem as error:
        if error.kind == "not_found":
            return ()
        raise
    if answer is None or answer == []:
        return ()
    order_id = text_of(answer.get("id")) if isinstance(answer, dict) else None
    if order_id is None:
        raise unreadable("order/reference")
    return (_whole(connection, order_id, reference, total=_money(answer.get("totalPaidTaxIncl"))),)


def order_status(connection: Connection, order_id: str) -> OrderStatus:
    """Where it stands, by the name of its status. Raises what `Adapter` says."""
    answer = _order(connection, order_id)
    raw = text_of(answer.get("status"))
    if raw is None:
        raise unreadable("order")
    state = next((state for words, state in _STATES if any(word in raw.lower() for word in words)), OrderState.UNKNOWN)
    return OrderStatus(order_id, state, raw, _money(answer.get("totalPaidTaxIncl")), _references(answer))


def tracking(connection: Connection, order_ids: Sequence[str]) -> dict[str, tuple[Tracking, ...]]:
    """The parcels of so many orders, in one call. Raises what `Adapter` says."""
    endpoint = "tracking/orders"
    asked = [{"id": number} for one in order_ids if (number := id_of(one)) is not None]
    if not asked:
        return {}
    reply = post(connection, endpoint, {"track": {"orders": asked}})
    if said := refusal(reply):
        error = classified(said)
        if isinstance(error, FatalForItem) and error.kind == "not_found":
            return {}
        raise error
    answer = parsed(endpoint, reply)
    if answer is not None and not isinstance(answer, list):
        raise unreadable(endpoint)
    found = {order_id: _parcels(one) for one in dicts(answer) if (order_id := text_of(one.get("id")))}
    return {order_id: parcels for order_id, parcels in found.items() if parcels and order_id in order_ids}


def _parcels(order: Mapping[str, Any]) -> tuple[Tracking, ...]:
    parcels: dict[str, Tracking] = {}
    for one in dicts(order.get("trackings")):
        number = text_of(one.get("trackingNumber"))
        if number is None:
            continue
        carrier = one.get("carrier")
        found = Tracking(
            number=number,
            carrier=text_of(carrier.get("name")) if isinstance(carrier, dict) else None,
            status=text_of(one.get("statusDescription")) or text_of(one.get("descriptionTranslated")),
            at=None,
            at_text=text_of(one.get("statusDate")),
        )
        known = parcels.get(number)
        if known is None or (found.at_text or "") >= (known.at_text or ""):
            parcels[number] = found
    return tuple(parcels.values())


def _check(connection: Connection, draft: OrderDraft) -> tuple[Quote, bool]:
    about = tuple(line.order_ref for line in draft.lines)
    reply = post(connection, "order/check", _body(draft))
    if said := refusal(reply):
        error = classified(said, about=about)
        if not isinstance(error, Split):
            raise error
        return _check_parts(connection, draft), True
    answer = parsed("order/check", reply)
    total = _money(answer.get("total")) if isinstance(answer, dict) else None
    if total is None:
        raise unreadable("order/check")
    goods = _money(answer.get("totalWithoutTaxesAndWithoutShippingCost"))
    return Quote((OrderPart(about, total, goods),)), False


def _check_parts(connection: Connection, draft: OrderDraft) -> Quote:
    endpoint = "order/check/multishipping"
    reply = post(connection, endpoint, _body(draft))
    if said := refusal(reply):
        raise classified(said, about=tuple(line.order_ref for line in draft.lines))
    answer = parsed(endpoint, reply)
    if not isinstance(answer, dict) or not isinstance(answer.get("orders"), list):
        raise unreadable(endpoint)
    parts = []
    for one in dicts(answer["orders"]):
        total, refs = _money(one.get("total")), _strings(one.get("productReferences"))
        if total is None or not refs:
            raise unreadable(endpoint)
        goods = _money(one.get("totalWithoutTaxesAndWithoutShippingCost"))
        parts.append(OrderPart(refs, total, goods, warehouse=text_of(one.get("warehouse"))))
    refused = tuple(_refusal_of(_part_said(one)) for one in dicts(answer.get("errors")))
    if not parts and not refused:
        raise unreadable(endpoint)
    return Quote(tuple(parts), refused)


def _sent(connection: Connection, endpoint: str, draft: OrderDraft) -> Reply:
    """The answer to a creation. Whatever loses it after it may have arrived is an UnknownOutcome."""
    try:
        return post(connection, endpoint, _body(draft))
    except Unsent:
        raise
    except Retry as error:
        raise _lost(draft, error.detail) from error


def _lost(draft: OrderDraft, detail: str, code: str | None = None) -> UnknownOutcome:
    return UnknownOutcome(
        f"Whether BigBuy took order {draft.reference} is not known: {detail}"[:500], supplier_code=code or None
    )


def _single(draft: OrderDraft, reply: Reply, quote: Quote) -> Placement:
    """The order's id stands in the header `Location` and nowhere else."""
    found = re.search(r"/order/([A-Za-z0-9-]+?)(?:\.json)?/?$", reply.headers.get("location", "").strip())
    if found is None:
        raise _lost(draft, "its answer names no order.")
    refs = tuple(line.order_ref for line in draft.lines)
    return Placement((PlacedOrder(found[1], refs=refs, total=quote.total),))


def _parts(connection: Connection, draft: OrderDraft, reply: Reply) -> Placement:
    try:
        answer = parsed("order/create/multishipping", reply)
    except SupplierError as broken:
        raise _lost(draft, broken.detail) from broken
    if not isinstance(answer, dict) or not isinstance(answer.get("orders"), list):
        raise _lost(draft, "its answer names no orders.")
    placed = []
    for one in dicts(answer["orders"]):
        order_id = text_of(one.get("id"))
        if order_id is None:
            raise _lost(draft, "its answer names an order without its id.")
        refs = _strings(one.get("productReferences"))
        placed.append(PlacedOrder(order_id, refs=refs, warehouse=text_of(one.get("warehouse"))))
    said = [_part_said(one) for one in dicts(answer.get("errors"))]
    if not placed:
        for error in map(classified, said):
            if isinstance(error, OrderExists):
                return _existing(connection, draft, error)
        if not said or not all(map(is_refusal, said)):
            raise _lost(draft, "its answer names no order.")
        raise classified(said[0])
    return Placement(tuple(placed), tuple(_refusal_of(one) for one in said))


def _existing(connection: Connection, draft: OrderDraft, known: OrderExists) -> Placement:
    """The order that is there under our reference."""
    try:
        if known.order_id is not None:
            return Placement((_whole(connection, known.order_id, draft.reference),), existed=True)
        found = find_by_reference(connection, draft.reference)
    except SupplierError as error:
        raise _lost(draft, error.detail, "ER008") from error
    if not found:
        raise _lost(draft, "BigBuy says it has it, and does not find it.", "ER008")
    return Placement(found, existed=True)


def _refusal_of(said: Said) -> Refusal:
    error = classified(said)
    return Refusal(error.items, error.kind or "invalid", error.detail)


def _part_said(one: Mapping[str, Any]) -> Said:
    """The error of one shipment of several."""
    status = one.get("status")
    if not isinstance(status, int) or not 400 <= status <= 599:
        status = 409
    data = {"skus": list(_strings(one.get("productReferences"))), "orderId": one.get("orderId")}
    return Said(status, text_of(one.get("code")) or "", text_of(one.get("message")) or "", data)


def _whole(connection: Connection, order_id: str, reference: str, *, total: Money | None = None) -> PlacedOrder:
    """An order that is there, with its lines if they can be had now: its id alone is worth more than an error.

    Raises FatalForItem ``another`` when it says that its reference is another.
    """
    try:
        order = _order(connection, order_id)
    except SupplierError:
        return PlacedOrder(order_id, total=total)
    told = text_of(order.get("internalReference"))
    if told is not None and told != reference:
        raise FatalForItem(
            f"BigBuy names order {order_id} for {reference}, and that order's reference is {told[:100]}.",
            kind="another",
            items=(order_id,),
        )
    return PlacedOrder(order_id, refs=_references(order), total=_money(order.get("totalPaidTaxIncl")) or total)


def _order(connection: Connection, order_id: str) -> dict[str, Any]:
    answer = get(connection, "order", suffix=f"/{_path_part(order_id)}")
    if isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    if answer is None or answer == []:
        raise FatalForItem(f"BigBuy has no order {order_id}.", kind="not_found", items=(order_id,))
    if not isinstance(answer, dict):
        raise unreadable("order")
    return answer


def _body(draft: OrderDraft) -> dict[str, Any]:
    return {
        "order": {
            "internalReference": draft.reference,
            "language": draft.language[:2].lower(),
            "paymentMethod": "moneybox",
            "carriers": [{"name": name} for name in draft.shipping or CARRIERS],
            "shippingAddress": _address(draft.address),
            "products": [{"reference": line.order_ref, "quantity": line.quantity} for line in draft.lines],
        }
    }


def _address(to: Address) -> dict[str, str]:
    return {
        "firstName": to.first_name,
        "lastName": to.last_name,
        "country": to.country,
        "postcode": to.postcode,
        "town": to.town,
        "address": " ".join(part for part in (to.line, to.line2) if part),
        "phone": to.phone,
        "email": to.email,
        "comment": to.comment,
        "vatNumber": to.vat_number,
        "companyName": to.company,
    }


def _references(order: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(ref for one in dicts(order.get("products")) if (ref := text_of(one.get("reference"))))


def _strings(value: object) -> tuple[str, ...]:
    return tuple(text for one in value if (text := text_of(one))) if isinstance(value, list) else ()


def _money(value: object) -> Money | None:
    amount = number_of(value)
    return None if amount is None or amount < 0 else Money(amount, CURRENCY)


def _path_part(text: str) -> str:
    """Text as one segment of a path. Raises FatalForItem when it cannot be one."""
    if not re.fullmatch(r"[A-Za-z0-9_.:-]{1,100}", text) or set(text) <= {"."}:
        raise FatalForItem(f"{text[:100]!r} cannot be a number or reference at BigBuy.", kind="invalid")
    return text
