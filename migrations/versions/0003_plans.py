"""Sources of changes, the plans made from them, and what each plan changes."""

from alembic import op

from migrations.tenancy import tenant_table

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SOURCES = """
CREATE TABLE sources (
    id uuid NOT NULL CONSTRAINT sources_pkey PRIMARY KEY,
    merchant_id uuid NOT NULL CONSTRAINT sources_merchant_id_fkey REFERENCES merchants (id) ON DELETE CASCADE,
    name text NOT NULL,
    url text,
    url_secret text,
    currency text,
    mapping jsonb,
    fields text[],
    missing text NOT NULL DEFAULT 'leave'
        CONSTRAINT sources_missing_check CHECK (missing IN ('leave', 'zero_stock', 'unpublish', 'archive')),
    bad_rows text NOT NULL DEFAULT 'skip' CONSTRAINT sources_bad_rows_check CHECK (bad_rows IN ('skip', 'refuse')),
    apply text NOT NULL DEFAULT 'automatic'
        CONSTRAINT sources_apply_check CHECK (apply IN ('automatic', 'ask', 'dry_run')),
    guards jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT sources_merchant_id_name_key UNIQUE (merchant_id, name)
);
"""

CHANGESETS = """
CREATE TABLE changesets (
    id uuid NOT NULL CONSTRAINT changesets_pkey PRIMARY KEY,
    merchant_id uuid NOT NULL CONSTRAINT changesets_merchant_id_fkey REFERENCES merchants (id) ON DELETE CASCADE,
    kind text NOT NULL CONSTRAINT changesets_kind_check CHECK (kind IN ('import', 'edit', 'revert')),
    state text NOT NULL DEFAULT 'planning' CONSTRAINT changesets_state_check CHECK (state IN
        ('planning', 'planned', 'awaiting_approval', 'applying', 'applied', 'discarded', 'failed')),
    source text,
    import_id uuid,
    reverts uuid,
    job_id uuid,
    made_by uuid,
    note text,
    writes text[],
    digest text,
    plan_cursor text COLLATE "C",
    items integer NOT NULL DEFAULT 0,
    applied_upto integer NOT NULL DEFAULT 0,
    applied integer NOT NULL DEFAULT 0,
    conflicts integer NOT NULL DEFAULT 0,
    counts jsonb NOT NULL DEFAULT '{}',
    fields jsonb NOT NULL DEFAULT '{}',
    money jsonb NOT NULL DEFAULT '{}',
    guards jsonb NOT NULL DEFAULT '[]',
    created_at timestamptz NOT NULL DEFAULT now(),
    planned_at timestamptz,
    decided_at timestamptz,
    decided_by uuid,
    finished_at timestamptz,
    CONSTRAINT changesets_finished_check
        CHECK ((finished_at IS NOT NULL) = (state IN ('applied', 'discarded', 'failed')))
);
CREATE INDEX changesets_merchant_id_id_idx ON changesets (merchant_id, id);
CREATE INDEX changesets_merchant_id_source_id_idx ON changesets (merchant_id, source, id) WHERE source IS NOT NULL;
CREATE INDEX changesets_merchant_id_import_id_idx ON changesets (merchant_id, import_id) WHERE import_id IS NOT NULL;

CREATE TABLE changeset_items (
    merchant_id uuid NOT NULL,
    changeset_id uuid NOT NULL,
    n integer NOT NULL,
    op text NOT NULL CONSTRAINT changeset_items_op_check CHECK (op IN ('create', 'update', 'delete')),
    product_key text COLLATE "C" NOT NULL,
    variant_key text COLLATE "C",
    product_id uuid NOT NULL,
    variant_id uuid,
    base_version integer,
    line integer,
    changes jsonb,
    state text NOT NULL DEFAULT 'planned'
        CONSTRAINT changeset_items_state_check CHECK (state IN ('planned', 'applied', 'conflict')),
    version integer,
    applied_at timestamptz
) WITH (fillfactor = 50); -- every item is written twice: planned, then applied beside where it stood, indexes untouched
CREATE INDEX changeset_items_product_idx ON changeset_items (merchant_id, product_id, changeset_id);
-- The newest of the indexes is taken where the planner sees no difference: for a merchant it knows nothing of.
ALTER TABLE changeset_items ADD CONSTRAINT changeset_items_pkey PRIMARY KEY (merchant_id, changeset_id, n);

-- Items go with their plan; a foreign key would check each of a million rows that come in.
CREATE FUNCTION changeset_items_of_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    DELETE FROM changeset_items USING old_rows
    WHERE changeset_items.merchant_id = old_rows.merchant_id AND changeset_items.changeset_id = old_rows.id;
    RETURN NULL;
END $$;
CREATE TRIGGER changeset_items_of_deleted AFTER DELETE ON changesets
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION changeset_items_of_deleted();
"""

# What a feed's records of a product hashed to when they last changed nothing, so that an unchanged feed need not be
# compared field by field. A cache: unlogged, forgotten by triggers as soon as anything of the product is changed.
# Planning, which reads the catalogue and then remembers, keeps others from changing it in between (a lock each).
PRINTS = """
CREATE UNLOGGED TABLE feed_prints (
    merchant_id uuid NOT NULL,
    product_id uuid NOT NULL CONSTRAINT feed_prints_pkey PRIMARY KEY,
    print bigint NOT NULL
);
ALTER TABLE import_drafts ADD COLUMN print bigint NOT NULL DEFAULT 0;
ALTER TABLE imports ADD COLUMN staged_print numeric;
ALTER TABLE imports DROP COLUMN apply_cursor;

CREATE FUNCTION feed_prints_of_products() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('prints:' || merchant_id, 0))
    FROM (SELECT DISTINCT merchant_id FROM old_rows ORDER BY 1) merchants;
    DELETE FROM feed_prints USING old_rows WHERE feed_prints.product_id = old_rows.id;
    RETURN NULL;
END $$;
CREATE FUNCTION feed_prints_of_variants() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('prints:' || merchant_id, 0))
    FROM (SELECT DISTINCT merchant_id FROM old_rows ORDER BY 1) merchants;
    DELETE FROM feed_prints USING old_rows WHERE feed_prints.product_id = old_rows.product_id;
    RETURN NULL;
END $$;
"""
PRINT_TRIGGERS = "".join(
    f"""
CREATE TRIGGER feed_prints_of_{verb}d_{table} AFTER {verb.upper()} ON {table}
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION feed_prints_of_{table}();
"""
    for table in ("products", "variants")
    for verb in ("update", "delete")
)


def upgrade() -> None:
    op.execute(SOURCES)
    op.execute(CHANGESETS)
    op.execute(PRINTS)
    op.execute(PRINT_TRIGGERS)
    op.execute(tenant_table("sources", shown_to_members=False))
    op.execute(tenant_table("changesets"))
    op.execute(tenant_table("changeset_items"))
    op.execute(tenant_table("feed_prints", shown_to_members=False))


def downgrade() -> None:
    for table in ("products", "variants"):
        op.execute(f"DROP FUNCTION feed_prints_of_{table}() CASCADE")
    op.execute("ALTER TABLE import_drafts DROP COLUMN print")
    op.execute('ALTER TABLE imports DROP COLUMN staged_print, ADD COLUMN apply_cursor text COLLATE "C"')
    op.execute("DROP TABLE feed_prints, changeset_items, changesets, sources")
    op.execute("DROP FUNCTION changeset_items_of_deleted()")
