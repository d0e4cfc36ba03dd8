"""Jobs: what is running, why it waits, what came of it; stopping, retrying, watching."""

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from types import FrameType
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Depends, FastAPI, Header, Query, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from api.deps import CallerDep, EarlyCallerDep, IdempotencyKey, PageDep, SessionDep
from api.work import ProgressOut
from services.core.errors import Invalid
from services.core.paging import ListOut
from services.core.settings import get_settings
from services.jobs import control, queries, stats
from services.jobs.events import parse_cursor
from services.jobs.kinds import KINDS, QUEUES
from services.jobs.states import STATES, State
from services.jobs.stream import LIFETIME_SECONDS, Hub, Stream
from services.models import Job, JobEvent

WINDOWS = {"1h": timedelta(hours=1), "24h": timedelta(hours=24), "7d": timedelta(days=7)}

Window = Literal["1h", "24h", "7d"]


class UnknownStatus(Invalid):
    """There is no such status."""


class UnknownKind(Invalid):
    """There is no such kind of job."""


class UnknownQueue(Invalid):
    """There is no such queue."""


class FilterEmpty(Invalid):
    """Say which jobs are meant: at least one filter is needed."""


# -- What is answered ----------------------------------------------------------------------------------------------


class ErrorOut(BaseModel):
    """Why the last attempt failed."""

    code: str
    message: str | None
    fingerprint: str | None = Field(description="The same for all failures of one cause; bulk retry takes it.")


class JobOut(BaseModel):
    """A job at a glance."""

    id: UUID
    kind: str
    queue: str
    status: State
    reason: str = Field(description="Why it is in this status.")
    priority: int
    attempt: int = Field(description="Attempts spent.")
    max_attempts: int
    progress: ProgressOut | None
    error: ErrorOut | None
    parent_id: UUID | None
    schedule_id: UUID | None
    run_at: AwareDatetime = Field(description="Not before.")
    created_at: AwareDatetime
    queued_at: AwareDatetime | None
    started_at: AwareDatetime | None = Field(description="Of the latest attempt.")
    ended_at: AwareDatetime | None
    cancel_requested_at: AwareDatetime | None

    @classmethod
    def of(cls, job: Job, **more: Any) -> Self:
        """The row in the words of the API."""
        progress = error = None
        if job.progress_done is not None:
            progress = ProgressOut(done=job.progress_done, total=job.progress_total, note=job.progress_note)
        if job.error_code is not None:
            error = ErrorOut(code=job.error_code, message=job.error_message, fingerprint=job.error_fingerprint)
        fields = {name: getattr(job, name) for name in cls.model_fields if hasattr(job, name)}
        return cls(**{**fields, "status": job.state, "progress": progress, "error": error, **more})


class EventOut(BaseModel):
    """One line of a job's timeline."""

    status: State
    reason: str
    attempt: int
    error: ErrorOut | None
    run_ms: int | None = Field(description="How long the attempt ran, when this ended it.")
    at: AwareDatetime

    @classmethod
    def of(cls, event: JobEvent) -> Self:
        """The row in the words of the API."""
        error = None
        if event.error_code is not None:
            error = ErrorOut(code=event.error_code, message=event.error_message, fingerprint=None)
        return cls(
            status=event.state, reason=event.reason, attempt=event.attempt, error=error, run_ms=event.run_ms,
            at=event.at,
        )  # fmt: skip


class WaitingOut(BaseModel):
    """Why a job is not running yet."""

    model_config = ConfigDict(from_attributes=True)

    code: str = Field(description="due_later, retry, children, queue_paused, no_worker, next, merchant_cap, behind, …")
    detail: str
    estimated_start: AwareDatetime | None


class JobDetailOut(JobOut):
    """A job, with all there is to know about it."""

    args: dict[str, Any]
    result: dict[str, Any] | None
    timeout_seconds: int | None = Field(description="How long one attempt may take.")
    fire_at: AwareDatetime | None = Field(description="The schedule's fire time it stands for.")
    request_id: str | None = Field(description="The request at the root of it.")
    waiting: WaitingOut | None = Field(description="Null when it runs or has ended.")
    children: dict[State, int] = Field(description="Child jobs by status.")
    timeline: list[EventOut]


