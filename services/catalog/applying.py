"""A plan that is to be applied, as the work of a job: range after range, resumable, and stoppable in between."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
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
_NOTE = "updating the catalogue"


class ChangesetNotApplying(Conflict):
    """Nobody has asked for this plan to be applied, or it is over."""


class _Withdrawn(Exception):
    """A range that was begun ahead does not stand: leaves its transaction."""


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
        with ThreadPoolExecutor(1) as lane:
            while _next(run, changeset_id, ended, lane, ends_job=ends_job):
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
    lane: ThreadPoolExecutor,
    *,
    ends_job: bool,
) -> bool:
    """Apply the next range, and the one behind it at the same time where that only makes products. Is something left?

    Most of the time goes into indexes, which two server processes fill nearly twice as fast. The second range is
    committed when the first is: cut anywhere, what is applied is a beginning of the plan.
    """
    stands: SimpleQueue[bool] = SimpleQueue()  # whether the first range does
    ahead: Future[int] | None = None
    try:
        with run.transaction() as session:
            session.execute(NO_WAIT)
            changeset = session.get_one(Changeset, changeset_id)
            if changeset.state not in ("applying", "applied"):
                raise ChangesetNotApplying(f"{ChangesetNotApplying.__doc__} It is {changeset.state}.")
            begun = apply.begin_range(session, changeset, items=apply.RANGE)
            if begun is not None:
                if apply.OF_FEED in begun.kinds and begun.upto < changeset.items:
                    ahead = lane.submit(_ahead, run, changeset_id, begun.upto, stands)
                apply.end_range(session, changeset, begun)
            upto, items = changeset.applied_upto, changeset.items
            if changeset.finished_at is not None:
                session.execute(WAIT)
                run.progress_report = (upto, items, _NOTE)
                more = ended(session, changeset) if ended else {}
                if ends_job:
                    run.finish(session, {**outcome(changeset), **more})
            is_over = changeset.finished_at is not None
    except BaseException:
        stands.put(False)
        if ahead is not None:
            ahead.exception()
        raise
    stands.put(True)
    if ahead is not None:
        upto = ahead.result() or upto
    if not run.ended:
        run.progress_report = (upto, items, _NOTE)
    return not is_over


def _ahead(run: Run, changeset_id: UUID, after: int, stands: "SimpleQueue[bool]") -> int:
    """Apply the range behind the one that is being applied. Returns up to which item, or 0 if it has to wait."""
    try:
        with run.transaction() as session:
            session.execute(NO_WAIT)
            changeset = session.get_one(Changeset, changeset_id)
            if not apply.apply_ahead(session, changeset, after=after, items=apply.RANGE, ready=stands.get):
                raise _Withdrawn
            return changeset.applied_upto
    except _Withdrawn:
        return 0
