"""The whole of ShopOpti on this machine: `make up ARGS="--home DIR --port N --flower-port N --sandbox-port N"`.

Starts PostgreSQL and Redis (unless DATABASE_URL and REDIS_URL say where they are), migrates, runs the Procfile, fills
an empty shop with a sample catalogue through the API, and says how to reach it all. Ctrl-C stops everything.
"""

import argparse
import contextlib
import fcntl
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import IO, cast

import psycopg

from ops.embedded import EmbeddedError, Postgres, Redis, start_postgres, start_redis
from ops.guard import HOME_VARIABLE, start_guard
from ops.home import DEFAULT_HOME, HomeBusy, kept_secrets, lock_home, plain_url
from ops.ports import LOOPBACK, is_free
from ops.processes import REPOSITORY, Stack
from ops.terminal import Terminal

API_PORT = 8000
FLOWER_PORT = 5555
SANDBOX_PORT = 8090


class CannotStart(RuntimeError):
    """What stands in the way, for people."""


def main() -> int:
    """Run the stack until it is told to stop. 0 after a clean stop, 1 when something ended or could not start."""
    arguments = _arguments()
    home = arguments.home.absolute()
    terminal = Terminal()
    # The processes, and the guard below, are to inherit the lock and the pipe. Later Pythons no longer fork by default.
    multiprocessing.set_start_method("fork")
    try:
        with contextlib.ExitStack() as stack:
            stack.callback(lock_home(home).close)
            return _run(home, arguments, terminal, stack)
    except (CannotStart, EmbeddedError, HomeBusy) as error:
        terminal.say(f"error: {error}")
        return 1
    except KeyboardInterrupt:  # before the processes were there
        return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make up", description=__doc__)
    parser.add_argument(
        "--home", type=Path, default=DEFAULT_HOME, help="folder for data, secrets and env (default: %(default)s)"
    )
    parser.add_argument("--port", type=int, help=f"the API's port (default: {API_PORT}, or the next free one)")
    parser.add_argument("--flower-port", type=int, help=f"Flower's port (default: {FLOWER_PORT}, or the next free one)")
    parser.add_argument(
        "--sandbox-port", type=int, help=f"the sandbox's port (default: {SANDBOX_PORT}, or the next free one)"
    )
    parser.add_argument("--no-sample", action="store_true", help="leave an empty shop empty")
    return parser.parse_args()


def _run(home: Path, arguments: argparse.Namespace, terminal: Terminal, stack: contextlib.ExitStack) -> int:
    began = time.monotonic()
    wanted = {
        "PORT": (arguments.port, API_PORT, "the API"),
        "FLOWER_PORT": (arguments.flower_port, FLOWER_PORT, "Flower"),
        "SANDBOX_PORT": (arguments.sandbox_port, SANDBOX_PORT, "the sandbox"),
    }
    # Those that were asked for by number first: no other may be given their port.
    ports = {
        name: stack.enter_context(_claimed_port(*wanted[name], terminal))
        for name in sorted(wanted, key=lambda name: wanted[name][0] is None)
    }
    servers = _start_servers(home, stack)
    env = _environment(home, ports, servers)
    os.environ.update(env)
    drain = float(env.get("DRAIN_SECONDS", "45")) + 15
    stack.callback(start_guard(home, [server.pid for server in servers.values()], drain=drain))
    try:
        since = _migrate(env["DATABASE_URL"])
    except psycopg.Error as error:
        raise CannotStart(f"the database does not answer: {error}") from error

    def lost() -> str | None:
        return next((server.name for server in servers.values() if not server.running), None)

    processes = Stack(terminal, env=env, drain=drain, lost=lost)
    failure: list[str] = []

    def started() -> None:
        from ops import first_start  # its libraries load while the processes start

        try:
            first_start.wait_and_fill(home, env, terminal, sample=not arguments.no_sample, began=began, since=since)
        except Exception as error:
            failure.append(str(error) if isinstance(error, first_start.NotReady) else repr(error))
            processes.stop()

    ended = processes.run(started)
    if failure:
        raise CannotStart(failure[0])
    terminal.say(f"stopped, because {ended} ended" if ended else "stopped")
    return 1 if ended else 0


