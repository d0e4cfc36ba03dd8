"""Orders: in from channels, read with their story, changed, mapped and cancelled; and what waits for somebody."""

from decimal import Decimal
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Body, Query
from fastapi.exceptions import RequestValidationError
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from starlette.responses import Response

from api.deps import Caller, CallerDep, IdempotencyKey, PageDep, SessionDep
from api.money import Money
from api.order_shapes import (
    MOST_ORDERS,
    AttentionOut,
    Channel,
    LineOut,
    OrderDetailOut,
    OrderIn,
    OrderOut,
    Read,
    ReceiptOut,
    ReceiptsOut,
    State,
    Text,
    WaitingOut,
)
from services.core.errors import Invalid
from services.core.paging import ListOut
from services.formats.numbers import currency_code
from services.orders import attention, policy
from services.orders.incoming import lines, queries
from services.orders.incoming.again import ask_again
from services.orders.incoming.cancel import cancel_order
from services.orders.incoming.queries import OrderFilter
from services.orders.incoming.receive import Receipt, receive
from services.orders.jobs import MapOrderLines

router = APIRouter(prefix="/orders", tags=["orders"])

_MANY = TypeAdapter(Annotated[list[OrderIn], Field(min_length=1, max_length=MOST_ORDERS)])


def _whole(schema: Any, named: dict[str, Any]) -> Any:
    """A schema with what it refers to in its place: bodies that a route takes apart itself are described in full."""
    if isinstance(schema, list):
        return [_whole(part, named) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _whole(named[schema["$ref"].rpartition("/")[2]], named)
    return {name: _whole(part, named) for name, part in schema.items() if name != "$defs"}


_ONE_OR_MANY = TypeAdapter(
    OrderIn | Annotated[list[OrderIn], Field(min_length=1, max_length=MOST_ORDERS)]
).json_schema()
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": _whole(_ONE_OR_MANY, _ONE_OR_MANY["$defs"])}},
    }
}
Share = Annotated[Decimal, Field(max_digits=6, decimal_places=4, examples=["0.05"])]
Ceiling = Annotated[Decimal, Field(ge=0, lt=10**12, max_digits=18, decimal_places=6)]


class CurrencyUnknown(Invalid):
    """This is not an ISO 4217 currency code."""


# -- In ----------------------------------------------------------------------------------------------------------------


@router.post("", response_model=ReceiptOut | ReceiptsOut, openapi_extra=_BODY, responses={201: {"model": ReceiptOut}})
def ingest(body: Annotated[Any, Body()], session: SessionDep, caller: CallerDep, once: IdempotencyKey) -> Response:
    """Take an order, or a list of them, as its channel has it now. The same order twice is the same order.

    201: a new one. 200: known; `changes` says what is otherwise now. 409 when that was sent already. A list is
    answered with 200 and what became of each; it is stored as a whole or, if one cannot be understood, not at all.
    """
    if not isinstance(body, list):
        order = _valid(TypeAdapter(OrderIn), body)
        said = order.said()
        return once(
            session, order, status=_created, make=lambda: _taken(session, caller, receive_one(session, caller, said))
        )
    orders = _valid(_MANY, body)
    all_said = [order.said(where=f"{n}.") for n, order in enumerate(orders)]

    def make() -> ReceiptsOut:
        receipts = receive(session, all_said, merchant_id=caller.merchant_id)
        found = queries.listed(session, [receipt.order_id for receipt in receipts])
        return ReceiptsOut(data=[ReceiptOut.of(receipt, found[receipt.order_id]) for receipt in receipts])

    return once(session, orders, status=200, make=make)


def receive_one(session: SessionDep, caller: Caller, said: Any) -> Receipt:
    """One order; the error of one that is refused is raised, so that nothing of the request is kept."""
    (receipt,) = receive(session, [said], merchant_id=caller.merchant_id)
    if receipt.error is not None:
        raise receipt.error
    return receipt


def _taken(session: SessionDep, caller: Caller, receipt: Receipt) -> ReceiptOut:
    return ReceiptOut.of(receipt, queries.listed(session, [receipt.order_id])[receipt.order_id])


def _created(receipt: ReceiptOut) -> int:
    return 201 if receipt.outcome == "created" else 200


def _valid(model: TypeAdapter[Any], given: Any) -> Any:
    try:
        return model.validate_python(given)
    except ValidationError as error:
        found = [{**each, "loc": ("body", *each["loc"])} for each in error.errors(include_context=False)]
        raise RequestValidationError(found) from None


