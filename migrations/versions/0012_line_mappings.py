"""What a merchant has said lines of a SKU or barcode are is known for the next order too."""

from alembic import op

from migrations.tenancy import tenant_table

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

TABLE = """
CREATE TABLE line_mappings (
    id uuid PRIMARY KEY,
    merchant_id uuid NOT NULL REFERENCES merchants (id) ON DELETE CASCADE,
    sku text,
    barcode text,
    variant_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT line_mappings_one CHECK (num_nonnulls(sku, barcode) = 1)
)
"""


def upgrade() -> None:
    op.execute(TABLE)
    for name in ("sku", "barcode"):
        op.execute(
            f"CREATE UNIQUE INDEX line_mappings_{name}_idx ON line_mappings (merchant_id, {name})"
            f" WHERE {name} IS NOT NULL"
        )
    op.execute("CREATE INDEX line_mappings_merchant_id_id_idx ON line_mappings (merchant_id, id)")
    op.execute(tenant_table("line_mappings"))


def downgrade() -> None:
    op.execute("DROP TABLE line_mappings")
