"""Sources kept up to date from an address: against a real server on loopback, by hand and on a schedule."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text

from services.core.db import transaction
from services.imports import sources
from services.imports.source_jobs import ImportSource
from services.jobs import dispatch, enqueue, schedules
from services.models import Changeset, Import, Job, Source
from tests import inline
from tests.imports.importing import catalogue
from tests.imports.test_crashes import Doomed, Killed

ROWS = 20


def feed(rows: int = ROWS, price: str = "10.00") -> bytes:
    """A feed of that many products."""
    return ("SKU,Title,Price\n" + "".join(f"A{n},Lamp {n},{price}\n" for n in range(rows))).encode()


@pytest.fixture
def shop(settings, monkeypatch) -> Iterator[Any]:
    """A server with one feed: `body`, `etag`, `modified`, `status` say what it answers; `asked` what it was asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked, server = self.headers, self.server
            server.asked.append({name: asked.get(name) for name in ("If-None-Match", "If-Modified-Since")})
            same = server.etag is not None and asked.get("If-None-Match") == server.etag
            same = same or (server.modified is not None and asked.get("If-Modified-Since") == server.modified)
            self.send_response(304 if same else server.status)
            for name, value in (("ETag", server.etag), ("Last-Modified", server.modified)):
                if value is not None:
                    self.send_header(name, value)
            self.send_header("Content-Length", "0" if same else str(len(server.body)))
            self.end_headers()
            self.wfile.write(b"" if same else server.body)

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setattr(settings, "allow_private_addresses", True)
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.body, server.etag, server.modified, server.status = [], feed(), '"v1"', None, 200
    server.url = f"http://127.0.0.1:{server.server_port}/feed.csv"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join(5)
    server.server_close()


@pytest.fixture
def source(merchant, shop) -> Source:
    """A source at that server."""
    with transaction(merchant_id=merchant) as session:
        return sources.create_source(session, merchant_id=merchant, name="shop", url=shop.url, currency="EUR")


def run(source: Source, **options: Any) -> dict[str, Any]:
    """Run the source to the end of its import. Returns the job's row; its result has the outcome."""
    with transaction(merchant_id=source.merchant_id) as session:
        job_id = sources.run_source(session, source.id, **options)
    return finish(job_id)


def finish(job_id: UUID, **options: Any) -> dict[str, Any]:
    """Work on a job that fetches, and on the import it started."""
    fetched = inline.work(job_id, **options)
    if fetched["state"] == "waiting":
        inline.work(UUID(fetched["result"]["import_job_id"]))
        inline.write(dispatch.settle_parents)
    return inline.state_of(job_id)


def imports(source: Source) -> list[Import]:
    """The source's imports, oldest first."""
    with transaction(merchant_id=source.merchant_id) as session:
        return list(session.scalars(select(Import).where(Import.source == source.name).order_by(Import.id)))


def plans(source: Source) -> list[str]:
    """The states of the source's plans, oldest first."""
    with transaction(merchant_id=source.merchant_id) as session:
        return list(session.scalars(select(Changeset.state).order_by(Changeset.id)))


def files(settings: Any, source: Source) -> int:
    """How many files are stored for the merchant."""
    return sum(path.is_file() for path in (Path(settings.storage_folder) / str(source.merchant_id)).rglob("*"))


def test_a_feed_is_fetched_and_imported(source, shop):
    ended = run(source)
    assert (ended["state"], ended["result"]["outcome"]) == ("succeeded", "started")
    assert len(catalogue(source.merchant_id, "shop")) == ROWS
    (import_,) = imports(source)
    assert (import_.etag, import_.url, import_.currency, import_.filename) == ('"v1"', shop.url, "EUR", "feed.csv")
    assert ended["result"]["import_id"] == str(import_.id)
    assert shop.asked == [{"If-None-Match": None, "If-Modified-Since": None}]


def test_the_import_is_a_child(source):
    with transaction(merchant_id=source.merchant_id) as session:
        job_id = sources.run_source(session, source.id)
    assert inline.work(job_id)["state"] == "waiting"
    with transaction(merchant_id=source.merchant_id) as session:
        (child,) = session.scalars(select(Job).where(Job.parent_id == job_id))
        assert child.kind == "import_csv_products"


