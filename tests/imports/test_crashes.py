"""An import cut anywhere, by anything, comes to the same end when it is taken up again."""

import contextlib
import random
import threading
from collections.abc import Iterator
from uuid import UUID

import pytest
from sqlalchemy import text

from services.catalog import apply, plan
from services.catalog.jobs import ApplyChangeset
from services.core.clock import now
from services.core.db import transaction
from services.imports import batches
from services.jobs import Cancel, enqueue
from services.jobs.control import cancel_job, retry_job
from services.jobs.ledger import Claim
from services.jobs.run import Run
from services.models import Changeset, Import
from tests import inline
from tests.conftest import make_merchant
from tests.examples import examples, some
from tests.imports.importing import (
    begin,
    catalogue,
    errors_of,
    items_of,
    make_source,
    plan_of,
    reload,
    run_feed,
    staged,
    whole_catalogue,
)

OLD = "Handle,Title,Option1 Name,Option1 Value,Variant SKU,Variant Price\n" + "".join(
    f"p{n:02},Old {n},Size,S,{n}-S,1.00\n" for n in range(0, 20, 2)
)
# Products old and new, scattered over several batches, with a repeated variant and a broken row.
NEW = (
    "Handle,Title,Option1 Name,Option1 Value,Variant SKU,Variant Price,Image Src\n"
    + "".join(f"p{n:02},New {n},Size,S,{n}-S,{n + 1}.00,https://i.example/{n}.jpg\n" for n in range(20))
    + "p03,,,S,3-S,99.00,\n"
    + "p05,broken,row,with,too,many,cells,here\n"
    + "".join(f"p{n:02},,,M,{n}-M,{n + 2}.00,https://i.example/{n}m.jpg\n" for n in range(20))
)


class Killed(BaseException):
    """SIGKILL: nothing that runs afterwards may be relied upon."""


class Doomed(Run):
    """A run that ends at its nth step: a report, or the beginning, the end or the commit of a transaction."""

    def __init__(self, claim: Claim, *, fatal_step: int | None = None) -> None:
        super().__init__(claim)
        self.fatal_step = fatal_step
        self.passed: list[str] = []

    @property
    def steps(self) -> int:
        return len(self.passed)

    def step(self, where: str) -> None:
        self.passed.append(where)
        if self.steps == self.fatal_step:
            self.strike()

    def strike(self) -> None:
        raise Killed

    def progress(self, done: int, total: int | None = None, note: str | None = None) -> None:
        self.step("report")
        super().progress(done, total, note)

    @contextlib.contextmanager
    def transaction(self) -> Iterator:
        self.step("begin")
        with super().transaction() as session:
            yield session
            self.step("end")
        self.step("commit")


class Interrupted(Doomed):
    """A run that is struck between two ranges of items."""

    def checkpoint(self) -> None:
        done, total, note = self.progress_report or (0, 0, None)
        if note == "updating the catalogue" and 0 < (done or 0) < (total or 0):
            self.strike()
        super().checkpoint()


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch):
    monkeypatch.setattr(batches, "BATCH_ROWS", 25)
    monkeypatch.setattr(plan, "ROWS", 24)
    monkeypatch.setattr(apply, "RANGE", 16)


def _undisturbed() -> tuple:
    merchant = make_merchant()
    run_feed(merchant, OLD)
    import_ = begin(merchant, NEW)
    runs = []
    ended = inline.work(import_.job_id, make_run=lambda claim: runs.append(Doomed(claim)) or runs[-1])
    return catalogue(merchant), ended["result"], _errors(import_), runs[0].passed


def _errors(import_) -> list[tuple]:
    return sorted((error.line, error.code) for error in errors_of(import_))


def _result(ended) -> dict:
    assert ended["state"] == "succeeded", ended
    return {name: value for name, value in ended["result"].items() if name not in ("import_id", "changeset_id")}


