"""What the import of any file has: where it is, what it was recognised as, and what was wrong with its records."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from services.models.base import CreatedAt, Id, MerchantId

NONE_YET = text("0")


class FileImport:
    """A file's way in. How it goes is its job's state."""

    id: Mapped[Id]
    merchant_id: Mapped[MerchantId]
    job_id: Mapped[UUID]  # no foreign key: the import is remembered longer than its job
    url: Mapped[str | None]  # without user and password
    url_secret: Mapped[str | None]  # the whole of it, encrypted, where it has them
    filename: Mapped[str | None]
    storage_key: Mapped[str | None]  # None until a URL has been fetched
    sha256: Mapped[str | None]
    bytes: Mapped[int | None] = mapped_column(BigInteger)

    format: Mapped[str | None]
    encoding: Mapped[str | None]
    delimiter: Mapped[str | None]
    columns: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))  # header as spelled → field

    rows: Mapped[int] = mapped_column(server_default=NONE_YET)  # records in the file
    staged_at: Mapped[datetime | None]
    errors: Mapped[int] = mapped_column(server_default=NONE_YET)  # records left out
    warnings: Mapped[int] = mapped_column(server_default=NONE_YET)  # cells left out
    error_codes: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))  # code → how often
    created_at: Mapped[CreatedAt]
    finished_at: Mapped[datetime | None]


class RowError:
    """A record or a cell of a file that could not be used. The import it belongs to is `import_id`."""

    merchant_id: Mapped[UUID]
    n: Mapped[int]  # in the order they were found
    line: Mapped[int]
    code: Mapped[str]
    column: Mapped[str | None]
    value: Mapped[str | None]
    reason: Mapped[str]
    fatal: Mapped[bool]  # True: the record was left out; False: only the cell was
