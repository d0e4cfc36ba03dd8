"""Files of orders: handed in, followed, and what was wrong with their rows."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from api.deps import CallerDep, EarlyCallerDep, IdempotencyKey, PageDep, SessionDep
from api.offers import Body, Offer
from api.order_shapes import Channel, CountryUnknown
from api.work import FailureOut, RowErrorOut, Status, errors_answer, shown_errors
from services.core.db import transaction
from services.core.errors import Invalid
from services.core.paging import ListOut
from services.imports.receive import Stored, known_currency, unless_taken
from services.imports.row_errors import kept_errors
from services.orders.addresses.places import countries
from services.orders.files import intake
from services.orders.files.intake import Importing, mapping_of, start_order_import, status_url, store_orders

router = APIRouter(prefix="/orders/imports", tags=["orders"])
upload_router = APIRouter(prefix="/orders", tags=["orders"])

FIRST_ERRORS = 20


class NotOrders(Invalid):
    """Send the file as multipart/form-data with a part named `file`, or as application/json with a `url`."""


class OrderImportFields(BaseModel):
    """What can be said about a file of orders, beside the file itself."""

    model_config = ConfigDict(extra="forbid")

    channel: Channel
    currency: str | None = Field(default=None, description="ISO 4217: of orders that name none.")
    country: str | None = Field(default=None, max_length=10, description="ISO 3166-1: of addresses that name none.")
    mapping: dict[str, Any] | None = Field(
        default=None,
        description="Which column is which field, where that is not recognised; `header` false: there is no header.",
        examples=[{"fields": {"external_id": "Column 1", "sku": "Column 5"}, "header": False}],
    )


class OrderImportIn(OrderImportFields):
    """A file of orders at an address."""

    url: str = Field(min_length=1, max_length=2048, description="An http(s) address on the public internet.")


class OrderImportStartedOut(BaseModel):
    """An import of orders on its way."""

    order_import_id: UUID
    job_id: UUID
    channel: str
    status_url: str
    errors_url: str


class OrderCounts(BaseModel):
    """Orders by what the file meant for them."""

    created: int
    changed: int
    unchanged: int
    refused: int


class OrderImportOut(BaseModel):
    """A file of orders: what it is, how far it has come, what came of it."""

    id: UUID
    job_id: UUID
    status: Status
    error: FailureOut | None
    channel: str
    currency: str | None
    country: str | None
    filename: str | None
    url: str | None
    bytes: int | None
    format: str | None = Field(description="What the file was recognised as.")
    encoding: str | None
    delimiter: str | None
    columns: dict[str, str] | None = Field(description="Headers as the file spells them, and the fields they feed.")
    rows: int = Field(description="Records in the file.")
    done_rows: int = Field(description="Records whose orders are stored.")
    orders: OrderCounts
    errors: int = Field(description="Records that were left out.")
    warnings: int = Field(description="Cells that were left out of records that were used.")
    error_codes: dict[str, int]
    errors_url: str
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, found: Importing, **more: Any) -> Self:
        """As its row and its job say."""
        row = found.of
        counts = {name: getattr(row, f"orders_{name}") for name in OrderCounts.model_fields}
        columns = type(row).__table__.columns.keys()
        plain = {name: getattr(row, name) for name in cls.model_fields if name in columns}
        errors_url = f"{status_url(row.id)}/errors"
        return cls(**plain, orders=counts, status=found.status, error=found.error, errors_url=errors_url, **more)


class OrderImportDetailOut(OrderImportOut):
    """The same with the first of its errors."""

    first_errors: list[RowErrorOut]


_FILE = Body(OrderImportFields, OrderImportIn, neither=NotOrders, json_fields=("mapping",))


@upload_router.post("/import", status_code=202, response_model=OrderImportStartedOut, openapi_extra=_FILE.described)
def start(
    caller: EarlyCallerDep,
    offer: Annotated[Offer[OrderImportFields], Depends(_FILE, scope="function")],
    once: IdempotencyKey,
) -> Response:
    """Take in a file of orders, uploaded or at an address: one row per line of an order, of any shop system.

    Answers as soon as it is safely noted.
    """
    fields = offer.fields
    currency, country = known_currency(fields.currency), _known_country(fields.country)
    mapping = mapping_of(fields.mapping)
    url = fields.url if isinstance(fields, OrderImportIn) else None
    stored: Stored | None = None
    if offer.file is not None:
        stored = store_orders(offer.file, merchant_id=caller.merchant_id, filename=offer.filename, mapping=mapping)
    elif url is not None:
        from services.imports.fetch import check_address  # brings an HTTP client along, which files do not need

        check_address(url)
    said: dict[str, Any] = {
        "channel": fields.channel,
        "currency": currency,
        "country": country,
        "mapping": fields.mapping,
    }
    with (
        unless_taken(stored, merchant_id=caller.merchant_id) as upload,
        transaction(merchant_id=caller.merchant_id, user_id=caller.user.id) as session,
    ):

        def make() -> OrderImportStartedOut:
            made = start_order_import(session, merchant_id=caller.merchant_id, stored=stored, url=url, **said)
            upload.taken = True
            where = status_url(made.id)
            return OrderImportStartedOut(
                order_import_id=made.id,
                job_id=made.job_id,
                channel=made.channel,
                status_url=where,
                errors_url=f"{where}/errors",
            )

        return once(session, {"content": stored.sha256 if stored else url, **said}, status=202, make=make)


def _known_country(given: str | None) -> str | None:
    if given is not None and given.upper() not in countries():
        raise CountryUnknown(param="country")
    return given.upper() if given else None


@router.get("")
def list_imports(
    session: SessionDep, caller: CallerDep, page: PageDep, channel: Annotated[str | None, Query(max_length=100)] = None
) -> ListOut[OrderImportOut]:
    """The merchant's files of orders, newest first."""
    found = intake.list_order_imports(session, page, merchant_id=caller.merchant_id, channel=channel)
    shown = found.map(OrderImportOut.of)
    return ListOut[OrderImportOut](data=shown.data, has_more=shown.has_more, next=shown.next)


@router.get("/{order_import_id}")
def get_import(order_import_id: UUID, session: SessionDep) -> OrderImportDetailOut:
    """One of them, with the first of its errors."""
    found = intake.get_order_import(session, order_import_id)
    errors = kept_errors(session, found.of, limit=FIRST_ERRORS)
    return OrderImportDetailOut.of(found, first_errors=shown_errors(errors))


@router.get(
    "/{order_import_id}/errors",
    response_class=Response,
    responses={200: {"content": {"text/csv": {}, "application/json": {}}}},
)
def get_errors(
    order_import_id: UUID,
    caller: EarlyCallerDep,
    format_: Annotated[Literal["csv", "json"], Query(alias="format")] = "csv",
) -> Response:
    """Every row error that was kept (10,000 at most): a CSV to download, or JSON."""
    with transaction(merchant_id=caller.merchant_id) as session:
        errors = kept_errors(session, intake.get_order_import(session, order_import_id).of)
        session.expunge_all()
    return errors_answer(errors, as_json=format_ == "json", name=f"orders-{order_import_id}-errors.csv")
