"""Keeping a source up to date: fetch what is at its address, and import it if it is another than the last one.

What was fetched becomes an import in the transaction that ends the job, so that it is imported once or, when the
worker dies, fetched again. The import is a child: while it is at work the job waits, and a schedule leaves fires out.
"""

import hashlib
import tempfile
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from services.core import http
from services.core.errors import ShopOptiError, Unavailable
from services.core.outside import FetchUnavailable
from services.core.settings import get_settings
from services.imports.fetch import FETCH_SECONDS
from services.imports.origin import address_of
from services.imports.receive import ImportAlreadyActive, Stored, drop_upload, start_import
from services.imports.sources import SourceWithoutUrl, get_source
from services.jobs import Outcome, Run, Snooze
from services.models import Changeset, Import, Source
from services.storage import get_storage


@dataclass(frozen=True, slots=True)
class _Known:
    """The feed that was dealt with last, and what its server said of it, if it came from the same address."""

    import_id: UUID
    sha256: str | None
    etag: str | None
    last_modified: str | None

    @property
    def unchanged(self) -> dict[str, Any]:
        return {"outcome": "unchanged", "import_id": str(self.import_id)}


def refresh(run: Run, *, source_id: UUID, anew: bool = False) -> Outcome | dict[str, Any] | None:
    """Fetch a source's feed and start its import, which ends the job.

    The result's `outcome`: `started`, `unchanged` (the same as the feed that was dealt with last; not asked with
    `anew`) or `under_way` (the same content is being imported already), and the `import_id`. Raises SourceNotFound,
    SourceWithoutUrl, UrlNotAllowed, FetchFailed, FetchedTooLarge, FetchUnavailable, StorageAway, Stopped.
    """
    with run.transaction() as session:
        source = get_source(session, source_id)
        url, as_of = address_of(source), source.updated_at
        if url is None:
            raise SourceWithoutUrl
        known = None if anew else _dealt_with(session, source, url)
    run.progress(0, None, "fetching")
    with tempfile.TemporaryFile(prefix="shopopti-") as file:
        stored = _fetch(run, url, file, known)
    if stored is None:
        return known.unchanged if known else None
    try:
        with run.transaction() as session:
            return _start(run, session, stored, source_id=source_id, url=url, as_of=as_of)
    except ImportAlreadyActive as active:
        drop_upload(stored, merchant_id=run.merchant_id)
        return {"outcome": "under_way", "import_id": str(active.extra["import_id"])}
    except ShopOptiError as error:
        # A commit whose answer was lost may have happened: then the file is needed.
        if not isinstance(error, Unavailable):
            drop_upload(stored, merchant_id=run.merchant_id)
        raise


def _start(run: Run, session: Session, stored: Stored, *, source_id: UUID, url: str, as_of: datetime) -> Outcome | None:
    source = get_source(session, source_id, lock=True)
    if source.updated_at != as_of:  # somebody has set another address, or currency, meanwhile
        drop_upload(stored, merchant_id=run.merchant_id)
        return Snooze(1, "source_changed")
    import_ = start_import(
        session,
        merchant_id=run.merchant_id,
        source=source.name,
        currency=source.currency,
        stored=stored,
        url=url,
        parent_id=run.id,
    )
    run.finish(session, {"outcome": "started", "import_id": str(import_.id), "import_job_id": str(import_.job_id)})
    return None


def _fetch(run: Run, url: str, file: BinaryIO, known: _Known | None) -> Stored | None:
    """What is at the address, kept; None when it is the feed that is known."""
    conditions = {"If-None-Match": known.etag, "If-Modified-Since": known.last_modified} if known else {}
    fetched = http.download(
        url,
        into=file,
        max_bytes=get_settings().max_upload_bytes,
        deadline_seconds=FETCH_SECONDS,
        headers={name: value for name, value in conditions.items() if value},
    )
    if fetched.status == 304:
        if known is None:
            raise FetchUnavailable("The server says that nothing has changed, which it was not asked.")
        return None
    run.checkpoint()
    sha256 = _sha256(file)
    if known is not None and known.sha256 == sha256:
        return None
    key = get_storage().put(file, merchant_id=run.merchant_id, name=fetched.filename or "feed")
    return Stored(key, fetched.filename, sha256, fetched.bytes, fetched.etag, fetched.last_modified)


def _sha256(file: BinaryIO) -> str:
    found = hashlib.sha256()
    file.seek(0)
    while chunk := file.read(1 << 20):
        found.update(chunk)
    file.seek(0)
    return found.hexdigest()


def _dealt_with(session: Session, source: Source, url: str) -> _Known | None:
    """The source's latest feed that is in the catalogue, or that a person decides or has decided about.

    One that failed is none, nor one from before the source's settings were changed.
    """
    decided = or_(
        Changeset.state.in_(("applied", "awaiting_approval", "planned")),
        (Changeset.state == "discarded") & Changeset.decided_at.is_not(None),
    )
    latest = (
        select(Import)
        .join(Changeset, (Changeset.merchant_id == Import.merchant_id) & (Changeset.import_id == Import.id))
        .where(Import.merchant_id == source.merchant_id, Import.source == source.name, decided)
        .where(Import.created_at >= source.updated_at)
        .order_by(Import.id.desc())
        .limit(1)
    )
    found = session.scalar(latest)
    if found is None:
        return None
    if address_of(found) != url:
        return _Known(found.id, found.sha256, None, None)
    return _Known(found.id, found.sha256, found.etag, found.last_modified)
