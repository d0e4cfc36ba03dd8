"""Old quotas are forgotten; no statistics of whose offers they are."""

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

# What is known of whose rows there are is wrong for whoever came since: to the planner they have none, every index that
# begins with the merchant looks as good as the primary key, and a batch that took a quarter of a second takes minutes.
# Without statistics it takes each merchant for one of two hundred.
TABLES = ("offers", "offer_variants", "offer_links", "sync_seen")


def upgrade() -> None:
    op.execute(FORGETTING)
    for table in TABLES:
        op.execute(_statistics(table, 0))


def downgrade() -> None:
    for table in TABLES:
        op.execute(_statistics(table, -1))
    op.execute("DROP FUNCTION forget_old_quotas() CASCADE")
    op.execute("DROP INDEX quotas_touched_at_idx")


def _statistics(table: str, target: int) -> str:
    columns = ("merchant_id", "connection_id")
    return f"ALTER TABLE {table} " + ", ".join(f"ALTER COLUMN {name} SET STATISTICS {target}" for name in columns)
