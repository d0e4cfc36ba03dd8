"""What has been said about lines that the catalogue does not know."""

from datetime import datetime
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from api.deps import CallerDep, PageDep, SessionDep
from services.core.paging import ListOut
from services.orders.incoming import mappings

router = APIRouter(prefix="/orders/mappings", tags=["orders"])


class LineMappingOut(BaseModel):
    """Lines of this SKU, or of this barcode, are that variant."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    sku: str | None
    barcode: str | None
    variant_id: UUID
    created_at: datetime


@router.get("")
def list_mappings(session: SessionDep, caller: CallerDep, page: PageDep) -> ListOut[LineMappingOut]:
    """What `POST /orders/map` was told, newest first."""
    found = mappings.list_line_mappings(session, page, merchant_id=caller.merchant_id)
    return ListOut[LineMappingOut].model_validate(found, from_attributes=True)


@router.delete("/{line_mapping_id}", status_code=204)
def forget_mapping(line_mapping_id: UUID, session: SessionDep, caller: CallerDep) -> None:
    """Take it back. Lines that were mapped by it stay what they are."""
    mappings.forget(session, line_mapping_id)
