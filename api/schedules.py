"""Schedules: jobs that come again, by cron expression or interval, in the merchant's time zone."""

from typing import Annotated, Any, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator
from starlette.responses import Response

from api.deps import CallerDep, IdempotencyKey, PageDep, SessionDep
from services.core.paging import ListOut
from services.jobs import schedules
from services.jobs.schedules import MIN_INTERVAL
from services.models import Schedule

router = APIRouter(prefix="/schedules", tags=["schedules"])

Name = Annotated[str, Field(min_length=1, max_length=200, examples=["Nightly stock"])]
CronExpression = Annotated[
    str,
    Field(
        max_length=200,
        description="Minute, hour, day of month, month, day of week, on the clock of `time_zone`.",
        examples=["30 2 * * *"],
    ),
]
Interval = Annotated[int, Field(ge=MIN_INTERVAL, le=366 * 86_400, description="Seconds of elapsed time.")]
TimeZone = Annotated[str, Field(max_length=100, examples=["Europe/Madrid"])]
MisfireRule = Annotated[
    Literal["skip", "once", "catch_up"],
    Field(description="Fires missed by more than a minute: dropped, made up for by one run, or all run."),
]
OverlapRule = Annotated[
    Literal["skip", "queue"],
    Field(description="While the previous job has not ended: leave this fire out (a cancelled job records it), or not"),
]


class ScheduleIn(BaseModel):
    """A new schedule. It has either `cron` or `interval_seconds`."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    name: Name
    kind: str = Field(max_length=200)
    args: dict[str, Any] = {}
    cron: CronExpression | None = None
    interval_seconds: Interval | None = None
    time_zone: TimeZone = "UTC"
    misfire: MisfireRule = "once"
    overlap: OverlapRule = "skip"
    enabled: bool = True


class SchedulePatch(BaseModel):
    """What to change; what is left out stays. The kind stays in any case."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    name: Name | None = None
    args: dict[str, Any] | None = None
    cron: CronExpression | None = None
    interval_seconds: Interval | None = None
    time_zone: TimeZone | None = None
    misfire: MisfireRule | None = None
    overlap: OverlapRule | None = None
    enabled: bool | None = None

    @field_validator("name", "args", "time_zone", "misfire", "overlap", "enabled")
    @classmethod
    def _not_null(cls, value: object) -> object:
        if value is None:
            raise ValueError("may be left out, but not null")
        return value


class ScheduleOut(BaseModel):
    """A schedule, and when it fires next, on its own clock."""

    id: UUID
    name: str
    kind: str
    args: dict[str, Any]
    cron: str | None
    interval_seconds: int | None
    time_zone: str
    misfire: str
    overlap: str
    enabled: bool
    problem: str | None = Field(description="Why it cannot fire, when it cannot.")
    next_fires: list[AwareDatetime] = Field(description="Empty while it is disabled.")
    last_fire_at: AwareDatetime | None
    created_at: AwareDatetime

    @classmethod
    def of(cls, schedule: Schedule, *, fires: int) -> Self:
        """The row in the words of the API."""
        fields = {name: getattr(schedule, name) for name in cls.model_fields if hasattr(schedule, name)}
        return cls(**fields, problem=schedules.problem(schedule), next_fires=schedules.upcoming(schedule, fires))


class RunOut(BaseModel):
    """The job that was made."""

    job_id: UUID


Fires = Annotated[int, Query(ge=1, le=100, description="How many of the next fire times to tell.")]
FiresOfEach = Annotated[int, Query(ge=1, le=5, description="How many of the next fire times of each to tell.")]


@router.get("")
def list_schedules(session: SessionDep, page: PageDep, fires: FiresOfEach = 3) -> ListOut[ScheduleOut]:
    """Schedules, newest first."""
    found = schedules.list_schedules(session, page).map(lambda schedule: ScheduleOut.of(schedule, fires=fires))
    return ListOut[ScheduleOut](data=found.data, has_more=found.has_more, next=found.next)


@router.post("", status_code=201, response_model=ScheduleOut)
def create_schedule(
    body: ScheduleIn, session: SessionDep, caller: CallerDep, once: IdempotencyKey, fires: Fires = 5
) -> Response:
    """Put a kind of job on a schedule."""

    def make() -> ScheduleOut:
        made = schedules.create_schedule(session, merchant_id=caller.merchant_id, **body.model_dump())
        return ScheduleOut.of(made, fires=fires)

    return once(session, body, status=201, make=make)


@router.get("/{schedule_id}")
def get_schedule(schedule_id: UUID, session: SessionDep, fires: Fires = 5) -> ScheduleOut:
    """One schedule."""
    return ScheduleOut.of(schedules.get_schedule(session, schedule_id), fires=fires)


@router.patch("/{schedule_id}")
def update_schedule(
    schedule_id: UUID, body: SchedulePatch, session: SessionDep, caller: CallerDep, fires: Fires = 5
) -> ScheduleOut:
    """Change a schedule. A new rhythm, or enabling it again, counts from now: nothing before it was missed."""
    changed = schedules.update_schedule(session, schedule_id, body.model_dump(exclude_unset=True))
    return ScheduleOut.of(changed, fires=fires)


@router.delete("/{schedule_id}", status_code=204)
def delete_schedule(schedule_id: UUID, session: SessionDep, caller: CallerDep) -> None:
    """Forget a schedule. Its jobs stay."""
    schedules.delete_schedule(session, schedule_id)


@router.post("/{schedule_id}/run-now", status_code=202, response_model=RunOut)
def run_now(schedule_id: UUID, session: SessionDep, caller: CallerDep, once: IdempotencyKey) -> Response:
    """Run it once now, beside its rhythm. 409 with the `job_id` while one runs that it may not overlap."""
    return once(session, {}, status=202, make=lambda: RunOut(job_id=schedules.run_now(session, schedule_id)))