# -- What waits --------------------------------------------------------------------------------------------------------


class AttentionQuery(BaseModel):
    """Which items are asked for."""

    cause: Annotated[str, Field(pattern="^[a-z_]{1,50}$")] | None = None
    opened_before: AwareDatetime | None = None


@router.get("/attention")
def list_attention(
    session: SessionDep, caller: CallerDep, page: PageDep, asked: Annotated[AttentionQuery, Query()]
) -> ListOut[WaitingOut]:
    """What waits for somebody, newest first, each with its cause and what can be done."""
    found = attention.list_waiting(session, page, merchant_id=caller.merchant_id, **asked.model_dump()).map(
        lambda one: WaitingOut(
            **AttentionOut.of(one.item).model_dump(), channel=one.channel, external_id=one.external_id
        )
    )
    return ListOut[WaitingOut](data=found.data, has_more=found.has_more, next=found.next)


@router.get("/attention/summary")
def count_attention(session: SessionDep, caller: CallerDep) -> dict[str, int]:
    """How many items are open, by cause."""
    return attention.counts(session, merchant_id=caller.merchant_id)


@router.post("/attention/{attention_id}/close", response_model=AttentionOut)
def close_attention(attention_id: UUID, session: SessionDep, _caller: CallerDep, once: IdempotencyKey) -> Response:
    """Say that you have seen to it. 409 for what closes by itself, when what it asks for is done."""
    return once(session, {}, status=200, make=lambda: AttentionOut.of(attention.dismiss(session, attention_id)))


# -- Policy ------------------------------------------------------------------------------------------------------------


class PolicyPut(BaseModel):
    """How orders are to be routed, sent and watched. What is left out has its default."""

    model_config = ConfigDict(extra="forbid")

    route: Literal["cheapest", "fastest", "preferred"] = "cheapest"
    preferred: Annotated[list[UUID], Field(max_length=50)] = Field(
        default_factory=list, description="Connections, best first."
    )
    fallback: bool = Field(default=True, description="Others than the preferred may be used.")
    one_parcel: Literal["preferred", "required", "no"] = "preferred"
    split: bool = Field(default=True, description="An order may go to several suppliers.")
    cost_ceiling: Ceiling | None = Field(default=None, gt=0, description="Of an order, with shipping.")
    shipping_ceiling: Ceiling | None = Field(default=None, description="Of an order.")
    ceiling_currency: str | None = Field(default=None, max_length=10, description="ISO 4217, of both ceilings.")
    min_margin: Share | None = Field(default=None, gt=-10, lt=1, description="Of what the buyer paid: 0.15 is 15 %.")
    cost_tolerance: Share = Field(default=Decimal("0.05"), ge=0, le=10, description="Above what was expected.")
    cancel_window_seconds: int = Field(default=0, ge=0, le=604_800, description="From asking to sending.")
    partial: bool = Field(default=False, description="Lines that are mapped go on without those that are not.")
    no_tracking_days: int = Field(default=7, ge=1, le=365)
    no_movement_hours: int = Field(default=48, ge=1, le=8760)
    unknown_hours: int = Field(default=2, ge=1, le=8760)
    return_window_days: int = Field(default=30, ge=0, le=3650)

    @model_validator(mode="after")
    def _of_a_currency(self) -> Self:
        if self.ceiling_currency is None and (self.cost_ceiling is not None or self.shipping_ceiling is not None):
            raise ValueError("a ceiling needs ceiling_currency")
        return self


class PolicyOut(Read):
    """The policy as it is."""

    route: Literal["cheapest", "fastest", "preferred"]
    preferred: list[UUID]
    fallback: bool
    one_parcel: Literal["preferred", "required", "no"]
    split: bool
    cost_ceiling: Money | None
    shipping_ceiling: Money | None
    ceiling_currency: str | None
    min_margin: float | None
    cost_tolerance: float
    cancel_window_seconds: int
    partial: bool
    no_tracking_days: int
    no_movement_hours: int
    unknown_hours: int
    return_window_days: int


@router.get("/policy")
def get_policy(session: SessionDep, caller: CallerDep) -> PolicyOut:
    """How orders are routed, sent and watched."""
    return PolicyOut.model_validate(policy.policy_of(session, caller.merchant_id))


