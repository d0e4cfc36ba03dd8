"""Connections, and the only place that commits.

Two roles do all the work (migrations create them; the login role may switch to both):

- ``shopopti_app`` sees one merchant: row-level security compares every tenant row with the merchant set for the
  transaction. The API and the domain code of jobs act as it. It cannot bypass the policies.
- ``shopopti_ledger`` sees the job ledger of all merchants and nothing else. Relay, beat and the claim/finish path of
  the runner act as it.

Role and merchant are set with ``set_config(…, true)``: they end with the transaction, so they work through a
transaction pooler and never leak to the connection's next user.
"""

import contextlib
from collections.abc import Iterator
from functools import cache
from typing import Any, Literal
from uuid import UUID

import psycopg
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from services.core.errors import Unavailable
from services.core.settings import Settings, get_settings

Role = Literal["shopopti_app", "shopopti_ledger"]

# A stalled statement must not hold a worker or a request for ever. JIT, which servers with LLVM have on, takes seconds
# to compile what then runs for milliseconds: our statements are wide, and their costs say little.
_ENTER = text(
    "SELECT set_config('role', :role, true), set_config('shopopti.merchant_id', :merchant_id, true),"
    " set_config('shopopti.user_id', :user_id, true), set_config('statement_timeout', '60s', true),"
    " set_config('idle_in_transaction_session_timeout', '60s', true), set_config('jit', 'off', true)"
)


class DatabaseAway(Unavailable):
    """The database cannot be reached. Nothing was changed; try again in a moment."""


class DatabaseBusy(Unavailable):
    """The database took too long over this, or two changes got in each other's way. Nothing was changed; try again."""


class DatabaseReadOnly(Unavailable):
    """The database takes no changes at the moment: it is switching over, or its disk is full. Nothing was changed."""


# SQLSTATE → what it means to whoever asked: a statement past its time limit, a lock that did not come free, a deadlock,
# a serialization failure; a write in a read-only transaction.
_UNAVAILABLE: dict[str, type[Unavailable]] = {
    **dict.fromkeys(("57014", "55P03", "40P01", "40001"), DatabaseBusy),
    "25006": DatabaseReadOnly,
}


def connect_args(settings: Settings) -> dict[str, Any]:
    """psycopg arguments for every connection: fail fast when the server is gone, never hang on a dead socket."""
    return {
        "connect_timeout": 5,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
        # A transaction pooler hands each transaction to another server connection (see docs/deployment.md).
        "prepare_threshold": None if settings.database_transaction_pooler else 3,
    }


@cache
def get_engine() -> Engine:
    """The process's engine. Forked workers must not share it: call `forget_engine` in the child."""
    settings = get_settings()
    return create_engine(
        settings.database_url,
        pool_size=settings.database_pool_size,
        max_overflow=settings.database_pool_size,
        pool_timeout=5,
        pool_pre_ping=True,
        pool_recycle=1800,
        connect_args=connect_args(settings),
    )


def forget_engine() -> None:
    """Drop a parent's connections after a fork without closing them for the parent."""
    if get_engine.cache_info().currsize:
        get_engine().dispose(close=False)
    get_engine.cache_clear()


@contextlib.contextmanager
def transaction(
    *,
    merchant_id: UUID | None = None,
    user_id: UUID | None = None,
    role: Role = "shopopti_app",
    snapshot: bool = False,
) -> Iterator[Session]:
    """One transaction, committed when the block ends well and rolled back otherwise.

    With `snapshot` all its statements see the database as it was at the first (REPEATABLE READ): for long reading.

    Raises DatabaseAway when the server cannot be reached or goes away in the middle. A commit whose answer was lost
    raises it too: what is written must be safe to write again. Raises DatabaseBusy for a time limit or a deadlock.
    """
    try:
        engine = get_engine().execution_options(isolation_level="REPEATABLE READ") if snapshot else get_engine()
        with Session(engine, expire_on_commit=False) as session, session.begin():
            enter(session, merchant_id=merchant_id, user_id=user_id, role=role)
            yield session
    except DBAPIError as error:
        if isinstance(error, OperationalError) or error.connection_invalidated or sqlstate(error) in _UNAVAILABLE:
            raise unavailable(error) from error
        raise


def unavailable(error: DBAPIError) -> Unavailable:
    """What a database that does not do its work means to whoever asked."""
    return _UNAVAILABLE.get(sqlstate(error), DatabaseAway)(retry_after=2)


def sqlstate(error: DBAPIError) -> str:
    """PostgreSQL's code of the error, or nothing where the server never spoke."""
    return getattr(error.orig, "sqlstate", None) or ""


def enter(session: Session, *, merchant_id: UUID | None, user_id: UUID | None = None, role: Role) -> None:
    """Set role, merchant and user for the rest of the session's transaction."""
    session.execute(
        _ENTER,
        {
            "role": role,
            "merchant_id": "" if merchant_id is None else str(merchant_id),
            "user_id": "" if user_id is None else str(user_id),
        },
    )


def open_connection(settings: Settings, *, autocommit: bool = True) -> psycopg.Connection[tuple[Any, ...]]:
    """A plain psycopg connection outside the pool, for the loops that keep one for life (relay, ledger writer)."""
    url = settings.database_url.replace("postgresql+psycopg://", "postgresql://", 1)
    return psycopg.connect(url, autocommit=autocommit, application_name="shopopti", **connect_args(settings))
