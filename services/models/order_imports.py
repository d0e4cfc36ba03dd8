"""Files of orders on their way in: what is known of each, what was staged of it, and what was wrong with it."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, PrimaryKeyConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from services.models.base import Base, CreatedAt, Id, MerchantId
from services.models.catalog import Key

_NONE_YET = text("0")


class OrderImport(Base):
    """One file of orders. How it goes is its job's state; here is how far it has come and what came of it."""

    __tablename__ = "order_imports"
    __table_args__ = (
        Index("order_imports_merchant_id_id_idx", "merchant_id", "id"),
        Index("order_imports_merchant_id_job_id_idx", "merchant_id", "job_id"),
    )

    id: Mapped[Id]
    merchant_id: Mapped[MerchantId]
    job_id: Mapped[UUID]  # no foreign key: the import is remembered longer than its job
    channel: Mapped[str]
    currency: Mapped[str | None]  # of orders that name none
    country: Mapped[str | None]  # of addresses that name none
    mapping: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))  # field → header, where given
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

    rows: Mapped[int] = mapped_column(server_default=_NONE_YET)  # records in the file
    staged_rows: Mapped[int] = mapped_column(server_default=_NONE_YET)  # of these, usable ones
    staged_at: Mapped[datetime | None]
    done_key: Mapped[str | None] = mapped_column(Key)  # orders up to this id are stored
    done_rows: Mapped[int] = mapped_column(server_default=_NONE_YET)
    orders_created: Mapped[int] = mapped_column(server_default=_NONE_YET)
    orders_changed: Mapped[int] = mapped_column(server_default=_NONE_YET)
    orders_unchanged: Mapped[int] = mapped_column(server_default=_NONE_YET)
    orders_refused: Mapped[int] = mapped_column(server_default=_NONE_YET)
    errors: Mapped[int] = mapped_column(server_default=_NONE_YET)  # records left out
    warnings: Mapped[int] = mapped_column(server_default=_NONE_YET)  # cells left out
    error_codes: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))  # code → how often
    created_at: Mapped[CreatedAt]
    finished_at: Mapped[datetime | None]


class OrderImportError(Base):
    """A record or a cell of a file of orders that could not be used."""

    __tablename__ = "order_import_errors"
    __table_args__ = (PrimaryKeyConstraint("merchant_id", "import_id", "n"),)

    merchant_id: Mapped[UUID]
    import_id: Mapped[UUID] = mapped_column(ForeignKey("order_imports.id", ondelete="CASCADE"))
    n: Mapped[int]  # in the order they were found
    line: Mapped[int]
    code: Mapped[str]
    column: Mapped[str | None]
    value: Mapped[str | None]
    reason: Mapped[str]
    fatal: Mapped[bool]  # True: the record was left out; False: only the cell was


class OrderDraft(Base):
    """One usable record of a file of orders, staged, so that an order's lines may stand anywhere in it.

    Unlogged: it can be read again from the stored file. The primary key is the order in which orders are stored.
    """

    __tablename__ = "order_drafts"
    __table_args__ = (
        PrimaryKeyConstraint("merchant_id", "import_id", "external_id", "line"),
        {"prefixes": ["UNLOGGED"]},
    )

    merchant_id: Mapped[UUID]
    import_id: Mapped[UUID]
    external_id: Mapped[str] = mapped_column(Key)
    line: Mapped[int]
    said: Mapped[dict[str, Any]]
