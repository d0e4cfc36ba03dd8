"""What a merchant has said that lines of a SKU or barcode are: known for every order that comes after it."""

from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from services.core.errors import NotFound
from services.core.ids import new_id
from services.core.paging import Page, Slice, paginate
from services.models import LineMapping

_SAY = {
    name: text(f"""
    INSERT INTO line_mappings (id, merchant_id, {name}, variant_id) VALUES (:id, :merchant_id, :code, :variant_id)
    ON CONFLICT (merchant_id, {name}) WHERE {name} IS NOT NULL DO UPDATE SET variant_id = excluded.variant_id
    """)  # noqa: S608  # two names of ours
    for name in ("sku", "barcode")
}


class LineMappingNotFound(NotFound):
    """Nothing of this id has been said about lines."""


def say(session: Session, *, merchant_id: UUID, sku: str | None, barcode: str | None, variant_id: UUID) -> None:
    """Have lines of that SKU, or of that barcode, known from now on; what is said of both together is of no later ones.

    The last word counts. That there is such a variant is the caller's to know.
    """
    said = {"sku": sku, "barcode": barcode}
    names = [name for name, code in said.items() if code is not None]
    if len(names) == 1:
        told = {"id": new_id(), "merchant_id": merchant_id, "code": said[names[0]], "variant_id": variant_id}
        session.execute(_SAY[names[0]], told)


def list_line_mappings(session: Session, page: Page, *, merchant_id: UUID) -> Slice[LineMapping]:
    """What the merchant has said, newest first."""
    own = select(LineMapping).where(LineMapping.merchant_id == merchant_id)
    return paginate(session, own, id_column=LineMapping.id, page=page)


def forget(session: Session, line_mapping_id: UUID) -> None:
    """Take it back, for orders that are still to come. Raises LineMappingNotFound."""
    found = session.scalar(select(LineMapping).where(LineMapping.id == line_mapping_id))
    if found is None:
        raise LineMappingNotFound
    session.delete(found)
