"""One sync of a connection: walk over what the supplier says, store it page by page, then plan from what is stored.

Whatever cuts an attempt, the next one goes on: behind the last page that was stored (page, cursor and problems are one
transaction), or with the plan. The supplier is called outside of any transaction; what it says never reaches the
catalogue but through a plan. What it does not say, or says in a way that cannot be read, changes nothing.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.core.clock import now
from services.core.errors import ShopOptiError, TooMany, Unavailable
from services.core.ids import new_id
from services.imports.work import FILE, Origin, apply_approved, run_import
from services.jobs import Cancel, Outcome, Run, Snooze, Stopped
from services.models import Changeset, Connection, Import, Offer, Source, SyncRun
from services.sourcing.accounts.reach import Reached, get_connection, heeding_refusals, reach
from services.sourcing.jobs import SyncSupplierProducts, SyncSupplierStock
from services.sourcing.offers import store
from services.sourcing.offers.drafts import is_anything_to_draft, stage_offers
from services.sourcing.offers.linked import outcome_of_linked, plan_linked
from services.sourcing.offers.links import link_found, link_made
from services.sourcing.quotas import breaker
from services.sourcing.syncs import runs
from services.suppliers import base
from services.suppliers.ahead import ahead

WAIT_SECONDS = 15.0
BATCH_ITEMS = 4_000  # a transaction stores about so many: smaller ones spend their time on beginning and ending
LONG_TEXT = 2_500  # characters of a description that weigh as much as an item
BATCH_SECONDS = 5.0  # or what came in so long: no more than that is walked again


@dataclass(frozen=True, slots=True)
class Asked:
    """What a job wants."""

    connection_id: UUID
    kind: str  # products | stock
    only: tuple[str, ...] | None = None
    accept_gone: bool = False
    prices: bool = True

    @property
    def mode(self) -> str:
        """Whether what the run does not come across is gone (full) or not (delta)."""
        return "full" if self.kind == "products" and self.only is None else "delta"


def sync_products(run: Run, job: SyncSupplierProducts) -> Outcome | None:
    """Everything a supplier offers. See `_sync`."""
    only = None if job.only is None else tuple(job.only)
    return _sync(run, Asked(job.connection_id, "products", only=only, accept_gone=job.accept_gone))


def sync_stock(run: Run, job: SyncSupplierStock) -> Outcome | None:
    """A supplier's stock and prices. See `_sync`."""
    return _sync(run, Asked(job.connection_id, "stock", prices=job.prices))


def _sync(run: Run, asked: Asked) -> Outcome | None:
    """Walk and plan; the last transaction ends run and job.

    Snoozes while another sync of the connection is at work, or a feed of its source. Raises what `reach` and adapters
    raise, OffersVanished, and Stopped.
    """
    sync = runs.begin(run, connection_id=asked.connection_id, kind=asked.kind, mode=asked.mode)
    if sync is None:
        return Snooze(WAIT_SECONDS, "behind_another_sync")
    try:
        if sync.walked_at is None:
            with run.transaction() as session:
                reached = reach(session, asked.connection_id)
            with heeding_refusals(reached), breaker.guarded(run, reached.id) as supplier:
                _walk(run, sync.id, reached, asked, supplier)
        return _plan(run, sync.id)
    except Stopped as stopped:
        if isinstance(stopped.outcome, Cancel):
            _close(run, sync.id, "cancelled", stopped.outcome.reason, None)
        raise
    except ShopOptiError as error:
        # What is tried again goes on with the same run.
        again = isinstance(error, Unavailable | TooMany)
        _close(run, sync.id, "running" if again else "failed", error.code, error.detail)
        raise


def _close(run: Run, sync_id: UUID, state: str, code: str, message: str | None) -> None:
    with run.transaction() as session:
        sync = session.get_one(SyncRun, sync_id, with_for_update=True)
        if state == "running":
            sync.error_code, sync.error = code, message
        elif sync.state == "running":
            runs.end(sync, state, code=code, message=message)


# -- The walk ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Leg:
    """A part of a walk: what is asked of the adapter, and where it goes."""

    name: str
    pages: Callable[[str | None], Iterator[base.Page[Any]]]
    store: Callable[[Session, SyncRun, Sequence[Any]], None]


