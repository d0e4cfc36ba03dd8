"""The schema is built by migrations and nothing else: up, down, up again, two at once, on Supabase too."""

import os
import re
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.exc import OperationalError

from services.jobs.vitals import newest_schema
from tests.conftest import ROOT, alembic_config, migrate, scratch_database

# What Supabase brings (supabase/postgres, auth migrations), as far as our migrations look at it.
SUPABASE = """
GRANT anon, authenticated TO CURRENT_USER;
CREATE SCHEMA auth;
GRANT USAGE ON SCHEMA auth, public TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO anon, authenticated, service_role;
CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE AS $$
    SELECT coalesce(nullif(current_setting('request.jwt.claim.sub', true), ''),
                    (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'))::uuid
$$;
CREATE PUBLICATION supabase_realtime;
"""
ROLES = {"anon": "", "authenticated": "", "service_role": "BYPASSRLS"}


@pytest.fixture
def scratch():
    """An empty database's address."""
    with scratch_database(os.environ["DATABASE_URL"], migrated=False) as url:
        yield url


def tables(url: str) -> set[str]:
    """Names of the tables there."""
    with psycopg.connect(url) as connection:
        return {row[0] for row in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}


def alembic(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line, as operators use it."""
    environment = {**os.environ, "DATABASE_URL": url}
    command = [sys.executable, "-m", "alembic", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_up_down_and_up_again(scratch):
    migrate(scratch)
    built = tables(scratch)
    assert {"merchants", "members", "jobs", "job_events"} <= built
    migrate(scratch, "base")
    assert tables(scratch) <= {"alembic_version"}
    with psycopg.connect(scratch) as connection:
        left = connection.execute(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
            " UNION SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typtype IN ('e', 'd')"
        ).fetchall()
    assert left == []
    migrate(scratch)
    assert tables(scratch) == built


def test_models_and_migrations_say_the_same():
    with alembic_config(os.environ["DATABASE_URL"]) as config:
        command.check(config)


def test_two_upgrades_at_once(scratch):
    failed = []

    def go():
        try:
            migrate(scratch)
        except Exception as error:
            failed.append(error)

    def go_in_a_process():
        done = alembic(scratch, "upgrade", "head")  # Alembic's context belongs to a process
        if done.returncode:
            failed.append(done.stderr)

    threads = [threading.Thread(target=go), threading.Thread(target=go_in_a_process)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert "jobs" in tables(scratch)


def test_a_migration_gives_up_rather_than_hold_everybody_up(scratch):
    migrate(scratch)
    with psycopg.connect(scratch) as blocker:
        blocker.execute("LOCK TABLE merchants IN ACCESS SHARE MODE")
        started = time.monotonic()
        with pytest.raises(OperationalError, match="lock timeout"):
            migrate(scratch, "base")
        assert time.monotonic() - started < 30
    assert "jobs" in tables(scratch)


def test_time_limits_are_set():
    env = (ROOT / "migrations" / "env.py").read_text()
    assert re.search(r"SET LOCAL lock_timeout = '\d+s'", env)
    assert re.search(r"SET LOCAL statement_timeout = '\d+min'", env)
    assert "pg_advisory_xact_lock" in env


def test_the_newest_revision_can_be_told_by_file_names():
    config = Config(str(ROOT / "alembic.ini"))
    script = ScriptDirectory.from_config(config)
    assert script.get_heads() == [newest_schema()]
    for revision in script.walk_revisions():
        assert Path(revision.path).name.startswith(f"{revision.revision}_")


def test_no_extension_is_needed(scratch):
    migrate(scratch)
    with psycopg.connect(scratch) as connection:
        assert connection.execute("SELECT extname FROM pg_extension").fetchall() == [("plpgsql",)]


@pytest.fixture
def supabase(scratch):
    """A migrated database as Supabase would have made it."""
    with psycopg.connect(scratch, autocommit=True) as connection:
        there = {row[0] for row in connection.execute("SELECT rolname FROM pg_roles")}
        made = [role for role in ROLES if role not in there]
        for role in made:
            connection.execute(f"CREATE ROLE {role} NOLOGIN {ROLES[role]}")
        connection.execute(SUPABASE)
    migrate(scratch)
    yield scratch
    with psycopg.connect(scratch, autocommit=True) as connection:
        for role in made:
            connection.execute(f"DROP OWNED BY {role}")
            connection.execute(f"DROP ROLE {role}")


def as_user(connection: psycopg.Connection, role: str, user: uuid.UUID | None) -> None:
    """Become what a dashboard with a user's token is, until the transaction ends."""
    claims = "" if user is None else f'{{"sub": "{user}", "role": "{role}"}}'
    connection.execute(
        "SELECT set_config('request.jwt.claims', %s, true), set_config('role', %s, true)", (claims, role)
    )


# Answers kept for replay, addresses with credentials, staging: not for a dashboard's direct reading.
KEPT_BACK = {
    *("idempotency_keys", "imports", "import_errors", "import_drafts", "import_missing", "sources", "feed_prints"),
    *("connections", "oauth_states", "sync_seen"),
    *("order_imports", "order_import_errors", "order_drafts"),
}


def test_on_supabase_members_read_their_merchants_and_change_nothing(supabase):
    anna, ben, hers, his = (uuid.uuid4() for _ in range(4))
    with psycopg.connect(supabase) as connection:
        for user, merchant in ((anna, hers), (ben, his)):
            connection.execute("INSERT INTO merchants (id, name) VALUES (%s, 'x')", (merchant,))
            connection.execute(
                "INSERT INTO members (merchant_id, user_id, role) VALUES (%s, %s, 'owner')", (merchant, user)
            )
            connection.execute(
                "INSERT INTO jobs (id, merchant_id, kind, queue, args)"
                " VALUES (gen_random_uuid(), %s, 'k', 'sync', '{}')",
                (merchant,),
            )
        connection.commit()
        tenant_tables = [
            row[0]
            for row in connection.execute(
                "SELECT DISTINCT tablename FROM pg_policies WHERE tablename IN"
                " (SELECT table_name FROM information_schema.columns WHERE column_name = 'merchant_id')"
            ).fetchall()
        ]
        for user, merchant in ((anna, hers), (ben, his)):
            as_user(connection, "authenticated", user)
            assert connection.execute("SELECT id FROM merchants").fetchall() == [(merchant,)]
            for table in tenant_tables:
                if table in KEPT_BACK:
                    with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                        connection.execute(f"SELECT 1 FROM {table}")
                    continue
                seen = connection.execute(f"SELECT DISTINCT merchant_id FROM {table}").fetchall()
                assert set(seen) <= {(merchant,)}, table
            assert connection.execute("SELECT count(*) FROM jobs").fetchone() == (1,)
            assert connection.execute("SELECT count(*) FROM job_events").fetchone() == (1,)
            connection.rollback()
        as_user(connection, "authenticated", None)
        assert connection.execute("SELECT count(*) FROM jobs").fetchone() == (0,)
        connection.rollback()
        for table in (*tenant_tables, "merchants"):
            for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET created_at = now()", f"TRUNCATE {table}"):
                as_user(connection, "authenticated", anna)
                with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedColumn)):
                    connection.execute(statement)
                connection.rollback()


def test_on_supabase_visitors_reach_no_table(supabase):
    with psycopg.connect(supabase) as connection:
        for table in sorted(tables(supabase)):
            as_user(connection, "anon", None)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"SELECT 1 FROM {table}")
            connection.rollback()


def test_on_supabase_dashboards_may_subscribe_to_jobs(supabase):
    with psycopg.connect(supabase) as connection:
        published = connection.execute(
            "SELECT tablename FROM pg_publication_tables WHERE pubname = 'supabase_realtime'"
        ).fetchall()
    assert ("jobs",) in published


def test_on_supabase_it_goes_down_and_up_too(supabase):
    migrate(supabase, "base")
    assert tables(supabase) <= {"alembic_version"}
    migrate(supabase)
