"""Jobs that do nothing useful, for the bench, the chaos run and the tests of the processes.

Loaded by workers started with EXTRA_TASK_MODULES=ops.lab. Effects go to the table `lab_effects`, which `prepare`
makes: one row per effect, without a unique key, so that a doubled effect shows.
"""

import time
from typing import Any
from uuid import UUID

from celery import Task, shared_task
from sqlalchemy import text

from services.core.errors import Unavailable
from services.jobs import Job, Outcome, Run, Snooze, enqueue_many
from tasks import task

TABLE = """
CREATE TABLE IF NOT EXISTS lab_effects (job_id uuid NOT NULL, merchant_id uuid NOT NULL, claims int NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp());
GRANT SELECT, INSERT ON lab_effects TO shopopti_app;
"""

_EFFECT = text("INSERT INTO lab_effects (job_id, merchant_id, claims) VALUES (:job_id, :merchant_id, :claims)")


class LabUnavailable(Unavailable):
    """The lab pretends that something is away."""


class LabNoop(Job, kind="lab_noop", queue="sync", timeout=60):
    """Nothing at all."""


class LabNap(Job, kind="lab_nap", queue="sync", timeout=120, max_attempts=25, backoff=0.2, schedulable=True):
    """Sleep in steps, reporting progress after each."""

    seconds: float = 0.02
    steps: int = 1


class LabStubborn(Job, kind="lab_stubborn", queue="sync", timeout=None, max_attempts=10, backoff=0.2):
    """Sleep without ever looking up."""

    seconds: float = 5.0


class LabEffect(Job, kind="lab_effect", queue="orders", timeout=60, max_attempts=25, backoff=0.2, schedulable=True):
    """One effect, which must be recorded once however often the job is killed: it ends with its effect."""

    seconds: float = 0.0


class LabFlaky(Job, kind="lab_flaky", queue="ai", timeout=60, max_attempts=25, backoff=0.1):
    """Fail or snooze until the given attempt, then one effect."""

    succeed_at: int = 3
    snooze: bool = False


class LabParent(Job, kind="lab_parent", queue="webhooks", timeout=60, max_attempts=25, backoff=0.2):
    """Enqueue children and end, in one transaction."""

    children: int = 5


class LabLingering(Job, kind="lab_lingering", queue="webhooks", timeout=60, max_attempts=1):
    """Commit children, then work on: a kill on the way spends the only attempt of a parent that has children."""

    children: int = 3
    seconds: float = 1.0


class LabPoison(Job, kind="lab_poison", queue="import", timeout=60, max_attempts=3, backoff=0.1):
    """Kill the process that runs it."""


@task(LabNoop)
def lab_noop(_run: Run, _job: LabNoop) -> None:
    """Done."""


@task(LabNap)
def lab_nap(run: Run, job: LabNap) -> dict[str, Any]:
    """Sleep, report, look up, repeat."""
    for step in range(job.steps):
        time.sleep(job.seconds)
        run.progress(step + 1, job.steps)
    return {"slept": job.seconds * job.steps}


@task(LabStubborn)
def lab_stubborn(_run: Run, job: LabStubborn) -> None:
    """Sleep through everything."""
    time.sleep(job.seconds)


@task(LabEffect)
def lab_effect(run: Run, job: LabEffect) -> None:
    """Work a little, then write the effect and the end together."""
    time.sleep(job.seconds)
    run.checkpoint()
    with run.transaction() as session:
        _effect(session, run)
        run.finish(session)


@task(LabFlaky)
def lab_flaky(run: Run, job: LabFlaky) -> Outcome | None:
    """Fail for a while."""
    if job.snooze and run.claim.claims < job.succeed_at:
        return Snooze(0.05, "lab_not_yet")
    if run.attempt < job.succeed_at and not job.snooze:
        raise LabUnavailable(retry_after=0.05)
    with run.transaction() as session:
        _effect(session, run)
        run.finish(session)
    return None


@task(LabParent)
def lab_parent(run: Run, job: LabParent) -> None:
    """Children exist if and only if the parent's own part is over."""
    with run.transaction() as session:
        enqueue_many(session, [LabEffect() for _ in range(job.children)], merchant_id=run.merchant_id, parent_id=run.id)
        run.finish(session)


@task(LabLingering)
def lab_lingering(run: Run, job: LabLingering) -> None:
    """The children come once, however often a shutdown gives the attempt back."""
    with run.transaction() as session:
        if not session.scalar(text("SELECT count(*) FROM jobs WHERE parent_id = :id"), {"id": run.id}):
            children = [LabEffect() for _ in range(job.children)]
            enqueue_many(session, children, merchant_id=run.merchant_id, parent_id=run.id)
    time.sleep(job.seconds)
    run.checkpoint()


@task(LabPoison)
def lab_poison(_run: Run, _job: LabPoison) -> None:
    """Die, as a crash in a C library would."""
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)


@shared_task(name="lab_raw", base=Task, typing=False)
def lab_raw(_argument: str) -> None:
    """What the bench compares the ledger with: a Celery task and nothing else."""


def _effect(session: Any, run: Run) -> None:
    session.execute(_EFFECT, {"job_id": run.id, "merchant_id": run.merchant_id, "claims": run.claim.claims})


def prepare(session: Any) -> None:
    """Make the effects table. `session` is a transaction of the login role."""
    session.execute(text(TABLE))


def new_merchant(name: str) -> UUID:
    """A merchant for the lab."""
    from services.core import db
    from services.core.ids import new_id
    from services.models import Merchant

    merchant_id = new_id()
    with db.transaction(merchant_id=merchant_id) as session:
        session.add(Merchant(id=merchant_id, name=name))
    return merchant_id
