"""The one entry: what a file is shows in its content; archives; and what must not take the machine with it."""

import contextlib
import gc
import gzip
import io
import itertools
import random
import struct
import tracemalloc
import zipfile
from collections.abc import Iterator

import pytest
from feeds import any_drafts, any_feed, archive, ods_of, ods_row, refusal, said, split, xlsx
from hypothesis import given, settings
from hypothesis import strategies as st

from services.formats import packed, trees, workbooks
from services.formats import read as feed
from services.formats.base import Draft, FeedRefused

CSV = b"SKU,Name,Price\nA,Lamp,5.00\n"
XML = b"<list><p><sku>A</sku><name>Lamp</name><price>5.00</price></p></list>"
JSON = b'[{"sku": "A", "name": "Lamp", "price": 5.00}]'
LAMP = {"product_key": "A", "variant_key": "A", "sku": "A", "title": "Lamp", "price": "5.00"}
SHEET = xlsx(("SKU", "Name", "Price"), ("A", "Lamp", "5.00"))
ODS = ods_of(ods_row("SKU", "Name", "Price") + ods_row("A", "Lamp", "5.00"))
FORMATS = {"generic_csv": CSV, "generic_xml": XML, "generic_json": JSON, "generic_xlsx": SHEET, "generic_ods": ODS}


@pytest.mark.parametrize("packed", ["as it is", "gzip", "zip"])
@pytest.mark.parametrize("form", FORMATS)
def test_every_format_in_every_wrapping(form: str, packed: str) -> None:
    data = FORMATS[form]
    if packed == "gzip":
        data = gzip.compress(data)
    if packed == "zip":
        data = archive({"feed.dat": data})
    found = any_feed(data)
    assert found.format == form
    drafts, errors = split(found)
    assert errors == []
    assert [said(one) for one in drafts] == [LAMP]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (CSV, "text"), (XML, "xml"), (b"\xef\xbb\xbf \n" + XML, "xml"), (XML.decode().encode("utf-16"), "xml"),
        (JSON, "json"), (JSON.decode().encode("utf-16-le"), "json"), (b'{"a": 1}', "json"),
        (gzip.compress(CSV), "gzip"),
        (SHEET, "zip"), (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "ole"), (b"<offers>", "xml"),
        (b"[sku];name\n1;2\n", "text"),
    ],
)  # fmt: skip
def test_kind(data: bytes, kind: str) -> None:
    assert feed.kind(data[:8192]) == kind


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty"), (b"%PDF-1.4 x", "binary"), (b"\x89PNG\r\n", "binary"),
        (b"\0" * 257 + b"ustar" + b"\0" * 99, "binary"),
        (b"<!DOCTYPE html><html></html>", "web_page"),
        (b"<?xml version='1.0'?><!-- a --><!DOCTYPE html><html></html>", "web_page"),
        (b"\n<html lang='en'><body>", "web_page"),
    ],
)  # fmt: skip
def test_refused_at_once(data: bytes, code: str) -> None:
    with pytest.raises(FeedRefused) as caught:
        feed.kind(data)
    assert caught.value.code == code


def test_a_feed_that_speaks_of_web_pages_is_a_feed() -> None:
    document = "<?xml version='1.0'?><list><p><sku>A</sku><name>L</name><text><![CDATA[<html><p>]]></text></p></list>"
    assert feed.kind(document.encode()) == "xml"


def test_the_members_of_a_zip() -> None:
    members = {"__MACOSX/._feed.csv": b"junk", ".DS_Store": b"junk", "readme.txt": b"Hello\n", "pic.png": b"\x89PNG...",
               "d/feed.csv": CSV}  # fmt: skip
    assert [said(one) for one in any_drafts(archive(members))] == [LAMP]
    both = refusal(archive({"a.csv": CSV, "b.json": JSON}))
    assert both.code == "archive_ambiguous"
    assert "a.csv, b.json" in both.reason
    none = refusal(archive({"a.txt": b"Hello\n", "b.png": b"\x89PNG..."}))
    assert none.code == "archive_no_products"
    assert "a.txt" in none.reason
    assert "b.png" in none.reason
    assert refusal(archive({"a.xml": b"<a>"})).code == "xml_broken"  # a single member's own reason


