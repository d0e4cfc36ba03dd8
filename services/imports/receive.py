"""The door: look at what is offered, keep it, and make the import and its job in one transaction."""

import hashlib
import io
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.core.crypto import encrypt
from services.core.errors import Conflict, Invalid, TooLarge
from services.core.ids import new_id
from services.core.settings import get_settings
from services.formats import delimited, sniff
from services.formats.base import FeedRefused
from services.formats.numbers import currency_code
from services.imports.jobs import ImportCsvProducts
from services.jobs import enqueue
from services.models import Import
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


def refuse_unusable(file: BinaryIO) -> None:
    """Look at the beginning of a file, as much as its reader would, and raise FeedNotUsable for what is no feed.

    What only shows further on makes the job fail instead. The stream is left at its beginning.
    """
    head = file.read(sniff.SAMPLE)
    complete = not file.read(1)
    file.seek(0)
    try:
        delimited.read(io.BytesIO(head))
    except FeedRefused as refused:
        # What stands further on may still tell the encoding, or that there are rows at all.
        if complete or refused.code not in ("undecodable", "no_records"):
            raise FeedNotUsable(refused) from refused


def store_upload(file: BinaryIO, *, merchant_id: UUID, filename: str | None) -> Stored:
    """Keep an uploaded file, hashing it on the way. Raises FeedNotUsable, UploadTooLarge, StorageAway.

    Call it outside any transaction. What is not taken into an import is to be given to `drop_upload`.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    most = get_settings().max_upload_bytes
    if size > most:
        raise UploadTooLarge(f"The file is larger than {most:,} bytes.", max_bytes=most)
    refuse_unusable(file)
    reader = HashingReader(file)
    name = (filename or "").replace("\\", "/").rpartition("/")[2].replace("\0", "")[:200] or None
    key = get_storage().put(reader, merchant_id=merchant_id, name=name or "feed")
    return Stored(key, name, reader.sha256, reader.bytes)


def drop_upload(stored: Stored, *, merchant_id: UUID) -> None:
    """Forget a file that no import has taken."""
    get_storage().delete(stored.key, merchant_id=merchant_id)


def start_import(
    session: Session,
    *,
    merchant_id: UUID,
    source: str,
    currency: str | None,
    stored: Stored | None = None,
    url: str | None = None,
) -> Import:
    """An import of a stored file or of an address, and its job.

    Raises ImportAlreadyActive (with the ids of the active one) when the same content, or the same address, is on its
    way into the source with the same currency.
    """
    content = stored.sha256 if stored else f"url {url}"
    id_ = new_id()
    job_id, is_new = enqueue(
        session,
        ImportCsvProducts(import_id=id_),
        merchant_id=merchant_id,
        unique_key=hashlib.sha256("\n".join((source, currency or "", content)).encode()).hexdigest(),
    )
    if not is_new:
        active = session.scalar(select(Import.id).where(Import.merchant_id == merchant_id, Import.job_id == job_id))
        raise ImportAlreadyActive(import_id=active, job_id=job_id, status_url=status_url(active))
    shown, secret = _split_secret(url)
    import_ = Import(
        id=id_,
        merchant_id=merchant_id,
        job_id=job_id,
        source=source,
        currency=currency,
        url=shown,
        url_secret=secret,
        filename=stored.filename if stored else None,
        storage_key=stored.key if stored else None,
        sha256=stored.sha256 if stored else None,
        bytes=stored.bytes if stored else None,
    )
    session.add(import_)
    session.flush()
    return import_


def status_url(import_id: UUID | None) -> str:
    """Where to ask how an import is going."""
    return f"/api/v1/bulk/operations/{import_id}"


def _split_secret(url: str | None) -> tuple[str | None, str | None]:
    """A URL as it may be shown, and encrypted as a whole when it has a user or a query: suppliers put keys there."""
    parts = urlsplit(url or "")
    if url is None or not (parts.username or parts.query):
        return url, None
    shown = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="…" if parts.query else "")
    return urlunsplit(shown), encrypt(url)
