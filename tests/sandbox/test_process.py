"""The sandbox as a process of its own: settings, a port, flat memory, many at once."""

import os
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import httpx
import psutil

from tests.conftest import ROOT
from tests.sandbox.conftest import ROOTS

KEY = {"Authorization": "Bearer sandbox-bigbuy-key"}


@contextmanager
def running(*arguments, **environment):
    """`python -m sandbox` on a free port: its address and process id."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sandbox", "--port", "0", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        yield re.match(r"sandbox: (http://\S+)", line)[1], process.pid
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


def failing(*arguments):
    """What it says when it does not start."""
    done = subprocess.run(
        [sys.executable, "-m", "sandbox", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    return done.returncode, done.stderr


def test_settings_from_arguments_and_environment():
    with (
        running("--products", "25", "--speed", "0", SANDBOX_SEED="9", SANDBOX_PRODUCTS="7") as (url, _),
        httpx.Client(base_url=url, timeout=30) as client,
    ):
        options = client.get("/control/world").json()["options"]
        assert (options["seed"], options["products"], options["speed"]) == (9, 25, 0)
        port = url.rpartition(":")[2]
        assert failing("--port", port)[0] == 2
    assert failing("--products", "0") == (2, "--products: Input should be greater than or equal to 1\n")


def test_memory_is_flat_at_200_000_products():
    with running("--products", "200000") as (url, pid), httpx.Client(base_url=url, timeout=60) as client:
        client.put("/control/bigbuy/limits", json={"enforced": False})
        client.get("/bigbuy/rest/catalog/languages.json", headers=KEY)
        process = psutil.Process(pid)
        before = process.memory_info().rss
        highest = size = 0
        for taxonomy in ROOTS[:1]:
            with client.stream(
                "GET", "/bigbuy/rest/catalog/products.json", params={"parentTaxonomy": taxonomy}, headers=KEY
            ) as answer:
                for chunk in answer.iter_raw():
                    size += len(chunk)
                    highest = max(highest, process.memory_info().rss)
        assert size > 15_000_000
        assert highest - before < 10_000_000


def test_a_large_list_holds_nobody_up_and_a_reader_who_leaves_is_noticed():
    with running("--products", "200000") as (url, _), httpx.Client(base_url=url, timeout=60) as client:
        params = {"parentTaxonomy": ROOTS[0]}
        address = "/bigbuy/rest/catalog/products.json"
        done = threading.Event()

        def read():
            httpx.get(f"{url}{address}", params=params, headers=KEY, timeout=60)
            done.set()

        client.get("/control/world")
        reader = threading.Thread(target=read)
        reader.start()
        answered = 0
        while not done.is_set():
            client.get("/bigbuy/rest/user/purse.json", headers=KEY)
            answered += 1
        reader.join()
        assert answered > 20
        with client.stream("GET", address, params=params, headers=KEY) as answer:
            next(answer.iter_raw())
        for _ in range(100):
            entry = client.get("/control/ledger", params={"route": "catalog/products"}).json()["data"][-1]
            if entry["seconds"]:
                break
            time.sleep(0.05)
        assert not entry["complete"]
        assert 0 < entry["sent_bytes"] < 20_000_000


def test_answers_do_not_wait_for_an_acknowledgement(sandbox):
    """Head and body are two writes: with Nagle's algorithm every answer takes 40 ms or more."""

    def seconds():
        started = time.monotonic()
        sandbox.bigbuy("user/purse")
        return time.monotonic() - started

    seconds()
    assert min(seconds() for _ in range(20)) < 0.03
