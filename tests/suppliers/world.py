"""The sandbox as a process of its own, and what its control API is asked for. None of its code is imported here."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[2]


class World:
    """A running sandbox."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.Client(base_url=url, trust_env=False, timeout=30)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """A call to the control API; its JSON, or its lines of JSON."""
        answer = self._http.request(method, f"/control/{path}", json=body)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text[:500]}"
        if "ndjson" in answer.headers.get("content-type", ""):
            return [json.loads(line) for line in answer.text.splitlines()]
        return answer.json() if answer.content else None

    def reset(self, **options: Any) -> None:
        """A new world: frozen in time, with the same things in it every time."""
        self.ask("DELETE", "faults")
        self.ask("POST", "reset", {"seed": 7, "products": 45, "speed": 0, **options})

    @contextmanager
    def fault(self, kind: str, **more: Any) -> Iterator[None]:
        """A fault while the block lasts."""
        put = self.ask("POST", "faults", {"kind": kind, **more})
        try:
            yield
        finally:
            self.ask("DELETE", f"faults/{put['id']}")

    def close(self) -> None:
        self._http.close()


@contextmanager
def running() -> Iterator[World]:
    """A sandbox until the block ends."""
    command = [sys.executable, "-m", "sandbox", "--port", "0", "--products", "60", "--seed", "7"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()  # "sandbox: http://…  control: …"
            assert line.startswith("sandbox: http"), line
            world = World(line.split()[1])
            yield world
            world.close()
        finally:
            process.terminate()
