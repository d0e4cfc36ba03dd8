"""Room on disk for a walk: what a supplier gives in no useful order is put down there and read back in a better one.

SQLite keeps it in a file of its own that goes with the connection. Memory stays that of its cache, however much it is.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

_SETTINGS = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -16000;
"""


def scratched(schema: str) -> sqlite3.Connection:
    """An empty database with these tables, in one transaction that never ends; gone when it is closed, or nobody's.

    One thread may fill it and another read it, one after the other.
    """
    # "": a file that only SQLite knows
    database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    database.executescript(_SETTINGS + schema)
    database.execute("BEGIN")
    return database


@contextmanager
def scratch(schema: str) -> Iterator[sqlite3.Connection]:
    """The same, gone at the end."""
    with closing(scratched(schema)) as database:
        yield database
