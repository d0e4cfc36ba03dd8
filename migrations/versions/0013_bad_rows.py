"""One import may be asked to refuse its file for a bad row, or not to, whatever its source says."""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "ALTER TABLE imports ADD COLUMN bad_rows text"
        " CONSTRAINT imports_bad_rows_check CHECK (bad_rows IN ('skip', 'refuse'))"
    )


def downgrade() -> None:
    op.execute("ALTER TABLE imports DROP COLUMN bad_rows")
