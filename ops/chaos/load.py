"""Work for the system under test: short, long, retrying, snoozing, cancelled and parent jobs of several merchants."""

import contextlib
import random
import threading
import time
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from ops.lab import LabEffect, LabFlaky, LabLingering, LabNap, LabParent, LabPoison, new_merchant
from services.core import db
from services.core.clock import now
from services.core.errors import Unavailable
from services.core.ids import new_id
from services.jobs import Job, enqueue
from services.jobs.control import cancel_jobs

MERCHANTS = 6

MIX: tuple[tuple[int, Job], ...] = (
    (50, LabEffect()),
    (12, LabEffect(seconds=0.3)),
    (3, LabNap(seconds=0.2, steps=15)),
    (10, LabFlaky(succeed_at=3)),
    (8, LabFlaky(succeed_at=4, snooze=True)),
    (6, LabParent(children=4)),
    (3, LabLingering()),
    (1, LabPoison()),
)

_SCHEDULE = text("""
INSERT INTO schedules (id, merchant_id, name, kind, args, interval_seconds, misfire, overlap, next_fire_at)
VALUES (:id, :merchant_id, :name, 'lab_effect', '{}', 10, 'catch_up', 'queue', :first)
""")


class Load:
    """Enqueues at a steady rate until told to stop. `asked` is what must be there at the end, by unique key."""

    def __init__(self, *, per_second: float, seed: int) -> None:
        self.asked: list[tuple[UUID, str]] = []
        self.cancels = 0
        self._dice = random.Random(seed)
        self._per_second = per_second
        self._stop = threading.Event()
        self.merchants = [new_merchant(f"Chaos {n}") for n in range(MERCHANTS)]
        for merchant_id in self.merchants:
            with db.transaction(merchant_id=merchant_id) as session:
                session.execute(
                    _SCHEDULE, {"id": new_id(), "merchant_id": merchant_id, "name": "every 10 s", "first": now()}
                )
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Enqueue no more, and let the schedules fire no more."""
        self._stop.set()
        self._thread.join()
        for merchant_id in self.merchants:
            _insist(lambda merchant_id=merchant_id: self._end_schedules(merchant_id))

    def _end_schedules(self, merchant_id: UUID) -> None:
        with db.transaction(merchant_id=merchant_id) as session:
            session.execute(text("UPDATE schedules SET enabled = false"))

    def _run(self) -> None:
        began, sent = time.monotonic(), 0
        while not self._stop.is_set():
            due = int((time.monotonic() - began) * self._per_second)
            if sent >= due:
                time.sleep(0.02)
                continue
            merchant_id, job, key = self._choose(), self._job(), str(new_id())
            # Asked again after a lost answer, the unique key makes it one; a finished twin is looked up by it, too.
            _insist(lambda m=merchant_id, j=job, k=key: self._ask(m, j, k))
            self.asked.append((merchant_id, key))
            sent += 1
            if self._dice.random() < 0.02:
                self._cancel_one(merchant_id)

    def _choose(self) -> UUID:
        # One merchant sends half of everything.
        return self.merchants[0] if self._dice.random() < 0.5 else self._dice.choice(self.merchants)

    def _job(self) -> Job:
        return self._dice.choices([job for _, job in MIX], [weight for weight, _ in MIX])[0]

    def _ask(self, merchant_id: UUID, job: Job, key: str) -> None:
        with db.transaction(merchant_id=merchant_id) as session:
            known = session.scalar(
                text("SELECT id FROM jobs WHERE merchant_id = :m AND kind = :kind AND unique_key = :key"),
                {"m": merchant_id, "kind": job.kind, "key": key},
            )
            if known is None:
                enqueue(session, job, merchant_id=merchant_id, unique_key=key, priority=self._dice.randint(-5, 5))

    def _cancel_one(self, merchant_id: UUID) -> None:
        with contextlib.suppress(Unavailable, DBAPIError), db.transaction(merchant_id=merchant_id) as session:
            found = session.scalars(
                text(
                    "SELECT id FROM jobs WHERE merchant_id = :m AND state IN ('queued', 'running', 'scheduled')"
                    " ORDER BY random() LIMIT 1"
                ),
                {"m": merchant_id},
            ).all()
            self.cancels += len(cancel_jobs(session, found)) if found else 0


def _insist(act: object) -> None:
    """Do it again until the database says yes."""
    while True:
        try:
            act()  # type: ignore[operator]
        except (Unavailable, DBAPIError):
            time.sleep(0.2)
        else:
            return
