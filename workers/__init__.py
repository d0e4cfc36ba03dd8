"""Processes: the Celery app and its runner, the relay, and beat's scheduler."""
