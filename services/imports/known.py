"""The runs of a source that need not be read, in little memory, and which of them a file has."""

from array import array
from bisect import bisect_left
from collections.abc import Iterator


class Known:
    """The runs that are known to say nothing new, and which of them a feed has: nine bytes each."""

    def __init__(self, packed: bytes = b"") -> None:
        """`packed`: their hashes, in order, as int8send packs them."""
        self._prints = array("q", packed)
        self._prints.byteswap()
        self._seen = bytearray(len(self._prints))
        self.doubled: set[int] = set()  # runs that a feed has more than once

    def __bool__(self) -> bool:
        return any(self._seen)

    def is_empty(self) -> bool:
        """Whether no run is known at all."""
        return not self._prints

    def pass_over(self, print_: int) -> bool:
        """Whether a run that was met is known; then it counts as seen."""
        at = bisect_left(self._prints, print_)
        if at == len(self._prints) or self._prints[at] != print_:
            return False
        if self._seen[at]:
            self.doubled.add(print_)
        self._seen[at] = 1
        return True

    def note(self, marks: bytearray, print_: int | None) -> bool:
        """Whether the next run of a file is passed over; `marks` gets a byte that says so."""
        passed = print_ is not None and self.pass_over(print_)
        marks.append(passed)
        return passed

    def take_back(self, prints: set[int]) -> None:
        """These are to be read after all."""
        for print_ in prints:
            self._seen[bisect_left(self._prints, print_)] = 0
        self.doubled -= prints

    def seen(self) -> Iterator[int]:
        """The runs that are passed over."""
        return self._in_state(1)

    def unseen(self) -> Iterator[int]:
        """The runs that the feed does not have."""
        return self._in_state(0)

    def _in_state(self, state: int) -> Iterator[int]:
        at = self._seen.find(state)
        while at >= 0:
            yield self._prints[at]
            at = self._seen.find(state, at + 1)