@pytest.mark.timeout(400)
def test_killed_at_any_step():
    expected, result, errors, steps = _undisturbed()
    assert errors == [(5, "duplicate_variant"), (23, "row_too_long")]
    assert len(steps) > 30
    for fatal_step in some(4, range(1, len(steps) + 1)):
        merchant = make_merchant()
        run_feed(merchant, OLD)
        import_ = begin(merchant, NEW)
        with pytest.raises(Killed):
            inline.work(import_.job_id, make_run=lambda claim, at=fatal_step: Doomed(claim, fatal_step=at))
        inline.lose(import_.job_id)
        if inline.state_of(import_.job_id)["state"] != "succeeded":  # killed after the last commit: it is done
            inline.work(import_.job_id)
        ended = inline.state_of(import_.job_id)
        assert catalogue(merchant) == expected, fatal_step
        assert _result(ended) == {name: result[name] for name in _result(ended)}, fatal_step
        assert _errors(import_) == errors, fatal_step
        assert staged(merchant) == 0


def _undisturbed_end(changeset: Changeset) -> list[tuple]:
    """What the catalogue comes to, ids and all, when this plan is applied in one go: seen in a transaction undone."""
    with transaction(merchant_id=changeset.merchant_id) as session:
        plan_ = session.get_one(Changeset, changeset.id)
        plan_.state = "applying"
        while plan_.finished_at is None:
            apply.apply_range(session, plan_)
        assert plan_.conflicts == 0
        expected = whole_catalogue(changeset.merchant_id, session)
        session.rollback()
    return expected


def _planned(merchant: UUID) -> tuple[Changeset, UUID]:
    """A plan that somebody has just approved, and the job that applies it."""
    run_feed(merchant, OLD)
    make_source(merchant, apply="ask")
    import_ = begin(merchant, NEW)
    ended = inline.work(import_.job_id)
    assert (ended["state"], ended["result"]["changeset_state"]) == ("succeeded", "awaiting_approval")
    changeset = plan_of(import_)
    with transaction(merchant_id=merchant) as session:
        job_id, _ = enqueue(session, ApplyChangeset(changeset_id=changeset.id), merchant_id=merchant)
        approved = session.get_one(Changeset, changeset.id)
        approved.state, approved.job_id = "applying", job_id
    return changeset, job_id


@pytest.mark.parametrize("crashed", [False, True], ids=["worker", "worker and postgres"])
def test_a_plan_cut_at_any_commit_comes_to_what_it_would_have_undisturbed(crashed):
    stride = 1 if examples(1) > 1 else 4
    step = random.randrange(stride) + 1 - stride
    while True:
        step += stride
        merchant = make_merchant()
        changeset, job_id = _planned(merchant)
        before = whole_catalogue(merchant)
        expected = _undisturbed_end(changeset)
        assert whole_catalogue(merchant) == before
        try:
            inline.work(job_id, make_run=lambda claim, at=step: Doomed(claim, fatal_step=at))
            break
        except Killed:
            if crashed:
                _empty_staging(merchant)
            inline.lose(job_id)
        if inline.state_of(job_id)["state"] != "succeeded":
            inline.work(job_id)
        assert inline.state_of(job_id)["state"] == "succeeded"
        assert whole_catalogue(merchant) == expected, step
        assert staged(merchant) == 0
    assert whole_catalogue(merchant) == expected
    assert step > 8


def test_killed_again_and_again():
    expected, result, errors, _ = _undisturbed()
    merchant = make_merchant()
    run_feed(merchant, OLD)
    import_ = begin(merchant, NEW)
    for fatal_step in range(3, 200, 2):
        try:
            ended = inline.work(import_.job_id, make_run=lambda claim, at=fatal_step: Doomed(claim, fatal_step=at))
            break
        except Killed:
            inline.lose(import_.job_id)
            if inline.state_of(import_.job_id)["state"] == "succeeded":
                ended = inline.state_of(import_.job_id)
                break
    assert catalogue(merchant) == expected
    assert _result(ended) == {name: result[name] for name in _result(ended)}
    assert _errors(import_) == errors


