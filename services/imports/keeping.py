"""How long the files of feeds, and what was wrong with their rows, are kept: as long as somebody may want to see them.

The row of an import stays for good, with its counts: a product's history names it.
"""

from uuid import UUID

from sqlalchemy import exists, select

from services.core.clock import now
from services.imports.row_errors import remove_errors
from services.jobs import Outcome, Run, Snooze
from services.jobs.states import ENDED
from services.models import Changeset, Import, Job
from services.storage import get_storage

WAIT_SECONDS = 24 * 3600.0


def remove_feed(run: Run, *, import_id: UUID) -> Outcome | None:
    """Remove the file of an import for good, and its row errors but for their counts; its row and its plan stay.

    Snoozes while the import is under way, or a plan of it is open: its drafts may have to be read again. Raises
    StorageAway.
    """
    with run.transaction() as session:
        import_ = session.get(Import, import_id)
        if import_ is None:
            return None
        job = session.get(Job, import_.job_id)
        of_it = (Changeset.merchant_id == import_.merchant_id, Changeset.import_id == import_id)
        is_open = session.scalar(select(exists().where(*of_it, Changeset.finished_at.is_(None))))
        if is_open or (job is not None and job.state not in ENDED):
            return Snooze(WAIT_SECONDS, "import_is_open")
        import_.file_removed_at = import_.file_removed_at or now()
        import_.skipped_runs = None  # where in the file they stood
        remove_errors(session, of=import_)
        if import_.storage_key is None:
            return None
    get_storage().delete(import_.storage_key, merchant_id=import_.merchant_id)
    return None
