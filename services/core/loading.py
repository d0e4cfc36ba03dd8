"""How a process loads its modules: the collector of cycles waits, and leaves alone what was loaded.

It would walk through all of that again and again while it grows, while the process works, and once more at its end: a
third to a half of what a start and an end cost. What is left alone also stays one copy in forked children.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Around the imports of a process that has no threads yet. What exists at the end is never collected."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
