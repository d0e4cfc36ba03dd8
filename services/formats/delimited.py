"""Delimited text (CSV, TSV and their kin) → drafts: the one entry for every such feed."""

import contextlib
import io
from collections.abc import Callable, Iterator
from itertools import chain
from typing import BinaryIO

from services.formats import exported, generic, headers, packed, records, runs, shopify, sniff, table, woocommerce
from services.formats import mapping as mappings
from services.formats.base import Draft, FeedRefused, Place, Reading, RowError
from services.formats.sections import Sections
from services.formats.woocommerce_headers import in_english

# In this order; the last takes every table that is about products.
_FORMATS: tuple[tuple[str, Callable[[set[str]], bool], table.Columns], ...]
_FORMATS = (
    *exported.FORMATS,
    (shopify.FORMAT, shopify.recognises, shopify.mapper),
    (woocommerce.FORMAT, woocommerce.recognises, woocommerce.mapper),
    (generic.FORMAT, lambda _: True, generic.mapper),
)

_BEGIN = Place(0, 1)


def read(stream: BinaryIO, *, default_currency: str | None = None, mapping: mappings.Mapping | None = None) -> Reading:
    """Recognise a seekable stream of delimited text and read it.

    ``default_currency`` (ISO 4217) is the currency of prices that do not name one. The records are read as they are
    asked for, in memory that does not grow with the file; until then the stream must stay open and untouched. It is
    never closed here. Raises FeedRefused with the code ``empty``, ``binary``, ``undecodable``, ``not_delimited``,
    ``too_many_columns``, ``no_product_columns`` or ``no_records``.
    """
    encoding, clean = sniff.encoding(stream)
    newline: str | None = None

    def from_line(
        delimiter: str,
        first_line: int,
        width: int,
        trims: bool = False,
        *,
        judged: bool = True,
        start: Place = _BEGIN,
    ) -> Iterator[records.Record | RowError]:
        stream.seek(start.offset)
        codec = encoding if start.offset == 0 else encoding.removesuffix("-sig")
        text = io.TextIOWrapper(stream, codec, errors="replace", newline=newline)
        try:
            for _ in range(first_line - start.line):
                text.readline(records.LONGEST)
            line = max(first_line, start.line)
            yield from records.records(
                text, delimiter=delimiter, width=width, line=line, trims=trims, clean=clean, judged=judged
            )
        finally:
            with contextlib.suppress(ValueError):  # its owner has closed it already
                text.detach()  # or the stream would be closed with it

    def reread(delimiter: str, first_line: int, width: int) -> Iterator[list[str]]:
        return (item[1] for item in from_line(delimiter, first_line, width) if not isinstance(item, RowError))

    found = table.find(
        sniff.sample(stream, encoding),
        default_currency,
        reread,
        named=mapping.named() if mapping else None,
        headless=bool(mapping and not mapping.header),
    )
    names = {headers.normal(name) for name in in_english(found.headers, found.sample)}
    own = exported.recognises(names) and not (mapping and mapping.fields)
    newline = "" if own else None  # our own cells keep their line ends
    formats = _FORMATS if own else _FORMATS[len(exported.FORMATS) :]
    name, make_mapper = next((name, make) for name, recognises, make in formats if recognises(names))
    width = len(found.headers)
    sections = Sections(found.headers, found.sample if name == generic.FORMAT else [], alone=True)
    if sections.any:
        found = found._replace(
            headers=found.headers + sections.column,
            sample=[row for _, row in sections.apply((0, [*row]) for row in found.sample)],
        )
    if mapping:
        make_mapper = mappings.applied(make_mapper, mapping, found.headers)
    columns, to_draft, apart = make_mapper(found)

    def from_begin(*, judged: bool = True, start: Place = _BEGIN) -> Iterator[records.Record | RowError]:
        items = from_line(found.delimiter, found.first_line, width, found.trims, judged=judged, start=start)
        if not sections.any:
            return items
        is_product = sections.placing()
        return (item for item in items if isinstance(item, RowError) or is_product(item[1]))

    def as_they_stand() -> Iterator[tuple[int, list[str]]]:
        for item in from_begin(judged=False):
            if not isinstance(item, RowError):
                yield item[:2]

    def in_runs(salt: bytes, start: Place | None = None) -> Iterator[runs.Run]:
        assert apart is not None  # noqa: S101  or nobody was given this function
        learned = (name, found.headers, found.delimiter, found.trims, clean, default_currency, apart.learned)
        return runs.runs(
            from_begin(start=start or _BEGIN),
            keys=apart.keys,
            salt=salt + repr(learned).encode("utf-8", "surrogatepass"),
        )

    drafts = _drafts(from_begin(), to_draft)
    first = next(drafts, None)
    if first is None:
        raise FeedRefused("no_records", "The table has a header and no rows.")
    return Reading(
        name,
        encoding,
        found.delimiter,
        columns,
        chain((first,), drafts),
        packed.done_of(stream),
        tuple(found.headers),
        tuple(row[:-1] for row in found.sample[: table.SHOWN]),
        rows=as_they_stand,
        runs=in_runs if apart and not sections.any else None,
        drafts_of=lambda run: _drafts(iter(run.items), to_draft),
    )


def _drafts(items: Iterator[records.Record | RowError], to_draft: table.Mapper) -> Iterator[Draft | RowError]:
    """Drafts in file order, each behind the errors of its record."""
    errors: list[RowError] = []
    for item in items:
        if isinstance(item, RowError):
            yield item
            continue
        line, row, _ = item
        draft = to_draft(row, line, errors)
        if errors:
            yield from errors
            errors.clear()
        if draft is not None:
            yield draft
