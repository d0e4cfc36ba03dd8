"""Orders on their way: sent to suppliers, tracked, sent back, and what only a person can tell."""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Header
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.requests import Request
from starlette.responses import Response

from api.deps import CallerDep, EarlyCallerDep, IdempotencyKey, SessionDep
from api.order_shapes import OrderDetailOut, ParcelOut, Read, ReturnOut, State, SupplierOrderOut
from services.core.db import transaction
from services.orders.following.push import MAX_BYTES, take_push
from services.orders.following.reconcile import ask_reconcile
from services.orders.following.returns import Back, ask_return, move_return
from services.orders.following.tracking import ask_after
from services.orders.incoming.queries import Story, get_story
from services.orders.jobs import ReconcileOrders
from services.orders.placing.ask import ask, ask_many
from services.orders.placing.resolve import resolve, seen_there

router = APIRouter(prefix="/orders", tags=["orders"])
push_router = APIRouter(prefix="/push", tags=["orders"])

MOST_ORDERS = 10_000  # in one request
PUSH_BYTES = MAX_BYTES

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500, pattern=r"^[^\x00]*$")]
Amount = Annotated[Decimal, Field(ge=0, max_digits=18, decimal_places=6)]
JOBS = "/api/v1/jobs"


class FulfillIn(BaseModel):
    """Which order is to be sent to its suppliers."""

    model_config = ConfigDict(extra="forbid")

    order_id: UUID


class BulkFulfillIn(BaseModel):
    """Which orders are to be sent."""

    model_config = ConfigDict(extra="forbid")

    order_ids: list[UUID] = Field(min_length=1, max_length=MOST_ORDERS)


class FulfillingOut(BaseModel):
    """An order on its way."""

    order_id: UUID
    job_id: UUID
    under_way: bool = Field(description="Whether this job was at it already.")
    status_url: str


class NotFulfilledOut(BaseModel):
    """An order that cannot be sent as it is."""

    order_id: UUID
    code: str
    detail: str


class BulkFulfillingOut(BaseModel):
    """Many orders on their way, under one job."""

    job_id: UUID | None = Field(description="Null: none of them is to be sent.")
    accepted: int
    under_way: list[UUID] = Field(description="Orders that had a job already.")
    refused: list[NotFulfilledOut]
    status_url: str | None


def _fulfil(session: SessionDep, caller: CallerDep, order_id: UUID) -> FulfillingOut:
    asked = ask(session, merchant_id=caller.merchant_id, order_id=order_id)
    return FulfillingOut(
        order_id=order_id, job_id=asked.job_id, under_way=asked.again, status_url=f"{JOBS}/{asked.job_id}"
    )


@router.post("/fulfill", status_code=202, response_model=FulfillingOut)
def fulfill(body: FulfillIn, session: SessionDep, caller: CallerDep, once: IdempotencyKey) -> Response:
    """Send an order to the suppliers it needs. Asked twice, it is the same job, and sent once.

    409 when it was sent already (`order_already_sent`) or something of it waits for you.
    """
    return once(session, body, status=202, make=lambda: _fulfil(session, caller, body.order_id))


@router.post("/bulk-fulfill", status_code=202, response_model=BulkFulfillingOut)
def bulk_fulfill(body: BulkFulfillIn, session: SessionDep, caller: CallerDep, once: IdempotencyKey) -> Response:
    """Send many orders: one job with a child for each. What cannot be sent is said and stops nobody else."""

    def make() -> BulkFulfillingOut:
        asked = ask_many(session, merchant_id=caller.merchant_id, order_ids=body.order_ids)
        refused = [
            NotFulfilledOut(order_id=id_, code=error.code, detail=error.detail) for id_, error in asked.refused.items()
        ]
        return BulkFulfillingOut(
            job_id=asked.job_id,
            accepted=len(asked.accepted),
            under_way=asked.under_way,
            refused=refused,
            status_url=f"{JOBS}/{asked.job_id}" if asked.job_id else None,
        )

    return once(session, body, status=202, make=make)


class ReconcileIn(BaseModel):
    """The period to compare with the suppliers' ledgers, in days of UTC."""

    model_config = ConfigDict(extra="forbid")

    connection_id: UUID | None = Field(default=None, description="Null: each of your connections.")
    since: date = Field(description="The first day.")
    until: date | None = Field(default=None, description="The last day; null: today.")


