"""Files in a Supabase Storage bucket. The bucket is private; only the service key reaches it.

Storage answers nearly every client error with HTTP 400 and puts the true status into the body
(https://github.com/supabase/storage); what a failure means is decided here, once.
"""

import logging
import shutil
import tempfile
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast
from uuid import UUID

import tenacity

from services.storage.base import FileMissing, FileTooLarge, Readable, StorageAway, checked, new_key

if TYPE_CHECKING:
    import httpx
    from storage3._sync.file_api import SyncBucketProxy

LINK_SECONDS = 300
TIMEOUT_SECONDS = 20
TRIES = 4

logger = logging.getLogger(__name__)


class _Transient(Exception):
    """Worth another try; the cause says what it was."""


@dataclass(frozen=True, slots=True)
class _Connected:
    """The client for one bucket, and the HTTP client below it."""

    files: "SyncBucketProxy"
    http: "httpx.Client"


class BucketStorage:
    """Storage in one bucket, a path prefix for each merchant."""

    def __init__(self, *, url: str, key: str, bucket: str) -> None:
        self._url = url
        self._key = key
        self._bucket = bucket
        self._lock = threading.Lock()
        self._client: _Connected | None = None

    def close(self) -> None:
        """Hang up."""
        if self._client is not None:
            self._client.http.close()

    def put(self, stream: Readable, *, merchant_id: UUID, name: str, key: str | None = None) -> str:
        """Upload from a temporary file, so that a try that breaks can be repeated. See `Storage`."""
        key = new_key(merchant_id, name) if key is None else checked(key, merchant_id)
        with tempfile.NamedTemporaryFile(prefix="shopopti-") as copy:
            shutil.copyfileobj(stream, copy, 1024 * 1024)
            copy.flush()

            def upload() -> None:
                with open(copy.name, "rb") as file:
                    self._connect().files.upload(
                        key, file, {"content-type": "application/octet-stream", "upsert": "false"}
                    )

            # "Already exists" can only be our own try before, whose answer was lost: nobody else makes this key.
            self._try(upload, fine=("409",))
        return key

    def open(self, key: str, *, merchant_id: UUID) -> BinaryIO:
        """Stream to a temporary file: the client's own download would hold it all in memory. See `Storage`."""
        checked(key, merchant_id)
        file = tempfile.TemporaryFile(prefix="shopopti-")  # noqa: SIM115  # the caller's to close

        def fetch() -> None:
            file.seek(0)
            file.truncate()
            client = self._connect()
            link = client.files.create_signed_url(key, LINK_SECONDS)["signedURL"]
            if link is None:
                raise FileMissing
            with client.http.stream("GET", link, headers={"Accept-Encoding": "identity"}) as response:
                if response.is_error:
                    response.read()
                    raise _of_response(response)
                for chunk in response.iter_bytes(1024 * 1024):
                    file.write(chunk)

        try:
            self._try(fetch)
            file.seek(0)
        except BaseException:
            file.close()
            raise
        return cast(BinaryIO, file)

    def delete(self, key: str, *, merchant_id: UUID) -> None:
        """See `Storage`."""
        checked(key, merchant_id)
        self._try(lambda: self._connect().files.remove([key]), fine=("404",))

    def _connect(self) -> _Connected:
        with self._lock:
            if self._client is None:
                # Imported here: 30 MB that a process which stores no files need not carry.
                import httpx
                from supabase import create_client
                from supabase.lib.client_options import SyncClientOptions

                http = httpx.Client(timeout=TIMEOUT_SECONDS)
                options = SyncClientOptions(auto_refresh_token=False, persist_session=False, httpx_client=http)
                with warnings.catch_warnings():
                    # The client calls its own storage part in a way that part has deprecated.
                    warnings.simplefilter("ignore", DeprecationWarning)
                    files = create_client(self._url, self._key, options).storage.from_(self._bucket)
                self._client = _Connected(files, http)
            return self._client

    def _try(self, act: Callable[[], object], *, fine: tuple[str, ...] = ()) -> None:
        try:
            for attempt in tenacity.Retrying(
                stop=tenacity.stop_after_attempt(TRIES),
                wait=tenacity.wait_random_exponential(multiplier=0.3, max=5),
                retry=tenacity.retry_if_exception_type(_Transient),
                reraise=True,
            ):
                with attempt:
                    _act(act, fine)
        except _Transient as error:
            raise StorageAway(retry_after=5) from error.__cause__


def _act(act: Callable[[], object], fine: tuple[str, ...]) -> None:
    import httpx
    from storage3.exceptions import StorageApiError

    try:
        act()
    except httpx.TransportError as error:
        raise _Transient from error
    except StorageApiError as error:
        status = str(error.status)
        if status in fine:
            return
        raise _judged(status, error.message) from error


def _judged(status: str, message: str) -> Exception:
    if status == "404":
        return FileMissing()
    if status == "413":
        return FileTooLarge()
    if status == "429" or status.startswith("5"):
        return _Transient()
    # A wrong key, a missing bucket permission: ours to repair, and worth another try when that is done.
    logger.error("storage refused a request: %s %s", status, message)
    return StorageAway("The file storage refuses our requests.", retry_after=60)


def _of_response(response: "httpx.Response") -> Exception:
    try:
        body = response.json()
    except ValueError:
        body = {}
    status = str(body.get("statusCode") or response.status_code) if isinstance(body, dict) else "500"
    return _judged(status, str(body)[:200])
