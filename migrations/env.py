"""How migrations run: one at a time over the whole fleet, never waiting long for a lock, all or nothing.

The advisory lock makes a second `alembic upgrade` wait for the first and then find nothing to do. The lock timeout
makes a migration give up rather than queue every query behind it; run it again at a quieter moment.
Use a direct or session connection (not a transaction pooler): the lock belongs to the session.
"""

from alembic import context
from sqlalchemy import create_engine, pool, text
from sqlalchemy.dialects.postgresql.base import ischema_names

from services.core.settings import get_settings
from services.models import Base
from services.models.jobs import Xid8

LOCK = 7_306_108_240  # any number, but always this one

ischema_names["xid8"] = Xid8  # SQLAlchemy reflects it only when told


def include_object(_object, name, type_, _reflected, _compare_to):
    """Only our tables: Supabase keeps its own in other schemas."""
    return not (type_ == "table" and name in {"alembic_version", "job_moves"})


def run() -> None:
    """Migrate over one connection, in one transaction."""
    connection = context.config.attributes.get("connection")
    if connection is not None:
        migrate(connection)
        return
    engine = create_engine(get_settings().database_url, poolclass=pool.NullPool)
    with engine.connect() as opened:
        migrate(opened)
        opened.commit()


def migrate(connection) -> None:
    """Take the lock, set the limits, run."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    connection.execute(text("SET LOCAL lock_timeout = '5s'"))
    connection.execute(text("SET LOCAL statement_timeout = '10min'"))
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_object=include_object,
        compare_type=True,
        compare_server_default=False,
    )
    with context.begin_transaction():
        context.run_migrations()


run()
