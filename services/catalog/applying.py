"""A plan that is to be applied, as the work of a job: range after range, resumable, and stoppable in between."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.catalog import apply
from services.core.errors import Conflict
from services.jobs import Cancel, Run, Stopped
from services.models import Changeset

# A range and the `applied_upto` behind it are lost together or not at all, so only the last commit waits for the disk.
NO_WAIT = text("SET LOCAL synchronous_commit TO off")
WAIT = text("SET LOCAL synchronous_commit TO DEFAULT")


class ChangesetNotApplying(Conflict):
    """Nobody has asked for this plan to be applied, or it is over."""


def apply_changeset(
    run: Run,
    *,
    changeset_id: UUID,
    ended: Callable[[Session, Changeset], dict[str, Any]] | None = None,
    ends_job: bool = True,
) -> None:
    """Apply what is left of a plan in state `applying`; the last transaction also ends the job, if `ends_job`.

    `ended` is called in that transaction and returns what the job's result is to say besides. Cancelled between two
    ranges, the plan is `planned` again and can be applied further. Raises ChangesetNotApplying, StagingLost, Stopped.
    """
    try:
        while _next(run, changeset_id, ended, ends_job=ends_job):
            run.checkpoint()
    except Stopped as stopped:
        if isinstance(stopped.outcome, Cancel):
            with run.transaction() as session:
                changeset = session.get_one(Changeset, changeset_id, with_for_update=True)
                if changeset.state == "applying":
                    changeset.state = "planned"
        raise


def outcome(changeset: Changeset) -> dict[str, Any]:
    """What a job that worked on a plan says of it in its result."""
    return {
        "changeset_id": str(changeset.id),
        "changeset_state": changeset.state,
        "applied": changeset.applied,
        "conflicts": changeset.conflicts,
    }


def _next(
    run: Run,
    changeset_id: UUID,
    ended: Callable[[Session, Changeset], dict[str, Any]] | None,
    *,
    ends_job: bool,
) -> bool:
    """Apply a range; whether something is left."""
    with run.transaction() as session:
        session.execute(NO_WAIT)
        changeset = session.get_one(Changeset, changeset_id)
        if changeset.state not in ("applying", "applied"):
            raise ChangesetNotApplying(f"{ChangesetNotApplying.__doc__} It is {changeset.state}.")
        apply.apply_range(session, changeset, items=apply.RANGE)
        run.progress_report = (changeset.applied_upto, changeset.items, "updating the catalogue")
        if changeset.finished_at is not None:
            session.execute(WAIT)
            more = ended(session, changeset) if ended else {}
            if ends_job:
                run.finish(session, {**outcome(changeset), **more})
    return changeset.finished_at is None
