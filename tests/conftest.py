"""Real servers for every test: PostgreSQL and Redis are started once, or taken from DATABASE_URL and REDIS_URL.

With -n all processes share one PostgreSQL and have a database each, copied from one that was migrated once. Tests
commit for real and keep apart by merchant: each takes a fresh one, so that they run in any order and nothing is ever
truncated. The environment is set before anything reads it.
"""

import gc
import os
import shutil
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import jwt
import psycopg
import pytest
from psycopg import sql

from tests.suppliers.world import World, running

ROOT = Path(__file__).resolve().parents[1]
# The longest files, of tests that wait for processes: begun first, the others fill the time they wait.
LONGEST = ("workers/test_processes.py", "ops/test_up.py", "imports/test_crashes.py")
TEMPLATE = "SHOPOPTI_TEST_TEMPLATE"  # the address of the database that others are copied from
JWT_SECRET = "super-secret-jwt-token-with-at-least-32-characters-long"

_cleanup = ExitStack()


def pytest_configure(config: pytest.Config) -> None:
    """Start the servers, make a database of this process's own, and set the environment."""
    if config.option.collectonly:  # some modules read the settings as they are imported
        os.environ.update(DATABASE_URL="postgresql://nowhere/", REDIS_URL="redis://nowhere/", JWT_SECRET=JWT_SECRET)
        return
    folder = Path(tempfile.mkdtemp(prefix="shopopti-tests-"))
    _cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
    try:
        if TEMPLATE not in os.environ:
            _prepare_postgres(folder)
        if not getattr(config.option, "numprocesses", None) or hasattr(config, "workerinput"):
            _prepare(folder)  # with -n the first process only hands out tests
            gc.disable()  # until the tests are collected
    except BaseException:
        _cleanup.close()
        raise


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first."""
    items.sort(key=lambda item: not str(item.path).endswith(LONGEST))


def pytest_collection_finish() -> None:
    """What is there now stays: the collector need not look through thousands of tests and modules again and again."""
    gc.freeze()
    gc.enable()


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes by their length: archives hold the time they were made, and every process must name a test the same."""
    return f"{argname}{len(val)}" if isinstance(val, bytes) else None


def pytest_unconfigure() -> None:
    """Drop the database and stop the servers."""
    _cleanup.close()


def _prepare_postgres(folder: Path) -> None:
    """A server, and a migrated database on it for all others to be copied from."""
    os.chdir(ROOT)
    server = os.environ.get("DATABASE_URL")
    if server is None:
        from ops.embedded import start_postgres

        postgres = start_postgres(folder / "postgres", durable=False, settings={"max_connections": "400"})
        _cleanup.callback(postgres.stop)
        server = postgres.url
    template = _cleanup.enter_context(scratch_database(server, migrated=False))
    migrate(template)
    os.environ[TEMPLATE] = template
    _cleanup.callback(os.environ.pop, TEMPLATE)


def _prepare(folder: Path) -> None:
    """A database, a Redis, and the environment of one process."""
    os.chdir(ROOT)
    redis_url = os.environ.get("REDIS_URL")
    if redis_url is None:
        from ops.embedded import start_redis

        redis = start_redis(folder / "redis", persist=False)
        _cleanup.callback(redis.stop)
        redis_url = redis.url
    os.environ.update(
        DATABASE_URL=_cleanup.enter_context(scratch_database(os.environ[TEMPLATE])),
        REDIS_URL=redis_url,
        JWT_SECRET=JWT_SECRET,
        ENCRYPTION_KEYS="MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
        STORAGE_FOLDER=str(folder / "files"),
        RATE_LIMITS="100000/minute",
        ALLOW_PRIVATE_ADDRESSES="false",
        ENVIRONMENT="development",
        LOG_LEVEL="WARNING",
    )
    for name in ("SUPABASE_URL", "SUPABASE_SERVICE_ROLE_KEY", "METRICS_TOKEN", "JWT_ISSUER"):
        os.environ.pop(name, None)


@contextmanager
def scratch_database(server: str, *, migrated: bool = True) -> Iterator[str]:
    """A database on the server of that address, dropped at the end: empty, or as the migrations leave one."""
    address, _, query = server.replace("postgresql+psycopg://", "postgresql://", 1).partition("?")
    address, query = address.rpartition("/")[0], f"?{query}" if query else ""
    name = f"shopopti_test_{uuid.uuid4().hex[:12]}"
    template = os.environ[TEMPLATE].partition("?")[0].rpartition("/")[2] if migrated else "template1"
    with psycopg.connect(f"{address}/postgres{query}", autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        )
    try:
        yield f"{address}/{name}{query}"
    finally:
        with psycopg.connect(f"{address}/postgres{query}", autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def alembic_config(url: str) -> Iterator[Any]:
    """Alembic's configuration with a connection to that database, in one transaction."""
    from alembic.config import Config
    from sqlalchemy import create_engine, pool

    config = Config(str(ROOT / "alembic.ini"))
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1), poolclass=pool.NullPool)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        yield config


