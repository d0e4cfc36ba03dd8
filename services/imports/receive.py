"""The door: look at what is offered, keep it, and make the import and its job in one transaction."""

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, BinaryIO
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.core.clock import now
from services.core.db import transaction
from services.core.errors import Conflict, Invalid, TooLarge, Unavailable
from services.core.ids import new_id
from services.core.settings import get_settings
from services.formats.base import FeedRefused
from services.formats.look import HEAD, MAPPABLE, refuse_early
from services.formats.numbers import currency_code
from services.formats.read import kind
from services.imports.jobs import ImportCsvProducts, ImportXmlFeed, RemoveFeed
from services.imports.origin import refuse_suppliers, source_named, split_secret
from services.jobs import enqueue
from services.models import Import, Source
from services.storage import get_storage


class CurrencyUnknown(Invalid):
    """This is not an ISO 4217 currency code."""


class ImportAlreadyActive(Conflict):
    """The same content is already on its way into this source."""


class UploadTooLarge(TooLarge):
    """The file is larger than is allowed here."""


class FeedNotUsable(Invalid):
    """This file cannot be imported; the code and the detail are the reader's."""

    def __init__(self, refused: FeedRefused) -> None:
        super().__init__(refused.reason, param="file")
        vars(self)["code"] = refused.code  # of the instance: one class for all reasons a reader may find


@dataclass(frozen=True, slots=True)
class Stored:
    """An uploaded file, kept."""

    key: str
    filename: str | None
    sha256: str
    bytes: int
    etag: str | None = None  # of one that was fetched
    last_modified: str | None = None
    is_xml: bool = False


