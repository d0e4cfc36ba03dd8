"""Plans: where changes come from, what a plan would change, and what it changed. See docs/plans.md."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, Integer, PrimaryKeyConstraint, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from services.models.base import Base, CreatedAt, Id, MerchantId
from services.models.catalog import Key

_NONE_YET = text("0")


class Source(Base):
    """A series of feeds that name their products alike, and what it may do. `products.source` holds its name."""

    __tablename__ = "sources"
    __table_args__ = (
        CheckConstraint("missing IN ('leave', 'zero_stock', 'unpublish', 'archive')", name="missing"),
        CheckConstraint("bad_rows IN ('skip', 'refuse')", name="bad_rows"),
        CheckConstraint("apply IN ('automatic', 'ask', 'dry_run')", name="apply"),
        UniqueConstraint("merchant_id", "name"),
    )

    id: Mapped[Id]
    merchant_id: Mapped[MerchantId]
    name: Mapped[str]
    url: Mapped[str | None]  # as it may be shown: without user and query
    url_secret: Mapped[str | None]  # the whole of it, encrypted, where it has them
    currency: Mapped[str | None]  # of prices that name none
    mapping: Mapped[dict[str, Any] | None]  # None: as proposed for each file
    fields: Mapped[list[str] | None] = mapped_column(ARRAY(Text))  # which it may write; None: all
    missing: Mapped[str] = mapped_column(server_default="leave")  # what becomes of products a feed no longer has
    bad_rows: Mapped[str] = mapped_column(server_default="skip")
    apply: Mapped[str] = mapped_column(server_default="automatic")  # automatic: within guards
    guards: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))  # thresholds that are not the defaults
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]


class Changeset(Base):
    """A plan: a change of the catalogue that can be seen, guarded, applied, resumed and reverted."""

    __tablename__ = "changesets"
    __table_args__ = (
        CheckConstraint("kind IN ('import', 'edit', 'revert')", name="kind"),
        CheckConstraint(
            "state IN ('planning', 'planned', 'awaiting_approval', 'applying', 'applied', 'discarded', 'failed')",
            name="state",
        ),
        CheckConstraint(
            "(finished_at IS NOT NULL) = (state IN ('applied', 'discarded', 'failed'))",
            name="finished",
        ),
        Index("changesets_merchant_id_id_idx", "merchant_id", "id"),
        Index(
            "changesets_merchant_id_source_id_idx",
            "merchant_id",
            "source",
            "id",
            postgresql_where=text("source IS NOT NULL"),
        ),
        Index(
            "changesets_merchant_id_import_id_idx",
            "merchant_id",
            "import_id",
            postgresql_where=text("import_id IS NOT NULL"),
        ),
    )

    id: Mapped[Id]
    merchant_id: Mapped[MerchantId]
    kind: Mapped[str]
    state: Mapped[str] = mapped_column(server_default="planning")
    source: Mapped[str | None]  # the name of the source; None: a person
    import_id: Mapped[UUID | None]
    reverts: Mapped[UUID | None]  # the changeset whose effects this one takes back
    job_id: Mapped[UUID | None]  # the latest job that works on it
    made_by: Mapped[UUID | None]  # the user, where a person made it
    note: Mapped[str | None]
    writes: Mapped[list[str] | None] = mapped_column(ARRAY(Text))  # the fields its source might write; None: all
    digest: Mapped[str | None]  # SHA-256 of its items: who applies says which plan was seen
    plan_cursor: Mapped[str | None] = mapped_column(Key)  # products up to this key are planned
    items: Mapped[int] = mapped_column(server_default=_NONE_YET)
    applied_upto: Mapped[int] = mapped_column(server_default=_NONE_YET)  # items up to this n have been dealt with
    applied: Mapped[int] = mapped_column(server_default=_NONE_YET)
    conflicts: Mapped[int] = mapped_column(server_default=_NONE_YET)
    counts: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    fields: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))  # field → rows in which it changes
    money: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    guards: Mapped[list[Any]] = mapped_column(JSONB, server_default=text("'[]'"))  # verdicts
    created_at: Mapped[CreatedAt]
    planned_at: Mapped[datetime | None]
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[UUID | None]  # None: its source's policy
    finished_at: Mapped[datetime | None]


class ChangesetItem(Base):
    """What a plan does to one product or variant. The items of applied plans are the catalogue's history.

    A `create` of a product brings its variants with it and holds no values while its feed's drafts do: what they were
    follows from today's values and the later items. `base_version` is the row's version the plan was made for,
    `version` the one it gave the row.
    """

    __tablename__ = "changeset_items"
    __table_args__ = (
        PrimaryKeyConstraint("merchant_id", "changeset_id", "n"),
        CheckConstraint("op IN ('create', 'update', 'delete')", name="op"),
        CheckConstraint("state IN ('planned', 'applied', 'conflict')", name="state"),
        Index("changeset_items_product_idx", "merchant_id", "product_id", "changeset_id"),
    )

    merchant_id: Mapped[UUID]
    changeset_id: Mapped[UUID]
    n: Mapped[int]
    op: Mapped[str]
    product_key: Mapped[str] = mapped_column(Key)
    variant_key: Mapped[str | None] = mapped_column(Key)  # None: the product itself
    product_id: Mapped[UUID]
    variant_id: Mapped[UUID | None]
    base_version: Mapped[int | None]  # None: the row did not exist
    line: Mapped[int | None]  # of the feed
    changes: Mapped[dict[str, Any] | None]  # field → [from, to]
    state: Mapped[str] = mapped_column(server_default="planned")
    version: Mapped[int | None]
    applied_at: Mapped[datetime | None]  # the same for all items that were applied in one transaction


class FeedPrint(Base):
    """What a feed's records of a product hashed to when they last changed nothing of it. A cache; see the migration."""

    __tablename__ = "feed_prints"
    __table_args__ = (
        Index("feed_prints_runs_idx", "merchant_id", "source", postgresql_where=text("run IS NOT NULL")),
        {"prefixes": ["UNLOGGED"]},
    )

    merchant_id: Mapped[UUID]
    product_id: Mapped[UUID] = mapped_column(primary_key=True)
    print: Mapped[int] = mapped_column(BigInteger)
    source: Mapped[str]
    run: Mapped[int | None] = mapped_column(BigInteger)  # hash of its records as they stand in the file, if in a row
    said: Mapped[list[int] | None] = mapped_column(ARRAY(Integer))  # `says` of each of its drafts
    blank_prices: Mapped[int] = mapped_column(
        server_default=_NONE_YET
    )  # variants with a price that the feed leaves out
