"""Ranges of a plan, two at a time in two transactions, where a range's end can be told before its work is done.

Each is committed when the one before it is: cut anywhere, what stands is a beginning of the whole.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy.orm import Session

from services.jobs import Run

_LANES = 2
_STANDS: "Future[bool]" = Future()  # what was done when we came
_STANDS.set_result(True)

# Does the range behind a place in a transaction that is not committed by it. It tells the first function where the
# next range begins, as soon as it knows; the second one waits for the range before it to end and says whether that did
# well, and only then may anything be written that the other wrote. Returns whether this range stands.
Place = TypeVar("Place")
Ahead = Callable[[Session, Place, Callable[[Place], None], Callable[[], bool]], bool]


class _Withdrawn(Exception):
    """A range that was begun ahead does not stand: leaves its transaction."""


def in_lanes(run: Run, first: Place, ahead: Ahead[Place], *, done: Callable[[Place], None]) -> None:
    """Do range after range from `first` on, up to one that does not stand. `done` is told how far that has come."""
    after: Place | None = first
    before = _STANDS
    running: deque[tuple[Place | None, Future[bool]]] = deque()
    with ThreadPoolExecutor(_LANES) as lanes:
        while after is not None:
            begun: Future[Place | None] = Future()
            before = lanes.submit(_one, run, ahead, after, before, begun)
            after = begun.result()
            running.append((after, before))
            while running and (after is None or len(running) == _LANES):
                upto, oldest = running.popleft()
                if oldest.result() and upto is not None:
                    done(upto)
                else:
                    after = None


def _one(run: Run, ahead: Ahead[Place], after: Place, before: "Future[bool]", begun: "Future[Place | None]") -> bool:
    """Do a range. `begun` is told where the next one begins, None if that is never known. Whether it stands."""
    try:
        with run.transaction() as session:
            if not ahead(session, after, begun.set_result, before.result):
                raise _Withdrawn
            return True
    except _Withdrawn:
        return False
    finally:
        if not begun.done():
            begun.set_result(None)
