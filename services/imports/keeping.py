"""How long the files of feeds are kept: as long as somebody may still want to see what stood in them."""

from uuid import UUID

from sqlalchemy import exists, select

from services.core.clock import now
from services.jobs import Outcome, Run, Snooze
from services.jobs.states import ENDED
from services.models import Changeset, Import, Job
from services.storage import get_storage

WAIT_SECONDS = 24 * 3600.0


def remove_feed(run: Run, *, import_id: UUID) -> Outcome | None:
    """Remove the file of an import for good; its row, its plan and its row errors stay.

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
        if import_.storage_key is None:
            return None
        import_.file_removed_at = import_.file_removed_at or now()
    get_storage().delete(import_.storage_key, merchant_id=import_.merchant_id)
    return None