@pytest.mark.parametrize(("etag", "modified"), [('"v1"', None), (None, "Sun, 22 Nov 2026 05:00:00 GMT"), (None, None)])
def test_an_unchanged_feed_makes_no_plan(source, shop, settings, etag, modified):
    shop.etag, shop.modified = etag, modified
    first = run(source)
    again = run(source)
    assert (again["state"], again["result"]["outcome"]) == ("succeeded", "unchanged")
    assert again["result"]["import_id"] == first["result"]["import_id"]
    assert shop.asked[1] == {"If-None-Match": etag, "If-Modified-Since": modified}
    assert (len(imports(source)), plans(source), files(settings, source)) == (1, ["applied"], 1)


def test_a_changed_feed_is_the_next_plan(source, shop):
    run(source)
    shop.body, shop.etag = feed(price="11.00"), '"v2"'
    assert run(source)["result"]["outcome"] == "started"
    assert plans(source) == ["applied", "applied"]
    shop.etag = '"v3"'  # another word for the same content
    assert run(source)["result"]["outcome"] == "unchanged"


def test_a_held_feed_is_put_before_a_person_once(source, shop):
    run(source)
    shop.body, shop.etag = feed(5), '"v2"'
    run(source)
    assert plans(source) == ["applied", "awaiting_approval"]
    assert run(source)["result"]["outcome"] == "unchanged"
    assert plans(source) == ["applied", "awaiting_approval"]
    # The feed is whole again: the catalogue never was anything else, and the cut one is nobody's business any more.
    shop.body, shop.etag = feed(), '"v3"'
    assert run(source)["result"]["outcome"] == "started"
    assert plans(source) == ["applied", "discarded", "applied"]
    # And should the cut one come back, it is a question again.
    shop.body, shop.etag = feed(5), '"v2"'
    run(source)
    assert plans(source)[-1] == "awaiting_approval"


def test_anew_means_anew(source, shop):
    run(source)
    assert run(source, anew=True)["result"]["outcome"] == "started"
    assert shop.asked[1] == {"If-None-Match": None, "If-Modified-Since": None}
    assert plans(source) == ["applied", "applied"]


def test_other_settings_mean_anew(source, shop):
    run(source)
    with transaction(merchant_id=source.merchant_id) as session:
        sources.update_source(session, source.id, {"missing": "archive"})
    assert run(source)["result"]["outcome"] == "started"
    assert run(source)["result"]["outcome"] == "unchanged"


def test_what_failed_is_tried_again(source, shop):
    shop.body = b"SKU,Title,Price\n"
    failed = run(source)
    assert (failed["state"], failed["reason"]) == ("failed", "children_failed")
    shop.body = feed()  # a server that forgot to change its ETag
    assert run(source)["result"]["outcome"] == "started"
    assert len(catalogue(source.merchant_id, "shop")) == ROWS


def test_content_that_is_on_its_way_is_not_imported_twice(source, settings):
    with transaction(merchant_id=source.merchant_id) as session:
        first = sources.run_source(session, source.id)
    assert inline.work(first)["state"] == "waiting"
    with transaction(merchant_id=source.merchant_id) as session:
        second = enqueue(session, ImportSource(source_id=source.id), merchant_id=source.merchant_id)[0]
    ended = inline.work(second)
    assert (ended["state"], ended["result"]["outcome"]) == ("succeeded", "under_way")
    assert (len(imports(source)), files(settings, source)) == (1, 1)


def test_wherever_a_worker_dies_the_feed_is_imported_once(source, shop):
    for step in range(1, 12):
        with transaction(merchant_id=source.merchant_id) as session:
            job_id = sources.run_source(session, source.id)
        shop.body, shop.etag = feed(price=f"1{step}.00"), f'"died {step}"'
        before = len(imports(source))
        died = True
        try:
            inline.work(job_id, make_run=lambda claim, step=step: Doomed(claim, fatal_step=step))
            died = False
        except Killed:
            if inline.state_of(job_id)["state"] == "running":
                inline.lose(job_id)
                inline.work(job_id)
        (*_, import_) = imports(source)
        assert len(imports(source)) == before + 1, step
        assert inline.work(import_.job_id)["state"] == "succeeded"
        inline.write(dispatch.settle_parents)
        assert inline.state_of(job_id)["state"] == "succeeded"
        if not died:
            break
    assert not died, "it never came through"
    assert step > 3


