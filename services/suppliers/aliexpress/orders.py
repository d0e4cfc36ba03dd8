"""Orders at AliExpress: freight asked for, placed under our reference, followed.

`out_order_id` makes an order one for 24 hours: within them a call that was lost is sent again, the same. Nothing finds
an order by it. An order can be made and not be paid: that is no failure, and is said.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from services.suppliers.aliexpress.answers import (
    OK,
    Gateway,
    classified,
    flag,
    inner,
    listed,
    opened,
)
from services.suppliers.aliexpress.calls import Booked, business, sent
from services.suppliers.aliexpress.products import PRODUCT, product
from services.suppliers.base import (
    Address,
    Connection,
    Money,
    Offer,
    OfferVariant,
    OrderDraft,
    OrderLine,
    OrderPart,
    OrderState,
    OrderStatus,
    PlacedOrder,
    Placement,
    Quote,
    Refusal,
    Tracking,
)
from services.suppliers.errors import FatalForConnection, FatalForItem, NotOffered, Retry, SupplierError, UnknownOutcome
from services.suppliers.wire import Unreadable, Unsent, dicts, moment, number_of, positive, text_of

CREATE = "aliexpress.ds.order.create"
FREIGHT = "aliexpress.ds.freight.query"
ORDER = "aliexpress.trade.ds.order.get"
TRACKING = "aliexpress.ds.order.tracking.get"

MOST_LINES = 60  # twice a second: half a minute of asking

# error_code of a creation, or a part of it → kind
_REFUSALS = (
    ("ADDRESS_VALIDATE", "address"),
    ("CPF_", "address"),
    ("DELIVERY_METHOD", "shipping"),
    ("INVENTORY", "out_of_stock"),
    ("SKU_NOT_EXIST", "not_found"),
    ("ITEM_ID_NOT_FOUND", "not_found"),
    ("CURRENCY", "payment"),
)
_ACCOUNT = ("BLACKLIST", "USER_ACCOUNT_DISABLED", "INVALID_ACCOUNT")
_KNOWN = "REPEATED_ORDER_ERROR"

_STATES = {
    "PLACE_ORDER_SUCCESS": OrderState.UNPAID,
    "IN_CANCEL": OrderState.UNKNOWN,  # asked for, not yet so
    "WAIT_BUYER_ACCEPT_GOODS": OrderState.SHIPPED,
    "SELLER_PART_SEND_GOODS": OrderState.SHIPPED,
    **dict.fromkeys(
        (
            *("PAYMENT_PROCESSING", "WAIT_SELLER_EXAMINE_MONEY", "RISK_CONTROL", "RISK_CONTROL_HOLD", "IN_FROZEN"),
            *("WAIT_SELLER_SEND_GOODS", "WAIT_GROUP", "WAIT_COMPLETE_ADDRESS", "FUND_PROCESSING", "IN_ISSUE"),
        ),
        OrderState.PROCESSING,
    ),
}


def check_order(connection: Connection, draft: OrderDraft) -> Quote:
    """Every line's price and cheapest freight, or the first of the draft's services. Raises what `Adapter` says."""
    parts, refused = [], []
    offers: dict[str, Offer] = {}
    for line in draft.lines:
        try:
            if line.product_id not in offers:
                offers[line.product_id] = product(connection, line.product_id)
            parts.append(_part(connection, draft, line, offers[line.product_id]))
        except FatalForItem as error:
            refused.append(Refusal((line.order_ref,), error.kind or "invalid", error.detail))
    return Quote(tuple(parts), tuple(refused))


def place_order(connection: Connection, draft: OrderDraft) -> Placement:
    """Check every line, then create: all lines or none. Raises what `Adapter` says, and WaitUntil before the first call
    when the quotas do not have all calls of it.

    UnknownOutcome: send the same draft again within 24 hours. With the kind ``known_there`` AliExpress has it, and
    does not say as what: its page or a push message tells.
    """
    if len(draft.lines) > MOST_LINES:
        raise FatalForItem(
            f"AliExpress is asked for each line: {MOST_LINES} in one order are the most.", kind="invalid"
        )
    products = {line.product_id for line in draft.lines}
    methods = [*[PRODUCT] * len(products), *[FREIGHT] * len(draft.lines), CREATE]
    connection = replace(connection, meter=Booked(connection.meter, methods))
    quote = check_order(connection, draft)
    if quote.refused or not quote.parts:
        raise FatalForItem(
            "; ".join(one.reason for one in quote.refused) or "The order is empty.",
            kind=quote.refused[0].code if quote.refused else "invalid",
            items=tuple(ref for one in quote.refused for ref in one.refs),
        )
    total = quote.total
    if draft.ceiling is not None and (draft.ceiling.currency != total.currency or total.amount > draft.ceiling.amount):
        raise FatalForItem(
            f"It costs {total.amount} {total.currency}, more than {draft.ceiling.amount} {draft.ceiling.currency}.",
            kind="too_dear",
        )
    try:
        payload = opened(CREATE, sent(connection, CREATE, _request(draft, quote)))
    except Unsent:
        raise
    except Gateway as said:
        error = classified(said.error)
        if said.error.before_work:
            raise error from None
        raise _lost(draft, error.detail, error.supplier_code) from None
    except Retry as error:
        raise _lost(draft, error.detail, error.supplier_code) from error
    return _placement(draft, payload, quote)


def find_by_reference(connection: Connection, reference: str) -> tuple[PlacedOrder, ...]:
    """Not to be had. Raises NotOffered."""
    raise NotOffered("AliExpress finds no order by our reference; the same order may be sent again within 24 hours.")


def order_status(connection: Connection, order_id: str) -> OrderStatus:
    """Where it stands; about ten seconds after it was placed. Raises what `Adapter` says."""
    if not order_id.isdigit():
        raise FatalForItem(f"{order_id[:100]!r} is no order of AliExpress's.", kind="invalid")
    query = json.dumps({"order_id": int(order_id)}, separators=(",", ":"))
    result = business(connection, ORDER, {"single_order_query": query}, about=(order_id,)).get("result")
    raw = text_of(result.get("order_status")) if isinstance(result, dict) else None
    if raw is None or not isinstance(result, dict):
        raise Unreadable("AliExpress's answer about an order cannot be read.")
    children = dicts(listed(result.get("child_order_list"), "aeop_child_order_info"))
    return OrderStatus(order_id, _state(raw, result, children), raw, _amount(result.get("user_order_amount")))


def tracking(connection: Connection, order_ids: Sequence[str]) -> dict[str, tuple[Tracking, ...]]:
    """Parcels, a call for each order; none when nothing was shipped or the order is not known. Raises what `Adapter`
    says.
    """
    found = {order_id: _parcels(connection, order_id) for order_id in order_ids}
    return {order_id: parcels for order_id, parcels in found.items() if parcels}


def _parcels(connection: Connection, order_id: str) -> tuple[Tracking, ...]:
    payload = business(connection, TRACKING, {"ae_order_id": order_id, "language": "en_US"}, about=(order_id,))
    code, words, result = inner(payload)
    if code == "1001":
        return ()
    data = result.get("data")
    if (code and code not in OK) or flag(result.get("ret")) is False:
        raise Retry(words or f"AliExpress answered {code}.", supplier_code=code or None)
    if not isinstance(data, dict):
        raise Unreadable("AliExpress's answer about parcels cannot be read.")
    parcels = []
    for one in dicts(listed(data.get("tracking_detail_line_list"), "tracking_detail")):
        number = text_of(one.get("mail_no"))
        if number is None:
            continue
        nodes = dicts(listed(one.get("detail_node_list"), "detail_node"))
        newest = max(nodes, key=lambda node: number_of(node.get("time_stamp")) or Decimal(), default={})
        parcels.append(
            Tracking(
                number=number,
                carrier=text_of(one.get("carrier_name")) or text_of(one.get("cp_name")),
                status=text_of(newest.get("tracking_name")) or text_of(newest.get("tracking_detail_desc")),
                at=moment(newest.get("time_stamp")),
                url=text_of(one.get("cp_website_url")),
            )
        )
    return tuple(parcels)


def _part(connection: Connection, draft: OrderDraft, line: OrderLine, offer: Offer) -> OrderPart:
    variant = _variant(offer, line)
    if not offer.active:
        raise FatalForItem("It is no longer sold.", kind="inactive", items=(line.order_ref,))
    if variant.stock is not None and variant.stock < line.quantity:
        raise FatalForItem(f"There are {variant.stock} left.", kind="out_of_stock", items=(line.order_ref,))
    if variant.cost is None:
        raise FatalForItem("It has no price.", kind="invalid", items=(line.order_ref,))
    service, fee = _freight(connection, draft, line, variant)
    if fee.currency != variant.cost.currency:
        raise Unreadable(f"AliExpress names the price in {variant.cost.currency} and freight in {fee.currency}.")
    goods = variant.cost.amount * line.quantity
    currency = variant.cost.currency
    return OrderPart((line.order_ref,), Money(goods + fee.amount, currency), Money(goods, currency), shipping=service)


def _variant(offer: Offer, line: OrderLine) -> OfferVariant:
    """The line's variant: by its id, and the order's name for it must be of the same one."""
    found = [one for one in offer.variants if one.order_ref == line.order_ref and line.variant_id in ("", one.id)]
    if len(found) != 1:
        raise FatalForItem("The product has no such variant.", kind="not_found", items=(line.order_ref,))
    return found[0]


def _freight(connection: Connection, draft: OrderDraft, line: OrderLine, variant: OfferVariant) -> tuple[str, Money]:
    """The service to order with, and what it costs."""
    locale = f"{connection.language[:2].lower()}_{draft.address.country}"
    request = {
        "quantity": str(line.quantity),
        "shipToCountry": draft.address.country,
        "productId": line.product_id,
        "selectedSkuId": variant.id,
        "language": locale,
        "locale": locale,
        "currency": connection.currency,
    }
    asked = {"queryDeliveryReq": json.dumps(request, separators=(",", ":"))}
    code, words, result = inner(business(connection, FREIGHT, asked))
    if code in ("501", "505"):
        raise FatalForItem(words or None, kind="shipping", supplier_code=code, items=(line.order_ref,))
    if flag(result.get("success")) is not True:
        raise Retry(words or f"AliExpress answered {code}.", supplier_code=code or None)
    options = {}
    for one in dicts(listed(result.get("delivery_options"), "delivery_option_d_t_o")):
        name, fee = text_of(one.get("code")), _fee(one, connection.currency)
        if name and fee:
            options[name] = fee
    if draft.shipping:
        options = {name: options[name] for name in draft.shipping if name in options}
        name = next(iter(options), None)
    else:
        name = min(options, key=lambda name: options[name].amount, default=None)
    if name is None:
        raise FatalForItem("None of the services ships it there.", kind="shipping", items=(line.order_ref,))
    return name, options[name]


def _fee(option: dict[str, Any], currency: str) -> Money | None:
    """`shipping_fee_cent` is no cents: it is the amount, and absent when it is free."""
    told = text_of(option.get("shipping_fee_currency")) or currency
    if flag(option.get("free_shipping")) is True:
        return Money(Decimal(0), told)
    amount = number_of(option.get("shipping_fee_cent"))
    return None if amount is None or amount < 0 else Money(amount, told)


def _request(draft: OrderDraft, quote: Quote) -> dict[str, str]:
    items = [
        {
            "product_id": int(line.product_id) if line.product_id.isdigit() else line.product_id,
            "product_count": line.quantity,
            "sku_attr": line.order_ref,
            "logistics_service_name": part.shipping,
        }
        for line, part in zip(draft.lines, quote.parts, strict=True)
    ]
    order = {"out_order_id": draft.reference, "logistics_address": _address(draft.address), "product_items": items}
    extended = {"payment": {"pay_currency": "USD", "try_to_pay": "true" if draft.pay else "false"}}
    return {
        "param_place_order_request4_open_api_d_t_o": json.dumps(order, ensure_ascii=False, separators=(",", ":")),
        "ds_extend_request": json.dumps(extended, separators=(",", ":")),
    }


def _address(to: Address) -> dict[str, str]:
    name = " ".join(part for part in (to.first_name, to.last_name) if part)
    sent_on = {
        "address": to.line,
        "address2": to.line2,
        "city": to.town,
        "contact_person": name,
        "country": to.country,
        "full_name": name,
        "mobile_no": to.phone,
        "phone_country": to.phone_country,
        "province": to.province,
        "zip": to.postcode,
        "vat_no": to.vat_number,
    }
    return {key: value for key, value in sent_on.items() if value}


def _placement(draft: OrderDraft, payload: dict[str, Any], quote: Quote) -> Placement:
    result = payload.get("result")
    made = flag(result.get("is_success")) if isinstance(result, dict) else None
    if not isinstance(result, dict) or made is None:
        raise _lost(draft, "its answer does not say.")
    words, code = text_of(result.get("error_msg")), text_of(result.get("error_code")) or ""
    if not made:
        if code == _KNOWN:
            raise _lost(draft, "AliExpress has it already.", code, kind="known_there")
        if not code:
            raise _lost(draft, words or "its answer names no reason.")
        raise _refusal(code, words, draft)
    numbers = [text for one in listed(result.get("order_list"), "number") if (text := text_of(one))]
    if not numbers:
        raise _lost(draft, "its answer names no order.")
    paid = draft.pay and not (words and "fail" in words.lower())
    alone = quote.total if len(numbers) == 1 else None
    refs = tuple(line.order_ref for line in draft.lines) if len(numbers) == 1 else ()
    return Placement(tuple(PlacedOrder(one, refs=refs, total=alone, paid=paid) for one in numbers), note=words)


def _refusal(code: str, words: str | None, draft: OrderDraft) -> SupplierError:
    told = f"{words or 'AliExpress refused the order.'} ({code})"[:500]
    if any(part in code for part in _ACCOUNT):
        return FatalForConnection(told, kind="permission", supplier_code=code)
    kind = next((kind for part, kind in _REFUSALS if part in code), "invalid")
    items = tuple(line.order_ref for line in draft.lines) if kind != "address" else ()
    return FatalForItem(told, kind=kind, supplier_code=code, items=items)


def _lost(draft: OrderDraft, detail: str, code: str | None = None, *, kind: str = "") -> UnknownOutcome:
    told = f"Whether AliExpress took order {draft.reference} is not known: {detail}"[:500]
    return UnknownOutcome(told, kind=kind, supplier_code=code)


def _state(raw: str, result: dict[str, Any], children: list[dict[str, Any]]) -> OrderState:
    """Children that were all cancelled say so in `end_reason` alone; a finished order counts as delivered."""
    reasons = [text_of(child.get("end_reason")) or "" for child in children]
    if reasons and all("CANCEL" in reason.upper() or "CLOSE" in reason.upper() for reason in reasons):
        return OrderState.CANCELLED
    if raw != "FINISH":
        return _STATES.get(raw, OrderState.UNKNOWN)
    arrived = text_of(result.get("logistics_status"))
    return OrderState.DELIVERED if arrived == "BUYER_ACCEPT_GOODS" else OrderState.UNKNOWN


def _amount(value: object) -> Money | None:
    amount = positive(value.get("amount")) if isinstance(value, dict) else None
    currency = text_of(value.get("currency_code")) if isinstance(value, dict) else None
    return None if amount is None or currency is None else Money(amount, currency)
