"""Live updates of jobs, as server-sent events: however many listen, Postgres is asked once for all of them.

One hub per process. While somebody listens, its thread reads what is new for the merchants concerned every
POLL_SECONDS: the state changes in order (services/jobs/events.py says how that is exact), and the progress of their
running jobs. The event loop hands it out. A listener that comes back with the last id it saw is first given what it
missed, from the table.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
import contextlib
import logging
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
from typing import Any, TypeVar
from uuid import UUID

import psycopg

from services.core import db
from services.core.errors import Unavailable
from services.core.settings import Settings
from services.jobs.events import REPLAY_PAGE, Cursor, Message, Poller, Visible, encode, look, replay
from services.models import Job

POLL_SECONDS = 0.25
NEWCOMER_SECONDS = 0.05  # how soon a newcomer is served, together with all others who came in that time
LINGER_SECONDS = 5.0  # without listeners, before the thread and its connection go
HEARTBEAT_SECONDS = 15.0
PATIENCE_SECONDS = 5.0  # a newcomer's, with a database that does not answer
LIFETIME_SECONDS = 900.0  # then the listener comes back, and shows its token and its membership again
PENDING = 1000  # messages a listener may have left when the next ones come
MAX_LISTENERS = 2000
READERS = 3  # connections for snapshots and replays, whatever the crowd

HEARTBEAT = b": still here\n\n"

logger = logging.getLogger(__name__)

T = TypeVar("T")

_merchant_of = attrgetter("merchant_id")
_job_of = attrgetter("job_id")


class TooManyStreams(Unavailable):
    """Too many streams are open here, or the server is about to stop; connect again in a moment."""


class Stream:
    """One listener: what was before it came, then what is new. Made by `Hub.open`; `close` it in any case."""

    def __init__(self, hub: "Hub", merchant_id: UUID, job_id: UUID | None, lifetime: float) -> None:
        self.merchant_id = merchant_id
        self.job_id = job_id
        self.joined: asyncio.Future[tuple[Cursor, int]] = hub.loop.create_future()
        self.first: list[Message] = []  # of the replay, read before the answer begins
        self.empty = False  # nothing to tell, now or ever
        self._hub = hub
        self._queue: asyncio.Queue[Message | None] = asyncio.Queue()
        self._dropped = False
        self._seen: Cursor | None = None
        self._visible: Visible | None = None
        self._until = Cursor(0, 0)
        self._opening = b""
        self._ended = False
        self._newest = 0
        self._ends_at = time.monotonic() + lifetime

    async def prepare(self, last: Cursor | None, describe: Callable[[Job], str]) -> None:
        """Find the place to begin at. Raises JobNotFound, DatabaseAway."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                self._until, horizon = await self.joined
        except TimeoutError:
            raise db.DatabaseAway(retry_after=2) from None
        if last is not None and last > Cursor(horizon, 0):
            last = None  # of another database: one that was restored from a backup
        retry = random.randint(1000, 4000)  # milliseconds; not all at once after a restart
        sight = None
        if self.job_id is not None:
            sight = await self._hub.read(look, self.merchant_id, self.job_id, describe, last)
        if last is not None:
            self._seen = last
            self.first = await self._read_on()
            self.empty = sight is not None and sight.ended and not sight.news
        elif sight is not None:
            self._visible, self._ended = sight.visible, sight.ended
            self._opening = encode("snapshot", sight.description, id_=str(Cursor(sight.visible.xmin, 0)), retry=retry)
        else:
            self._seen = self._until
            self._opening = encode("ready", "{}", id_=str(self._until), retry=retry)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The stream's bytes. Ends after a job's final event, when the listener is too slow, or its time is up."""
        if self._opening:
            yield self._opening
        page = self.first
        while page:
            yield b"".join(message.chunk for message in page)
            for message in page:
                self._note(message)
            try:
                page = await self._read_on() if len(page) == REPLAY_PAGE else []
            except Unavailable:
                return  # the listener comes back and goes on where it was
        async for chunk in self._live():
            yield chunk

    async def _live(self) -> AsyncIterator[bytes]:
        while not (self.job_id is not None and self._ended and self._queue.empty()):
            patience = min(HEARTBEAT_SECONDS, self._ends_at - time.monotonic())
            if patience <= 0:
                return
            try:
                async with asyncio.timeout(patience):
                    line: list[Message | None] = [await self._queue.get()]
            except TimeoutError:
                yield HEARTBEAT
                continue
            while not self._queue.empty():
                line.append(self._queue.get_nowait())
            chunk = b"".join(message.chunk for message in line if message is not None and self._is_new(message))
            if chunk:
                yield chunk
            if None in line:
                if self._dropped:
                    yield encode("dropped", '{"code": "too_slow"}')
                return

    def offer(self, messages: list[Message]) -> bool:
        """Put messages in line. False when the listener is too far behind: it gets no more."""
        behind = self._queue.qsize()
        if behind > PENDING:
            self._dropped = True
            self._queue.put_nowait(None)
            return False
        for message in messages:
            if message.cursor is not None or behind < PENDING // 2:  # progress is only worth something while fresh
                self._queue.put_nowait(message)
        return True

    def end(self) -> None:
        """Let the stream end with what is in line."""
        self._queue.put_nowait(None)

    def close(self) -> None:
        """Stop listening. Safe to call twice."""
        self._hub.leave(self)

    async def _read_on(self) -> list[Message]:
        assert self._seen is not None  # noqa: S101
        page = await self._hub.read(replay, self.merchant_id, self.job_id, self._seen, self._until)
        if page:
            self._seen = page[-1].cursor
        return page

    def _is_new(self, message: Message) -> bool:
        """Whether the listener has not had it yet: from another process, or in its snapshot."""
        if message.cursor is not None:
            if self._visible is not None and message.cursor.xid in self._visible:
                return False
            if self._seen is not None and message.cursor <= self._seen:
                return False
            self._seen = message.cursor
            self._note(message)
        return True

    def _note(self, message: Message) -> None:
        """Remember whether the newest of the events was an end: they need not come in the order they happened."""
        if message.cursor is not None and message.cursor.id > self._newest:
            self._newest, self._ended = message.cursor.id, message.ended


class Hub:
    """All the listeners of one process and event loop, and the one thread that reads for them."""

    def __init__(self, settings: Settings) -> None:
        self.loop = asyncio.get_running_loop()
        self.polls = 0  # transactions the thread has made
        self._settings = settings
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="stream-reader")
        self._closed = False
        self._lock = threading.Lock()
        self._wake = threading.Event()
        # Shared with the thread, under the lock.
        self._joining: list[Stream] = []
        self._merchants: Counter[UUID] = Counter()
        self._thread: threading.Thread | None = None
        # The event loop's own.
        self._open: set[Stream] = set()
        self._of_merchant: defaultdict[UUID, set[Stream]] = defaultdict(set)
        self._of_job: defaultdict[UUID, set[Stream]] = defaultdict(set)

    async def open(
        self,
        *,
        merchant_id: UUID,
        job_id: UUID | None,
        last: Cursor | None,
        describe: Callable[[Job], str],
        lifetime: float = LIFETIME_SECONDS,
    ) -> Stream:
        """A stream of one job, or of all the merchant's, from `last` on; without it from now.

        `describe` gives the JSON of a job for the snapshot a job's stream begins with. Raises JobNotFound,
        DatabaseAway, TooManyStreams.
        """
        if self._closed or len(self._open) >= MAX_LISTENERS:
            raise TooManyStreams(retry_after=5)
        stream = Stream(self, merchant_id, job_id, min(lifetime, LIFETIME_SECONDS))
        self._join(stream)
        try:
            await stream.prepare(last, describe)
        except BaseException:
            stream.close()
            raise
        return stream

    async def read(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a short transaction on one of the few threads for it."""
        return await self.loop.run_in_executor(self._readers, function, *arguments)

    def end(self) -> None:
        """Let all streams end, and take no new ones. Safe in a signal handler."""
        self._closed = True
        with contextlib.suppress(RuntimeError):  # the loop is over
            self.loop.call_soon_threadsafe(self._end_all)

    def close(self) -> None:
        """Stop the threads; from any thread but the event loop's, which must be free to take their last words."""
        self.end()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(10)
        self._readers.shutdown(wait=True)

    @property
    def listeners(self) -> int:
        """How many streams are open."""
        return len(self._open)

    def _join(self, stream: Stream) -> None:
        self._open.add(stream)
        with self._lock:
            self._joining.append(stream)
            self._merchants[stream.merchant_id] += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="job-stream", daemon=True)
                self._thread.start()
        self._wake.set()

    def leave(self, stream: Stream) -> None:
        """Forget a stream."""
        if stream not in self._open:
            return
        self._open.discard(stream)
        stream.joined.cancel()
        with self._lock:
            self._merchants[stream.merchant_id] -= 1
            if not self._merchants[stream.merchant_id]:
                del self._merchants[stream.merchant_id]
        self._disconnect(stream)

    def _disconnect(self, stream: Stream) -> None:
        streams, key = self._place_of(stream)
        streams[key].discard(stream)
        if not streams[key]:
            del streams[key]

    def _place_of(self, stream: Stream) -> tuple[defaultdict[UUID, set[Stream]], UUID]:
        if stream.job_id is None:
            return self._of_merchant, stream.merchant_id
        return self._of_job, stream.job_id

    def _end_all(self) -> None:
        for stream in self._open:
            stream.end()

    def _deliver(self, newcomers: list[Stream], since: Cursor, horizon: int, messages: list[Message]) -> None:
        """In the event loop: let newcomers in, then hand out."""
        for stream in newcomers:
            if stream in self._open and not stream.joined.done():
                streams, key = self._place_of(stream)
                streams[key].add(stream)
                stream.joined.set_result((since, horizon))
        for streams, key_of in ((self._of_merchant, _merchant_of), (self._of_job, _job_of)):
            lines: defaultdict[UUID, list[Message]] = defaultdict(list)
            for message in messages:
                if key_of(message) in streams:
                    lines[key_of(message)].append(message)
            for key, line in lines.items():
                for stream in tuple(streams[key]):
                    if not stream.offer(line):
                        self._disconnect(stream)

    # -- The thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        poller = Poller(self._settings)
        newcomers: list[Stream] = []
        pause = POLL_SECONDS
        try:
            while not self._closed:
                with self._lock:
                    newcomers += self._joining
                    self._joining.clear()
                    merchants = list(self._merchants)
                if not merchants:
                    poller.forget_position()
                    newcomers.clear()
                    if not self._pause(LINGER_SECONDS) and self._retire():
                        return
                    continue
                try:
                    since, messages, more = poller.poll(merchants)
                except psycopg.Error as error:
                    logger.warning("live updates wait for the database: %s", error)
                    poller.disconnect()
                    pause = min(pause * 2, 2.0)
                    time.sleep(pause)
                    continue
                self.polls += 1
                pause = POLL_SECONDS
                self.loop.call_soon_threadsafe(self._deliver, newcomers, since, poller.horizon, messages)
                newcomers = []
                if poller.horizon < since.xid:  # another database: what the listeners saw last means nothing here
                    self.loop.call_soon_threadsafe(self._end_all)
                if not more:
                    self._pause(POLL_SECONDS)
        except RuntimeError:
            if not self.loop.is_closed():
                raise
        finally:
            poller.disconnect()

    def _pause(self, seconds: float) -> bool:
        """Wait, less long when somebody comes. Whether somebody came."""
        came = self._wake.wait(seconds)
        if came and not self._closed:
            time.sleep(NEWCOMER_SECONDS)
        self._wake.clear()
        return came

    def _retire(self) -> bool:
        with self._lock:
            if self._joining:
                return False
            self._thread = None
            return True
