"""Connections to suppliers, what they offer, which offer fills which variant, and how syncs went."""

from alembic import op

from migrations.tenancy import close_to_supabase_visitors, tenant_table

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# An account is connected once: whoever comes second meets connections_account_key, however both named it. One that was
# disconnected stays, without its secrets, because offers and links name it; connecting under its name revives it.
CONNECTIONS = """
CREATE TABLE connections (
    id uuid NOT NULL CONSTRAINT connections_pkey PRIMARY KEY,
    merchant_id uuid NOT NULL CONSTRAINT connections_merchant_id_fkey REFERENCES merchants (id) ON DELETE CASCADE,
    supplier text NOT NULL,
    name text NOT NULL,
    state text NOT NULL DEFAULT 'active'
        CONSTRAINT connections_state_check CHECK (state IN ('active', 'reconnect_needed', 'disconnected')),
    sandbox boolean NOT NULL DEFAULT false,
    secrets text,
    secrets_version integer NOT NULL DEFAULT 1,
    hints jsonb NOT NULL DEFAULT '{}',
    account text,
    account_key text NOT NULL,
    language text NOT NULL DEFAULT 'en',
    country text NOT NULL DEFAULT 'ES',
    currency text NOT NULL DEFAULT 'EUR',
    rules jsonb NOT NULL DEFAULT '{}',
    problem text,
    token_expires_at timestamptz,
    refresh_expires_at timestamptz,
    renewing_until timestamptz,
    checked_at timestamptz,
    failures integer NOT NULL DEFAULT 0,
    opened_at timestamptz,
    retry_at timestamptz,
    probe_job_id uuid,
    offers_at timestamptz,
    stock_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT connections_merchant_id_name_key UNIQUE (merchant_id, name),
    CONSTRAINT connections_secrets_check CHECK ((secrets IS NULL) = (state = 'disconnected'))
);
CREATE INDEX connections_merchant_id_id_idx ON connections (merchant_id, id);
CREATE UNIQUE INDEX connections_account_key ON connections (merchant_id, supplier, sandbox, account_key)
    WHERE state <> 'disconnected';

CREATE TABLE oauth_states (
    digest text NOT NULL CONSTRAINT oauth_states_pkey PRIMARY KEY,
    merchant_id uuid NOT NULL CONSTRAINT oauth_states_merchant_id_fkey REFERENCES merchants (id) ON DELETE CASCADE,
    supplier text NOT NULL,
    connection_id uuid,
    settings jsonb NOT NULL DEFAULT '{}',
    created_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used_at timestamptz
);
CREATE INDEX oauth_states_merchant_id_expires_at_idx ON oauth_states (merchant_id, expires_at);

-- Of nobody: two merchants with one key share its quota. Who can name the key sees its rows and no others.
CREATE TABLE quotas (
    credential text NOT NULL,
    endpoint text NOT NULL,
    state jsonb NOT NULL,
    touched_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT quotas_pkey PRIMARY KEY (credential, endpoint)
);
ALTER TABLE quotas ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON quotas TO shopopti_app;
CREATE POLICY quotas_of_credential ON quotas TO shopopti_app
    USING (credential = (SELECT current_setting('shopopti.credential', true)))
    WITH CHECK (credential = (SELECT current_setting('shopopti.credential', true)));
"""

OFFERS = """
CREATE TABLE offers (
    merchant_id uuid NOT NULL,
    connection_id uuid NOT NULL,
    id text COLLATE "C" NOT NULL,
    title text,
    description text,
    brand text,
    category text,
    images text[] NOT NULL DEFAULT '{}',
    url text,
    order_id text,
    active boolean NOT NULL DEFAULT true,
    print bigint NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now(),
    gone_at timestamptz,
    CONSTRAINT offers_pkey PRIMARY KEY (merchant_id, connection_id, id)
);
CREATE TABLE offer_variants (
    merchant_id uuid NOT NULL,
    connection_id uuid NOT NULL,
    id text COLLATE "C" NOT NULL,
    offer_id text COLLATE "C" NOT NULL,
    position integer NOT NULL DEFAULT 1,
    order_ref text NOT NULL,
    sku text,
    barcode text,
    options jsonb NOT NULL DEFAULT '[]',
    cost numeric(18, 6),
    list_price numeric(18, 6),
    recommended_price numeric(18, 6),
    currency text,
    stock integer,
    tiers jsonb NOT NULL DEFAULT '[]',
    weight_grams integer,
    image_url text,
    stock_at timestamptz,
    price_at timestamptz,
    gone_at timestamptz,
    CONSTRAINT offer_variants_pkey PRIMARY KEY (merchant_id, connection_id, id)
) WITH (fillfactor = 85); -- stock changes often, beside where it stood
-- Without the connection: beside the primary key, an index that begins as it does looks as good to a planner without
-- statistics, and would be read from end to end for each variant that is looked up.
CREATE INDEX offer_variants_merchant_id_offer_id_idx ON offer_variants (merchant_id, offer_id);
CREATE INDEX offer_variants_merchant_id_sku_idx ON offer_variants (merchant_id, sku) WHERE sku IS NOT NULL;
CREATE INDEX offer_variants_merchant_id_barcode_idx ON offer_variants (merchant_id, barcode)
    WHERE barcode IS NOT NULL;
CREATE TABLE offer_links (
    merchant_id uuid NOT NULL,
    connection_id uuid NOT NULL,
    offer_variant_id text COLLATE "C" NOT NULL,
    variant_id uuid,
    how text NOT NULL CONSTRAINT offer_links_how_check CHECK (how IN ('made', 'sku', 'barcode', 'hand')),
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT offer_links_variant_check CHECK (variant_id IS NOT NULL OR how = 'hand'),
    CONSTRAINT offer_links_pkey PRIMARY KEY (merchant_id, connection_id, offer_variant_id)
);
CREATE INDEX offer_links_merchant_id_variant_id_idx ON offer_links (merchant_id, variant_id);
-- What the full run that is under way has come across. Unlogged: when a crash empties it, the run takes nothing for gone.
CREATE UNLOGGED TABLE sync_seen (
    merchant_id uuid NOT NULL,
    connection_id uuid NOT NULL,
    id text COLLATE "C" NOT NULL,
    CONSTRAINT sync_seen_pkey PRIMARY KEY (merchant_id, connection_id, id)
);
-- An import whose drafts are not a file's, but a connection's offers.
ALTER TABLE imports ADD COLUMN connection_id uuid;
"""

