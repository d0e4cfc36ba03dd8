"""One file of orders: read, staged, and stored order by order. Whatever cuts an attempt, the next one goes on.

An order's lines may stand anywhere in the file, so records are staged first and read back by order; of the file only
a batch is ever in memory. Where it has come is written with the orders themselves.
"""

import contextlib
import json
from collections.abc import Iterator
from itertools import islice
from typing import Any, BinaryIO
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.catalog.drafts import StagingLost
from services.core.clock import now
from services.core.errors import Invalid, Unavailable
from services.formats import tabular
from services.formats.base import FeedRefused, RowError
from services.imports.receive import FeedNotUsable
from services.imports.row_errors import forget_errors, record_errors
from services.imports.tally import ErrorTally
from services.jobs import Run
from services.models import OrderImport
from services.orders.files.columns import Columns, Extracted, Reader, found_in
from services.orders.files.grouping import MOST_LINES, Defaults, Row, grouped
from services.orders.files.intake import fetch, mapping_of
from services.orders.incoming.receive import Receipt, receive
from services.orders.incoming.said import SaidOrder
from services.storage import get_storage

STAGED_AT_ONCE = 5_000  # records
ORDERS_AT_ONCE = 200
ROWS_AT_ONCE = 4_000

_LOAD = "CREATE TEMPORARY TABLE order_load (external_id text, line int, said jsonb) ON COMMIT DROP"
_STAGE = """
INSERT INTO order_drafts (merchant_id, import_id, external_id, line, said)
SELECT %(merchant_id)s, %(import_id)s, external_id, line, said FROM order_load
"""
_OWN = "merchant_id = :merchant_id AND import_id = :import_id"
_CLEAR = text(f"DELETE FROM order_drafts WHERE {_OWN}")  # noqa: S608
_COUNT = text(f"SELECT count(*) FROM order_drafts WHERE {_OWN}")  # noqa: S608
# The next orders by id, as many as make a batch of records, and at least one.
_NEXT = text(f"""
WITH few AS (
    SELECT external_id, count(*) AS records, min(line) AS line FROM order_drafts
    WHERE {_OWN} AND external_id > :done GROUP BY 1 ORDER BY 1 LIMIT :orders
), summed AS (
    SELECT few.*, sum(records) OVER (ORDER BY external_id) - records AS before FROM few
)
SELECT external_id, records, line FROM summed WHERE before < :rows ORDER BY external_id
""")  # noqa: S608
_ROWS = text(f"""
SELECT external_id, line, said FROM order_drafts
WHERE {_OWN} AND external_id = ANY(:ids) ORDER BY external_id, line
""")  # noqa: S608
# Of imports that ended badly and were left.
_SWEEP = text("""
DELETE FROM order_drafts d USING order_imports i LEFT JOIN jobs ON jobs.id = i.job_id
WHERE d.merchant_id = :merchant_id AND i.id = d.import_id AND i.id <> :import_id
    AND coalesce(jobs.state, 'failed') IN ('succeeded', 'failed', 'cancelled')
""")


class NoUsableOrders(Invalid):
    """Not one row of the file could be used."""


def run_order_import(run: Run, *, order_import_id: UUID) -> None:
    """Do what is left to do of a file of orders. Its last transaction also ends the job.

    Raises FeedNotUsable, NoUsableOrders, StagingLost, what fetching and storage raise, and Stopped.
    """
    with run.transaction() as session:
        found = session.get_one(OrderImport, order_import_id)
    if found.storage_key is None:
        fetch(run, found)
    _ensure_staged(run, order_import_id)
    while _store_next(run, order_import_id):
        pass
    _drop_file(run, order_import_id)


# -- Staging -----------------------------------------------------------------------------------------------------------


def _ensure_staged(run: Run, order_import_id: UUID) -> None:
    with run.transaction() as session:
        found = session.get_one(OrderImport, order_import_id)
        staged = session.execute(_COUNT, _own(found)).scalar_one()
    if found.staged_at is not None and staged == found.staged_rows:
        return
    with get_storage().open(found.storage_key or "", merchant_id=found.merchant_id) as file:
        try:
            _stage(run, found, file)
        except FeedRefused as refused:
            raise FeedNotUsable(refused) from refused


def _stage(run: Run, found: OrderImport, file: BinaryIO) -> None:
    known = found.staged_at is not None  # only its records were lost: what was wrong with them is noted
    with run.transaction() as session:
        session.execute(_SWEEP, _own(found))
        session.execute(_CLEAR, _own(found))
        if not known:
            forget_errors(session, of=found)
    run.progress(0, None, "reading")
    mapping = mapping_of(found.mapping)
    with tabular.opened(file, named=mapping.named, header=mapping.header, sheet=mapping.sheet) as table:
        columns = found_in(table.headers, mapping=mapping.fields)
        tally = ErrorTally()
        records = _extracted(table, Reader(columns, table.sample), tally)
        staged = 0
        while batch := list(islice(records, STAGED_AT_ONCE)):
            with run.transaction() as session:
                _copy(session, found, batch)
            staged += len(batch)
            run.progress(staged, None, f"reading, {100 * table.done():.0f} %" if table.done else "reading")
        with run.transaction() as session:
            _conclude(session, found.id, table, columns, tally, staged=staged, known=known)
    if not staged:
        first = tally.kept[0].reason if tally.kept else "It has no rows."
        raise NoUsableOrders(f"Not one of the {tally.fatal} rows could be used. The first: {first}")


