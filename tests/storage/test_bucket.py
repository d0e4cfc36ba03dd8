"""Files in a Supabase bucket, against a server that speaks Storage's protocol, its wrapped errors included."""

import io
import json
import resource
import threading
import uuid
from collections.abc import Iterator
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from services.storage import FileMissing, FileTooLarge, StorageAway
from services.storage.bucket import TRIES, BucketStorage

WRAPPED = {
    "404": {"statusCode": "404", "error": "not_found", "message": "Object not found", "code": "NoSuchKey"},
    "409": {"statusCode": "409", "error": "Duplicate", "message": "already exists", "code": "KeyAlreadyExists"},
    "413": {"statusCode": "413", "error": "Payload too large", "message": "too large", "code": "EntityTooLarge"},
    "403": {"statusCode": "403", "error": "Unauthorized", "message": "denied", "code": "AccessDenied"},
}

FAULTS: dict[int, tuple[int, object]] = {
    413: (400, WRAPPED["413"]),
    403: (400, WRAPPED["403"]),
    429: (429, {"statusCode": "429", "error": "too_many_connections", "message": "x", "code": "SlowDown"}),
    500: (500, {"statusCode": "500", "error": "Internal", "message": "x", "code": "InternalError"}),
    502: (502, b"<html>Bad Gateway</html>"),
    503: (503, b""),
}


class FakeStorage:
    """`/storage/v1` of a project: upload, sign, download, remove; `faults` are statuses to answer first, 0 hangs up."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: list[int] = []
        self.after: list[int] = []  # faults that come after the work is done
        self.calls: list[str] = []
        self.headers: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if not body and self.headers.get("Transfer-Encoding") == "chunked":
                    body = self.chunked()
                outer.calls.append(f"{self.command} {self.path.partition('?')[0]}")
                outer.headers.append({name.lower(): value for name, value in self.headers.items()})
                if outer.faults and (fault := outer.faults.pop(0)) != 200:
                    self.fault(fault)
                    return
                status, answer = outer.act(self.command, self.path, self.headers, body)
                if outer.after:
                    self.fault(outer.after.pop(0))
                    return
                self.answer(status, answer)

            do_GET = do_POST = do_PUT = do_DELETE = handle_any

            def chunked(self) -> bytes:
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def fault(self, fault: int) -> None:
                if fault == 0:
                    self.close_connection = True
                    self.connection.close()
                else:
                    self.answer(*FAULTS[fault])

            def answer(self, status: int, answer: object) -> None:
                content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def act(self, method: str, path: str, headers, body: bytes) -> tuple[int, object]:
        path, _, query = path.partition("?")
        parts = path.removeprefix("/storage/v1/object/").split("/")
        if method == "POST" and parts[0] == "sign":
            key = "/".join(parts[2:])
            if key not in self.files:
                return 400, WRAPPED["404"]
            assert json.loads(body)["expiresIn"]
            return 200, {"signedURL": f"/object/sign/{'/'.join(parts[1:])}?token=t0ken"}
        if method == "GET" and parts[0] == "sign":
            assert query == "token=t0ken"
            return 200, self.files["/".join(parts[2:])]
        if method == "DELETE":
            gone = [self.files.pop(key, None) for key in json.loads(body)["prefixes"]]
            return 200, [{} for content in gone if content is not None]
        assert method == "POST"
        key = "/".join(parts[1:])
        if key in self.files:
            return 400, WRAPPED["409"]
        form = BytesParser().parsebytes(b"Content-Type: " + headers["Content-Type"].encode() + b"\r\n\r\n" + body)
        part = next(part for part in form.get_payload() if part.get_filename())
        self.files[key] = part.get_payload(decode=True)
        return 200, {"Id": str(uuid.uuid4()), "Key": f"shopopti/{key}"}


@pytest.fixture
def supabase() -> Iterator[FakeStorage]:
    """A project's Storage."""
    fake = FakeStorage()
    yield fake
    fake.server.shutdown()
    fake.server.server_close()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: None)


