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
    etag text,
    last_modified text,
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
    CONSTRAINT changeset_items_pkey PRIMARY KEY (merchant_id, changeset_id, n)
);
CREATE INDEX changeset_items_product_idx ON changeset_items (merchant_id, product_id, changeset_id);

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


def upgrade() -> None:
    op.execute(SOURCES)
    op.execute(CHANGESETS)
    op.execute(tenant_table("sources", shown_to_members=False))
    op.execute(tenant_table("changesets"))
    op.execute(tenant_table("changeset_items"))


def downgrade() -> None:
    op.execute("DROP TABLE changeset_items, changesets, sources")
    op.execute("DROP FUNCTION changeset_items_of_deleted()")