def test_settings_that_change_during_the_fetch_count(source, shop, monkeypatch):
    with transaction(merchant_id=source.merchant_id) as session:
        job_id = sources.run_source(session, source.id)
    unhindered = inline.Run.progress

    def meanwhile(self: Any, *report: Any) -> None:
        with transaction(merchant_id=source.merchant_id) as session:
            sources.update_source(session, source.id, {"currency": "CZK"})
        unhindered(self, *report)

    class Meanwhile(inline.Run):
        progress = meanwhile

    ended = inline.work(job_id, make_run=Meanwhile)
    assert (ended["state"], ended["reason"]) == ("scheduled", "source_changed")
    assert imports(source) == []
    assert finish(job_id)["state"] == "succeeded"
    assert imports(source)[0].currency == "CZK"


@pytest.mark.parametrize(
    ("status", "state", "code"), [(404, "failed", "fetch_failed"), (503, "scheduled", "fetch_unavailable")]
)
def test_an_address_that_gives_no_feed(source, shop, status, state, code):
    shop.status = status
    ended = run(source)
    assert (ended["state"], ended["error_code"]) == (state, code)
    assert imports(source) == []


def test_a_source_that_is_gone(source):
    with transaction(merchant_id=source.merchant_id) as session:
        job_id = enqueue(session, ImportSource(source_id=source.id), merchant_id=source.merchant_id)[0]
        session.execute(text("DELETE FROM sources WHERE id = :id"), {"id": source.id})
    assert inline.work(job_id)["error_code"] == "source_not_found"


def test_another_merchants_source_is_none(source, other_merchant, shop):
    with transaction(merchant_id=other_merchant) as session:
        job_id = enqueue(session, ImportSource(source_id=source.id), merchant_id=other_merchant)[0]
    assert inline.work(job_id)["error_code"] == "source_not_found"
    assert shop.asked == []


def fire(merchant: UUID, schedule: dict[str, Any]) -> list[Job]:
    """Let beat find the schedule due. Returns the schedule's jobs, oldest first."""
    with transaction(role="shopopti_ledger") as session:
        session.execute(
            text("UPDATE schedules SET next_fire_at = now() - interval '1 second' WHERE id = :id"),
            {"id": schedule["id"]},
        )
    with transaction(role="shopopti_ledger") as session:
        schedules.fire_due(session)
    with transaction(merchant_id=merchant) as session:
        return list(session.scalars(select(Job).where(Job.schedule_id == UUID(schedule["id"])).order_by(Job.id)))


@pytest.fixture
def hourly(client, source) -> Callable[[], list[Job]]:
    """A schedule over HTTP that runs the source every hour; called, an hour has passed."""
    body = {"name": "Hourly feed", "kind": "import_source", "args": {"source_id": str(source.id)}, "cron": "0 * * * *"}
    answer = client.post("/api/v1/schedules", json=body)
    assert answer.status_code == 201, answer.text
    return lambda: fire(source.merchant_id, answer.json())


def test_a_schedule_runs_a_feed_to_a_plan(hourly, source, shop, client):
    (job,) = hourly()
    assert finish(job.id)["state"] == "succeeded"
    assert plans(source) == ["applied"]
    assert len(catalogue(source.merchant_id, "shop")) == ROWS
    *_, job = hourly()
    assert finish(job.id)["result"]["outcome"] == "unchanged"
    shop.body, shop.etag = feed(price="0.10"), '"v2"'
    *_, job = hourly()
    assert finish(job.id)["state"] == "succeeded"
    assert plans(source) == ["applied", "awaiting_approval"]
    assert str(catalogue(source.merchant_id, "shop")["A1"]["variants"]["A1"]["price"]) == "10.000000"
    assert client.get(f"/api/v1/jobs/{job.id}").json()["children"] == {"succeeded": 1}


def test_a_schedule_leaves_a_fire_out_while_the_import_is_at_work(hourly):
    (job,) = hourly()
    fetched = inline.work(job.id)
    assert fetched["state"] == "waiting"
    assert [(each.state, each.reason) for each in hourly()][1:] == [("cancelled", "overlap")]
    inline.work(UUID(fetched["result"]["import_job_id"]))
    inline.write(dispatch.settle_parents)
    assert hourly()[-1].state == "queued"
