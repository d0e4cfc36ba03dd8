"""Nothing of one merchant's is seen or changed by another: looked up in the catalogue, so new tables are covered."""

import uuid

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from services.core.db import transaction
from tests.conftest import make_merchant

# Values for columns whose checks or foreign keys a made-up value would not pass.
SPECIAL = {
    ("members", "role"): "staff",
    ("jobs", "state"): "queued",
    ("schedules", "interval_seconds"): 60,
    ("schedules", "cron"): None,
    ("schedules", "misfire"): "once",
    ("schedules", "overlap"): "skip",
    ("line_mappings", "sku"): "made-up",
    ("merchant_caps", "queue"): "sync",
    ("changesets", "kind"): "edit",
    ("changeset_items", "op"): "update",
    ("exports", "format"): "csv",
    ("connections", "state"): "disconnected",
    ("offer_links", "how"): "hand",
    ("sync_runs", "kind"): "stock",
    ("sync_runs", "mode"): "full",
}
MADE_UP = {
    "uuid": uuid.uuid4,
    "text": lambda: f"made-up-{uuid.uuid4().hex}",
    "jsonb": lambda: "{}",
    "bigint": lambda: 1,
    "integer": lambda: 1,
    "smallint": lambda: 1,
    "numeric": lambda: 1,
    "double precision": lambda: 1,
    "boolean": lambda: True,
    "timestamp with time zone": lambda: "2026-01-01T00:00:00Z",
    "date": lambda: "2026-01-01",
    "ARRAY": lambda: "{}",
    "bytea": lambda: b"x",
}


@pytest.fixture(scope="module")
def owner():
    """Transactions as the login role, which the policies do not bind."""

    def open_():
        opened = transaction()
        session = opened.__enter__()
        session.execute(text("SELECT set_config('role', 'none', true)"))
        return opened, session

    return open_


def tables() -> list[tuple[str, str]]:
    """Every table that belongs to merchants, and the column that says to which. Looked up when the test runs."""
    with transaction() as session:
        session.execute(text("SELECT set_config('role', 'none', true)"))
        rows = session.execute(
            text("""SELECT c.table_name, c.column_name FROM information_schema.columns c
                    JOIN information_schema.tables t USING (table_schema, table_name)
                    WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND column_name = 'merchant_id'
                    ORDER BY 1""")
        )
        return [("merchants", "id"), *((row[0], row[1]) for row in rows)]


def add_row(session, table: str, merchant: uuid.UUID, column: str) -> bool:
    """A row of that merchant with made-up values; parents of foreign keys are made too."""
    needed = session.execute(
        text("""SELECT column_name, data_type FROM information_schema.columns
                WHERE table_schema = 'public' AND table_name = :table AND column_name <> :column
                  AND is_nullable = 'NO' AND column_default IS NULL AND is_identity = 'NO'
                  AND is_generated = 'NEVER'"""),
        {"table": table, "column": column},
    ).all()
    parents = session.execute(
        text("""SELECT a.attname, c.confrelid::regclass::text, f.attname
                FROM pg_constraint c
                JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
                JOIN pg_attribute f ON f.attrelid = c.confrelid AND f.attnum = c.confkey[1]
                WHERE c.contype = 'f' AND c.conrelid = cast(:table AS regclass) AND cardinality(c.conkey) = 1"""),
        {"table": table},
    ).all()
    values: dict[str, object] = {column: merchant}
    for name, kind in needed:
        values[name] = MADE_UP[kind]()
    for (special_table, name), value in SPECIAL.items():
        if special_table == table:
            values[name] = value
    for name, parent, target in parents:
        if name in values and name != column and (table, name) not in SPECIAL and parent != "merchants":
            owned = next(by for of, by in tables() if of == parent)
            add_row(session, parent, merchant, owned)
            found = session.execute(
                text(f"SELECT {target} FROM {parent} WHERE {owned} = :merchant LIMIT 1"), {"merchant": merchant}
            )
            values[name] = found.scalar_one()
    names = ", ".join(f'"{name}"' for name in values)
    marks = ", ".join(f":{name}" for name in values)
    session.execute(text(f"INSERT INTO {table} ({names}) VALUES ({marks}) ON CONFLICT DO NOTHING"), values)
    return True


def count(session, table: str, column: str, merchant: uuid.UUID) -> int:
    """How many rows of that merchant are seen."""
    return session.execute(
        text(f"SELECT count(*) FROM {table} WHERE {column} = :merchant"), {"merchant": merchant}
    ).scalar_one()


def test_every_tenant_table_has_its_policies():
    with transaction() as session:
        session.execute(text("SELECT set_config('role', 'none', true)"))
        for table, _ in tables():
            secured = session.execute(
                text("SELECT relrowsecurity FROM pg_class WHERE oid = cast(:table AS regclass)"), {"table": table}
            ).scalar_one()
            assert secured, f"{table}: row-level security is off; create it with migrations.tenancy.tenant_table"
            policies = session.execute(
                text("""SELECT count(*) FROM pg_policies WHERE tablename = :table
                        AND 'shopopti_app' = ANY(roles) AND cmd = 'ALL' AND qual LIKE '%shopopti.merchant_id%'
                        AND with_check LIKE '%shopopti.merchant_id%'"""),
                {"table": table},
            ).scalar_one()
            assert policies == 1, f"{table}: no policy for shopopti_app"


