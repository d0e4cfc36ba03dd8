"""Choosing TCP ports on loopback."""

import random
import socket
from pathlib import Path

LOOPBACK = "127.0.0.1"

# Below the range the kernel hands to outgoing connections (32768 and up on Linux, 49152 on macOS): a client that keeps
# dialling a port inside that range while its server restarts can end up connected to itself, and hold the port.
_CANDIDATES = range(20_000, 32_000)


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` of 127.0.0.1 now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: TIME_WAIT is no obstacle
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Some free port, chosen at random so that stacks started together rarely meet."""
    for port in random.sample(_CANDIDATES, 200):
        if is_free(port):
            return port
    raise RuntimeError("no free TCP port found on 127.0.0.1")


def remembered_port(file: Path, wanted: int = 0) -> int:
    """`wanted` if given, else the port noted in `file` if it is still free, else a free one; noted in `file`.

    Raises RuntimeError when `wanted` is taken.
    """
    if wanted and not is_free(wanted):
        raise RuntimeError(f"port {wanted} of {LOOPBACK} is taken")
    port = wanted or _noted(file) or free_port()
    file.write_text(f"{port}\n")
    return port


def _noted(file: Path) -> int:
    try:
        port = int(file.read_text())
    except (OSError, ValueError):
        return 0
    return port if is_free(port) else 0
