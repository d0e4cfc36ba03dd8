"""Mappings of sources: the one that is kept, and a look at what one would make of a file."""

import gzip
import io
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, BinaryIO

from services.core.errors import Invalid, TooLarge
from services.formats import mapping as mappings
from services.formats import packed, proposal, read
from services.formats.base import Draft, FeedRefused, Reading, RowError
from services.imports.receive import FeedNotUsable
from services.models import Import

SHOWN = 20  # drafts, and errors
LOOKED_AT = 2_000  # records
LARGEST = 32 * 1024 * 1024  # bytes: a preview is made while somebody waits
_HEAD = 1024 * 1024  # bytes of a larger table of text


class MappingInvalid(Invalid):
    """This is no mapping, or none for this file; the detail says why."""

    def __init__(self, refused: FeedRefused) -> None:
        super().__init__(refused.reason, param="mapping")
        vars(self)["code"] = refused.code


class TooLargeToPreview(TooLarge):
    """A file this large can be imported, but not looked at while you wait."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What a file would become. ``refused`` says why nothing, as long as nobody says what its columns are."""

    format: str | None = None
    encoding: str | None = None
    delimiter: str | None = None
    sheet: str | None = None
    columns: list[proposal.Column] = field(default_factory=list)
    mapping: dict[str, Any] = field(default_factory=dict)
    drafts: list[Draft] = field(default_factory=list)
    errors: list[RowError] = field(default_factory=list)
    refused: FeedRefused | None = None


def mapping_of(import_: Import) -> mappings.Mapping | None:
    """The mapping an import is read by; None for none. Raises MappingInvalid for one that no longer is one."""
    return checked(import_.mapping) if import_.mapping else None


def checked(given: Any) -> mappings.Mapping:
    """A mapping out of what a merchant has said. Raises MappingInvalid."""
    try:
        return mappings.parse(given)
    except mappings.MappingInvalid as refused:
        raise MappingInvalid(refused) from refused


def preview(file: BinaryIO, *, currency: str | None, given: dict[str, Any] | None = None) -> Preview:
    """The first drafts and errors of a seekable file, with ``given`` as mapping or as it is recognised.

    For a file that is not recognised the mapping is guessed from its cells and tried. Raises FeedNotUsable,
    MappingInvalid, TooLargeToPreview.
    """
    wanted = checked(given) if given else None
    try:
        file = _small(file)
        try:
            return _shown(file, currency, wanted, given)
        except FeedRefused as refused:
            if wanted or not refused.seen:
                raise
            return _guessed(file, currency, refused)
    except mappings.MappingInvalid as refused:
        raise MappingInvalid(refused) from refused
    except FeedRefused as refused:
        raise FeedNotUsable(refused) from refused


def _small(file: BinaryIO) -> BinaryIO:
    """The file, or the beginning of a long table of text, which says as much."""
    kind, size, head = unpacked_size(file)
    if size <= LARGEST:
        return file
    if kind != "text":
        raise TooLargeToPreview(
            f"Files of this kind are shown up to {LARGEST // 1024**2} MB, unpacked; the import takes larger ones.",
            max_bytes=LARGEST,
        )
    return io.BytesIO(head[: head.rfind(b"\n") + 1] or head)


def unpacked_size(file: BinaryIO) -> tuple[str, int, bytes]:
    """What kind of file this, or what was packed with gzip, is; how many bytes it is unpacked; and its beginning."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(_HEAD)
    kind = read.kind(head[:8192])
    if kind == "zip":
        size = sum(info.file_size for info in packed.directory(file).infolist())
    elif kind == "gzip":
        head, size = _unpacked(file)
        kind = read.kind(head[:8192]) if head else kind
    return kind, size, head


def _unpacked(file: BinaryIO) -> tuple[bytes, int]:
    """The beginning of what a gzip file holds, and its size, counted as far as it matters."""
    file.seek(0)
    try:
        with gzip.GzipFile(fileobj=file) as opened:
            head = opened.read(_HEAD)
            size = len(head)
            while size <= LARGEST and (chunk := opened.read(_HEAD)):
                size += len(chunk)
    except packed.BROKEN:  # said by whoever reads it
        return b"", 0
    return head, size


def _shown(file: BinaryIO, currency: str | None, wanted: mappings.Mapping | None, given: Any) -> Preview:
    reading = read.read(file, default_currency=currency, mapping=wanted)
    drafts, errors = _first(reading)
    if wanted is None and not reading.delimiter and reading.encoding:
        # Of a tree, also the values that are not read as columns by themselves.
        every = read.read(file, default_currency=currency, mapping=mappings.NOTHING)
        proposed = proposal.of_table(every.headers, every.sample, reading.columns)
    else:
        proposed = proposal.of_table(reading.headers, reading.sample, reading.columns)
    own = _own_fields(proposed, given)
    return Preview(
        reading.format,
        reading.encoding,
        reading.delimiter,
        reading.sheet,
        own,
        given or proposed.mapping,
        drafts,
        errors,
    )


def _own_fields(proposed: proposal.Proposal, given: Any) -> list[proposal.Column]:
    """The columns, and of those a mapping names, what it says they are."""
    if not given:
        return proposed.columns
    said: dict[str, str] = {}
    for name, rule in mappings.parse(given).fields.items():
        for column in (*rule.columns, *(rule.expression.columns if rule.expression else ())):
            said.setdefault(column, name)
    return [
        column._replace(field=said[column.header], confidence=1.0, why="The mapping says so.")
        if column.header in said
        else column
        for column in proposed.columns
    ]


def _guessed(file: BinaryIO, currency: str | None, refused: FeedRefused) -> Preview:
    proposed = proposal.of_rows(refused.seen)
    unread = Preview(columns=proposed.columns, mapping=proposed.mapping, refused=refused)
    if not proposed.mapping["fields"]:
        return unread
    try:
        reading = read.read(file, default_currency=currency, mapping=mappings.parse(proposed.mapping))
    except FeedRefused:
        return unread
    drafts, errors = _first(reading)
    return Preview(
        reading.format,
        reading.encoding,
        reading.delimiter,
        reading.sheet,
        proposed.columns,
        proposed.mapping,
        drafts,
        errors,
        refused,
    )


def _first(reading: Reading) -> tuple[list[Draft], list[RowError]]:
    drafts: list[Draft] = []
    errors: list[RowError] = []
    for record in islice(reading.records, LOOKED_AT):
        into: list[Any] = drafts if isinstance(record, Draft) else errors
        if len(into) < SHOWN:
            into.append(record)
        if len(drafts) == len(errors) == SHOWN:
            break
    return drafts, errors