# Tables that belong to no merchant. Whoever adds a table either gives it a merchant or says here why it has none.
OF_NOBODY = {"alembic_version", "job_moves", "job_totals", "processes", "queues", "quotas", "stats_position"}


def test_every_table_belongs_to_merchants_or_is_known_not_to():
    with transaction() as session:
        session.execute(text("SELECT set_config('role', 'none', true)"))
        every = set(session.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")))
    made_by_the_lab = {"lab_effects"}
    assert every - {table for table, _ in tables()} - made_by_the_lab == OF_NOBODY


def test_no_other_policy_opens_a_tenant_table_to_the_application():
    with transaction() as session:
        session.execute(text("SELECT set_config('role', 'none', true)"))
        open_ = session.execute(
            text("""SELECT tablename, policyname FROM pg_policies
                    WHERE ('shopopti_app' = ANY(roles) OR 'public' = ANY(roles)) AND qual NOT LIKE '%shopopti.%'""")
        ).all()
        assert open_ == []


def test_the_application_cannot_bypass_them():
    with transaction() as session:
        bypassing = session.execute(
            text("SELECT rolname FROM pg_roles WHERE rolname LIKE 'shopopti%' AND (rolbypassrls OR rolsuper)")
        ).all()
        assert bypassing == []
        owned = session.execute(
            text("SELECT tablename FROM pg_tables WHERE tableowner LIKE 'shopopti%'")  # owners are not bound
        ).all()
        assert owned == []


def test_another_merchants_rows_can_be_neither_seen_nor_touched(owner):
    mine, theirs = make_merchant(), make_merchant()
    for table, column in tables():
        if table != "merchants":
            opened, session = owner()
            add_row(session, table, theirs, column)
            opened.__exit__(None, None, None)
        opened, session = owner()
        there = count(session, table, column, theirs)
        opened.__exit__(None, None, None)
        assert there >= 1, f"{table}: no row to try with"

        with transaction(merchant_id=theirs) as session:
            assert count(session, table, column, theirs) == there, f"{table}: not even its own merchant sees it"
        for who in (mine, None):
            with transaction(merchant_id=who) as session:
                assert count(session, table, column, theirs) == 0, f"{table}: rows of others are seen"
                for change in (
                    f"UPDATE {table} SET {column} = {column} WHERE {column} = :merchant",
                    f"DELETE FROM {table} WHERE {column} = :merchant",
                ):
                    with session.begin_nested() as savepoint:
                        try:
                            done = session.execute(text(change), {"merchant": theirs})
                            assert done.rowcount == 0, f"{table}: rows of others are changed: {change}"
                        except ProgrammingError as error:
                            if error.orig.sqlstate != "42501":  # not even granted is fine
                                raise
                            savepoint.rollback()
        opened, session = owner()
        assert count(session, table, column, theirs) == there, f"{table}: rows of others were changed"
        opened.__exit__(None, None, None)


def test_rows_for_another_merchant_are_refused():
    mine, theirs = make_merchant(), make_merchant()
    for table, column in tables():
        wanted = uuid.uuid4() if table == "merchants" else theirs
        for who in (mine, None):
            with pytest.raises(ProgrammingError) as caught, transaction(merchant_id=who) as session:
                session.execute(text("SELECT 1"))
                add_row(session, table, wanted, column)
            assert caught.value.orig.sqlstate == "42501", f"{table}: {caught.value.orig}"


def test_rows_cannot_be_given_away(owner):
    mine, theirs = make_merchant(), make_merchant()
    for table, column in tables():
        if table == "merchants":
            continue
        opened, session = owner()
        add_row(session, table, mine, column)
        opened.__exit__(None, None, None)
        with pytest.raises(ProgrammingError) as caught, transaction(merchant_id=mine) as session:
            session.execute(text(f"UPDATE {table} SET {column} = :theirs"), {"theirs": theirs})
        assert caught.value.orig.sqlstate == "42501", table


LEDGER = {
    *("jobs", "job_events", "job_moves", "job_stats", "job_totals", "stats_position", "queues", "processes"),
    *("schedules", "merchant_caps", "idempotency_keys", "alembic_version"),
}


def test_the_ledger_role_reaches_nothing_but_the_ledger():
    with transaction(role="shopopti_ledger") as session:
        reachable = session.execute(
            text("""SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
                    AND has_table_privilege('shopopti_ledger', oid, 'SELECT, INSERT, UPDATE, DELETE') ORDER BY 1""")
        ).scalars()
        assert set(reachable) <= LEDGER
