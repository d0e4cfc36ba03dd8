"""When a connection is synced next, and how fresh that keeps it: the most its supplier's quotas can give.

A connection has *turns*, one run each: over everything when that is due, over stock otherwise. Both bring stock, so
stock is as old as a turn and the time a run takes, and the calls that a full run spends on stock are not spent beside
those of the stock runs but in their place. How long a turn must be follows from the calls that runs take (the adapter's
`WALKS`), the limits (as the supplier last told them), and how many connections share the credential.

The meter lets nothing pass that the quota does not have: what is reckoned here decides what the calls are spent on.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Literal

from pydantic import ValidationError
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from services.core.clock import now
from services.jobs import Run, enqueue
from services.models import Connection, Offer, Schedule
from services.sourcing.accounts.reach import ConnectionDisconnected, ReconnectFirst, get_connection, reach
from services.sourcing.jobs import KeepSupplierFresh, SyncSupplierProducts, SyncSupplierStock
from services.sourcing.quotas.meter import SharedMeter
from services.suppliers.base import Adapter, Quota, Walk

USE = 0.95  # of a quota: what is left makes up for runs that are cut, and for windows that are not used to the end
AHEAD = timedelta(minutes=10)  # runs that are due so soon are enqueued, for their time
READING_SECONDS = 60.0  # a step's lists are read in about so long

Kind = Literal["products", "stock"]


@dataclass(frozen=True, slots=True)
class Wishes:
    """How old what is stored may become, in seconds between two runs, where the quotas allow it."""

    stock: float = 3600.0
    products: float = 86_400.0
    prices: bool = False  # with the stock: both together take as long as both


@dataclass(frozen=True, slots=True)
class Sharing:
    """How many connections have a credential together, and which of them this one is: all of them see it alike."""

    place: int = 0
    of: int = 1


@dataclass(frozen=True, slots=True)
class Pace:
    """What the quotas allow, in seconds."""

    turn: float  # between the begins of two runs
    products: float  # between the begins of two runs over everything
    takes: float  # from a run's begin to its end, quotas considered
    prices: bool = False  # come with the stock; else with everything
    sharing: Sharing = Sharing()

    @property
    def stock_within(self) -> float:
        """Stock is never older than that."""
        return max(self.turn, self.takes) + self.takes

    @property
    def products_within(self) -> float:
        """Nor anything else than that: its turn may be half a turn after it is due."""
        return self.products + max(self.turn, self.takes) / 2 + self.takes


def pace(
    adapter: Adapter,
    quotas: Iterable[Quota],
    *,
    products: int = 0,
    wishes: Wishes = Wishes(),  # frozen
    sharing: Sharing = Sharing(),
) -> Pace:
    """How often a connection can be synced of which so many products are known."""
    limits = {quota.endpoint: quota for quota in quotas}
    full, often = _walks(adapter, "products", prices=True), _walks(adapter, "stock", prices=wishes.prices)
    every, stock = (_calls(walks, limits, products) for walks in (full, often))
    # Calls a second that are this connection's.
    rates = {name: limits[name].limit / limits[name].seconds * USE / sharing.of for name in every.keys() | stock.keys()}
    products_every = max([wishes.products, *(calls / rates[name] for name, calls in every.items())])
    turn = wishes.stock
    for name, rate in rates.items():
        of_stock, more = stock.get(name, 0), max(0, every.get(name, 0) - stock.get(name, 0))
        room = rate - more / products_every  # what the calls that full runs take in addition leave
        turn = max(turn, of_stock / room if room > 0 else products_every)
    takes = max(sum(_seconds(walk, limits, products) for walk in walks) for walks in (full, often))
    return Pace(turn, max(products_every, turn), takes, wishes.prices, sharing)


def next_run(
    pace: Pace, *, at: datetime, begun_at: datetime | None, products_at: datetime | None
) -> tuple[Kind, datetime]:
    """What a connection does in its next turn, and when that is: `at` (now) or later.

    Those who share a credential take their turns one after the other, by the clock: runs that are at it together would
    each take as long as all of them. `begun_at`: when the last run began, however it ended; `products_at`: when the
    last complete one over everything did.
    """
    if begun_at is not None and pace.sharing.of == 1:
        at = max(at, begun_at + timedelta(seconds=pace.turn))
    elif begun_at is not None:
        phase = pace.turn * pace.sharing.place / pace.sharing.of
        earliest = max(at.timestamp(), begun_at.timestamp() + pace.turn / 4)
        turns = ceil((earliest - phase) / pace.turn)
        at = datetime.fromtimestamp(phase + turns * pace.turn, UTC)
    if products_at is None or products_at + timedelta(seconds=pace.products - pace.turn / 2) <= at:
        return "products", at
    return "stock", at


def _walks(adapter: Adapter, kind: Kind, *, prices: bool) -> list[Walk]:
    """One after the other."""
    wanted = ["offers"]
    if kind == "stock" and adapter.CAPABILITIES.stock_alone:
        wanted = ["stock", "prices"] if prices else ["stock"]
    return [adapter.WALKS[name] for name in wanted if name in adapter.WALKS]


def _seconds(walk: Walk, limits: Mapping[str, Quota], products: int) -> float:
    """How long a walk takes at most: it finds its first window spent, and reads a while in the last."""
    calls = _calls([walk], limits, products)
    waits = [ceil(mine / limits[name].limit) * limits[name].seconds for name, mine in calls.items()]
    return max(waits, default=0.0) + READING_SECONDS * (walk.steps or 0)


def _steps(walk: Walk, products: int) -> int:
    return ceil(products / walk.products) if walk.steps is None else walk.steps


def _calls(walks: Sequence[Walk], limits: Mapping[str, Quota], products: int) -> dict[str, int]:
    """What a run takes of each quota, with what it takes to go on after each window."""
    found: dict[str, int] = {}
    for walk in walks:
        steps = {name: calls * _steps(walk, products) for name, calls in walk.step.items() if name in limits}
        cuts = max((ceil(calls / limits[name].limit) for name, calls in steps.items()), default=1)
        for name, calls in steps.items():
            found[name] = found.get(name, 0) + calls
        for name, calls in walk.begin.items():
            if name in limits:
                found[name] = found.get(name, 0) + calls * cuts
    return found


# -- A connection's ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a connection's runs."""

    adapter: Adapter
    products: int
    begun_at: datetime | None
    offers_at: datetime | None
    stock_at: datetime | None
    prices_at: datetime | None
    is_running: bool
    took: float  # seconds from begin to the last page, of the last complete run
    wishes: Wishes
    is_kept: bool  # a schedule has it kept fresh


