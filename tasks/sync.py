"""Handlers of syncs with suppliers (queue `sync`: they wait for other people's servers)."""

from services.jobs import Outcome, Run
from services.sourcing.jobs import KeepSupplierFresh, SyncSupplierProducts, SyncSupplierStock
from tasks import task


@task(SyncSupplierProducts)
def sync_supplier_products(run: Run, job: SyncSupplierProducts) -> Outcome | None:
    """Everything a supplier offers, and the plan that follows from it."""
    from services.sourcing.syncs.sync import sync_products  # brings the suppliers along, which most jobs do not need

    return sync_products(run, job)


@task(SyncSupplierStock)
def sync_supplier_stock(run: Run, job: SyncSupplierStock) -> Outcome | None:
    """A supplier's stock and prices, and the plan that follows from them."""
    from services.sourcing.syncs.sync import sync_stock

    return sync_stock(run, job)


@task(KeepSupplierFresh)
def keep_supplier_fresh(run: Run, job: KeepSupplierFresh) -> None:
    """A connection's next sync, when its turn is near."""
    from services.sourcing.syncs.planner import keep_fresh

    keep_fresh(run, job)
