"""Quotas that nobody has asked after for a month are forgotten."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# What a window holds matters for a day or two; which limits a key was seen to have, a little longer. The application
# sees only quotas whose key it can name: what is old is found here, a few whenever some come in.
FORGETTING = """
CREATE INDEX quotas_touched_at_idx ON quotas (touched_at);
CREATE FUNCTION forget_old_quotas() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    DELETE FROM quotas WHERE (credential, endpoint) IN (
        SELECT credential, endpoint FROM quotas WHERE touched_at < now() - interval '30 days'
        ORDER BY touched_at LIMIT 1000 FOR UPDATE SKIP LOCKED);
    RETURN NULL;
END $$;
CREATE TRIGGER forget_old_quotas AFTER INSERT ON quotas FOR EACH STATEMENT EXECUTE FUNCTION forget_old_quotas();
"""


def upgrade() -> None:
    op.execute(FORGETTING)


def downgrade() -> None:
    op.execute("DROP FUNCTION forget_old_quotas() CASCADE")
    op.execute("DROP INDEX quotas_touched_at_idx")
