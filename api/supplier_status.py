"""How a connection to a supplier does, in the words of the API."""

from dataclasses import asdict
from typing import Literal, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field

from services.sourcing.quotas.breaker import Health
from services.sourcing.syncs.runs import Remembered
from services.sourcing.syncs.status import Status

State = Literal["active", "reconnect_needed", "disconnected"]


class BreakerOut(BaseModel):
    """While a supplier is down it is left alone, and jobs wait without using attempts."""

    state: Literal["closed", "open", "probing"] = Field(description="open: left alone; probing: one job tries.")
    failures: int = Field(description="In a row.")
    opened_at: AwareDatetime | None = Field(description="Since when it has been left alone.")
    retry_at: AwareDatetime | None = Field(description="When a job may try next.")


class QuotaOut(BaseModel):
    """What is left of the calls to an endpoint."""

    endpoint: str
    limit: int = Field(description="Calls in any `seconds`.")
    seconds: float
    left: int
    resets_at: AwareDatetime | None = Field(description="When all are to be had again; null: they are now.")


class FreshnessOut(BaseModel):
    """How old something is, and how old it becomes at most if the connection is kept fresh."""

    what: Literal["products", "prices", "stock"]
    as_of: AwareDatetime | None = Field(description="When the last complete run that brought it began.")
    within_seconds: float = Field(description="It need never be older: what its quotas allow, and what is asked for.")


class NextRunOut(BaseModel):
    """What comes next of a connection that a schedule keeps fresh."""

    kind: Literal["products", "stock"]
    at: AwareDatetime


class LastRunOut(BaseModel):
    """A run over the supplier's offers."""

    id: UUID
    job_id: UUID
    kind: Literal["products", "stock"]
    mode: Literal["full", "delta"]
    state: Literal["running", "succeeded", "failed", "cancelled"]
    waits_for: str | None = Field(description="Why its job waits, while it does.")
    items: int
    problems: int
    changeset_ids: list[UUID] = Field(description="The plans it made.")
    error_code: str | None
    error: str | None
    started_at: AwareDatetime
    finished_at: AwareDatetime | None

    @classmethod
    def of(cls, found: Remembered) -> Self:
        """The run in the words of the API."""
        read = ("id", "job_id", "kind", "mode", "items", "problems", "error_code", "error", "started_at", "finished_at")
        own = {name: getattr(found.sync, name) for name in read}
        plans = [plan.id for plan in found.changesets]
        return cls(**own, state=found.state, waits_for=found.waits_for, changeset_ids=plans)


class StatusOut(BaseModel):
    """How a connection does."""

    id: UUID
    supplier: str
    name: str
    sandbox: bool
    state: State
    problem: str | None
    health: Literal["ok", "failing", "down", "reconnect_needed", "disconnected"]
    breaker: BreakerOut
    quota: list[QuotaOut] | None = Field(description="null: nothing is counted, or it cannot be known at the moment.")
    freshness: list[FreshnessOut] | None = Field(description="null: it cannot be known at the moment, or never again.")
    next_run: NextRunOut | None = Field(description="null: no schedule of the kind `keep_supplier_fresh` has any.")
    last_runs: list[LastRunOut] = Field(description="Newest first.")

    @classmethod
    def of(cls, found: Status) -> Self:
        """The status in the words of the API."""
        row, breaker, ahead = found.row, found.breaker, found.outlook
        next_run = None
        if ahead is not None and ahead.next_kind is not None and ahead.next_at is not None:
            next_run = NextRunOut(kind=ahead.next_kind, at=ahead.next_at)
        return cls(
            **{name: getattr(row, name) for name in ("id", "supplier", "name", "sandbox", "state", "problem")},
            health=_health(row.state, breaker),
            breaker=BreakerOut(**asdict(breaker)),
            quota=None if found.quota is None else [QuotaOut(**asdict(left)) for left in found.quota],
            freshness=None if ahead is None else [FreshnessOut(**asdict(one)) for one in ahead.freshness],
            next_run=next_run,
            last_runs=[LastRunOut.of(run) for run in found.runs],
        )


def _health(state: str, breaker: Health) -> str:
    if state != "active":
        return state
    if breaker.state != "closed":
        return "down"
    return "failing" if breaker.failures else "ok"
