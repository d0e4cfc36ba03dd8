"""What a feed's unread records came to when they last changed nothing, and what a feed lacks."""

from alembic import op

from migrations.tenancy import tenant_table

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# `run` is the hash of a product's records as they stand in the file, if they stand together; `said` is what each of
# them says at all (`import_drafts.says`), `blank_prices` for how many of its variants they leave a known price unsaid.
PRINTS = """
TRUNCATE feed_prints;
ALTER TABLE feed_prints ADD COLUMN source text NOT NULL, ADD COLUMN run bigint, ADD COLUMN said integer[],
    ADD COLUMN blank_prices integer NOT NULL DEFAULT 0;
CREATE INDEX feed_prints_runs_idx ON feed_prints (merchant_id, source) WHERE run IS NOT NULL;
"""

# One bit for each thing that guards count of a feed's rows.
SAYS = (
    "variant_key IS NOT NULL",
    "price > 0::numeric AND cost > 0::numeric",
    "price < cost",
    "variant_key IS NOT NULL AND (stock > 0) IS NOT FALSE",
    *(
        f"{name} IS NOT NULL"
        for name in (
            *("title", "description", "brand", "category", "tags", "status", "image_urls"),
            *("sku", "barcode", "price", "cost", "stock", "weight_grams"),
        )
    ),
)
DRAFTS = f"""
ALTER TABLE import_drafts ADD COLUMN run bigint, ADD COLUMN says integer NOT NULL GENERATED ALWAYS AS
    ({" | ".join(f"CASE WHEN {what} THEN {1 << bit} ELSE 0 END" for bit, what in enumerate(SAYS))}) STORED;
"""

IMPORTS = """
ALTER TABLE imports ADD COLUMN skipped jsonb, ADD COLUMN skipped_runs bytea;

CREATE TABLE import_missing (
    merchant_id uuid NOT NULL,
    import_id uuid NOT NULL,
    product_key text COLLATE "C" NOT NULL,
    CONSTRAINT import_missing_pkey PRIMARY KEY (merchant_id, import_id, product_key)
);
CREATE FUNCTION import_missing_of_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    DELETE FROM import_missing USING old_rows
    WHERE import_missing.merchant_id = old_rows.merchant_id AND import_missing.import_id = old_rows.id;
    RETURN NULL;
END $$;
CREATE TRIGGER import_missing_of_deleted AFTER DELETE ON imports
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION import_missing_of_deleted();
"""


# Prices and stock change far more often than what is indexed: with room beside it a row moves within its page, and no
# index has to follow.
ROOM = "ALTER TABLE variants SET (fillfactor = {})"


def upgrade() -> None:
    op.execute(ROOM.format(90))
    op.execute(PRINTS)
    op.execute(DRAFTS)
    op.execute(IMPORTS)
    op.execute(tenant_table("import_missing", shown_to_members=False))


def downgrade() -> None:
    op.execute(ROOM.format(100))
    op.execute("DROP TRIGGER import_missing_of_deleted ON imports")
    op.execute("DROP TABLE import_missing")
    op.execute("DROP FUNCTION import_missing_of_deleted()")
    op.execute("ALTER TABLE imports DROP COLUMN skipped, DROP COLUMN skipped_runs")
    op.execute("ALTER TABLE import_drafts DROP COLUMN says, DROP COLUMN run")
    op.execute("DROP INDEX feed_prints_runs_idx")
    op.execute(
        "ALTER TABLE feed_prints DROP COLUMN source, DROP COLUMN run, DROP COLUMN said, DROP COLUMN blank_prices"
    )
