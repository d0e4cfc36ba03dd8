"""Lines that nobody knew, looked at again: all that are alike, or all there are, since the catalogue has grown."""

from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.core.errors import Invalid
from services.core.ids import new_id
from services.jobs import Run, enqueue
from services.orders.incoming.lines import OrderLineNotFound, known_variant, map_lines
from services.orders.incoming.mappings import say
from services.orders.jobs import MapOrderLines
from services.orders.states import settle

PART = 500  # lines in a transaction

# A line that no variant could be is left for later, but where a person says which it is. Orders are locked in one order
# for everybody, and before their lines.
_PART = text("""
SELECT lines.id, lines.order_id FROM order_lines lines
WHERE lines.merchant_id = :merchant_id AND lines.variant_id IS NULL AND lines.quantity > lines.cancelled_quantity
    AND lines.id > :after
    AND (CAST(:sku AS text) IS NULL OR lines.sku = :sku)
    AND (CAST(:barcode AS text) IS NULL OR lines.barcode = :barcode)
    AND (:by_hand
        OR EXISTS (SELECT FROM variants WHERE variants.merchant_id = :merchant_id AND variants.sku = lines.sku)
        OR EXISTS (SELECT FROM variants WHERE variants.merchant_id = :merchant_id AND variants.barcode = lines.barcode)
        OR EXISTS (SELECT FROM line_mappings WHERE line_mappings.merchant_id = :merchant_id
            AND (line_mappings.sku = lines.sku OR line_mappings.barcode = lines.barcode)))
ORDER BY lines.id LIMIT :part
""")
_LOCK = text("SELECT id FROM orders WHERE id = ANY(:ids) ORDER BY id FOR UPDATE")
_BY_HAND = text("""
WITH mapped AS (
    UPDATE order_lines SET variant_id = :variant_id, mapped_by = 'hand'
    WHERE id = ANY(:ids) AND variant_id IS NULL RETURNING id, merchant_id, order_id, n
), closed AS (
    UPDATE attention_items SET closed_at = now() FROM mapped
    WHERE attention_items.order_id = mapped.order_id AND cause = 'unmapped' AND subject = mapped.id::text
        AND closed_at IS NULL
), told AS (
    INSERT INTO order_events (id, merchant_id, order_id, kind, data)
    SELECT event.id, merchant_id, order_id, 'line_mapped', jsonb_build_object('line_id', mapped.id, 'n', n,
        'variant_id', CAST(:variant_id AS uuid), 'mapped_by', 'hand')
    FROM mapped JOIN unnest(:ids, :events) AS event (line_id, id) ON event.line_id = mapped.id
)
SELECT count(*) FROM mapped
""")


class NothingNamed(Invalid):
    """Say of which SKU or barcode the lines are that this variant is to fill."""


def ask_again(session: Session, job: MapOrderLines, *, merchant_id: UUID) -> UUID:
    """Have lines without a variant looked at again; what is said of them is known for later ones too.

    Returns the job's id.

    Raises NothingNamed (a variant, and no word for which lines), VariantUnknown, OrderLineNotFound (none is so called).
    """
    if job.variant_id is not None:
        if job.sku is None and job.barcode is None:
            raise NothingNamed(param="sku")
        known_variant(session, job.variant_id)
        if not _part(session, job, merchant_id=merchant_id, after=UUID(int=0), part=1):
            raise OrderLineNotFound(param="sku" if job.sku is not None else "barcode")
        say(session, merchant_id=merchant_id, sku=job.sku, barcode=job.barcode, variant_id=job.variant_id)
    return enqueue(session, job, merchant_id=merchant_id)[0]


def map_again(run: Run, job: MapOrderLines) -> dict[str, int]:
    """Map what can be mapped now, some lines at a time. The result counts lines `looked_at` and `mapped`."""
    looked, mapped, after = 0, 0, UUID(int=0)
    while True:
        with run.transaction() as session:
            lines = _part(session, job, merchant_id=run.merchant_id, after=after, part=PART)
            if not lines:
                return {"looked_at": looked, "mapped": mapped}
            orders = sorted({row.order_id for row in lines})
            session.execute(_LOCK, {"ids": orders})
            mapped += _mapped(session, job, [row.id for row in lines], merchant_id=run.merchant_id)
            settle(session, orders, merchant_id=run.merchant_id)
        looked, after = looked + len(lines), lines[-1].id
        run.progress(looked, None, "mapping")


def _part(session: Session, job: MapOrderLines, *, merchant_id: UUID, after: UUID, part: int) -> list[Any]:
    asked = {
        "merchant_id": merchant_id, "sku": job.sku, "barcode": job.barcode, "by_hand": job.variant_id is not None,
        "after": after, "part": part,
    }  # fmt: skip
    return list(session.execute(_PART, asked))


def _mapped(session: Session, job: MapOrderLines, line_ids: list[UUID], *, merchant_id: UUID) -> int:
    if job.variant_id is None:
        return sum(one.variant_id is not None for one in map_lines(session, line_ids, merchant_id=merchant_id))
    told = {"ids": line_ids, "events": [new_id() for _ in line_ids], "variant_id": job.variant_id}
    return int(session.scalar(_BY_HAND, told) or 0)