@dataclass(frozen=True, slots=True)
class Freshness:
    """How old something is, and how old it becomes at most if runs take turns."""

    what: str  # products | prices | stock
    as_of: datetime | None  # when the last complete run that brought it began
    within_seconds: float


@dataclass(frozen=True, slots=True)
class Outlook:
    """How fresh a connection is and can be; what comes next, if it is kept fresh."""

    freshness: tuple[Freshness, ...]
    next_kind: Kind | None
    next_at: datetime | None


_RUNS = text("""
SELECT max(r.started_at) FILTER (WHERE r.kind = 'stock' OR r.mode = 'full') AS begun_at,
    max(r.started_at) FILTER (WHERE r.kind = 'stock' AND r.walked_at IS NOT NULL
                              AND coalesce((j.args->>'prices')::boolean, true)) AS prices_at,
    coalesce(bool_or(r.state = 'running' AND j.state NOT IN ('succeeded', 'failed', 'cancelled')), false) AS is_running,
    coalesce((array_agg(extract(epoch FROM r.walked_at - r.started_at) ORDER BY r.id DESC)
              FILTER (WHERE r.walked_at IS NOT NULL))[1], 0)::float8 AS took
FROM (SELECT * FROM sync_runs WHERE merchant_id = :merchant_id AND connection_id = :connection_id
      ORDER BY id DESC LIMIT 50) r
LEFT JOIN jobs j ON j.id = r.job_id
""")


def look(session: Session, row: Connection, adapter: Adapter) -> Facts:
    """What the connection's runs and schedules say."""
    named = {"merchant_id": row.merchant_id, "connection_id": row.id}
    runs = session.execute(_RUNS, named).one()
    products = 0
    if any(walk.steps is None for walk in adapter.WALKS.values()):
        own = select(func.count()).where(Offer.merchant_id == row.merchant_id, Offer.connection_id == row.id)
        products = session.scalar(own.where(Offer.gone_at.is_(None))) or 0
    kept = _kept(session, row)
    return Facts(
        adapter=adapter,
        products=products,
        begun_at=runs.begun_at,
        offers_at=row.offers_at,
        stock_at=row.stock_at,
        prices_at=max((at for at in (row.offers_at, runs.prices_at) if at is not None), default=None),
        is_running=runs.is_running,
        took=runs.took,
        wishes=Wishes() if kept is None else wishes_of(kept),
        is_kept=kept is not None,
    )


