"""Feeds at an address, against a real server on loopback."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from services.core.db import transaction
from services.core.outside import FetchFailed, UrlNotAllowed
from services.imports.fetch import check_address
from services.imports.receive import start_import
from tests import inline
from tests.imports.importing import catalogue, reload
from tests.imports.test_crashes import Doomed, Killed

FEED = b"SKU,Title,Price\nA1,Lamp,10.00\n"


@pytest.fixture
def shop(settings, monkeypatch) -> Iterator[ThreadingHTTPServer]:
    """A server that counts its visits; `answers` maps paths to (status, body)."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.server.visits.append((self.path, self.headers.get("Authorization")))
            status, body = self.server.answers.get(self.path, (404, b""))
            self.send_response(status)
            self.send_header("ETag", '"v1"')
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setattr(settings, "allow_private_addresses", True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.visits, server.answers = [], {"/feed.csv": (200, FEED)}
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join(5)
    server.server_close()


def _start(merchant, url):
    with transaction(merchant_id=merchant) as session:
        return start_import(session, merchant_id=merchant, source="shop", currency="EUR", url=url)


def test_an_address_becomes_products(merchant, shop):
    import_ = _start(merchant, f"{shop.url}/feed.csv")
    assert inline.work(import_.job_id)["state"] == "succeeded"
    assert set(catalogue(merchant, "shop")) == {"A1"}
    row = reload(import_)
    assert (row.etag, row.filename, row.bytes) == ('"v1"', "feed.csv", len(FEED))


def test_it_is_fetched_once_however_often_the_import_is_cut(merchant, shop):
    import_ = _start(merchant, f"{shop.url}/feed.csv")
    with pytest.raises(Killed):
        inline.work(import_.job_id, make_run=lambda claim: Doomed(claim, fatal_step=12))
    shop.answers["/feed.csv"] = (200, b"SKU,Title,Price\nA1,Other,10.00\n")
    inline.lose(import_.job_id)
    assert inline.work(import_.job_id)["state"] == "succeeded"
    assert len(shop.visits) == 1
    assert catalogue(merchant, "shop")["A1"]["title"] == "Lamp"


def test_credentials_in_an_address_are_used_and_not_shown(merchant, shop):
    import_ = _start(merchant, f"http://me:s3cret@127.0.0.1:{shop.server_port}/feed.csv")
    assert inline.work(import_.job_id)["state"] == "succeeded"
    row = reload(import_)
    assert row.url == f"{shop.url}/feed.csv"
    assert "s3cret" not in str(row.url_secret)
    assert shop.visits[0][1] == "Basic bWU6czNjcmV0"


def test_keys_in_the_query_of_an_address_are_used_and_not_shown(merchant, shop):
    shop.answers["/feed.csv?key=s3cret"] = (200, b"SKU,Title,Price\nA1,Lamp,10.00\n")
    import_ = _start(merchant, f"{shop.url}/feed.csv?key=s3cret")
    assert inline.work(import_.job_id)["state"] == "succeeded"
    row = reload(import_)
    assert row.url.endswith("/feed.csv?…")
    assert "s3cret" not in f"{row.url} {row.url_secret}"
    assert shop.visits[0][0].endswith("/feed.csv?key=s3cret")


@pytest.mark.parametrize(
    ("status", "state", "code"), [(404, "failed", "fetch_failed"), (503, "scheduled", "fetch_unavailable")]
)
def test_an_address_that_gives_no_feed(merchant, shop, status, state, code):
    shop.answers["/feed.csv"] = (status, b"")
    ended = inline.work(_start(merchant, f"{shop.url}/feed.csv").job_id)
    assert (ended["state"], ended["error_code"]) == (state, code)


def test_an_address_that_gives_a_web_page(merchant, shop):
    shop.answers["/feed.csv"] = (200, b"<!doctype html><html><body>Log in, please</body></html>")
    ended = inline.work(_start(merchant, f"{shop.url}/feed.csv").job_id)
    assert (ended["state"], ended["error_code"]) == ("failed", "web_page")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/feed.csv",
        "http://localhost:8000/feed.csv",
        "http://[::1]/feed.csv",
        "http://10.0.0.8/feed.csv",
        "http://169.254.169.254/latest/meta-data",
        "http://0x7f000001/",
        "ftp://example.com/feed.csv",
        "file:///etc/passwd",
        "http://93.184.216.34:22/",
        "http://",
        "feed.csv",
        "http://[",
    ],
)
def test_addresses_that_are_refused_at_the_door(url):
    with pytest.raises((UrlNotAllowed, FetchFailed)) as refused:
        check_address(url)
    assert refused.value.param == "url"


def test_a_public_address_is_accepted_without_calling_it():
    check_address("http://93.184.216.34/feed.csv")
