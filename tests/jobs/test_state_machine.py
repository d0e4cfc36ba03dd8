"""The ledger against a model of it: any order of asking, claiming, ending, cancelling, retrying and dying.

The model is a dictionary and a few lines per rule; the ledger is Postgres. After every step both say the same of every
job, and the timeline holds only moves that are allowed.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from services.core import db
from services.core.clock import now
from services.core.settings import get_settings
from services.jobs import dispatch, ledger
from services.jobs.control import JobAlreadyEnded, JobNotRetryable, cancel_job, retry_job
from services.jobs.ledger import Ending
from services.jobs.states import ENDED, MOVES
from tests.conftest import make_merchant
from tests.examples import examples
from tests.jobs.conftest import TestWork, owner, put

OUTCOMES = {
    "done": ("succeeded", 0),
    "fail": ("failed", 0),
    "cancel": ("cancelled", 0),
    "retry": ("scheduled", 0),
    "snooze": ("scheduled", 1),
    "drain": ("queued", 1),
}


@dataclass
class Model:
    """What a job should look like."""

    state: str
    parent: UUID | None = None
    rung: bool = False
    attempt: int = 0
    claims: int = 0
    cancel_requested: bool = False
    children: list[UUID] = field(default_factory=list)


class LedgerMachine(RuleBasedStateMachine):
    """Rules are what callers, relays and workers do."""

    jobs = Bundle("jobs")
    claims = Bundle("claims")

    @initialize()
    def begin(self) -> None:
        with owner() as connection:
            connection.execute("TRUNCATE jobs, job_events, job_stats, job_totals")
        self.merchant = make_merchant()
        self.model: dict[UUID, Model] = {}
        self.connection = db.open_connection(get_settings())

    def teardown(self) -> None:
        if hasattr(self, "connection"):
            self.connection.close()

    @rule(target=jobs, later=st.booleans())
    def ask(self, later: bool) -> UUID:
        id_ = put(self.merchant, TestWork(), run_at=now() + timedelta(hours=1) if later else None)
        self.model[id_] = Model("scheduled" if later else "queued")
        return id_

    @rule(target=jobs, parent=jobs)
    def ask_for_child(self, parent: UUID) -> object:
        if self.model[parent].state != "running":
            return multiple()
        id_ = put(self.merchant, TestWork(), parent_id=parent)
        self.model[id_] = Model("queued", parent=parent)
        self.model[parent].children.append(id_)
        return id_

    @rule()
    def time_passes(self) -> None:
        with owner() as connection:
            connection.execute("UPDATE jobs SET run_at = now() - interval '1 s' WHERE state = 'scheduled'")
        dispatch.promote(self.connection)
        for job in self.model.values():
            if job.state == "scheduled":
                job.state = "queued"

    @rule(window=st.integers(1, 5))
    def relay_rings(self, window: int) -> None:
        room = window - sum(job.rung and job.state == "queued" for job in self.model.values())
        bells = dispatch.ring(self.connection, "sync", window=window, cap=1000)
        waiting = [id_ for id_, job in self.model.items() if job.state == "queued" and not job.rung]
        assert [bell.id for bell in bells] == sorted(waiting)[: max(0, room)]
        for bell in bells:
            self.model[bell.id].rung = True

    @rule(target=claims, id_=jobs, worker=st.sampled_from(["a", "b"]))
    def worker_answers(self, id_: UUID, worker: str) -> object:
        job = self.model[id_]
        won = ledger.claim(self.connection, [id_], worker=f"{worker}{job.claims}", lease_seconds=60).done
        if not (job.state == "queued" and job.rung):
            assert won == []
            return multiple()
        job.state, job.attempt, job.claims = "running", job.attempt + 1, job.claims + 1
        assert [(claim.id, claim.attempt, claim.claims) for claim in won] == [(id_, job.attempt, job.claims)]
        return (id_, job.claims)

    @rule(claim=consumes(claims), outcome=st.sampled_from(sorted(OUTCOMES)))
    def attempt_ends(self, claim: tuple[UUID, int], outcome: str) -> None:
        id_, number = claim
        job = self.model[id_]
        state, refund = OUTCOMES[outcome]
        ending = Ending(id_, number, state, outcome, refund=refund, delay=3600)
        written = ledger.finish(self.connection, [ending]).done
        if job.state != "running" or job.claims != number:
            assert written == set()
            return
        assert written == {id_}
        job.rung, job.attempt = False, job.attempt - refund
        self._leave(job, state if state in ENDED or not job.cancel_requested else "cancelled")

    @rule(id_=jobs)
    def someone_cancels(self, id_: UUID) -> None:
        job = self.model[id_]
        ended = job.state in ENDED
        family = self._family(id_)
        if ended and all(self.model[each].state in ENDED for each in family):
            with pytest.raises(JobAlreadyEnded), db.transaction(merchant_id=self.merchant) as session:
                cancel_job(session, id_)
            return
        if ended:
            return
        with db.transaction(merchant_id=self.merchant) as session:
            cancel_job(session, id_)
        for each in family:
            self._cancel(self.model[each])

    @rule(id_=jobs)
    def someone_retries(self, id_: UUID) -> None:
        job = self.model[id_]
        if job.children or job.parent:
            return  # families have tests of their own
        if job.state not in ("failed", "cancelled"):
            with pytest.raises(JobNotRetryable), db.transaction(merchant_id=self.merchant) as session:
                retry_job(session, id_)
            return
        with db.transaction(merchant_id=self.merchant) as session:
            retry_job(session, id_)
        job.state, job.attempt, job.cancel_requested, job.rung = "queued", 0, False, False

    @rule()
    def workers_die(self) -> None:
        with owner() as connection:
            connection.execute("UPDATE jobs SET lease_until = now() - interval '1 s' WHERE state = 'running'")
        dispatch.rescue(self.connection)
        for job in self.model.values():
            if job.state == "running":
                job.rung = False
                spent = "failed" if job.attempt >= TestWork.max_attempts else "queued"
                self._leave(job, "cancelled" if job.cancel_requested else spent)

    @rule()
    def relay_settles(self) -> None:
        dispatch.settle_parents(self.connection)
        given_up = [job for job in self.model.values() if job.state == "waiting" and job.cancel_requested]
        for late in [child for job in given_up for child in job.children]:
            self._cancel(self.model[late])
        for id_ in [id_ for id_, job in self.model.items() if job.state == "waiting"]:
            job = self.model[id_]
            if all(self.model[child].state in ENDED for child in job.children):
                with owner() as connection:
                    found = connection.execute("SELECT state FROM jobs WHERE id = %s", (id_,)).fetchone()
                assert found is not None
                assert found[0] in ENDED
                job.state = found[0]

    @invariant()
    def both_say_the_same(self) -> None:
        if not hasattr(self, "model"):
            return
        with owner() as connection:
            rows = connection.execute(
                "SELECT id, state, attempt, claims, rung_at IS NOT NULL, ended_at IS NOT NULL FROM jobs"
            ).fetchall()
        assert {row[0]: row[1:] for row in rows} == {
            id_: (job.state, job.attempt, job.claims, job.rung, job.state in ENDED) for id_, job in self.model.items()
        }

    @invariant()
    def the_timeline_is_legal(self) -> None:
        if not hasattr(self, "model"):
            return
        with owner() as connection:
            moves = connection.execute(
                "SELECT lag(state) OVER (PARTITION BY job_id ORDER BY id), state FROM job_events"
            ).fetchall()
        assert all(was is None or became in MOVES[was] for was, became in moves)

    def _family(self, id_: UUID) -> list[UUID]:
        family = [id_]
        for each in family:
            family += self.model[each].children
        return family

    def _leave(self, job: Model, state: str) -> None:
        """An attempt is over: a parent that would end waits for its children, whatever its own outcome."""
        job.state = "waiting" if state in ENDED and job.children else state

    def _cancel(self, job: Model) -> None:
        if job.state in ENDED:
            return
        job.cancel_requested = True
        if job.state in ("scheduled", "queued"):
            job.state, job.rung = "cancelled", False


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(
    max_examples=examples(7), stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
