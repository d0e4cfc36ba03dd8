"""Asking for syncs: now, or on a schedule."""

from collections.abc import Sequence
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.core.errors import Conflict
from services.core.paging import Page, Slice, paginate
from services.jobs import Job, enqueue
from services.jobs.schedules import create_schedule
from services.models import Connection, Schedule
from services.sourcing.accounts.reach import ConnectionDisconnected, ReconnectFirst, get_connection
from services.sourcing.jobs import KeepSupplierFresh, SyncSupplierProducts, SyncSupplierStock

KINDS: dict[str, type[Job]] = {
    "products": SyncSupplierProducts,
    "stock": SyncSupplierStock,
    "fresh": KeepSupplierFresh,
}


class SyncAlreadyActive(Conflict):
    """This is being synced already, or about to be."""


def ask(
    session: Session,
    connection_id: UUID,
    *,
    kind: Literal["products", "stock"] = "products",
    only: Sequence[str] | None = None,
    accept_gone: bool = False,
    prices: bool = True,
) -> UUID:
    """Have a connection synced now. Returns the job's id.

    Raises ConnectionNotFound, ConnectionDisconnected, ReconnectFirst; SyncAlreadyActive, with the job's id.
    """
    connection = _usable(session, connection_id)
    job: Job = SyncSupplierStock(connection_id=connection_id, prices=prices)
    if kind == "products":
        named = None if only is None else sorted(set(only))
        job = SyncSupplierProducts(connection_id=connection_id, only=named, accept_gone=accept_gone)
    job_id, is_new = enqueue(session, job, merchant_id=connection.merchant_id, unique_key=f"sync:{connection_id}")
    if not is_new:
        raise SyncAlreadyActive(job_id=str(job_id))
    return job_id


def schedule(
    session: Session, connection_id: UUID, *, kind: str, name: str | None = None, args: dict[str, Any], **rhythm: Any
) -> Schedule:
    """Put syncs of a connection on a schedule: `products`, `stock`, or `fresh` (what is due, as quotas allow).

    `rhythm` is that of `create_schedule`. Raises what that raises, ConnectionNotFound, ConnectionDisconnected,
    ReconnectFirst.
    """
    connection = _usable(session, connection_id)
    return create_schedule(
        session,
        merchant_id=connection.merchant_id,
        name=name or f"{connection.name}: {kind}",
        kind=KINDS[kind].kind,
        args={"connection_id": str(connection_id), **args},
        **rhythm,
    )


def list_schedules(
    session: Session, page: Page, *, merchant_id: UUID, connection_id: UUID | None = None
) -> Slice[Schedule]:
    """A page of the schedules of syncs, newest first."""
    statement = select(Schedule).where(Schedule.merchant_id == merchant_id)
    statement = statement.where(Schedule.kind.in_([job.kind for job in KINDS.values()]))
    if connection_id is not None:
        statement = statement.where(Schedule.args["connection_id"].astext == str(connection_id))
    found: Slice[Schedule] = paginate(session, statement, id_column=Schedule.id, page=page)
    return found


def _usable(session: Session, connection_id: UUID) -> Connection:
    connection = get_connection(session, connection_id)
    if connection.state == "disconnected":
        raise ConnectionDisconnected
    if connection.state == "reconnect_needed":
        raise ReconnectFirst(connection.problem)
    return connection
