"""JSON feeds: an array of products, one product per line, or an object that holds such an array somewhere.

The text is read piece by piece and one record at a time is decoded. Numbers stay the text that stands in the file, so
that 9.90 stays 9.90 and an article number of twenty digits keeps them all.
"""

import io
import json
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, BinaryIO, NamedTuple, NoReturn

from services.formats import bigbuy, exported, flat, headers, packed, shopify_json, sniff, trees
from services.formats.base import FeedRefused, Reading
from services.formats.mapping import Mapping
from services.formats.table import IDENTIFYING

_CHUNK = 64 * 1024
_DEEPEST = 5  # objects around the array of products
_NDJSON = 1024 * 1024  # characters within which the first of several values must end
_ENOUGH = 6  # fields that only a list of products has
_NUMBERS = ("id", "sku", "productid", "handle", "code")
_LOOKED_AT = 20  # records of an array that show whether they are products

_decode = json.JSONDecoder(parse_float=str, parse_int=str, strict=False).raw_decode
_skip_blank = re.compile(r"[ \t\r\n\x1e\ufeff]*").match

Found = tuple[str, dict[str, Any]]  # path of the array a record stands in, and the record


class Kind(NamedTuple):
    """A dialect of JSON."""

    recognises: Callable[[list[dict[str, Any]]], bool]
    dialect: trees.Dialect


_KINDS = (
    Kind(exported.is_product, exported.JSON),
    Kind(shopify_json.recognises, shopify_json.DIALECT),
    Kind(bigbuy.recognises, bigbuy.DIALECT),
    Kind(
        lambda _: True,
        trees.Dialect("generic_json", flat.learn(flat.with_variants, "The records")),
    ),
)


def read(stream: BinaryIO, *, default_currency: str | None = None, mapping: Mapping | None = None) -> Reading:
    """Recognise a seekable stream of JSON and read it.

    The records are read as they are asked for; until then the stream must stay open and untouched. Raises FeedRefused
    with the code ``json_broken``, ``nested_too_deep``, ``record_too_large``, ``too_many_columns``,
    ``no_product_columns`` or ``no_records``, or one for its encoding.
    """
    codec, _ = sniff.encoding(stream)
    path, sample = _choose(_Text(stream, codec).records(), mapping.record if mapping else None)
    if not sample:
        raise FeedRefused("no_records", "The JSON holds no list of products.")
    dialect = next(kind.dialect for kind in _KINDS if kind.recognises(sample))

    def records() -> Iterator[dict[str, Any]]:
        return (record for where, record in _Text(stream, codec).records() if where == path)

    return trees.reading(
        dialect,
        records,
        encoding=codec,
        default_currency=default_currency,
        done=packed.done_of(stream),
        mapping=mapping,
    )


def _choose(found: Iterator[Found], wanted: str | None) -> tuple[str, list[dict[str, Any]]]:
    """The array whose records look most like products, or the one at the path that a mapping names."""
    samples: dict[str, list[dict[str, Any]]] = {}
    for path, record in found:
        if wanted is not None and path != wanted:
            continue
        sample = samples.setdefault(path, [])
        if len(sample) < _LOOKED_AT:
            sample.append(record)
            # The only array there is, or one that says enough: the rest of the file need not be looked at for this.
            if len(sample) == _LOOKED_AT and (not path or wanted or _likeness(sample)[0] >= _ENOUGH):
                return path, sample
    best = max(samples, key=lambda path: _likeness(samples[path]), default="")
    return best, samples.get(best, [])


def _likeness(sample: list[dict[str, Any]]) -> tuple[int, int]:
    names: dict[str, None] = {}
    for record in sample:
        names.update(dict.fromkeys(record))
    return _fields(tuple(names)[:500]), len(sample)


@lru_cache(200)
def _fields(names: tuple[str, ...]) -> int:
    """How many fields these names tell of, if one of them says which product is meant."""
    fields = {said.field for said in headers.meanings(list(names)) if said}
    return len(fields) if fields & IDENTIFYING else 0


