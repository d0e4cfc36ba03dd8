"""Sources: where feeds come from, and what they may do."""

from typing import Annotated, Any, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, field_validator
from starlette.responses import Response

from api.deps import CallerDep, EarlyCallerDep, IdempotencyKey, PageDep, SessionDep
from api.work import BadRowsRule
from services.catalog.guards import Thresholds
from services.core.db import transaction
from services.core.paging import ListOut
from services.imports import sources
from services.models import Source

router = APIRouter(prefix="/sources", tags=["sources"])

Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=r"^[^\x00-\x1f]+$"),
    Field(description="As `source` in imports names it. It stays: products are known by it.", examples=["supplier"]),
]
Url = Annotated[
    str,
    Field(
        min_length=1,
        max_length=2048,
        description="The feed's http(s) address on the public internet. User, password and query are kept encrypted.",
    ),
]
Currency = Annotated[str, Field(max_length=10, description="ISO 4217 currency of prices that name none.")]
FieldName = Literal[
    "title", "description", "brand", "category", "tags", "status", "images", "option_names", "sku", "barcode",
    "options", "price", "compare_at_price", "cost", "currency", "stock", "weight_grams", "image_url",
]  # fmt: skip
Fields = Annotated[
    list[FieldName],
    Field(min_length=1, max_length=50, description="Fields of the catalogue its feeds may write; null: all of them."),
]
ColumnMapping = Annotated[
    dict[str, Any],
    Field(description="What its columns mean, as `/bulk/import/preview` proposes it; null: as recognised."),
]
MissingRule = Annotated[
    Literal["leave", "zero_stock", "unpublish", "archive"],
    Field(description="What becomes of products that a feed no longer has."),
]
ApplyRule = Annotated[
    Literal["automatic", "ask", "dry_run"],
    Field(description="Plans are applied when no guard holds them; when a person says so; or are only made."),
]


class SourceIn(BaseModel):
    """A new source."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    name: Name
    url: Url | None = None
    currency: Currency | None = None
    mapping: ColumnMapping | None = None
    fields: Fields | None = None
    missing: MissingRule = "leave"
    bad_rows: BadRowsRule = "skip"
    apply: ApplyRule = "automatic"
    guards: Thresholds = Field(default_factory=Thresholds, description="What is left out has its default.")


class SourcePatch(BaseModel):
    """What to change; what is left out stays. `guards` is replaced as a whole."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    url: Url | None = None
    currency: Currency | None = None
    mapping: ColumnMapping | None = None
    fields: Fields | None = None
    missing: MissingRule | None = None
    bad_rows: BadRowsRule | None = None
    apply: ApplyRule | None = None
    guards: Thresholds | None = None

    @field_validator("missing", "bad_rows", "apply", "guards")
    @classmethod
    def _not_null(cls, value: object) -> object:
        if value is None:
            raise ValueError("may be left out, but not null")
        return value


class SourceOut(BaseModel):
    """A source and its policies."""

    id: UUID
    name: str
    url: str | None = Field(description="Without user, password and query.")
    currency: str | None
    mapping: dict[str, Any] | None
    fields: list[str] | None
    missing: str
    bad_rows: str
    apply: str
    guards: Thresholds = Field(description="All thresholds, with the defaults of those that are not set.")
    created_at: AwareDatetime
    updated_at: AwareDatetime

    @classmethod
    def of(cls, source: Source) -> Self:
        """The row in the words of the API."""
        own = {name: getattr(source, name) for name in cls.model_fields if name != "guards"}
        return cls(**own, guards=sources.thresholds_of(source))


class RunIn(BaseModel):
    """How to run it."""

    model_config = ConfigDict(extra="forbid")

    anew: bool = Field(default=False, description="Import the feed even if it is the same as last time.")


class RunOut(BaseModel):
    """The job that fetches the feed. The import it starts is its child."""

    job_id: UUID


@router.get("")
def list_sources(
    session: SessionDep,
    caller: CallerDep,
    page: PageDep,
    name: Annotated[str | None, Query(max_length=100, description="The one of this name.")] = None,
) -> ListOut[SourceOut]:
    """The merchant's sources, newest first. An import under a new name makes one, with every policy at its default."""
    found = sources.list_sources(session, page, merchant_id=caller.merchant_id, name=name).map(SourceOut.of)
    return ListOut[SourceOut](data=found.data, has_more=found.has_more, next=found.next)


@router.post("", status_code=201, response_model=SourceOut)
def create_source(body: SourceIn, caller: EarlyCallerDep, once: IdempotencyKey) -> Response:
    """Set up where feeds come from and what they may do."""
    _check_address(body.url)
    settings = body.model_dump(exclude={"guards"}) | {"guards": body.guards.model_dump(exclude_unset=True)}
    with transaction(merchant_id=caller.merchant_id, user_id=caller.user.id) as session:

        def make() -> SourceOut:
            return SourceOut.of(sources.create_source(session, merchant_id=caller.merchant_id, **settings))

        return once(session, body, status=201, make=make)


@router.get("/{source_id}")
def get_source(source_id: UUID, session: SessionDep) -> SourceOut:
    """One source."""
    return SourceOut.of(sources.get_source(session, source_id))


@router.patch("/{source_id}")
def update_source(source_id: UUID, body: SourcePatch, caller: EarlyCallerDep) -> SourceOut:
    """Change policies. Plans that are made already stay as they are; the feed is fetched anew next time."""
    changes = body.model_dump(exclude_unset=True)
    if body.guards is not None:
        changes["guards"] = body.guards.model_dump(exclude_unset=True)
    _check_address(body.url)
    with transaction(merchant_id=caller.merchant_id, user_id=caller.user.id) as session:
        return SourceOut.of(sources.update_source(session, source_id, changes))


@router.delete("/{source_id}", status_code=204)
def delete_source(source_id: UUID, session: SessionDep, caller: CallerDep) -> None:
    """Forget a source's settings. Its products, imports and plans stay.

    409 `source_in_use` while a supplier is connected by its name, a schedule fetches it, or one of its feeds is on its
    way.
    """
    sources.delete_source(session, source_id)


@router.post("/{source_id}/run", status_code=202, response_model=RunOut)
def run_source(
    source_id: UUID, session: SessionDep, caller: CallerDep, once: IdempotencyKey, body: RunIn | None = None
) -> Response:
    """Fetch the feed now and import it, unless it is the same as last time.

    409 `source_already_running`, with the `job_id`, while that is being done. To do it regularly, put the kind
    `import_source` with the argument `source_id` on a schedule.
    """
    asked = body or RunIn()

    def make() -> RunOut:
        return RunOut(job_id=sources.run_source(session, source_id, anew=asked.anew))

    return once(session, asked, status=202, make=make)


def _check_address(url: str | None) -> None:
    """Outside of any transaction: it asks the name server."""
    if url is not None:
        from services.imports.fetch import check_address  # brings an HTTP client along

        check_address(url)