class HashingReader(io.RawIOBase):
    """Reads another stream from where it stands, and knows what went through it."""

    def __init__(self, inner: BinaryIO) -> None:
        self._inner = inner
        self._hash = hashlib.sha256()
        self.bytes = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes of the inner stream."""
        chunk = self._inner.read(size)
        self._hash.update(chunk)
        self.bytes += len(chunk)
        return chunk

    @property
    def sha256(self) -> str:
        """Of what was read so far, in hexadecimal."""
        return self._hash.hexdigest()


def known_currency(given: str | None) -> str | None:
    """The ISO 4217 code in capitals; None for none. Raises CurrencyUnknown."""
    if given is None:
        return None
    if len(given) != 3 or currency_code(given) is None:
        raise CurrencyUnknown(param="currency")
    return given.upper()


def refuse_unusable(file: BinaryIO, *, merchant_id: UUID, source: str | None = None) -> None:
    """Look at a file as far as that is quick, and raise FeedNotUsable for what is certainly no feed.

    A source with a mapping may take what is no table of products by itself. What only shows further on makes the job
    fail instead. The stream is left at its beginning.
    """
    try:
        refuse_early(file)
    except FeedRefused as refused:
        if refused.code in MAPPABLE and source is not None and _has_mapping(merchant_id, source):
            return
        raise FeedNotUsable(refused) from refused


def _has_mapping(merchant_id: UUID, source: str) -> bool:
    own = select(Source.mapping).where(Source.merchant_id == merchant_id, Source.name == source)
    with transaction(merchant_id=merchant_id) as session:
        return bool(session.scalar(own))


def store_upload(file: BinaryIO, *, merchant_id: UUID, filename: str | None, source: str | None = None) -> Stored:
    """Keep an uploaded file for a source, hashing it on the way. Raises FeedNotUsable, UploadTooLarge, StorageAway.

    Call it outside any transaction, and what is done with it inside `unless_taken`.
    """
    is_xml = False

    def refuse() -> None:
        nonlocal is_xml
        refuse_unusable(file, merchant_id=merchant_id, source=source)
        is_xml = kind(file.read(HEAD)) == "xml"

    return replace(keep(file, merchant_id=merchant_id, filename=filename, refuse=refuse), is_xml=is_xml)


def keep(file: BinaryIO, *, merchant_id: UUID, filename: str | None, refuse: Callable[[], object]) -> Stored:
    """Keep an uploaded file that `refuse` lets through, hashing it on the way. Raises UploadTooLarge, StorageAway."""
    size = file.seek(0, io.SEEK_END)
    most = get_settings().max_upload_bytes
    if size > most:
        raise UploadTooLarge(f"The file is larger than {most:,} bytes.", max_bytes=most)
    file.seek(0)
    refuse()
    file.seek(0)
    reader = HashingReader(file)
    name = (filename or "").replace("\\", "/").rpartition("/")[2].replace("\0", "")[:200] or None
    key = get_storage().put(reader, merchant_id=merchant_id, name=name or "feed")
    return Stored(key, name, reader.sha256, reader.bytes)


def drop_upload(stored: Stored, *, merchant_id: UUID) -> None:
    """Forget a file that no import has taken."""
    get_storage().delete(stored.key, merchant_id=merchant_id)


class Upload:
    """A stored file of which it is not yet known whether it is needed."""

    taken = False  # set once a row of the transaction under way names it


@contextmanager
def unless_taken(stored: Stored | None, *, merchant_id: UUID) -> Iterator[Upload]:
    """Forget the stored file at the end of the block, unless it was taken. Open the transaction inside."""
    upload = Upload()
    needed = False
    try:
        yield upload
        needed = upload.taken
    except Unavailable:
        needed = upload.taken  # a commit whose answer was lost may have happened
        raise
    finally:
        if stored is not None and not needed:
            drop_upload(stored, merchant_id=merchant_id)


def start_import(
    session: Session,
    *,
    merchant_id: UUID,
    source: str,
    currency: str | None,
    bad_rows: str | None = None,
    stored: Stored | None = None,
    url: str | None = None,
    parent_id: UUID | None = None,
) -> Import:
    """An import of a stored file, of an address, or of what was fetched from there (both), and its job.

    The source is made if there is none of that name; its currency, and what it says of `bad_rows`, are those of an
    import that names none. Raises SourceNameReserved, SourceOfSupplier; ImportAlreadyActive (with the ids of the active
    one) when the same content, or the same address, is on its way into the source with the same currency, mapping and
    `bad_rows`. What the source's mapping is now it is read by, whenever that is.
    """
    origin = source_named(session, merchant_id=merchant_id, name=source)
    refuse_suppliers(session, origin)
    currency = currency or origin.currency
    content = stored.sha256 if stored else f"url {url}"
    read_by = json.dumps(origin.mapping, sort_keys=True) if origin.mapping else ""
    id_ = new_id()
    job_id, is_new = enqueue(
        session,
        (ImportXmlFeed if stored and stored.is_xml else ImportCsvProducts)(import_id=id_),
        merchant_id=merchant_id,
        unique_key=hashlib.sha256(
            "\n".join((source, currency or "", content, read_by, *([bad_rows] if bad_rows else []))).encode()
        ).hexdigest(),
        parent_id=parent_id,
    )
    if not is_new:
        active = session.scalar(select(Import.id).where(Import.merchant_id == merchant_id, Import.job_id == job_id))
        raise ImportAlreadyActive(import_id=active, job_id=job_id, status_url=status_url(active))
    enqueue(
        session,
        RemoveFeed(import_id=id_),
        merchant_id=merchant_id,
        run_at=now() + timedelta(days=get_settings().feed_days),
    )
    import_ = Import(
        id=id_,
        merchant_id=merchant_id,
        job_id=job_id,
        source=source,
        currency=currency,
        mapping=origin.mapping,
        bad_rows=bad_rows,
        **where_it_is(stored, url),
        etag=stored.etag if stored else None,
        last_modified=stored.last_modified if stored else None,
    )
    session.add(import_)
    session.flush()
    return import_


def where_it_is(stored: Stored | None, url: str | None) -> dict[str, Any]:
    """What the row of any import says of its file, and of the address that it comes from."""
    shown, secret = split_secret(url)
    address = {"url": shown, "url_secret": secret}
    if stored is None:
        return address
    file = {"filename": stored.filename, "storage_key": stored.key, "sha256": stored.sha256, "bytes": stored.bytes}
    return {**address, **file}


def status_url(import_id: UUID | None) -> str:
    """Where to ask how an import is going."""
    return f"/api/v1/bulk/operations/{import_id}"