def _empty_staging(merchant: UUID) -> None:
    """What a crash of Postgres does to an unlogged table."""
    with transaction(merchant_id=merchant) as session:
        session.execute(text("DELETE FROM import_drafts"))


def test_postgres_crashes_between_attempts():
    expected, result, errors, steps = _undisturbed()
    for fatal_step in some(3, range(4, len(steps))):
        merchant = make_merchant()
        run_feed(merchant, OLD)
        import_ = begin(merchant, NEW)
        with pytest.raises(Killed):
            inline.work(import_.job_id, make_run=lambda claim, at=fatal_step: Doomed(claim, fatal_step=at))
        _empty_staging(merchant)
        inline.lose(import_.job_id)
        ended = inline.work(import_.job_id)
        assert catalogue(merchant) == expected, fatal_step
        assert _result(ended) == {name: result[name] for name in _result(ended)}, fatal_step
        assert _errors(import_) == errors, fatal_step


@pytest.mark.timeout(400)
def test_postgres_crashes_under_a_running_attempt():
    expected, result, errors, steps = _undisturbed()

    class Crashing(Doomed):
        def strike(self) -> None:
            _empty_staging(self.merchant_id)

    lost = 0
    for fatal_step in range(4, len(steps) - 1):
        if steps[fatal_step - 1] in ("begin", "report") and steps[fatal_step - 2] != "end":
            continue  # nothing was written since the step before: to the database both are the same moment
        merchant = make_merchant()
        run_feed(merchant, OLD)
        import_ = begin(merchant, NEW)
        ended = inline.work(import_.job_id, make_run=lambda claim, at=fatal_step: Crashing(claim, fatal_step=at))
        if ended["state"] != "succeeded":
            assert (ended["state"], ended["error_code"]) == ("scheduled", "staging_lost")
            lost += 1
            ended = inline.work(import_.job_id)
        assert catalogue(merchant) == expected, fatal_step
        assert _result(ended) == {name: result[name] for name in _result(ended)}, fatal_step
        assert _errors(import_) == errors, fatal_step
    assert lost > 3


def test_an_attempt_that_was_taken_over_writes_nothing_more():
    expected, *_ = _undisturbed()
    merchant = make_merchant()
    run_feed(merchant, OLD)
    import_ = begin(merchant, NEW)

    class Overtaken(Interrupted):
        def strike(self) -> None:
            inline.lose(self.id)
            inline.work(self.id)

    inline.work(import_.job_id, make_run=Overtaken)
    assert inline.state_of(import_.job_id)["state"] == "succeeded"
    assert catalogue(merchant) == expected
    assert all(
        variant["version"] <= 2 for product in catalogue(merchant).values() for variant in product["variants"].values()
    )


def test_cancelled_between_batches_and_taken_up_again(merchant):
    expected, *_ = _undisturbed()
    run_feed(merchant, OLD)
    import_ = begin(merchant, NEW)

    class Unwanted(Interrupted):
        def strike(self) -> None:
            self.stop(Cancel())

    ended = inline.work(import_.job_id, make_run=Unwanted)
    assert (ended["state"], ended["reason"]) == ("cancelled", "cancel_requested")
    changeset = plan_of(import_)
    assert changeset.state == "planned"
    assert 0 < changeset.applied_upto < changeset.items
    with transaction(merchant_id=merchant) as session:
        retry_job(session, import_.job_id)
    inline.work(import_.job_id)
    assert catalogue(merchant) == expected


def test_what_a_cancelled_import_left_staged_is_swept_by_the_next(merchant):
    import_ = begin(merchant, NEW)
    with pytest.raises(Killed):
        inline.work(import_.job_id, make_run=lambda claim: Doomed(claim, fatal_step=30))
    inline.lose(import_.job_id)
    with transaction(merchant_id=merchant) as session:
        cancel_job(session, import_.job_id)
    assert staged(merchant) > 0
    run_feed(merchant, OLD)
    assert staged(merchant) == 0


