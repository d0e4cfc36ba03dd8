"""The guarded client: fetches what a user's URL points to, and nothing inside our network; calls suppliers' interfaces.

Every connection is made here: the name is resolved once, all its addresses are checked, and the connection goes to a
checked address (a second lookup, which could answer differently, never happens). TLS still verifies the name. Each
redirect goes through the same. Time, headers, bytes on the wire and bytes after decompression are bounded; proxies from
the environment are not used, since they would resolve the name themselves.
"""

import contextlib
import queue
import re
import socket
import ssl
import threading
import time
import zlib
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.message import Message
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any, BinaryIO
from urllib.parse import unquote, unquote_to_bytes

import certifi
import httpcore
import httpx

from services.core.clock import now
from services.core.outside import (
    OTHER_PROTOCOLS,
    Address,
    Answer,
    Fetched,
    FetchedTooLarge,
    FetchFailed,
    FetchUnavailable,
    Guard,
    NoAnswerAboutHost,
    NoSuchHost,
    UrlNotAllowed,
)
from services.core.settings import get_settings

MAX_REDIRECTS = 3
MAX_URL_LENGTH = 2048
READ_TIMEOUT_SECONDS = 20.0
CONNECT_TIMEOUT_SECONDS = 10.0
USER_AGENT = "ShopOpti/1 (+feed reader)"


def download(
    url: str,
    *,
    into: BinaryIO,
    max_bytes: int,
    deadline_seconds: float,
    headers: Mapping[str, str] | None = None,
    guard: Guard | None = None,
) -> Fetched:
    """GET a user-given URL and write its body, decompressed, to `into`.

    At most `max_bytes` come over the wire and at most as many are written; the whole takes at most `deadline_seconds`.
    `headers` and the URL's credentials go to the URL's own origin only, not along redirects to others.

    Raises UrlNotAllowed (scheme, port, address, too many redirects), FetchedTooLarge, FetchFailed (4xx, no such host,
    bad certificate), FetchUnavailable (5xx, 429, time-outs, broken connections; worth a retry, after its `retry_after`
    if the server named one). On any of them `into` may hold a part.
    """
    if guard is None:
        guard = Guard(allowed=lambda _: True) if get_settings().allow_private_addresses else Guard()
    deadline = time.monotonic() + deadline_seconds
    here = _parse(url)
    origin = _origin(here)
    for _ in range(MAX_REDIRECTS + 1):
        own = dict(headers or {}) if _origin(here) == origin else {}
        with _send(here, own, guard, deadline) as response:
            location = _header(response, "location")
            if response.status not in (301, 302, 303, 307, 308) or location is None:
                return _receive(response, here, into=into, max_bytes=max_bytes)
        try:
            onward = here.join(location)
        except httpx.InvalidURL:
            raise UrlNotAllowed("A redirect leads to an address that cannot be understood.") from None
        if _origin(onward) == _origin(here) and not onward.userinfo:
            onward = onward.copy_with(userinfo=here.userinfo)
        here = _parse(str(onward))
    raise UrlNotAllowed(f"More than {MAX_REDIRECTS} redirects.")


@contextlib.contextmanager
def exchange(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    content: bytes | None = None,
    max_bytes: int,
    deadline_seconds: float,
    read_timeout_seconds: float = READ_TIMEOUT_SECONDS,
    guard: Guard | None = None,
) -> Iterator[Answer]:
    """One request on a connection of its own, and its answer as it comes in. Redirects are not followed.

    Bounded as `download` is. Raises UrlNotAllowed, FetchFailed (no such host, bad certificate), FetchUnavailable
    (time-outs, broken connections), FetchedTooLarge; no status raises. `was_sent` tells the two kinds of failure of a
    request with an effect apart.
    """
    deadline = time.monotonic() + deadline_seconds
    own = headers if content is None else {**headers, "Content-Length": str(len(content))}
    here, guard = _parse(url), guard or Guard()
    with _send(here, own, guard, deadline, method=method, content=content, read=read_timeout_seconds) as response:
        names = {key.lower().decode("latin-1"): value.decode("latin-1").strip() for key, value in response.headers}
        raw = _counted(response.iter_stream(), max_bytes)
        yield Answer(response.status, names, _decoded(raw, names.get("content-encoding")))


def was_sent(error: Exception) -> bool:
    """Whether a request that ended in this error may have reached the other side. When in doubt, it has."""
    if isinstance(error, UrlNotAllowed | NoSuchHost | NoAnswerAboutHost):
        return False
    return not isinstance(error.__cause__, httpcore.ConnectError | httpcore.ConnectTimeout)