@pytest.fixture
def storage(supabase):
    """Our side."""
    ours = BucketStorage(url=supabase.url, key="sb_secret_abc", bucket="shopopti")
    yield ours
    ours.close()


MERCHANT = uuid.uuid4()
BODY = b"sku,price\nA,1\n" * 5000


def read(storage: BucketStorage, key: str) -> bytes:
    """The whole file."""
    with storage.open(key, merchant_id=MERCHANT) as stream:
        return stream.read()


def test_a_file_comes_back_and_goes(storage, supabase):
    key = storage.put(io.BytesIO(BODY), merchant_id=MERCHANT, name="my feed.csv")
    assert list(supabase.files) == [key]
    assert key.startswith(f"{MERCHANT}/")
    assert supabase.headers[0]["apikey"] == "sb_secret_abc"
    assert supabase.headers[0]["x-upsert"] == "false"
    with storage.open(key, merchant_id=MERCHANT) as stream:
        assert stream.read() == BODY
        stream.seek(3)
        assert stream.read(1) == b","
    assert "apikey" not in supabase.headers[-1]
    storage.delete(key, merchant_id=MERCHANT)
    storage.delete(key, merchant_id=MERCHANT)
    with pytest.raises(FileMissing):
        storage.open(key, merchant_id=MERCHANT)


@pytest.mark.parametrize("faults", [[500], [503, 502], [429], [0], [0, 500, 429]])
def test_passing_faults_are_tried_again(storage, supabase, faults):
    supabase.faults = list(faults)
    key = storage.put(io.BytesIO(BODY), merchant_id=MERCHANT, name="x")
    assert supabase.files[key] == BODY
    supabase.faults = list(faults)
    assert read(storage, key) == BODY
    supabase.faults = list(faults)
    storage.delete(key, merchant_id=MERCHANT)
    assert not supabase.files


def test_a_download_that_breaks_in_the_second_request_starts_over(storage, supabase):
    key = storage.put(io.BytesIO(BODY), merchant_id=MERCHANT, name="x")
    supabase.faults = [200, 500, 200, 0]
    assert read(storage, key) == BODY


def test_an_upload_whose_answer_was_lost_is_there_once(storage, supabase):
    supabase.after = [0]
    key = storage.put(io.BytesIO(BODY), merchant_id=MERCHANT, name="x")
    assert len(supabase.calls) == 2
    assert list(supabase.files) == [key]


@pytest.mark.parametrize("fault", [500, 0, 429])
def test_lasting_faults_are_away(storage, supabase, fault):
    supabase.faults = [fault] * 20
    with pytest.raises(StorageAway) as caught:
        storage.put(io.BytesIO(BODY), merchant_id=MERCHANT, name="x")
    assert caught.value.retry_after
    assert len(supabase.calls) == TRIES


@pytest.mark.parametrize(("fault", "error"), [(413, FileTooLarge), (403, StorageAway)])
def test_refusals_are_not_tried_again(storage, supabase, fault, error):
    supabase.faults = [fault]
    with pytest.raises(error):
        storage.put(io.BytesIO(BODY), merchant_id=MERCHANT, name="x")
    assert len(supabase.calls) == 1


def test_keys_of_others_are_missing_without_asking(storage, supabase):
    key = storage.put(io.BytesIO(BODY), merchant_id=MERCHANT, name="x")
    asked = len(supabase.calls)
    for act in (storage.open, storage.delete):
        with pytest.raises(FileMissing):
            act(key, merchant_id=uuid.uuid4())
    assert len(supabase.calls) == asked


def test_big_files_pass_through_and_are_not_held(storage, supabase):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    supabase.files[key := f"{MERCHANT}/{uuid.uuid4()}-big.csv"] = bytes(30_000_000)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with storage.open(key, merchant_id=MERCHANT) as stream:
        assert stream.seek(0, 2) == 30_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - max(before, grown) < 25_000
