"""The one command, for real: every process on servers of its own, an interrupt, nothing left behind."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from honcho.environ import parse_procfile

from ops.guard import HOME_VARIABLE
from ops.home import lock_home, read_env
from ops.processes import PROCFILE

OURS = {"DATABASE_URL", "REDIS_URL", "JWT_SECRET", "ENCRYPTION_KEYS", "STORAGE_FOLDER", "RATE_LIMITS", "SANDBOX_URL"}


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="shopopti-up-") as made:
        yield Path(made) / "home"


def start(home: Path) -> "subprocess.Popen[str]":
    env = {name: value for name, value in os.environ.items() if name not in OURS}
    command = [sys.executable, "-m", "ops.up", "--home", str(home), "--no-sample"]
    return subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def wait_ready(stack: "subprocess.Popen[str]") -> str:
    assert stack.stdout is not None
    lines = []
    for line in stack.stdout:
        lines.append(line)
        if line.startswith("ready:"):
            return line
    raise AssertionError("".join(lines))


def wait_started(stack: "subprocess.Popen[str]", home: Path) -> None:
    """Until its processes are there, however far they are with starting: whoever ends it now ends it at its weakest."""
    deadline = time.monotonic() + 60
    while len(left_behind(home)) < len(parse_procfile(PROCFILE.read_text()).processes) + 2:
        assert stack.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)


def left_behind(home: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            marked = process.environ().get(HOME_VARIABLE) == str(home)
            if marked or any(str(home) in word for word in process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def end(stack: "subprocess.Popen[str]", home: Path) -> tuple[int, str]:
    """Wait for the end, whatever the test did; never leave processes to the next test."""
    try:
        rest, _ = stack.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        for process in [*left_behind(home), psutil.Process(stack.pid)]:
            process.kill()
        stack.communicate()
        raise
    return stack.returncode, rest


@pytest.mark.timeout(240)
def test_up_starts_everything_and_an_interrupt_stops_it(home: Path) -> None:
    stack = start(home)
    try:
        wait_ready(stack)
        env = read_env(home / "env")
        urls = {"API_URL", "DATABASE_URL", "REDIS_URL", "FLOWER_URL", "SANDBOX_URL"}
        assert set(env) == {"TOKEN", "MERCHANT_ID", *urls}
        bearer = {"Authorization": f"Bearer {env['TOKEN']}"}
        merchants = httpx.get(f"{env['API_URL']}/api/v1/auth/me", headers=bearer).json()["merchants"]
        assert [merchant["id"] for merchant in merchants] == [env["MERCHANT_ID"]]
        assert httpx.get(f"{env['API_URL']}/ready").json()["ready"]
        assert httpx.get(f"{env['FLOWER_URL']}/healthcheck").is_success
        assert httpx.get(f"{env['SANDBOX_URL']}/control/world").json()["options"]["products"] == 1000
        listening = [found.laddr.ip for process in left_behind(home) for found in process.net_connections()]
        assert set(listening) <= {"127.0.0.1", ()}
    finally:
        stack.send_signal(signal.SIGINT)
        code, said = end(stack, home)
    assert code == 0, said
    assert said.rstrip().endswith("stopped")
    assert left_behind(home) == []


@pytest.mark.timeout(240)
def test_a_server_that_dies_takes_the_stack_along(home: Path) -> None:
    """Nothing would start it again: better an end that says why than processes that wait for ever."""
    stack = start(home)
    try:
        wait_started(stack, home)
        [redis] = [found for found in psutil.Process(stack.pid).children() if "redis" in found.name()]
        redis.kill()
    finally:
        code, said = end(stack, home)
    assert code == 1, said
    assert "stopped, because Redis ended" in said.splitlines()
    assert left_behind(home) == []


@pytest.mark.timeout(240)
def test_nothing_outlives_a_killed_parent_and_the_home_can_be_used_again(home: Path) -> None:
    stack = start(home)
    try:
        wait_started(stack, home)
        os.killpg(stack.pid, signal.SIGKILL)
    finally:
        end(stack, home)
    deadline = time.monotonic() + 60
    while left_behind(home) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left_behind(home) == []
    lock_home(home, patience=0).close()


PROCESSES = """
import sys
from pathlib import Path
from ops.processes import Stack
from ops.terminal import Terminal

stack = Stack(Terminal(), env={"PATH": sys.argv[2]}, drain=1, procfile=Path(sys.argv[1]))
print("ended:", stack.run(lambda: print("started", flush=True)))
"""


def run_processes(procfile: str, folder: Path) -> "subprocess.Popen[str]":
    (folder / "Procfile").write_text(procfile)
    command = [sys.executable, "-c", PROCESSES, str(folder / "Procfile"), os.environ["PATH"]]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_when_one_process_ends_all_end_with_their_children(tmp_path: Path) -> None:
    # The second one dies by SIGKILL and leaves a child, which would hold its output open for ever.
    mark = f"{time.time_ns() % 100_000 + 100_000}"
    stack = run_processes(f"steady: sleep {mark}\nshort: sh -c 'sleep {mark} & kill -9 $$'\n", tmp_path)
    said, _ = stack.communicate(timeout=30)
    assert said.rstrip().endswith("ended: short"), said
    assert not [found for found in psutil.process_iter(["cmdline"]) if mark in (found.info["cmdline"] or ())]


def test_what_does_not_stop_in_time_is_killed(tmp_path: Path) -> None:
    stack = run_processes("deaf: sh -c 'trap \"\" TERM; echo deaf; while :; do sleep 0.1; done'\n", tmp_path)
    assert stack.stdout is not None
    while "deaf" not in stack.stdout.readline().rpartition("|")[2]:
        pass
    stack.send_signal(signal.SIGTERM)
    said, _ = stack.communicate(timeout=30)
    assert "sending SIGKILL to deaf" in said
    assert said.rstrip().endswith("ended: None"), said
