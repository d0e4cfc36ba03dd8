"""Records of a table in runs: neighbours that name the same product, with a hash of all that their reading depends on.

What a run comes to follows from its hash, so whoever remembers what it came to need not read it again.
"""

import hashlib
from collections.abc import Iterator
from struct import Struct
from typing import Any, NamedTuple

from services.formats.base import RowError
from services.formats.records import Record

_unpack = Struct("<q").unpack
_MOST = 1000  # records of a run


class Run(NamedTuple):
    """Some neighbouring records, and the errors found before any was read.

    ``print`` is 64 bits, signed; None where it may not be relied upon.
    """

    print: int | None
    items: list[Record | RowError]


def runs(records: Iterator[Record | RowError], *, keys: tuple[int, ...], salt: bytes) -> Iterator[Run]:
    """Put records together that agree in the first filled one of the columns ``keys``.

    Records that fill none stand alone, and so does what has errors. ``salt`` is what their reading depends on besides
    their text.
    """
    seed = hashlib.blake2b(hashlib.blake2b(salt).digest(), digest_size=8)
    only = keys[0] if len(keys) == 1 else None
    run: list[Record | RowError] = []
    key = ""
    damaged = False

    for item in records:
        if type(item) is RowError:
            if run and not damaged:
                yield _closed(run, seed)
                run = []
            run.append(item)
            damaged = True
            continue
        row: list[str] = item[1]  # type: ignore[assignment]
        own = row[only] if only is not None else next((cell for index in keys if (cell := row[index])), "")
        if own == key and own and not damaged and len(run) < _MOST:
            run.append(item)
            continue
        if damaged:  # the record behind an error is the one it speaks of
            run.append(item)
            yield Run(None, run)
            run, key, damaged = [], "", False
            continue
        if run:
            yield _closed(run, seed)
        run, key = [item], own
    if run:
        yield Run(None, run) if damaged else _closed(run, seed)


def _closed(run: list[Any], seed: "hashlib.blake2b") -> Run:
    """A run of records without errors, with its hash."""
    text = "".join([record[2] for record in run])
    made = seed.copy()
    made.update(text.encode("utf-8", "surrogatepass"))
    return Run(_unpack(made.digest())[0], run)
