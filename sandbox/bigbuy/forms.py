"""Reading what is posted, with the complaints Symfony's forms make."""

import json
from dataclasses import dataclass
from typing import Any

from sandbox.bigbuy import errors
from sandbox.bigbuy.countries import COUNTRIES
from sandbox.bigbuy.errors import Refused
from sandbox.wire import Call
from sandbox.words import LANGUAGES

BLANK = "This value should not be blank."
INVALID = "This value is not valid."
EXTRA = "This form should not contain extra fields."
LONGEST_ADDRESS = 70

Problems = dict[str, Any] | None

ADDRESS_NEEDED = ("firstName", "lastName", "country", "postcode", "town", "address", "phone", "email")
ADDRESS_FREE = ("comment", "vatNumber", "companyName")
ORDER_FIELDS = (
    "internalReference",
    "language",
    "paymentMethod",
    "carriers",
    "shippingAddress",
    "products",
    "cashOnDelivery",
    "dateAdd",
)


@dataclass(slots=True)
class OrderForm:
    """A valid order, before it is known whether it can be."""

    reference: str
    payment: str
    carriers: list[str]
    address: dict[str, str]
    lines: list[tuple[str, int]]  # (reference, pieces), each reference once


def part(call: Call, name: str) -> dict[str, Any]:
    """The object of that name in the JSON body; empty if there is none. Refuses what is no JSON."""
    try:
        body = json.loads(call.body)
    except (ValueError, RecursionError):
        raise Refused(errors.plain(400, "Invalid json message received")) from None
    return mapping(mapping(body).get(name))


def mapping(value: object) -> dict[str, Any]:
    """An object, or an empty one."""
    return value if isinstance(value, dict) else {}


def text(value: object) -> str:
    """Text or a number as text; else empty."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return str(value).strip()


def number(value: object) -> int:
    """A whole number, also as text; -1 if it is none."""
    digits = text(value)
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 15 else -1


def lines(value: object) -> tuple[list[tuple[str, int]], Problems]:
    """What is ordered, pieces of one reference added up; and what is wrong with it."""
    if not isinstance(value, list) or not value:
        return [], {"errors": [BLANK]}
    pieces: dict[str, int] = {}
    complaints: list[Any] = []
    for line in map(mapping, value):
        reference, quantity = text(line.get("reference")), number(line.get("quantity"))
        wrong: dict[str, Any] = {"reference": [], "quantity": [], "internalReference": []}
        if not reference:
            wrong["reference"] = {"errors": [BLANK]}
        if not 0 < quantity < 1_000_000:
            wrong["quantity"] = {"errors": [INVALID]}
        else:
            pieces[reference] = pieces.get(reference, 0) + quantity
        complaints.append({"children": wrong} if any(wrong.values()) else [])
    return list(pieces.items()), {"children": complaints} if any(complaints) else None


def order(call: Call) -> OrderForm:
    """The order of the body. Refuses one that is not valid, with the whole tree of fields."""
    given = part(call, "order")
    wrong: dict[str, Any] = {name: [] for name in ORDER_FIELDS}
    for name in ("internalReference", "paymentMethod"):
        if not text(given.get(name)):
            wrong[name] = {"errors": [BLANK]}
    if text(given.get("language")).lower() not in LANGUAGES:
        wrong["language"] = {"errors": [INVALID]}
    found = given.get("carriers")
    carriers = [text(mapping(each).get("name")) for each in found] if isinstance(found, list) else []
    if not carriers:
        wrong["carriers"] = {"errors": [BLANK]}
    elif not all(carriers):
        wrong["carriers"] = {
            "children": [[] if each else {"children": {"name": {"errors": [BLANK]}}} for each in carriers]
        }
    address, wrong_address = _address(mapping(given.get("shippingAddress")))
    wrong["shippingAddress"] = wrong_address or []
    ordered, wrong_lines = lines(given.get("products"))
    wrong["products"] = wrong_lines or []
    extra = [EXTRA] if set(given) - set(ORDER_FIELDS) else None
    if extra or any(wrong.values()):
        raise Refused(errors.invalid(wrong, extra))
    return OrderForm(
        reference=text(given["internalReference"]),
        payment=text(given["paymentMethod"]),
        carriers=carriers,
        address=address,
        lines=ordered,
    )


def _address(given: dict[str, Any]) -> tuple[dict[str, str], Problems]:
    address = {name: text(given.get(name)) for name in (*ADDRESS_NEEDED, *ADDRESS_FREE)}
    address["country"] = address["country"].upper()
    wrong: dict[str, Any] = {name: [] for name in address}
    for name in ADDRESS_NEEDED:
        if not address[name]:
            wrong[name] = {"errors": [BLANK]}
    if len(address["address"]) > LONGEST_ADDRESS:
        most = f"This value is too long. It should have {LONGEST_ADDRESS} characters or less."
        wrong["address"] = {"errors": [most]}
    if address["country"] and address["country"] not in COUNTRIES:
        wrong["country"] = {"errors": [INVALID]}
    if address["email"] and "@" not in address["email"]:
        wrong["email"] = {"errors": ["This value is not a valid email address."]}
    return address, {"children": wrong} if any(wrong.values()) else None
