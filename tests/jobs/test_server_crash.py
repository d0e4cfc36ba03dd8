"""The database server dies in the middle: claims do not wait for the disk, what a job wrote does."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from ops.embedded import Postgres, start_postgres
from ops.lab import TABLE, LabEffect
from services.core import db
from services.core.ids import new_id
from services.jobs import enqueue, ledger
from services.jobs.ledger import FINISH, Ending, finish_arguments
from services.models import Merchant

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Postgres]:
    """A server of its own, which writes to the disk what it promises to."""
    tmp_path.chmod(0o755)
    server = start_postgres(tmp_path / "postgres")
    try:
        env = {**os.environ, "DATABASE_URL": server.url}
        subprocess.run([sys.executable, "-m", "alembic", "upgrade", "head"], cwd=REPOSITORY, env=env, check=True)
        with psycopg.connect(server.url) as connection:
            connection.execute(TABLE)
        yield server
    finally:
        server.stop()


def put(server: Postgres) -> UUID:
    """A job of a new merchant, already rung."""
    engine = create_engine(server.url.replace("postgresql://", "postgresql+psycopg://"))
    merchant_id = new_id()
    with Session(engine) as session, session.begin():
        db.enter(session, merchant_id=merchant_id, role="shopopti_app")
        session.add(Merchant(id=merchant_id, name="Shop"))
        session.flush()
        id_, _ = enqueue(session, LabEffect(), merchant_id=merchant_id)
        session.execute(text("SELECT set_config('role', 'none', true)"))
        session.execute(text("UPDATE jobs SET rung_at = now() WHERE id = :id"), {"id": id_})
    engine.dispose()
    return id_


@pytest.mark.timeout(180)
def test_an_effect_on_disk_takes_its_claim_along_and_a_lost_claim_leaves_a_queued_job(server: Postgres) -> None:
    for with_effect in (True, False, True, False):
        id_ = put(server)
        with psycopg.connect(server.url, autocommit=True) as kept:
            [claim] = ledger.claim(kept, [id_], worker="w", lease_seconds=60).done
        if with_effect:
            with psycopg.connect(server.url) as work:
                work.execute("INSERT INTO lab_effects VALUES (%s, %s, %s)", (id_, claim.merchant_id, claim.claims))
                work.execute(FINISH, finish_arguments([Ending(id_, claim.claims, "succeeded", "done")]))
        server.restart(kill=True)
        with psycopg.connect(server.url) as look:
            [(state, claims)] = look.execute("SELECT state, claims FROM jobs WHERE id = %s", (id_,)).fetchall()
            told = look.execute("SELECT state FROM job_events WHERE job_id = %s ORDER BY id", (id_,)).fetchall()
            effects = look.execute("SELECT count(*) FROM lab_effects WHERE job_id = %s", (id_,)).fetchone()
        if with_effect:
            assert (state, claims, effects) == ("succeeded", 1, (1,))
            assert told == [("queued",), ("running",), ("succeeded",)]
        else:
            assert (state, claims) in {("queued", 0), ("running", 1)}
            assert effects == (0,)
            assert told[-1] == (state,)
