"""The jobs of this domain."""

from uuid import UUID

from services.jobs import Job


class ApplyChangeset(Job, kind="apply_changeset", queue="import", timeout=3600):
    """Apply what is left of a plan that somebody has approved. Every attempt goes on where the one before it ended."""

    changeset_id: UUID


class RevertChangeset(Job, kind="revert_changeset", queue="import", timeout=3600):
    """Make the plan that takes a large one back. Every attempt goes on where the one before it ended."""

    changeset_id: UUID
    apply: bool
