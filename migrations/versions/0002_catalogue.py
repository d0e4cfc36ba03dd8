"""Products, variants, and the imports that fill them."""

from alembic import op

from migrations.tenancy import tenant_table

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# What a product is found by: the words of its title, brand, category and tags. The parser would keep file names, hosts
# and compounds together and leave out what looks like a tag, so they are taken apart first, as
# services/catalog/queries.py does with what is asked for. Brand and category come first: filters rely on their words,
# and a title may be endless.
# The end of the merchant's id (its random part) is one of the words: a search asks for it too, so that the index
# alone tells one merchant's shirts from everybody's.
SEARCH = """
CREATE FUNCTION product_search(merchant_id uuid, title text, brand text, category text, tags text[])
RETURNS tsvector LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN pg_catalog.to_tsvector('pg_catalog.simple'::pg_catalog.regconfig,
        pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(
            pg_catalog.left(pg_catalog.concat_ws(' ', 'm' || pg_catalog.right(merchant_id::text, 12), brand, category,
                title, pg_catalog.array_to_string(tags, ' ')), 4000), '-', ' '), '/', ' '), '.', ' '), '<', ' '));
END $$;
"""

CATALOGUE = """
CREATE TABLE products (
    id uuid NOT NULL CONSTRAINT products_pkey PRIMARY KEY,
    merchant_id uuid NOT NULL,
    source text NOT NULL,
    key text COLLATE "C" NOT NULL,
    title text,
    description text,
    brand text,
    category text,
    tags text[] NOT NULL DEFAULT '{}',
    status text NOT NULL DEFAULT 'active'
        CONSTRAINT products_status_check CHECK (status IN ('active', 'draft', 'archived')),
    images text[] NOT NULL DEFAULT '{}',
    option_names text[] NOT NULL DEFAULT '{}',
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    search tsvector NOT NULL GENERATED ALWAYS AS
        (product_search(merchant_id, title, brand, category, tags)) STORED,
    CONSTRAINT products_merchant_id_source_key_key UNIQUE (merchant_id, source, key)
);
-- For lists, which say version > 0 to be let in. It holds for every row: the condition only keeps the index out of the
-- merge's look-ups, where the planner would take it for as good as the unique one whenever it knows the merchant as
-- small, and read all of a large one's rows for each draft.
CREATE INDEX products_list_idx ON products (merchant_id, id) WHERE version > 0;
CREATE INDEX products_search_idx ON products USING gin (search);

CREATE TABLE variants (
    id uuid NOT NULL CONSTRAINT variants_pkey PRIMARY KEY,
    merchant_id uuid NOT NULL,
    product_id uuid NOT NULL,
    key text COLLATE "C" NOT NULL,
    sku text,
    barcode text,
    options jsonb NOT NULL DEFAULT '{}',
    price numeric(18, 6),
    compare_at_price numeric(18, 6),
    cost numeric(18, 6),
    currency text,
    stock integer,
    weight_grams integer,
    image_url text,
    position integer NOT NULL,
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT variants_merchant_id_product_id_key_key UNIQUE (merchant_id, product_id, key)
);
CREATE INDEX variants_merchant_id_sku_idx ON variants (merchant_id, sku) WHERE sku IS NOT NULL;
CREATE INDEX variants_merchant_id_barcode_idx ON variants (merchant_id, barcode) WHERE barcode IS NOT NULL;
"""

# Rows of the catalogue go with what they belong to, as with ON DELETE CASCADE. A foreign key would do that too, but
# checks each row that comes in, which is a third of what an import costs; ids come in from the merge alone, which
# looked them up in the same transaction.
CASCADES = """
CREATE FUNCTION products_of_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    DELETE FROM products WHERE merchant_id IN (SELECT id FROM old_rows);
    DELETE FROM import_drafts WHERE merchant_id IN (SELECT id FROM old_rows);
    RETURN NULL;
END $$;
CREATE FUNCTION variants_of_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    DELETE FROM variants USING old_rows
    WHERE variants.merchant_id = old_rows.merchant_id AND variants.product_id = old_rows.id;
    RETURN NULL;
END $$;
CREATE TRIGGER products_of_deleted AFTER DELETE ON merchants
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION products_of_deleted();
CREATE TRIGGER variants_of_deleted AFTER DELETE ON products
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION variants_of_deleted();
"""

