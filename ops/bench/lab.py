"""The servers and processes that are measured: the Procfile's own commands, on embedded servers that fsync."""

import base64
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import redis
from honcho.environ import parse_procfile
from psycopg.rows import dict_row

from ops.embedded import start_postgres, start_redis
from ops.ports import LOOPBACK, free_port

REPOSITORY = Path(__file__).resolve().parents[2]


class Lab:
    """A database, a broker, and processes started one by one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.postgres = start_postgres(folder / "postgres")
        self.redis = start_redis(folder / "redis", persist=False)
        self.api_port = free_port()
        self.commands: dict[str, str] = parse_procfile((REPOSITORY / "Procfile").read_text()).processes
        self.commands["plain"] = "celery --quiet -A ops.bench.plain worker -P threads -c ${WORKER_IO_THREADS:-16}"
        os.environ.update(
            DATABASE_URL=self.postgres.url,
            REDIS_URL=self.redis.url,
            JWT_SECRET=secrets.token_hex(32),
            ENCRYPTION_KEYS=base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            STORAGE_FOLDER=str(folder / "files"),
            EXTRA_TASK_MODULES="ops.lab",
            LOG_LEVEL="WARNING",
            RATE_LIMITS="1000000000/minute",
            MERCHANT_CAP="1000000",
            MAX_UPLOAD_BYTES="1000000000",  # a million rows are more than is let in by default
            PORT=str(self.api_port),
            FLOWER_PORT=str(free_port()),
        )
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def api_url(self) -> str:
        """Where the API listens."""
        return f"http://{LOOPBACK}:{self.api_port}"

    def broker(self) -> "redis.Redis":
        """A client of the broker."""
        return redis.Redis.from_url(self.redis.url)

    def database(self) -> "psycopg.Connection[tuple[object, ...]]":
        """A connection of the owner."""
        return psycopg.connect(self.postgres.url, autocommit=True)

    def ended(self, job_id: uuid.UUID) -> dict[str, Any]:
        """The job when it has ended: state, attempt, error_message, result; since_made and since_begun in seconds."""
        with self.database() as connection, connection.cursor(row_factory=dict_row) as cursor:
            while True:
                row = cursor.execute(
                    "SELECT state, attempt, error_message, result,"
                    " extract(epoch FROM ended_at - created_at)::float AS since_made,"
                    " extract(epoch FROM ended_at - started_at)::float AS since_begun"
                    " FROM jobs WHERE id = %s", (job_id,)
                ).fetchone()  # fmt: skip
                assert row is not None
                if row["state"] in ("succeeded", "failed", "cancelled"):
                    return row
                time.sleep(0.05)

    def start(self, name: str) -> None:
        """Start a process of the Procfile."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {self.commands[name]}"],
                cwd=REPOSITORY,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self, name: str) -> None:
        """End it politely."""
        process = self.running.pop(name)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(5)

    def start_worker(self) -> None:
        """Start worker-io and wait until it answers."""
        from workers.app import app

        self.start("worker-io")
        until = time.monotonic() + 60
        while not app.control.ping(timeout=0.5):
            if time.monotonic() > until:
                raise SystemExit(f"worker-io did not come up: {self.folder}/worker-io.log")

    def start_api(self) -> None:
        """Start the API and wait until it is alive."""
        self.start("api")
        until = time.monotonic() + 60
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.api_url}/health").is_success:
                    return
            if time.monotonic() > until:
                raise SystemExit(f"the API did not come up: {self.folder}/api.log")
            time.sleep(0.05)

    def busy(self) -> dict[str, float]:
        """Processor seconds that each running process, and the database, has taken so far."""
        pids = {name: process.pid for name, process in self.running.items()} | {"database": self.postgres.pid}
        return {name: _spent(psutil.Process(pid)) for name, pid in pids.items()}

    def memory(self) -> dict[str, int]:
        """Resident memory of each running process, in bytes; forked children are listed by themselves."""
        sizes = {}
        for name, process in self.running.items():
            parent = psutil.Process(process.pid)
            sizes[name] = parent.memory_info().rss
            for nth, child in enumerate(parent.children(), 1):
                sizes[f"{name} child {nth}"] = child.memory_info().rss
        return sizes


def _spent(process: psutil.Process) -> float:
    """Processor seconds, with those of its children that are there, and that were."""
    ended = process.cpu_times()
    total = ended.children_user + ended.children_system
    for one in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += one.cpu_times().user + one.cpu_times().system
    return float(total)


@contextmanager
def lab() -> Iterator[Lab]:
    """A migrated lab in a temporary folder, gone at the end."""
    folder = Path(tempfile.mkdtemp(prefix="shopopti-bench-"))
    folder.chmod(0o755)
    made = Lab(folder)
    try:
        from alembic import command
        from alembic.config import Config

        command.upgrade(Config(str(REPOSITORY / "alembic.ini")), "head")
        yield made
    finally:
        for name in list(made.running):
            made.stop(name)
        made.redis.stop()
        made.postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)
