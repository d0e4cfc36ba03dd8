"""What may happen to a running system, as a table: name, how often relative to the others, and how it is done."""

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

import psycopg
import redis
from kombu.exceptions import OperationalError

from ops.chaos.world import LEASE_SECONDS, World


def kill_worker(world: World, dice: random.Random) -> None:
    """kill -9 a whole worker: its machine is gone."""
    world.kill_group(_one(world, dice, "io", "forked"))


def kill_child(world: World, dice: random.Random) -> None:
    """kill -9 a pool child: out of memory."""
    children = world.children(_one(world, dice, "forked"))
    if children:
        dice.choice(children).kill()


def kill_relay(world: World, dice: random.Random) -> None:
    """kill -9 a relay."""
    world.kill_group(_one(world, dice, "relay"))


def kill_beat(world: World, dice: random.Random) -> None:
    """kill -9 a beat."""
    world.kill_group(_one(world, dice, "beat"))


def deploy_one(world: World, dice: random.Random) -> None:
    """SIGTERM a process: a rolling deploy."""
    _signal(_one(world, dice, "io", "forked", "relay", "beat"), signal.SIGTERM)


def deploy_all(world: World, _dice: random.Random) -> None:
    """SIGTERM everything at once, and once more before it is down."""
    for _ in range(2):
        for pid in world.pids("").values():
            _signal(pid, signal.SIGTERM)
        time.sleep(0.3)


def sleep_through_lease(world: World, dice: random.Random) -> None:
    """SIGSTOP a worker for longer than its leases, then wake it: a zombie that thinks its jobs are still its own."""
    pid = _one(world, dice, "io", "forked")
    for each in (pid, *(child.pid for child in world.children(pid))):
        _signal(each, signal.SIGSTOP)
    time.sleep(LEASE_SECONDS + dice.uniform(1, 3))
    for each in (pid, *(child.pid for child in world.children(pid))):
        _signal(each, signal.SIGCONT)


def flush_redis(world: World, _dice: random.Random) -> None:
    """FLUSHALL: every bell is forgotten."""
    with contextlib.suppress(redis.RedisError), redis.Redis.from_url(world.redis.url) as client:
        client.flushall()


def restart_redis(world: World, dice: random.Random) -> None:
    """kill -9 Redis, which keeps nothing, and start it again a moment later."""
    world.redis._halt(signal.SIGKILL)
    time.sleep(dice.uniform(0, 2))
    world.redis.start()


def restart_postgres(world: World, dice: random.Random) -> None:
    """Restart PostgreSQL: politely, or as a power cut would."""
    world.postgres.restart(kill=dice.random() < 0.5)


def cut_database_connections(world: World, _dice: random.Random) -> None:
    """Terminate every backend in the middle of whatever it does."""
    with contextlib.suppress(psycopg.Error), psycopg.connect(world.postgres.url, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")


def half_open(world: World, _dice: random.Random) -> None:
    """Every connection to Redis stays up and carries nothing any more."""
    world.proxy.thaw()
    world.proxy.freeze()


def deliver_again(world: World, _dice: random.Random) -> None:
    """Every bell of a hundred jobs that are rung or at work comes a second time."""
    from workers.app import app

    rung = (
        "SELECT id::text, kind, queue FROM jobs WHERE state = 'running' OR (state = 'queued' AND rung_at IS NOT NULL)"
    )
    with contextlib.suppress(psycopg.Error, OSError, OperationalError):
        with psycopg.connect(world.postgres.url, autocommit=True) as connection:
            jobs = connection.execute(f"{rung} LIMIT 100").fetchall()
        with app.connection_for_write() as broker:
            for id_, kind, queue in jobs:
                app.send_task(kind, args=(id_,), queue=queue, connection=broker, ignore_result=True, retry=False)


@dataclass(frozen=True, slots=True)
class Fault:
    """A thing to do, and its weight among the others."""

    do: Callable[[World, random.Random], None]
    weight: int

    @property
    def name(self) -> str:
        """What the report calls it."""
        return self.do.__name__


FAULTS = (
    Fault(kill_worker, 8),
    Fault(kill_child, 6),
    Fault(kill_relay, 4),
    Fault(kill_beat, 3),
    Fault(deploy_one, 6),
    Fault(deploy_all, 1),
    Fault(sleep_through_lease, 2),
    Fault(flush_redis, 4),
    Fault(restart_redis, 3),
    Fault(restart_postgres, 2),
    Fault(cut_database_connections, 3),
    Fault(half_open, 2),
    Fault(deliver_again, 4),
)


def _one(world: World, dice: random.Random, *prefixes: str) -> int:
    """A running process of these kinds."""
    while not (pids := sorted(world.pids(*prefixes).values())):
        time.sleep(0.1)
    return dice.choice(pids)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