class ReconcilingOut(BaseModel):
    """A comparison on its way; its job's result counts what differs, the attention list has each difference."""

    job_id: UUID
    status_url: str


@router.post("/reconcile", status_code=202, response_model=ReconcilingOut)
def reconcile(body: ReconcileIn, session: SessionDep, caller: CallerDep, once: IdempotencyKey) -> Response:
    """Compare what was sent in a period with what suppliers have, order by order."""

    def make() -> ReconcilingOut:
        job = ReconcileOrders(connection_id=body.connection_id, since=body.since, until=body.until)
        job_id = ask_reconcile(session, job, merchant_id=caller.merchant_id)
        return ReconcilingOut(job_id=job_id, status_url=f"{JOBS}/{job_id}")

    return once(session, body, status=202, make=make)


@router.post("/{order_id}/fulfill", status_code=202, response_model=FulfillingOut)
def fulfill_one(order_id: UUID, session: SessionDep, caller: CallerDep, once: IdempotencyKey) -> Response:
    """Send this order to the suppliers it needs; as `POST /orders/fulfill`."""
    return once(session, {}, status=202, make=lambda: _fulfil(session, caller, order_id))


# -- Where it is -------------------------------------------------------------------------------------------------------


class TrackedOut(SupplierOrderOut):
    """A supplier's order with its parcels."""

    intent_id: UUID
    connection_id: UUID
    reference: str
    parcels: list[ParcelOut]


class TrackingOut(Read):
    """Where everything of an order is."""

    order_id: UUID
    state: State
    under_way: list[UUID] = Field(description="Intents no supplier has answered for good yet.")
    supplier_orders: list[TrackedOut]
    parcels: int
    shipped_at: datetime | None = Field(description="When the first parcel was seen.")
    delivered_at: datetime | None = Field(description="When the last of the suppliers' orders was delivered.")

    @classmethod
    def of(cls, story: Story) -> "TrackingOut":
        """Of an order and all there is of it."""
        orders = [
            TrackedOut(
                **SupplierOrderOut.model_validate(one).model_dump(),
                intent_id=sent.intent.id,
                connection_id=sent.intent.connection_id,
                reference=sent.intent.reference,
                parcels=[ParcelOut.model_validate(p) for p in sent.parcels if p.supplier_order_id == one.id],
            )
            for sent in story.intents
            for one in sent.supplier_orders
        ]
        parcels = [parcel for one in orders for parcel in one.parcels]
        wanted = [one for sent in story.intents for one in sent.supplier_orders if one.state != "cancelled"]
        delivered = [one.state_at for one in wanted if one.state == "delivered"]
        return cls(
            order_id=story.order.id,
            state=story.order.state,
            under_way=[
                sent.intent.id for sent in story.intents if sent.intent.state in ("planned", "sending", "unknown")
            ],
            supplier_orders=orders,
            parcels=len(parcels),
            shipped_at=min((parcel.first_seen for parcel in parcels), default=None),
            delivered_at=max(delivered) if wanted and len(delivered) == len(wanted) else None,
        )


@router.get("/{order_id}/tracking")
def track(order_id: UUID, session: SessionDep) -> TrackingOut:
    """Every supplier's order of this order, how it stands, and its parcels."""
    return TrackingOut.of(get_story(session, order_id))


class AskedAfterOut(BaseModel):
    """The jobs that ask the suppliers, one for each of their orders that is not over."""

    order_id: UUID
    job_ids: list[UUID]
    status_urls: list[str]


@router.post("/{order_id}/tracking", status_code=202, response_model=AskedAfterOut)
def track_now(order_id: UUID, session: SessionDep, caller: CallerDep, once: IdempotencyKey) -> Response:
    """Have the suppliers asked now, whenever they were to be asked next. Asked again meanwhile, it is the same jobs."""

    def make() -> AskedAfterOut:
        jobs = ask_after(session, order_id, merchant_id=caller.merchant_id)
        return AskedAfterOut(order_id=order_id, job_ids=jobs, status_urls=[f"{JOBS}/{id_}" for id_ in jobs])

    return once(session, {}, status=202, make=make)