def test_imports_of_a_source_take_turns_in_order(merchant):
    first = begin(merchant, OLD)
    second = begin(merchant, NEW)
    other = begin(merchant, NEW, source="another")
    ended = inline.work(second.job_id)
    assert (ended["state"], ended["reason"], ended["attempt"]) == ("scheduled", "behind_another_import", 0)
    assert inline.work(other.job_id)["state"] == "succeeded"
    assert inline.work(first.job_id)["state"] == "succeeded"
    assert inline.work(second.job_id)["state"] == "succeeded"
    assert {product["title"] for product in catalogue(merchant).values()} == {f"New {n}" for n in range(20)}


def test_whoever_has_begun_goes_on_before_an_older_one_that_is_tried_again(merchant):
    first = begin(merchant, OLD)
    with transaction(merchant_id=merchant) as session:
        cancel_job(session, first.job_id)
    second = begin(merchant, NEW)
    with pytest.raises(Killed):
        inline.work(second.job_id, make_run=lambda claim: Doomed(claim, fatal_step=20))
    with transaction(merchant_id=merchant) as session:
        retry_job(session, first.job_id)
    assert inline.work(first.job_id)["reason"] == "behind_another_import"
    inline.lose(second.job_id)
    assert inline.work(second.job_id)["state"] == "succeeded"
    assert inline.work(first.job_id)["state"] == "succeeded"


def test_an_import_that_was_overtaken_begins_anew(merchant):
    """Half of the first, all of the second, then the first again: what is there is the first, not a mixture."""
    first = begin(merchant, NEW)
    with pytest.raises(Killed):
        inline.work(first.job_id, make_run=Interrupted)
    inline.lose(first.job_id)
    cut = plan_of(first)
    assert 0 < cut.applied_upto < cut.items
    with transaction(merchant_id=merchant) as session:
        cancel_job(session, first.job_id)
    run_feed(merchant, NEW.replace("New", "Newer"))
    with transaction(merchant_id=merchant) as session:
        retry_job(session, first.job_id)
    ended = inline.work(first.job_id)
    assert {product["title"] for product in catalogue(merchant).values()} == {f"New {n}" for n in range(20)}
    assert ended["result"]["products"] == {"created": 0, "updated": 20, "unchanged": 0}
    assert _errors(first) == [(5, "duplicate_variant"), (23, "row_too_long")]


def test_a_plan_given_up_while_it_was_made_is_made_anew(merchant):
    _, result, errors, _ = _undisturbed()
    run_feed(merchant, OLD)
    import_ = begin(merchant, NEW)

    class Planning(Doomed):
        def progress(self, done: int, total: int | None = None, note: str | None = None) -> None:
            super().progress(done, total, note)
            if note == "planning" and done > 20:
                raise Killed

    with pytest.raises(Killed):
        inline.work(import_.job_id, make_run=Planning)
    inline.lose(import_.job_id)
    cut = plan_of(import_)
    assert (cut.state, cut.items > 0) == ("planning", True)
    with transaction(merchant_id=merchant) as session:
        cancel_job(session, import_.job_id)
        given_up = session.get_one(Changeset, cut.id)
        given_up.state, given_up.finished_at = "discarded", now()
        retry_job(session, import_.job_id)
    ended = inline.work(import_.job_id)
    assert _result(ended) == {name: result[name] for name in _result(ended)}
    assert _errors(import_) == errors
    assert plan_of(import_).id != cut.id