class _Text:
    """A stream as text, of which only the part around the present place is held."""

    def __init__(self, stream: BinaryIO, codec: str) -> None:
        stream.seek(0)
        self._stream, self._position = stream, 0
        self._decoder = io.IncrementalNewlineDecoder(_decoder(codec), translate=True)
        self._text = ""
        self._at = 0
        self._lines = 1  # line on which the held text begins
        self._column = 0  # characters of that line before it
        self._complete = False

    def records(self) -> Iterator[Found]:
        """Every object that is an element of an array, or stands on its own."""
        try:
            yield from self._top()
        except RecursionError:
            raise FeedRefused("nested_too_deep", f"The JSON is nested too deep in line {self._line()}.") from None

    def _top(self) -> Iterator[Found]:
        sign = self._next()
        if sign == "[":
            yield from self._array("", 0)
        elif sign == "{":
            lone = self._lone()
            if lone is None:
                yield from self._object("", 0)
            else:
                yield from lone
        else:
            self._broken("an array or an object should begin here")
        if self._next():
            self._broken("something follows the end of the data")

    def _lone(self) -> Iterator[Found] | None:
        """The records, when the file is one object after the other, or one object that is a product itself."""
        while len(self._text) - self._at < _NDJSON and self._more():
            pass
        try:
            value, end = _decode(self._text, self._at)
        except ValueError:
            return None
        rest = _skip_blank(self._text, end)
        follows = self._text[rest.end() : rest.end() + 1] if rest else ""
        if follows == "{" or (follows == "," and re.match(r",\s*\{", self._text[rest.end() :] if rest else "")):
            return self._sequence()
        if follows or not self._complete:
            return None
        if exported.is_product([value]):
            return self._sequence()
        return self._sequence() if _is_record(value) else None

    def _sequence(self) -> Iterator[Found]:
        while sign := self._next():
            if sign == ",":  # some programs end each line with one
                self._at += 1
                continue
            value = self._value()
            if isinstance(value, dict):
                yield "", value

    def _array(self, path: str, depth: int) -> Iterator[Found]:
        self._at += 1
        sign = self._next()
        while sign != "]":
            value = self._value()
            if isinstance(value, dict):
                yield path, value
            sign = self._next()
            if sign == ",":
                self._at += 1
                sign = self._next()
                if sign == "]":
                    self._broken("a value should follow the comma")
            elif sign != "]":
                self._broken("a comma or the end of the array should stand here")
        self._at += 1

    def _object(self, path: str, depth: int) -> Iterator[Found]:
        self._at += 1
        sign = self._next()
        while sign != "}":
            if sign != '"':
                self._broken("a name in quotation marks should stand here")
            name = self._value()
            if self._next() != ":":
                self._broken("a colon should stand here")
            self._at += 1
            sign = self._next()
            below = f"{path}.{name}" if path else str(name)
            keyed = self._keyed(str(name)) if sign == "{" else None
            if sign == "[":
                yield from self._array(below, depth + 1)
            elif keyed is not None:
                yield f"{path}.*" if path else "*", keyed
            elif sign == "{" and depth < _DEEPEST:
                yield from self._object(below, depth + 1)
            else:
                self._value()
            sign = self._next()
            if sign == ",":
                self._at += 1
                sign = self._next()
                if sign == "}":
                    self._broken("a name should follow the comma")
            elif sign != "}":
                self._broken("a comma or the end of the object should stand here")
        self._at += 1

    def _keyed(self, name: str) -> dict[str, Any] | None:
        """The object that begins here, when it is a product itself: the value of its number as a name."""
        while len(self._text) - self._at < _NDJSON and self._more():
            pass
        try:
            value, end = _decode(self._text, self._at)
        except ValueError:
            return None
        if not _is_record(value):
            return None
        self._at = end
        return value if any(headers.normal(one) in _NUMBERS for one in value) else {"id": name, **value}

    def _next(self) -> str:
        """The sign that follows, blanks left out; "" at the end."""
        while True:
            blank = _skip_blank(self._text, self._at)
            self._at = blank.end() if blank else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def _value(self) -> Any:
        """The value that begins here."""
        while True:
            try:
                value, end = _decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._more(double=True):
                    continue
                self._broken(error.msg, error.pos)
            if end == len(self._text) and self._text[end - 1] not in '"]}' and self._more():
                continue  # a number may go on
            self._at = end
            return value

    def _more(self, *, double: bool = False) -> bool:
        """Read on; whether there was anything."""
        if self._complete:
            return False
        held = len(self._text) - self._at
        if held > trees.LARGEST:
            reason = f"A record is larger than {trees.LARGEST // 2**20} million characters, or broken."
            raise FeedRefused("record_too_large", f"{reason} It begins in line {self._line()}.")
        self._drop()
        size = max(_CHUNK, held if double else 0)
        self._stream.seek(self._position)  # whoever reads the records may have moved it
        chunk = self._stream.read(size)
        self._position += len(chunk)
        self._complete = not chunk
        self._text += self._decoder.decode(chunk, final=self._complete)
        return bool(chunk)

    def _drop(self) -> None:
        """Let go of the text that has been read, but remember where the rest stands."""
        newlines = self._text.count("\n", 0, self._at)
        self._lines += newlines
        behind = self._at - (self._text.rfind("\n", 0, self._at) + 1)
        self._column = behind if newlines else self._column + behind
        self._text = self._text[self._at :]
        self._at = 0

    def _line(self, at: int | None = None) -> int:
        return self._lines + self._text.count("\n", 0, self._at if at is None else at)

    def _broken(self, reason: str, at: int | None = None) -> NoReturn:
        at = self._at if at is None else at
        before = self._text.rfind("\n", 0, at) + 1
        column = at - before + 1 + (0 if before else self._column)
        raise FeedRefused("json_broken", f"The JSON is broken in line {self._line(at)}, column {column}: {reason}.")


def _decoder(codec: str) -> Any:
    import codecs

    return codecs.getincrementaldecoder(codec)("replace")


def _is_record(value: dict[str, Any]) -> bool:
    """Whether an object says more about a product than the lists of objects in it do."""
    itself = _likeness([value])[0]
    return bool(itself) and all(itself > _likeness(inside)[0] for inside in _parts(value, "", 0).values())


def _parts(value: dict[str, Any], path: str, depth: int) -> dict[str, list[dict[str, Any]]]:
    """The arrays of objects inside an object."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name, one in value.items():
        below = f"{path}.{name}" if path else name
        if isinstance(one, list):
            objects = [item for item in one[:_LOOKED_AT] if isinstance(item, dict)]
            if objects:
                found[below] = objects
        elif isinstance(one, dict) and depth < _DEEPEST:
            found |= _parts(one, below, depth + 1)
    return found
