"""The file at a merchant's address: fetched by the guarded client, its failures classified, read as any feed is.

The address is a merchant's: it must not lead into our network, and neither may its redirects. Only where the operator
has put the sandbox in the supplier's place (`base_url`) it names a file there, and nothing else.
"""

import hashlib
import json
import re
import tempfile
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urljoin

from services.core import http, outside
from services.core.clock import now
from services.formats.base import FeedRefused, Reading
from services.suppliers.base import Connection
from services.suppliers.errors import FatalForConnection, ReconnectNeeded, Retry, SupplierError, WaitUntil

if TYPE_CHECKING:
    from services.formats.mapping import Mapping

ENDPOINT = "feed"
MAX_BYTES = 512 * 1024 * 1024
DEADLINE_SECONDS = 900.0
HEAD_BYTES = 512 * 1024
HEAD_DEADLINE_SECONDS = 20.0
UNTOLD_WAIT_SECONDS = 900.0  # after a 429 that names no time

# What a file is taken for that is being written at this moment, or that a page about maintenance stands in for.
_PASSING = frozenset(
    ("empty", "web_page", "json_broken", "xml_broken", "archive_broken", "archive_empty", "workbook_broken")
) | {"no_records", "not_delimited", "undecodable"}
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}):[ \t]*([ -~]{1,2000})")
_OURS = frozenset(("host", "connection", "content-length", "transfer-encoding", "accept-encoding", "te", "upgrade"))


@dataclass(frozen=True, slots=True)
class File:
    """What was fetched."""

    stream: BinaryIO  # at its beginning
    print: str  # the same for the same bytes


class _Enough(Exception):
    """The head is there."""


class _Hashing:
    """A file that knows the hash of what is written to it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._write, self.hash = stream.write, hashlib.blake2b(digest_size=12)

    def write(self, data: bytes) -> int:
        """Write and remember."""
        self.hash.update(data)
        return self._write(data)


class _Head:
    """A file that has enough after a while."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes) -> int:
        """Write, unless that is enough."""
        self.data += data
        if len(self.data) >= HEAD_BYTES:
            raise _Enough
        return len(data)


@contextmanager
def fetched(connection: Connection) -> Iterator[File]:
    """The whole file, on disk while the block lasts. Raises Retry, WaitUntil, ReconnectNeeded, FatalForConnection."""
    with tempfile.TemporaryFile(prefix="shopopti-") as stream:
        into = _Hashing(stream)
        try:
            _download(connection, into, max_bytes=MAX_BYTES, deadline_seconds=DEADLINE_SECONDS)
        except (outside.FetchFailed, outside.FetchUnavailable, outside.FetchedTooLarge, outside.UrlNotAllowed) as error:
            raise _classified(error) from error
        stream.seek(0)
        yield File(stream, into.hash.hexdigest())


def head(connection: Connection) -> tuple[bytes, bool]:
    """The beginning of the file, and whether that is all of it.

    Raises as `fetched` does; but an address with nothing behind it is a mistake here, not something that passes.
    """
    into = _Head()
    try:
        _download(connection, into, max_bytes=MAX_BYTES, deadline_seconds=HEAD_DEADLINE_SECONDS)
    except _Enough:
        return bytes(into.data), False
    except outside.FetchFailed as error:
        if error.extra.get("upstream_status") == 404:
            raise FatalForConnection(error.detail, kind="endpoint_gone") from error
        raise _classified(error) from error
    except (outside.FetchUnavailable, outside.FetchedTooLarge, outside.UrlNotAllowed) as error:
        raise _classified(error) from error
    return bytes(into.data), True


def reading(connection: Connection, stream: BinaryIO) -> Reading:
    """The file as a feed. Raises Retry for what may pass, FatalForConnection for what is no feed or another one."""
    from services.formats import read  # brings readers along that most workers never need

    try:
        return read.read(stream, default_currency=connection.currency, mapping=_mapping(connection))
    except FeedRefused as refused:
        if refused.code in _PASSING:
            raise Retry(refused.reason, kind=refused.code) from refused
        raise not_a_feed(refused) from refused


def not_a_feed(refused: FeedRefused) -> FatalForConnection:
    """What a file is that cannot be read."""
    return FatalForConnection(refused.reason, kind="schema", supplier_code=refused.code)


def _mapping(connection: Connection) -> "Mapping | None":
    given = connection.secrets.get("mapping")
    if not given:
        return None
    from services.formats import mapping

    try:
        return mapping.parse(json.loads(given))
    except ValueError:
        raise FatalForConnection("The mapping is no JSON.", kind="schema") from None
    except FeedRefused as refused:
        raise not_a_feed(refused) from refused


def _download(connection: Connection, into: "_Hashing | _Head", *, max_bytes: int, deadline_seconds: float) -> None:
    url, guard = _address(connection)
    connection.meter.take([ENDPOINT])
    http.download(
        url,
        into=into,  # type: ignore[arg-type]  # it is written to and nothing else
        max_bytes=max_bytes,
        deadline_seconds=deadline_seconds,
        headers=_headers(connection),
        guard=guard,
    )


def _address(connection: Connection) -> tuple[str, outside.Guard | None]:
    url = connection.secrets["url"].strip()
    if connection.base_url is None:
        return url, None
    base = f"{connection.base_url.rstrip('/')}/"
    inside = urljoin(base, url)
    if not inside.startswith(base):
        raise FatalForConnection(f"In the sandbox an address begins with {base}.", kind="unreachable")
    return inside, outside.Guard(allowed=lambda _: True)


def _headers(connection: Connection) -> dict[str, str]:
    given = connection.secrets
    headers: dict[str, str] = {}
    if line := given.get("header"):
        found = _HEADER.fullmatch(line.strip())
        if found is None or found[1].lower() in _OURS:
            raise ReconnectNeeded('A header is a name and a value, as "X-Api-Key: 12345".')
        headers[found[1]] = found[2].rstrip()
    if given.get("user") or given.get("password"):
        pair = f"{given.get('user') or ''}:{given.get('password') or ''}"
        headers["Authorization"] = "Basic " + b64encode(pair.encode()).decode("ascii")
    return headers


def _classified(
    error: outside.FetchFailed | outside.FetchUnavailable | outside.FetchedTooLarge | outside.UrlNotAllowed,
) -> SupplierError:
    status, said = error.extra.get("upstream_status"), error.detail
    match error:
        case outside.FetchUnavailable() if status == 429:
            return WaitUntil(now() + timedelta(seconds=error.retry_after or UNTOLD_WAIT_SECONDS), said)
        case outside.FetchUnavailable():
            return Retry(said, retry_after=error.retry_after)
        case outside.FetchFailed() if status in (401, 403, 407):
            return ReconnectNeeded(said)
        case outside.FetchFailed() if status == 404:  # many are deleted every night and written anew
            return Retry(said, kind="not_found")
        case outside.FetchFailed() if status is not None:
            return FatalForConnection(said, kind="endpoint_gone")
        case outside.FetchedTooLarge():
            return FatalForConnection(said, kind="schema")
    return FatalForConnection(said, kind="unreachable")
