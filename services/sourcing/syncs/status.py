"""How a connection does: whether its supplier answers, what its quotas leave, how fresh it is, how its runs went."""

from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from services.core.db import transaction
from services.core.errors import ShopOptiError
from services.core.paging import Page
from services.models import Connection
from services.sourcing.accounts.credentials import read
from services.sourcing.accounts.reach import connection_of, get_connection
from services.sourcing.quotas.breaker import Health, health
from services.sourcing.quotas.meter import QuotaLeft, SharedMeter, meter_for
from services.sourcing.syncs.planner import Outlook, look, outlook
from services.sourcing.syncs.runs import Remembered, list_runs
from services.suppliers.registry import adapter

RUNS = 5


@dataclass(frozen=True, slots=True)
class Status:
    """How a connection does."""

    row: Connection
    breaker: Health
    quota: tuple[QuotaLeft, ...] | None  # None: nothing is counted, or it cannot be known at the moment
    outlook: Outlook | None  # None: nothing will be read over it, or it cannot be known at the moment
    runs: list[Remembered]  # newest first


def status_of(merchant_id: UUID, connection_id: UUID) -> Status:
    """Look at a connection. The supplier is not asked; no transaction may be open, since quotas have their own.

    Raises ConnectionNotFound.
    """
    with transaction(merchant_id=merchant_id) as session:
        row = get_connection(session, connection_id)
        runs = list_runs(session, Page(limit=RUNS), merchant_id=merchant_id, connection_id=connection_id).data
        facts, meter = look(session, row, adapter(row.supplier)), _meter(row)
    quota = ahead = None
    if row.state != "disconnected":
        with suppress(ShopOptiError):
            quota = None if meter is None else meter.left()
            ahead = outlook(facts, meter)
    return Status(row=row, breaker=health(row), quota=quota, outlook=ahead, runs=runs)


def _meter(row: Connection) -> SharedMeter | None:
    if row.state != "disconnected":
        with suppress(ShopOptiError):  # of secrets that cannot be read, or a sandbox that is gone, nothing is known
            return meter_for(adapter(row.supplier), connection_of(row, read(row)), connection_id=row.id)
    return None
