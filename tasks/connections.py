"""Handlers of what connections to suppliers need (queue `sync`)."""

from services.jobs import Outcome, Run
from services.sourcing.jobs import RenewTokens
from tasks import task


@task(RenewTokens)
def renew_supplier_tokens(run: Run, job: RenewTokens) -> Outcome | None:
    """Access to an account, before it expires."""
    from services.sourcing.accounts.renewal import (
        run_renewal,  # brings the suppliers along, which most jobs do not need
    )

    return run_renewal(run, job)
