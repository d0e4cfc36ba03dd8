"""What may be reached outside, what comes back from there, and what can go wrong.

The client itself is services/core/http.py. It brings libraries along that take memory, so whoever only names what it
gives and raises finds that here.
"""

import ipaddress
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from services.core.errors import Invalid, TooLarge, Unavailable

Address = IPv4Address | IPv6Address


# Web ports and anything unprivileged (shops do publish feeds on odd ports), except where other protocols live:
# https://fetch.spec.whatwg.org/#port-blocking above 1023, and well-known data stores.
OTHER_PROTOCOLS = frozenset(
    {1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080}
    | {1433, 1521, 2375, 2376, 2379, 3306, 3389, 5432, 5672, 5984, 6379, 6443, 6543, 9042, 9092, 9200, 10250, 11211}
    | {27017}
)
# What `is_global` of some Python 3.11 releases lets through.
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(block)
    for block in (
        *("0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "240.0.0.0/4"),
        *("::/96", "100::/64", "2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10"),
        "fec0::/10",
    )
)
_NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))


class UrlNotAllowed(Invalid):
    """This address may not be fetched."""


class FetchFailed(Invalid):
    """The other side refused, and would refuse again."""


class NoSuchHost(FetchFailed):
    """There is nobody of this name: nothing was sent."""

    code = FetchFailed.code


class FetchedTooLarge(TooLarge):
    """What is at this address is larger than is allowed here."""


class FetchUnavailable(Unavailable):
    """The other side did not answer as it should; it may later."""


class NoAnswerAboutHost(FetchUnavailable):
    """Whether there is somebody of this name could not be found out: nothing was sent."""

    code = FetchUnavailable.code


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came back. `status` 304 means unchanged (the request's headers asked for that) and nothing was written."""

    status: int
    url: str  # after redirects, without credentials
    content_type: str | None  # without parameters, lower case
    charset: str | None
    filename: str | None
    etag: str | None
    last_modified: str | None
    bytes: int  # written, after decompression


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call was answered with, whatever its status: the caller knows what it means."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    chunks: Iterator[bytes]  # the body, decompressed; can be gone through once, while the call is open


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet, whatever notation hides it."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is None and any(address in block for block in _NAT64):
            inner = IPv4Address(int(address) & 0xFFFF_FFFF)
        if inner is not None:
            return is_public(inner)
        if address.scope_id is not None:
            return False
    if any(address.version == block.version and address in block for block in _NOT_PUBLIC):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


def resolve(host: str, port: int) -> list[Address]:
    """The addresses of a name, by the system's resolver."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ipaddress.ip_address(str(entry[4][0])) for entry in found))


@dataclass(frozen=True, slots=True)
class Guard:
    """How names become addresses, and which addresses may be connected to."""

    resolve: Callable[[str, int], list[Address]] = resolve
    allowed: Callable[[Address], bool] = is_public
