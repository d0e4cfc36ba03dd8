"""The guarded client against hostile servers: real sockets on loopback, where 127.0.0.1 plays the public internet."""

import gzip
import io
import ipaddress
import socket
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable

import pytest

from services.core.errors import Invalid, Unavailable
from services.core.http import download
from services.core.outside import FetchedTooLarge, FetchFailed, FetchUnavailable, Guard, UrlNotAllowed, is_public

PLAY_PUBLIC = ipaddress.ip_address("127.0.0.1")


def allowed(address) -> bool:
    """127.0.0.1 plays a public address; all others are judged as always."""
    return address == PLAY_PUBLIC or is_public(address)


GUARD = Guard(allowed=allowed, resolve=lambda host, port: [PLAY_PUBLIC] if host.endswith(".test") else _literal(host))


def _literal(host: str):
    try:
        return [ipaddress.ip_address(host)]
    except ValueError:
        raise socket.gaierror(socket.EAI_NONAME, "no such host") from None


class Server:
    """Accepts connections, reads the request's head, then does as told with the socket."""

    def __init__(self, answer: Callable[[socket.socket, bytes], None]) -> None:
        self.answer = answer
        self.requests: list[bytes] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with connection:
            head = b""
            try:
                while b"\r\n\r\n" not in head:
                    part = connection.recv(65_536)
                    if not part:
                        return
                    head += part
                self.requests.append(head)
                self.answer(connection, head)
            except OSError:
                pass


@pytest.fixture
def serve():
    """`serve(answer)`: a server; `answer` is bytes to send, or a function of (socket, request)."""
    started = []

    def start(answer) -> Server:
        server = Server(answer if callable(answer) else lambda connection, _: connection.sendall(answer))
        started.append(server)
        return server

    yield start
    for server in started:
        server.listener.close()


def reply(body: bytes = b"", *, status: str = "200 OK", **headers: str) -> bytes:
    """An HTTP response."""
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    if "Content_Length" not in headers:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def fetch(url: str, *, max_bytes: int = 1_000_000, seconds: float = 5, guard: Guard = GUARD, **options):
    """Download; returns what was said about it, and the body."""
    into = io.BytesIO()
    return download(
        url, into=into, max_bytes=max_bytes, deadline_seconds=seconds, guard=guard, **options
    ), into.getvalue()


def test_a_file_and_what_is_said_about_it(serve):
    server = serve(
        reply(
            b"a,b\n1,2\n",
            Content_Type="text/CSV; charset=UTF-8",
            ETag='"v1"',
            Last_Modified="Sat, 21 Nov 2026 10:00:00 GMT",
            Content_Disposition="attachment; filename*=UTF-8''..%2f..%2fpreis%20liste.csv",
        )
    )
    fetched, body = fetch(f"http://feed.test:{server.port}/x.csv?y=1#z")
    assert body == b"a,b\n1,2\n"
    assert (fetched.status, fetched.bytes, fetched.content_type, fetched.charset) == (200, 8, "text/csv", "utf-8")
    assert (fetched.filename, fetched.etag) == ("preis liste.csv", '"v1"')
    assert server.requests[0].startswith(b"GET /x.csv?y=1 HTTP/1.1\r\n")
    assert f"host: feed.test:{server.port}\r\n".encode() in server.requests[0].lower()


def test_the_file_name_comes_from_the_path_when_nobody_says(serve):
    server = serve(reply(b"x"))
    assert fetch(f"http://feed.test:{server.port}/a/stock%20list.csv")[0].filename == "stock list.csv"
    assert fetch(f"http://feed.test:{server.port}/")[0].filename is None


