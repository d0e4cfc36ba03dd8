"""Which variant a line of an order is: because somebody said so, by SKU, or by barcode."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from services.core.errors import Conflict, NotFound
from services.models import IntentLine, Order, OrderLine, Variant
from services.orders.attention import Item, close_items, open_items
from services.orders.events import Step, record
from services.orders.states import settle

# What was said of lines like this one decides, of its SKU before its barcode. Else a SKU that one variant has does,
# unless the barcode names others: then somebody has to look. A SKU that several have is decided by the barcode among
# them. Eleven of a kind are as ambiguous as a million. (Variants by id alone: with the merchant, statistics that do not
# know it would have all of its variants read for each line.)
_MAP = text("""
WITH asked AS (
    SELECT id, order_id, n, sku, barcode, title, quantity > cancelled_quantity AS wanted FROM order_lines
    WHERE merchant_id = :merchant_id AND id = ANY(:line_ids) AND variant_id IS NULL AND quantity > 0
), found AS (
    SELECT asked.*, said.variant_id AS said_id, of_sku.ids AS of_sku, of_barcode.ids AS of_barcode,
        ARRAY(SELECT unnest(of_sku.ids) INTERSECT SELECT unnest(of_barcode.ids)) AS of_both
    FROM asked
        LEFT JOIN LATERAL (SELECT line_mappings.variant_id FROM line_mappings
            JOIN variants ON variants.id = line_mappings.variant_id
            WHERE line_mappings.merchant_id = :merchant_id
                AND (line_mappings.sku = asked.sku OR line_mappings.barcode = asked.barcode)
            ORDER BY line_mappings.sku LIMIT 1) said ON true
        LEFT JOIN LATERAL (SELECT array_agg(few.id) AS ids FROM (
            SELECT id FROM variants WHERE merchant_id = :merchant_id AND sku = asked.sku LIMIT 11) few) of_sku ON true
        LEFT JOIN LATERAL (SELECT array_agg(few.id) AS ids FROM (
            SELECT id FROM variants WHERE merchant_id = :merchant_id AND barcode = asked.barcode LIMIT 11) few
        ) of_barcode ON true
), chosen AS (
    SELECT found.*, CASE
        WHEN said_id IS NOT NULL THEN said_id
        WHEN cardinality(of_both) = 1 THEN of_both[1]
        WHEN cardinality(of_sku) = 1 AND of_barcode IS NULL THEN of_sku[1]
        WHEN of_sku IS NULL AND cardinality(of_barcode) = 1 THEN of_barcode[1] END AS chosen_id
    FROM found
), mapped AS (
    UPDATE order_lines SET variant_id = chosen_id, mapped_by = CASE
        WHEN said_id IS NOT NULL THEN 'hand' WHEN of_sku IS NULL THEN 'barcode' ELSE 'sku' END
    FROM chosen WHERE order_lines.id = chosen.id AND chosen_id IS NOT NULL
    RETURNING order_lines.id, order_lines.mapped_by
)
SELECT chosen.id, chosen.order_id, chosen.n, chosen.wanted, chosen.sku, chosen.barcode, chosen.title,
    chosen.chosen_id AS variant_id,
    mapped.mapped_by, CASE
        WHEN of_sku IS NULL AND of_barcode IS NULL THEN 'unknown'
        WHEN of_sku IS NOT NULL AND of_barcode IS NOT NULL AND cardinality(of_both) = 0 THEN 'contradictory'
        ELSE 'ambiguous' END AS why,
    ARRAY(SELECT DISTINCT unnest(coalesce(of_sku, '{}') || coalesce(of_barcode, '{}')) LIMIT 10) AS candidates
