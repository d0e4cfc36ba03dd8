"""A TCP proxy whose connections can go half-open: both ends stay up, nothing passes any more.

This is what a lost route or a failed-over load balancer looks like. It never closes: noticing is the client's work.
"""

import contextlib
import selectors
import socket
import threading

from ops.ports import LOOPBACK


class Proxy:
    """Forwards to a port on this machine. `freeze` makes all present connections half-open; new ones work."""

    def __init__(self, upstream_port: int) -> None:
        self._upstream = (LOOPBACK, upstream_port)
        self._listener = socket.create_server((LOOPBACK, 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._frozen: list[socket.socket] = []
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        threading.Thread(target=self._run, name="proxy", daemon=True).start()

    def freeze(self) -> int:
        """Let nothing more through on the connections there are. Returns how many."""
        with self._lock:
            sockets = list(self._pairs)
            for one in sockets:
                with contextlib.suppress(KeyError, ValueError):
                    self._selector.unregister(one)
            self._pairs.clear()
            self._frozen += sockets
        return len(sockets) // 2

    def thaw(self) -> None:
        """Close what was frozen: by now everybody has given it up."""
        with self._lock:
            frozen, self._frozen = self._frozen, []
        for one in frozen:
            one.close()

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select(timeout=0.2):
                one = key.fileobj
                if one is self._listener:
                    self._accept()
                elif isinstance(one, socket.socket):
                    self._forward(one)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        try:
            server = socket.create_connection(self._upstream, timeout=2)
        except OSError:
            client.close()
            return
        with self._lock:
            for one, other in ((client, server), (server, client)):
                one.settimeout(5)
                self._pairs[one] = other
                self._selector.register(one, selectors.EVENT_READ)

    def _forward(self, one: socket.socket) -> None:
        with self._lock:
            other = self._pairs.get(one)
        if other is None:
            return
        try:
            data = one.recv(65536)
            if data:
                other.sendall(data)
                return
        except OSError:
            pass
        with self._lock:
            for end in (one, other):
                if self._pairs.pop(end, None) is not None:
                    with contextlib.suppress(KeyError, ValueError):
                        self._selector.unregister(end)
                end.close()
