"""What the tests of the feed readers share: text in, drafts and errors out."""

import io

from services.formats import delimited
from services.formats.base import Draft, Reading, RowError


def reading(text: str | bytes, *, encoding: str = "utf-8", currency: str | None = None) -> Reading:
    """Open a feed given as text."""
    data = text if isinstance(text, bytes) else text.encode(encoding)
    return delimited.read(io.BytesIO(data), default_currency=currency)


def split(found: Reading) -> tuple[list[Draft], list[RowError]]:
    """All drafts and all errors of a feed."""
    records = list(found.records)
    drafts = [record for record in records if isinstance(record, Draft)]
    return drafts, [record for record in records if isinstance(record, RowError)]


def read(
    text: str | bytes, *, encoding: str = "utf-8", currency: str | None = None
) -> tuple[list[Draft], list[RowError]]:
    """All drafts and all errors of a feed given as text."""
    return split(reading(text, encoding=encoding, currency=currency))


def drafts(text: str | bytes, *, encoding: str = "utf-8", currency: str | None = None) -> list[Draft]:
    """All drafts of a feed that has no errors."""
    found, errors = read(text, encoding=encoding, currency=currency)
    assert errors == []
    return found