FROM chosen LEFT JOIN mapped USING (id) ORDER BY chosen.order_id, chosen.n
""")

_WHY = {
    "unknown": "No variant has this SKU or barcode.",
    "contradictory": "The SKU and the barcode are of different variants.",
    "ambiguous": "Several variants have it.",
}


class OrderLineNotFound(NotFound):
    """The order has no such line."""


class VariantUnknown(NotFound):
    """There is no such variant."""


class LineAlreadySent(Conflict):
    """Pieces of this line are on their way to a supplier, or there already, as the variant it was mapped to."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """What became of a line: its variant, or why it has none."""

    line_id: UUID
    order_id: UUID
    variant_id: UUID | None
    mapped_by: str | None
    why: str | None  # unknown | contradictory | ambiguous
    candidates: tuple[UUID, ...] = ()


def map_lines(session: Session, line_ids: Sequence[UUID], *, merchant_id: UUID) -> list[Mapping]:
    """Find the variants of lines that have none yet; open an item for each that stays without and is still wanted.

    The caller settles their orders.
    """
    session.flush()
    found = session.execute(_MAP, {"merchant_id": merchant_id, "line_ids": list(line_ids)}).all()
    mapped = [row for row in found if row.variant_id is not None]
    unknown = [_item(row) for row in found if row.variant_id is None and row.wanted]
    open_items(session, unknown, merchant_id=merchant_id)
    for row in mapped:
        close_items(session, [row.order_id], cause="unmapped", subject=str(row.id))
    return [
        Mapping(
            row.id,
            row.order_id,
            row.variant_id,
            row.mapped_by,
            None if row.variant_id else row.why,
            tuple(row.candidates),
        )
        for row in found
    ]


def map_by_hand(
    session: Session, order_id: UUID, line_id: UUID, *, merchant_id: UUID, variant_id: UUID | None
) -> OrderLine:
    """Say which variant a line is; without one, look again by SKU and barcode. Settles the order.

    Raises OrderLineNotFound, VariantUnknown, LineAlreadySent.
    """
    # The order before its lines, as everybody does: or two could wait for each other.
    session.execute(select(Order.id).where(Order.id == order_id).with_for_update())
    line = session.scalar(
        select(OrderLine).where(OrderLine.id == line_id, OrderLine.order_id == order_id).with_for_update()
    )
    if line is None:
        raise OrderLineNotFound
    if variant_id is not None:
        _map_to(session, line, variant_id)
    elif line.variant_id is None:
        map_lines(session, [line_id], merchant_id=merchant_id)
        session.refresh(line)
    if line.variant_id is not None:
        close_items(session, [order_id], cause="unmapped", subject=str(line_id))
    settle(session, [order_id], merchant_id=merchant_id)
    return line


def known_variant(session: Session, variant_id: UUID) -> None:
    """Raises VariantUnknown when there is no such variant."""
    if session.scalar(select(Variant.id).where(Variant.id == variant_id)) is None:
        raise VariantUnknown(param="variant_id")


def _map_to(session: Session, line: OrderLine, variant_id: UUID) -> None:
    known_variant(session, variant_id)
    if line.variant_id == variant_id:
        return
    if session.scalar(select(IntentLine.intent_id).where(IntentLine.order_line_id == line.id).limit(1)):
        raise LineAlreadySent
    said: dict[str, Any] = {"line_id": str(line.id), "n": line.n, "variant_id": str(variant_id), "mapped_by": "hand"}
    if line.variant_id is not None:
        said["was"] = str(line.variant_id)
    line.variant_id, line.mapped_by = variant_id, "hand"
    session.flush()
    record(session, [Step(line.order_id, "line_mapped", said)], merchant_id=line.merchant_id)


def _item(row: Any) -> Item:
    return Item(
        row.order_id,
        "unmapped",
        {
            "line_id": str(row.id),
            "n": row.n,
            **{name: getattr(row, name) for name in ("sku", "barcode", "title") if getattr(row, name)},
            "why": row.why,
            "reason": _WHY[row.why],
            "candidates": [str(one) for one in row.candidates],
        },
        subject=str(row.id),
    )
