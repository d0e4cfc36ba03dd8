"""An application with a few routes that only tests have, behind a real server."""

import time
import uuid
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Body, File, UploadFile
from pydantic import BaseModel, Field
from sqlalchemy import select, text
from starlette.responses import Response

from api.app import create_app
from api.deps import CallerDep, EarlyCallerDep, IdempotencyKey, PageDep, SessionDep
from services.core.clock import now
from services.core.db import transaction
from services.core.errors import Conflict
from services.core.paging import ListOut, paginate
from services.models import Schedule
from tests.conftest import headers_for, serving


class NoteIn(BaseModel):
    """A body with something to get wrong."""

    name: str = Field(min_length=1)
    lines: list[int] = []
    wait: float = 0


class NoteOut(BaseModel):
    """What was made."""

    id: uuid.UUID
    name: str


class NoteTaken(Conflict):
    """There is a note of that name."""


router = APIRouter(prefix="/notes")


def _add(session: Any, caller: Any, note: NoteIn) -> Schedule:
    row = Schedule(
        merchant_id=caller.merchant_id, name=note.name, kind="k", args={}, interval_seconds=60, next_fire_at=now()
    )
    session.add(row)
    session.flush()
    time.sleep(note.wait)
    return row


@router.post("", status_code=201, response_model=NoteOut)
def create(note: NoteIn, session: SessionDep, caller: CallerDep, once: IdempotencyKey) -> Response:
    """Make one, once."""

    def make() -> NoteOut:
        if note.name == "refused":
            raise NoteTaken
        return NoteOut.model_validate(_add(session, caller, note), from_attributes=True)

    return once(session, note, status=201, make=make)


@router.put("/{note}")
def replace(note: str, session: SessionDep, caller: CallerDep, once: IdempotencyKey) -> Response:
    """Another route for the same keys."""
    return once(session, {}, status=200, make=lambda: {"note": note})


@router.get("")
def find(session: SessionDep, page: PageDep) -> ListOut[NoteOut]:
    """List them."""
    found = paginate(session, select(Schedule), id_column=Schedule.id, page=page)
    return ListOut[NoteOut].model_validate(found, from_attributes=True)


@router.get("/boom")
def boom(caller: CallerDep) -> None:
    """Break."""
    raise RuntimeError("password=hunter2 at /srv/app/secret.py")


@router.get("/broken-commit")
def broken_commit(session: SessionDep) -> dict[str, str]:
    """Fail at the commit, after the endpoint has answered."""
    session.execute(text("CREATE TEMP TABLE t (a int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED) ON COMMIT DROP"))
    session.execute(text("INSERT INTO t VALUES (1), (1)"))
    return {"made": "yes"}


@router.get("/terminated")
def terminated(session: SessionDep) -> dict[str, str]:
    """Lose the connection in the middle."""
    pid = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
    with transaction() as other:
        other.execute(text("SELECT set_config('role', 'none', true)"))
        other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
    time.sleep(0.05)
    session.execute(text("SELECT 1"))
    return {}


@router.get("/early")
def early(caller: EarlyCallerDep) -> dict[str, str]:
    """Know the caller and hold nothing."""
    with transaction(merchant_id=caller.merchant_id) as session:
        return {"merchant": session.execute(text("SELECT current_setting('shopopti.merchant_id')")).scalar_one()}


@router.get("/slow")
def slow(session: SessionDep) -> dict[str, float]:
    """Hold a connection for a while."""
    session.execute(text("SELECT pg_sleep(0.1)"))
    return {}


@router.post("/echo")
def echo(note: Annotated[dict[str, Any], Body()], caller: CallerDep) -> dict[str, Any]:
    """Answer what came."""
    return note


upload_router = APIRouter(prefix="/uploads")


@upload_router.post("")
def upload(file: Annotated[UploadFile, File()], caller: EarlyCallerDep) -> dict[str, int]:
    """Measure a file."""
    return {"bytes": len(file.file.read())}


def probe_app(**changes: Any) -> Any:
    """The application with the routes above, and these settings changed."""
    from services.core.settings import get_settings

    settings = get_settings().model_copy(update=changes)
    app = create_app(settings)
    app.include_router(router, prefix="/api/v1", max_body_size=settings.max_body_bytes)
    app.include_router(upload_router, prefix="/api/v1", max_body_size=settings.max_upload_bytes)
    return app


@pytest.fixture(scope="session")
def probe_url():
    """The address of that application."""
    with serving(
        probe_app(max_body_bytes=10_000, max_upload_bytes=100_000, cors_origins=["https://dash.example"])
    ) as url:
        yield url


@pytest.fixture
def probe(probe_url, merchant):
    """A client of a new owner of `merchant`."""
    with httpx.Client(base_url=probe_url, headers=headers_for(merchant), timeout=20) as client:
        yield client
