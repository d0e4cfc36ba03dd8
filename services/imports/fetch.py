"""Feeds at an address: checked before they are accepted, fetched by the worker, stored once."""

import io
import tempfile

from services.core import http, outside
from services.core.settings import get_settings
from services.imports.origin import address_of
from services.imports.receive import HashingReader, Stored
from services.jobs import Run
from services.models import Import
from services.storage import get_storage

FETCH_SECONDS = 600.0
LOOK_UP_SECONDS = 3.0


class _Fine(Exception):
    """The look-up ends here: nothing speaks against the address, and nobody is to be called yet."""


def check_address(url: str) -> None:
    """Raise UrlNotAllowed or FetchFailed for an address that would certainly be refused when it is fetched.

    It is judged by the client that will fetch it, which is stopped before it connects. A name that cannot be looked
    up right now is let through: the worker asks again, with more patience.
    """
    private = get_settings().allow_private_addresses

    def look_up(host: str, port: int) -> list[outside.Address]:
        addresses = outside.resolve(host, port)
        if private or all(map(outside.is_public, addresses)):
            raise _Fine
        return addresses

    try:
        http.download(
            url,
            into=io.BytesIO(),
            max_bytes=0,
            deadline_seconds=LOOK_UP_SECONDS,
            guard=outside.Guard(resolve=look_up),
        )
    except outside.FetchUnavailable:
        return
    except (outside.UrlNotAllowed, outside.FetchFailed) as error:
        error.param = "url"
        raise


def fetch(run: Run, import_: Import) -> None:
    """Fetch the import's address into the storage and note in its row what came. Done once: a retry finds it there.

    Raises UrlNotAllowed, FetchFailed, FetchedTooLarge, FetchUnavailable, StorageAway, Stopped.
    """
    if import_.storage_key is not None or import_.url is None:
        return
    stored = fetch_into_storage(run, address_of(import_) or "")
    with run.transaction() as session:
        row = session.get_one(Import, import_.id)
        row.storage_key, row.filename, row.sha256, row.bytes = stored.key, stored.filename, stored.sha256, stored.bytes
        row.etag, row.last_modified = stored.etag, stored.last_modified


def fetch_into_storage(run: Run, url: str) -> Stored:
    """What stands at an address, kept. Raises UrlNotAllowed, FetchFailed, FetchedTooLarge, FetchUnavailable,
    StorageAway, Stopped."""
    run.progress(0, None, "fetching")
    with tempfile.TemporaryFile(prefix="shopopti-") as file:
        most = get_settings().max_upload_bytes
        fetched = http.download(url, into=file, max_bytes=most, deadline_seconds=FETCH_SECONDS)
        run.checkpoint()
        file.seek(0)
        reader = HashingReader(file)
        key = get_storage().put(reader, merchant_id=run.merchant_id, name=fetched.filename or "feed")
    return Stored(key, fetched.filename, reader.sha256, reader.bytes, fetched.etag, fetched.last_modified)
