"""Feeds through the whole of it, plan and apply, beside what Postgres alone does with the same rows."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import UUID

import psutil

from ops.bench import feeds
from ops.bench.lab import Lab
from ops.bench.table import Table

_COLUMNS = ", ".join(f"c{n} text" for n in range(len(feeds.HEADERS)))
_NAMES = ", ".join(f"c{n}" for n in range(len(feeds.HEADERS)))
_SET = ", ".join(f"c{n} = excluded.c{n}" for n in range(len(feeds.HEADERS)) if n != 1)


def measure(lab: Lab, table: Table, merchant_id: UUID, *, rows: int) -> None:
    """All rows of the table that concern imports. `rows` is the size of the large feed."""
    feed, changed, small = (lab.folder / name for name in ("feed.csv", "changed.csv", "small.csv"))
    feeds.write_csv(feed, rows)
    feeds.write_csv(changed, rows, changed_percent=1)
    feeds.write_csv(small, rows // 10)
    copy, merge = _limits(lab, feed, rows)
    table.add("COPY of the rows alone", f"{copy:,.0f} rows/s")
    table.add("COPY and merge alone", f"{merge:,.0f} rows/s")
    for name in ("relay", "worker-import"):
        lab.start(name)
    with _peak(lab) as peak_small:
        _import(lab, merchant_id, small, "small")
    with _peak(lab) as peak_large:
        first = rows / _import(lab, merchant_id, feed, "bench")
    table.add("first import, plan and apply", f"{first:,.0f} rows/s")
    share = first / merge
    table.add("first import ÷ COPY and merge", f"{share:.2f}", bar="≥ 0.25", met=share >= 0.25)
    few, many = peak_small[0] / 1e6, peak_large[0] / 1e6
    table.add(
        f"peak memory of the worker, {rows // 10:,} and {rows:,} rows",
        f"{few:.0f} and {many:.0f} MB",
        bar="≤ 300, the same",
        met=many <= 300 and many <= few * 1.15,
    )
    again = rows / _import(lab, merchant_id, feed, "bench")
    table.add("import, nothing changed", f"{again:,.0f} rows/s", bar="≥ 150,000", met=again >= 150_000)
    some = rows / _import(lab, merchant_id, changed, "bench")
    table.add("import, 1 % changed", f"{some:,.0f} rows/s", bar="≤ 1.3 x the time", met=some >= again / 1.3)
    _other_formats(lab, table, merchant_id)
    for name in ("relay", "worker-import"):
        lab.stop(name)


def _other_formats(lab: Lab, table: Table, merchant_id: UUID) -> None:
    workbook, tree = lab.folder / "feed.xlsx", lab.folder / "feed.xml"
    feeds.write_xlsx(workbook, 43_500)
    sheet = 43_500 / _import(lab, merchant_id, workbook, "workbook")
    table.add("import of a workbook, 43,500 rows", f"{sheet:,.0f} rows/s", bar="≥ 8,000", met=sheet >= 8_000)
    items = feeds.write_xml(tree, 200)
    seconds = _import(lab, merchant_id, tree, "tree")
    table.add(f"import of XML, 200 MB, {items:,} items", f"{items / seconds:,.0f} items/s", bar="≥ 20,000",
              met=items / seconds >= 20_000)  # fmt: skip


def _limits(lab: Lab, feed: Path, rows: int) -> tuple[float, float]:
    """Rows per second of COPY into an unlogged table, and of COPY and INSERT … ON CONFLICT into an indexed one."""
    with lab.database() as connection:
        connection.execute(f"CREATE UNLOGGED TABLE limit_staged ({_COLUMNS})")
        connection.execute(f"CREATE TABLE limit_merged ({_COLUMNS}, PRIMARY KEY (c1))")
        began = time.monotonic()
        copying = connection.cursor().copy("COPY limit_staged FROM STDIN (FORMAT csv, HEADER)")
        with feed.open("rb") as file, copying as copy:
            while chunk := file.read(1 << 20):
                copy.write(chunk)
        copied = time.monotonic()
        connection.execute(f"INSERT INTO limit_merged SELECT * FROM limit_staged ON CONFLICT (c1) DO UPDATE SET {_SET}")
        merged = time.monotonic()
        connection.execute("DROP TABLE limit_staged, limit_merged")
    return rows / (copied - began), rows / (merged - began)


def _import(lab: Lab, merchant_id: UUID, feed: Path, source: str) -> float:
    """Seconds from the start of the import's job to its end, which must be the plan applied."""
    from services.core import db
    from services.imports.receive import start_import, store_upload

    with feed.open("rb") as file:
        stored = store_upload(file, merchant_id=merchant_id, filename=feed.name)
    with db.transaction(merchant_id=merchant_id) as session:
        import_ = start_import(session, merchant_id=merchant_id, source=source, currency="EUR", stored=stored)
        job_id, import_id = import_.job_id, import_.id
    job = lab.ended(job_id)
    with lab.database() as connection:
        applied = connection.execute("SELECT state FROM changesets WHERE import_id = %s", (import_id,)).fetchone()
    if job["state"] != "succeeded" or job["attempt"] != 1 or applied not in (("applied",), None):
        raise SystemExit(f"the import of {feed.name} ended as {job}, its plan as {applied}")
    return float(job["since_begun"])


@contextmanager
def _peak(lab: Lab) -> Iterator[list[int]]:
    """The largest resident memory, in bytes, of any child of worker-import, and of those it has, in the block."""
    found, over = [0], threading.Event()

    def look() -> None:
        worker = psutil.Process(lab.running["worker-import"].pid)
        while not over.wait(0.1):
            for child in worker.children():  # whoever begins or ends in between is seen the next time
                with suppress(psutil.Error):
                    family = (child, *child.children(recursive=True))
                    found[0] = max(found[0], sum(one.memory_info().rss for one in family))

    thread = threading.Thread(target=look)
    thread.start()
    yield found
    over.set()
    thread.join()
