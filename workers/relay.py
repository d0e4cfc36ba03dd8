"""The relay: sees rows that are due and rings a Celery queue for each, fairly and a few at a time.

`python -m workers relay` runs one, and any number may run. Redis away: rows wait, and the bells that could not be rung
are taken back. Postgres away: the relay waits for it. Between the rows' commit and the bell lies one notification;
where LISTEN is not to be had (a transaction pooler) polling does.
"""

import logging
import os
import signal
import socket
import threading
import time
from types import FrameType

import psycopg
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from services.core import db
from services.core.ids import new_id
from services.core.log import configure_logging
from services.core.settings import Settings, get_settings
from services.jobs import dispatch, processes, stats
from services.jobs.dispatch import Doorbell
from services.jobs.kinds import QUEUES
from services.jobs.ledger import Connection, unring
from workers.app import app

logger = logging.getLogger(__name__)

BROKER_ERRORS = (KombuError, RedisError, OSError)

IDLE = 0.5  # seconds between looks when nothing is announced
BUSY = 0.03  # while a queue has more waiting than its window lets out
WINDOW_SECONDS = 0.3  # how much work, at the pace of late, may be rung ahead
MIN_WINDOW, MAX_WINDOW = 8, 2000

# name → seconds between two runs
UPKEEP = {"rescue": 1.0, "settle": 0.25, "again": 2.0, "paused": 1.0, "stats": 5.0, "forget": 15.0, "alive": 10.0}
PING_EVERY = 20.0
FORGET = 1000  # jobs deleted in one transaction


class Pace:
    """How fast a queue's bells are being answered, and so how many to keep out.

    Few: a late-coming merchant waits behind those already rung. Enough: no worker waits for the relay.
    """

    def __init__(self) -> None:
        self.per_second = 0.0
        self._unclaimed = 0
        self._at = time.monotonic()

    def window(self) -> int:
        """How many may be rung and unclaimed."""
        return int(min(MAX_WINDOW, max(MIN_WINDOW, self.per_second * WINDOW_SECONDS)))

    def observe(self, rung: int, unclaimed: int) -> None:
        """Learn from a pass: `rung` more bells went out, `unclaimed` are out now."""
        moment = time.monotonic()
        elapsed = max(moment - self._at, 1e-3)
        answered = max(0, self._unclaimed - (unclaimed - rung))
        weight = 1 - 0.5 ** (elapsed / 0.1)  # half of what it knows is a tenth of a second old
        self.per_second += weight * (answered / elapsed - self.per_second)
        self._unclaimed, self._at = unclaimed, moment