@pytest.mark.parametrize(
    "url",
    [
        "ftp://feed.test/x",
        "file:///etc/passwd",
        "gopher://feed.test/",
        "javascript:alert(1)",
        "//feed.test/x",
        "feed.test/x",
        "http://",
        "http:///x",
        "",
        "http://feed.test:99999/",
        "http://feed.test:22/",
        "http://feed.test:25/",
        "http://feed.test:6379/",
        "http://feed.test:5432/",
        "http://[::1/",
        "http://feed.test/" + "x" * 3000,
    ],
)
def test_addresses_that_are_no_web_addresses(url):
    with pytest.raises(UrlNotAllowed):
        fetch(url)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.2",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "100.100.100.200",
        "192.0.0.192",
        "192.0.2.1",
        "198.18.0.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:10.0.0.1]",
        "[::ffff:a9fe:a9fe]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b::a9fe:a9fe]",
        "[64:ff9b:1::a00:1]",
        "[2002:7f00:1::]",
        "[2002:a9fe:a9fe::1]",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "[fec0::1]",
        "[ff02::1]",
        "[2001:db8::1]",
        "[100::1]",
    ],
)
def test_addresses_that_are_not_public(host):
    with pytest.raises(UrlNotAllowed, match="public"):
        fetch(f"http://{host}/")
    name = Guard(resolve=lambda *_: [ipaddress.ip_address(host.strip("[]"))])
    with pytest.raises(UrlNotAllowed, match="public"):
        fetch("http://innocent.example/", guard=name)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "2a00:1450:4001::1", "64:ff9b::808:808", "::ffff:8.8.8.8"]
)
def test_public_addresses_are_public(address):
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "localhost", "0"])
def test_other_ways_to_write_loopback_end_at_the_same_check(host):
    with pytest.raises((UrlNotAllowed, FetchFailed)):
        fetch(f"http://{host}/", guard=Guard())


def test_a_name_with_one_private_address_among_public_ones_is_refused(serve):
    server = serve(reply(b"x"))
    mixed = Guard(allowed=allowed, resolve=lambda *_: [PLAY_PUBLIC, ipaddress.ip_address("10.0.0.1")])
    with pytest.raises(UrlNotAllowed):
        fetch(f"http://feed.test:{server.port}/", guard=mixed)
    assert not server.requests


def test_a_name_that_changes_its_address_is_looked_up_once(serve):
    server = serve(reply(b"public"))
    answers = iter([[PLAY_PUBLIC], [ipaddress.ip_address("127.0.0.2")], [ipaddress.ip_address("127.0.0.2")]])
    rebinding = Guard(allowed=allowed, resolve=lambda *_: next(answers))
    assert fetch(f"http://rebind.test:{server.port}/", guard=rebinding)[1] == b"public"
    with pytest.raises(UrlNotAllowed):
        fetch(f"http://rebind.test:{server.port}/", guard=rebinding)


def test_a_rebinding_between_redirects_is_caught(serve):
    server = serve(reply(status="302 Found", Location="/again"))
    answers = iter([[PLAY_PUBLIC], [ipaddress.ip_address("169.254.169.254")]])
    with pytest.raises(UrlNotAllowed):
        fetch(f"http://rebind.test:{server.port}/", guard=Guard(allowed=allowed, resolve=lambda *_: next(answers)))


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://127.0.0.2/",
        "http://[::ffff:169.254.169.254]/",
        "//10.0.0.1/",
        "file:///etc/passwd",
        "http://feed.test:22/",
        "http://[bad",
    ],
)
def test_redirects_are_checked_like_the_first_address(serve, location):
    server = serve(reply(status="302 Found", Location=location))
    with pytest.raises(Invalid):
        fetch(f"http://feed.test:{server.port}/")
    assert len(server.requests) == 1


def test_three_redirects_and_no_more(serve):
    def hop(connection, head):
        left = int(head.split(b"/")[1].split(b" ")[0])
        connection.sendall(reply(b"there") if left == 0 else reply(status="307 Go on", Location=f"/{left - 1}"))

    server = serve(hop)
    fetched, body = fetch(f"http://feed.test:{server.port}/3")
    assert body == b"there"
    assert fetched.url.endswith("/0")
    with pytest.raises(UrlNotAllowed, match="redirects"):
        fetch(f"http://feed.test:{server.port}/4")


