"""An order's story: what happened to it, in order, in the transaction that made it so.

Kinds of this module's callers: ``received``, ``changed``, ``line_mapped``, ``line_unmapped``, ``pieces_cancelled``,
``cancelled``; the others are named where they are written.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.orm import Session

from services.core.ids import new_id
from services.models import OrderEvent


class Step(NamedTuple):
    """Something that happened. `data` is JSON-ready."""

    order_id: UUID
    kind: str
    data: dict[str, Any] | None = None
    intent_id: UUID | None = None


def record(session: Session, steps: Iterable[Step], *, merchant_id: UUID) -> None:
    """Add to the stories of orders; what comes first here is read first there."""
    rows = [
        {
            "id": new_id(),
            "merchant_id": merchant_id,
            "order_id": step.order_id,
            "kind": step.kind,
            "data": step.data or {},
            "intent_id": step.intent_id,
        }
        for step in steps
    ]
    if rows:
        session.execute(insert(OrderEvent), rows)
