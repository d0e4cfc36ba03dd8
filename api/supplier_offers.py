"""What suppliers offer, and which variant of the catalogue each offer fills."""

from decimal import Decimal
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from api.deps import CallerDep, SessionDep
from services.core.paging import MAX_LIMIT, ListOut
from services.models import OfferLink
from services.sourcing.offers import links
from services.sourcing.offers.links import Listed, OfferFilter

router = APIRouter(prefix="/suppliers", tags=["suppliers"])

How = Literal["made", "sku", "barcode", "hand"]


class LinkIn(BaseModel):
    """Which variant an offer fills."""

    model_config = ConfigDict(extra="forbid")

    offer_variant_id: str = Field(min_length=1, max_length=500, description="The supplier's id, as `id` of an offer.")
    variant_id: UUID | None = Field(description="null: none, and it is not to be matched by itself either.")


class LinkOut(BaseModel):
    """Which variant an offer fills, and how that is known."""

    model_config = ConfigDict(from_attributes=True)

    offer_variant_id: str
    variant_id: UUID | None
    how: How
    created_at: AwareDatetime


class CandidateOut(BaseModel):
    """A variant that an offer might fill."""

    variant_id: UUID
    by: Literal["sku", "barcode"]


class SupplierOfferOut(BaseModel):
    """What can be ordered of a supplier."""

    id: str = Field(description="The supplier's id of the variant.")
    product_id: str = Field(description="The supplier's id of the product.")
    title: str | None
    brand: str | None
    category: str | None
    active: bool
    sku: str | None
    barcode: str | None
    options: list[list[str | None]] = Field(description="Pairs of name and value.")
    cost: Decimal | None
    list_price: Decimal | None
    recommended_price: Decimal | None
    currency: str | None
    stock: int | None = Field(description="null: the supplier did not say.")
    tiers: list[dict[str, Any]] = Field(description="The stock by the days until it leaves, where that is said.")
    stock_at: AwareDatetime | None = Field(description="When the supplier said so first; each full run confirms it.")
    price_at: AwareDatetime | None
    gone_at: AwareDatetime | None = Field(description="null: it is offered.")
    link: LinkOut | None
    candidates: list[CandidateOut] = Field(description="Where it is not linked: what its SKU or barcode matches.")

    @classmethod
    def of(cls, found: Listed) -> Self:
        """The offer in the words of the API."""
        variant, offer = found.variant, found.offer
        of_variant = (
            *("id", "sku", "barcode", "options", "cost", "list_price", "recommended_price", "currency", "stock"),
            *("tiers", "stock_at", "price_at", "gone_at"),
        )
        return cls(
            **{name: getattr(variant, name) for name in of_variant},
            **{name: getattr(offer, name) for name in ("title", "brand", "category", "active")},
            product_id=offer.id,
            link=_shown(found.link),
            candidates=[CandidateOut(variant_id=id_, by=by) for id_, by in found.candidates],
        )


def _shown(link: OfferLink | None) -> LinkOut | None:
    return None if link is None else LinkOut.model_validate(link)


class OffersQuery(BaseModel):
    """Which offers."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=50, ge=1, le=MAX_LIMIT, description="Rows per page.")
    after: str | None = Field(default=None, max_length=2000, description="The `next` of the page before.")
    linked: bool | None = Field(default=None, description="Whether they fill a variant.")
    ambiguous: bool | None = Field(
        default=None, description="Not linked, though SKU or barcode match one variant or several."
    )
    gone: bool = Field(default=False, description="Those that are no longer offered.")
    sku: str | None = Field(default=None, max_length=500)
    barcode: str | None = Field(default=None, max_length=500)
    product_id: str | None = Field(default=None, max_length=500, description="The supplier's.")


@router.get("/{connection_id}/offers")
def list_offers(
    connection_id: UUID, query: Annotated[OffersQuery, Query()], session: SessionDep, caller: CallerDep
) -> ListOut[SupplierOfferOut]:
    """What a connection's supplier offers, in the order of its ids.

    Without `sku`, `barcode`, `product_id` a page tries 20,000 offers at most: few of them may fit, and more may follow.
    """
    matching = OfferFilter(**query.model_dump(exclude={"limit", "after"}))
    found = links.list_offers(session, connection_id, matching, limit=query.limit, after=query.after)
    shown = found.map(SupplierOfferOut.of)
    return ListOut[SupplierOfferOut](data=shown.data, has_more=shown.has_more, next=shown.next)


@router.put("/{connection_id}/links")
def link_offer(connection_id: UUID, body: LinkIn, session: SessionDep, caller: CallerDep) -> LinkOut:
    """Say which variant an offer fills; the catalogue follows with the next sync.

    409 `link_is_own` for null where the product was made of the offer.
    """
    linked = links.link(session, connection_id, body.offer_variant_id, variant_id=body.variant_id)
    return LinkOut.model_validate(linked)
