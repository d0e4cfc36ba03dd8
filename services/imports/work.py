"""One import from its origin to the catalogue: read, plan, decide, apply. Whatever cuts an attempt, the next goes on.

An origin is what its drafts are made of: a file, or (services/sourcing) what a supplier offers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.catalog import applying
from services.catalog.drafts import StagingLost
from services.catalog.guards import judge_plan
from services.catalog.lanes import in_lanes
from services.catalog.plan import Place, Planned, plan_ahead, plan_range
from services.catalog.summary import conclude
from services.core.clock import now
from services.core.errors import Invalid
from services.formats.base import FeedRefused, RowError
from services.imports.origin import source_named
from services.imports.receive import FeedNotUsable
from services.imports.row_errors import record_errors
from services.imports.staging import clear_drafts, is_staged, stage
from services.imports.tally import ErrorTally
from services.imports.turns import take_turn
from services.imports.unchanged import forget_missing
from services.jobs import Outcome, Run, Snooze
from services.models import Changeset, Import, Source
from services.storage import get_storage

WAIT_SECONDS = 2.0


class BadRows(Invalid):
    """Some rows cannot be used, and this source takes a file as a whole or not at all."""


def _nothing_more(session: Session, import_: Import, changeset: Changeset) -> dict[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class Origin:
    """What drafts are made of, and what else is to be true in the transaction that ends the job.

    `stage` fills the staging table from the beginning (`begin_staging`, `close_staging`); it may be asked for again.
    `ended` returns what the job's result is to say besides.
    """

    stage: Callable[[Run, Import, Changeset], None]
    ended: Callable[[Session, Import, Changeset], dict[str, Any]] = _nothing_more


def _stage_file(run: Run, import_: Import, changeset: Changeset) -> None:
    with get_storage().open(import_.storage_key or "", merchant_id=import_.merchant_id) as file:
        try:
            stage(run, import_, changeset, file)
        except FeedRefused as refused:
            raise FeedNotUsable(refused) from refused


FILE = Origin(_stage_file)


def run_import(run: Run, *, import_id: UUID, origin: Origin = FILE) -> Outcome | None:
    """Do what is left to do of an import: up to a plan that waits for somebody, or up to the catalogue.

    Its last transaction also ends the job. Snoozes while another import of the same source is at work. Raises
    FeedNotUsable, NoUsableRows, BadRows, StagingLost, what the origin and storage raise, and Stopped.
    """
    import_ = take_turn(run, import_id)
    if import_ is None:
        return Snooze(WAIT_SECONDS, "behind_another_import")
    if import_.url is not None and import_.storage_key is None:
        from services.imports.fetch import fetch  # brings an HTTP client along, which files do not need

        fetch(run, import_)
    changeset = _changeset(run, import_id)
    if changeset.planned_at is None:
        _ensure_staged(run, import_id, changeset, origin)
        _refuse_bad_rows(run, import_id, changeset.id)
        _plan_in_lanes(run, import_id, changeset.id)
        while _plan_next(run, import_id, changeset.id):
            pass
        _refuse_bad_rows(run, import_id, changeset.id)
        _decide(run, import_id, changeset.id, origin)
    else:
        _go_on(run, changeset.id)
        _ensure_staged(run, import_id, changeset, origin)
    if not run.ended:
        applying.apply_changeset(run, changeset_id=changeset.id, ended=_applied(origin))
    return None


def apply_approved(run: Run, *, changeset_id: UUID, origin_of: Callable[[Import], Origin] = lambda _: FILE) -> None:
    """Apply what is left of a plan in state `applying`; the last transaction also ends the job.

    The drafts that products are made of are read from their origin again if they are gone.
    """
    origin = FILE
    with run.transaction() as session:
        changeset = session.get_one(Changeset, changeset_id)
        if changeset.import_id is not None:
            origin = origin_of(session.get_one(Import, changeset.import_id))
    if changeset.import_id is not None:
        _ensure_staged(run, changeset.import_id, changeset, origin)
    applying.apply_changeset(run, changeset_id=changeset_id, ended=_applied(origin))


def _changeset(run: Run, import_id: UUID) -> Changeset:
    """The import's plan that is not over, or a new one."""
    with run.transaction() as session:
        own = select(Changeset).where(Changeset.import_id == import_id).order_by(Changeset.id.desc()).limit(1)
        changeset = session.scalar(own)
        if changeset is None or changeset.finished_at is not None:
            import_ = session.get_one(Import, import_id)
            if changeset is not None:  # given up: what was found in planning it will be found again
                import_.staged_at = None
            source = _source(session, import_)
            changeset = Changeset(
                merchant_id=import_.merchant_id,
                kind="import",
                state="planning",
                source=import_.source,
                import_id=import_id,
                writes=source.fields,
            )
            session.add(changeset)
        changeset.job_id = run.id
        session.flush()
        session.refresh(changeset)
        return changeset


