"""How many examples the tests over a database try: few each time, as many as wanted with EXAMPLES=10."""

import os
import random
from collections.abc import Sequence
from typing import TypeVar

TIMES = int(os.environ.get("EXAMPLES", "1"))
T = TypeVar("T")


def examples(usually: int) -> int:
    """`usually`, or that many times EXAMPLES."""
    return usually * TIMES


def some(usually: int, of: Sequence[T]) -> Sequence[T]:
    """About `usually` of them, or that many times EXAMPLES, evenly spread, others each time; all, if that is enough."""
    stride = max(1, round(len(of) / examples(usually)))
    return of[random.randrange(stride) :: stride]
