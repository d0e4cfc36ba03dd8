"""Records of a file to the orders they are lines of: what is repeated is said once, what is negative takes back."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from services.formats.base import RowError
from services.orders.incoming.said import ADDRESS_FIELDS, CUSTOMER_FIELDS, SaidLine, SaidOrder

MOST_LINES = 2000  # of an order: more is a mistake in the column of ids
_ONE_OF = ("currency", *ADDRESS_FIELDS)  # an order has one of each; elsewhere the first that is said counts


class Row(NamedTuple):
    """A staged record."""

    line: int
    order: dict[str, str]
    of_line: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Defaults:
    """What an import says for all its orders."""

    channel: str
    currency: str | None = None
    country: str | None = None


def grouped(external_id: str, rows: Sequence[Row], defaults: Defaults) -> Iterator[SaidOrder | RowError]:
    """The order of some records, behind what is wrong with them. No order, if it cannot be one."""
    merged: dict[str, str] = {}
    for row in rows:
        for name, value in row.order.items():
            known = merged.setdefault(name, value)
            if known != value and name in _ONE_OF:
                fatal = name == "currency"
                reason = f"Line {rows[0].line} says {known!r} of the same order."
                yield RowError(row.line, f"{name}_differs", None, value[:200], reason, fatal=fatal)
                if fatal:
                    return
    lines: list[SaidLine] | None = None
    if any(row.of_line is not None for row in rows):
        folded = list(_folded([row for row in rows if row.of_line is not None]))
        yield from (one for one in folded if isinstance(one, RowError))
        lines = [one for one in folded if isinstance(one, SaidLine)]
        if not lines:
            return
        if merged.get("cancelled_at"):
            lines = [replace(line, cancelled=line.quantity) if line.quantity > 0 else line for line in lines]
    yield _order(external_id, merged, lines, defaults)


def _folded(rows: Sequence[Row]) -> Iterator[SaidLine | RowError]:
    """The lines; pieces that are taken back beside others of the same thing are the cancelled ones of those."""
    lines = [(row.line, _line(row.of_line or {})) for row in rows]
    kept = [line for _, line in lines if line.quantity > 0]
    if not kept:
        yield from (line for _, line in lines)
        return
    for number, line in lines:
        left = -line.quantity
        for index, other in enumerate(kept):
            if left > 0 and _alike(line, other):
                part = min(left, other.quantity - other.cancelled)
                kept[index] = replace(other, cancelled=other.cancelled + part)
                left -= part
        if left > 0:
            reason = f"The order has not that many of it: {left} of {-line.quantity} take back nothing."
            yield RowError(number, "negative_unmatched", None, str(line.quantity), reason)
    yield from kept


def _alike(one: SaidLine, other: SaidLine) -> bool:
    return (one.sku, one.barcode, one.title if not (one.sku or one.barcode) else None) == (
        other.sku,
        other.barcode,
        other.title if not (other.sku or other.barcode) else None,
    )


def _line(said: dict[str, Any]) -> SaidLine:
    quantity = int(said["quantity"])
    return SaidLine(
        quantity=quantity,
        price=None if said.get("price") is None else Decimal(said["price"]),
        # What its channel has sent already is nothing to be had from suppliers.
        cancelled=quantity if said.get("fulfilled") and quantity > 0 else 0,
        **{name: said.get(name) for name in ("external_id", "sku", "barcode", "title")},
    )


def _order(external_id: str, said: dict[str, str], lines: list[SaidLine] | None, defaults: Defaults) -> SaidOrder:
    address = {name: said[name] for name in ADDRESS_FIELDS if said.get(name)}
    if defaults.country and address and "country" not in address:
        address["country"] = defaults.country
    customer = {name: said[f"customer_{name}"] for name in CUSTOMER_FIELDS if said.get(f"customer_{name}")}
    return SaidOrder(
        channel=defaults.channel,
        external_id=external_id,
        number=said.get("number"),
        currency=said.get("currency") or defaults.currency,
        customer=customer,
        address=address or None,
        shipping_paid=None if "shipping_paid" not in said else Decimal(said["shipping_paid"]),
        placed_at=None if "placed_at" not in said else datetime.fromisoformat(said["placed_at"]),
        note=said.get("note"),
        lines=None if lines is None else tuple(lines),
    )