class Relay:
    """One relay process: a connection to work on, one to listen on, and a producer."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.id = f"{socket.gethostname()}:{os.getpid()}:{str(new_id())[-8:]}"
        self.stopping = threading.Event()
        self.connection: Connection | None = None
        self.listener: Connection | None = None
        self.pace = {queue: Pace() for queue in QUEUES}
        self.last = dict.fromkeys(UPKEEP, 0.0)
        self.pinged = 0.0
        self.lag = 0.0
        self._new_producer()

    def run(self) -> None:
        """Work until told to stop."""
        pause = 0.1
        while not self.stopping.is_set():
            try:
                self._pass()
                pause = 0.1
            except Exception as error:
                # A relay that dies of one bad row is a relay that is away for all the others.
                known = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
                logger.warning("the relay stumbled, trying again: %s", error, exc_info=not known)
                self._drop_connections()
                self.stopping.wait(pause)
                pause = min(pause * 2, 2.0)
        self._drop_connections()

    def _pass(self) -> None:
        if self.connection is None:
            self.connection = db.open_connection(self.settings)
            if not self.settings.database_transaction_pooler:
                self.listener = db.open_connection(self.settings)
                self.listener.execute("LISTEN shopopti_jobs")
        began = time.monotonic()
        # A queue of a newer release is left to that release's relay.
        waiting = [queue for queue in dispatch.queues_with_work(self.connection) if queue in self.pace]
        for queue in waiting:
            self._fill(self.connection, queue)
        promoted = self._upkeep(self.connection, began)
        self.lag = time.monotonic() - began
        self._wait(BUSY if waiting or promoted else IDLE)

    def _fill(self, connection: Connection, queue: str) -> None:
        """Ring the next jobs of a queue, up to its window."""
        pace = self.pace[queue]
        bells = dispatch.ring(connection, queue, window=pace.window(), cap=self.settings.merchant_cap)
        rung = self._publish(connection, queue, bells)
        pace.observe(rung, dispatch.flight(connection, queue).rung)

    def _publish(self, connection: Connection, queue: str, bells: list[Doorbell]) -> int:
        """Send bells to the broker in one round trip; take them all back if that fails. Returns how many went out."""
        if not bells:
            return 0
        try:
            with self.producer.batch(max_size=len(bells)):
                for bell in bells:
                    self._send(bell.kind, str(bell.id), queue=queue)
        except BROKER_ERRORS as error:
            # Some may have been heard: a bell that was taken back finds the job not rung, and is not answered.
            logger.warning("broker away, %d bells taken back: %s", len(bells), error)
            unring(connection, [bell.id for bell in bells])
            self._new_producer()
            self.stopping.wait(0.5)
            return 0
        return len(bells)

    def _send(self, name: str, argument: str, *, queue: str, **options: object) -> None:
        app.send_task(
            name,
            args=(argument,),
            argsrepr=argument,
            kwargsrepr="{}",
            task_id=argument if name != "ping" else None,
            queue=queue,
            declare=[],  # the queues are declared by the workers that read them
            producer=self.producer,
            ignore_result=True,
            retry=False,
            **options,
        )

    def _upkeep(self, connection: Connection, moment: float) -> int:
        """Whatever else is due. Returns how many scheduled jobs have become ready to ring."""
        for name, every in UPKEEP.items():
            if moment - self.last[name] >= every:
                self.last[name] = moment
                getattr(self, f"_{name}")(connection)
        if moment - self.pinged >= PING_EVERY:
            self.pinged = moment
            self._ping()
        return dispatch.promote(connection)

    def _rescue(self, connection: Connection) -> None:
        rescued = dispatch.rescue(connection)
        if rescued:
            logger.warning("%d jobs whose worker stopped answering were taken back", rescued)

    def _settle(self, connection: Connection) -> None:
        dispatch.settle_parents(connection)

    def _paused(self, connection: Connection) -> None:
        dispatch.unring_paused(connection)

    def _stats(self, connection: Connection) -> None:
        stats.roll_up(connection)

    def _forget(self, connection: Connection) -> None:
        began = time.monotonic()
        while dispatch.forget(connection, days=self.settings.retention_days, limit=FORGET) == FORGET:
            if time.monotonic() - began > 2:
                break  # the bells come first; the rest goes in a minute

    def _alive(self, connection: Connection) -> None:
        processes.seen(connection, id_=self.id, role="relay", queues=[], lag_seconds=self.lag)

    def _again(self, connection: Connection) -> None:
        """Ring again what was rung and never claimed: Redis lost it, or a worker died with it in hand.

        As many as the broker no longer holds. A queue whose list is empty has lost all that is not running.
        """
        for queue in QUEUES:
            unclaimed = dispatch.flight(connection, queue).rung
            if not unclaimed:
                continue
            try:
                held = self._at_broker(queue)
            except BROKER_ERRORS as error:
                logger.warning("broker away: %s", error)
                self._new_producer()
                return
            seconds = self.settings.ring_again_seconds if held else self.settings.ring_again_seconds / 5
            bells = dispatch.ring_again(connection, queue, lost=max(0, unclaimed - held), seconds=seconds)
            if bells:
                logger.info("%d bells of %s rung again", len(bells), queue)
                self._publish(connection, queue, bells)

    def _at_broker(self, queue: str) -> int:
        return int(self.producer.channel.queue_declare(queue).message_count)

    def _ping(self) -> None:
        """A message per queue that only proves that a worker takes from it."""
        for queue in QUEUES:
            try:
                if self._at_broker(queue) < 10:  # where nobody listens, pings must not pile up
                    self._send("ping", queue, queue=queue, expires=60)
            except BROKER_ERRORS as error:
                logger.warning("broker away: %s", error)
                self._new_producer()
                return

    def _wait(self, seconds: float) -> None:
        if self.listener is None:
            self.stopping.wait(min(seconds, 0.1))
            return
        for _ in self.listener.notifies(timeout=seconds, stop_after=1):
            break
        for _ in self.listener.notifies(timeout=0):
            pass  # one pass serves all that has been announced

    def _new_producer(self) -> None:
        # kombu sends batches only where it will not retry them by itself; the relay rings again in any case.
        connection = app.connection_for_write(transport_options={"retry_on_timeout": False})
        self.producer = app.amqp.Producer(connection)

    def _drop_connections(self) -> None:
        for connection in (self.connection, self.listener):
            if connection is not None:
                connection.close()
        self.connection = self.listener = None


def main() -> None:
    """Run a relay until SIGTERM or SIGINT."""
    settings = get_settings()
    configure_logging(settings)
    relay = Relay(settings)

    def stop(_signal: int, _frame: FrameType | None) -> None:
        relay.stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    logger.info("relay %s started", relay.id)
    relay.run()
    logger.info("relay %s stopped", relay.id)
