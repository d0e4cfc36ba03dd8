"""Encrypts whatever is stored encrypted anew, with the first of ENCRYPTION_KEYS: `python -m ops.rotate_keys`.

To replace a key: put a new one in front of ENCRYPTION_KEYS and deploy; run this; drop the old one and deploy again. It
may be run beside everything else, and again. Works on DATABASE_URL, or on the running local stack of `--home`.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from ops.home import DEFAULT_HOME, kept_secrets, read_env
from services.core.crypto import NoEncryptionKeys, Undecryptable, rotate
from services.core.db import open_connection
from services.core.settings import get_settings

# Every column that holds secrets, by table. Their tables have an `id`.
COLUMNS: dict[LiteralString, LiteralString] = {
    "connections": "secrets",
    "imports": "url_secret",
    "order_imports": "url_secret",
    "sources": "url_secret",
}
BATCH = 500


def main() -> int:
    """Say how many secrets of each table are encrypted with the newest key now; 1 when some cannot be read."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=DEFAULT_HOME, help="the stack's folder (default: %(default)s)")
    home = parser.parse_args().home
    if not os.environ.get("DATABASE_URL"):
        if not (home / "env").exists():
            print(f"no DATABASE_URL in the environment, and no stack in {home}", file=sys.stderr)
            return 1
        os.environ.update(kept_secrets(home) | read_env(home / "env"))
    lost = 0
    with open_connection(get_settings()) as connection:
        for table, column in COLUMNS.items():
            try:
                done, unreadable = _encrypt_anew(connection, table, column)
            except NoEncryptionKeys as error:
                print(error, file=sys.stderr)
                return 1
            print(f"{table}: {done} encrypted anew" + (f", {unreadable} of keys nobody has" if unreadable else ""))
            lost += unreadable
    return 1 if lost else 0


def _encrypt_anew(
    connection: psycopg.Connection[tuple[Any, ...]], table: LiteralString, column: LiteralString
) -> tuple[int, int]:
    """How many were encrypted with the newest key, and how many no key reads. What is replaced meanwhile stays."""
    names = {"table": sql.Identifier(table), "column": sql.Identifier(column)}
    read = sql.SQL(
        "SELECT id, {column} FROM {table} WHERE {column} IS NOT NULL AND (%(after)s::uuid IS NULL OR id > %(after)s)"
        " ORDER BY id LIMIT %(batch)s"
    ).format(**names)
    write = sql.SQL("UPDATE {table} SET {column} = %s WHERE id = %s AND {column} = %s").format(**names)
    after, done, unreadable = None, 0, 0
    while rows := connection.execute(read, {"after": after, "batch": BATCH}).fetchall():
        for id_, secret in rows:
            try:
                connection.execute(write, (rotate(secret), id_, secret))
                done += 1
            except Undecryptable:
                unreadable += 1
        after = rows[-1][0]
    return done, unreadable


if __name__ == "__main__":
    sys.exit(main())
