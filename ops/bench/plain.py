"""A Celery app with nothing of ours, to be measured beside ours."""

import os

from celery import Celery

app = Celery("plain", broker=os.environ["REDIS_URL"])
app.conf.task_ignore_result = True


@app.task(name="noop")
def noop(_argument: str) -> None:
    """Nothing at all."""
