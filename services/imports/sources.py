"""Sources: series of feeds that name their products alike, where they come from, and what they may do."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from services.catalog.apply import PRODUCT_FIELDS, VARIANT_FIELDS
from services.catalog.guards import Thresholds
from services.core.errors import Conflict, Invalid, NotFound
from services.core.ids import new_id
from services.core.paging import Page, Slice, paginate
from services.imports.mappings import checked
from services.imports.origin import refuse_reserved, refuse_suppliers, split_secret
from services.imports.receive import known_currency
from services.imports.source_jobs import ImportSource
from services.jobs import enqueue
from services.models import Connection, Import, Job, Schedule, Source

FIELDS = tuple(dict.fromkeys((*PRODUCT_FIELDS, *VARIANT_FIELDS)))  # of the catalogue, which a source may be given
ENDED = ("succeeded", "failed", "cancelled")


class SourceNotFound(NotFound):
    """There is no such source."""


class SourceNameTaken(Conflict):
    """There is already a source with this name."""


class SourceInUse(Conflict):
    """A connection or a schedule fills this source, or one of its feeds is on its way."""


class SourceWithoutUrl(Conflict):
    """This source has no address to fetch."""


class SourceAlreadyRunning(Conflict):
    """This source is being fetched already."""


class FieldUnknown(Invalid):
    """The catalogue has no such field."""


def create_source(session: Session, *, merchant_id: UUID, name: str, **settings: Any) -> Source:
    """A source with these settings: url, currency, mapping, fields, missing, bad_rows, apply, guards.

    Whether the address may be fetched is for `fetch.check_address` to say, outside of a transaction. Raises
    SourceNameReserved, SourceNameTaken, CurrencyUnknown, FieldUnknown, MappingInvalid.
    """
    refuse_reserved(name)
    source = Source(id=new_id(), merchant_id=merchant_id, name=name)
    _change(source, settings)
    with _writing(session):
        session.add(source)
    session.refresh(source)
    return source


def update_source(session: Session, id_: UUID, changes: Mapping[str, Any]) -> Source:
    """Change settings; the name stays, since products are known by it. What was fetched before counts for nothing.

    Raises SourceNotFound, SourceOfSupplier for an address, CurrencyUnknown, FieldUnknown, MappingInvalid.
    """
    source = get_source(session, id_, lock=True)
    if changes.get("url") is not None:
        refuse_suppliers(session, source)
    _change(source, changes)
    source.updated_at = func.clock_timestamp()
    session.flush()
    session.refresh(source)
    return source


def delete_source(session: Session, id_: UUID) -> None:
    """Forget a source's settings. Its products, imports and plans stay; a later feed of that name has the defaults.

    Raises SourceNotFound, and SourceInUse with the `connection_id`, `schedule_id` or `job_id` that is in the way.
    """
    source = get_source(session, id_, lock=True)
    connected = select(Connection.id).where(Connection.merchant_id == source.merchant_id)
    connected = connected.where(Connection.name == source.name, Connection.state != "disconnected")
    if (connection_id := session.scalar(connected)) is not None:
        raise SourceInUse("A supplier's offers come in by it: disconnect that first.", connection_id=str(connection_id))
    scheduled = select(Schedule.id).where(
        Schedule.kind == ImportSource.kind, Schedule.args["source_id"].astext == str(id_)
    )
    if (schedule_id := session.scalar(scheduled.limit(1))) is not None:
        raise SourceInUse("A schedule fetches this source: delete that first.", schedule_id=str(schedule_id))
    working = select(Job.id).join(Import, Import.job_id == Job.id)
    importing = working.where(Import.source == source.name, Job.state.not_in(ENDED))
    if (job_id := session.scalar(importing.limit(1)) or _fetching(session, id_)) is not None:
        raise SourceInUse("A feed of this source is on its way.", job_id=str(job_id))
    session.delete(source)
    session.flush()


def get_source(session: Session, id_: UUID, *, lock: bool = False) -> Source:
    """The source, if it is the merchant's. Raises SourceNotFound."""
    source = session.get(Source, id_, with_for_update=lock or None, populate_existing=lock)
    if source is None:
        raise SourceNotFound
    return source


def list_sources(session: Session, page: Page, *, merchant_id: UUID, name: str | None = None) -> Slice[Source]:
    """A page of sources, newest first."""
    statement = select(Source).where(Source.merchant_id == merchant_id)
    if name is not None:
        statement = statement.where(Source.name == name)
    found: Slice[Source] = paginate(session, statement, id_column=Source.id, page=page)
    return found


def run_source(session: Session, id_: UUID, *, anew: bool = False) -> UUID:
    """Fetch and import the source's feed now; `anew` even if it is the same as last time. Returns the job's id.

    Raises SourceNotFound, SourceWithoutUrl, SourceAlreadyRunning (with the job's id).
    """
    source = get_source(session, id_, lock=True)
    if source.url is None:
        raise SourceWithoutUrl
    job = ImportSource(source_id=id_, anew=anew)
    job_id, created = enqueue(session, job, merchant_id=source.merchant_id, unique_key=f"source:{id_}")
    if not created:
        raise SourceAlreadyRunning(job_id=str(job_id))
    return job_id


def thresholds_of(source: Source) -> Thresholds:
    """The source's thresholds, with the defaults of those it does not set."""
    return Thresholds.model_validate(source.guards)


def _fetching(session: Session, id_: UUID) -> UUID | None:
    own = select(Job.id).where(Job.kind == ImportSource.kind, Job.args["source_id"].astext == str(id_))
    return session.scalar(own.where(Job.state.not_in(ENDED)).limit(1))


def _change(source: Source, changes: Mapping[str, Any]) -> None:
    changes = dict(changes)
    if "url" in changes:
        source.url, source.url_secret = split_secret(changes.pop("url"))
    if "currency" in changes:
        source.currency = known_currency(changes.pop("currency"))
    if changes.get("mapping") is not None:
        checked(changes["mapping"])
    if changes.get("fields") is not None:
        changes["fields"] = _known_fields(changes["fields"])
    if "guards" in changes:
        given = Thresholds.model_validate(changes["guards"] or {})
        changes["guards"] = given.model_dump(mode="json", exclude_unset=True)
    for name, value in changes.items():
        setattr(source, name, value)


def _known_fields(given: list[str]) -> list[str]:
    unknown = [name for name in given if name not in FIELDS]
    if unknown:
        raise FieldUnknown(f"{unknown[0]!r} is no field; these are: {', '.join(FIELDS)}.", param="fields")
    return list(dict.fromkeys(given))


@contextmanager
def _writing(session: Session) -> Iterator[None]:
    try:
        with session.begin_nested():
            yield
            session.flush()
    except IntegrityError as error:
        if "sources_merchant_id_name_key" in str(error.orig):
            raise SourceNameTaken(param="name") from None
        raise