def password(data: bytes) -> bytes:
    """A zip whose members say that they are encrypted."""
    changed = bytearray(data)
    for mark, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        changed[data.index(mark) + offset] |= 1
    return bytes(changed)


def declared(data: bytes, size: int) -> bytes:
    """A zip whose member says that it is of another size."""
    changed = bytearray(data)
    for mark, offset in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        at = data.index(mark) + offset
        changed[at : at + 4] = struct.pack("<L", size)
    return bytes(changed)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (gzip.compress(gzip.compress(CSV, mtime=0), mtime=0), "archive_nested"),
        (archive({"a.gz": gzip.compress(CSV)}), "archive_nested"),
        (archive({"a.zip": archive({"a.csv": CSV})}), "archive_nested"),
        (gzip.compress(archive({"a.csv": CSV})), "archive_nested"),
        (gzip.compress(CSV)[:-9], "archive_broken"),
        (gzip.compress(CSV)[:-8] + b"\0" * 8, "archive_broken"),
        (gzip.compress(CSV)[:5], "archive_broken"),
        (archive({"a.csv": CSV})[:-10], "archive_broken"),
        (b"PK\x03\x04" + CSV, "archive_broken"),
        (b"PK\x03\x04" + CSV + b"PK\x05\x06" + b"\0" * 8 + b"\xff\xff\xff\x7f" + b"\0" * 6, "archive_too_many"),
        (archive({}), "archive_empty"),
        (archive({"d/": b""}), "archive_empty"),
        (password(archive({"a.csv": CSV})), "password_protected"),
        (declared(archive({"a.csv": CSV}), 4_000_000_000), "expansion_limit"),
        (archive({f"{n}.csv": CSV for n in range(30)}), "archive_too_many"),
        (archive({f"{n}": b"" for n in range(12_000)}, pack=zipfile.ZIP_STORED), "archive_too_many"),
        (archive({"xl/workbook.bin": b"x"}), "binary"),
        (gzip.compress(b"%PDF-1.4 something"), "binary"),
    ],
)  # fmt: skip
def test_archives_that_are_refused(data: bytes, code: str) -> None:
    assert refusal(data).code == code