def _walk(run: Run, sync_id: UUID, reached: Reached, asked: Asked, supplier: breaker.Supplier) -> None:
    with run.transaction() as session:
        legs = _legs(session, reached, asked)
        at = session.get_one(SyncRun, sync_id).cursor
    name, _, cursor = (at or "").partition(" ")
    names = [leg.name for leg in legs]
    for leg in legs[names.index(name) if name in names else 0 :]:
        last = leg is legs[-1]
        following = None if last else names[names.index(leg.name) + 1]
        said = _from(leg, cursor if leg.name == name and cursor else None)
        with ahead(said, most=2, idle=run.checkpoint) as pages:  # while one is stored, the supplier is heard
            for page in pages:
                supplier.answered()
                _store(run, sync_id, leg, page, asked, following=following)
    if not legs:
        _store(run, sync_id, _Leg("offers", lambda _: iter(()), store.store_offers), base.Page((), None), asked)


def _legs(session: Session, reached: Reached, asked: Asked) -> list[_Leg]:
    adapter, connection, capabilities = reached.adapter, reached.connection, reached.adapter.CAPABILITIES
    if asked.kind == "stock" and capabilities.stock_alone:
        legs = [_Leg("stock", lambda at: adapter.stock(connection, cursor=at), store.store_stock)]
        if asked.prices:
            legs.append(_Leg("prices", lambda at: adapter.prices(connection, cursor=at), store.store_prices))
        return legs
    only = asked.only
    if only is None and not capabilities.lists_catalogue:
        only = _known(session, reached.id)
    if only is not None and not only:
        return []  # nobody has named a product yet
    return [_Leg("offers", lambda at: adapter.offers(connection, only=only, cursor=at), store.store_offers)]


def _known(session: Session, connection_id: UUID) -> tuple[str, ...]:
    own = select(Offer.id).where(Offer.connection_id == connection_id, Offer.gone_at.is_(None))
    return tuple(session.scalars(own.order_by(Offer.id)))


def _from(leg: _Leg, cursor: str | None) -> Iterator[base.Page[Any]]:
    """The pages behind the cursor, some at a time; from the beginning where the adapter no longer knows the cursor."""
    begun = cursor is None
    try:
        for page in _gathered(leg.pages(cursor)):
            begun = True
            yield page
    except ValueError:
        if begun:
            raise
        yield from _gathered(leg.pages(None))


def _gathered(pages: Iterable[base.Page[Any]]) -> Iterator[base.Page[Any]]:
    """Pages put together. When the walk raises, those before are given first."""
    held: list[base.Page[Any]] = []
    size, since = 0, time.monotonic()
    try:
        for page in pages:
            held.append(page)
            size += sum(map(_weight, page.items))
            if size >= BATCH_ITEMS or time.monotonic() - since > BATCH_SECONDS:
                yield _joined(held)
                held, size, since = [], 0, time.monotonic()
    except ShopOptiError:
        if held:
            yield _joined(held)
        raise
    if held:
        yield _joined(held)


def _weight(item: object) -> int:
    """As how many items it counts: long descriptions are held in memory too."""
    return 1 + len(item.description or "") // LONG_TEXT if isinstance(item, base.Offer) else 1


def _joined(pages: Sequence[base.Page[Any]]) -> base.Page[Any]:
    items = tuple(item for page in pages for item in page.items)
    return base.Page(items, pages[-1].cursor, tuple(problem for page in pages for problem in page.problems))


def _store(
    run: Run, sync_id: UUID, leg: _Leg, page: base.Page[Any], asked: Asked, *, following: str | None = None
) -> None:
    with run.transaction() as session:
        sync = session.get_one(SyncRun, sync_id, with_for_update=True)
        if page.items:
            leg.store(session, sync, page.items)
        store.store_problems(session, sync, page.problems, of_offers=leg.name == "offers")
        sync.pages += 1
        sync.items += len(page.items)
        sync.error_code = sync.error = None
        if page.cursor is not None:
            sync.cursor = f"{leg.name} {page.cursor}"
        elif following is not None:
            sync.cursor = following
        else:
            _arrive(session, sync, asked)
        done = sync.items
    run.progress(done, None, "reading offers" if leg.name == "offers" else f"reading {leg.name}")


