"""What a record can only learn from another record: child → parent, id → article number.

Links are kept in a database on disk that SQLite makes and removes by itself, so a file may have any number of them.
"""

from collections.abc import Callable, Iterable


def build(pairs: Iterable[tuple[str, str]]) -> Callable[[str], str | None]:
    """A look-up for some (key, value) pairs; the first value of a key is kept."""
    import sqlite3  # few files have links, and every process would carry it

    store = sqlite3.connect("", check_same_thread=False, isolation_level=None)
    store.execute("CREATE TABLE link (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID")
    store.execute("BEGIN")
    store.executemany("INSERT OR IGNORE INTO link VALUES (?, ?)", pairs)
    store.execute("COMMIT")

    def look_up(key: str) -> str | None:
        found = store.execute("SELECT value FROM link WHERE key = ?", (key,)).fetchone()
        return None if found is None else str(found[0])

    return look_up