@pytest.mark.parametrize("pack", ["gzip", "zip"])
def test_bombs(pack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (packed._FREE, packed._RATIO, workbooks._FREE, workbooks._RATIO) == (64 << 20, 200, 32 << 20, 400)
    monkeypatch.setattr(packed, "_FREE", 4 << 20)
    zeros = b"a" * (8 << 20)
    data = gzip.compress(zeros, 9) if pack == "gzip" else archive({"a.csv": zeros})
    assert len(data) < 200_000
    assert refusal(data).code == "expansion_limit"


def test_a_member_that_is_larger_than_it_says() -> None:
    assert refusal(declared(archive({"a.csv": CSV * 100}), 20)).code == "archive_broken"


class Counted(io.BytesIO):
    """A stream that knows how much of it was read."""

    taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        found = super().read(size)
        self.taken += len(found)
        return found


@pytest.mark.parametrize(
    ("begin", "middle"),
    [
        (b"<list><p><sku>A</sku><name>", b"x" * 1024),
        (b"<list><p><sku>A</sku><name>B</name><price>1</price></p>", b"<junk>1</junk>"),
        (b"<list><p><sku>A</sku><name>B</name><price>1</price></p><p sku='", b"x" * 1024),
        (b"<list><p><sku>A</sku><name>B</name></p><!--", b"x" * 1024),
        (b'[{"sku": "A", "name": "', b"x" * 1024),
        (b'[{"sku": "A", "x": [', b"[1],"),
        (b'{"products": {"a": ["', b"\\\\" * 512),
    ],
)
def test_a_record_without_an_end(begin: bytes, middle: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    assert trees.LARGEST == 3 << 20
    monkeypatch.setattr(trees, "LARGEST", 1 << 20)
    data = Counted(begin + middle * ((4 << 20) // len(middle) + 1))
    tracemalloc.start()
    try:
        with pytest.raises(FeedRefused) as caught:
            feed.read(data)
        assert tracemalloc.get_traced_memory()[1] < 67 << 20
    finally:
        tracemalloc.stop()
    assert caught.value.code == "record_too_large"
    assert data.taken < 7 << 20  # once for the encoding of JSON: no piece of it is looked at again and again


@pytest.mark.parametrize("kind", ["xml", "json"])
def test_too_many_columns(kind: str) -> None:
    names = [f"c{n}" for n in range(20_000)]
    if kind == "xml":
        data = "<l><p><sku>1</sku>" + "".join(f"<{name}>1</{name}>" for name in names) + "</p></l>"
    else:
        data = '[{"sku": "1", ' + ", ".join(f'"{name}": 1' for name in names) + "}]"
    assert refusal(data).code == "too_many_columns"


def big(kind: str, count: int) -> bytes:
    text = "long text " * 30
    if kind == "xml":
        one = f"<p><sku>S%d</sku><name>N</name><price>5</price><description>{text}</description></p>"
        return ("<l>" + "".join(one % number for number in range(count)) + "</l>").encode()
    one = f'{{"sku": "S%d", "name": "N", "price": 5, "description": "{text}"}}'
    return ("[" + ",".join(one % number for number in range(count)) + "]").encode()


@pytest.mark.parametrize("kind", ["xml", "json"])
def test_memory_does_not_grow_with_the_file(kind: str) -> None:
    def peak(count: int) -> int:
        stream = io.BytesIO(big(kind, count))
        gc.collect()
        tracemalloc.start()
        assert sum(1 for _ in feed.read(stream).records) == count
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(1200)  # imports and caches
    assert peak(5000) < peak(1500) * 1.3 + 1_000_000


@pytest.mark.parametrize("kind", ["xml", "json"])
def test_records_are_read_as_they_are_asked_for_and_streams_stay_open(kind: str) -> None:
    stream = io.BytesIO(big(kind, 3000))
    records = feed.read(stream).records
    assert [one.line for one in itertools.islice(records, 3)] == [1, 2, 3]
    stream.seek(7)  # someone looks at the stream meanwhile
    assert [one.line for one in records] == list(range(4, 3001))
    del records
    gc.collect()
    assert not stream.closed


def test_what_was_unpacked_is_let_go() -> None:
    found = any_feed(gzip.compress(CSV * 1))
    records = found.records
    assert next(records)
    del found, records
    gc.collect()  # a file that is left open would be a warning, and warnings are errors


samples = st.sampled_from([CSV, XML, JSON, SHEET, ODS, gzip.compress(XML), archive({"a.json": JSON})])


@settings(max_examples=60, deadline=None)
@given(samples, st.integers(0, 2**32), st.integers(1, 8))
def test_damage_is_a_refusal_or_an_error_and_never_a_crash(sample: bytes, seed: int, times: int) -> None:
    chance = random.Random(seed)
    data = bytearray(sample)
    for _ in range(times):
        at = chance.randrange(len(data))
        match chance.randrange(4):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                del data[at : at + chance.randrange(1, 20)]
            case 2:
                data[at:at] = chance.choice(
                    [b"<", b"&x;", b"\0", b'"', b"]", b"\xff", b"{", b"<!ENTITY", b"PK\x03\x04"]
                )
            case _:
                del data[max(1, at) :]
        if not data:
            break
    records: Iterator[object] = iter(())
    with contextlib.suppress(FeedRefused):
        records = any_feed(bytes(data)).records
    for one in records:
        if isinstance(one, Draft):
            assert one.product_key
