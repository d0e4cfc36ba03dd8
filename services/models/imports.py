"""Imports: one file or address on its way into the catalogue, what was staged of it, and what was wrong with it."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Computed, ForeignKey, Index, PrimaryKeyConstraint
from sqlalchemy.orm import Mapped, mapped_column

from services.models.base import Base
from services.models.catalog import Key, Money
from services.models.files import NONE_YET, FileImport, RowError

# Fields of a draft whose silence guards look at, and what else they count of a feed's rows: a bit each in `says`.
SPOKEN = (
    *("title", "description", "brand", "category", "tags", "status", "image_urls"),
    *("sku", "barcode", "price", "cost", "stock", "weight_grams"),
)
SAYS = {
    "variants": "variant_key IS NOT NULL",
    "costed": "price > 0::numeric AND cost > 0::numeric",
    "below_cost": "price < cost",
    "stocked": "variant_key IS NOT NULL AND (stock > 0) IS NOT FALSE",
    **{name: f"{name} IS NOT NULL" for name in SPOKEN},
}
_SAYS = " | ".join(
    ["repeats", *(f"CASE WHEN {what} THEN {1 << bit} ELSE 0 END" for bit, what in enumerate(SAYS.values()))]
)


class Import(FileImport, Base):
    """One run of one feed: how far it has come and what came of it."""

    __tablename__ = "imports"
    __table_args__ = (
        Index("imports_merchant_id_id_idx", "merchant_id", "id"),
        Index("imports_merchant_id_source_id_idx", "merchant_id", "source", "id"),
        Index("imports_merchant_id_job_id_idx", "merchant_id", "job_id"),
        CheckConstraint("bad_rows IN ('skip', 'refuse')", name="bad_rows"),
    )

    source: Mapped[str]
    connection_id: Mapped[UUID | None]  # whose offers the drafts are made of, where they are not a file's
    currency: Mapped[str | None]  # of prices that name none
    mapping: Mapped[dict[str, Any] | None]  # what its source said of its columns when it was asked for
    bad_rows: Mapped[str | None]  # None: as its source says
    file_removed_at: Mapped[datetime | None]  # its time was over, and that of the row errors
    etag: Mapped[str | None]
    last_modified: Mapped[str | None]

    turn_at: Mapped[datetime | None]  # when it was let through: one import of a source at a time
    staged_rows: Mapped[int] = mapped_column(server_default=NONE_YET)  # usable records that may be new
    # What was not staged, because its records said nothing new: rows, products, variants, blank_prices, and `says` as
    # drafts have it → rows. A byte for each run of the file says whether it is of these (1), packed; None: none is.
    skipped: Mapped[dict[str, Any] | None]
    skipped_runs: Mapped[bytes | None]
    staged_print: Mapped[Decimal | None]  # sum of their hashes: read again, the file must say the same
    applied_rows: Mapped[int] = mapped_column(server_default=NONE_YET)
    products_created: Mapped[int] = mapped_column(server_default=NONE_YET)
    products_updated: Mapped[int] = mapped_column(server_default=NONE_YET)
    products_unchanged: Mapped[int] = mapped_column(server_default=NONE_YET)
    variants_created: Mapped[int] = mapped_column(server_default=NONE_YET)
    variants_updated: Mapped[int] = mapped_column(server_default=NONE_YET)
    variants_unchanged: Mapped[int] = mapped_column(server_default=NONE_YET)


class ImportRowError(RowError, Base):
    """What was wrong with a record of a feed. At most `KEPT_ERRORS` of an import; the rest is counted."""

    __tablename__ = "import_errors"
    __table_args__ = (PrimaryKeyConstraint("merchant_id", "import_id", "n"),)

    import_id: Mapped[UUID] = mapped_column(ForeignKey("imports.id", ondelete="CASCADE"))


class ImportDraft(Base):
    """One usable record of a feed, staged: the fields of services/formats/base.py `Draft`.

    Unlogged: it can be read again from the stored file, so it need not survive a crash of Postgres (which empties
    it; `staged_rows` tells). The primary key is the order in which the catalogue takes the rows.
    """

    __tablename__ = "import_drafts"
    __table_args__ = (
        PrimaryKeyConstraint("merchant_id", "import_id", "product_key", "line"),
        {"prefixes": ["UNLOGGED"]},
    )

    merchant_id: Mapped[UUID]
    import_id: Mapped[UUID]
    product_key: Mapped[str] = mapped_column(Key)
    line: Mapped[int]
    variant_key: Mapped[str | None] = mapped_column(Key)
    title: Mapped[str | None]
    description: Mapped[str | None]
    brand: Mapped[str | None]
    category: Mapped[str | None]
    tags: Mapped[str | None]
    status: Mapped[str | None]
    image_urls: Mapped[str | None]
    image_position: Mapped[int | None]
    option_names: Mapped[str | None]
    option_values: Mapped[str | None]
    sku: Mapped[str | None]
    barcode: Mapped[str | None]
    price: Mapped[Decimal | None] = mapped_column(Money)
    compare_at_price: Mapped[Decimal | None] = mapped_column(Money)
    cost: Mapped[Decimal | None] = mapped_column(Money)
    currency: Mapped[str | None]
    stock: Mapped[int | None]
    weight_grams: Mapped[int | None]
    variant_image_url: Mapped[str | None]
    print: Mapped[int] = mapped_column(BigInteger, server_default=NONE_YET)  # hash of the record but for its line
    # Of the first record of a run (services/formats/runs.py) that is one product and has no errors its hash, of the
    # others 0; None where there is no such run.
    run: Mapped[int | None] = mapped_column(BigInteger)
    # Of `says` what it says of the product as the record before it does, which is not kept twice.
    repeats: Mapped[int] = mapped_column(server_default=NONE_YET)
    says: Mapped[int] = mapped_column(Computed(_SAYS, persisted=True))


class ImportMissing(Base):
    """A product of the source that the feed does not have. Noted when the feed has been read, gone with its drafts."""

    __tablename__ = "import_missing"
    __table_args__ = (PrimaryKeyConstraint("merchant_id", "import_id", "product_key"),)

    merchant_id: Mapped[UUID]
    import_id: Mapped[UUID]
    product_key: Mapped[str] = mapped_column(Key)
