"""Files of orders: taken in, fetched, and read about. See services/orders/files/work.py for what is done with them."""

import hashlib
from dataclasses import dataclass
from typing import Any, BinaryIO
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.core.errors import Conflict, Invalid, NotFound
from services.core.ids import new_id
from services.core.paging import Page, Slice, paginate
from services.formats import tabular
from services.formats.base import FeedRefused
from services.imports.origin import address_of
from services.imports.receive import FeedNotUsable, Stored, keep, where_it_is
from services.jobs import Run, enqueue
from services.jobs.queries import failure_of, jobs_of
from services.models import Job, OrderImport
from services.orders.files.columns import FIELDS, HEADERS, Columns, found_in
from services.orders.files.jobs import ImportOrders


class OrderImportNotFound(NotFound):
    """There is no such import of orders."""


class OrderImportActive(Conflict):
    """The same content is already on its way in for this channel."""


class OrderMappingInvalid(Invalid):
    """A mapping says which column is which field: {"fields": {"sku": "Article"}, "header": true, "sheet": "May"}."""


@dataclass(frozen=True, slots=True)
class OrderMapping:
    """What somebody has said of a file's columns."""

    fields: dict[str, str]
    header: bool = True
    sheet: str | None = None

    @property
    def named(self) -> list[str]:
        """Every header that may tell where the table begins."""
        return [*HEADERS, *self.fields.values()]


def mapping_of(given: dict[str, Any] | None) -> OrderMapping:
    """A mapping out of plain data. Raises OrderMappingInvalid."""
    said = given or {}
    fields, header, sheet = said.get("fields", {}), said.get("header", True), said.get("sheet")
    if not isinstance(fields, dict) or said.keys() - {"fields", "header", "sheet"}:
        raise OrderMappingInvalid(param="mapping")
    for name, column in fields.items():
        if name not in FIELDS:
            detail = f"There is no field {str(name)[:40]!r}. There are: {', '.join(FIELDS)}."
            raise OrderMappingInvalid(detail, param="mapping")
        if not isinstance(column, str) or not 1 <= len(column) <= 200:
            raise OrderMappingInvalid(f"The column of {name} is a header of 1 to 200 characters.", param="mapping")
    if not isinstance(header, bool) or not (sheet is None or (isinstance(sheet, str) and len(sheet) <= 200)):
        raise OrderMappingInvalid(param="mapping")
    return OrderMapping(fields, header, sheet)


def looked_at(file: BinaryIO, mapping: OrderMapping) -> Columns:
    """The columns of a file; the stream is left at its beginning. Raises FeedNotUsable."""
    try:
        with tabular.opened(file, named=mapping.named, header=mapping.header, sheet=mapping.sheet) as found:
            return found_in(found.headers, mapping=mapping.fields)
    except FeedRefused as refused:
        raise FeedNotUsable(refused) from refused
    finally:
        file.seek(0)


def store_orders(file: BinaryIO, *, merchant_id: UUID, filename: str | None, mapping: OrderMapping) -> Stored:
    """Keep an uploaded file. Raises FeedNotUsable, UploadTooLarge, StorageAway. Call it outside any transaction.

    What is done with it belongs inside of services/imports/receive.py `unless_taken`.
    """
    return keep(file, merchant_id=merchant_id, filename=filename, refuse=lambda: looked_at(file, mapping))


def start_order_import(
    session: Session,
    *,
    merchant_id: UUID,
    channel: str,
    currency: str | None = None,
    country: str | None = None,
    mapping: dict[str, Any] | None = None,
    stored: Stored | None = None,
    url: str | None = None,
) -> OrderImport:
    """An import of a stored file or of an address, and its job. Raises OrderImportActive, naming the active one."""
    content = stored.sha256 if stored else f"url {url}"
    id_ = new_id()
    job_id, is_new = enqueue(
        session,
        ImportOrders(order_import_id=id_),
        merchant_id=merchant_id,
        unique_key=hashlib.sha256("\n".join((channel, content)).encode()).hexdigest(),
    )
    if not is_new:
        active = session.scalar(
            select(OrderImport.id).where(OrderImport.merchant_id == merchant_id, OrderImport.job_id == job_id)
        )
        raise OrderImportActive(order_import_id=active, job_id=job_id, status_url=status_url(active))
    made = OrderImport(
        id=id_,
        merchant_id=merchant_id,
        job_id=job_id,
        channel=channel,
        currency=currency,
        country=country,
        mapping=mapping,
        **where_it_is(stored, url),
    )
    session.add(made)
    session.flush()
    return made


def status_url(order_import_id: UUID | None) -> str:
    """Where to ask how an import of orders is going."""
    return f"/api/v1/orders/imports/{order_import_id}"


def fetch(run: Run, order_import: OrderImport) -> None:
    """Fetch its address into the storage, once. Raises UrlNotAllowed, FetchFailed, FetchedTooLarge, StorageAway …"""
    from services.imports.fetch import fetch_into_storage  # brings an HTTP client along, which files do not need

    stored = fetch_into_storage(run, address_of(order_import) or "")
    with run.transaction() as session:
        row = session.get_one(OrderImport, order_import.id)
        row.storage_key, row.filename, row.sha256, row.bytes = stored.key, stored.filename, stored.sha256, stored.bytes


# -- Reading about them ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Importing:
    """An import of orders, and its job as long as that is remembered."""

    of: OrderImport
    job: Job | None

    @property
    def status(self) -> str:
        """The job's state; of one whose job is forgotten, succeeded, or expired when it never came through."""
        if self.of.finished_at is not None:
            return "succeeded"
        return "expired" if self.job is None else self.job.state

    @property
    def error(self) -> dict[str, str | None] | None:
        """Why the last attempt ended badly."""
        return failure_of(self.job)


def list_order_imports(
    session: Session, page: Page, *, merchant_id: UUID, channel: str | None = None
) -> Slice[Importing]:
    """The merchant's imports of orders, newest first."""
    own = select(OrderImport).where(OrderImport.merchant_id == merchant_id)
    if channel is not None:
        own = own.where(OrderImport.channel == channel)
    found: Slice[OrderImport] = paginate(session, own, id_column=OrderImport.id, page=page)
    jobs = jobs_of(session, found.data)
    return found.map(lambda row: Importing(row, jobs.get(row.job_id)))


def get_order_import(session: Session, order_import_id: UUID) -> Importing:
    """One of them. Raises OrderImportNotFound."""
    row = session.scalar(select(OrderImport).where(OrderImport.id == order_import_id))
    if row is None:
        raise OrderImportNotFound
    return Importing(row, session.scalar(select(Job).where(Job.id == row.job_id)))
