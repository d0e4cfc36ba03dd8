"""The jobs of this domain. Syncs are those that merchants may ask for, and put on a schedule."""

from typing import Annotated
from uuid import UUID

from pydantic import Field

from services.jobs import Job

MOST_NAMED = 1_000


class SyncSupplierProducts(
    Job, kind="sync_supplier_products", queue="sync", timeout=4 * 3600, max_attempts=10, backoff=15, schedulable=True
):
    """Bring everything a supplier offers up to date: products, prices, stock; then plan, and apply by policy.

    `only`: the products with these ids of the supplier's, which may be new ones. `accept_gone`: believe it even if most
    of what was offered is gone.
    """

    connection_id: UUID
    only: list[Annotated[str, Field(min_length=1, max_length=100)]] | None = Field(default=None, max_length=MOST_NAMED)
    accept_gone: bool = False


class SyncSupplierStock(
    Job, kind="sync_supplier_stock", queue="sync", timeout=3600, max_attempts=10, backoff=15, schedulable=True
):
    """Bring a supplier's stock, and with `prices` its prices, up to date where that is cheaper than everything."""

    connection_id: UUID
    prices: bool = True


class KeepSupplierFresh(
    Job, kind="keep_supplier_fresh", queue="sync", timeout=60, max_attempts=3, backoff=15, schedulable=True
):
    """Have a connection synced as often as is asked and its quotas allow; to be scheduled every few minutes.

    `stock_every`, `products_every`: seconds between two runs over stock, over everything. `prices`: with the stock,
    which makes it come less often; they come with everything anyway.
    """

    connection_id: UUID
    stock_every: int = Field(default=3600, ge=300, le=30 * 86_400)
    products_every: int = Field(default=86_400, ge=300, le=30 * 86_400)
    prices: bool = False


class RenewTokens(Job, kind="renew_supplier_tokens", queue="sync", timeout=300, max_attempts=10, backoff=15):
    """Renew a connection's access before it expires. Enqueued whenever tokens are kept, for those tokens."""

    connection_id: UUID
    secrets_version: int