# Servers


def _start_servers(home: Path, stack: contextlib.ExitStack) -> dict[str, Postgres | Redis]:
    """The servers that the environment does not name; they stop when `stack` closes."""
    servers: dict[str, Postgres | Redis] = {}
    if not os.environ.get("DATABASE_URL"):
        servers["DATABASE_URL"] = start_postgres(home / "postgres")
        stack.callback(servers["DATABASE_URL"].stop)
    if not os.environ.get("REDIS_URL"):
        servers["REDIS_URL"] = start_redis(home / "redis")
        stack.callback(servers["REDIS_URL"].stop)
    return servers


def _environment(home: Path, ports: Mapping[str, int], servers: Mapping[str, Postgres | Redis]) -> dict[str, str]:
    """What the processes see: the caller's environment first, ours where it is silent."""
    files = home / "files"
    files.mkdir(exist_ok=True)
    ours = {
        **kept_secrets(home),
        "STORAGE_FOLDER": str(files),
        "FLOWER_URL": f"http://{LOOPBACK}:{ports['FLOWER_PORT']}",
        "PYTHONUNBUFFERED": "1",
        # The sandbox forgets its orders when it stops, the database does not: none gets the number of an earlier one.
        "SANDBOX_ORDERS_BEFORE": str(int(time.time() * 10) % 10**9),
    }
    if not os.environ.get("FLOWER_BASIC_AUTH"):
        # On loopback there is nobody else to ask for a password; Flower's own buttons call its API.
        ours["FLOWER_UNAUTHENTICATED_API"] = "true"
    env = ours | {name: value for name, value in os.environ.items() if value or name not in ours}
    env |= {name: server.url for name, server in servers.items()}
    env |= {
        HOME_VARIABLE: str(home),
        "API_URL": f"http://{LOOPBACK}:{ports['PORT']}",
        "SANDBOX_HOST": LOOPBACK,
        "SANDBOX_URL": f"http://{LOOPBACK}:{ports['SANDBOX_PORT']}",
        **{name: str(port) for name, port in ports.items()},
        # The programs of the virtual environment first, when started without activating it.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
    }
    return env


def _migrate(database_url: str) -> datetime:
    """Bring the schema up to date; the server's time, before anything of this start has happened in it."""
    newest = max(file.name.partition("_")[0] for file in (REPOSITORY / "migrations" / "versions").glob("[0-9]*.py"))
    with psycopg.connect(plain_url(database_url), autocommit=True, connect_timeout=10) as connection:
        began, known = connection.execute("SELECT clock_timestamp(), to_regclass('alembic_version')").fetchall()[0]
        at = connection.execute("SELECT version_num FROM alembic_version").fetchall() if known else []
    if at != [(newest,)]:  # alembic takes a second to find nothing to do
        command = [sys.executable, "-m", "alembic", "upgrade", "head"]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CannotStart(f"the migrations failed:\n{done.stdout}{done.stderr}")
    return cast(datetime, began)


# Ports


@contextlib.contextmanager
def _claimed_port(wanted: int | None, usual: int, whose: str, terminal: Terminal) -> Iterator[int]:
    """`wanted`, or the first free port from `usual` on; claimed against other stacks while the block runs."""
    for port in [wanted] if wanted else range(usual, usual + 100):
        claim = _claim(port)
        if claim is None:
            continue
        if port not in (wanted, usual):
            terminal.say(f"port {usual} is taken, {whose} gets {port}")
        with claim:
            yield port
        return
    raise CannotStart(f"port {wanted} is taken" if wanted else f"no free port for {whose} from {usual} on")


def _claim(port: int) -> IO[bytes] | None:
    # Between looking and listening lie seconds, in which a second stack would look too.
    file = (Path(tempfile.gettempdir()) / f"shopopti-{os.getuid()}-port-{port}.lock").open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    if is_free(port):
        return file
    file.close()
    return None


if __name__ == "__main__":
    sys.exit(main())
