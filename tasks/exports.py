"""Handlers of exports (queue `import`: they keep a processor busy)."""

from services.exports.jobs import ExportProducts, RemoveExport
from services.exports.work import remove_export, run_export
from services.jobs import Outcome, Run
from tasks import task


@task(ExportProducts)
def export_products(run: Run, job: ExportProducts) -> None:
    """Products into a file."""
    run_export(run, export_id=job.export_id)


@task(RemoveExport)
def take_away_export(run: Run, job: RemoveExport) -> Outcome | None:
    """An export's file whose time is over."""
    return remove_export(run, export_id=job.export_id)
