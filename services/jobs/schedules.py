"""Schedules: when a merchant's job runs again, and turning due schedules into jobs once per fire time.

A cron expression names times on the merchant's wall clock; docs/jobs.md tells merchants what that means on the two days
a year when the clock is moved, `Cron.after` says it in code. An interval counts elapsed time and knows no such days.
"""

import contextlib
import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache, lru_cache
from typing import Any, Literal, Protocol
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError
from pydantic import ValidationError
from sqlalchemy import ARRAY, Uuid, all_, func, literal, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.orm import Session

from services.core.clock import now
from services.core.errors import Conflict, Invalid, NotFound, ShopOptiError
from services.core.ids import new_id
from services.core.paging import Page, Slice, paginate
from services.jobs.enqueue import enqueue, enqueue_many
from services.jobs.kinds import KINDS, Job
from services.models import Schedule

GRACE = timedelta(seconds=60)  # a fire that comes later than this was missed, and the misfire rule decides
CATCH_UP = 100  # fires of one schedule in one tick; the rest of a long absence follows in the next ones
PAGE = 100  # schedules in one tick
MIN_INTERVAL = 10

Misfire = Literal["skip", "once", "catch_up"]
Overlap = Literal["skip", "queue"]

logger = logging.getLogger(__name__)


class ScheduleNotFound(NotFound):
    """There is no such schedule."""


class ScheduleNameTaken(Conflict):
    """There is already a schedule with this name."""


class ScheduleStillRunning(Conflict):
    """The previous job of this schedule has not ended, and its overlap rule is `skip`."""


class CronInvalid(Invalid):
    """A cron expression has five fields: minute, hour, day of month, month, day of week."""


class TimeZoneUnknown(Invalid):
    """There is no such time zone; give an IANA name like Europe/Madrid."""


class RhythmUnclear(Invalid):
    """A schedule has either a cron expression or an interval."""


class KindNotSchedulable(Invalid):
    """This kind of job cannot be put on a schedule."""


class ScheduledArgumentsInvalid(Invalid):
    """The arguments do not fit this kind of job."""


# -- When ----------------------------------------------------------------------------------------------------------


class Rhythm(Protocol):
    """A row of instants without an end."""

    def after(self, moment: datetime) -> datetime:
        """The first fire time later than `moment`."""
        ...


