"""What a file is, by its beginning: enough to tell a merchant that the address is the right one."""

import io

from services.formats import look, read
from services.formats.base import Draft, FeedRefused
from services.suppliers.base import Connection
from services.suppliers.errors import FatalForConnection, Retry
from services.suppliers.feed.fetch import head, not_a_feed, reading

_KINDS = {
    "gzip": "packed with gzip",
    "zip": "a zip file or a workbook",
    "ole": "a workbook",
    "xml": "XML",
    "json": "JSON",
}


def found(connection: Connection) -> str:
    """In words, what is there. Raises ReconnectNeeded, FatalForConnection, Retry, WaitUntil."""
    data, complete = head(connection)
    try:
        kind = read.kind(data[:8192])
        if complete or kind == "text":
            return _records(connection, data if complete else data[: data.rfind(b"\n") + 1], complete=complete)
        if kind in ("xml", "json", "gzip"):
            look.refuse_early(io.BytesIO(data))
    except FeedRefused as refused:
        raise not_a_feed(refused) from refused
    return f"a large file ({_KINDS[kind]}) that begins as a feed does"


def _records(connection: Connection, data: bytes, *, complete: bool) -> str:
    try:
        feed = reading(connection, io.BytesIO(data))
    except Retry as refused:  # what may pass on a walk is no reason to connect
        raise FatalForConnection(refused.detail, kind="schema", supplier_code=refused.kind) from refused
    drafts = broken = 0
    for record in feed.records:
        drafts, broken = drafts + isinstance(record, Draft), broken + (not isinstance(record, Draft))
    if not drafts:
        raise FatalForConnection("No record of the feed can be used.", kind="schema")
    fields = ", ".join(sorted(set(feed.columns.values())))
    if "cost" not in feed.columns.values():
        fields += "; no cost: a mapping may say which column is what you pay"
    more = "" if complete else " in its beginning"
    problems = f", {broken:,} that cannot be read" if broken else ""
    return f"a feed ({feed.format}) with {drafts:,} records{more}{problems}; it says {fields}"
