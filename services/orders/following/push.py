"""What AliExpress pushes about orders: its word when it is signed, and true when it was read again.

A message only says that an order moved; a job asks AliExpress after that order. Messages about orders of nobody's here
are taken and forgotten: the reconciler finds what there is.
"""

from uuid import UUID

from sqlalchemy import text

from services.core.db import transaction
from services.core.errors import Invalid, NotFound, ShopOptiError, Unauthorized, Unavailable
from services.jobs import enqueue
from services.models import Connection
from services.orders.jobs import CheckSupplierOrder
from services.sourcing.accounts import credentials
from services.suppliers.aliexpress import NAME
from services.suppliers.aliexpress.sign import is_push_genuine
from services.suppliers.wire import loads, text_of

MAX_BYTES = 64 * 1024


class NoOneHere(NotFound):
    """Nobody waits for messages here."""


class NotSigned(Unauthorized):
    """This message was not signed with the app's secret."""


class MessageUnreadable(Invalid):
    """The message is not what AliExpress documents."""


_KNOWN = text("""
SELECT id FROM supplier_orders
WHERE connection_id = :connection_id AND id = :id AND check_at IS NOT NULL
""")


def take_push(*, merchant_id: UUID, connection_id: UUID, body: bytes, authorization: str) -> bool:
    """Take a message. Whether it set anything going.

    Raises NoOneHere, NotSigned, MessageUnreadable.
    """
    with transaction(merchant_id=merchant_id) as session:
        row = session.get(Connection, connection_id)
        if row is None or row.supplier != NAME or row.state == "disconnected":
            raise NoOneHere
        try:
            secrets = credentials.read(row)
        except Unavailable:
            raise
        except ShopOptiError:
            raise NoOneHere from None
        if not is_push_genuine(secrets["app_key"], secrets["app_secret"], body, authorization):
            raise NotSigned
        order_id = _order_of(body)
        known = session.scalar(_KNOWN, {"connection_id": connection_id, "id": order_id})
        if order_id is None or known is None:
            return False
        job = CheckSupplierOrder(connection_id=connection_id, supplier_order_id=order_id)
        _, created = enqueue(session, job, merchant_id=merchant_id, unique_key=f"{connection_id}/{order_id}")
        return created


def _order_of(body: bytes) -> str | None:
    """The order a message is about. Raises MessageUnreadable."""
    try:
        message = loads(body)
    except ValueError:
        raise MessageUnreadable from None
    data = message.get("data") if isinstance(message, dict) else None
    if not isinstance(data, dict):
        raise MessageUnreadable
    return text_of(data.get("orderId"))
