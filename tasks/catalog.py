"""Handlers of plans of any kind, on the queue `import`."""

from services.catalog.jobs import ApplyChangeset, RevertChangeset
from services.catalog.prices import UpdatePrices, plan_prices
from services.catalog.revert import plan_revert
from services.jobs import Run
from tasks import task


@task(ApplyChangeset)
def apply_changeset(run: Run, job: ApplyChangeset) -> None:
    """A plan that somebody has approved, into the catalogue."""
    from services.sourcing.syncs.sync import apply_any  # brings the suppliers along, which other plans do not need

    apply_any(run, changeset_id=job.changeset_id)


@task(RevertChangeset)
def revert_changeset(run: Run, job: RevertChangeset) -> None:
    """The plan that takes a large one back."""
    plan_revert(run, changeset_id=job.changeset_id, apply=job.apply)


@task(UpdatePrices)
def price_update(run: Run, job: UpdatePrices) -> None:
    """The plan that changes the prices of many products."""
    plan_prices(run, job)
