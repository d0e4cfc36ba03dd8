"""The server the files lie on: who may fetch them, how often, and whether they have changed."""

import base64
import binascii
from collections.abc import Iterator
from hashlib import blake2b

from sandbox.bigbuy.supplier import BigBuy
from sandbox.catalogue import Catalogue
from sandbox.feed.records import FILES, records
from sandbox.limits import Limits
from sandbox.wire import Answer, Call, Item, encode

DEFAULT_KEY = "sandbox-feed-key"
LIMITS = {"catalogue*": (60, 3_600)}


class Feed:
    """One catalogue, and the keys it may be fetched with."""

    name = "feed"

    def __init__(self, seed: int, products: int, stock_drift: float, price_drift: float) -> None:
        """A catalogue of that seed and size; the key DEFAULT_KEY."""
        self.catalogue = Catalogue(
            seed=seed, salt=self.name, products=products, stock_drift=stock_drift, price_drift=price_drift
        )
        self._other = Catalogue(seed=seed, salt=BigBuy.name, products=products)
        self.keys = {DEFAULT_KEY}
        self.limits = Limits(LIMITS)

    def recognise(self, call: Call) -> None:
        """The file's name; the key out of `?key=`, the header X-Api-Key, or a password."""
        name = call.path.strip("/")
        call.route = name if name in FILES else "?"
        call.key = call.query.get("key") or call.headers.get("x-api-key") or _password(call)

    def admit(self, call: Call) -> Answer | None:
        """401 without a key that is valid; 429 when it was fetched too often."""
        if call.revoked or call.key not in self.keys:
            answer = _plain(401, "This file is for customers.")
            answer.headers.append(("WWW-Authenticate", 'Basic realm="feed"'))
            return answer
        verdict = self.limits.count(call.key, call.route, call.at)
        return None if verdict is None or verdict.passes else _too_many(verdict.reset - call.at)

    def answer(self, call: Call) -> Answer:
        """The file, unless the client has it already."""
        if call.route not in FILES:
            return _plain(404, "There is no such file.")
        if call.method != "GET":
            return _plain(405, "Files are fetched.")
        writer, content_type = FILES[call.route]
        headers = [("ETag", self._etag(call))]
        if call.headers.get("if-none-match") == headers[0][1]:
            return Answer(304, b"", None, headers)
        return Answer(200, writer(call.spoil(self._records(call))), content_type, headers)

    def soft_error(self, call: Call, variant: str | None) -> Answer:
        """`page` (the default): a page about maintenance; `object`: an object instead of a catalogue. Both say 200."""
        if variant == "object":
            return Answer(200, b'{"status": "maintenance"}')
        if variant not in (None, "page"):
            raise ValueError(f"a feed has no soft error {variant!r}")
        return Answer(200, b"<!DOCTYPE html><html><body>We are back soon.</body></html>", "text/html")

    def exhausted(self, call: Call) -> Answer:
        """429, and the window stays used up."""
        verdict = self.limits.exhausted(call.key or "", call.route, call.at)
        return _too_many(verdict.reset - call.at)

    def _records(self, call: Call) -> Iterator[Item]:
        return records(self.catalogue, self._other, call.at)

    def _etag(self, call: Call) -> str:
        digest = blake2b(call.route.encode(), digest_size=12)
        for record in self._records(call):
            digest.update(encode(record).encode())
        return f'"{digest.hexdigest()}"'


def _password(call: Call) -> str | None:
    scheme, _, given = call.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(given).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return None


def _too_many(seconds: float) -> Answer:
    answer = _plain(429, "You fetch this file too often.")
    answer.headers.append(("Retry-After", str(max(1, round(seconds)))))
    return answer


def _plain(status: int, text: str) -> Answer:
    return Answer(status, text.encode(), "text/plain; charset=utf-8")
