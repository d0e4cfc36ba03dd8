"""Row-level security, said once: which roles there are and what a tenant table allows.

`shopopti_app` sees the rows of the merchant set for its transaction. `shopopti_ledger` sees the job ledger of all
merchants. Where Supabase's `auth.uid()` exists, the role `authenticated` (a dashboard with a user's token) may read
the rows of the merchants that user belongs to, and may write nothing.
"""

ROLES = """
DO $$
DECLARE wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['shopopti_app', 'shopopti_ledger'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN NOBYPASSRLS', wanted);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
        END;
        EXECUTE format('GRANT %I TO CURRENT_USER', wanted);
        EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', wanted);
    END LOOP;
END $$;
"""

CURRENT_MERCHANT = "(SELECT nullif(current_setting('shopopti.merchant_id', true), '')::uuid)"
CURRENT_USER_ID = "(SELECT nullif(current_setting('shopopti.user_id', true), '')::uuid)"


def tenant_table(
    table: str,
    *,
    grants: str = "SELECT, INSERT, UPDATE, DELETE",
    column: str = "merchant_id",
    shown_to_members: bool = True,
) -> str:
    """SQL that closes `table` to all but the current merchant.

    On Supabase its members may read it directly, unless it is not for dashboards (answers kept for replay, addresses
    with credentials, staging).
    """
    members = "true" if shown_to_members else "false"
    return f"""
    ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
    GRANT {grants} ON {table} TO shopopti_app;
    CREATE POLICY {table}_of_merchant ON {table} TO shopopti_app
        USING ({column} = {CURRENT_MERCHANT}) WITH CHECK ({column} = {CURRENT_MERCHANT});
    {close_to_supabase_visitors(table)}
    DO $$ BEGIN
        IF {members} AND to_regprocedure('auth.uid()') IS NOT NULL THEN
            GRANT SELECT ON {table} TO authenticated;
            CREATE POLICY {table}_of_member ON {table} FOR SELECT TO authenticated
                USING ({column} IN (SELECT members.merchant_id FROM members
                                    WHERE members.user_id = (SELECT auth.uid())));
        END IF;
    END $$;
    """


def ledger_table(table: str, *, grants: str = "SELECT, INSERT, UPDATE, DELETE") -> str:
    """SQL that lets the ledger role see every merchant's rows of `table`."""
    return f"""
    ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
    GRANT {grants} ON {table} TO shopopti_ledger;
    CREATE POLICY {table}_of_ledger ON {table} TO shopopti_ledger USING (true) WITH CHECK (true);
    """


def close_to_supabase_visitors(table: str) -> str:
    """SQL that takes back what Supabase grants by default on new tables of `public`."""
    return f"""
    DO $$ BEGIN
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'anon') THEN
            REVOKE ALL ON {table} FROM anon, authenticated;
        END IF;
    END $$;
    """