RUNS = """
CREATE TABLE sync_runs (
    id uuid NOT NULL CONSTRAINT sync_runs_pkey PRIMARY KEY,
    merchant_id uuid NOT NULL CONSTRAINT sync_runs_merchant_id_fkey REFERENCES merchants (id) ON DELETE CASCADE,
    connection_id uuid NOT NULL
        CONSTRAINT sync_runs_connection_id_fkey REFERENCES connections (id) ON DELETE CASCADE,
    job_id uuid NOT NULL,
    kind text NOT NULL CONSTRAINT sync_runs_kind_check CHECK (kind IN ('products', 'stock')),
    mode text NOT NULL CONSTRAINT sync_runs_mode_check CHECK (mode IN ('full', 'delta')),
    state text NOT NULL DEFAULT 'running'
        CONSTRAINT sync_runs_state_check CHECK (state IN ('running', 'succeeded', 'failed', 'cancelled')),
    cursor text,
    pages integer NOT NULL DEFAULT 0,
    items integer NOT NULL DEFAULT 0,
    problems integer NOT NULL DEFAULT 0,
    counts jsonb NOT NULL DEFAULT '{}',
    import_id uuid,
    changeset_id uuid,
    error_code text,
    error text,
    started_at timestamptz NOT NULL DEFAULT now(),
    walked_at timestamptz,
    finished_at timestamptz,
    CONSTRAINT sync_runs_merchant_id_job_id_key UNIQUE (merchant_id, job_id),
    CONSTRAINT sync_runs_finished_check CHECK ((finished_at IS NULL) = (state = 'running'))
);
CREATE INDEX sync_runs_merchant_id_id_idx ON sync_runs (merchant_id, id);
CREATE INDEX sync_runs_connection_idx ON sync_runs (merchant_id, connection_id, id);
"""

# Offers and links go with what they belong to, without a foreign key's check of each row that comes in.
CASCADES = """
CREATE FUNCTION offers_of_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    DELETE FROM offer_links USING old_rows
    WHERE offer_links.merchant_id = old_rows.merchant_id AND offer_links.connection_id = old_rows.id;
    DELETE FROM offer_variants USING old_rows
    WHERE offer_variants.merchant_id = old_rows.merchant_id AND offer_variants.connection_id = old_rows.id;
    DELETE FROM offers USING old_rows
    WHERE offers.merchant_id = old_rows.merchant_id AND offers.connection_id = old_rows.id;
    DELETE FROM sync_seen USING old_rows
    WHERE sync_seen.merchant_id = old_rows.merchant_id AND sync_seen.connection_id = old_rows.id;
    RETURN NULL;
END $$;
CREATE FUNCTION offer_links_of_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    DELETE FROM offer_links USING old_rows
    WHERE offer_links.merchant_id = old_rows.merchant_id AND offer_links.variant_id = old_rows.id;
    RETURN NULL;
END $$;
CREATE TRIGGER offers_of_deleted AFTER DELETE ON connections
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION offers_of_deleted();
CREATE TRIGGER offer_links_of_deleted AFTER DELETE ON variants
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION offer_links_of_deleted();
"""

TABLES = ("connections", "oauth_states", "offers", "offer_variants", "offer_links", "sync_runs", "sync_seen")
KEPT_BACK = ("connections", "oauth_states", "sync_seen")  # secrets, and what is of no use to a dashboard


def upgrade() -> None:
    op.execute(CONNECTIONS)
    op.execute(OFFERS)
    op.execute(RUNS)
    op.execute(CASCADES)
    for table in TABLES:
        op.execute(tenant_table(table, shown_to_members=table not in KEPT_BACK))
    op.execute(close_to_supabase_visitors("quotas"))


def downgrade() -> None:
    op.execute("DROP FUNCTION offer_links_of_deleted() CASCADE")
    op.execute("ALTER TABLE imports DROP COLUMN connection_id")
    op.execute(f"DROP TABLE quotas, {', '.join(reversed(TABLES))}")
    op.execute("DROP FUNCTION offers_of_deleted()")
