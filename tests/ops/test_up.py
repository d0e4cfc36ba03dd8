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

from ops.guard import HOME_VARIABLE
from ops.home import read_env

OURS = {"DATABASE_URL", "REDIS_URL", "JWT_SECRET", "ENCRYPTION_KEYS", "STORAGE_FOLDER", "RATE_LIMITS"}


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


def test_up_starts_everything_and_an_interrupt_stops_it(home: Path) -> None:
    stack = start(home)
    try:
        wait_ready(stack)
        env = read_env(home / "env")
        assert set(env) == {"API_URL", "TOKEN", "MERCHANT_ID", "DATABASE_URL", "REDIS_URL", "FLOWER_URL"}
        bearer = {"Authorization": f"Bearer {env['TOKEN']}"}
        merchants = httpx.get(f"{env['API_URL']}/api/v1/auth/me", headers=bearer).json()["merchants"]
        assert [merchant["id"] for merchant in merchants] == [env["MERCHANT_ID"]]
        assert httpx.get(f"{env['API_URL']}/ready").json()["ready"]
        assert httpx.get(f"{env['FLOWER_URL']}/healthcheck").is_success
        listening = [found.laddr.ip for process in left_behind(home) for found in process.net_connections()]
        assert set(listening) <= {"127.0.0.1", ()}
    finally:
        stack.send_signal(signal.SIGINT)
        code, said = end(stack, home)
    assert code == 0, said
    assert said.rstrip().endswith("stopped")
    assert left_behind(home) == []


def test_when_one_process_ends_all_end_and_when_the_parent_is_killed_too(home: Path) -> None:
    stack = start(home)
    try:
        wait_ready(stack)
        relay = next(process for process in left_behind(home) if "workers.relay" in process.cmdline())
        relay.kill()
    finally:
        code, said = end(stack, home)
    assert (code, said.rstrip().rsplit("\n", 1)[-1]) == (1, "stopped, because relay ended")
    assert left_behind(home) == []

    stack = start(home)  # the same home again: what was there is found again
    try:
        wait_ready(stack)
        os.killpg(stack.pid, signal.SIGKILL)
    finally:
        end(stack, home)
    deadline = time.monotonic() + 30
    while left_behind(home) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left_behind(home) == []
