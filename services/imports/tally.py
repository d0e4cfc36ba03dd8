"""What was wrong with a file's rows, as it is collected while the file is read."""

from collections import Counter
from collections.abc import Iterable

from services.formats.base import RowError

KEPT_ERRORS = 10_000  # of one file: whoever has more has one problem ten thousand times


class ErrorTally:
    """Row errors in memory: the first `KEPT_ERRORS` of them, and how many of each code there were."""

    def __init__(self, errors: Iterable[RowError] = ()) -> None:
        self.kept: list[RowError] = []
        self.codes: Counter[str] = Counter()
        self.fatal = 0
        self.total = 0
        for error in errors:
            self.add(error)

    def add(self, error: RowError) -> None:
        """Count it, and keep it if there is room."""
        self.codes[error.code] += 1
        self.fatal += error.fatal
        self.total += 1
        if len(self.kept) < KEPT_ERRORS:
            self.kept.append(error)

    def extend(self, other: "ErrorTally") -> None:
        """Count and keep what another one has, behind its own."""
        self.codes += other.codes
        self.fatal += other.fatal
        self.total += other.total
        self.kept += other.kept[: KEPT_ERRORS - len(self.kept)]