def test_a_first_feed_planned_two_ranges_at_a_time_comes_to_the_same_wherever_it_is_cut(monkeypatch):
    def planned(*, fatal_step: int | None = None) -> tuple:
        merchant = make_merchant()
        make_source(merchant, apply="dry_run")
        import_ = begin(merchant, NEW)
        runs = []
        with contextlib.suppress(Killed):
            inline.work(
                import_.job_id, make_run=lambda claim: runs.append(Doomed(claim, fatal_step=fatal_step)) or runs[0]
            )
        if inline.state_of(import_.job_id)["state"] != "succeeded":
            inline.lose(import_.job_id)
            inline.work(import_.job_id)
        plan_ = plan_of(import_)
        assert (plan_.state, inline.state_of(import_.job_id)["state"]) == ("planned", "succeeded")
        items = [(item.n, item.op, item.product_key, item.variant_key, item.line) for item in items_of(plan_)]
        return (items, plan_.items, plan_.counts, _errors(import_)), runs[0].steps

    monkeypatch.setattr(plan, "ROWS", 1000)
    expected, few = planned()
    assert len(expected[0]) == 20
    monkeypatch.setattr(plan, "ROWS", 6)
    found, steps = planned()
    assert found == expected
    assert steps >= few + 18  # six ranges ahead, three steps each
    for fatal_step in some(3, range(few - 8, steps + 1)):
        assert planned(fatal_step=fatal_step)[0] == expected, fatal_step


def test_killed_between_planning_and_deciding_however_often(merchant):
    expected, result, errors, _ = _undisturbed()
    run_feed(merchant, OLD)
    import_ = begin(merchant, NEW)

    class Planned(Doomed):
        def progress(self, done: int, total: int | None = None, note: str | None = None) -> None:
            super().progress(done, total, note)
            if note == "planning" and done == total:
                raise Killed

    for _ in range(3):
        with pytest.raises(Killed):
            inline.work(import_.job_id, make_run=Planned)
        inline.lose(import_.job_id)
    ended = inline.work(import_.job_id)
    assert _result(ended) == {name: result[name] for name in _result(ended)}
    assert catalogue(merchant) == expected
    assert _errors(import_) == errors


def test_a_plan_being_applied_is_waited_for_and_one_nobody_decides_about_is_not(merchant):
    changeset, job_id = _planned(merchant)
    later = begin(merchant, NEW.replace("New", "Newer"))
    assert inline.work(later.job_id)["reason"] == "behind_another_import"
    assert inline.work(job_id)["state"] == "succeeded"
    assert inline.work(later.job_id)["result"]["changeset_state"] == "awaiting_approval"
    latest = begin(merchant, NEW.replace("New", "Newest"))
    assert inline.work(latest.job_id)["result"]["changeset_state"] == "awaiting_approval"
    assert plan_of(later).state == "discarded"
    assert (plan_of(latest).state, staged(merchant)) == ("awaiting_approval", reload(latest).staged_rows)
    with transaction(merchant_id=merchant) as session:
        assert session.get_one(Changeset, changeset.id).state == "applied"


def test_a_file_that_is_read_otherwise_than_when_it_was_planned_is_not_applied(merchant):
    changeset, job_id = _planned(merchant)
    before = whole_catalogue(merchant)
    _empty_staging(merchant)
    with transaction(merchant_id=merchant) as session:  # as another version of the readers would
        session.get_one(Import, changeset.import_id).mapping = {"fields": {"title": {"constant": "Other"}}}
    ended = inline.work(job_id)
    assert (ended["state"], ended["error_code"]) == ("failed", "staged_otherwise")
    assert whole_catalogue(merchant) == before


def test_two_imports_at_once_never_interleave(merchant):
    """Two workers, one source: while one of them is at work, the other gets no turn."""
    one = "SKU,Title,Price\n" + "".join(f"{n:03},One,1.00\n" for n in range(60))
    two = "SKU,Title,Price\n" + "".join(f"{n:03},Two,2.00\n" for n in range(60))
    imports = [begin(merchant, feed) for feed in (one, two)]

    def until_done(job_id: UUID) -> None:
        for _ in range(500):
            if inline.work(job_id)["state"] == "succeeded":
                return

    threads = [threading.Thread(target=until_done, args=(import_.job_id,)) for import_ in imports]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert {product["title"] for product in catalogue(merchant).values()} == {"Two"}
    results = [reload(import_) for import_ in imports]
    assert results[0].finished_at < results[1].turn_at
    assert [row.products_created for row in results] == [60, 0]
    assert [row.products_updated for row in results] == [0, 60]
