import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ops.embedded import EmbeddedError, Postgres, Redis, start_postgres, start_redis


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not tmp_path: every run of pytest by the same user, others' at the same time too, closes the folder above it to
    # other users, and a PostgreSQL that root starts is one.
    with tempfile.TemporaryDirectory(prefix="shopopti-embedded-") as made:
        yield Path(made)


def ask(server: Postgres, query: str) -> object:
    with psycopg.connect(server.url) as connection:
        row = connection.execute(query).fetchone()
        return row and row[0]


def test_postgres_keeps_its_data_over_stop_kill_and_a_killed_parent(folder: Path) -> None:
    server = start_postgres(folder / "postgres", settings={"shared_buffers": "16MB"})
    try:
        assert str(ask(server, "SHOW server_version")).startswith("18")
        assert ask(server, "SHOW listen_addresses") == "127.0.0.1"
        with psycopg.connect(server.url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        url = server.url
        server.restart()
        server.restart(kill=True)
        assert server.url == url
        assert ask(server, "SELECT answer FROM kept") == 42

        # As after a kill -9 of the process that started it: the server is still there.
        again = start_postgres(folder / "postgres", settings={"shared_buffers": "16MB"})
        try:
            assert not server.running
            assert ask(again, "SELECT answer FROM kept") == 42
        finally:
            again.stop()
        # And a stale file that names a live process which is no postmaster.
        (folder / "postgres" / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n")
        server.start()
        assert ask(server, "SELECT answer FROM kept") == 42
    finally:
        server.stop()
    assert not server.running


def test_postgres_refuses_strangers(folder: Path) -> None:
    server = start_postgres(folder / "postgres", durable=False, settings={"shared_buffers": "16MB"})
    try:
        assert (folder / "postgres" / "password").stat().st_mode & 0o777 == 0o600
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(server.url.replace(server.password, "guess"))
        assert os.getsid(server.pid) == server.pid  # a Ctrl-C in our terminal does not reach it
    finally:
        server.stop()


def test_postgres_says_why_it_does_not_start(folder: Path) -> None:
    with pytest.raises(EmbeddedError, match="no_such_setting"):
        start_postgres(folder / "postgres", durable=False, settings={"no_such_setting": "1"})


def test_redis_keeps_what_it_persists(folder: Path) -> None:
    server = start_redis(folder / "redis")
    try:
        with redis.Redis.from_url(server.url) as client:
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            client.set("kept", "yes")
        url = server.url
        server.restart()
        assert server.url == url
        with redis.Redis.from_url(server.url) as client:
            assert client.get("kept") == b"yes"
        stranger = redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0))
        with stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
    finally:
        server.stop()
    assert not server.running


def test_a_wanted_port_that_is_taken_is_an_error(folder: Path) -> None:
    first = start_redis(folder / "one", persist=False)
    try:
        with pytest.raises(RuntimeError, match=f"port {first.port} "):
            start_redis(folder / "two", port=first.port)
    finally:
        first.stop()


def test_the_port_of_the_last_time_is_taken_again(folder: Path) -> None:
    def started() -> Redis:
        return start_redis(folder / "redis", persist=False)

    first = started()
    first.stop()
    second = started()
    os.kill(second.pid, signal.SIGKILL)
    second.stop()
    assert first.port == second.port
