"""Syncs in the test's own thread, and what is stored beside what the sandbox truly has."""

from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import select

from services.core.db import transaction
from services.jobs import Job, enqueue
from services.models import Offer, OfferLink, OfferVariant, SyncRun
from services.sourcing.jobs import SyncSupplierProducts, SyncSupplierStock
from tests import inline
from tests.imports.importing import UNGUARDED, make_source
from tests.suppliers.world import World


def begin(merchant: UUID, job: Job) -> UUID:
    """The job's id; it is not begun."""
    with transaction(merchant_id=merchant) as session:
        return enqueue(session, job, merchant_id=merchant)[0]


def sync_products(merchant: UUID, connection: UUID, **asked: Any) -> dict[str, Any]:
    """One attempt at it: the job's row."""
    return inline.work(begin(merchant, SyncSupplierProducts(connection_id=connection, **asked)))


def sync_stock(merchant: UUID, connection: UUID, **asked: Any) -> dict[str, Any]:
    """One attempt at it: the job's row."""
    return inline.work(begin(merchant, SyncSupplierStock(connection_id=connection, **asked)))


def unguarded(merchant: UUID, source: str, **policy: Any) -> None:
    """No guard holds plans of the source."""
    make_source(merchant, source, guards=UNGUARDED, **policy)


def truth(world: World) -> dict[str, tuple[Decimal, int]]:
    """SKU → cost and stock, of everything the sandbox's BigBuy truly has."""
    return {one["sku"]: (Decimal(one["wholesale"]) / 100, one["stock"]) for one in world.ask("GET", "bigbuy/products")}


def stored(merchant: UUID, connection: UUID) -> dict[str, tuple[Decimal | None, int | None]]:
    """The same of what is offered, as it is stored."""
    with transaction(merchant_id=merchant) as session:
        own = select(OfferVariant).where(OfferVariant.connection_id == connection, OfferVariant.gone_at.is_(None))
        return {row.sku or row.id: (row.cost, row.stock) for row in session.scalars(own)}


def offers_of(merchant: UUID, connection: UUID) -> list[Offer]:
    """All of them, gone ones too."""
    with transaction(merchant_id=merchant) as session:
        return list(session.scalars(select(Offer).where(Offer.connection_id == connection).order_by(Offer.id)))


def links_of(merchant: UUID, connection: UUID) -> dict[str, OfferLink]:
    """By the offer variant's id."""
    with transaction(merchant_id=merchant) as session:
        own = select(OfferLink).where(OfferLink.connection_id == connection)
        return {row.offer_variant_id: row for row in session.scalars(own)}


def runs_of(merchant: UUID, connection: UUID) -> list[SyncRun]:
    """Oldest first."""
    with transaction(merchant_id=merchant) as session:
        return list(session.scalars(select(SyncRun).where(SyncRun.connection_id == connection).order_by(SyncRun.id)))
