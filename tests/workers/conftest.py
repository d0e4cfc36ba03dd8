"""Real processes against a database of their own: a relay, a worker on threads, a worker on forked children."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest
import redis

from services.core import db
from services.core.settings import Settings, get_settings
from services.jobs import Job, enqueue, enqueue_many
from tests.conftest import scratch_database

ROOT = Path(__file__).resolve().parents[2]

COMMANDS = {
    "relay": ["-m", "workers", "relay"],
    "io": [
        *("-m", "workers", "worker", "-n", "io@%h", "-Q", "sync,scraping,ai,orders,webhooks"),
        *("-P", "threads", "-c", "8", "--without-gossip", "--without-mingle", "-E"),
    ],
    "import": [
        *("-m", "workers", "worker", "-n", "import@%h", "-Q", "import"),
        *("-P", "prefork", "-c", "1", "--without-gossip", "--without-mingle", "-E"),
    ],
}


@dataclass
class Stack:
    """The processes under test, and ways to look at what they do."""

    database_url: str
    redis: "redis.Redis"
    prefix: str
    folder: Path
    environment: dict[str, str]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _kept: psycopg.Connection | None = None

    def start(self, name: str, command: str | None = None) -> subprocess.Popen[bytes]:
        """Start a process under a name of its own."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *COMMANDS[command or name]],
                cwd=ROOT, env=self.environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.processes[name] = process
        return process

    def end(self, name: str, how: int = signal.SIGTERM, wait: float = 30) -> int:
        """Signal a process and wait for its end."""
        process = self.processes.pop(name)
        process.send_signal(how)
        code = process.wait(wait)
        if how == signal.SIGKILL:  # its forked children notice by themselves, but not at once
            subprocess.run(["pkill", "-9", "-g", str(process.pid)], check=False)
        return code

    def query(self, statement: str, *arguments: object) -> list[tuple[object, ...]]:
        """Ask the database, as its owner."""
        try:
            return self._owner().execute(statement, arguments).fetchall()  # type: ignore[arg-type]
        except psycopg.OperationalError:  # cut, as some tests do
            self._owner().close()
            return self._owner().execute(statement, arguments).fetchall()  # type: ignore[arg-type]

    def _owner(self) -> psycopg.Connection:
        """A connection that is kept: a new one for each look would keep a processor busy."""
        if self._kept is None or self._kept.closed:
            self._kept = psycopg.connect(self.database_url, autocommit=True)
        return self._kept

    def state(self, id_: UUID) -> str:
        """A job's state."""
        return str(self.query("SELECT state FROM jobs WHERE id = %s", id_)[0][0])

    def wait_for(self, condition: Callable[[], object], seconds: float = 20, what: str = "the condition") -> float:
        """Poll until the condition holds. Returns how long it took."""
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > seconds:
                logs = "\n".join(f"--- {p.name}\n{p.read_text()[-3000:]}" for p in self.folder.glob("*.log"))
                raise AssertionError(f"{what} did not come about within {seconds} s\n{logs}")
            time.sleep(0.01)
        return time.monotonic() - began

    def wait_ended(self, *ids: UUID, seconds: float = 20) -> list[str]:
        """Wait until the jobs have ended and give their states."""
        self.wait_for(
            lambda: self.query(
                "SELECT count(*) FROM jobs WHERE id = ANY(%s) AND ended_at IS NOT NULL", list(ids)
            ) == [(len(ids),)],
            seconds, f"the end of {len(ids)} jobs",
        )  # fmt: skip
        found = dict(self.query("SELECT id, state FROM jobs WHERE id = ANY(%s)", list(ids)))
        return [str(found[id_]) for id_ in ids]

    def put(self, merchant_id: UUID, job: Job, **options: object) -> UUID:
        """Enqueue one job."""
        with db.transaction(merchant_id=merchant_id) as session:
            return enqueue(session, job, merchant_id=merchant_id, **options)[0]  # type: ignore[arg-type]

    def put_many(self, merchant_id: UUID, jobs: list[Job], **options: object) -> list[UUID]:
        """Enqueue many."""
        with db.transaction(merchant_id=merchant_id) as session:
            return enqueue_many(session, jobs, merchant_id=merchant_id, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running relay and workers, with short leases."""
    from ops.lab import prepare

    before = dict(os.environ)
    with ExitStack() as cleanup:
        url = cleanup.enter_context(scratch_database(os.environ["DATABASE_URL"]))
        os.environ.update(
            DATABASE_URL=url, REDIS_PREFIX=f"test-{uuid4().hex[:8]}:", EXTRA_TASK_MODULES="ops.lab",
            LEASE_SECONDS="3", HEARTBEAT_SECONDS="0.3", RING_AGAIN_SECONDS="2", DRAIN_SECONDS="3",
            WORKER_NAME="test", PYTHONWARNINGS="ignore",
        )  # fmt: skip
        _read_environment_again()
        cleanup.callback(_read_environment_again)
        cleanup.callback(lambda: (os.environ.clear(), os.environ.update(before)))
        with db.get_engine().begin() as connection:
            prepare(connection)
        running = Stack(
            url, redis.Redis.from_url(os.environ["REDIS_URL"]), os.environ["REDIS_PREFIX"],
            tmp_path_factory.mktemp("stack"), dict(os.environ),
        )  # fmt: skip
        cleanup.callback(_end_all, running)
        for name in COMMANDS:
            running.start(name)
        running.wait_for(
            lambda: running.query("SELECT count(*) FROM queues WHERE consumed_at IS NOT NULL") == [(6,)],
            60, "a worker on every queue",
        )  # fmt: skip
        yield running


def _end_all(stack: Stack) -> None:
    stack._owner().close()
    for process in stack.processes.values():
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        subprocess.run(["pkill", "-9", "-g", str(process.pid)], check=False)


def _read_environment_again() -> None:
    """The settings stay the one object that the applications of other tests hold."""
    if db.get_engine.cache_info().currsize:
        db.get_engine().dispose()
    db.get_engine.cache_clear()
    for name, value in Settings():  # type: ignore[call-arg]  # from the environment
        setattr(get_settings(), name, value)
