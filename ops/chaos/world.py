"""The stack under test: two of everything, and something that starts again whatever dies, as a platform would."""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from ops.chaos.proxy import Proxy
from ops.embedded import Postgres, Redis, start_postgres, start_redis

_WORKER = ("-m", "workers", "worker", "--without-gossip", "--without-mingle", "-E")
_BEAT = ("-m", "workers", "beat", "--pidfile=", "--schedule=")
_IO_QUEUES = "sync,scraping,ai,orders,webhooks"

COMMANDS: Mapping[str, tuple[str, ...]] = {
    "relay-1": ("-m", "workers", "relay"),
    "relay-2": ("-m", "workers", "relay"),
    "beat-1": _BEAT,
    "beat-2": _BEAT,
    "io-1": (*_WORKER, "-n", "io1@%h", "-Q", _IO_QUEUES, "-P", "threads", "-c", "8"),
    "io-2": (*_WORKER, "-n", "io2@%h", "-Q", _IO_QUEUES, "-P", "threads", "-c", "8"),
    "forked": (*_WORKER, "-n", "forked@%h", "-Q", "import,orders", "-P", "prefork", "-c", "2"),
}

LEASE_SECONDS = 5


class World:
    """Servers and processes in one folder. `stop` ends all of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.postgres: Postgres = start_postgres(folder / "postgres")
        self.redis: Redis = start_redis(folder / "redis", persist=False)
        self.proxy = Proxy(self.redis.port)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.started = 0
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self.environment = {
            **os.environ,
            "DATABASE_URL": self.postgres.url,
            "REDIS_URL": self.redis.url.replace(f":{self.redis.port}/", f":{self.proxy.port}/"),
            "JWT_SECRET": secrets.token_hex(32),
            "EXTRA_TASK_MODULES": "ops.lab",
            "LEASE_SECONDS": str(LEASE_SECONDS),
            "HEARTBEAT_SECONDS": "0.5",
            "RING_AGAIN_SECONDS": "3",
            "DRAIN_SECONDS": "4",
            "LOG_LEVEL": "WARNING",
        }

    def start(self) -> None:
        """Start every process, and keep every process started."""
        for name in COMMANDS:
            self._spawn(name)
        threading.Thread(target=self._supervise, name="supervisor", daemon=True).start()

    def pids(self, *prefixes: str) -> dict[str, int]:
        """The processes whose name begins so, by name."""
        with self._lock:
            return {
                name: process.pid
                for name, process in self.processes.items()
                if name.startswith(prefixes) and process.poll() is None
            }

    def children(self, pid: int) -> list[psutil.Process]:
        """The forked children of a process."""
        try:
            return list(psutil.Process(pid).children())
        except psutil.NoSuchProcess:
            return []

    def kill_group(self, pid: int) -> None:
        """SIGKILL a process and all its children, as a machine that goes away."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)

    def stop(self) -> None:
        """End everything."""
        self._ending.set()
        for pid in self.pids("").values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGCONT)
                os.kill(pid, signal.SIGTERM)
        until = time.monotonic() + 15
        for process in list(self.processes.values()):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, until - time.monotonic()))
            self.kill_group(process.pid)
        self.redis.stop()
        self.postgres.stop()

    def _spawn(self, name: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *COMMANDS[name]],
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        with self._lock:
            self.processes[name] = process
            self.started += 1

    def _supervise(self) -> None:
        while not self._ending.wait(0.3):
            for name in COMMANDS:
                process = self.processes[name]
                if process.poll() is not None:
                    self.kill_group(process.pid)  # children that outlived it
                    if not self._ending.is_set():
                        self._spawn(name)
