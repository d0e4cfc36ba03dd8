"""Import every product file of a folder of real feeds, whole way, and print what came of each beside what should.

The folder is named by SHOPOPTI_REAL_DATA. Each file goes into a source of its own of one fresh merchant, on servers and
processes that are started for this and gone afterwards.
"""

import os
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from ops.bench.lab import Lab, lab
from ops.real_data.expected import EXPECTED, REFUSED, Expected, Refused

SECONDS = 300.0  # for one file


class Came(NamedTuple):
    """What came of one file. ``code`` says why nothing did."""

    format: str
    products: int
    variants: int
    priced: int
    total: Decimal
    errors: int
    code: str | None = None


def main() -> int:
    """Exit code 0 when every file that is there came out as expected."""
    named = os.environ.get("SHOPOPTI_REAL_DATA", "")
    folder = Path(named)
    if not named or not folder.is_dir():
        print("skipped: SHOPOPTI_REAL_DATA does not name a folder of real feeds")
        return 0
    with lab() as made:
        for name in ("relay", "worker-import"):
            made.start(name)
        merchant_id = _merchant()
        verdicts = [_one(made, merchant_id, folder, wanted) for wanted in (*EXPECTED, *REFUSED)]
        for name in ("relay", "worker-import"):
            made.stop(name)
    wrong, missing = verdicts.count("DIFFERS"), verdicts.count("not there")
    print(f"\n{len(verdicts) - wrong - missing} files as expected, {wrong} not, {missing} not there")
    return 1 if wrong or missing == len(verdicts) else 0


def _merchant() -> UUID:
    from services.core.db import transaction
    from services.core.ids import new_id
    from services.models import Merchant

    merchant_id = new_id()
    with transaction(merchant_id=merchant_id) as session:
        session.add(Merchant(id=merchant_id, name="Real data"))
    return merchant_id


def _one(made: Lab, merchant_id: UUID, folder: Path, wanted: Expected | Refused) -> str:
    path = folder / wanted.file
    if not path.is_file():
        _line(wanted, None, "not there")
        return "not there"
    came = _import(made, merchant_id, path, wanted.file[-100:])
    verdict = _verdict(wanted, came)
    _line(wanted, came, verdict)
    return verdict


def _verdict(wanted: Expected | Refused, came: Came) -> str:
    if isinstance(wanted, Refused):
        return "agrees" if came.code == wanted.code else "DIFFERS"
    if came != Came(*wanted[1:5], Decimal(wanted.total), wanted.errors):
        return "DIFFERS"
    products, variants, total = wanted.index_says
    told = ((products, came.products), (variants, came.variants), (total and Decimal(total), came.total))
    return "agrees" if all(index in (None, own) for index, own in told) else "INDEX is wrong"


def _line(wanted: Expected | Refused, came: Came | None, verdict: str) -> None:
    shown = wanted.file if len(wanted.file) <= 60 else "…" + wanted.file[-59:]
    if came is None:
        found = ""
    elif came.code:
        found = f"refused: {came.code}"
    else:
        found = f"{came.format} · {came.products} products · {came.variants} variants · {came.errors} errors"
    if isinstance(wanted, Refused):
        expected = f"refused: {wanted.code}"
    else:
        expected = f"{wanted.format} · {wanted.products} · {wanted.variants} · {wanted.errors}, sum {wanted.total}"
    note = f" ({wanted.note})" if wanted.note else ""
    print(f"{shown:60} · {found} · expected {expected} · {verdict}{note}", flush=True)


def _import(made: Lab, merchant_id: UUID, path: Path, source: str) -> Came:
    from services.catalog.guards import Thresholds
    from services.core import db
    from services.imports.receive import FeedNotUsable, start_import, store_upload
    from services.models import Source

    held = {name: None for name in Thresholds.model_fields if not name.startswith("smallest")}
    with db.transaction(merchant_id=merchant_id) as session:  # what is tried is the readers: nobody is there to approve
        session.add(Source(merchant_id=merchant_id, name=source, guards=held))
    try:
        with path.open("rb") as file:
            stored = store_upload(file, merchant_id=merchant_id, filename=path.name)
    except FeedNotUsable as refused:
        return Came("", 0, 0, 0, Decimal(0), 0, refused.code)
    with db.transaction(merchant_id=merchant_id) as session:
        import_ = start_import(session, merchant_id=merchant_id, source=source, currency="EUR", stored=stored)
        job_id, import_id = import_.job_id, import_.id
    return _outcome(made, job_id, import_id, source)


def _outcome(made: Lab, job_id: UUID, import_id: UUID, source: str) -> Came:
    until = time.monotonic() + SECONDS
    with made.database() as connection:
        while True:
            row = connection.execute("SELECT state, error_code FROM jobs WHERE id = %s", (job_id,)).fetchone()
            if row is not None and row[0] in ("succeeded", "failed", "cancelled"):
                break
            if time.monotonic() > until:
                return Came("", 0, 0, 0, Decimal(0), 0, "not_finished")
            time.sleep(0.02)
        if row[0] != "succeeded":
            return Came("", 0, 0, 0, Decimal(0), 0, str(row[1]))
        found = connection.execute(
            "SELECT (SELECT format FROM imports WHERE id = %s), count(DISTINCT products.id), count(variants.id),"
            " count(price), coalesce(sum(price), 0), (SELECT errors FROM imports WHERE id = %s)"
            " FROM products LEFT JOIN variants ON variants.product_id = products.id WHERE products.source = %s",
            (import_id, import_id, source),
        ).fetchone()
    assert found is not None
    return Came(*found)  # type: ignore[arg-type]


if __name__ == "__main__":
    sys.exit(main())
