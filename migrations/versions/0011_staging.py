"""Drafts that repeat what the record before them says of their product do not keep it twice."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# As 0008 has them: one bit for each thing that guards count of a feed's rows.
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
BITS = " | ".join(f"CASE WHEN {what} THEN {1 << bit} ELSE 0 END" for bit, what in enumerate(SAYS))


def upgrade() -> None:
    op.execute(f"""
    ALTER TABLE import_drafts DROP COLUMN says, ADD COLUMN repeats integer NOT NULL DEFAULT 0;
    ALTER TABLE import_drafts ADD COLUMN says integer NOT NULL GENERATED ALWAYS AS (repeats | {BITS}) STORED
    """)


def downgrade() -> None:
    # Drafts that have left something out say too little without this column. They are read again from their files.
    op.execute(f"""
    TRUNCATE import_drafts;
    ALTER TABLE import_drafts DROP COLUMN says, DROP COLUMN repeats;
    ALTER TABLE import_drafts ADD COLUMN says integer NOT NULL GENERATED ALWAYS AS ({BITS}) STORED
    """)
