"""Files in a folder. A file appears whole or not at all, also after a power cut."""

import contextlib
import os
import shutil
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from services.storage.base import FileMissing, Readable, StorageAway, checked, new_key


class FolderStorage:
    """Storage in one directory, a subdirectory for each merchant."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, stream: Readable, *, merchant_id: UUID, name: str, key: str | None = None) -> str:
        """Write beside, flush to the disk, rename. See `Storage`."""
        key = new_key(merchant_id, name) if key is None else checked(key, merchant_id)
        path = self._folder / key
        unfinished = _unfinished(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as part:
                try:
                    shutil.copyfileobj(stream, part, 1024 * 1024)
                    part.flush()
                    os.fsync(part.fileno())
                    os.replace(unfinished, path)
                except BaseException:
                    with contextlib.suppress(OSError):
                        unfinished.unlink()
                    raise
            _sync_folder(path.parent)
        except OSError as error:
            raise StorageAway from error
        return key

    def open(self, key: str, *, merchant_id: UUID) -> BinaryIO:
        """See `Storage`."""
        try:
            return (self._folder / checked(key, merchant_id)).open("rb")
        except FileNotFoundError:
            raise FileMissing from None
        except OSError as error:
            raise StorageAway from error

    def delete(self, key: str, *, merchant_id: UUID) -> None:
        """See `Storage`."""
        try:
            path = self._folder / checked(key, merchant_id)
            path.unlink(missing_ok=True)
            _unfinished(path).unlink(missing_ok=True)
        except OSError as error:
            raise StorageAway from error


def _unfinished(path: Path) -> Path:
    return path.with_name(f".part-{path.name}")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