def _parse(url: str) -> httpx.URL:
    if len(url) > MAX_URL_LENGTH:
        raise UrlNotAllowed(f"The URL is longer than {MAX_URL_LENGTH} characters.")
    try:
        parsed = httpx.URL(url.strip())
    except httpx.InvalidURL:
        raise UrlNotAllowed("This is not a URL.") from None
    if parsed.scheme not in ("http", "https"):
        raise UrlNotAllowed("Only http:// and https:// addresses are fetched.")
    if not parsed.host:
        raise UrlNotAllowed("The URL names no host.")
    port = _port(parsed)
    if port not in (80, 443) and (not 1024 <= port <= 65_535 or port in OTHER_PROTOCOLS):
        raise UrlNotAllowed(f"Port {port} is not a web port.")
    return parsed


def _port(url: httpx.URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, _port(url)


@contextlib.contextmanager
def _send(
    url: httpx.URL,
    headers: Mapping[str, str],
    guard: Guard,
    deadline: float,
    *,
    method: str = "GET",
    content: bytes | None = None,
    read: float = READ_TIMEOUT_SECONDS,
) -> Iterator[httpcore.Response]:
    sent = {
        "Host": url.netloc.decode("ascii"),
        "User-Agent": USER_AGENT,
        "Accept": "*/*",
        "Accept-Encoding": "gzip, deflate",
        "Connection": "close",
    }
    if url.userinfo:
        sent["Authorization"] = "Basic " + b64encode(unquote_to_bytes(url.userinfo)).decode("ascii")
    sent.update(headers)
    network = _Network(guard, deadline)
    try:
        with (
            httpcore.ConnectionPool(ssl_context=_tls(), network_backend=network, max_connections=1) as pool,
            pool.stream(
                method,
                httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in sent.items()],
                content=content,
                extensions={"timeout": {"connect": CONNECT_TIMEOUT_SECONDS, "read": read}},
            ) as response,
        ):
            yield response
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, OSError, ValueError) as error:
        raise _classified(error, url) from error


def _classified(error: Exception, url: httpx.URL) -> Exception:
    if isinstance(error, ValueError) and not isinstance(error, UnicodeError | httpcore.UnsupportedProtocol):
        raise error
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return FetchFailed(f"The certificate of {url.host} is not valid: {cause.verify_message}.")
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, UnicodeError):
        return UrlNotAllowed("The URL or a header holds characters that cannot be sent.")
    if isinstance(error, httpcore.TimeoutException | TimeoutError):
        return FetchUnavailable(f"{url.host} took too long.")
    if isinstance(error, httpcore.ConnectError):
        return FetchUnavailable(f"No connection to {url.host}.")
    return FetchUnavailable(f"The connection to {url.host} broke.")


def _receive(response: httpcore.Response, url: httpx.URL, *, into: BinaryIO, max_bytes: int) -> Fetched:
    status = response.status
    if status in (408, 425, 429) or status >= 500:
        wait = _retry_after(_header(response, "retry-after"))
        raise FetchUnavailable(f"{url.host} answered {status}.", retry_after=wait, upstream_status=status)
    if status != 304 and not 200 <= status < 300:
        raise FetchFailed(f"{url.host} answered {status}.", upstream_status=status)
    written = 0
    if status != 304:
        length = _header(response, "content-length")
        if length is not None and length.isdigit() and int(length) > max_bytes:
            raise _too_large(max_bytes)
        for chunk in _decoded(_counted(response.iter_stream(), max_bytes), _header(response, "content-encoding")):
            written += len(chunk)
            if written > max_bytes:
                raise _too_large(max_bytes)
            into.write(chunk)
    about = Message()
    about["Content-Type"] = _header(response, "content-type") or "application/octet-stream"
    return Fetched(
        status=status,
        url=str(url.copy_with(userinfo=b"")),
        content_type=about.get_content_type() if _header(response, "content-type") else None,
        charset=about.get_content_charset(),
        filename=_filename(_header(response, "content-disposition"), url),
        etag=_header(response, "etag"),
        last_modified=_header(response, "last-modified"),
        bytes=written,
    )


def _too_large(max_bytes: int) -> FetchedTooLarge:
    return FetchedTooLarge(f"The file is larger than {max_bytes:,} bytes.", max_bytes=max_bytes)


def _counted(chunks: Iterable[bytes], max_bytes: int) -> Iterator[bytes]:
    seen = 0
    for chunk in chunks:
        seen += len(chunk)
        if seen > max_bytes:
            raise _too_large(max_bytes)
        yield chunk


