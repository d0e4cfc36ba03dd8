"""The one entry for every feed: what a file is shows in its content, never in its name."""

import dataclasses
import re
import weakref
import zipfile
from collections.abc import Iterator
from typing import IO, BinaryIO, NamedTuple

from services.formats import delimited, packed, sniff
from services.formats.base import Draft, FeedRefused, Reading, RowError
from services.formats.mapping import Mapping

_HEAD = 8192
_XHTML = re.compile(r"\s*(?:<\?[^>]*>\s*|<!--.*?-->\s*|<!doctype[^>]*>\s*)*<html\b", re.I | re.S).match
# The record that says how a workbook is encrypted follows the one it begins with.
_LOCKED = re.compile(
    rb"\x09\x08(?:\x08\x00\x00\x05\x05\x00.{4}|\x10\x00\x00\x06\x05\x00.{12})\x2f\x00.\x00", re.S
).search
_MOST_TRIED = 20  # members of a zip that are looked into


class _Said(NamedTuple):
    """What is known of a file besides the file."""

    currency: str | None
    mapping: Mapping | None


def kind(head: bytes) -> str:
    """What a file is, by its first bytes: gzip, zip, ole, xml, json or text. Whether it is usable shows in reading it.

    Raises FeedRefused ``empty``, ``binary`` or ``web_page``.
    """
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
        return "zip"
    if head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        return "ole"
    if head[257:262] == b"ustar":
        raise FeedRefused("binary", "This is a tar archive. Pack the feed as a zip or gzip file, or not at all.")
    sniff.refuse_binary(head)
    text = head.decode(sniff.wide_encoding(head) or "utf-8", "replace")
    what = sniff.markup(text)
    if what == "an HTML page" or (what and _XHTML(text)):
        reason = "This is a web page, not a feed. Perhaps its address asks for a login."
        if "<table" in text.casefold():
            reason += " If it is a table that was saved as a page, save it as a workbook or CSV."
        raise FeedRefused("web_page", reason)
    return {"XML": "xml", "XML or HTML": "xml", "JSON": "json"}.get(what or "", "text")


def read(stream: BinaryIO, *, default_currency: str | None = None, mapping: Mapping | None = None) -> Reading:
    """Recognise a seekable stream of any supported format and read it.

    ``default_currency`` (ISO 4217) is the currency of prices that do not name one, ``mapping`` what somebody has said
    of the file's columns. The records are read as they are
    asked for; until then the stream must stay open and untouched. It is never closed here. A file that turns out to be
    broken is refused before the first record is given out; tables of delimited text have no such end, their broken
    rows are errors.

    Raises FeedRefused with the codes of the readers, and for archives ``archive_broken``, ``archive_nested``,
    ``archive_empty``, ``archive_ambiguous``, ``archive_no_products``, ``archive_too_many``, ``expansion_limit`` and
    ``password_protected``.
    """
    return _read(stream, _Said(default_currency, mapping), in_archive=False)


def _read(stream: BinaryIO, said: _Said, *, in_archive: bool) -> Reading:
    stream.seek(0)
    head = stream.read(_HEAD)
    found = kind(head)
    if found == "text":
        return delimited.read(stream, default_currency=said.currency, mapping=said.mapping)
    if found == "xml":
        from services.formats import markup

        return markup.read(stream, default_currency=said.currency, mapping=said.mapping)
    if found == "json":
        from services.formats import jsonfeed

        return jsonfeed.read(stream, default_currency=said.currency, mapping=said.mapping)
    if found == "gzip":
        _refuse_nested(in_archive)
        return _read_unpacked(packed.gunzip(stream), said)
    if found == "ole":
        return _read_ole(stream, said)
    return _read_zip(stream, said, in_archive=in_archive)


def nested() -> FeedRefused:
    """The refusal of an archive inside an archive."""
    return FeedRefused("archive_nested", "The archive holds another archive. Pack the feed once.")


def _refuse_nested(in_archive: bool) -> None:
    if in_archive:
        raise nested()


def _read_unpacked(kept: IO[bytes], said: _Said) -> Reading:
    """Read what came out of an archive; it is let go when its records are."""
    try:
        found = _read(kept, said, in_archive=True)  # type: ignore[arg-type]  # a stream of bytes either way
    except BaseException:
        kept.close()
        raise
    records = _pass_on(found.records)
    weakref.finalize(records, kept.close)
    return dataclasses.replace(found, records=records)


def _pass_on(records: Iterator[Draft | RowError]) -> Iterator[Draft | RowError]:
    yield from records


def refuse_ole(stream: BinaryIO) -> None:
    """Raise FeedRefused ``password_protected`` or ``binary`` for an old Office document that is no open workbook."""
    stream.seek(0)
    names = stream.read(4 * 1024 * 1024)
    if "EncryptedPackage".encode("utf-16-le") in names or _LOCKED(names):
        from services.formats import sheets

        raise sheets.protected()
    if not any(name.encode("utf-16-le") in names for name in ("Workbook", "Book", "WORKBOOK", "BOOK")):
        raise FeedRefused("binary", "This is an old Office document, but no Excel workbook.")


def _read_ole(stream: BinaryIO, said: _Said) -> Reading:
    from services.formats import sheets

    refuse_ole(stream)
    return sheets.read(stream, "xls", None, default_currency=said.currency, mapping=said.mapping)


def workbook_kind(opened: zipfile.ZipFile) -> str | None:
    """Xlsx or ods, or None for a zip that is no workbook. Raises FeedRefused ``binary`` for one that cannot be read."""
    names = {info.filename for info in opened.infolist()}
    if "xl/workbook.bin" in names:
        raise FeedRefused("binary", "This is a binary Excel workbook (xlsb). Save it as xlsx.")
    if "content.xml" in names and "mimetype" in names:
        return "ods"
    return "xlsx" if any(name.casefold() in ("xl/workbook.xml", "[content_types].xml") for name in names) else None


def refuse_members(inside: list[zipfile.ZipInfo]) -> None:
    """Raise FeedRefused for a zip of no files, of too many, or of too large ones."""
    if not inside:
        raise FeedRefused("archive_empty", "The zip archive holds no file.")
    if len(inside) > _MOST_TRIED:
        raise FeedRefused("archive_too_many", f"The zip archive holds {len(inside):,} files: pack the feed alone.")
    if sum(info.file_size for info in inside) > packed.LARGEST:
        raise packed.too_large()


def _read_zip(stream: BinaryIO, said: _Said, *, in_archive: bool) -> Reading:
    opened = packed.directory(stream)
    workbook = workbook_kind(opened)
    if workbook:
        from services.formats import sheets

        return sheets.read(stream, workbook, opened, default_currency=said.currency, mapping=said.mapping)
    _refuse_nested(in_archive)
    inside = packed.members(opened)
    refuse_members(inside)
    readable: list[tuple[str, Reading]] = []
    failed: list[tuple[str, FeedRefused]] = []
    for info in inside:
        try:
            readable.append((info.filename, _read_unpacked(packed.unzip(opened, info), said)))
        except FeedRefused as refused:
            failed.append((info.filename, refused))
    if len(readable) == 1:
        return readable[0][1]
    if readable:
        shown = ", ".join(name for name, _ in readable)
        raise FeedRefused(
            "archive_ambiguous", f"Several files of the archive hold products: {shown}. Pack one of them."
        )
    if len(failed) == 1:
        raise failed[0][1]
    shown = "; ".join(f"{name}: {refused.reason}" for name, refused in failed)
    raise FeedRefused("archive_no_products", f"No file of the archive can be read. {shown[:1000]}")
