"""The door of every supplier: reads the call, notes it, lets faults befall it, sends the answer."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from email.utils import formatdate
from itertools import chain
from typing import Any
from urllib.parse import parse_qsl

from sandbox import faults as fault_rules
from sandbox.faults import REPLACING, BadFault, FaultIn
from sandbox.ledger import BODY_BYTES, Entry
from sandbox.server import cut, is_cut
from sandbox.wire import Answer, Call, Supplier
from sandbox.world import World

MAX_BODY_BYTES = 16 * 1024 * 1024

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

HTML = """<html><head><title>{status}</title></head><body>
<h1>{status} {reason}</h1>
The server didn't respond in time.
</body></html>
"""
REASONS = {500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Time-out"}


class Gate:
    """One supplier as an ASGI application."""

    def __init__(self, world: World, name: str) -> None:
        """`name` is the supplier's, and its mount below the server's root."""
        self.world = world
        self.name = name

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one request."""
        started = time.monotonic()
        call = _read_head(scope, self.name)
        call.at = self.world.clock.now()
        body = await _read_body(receive)
        client: tuple[str, int] = tuple(scope["client"])
        if body is None:
            await _send(Answer(413, b"too large", "text/plain"), client, send)
            return
        call.body = body
        supplier = self.world.suppliers[self.name]
        supplier.recognise(call)
        entry = self._note(call)
        try:
            befalling = self.world.faults.befalling(call)
            entry.faults = [fault.kind for fault in befalling]
            await self._serve(supplier, call, entry, befalling, client=client, receive=receive, send=send)
        except BadFault as error:
            entry.status = 400
            await _send(Answer(400, str(error).encode(), "text/plain; charset=utf-8"), client, send)
        finally:
            entry.seconds = round(time.monotonic() - started, 6)
            self.world.ledger.close(entry)

    def _note(self, call: Call) -> Entry:
        return self.world.ledger.note(
            at=call.at,
            supplier=call.supplier,
            route=call.route,
            method=call.method,
            path=call.path,
            query=call.query,
            key=call.key,
            body=call.body[:BODY_BYTES].decode("utf-8", "replace"),
        )

    async def _serve(
        self,
        supplier: Supplier,
        call: Call,
        entry: Entry,
        befalling: list[FaultIn],
        *,
        client: tuple[str, int],
        receive: Receive,
        send: Send,
    ) -> None:
        kinds = {fault.kind: fault for fault in reversed(befalling)}  # the first of a kind counts
        if latency := kinds.get("latency"):
            await asyncio.sleep(latency.seconds)
            call.at = self.world.clock.now()
        if "drop" in kinds:
            await cut(client, receive)
            return
        answer = _answer(supplier, call, kinds)
        entry.effects = call.effects
        if "lost" in kinds:
            await cut(client, receive)
            return
        date = ("Date", formatdate(self.world.clock.now(), usegmt=True))  # limits end by the same clock
        answer.headers = [date, *call.extra_headers, *answer.headers]
        for kind in ("malformed", "truncated"):
            if kind in kinds:
                place = _place(answer, kinds[kind])
                answer.body = (_malformed if kind == "malformed" else _truncated)(answer.body, place)
        entry.status = answer.status
        if "cut" in kinds:
            await _send(answer, client, send, entry, stop_at=_place(answer, kinds["cut"]))
            await cut(client, receive)
            return
        await _send(answer, client, send, entry)


def _answer(supplier: Supplier, call: Call, kinds: dict[Any, FaultIn]) -> Answer:
    """What the supplier says, or what a fault makes it say."""
    call.revoked = "revoked" in kinds
    call.spoilers = [spoiler for fault in kinds.values() if (spoiler := fault_rules.spoiler(fault)) is not None]
    refusal = supplier.admit(call)
    replacing = next((kinds[kind] for kind in REPLACING if kind in kinds), None)
    if refusal is not None:
        return refusal
    if replacing is None:
        return supplier.answer(call)
    if replacing.after_effect:
        supplier.answer(call)
    try:
        return _replacement(supplier, call, replacing)
    except ValueError as error:
        raise BadFault(str(error)) from None


def _replacement(supplier: Supplier, call: Call, fault: FaultIn) -> Answer:
    match fault.kind:
        case "soft":
            return supplier.soft_error(call, fault.variant)
        case "quota":
            return supplier.exhausted(call)
        case "empty":
            return Answer(fault.status or 200, b"")
        case "html":
            status = fault.status or 504
            page = HTML.format(status=status, reason=REASONS.get(status, ""))
            return Answer(status, page.encode(), "text/html; charset=UTF-8")
    return Answer(fault.status or 500, REASONS.get(fault.status or 500, "Error").encode(), "text/plain")


# -- Reading -------------------------------------------------------------------------------------------------------


def _read_head(scope: Any, supplier: str) -> Call:
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    return Call(
        supplier=supplier,
        method=scope["method"],
        path=path,
        query=dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)),
        headers={name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]},
        body=b"",
        at=0.0,
    )


async def _read_body(receive: Receive) -> bytes | None:
    """The whole body; None if it is too large."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b"".join(parts)
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY_BYTES:
            return None
        if not message.get("more_body"):
            return b"".join(parts)


# -- Sending -------------------------------------------------------------------------------------------------------


async def _send(
    answer: Answer, client: tuple[str, int], send: Send, entry: Entry | None = None, stop_at: int | None = None
) -> None:
    """Send an answer, piece by piece as the client reads; `stop_at` bytes of it only, and then no end."""
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in answer.headers]
    if answer.content_type:
        headers.append((b"content-type", answer.content_type.encode()))
    if isinstance(answer.body, bytes):
        headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    sent = 0
    for piece in [answer.body] if isinstance(answer.body, bytes) else answer.body:
        chunk = piece if stop_at is None else piece[: stop_at - sent]
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await asyncio.sleep(0)  # others have their turn while a large list is made
        sent += len(chunk)
        if entry is not None:
            entry.sent_bytes = sent
        if is_cut(client) or len(chunk) < len(piece):
            return
    if stop_at is not None:
        return
    await send({"type": "http.response.body", "body": b"", "more_body": False})
    if entry is not None:
        entry.complete = True


def _place(answer: Answer, fault: FaultIn) -> int:
    """Where a body breaks: as the fault says, or in the middle of it or of its first piece."""
    if fault.at_byte is not None:
        return fault.at_byte
    if isinstance(answer.body, bytes):
        return len(answer.body) // 2
    first = next(answer.body, b"")
    answer.body = chain([first], answer.body)
    return len(first) // 2


def _truncated(body: bytes | Iterator[bytes], place: int) -> bytes | Iterator[bytes]:
    """The beginning, sent as if it were all."""
    return body[:place] if isinstance(body, bytes) else _until(body, place)


def _until(pieces: Iterator[bytes], place: int) -> Iterator[bytes]:
    for piece in pieces:
        if len(piece) >= place:
            yield piece[:place]
            return
        place -= len(piece)
        yield piece


def _malformed(body: bytes | Iterator[bytes], place: int) -> bytes | Iterator[bytes]:
    """All of it, with nonsense in one place."""
    if isinstance(body, bytes):
        return body[:place] + b'"}\x00]{,' + body[place:]
    return _with_nonsense(body, place)


def _with_nonsense(pieces: Iterator[bytes], place: int) -> Iterator[bytes]:
    for piece in pieces:
        if 0 <= place < len(piece):
            yield piece[:place] + b'"}\x00]{,' + piece[place:]
        else:
            yield piece
        place -= len(piece)
