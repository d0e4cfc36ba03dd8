"""The job ledger: what is to be done, what is being done, what came of it. See docs/jobs.md for the life of a row."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    PrimaryKeyConstraint,
    SmallInteger,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import UserDefinedType

from services.models.base import Base, CreatedAt, Id, MerchantId

ENDED = "('succeeded', 'failed', 'cancelled')"
STATES = "('scheduled', 'queued', 'running', 'waiting', 'succeeded', 'failed', 'cancelled')"


class Xid8(UserDefinedType[int]):
    """Postgres' 64-bit transaction id: the order in which changes become safe to read."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """The type's name in DDL."""
        return "xid8"


class Queue(Base):
    """A Celery queue, and what the relay knows of it. Not a tenant's: operators pause and size it."""

    __tablename__ = "queues"

    name: Mapped[str] = mapped_column(primary_key=True)
    paused_at: Mapped[datetime | None]
    paused_by: Mapped[str | None]
    pause_reason: Mapped[str | None]
    max_running: Mapped[int | None]  # over all merchants; None is no cap
    merchant_cap: Mapped[int | None]  # per merchant, in flight; None is the setting MERCHANT_CAP
    last_merchant_id: Mapped[UUID | None]  # where the round robin goes on
    consumed_at: Mapped[datetime | None]  # when a worker last proved that it takes from the queue


class MerchantCap(Base):
    """How many jobs one merchant may have in flight in one queue, where it differs from the queue's own."""

    __tablename__ = "merchant_caps"
    __table_args__ = (CheckConstraint("max_in_flight >= 0", name="max_in_flight"),)

    merchant_id: Mapped[MerchantId] = mapped_column(primary_key=True)
    queue: Mapped[str] = mapped_column(ForeignKey("queues.name"), primary_key=True)
    max_in_flight: Mapped[int]


class Job(Base):
    """One piece of work and its outcome. The row is the truth; the message at the broker is only a doorbell."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(f"state IN {STATES}", name="state"),
        CheckConstraint(f"(state IN {ENDED}) = (ended_at IS NOT NULL)", name="ended_at"),
        CheckConstraint("(state = 'running') = (lease_until IS NOT NULL)", name="lease_until"),
        CheckConstraint("rung_at IS NULL OR state IN ('queued', 'running')", name="rung_at"),
        CheckConstraint("max_attempts >= 1 AND attempt >= 0", name="attempts"),
        CheckConstraint("priority BETWEEN -100 AND 100", name="priority"),
        Index("jobs_merchant_id_id_idx", "merchant_id", "id"),
        Index("jobs_merchant_id_state_id_idx", "merchant_id", "state", "id"),
        Index("jobs_merchant_id_kind_id_idx", "merchant_id", "kind", "id"),
        Index(
            "jobs_waiting_for_dispatch_idx",
            "queue",
            "merchant_id",
            text("priority DESC"),
            "id",
            postgresql_where=text("state = 'queued' AND rung_at IS NULL"),
        ),
        Index(
            "jobs_in_flight_idx",
            "queue",
            "merchant_id",
            postgresql_where=text("rung_at IS NOT NULL"),
        ),
        Index("jobs_run_at_idx", "run_at", postgresql_where=text("state = 'scheduled'")),
        Index("jobs_waiting_for_children_idx", "id", postgresql_where=text("state = 'waiting'")),
        Index("jobs_parent_id_idx", "parent_id", "state", postgresql_where=text("parent_id IS NOT NULL")),
        Index(
            "jobs_unique_key_idx",
            "merchant_id",
            "kind",
            "unique_key",
            unique=True,
            postgresql_where=text(f"unique_key IS NOT NULL AND state NOT IN {ENDED}"),
        ),
        Index(
            "jobs_schedule_id_fire_at_idx",
            "schedule_id",
            "fire_at",
            unique=True,
            postgresql_where=text("schedule_id IS NOT NULL"),
        ),
        Index(
            "jobs_error_fingerprint_idx",
            "merchant_id",
            "error_fingerprint",
            "id",
            postgresql_where=text("state = 'failed'"),
        ),
        Index("jobs_ended_at_idx", "ended_at", postgresql_where=text("ended_at IS NOT NULL")),
    )

    id: Mapped[Id]
    merchant_id: Mapped[MerchantId]
    kind: Mapped[str]
    queue: Mapped[str]
    args: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(server_default="queued")
    reason: Mapped[str] = mapped_column(server_default="enqueued")  # why it is in this state
    priority: Mapped[int] = mapped_column(SmallInteger, server_default="0")  # higher goes first
    run_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    attempt: Mapped[int] = mapped_column(server_default="0")  # attempts spent
    max_attempts: Mapped[int] = mapped_column(server_default="5")
    claims: Mapped[int] = mapped_column(server_default="0")  # times claimed: the fencing token
    timeout_seconds: Mapped[int | None]  # per attempt; None is no deadline
    unique_key: Mapped[str | None]
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    schedule_id: Mapped[UUID | None]
    fire_at: Mapped[datetime | None]
    request_id: Mapped[str | None]  # the HTTP request at the root of it, carried to children

    rung_at: Mapped[datetime | None]  # a doorbell is out, or was answered
    rings: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    worker: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]

    progress_done: Mapped[int | None] = mapped_column(BigInteger)
    progress_total: Mapped[int | None] = mapped_column(BigInteger)
    progress_note: Mapped[str | None]
    result: Mapped[dict[str, Any] | None]
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    error_fingerprint: Mapped[str | None]

    created_at: Mapped[CreatedAt]
    queued_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]  # of the latest attempt
    ended_at: Mapped[datetime | None]


class JobEvent(Base):
    """One change of a job's state. Written by a trigger, so that no path can forget it."""

    __tablename__ = "job_events"
    __table_args__ = (
        PrimaryKeyConstraint("job_id", "id"),
        Index("job_events_merchant_id_xid_id_idx", "merchant_id", "xid", "id"),
        Index("job_events_xid_id_idx", "xid", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    xid: Mapped[int] = mapped_column(Xid8, server_default=text("pg_current_xact_id()"))
    job_id: Mapped[UUID]  # no foreign key: a check per change would cost more than retention's second DELETE
    merchant_id: Mapped[UUID]
    kind: Mapped[str]
    queue: Mapped[str]
    state: Mapped[str]
    reason: Mapped[str]
    attempt: Mapped[int]
    worker: Mapped[str | None]
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    run_ms: Mapped[int | None] = mapped_column(BigInteger)  # how long the attempt ran, on leaving `running`
    at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))


