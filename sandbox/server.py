"""Uvicorn with one thing added: a connection can be cut, as real networks do."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

_connections: dict[tuple[str, int], asyncio.BaseTransport] = {}

ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]


class CuttableProtocol(H11Protocol):
    """HTTP/1.1 whose connections are known by the address of their client."""

    _peer: tuple[str, int] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Note the connection."""
        super().connection_made(transport)
        self._peer = tuple(transport.get_extra_info("peername")[:2])
        _connections[self._peer] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self._peer is not None:
            _connections.pop(self._peer, None)
        super().connection_lost(exc)


def is_cut(client: tuple[str, int]) -> bool:
    """Whether nobody is there any more to read what is sent."""
    transport = _connections.get(client)
    return transport is None or transport.is_closing()


async def cut(client: tuple[str, int], receive: Callable[[], Awaitable[Any]]) -> None:
    """Cut the connection of that client at once; returns when the server has noticed."""
    transport = _connections.get(client)
    if transport is None:
        return
    transport.abort()  # type: ignore[attr-defined]
    while (await receive())["type"] != "http.disconnect":
        pass


def make_server(app: ASGIApp, *, host: str = "127.0.0.1", port: int = 0) -> uvicorn.Server:
    """A server ready to `run()`; connections of its application can be cut."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http=CuttableProtocol,
            ws="none",
            proxy_headers=False,  # a client is known by its real address
            server_header=False,
            date_header=False,  # suppliers have the sandbox's time
            access_log=False,
            log_level="warning",
            timeout_keep_alive=75,
            timeout_graceful_shutdown=2,
        )
    )


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that already takes connections, which then wait for the server; with port 0, on a free port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named asyncio turns Nagle's algorithm off; else every answer would wait 40 ms for its body.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2_048)
    except OSError:
        listener.close()
        raise
    return listener