@router.put("/policy")
def put_policy(body: PolicyPut, session: SessionDep, caller: CallerDep) -> PolicyOut:
    """Say it anew, as a whole. Orders that wait are looked at again."""
    if body.ceiling_currency is not None and currency_code(body.ceiling_currency) != body.ceiling_currency.upper():
        raise CurrencyUnknown(param="ceiling_currency")
    said = body.model_dump()
    if body.ceiling_currency is not None:
        said["ceiling_currency"] = body.ceiling_currency.upper()
    return PolicyOut.model_validate(policy.set_policy(session, merchant_id=caller.merchant_id, said=said))


# -- Orders ------------------------------------------------------------------------------------------------------------


class OrderQuery(BaseModel):
    """Which orders are asked for."""

    state: State | None = None
    channel: Channel | None = None
    external_id: Text | None = None
    created_after: AwareDatetime | None = None
    created_before: AwareDatetime | None = None
    attention: Annotated[str, Field(pattern="^[a-z_]{1,50}$")] | None = Field(
        default=None, description="That have an item of this cause open; `any` for any."
    )


@router.get("")
def list_orders(
    session: SessionDep, caller: CallerDep, page: PageDep, asked: Annotated[OrderQuery, Query()]
) -> ListOut[OrderOut]:
    """The merchant's orders, newest first."""
    matching = OrderFilter(**asked.model_dump())
    found = queries.list_orders(session, matching, page, merchant_id=caller.merchant_id).map(OrderOut.listed)
    return ListOut[OrderOut](data=found.data, has_more=found.has_more, next=found.next)


@router.get("/{order_id}")
def get_order(order_id: UUID, session: SessionDep) -> OrderDetailOut:
    """One order and its whole story."""
    return OrderDetailOut.of(queries.get_story(session, order_id))


class CancelIn(BaseModel):
    """Why, and how far."""

    model_config = ConfigDict(extra="forbid")

    unsent_only: bool = Field(default=False, description="Cancel what was not sent, and let what was stand.")
    reason: Annotated[str, Field(max_length=500, pattern=r"^[^\x00]*$")] | None = None


@router.post("/{order_id}/cancel", response_model=OrderDetailOut)
def cancel(
    order_id: UUID, session: SessionDep, caller: CallerDep, once: IdempotencyKey, body: CancelIn | None = None
) -> Response:
    """Cancel an order before it is sent. 409 with the `intents` that are being sent, or were."""
    asked = body or CancelIn()

    def make() -> OrderDetailOut:
        cancel_order(
            session,
            order_id,
            merchant_id=caller.merchant_id,
            unsent_only=asked.unsent_only,
            reason=asked.reason or None,
        )
        return OrderDetailOut.of(queries.get_story(session, order_id))

    return once(session, asked, status=200, make=make)


class MapIn(BaseModel):
    """Which variant a line is; without one, its SKU and barcode are looked up again."""

    model_config = ConfigDict(extra="forbid")

    variant_id: UUID | None = None


class MapManyIn(BaseModel):
    """Which lines; without a variant they are looked up again."""

    model_config = ConfigDict(extra="forbid")

    sku: Text | None = Field(default=None, description="Null, with no barcode either: all lines without a variant.")
    barcode: Text | None = None
    variant_id: UUID | None = Field(default=None, description="What they are.")


class MappingOut(BaseModel):
    """Lines being looked at; the job's result counts those `looked_at` and `mapped`."""

    job_id: UUID
    status_url: str


@router.post("/map", status_code=202, response_model=MappingOut)
def map_many(body: MapManyIn, session: SessionDep, caller: CallerDep, once: IdempotencyKey) -> Response:
    """Say which variant all lines of a SKU or barcode are, or have all lines without a variant looked up again.

    What is said of a SKU, or of a barcode, is known for later orders: see `GET /orders/mappings`.
    """

    def make() -> MappingOut:
        job_id = ask_again(session, MapOrderLines(**body.model_dump()), merchant_id=caller.merchant_id)
        return MappingOut(job_id=job_id, status_url=f"/api/v1/jobs/{job_id}")

    return once(session, body, status=202, make=make)


@router.post("/{order_id}/lines/{line_id}/map", response_model=LineOut)
def map_line(
    *,
    order_id: UUID,
    line_id: UUID,
    session: SessionDep,
    caller: CallerDep,
    once: IdempotencyKey,
    body: MapIn | None = None,
) -> Response:
    """Say which variant a line is. 409 when pieces of it were sent already, as another."""
    asked = body or MapIn()

    def make() -> LineOut:
        line = lines.map_by_hand(
            session, order_id, line_id, merchant_id=caller.merchant_id, variant_id=asked.variant_id
        )
        return LineOut.model_validate(line)

    return once(session, asked, status=200, make=make)
