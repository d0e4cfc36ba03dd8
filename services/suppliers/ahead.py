"""What takes waiting is done ahead: while one item is used, a thread makes the next."""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

_GLANCE = 0.5  # seconds between two calls of `idle`


@contextmanager
def ahead(items: Iterator[T], *, most: int = 1, idle: Callable[[], None] = lambda: None) -> Iterator[Iterator[T]]:
    """The same items, made by a thread that is at most so many ahead. What it raises is raised behind the last item.

    `idle` is called now and then while nothing is there, and may raise. Left early, the thread ends with the item it is
    at, by itself; items nobody took are dropped.
    """
    made: queue.SimpleQueue[tuple[Any, bool, BaseException | None]] = queue.SimpleQueue()
    room, over = threading.Semaphore(most - 1), threading.Event()

    def follow() -> None:
        try:
            for item in items:
                made.put((item, False, None))
                room.acquire()
                if over.is_set():
                    break
            made.put((None, True, None))
        except BaseException as error:  # it is raised where the items are wanted
            made.put((None, True, error))
        finally:
            items.close()  # type: ignore[attr-defined]

    def given() -> Iterator[T]:
        while True:
            try:
                item, ended, error = made.get(timeout=_GLANCE)
            except queue.Empty:
                idle()
                continue
            if error is not None:
                raise error
            if ended:
                return
            room.release()
            yield item

    thread = threading.Thread(target=follow, name="ahead", daemon=True)
    thread.start()
    try:
        yield given()
    finally:
        over.set()
        room.release()
        thread.join(1)
