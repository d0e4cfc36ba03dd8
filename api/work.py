"""What is said of anything that a job works on: where it stands, how far it is, why an attempt failed."""

from typing import Literal

from pydantic import BaseModel

# The job's state, or `expired`: what was made is gone, or the job is forgotten and nothing came of it.
Status = Literal["scheduled", "queued", "running", "waiting", "succeeded", "failed", "cancelled", "expired"]


class ProgressOut(BaseModel):
    """Units of work done, of how many (null: not known yet)."""

    done: int
    total: int | None
    note: str | None


class FailureOut(BaseModel):
    """Why the last attempt ended badly."""

    code: str
    message: str | None
