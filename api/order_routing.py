"""Where an order would go: by which supplier, in which parcels, for how much, and why not by another."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Literal, Self
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from api.deps import SessionDep
from api.money import Money
from services.models import OrderLine
from services.orders.routing.filling import Line, Offered, Reason
from services.orders.routing.preview import Preview, preview
from services.orders.routing.route import Parcel

router = APIRouter(prefix="/orders", tags=["orders"])


class RouteIn(BaseModel):
    """What is to be tried instead of what your policy says. Without it: as it would be done."""

    model_config = ConfigDict(extra="forbid")

    route: Literal["cheapest", "fastest", "preferred"] | None = None
    one_parcel: Literal["preferred", "required", "no"] | None = None
    split: bool | None = Field(default=None, description="It may go to several suppliers.")
    fallback: bool | None = Field(default=None, description="Others than the preferred may be used.")


class RouteOfferOut(BaseModel):
    """An offer, and whose it is."""

    connection_id: UUID
    connection: str = Field(description="Its name.")
    supplier: str
    offer_variant_id: str
    order_ref: str
    cost: Money | None = Field(description="Of one piece, as the supplier says.")
    currency: str | None
    stock: int | None = Field(description="null: the supplier does not say.")
    stock_age_seconds: int | None
    taken: int = Field(description="Pieces of the stock that orders of yours are about to take.")

    @classmethod
    def of(cls, offer: Offered, found: Preview) -> Self:
        """As it is shown."""
        connection = found.known.connections[offer.connection_id]
        return cls(
            connection_id=offer.connection_id,
            connection=connection.name,
            supplier=connection.supplier,
            offer_variant_id=offer.id,
            order_ref=offer.order_ref,
            cost=offer.cost,
            currency=offer.currency or None,
            stock=offer.stock,
            stock_age_seconds=None if offer.stock_age is None else max(0, round(offer.stock_age)),
            taken=offer.taken,
        )


class RouteOtherOut(BaseModel):
    """An offer that would not be taken."""

    offer: RouteOfferOut
    code: str
    reason: str
    extra_cost: Money | None = Field(description="For the order as a whole, if it were taken instead.")


class RouteReasonOut(BaseModel):
    """Why a line would go nowhere."""

    code: str
    reason: str


class RouteLineOut(BaseModel):
    """A line of which pieces are still to be had."""

    id: UUID
    n: int
    sku: str | None
    title: str | None
    pieces: int = Field(description="Still to be had.")
    offer: RouteOfferOut | None = Field(description="Which would fill it; null: none.")
    unrouted: RouteReasonOut | None = Field(description="Why nothing would.")
    others: list[RouteOtherOut]


class RouteParcelOut(BaseModel):
    """What one supplier would send from one place. Amounts are in `currency`, in which offers were compared."""

    connection_id: UUID
    connection: str
    supplier: str
    warehouse: str | None
    lines: list[int] = Field(description="`n` of the lines in it.")
    currency: str
    goods: Money
    shipping: Money | None = Field(
        description="With fees, as the newest orders of this connection cost them; null: there were none yet."
    )
    total: Money
    days: int | None = Field(description="Until its last piece is there, as far as it is known.")


class RouteTotalOut(BaseModel):
    """All parcels of a currency together."""

    currency: str
    goods: Money
    shipping: Money
    total: Money
    complete: bool = Field(description="What shipping costs is known of every parcel.")


class RouteOut(BaseModel):
    """How the order would be routed now. Nothing was changed."""

    order_id: UUID
    proven: bool = Field(description="There is no better way. False: the best that was found in the time there is.")
    parcels: list[RouteParcelOut]
    totals: list[RouteTotalOut]
    lines: list[RouteLineOut]

    @classmethod
    def of(cls, found: Preview) -> Self:
        """As it is shown."""
        return cls(
            order_id=found.order.id,
            proven=found.routing.proven,
            parcels=[_parcel(parcel, found) for parcel in found.routing.parcels],
            totals=list(_totals(found.routing.parcels)),
            lines=list(_lines(found)),
        )


@router.post("/{order_id}/route")
def route_order(order_id: UUID, session: SessionDep, body: RouteIn | None = None) -> RouteOut:
    """Where what is left of the order would go now, for how much, and why not elsewhere. Changes nothing."""
    otherwise = (body or RouteIn()).model_dump(exclude_none=True)
    return RouteOut.of(preview(session, order_id, otherwise=otherwise))


def _parcel(parcel: Parcel, found: Preview) -> RouteParcelOut:
    connection = found.known.connections[parcel.connection_id]
    numbers = {line.id: line.n for line in found.lines}
    return RouteParcelOut(
        connection_id=parcel.connection_id,
        connection=connection.name,
        supplier=connection.supplier,
        warehouse=parcel.warehouse or None,
        lines=sorted(numbers[pick.line.id] for pick in parcel.picks),
        currency=parcel.currency,
        goods=parcel.goods,
        shipping=parcel.shipping,
        total=parcel.total,
        days=parcel.days,
    )


def _totals(parcels: tuple[Parcel, ...]) -> Iterator[RouteTotalOut]:
    for currency in dict.fromkeys(parcel.currency for parcel in parcels):
        own = [parcel for parcel in parcels if parcel.currency == currency]
        goods = sum((parcel.goods for parcel in own), Decimal())
        shipping = sum((parcel.shipping or Decimal() for parcel in own), Decimal())
        yield RouteTotalOut(
            currency=currency,
            goods=goods,
            shipping=shipping,
            total=goods + shipping,
            complete=all(parcel.shipping is not None for parcel in own),
        )


def _lines(found: Preview) -> Iterator[RouteLineOut]:
    picks = {pick.line.id: pick.offer for parcel in found.routing.parcels for pick in parcel.picks}
    wanted = {line.id: line for line in found.known.lines}
    for line in found.lines:
        offer = picks.get(line.id)
        yield RouteLineOut(
            id=line.id,
            n=line.n,
            sku=line.sku,
            title=line.title,
            pieces=_pieces(line, wanted.get(line.id)),
            offer=None if offer is None else RouteOfferOut.of(offer, found),
            unrouted=_unrouted(line, found),
            others=[
                _other(reason, reason.offer, found) for reason in found.routing.others.get(line.id, ()) if reason.offer
            ],
        )


def _pieces(line: OrderLine, wanted: Line | None) -> int:
    return line.quantity - line.cancelled_quantity if wanted is None else wanted.pieces


def _unrouted(line: OrderLine, found: Preview) -> RouteReasonOut | None:
    if line.variant_id is None:
        return RouteReasonOut(code="unmapped", reason="Nobody has said yet what it is.")
    why = found.routing.unrouted.get(line.id)
    return None if why is None else RouteReasonOut(code=why.code, reason=why.about)


def _other(why: Reason, offer: Offered, found: Preview) -> RouteOtherOut:
    return RouteOtherOut(
        offer=RouteOfferOut.of(offer, found), code=why.code, reason=why.about, extra_cost=why.extra_cost
    )
