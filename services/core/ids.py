"""Time-ordered ids: rows sort by age, and a page of a list is a range of ids."""

from uuid import UUID

import uuid_utils


def new_id() -> UUID:
    """A UUIDv7 (RFC 9562): 48 bits of milliseconds, monotonic within a process, the rest random."""
    return UUID(int=uuid_utils.uuid7().int)