def _source(session: Session, import_: Import) -> Source:
    """What the import's source may do, as it is set up now."""
    return source_named(session, merchant_id=import_.merchant_id, name=import_.source)


def _ensure_staged(run: Run, import_id: UUID, changeset: Changeset, origin: Origin) -> None:
    """Stage the drafts, unless they are all there."""
    with run.transaction() as session:
        import_ = session.get_one(Import, import_id)
        staged = is_staged(session, import_)
    if not staged:
        origin.stage(run, import_, changeset)


def _refuse_bad_rows(run: Run, import_id: UUID, changeset_id: UUID) -> None:
    with run.transaction() as session:
        import_ = session.get_one(Import, import_id)
        policy = import_.bad_rows or _source(session, import_).bad_rows
        refused = import_.errors > 0 and policy == "refuse"
        if refused:
            changeset = session.get_one(Changeset, changeset_id)
            changeset.state, changeset.finished_at, changeset.note = "failed", now(), "bad_rows"
            clear_drafts(session, import_)
            forget_missing(session, import_)
    if refused:
        raise BadRows(
            f"{import_.errors} of {import_.rows} rows cannot be used, and the file is to be taken as a whole."
        )


def _plan_next(run: Run, import_id: UUID, changeset_id: UUID) -> bool:
    """Plan one range of products; False when that was the last. Items, cursor and counts are one transaction."""
    with run.transaction() as session:
        session.execute(applying.NO_WAIT)
        import_ = session.get_one(Import, import_id)
        changeset = session.get_one(Changeset, changeset_id, with_for_update=True)
        done = changeset.counts.get("rows", 0)
        source = _source(session, import_)
        planned = plan_range(session, changeset, drafts=import_.staged_rows - done, missing=source.missing)
        done = _noted(session, import_, changeset, planned)
        if planned.last and done != import_.staged_rows:
            raise StagingLost(retry_after=1)
    run.progress(done, import_.staged_rows, "planning")
    return not planned.last


def _plan_in_lanes(run: Run, import_id: UUID, changeset_id: UUID) -> None:
    """Plan the products of a source that has none yet, two ranges at a time, except for the last drafts."""
    with run.transaction() as session:
        import_ = session.get_one(Import, import_id)
        changeset = session.get_one(Changeset, changeset_id)
        first = Place(changeset.plan_cursor or "", changeset.items, changeset.counts.get("rows", 0))

    def ahead(session: Session, after: Place, begun: Callable[[Place], None], ready: Callable[[], bool]) -> bool:
        session.execute(applying.NO_WAIT)
        found = session.get_one(Changeset, changeset_id)
        planned = plan_ahead(session, found, after=after, begun=begun, ready=ready)
        if planned is not None:
            _noted(session, import_, found, planned)
        return planned is not None

    in_lanes(run, first, ahead, done=lambda upto: run.progress(upto.drafts, import_.staged_rows, "planning"))


