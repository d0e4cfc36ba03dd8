"""What was wrong with a file's rows: collected while reading, kept up to a limit, counted beyond it, told as a CSV."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from functools import cache

from sqlalchemy import TextClause, delete, select, text
from sqlalchemy.orm import Session

from services.formats.formulas import harmless
from services.imports.tally import KEPT_ERRORS, ErrorTally
from services.models import Import, ImportRowError, OrderImport, OrderImportError

TakenIn = Import | OrderImport  # a file whose rows may be wrong
KeptError = ImportRowError | OrderImportError
_ERRORS: dict[type[TakenIn], type[KeptError]] = {Import: ImportRowError, OrderImport: OrderImportError}


@cache
def _insert(table: str) -> TextClause:
    return text(f"""
    INSERT INTO {table} (merchant_id, import_id, n, line, code, "column", value, reason, fatal)
    SELECT :merchant_id, :import_id, kept.n + given.n, given.line, given.code, given.col, given.value, given.reason,
        given.fatal
    FROM (SELECT coalesce(max(n), 0) AS n FROM {table}
          WHERE merchant_id = :merchant_id AND import_id = :import_id) kept,
        unnest(CAST(:lines AS int[]), CAST(:codes AS text[]), CAST(:columns AS text[]), CAST(:values AS text[]),
               CAST(:reasons AS text[]), CAST(:fatals AS boolean[]))
            WITH ORDINALITY AS given (line, code, col, value, reason, fatal, n)
    WHERE kept.n + given.n <= :most
    """)  # noqa: S608  # our own tables


@cache
def _count(table: str) -> TextClause:
    return text(f"""
    UPDATE {table} SET errors = errors + :errors, warnings = warnings + :warnings,
        error_codes = error_codes || (
            SELECT jsonb_object_agg(code, coalesce((error_codes ->> code)::int, 0) + times::int)
            FROM jsonb_each_text(CAST(:codes AS jsonb)) AS more (code, times))
    WHERE id = :import_id
    """)  # noqa: S608


def record_errors(session: Session, tally: ErrorTally, *, of: TakenIn) -> None:
    """Add to what is known of the file's errors, in the caller's transaction. Counts show once `of` is refreshed."""
    if not tally.codes:
        return
    # NUL is the one character Postgres' text cannot hold; readers remove it, but a broken cell is what we report.
    cells = [[None if cell is None else cell.replace("\0", "") for cell in (e.column, e.value)] for e in tally.kept]
    session.execute(
        _insert(_ERRORS[type(of)].__tablename__),
        {
            "merchant_id": of.merchant_id,
            "import_id": of.id,
            "lines": [error.line for error in tally.kept],
            "codes": [error.code for error in tally.kept],
            "columns": [column for column, _ in cells],
            "values": [value for _, value in cells],
            "reasons": [error.reason.replace("\0", "") for error in tally.kept],
            "fatals": [error.fatal for error in tally.kept],
            "most": KEPT_ERRORS,
        },
    )
    counted = {"import_id": of.id, "errors": tally.fatal, "warnings": tally.total - tally.fatal}
    session.execute(_count(of.__tablename__), {**counted, "codes": json.dumps(tally.codes)})


def forget_errors(session: Session, *, of: TakenIn) -> None:
    """Start counting anew: the file is about to be read from its beginning."""
    remove_errors(session, of=of)
    reset = f"UPDATE {of.__tablename__} SET errors = 0, warnings = 0, error_codes = '{{}}' WHERE id = :import_id"  # noqa: S608
    session.execute(text(reset), {"import_id": of.id})


def remove_errors(session: Session, *, of: TakenIn) -> None:
    """Forget what was wrong with each row; how often what was wrong stays known."""
    row = _ERRORS[type(of)]
    session.execute(delete(row).where(row.merchant_id == of.merchant_id, row.import_id == of.id))


def kept_errors(session: Session, of: TakenIn, *, limit: int | None = None) -> list[KeptError]:
    """What was wrong with its rows, in the order it was found, as far as it was kept."""
    row = _ERRORS[type(of)]
    own = select(row).where(row.merchant_id == of.merchant_id, row.import_id == of.id)
    return list(session.scalars(own.order_by(row.n).limit(limit)))


def errors_csv(errors: Iterable[KeptError]) -> Iterator[str]:
    """The errors as lines of a CSV that is safe to open in a spreadsheet."""
    yield csv_line(("line", "code", "column", "value", "reason"))
    for error in errors:
        yield csv_line((str(error.line), error.code, error.column or "", error.value or "", error.reason))


def csv_line(cells: tuple[str, ...]) -> str:
    """A line of a CSV that is safe to open in a spreadsheet."""
    line = io.StringIO()
    csv.writer(line).writerow([harmless(cell) for cell in cells])
    return line.getvalue()
