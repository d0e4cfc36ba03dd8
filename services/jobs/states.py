"""The states of a job and the moves between them. The table `job_moves` enforces the same in the database.

             ┌──────────── retry ────────────┐
scheduled → queued → running → succeeded | failed | cancelled
    ↑         ↑         │ └→ waiting ──────→┘   (a parent, until its children end)
    └─────────┴─────────┘ retry later, snooze, drain, rescue
"""

from typing import Literal

State = Literal["scheduled", "queued", "running", "waiting", "succeeded", "failed", "cancelled"]

STATES: tuple[State, ...] = ("scheduled", "queued", "running", "waiting", "succeeded", "failed", "cancelled")
ENDED: frozenset[State] = frozenset({"succeeded", "failed", "cancelled"})

MOVES: dict[State, frozenset[State]] = {
    "scheduled": frozenset({"queued", "cancelled"}),
    "queued": frozenset({"running", "cancelled"}),
    "running": frozenset({"succeeded", "failed", "cancelled", "queued", "scheduled", "waiting"}),
    "waiting": frozenset({"succeeded", "failed", "cancelled"}),
    "succeeded": frozenset({"waiting"}),
    "failed": frozenset({"queued", "waiting"}),
    "cancelled": frozenset({"queued", "waiting"}),
}
