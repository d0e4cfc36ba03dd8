"""After the processes are started: wait until all is ready, fill an empty shop, say how to reach it.

Speaks to the stack as any client would: through the HTTP API.
"""

import shlex
import time
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import psycopg

from ops.home import mint_token, plain_url, write_env
from ops.processes import REPOSITORY
from ops.terminal import Terminal

DEMO_USER = "demo"
SAMPLE = REPOSITORY / "sample" / "catalogue.csv"
_READY_SECONDS = 90.0
_IMPORT_SECONDS = 180.0
_ENDED = {"succeeded", "failed", "cancelled"}


class NotReady(RuntimeError):
    """The stack did not become ready, or the sample could not be imported; the message says what was missing."""


def wait_and_fill(
    home: Path, env: Mapping[str, str], terminal: Terminal, *, sample: bool, began: float, since: datetime
) -> None:
    """Wait for all processes, import the sample if the demo merchant has nothing, print the way in.

    Writes `home`/env and prints a line that begins with `ready:` when all is done. `began` (monotonic) is where the
    time it names is counted from; `since`, by the database's clock, tells this start's workers from the last one's.
    Raises NotReady.
    """
    api_url, flower_url, sandbox_url = env["API_URL"], env["FLOWER_URL"], env["SANDBOX_URL"]
    token = mint_token(env["JWT_SECRET"], DEMO_USER)
    with httpx.Client(base_url=api_url, timeout=10, trust_env=False) as client:
        _wait_for(client, "/health", "the API", terminal)
        _wait_for(client, "/ready", "database, broker and workers", terminal)
        _wait_for_workers(env["DATABASE_URL"], since, terminal)
        _wait_for(client, f"{flower_url}/healthcheck", "Flower", terminal)
        _wait_for(client, f"{sandbox_url}/control/world", "the sandbox", terminal)
        client.headers["Authorization"] = f"Bearer {token}"
        merchant_id = _get(client, "/api/v1/auth/me")["merchants"][0]["id"]
        took = time.monotonic() - began
        if sample and not _get(client, "/api/v1/products?limit=1")["data"]:
            _import_sample(client, terminal)
    values = {
        "API_URL": api_url,
        "TOKEN": token,
        "MERCHANT_ID": merchant_id,
        "DATABASE_URL": env["DATABASE_URL"],
        "REDIS_URL": env["REDIS_URL"],
        "FLOWER_URL": flower_url,
        "SANDBOX_URL": sandbox_url,
    }
    write_env(home / "env", values)
    terminal.say(
        "",
        f"  API      {api_url}",
        f"  docs     {api_url}/api/docs",
        f"  Flower   {flower_url}",
        f"  sandbox  {sandbox_url}/control/docs",
        f"  env      {home / 'env'}",
        "",
        f"  curl -H 'Authorization: Bearer {token}' '{api_url}/api/v1/products?limit=3'",
        "",
        f"ready: {api_url} after {took:.1f} s; variables for the shell: . {shlex.quote(str(home / 'env'))}"
        "; Ctrl-C stops everything",
    )


def _wait_for(client: httpx.Client, url: str, what: str, terminal: Terminal) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    last = "no answer"
    while time.monotonic() < deadline:
        try:
            answer = client.get(url)
            if answer.is_success:
                terminal.progress("")
                return
            last = f"{answer.status_code}: {answer.text[:500]}"
        except httpx.TransportError as error:
            last = f"no answer ({error})"
        terminal.progress(f"waiting for {what} …")
        time.sleep(0.2)
    raise NotReady(f"{what} did not become ready within {_READY_SECONDS:.0f} s; {url} last said {last}")


def _wait_for_workers(database_url: str, since: datetime, terminal: Terminal) -> None:
    """Until every queue has been taken from since then: /ready also goes by what was a minute ago."""
    deadline = time.monotonic() + _READY_SECONDS
    with psycopg.connect(plain_url(database_url), autocommit=True) as connection:
        while time.monotonic() < deadline:
            query = "SELECT array_agg(name) FROM queues WHERE consumed_at IS NULL OR consumed_at < %s"
            idle = connection.execute(query, [since]).fetchall()[0][0]
            if not idle:
                terminal.progress("")
                return
            terminal.progress("waiting for the workers …")
            time.sleep(0.2)
    raise NotReady(f"no worker took anything from {', '.join(idle)} within {_READY_SECONDS:.0f} s")


def _import_sample(client: httpx.Client, terminal: Terminal) -> None:
    with SAMPLE.open("rb") as file:
        sent = {"file": (SAMPLE.name, file, "text/csv")}
        answer = client.post("/api/v1/bulk/import", files=sent, data={"currency": "EUR"}, timeout=60)
    job_id = _asked(answer)["job_id"]
    deadline = time.monotonic() + _IMPORT_SECONDS
    while time.monotonic() < deadline:
        job = _get(client, f"/api/v1/jobs/{job_id}")
        terminal.progress(f"importing the sample catalogue: {_described(job)}")
        if job["status"] in _ENDED:
            break
        time.sleep(0.4)
    terminal.progress("")
    if job["status"] != "succeeded":
        raise NotReady(f"the import of {SAMPLE.name} (job {job_id}) did not succeed: {_described(job)}")
    terminal.say(f"imported the sample catalogue: {_described(job)}")


def _described(job: Mapping[str, Any]) -> str:
    """A job's state and progress in one line."""
    progress = job.get("progress") or {}
    done, total = progress.get("done"), progress.get("total")
    parts = [str(job["status"])]
    if done is not None and total:
        filled = min(20, 20 * done // total)
        parts.append(f"[{'#' * filled}{'.' * (20 - filled)}] {done} of {total}")
    parts += [str(text) for text in (progress.get("note"), (job.get("error") or {}).get("message")) if text]
    return ", ".join(parts)


def _get(client: httpx.Client, path: str) -> Any:
    while True:
        answer = client.get(path)
        if answer.status_code != HTTPStatus.TOO_MANY_REQUESTS:
            return _asked(answer)
        time.sleep(min(30.0, float(answer.headers.get("Retry-After", "2"))))  # limits hold for us as for anybody


def _asked(answer: httpx.Response) -> Any:
    if not answer.is_success:
        raise NotReady(f"{answer.request.method} {answer.request.url} answered {answer.status_code}: {answer.text}")
    return answer.json()
