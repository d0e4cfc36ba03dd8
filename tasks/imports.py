"""Handlers of the queue `import`."""

from services.imports.jobs import ImportCsvProducts, ImportXmlFeed, RemoveFeed
from services.imports.keeping import remove_feed
from services.imports.work import run_import
from services.jobs import Outcome, Run
from services.orders.files.jobs import ImportOrders
from services.orders.files.work import run_order_import
from tasks import task


@task(ImportCsvProducts)
@task(ImportXmlFeed)
def import_feed(run: Run, job: ImportCsvProducts | ImportXmlFeed) -> Outcome | None:
    """A stored file, or an address, into the catalogue."""
    return run_import(run, import_id=job.import_id)


@task(RemoveFeed)
def take_away_feed(run: Run, job: RemoveFeed) -> Outcome | None:
    """The file of an import whose time is over."""
    return remove_feed(run, import_id=job.import_id)


@task(ImportOrders)
def import_orders(run: Run, job: ImportOrders) -> None:
    """A file of orders, in."""
    run_order_import(run, order_import_id=job.order_import_id)
