"""Where a feed comes from: the source of a name, made on first use, and addresses that may hold secrets."""

from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from services.catalog.edits import MANUAL
from services.core.crypto import decrypt, encrypt
from services.core.errors import Conflict
from services.core.ids import new_id
from services.models import Connection, Import, OrderImport, Source


class SourceNameReserved(Conflict):
    """This name stands for what people make by hand: no feed may claim their products."""


def refuse_reserved(name: str) -> None:
    """Raise SourceNameReserved for a name that no feed may have."""
    if name == MANUAL:
        raise SourceNameReserved


class SourceOfSupplier(Conflict):
    """A supplier is, or was, connected by this name, and its products are those of its offers: use another one."""


def refuse_suppliers(session: Session, source: Source) -> None:
    """Raise SourceOfSupplier, with the `connection_id`, for a source that no feed may fill."""
    named = select(Connection.id).where(Connection.merchant_id == source.merchant_id, Connection.name == source.name)
    if (connection_id := session.scalar(named)) is not None:
        raise SourceOfSupplier(param="source", connection_id=str(connection_id))


def source_named(session: Session, *, merchant_id: UUID, name: str) -> Source:
    """The merchant's source of that name; a new one, with every policy at its default, where there is none yet.

    Of two that come at once, both get the same. Raises SourceNameReserved.
    """
    refuse_reserved(name)
    own = select(Source).where(Source.merchant_id == merchant_id, Source.name == name)
    found = session.scalar(own)
    if found is None:
        made = insert(Source).values(id=new_id(), merchant_id=merchant_id, name=name)
        session.execute(made.on_conflict_do_nothing(index_elements=["merchant_id", "name"]))
        found = session.scalars(own).one()
    return found


def split_secret(url: str | None) -> tuple[str | None, str | None]:
    """A URL as it may be shown, and encrypted as a whole when it has a user or a query: suppliers put keys there."""
    parts = urlsplit(url or "")
    if url is None or not (parts.username or parts.query):
        return url, None
    shown = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="…" if parts.query else "")
    return urlunsplit(shown), encrypt(url)


def address_of(row: Import | OrderImport | Source) -> str | None:
    """The address with its secrets, as it is to be fetched. Raises NoEncryptionKeys, Undecryptable."""
    return row.url if row.url_secret is None else decrypt(row.url_secret)
