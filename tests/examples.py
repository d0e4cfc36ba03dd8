"""How many examples the property tests over a database try: few each time, as many as wanted with EXAMPLES=10."""

import os

TIMES = int(os.environ.get("EXAMPLES", "1"))


def examples(usually: int) -> int:
    """`usually`, or that many times EXAMPLES."""
    return usually * TIMES
