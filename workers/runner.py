"""The base of every task: claim the row, run the handler, write the outcome back."""

import logging
import os
import sys
import threading
import traceback
from typing import Any
from uuid import UUID

from celery import Task, signals
from pydantic import ValidationError

from services.core.db import forget_engine
from services.core.log import bind, configure_logging
from services.core.settings import get_settings
from services.jobs.enqueue import encode, storable
from services.jobs.kinds import KINDS
from services.jobs.ledger import Ending
from services.jobs.outcomes import (
    Cancel,
    Done,
    Fail,
    Outcome,
    Retry,
    Snooze,
    Stopped,
    backoff,
    fingerprint_of,
    outcome_of,
)
from services.jobs.run import Run
from workers import control, strangers  # noqa: F401  # Flower's revoke cancels; unknown kinds are put off
from workers.ledger_writer import LedgerWriter, drain

logger = logging.getLogger(__name__)

_writer: LedgerWriter | None = None
_writer_pid = 0
_starting = threading.Lock()


class JobTask(Task):
    """A Celery task whose message is only a job's id. `run` is the handler registered with `tasks.task`."""

    abstract = True

    def __call__(self, job_id: str) -> None:
        """Answer a doorbell. Never raises: the outcome is in the ledger, and Celery has nothing to decide."""
        writer = process_writer()
        run = writer.claim(UUID(job_id))
        if run is None:
            return
        ending: Ending | None = None
        try:
            with bind(job_id=job_id, merchant_id=str(run.merchant_id), request_id=run.claim.request_id):
                outcome = perform(self.run, run)
                ending = None if outcome is None else ending_of(run, outcome)
        except BaseException:
            logger.exception("the runner failed; the lease will run out and the job be rescued")
            run.stop(None)
            raise
        finally:
            writer.end(run, ending)


def perform(handler: Any, run: Run) -> Outcome | None:
    """Run the handler on the job's arguments. None: the end is already written, or the attempt is not ours."""
    try:
        job = KINDS[run.claim.kind].model_validate(run.claim.args)
    except ValidationError as error:
        return _undecodable(error)
    try:
        run.checkpoint()
        returned = handler(run, job)
    except Stopped as stopped:
        return None if run.ended else stopped.outcome
    except Exception as error:
        outcome = outcome_of(error)
        if isinstance(outcome, Snooze):
            logger.info("job put off: %s", error)
        else:
            logger.warning("job failed: %s", error, exc_info=True)
        return None if run.ended else outcome
    if run.ended:
        return None
    return returned if isinstance(returned, Outcome) else Done(returned)


def _undecodable(error: ValidationError) -> Outcome:
    """Arguments that are only more than this release knows may be meant for the next one, which is being deployed."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    where = ".".join(str(part) for part in found[0]["loc"])
    means = Retry if all(each["type"] == "extra_forbidden" for each in found) else Fail
    return means("arguments_invalid", f"{where}: {found[0]['msg']}")


def ending_of(run: Run, outcome: Outcome) -> Ending:
    """The ledger's words for an outcome."""
    id_, claims = run.id, run.claim.claims
    match outcome:
        case Done(result):
            return Ending(id_, claims, "succeeded", "done", result=encode(result))
        case Cancel(reason):
            return Ending(id_, claims, "cancelled", reason)
        case Snooze(seconds, reason) if seconds <= 0:
            return Ending(id_, claims, "queued", reason, refund=1)
        case Snooze(seconds, reason):
            return Ending(id_, claims, "scheduled", reason, refund=1, delay=seconds)
        case Fail(code, message, fingerprint):
            return _with_error(Ending(id_, claims, "failed", "failed"), code, message, fingerprint)
        case Retry(code, message, after, fingerprint):
            if run.attempt >= run.claim.max_attempts:
                return _with_error(Ending(id_, claims, "failed", "attempts_spent"), code, message, fingerprint)
            kind = KINDS.get(run.claim.kind)
            delay = after if after is not None else backoff(kind.backoff if kind else 5.0, run.attempt)
            return _with_error(Ending(id_, claims, "scheduled", "retry", delay=delay), code, message, fingerprint)


def _with_error(ending: Ending, code: str, message: str, fingerprint: str | None) -> Ending:
    return Ending(
        ending.id,
        ending.claims,
        ending.state,
        ending.reason,
        delay=ending.delay,
        error_code=code,
        error_message=storable(message),
        error_fingerprint=fingerprint or fingerprint_of(code, message),
    )


def process_writer() -> LedgerWriter:
    """The process's ledger writer, started on first use: after the fork, where threads may live."""
    global _writer, _writer_pid
    if _writer is None or _writer_pid != os.getpid():
        with _starting:
            if _writer is None or _writer_pid != os.getpid():
                _writer = LedgerWriter(get_settings(), ending_of_timeout=lambda run: ending_of(run, run.timed_out()))
                _writer_pid = os.getpid()
                # A job passes through three threads; at Python's 5 ms a switch they would wait more than they work.
                sys.setswitchinterval(0.0005)
    return _writer


@signals.worker_process_init.connect
def _after_fork(**_: Any) -> None:
    forget_engine()


@signals.worker_shutting_down.connect
def _on_sigterm(**_: Any) -> None:
    drain()


@signals.worker_shutdown.connect
@signals.worker_process_shutdown.connect
def _flush(**_: Any) -> None:
    if _writer is not None and _writer_pid == os.getpid() and not _writer.flush(timeout=10):
        logger.warning("left with unwritten endings; their leases will run out")


@signals.setup_logging.connect
def _configure_logging(**_: Any) -> None:
    configure_logging(get_settings())
    for name in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).setLevel(logging.WARNING)  # a line for each bell; the timeline says it better


@signals.task_internal_error.connect
def _internal_error(task_id: str | None = None, exception: BaseException | None = None, **_: Any) -> None:
    logger.error("celery failed around task %s: %s", task_id, "".join(traceback.format_exception(exception)))