def outlook(facts: Facts, meter: SharedMeter | None) -> Outlook:
    """How fresh it is and can be. No transaction may be open: the meter has its own."""
    possible = pace_of(facts, meter, facts.wishes)
    as_of = {"products": facts.offers_at, "prices": facts.prices_at, "stock": facts.stock_at}
    alone = facts.adapter.CAPABILITIES.stock_alone
    within = {"products": possible.products_within, "stock": possible.stock_within}
    within["prices"] = within["stock" if possible.prices or not alone else "products"]
    kind, at = next_run(possible, at=now(), begun_at=facts.begun_at, products_at=facts.offers_at)
    return Outlook(
        tuple(Freshness(what, as_of[what], within[what]) for what in ("products", "prices", "stock")),
        (kind if alone else "products") if facts.is_kept else None,
        at if facts.is_kept else None,
    )


def pace_of(facts: Facts, meter: SharedMeter | None, wishes: Wishes) -> Pace:
    """What the quotas allow the connection, as its supplier last told them."""
    quotas, sharing = list[Quota](), Sharing()
    if meter is not None:
        quotas = [Quota(left.endpoint, left.limit, left.seconds) for left in meter.left()]
        sharing = Sharing(*meter.sharing([name for walk in facts.adapter.WALKS.values() for name in walk.step]))
    found = pace(facts.adapter, quotas, products=facts.products, wishes=wishes, sharing=sharing)
    return replace(found, takes=max(found.takes, facts.took))


def wishes_of(job: KeepSupplierFresh) -> Wishes:
    """What a job of this kind asks for."""
    return Wishes(float(job.stock_every), float(job.products_every), job.prices)


def _kept(session: Session, row: Connection) -> KeepSupplierFresh | None:
    """What the merchant has scheduled to keep it fresh."""
    own = select(Schedule.args).where(
        Schedule.merchant_id == row.merchant_id,
        Schedule.kind == KeepSupplierFresh.kind,
        Schedule.enabled,
        Schedule.args["connection_id"].astext == str(row.id),
    )
    found = session.scalar(own.order_by(Schedule.id).limit(1))
    with suppress(ValidationError):
        return None if found is None else KeepSupplierFresh.model_validate(found)
    return None


def keep_fresh(run: Run, job: KeepSupplierFresh) -> None:
    """Enqueue the connection's next run when its turn is near. Ends the job; its result says what comes, and when.

    Of a connection that cannot be used it says so: others have told the merchant. Raises what else `reach` raises.
    """
    with run.transaction() as session:
        try:
            reached = reach(session, job.connection_id)
        except (ConnectionDisconnected, ReconnectFirst) as error:
            run.finish(session, {"outcome": error.code})
            return
        facts = look(session, get_connection(session, job.connection_id), reached.adapter)
    meter = reached.connection.meter
    possible = pace_of(facts, meter if isinstance(meter, SharedMeter) else None, wishes_of(job))
    asked_at = now()
    kind, at = next_run(possible, at=asked_at, begun_at=facts.begun_at, products_at=facts.offers_at)
    told = {"next": kind, "at": at.isoformat(), "stock_within_seconds": round(possible.stock_within)}
    with run.transaction() as session:
        if facts.is_running:
            run.finish(session, {"outcome": "running", **told})
            return
        if at > asked_at + AHEAD:
            run.finish(session, {"outcome": "fresh", **told})
            return
        wanted = (
            SyncSupplierProducts(connection_id=job.connection_id)
            if kind == "products" or not facts.adapter.CAPABILITIES.stock_alone
            else SyncSupplierStock(connection_id=job.connection_id, prices=job.prices)
        )
        due = at if at > asked_at else None
        key = f"fresh:{job.connection_id}"
        id_, _ = enqueue(session, wanted, merchant_id=run.merchant_id, run_at=due, unique_key=key)
        run.finish(session, {"outcome": "enqueued", "job_id": str(id_), **told})
