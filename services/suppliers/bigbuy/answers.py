"""What BigBuy says when it does not do as asked: every shape its errors are known to have, classified.

Source: the error bodies in the tests of pybigbuy 3.25 and BigBuy's API guide. An error may be JSON whose `message` is
JSON again, a Symfony form's tree, plain text, an HTML page, a status inside a 200, or a whole HTTP response inside a
200's body.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from services.core.clock import now
from services.suppliers.errors import FatalForConnection, FatalForItem, ReconnectNeeded, Retry, SupplierError, WaitUntil
from services.suppliers.wire import Reply, Unreadable, dicts, loads, text_of

RATE_LIMITED = "You exceeded the rate limit"
LOCKED_SECONDS = 30  # how long an order under way (ER009) is left alone
UNTOLD_WAIT_SECONDS = 60
LONGEST_WAIT = timedelta(days=1)

# code → (kind, sentence). Only codes whose meaning BigBuy documents.
_REFUSALS = {
    "ER001": ("not_found", "BigBuy knows no such product."),
    "ER002": ("not_found", "BigBuy knows no product of this reference."),
    "ER003": ("out_of_stock", "BigBuy has no stock."),
    "ER004": ("address", "The postcode does not have the country's format."),
    "ER005": ("funds", "The BigBuy wallet holds too little for this order."),
    "ER007": ("minimum", "The order is below BigBuy's minimum."),
    "ER010": ("shipping", "None of the carriers ships this order."),
    "ER011": ("payment", "BigBuy does not accept this way of paying."),
    "ER012": ("funds", "The order is too small to be paid by bank transfer."),
    "ER013": ("invalid", "BigBuy does not ship this order to that country."),
}


class OrderExists(FatalForItem):
    """The supplier has an order under this reference."""

    code = "supplier_refused"

    def __init__(self, order_id: str | None) -> None:
        super().__init__(kind="known_there", supplier_code="ER008")
        self.order_id = order_id


class Split(FatalForItem):
    """The lines lie in different warehouses: it takes the calls for several shipments."""

    code = "supplier_refused"


@dataclass(frozen=True, slots=True)
class Said:
    """An error in its parts, whatever its shape was."""

    status: int
    code: str = ""
    message: str = ""
    data: Any = None  # the inner JSON's
    fields: tuple[str, ...] = ()  # "delivery.postcode: Invalid postcode format"
    warehouses: bool = False
    understood: bool = True  # it was JSON of a known shape, so BigBuy's own program said it
    headers: Mapping[str, str] = field(default_factory=dict)


def refusal(reply: Reply) -> Said | None:
    """The error an answer is, or None when it may be what was asked for."""
    text = reply.text()
    if 200 <= reply.status < 300:
        if embedded := _embedded(reply):
            inner = refusal(embedded)
            return inner or Said(embedded.status, message="An answer inside an answer.", understood=False)
        if text[:1] == "<":
            return Said(502, message=_words(text), understood=False)
        if text[:1] != "{":
            return None
        content = _object(text)
        status = _soft_status(content) if content else None
        return None if status is None or content is None else _of_object(content, status, reply.headers)
    content = _object(text)
    if content is not None:
        return _of_object(content, reply.status, reply.headers)
    return Said(reply.status, message=_words(text), understood=False, headers=reply.headers)


def classified(said: Said, *, about: tuple[str, ...] = ()) -> SupplierError:
    """The error to raise; `about` is what the call was about when the answer does not say."""
    if said.status == 429 or said.message == RATE_LIMITED:
        return WaitUntil(reset(said.headers) or now() + timedelta(seconds=UNTOLD_WAIT_SECONDS), said.message)
    data = said.data if isinstance(said.data, dict) else {}
    items = _skus(said.data) or about
    if said.code == "ER008":
        return OrderExists(text_of(data.get("orderId")))
    if said.code == "ER009":
        return WaitUntil(now() + timedelta(seconds=LOCKED_SECONDS), "BigBuy is at work on this order.")
    if said.code == "ER014":
        return FatalForConnection("This BigBuy account has no pack with API orders.", kind="permission")
    if said.warehouses:
        return Split("The products lie in different warehouses.", items=items)
    if said.code in _REFUSALS:
        kind, sentence = _REFUSALS[said.code]
        return FatalForItem(_told(sentence, data), kind=kind, supplier_code=said.code, items=items)
    if said.status == 401:
        return ReconnectNeeded(f"BigBuy does not accept this API key. {said.message}".strip()[:300])
    if said.status == 403:
        return FatalForConnection(f"BigBuy does not permit this. {said.message}".strip()[:300], kind="permission")
    if _theirs(said):
        return Retry(said.message[:300] or f"BigBuy answered {said.status}.", supplier_code=said.code or None)
    if said.fields:
        kind = "address" if all("ddress." in one or "delivery." in one for one in said.fields) else "invalid"
        return FatalForItem("; ".join(said.fields)[:1000], kind=kind, supplier_code=said.code or None, items=items)
    if said.status in (404, 410):
        return FatalForItem(said.message[:300] or None, kind="not_found", supplier_code=said.code or None, items=items)
    if isinstance(said.data, list) and items:
        inactive = all("nactive" in str(one.get("message")) for one in dicts(said.data))
        reason = "; ".join(f"{one.get('sku')}: {one.get('message')}" for one in dicts(said.data))
        kind = "inactive" if inactive else "invalid"
        return FatalForItem(reason[:1000], kind=kind, supplier_code=said.code or None, items=items)
    return FatalForItem(
        said.message[:300] or f"BigBuy answered {said.status}.",
        kind="invalid",
        supplier_code=said.code or None,
        items=items,
    )


def reset(headers: Mapping[str, str]) -> datetime | None:
    """When a quota is whole again: `X-RateLimit-Reset`, epoch seconds; within a day, a second from now at least.

    BigBuy's clock need not be ours: what counts is how long after the answer's own `Date` it is.
    """
    value = headers.get("x-ratelimit-reset", "")
    if not value.isdigit() or len(value) > 12:
        return None
    at = now()
    left = int(value) - (_date(headers) or at).timestamp()
    return at + timedelta(seconds=min(max(left, 1.0), LONGEST_WAIT.total_seconds()))


def _date(headers: Mapping[str, str]) -> datetime | None:
    try:
        found = parsedate_to_datetime(headers.get("date", ""))
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def is_refusal(said: Said) -> bool:
    """Whether BigBuy certainly did nothing: its program looked at the call and said no in words of its own."""
    if said.status == 429 or said.message == RATE_LIMITED or said.status in (401, 403, 404, 405, 413, 415):
        return True
    return said.understood and 400 <= said.status < 500 and not _theirs(said) and said.code != "ER009"


def _theirs(said: Said) -> bool:
    # A redirect, or a 4xx without words of BigBuy's, is no part of the protocol: something in between sends it.
    if not said.understood and said.status not in (401, 403, 404, 405, 410, 413, 415):
        return True
    return said.status in (408, 425) or not 400 <= said.status < 500 or "omething went wrong" in said.message


def _of_object(content: dict[str, Any], status: int, headers: Mapping[str, str]) -> Said:
    errors, message = content.get("errors"), content.get("message")
    code = text_of(content.get("code")) or ""
    if isinstance(message, int) and 400 <= message <= 599:  # {"code": "Bad request", "message": 400}
        code, message = str(message), code
    listed = dicts(errors)
    if listed and not code:
        code, message = text_of(listed[0].get("code")) or "", listed[0].get("message")
    if message is None:
        message = content.get("error")
    words = text_of(message) or ""
    nested = _object(words) if words[:1] == "{" else None
    data = None
    if nested is not None:
        data, words = nested.get("data"), text_of(nested.get("info")) or words
    detail = content.get("error_detail")
    split = isinstance(detail, dict) and isinstance(detail.get("warehouses"), list)
    if isinstance(detail, dict) and split:
        data = {"skus": [sku for one in dicts(detail["warehouses"]) for sku in _strings(one.get("references"))]}
    if code.isdigit() and 500 <= int(code) <= 599:
        status = int(code)
    fields = tuple(_fields(errors, "")) if isinstance(errors, dict) else ()
    understood = bool(code or words or fields)
    return Said(status, code, words, data, fields, split, understood, headers)


def _soft_status(content: dict[str, Any]) -> int | None:
    """The status of an error that came with 200: an object of `code` and `message` and no more than details."""
    if content.keys() == {"error"}:
        return 503
    if "message" not in content or content.keys() - {"code", "message", "error_detail", "errors"}:
        return None
    for said in (content.get("code"), content.get("message")):
        if isinstance(said, int) and not isinstance(said, bool) and 400 <= said <= 599:
            return said
        if isinstance(said, str) and re.fullmatch(r"[45]\d\d", said):
            return int(said)
    return 409 if re.fullmatch(r"ER\d{3}", str(content.get("code"))) else None


def _embedded(reply: Reply) -> Reply | None:
    """The HTTP response that some answers hold instead of a body."""
    found = re.match(rb"\s*HTTP/\d(?:\.\d)? (\d{3})[^\r\n]*\r?\n", reply.body)
    if found is None:
        return None
    head, _, body = re.sub(rb"\r\n", b"\n", reply.body[found.end() :]).partition(b"\n\n")
    headers = {}
    for line in head.decode("latin-1").split("\n"):
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    if body.lstrip().startswith(b"HTTP/"):  # once is a habit, twice is a trap
        body = b""
    return Reply(int(found[1]), headers, body)


def _fields(tree: object, path: str) -> list[str]:
    """The complaints of a Symfony form, each with the path of its field."""
    found: list[str] = []
    left: list[tuple[object, str]] = [(tree, path)]
    while left and len(found) < 50:
        node, here = left.pop()
        if not isinstance(node, dict):
            continue
        found += [f"{here}: {text}" if here else text for text in _strings(node.get("errors"))]
        children = node.get("children")
        if isinstance(children, dict):
            left += [(child, f"{here}.{name}" if here else str(name)) for name, child in children.items()]
    return sorted(found)


def _skus(data: object) -> tuple[str, ...]:
    if isinstance(data, dict):
        return tuple(_strings(data.get("skus")))
    return tuple(sku for one in dicts(data) if (sku := text_of(one.get("sku"))))


def _strings(value: object) -> list[str]:
    return [text for one in value if (text := text_of(one))] if isinstance(value, list) else []


def _told(sentence: str, data: dict[str, Any]) -> str:
    facts = {name: text_of(data.get(name)) for name in ("zipExample", "moneyBoxAmount", "totalOrder", "minBankwire")}
    facts["minimumPurchase"] = text_of(data.get("minimunPurchase"))  # BigBuy's spelling
    told = ", ".join(f"{name} {value}" for name, value in facts.items() if value)
    return f"{sentence} ({told})" if told else sentence


def _object(text: str) -> dict[str, Any] | None:
    if text[:1] != "{":
        return None
    try:
        content = loads(text)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _words(text: str) -> str:
    """What a page says, without its markup."""
    text = re.sub(r"(?is)<(script|style|head)\b.*?</\1>", " ", text[:20_000])
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())[:300]


def unreadable(endpoint: str) -> Unreadable:
    """For an answer that is none of what BigBuy sends."""
    return Unreadable(f"BigBuy's answer to {endpoint} cannot be read.")
