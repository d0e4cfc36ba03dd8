"""What was wrong with a feed's rows: collected while reading, kept up to a limit, counted beyond it."""

from collections import Counter
from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.formats.base import RowError

KEPT_ERRORS = 10_000  # of one import: whoever has more has one problem ten thousand times

_INSERT = text("""
INSERT INTO import_errors (merchant_id, import_id, n, line, code, "column", value, reason, fatal)
SELECT :merchant_id, :import_id, kept.n + given.n, given.line, given.code, given.col, given.value, given.reason,
    given.fatal
FROM (SELECT coalesce(max(n), 0) AS n FROM import_errors
      WHERE merchant_id = :merchant_id AND import_id = :import_id) kept,
    unnest(CAST(:lines AS int[]), CAST(:codes AS text[]), CAST(:columns AS text[]), CAST(:values AS text[]),
           CAST(:reasons AS text[]), CAST(:fatals AS boolean[]))
        WITH ORDINALITY AS given (line, code, col, value, reason, fatal, n)
WHERE kept.n + given.n <= :most
""")

_COUNT = text("""
UPDATE imports SET errors = errors + :errors, warnings = warnings + :warnings,
    error_codes = error_codes || (
        SELECT jsonb_object_agg(code, coalesce((error_codes ->> code)::int, 0) + times::int)
        FROM jsonb_each_text(CAST(:codes AS jsonb)) AS more (code, times))
WHERE id = :import_id
""")

_CLEAR = text("DELETE FROM import_errors WHERE merchant_id = :merchant_id AND import_id = :import_id")
_RESET = text("UPDATE imports SET errors = 0, warnings = 0, error_codes = '{}' WHERE id = :import_id")


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


def record_errors(session: Session, tally: ErrorTally, *, merchant_id: UUID, import_id: UUID) -> None:
    """Add to what is known of the import's errors, in the caller's transaction."""
    if not tally.codes:
        return
    # NUL is the one character Postgres' text cannot hold; readers remove it, but a broken cell is what we report.
    cells = [[None if cell is None else cell.replace("\0", "") for cell in (e.column, e.value)] for e in tally.kept]
    session.execute(
        _INSERT,
        {
            "merchant_id": merchant_id,
            "import_id": import_id,
            "lines": [error.line for error in tally.kept],
            "codes": [error.code for error in tally.kept],
            "columns": [column for column, _ in cells],
            "values": [value for _, value in cells],
            "reasons": [error.reason.replace("\0", "") for error in tally.kept],
            "fatals": [error.fatal for error in tally.kept],
            "most": KEPT_ERRORS,
        },
    )
    total = sum(tally.codes.values())
    codes = "{" + ", ".join(f'"{code}": {times}' for code, times in tally.codes.items()) + "}"
    session.execute(
        _COUNT, {"import_id": import_id, "errors": tally.fatal, "warnings": total - tally.fatal, "codes": codes}
    )


def forget_errors(session: Session, *, merchant_id: UUID, import_id: UUID) -> None:
    """Start counting anew: the file is about to be read from its beginning."""
    session.execute(_CLEAR, {"merchant_id": merchant_id, "import_id": import_id})
    session.execute(_RESET, {"import_id": import_id})
