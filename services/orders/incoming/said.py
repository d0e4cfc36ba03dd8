"""What a channel says of an order, however it said it. None everywhere means *it did not say*, never nothing."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

# The parts of an address, as services/suppliers/base.py `Address` has them.
ADDRESS_FIELDS = (
    *("first_name", "last_name", "company", "line", "line2", "town", "postcode", "province", "country"),
    *("phone", "email", "vat_number", "comment"),
)
CUSTOMER_FIELDS = ("name", "email", "phone", "reference")
# Without these nobody can be sent anything; a name is either part of it. What more is needed, each supplier says.
NEEDED = ("line", "town", "country")


@dataclass(frozen=True, slots=True)
class SaidLine:
    """Pieces of one thing."""

    quantity: int  # not 0; below 0 in a cancellation only
    external_id: str | None = None
    sku: str | None = None
    barcode: str | None = None
    title: str | None = None
    price: Decimal | None = None  # of one piece
    cancelled: int = 0  # of the quantity: no longer wanted


@dataclass(frozen=True, slots=True)
class SaidOrder:
    """An order. `address` and `customer` have only keys that were said, none of them empty."""

    channel: str
    external_id: str
    number: str | None = None
    currency: str | None = None
    customer: dict[str, str] = field(default_factory=dict)
    address: dict[str, str] | None = None
    shipping_paid: Decimal | None = None
    placed_at: datetime | None = None
    note: str | None = None
    lines: tuple[SaidLine, ...] | None = None  # None: it spoke of the order alone

    @property
    def kind(self) -> str:
        """A cancellation takes back; every one of its quantities is below 0."""
        return "cancellation" if self.lines and all(line.quantity < 0 for line in self.lines) else "order"

    @property
    def print(self) -> int:
        """A hash of all of it that fits a bigint: the same again need not be compared field by field."""
        said = json.dumps(asdict(self), sort_keys=True, default=str, ensure_ascii=True)
        return int.from_bytes(hashlib.sha256(said.encode()).digest()[:8], "big", signed=True)


def missing_of(address: dict[str, Any] | None) -> list[str]:
    """The fields without which an address is none."""
    known = address or {}
    named = known.get("first_name") or known.get("last_name") or known.get("company")
    return [*([] if named else ["last_name"]), *(name for name in NEEDED if not known.get(name))]
