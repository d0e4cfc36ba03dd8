"""What an exception means, how long a retry waits, and which failures are of one cause."""

from collections.abc import Iterator
from datetime import UTC, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.clock import now
from services.core.db import transaction
from services.core.errors import Invalid, TooMany, Unavailable
from services.jobs.ledger import Connection
from services.jobs.outcomes import MAX_BACKOFF, Fail, Outcome, Retry, Snooze, backoff, fingerprint_of, outcome_of
from services.jobs.queries import get_job, why_waiting
from services.jobs.run import Run
from tests.jobs.conftest import TestWork, finish, owner, put, row, start
from workers.runner import ending_of


class SupplierAway(Unavailable):
    """The supplier does not answer."""


class FeedBroken(Invalid):
    """The feed is broken."""


class QuotaSpent(TooMany):
    """The supplier takes no more calls."""

    code = "supplier_quota"


def caught(make: Iterator[None]) -> Exception:
    """The exception a function raises, with its traceback."""
    try:
        next(make)
    except Exception as error:
        return error
    raise AssertionError


def divide(by: int) -> Iterator[None]:
    """Fail somewhere."""
    yield 1 / by  # type: ignore[misc]


def look_up(key: str) -> Iterator[None]:
    """Fail elsewhere."""
    yield {}[key]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (SupplierAway(retry_after=30), Retry("supplier_away", "The supplier does not answer.", after=30)),
        (SupplierAway(), Retry("supplier_away", "The supplier does not answer.", after=None)),
        (FeedBroken("Line 3 has no end."), Fail("feed_broken", "Line 3 has no end.")),
        (QuotaSpent(retry_after=1200), Snooze(1200, "supplier_quota")),
        (QuotaSpent(retry_after=0), Snooze(1, "supplier_quota")),
        (QuotaSpent(), Snooze(60, "supplier_quota")),
    ],
)
def test_the_family_decides(error: Exception, expected: Outcome) -> None:
    assert outcome_of(error) == expected


def test_what_nobody_foresaw_is_tried_again_and_named_by_its_place() -> None:
    first, second = outcome_of(caught(divide(0))), outcome_of(caught(look_up("a")))
    assert isinstance(first, Retry)
    assert (first.code, first.message) == ("unexpected", "ZeroDivisionError: division by zero")
    assert isinstance(second, Retry)
    assert first.fingerprint == outcome_of(caught(divide(0))).fingerprint  # type: ignore[union-attr]
    assert second.fingerprint == outcome_of(caught(look_up("b"))).fingerprint  # type: ignore[union-attr]
    assert first.fingerprint != second.fingerprint


def test_numbers_ids_and_names_do_not_make_another_cause() -> None:
    one = fingerprint_of("http_500", "GET 'https://a/1' gave 500 after 12 s")
    assert one == fingerprint_of("http_500", "GET 'https://b/22' gave 500 after 9 s")
    assert one != fingerprint_of("http_429", "GET 'https://a/1' gave 500 after 12 s")
    assert one != fingerprint_of("http_500", "the body is not JSON")


@given(base=st.floats(0.1, 60), attempt=st.integers(1, 10_000))
def test_back_off_doubles_with_jitter_up_to_an_hour(base: float, attempt: int) -> None:
    ideal = min(base * 2.0 ** min(attempt - 1, 20), MAX_BACKOFF)
    assert 0.8 * ideal <= backoff(base, attempt) <= 1.2 * ideal <= 1.2 * MAX_BACKOFF


def test_too_many_costs_no_attempt_holds_up_nobody_and_says_until_when(ledger: Connection, merchant: UUID) -> None:
    spent, other = put(merchant), put(merchant, TestWork(n=1))
    for _ in range(TestWork.max_attempts + 1):
        with owner() as boss:
            boss.execute("UPDATE jobs SET state = 'queued' WHERE id = %s AND state = 'scheduled'", (spent,))
        (claimed,) = start(ledger, spent)
        finish(ledger, ending_of(Run(claimed), outcome_of(QuotaSpent(retry_after=1200))))
    assert row(spent, "state", "attempt", "reason", "error_code") == ("scheduled", 0, "supplier_quota", None)
    assert [one.id for one in start(ledger, spent, other)] == [other]
    with transaction(merchant_id=merchant) as session:
        job = get_job(session, spent)
        waiting = why_waiting(session, job)
    assert waiting is not None
    assert (waiting.code, waiting.estimated_start) == ("supplier_quota", job.run_at)
    assert timedelta(seconds=1190) < job.run_at - now() < timedelta(seconds=1201)
    assert f"{job.run_at.astimezone(UTC):%H:%M} UTC" in waiting.detail