def test_credentials_stay_with_their_origin(serve):
    there = serve(reply(b"there"))
    here = serve(
        lambda connection, head: connection.sendall(
            reply(status="302 Found", Location="/same")
            if b"GET /start" in head
            else reply(status="302 Found", Location=f"http://other.test:{there.port}/")
        )
    )
    fetched, _ = fetch(f"http://us%40er:pa%3Ass@feed.test:{here.port}/start", headers={"X-Key": "k"})
    assert all(b"authorization: basic dXNAZXI6cGE6c3M=" in _lowered(head) for head in here.requests)
    assert len(here.requests) == 2
    assert b"authorization" not in there.requests[0].lower()
    assert b"x-key" not in there.requests[0].lower()
    assert "us" not in fetched.url.partition("other.test")[0]


def _lowered(head: bytes) -> bytes:
    return head.replace(b"Authorization: Basic", b"authorization: basic")


@pytest.mark.parametrize("name", ["X-Bad\r\nInjected", "X"])
def test_headers_cannot_be_injected(serve, name):
    server = serve(reply(b"x"))
    with pytest.raises((Invalid, Unavailable)):
        fetch(f"http://feed.test:{server.port}/", headers={name: "a\r\nInjected: yes"})
    assert not server.requests


def test_proxies_of_the_environment_are_not_used(serve, monkeypatch):
    server = serve(reply(b"direct"))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert fetch(f"http://feed.test:{server.port}/")[1] == b"direct"


def test_one_byte_at_a_time_does_not_outlast_the_deadline(serve):
    def drip(connection, _):
        for byte in reply(b"x" * 1000) * 100:
            connection.sendall(bytes([byte]))
            time.sleep(0.05)

    started = time.monotonic()
    with pytest.raises(FetchUnavailable, match="too long"):
        fetch(f"http://feed.test:{serve(drip).port}/", seconds=0.6)
    assert time.monotonic() - started < 1.5


def test_a_dripping_body_and_a_silent_server_do_not_either(serve):
    def drip(connection, _):
        connection.sendall(reply(Content_Length="1000"))
        for _ in range(100):
            connection.sendall(b"x")
            time.sleep(0.05)

    for server in (serve(drip), serve(lambda *_: time.sleep(3))):
        started = time.monotonic()
        with pytest.raises(FetchUnavailable):
            fetch(f"http://feed.test:{server.port}/", seconds=0.5)
        assert time.monotonic() - started < 1.5


def test_a_resolver_that_hangs_does_not_either():
    started = time.monotonic()
    with pytest.raises(FetchUnavailable):
        fetch("http://feed.test/", seconds=0.3, guard=Guard(resolve=lambda *_: time.sleep(2) or []))
    assert time.monotonic() - started < 1


def test_an_endless_body_ends_at_the_limit(serve):
    def pour(connection, _):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65_536)

    into = io.BytesIO()
    with pytest.raises(FetchedTooLarge):
        download(
            f"http://feed.test:{serve(pour).port}/", into=into, max_bytes=300_000, deadline_seconds=10, guard=GUARD
        )
    assert len(into.getvalue()) <= 300_000


