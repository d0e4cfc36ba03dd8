"""Calls with a method and a body through the guarded client: bounds, and whether a failed one may have been heard."""

import gzip
import socket
import time

import pytest

from services.core.http import exchange, was_sent
from services.core.outside import FetchedTooLarge, FetchFailed, FetchUnavailable, Guard, UrlNotAllowed
from tests.core.test_http import GUARD, serve

__all__ = ["serve"]


def call(port, *, method="POST", content=b"a=1", guard=GUARD, **more):
    limits = {"max_bytes": 100_000, "deadline_seconds": 5, **more}
    url = f"http://shop.test:{port}/x?y=1"
    with exchange(method, url, headers={"X-Own": "1"}, content=content, guard=guard, **limits) as answer:
        return answer.status, answer.headers, b"".join(answer.chunks)


def test_a_body_goes_out_and_an_answer_of_any_status_comes_back(serve):
    server = serve(b"HTTP/1.1 409 Conflict\r\nX-Word: One\r\nContent-Length: 2\r\n\r\nno")
    assert call(server.port) == (409, {"x-word": "One", "content-length": "2"}, b"no")
    (request,) = server.requests
    assert request.startswith(b"POST /x?y=1 HTTP/1.1\r\n")
    for line in (b"Host: shop.test:", b"X-Own: 1\r\n", b"Content-Length: 3\r\n", b"Connection: close\r\n"):
        assert line in request


def test_a_redirect_is_an_answer(serve):
    server = serve(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")
    assert call(server.port)[0] == 302
    assert len(server.requests) == 1


def test_a_compressed_answer_is_unpacked_within_bounds(serve):
    for size, error in ((1_000, None), (10_000_000, FetchedTooLarge)):
        body = gzip.compress(b"x" * size)
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        server = serve(head + body)
        if error is None:
            assert call(server.port)[2] == b"x" * size
        else:
            url = f"http://shop.test:{server.port}/"
            with exchange(
                "GET",
                url,
                headers={},
                max_bytes=100_000,
                deadline_seconds=5,
                guard=GUARD,
            ) as answer:
                assert max(len(chunk) for chunk in answer.chunks) <= 65_536  # never more than a piece in memory


def test_too_much_is_refused(serve):
    server = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000)
    with pytest.raises(FetchedTooLarge) as caught:
        call(server.port)
    assert was_sent(caught.value)


def failed(port, **more):
    with pytest.raises((FetchUnavailable, FetchFailed, UrlNotAllowed)) as caught:
        call(port, **more)
    return caught.value


def test_a_failure_after_sending_may_have_had_its_effect(serve):
    def silence(connection: socket.socket, _: bytes) -> None:
        time.sleep(1)

    for answer in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nxx", b"nonsense\r\n\r\n"):
        assert was_sent(failed(serve(answer).port))
    assert was_sent(failed(serve(silence).port, deadline_seconds=0.3))
    assert was_sent(failed(serve(silence).port, read_timeout_seconds=0.3))


def test_a_failure_before_sending_had_none():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    assert not was_sent(failed(free))

    def nowhere(host, port):
        raise socket.gaierror(socket.EAI_NONAME, "no such host")

    def later(host, port):
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    assert not was_sent(failed(free, guard=Guard(resolve=nowhere)))
    assert not was_sent(failed(free, guard=Guard(resolve=later)))
    assert not was_sent(failed(free, guard=Guard()))  # where there is no shop.test
    private = Guard(resolve=GUARD.resolve)
    assert not was_sent(failed(free, guard=private))


def test_headers_that_drip_do_not_outlast_the_deadline(serve):
    def drip(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        for _ in range(100):
            connection.sendall(b"y")
            time.sleep(0.05)

    started = time.monotonic()
    assert was_sent(failed(serve(drip).port, deadline_seconds=0.5))
    assert time.monotonic() - started < 2
