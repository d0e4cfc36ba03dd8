"""Imports: hand in a feed, follow it, see what was wrong with it."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.responses import Response

from api.deps import CallerDep, EarlyCallerDep, IdempotencyKey, PageDep, SessionDep
from api.offers import Body, Offer
from api.work import BadRowsRule, FailureOut, ProgressOut, RowErrorOut, Status, csv_answer, errors_answer, shown_errors
from services.core.db import transaction
from services.core.errors import Invalid
from services.core.paging import ListOut
from services.imports import queries
from services.imports.original_rows import original_rows
from services.imports.queries import Operation
from services.imports.receive import Stored, known_currency, start_import, status_url, store_upload, unless_taken
from services.imports.row_errors import kept_errors
from services.imports.work import summary

router = APIRouter(prefix="/bulk", tags=["bulk"])

FIRST_ERRORS = 20

Source = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=r"^[^\x00-\x1f]+$")
]


class NotAnUpload(Invalid):
    """Send the feed as multipart/form-data with a part named `file`, or as application/json with a `url`."""


class ImportFields(BaseModel):
    """What can be said about a feed, beside the feed itself."""

    model_config = ConfigDict(extra="forbid")

    source: Source = Field(
        default="default",
        description="Which series of feeds this one belongs to. Products are recognised within their source.",
    )
    currency: str | None = Field(default=None, description="ISO 4217 currency of prices that name none.")
    bad_rows: BadRowsRule | None = Field(default=None, description="None: as the source says.")


class ImportIn(ImportFields):
    """A feed at an address."""

    url: str = Field(min_length=1, max_length=2048, description="An http(s) address on the public internet.")


class ImportStartedOut(BaseModel):
    """An import on its way."""

    import_id: UUID
    job_id: UUID
    source: str
    status_url: str
    errors_url: str


class Counts(BaseModel):
    """Rows of the catalogue by what the feed meant for them."""

    created: int
    updated: int
    unchanged: int


class OperationOut(BaseModel):
    """An import: what it is, how far it has come, what came of it."""

    id: UUID
    job_id: UUID
    status: Status
    phase: Literal["fetch", "read", "plan", "awaiting_approval", "apply", "done"]
    changeset_id: UUID | None = Field(description="The plan of what it changes, once there is one.")
    changeset_state: str | None
    progress: ProgressOut | None
    error: FailureOut | None
    source: str
    currency: str | None
    filename: str | None
    url: str | None
    bytes: int | None
    sha256: str | None
    format: str | None = Field(description="What the feed was recognised as.")
    encoding: str | None
    delimiter: str | None
    columns: dict[str, str] | None = Field(description="Headers as the feed spells them, and the fields they feed.")
    rows: int = Field(description="Records in the feed.")
    products: Counts
    variants: Counts
    errors: int = Field(description="Records that were left out.")
    warnings: int = Field(description="Cells that were left out of records that were used.")
    error_codes: dict[str, int]
    errors_url: str
    created_at: datetime
    finished_at: datetime | None
    file_removed_at: datetime | None = Field(
        description="When the stored file and the row errors were removed: their time was over."
    )


class OperationDetailOut(OperationOut):
    """An import with the first of its errors."""

    first_errors: list[RowErrorOut]


_FEED = Body(ImportFields, ImportIn, neither=NotAnUpload)


@router.post("/import", status_code=202, response_model=ImportStartedOut, openapi_extra=_FEED.described)
def start(
    caller: EarlyCallerDep,
    offer: Annotated[Offer[ImportFields], Depends(_FEED, scope="function")],
    once: IdempotencyKey,
) -> Response:
    """Import a feed of any format, uploaded or at an address. Answers as soon as it is safely noted."""
    fields = offer.fields
    currency = known_currency(fields.currency)
    url = fields.url if isinstance(fields, ImportIn) else None
    stored: Stored | None = None
    if offer.file is not None:
        stored = store_upload(offer.file, merchant_id=caller.merchant_id, filename=offer.filename, source=fields.source)
    elif url is not None:
        from services.imports.fetch import check_address  # brings an HTTP client along, which files do not need

        check_address(url)
    asked = {
        "content": stored.sha256 if stored else url,
        "source": fields.source,
        "currency": currency,
        "bad_rows": fields.bad_rows,
    }
    with (
        unless_taken(stored, merchant_id=caller.merchant_id) as upload,
        transaction(merchant_id=caller.merchant_id, user_id=caller.user.id) as session,
    ):

        def make() -> ImportStartedOut:
            import_ = start_import(
                session,
                merchant_id=caller.merchant_id,
                source=fields.source,
                currency=currency,
                bad_rows=fields.bad_rows,
                stored=stored,
                url=url,
            )
            upload.taken = True
            where = status_url(import_.id)
            return ImportStartedOut(
                import_id=import_.id,
                job_id=import_.job_id,
                source=import_.source,
                status_url=where,
                errors_url=f"{where}/errors",
            )

        return once(session, asked, status=202, make=make)


@router.get("/operations")
def list_operations(
    session: SessionDep,
    caller: CallerDep,
    page: PageDep,
    source: Annotated[str | None, Query(max_length=100)] = None,
) -> ListOut[OperationOut]:
    """The merchant's imports, newest first."""
    found = queries.list_operations(session, page, merchant_id=caller.merchant_id, source=source)
    return ListOut[OperationOut].model_validate(
        found.map(lambda row: OperationOut(**_fields(row))), from_attributes=True
    )


@router.get("/operations/{import_id}")
def get_operation(import_id: UUID, session: SessionDep) -> OperationDetailOut:
    """One import, with the first of its errors."""
    found = queries.get_operation(session, import_id)
    errors = kept_errors(session, found.import_, limit=FIRST_ERRORS)
    return OperationDetailOut(**_fields(found), first_errors=shown_errors(errors))


@router.get(
    "/operations/{import_id}/errors",
    response_class=Response,
    responses={200: {"content": {"text/csv": {}, "application/json": {}}}},
)
def get_errors(
    import_id: UUID,
    caller: EarlyCallerDep,
    format_: Annotated[Literal["csv", "json", "rows"] | None, Query(alias="format")] = None,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> Response:
    """Every row error that was kept (10,000 at most, for FEED_DAYS): a CSV to download, or JSON if that is asked for.

    `rows` gives the rows themselves, as they stood in the file, with what was wrong behind them.
    """
    with transaction(merchant_id=caller.merchant_id) as session:
        if format_ == "rows":
            rows = original_rows(session, import_id)
        else:
            errors = kept_errors(session, queries.get_operation(session, import_id).import_)
            session.expunge_all()
    if format_ == "rows":
        return csv_answer(rows.lines(), name=f"import-{import_id}-rows.csv")
    as_json = format_ == "json" or (format_ is None and "application/json" in accept)
    return errors_answer(errors, as_json=as_json, name=f"import-{import_id}-errors.csv")


def _fields(found: Operation) -> dict[str, Any]:
    import_ = found.import_
    own = ("id", "job_id", "source", "currency", "filename", "url", "bytes", "sha256", "format", "encoding")
    more = ("delimiter", "columns", "error_codes", "created_at", "finished_at", "file_removed_at")
    return {
        **{name: getattr(import_, name) for name in (*own, *more)},
        **summary(import_),
        "status": found.status,
        "phase": found.phase,
        "changeset_id": found.changeset.id if found.changeset else None,
        "changeset_state": found.changeset.state if found.changeset else None,
        "progress": found.progress,
        "error": found.error,
        "errors_url": f"{status_url(import_.id)}/errors",
    }
