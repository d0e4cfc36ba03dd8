"""The job that keeps a source up to date. Merchants may put it on a schedule."""

from uuid import UUID

from services.jobs import Job


class ImportSource(Job, kind="import_source", queue="sync", timeout=900, schedulable=True):
    """Fetch the feed at a source's address and, if it is another than the last one, import it.

    `anew`: import it even if it is the same. The import is a job of its own, a child of this one.
    """

    source_id: UUID
    anew: bool = False