class JobStat(Base):
    """Ended jobs by minute: how many of a kind took how long. `bucket` is round(20 * ln(milliseconds + 1))."""

    __tablename__ = "job_stats"

    merchant_id: Mapped[UUID] = mapped_column(primary_key=True)
    minute: Mapped[datetime] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    queue: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(primary_key=True)
    bucket: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    jobs: Mapped[int] = mapped_column(BigInteger)


class JobTotal(Base):
    """Ended jobs since the beginning, for counters that only grow."""

    __tablename__ = "job_totals"

    kind: Mapped[str] = mapped_column(primary_key=True)
    queue: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(primary_key=True)
    reason: Mapped[str] = mapped_column(primary_key=True)
    bucket: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    jobs: Mapped[int] = mapped_column(BigInteger)


class StatsPosition(Base):
    """Up to which event the statistics are counted. One row."""

    __tablename__ = "stats_position"
    __table_args__ = (CheckConstraint("one", name="one"),)

    one: Mapped[bool] = mapped_column(primary_key=True, server_default=text("true"))
    xid: Mapped[int] = mapped_column(Xid8)


class Schedule(Base):
    """When a merchant's job runs again. Beat turns due rows into jobs, once per (schedule, fire time)."""

    __tablename__ = "schedules"
    __table_args__ = (
        CheckConstraint("(cron IS NULL) <> (interval_seconds IS NULL)", name="cron_or_interval"),
        CheckConstraint("interval_seconds >= 10", name="interval_seconds"),
        CheckConstraint("misfire IN ('skip', 'once', 'catch_up')", name="misfire"),
        CheckConstraint("overlap IN ('skip', 'queue')", name="overlap"),
        UniqueConstraint("merchant_id", "name"),
        Index("schedules_next_fire_at_idx", "next_fire_at", postgresql_where=text("enabled")),
    )

    id: Mapped[Id]
    merchant_id: Mapped[MerchantId]
    name: Mapped[str]
    kind: Mapped[str]
    args: Mapped[dict[str, Any]] = mapped_column(JSONB)
    cron: Mapped[str | None]
    interval_seconds: Mapped[int | None]
    time_zone: Mapped[str] = mapped_column(server_default="UTC")
    misfire: Mapped[str] = mapped_column(server_default="once")
    overlap: Mapped[str] = mapped_column(server_default="skip")
    enabled: Mapped[bool] = mapped_column(server_default=text("true"))
    next_fire_at: Mapped[datetime]
    last_fire_at: Mapped[datetime | None]
    created_at: Mapped[CreatedAt]


class Process(Base):
    """A relay, beat or worker process that was alive a moment ago."""

    __tablename__ = "processes"

    id: Mapped[str] = mapped_column(primary_key=True)  # host:pid:nonce
    role: Mapped[str]
    queues: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    started_at: Mapped[CreatedAt]
    seen_at: Mapped[CreatedAt]
    lag_seconds: Mapped[float | None]
