"""The Celery app: what carries doorbells from the relay to the workers, and why each setting is as it is.

Postgres owns retries, delays, schedules, results and cancellation; of Celery we use routing, pools, consumption and
the event stream that Flower shows. A doorbell may be lost, doubled or late without harm: the claim decides.
"""

from celery import Celery
from kombu import Exchange, Queue

from services.core.settings import get_settings
from services.jobs.kinds import QUEUES

TASK_MODULES = (
    "tasks.imports",
    "tasks.sources",
    "tasks.catalog",
    "tasks.exports",
    "tasks.orders",
    "tasks.sync",
    "tasks.connections",
    "workers.ping",
)

settings = get_settings()

app = Celery(
    "shopopti",
    task_cls="workers.runner:JobTask",
    include=[*TASK_MODULES, *settings.extra_task_modules],
    broker=settings.redis_url,
)

_exchange = Exchange("jobs", type="direct")

app.conf.update(
    task_queues=[Queue(name, _exchange, routing_key=name) for name in QUEUES],
    task_create_missing_queues=False,  # a misspelt queue is an error, not a list nobody reads
    task_serializer="json",
    accept_content=["json"],
    task_ignore_result=True,
    result_backend=None,
    # The bell is acknowledged when the attempt is over, so a worker holds no more bells than it has hands.
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    worker_eta_task_limit=100,
    worker_consumer="workers.consumer:Consumer",
    worker_max_tasks_per_child=500,
    worker_max_memory_per_child=400_000,
    worker_cancel_long_running_tasks_on_connection_loss=False,  # the lease, not the broker, says whose a job is
    worker_send_task_events=True,
    worker_hijack_root_logger=False,
    task_send_sent_event=False,
    # Reconnecting for ever, and noticing within seconds that a connection is dead (all five are needed together:
    # without retry_on_timeout the next message after a half-open connection is lost).
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_channel_error_retry=True,
    broker_pool_acquire_timeout=10,
    broker_transport_options={
        "global_keyprefix": settings.redis_prefix,
        # A bell is noted in the worker's memory only. Should both be lost, the relay rings again; keeping unanswered
        # bells in Redis as well cost four round trips a job and saved none.
        "ack_emulation": False,
        "socket_timeout": 5,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 5,
        "retry_on_timeout": True,
    },
    # Beat asks the schedules table; it keeps no file and no schedule of its own.
    beat_scheduler="workers.beat:LedgerScheduler",
    beat_max_loop_interval=1,
)
