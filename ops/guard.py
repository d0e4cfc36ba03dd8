"""A small process that ends a stack whose parent was killed, so that nothing is left behind.

The stack's own end is in `ops.up`; this is for SIGKILL, after which nobody else is there to do it.
"""

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil

HOME_VARIABLE = "SHOPOPTI_HOME"  # marks the processes of a stack: they and their children carry it in the environment


def start_guard(home: Path, servers: list[int], *, drain: float) -> Callable[[], None]:
    """Fork the guard of `home` and of these server processes; the result dismisses it.

    It waits at a pipe that only we hold open. Forks that come later let go of it.
    """
    watched = [psutil.Process(pid) for pid in servers]  # they tell a reused pid from the old process
    reader, writer = os.pipe()
    guard = os.fork()
    if guard == 0:
        os.setsid()
        os.close(writer)
        os.read(reader, 1)
        with contextlib.suppress(Exception):
            end_processes(home, drain=drain)
            _end(watched, patience=30)
        os._exit(0)
    os.close(reader)
    held = [writer]

    def let_go() -> None:
        while held:
            os.close(held.pop())

    os.register_at_fork(after_in_child=let_go)

    def dismiss() -> None:
        # Killed, not released: released it would start to end what we are ending.
        with contextlib.suppress(ProcessLookupError):
            os.kill(guard, signal.SIGKILL)
        os.waitpid(guard, 0)
        let_go()

    return dismiss


def end_processes(home: Path, *, drain: float) -> None:
    """End the Procfile's processes of `home`: SIGTERM, `drain` seconds of patience, SIGKILL."""
    marked = _marked(home)
    # The leaders only: a Celery parent tells its children itself.
    _end([process for process in marked if _leads_session(process.pid)], patience=drain)
    _end(_marked(home), patience=1)


def _end(processes: list[psutil.Process], *, patience: float) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            # To PostgreSQL SIGTERM means: wait until every client has gone. SIGINT does not wait.
            process.send_signal(signal.SIGINT if process.name() == "postgres" else signal.SIGTERM)
    _, stubborn = psutil.wait_procs(processes, timeout=patience)
    for process in stubborn:
        with contextlib.suppress(psutil.Error):
            process.kill()


def _marked(home: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(HOME_VARIABLE) == str(home) and process.pid != os.getpid():
                found.append(process)
    return found


def _leads_session(pid: int) -> bool:
    try:
        return os.getsid(pid) == pid
    except OSError:
        return False
