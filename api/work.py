"""What is said of anything that a job works on: where it stands, how far it is, why an attempt failed, which rows of a
file were wrong."""

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response, StreamingResponse

from services.imports.row_errors import KeptError, errors_csv

# The job's state, or `expired`: what was made is gone, or the job is forgotten and nothing came of it.
Status = Literal["scheduled", "queued", "running", "waiting", "succeeded", "failed", "cancelled", "expired"]

BadRowsRule = Annotated[
    Literal["skip", "refuse"], Field(description="A row that cannot be used is left out, or the whole feed is refused.")
]


class ProgressOut(BaseModel):
    """Units of work done, of how many (null: not known yet)."""

    done: int
    total: int | None
    note: str | None


class FailureOut(BaseModel):
    """Why the last attempt ended badly."""

    code: str
    message: str | None


class RowErrorOut(BaseModel):
    """A record that was left out (`fatal`), or a cell that was."""

    model_config = ConfigDict(from_attributes=True)

    line: int
    code: str
    column: str | None
    value: str | None
    reason: str
    fatal: bool


def shown_errors(errors: Iterable[KeptError]) -> list[RowErrorOut]:
    """Row errors as they are answered."""
    return [RowErrorOut.model_validate(error) for error in errors]


def errors_answer(errors: list[KeptError], *, as_json: bool, name: str) -> Response:
    """All of them: as JSON, or as a CSV of that name to download."""
    if as_json:
        return JSONResponse({"data": [error.model_dump() for error in shown_errors(errors)]})
    return csv_answer(errors_csv(errors), name=name)


def csv_answer(lines: Iterable[str], *, name: str) -> Response:
    """A CSV of that name to download."""
    disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(lines, media_type="text/csv", headers=disposition)
