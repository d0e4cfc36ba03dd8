"""A plan that is to be applied, as the work of a job: range after range, resumable, and stoppable in between."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.catalog import apply
from services.catalog.lanes import in_lanes
from services.core.errors import Conflict
from services.jobs import Cancel, Run, Stopped
from services.models import Changeset

# A range and the `applied_upto` behind it are lost together or not at all, so only the last commit waits for the disk.
NO_WAIT = text("SET LOCAL synchronous_commit TO off")
WAIT = text("SET LOCAL synchronous_commit TO DEFAULT")
_NOTE = "updating the catalogue"


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
        left: Changeset | None = _begun(run, changeset_id)
        while left is not None:
            if apply.makes_products(left):
                _in_lanes(run, left)
            left = _next(run, changeset_id, ended, ends_job=ends_job)
            if left is not None:
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


def _begun(run: Run, changeset_id: UUID) -> Changeset:
    with run.transaction() as session:
        return _applying(session, changeset_id)


def _applying(session: Session, changeset_id: UUID) -> Changeset:
    changeset = session.get_one(Changeset, changeset_id)
    if changeset.state not in ("applying", "applied"):
        raise ChangesetNotApplying(f"{ChangesetNotApplying.__doc__} It is {changeset.state}.")
    return changeset


def _next(
    run: Run,
    changeset_id: UUID,
    ended: Callable[[Session, Changeset], dict[str, Any]] | None,
    *,
    ends_job: bool,
) -> Changeset | None:
    """Apply the next range. Returns the plan as it is then, None if nothing is left of it."""
    with run.transaction() as session:
        session.execute(NO_WAIT)
        changeset = _applying(session, changeset_id)
        apply.apply_range(session, changeset, items=apply.RANGE)
        run.progress_report = (changeset.applied_upto, changeset.items, _NOTE)
        if changeset.finished_at is None:
            return changeset
        session.execute(WAIT)
        more = ended(session, changeset) if ended else {}
        if ends_job:
            run.finish(session, {**outcome(changeset), **more})
    return None


def _in_lanes(run: Run, changeset: Changeset) -> None:
    """Apply the next ranges, two at a time, up to the first that does more than make products of a feed.

    Most of the time goes into indexes, which two server processes fill nearly twice as fast.
    """

    def ahead(session: Session, after: int, begun: Callable[[int], None], ready: Callable[[], bool]) -> bool:
        session.execute(NO_WAIT)
        found = session.get_one(Changeset, changeset.id)
        return apply.apply_ahead(session, found, after=after, items=apply.RANGE, begun=begun, ready=ready)

    in_lanes(run, changeset.applied_upto, ahead, done=lambda upto: run.progress(upto, changeset.items, _NOTE))
