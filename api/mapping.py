"""Mappings: what the columns of a file seem to be, and what would come of it, before anything is imported."""

import tempfile
from contextlib import ExitStack
from typing import Annotated, Any, BinaryIO
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from api.deps import EarlyCallerDep
from api.offers import Body, Offer
from services.core.db import transaction
from services.core.errors import Invalid, NotFound
from services.imports import mappings, queries
from services.imports.receive import known_currency
from services.storage import get_storage

router = APIRouter(prefix="/bulk", tags=["bulk"])

FETCH_SECONDS = 20.0


class NothingToPreview(Invalid):
    """Send the feed as multipart/form-data with a part named `file`, or as application/json with an `import_id` or a
    `url`."""


class NotFetchedYet(NotFound):
    """The file of this import has not been fetched yet, or is gone."""


class PreviewFields(BaseModel):
    """What can be said about a file, beside the file itself."""

    model_config = ConfigDict(extra="forbid")

    currency: str | None = Field(default=None, description="ISO 4217 currency of prices that name none.")
    mapping: dict[str, Any] | None = Field(default=None, description="How the columns are meant: docs/feeds.md.")


class PreviewIn(PreviewFields):
    """The file of an import, or one at an address."""

    import_id: UUID | None = None
    url: str | None = Field(default=None, min_length=1, max_length=2048)


class ColumnOut(BaseModel):
    """A column, and what it seems to be."""

    model_config = ConfigDict(from_attributes=True)

    header: str
    samples: list[str]
    field: str | None
    confidence: float = Field(description="From 0 to 1.")
    why: str


class RefusedOut(BaseModel):
    """Why the file cannot be imported without a mapping."""

    model_config = ConfigDict(from_attributes=True)

    code: str
    reason: str


class PreviewOut(BaseModel):
    """What a file would become."""

    format: str | None
    encoding: str | None
    delimiter: str | None
    sheet: str | None
    columns: list[ColumnOut]
    mapping: dict[str, Any] = Field(description="The one given, or the one proposed; it can be kept with the source.")
    drafts: list[dict[str, Any]] = Field(description="The first 20 products and variants.")
    errors: list[dict[str, Any]] = Field(description="The first 20 rows or cells that cannot be used.")
    refused: RefusedOut | None = Field(description="Why an import without a mapping would be refused.")


_FEED = Body(PreviewFields, PreviewIn, neither=NothingToPreview, json_fields=("mapping",))


@router.post("/preview", openapi_extra=_FEED.described)
def preview(
    caller: EarlyCallerDep, offer: Annotated[Offer[PreviewFields], Depends(_FEED, scope="function")]
) -> PreviewOut:
    """What a file would become, with a mapping or without: nothing is stored and nothing changed."""
    currency = known_currency(offer.fields.currency)
    with ExitStack() as opened:
        file = offer.file if offer.file is not None else _file(opened, offer.fields, caller.merchant_id)
        found = mappings.preview(file, currency=currency, given=offer.fields.mapping)
    return PreviewOut(
        format=found.format,
        encoding=found.encoding,
        delimiter=found.delimiter,
        sheet=found.sheet or None,
        columns=[ColumnOut.model_validate(column) for column in found.columns],
        mapping=found.mapping,
        drafts=[draft._asdict() for draft in found.drafts],
        errors=[error._asdict() for error in found.errors],
        refused=RefusedOut.model_validate(found.refused) if found.refused else None,
    )


def _file(opened: ExitStack, fields: PreviewFields, merchant_id: UUID) -> BinaryIO:
    """The file that is named: the stored one of an import, or the one at an address."""
    if isinstance(fields, PreviewIn) and fields.import_id is not None and fields.url is None:
        with transaction(merchant_id=merchant_id) as session:
            key = queries.get_operation(session, fields.import_id).import_.storage_key
        if key is None:
            raise NotFetchedYet
        return opened.enter_context(get_storage().open(key, merchant_id=merchant_id))
    if isinstance(fields, PreviewIn) and fields.url is not None and fields.import_id is None:
        from services.core import http  # brings an HTTP client along, which files do not need

        file = opened.enter_context(tempfile.TemporaryFile(prefix="shopopti-"))  # noqa: SIM115
        http.download(fields.url, into=file, max_bytes=mappings.LARGEST, deadline_seconds=FETCH_SECONDS)
        return file
    raise NothingToPreview(param="url")
