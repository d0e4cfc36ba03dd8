"""Syncs with suppliers: now, on a schedule, and what came of them."""

from typing import Annotated, Any, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.responses import Response

from api.deps import CallerDep, IdempotencyKey, PageDep, SessionDep
from api.schedules import (
    CronExpression,
    Fires,
    Interval,
    MisfireRule,
    Name,
    OverlapRule,
    RunOut,
    ScheduleOut,
    TimeZone,
)
from api.supplier_status import LastRunOut
from services.core.paging import ListOut
from services.sourcing.jobs import MOST_NAMED
from services.sourcing.syncs import asking, runs
from services.sourcing.syncs.runs import Remembered

router = APIRouter(prefix="/sync", tags=["sync"])
of_supplier = APIRouter(prefix="/suppliers", tags=["suppliers"])

Kind = Literal["products", "stock"]
Prices = Annotated[bool, Field(description="With `stock`: prices too, where the supplier has them apart.")]


class SyncIn(BaseModel):
    """What to sync."""

    model_config = ConfigDict(extra="forbid")

    kind: Kind = Field(default="products", description="Everything, or stock alone, where that is cheaper.")
    only: (
        Annotated[
            list[Annotated[str, Field(min_length=1, max_length=100)]],
            Field(min_length=1, max_length=MOST_NAMED, description="Products by the supplier's ids; new ones too."),
        ]
        | None
    ) = None
    accept_gone: bool = Field(default=False, description="Believe it even if most of what was offered is gone.")
    prices: Prices = True

    @model_validator(mode="after")
    def _of_its_kind(self) -> Self:
        if self.kind == "stock" and (self.only is not None or self.accept_gone):
            raise ValueError("`only` and `accept_gone` are of `products`; a run over stock is over all of it")
        if self.kind == "products" and not self.prices:
            raise ValueError("`prices` is of `stock`; `products` brings everything")
        return self


class TriggerIn(SyncIn):
    """Which connection to sync, and what of it."""

    connection_id: UUID


class SyncScheduleIn(BaseModel):
    """When to sync a connection. It has either `cron` or `interval_seconds`."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    connection_id: UUID
    kind: Literal["products", "stock", "fresh"] = Field(
        default="products", description="`fresh`: look each time what is due, and what the quotas allow."
    )
    name: Name | None = None
    cron: CronExpression | None = None
    interval_seconds: Interval | None = None
    time_zone: TimeZone = "UTC"
    misfire: MisfireRule = "once"
    overlap: OverlapRule = "skip"
    enabled: bool = True
    args: dict[str, Any] = Field(
        default_factory=dict,
        description="`prices` (stock, fresh); `stock_every`, `products_every` in seconds (fresh).",
        examples=[{"prices": False}],
    )


class SyncRunOut(LastRunOut):
    """A run over a supplier's offers, and what came of it."""

    connection_id: UUID
    pages: int = Field(description="Batches that were stored.")
    counts: dict[str, Any] = Field(description="Offers and variants new, changed, gone; problems by code, with some.")
    import_id: UUID | None = Field(description="The import its drafts belong to.")
    links: dict[str, Any] = Field(description="`job`, `connection`, and `changesets`: its plans.")

    @classmethod
    def of(cls, found: Remembered) -> Self:
        """The run in the words of the API."""
        own = LastRunOut.of(found).model_dump()
        sync = found.sync
        counts = {name: value for name, value in sync.counts.items() if name != "seen"}
        return cls(
            **own, connection_id=sync.connection_id, pages=sync.pages, counts=counts, import_id=sync.import_id,
            links={
                "job": f"/api/v1/jobs/{sync.job_id}",
                "connection": f"/api/v1/suppliers/{sync.connection_id}",
                "changesets": [f"/api/v1/changesets/{plan.id}" for plan in found.changesets],
            },
        )  # fmt: skip


@router.post("/trigger", status_code=202, response_model=RunOut)
def trigger(body: TriggerIn, session: SessionDep, caller: CallerDep, once: IdempotencyKey) -> Response:
    """Sync a connection now. 409 `sync_already_active`, with the `job_id`, while it is being done."""

    def make() -> RunOut:
        return RunOut(job_id=asking.ask(session, **body.model_dump()))

    return once(session, body, status=202, make=make)


@of_supplier.post("/{connection_id}/sync", status_code=202, response_model=RunOut)
def sync_supplier(
    connection_id: UUID, session: SessionDep, caller: CallerDep, once: IdempotencyKey, body: SyncIn | None = None
) -> Response:
    """Sync a connection now. 409 `sync_already_active`, with the `job_id`, while it is being done."""
    asked = body or SyncIn()

    def make() -> RunOut:
        return RunOut(job_id=asking.ask(session, connection_id, **asked.model_dump()))

    return once(session, asked, status=202, make=make)


@router.post("/schedule", status_code=201, response_model=ScheduleOut)
def create_schedule(
    body: SyncScheduleIn, session: SessionDep, caller: CallerDep, once: IdempotencyKey, fires: Fires = 5
) -> Response:
    """Sync a connection regularly, say at 02:00 on the clock of Europe/Madrid. `/schedules` changes and deletes it."""

    def make() -> ScheduleOut:
        return ScheduleOut.of(asking.schedule(session, **body.model_dump()), fires=fires)

    return once(session, body, status=201, make=make)


@router.get("/schedules")
def list_schedules(
    session: SessionDep,
    caller: CallerDep,
    page: PageDep,
    connection_id: Annotated[UUID | None, Query(description="Of this connection.")] = None,
    fires: Fires = 3,
) -> ListOut[ScheduleOut]:
    """The schedules of syncs, newest first."""
    found = asking.list_schedules(session, page, merchant_id=caller.merchant_id, connection_id=connection_id)
    shown = found.map(lambda schedule: ScheduleOut.of(schedule, fires=fires))
    return ListOut[ScheduleOut](data=shown.data, has_more=shown.has_more, next=shown.next)


@router.get("/history")
def list_history(
    session: SessionDep,
    caller: CallerDep,
    page: PageDep,
    connection_id: Annotated[UUID | None, Query(description="Of this connection.")] = None,
    kind: Annotated[Kind | None, Query(description="Of this kind.")] = None,
) -> ListOut[SyncRunOut]:
    """What syncs found and planned, newest first."""
    found = runs.list_runs(session, page, merchant_id=caller.merchant_id, connection_id=connection_id, kind=kind)
    shown = found.map(SyncRunOut.of)
    return ListOut[SyncRunOut](data=shown.data, has_more=shown.has_more, next=shown.next)