def test_a_length_over_the_limit_is_not_even_read(serve):
    with pytest.raises(FetchedTooLarge):
        fetch(f"http://feed.test:{serve(reply(Content_Length='99999999')).port}/", max_bytes=1000)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_bomb_is_defused(serve, encoding):
    bomb = (gzip.compress if encoding == "gzip" else zlib.compress)(bytes(50_000_000))
    server = serve(reply(bomb, Content_Encoding=encoding))
    tracemalloc.start()
    try:
        with pytest.raises(FetchedTooLarge):
            fetch(f"http://feed.test:{server.port}/", max_bytes=1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(b"a,b\n" * 50_000)),
        ("x-gzip", gzip.compress(b"a,b\n" * 20_000) + gzip.compress(b"a,b\n" * 30_000)),
        ("deflate", zlib.compress(b"a,b\n" * 50_000)),
        ("Deflate", zlib.compress(b"a,b\n" * 50_000)[2:-4]),
        ("identity", b"a,b\n" * 50_000),
    ],
)
def test_compressed_bodies_are_unpacked(serve, encoding, packed):
    server = serve(reply(packed, Content_Encoding=encoding))
    fetched, body = fetch(f"http://feed.test:{server.port}/")
    assert body == b"a,b\n" * 50_000
    assert fetched.bytes == len(body)


@pytest.mark.parametrize("packed", [b"no gzip at all", gzip.compress(b"x" * 1000)[:-12]])
def test_damaged_compression_is_worth_another_try(serve, packed):
    with pytest.raises(FetchUnavailable):
        fetch(f"http://feed.test:{serve(reply(packed, Content_Encoding='gzip')).port}/")


def test_an_encoding_nobody_asked_for(serve):
    with pytest.raises(FetchFailed):
        fetch(f"http://feed.test:{serve(reply(b'x', Content_Encoding='br')).port}/")


def test_a_huge_header_is_refused(serve):
    def pour(connection, _):
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Big: ")
        while True:
            connection.sendall(b"x" * 65_536)

    with pytest.raises(FetchUnavailable):
        fetch(f"http://feed.test:{serve(pour).port}/")


@pytest.mark.parametrize(
    "sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", b"SSH-2.0-OpenSSH_9\r\n\r\n"]
)
def test_broken_answers_are_worth_another_try(serve, sent):
    with pytest.raises(FetchUnavailable):
        fetch(f"http://feed.test:{serve(sent).port}/")


def test_a_closed_port_is_worth_another_try_and_an_unknown_name_is_not():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(FetchUnavailable):
        fetch(f"http://feed.test:{port}/")
    with pytest.raises(FetchFailed):
        fetch("http://nowhere.invalid/")


def test_the_next_address_is_tried_when_the_first_does_not_answer(serve):
    server = serve(reply(b"second"))
    both = Guard(allowed=lambda _: True, resolve=lambda *_: [ipaddress.ip_address("127.0.0.9"), PLAY_PUBLIC])
    assert fetch(f"http://feed.test:{server.port}/", guard=both)[1] == b"second"


@pytest.mark.parametrize("status", ["429 Slow", "500 Oops", "502 Oops", "503 Away", "408 Late"])
def test_answers_worth_another_try(serve, status):
    with pytest.raises(FetchUnavailable) as caught:
        fetch(f"http://feed.test:{serve(reply(status=status, Retry_After='17')).port}/")
    assert caught.value.retry_after == 17


@pytest.mark.parametrize("status", ["400 No", "401 No", "403 No", "404 No", "410 Gone", "300 Choose", "304 x"])
def test_answers_that_stay(serve, status):
    server = serve(reply(status=status))
    if status == "304 x":
        fetched, body = fetch(f"http://feed.test:{server.port}/", headers={"If-None-Match": '"v1"'})
        assert (fetched.status, body) == (304, b"")
        assert b'If-None-Match: "v1"' in server.requests[0]
        return
    with pytest.raises(FetchFailed):
        fetch(f"http://feed.test:{server.port}/")


def test_a_date_in_retry_after_counts_from_now(serve):
    server = serve(reply(status="503 Away", Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"))
    with pytest.raises(FetchUnavailable) as caught:
        fetch(f"http://feed.test:{server.port}/")
    assert caught.value.retry_after == 0


def test_without_a_guard_the_settings_decide():
    with pytest.raises(UrlNotAllowed):
        download("http://127.0.0.1:8080/", into=io.BytesIO(), max_bytes=10, deadline_seconds=1)
