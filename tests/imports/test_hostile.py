"""Files that are meant to hurt, through the door and the job: an error with a code, little memory, and nothing left."""

import functools
import gc
import gzip
import io
import re
import struct
import threading
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from socket import socket

import pytest

from services.formats import packed, workbooks
from services.imports.receive import FeedNotUsable
from tests import inline
from tests.imports.importing import begin, catalogue, errors_of, footprints, staged

MB = 1024 * 1024
HEADER = "SKU,Title,Price\n"
ROW = "A1,Lamp,10.00\n"


def zip_of(members: dict[str, bytes]) -> bytes:
    """A zip of these members."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return held.getvalue()


def zeros(size: int, start: bytes) -> bytes:
    """A gzip file of ``size`` bytes of text, made piece by piece."""
    engine = zlib.compressobj(9, zlib.DEFLATED, 31)
    made = [engine.compress(start)]
    piece = b"A1,Lamp,10.00\n" * 75_000
    made += [engine.compress(piece) for _ in range(size // len(piece))]
    return b"".join([*made, engine.flush()])


def lying_zip() -> bytes:
    """A zip whose directory says that its member has 10 GB."""
    made = bytearray(zip_of({"list.csv": (HEADER + ROW).encode()}))
    at = made.rindex(b"PK\x01\x02")
    made[at + 24 : at + 28] = struct.pack("<L", 0xFFFFFFFE)
    return bytes(made)


def laughing_xml() -> bytes:
    """A billion laughs."""
    names = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    return f'<!DOCTYPE r [<!ENTITY l0 "ha">{names}]><r><item><sku>&l9;</sku></item></r>'.encode()


def quadratic_xml() -> bytes:
    """One long entity, many times."""
    return f'<!DOCTYPE r [<!ENTITY a "{"x" * 100_000}">]><r>{"<item><sku>&a;</sku></item>" * 10_000}</r>'.encode()


def late_entities() -> bytes:
    """The declaration stands behind more blanks than anybody looks at."""
    return b"<!DOCTYPE r [" + b" " * (2 * MB) + b'<!ENTITY a "x">]><r><item><sku>&a;</sku><price>1</price></item></r>'


def locked_xls() -> bytes:
    """The beginning of a workbook that is encrypted: its second record says so."""
    head = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504)
    book = b"\x09\x08\x10\x00\x00\x06\x05\x00" + bytes(12) + b"\x2f\x00\x36\x00" + bytes(54)
    return head + book + "Workbook".encode("utf-16-le") + bytes(2000)


def locked_xlsx() -> bytes:
    """An encrypted workbook is an OLE file with a package inside."""
    return b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504) + "EncryptedPackage".encode("utf-16-le") + bytes(2000)


def locked_zip() -> bytes:
    """A member that is encrypted."""
    made = bytearray(zip_of({"list.csv": (HEADER + ROW).encode()}))
    made[made.rindex(b"PK\x01\x02") + 8] |= 1
    return bytes(made)


def sheet(rows: str, **more: str) -> bytes:
    """A workbook with one sheet."""
    from tests.formats.feeds import xlsx_of

    return xlsx_of({"Products": rows}, **more)  # type: ignore[arg-type]


def bomb_xlsx() -> bytes:
    """A sheet of 100 MB of XML in a file of 100 KB."""
    return sheet(f'<row><c t="inlineStr"><is><t>{"x" * (100 * MB)}</t></is></c></row>')


def distant_xlsx() -> bytes:
    """One cell in the last row and column: a rectangle of 17 billion."""
    return sheet('<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>1</v></c></row>')


CASES = {
    "zip bomb": (lambda: zip_of({"list.csv": HEADER.encode() + ROW.encode() * (100 * MB // 14)}), "expansion_limit"),
    "gzip bomb": (lambda: zeros(100 * MB, HEADER.encode()), "expansion_limit"),
    "gzip in gzip": (lambda: gzip.compress(zeros(2 * MB, HEADER.encode())), "archive_nested"),
    "zip in zip": (lambda: zip_of({"list.zip": zip_of({"list.csv": (HEADER + ROW).encode()})}), "archive_nested"),
    "a thousand members": (lambda: zip_of({f"{n}.csv": ROW.encode() for n in range(1000)}), "archive_too_many"),
    "10 GB declared": (lying_zip, "expansion_limit"),
    "zip cut off": (lambda: zip_of({"list.csv": ROW.encode() * 1000})[:-40], "archive_broken"),
    "gzip cut off": (lambda: gzip.compress((HEADER + ROW * 1000).encode())[:-12], "archive_broken"),
    "locked zip": (locked_zip, "password_protected"),
    "locked xls": (locked_xls, "password_protected"),
    "locked xlsx": (locked_xlsx, "password_protected"),
    "billion laughs": (laughing_xml, "xml_entities"),
    "quadratic": (quadratic_xml, "xml_entities"),
    "late entities": (late_entities, "no_records"),
    "xml without an end": (lambda: b"<r><item><sku>A1</sku><price>1</price>" + b"x" * (8 * MB), "record_too_large"),
    "xml nested deep": (lambda: b"<r>" + b"<a>" * 100_000, "xml_broken"),
    "xml cut off": (
        lambda: b"<r>" + b"<item><sku>A1</sku><price>1</price></item>" * 7_000 + b"<item><sku>", "xml_broken"),
    "lying encoding": (
        lambda: '<?xml version="1.0" encoding="utf-8"?><r><item><sku>Ä</sku><price>1</price></item></r>'
        .encode("latin-1"), "xml_broken"),
    "unknown encoding": (
        lambda: b'<?xml version="1.0" encoding="klingon"?><r><item><sku>A</sku></item></r>', "undecodable"),
    "json cut off": (lambda: b"[" + b'{"sku": "A1", "price": 1},' * 11_000 + b'{"sku": ', "json_broken"),
    "json nested deep": (lambda: b'[{"sku": "A1", "price": 1, "x": ' + b"[" * 200_000, "nested_too_deep"),
    "json of one cell": (
        lambda: b'[{"sku": "A1", "price": 1, "x": "' + b"x" * (50 * MB) + b'"}]', "record_too_large"),
    "a million columns": (lambda: b",".join(b"c%d" % n for n in range(1_000_000)) + b"\n1,2\n", "not_delimited"),
    "many columns": (lambda: b",".join(b"c%d" % n for n in range(20_000)) + b"\n1,2\n", "too_many_columns"),
    "workbook bomb": (bomb_xlsx, "expansion_limit"),
    "a distant cell": (distant_xlsx, "too_large"),
    "workbook cut off": (lambda: sheet("<row><c><v>1</v></c></row>")[:-60], "archive_broken"),
    "workbook of entities": (
        lambda: sheet("", more={"xl/sharedStrings.xml": laughing_xml().decode()}), "xml_entities"),
    "binary": (lambda: bytes(range(256)) * 400, "binary"),
}  # fmt: skip


OVER_HTTP = (
    *("zip bomb", "10 GB declared", "billion laughs", "locked xls", "workbook bomb", "json nested deep"),
    *("a million columns", "workbook cut off"),
)


@functools.cache
def kept(name: str) -> bytes:
    """A case that more than one test hands in."""
    return CASES[name][0]()


@pytest.fixture(autouse=True)
def _sooner(monkeypatch):
    """What may come out of an archive at any ratio is less than usual, so that less need come out. See test_bombs."""
    monkeypatch.setattr(packed, "_FREE", 8 * MB)
    monkeypatch.setattr(workbooks, "_FREE", 8 * MB)


@contextmanager
def bounded(megabytes: int, seconds: float) -> Iterator[None]:
    """The block takes no more memory of Python's and no longer than this."""
    gc.collect()
    tracemalloc.start()
    began = time.monotonic()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < megabytes * MB, f"{peak / MB:.0f} MB"
    assert time.monotonic() - began < seconds


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_file_is_refused_with_a_code_and_leaves_nothing(merchant, name):
    make, code = CASES[name]
    content = kept(name) if name in OVER_HTTP else make()
    with bounded(len(content) // MB + 60, 60):
        try:
            ended = inline.work(begin(merchant, content).job_id)
            found, reason = ended["error_code"], ended["error_message"]
            assert ended["state"] == "failed", ended
        except FeedNotUsable as refused:
            found, reason = refused.code, str(refused)
    assert found == code, reason
    assert len(reason or "") > 10
    if found in ("xml_broken", "json_broken"):
        assert re.search(r"line \d+, column \d+", reason)
    assert footprints(merchant) == set()
    assert staged(merchant) == 0


def test_external_dtds_and_entities_are_never_fetched(merchant):
    """A server listens where the document points; nobody comes."""
    visits = []
    with socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(0.2)
        over = threading.Event()

        def wait() -> None:
            while not over.is_set():
                try:
                    visits.append(listener.accept()[1])
                except TimeoutError:
                    continue

        thread = threading.Thread(target=wait)
        thread.start()
        where = f"http://127.0.0.1:{listener.getsockname()[1]}"
        body = '<r xmlns:x="http://www.w3.org/2001/XInclude"><item><sku>A1</sku><price>1</price></item>{}</r>'
        fine = f'<!DOCTYPE r SYSTEM "{where}/r.dtd">' + body.format(f'<x:include href="{where}/more.xml"/>')
        named = f'<!DOCTYPE r [<!ENTITY x SYSTEM "{where}/secret">]>' + body.format("<item><sku>&x;</sku></item>")
        parameter = f'<!DOCTYPE r [<!ENTITY % x SYSTEM "{where}/x.dtd"> %x;]>' + body.format("")
        assert inline.work(begin(merchant, fine).job_id)["state"] == "succeeded"
        for text in (named, parameter):
            with pytest.raises(FeedNotUsable) as refused:
                begin(merchant, text)
            assert refused.value.code == "xml_entities"
        over.set()
        thread.join(5)
    assert visits == []
    assert set(catalogue(merchant)) == {"A1"}


def test_a_cell_of_50_mb_is_one_reported_row(merchant):
    text = f"{HEADER}{ROW}A2,{'x' * (50 * MB)},3\nA3,Vase,4\n"
    with bounded(250, 60):
        import_ = begin(merchant, text)
        ended = inline.work(import_.job_id)
    assert ended["state"] == "succeeded", ended
    assert [(one.line, one.code) for one in errors_of(import_)] == [(3, "row_too_large")]
    assert set(catalogue(merchant)) == {"A1", "A3"}


def test_zero_bytes_and_formulas_are_cells_like_others(merchant):
    text = f"SKU,Title,Price\nA1,La\0mp,10\nA2,\"=cmd|'/c calc'!A1\",11\n=1+1,Vase,12\nA4,{'Bowl' * 50},13\n"
    import_ = begin(merchant, text)
    assert inline.work(import_.job_id)["state"] == "succeeded"
    made = catalogue(merchant)
    assert made["A1"]["title"] == "Lamp"
    assert made["A2"]["title"] == "=cmd|'/c calc'!A1"
    assert [one.code for one in errors_of(import_)] == ["characters_damaged"]


def test_formulas_of_a_workbook_count_as_their_values(merchant):
    rows = (
        '<row><c t="inlineStr"><is><t>SKU</t></is></c><c t="inlineStr"><is><t>Price</t></is></c></row>'
        '<row><c t="inlineStr"><is><t>A1</t></is></c><c><f>WEBSERVICE("http://127.0.0.1/")</f><v>7.5</v></c></row>'
    )
    assert inline.work(begin(merchant, sheet(rows)).job_id)["state"] == "succeeded"
    assert str(catalogue(merchant)["A1"]["variants"]["A1"]["price"].normalize()) == "7.5"


def test_names_that_leave_the_archive_go_nowhere(merchant, tmp_path):
    outside = tmp_path / "list.csv"
    content = zip_of({f"../../../../../../{outside}": (HEADER + ROW).encode()})
    assert inline.work(begin(merchant, content).job_id)["state"] == "succeeded"
    assert not outside.exists()


@pytest.mark.parametrize("name", OVER_HTTP)
def test_over_http_the_answer_is_a_problem_and_never_a_500(client, name):
    code = CASES[name][1]
    answer = client.post("/api/v1/bulk/import", files={"file": ("feed", kept(name))})
    assert answer.status_code in (202, 422), answer.text
    if answer.status_code == 422:
        assert answer.json()["code"] == code
    shown = client.post("/api/v1/bulk/preview", files={"file": ("feed", kept(name))})
    assert (shown.status_code, shown.json()["code"]) in ((422, code), (413, "too_large_to_preview"))
