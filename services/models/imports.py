"""Imports: one file or address on its way into the catalogue, what was staged of it, and what was wrong with it."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Computed, ForeignKey, Index, PrimaryKeyConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from services.models.base import Base, CreatedAt, Id, MerchantId
from services.models.catalog import Key, Money

_NONE_YET = text("0")

Bytes = bytes  # an import has a column of that name

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


class Import(Base):
    """One run of one feed. How it goes is its job's state; here is how far it has come and what came of it."""

    __tablename__ = "imports"
    __table_args__ = (
        Index("imports_merchant_id_id_idx", "merchant_id", "id"),
        Index("imports_merchant_id_source_id_idx", "merchant_id", "source", "id"),
        Index("imports_merchant_id_job_id_idx", "merchant_id", "job_id"),
    )

    id: Mapped[Id]
    merchant_id: Mapped[MerchantId]
    job_id: Mapped[UUID]  # no foreign key: the import is remembered longer than its job
    source: Mapped[str]
    connection_id: Mapped[UUID | None]  # whose offers the drafts are made of, where they are not a file's
    currency: Mapped[str | None]  # of prices that name none
    mapping: Mapped[dict[str, Any] | None]  # what its source said of its columns when it was asked for
    url: Mapped[str | None]  # without user and password
    url_secret: Mapped[str | None]  # the whole of it, encrypted, where it has them
    filename: Mapped[str | None]
    storage_key: Mapped[str | None]  # None until a URL has been fetched
    file_removed_at: Mapped[datetime | None]  # its time was over, and that of the row errors
    sha256: Mapped[str | None]
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    etag: Mapped[str | None]
    last_modified: Mapped[str | None]

    format: Mapped[str | None]
    encoding: Mapped[str | None]
    delimiter: Mapped[str | None]
    columns: Mapped[dict[str, Any] | None]  # header as spelled → field

    turn_at: Mapped[datetime | None]  # when it was let through: one import of a source at a time
    rows: Mapped[int] = mapped_column(server_default=_NONE_YET)  # records in the file
    staged_rows: Mapped[int] = mapped_column(server_default=_NONE_YET)  # of these, usable ones that may be new
    staged_at: Mapped[datetime | None]
    # What was not staged, because its records said nothing new: rows, products, variants, blank_prices, and `says` as
    # drafts have it → rows. A byte for each run of the file says whether it is of these (1), packed; None: none is.
    skipped: Mapped[dict[str, Any] | None]
    skipped_runs: Mapped[Bytes | None]
    staged_print: Mapped[Decimal | None]  # sum of their hashes: read again, the file must say the same
    applied_rows: Mapped[int] = mapped_column(server_default=_NONE_YET)
    products_created: Mapped[int] = mapped_column(server_default=_NONE_YET)
    products_updated: Mapped[int] = mapped_column(server_default=_NONE_YET)
    products_unchanged: Mapped[int] = mapped_column(server_default=_NONE_YET)
    variants_created: Mapped[int] = mapped_column(server_default=_NONE_YET)
    variants_updated: Mapped[int] = mapped_column(server_default=_NONE_YET)
    variants_unchanged: Mapped[int] = mapped_column(server_default=_NONE_YET)
    errors: Mapped[int] = mapped_column(server_default=_NONE_YET)  # records left out
    warnings: Mapped[int] = mapped_column(server_default=_NONE_YET)  # cells left out
    error_codes: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))  # code → how often
    created_at: Mapped[CreatedAt]
    finished_at: Mapped[datetime | None]


class ImportRowError(Base):
    """A record or a cell of a feed that could not be used. At most `KEPT_ERRORS` of an import; the rest is counted."""

    __tablename__ = "import_errors"
    __table_args__ = (PrimaryKeyConstraint("merchant_id", "import_id", "n"),)

    merchant_id: Mapped[UUID]
    import_id: Mapped[UUID] = mapped_column(ForeignKey("imports.id", ondelete="CASCADE"))
    n: Mapped[int]  # in the order they were found
    line: Mapped[int]
    code: Mapped[str]
    column: Mapped[str | None]
    value: Mapped[str | None]
    reason: Mapped[str]
    fatal: Mapped[bool]  # True: the record was left out; False: only the cell was


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
    print: Mapped[int] = mapped_column(BigInteger, server_default=_NONE_YET)  # hash of the record but for its line
    # Of the first record of a run (services/formats/runs.py) that is one product and has no errors its hash, of the
    # others 0; None where there is no such run.
    run: Mapped[int | None] = mapped_column(BigInteger)
    # Of `says` what it says of the product as the record before it does, which is not kept twice.
    repeats: Mapped[int] = mapped_column(server_default=_NONE_YET)
    says: Mapped[int] = mapped_column(Computed(_SAYS, persisted=True))


class ImportMissing(Base):
    """A product of the source that the feed does not have. Noted when the feed has been read, gone with its drafts."""

    __tablename__ = "import_missing"
    __table_args__ = (PrimaryKeyConstraint("merchant_id", "import_id", "product_key"),)

    merchant_id: Mapped[UUID]
    import_id: Mapped[UUID]
    product_key: Mapped[str] = mapped_column(Key)