def _decoded(chunks: Iterator[bytes], encoding: str | None) -> Iterator[bytes]:
    """Undo gzip or deflate a piece at a time: a small body that unpacks to a huge one never exists in memory."""
    encoding = (encoding or "identity").strip().lower()
    if encoding == "identity":
        yield from chunks
        return
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise FetchFailed(f"The answer is encoded as {encoding[:40]!r}, which was not asked for.")
    unpacker = None
    try:
        for chunk in chunks:
            data = chunk
            while data:
                if unpacker is None:
                    unpacker = zlib.decompressobj(_window(encoding, data))
                yield unpacker.decompress(data, 65_536)
                data = unpacker.unconsumed_tail
                if unpacker.eof:  # gzip files may be several, one after the other
                    data, unpacker = unpacker.unused_data, None
        if unpacker is not None:
            raise FetchUnavailable("The compressed answer ended early.")
    except zlib.error:
        raise FetchUnavailable("The compressed answer is damaged.") from None


def _window(encoding: str, data: bytes) -> int:
    if encoding != "deflate":
        return 16 + zlib.MAX_WBITS
    # RFC 9110 8.4.1.2 means zlib's format; some servers send the bare stream.
    return zlib.MAX_WBITS if data[0] & 0x0F == 8 else -zlib.MAX_WBITS


def _header(response: httpcore.Response, name: str) -> str | None:
    wanted = name.encode("ascii")
    for key, value in response.headers:
        if key.lower() == wanted:
            return str(value.decode("latin-1")).strip()
    return None


def _retry_after(value: str | None) -> float | None:
    """Seconds, from either of the header's two forms (RFC 9110 10.2.3)."""
    if value is None:
        return None
    if value.isdigit():
        return float(min(int(value), 86_400))
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max(0.0, (moment - now()).total_seconds()), 86_400.0)


def _filename(disposition: str | None, url: httpx.URL) -> str | None:
    """A harmless file name: what the server says, else the last part of the path."""
    name: str | None = None
    if disposition:
        header = Message()
        header["Content-Disposition"] = disposition
        name = header.get_filename()
    name = (name or unquote(url.path)).replace("\\", "/").rpartition("/")[2]
    name = re.sub(r"[\x00-\x1f\x7f]", "", name).strip(". ")
    return name[:200] or None


@cache
def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certifi.where())
    context.load_default_certs()
    return context


class _Network(httpcore.NetworkBackend):
    """Connects to checked addresses only, and lets nothing outlast the deadline."""

    def __init__(self, guard: Guard, deadline: float) -> None:
        self._guard = guard
        self._deadline = deadline
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """A connection to one of the host's addresses, tried in order."""
        addresses = self._addresses(host, port)
        for address in addresses:
            if not self._guard.allowed(address):
                raise UrlNotAllowed(f"{host} is not on the public internet.")
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in addresses:
            try:
                limit = min(_left(self._deadline), timeout or CONNECT_TIMEOUT_SECONDS)
                stream = self._sockets.connect_tcp(str(address), port, timeout=limit, socket_options=socket_options)
                return _Stream(stream, self._deadline)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    def _addresses(self, host: str, port: int) -> list[Address]:
        # getaddrinfo knows no time limit: it gets a thread to be late in.
        answers: queue.SimpleQueue[list[Address] | Exception] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answers.put(self._guard.resolve(host, port))
            except Exception as error:
                answers.put(error)

        threading.Thread(target=ask, daemon=True, name="resolve").start()
        try:
            answer = answers.get(timeout=min(_left(self._deadline), CONNECT_TIMEOUT_SECONDS))
        except queue.Empty:
            raise NoAnswerAboutHost(f"{host} could not be looked up in time.") from None
        if isinstance(answer, socket.gaierror) and answer.errno in (socket.EAI_NONAME, socket.EAI_NODATA):
            raise NoSuchHost(f"There is no host {host}.") from answer
        if isinstance(answer, UnicodeError):
            raise UrlNotAllowed(f"{host} is not a host name.") from answer
        if isinstance(answer, Exception):
            raise NoAnswerAboutHost(f"{host} could not be looked up.") from answer
        return answer


@dataclass
class _Stream(httpcore.NetworkStream):
    """A connection whose every wait ends with the deadline: one byte a minute does not keep it open."""

    inner: httpcore.NetworkStream
    deadline: float

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """At least one byte, or nothing at the end."""
        return self.inner.read(max_bytes, min(_left(self.deadline), timeout or READ_TIMEOUT_SECONDS))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """All of it."""
        self.inner.write(buffer, min(_left(self.deadline), timeout or READ_TIMEOUT_SECONDS))

    def close(self) -> None:
        """Hang up."""
        self.inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """The same connection, encrypted; the certificate must be the name's, not the address's."""
        limit = min(_left(self.deadline), timeout or CONNECT_TIMEOUT_SECONDS)
        return _Stream(self.inner.start_tls(ssl_context, server_hostname, limit), self.deadline)

    def get_extra_info(self, info: str) -> Any:
        """What the inner connection knows."""
        return self.inner.get_extra_info(info)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the deadline is over")
    return left
