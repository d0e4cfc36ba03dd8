"""Orders as channels say them, and the catalogue they are about."""

import itertools
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import text

from services.core.db import transaction
from services.core.ids import new_id
from services.models import Connection, Intent, IntentLine
from services.orders.incoming.receive import Receipt, receive
from services.orders.incoming.said import SaidLine, SaidOrder
from services.sourcing.accounts.credentials import write
from tests.catalog.editing import make, variant_ids

_numbers = itertools.count(1)

ADDRESS = {
    "first_name": "Ana", "last_name": "García", "line": "Calle Mayor 1", "town": "Valencia", "postcode": "46005",
    "country": "ES", "phone": "664869570", "email": "ana@example.com",
}  # fmt: skip


def said_order(*lines: SaidLine, **said: Any) -> SaidOrder:
    """An order of one channel, of something nobody knows unless said."""
    usual = {"channel": "shop", "external_id": f"{next(_numbers)}", "currency": "EUR", "address": dict(ADDRESS)}
    return SaidOrder(**{**usual, "lines": lines or (SaidLine(1, sku="NOBODY-KNOWS"),), **said})


def body(*lines: dict[str, Any], **said: Any) -> dict[str, Any]:
    """The same as JSON."""
    return {
        "channel": "shop",
        "external_id": f"{next(_numbers)}",
        "currency": "EUR",
        "address": dict(ADDRESS),
        "lines": list(lines) or [{"sku": "NOBODY-KNOWS", "quantity": 1}],
        **said,
    }


def take(merchant: UUID, *orders: SaidOrder) -> list[Receipt]:
    """They come in."""
    with transaction(merchant_id=merchant) as session:
        return receive(session, orders, merchant_id=merchant)


def stocked(merchant: UUID, sku: str, **variant: Any) -> UUID:
    """A variant of the catalogue with that SKU."""
    product_id, _ = make(
        merchant,
        {"title": sku, "key": new_id().hex},
        [{"sku": sku, "price": Decimal(10), "currency": "EUR", **variant}],
    )
    return variant_ids(merchant, product_id)[0]


def rows(merchant: UUID, statement: str, **asked: Any) -> list[dict[str, Any]]:
    """What the merchant's rows say."""
    with transaction(merchant_id=merchant) as session:
        return [dict(row._mapping) for row in session.execute(text(statement), asked)]


def line_ids(merchant: UUID, order_id: UUID) -> list[UUID]:
    """An order's lines, as they stand."""
    found = rows(merchant, "SELECT id FROM order_lines WHERE order_id = :id ORDER BY n", id=order_id)
    return [row["id"] for row in found]


def state(merchant: UUID, order_id: UUID) -> str:
    """The order's."""
    return str(rows(merchant, "SELECT state FROM orders WHERE id = :id", id=order_id)[0]["state"])


def waiting(merchant: UUID, order_id: UUID) -> list[str]:
    """The causes that are open."""
    asked = "SELECT cause FROM attention_items WHERE order_id = :id AND closed_at IS NULL ORDER BY cause, subject"
    return [row["cause"] for row in rows(merchant, asked, id=order_id)]


def an_account(merchant: UUID) -> UUID:
    """A connection to a supplier nobody calls."""
    id_ = new_id()
    with transaction(merchant_id=merchant) as session:
        row = Connection(
            id=id_, merchant_id=merchant, supplier="bigbuy", name=f"bigbuy {id_}", sandbox=True, account_key=str(id_)
        )
        write(row, {"api_key": "none"})
        session.add(row)
    return id_


def meant(merchant: UUID, order_id: UUID, *pieces: tuple[UUID, int], to: str = "planned") -> UUID:
    """An intent for these pieces, moved as far as said."""
    id_ = new_id()
    with transaction(merchant_id=merchant) as session:
        session.add(
            Intent(
                id=id_, merchant_id=merchant, order_id=order_id, connection_id=new_id(), reference=f"T{id_.hex}",
                address=dict(ADDRESS),
            )
        )  # fmt: skip
        session.flush()
        for line_id, quantity in pieces:
            session.add(
                IntentLine(
                    merchant_id=merchant, intent_id=id_, order_line_id=line_id, offer_variant_id="v", order_ref="r",
                    quantity=quantity,
                )
            )  # fmt: skip
    for step in {"planned": (), "sending": ("sending",), "cancelled": ("cancelled",)}.get(to, ("sending", to)):
        move(merchant, id_, step)
    return id_


def move(merchant: UUID, intent_id: UUID, to: str) -> None:
    """Move an intent by hand, with what its state needs."""
    with transaction(merchant_id=merchant) as session:
        session.execute(
            text("""UPDATE intents SET state = :to, sender = CASE WHEN :to = 'sending' THEN 'me' END,
                sending_since = CASE WHEN :to = 'sending' THEN now() ELSE sending_since END,
                unknown_since = CASE WHEN :to = 'unknown' THEN now() END WHERE id = :id"""),
            {"to": to, "id": intent_id},
        )