class BulkOut(BaseModel):
    """What a bulk action concerned. At most 10,000 are changed at once: repeat it while `left` is not 0."""

    matched: int
    changed: int = Field(description="Children of cancelled jobs included.")
    left: int
    dry_run: bool


class DurationsOut(BaseModel):
    """Jobs that ended within the window, and how long their last attempts ran: percentiles in milliseconds."""

    ended: dict[State, int]
    p50_ms: float | None
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None

    @classmethod
    def of(cls, row: stats.KindSummary, **more: Any) -> Self:
        """The sums in the words of the API."""
        shares = {f"p{percent}_ms": row.percentile(percent / 100) for percent in (50, 90, 95, 99)}
        return cls(ended=dict(row.ended), **shares, **more)


class QueueStatsOut(DurationsOut):
    """Of one queue."""

    queue: str


class KindStatsOut(QueueStatsOut):
    """Of one kind of job."""

    kind: str


class SummaryOut(BaseModel):
    """What is going on, and what ended within the window. Ended jobs are counted within seconds."""

    window: Window
    counts: dict[State, int] = Field(description="Jobs by status: active ones now, ended ones within the window.")
    queues: list[QueueStatsOut]
    kinds: list[KindStatsOut]


class ErrorGroupOut(BaseModel):
    """Failed jobs of one cause."""

    model_config = ConfigDict(from_attributes=True)

    fingerprint: str
    code: str
    kinds: list[str]
    jobs: int
    sample_message: str | None
    sample_job_id: UUID
    first_seen: AwareDatetime
    last_seen: AwareDatetime


class ErrorGroupsOut(BaseModel):
    """The causes of failure, most jobs first, a hundred at most."""

    data: list[ErrorGroupOut]


# -- What is asked -------------------------------------------------------------------------------------------------


class JobFilterIn(BaseModel):
    """Which jobs are meant."""

    model_config = ConfigDict(extra="forbid")

    status: list[str] = []
    kind: list[str] = []
    queue: list[str] = []
    parent_id: UUID | None = None
    error_fingerprint: str | None = Field(default=None, max_length=200, description="Failed jobs of one cause.")
    created_after: AwareDatetime | None = Field(default=None, description="At or after.")
    created_before: AwareDatetime | None = None


class BulkIn(JobFilterIn):
    """Which jobs are meant, and whether to count them only."""

    dry_run: bool = False

    @model_validator(mode="before")
    @classmethod
    def _single_values(cls, data: Any) -> Any:
        """`"status": "failed"` is as good as a list of one."""
        if isinstance(data, dict):
            lists = ("status", "kind", "queue")
            return {key: [value] if key in lists and isinstance(value, str) else value for key, value in data.items()}
        return data


def _filter(  # noqa: PLR0917  # FastAPI calls it by name
    status: Annotated[list[str] | None, Query(description=f"Any of {', '.join(STATES)}.")] = None,
    kind: Annotated[list[str] | None, Query()] = None,
    queue: Annotated[list[str] | None, Query(description=f"Any of {', '.join(QUEUES)}.")] = None,
    parent_id: UUID | None = None,
    error_fingerprint: Annotated[str | None, Query(max_length=200, description="Failed jobs of one cause.")] = None,
    created_after: Annotated[AwareDatetime | None, Query(description="At or after.")] = None,
    created_before: AwareDatetime | None = None,
) -> queries.JobFilter:
    return _understood(
        JobFilterIn(
            status=status or [], kind=kind or [], queue=queue or [], parent_id=parent_id,
            error_fingerprint=error_fingerprint, created_after=created_after, created_before=created_before,
        )
    )  # fmt: skip


def _understood(asked: JobFilterIn) -> queries.JobFilter:
    """The filter, with words that exist. Raises UnknownStatus, UnknownKind, UnknownQueue."""
    _known(asked.status, STATES, UnknownStatus, "status")
    _known(asked.kind, sorted(KINDS), UnknownKind, "kind")
    _known(asked.queue, QUEUES, UnknownQueue, "queue")
    return queries.JobFilter(
        states=tuple(asked.status), kinds=tuple(asked.kind), queues=tuple(asked.queue), parent_id=asked.parent_id,
        error_fingerprint=asked.error_fingerprint, created_after=asked.created_after,
        created_before=asked.created_before,
    )  # fmt: skip


