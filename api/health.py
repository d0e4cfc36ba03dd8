"""For platforms and operators: alive, ready, measured. None of it needs a token of a user."""

import hmac
import logging
import math
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import redis
from fastapi import APIRouter
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from pydantic import BaseModel, ConfigDict
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy.exc import DBAPIError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.core.db import transaction
from services.core.errors import ShopOptiError, Unauthorized
from services.core.settings import Settings
from services.jobs.vitals import Vitals, is_read_only, newest_schema, schema_version, unconsumed_queues, vitals

router = APIRouter(tags=["health"])
logger = logging.getLogger(__name__)

BROKER_TIMEOUT_SECONDS = 1.0
SCRAPE_CACHE_SECONDS = 5.0
HISTOGRAM_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)


class MetricsTokenNeeded(Unauthorized):
    """Metrics are read with `Authorization: Bearer <METRICS_TOKEN>`."""


class CheckOut(BaseModel):
    """One check; further members say what was found."""

    model_config = ConfigDict(extra="allow")

    ok: bool


class ReadyOut(BaseModel):
    """Whether everything needed for work is there, and what is not."""

    ready: bool
    checks: dict[str, CheckOut]


@router.get("/health")
async def health() -> dict[str, str]:
    """The process is alive. Looks at nothing else."""
    return {"status": "ok"}


@router.get("/ready", response_model=ReadyOut, responses={503: {"model": ReadyOut}})
def ready(request: Request) -> JSONResponse:
    """Database, migrations, broker, and a worker at every queue within the last minute; 503 when one is missing."""
    checks = {**_database_checks(), "broker": _broker_check(request.app.state.settings)}
    good = all(check["ok"] for check in checks.values())
    return JSONResponse({"ready": good, "checks": checks}, status_code=200 if good else 503)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(request: Request) -> Response:
    """Prometheus metrics of the whole system, read from the database at most every five seconds."""
    token = request.app.state.settings.metrics_token
    if token is not None:
        expected = f"Bearer {token.get_secret_value()}"
        if not hmac.compare_digest(request.headers.get("authorization", "").encode(), expected.encode()):
            raise MetricsTokenNeeded
    return Response(generate_latest(_REGISTRY), media_type=CONTENT_TYPE_LATEST)


def _database_checks() -> dict[str, dict[str, Any]]:
    unknown = {"ok": False, "detail": "unknown: the database is away"}
    try:
        with transaction(role="shopopti_ledger") as session:
            at, newest, read_only = schema_version(session), newest_schema(), is_read_only(session)
            idle = unconsumed_queues(session)
    except (ShopOptiError, DBAPIError) as error:
        if isinstance(error, DBAPIError):  # it answers, but has no such tables or roles yet
            behind = {"ok": False, "at": None, "newest": newest_schema()}
            return {"database": {"ok": True}, "migrations": behind, "queues": {"ok": False, "detail": "unknown"}}
        return {"database": {"ok": False}, "migrations": unknown, "queues": unknown}
    # Newer than us is fine: while a deploy runs, old processes meet the new schema.
    current = at is not None and newest is not None and at >= newest
    return {
        "database": {"ok": not read_only, **({"detail": "it takes no changes"} if read_only else {})},
        "migrations": {"ok": current, "at": at, "newest": newest},
        "queues": {"ok": not idle, "not_consumed": idle},
    }


def _broker_check(settings: Settings) -> dict[str, Any]:
    try:
        with redis.Redis.from_url(
            settings.redis_url,
            socket_timeout=BROKER_TIMEOUT_SECONDS,
            socket_connect_timeout=BROKER_TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        ) as client:
            client.ping()
    except (redis.RedisError, OSError):
        return {"ok": False}
    return {"ok": True}


class _LedgerCollector(Collector):
    """Reads the database when scraped, at most every `SCRAPE_CACHE_SECONDS`, one scrape at a time."""

    def __init__(self, read: Callable[[], Vitals]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._known: Vitals | None = None
        self._read_at = float("-inf")

    def collect(self) -> Iterable[Metric]:
        with self._lock:
            if self._known is None or time.monotonic() - self._read_at > SCRAPE_CACHE_SECONDS:
                self._known = self._read()
                self._read_at = time.monotonic()
            known = self._known
        yield from _gauges(known)
        yield from _totals(known)


def _gauges(known: Vitals) -> Iterator[Metric]:
    depth = GaugeMetricFamily("shopopti_queue_depth", "Jobs waiting in a queue.", labels=["queue"])
    oldest = GaugeMetricFamily("shopopti_queue_oldest_seconds", "Age of the oldest waiting job.", labels=["queue"])
    running = GaugeMetricFamily("shopopti_jobs_running", "Jobs running.", labels=["queue"])
    for queue, row in sorted(known.queues.items()):
        depth.add_metric([queue], row.depth)
        oldest.add_metric([queue], row.oldest_seconds)
        running.add_metric([queue], row.running)
    lag = GaugeMetricFamily("shopopti_process_lag_seconds", "How far behind a process role is.", labels=["role"])
    for role, seconds in sorted(known.lag_seconds.items()):
        lag.add_metric([role], seconds)
    yield from (depth, oldest, running, lag)
    yield GaugeMetricFamily("shopopti_jobs_scheduled", "Jobs waiting for their time.", value=known.scheduled)


def _totals(known: Vitals) -> Iterator[Metric]:
    ended = CounterMetricFamily("shopopti_jobs_ended", "Jobs ended.", labels=["kind", "queue", "state", "reason"])
    durations = HistogramMetricFamily("shopopti_job_duration_seconds", "How long ended jobs ran.", labels=["kind"])
    rescues = 0
    counts: dict[tuple[str, str, str, str], int] = defaultdict(int)
    ran: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for kind, queue, state, reason, bucket, jobs in known.totals:
        if reason in ("rescued", "poisoned"):
            rescues += jobs
        if state == "queued":
            continue
        counts[kind, queue, state, reason] += jobs
        if bucket >= 0:
            ran[kind].append((math.expm1(bucket / 20) / 1000, jobs))
    for labels, jobs in sorted(counts.items()):
        ended.add_metric(labels, jobs)
    for kind, found in sorted(ran.items()):
        buckets = [(str(float(le)), sum(n for seconds, n in found if seconds <= le)) for le in HISTOGRAM_SECONDS]
        buckets.append(("+Inf", sum(n for _, n in found)))
        durations.add_metric([kind], buckets=buckets, sum_value=sum(seconds * n for seconds, n in found))
    yield from (ended, durations)
    yield CounterMetricFamily("shopopti_lease_rescues", "Jobs taken back from workers that went silent.", value=rescues)


def _read() -> Vitals:
    with transaction(role="shopopti_ledger") as session:
        return vitals(session)


_REGISTRY = CollectorRegistry()
_REGISTRY.register(_LedgerCollector(_read))
