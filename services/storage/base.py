"""What every storage does, and how files are called."""

import re
from typing import BinaryIO, Protocol
from uuid import UUID

from services.core.errors import NotFound, TooLarge, Unavailable
from services.core.ids import new_id

_KEY = re.compile(r"(?P<merchant>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/[0-9a-f-]{36}-[A-Za-z0-9._-]{1,100}")


class FileMissing(NotFound):
    """The file is not there (any more)."""


class FileTooLarge(TooLarge):
    """The storage takes no file this large."""


class StorageAway(Unavailable):
    """Files cannot be reached at the moment."""


class StorageNotConfigured(Unavailable):
    """There is nowhere to keep files: set STORAGE_FOLDER, or SUPABASE_URL and SUPABASE_SERVICE_ROLE_KEY."""


class Readable(Protocol):
    """All that `put` needs of a stream."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes; none at the end."""
        ...


class Storage(Protocol):
    """Files of merchants. A file is never changed: every `put` makes a new key."""

    def put(self, stream: Readable, *, merchant_id: UUID, name: str, key: str | None = None) -> str:
        """Keep what is left to read of the stream; returns its key. Raises StorageAway, FileTooLarge.

        Whoever has to know the key beforehand gives one: a fresh `new_key`.
        """
        ...

    def open(self, key: str, *, merchant_id: UUID) -> BinaryIO:
        """The file, from its beginning, seekable; close it. Raises FileMissing, StorageAway."""
        ...

    def delete(self, key: str, *, merchant_id: UUID) -> None:
        """Drop the file, also one that a crash left half written; fine when it is gone already. Raises StorageAway."""
        ...


def new_key(merchant_id: UUID, name: str) -> str:
    """A key of this merchant's that nobody has used, which ends in something like the given name."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name.replace("\\", "/").rpartition("/")[2]).strip(".-")
    return f"{merchant_id}/{new_id()}-{plain[-100:].lstrip('.-') or 'file'}"


def checked(key: str, merchant_id: UUID) -> str:
    """The key, if it is one of this merchant's. Raises FileMissing for any other, as if there were none."""
    match = _KEY.fullmatch(key)
    if match is None or match["merchant"] != str(merchant_id):
        raise FileMissing
    return key