def _extracted(table: tabular.Records, reader: Reader, tally: ErrorTally) -> Iterator[Extracted]:
    for record in table.records:
        if isinstance(record, RowError):
            tally.add(record)
            continue
        for one in reader.read(*record):
            if isinstance(one, RowError):
                tally.add(one)
            else:
                yield one


def _copy(session: Session, found: OrderImport, batch: list[Extracted]) -> None:
    connection: Any = session.connection().connection.driver_connection
    connection.execute(_LOAD)
    with connection.cursor() as cursor, cursor.copy("COPY order_load (external_id, line, said) FROM STDIN") as copy:
        for one in batch:
            copy.write_row((one.external_id, one.line, json.dumps([one.order, one.of_line])))
    connection.execute(_STAGE, {"merchant_id": found.merchant_id, "import_id": found.id})


def _conclude(
    session: Session,
    order_import_id: UUID,
    table: tabular.Records,
    columns: Columns,
    tally: ErrorTally,
    *,
    staged: int,
    known: bool,
) -> None:
    row = session.get_one(OrderImport, order_import_id)
    if session.execute(_COUNT, _own(row)).scalar_one() != staged or (known and staged != row.staged_rows):
        raise StagingLost(retry_after=1)
    if not known:
        record_errors(session, tally, of=row)
        session.refresh(row)
    row.format, row.encoding, row.delimiter = table.format, table.encoding, table.delimiter
    row.columns = columns.shown()
    row.rows, row.staged_rows, row.staged_at = staged + tally.fatal, staged, now()


# -- Storing -----------------------------------------------------------------------------------------------------------


def _store_next(run: Run, order_import_id: UUID) -> bool:
    """Store the next orders; False when there were none left. Orders, cursor and counts are one transaction."""
    with run.transaction() as session:
        row = session.get_one(OrderImport, order_import_id, with_for_update=True)
        asked = {**_own(row), "done": row.done_key or "", "orders": ORDERS_AT_ONCE, "rows": ROWS_AT_ONCE}
        following = session.execute(_NEXT, asked).all()
        if not following:
            _finish(run, session, row)
            return False
        tally = ErrorTally()
        fitting = [one.external_id for one in following if one.records <= MOST_LINES]
        for one in following:
            if one.records > MOST_LINES:
                row.orders_refused += 1
                reason = f"The order has {one.records:,} lines; {MOST_LINES:,} are allowed."
                tally.add(RowError(one.line, "order_too_long", None, one.external_id[:200], reason))
        said, lines = _said(session, row, fitting, tally)
        for receipt in receive(session, said, merchant_id=row.merchant_id):
            _count(row, receipt, lines[receipt.external_id], tally)
        row.done_key = following[-1].external_id
        row.done_rows += sum(one.records for one in following)
        session.flush()
        record_errors(session, tally, of=row)
        done, total = row.done_rows, row.staged_rows
    run.progress(done, total, "storing")
    return True


def _drop_file(run: Run, order_import_id: UUID) -> None:
    """Forget the file: it has names and addresses, and everything of it that counts is stored."""
    with run.transaction() as session:
        row = session.get_one(OrderImport, order_import_id)
        key, row.storage_key = row.storage_key, None
    if key is not None:
        with contextlib.suppress(Unavailable):
            get_storage().delete(key, merchant_id=run.merchant_id)


def _said(
    session: Session, row: OrderImport, ids: list[str], tally: ErrorTally
) -> tuple[list[SaidOrder], dict[str, int]]:
    """The orders of these ids, and where in the file each begins."""
    by_id: dict[str, list[Row]] = {}
    for one in session.execute(_ROWS, {**_own(row), "ids": ids}):
        by_id.setdefault(one.external_id, []).append(Row(one.line, *one.said))
    defaults = Defaults(row.channel, row.currency, row.country)
    said: list[SaidOrder] = []
    for external_id, rows in by_id.items():
        refused = True
        for found in grouped(external_id, rows, defaults):
            if isinstance(found, RowError):
                tally.add(found)
            else:
                refused = False
                said.append(found)
        row.orders_refused += refused
    return said, {external_id: rows[0].line for external_id, rows in by_id.items()}


def _count(row: OrderImport, receipt: Receipt, line: int, tally: ErrorTally) -> None:
    name = f"orders_{receipt.outcome}"
    setattr(row, name, getattr(row, name) + 1)
    if receipt.error is not None:
        tally.add(RowError(line, receipt.error.code, None, receipt.external_id[:200], receipt.error.detail))


def _finish(run: Run, session: Session, row: OrderImport) -> None:
    if row.done_rows != row.staged_rows:
        raise StagingLost(retry_after=1)
    session.execute(_CLEAR, _own(row))
    row.finished_at = now()
    session.flush()
    run.finish(session, result_of(row))


def result_of(row: OrderImport) -> dict[str, Any]:
    """What came of an import of orders so far."""
    orders = {name: getattr(row, f"orders_{name}") for name in ("created", "changed", "unchanged", "refused")}
    return {
        "order_import_id": str(row.id),
        "rows": row.rows,
        "orders": orders,
        "errors": row.errors,
        "warnings": row.warnings,
    }


def _own(row: OrderImport) -> dict[str, Any]:
    return {"merchant_id": row.merchant_id, "import_id": row.id}