IMPORTS = """
CREATE TABLE imports (
    id uuid NOT NULL CONSTRAINT imports_pkey PRIMARY KEY,
    merchant_id uuid NOT NULL CONSTRAINT imports_merchant_id_fkey REFERENCES merchants (id) ON DELETE CASCADE,
    job_id uuid NOT NULL,
    source text NOT NULL,
    currency text,
    url text,
    url_secret text,
    filename text,
    storage_key text,
    sha256 text,
    bytes bigint,
    etag text,
    last_modified text,
    format text,
    encoding text,
    delimiter text,
    columns jsonb,
    turn_at timestamptz,
    rows integer NOT NULL DEFAULT 0,
    staged_rows integer NOT NULL DEFAULT 0,
    staged_at timestamptz,
    apply_cursor text COLLATE "C",
    applied_rows integer NOT NULL DEFAULT 0,
    products_created integer NOT NULL DEFAULT 0,
    products_updated integer NOT NULL DEFAULT 0,
    products_unchanged integer NOT NULL DEFAULT 0,
    variants_created integer NOT NULL DEFAULT 0,
    variants_updated integer NOT NULL DEFAULT 0,
    variants_unchanged integer NOT NULL DEFAULT 0,
    errors integer NOT NULL DEFAULT 0,
    warnings integer NOT NULL DEFAULT 0,
    error_codes jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
CREATE INDEX imports_merchant_id_id_idx ON imports (merchant_id, id);
CREATE INDEX imports_merchant_id_source_id_idx ON imports (merchant_id, source, id);
CREATE INDEX imports_merchant_id_job_id_idx ON imports (merchant_id, job_id);

CREATE TABLE import_errors (
    merchant_id uuid NOT NULL,
    import_id uuid NOT NULL CONSTRAINT import_errors_import_id_fkey REFERENCES imports (id) ON DELETE CASCADE,
    n integer NOT NULL,
    line integer NOT NULL,
    code text NOT NULL,
    "column" text,
    value text,
    reason text NOT NULL,
    fatal boolean NOT NULL,
    CONSTRAINT import_errors_pkey PRIMARY KEY (merchant_id, import_id, n)
);

CREATE UNLOGGED TABLE import_drafts (
    merchant_id uuid NOT NULL,
    import_id uuid NOT NULL,
    product_key text COLLATE "C" NOT NULL,
    line integer NOT NULL,
    variant_key text COLLATE "C",
    title text,
    description text,
    brand text,
    category text,
    tags text,
    status text,
    image_urls text,
    image_position integer,
    option_names text,
    option_values text,
    sku text,
    barcode text,
    price numeric(18, 6),
    compare_at_price numeric(18, 6),
    cost numeric(18, 6),
    currency text,
    stock integer,
    weight_grams integer,
    variant_image_url text,
    CONSTRAINT import_drafts_pkey PRIMARY KEY (merchant_id, import_id, product_key, line)
);
"""

TENANT_TABLES = ("products", "variants", "imports", "import_errors", "import_drafts")


def upgrade() -> None:
    op.execute(SEARCH)
    op.execute(CATALOGUE)
    op.execute(IMPORTS)
    op.execute(CASCADES)
    for table in TENANT_TABLES:
        op.execute(tenant_table(table, shown_to_members=not table.startswith("import")))


def downgrade() -> None:
    op.execute("DROP TRIGGER products_of_deleted ON merchants")
    op.execute("DROP TABLE import_drafts, import_errors, imports, variants, products")
    op.execute("DROP FUNCTION products_of_deleted(), variants_of_deleted()")
    op.execute("DROP FUNCTION product_search(uuid, text, text, text, text[])")
