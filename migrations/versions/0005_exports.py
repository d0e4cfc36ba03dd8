"""Exports: files of products, kept for a while."""

from alembic import op

from migrations.tenancy import tenant_table

revision = "0005"
down_revision = "0003"
branch_labels = None
depends_on = None

EXPORTS = """
CREATE TABLE exports (
    id uuid NOT NULL CONSTRAINT exports_pkey PRIMARY KEY,
    merchant_id uuid NOT NULL CONSTRAINT exports_merchant_id_fkey REFERENCES merchants (id) ON DELETE CASCADE,
    job_id uuid NOT NULL,
    format text NOT NULL CONSTRAINT exports_format_check CHECK (format IN ('csv', 'xlsx', 'json', 'ndjson')),
    columns text,
    filters jsonb NOT NULL DEFAULT '{}',
    filename text NOT NULL,
    storage_key text,
    bytes bigint,
    products integer NOT NULL DEFAULT 0,
    rows integer NOT NULL DEFAULT 0,
    left_out integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    expires_at timestamptz NOT NULL,
    removed_at timestamptz
);
CREATE INDEX exports_merchant_id_id_idx ON exports (merchant_id, id);
"""


def upgrade() -> None:
    op.execute(EXPORTS)
    op.execute(tenant_table("exports"))


def downgrade() -> None:
    op.execute("DROP TABLE exports")