def migrate(url: str, revision: str = "head") -> None:
    """Bring the database of that address to a revision, up or down (`base`), in this process."""
    from alembic import command

    with alembic_config(url) as config:
        (command.downgrade if revision == "base" else command.upgrade)(config, revision)


@pytest.fixture
def settings() -> Any:
    """The settings as every part of the code gets them."""
    from services.core.settings import get_settings

    return get_settings()


def make_merchant(name: str = "Test shop") -> uuid.UUID:
    """A merchant nobody else in the run knows."""
    from services.core.db import transaction
    from services.core.ids import new_id
    from services.models import Merchant

    merchant_id = new_id()
    with transaction(merchant_id=merchant_id) as session:
        session.add(Merchant(id=merchant_id, name=name))
    return merchant_id


def join_merchant(merchant_id: uuid.UUID, user_id: uuid.UUID, role: str = "owner") -> None:
    """Make a user a member."""
    from services.core.db import transaction
    from services.models import Member

    with transaction(merchant_id=merchant_id) as session:
        session.add(Member(merchant_id=merchant_id, user_id=user_id, role=role))


@pytest.fixture
def merchant() -> uuid.UUID:
    """A fresh merchant's id."""
    return make_merchant()


@pytest.fixture
def other_merchant() -> uuid.UUID:
    """Another fresh merchant's id."""
    return make_merchant("Other shop")


@pytest.fixture
def session(merchant: uuid.UUID) -> Iterator[Any]:
    """A transaction of `merchant` under the application's role, committed at the end."""
    from services.core.db import transaction

    with transaction(merchant_id=merchant) as opened:
        yield opened


def token_for(user: uuid.UUID | str | None = None, **claims: Any) -> str:
    """An access token of a user; claims replace the usual ones, None removes one."""
    now = int(time.time())
    user = user or uuid.uuid4()
    payload = {
        "iss": "shopopti",
        "aud": "authenticated",
        "sub": str(user),
        "role": "authenticated",
        "email": f"{user}@example.com",
        "iat": now,
        "exp": now + 3600,
        **claims,
    }
    return jwt.encode({k: v for k, v in payload.items() if v is not None}, JWT_SECRET, algorithm="HS256")


@pytest.fixture(name="token_for")
def _token_for() -> Callable[..., str]:
    """`token_for(user, **claims)`: an access token."""
    return token_for


def headers_for(merchant_id: uuid.UUID, *, role: str = "owner") -> dict[str, str]:
    """Headers of a new user who is a member of that merchant."""
    user = uuid.uuid4()
    join_merchant(merchant_id, user, role)
    return {"Authorization": f"Bearer {token_for(user)}", "X-Merchant-Id": str(merchant_id)}


@pytest.fixture(scope="session")
def app() -> Any:
    """The application itself."""
    from api.app import create_app

    return create_app()


@pytest.fixture(scope="session")
def _started(app: Any) -> Iterator[Any]:
    from starlette.testclient import TestClient

    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def anonymous(_started: Any) -> Any:
    """An HTTP client without a token, straight into the application."""
    _started.headers.clear()
    _started.cookies.clear()
    return _started


@pytest.fixture
def client(_started: Any, merchant: uuid.UUID) -> Iterator[Any]:
    """An HTTP client of a new owner of `merchant`, straight into the application."""
    _started.headers.clear()
    _started.headers.update(headers_for(merchant))
    yield _started
    _started.headers.clear()


@pytest.fixture(scope="session")
def sandbox() -> Iterator[World]:
    """The sandbox, in a process of its own. Its worlds are begun anew by the fixtures of those who use it."""
    with running() as world:
        yield world


@contextmanager
def serving(application: Any) -> Iterator[str]:
    """The application behind a real uvicorn in a thread, for streams, real concurrency and raw sockets: its address."""
    import uvicorn

    with socket.socket(proto=socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(
            uvicorn.Config(application, log_config=None, lifespan="on", timeout_graceful_shutdown=2, ws="none")
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.005)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of the application behind a real uvicorn (one of its own: an application belongs to one loop)."""
    from api.app import create_app

    with serving(create_app()) as url:
        yield url
