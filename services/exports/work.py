"""One export from the catalogue to its file, and the removal of that file. Whatever cuts an attempt leaves none behind.

The file is written beside and stored as a whole. Its key is committed before it is stored: the next attempt, or the
job that removes it in the end, knows what may be there.
"""

import contextlib
import tempfile
from typing import BinaryIO
from uuid import UUID

from sqlalchemy.orm import Session

from services.core import db
from services.core.clock import now
from services.core.errors import Unavailable
from services.exports import catalogue
from services.exports.ask import FILTERS, TABLES
from services.exports.queries import ExportExpired
from services.formats.writers import Writer, open_writer
from services.jobs import Outcome, Run, Snooze
from services.jobs.states import ENDED
from services.models import Export, Job
from services.storage import get_storage
from services.storage.base import new_key

WAIT_SECONDS = 3600.0


def run_export(run: Run, *, export_id: UUID) -> None:
    """Write the export's file; the last transaction also ends the job.

    Raises ExportExpired, TooManyRows, StorageAway, FileTooLarge, DatabaseAway, Stopped.
    """
    export = _begin(run, export_id)
    with tempfile.TemporaryFile(prefix="shopopti-") as file:
        writer = open_writer(file, export.format, export.columns)
        products = _write(run, export, writer)
        size = file.seek(0, 2)
        file.seek(0)
        run.checkpoint()
        _keep(run, export, file, size=size, products=products, writer=writer)


def _begin(run: Run, export_id: UUID) -> Export:
    """The export with a key for its file; one that an earlier attempt may have stored is removed."""
    with run.transaction() as session:
        export = session.get_one(Export, export_id)
    if export.removed_at is not None:
        raise ExportExpired()
    if export.storage_key is not None:
        get_storage().delete(export.storage_key, merchant_id=export.merchant_id)
    with run.transaction() as session:
        export = session.get_one(Export, export_id)
        export.storage_key = new_key(export.merchant_id, export.filename)
    return export


def _write(run: Run, export: Export, writer: Writer) -> int:
    """All matching products of one moment; how many there were.

    The transaction only reads: a job may be stopped in it, between two ranges.
    """
    matching = FILTERS.validate_python(export.filters)
    shape = catalogue.as_written if export.format in TABLES else catalogue.as_json
    done = 0
    with contextlib.closing(writer), db.transaction(merchant_id=export.merchant_id, snapshot=True) as session:
        total = catalogue.count_products(session, matching, merchant_id=export.merchant_id)
        run.progress(0, total, "writing products")
        with contextlib.closing(catalogue.ranges(session, matching, merchant_id=export.merchant_id)) as ranges:
            for found in ranges:
                with contextlib.closing(found):
                    for product, variants in found:
                        writer.write(shape(product, variants))
                        done += 1
                run.progress(done, total, "writing products")
    return done


def _keep(run: Run, export: Export, file: BinaryIO, *, size: int, products: int, writer: Writer) -> None:
    """Store the file and say so. When that cannot be said for certain, the next attempt removes it."""
    key = export.storage_key or ""
    storage = get_storage()
    try:
        storage.put(file, merchant_id=export.merchant_id, name=export.filename, key=key)
        with run.transaction() as session:
            row = _locked(session, export.id)
            if row.removed_at is not None or row.storage_key != key:
                raise ExportExpired()
            row.bytes, row.products, row.rows, row.left_out = size, products, writer.rows, writer.left_out
            row.finished_at = now()
            session.flush()
            counts = {"products": products, "rows": writer.rows, "bytes": size, "left_out": writer.left_out}
            run.finish(session, {"export_id": str(export.id), **counts})
    except BaseException:
        if not run.ended:  # else the commit may have happened, and only its answer is lost: then the file is needed
            with contextlib.suppress(Unavailable):
                storage.delete(key, merchant_id=export.merchant_id)
        raise


def remove_export(run: Run, *, export_id: UUID) -> Outcome | None:
    """Remove an export's file for good. Snoozes while the export is still being written. Raises StorageAway."""
    with run.transaction() as session:
        export = session.get(Export, export_id)
        if export is None:
            return None
        job = session.get(Job, export.job_id)
        if job is not None and job.state not in ENDED:
            return Snooze(WAIT_SECONDS, "export_at_work")
        _locked(session, export_id).removed_at = now()
    if export.storage_key is not None:
        get_storage().delete(export.storage_key, merchant_id=export.merchant_id)
    return None


def _locked(session: Session, export_id: UUID) -> Export:
    return session.get_one(Export, export_id, with_for_update=True, populate_existing=True)
