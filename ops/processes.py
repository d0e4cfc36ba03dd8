"""The Procfile's processes on one machine, through honcho: started together, ended together, none left behind."""

import contextlib
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from honcho.environ import parse_procfile
from honcho.manager import Manager
from honcho.printer import Printer
from honcho.process import Popen, Process

from ops.terminal import Terminal

REPOSITORY = Path(__file__).resolve().parent.parent
PROCFILE = REPOSITORY / "Procfile"


class Stack(Manager):  # type: ignore[misc]
    """Honcho's manager with two changes.

    SIGTERM goes to each process and not to its group (a Celery parent must tell its children itself, or they die in
    the middle of a job), and what is running gets `drain` seconds before SIGKILL.
    """

    def __init__(
        self,
        terminal: Terminal,
        *,
        env: Mapping[str, str],
        drain: float,
        procfile: Path = PROCFILE,
        lost: Callable[[], str | None] = lambda: None,
    ) -> None:
        """`lost` names what the processes cannot do without, once it has gone: then they end, too."""
        super().__init__(Printer(terminal))
        self._lost = lost
        self._process_ctor = _Process
        self._procmgr = _Signals()
        self._terminal = terminal
        self._drain = drain
        self._stop_requests = 0
        for name, command in parse_procfile(procfile.read_text()).processes.items():
            # exec: the process takes the shell's place, so that the signal reaches it.
            self.add_process(name, f"exec {command}", env=dict(env), cwd=str(REPOSITORY))

    def run(self, on_started: Callable[[], None]) -> str | None:
        """Run until asked to stop or until one process ends; all have ended on return.

        Returns the name of the process that ended by itself, or None after a requested stop. Call it from the main
        thread, before any other thread exists (honcho forks); `on_started` runs in a thread of its own.
        """
        signal.signal(signal.SIGINT, self._on_signal)
        signal.signal(signal.SIGTERM, self._on_signal)
        self._start()
        threading.Thread(target=on_started, name="on-started", daemon=True).start()

        ended_first: str | None = None
        kill_at: float | None = None
        killed = False
        while self._running():
            ended = self._next_event()
            if ended and not self._stop_requests and ended_first is None:
                ended_first = ended
                self._terminal.say(f"{ended} ended by itself; stopping the others")
            if (self._stop_requests or ended_first) and kill_at is None and self._all_started():
                kill_at = time.monotonic() + self._drain
                if not ended_first:
                    self._terminal.say("stopping: running jobs go to their next checkpoint (Ctrl-C again: at once)")
                self.terminate()
            if kill_at is not None and not killed and (time.monotonic() > kill_at or self._stop_requests > 1):
                killed = True
                self.kill()
        for process in self._processes.values():
            process["process"].join(5)
        return ended_first

    def stop(self) -> None:
        """Ask `run` to end; from any thread."""
        self._stop_requests += 1

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        # Only a note: printing from a signal handler can meet the print it interrupted.
        self._stop_requests += 1

    def _running(self) -> bool:
        return any(process.get("returncode") is None for process in self._processes.values())

    def _next_event(self) -> str | None:
        """Handle one message of the children; the name of the process that ended, if it was that."""
        try:
            message = self.events.get(timeout=0.1)
        except queue.Empty:
            return self._lost() or self._lost_watcher()
        process: dict[str, Any] = self._processes[message.name]
        if message.type == "line":
            self._printer.write(message)
        elif message.type == "start":
            process["pid"] = message.data["pid"]
        elif message.type == "stop":
            process["returncode"] = message.data["returncode"]
            if process["returncode"] not in (0, -signal.SIGTERM):
                self._system_print(f"{message.name} ended with code {process['returncode']}\n")
            return str(message.name)
        return None

    def _lost_watcher(self) -> str | None:
        # Honcho reads each process's output in a child of ours. If somebody kills that child, no message comes.
        for name, process in self._processes.items():
            watcher = process.get("process")
            if process.get("returncode") is None and watcher is not None and not watcher.is_alive():
                process.setdefault("pid", 0)
                if process["pid"]:
                    self._procmgr.kill(process["pid"])
                process["returncode"] = watcher.exitcode
                return str(name)
        return None


class _Signals:
    def terminate(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)

    def kill(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


class _Process(Process):  # type: ignore[misc]
    """Honcho's process, which takes its group with it when it ends."""

    def run(self, events: Any = None, ignore_signals: bool = False) -> None:
        # A Ctrl-C reaches this child too, perhaps before honcho has told it to ignore that.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self._child_ctor = _start_watched
        super().run(events, ignore_signals)


def _start_watched(command: str, **options: Any) -> Popen:
    # What we ignore would stay ignored in the process as well, without preexec_fn.
    child = Popen(command, preexec_fn=_default_signals, **options)
    threading.Thread(target=_watch, args=(child, os.getppid()), daemon=True).start()
    return child


def _watch(child: Popen, parent: int) -> None:
    """When the process is gone, end what it left in its group.

    The children of a killed Celery parent hold its output open: honcho would wait for them and report nothing.
    """
    child.wait()
    _Signals().kill(child.pid)
    if os.getppid() != parent:
        os._exit(0)  # the stack's parent was killed: nobody reads the queue, and honcho would wait for that


def _default_signals() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
