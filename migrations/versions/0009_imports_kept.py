"""What an import is read by, as it was when it was asked for; and when its file was removed."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# Imports on their way are read as their sources say at this moment, which is how they would have been read.
MAPPINGS = """
UPDATE imports SET mapping = sources.mapping FROM sources
WHERE sources.merchant_id = imports.merchant_id AND sources.name = imports.source AND imports.connection_id IS NULL
"""


def upgrade() -> None:
    op.execute("ALTER TABLE imports ADD COLUMN mapping jsonb, ADD COLUMN file_removed_at timestamptz")
    op.execute(MAPPINGS)


def downgrade() -> None:
    op.execute("ALTER TABLE imports DROP COLUMN mapping, DROP COLUMN file_removed_at")
