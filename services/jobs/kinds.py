"""What a job is to the code that asks for one: a small frozen document with a kind, and the kind's rules.

    class SyncSupplierStock(Job, kind="sync_supplier_stock", queue="sync", timeout=900):
        connection_id: UUID

The kind is the wire name (the Celery task's too) and never changes; fields may be added with defaults, so that rows
enqueued by yesterday's code still decode. Arguments are ids and small values, never payloads.
"""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

QUEUES = ("sync", "scraping", "import", "orders", "ai", "webhooks")

KINDS: dict[str, "type[Job]"] = {}


class Job(BaseModel):
    """Arguments of one kind of job. Subclasses register themselves under their kind."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ClassVar[str]
    queue: ClassVar[str]
    timeout: ClassVar[int | None]  # seconds one attempt may take; None is no deadline
    max_attempts: ClassVar[int]
    backoff: ClassVar[float]  # seconds before the second attempt; doubles each time, up to an hour
    schedulable: ClassVar[bool]  # whether merchants may put it on a schedule

    def __init_subclass__(
        cls,
        *,
        kind: str,
        queue: str,
        timeout: int | None = 3600,
        max_attempts: int = 5,
        backoff: float = 5.0,
        schedulable: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init_subclass__(**kwargs)
        if queue not in QUEUES:
            raise TypeError(f"{cls.__name__}: no queue is called {queue!r}; there are {', '.join(QUEUES)}")
        if kind in KINDS and KINDS[kind].__qualname__ != cls.__qualname__:
            raise TypeError(f"{cls.__name__}: {KINDS[kind].__qualname__} already has the kind {kind!r}")
        cls.kind, cls.queue, cls.timeout, cls.max_attempts = kind, queue, timeout, max_attempts
        cls.backoff, cls.schedulable = backoff, schedulable
        KINDS[kind] = cls
