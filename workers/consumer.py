"""Celery's consumer, sending task events together instead of one by one."""

from celery.worker.consumer import Consumer as CeleryConsumer

EVERY = 0.2  # seconds; Flower looks no more often
ROOM = 5_000  # events that may wait for it; beyond, whoever adds one sends them all


class Consumer(CeleryConsumer):
    """Publishing each of a job's three events by itself took a third of a busy worker's main thread."""

    _due = False

    def on_send_event_buffered(self) -> None:
        """Called for each event, from any thread."""
        if not self._due:
            self._due = True
            self.event_dispatcher.buffer_limit = ROOM
            self.hub.call_soon(self._send_later)  # only the hub's own thread may touch its timers

    def _send_later(self) -> None:
        self.hub.call_later(EVERY, self._send_events)

    def _send_events(self) -> None:
        self._due = False
        self._flush_events()