def _known(given: list[str], known: Sequence[str], error: type[Invalid], param: str) -> None:
    for word in given:
        if word not in known:
            raise error(f"There is no {param} {word!r}; there are {', '.join(known)}.", param=param)


# -- Live updates --------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _streaming(app: FastAPI) -> AsyncIterator[None]:
    """One hub for the process; its streams end at SIGTERM and SIGINT, for a server that waits for open answers."""
    hub = app.state.job_hub = Hub(get_settings())
    taken: dict[int, Any] = {}

    def ended(number: int, frame: FrameType | None) -> None:
        hub.end()
        taken[number](number, frame)

    if threading.current_thread() is threading.main_thread():
        taken = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        taken = {number: handler for number, handler in taken.items() if callable(handler)}
        for number in taken:
            signal.signal(number, ended)
    try:
        yield
    finally:
        for number, handler in taken.items():
            if signal.getsignal(number) is ended:
                signal.signal(number, handler)
        await asyncio.to_thread(hub.close)


router = APIRouter(prefix="/jobs", tags=["jobs"], lifespan=_streaming)

FilterDep = Annotated[queries.JobFilter, Depends(_filter)]
LastEventId = Annotated[
    str | None, Header(alias="Last-Event-ID", description="The last id you saw: what came after it is told first.")
]


class EventStream(StreamingResponse):
    """A stream on its way out. Whatever happens to the connection, nobody is listened for afterwards.

    Not FastAPI's EventSourceResponse: its generators can no longer say 404 or 204, and it encodes per listener.
    """

    media_type = "text/event-stream"

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream.chunks(), headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._stream.close()


async def _open(request: Request, caller: EarlyCallerDep, job_id: UUID | None, last_event_id: str | None) -> Response:
    hub: Hub = request.app.state.job_hub
    stream = await hub.open(
        merchant_id=caller.merchant_id,
        job_id=job_id,
        last=parse_cursor(last_event_id) if last_event_id else None,
        describe=lambda job: JobOut.of(job).model_dump_json(),
        lifetime=min(LIFETIME_SECONDS, float(caller.user.claims["exp"]) - time.time()),
    )
    if stream.empty:
        stream.close()
        return Response(status_code=204)  # tells an EventSource not to come back
    return EventStream(stream)


_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events: `state` (a change, with an id), `progress` (without), `dropped` (you are "
        "too slow: connect again). See docs/jobs.md.",
        "content": {"text/event-stream": {}},
    }
}


@router.get("/events", response_class=StreamingResponse, responses=_STREAM)
async def watch_jobs(request: Request, caller: EarlyCallerDep, last_event_id: LastEventId = None) -> Response:
    """All the merchant's jobs, live. Begins with `ready`, whose id is where you are."""
    return await _open(request, caller, None, last_event_id)


@router.get(
    "/{job_id}/events",
    response_class=StreamingResponse,
    responses={**_STREAM, 204: {"description": "It has ended, and you know it."}},
)
async def watch_job(
    job_id: UUID, request: Request, caller: EarlyCallerDep, last_event_id: LastEventId = None
) -> Response:
    """One job, live. Begins with a `snapshot` (the job as in the list) and ends after the final `state`."""
    return await _open(request, caller, job_id, last_event_id)


# -- Looking -------------------------------------------------------------------------------------------------------


@router.get("")
def list_jobs(session: SessionDep, caller: CallerDep, matching: FilterDep, page: PageDep) -> ListOut[JobOut]:
    """Jobs, newest first."""
    found = queries.list_jobs(session, matching, page, merchant_id=caller.merchant_id).map(JobOut.of)
    return ListOut[JobOut](data=found.data, has_more=found.has_more, next=found.next)