def _noted(session: Session, import_: Import, changeset: Changeset, planned: Planned) -> int:
    """Record what is to be said of a range's rows. Returns how many are planned by now."""
    record_errors(session, ErrorTally(map(_repeated, planned.repeated)), of=import_)
    done: int = changeset.counts.get("rows", 0) + planned.rows
    changeset.counts = {**changeset.counts, "rows": done}
    return done


def _decide(run: Run, import_id: UUID, changeset_id: UUID, origin: Origin) -> None:
    """The plan is whole: sum it up, judge it, and apply it, keep it, or put it before somebody, as its source says."""
    with run.transaction() as session:
        import_ = session.get_one(Import, import_id)
        source = _source(session, import_)
        changeset = session.get_one(Changeset, changeset_id)
        changeset.counts = {**_with_skipped(import_, changeset.counts), "errors": import_.errors}
        conclude(session, changeset)
        held = judge_plan(session, changeset, thresholds=source.guards)
        changeset.planned_at = now()
        changeset.state = state_by(source.apply, held=held, empty=not changeset.items)
        if changeset.state == "applying":
            changeset.decided_at = changeset.planned_at
            return
        more = origin.ended(session, import_, changeset)
        run.finish(session, {**_result(import_, changeset), **more})


def _with_skipped(import_: Import, counts: dict[str, Any]) -> dict[str, Any]:
    """A plan's counts with what was not planned, because its records said nothing new."""
    more = dict(counts)
    for what in ("products", "variants"):
        group = counts.get(what, {})
        more[what] = {**group, "unchanged": group.get("unchanged", 0) + (import_.skipped or {}).get(what, 0)}
    return more


def state_by(policy: str, *, held: bool, empty: bool) -> str:
    """What state a source's policy puts a plan into that is all there."""
    if policy == "dry_run":
        return "planned"
    return "awaiting_approval" if held or (policy == "ask" and not empty) else "applying"


def _go_on(run: Run, changeset_id: UUID) -> None:
    """A job that was cancelled or failed while it applied a plan, and is retried, goes on applying it."""
    with run.transaction() as session:
        changeset = session.get_one(Changeset, changeset_id, with_for_update=True)
        if changeset.decided_at is not None and changeset.state == "planned":
            changeset.state = "applying"


def _applied(origin: Origin) -> Callable[[Session, Changeset], dict[str, Any]]:
    def ended(session: Session, changeset: Changeset) -> dict[str, Any]:
        """The plan is applied: what came of its import is known, and its drafts are no longer needed."""
        if changeset.import_id is None:
            return {}
        import_ = session.get_one(Import, changeset.import_id)
        clear_drafts(session, import_)
        forget_missing(session, import_)
        for what in ("products", "variants"):
            done = changeset.counts["applied"][what]
            setattr(import_, f"{what}_created", done.get("create", 0))
            setattr(import_, f"{what}_updated", done.get("update", 0))
            setattr(import_, f"{what}_unchanged", changeset.counts[what]["unchanged"])
        import_.applied_rows = import_.staged_rows
        import_.finished_at = now()
        session.flush()
        return {**_result(import_, changeset), **origin.ended(session, import_, changeset)}

    return ended


def _result(import_: Import, changeset: Changeset) -> dict[str, Any]:
    return {"import_id": str(import_.id), **summary(import_), **applying.outcome(changeset)}


def _repeated(found: Any) -> RowError:
    what = f"variant {found.variant_key!r} of {found.product_key!r}" if found.variant_key else f"{found.product_key!r}"
    reason = (
        f"Lines {found.line} and {found.later_line} are both {what[:300]}; where they differ, the later one counts."
    )
    return RowError(found.line, "duplicate_variant", None, (found.variant_key or found.product_key)[:200], reason)


def summary(import_: Import) -> dict[str, Any]:
    """What came of an import so far, as its job and the API tell it."""
    return {
        "rows": import_.rows,
        "products": {name: getattr(import_, f"products_{name}") for name in ("created", "updated", "unchanged")},
        "variants": {name: getattr(import_, f"variants_{name}") for name in ("created", "updated", "unchanged")},
        "errors": import_.errors,
        "warnings": import_.warnings,
    }