# -- What only a person can tell ---------------------------------------------------------------------------------------


class ResolveIn(BaseModel):
    """What you have seen on the supplier's page."""

    model_config = ConfigDict(extra="forbid")

    supplier_order_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,100}$")] | None = Field(
        description="The order's number there; null: there is none under this reference."
    )


@router.post("/{order_id}/intents/{intent_id}/resolve", response_model=OrderDetailOut)
def resolve_intent(
    order_id: UUID, intent_id: UUID, body: ResolveIn, caller: EarlyCallerDep, once: IdempotencyKey
) -> Response:
    """Say what became of an intent whose outcome nobody else can tell. A number is looked up at the supplier first."""
    who = {"merchant_id": caller.merchant_id, "order_id": order_id, "intent_id": intent_id}
    found = None
    if body.supplier_order_id is not None:
        found = seen_there(**who, supplier_order_id=body.supplier_order_id)
    with transaction(merchant_id=caller.merchant_id, user_id=caller.user.id) as session:

        def make() -> OrderDetailOut:
            resolve(session, **who, found=found, user_id=caller.user.id)
            return OrderDetailOut.of(get_story(session, order_id))

        return once(session, body, status=200, make=make)


# -- Back --------------------------------------------------------------------------------------------------------------


class ReturnLineIn(BaseModel):
    """Pieces that come back."""

    model_config = ConfigDict(extra="forbid")

    line_id: UUID
    quantity: int = Field(ge=1, le=1_000_000)
    reason: Text


_SOMETHING_BACK = {"line_id": "019f2c5e-7d0b-7000-8000-0123456789ab", "quantity": 1, "reason": "too small"}


class ReturnIn(BaseModel):
    """What a buyer sends back."""

    model_config = ConfigDict(extra="forbid")

    lines: list[ReturnLineIn] = Field(min_length=1, max_length=500, examples=[[_SOMETHING_BACK]])
    note: Text | None = None


class ReturnPatch(BaseModel):
    """How far a return has come."""

    model_config = ConfigDict(extra="forbid")

    state: Literal["requested", "approved", "received", "refunded", "rejected"]
    refund: Amount | None = Field(default=None, description="What was paid back, in the order's currency.")


@router.post("/{order_id}/return", status_code=201, response_model=ReturnOut)
def send_back(order_id: UUID, body: ReturnIn, session: SessionDep, caller: CallerDep, once: IdempotencyKey) -> Response:
    """Note that a buyer sends pieces back, within your policy's window."""
    back = [Back(line.line_id, line.quantity, line.reason) for line in body.lines]
    return once(
        session,
        body,
        status=201,
        make=lambda: ReturnOut.of(
            ask_return(session, order_id, merchant_id=caller.merchant_id, back=back, note=body.note)
        ),
    )


@router.patch("/{order_id}/returns/{return_id}")
def move(order_id: UUID, return_id: UUID, body: ReturnPatch, session: SessionDep, caller: CallerDep) -> ReturnOut:
    """Bring a return further: approved, received, refunded, or rejected."""
    moved = move_return(
        session, order_id, return_id, merchant_id=caller.merchant_id, state=body.state, refund=body.refund
    )
    return ReturnOut.of(moved)


# -- Pushed ------------------------------------------------------------------------------------------------------------


class TakenOut(BaseModel):
    """The message was taken."""

    success: bool = True


@push_router.get("/aliexpress/{merchant_id}/{connection_id}")
def alive(merchant_id: UUID, connection_id: UUID) -> TakenOut:
    """AliExpress asks whether somebody listens here."""
    return TakenOut()


async def _body(request: Request) -> bytes:
    return await request.body()


@push_router.post("/aliexpress/{merchant_id}/{connection_id}")
def pushed(
    merchant_id: UUID,
    connection_id: UUID,
    body: Annotated[bytes, Depends(_body)],
    authorization: Annotated[str, Header(max_length=200)] = "",
) -> TakenOut:
    """A message from AliExpress, signed with the app's secret: the order it names is read again."""
    take_push(merchant_id=merchant_id, connection_id=connection_id, body=body, authorization=authorization)
    return TakenOut()
