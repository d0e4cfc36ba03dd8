"""Handlers of sources (queue `sync`: they wait for other people's servers)."""

from typing import Any

from services.imports.source_jobs import ImportSource
from services.jobs import Outcome, Run
from tasks import task


@task(ImportSource)
def import_source(run: Run, job: ImportSource) -> Outcome | dict[str, Any] | None:
    """What is at a source's address, into an import."""
    from services.imports.refresh import refresh  # brings an HTTP client along, which most jobs do not need

    return refresh(run, source_id=job.source_id, anew=job.anew)
