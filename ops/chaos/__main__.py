"""Run the stack under load while faults strike, then judge. Exit code 0: nothing lost, nothing doubled."""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psycopg

from ops.chaos import orders, syncs
from ops.chaos.faults import FAULTS
from ops.chaos.verdict import CHECKS, missing, violations
from ops.chaos.world import World

STUCK_SECONDS = 60  # nothing has ended for so long: nothing will


def main() -> int:
    """Parse, run, report."""
    parser = argparse.ArgumentParser(prog="python -m ops.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=12.0, help="how long faults strike")
    parser.add_argument("--every", type=float, default=2.5, help="mean seconds between two faults")
    parser.add_argument("--per-second", type=float, default=25.0, help="jobs enqueued per second")
    parser.add_argument("--min-faults", type=int, default=0, help="fail when fewer struck")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--only", choices=("jobs", "syncs", "orders"), help="one part of it")
    parser.add_argument("--orders", type=int, default=10_000, help="orders to suppliers")
    parser.add_argument("--keep", action="store_true", help="keep the folder with the logs")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.randrange(1 << 30)

    wanted = [part for part in PARTS if options.only in (None, part)]
    broken = sum(_part(part, options, seed) for part in wanted)
    promises = sum(PARTS[part][1] for part in wanted)
    print(f"chaos: {promises - broken} passed, {broken} failed")
    return 1 if broken else 0


def _part(name: str, options: argparse.Namespace, seed: int) -> int:
    """One part on a stack of its own. Returns how many promises were broken."""
    folder = Path(tempfile.mkdtemp(prefix="shopopti-chaos-"))
    folder.chmod(0o755)
    world = World(folder)
    try:
        broken = PARTS[name][0](world, options, seed)
    finally:
        world.stop()
    if broken or options.keep:
        print(f"logs: {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return broken


def _orders(world: World, options: argparse.Namespace, seed: int) -> int:
    orders.prepare(world)
    with orders.sandbox(world) as suppliers:
        _enter(world)
        _prepare(world)
        print(f"chaos: seed {seed}, orders, a fault about every {options.every:g} s", flush=True)
        world.start()
        _wait_for_workers(world)
        return _told(orders.run(world, suppliers, options, seed))


def _syncs(world: World, options: argparse.Namespace, seed: int) -> int:
    supplier = syncs.Sandbox(world)
    try:
        _enter(world)
        _prepare(world)
        print(f"chaos: seed {seed}, syncs, {options.minutes / 3:g} minutes", flush=True)
        world.start()
        _wait_for_workers(world)
        load = syncs.Load(supplier, seed=seed)
        options = argparse.Namespace(**{**vars(options), "minutes": options.minutes / 3})
        struck = _strike(world, random.Random(seed), options)
        world.proxy.thaw()
        load.stop()
        settled = _settle(world)
        load.finish()
        settled += _settle(world)
        with psycopg.connect(world.postgres.url, autocommit=True) as connection:
            broken = load.violations(connection)
            _report(connection, struck)
        print(f"{load.asked} syncs asked for; settled {settled:.0f} s after the last fault\n")
        return _told(broken)
    finally:
        supplier.stop()


def _enter(world: World) -> None:
    """This process asks the same servers as the stack."""
    from services.core import db
    from services.core.settings import get_settings

    os.environ.update(world.environment)
    get_settings.cache_clear()
    db.forget_engine()


def _told(broken: Mapping[str, Sequence[object]]) -> int:
    for promise, examples in broken.items():
        print(f"VIOLATED: {promise}")
        for example in examples:
            print(f"    {example}")
    return len(broken)


def _run(world: World, options: argparse.Namespace, seed: int) -> int:
    _enter(world)
    _prepare(world)
    from ops.chaos.load import Load  # reads the settings, which are known by now

    print(f"chaos: seed {seed}, {options.minutes:g} minutes, a fault about every {options.every:g} s", flush=True)
    world.start()
    _wait_for_workers(world)
    load = Load(per_second=options.per_second, seed=seed)
    struck = _strike(world, random.Random(seed), options)
    world.proxy.thaw()
    load.stop()
    settled = _settle(world)
    with psycopg.connect(world.postgres.url, autocommit=True) as connection:
        broken = violations(connection)
        lost = missing(connection, [(merchant, key) for merchant, key in load.asked])
        if lost:
            broken["everything asked for is there, once"] = [tuple(pair) for pair in lost[:10]]
        _report(connection, struck)
    print(f"{world.started} process starts; {len(load.asked)} jobs asked for, {load.cancels} cancelled on the way")
    print(f"settled {settled:.0f} s after the last fault\n")
    if sum(struck.values()) < options.min_faults:
        broken[f"at least {options.min_faults} faults struck"] = [(sum(struck.values()),)]
    return _told(broken)


def _prepare(world: World) -> None:
    from alembic import command
    from alembic.config import Config

    from ops.lab import prepare
    from services.core import db

    command.upgrade(Config("alembic.ini"), "head")
    with db.get_engine().begin() as connection:
        prepare(connection)


def _wait_for_workers(world: World) -> None:
    until = time.monotonic() + 120
    with psycopg.connect(world.postgres.url, autocommit=True) as connection:
        while connection.execute("SELECT count(*) FROM queues WHERE consumed_at IS NOT NULL").fetchone() != (6,):
            if time.monotonic() > until:
                raise SystemExit(f"the workers did not come up; logs in {world.folder}")
            time.sleep(0.2)


def _strike(world: World, dice: random.Random, options: argparse.Namespace) -> Counter[str]:
    struck: Counter[str] = Counter()
    until = time.monotonic() + options.minutes * 60
    while time.monotonic() < until:
        time.sleep(dice.uniform(0.2, 1.8) * options.every)
        fault = dice.choices(FAULTS, [fault.weight for fault in FAULTS])[0]
        fault.do(world, dice)
        struck[fault.name] += 1
        print(f"  {sum(struck.values()):4d} {fault.name}", flush=True)
    return struck


def _settle(world: World) -> float:
    """Wait until everything has ended and is counted, or nothing ends any more. Returns how long that took."""
    began = progressed = time.monotonic()
    fewest = None
    while time.monotonic() - progressed < STUCK_SECONDS:
        with psycopg.connect(world.postgres.url, autocommit=True) as connection:
            left = connection.execute("SELECT count(*) FROM jobs WHERE ended_at IS NULL").fetchone()
        if left == (0,):
            time.sleep(6)  # a round of the statistics
            break
        if fewest is None or left != fewest:
            fewest, progressed = left, time.monotonic()
        time.sleep(0.5)
    return time.monotonic() - began


def _report(connection: "psycopg.Connection[tuple[object, ...]]", struck: Counter[str]) -> None:
    print(f"\n{sum(struck.values())} faults: " + ", ".join(f"{count} {name}" for name, count in struck.most_common()))
    rows = connection.execute(
        "SELECT kind, state, count(*), round(avg(claims), 2), max(attempt) FROM jobs GROUP BY 1, 2 ORDER BY 1, 2"
    ).fetchall()
    print(f"\n{'kind':<14}{'ended as':<12}{'jobs':>8}{'starts':>9}{'attempts ≤':>12}")
    for kind, state, count, claims, attempt in rows:
        print(f"{kind!s:<14}{state!s:<12}{count!s:>8}{claims!s:>9}{attempt!s:>12}")
    rescued = connection.execute(
        "SELECT reason, count(*) FROM job_events WHERE reason IN ('rescued', 'drained', 'poisoned')"
        " GROUP BY 1 ORDER BY 1"
    ).fetchall()
    print("\n" + ", ".join(f"{count} {reason}" for reason, count in rescued))


# name → what runs it, and how many promises it makes
PARTS: Mapping[str, tuple[Callable[[World, argparse.Namespace, int], int], int]] = {
    "jobs": (_run, len(CHECKS) + 1),
    "syncs": (_syncs, syncs.PROMISES),
    "orders": (_orders, orders.PROMISES),
}

if __name__ == "__main__":
    sys.exit(main())
