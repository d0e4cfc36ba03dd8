"""What a plan comes to, once all its items are written: how many of what, which fields, and the digest it goes by."""

from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.models import Changeset

_OWN = "changeset_items i WHERE i.merchant_id = :merchant_id AND i.changeset_id = :changeset_id"
# What a revert keeps is listed as a conflict from the beginning: nothing it would change.
_OPS = text(f"""
SELECT op, CASE WHEN variant_id IS NULL THEN 'products' ELSE 'variants' END AS what, count(*) AS items
FROM {_OWN} AND state <> 'conflict' GROUP BY op, what
""")  # noqa: S608  # our own parts
_FIELDS = text(f"""
SELECT field, count(*) AS rows FROM (
    SELECT jsonb_object_keys(changes) AS field FROM {_OWN} AND op = 'update' AND state <> 'conflict'
) changed
GROUP BY field ORDER BY field
""")  # noqa: S608
# In two steps, so that a plan of any size takes little memory: of each thousand items, then of those sums.
_DIGEST = text(f"""
SELECT encode(sha256(coalesce(string_agg(part, '' ORDER BY thousand), '')), 'hex') FROM (
    SELECT n / 1000 AS thousand, sha256(convert_to(string_agg(
        (n, op, product_key, variant_key, product_id, variant_id, base_version, line, changes)::text, '' ORDER BY n
    ), 'UTF8')) AS part
    FROM {_OWN} GROUP BY n / 1000
) parts
""")  # noqa: S608
_SET_UP = text("""
SELECT set_config('work_mem', '64MB', true), set_config('plan_cache_mode', 'force_custom_plan', true),
    set_config('enable_seqscan', 'off', true)
""")


def conclude(session: Session, changeset: Changeset) -> None:
    """Write the counts, the changed fields and the digest of a plan whose items are all there.

    `counts`: `products` and `variants`, each with `create`, `update`, `delete`, and, of a feed, what it leaves as it is
    (`unchanged`; `missing` from it). `fields`: field → in how many rows it changes. `digest`: SHA-256, hexadecimal; the
    same items have the same one. Does not commit; may be repeated.
    """
    session.flush()
    session.execute(_SET_UP)
    own = {"merchant_id": changeset.merchant_id, "changeset_id": changeset.id}
    counts: dict[str, Any] = {**changeset.counts}
    for what in ("products", "variants"):
        known = counts.get(what, {})
        counts[what] = {**known, "create": known.get("with_products", 0), "update": 0, "delete": 0}
    if changeset.items:
        for row in session.execute(_OPS, own):
            counts[row.what][row.op] += row.items
    changeset.counts = counts
    changeset.fields = {row.field: row.rows for row in session.execute(_FIELDS, own)} if changeset.items else {}
    changeset.digest = session.scalar(_DIGEST, own)
    session.flush()
