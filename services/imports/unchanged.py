"""What of a feed need not be read: runs of records that said nothing new last time, of products nobody has changed.

`feed_prints` remembers, for each product whose records stand together in the file, their hash, until somebody changes
the product. A run with a known hash is passed over. Whether that was right is decided when the whole feed has been
read, in the transaction that says it is staged: nobody may have changed the product meanwhile, and none of its records
may stand elsewhere in the file as well. Runs for which it was not are read after all.
"""

import functools
import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from services import catalog, formats
from services.imports.known import Known
from services.models import Changeset, Import
from services.models.imports import SAYS

_KNOWN = text("""
SELECT string_agg(int8send(run), '' ORDER BY run) FROM feed_prints
WHERE merchant_id = :merchant_id AND source = :source AND run IS NOT NULL
""")
# As planning does: nobody changes a product between our looking at it and the end of the transaction.
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('prints:' || :merchant_id, 0))")
_SET_UP = text("""
SELECT set_config('work_mem', '64MB', true), set_config('plan_cache_mode', 'force_custom_plan', true),
    set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
    set_config('enable_nestloop', 'off', true), set_config('max_parallel_workers_per_gather', '0', true)
""")
_UNSEEN = "CREATE TEMPORARY TABLE unseen_runs (run bigint NOT NULL) ON COMMIT DROP"
_FORGET_MISSING = text("DELETE FROM import_missing WHERE merchant_id = :merchant_id AND import_id = :import_id")
# What is passed over: of the known runs all that were seen. A product that is staged too has more records than those.
_SETTLE = """
WITH skipped AS MATERIALIZED ({skipped}),
staged AS MATERIALIZED (
    SELECT DISTINCT product_key FROM import_drafts WHERE merchant_id = :merchant_id AND import_id = :import_id
),
present AS MATERIALIZED (
    SELECT p.key, skipped.run, staged.product_key IS NOT NULL AS staged
    FROM (SELECT id, key FROM products WHERE merchant_id = :merchant_id AND source = :source) p
    LEFT JOIN skipped ON skipped.product_id = p.id
    LEFT JOIN staged ON staged.product_key = p.key
),
missing AS (
    INSERT INTO import_missing (merchant_id, import_id, product_key)
    SELECT :merchant_id, :import_id, key FROM present WHERE run IS NULL AND NOT staged
)
SELECT (SELECT count(*) FROM skipped) AS products, (SELECT coalesce(sum(blank_prices), 0) FROM skipped) AS blank_prices,
    (SELECT coalesce(json_agg(json_build_array(says, rows)), '[]') FROM (
        SELECT says, sum(products) AS rows
        FROM (SELECT said, count(*) AS products FROM skipped GROUP BY said) alike, unnest(said) says GROUP BY says
     ) counted) AS says,
    (SELECT coalesce(json_agg(run), '[]') FROM present WHERE staged AND run IS NOT NULL) AS torn
"""
_NO_RUNS = "SELECT NULL::uuid AS product_id, NULL::bigint AS run, NULL::int[] AS said, 0 AS blank_prices WHERE false"
_SEEN_RUNS = """
SELECT f.product_id, f.run, f.said, f.blank_prices FROM feed_prints f LEFT JOIN unseen_runs USING (run)
WHERE f.merchant_id = :merchant_id AND f.source = :source AND f.run IS NOT NULL AND unseen_runs.run IS NULL
"""
_SETTLE_ALL = text(_SETTLE.format(skipped=_NO_RUNS))
_SETTLE_REST = text(_SETTLE.format(skipped=_SEEN_RUNS))
_VARIANT = 1 << list(SAYS).index("variants")


def known_runs(session: Session, import_: Import) -> Known:
    """The runs of the import's source."""
    packed = session.scalar(_KNOWN, {"merchant_id": import_.merchant_id, "source": import_.source})
    return Known(packed or b"")


def salt_of(import_: Import, changeset: Changeset) -> bytes:
    """What a record's reading depends on besides the file: the source's settings, and the code that reads."""
    writes = None if changeset.writes is None else sorted(changeset.writes)
    return json.dumps([_code(), import_.currency, import_.mapping, writes], sort_keys=True).encode()


@functools.cache
def _code() -> str:
    """A hash of the modules that make drafts of records and rows of drafts: with others, nothing is known."""
    found = hashlib.blake2b(digest_size=16)
    for folder in (*formats.__path__, *catalog.__path__, Path(__file__).parent):
        for path in sorted(Path(str(folder)).glob("*.py")):
            found.update(path.read_bytes())
    return found.hexdigest()


def forget_missing(session: Session, import_: Import) -> None:
    """Drop what was noted of products that the feed lacks."""
    session.execute(_FORGET_MISSING, {"merchant_id": import_.merchant_id, "import_id": import_.id})


def settle(session: Session, import_: Import, known: Known) -> set[int]:
    """Say in the import's row what was passed over, and note which products the feed lacks.

    Returns the runs for which passing over was wrong: they are to be staged, and all of this transaction's work is to
    be undone. With none of them, whoever holds the transaction decides.
    """
    where = {"merchant_id": import_.merchant_id, "import_id": import_.id, "source": import_.source}
    session.execute(_LOCK, {"merchant_id": str(import_.merchant_id)})
    session.execute(_SET_UP)
    forget_missing(session, import_)
    if not known:
        session.execute(_SETTLE_ALL, where)
        import_.skipped = None
        return set()
    connection: Any = session.connection().connection.driver_connection
    connection.execute(_UNSEEN)
    with connection.cursor() as cursor, cursor.copy("COPY unseen_runs FROM STDIN (FORMAT binary)") as copy:
        copy.set_types(["int8"])
        for print_ in known.unseen():
            copy.write_row((print_,))
    found = session.execute(_SETTLE_REST, where).one()
    seen = sum(1 for _ in known.seen())
    wrong = {*found.torn, *known.doubled}
    if found.products != seen:
        now_known = known_runs(session, import_)
        wrong |= {print_ for print_ in known.seen() if not now_known.pass_over(print_)} or set(known.seen())
    rows = sum(count for _, count in found.says)
    import_.skipped = {
        "rows": rows,
        "products": found.products,
        "variants": sum(count for says, count in found.says if says & _VARIANT),
        "blank_prices": int(found.blank_prices),
        "says": {str(says): count for says, count in found.says},
    }
    return wrong


def pack(marks: bytearray) -> bytes:
    """A byte for each run of a file, as the import's row keeps them."""
    return zlib.compress(marks, 1)


def unpack(packed: bytes) -> bytes:
    """What `pack` was given."""
    return zlib.decompress(packed)