@dataclass(frozen=True, slots=True)
class Every:
    """Every so many seconds, counted from an anchor. Elapsed time: clocks that are moved do not matter."""

    seconds: int
    anchor: datetime

    def after(self, moment: datetime) -> datetime:
        """The first fire time later than `moment`."""
        step = timedelta(seconds=self.seconds)
        return self.anchor + ((moment - self.anchor) // step + 1) * step


@dataclass(frozen=True, slots=True)
class Cron:
    """Times on a wall clock.

    - A time that does not exist (the clock is put forward) fires once, the moment the clock goes on; several of them
      still fire once. A pattern of every hour has nothing to make up for when the clock jumps by whole hours: it goes
      on evenly.
    - A time that comes twice (the clock is put back) fires the first time only. Patterns that tick by the minute
      (`*`, `*/n` minutes) or every hour tick through both, so that they do not pause for an hour.
    """

    expression: str
    zone: ZoneInfo

    def after(self, moment: datetime) -> datetime:
        """The first fire time later than `moment`, in UTC. Raises CronInvalid when there is none for 50 years."""
        # cronsim walks the wall clock only: given a zone, it steps back at a half-hour change (Lord Howe) and loses
        # fires, and its two rules hang on whether a field begins with a star ("*/2" hours would fire twice).
        local = moment.astimezone(self.zone)
        wall = local.replace(tzinfo=None, fold=0)
        repeats = _offset(wall, self.zone, 0) - _offset(wall, self.zone, 1)
        walk = CronSim(self.expression, wall - repeats if repeats and not local.fold else wall)
        every_hour = len(walk.hours) == 24
        through = every_hour or walk.parts[1].startswith("*")
        best: datetime | None = None
        for time in walk:
            instants = _instants(time, self.zone, through=through, every_hour=every_hour)
            best = min((i for i in (best, *instants) if i is not None and i > moment), default=None)
            if best is not None and instants and instants[0] >= best:
                return best
        if best is not None:
            return best
        raise CronInvalid(f"{self.expression!r} names no time that ever comes.", param="cron")


def _offset(wall: datetime, zone: ZoneInfo, fold: int) -> timedelta:
    return wall.replace(tzinfo=zone, fold=fold).utcoffset() or timedelta()


def _instants(wall: datetime, zone: ZoneInfo, *, through: bool, every_hour: bool) -> list[datetime]:
    """When a time on the wall clock fires, in UTC: once, twice, or where it would never come, not at all."""
    utc = ZoneInfo("UTC")
    first, second = _offset(wall, zone, 0), _offset(wall, zone, 1)
    if first > second:  # it comes twice
        return [(wall - offset).replace(tzinfo=utc) for offset in ((first, second) if through else (first,))]
    if first < second:  # it is jumped over
        if every_hour and (second - first) % timedelta(hours=1) == timedelta():
            return []
        while _offset(wall, zone, 0) != _offset(wall, zone, 1):
            wall += timedelta(minutes=1)
        return [(wall - _offset(wall, zone, 0)).replace(tzinfo=utc)]
    return [(wall - first).replace(tzinfo=utc)]


@lru_cache(maxsize=1024)
def cron(expression: str, time_zone: str) -> Cron:
    """A cron expression in a time zone. Raises CronInvalid, TimeZoneUnknown."""
    if time_zone not in _time_zones():
        raise TimeZoneUnknown(f"There is no time zone {time_zone!r}; give an IANA name.", param="time_zone")
    if len(expression.split()) != 5:
        raise CronInvalid(param="cron")
    try:
        CronSim(expression, datetime(2000, 1, 1))
    except (CronSimError, ValueError, TypeError, AssertionError) as error:
        raise CronInvalid(f"{expression!r}: {str(error) or 'not understood'}.", param="cron") from None
    found = Cron(" ".join(expression.split()), ZoneInfo(time_zone))
    found.after(now())
    return found


@cache
def _time_zones() -> frozenset[str]:
    # Names a file of the system may bear that are no place: "localtime" means another thing on every machine.
    return frozenset(available_timezones()) - {"localtime", "Factory"}


def rhythm_of(schedule: Schedule) -> Rhythm:
    """When the schedule fires. Raises CronInvalid, TimeZoneUnknown, RhythmUnclear."""
    if schedule.interval_seconds is not None:
        return Every(schedule.interval_seconds, anchor=schedule.next_fire_at)
    return cron(schedule.cron or "", schedule.time_zone)


def upcoming(schedule: Schedule, count: int) -> list[datetime]:
    """The next fire times, on the schedule's own clock. None when it is disabled or cannot fire."""
    if not schedule.enabled or problem(schedule) is not None:
        return []
    zone, rhythm, fires = ZoneInfo(schedule.time_zone), rhythm_of(schedule), [schedule.next_fire_at]
    while len(fires) < count:
        fires.append(rhythm.after(fires[-1]))
    return [fire.astimezone(zone) for fire in fires[:count]]


def due_fires(rhythm: Rhythm, *, first: datetime, moment: datetime, misfire: str) -> tuple[list[datetime], datetime]:
    """The fire times to act on at `moment`, when `first` was the next one, and the next one after them.

    Those missed (older than GRACE) are dropped by `skip`, stand for one run by `once` (the oldest), and all run by
    `catch_up`, CATCH_UP at a time: then the next one is due already.
    """
    fires: list[datetime] = []
    fire, late = first, moment - GRACE
    if fire < late and misfire != "catch_up":
        if misfire == "once":
            fires.append(fire)
        fire = rhythm.after(late - timedelta.resolution)
    while fire <= moment and len(fires) < CATCH_UP:
        fires.append(fire)
        fire = rhythm.after(fire)
    return fires, fire


# -- Keeping them --------------------------------------------------------------------------------------------------


def create_schedule(
    session: Session,
    *,
    merchant_id: UUID,
    name: str,
    kind: str,
    args: Mapping[str, Any],
    cron: str | None = None,
    interval_seconds: int | None = None,
    time_zone: str = "UTC",
    misfire: Misfire = "once",
    overlap: Overlap = "skip",
    enabled: bool = True,
) -> Schedule:
    """Put a kind of job on a schedule. An interval fires for the first time when it has passed once.

    Raises KindNotSchedulable, ScheduledArgumentsInvalid, CronInvalid, TimeZoneUnknown, RhythmUnclear,
    ScheduleNameTaken.
    """
    job = decode(kind, args)
    schedule = Schedule(
        id=new_id(), merchant_id=merchant_id, name=name, kind=kind, args=job.model_dump(mode="json"), cron=cron,
        interval_seconds=interval_seconds, time_zone=time_zone, misfire=misfire, overlap=overlap, enabled=enabled,
    )  # fmt: skip
    _start_over(schedule)
    with _writing(session):
        session.add(schedule)
    session.refresh(schedule)
    return schedule


def update_schedule(session: Session, id_: UUID, changes: Mapping[str, Any]) -> Schedule:
    """Change name, args, cron, interval_seconds, time_zone, misfire, overlap or enabled; the kind stays.

    A new rhythm, or being enabled again, starts from now: nothing of the time before counts as missed. Raises what
    `create_schedule` raises, and ScheduleNotFound.
    """
    schedule = get_schedule(session, id_, lock=True)
    changes = dict(changes)
    if changes.get("cron") is not None:
        changes.setdefault("interval_seconds", None)
    if changes.get("interval_seconds") is not None:
        changes.setdefault("cron", None)
    with _writing(session):
        if "args" in changes:
            changes["args"] = decode(schedule.kind, changes["args"]).model_dump(mode="json")
        changed = {field for field, value in changes.items() if getattr(schedule, field) != value}
        for field in changed:
            setattr(schedule, field, changes[field])
        if schedule.enabled and "enabled" in changed:
            decode(schedule.kind, schedule.args)
        if changed & {"cron", "interval_seconds", "time_zone"} or (schedule.enabled and "enabled" in changed):
            _start_over(schedule)
        if "overlap" in changed and schedule.overlap == "skip":
            session.execute(_CLAIM_TURN, {"key": turn_of(schedule), "schedule_id": schedule.id})
    session.refresh(schedule)
    return schedule


def delete_schedule(session: Session, id_: UUID) -> None:
    """Forget a schedule. Its jobs stay as they are. Raises ScheduleNotFound."""
    session.delete(get_schedule(session, id_, lock=True))
    session.flush()


def get_schedule(session: Session, id_: UUID, *, lock: bool = False) -> Schedule:
    """The schedule, if it is the merchant's. `lock` keeps beat away from it until the end of the transaction.

    Raises ScheduleNotFound.
    """
    schedule = session.get(Schedule, id_, with_for_update=lock or None, populate_existing=lock)
    if schedule is None:
        raise ScheduleNotFound
    return schedule


def list_schedules(session: Session, page: Page) -> Slice[Schedule]:
    """A page of schedules, newest first."""
    found: Slice[Schedule] = paginate(session, select(Schedule), id_column=Schedule.id, page=page)
    return found


def run_now(session: Session, id_: UUID) -> UUID:
    """Enqueue the schedule's job now, beside its rhythm, disabled or not. Returns the job's id.

    Raises ScheduleNotFound, ScheduleStillRunning (with the job's id), KindNotSchedulable, ScheduledArgumentsInvalid.
    """
    schedule = get_schedule(session, id_, lock=True)
    job = decode(schedule.kind, schedule.args)
    key = turn_of(schedule) if schedule.overlap == "skip" else None
    job_id, created = enqueue(session, job, merchant_id=schedule.merchant_id, unique_key=key, schedule_id=schedule.id)
    if not created:
        raise ScheduleStillRunning(job_id=str(job_id))
    return job_id


def decode(kind: str, args: Mapping[str, Any]) -> Job:
    """The job a schedule asks for. Raises KindNotSchedulable, ScheduledArgumentsInvalid."""
    job = KINDS.get(kind)
    if job is None or not job.schedulable:
        names = ", ".join(sorted(name for name, known in KINDS.items() if known.schedulable)) or "none yet"
        raise KindNotSchedulable(f"{kind!r} cannot be put on a schedule; these can: {names}.", param="kind")
    try:
        return job.model_validate(args)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(["args", *(str(part) for part in first["loc"])])
        raise ScheduledArgumentsInvalid(f"{where}: {first['msg']}", param=where) from None


def problem(schedule: Schedule) -> str | None:
    """Why the schedule cannot fire, or None: its kind may have gone, or grown an argument it lacks."""
    try:
        decode(schedule.kind, schedule.args)
        rhythm_of(schedule)
    except ShopOptiError as error:
        return error.detail
    return None


def turn_of(schedule: Schedule) -> str:
    """The unique key that the one active job of a schedule with overlap `skip` holds."""
    return f"schedule:{schedule.id}"


# From `queue` to `skip`: what is still active now has the turn. The newest, which most likely ends last.
_CLAIM_TURN = text("""
UPDATE jobs SET unique_key = :key
WHERE id = (SELECT id FROM jobs WHERE schedule_id = :schedule_id AND state NOT IN ('succeeded', 'failed', 'cancelled')
            ORDER BY id DESC LIMIT 1)
""")


def _start_over(schedule: Schedule) -> None:
    """Check the rhythm and count it from now."""
    if (schedule.cron is None) == (schedule.interval_seconds is None):
        raise RhythmUnclear(param="cron")
    if schedule.interval_seconds is not None and schedule.time_zone not in _time_zones():
        raise TimeZoneUnknown(param="time_zone")
    moment = now()
    schedule.next_fire_at = moment.replace(microsecond=0)
    schedule.next_fire_at = rhythm_of(schedule).after(moment)


@contextlib.contextmanager
def _writing(session: Session) -> Iterator[None]:
    """A savepoint: what is refused inside leaves neither the row nor the object changed."""
    try:
        with session.begin_nested():
            yield
    except IntegrityError as error:
        if getattr(getattr(error.orig, "diag", None), "constraint_name", "") == "schedules_merchant_id_name_key":
            raise ScheduleNameTaken(param="name") from None
        raise


# -- Firing --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Fired:
    """What one look at the schedules did."""

    jobs: int = 0
    skipped: int = 0  # fires left out because the previous job had not ended
    disabled: int = 0  # schedules that could not fire
    left: list[UUID] = field(default_factory=list)  # schedules this release does not understand
    lag_seconds: float = 0.0  # how long the oldest had been due
    more: bool = False  # others may be due already
    next_in: float | None = None  # seconds until the next one is due


# A fire that found the previous job active leaves a job that was never to run: every fire has its row, once.
_LEFT_OUT = text("""
INSERT INTO jobs (id, merchant_id, kind, queue, args, state, reason, max_attempts, timeout_seconds, unique_key,
    schedule_id, fire_at, ended_at)
VALUES (:id, :merchant_id, :kind, :queue, CAST(:args AS jsonb), 'cancelled', 'overlap', :max_attempts, :timeout, :key,
    :schedule_id, :fire_at, clock_timestamp())
ON CONFLICT (schedule_id, fire_at) WHERE schedule_id IS NOT NULL DO NOTHING
RETURNING id
""")


def fire_due(session: Session, *, leave: Collection[UUID] = (), moment: datetime | None = None) -> Fired:
    """Turn up to a hundred due schedules into jobs, in the session's transaction, as the ledger role.

    Any number of callers at once: each due schedule is in one's hands, and a fire time becomes a job once. A schedule
    that cannot fire (its rhythm is broken) is disabled and does not stop the others. One whose kind or arguments this
    release does not understand is left as it is, to the release that does: while a deploy rolls, a beat of yesterday
    must not disable what is of today. The caller knows those by `Fired.left`, and has some looked over by `leave`, so
    that they do not stand before the others for ever. `moment` is the database's clock unless given.
    """
    moment = moment or session.scalars(select(func.clock_timestamp())).one()
    known = (Schedule.enabled, Schedule.kind.in_(KINDS), Schedule.id != all_(literal(list(leave), ARRAY(Uuid))))
    due = session.scalars(
        select(Schedule)
        .where(*known, Schedule.next_fire_at <= moment)
        .order_by(Schedule.next_fire_at)
        .limit(PAGE)
        .with_for_update(skip_locked=True)
    ).all()
    fired = Fired(more=len(due) == PAGE)
    for schedule in due:
        id_ = schedule.id
        try:
            job = decode(schedule.kind, schedule.args)
        except (KindNotSchedulable, ScheduledArgumentsInvalid) as error:
            logger.warning("schedule %s is left to a release that understands it: %s", id_, error)
            fired.left.append(id_)
            continue
        fired.lag_seconds = max(fired.lag_seconds, (moment - schedule.next_fire_at).total_seconds())
        try:
            with session.begin_nested():
                jobs, skipped = _fire(session, schedule, job, moment)
        except Exception as error:
            if isinstance(error, OperationalError) or (isinstance(error, DBAPIError) and error.connection_invalidated):
                raise  # the database's trouble, not the schedule's
            logger.error("schedule %s cannot fire and is disabled: %s", id_, error, exc_info=True)
            schedule.enabled = False
            session.flush()
            fired.disabled += 1
            continue
        fired.jobs += jobs
        fired.skipped += skipped
        fired.more = fired.more or schedule.next_fire_at <= moment
    following = session.scalar(select(func.min(Schedule.next_fire_at)).where(*known, Schedule.id.not_in(fired.left)))
    if following is not None:
        fired.next_in = (following - moment).total_seconds()
    return fired


def _fire(session: Session, schedule: Schedule, job: Job, moment: datetime) -> tuple[int, int]:
    """One schedule's due fires. Returns how many became jobs, and how many were left out."""
    fires, following = due_fires(
        rhythm_of(schedule), first=schedule.next_fire_at, moment=moment, misfire=schedule.misfire
    )
    became = list(_enqueue(session, schedule, job, fires))
    schedule.next_fire_at = following
    schedule.last_fire_at = fires[-1] if fires else schedule.last_fire_at
    session.flush()
    return became.count("job"), became.count("left_out")


def _enqueue(session: Session, schedule: Schedule, job: Job, fires: list[datetime]) -> Iterator[str]:
    key = turn_of(schedule) if schedule.overlap == "skip" else None
    common: dict[str, Any] = {"merchant_id": schedule.merchant_id, "schedule_id": schedule.id}
    for fire in fires:
        if enqueue_many(session, [job], unique_keys=[key], fire_at=fire, **common):
            yield "job"
            continue
        # Either the turn is taken, or this very fire has its row already (a clock that was put back).
        row = {
            **common, "id": new_id(), "kind": job.kind, "queue": job.queue, "args": job.model_dump_json(),
            "max_attempts": job.max_attempts, "timeout": job.timeout, "key": key, "fire_at": fire,
        }  # fmt: skip
        yield "left_out" if key and session.scalar(_LEFT_OUT, row) else "done_before"