@router.get("/stats/summary")
def get_summary(
    session: SessionDep,
    caller: CallerDep,
    window: Window = "24h",
    kind: Annotated[list[str] | None, Query()] = None,
    queue: Annotated[list[str] | None, Query()] = None,
) -> SummaryOut:
    """How many jobs there are in each status, and how long they took, by queue and by kind."""
    matching = _understood(JobFilterIn(kind=kind or [], queue=queue or []))
    counts, kinds = stats.summary(
        session,
        merchant_id=caller.merchant_id,
        window=WINDOWS[window],
        kinds=matching.kinds,
        queues=matching.queues,
    )
    queues = stats.by_queue(kinds)
    for row in queues:
        for state, jobs in row.ended.items():
            counts[state] = counts.get(state, 0) + jobs
    return SummaryOut(
        window=window,
        counts={state: counts.get(state, 0) for state in STATES},
        queues=[QueueStatsOut.of(row, queue=row.queue) for row in queues],
        kinds=[KindStatsOut.of(row, queue=row.queue, kind=row.kind) for row in kinds],
    )


@router.get("/errors")
def list_errors(session: SessionDep, caller: CallerDep, window: Window = "7d") -> ErrorGroupsOut:
    """What jobs created within the window failed of, by cause."""
    groups = queries.error_groups(session, merchant_id=caller.merchant_id, window=WINDOWS[window])
    return ErrorGroupsOut(data=[ErrorGroupOut.model_validate(group) for group in groups])


@router.get("/{job_id}")
def get_job(job_id: UUID, session: SessionDep) -> JobDetailOut:
    """One job, with its timeline and, while it waits, the reason."""
    return _detail(session, queries.get_job(session, job_id))


def _detail(session: SessionDep, job: Job) -> JobDetailOut:
    waiting = queries.why_waiting(session, job)
    return JobDetailOut.of(
        job,
        waiting=None if waiting is None else WaitingOut.model_validate(waiting),
        children=queries.children_counts(session, job.id),
        timeline=[EventOut.of(event) for event in queries.timeline(session, job.id)],
    )


# -- Acting --------------------------------------------------------------------------------------------------------


@router.post("/bulk/cancel", response_model=BulkOut)
def bulk_cancel(body: BulkIn, session: SessionDep, caller: CallerDep, once: IdempotencyKey) -> Response:
    """Cancel all jobs that match and have not ended, with their children."""
    return once(session, body, status=200, make=lambda: _bulk(control.bulk_cancel, session, body))


@router.post("/bulk/retry", response_model=BulkOut)
def bulk_retry(body: BulkIn, session: SessionDep, caller: CallerDep, once: IdempotencyKey) -> Response:
    """Queue again all failed and cancelled jobs that match."""
    return once(session, body, status=200, make=lambda: _bulk(control.bulk_retry, session, body))


def _bulk(act: Any, session: SessionDep, body: BulkIn) -> BulkOut:
    matching = _understood(body)
    if matching == queries.JobFilter():
        raise FilterEmpty
    done = act(session, matching, dry_run=body.dry_run)
    # Where nothing could be changed, repeating it would not help.
    left = max(0, done["matched"] - control.BULK_LIMIT) if done["changed"] else 0
    return BulkOut(**done, left=done["matched"] if body.dry_run else left)


@router.post("/{job_id}/cancel", response_model=JobDetailOut)
def cancel_job(job_id: UUID, session: SessionDep, caller: CallerDep, once: IdempotencyKey) -> Response:
    """Cancel a job and its children: at once while it waits, at its next checkpoint when it runs.

    409 with its `state` when it has ended.
    """
    return once(session, {}, status=200, make=lambda: _detail(session, control.cancel_job(session, job_id)))


@router.post("/{job_id}/retry", response_model=JobDetailOut)
def retry_job(job_id: UUID, session: SessionDep, caller: CallerDep, once: IdempotencyKey) -> Response:
    """Queue a failed or cancelled job again, with all its attempts. A parent repeats the children that did not succeed.

    409 with its `state` when there is nothing to retry, or when another job holds its unique key.
    """
    return once(session, {}, status=200, make=lambda: _detail(session, control.retry_job(session, job_id)))
