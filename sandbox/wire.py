"""What comes in and what goes out, as suppliers' rules see it: a call and an answer."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

Item = dict[str, Any]
Spoiler = Callable[[Iterator[Item]], Iterator[Item]]

BATCH = 100  # items encoded at a time: chunks of about 64 KB


@dataclass(slots=True)
class Call:
    """One request to a supplier, read to the end."""

    supplier: str
    method: str
    path: str  # below the supplier's prefix
    query: dict[str, str]
    headers: dict[str, str]  # names in lower case
    body: bytes
    at: float  # by the sandbox's clock
    route: str = "?"  # the supplier's name for the endpoint, without ids
    key: str | None = None  # who calls: API key, app key and token
    revoked: bool = False  # a fault: treat the credential as taken away
    spoilers: list[Spoiler] = field(default_factory=list)
    extra_headers: list[tuple[str, str]] = field(default_factory=list)
    effects: list[str] = field(default_factory=list)  # what the call changed, for the ledger

    def spoil(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items with the faults of this call worked into them."""
        result = iter(items)
        for spoiler in self.spoilers:
            result = spoiler(result)
        return result

    def spoil_one(self, item: Item) -> Item:
        """A single item with the faults of this call worked in; a duplicate of it is lost."""
        return next(self.spoil([item]), item)


@dataclass(slots=True)
class Answer:
    """What is sent back. A body that is an iterator is streamed as it is made."""

    status: int
    body: bytes | Iterator[bytes] = b""
    content_type: str | None = "application/json"
    headers: list[tuple[str, str]] = field(default_factory=list)


class Supplier(Protocol):
    """The rules of one supplier. None of its methods waits: what they change, they change at once."""

    name: str

    def recognise(self, call: Call) -> None:
        """Fill in the call's route and key."""

    def admit(self, call: Call) -> Answer | None:
        """Credentials and quotas; what refuses the call, or None."""

    def answer(self, call: Call) -> Answer:
        """The answer of an admitted call, with its effects done."""

    def soft_error(self, call: Call, variant: str | None) -> Answer:
        """An error inside HTTP 200, in a form this supplier is known for. Raises ValueError for another variant."""

    def exhausted(self, call: Call) -> Answer:
        """What the supplier says when the quota is used up."""


encode = json.JSONEncoder(separators=(",", ":")).encode


def json_answer(value: object, status: int = 200) -> Answer:
    """A JSON body."""
    return Answer(status, encode(value).encode())


def stream_list(items: Iterator[Item], encode_batch: Callable[[list[Item]], str] = encode) -> Iterator[bytes]:
    """A JSON array in chunks; never more than a batch of its items in memory."""
    opening = "["
    batch: list[Item] = []
    for item in items:
        batch.append(item)
        if len(batch) == BATCH:
            yield (opening + encode_batch(batch)[1:-1]).encode()
            opening = ","
            batch = []
    last = encode_batch(batch)[1:-1] if batch else ""
    if batch or opening == "[":
        yield (opening + last).encode()
    yield b"]"