def _arrive(session: Session, sync: SyncRun, asked: Asked) -> None:
    """The walk is complete: what it did not come across is gone, and what is stored is as fresh as its beginning."""
    if sync.mode == "full":
        store.sweep(session, sync, accept=asked.accept_gone)
    connection = get_connection(session, sync.connection_id, lock=True)
    if sync.mode == "full":
        connection.offers_at = sync.started_at
    if asked.only is None:
        connection.stock_at = sync.started_at
    sync.cursor, sync.walked_at = None, now()
    session.flush()


# -- The plan ------------------------------------------------------------------------------------------------------


def _plan(run: Run, sync_id: UUID) -> Outcome | None:
    with run.transaction() as session:
        sync = session.get_one(SyncRun, sync_id, with_for_update=True)
        connection = get_connection(session, sync.connection_id)
        if sync.import_id is None and sync.changeset_id is None:
            links = {"made": link_made(session, connection), **link_found(session, connection)}
            if not any(links.values()) and _is_nothing_new(session, sync, connection):
                runs.end(sync, "succeeded")
                run.finish(session, {"outcome": "unchanged", **runs.counted(sync)})
                return None
            sync.counts = {**sync.counts, "links": links}
    plan_linked(run, sync_id, name=connection.name)
    import_id = _import(run, sync_id, connection)
    if import_id is not None:
        return run_import(run, import_id=import_id, origin=OFFERS)
    with run.transaction() as session:
        sync = session.get_one(SyncRun, sync_id, with_for_update=True)
        run.finish(session, _ended(session, sync))
    return None


_MOVED = ("stock_changed", "price_changed", "offers_new", "offers_changed", "variants_new", "variants_changed",
          "offers_gone", "variants_gone")  # fmt: skip


def _is_nothing_new(session: Session, sync: SyncRun, connection: Connection) -> bool:
    """Whether the plan of the run before still says it all: no need to put another one before somebody.

    Only of runs over stock: a full run is also to put right what others have done to the catalogue.
    """
    if sync.kind != "stock" or any(sync.counts.get(name) for name in _MOVED):
        return False
    own = select(SyncRun).where(SyncRun.merchant_id == sync.merchant_id, SyncRun.connection_id == connection.id)
    before = session.scalar(own.where(SyncRun.id < sync.id).order_by(SyncRun.id.desc()).limit(1))
    source = session.scalar(
        select(Source.updated_at).where(Source.merchant_id == sync.merchant_id, Source.name == connection.name)
    )
    if before is None or before.state != "succeeded" or source is None:
        return False
    return before.started_at > max(connection.updated_at, source)


def _import(run: Run, sync_id: UUID, connection: Connection) -> UUID | None:
    """The import of the sync, made if need be; None when the connection has no products of its own, nor is to."""
    with run.transaction() as session:
        sync = session.get_one(SyncRun, sync_id, with_for_update=True)
        own = {"merchant_id": sync.merchant_id, "connection_id": sync.connection_id}
        if sync.import_id is None and is_anything_to_draft(session, **own, name=connection.name):
            sync.import_id = new_id()
            session.add(Import(id=sync.import_id, job_id=run.id, source=connection.name, **own))
            session.flush()
        return sync.import_id


def _ended(session: Session, sync: SyncRun) -> dict[str, Any]:
    runs.end(sync, "succeeded")
    session.flush()
    return {"outcome": "planned", **runs.counted(sync), **outcome_of_linked(session, sync)}


def _import_ended(session: Session, import_: Import, _changeset: Changeset) -> dict[str, Any]:
    """What was made is linked to what it was made of, and the sync is over, unless it was before."""
    link_made(session, get_connection(session, import_.connection_id or UUID(int=0)))
    own = select(SyncRun).where(SyncRun.merchant_id == import_.merchant_id, SyncRun.import_id == import_.id)
    sync = session.scalar(own.with_for_update())
    return _ended(session, sync) if sync is not None and sync.state == "running" else {}


OFFERS = Origin(stage_offers, _import_ended)


def apply_any(run: Run, *, changeset_id: UUID) -> None:
    """Apply a plan that somebody has approved, whatever its products are made of. See `apply_approved`."""
    apply_approved(
        run, changeset_id=changeset_id, origin_of=lambda import_: FILE if import_.connection_id is None else OFFERS
    )
