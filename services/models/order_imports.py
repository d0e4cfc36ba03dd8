"""Files of orders on their way in: what is known of each, what was staged of it, and what was wrong with it."""

from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, PrimaryKeyConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from services.models.base import Base
from services.models.catalog import Key
from services.models.files import NONE_YET, FileImport, RowError


class OrderImport(FileImport, Base):
    """One file of orders: how far it has come and what came of it."""

    __tablename__ = "order_imports"
    __table_args__ = (
        Index("order_imports_merchant_id_id_idx", "merchant_id", "id"),
        Index("order_imports_merchant_id_job_id_idx", "merchant_id", "job_id"),
    )

    channel: Mapped[str]
    currency: Mapped[str | None]  # of orders that name none
    country: Mapped[str | None]  # of addresses that name none
    mapping: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))  # field → header, where given

    staged_rows: Mapped[int] = mapped_column(server_default=NONE_YET)  # records that are usable
    done_key: Mapped[str | None] = mapped_column(Key)  # orders up to this id are stored
    done_rows: Mapped[int] = mapped_column(server_default=NONE_YET)
    orders_created: Mapped[int] = mapped_column(server_default=NONE_YET)
    orders_changed: Mapped[int] = mapped_column(server_default=NONE_YET)
    orders_unchanged: Mapped[int] = mapped_column(server_default=NONE_YET)
    orders_refused: Mapped[int] = mapped_column(server_default=NONE_YET)


class OrderImportError(RowError, Base):
    """What was wrong with a record of a file of orders."""

    __tablename__ = "order_import_errors"
    __table_args__ = (PrimaryKeyConstraint("merchant_id", "import_id", "n"),)

    import_id: Mapped[UUID] = mapped_column(ForeignKey("order_imports.id", ondelete="CASCADE"))


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
