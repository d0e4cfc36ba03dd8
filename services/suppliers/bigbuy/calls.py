"""Calls to BigBuy: addresses, the key, quotas, whole answers and lists of any length."""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, NoReturn
from urllib.parse import urlencode

from services.core.clock import now
from services.core.outside import Answer
from services.suppliers.base import Connection, Quota
from services.suppliers.bigbuy.answers import UNTOLD_WAIT_SECONDS, classified, refusal, reset, unreadable
from services.suppliers.elements import elements
from services.suppliers.errors import FatalForConnection, FatalForItem, ReconnectNeeded, Retry
from services.suppliers.wire import Reply, call, id_of, loads, opened

BASE_URL = "https://api.bigbuy.eu"

# A list of one root category may be some hundred megabytes and takes BigBuy minutes to begin.
MAX_LIST_BYTES = 1024 * 1024 * 1024
LIST_SECONDS = 1800.0
LIST_READ_SECONDS = 300.0
MAX_RECORD_BYTES = 8 * 1024 * 1024
_ERROR_BYTES = 1024 * 1024

_HOUR = 3600.0
QUOTAS = (
    Quota("catalog/products", 10, _HOUR),
    *(
        Quota(f"catalog/{name}", 24, _HOUR)
        for name in ("productsinformation", "attributes", "attributegroups", "taxonomies")
    ),
    Quota("catalog/manufacturers", 5, _HOUR),
    Quota("catalog/languages", 10, _HOUR),
    # Not documented: taken to be as scarce as the list of products.
    *(
        Quota(f"catalog/{name}", 10, _HOUR)
        for name in (
            "productsimages",
            "productsvariations",
            "variations",
            "productsstockbyhandlingdays",
            "productsvariationsstockbyhandlingdays",
            "productprices",
            "productvariationprices",
        )
    ),
    *(
        Quota(name, 1, 1.0)
        for name in (
            "order/check",
            "order/check/multishipping",
            "order/create",
            "order/create/multishipping",
            "order/reference",
            "order",
            "tracking/orders",
            "user/purse",
        )
    ),
)


def get(
    connection: Connection,
    endpoint: str,
    *,
    suffix: str = "",
    query: Mapping[str, str] | None = None,
    taken: bool = False,
) -> Any:
    """The JSON of a short answer, or None when it is empty. Raises the classes of `errors`.

    `taken` when the meter gave leave for this call before.
    """
    if not taken:
        connection.meter.take([endpoint])
    url = _url(connection, endpoint + suffix, query)
    reply = call("GET", url, headers=_headers(connection), deadline_seconds=connection.deadline_seconds)
    _learn(connection, endpoint, reply.status, reply.headers)
    if said := refusal(reply):
        raise classified(said)
    return parsed(endpoint, reply)


def post(connection: Connection, endpoint: str, body: Mapping[str, Any]) -> Reply:
    """The answer to a POST, whatever it says. Raises Unsent, Retry, Unreadable, WaitUntil (by the meter alone)."""
    connection.meter.take([endpoint])
    content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    headers = {**_headers(connection), "Content-Type": "application/json"}
    url = _url(connection, endpoint, None)
    reply = call("POST", url, headers=headers, content=content, deadline_seconds=connection.deadline_seconds)
    _learn(connection, endpoint, reply.status, reply.headers)
    return reply


def parsed(endpoint: str, reply: Reply) -> Any:
    """An answer's JSON, None when there is nothing. Raises Unreadable."""
    if not reply.body.strip():
        return None
    try:
        return loads(reply.body)
    except ValueError:
        raise unreadable(endpoint) from None


def records(connection: Connection, endpoint: str, query: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """The objects of a list, one at a time, in memory that does not grow with it.

    The call must have been taken from the meter. The list is good only when the iteration ends without an error.
    """
    with opened(
        "GET",
        _url(connection, endpoint, query),
        headers=_headers(connection),
        max_bytes=MAX_LIST_BYTES,
        deadline_seconds=LIST_SECONDS,
        read_timeout_seconds=LIST_READ_SECONDS,
    ) as answer:
        _learn(connection, endpoint, answer.status, answer.headers)
        source = _Source(answer)
        if answer.status != 200 or source.first() != b"[":
            _no_list(endpoint, answer, source)
            return
        try:
            for record in elements(source.pieces(), longest=MAX_RECORD_BYTES):
                yield record if isinstance(record, dict) else {}
        except ValueError:
            raise unreadable(endpoint) from None


def _no_list(endpoint: str, answer: Answer, source: "_Source") -> None:
    """Raise what an answer that is no list says; nothing at all is an empty list."""
    reply = Reply(answer.status, answer.headers, source.rest(_ERROR_BYTES))
    if said := refusal(reply):
        error = classified(said)
        if isinstance(error, FatalForItem):  # a list is about no item: it is the call itself that is refused
            if answer.status == 200:  # BigBuy's way to be out of order
                raise Retry(f"{endpoint}: {error.detail}", supplier_code=said.code)
            gone = said.status in (404, 405, 410)
            raise FatalForConnection(
                f"{endpoint}: {error.detail}", kind="endpoint_gone" if gone else "schema", supplier_code=said.code
            )
        raise error
    if reply.body.strip() in (b"", b"null"):
        return
    if parsed(endpoint, reply) is not None:
        drifted(endpoint)


def drifted(endpoint: str) -> NoReturn:
    """Raise that an endpoint speaks another language than the one written down."""
    raise FatalForConnection(f"BigBuy's {endpoint} no longer has the form this was written for.", kind="schema")


class _Source:
    """A body that is looked at before it is read."""

    def __init__(self, answer: Answer) -> None:
        self._chunks = answer.chunks
        self._held = b""

    def first(self) -> bytes:
        """The first byte that is not blank; nothing when there is none."""
        while not self._held.strip():
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._held = chunk
        self._held = self._held.lstrip().removeprefix(b"\xef\xbb\xbf")
        return self._held[:1]

    def pieces(self) -> Iterator[bytes]:
        """All of it, as it comes."""
        yield self._held
        yield from self._chunks

    def rest(self, limit: int) -> bytes:
        """What is left, so many bytes at most."""
        parts, held = [self._held], len(self._held)
        for chunk in self._chunks:
            parts.append(chunk)
            held += len(chunk)
            if held > limit:
                break
        return b"".join(parts)[:limit]


def _headers(connection: Connection) -> dict[str, str]:
    key = connection.secrets["api_key"]
    if not re.fullmatch(r"[!-~]{1,1000}", key):
        raise ReconnectNeeded("This is no API key of BigBuy's.")
    return {"Authorization": f"Bearer {key}"}


def _url(connection: Connection, path: str, query: Mapping[str, str] | None) -> str:
    # `firstLevel` has no value.
    asked = "&".join(urlencode({name: value}) if value else name for name, value in (query or {}).items())
    base = (connection.base_url or BASE_URL).rstrip("/")
    return f"{base}/rest/{path}.json" + (f"?{asked}" if asked else "")


def _learn(connection: Connection, endpoint: str, status: int, headers: Mapping[str, str]) -> None:
    limit, left = (id_of(headers.get(f"x-ratelimit-{name}")) for name in ("limit", "remaining"))
    when = reset(headers)
    if headers.get("x-ratelimit-remaining") == "0":
        left = 0
    if status == 429:
        left, when = 0, when or now() + timedelta(seconds=UNTOLD_WAIT_SECONDS)
    if limit is not None or left is not None or when is not None:
        connection.meter.learn(endpoint, limit=limit, remaining=left, reset=when)
