"""An import's drafts against the products of its source: what would change, as items of a plan.

A range of product keys at a time, drafts and products side by side, in one transaction with the cursor behind it.
What a draft does not say (None) leaves what is known (but a product that was unpublished or archived because it was
missing, and is there again, gets its status back), and a row that would stay the same makes no item. A product to be
created is one item without values (its drafts hold them until it is applied); a new variant of a product that is there
is an item of its own, with its values. Products the feed no longer has, which were noted when it was read, are counted,
and changed as the source's policy says.

Products whose records hash to what they hashed to when they last changed nothing (`feed_prints`) are not compared at
all. Those whose records could be told unread to be the same (services/imports/unchanged.py) are not even staged.

Where a source has no products yet, all of its feed's are new: nothing is compared, and how many items a range makes is
known before it has made them, so two ranges can be planned at a time (`plan_ahead`).
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

from services.catalog.drafts import DRAFTS, REMEMBER, REMEMBERED, WHOLE_RUN, StagingLost, resolving, salt
from services.core.ids import new_id
from services.models import Changeset

ROWS = 40_000  # drafts a range, about


@dataclass(frozen=True, slots=True)
class Repeated:
    """A draft that a later one with the same product and variant key has replaced."""

    line: int
    later_line: int
    product_key: str
    variant_key: str


@dataclass(frozen=True, slots=True)
class Planned:
    """What became of one range of drafts."""

    rows: int
    repeated: list[Repeated]
    last: bool  # whether nothing is left to be planned


# Whoever plans reads the catalogue and remembers that a feed changes nothing of it: nobody may change it in between.
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('prints:' || :merchant_id, 0))")

# Sorts stay in memory, no plan is kept that was made while the tables were empty. Ranges are read in the order of their
# keys and joined as a whole; where single rows are looked up, LATERAL and LIMIT say so.
_SET_UP = text("""
SELECT set_config('work_mem', '64MB', true), set_config('plan_cache_mode', 'force_custom_plan', true),
    set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
    set_config('enable_nestloop', 'off', true)
""")

_RANGE = text("""
SELECT d.first, d.last AS last_draft, m.last AS last_missing, d.drafts, m.missing
FROM (SELECT min(product_key) AS first, max(product_key) AS last, count(*) AS drafts FROM (
        SELECT product_key FROM import_drafts
        WHERE merchant_id = :merchant_id AND import_id = :import_id AND product_key > :after
        ORDER BY product_key LIMIT :rows
     ) range) d,
     (SELECT max(product_key) AS last, count(*) AS missing FROM (
        SELECT product_key FROM import_missing
        WHERE merchant_id = :merchant_id AND import_id = :import_id AND product_key > :after
        ORDER BY product_key LIMIT :rows
     ) range) m
""")


def _json(*values: str) -> str:
    return f"json_build_array({', '.join(values)})::text"


def _text(name: str, row: str) -> str:
    """SQL of a value as `changes` holds it: money is text, so that no digit is lost."""
    return f"trim_scale({row}.{name})::text" if name in ("price", "compare_at_price", "cost") else f"{row}.{name}"


def changes_sql(fields: Collection[str], said: str, known: str) -> str:
    """SQL of {field: [from, to]} as text, of the fields that are said and differ; NULL without any."""
    parts = ", ".join(
        f"CASE WHEN {said}.{name} IS NOT NULL AND {said}.{name} IS DISTINCT FROM {known}.{name}"
        f" THEN '\"{name}\":' || {_json(_text(name, known), _text(name, said))} END"
        for name in fields
    )
    return f"nullif(concat_ws(',', {parts}), '')"


def _whole(fields: Collection[str], said: str) -> str:
    """SQL of {field: [null, value]} as text, of the fields that are said."""
    parts = ", ".join(
        f"CASE WHEN {said}.{name} IS NOT NULL THEN '\"{name}\":' || {_json('NULL::text', _text(name, said))} END"
        for name in fields
    )
    return f"concat_ws(',', {parts})"


_PRODUCT = ("title", "description", "brand", "category", "tags", "status", "images", "option_names")
_VARIANT = (
    *("sku", "barcode", "options", "price", "compare_at_price", "cost", "currency", "stock", "weight_grams"),
    "image_url",
)

# What becomes of products that the feed no longer has.
_MISSING = {
    "leave": "",
    "zero_stock": """
    UNION ALL
    SELECT 'update', m.product_key, v.key, m.product_id, v.id, v.version, NULL, v.position,
        '"stock":' || json_build_array(v.stock, 0)::text
    FROM matched m
    JOIN LATERAL (SELECT * FROM variants WHERE merchant_id = :merchant_id AND product_id = m.product_id OFFSET 0) v
        ON true
    WHERE m.rows IS NULL AND v.stock IS DISTINCT FROM 0
    """,
    "unpublish": """
    UNION ALL
    SELECT 'update', product_key, NULL, product_id, NULL, version, NULL, NULL, '"status":["active","draft"]'
    FROM matched WHERE rows IS NULL AND status = 'active'
    """,
    "archive": """
    UNION ALL
    SELECT 'update', product_key, NULL, product_id, NULL, version, NULL, NULL,
        '"status":' || json_build_array(status, 'archived')::text
    FROM matched WHERE rows IS NULL AND status <> 'archived'
    """,
}


_TWINS = f"""
    twins AS MATERIALIZED (
        SELECT product_key, variant_key, array_agg(line ORDER BY line) AS lines
        FROM {DRAFTS} AND variant_key IS NOT NULL AND EXISTS (SELECT FROM keys WHERE run IS NULL)
            AND product_key IN (SELECT product_key FROM keys WHERE run IS NULL)
        GROUP BY product_key, variant_key HAVING count(*) > 1
    )"""  # noqa: S608  # our own parts
_REPEATED = """
        (SELECT coalesce(json_agg(json_build_array(lines[nth], lines[nth + 1], product_key, variant_key)
                                  ORDER BY lines[nth]), '[]')
         FROM twins, generate_series(1, cardinality(lines) - 1) nth)"""
# The id of a range's nth item: its last three bytes count the variants that come with a product.
_ID = "encode(:id_start || substr(int8send(nth << 24), 3), 'hex')::uuid"


@cache
def _statement(writes: tuple[str, ...] | None, missing: str) -> TextClause:
    return text(f"""
    WITH keys AS MATERIALIZED (
        SELECT product_key, count(*) AS rows, min(line) AS line, count(variant_key) AS variants,
            hash_array_extended(array_agg(print), :salt) AS print, {WHOLE_RUN} AS run
        FROM (SELECT product_key, line, variant_key, print, run FROM {DRAFTS} ORDER BY product_key, line) ordered
        GROUP BY product_key
    ),
    {_TWINS},
    named_keys AS (
        SELECT product_key, rows, line, variants, print, run FROM keys
        UNION ALL
        SELECT product_key, NULL, NULL, NULL, NULL, NULL FROM import_missing
        WHERE merchant_id = :merchant_id AND import_id = :import_id AND product_key > :after AND product_key <= :upto
    ),
    matched AS MATERIALIZED (
        SELECT keys.product_key, keys.rows, keys.line, keys.variants, keys.print,
            present.id AS product_id, present.version, present.status,
            known.print = keys.print AND (keys.run IS NULL OR known.run IS NOT DISTINCT FROM keys.run) AS same
        FROM named_keys keys
        LEFT JOIN LATERAL (SELECT id, version, status FROM products
                           WHERE merchant_id = :merchant_id AND source = :source AND key = keys.product_key
                           LIMIT 1) present ON true
        LEFT JOIN LATERAL (SELECT print, run FROM feed_prints WHERE product_id = present.id LIMIT 1) known ON true
        WHERE keys.rows IS NOT NULL OR present.id IS NOT NULL
    ),
    target AS MATERIALIZED (
        SELECT 0 AS n, m.product_key, m.product_id, p.version, {", ".join(f"p.{name}" for name in _PRODUCT)}
        FROM matched m
        JOIN LATERAL (SELECT * FROM products
                      WHERE merchant_id = :merchant_id AND source = :source AND key = m.product_key LIMIT 1) p ON true
        WHERE m.rows IS NOT NULL AND m.product_id IS NOT NULL AND m.same IS NOT TRUE
    ),
    {resolving(writes)},
    returned AS (
        SELECT target.product_id, latest.was FROM target
        JOIN LATERAL (
            SELECT changeset_id, line, changes #>> '{{status,0}}' AS was FROM changeset_items
            WHERE product_id = target.product_id AND variant_id IS NULL
                AND state = 'applied' AND changes ? 'status'
            ORDER BY changeset_id DESC LIMIT 1) latest ON true
        WHERE target.status <> 'active' AND latest.line IS NULL
            AND (SELECT kind FROM changesets WHERE id = latest.changeset_id) = 'import'
    ),
    meant AS (
        SELECT product_key, product_id, line, coalesce(status, was) AS status,
            {", ".join(name for name in _PRODUCT if name != "status")}
        FROM said LEFT JOIN returned USING (product_id)
    ),
    products_diff AS (
        SELECT meant.product_key, meant.product_id, target.version, meant.line,
            {changes_sql(_PRODUCT, "meant", "target")} AS changes
        FROM meant JOIN target USING (product_key)
    ),
    variants_diff AS (
        SELECT named.product_key, named.variant_key, named.product_id, v.id AS variant_id, v.version, named.line,
            named.position, named.price IS NULL AND v.price > 0 AS blank,
            CASE WHEN v.id IS NULL THEN {_whole((*_VARIANT, "position"), "named")}
                 ELSE {changes_sql(_VARIANT, "named", "v")} END AS changes
        FROM named
        LEFT JOIN LATERAL (SELECT * FROM variants WHERE merchant_id = :merchant_id
                           AND product_id = named.product_id AND key = named.variant_key LIMIT 1) v ON true
    ),
    items AS MATERIALIZED (
        SELECT 'create' AS op, product_key, NULL::text AS variant_key, NULL::uuid AS product_id,
            NULL::uuid AS variant_id, NULL::int AS version, line, NULL::bigint AS position, NULL::text AS changes
        FROM matched WHERE product_id IS NULL
        UNION ALL
        SELECT 'update', product_key, NULL, product_id, NULL, version, line, NULL, changes
        FROM products_diff WHERE changes IS NOT NULL
        UNION ALL
        SELECT CASE WHEN variant_id IS NULL THEN 'create' ELSE 'update' END, product_key, variant_key, product_id,
            variant_id, version, line, position, changes
        FROM variants_diff WHERE changes IS NOT NULL
        {_MISSING[missing]}
    ),
    numbered AS (
        SELECT *, row_number() OVER (ORDER BY product_key, position NULLS FIRST, variant_key) AS nth FROM items
    ),
    written AS (
        INSERT INTO changeset_items (merchant_id, changeset_id, n, op, product_key, variant_key, product_id,
            variant_id, base_version, line, changes)
        SELECT :merchant_id, :changeset_id, :items + nth, op, product_key, variant_key,
            coalesce(product_id, made.id),
            CASE WHEN variant_key IS NOT NULL THEN coalesce(variant_id, made.id) END, version, line,
            ('{{' || changes || '}}')::jsonb
        FROM numbered,
            LATERAL (SELECT {_ID} AS id) made
    ),
    remembered AS (
        {REMEMBER} coalesce(blank.prices, 0)
        FROM said LEFT JOIN (SELECT product_key, count(*) AS prices FROM variants_diff WHERE blank GROUP BY product_key)
            blank USING (product_key)
        WHERE NOT EXISTS (SELECT FROM items WHERE items.product_key = said.product_key)
        {REMEMBERED}
    )
    SELECT coalesce((SELECT sum(rows) FROM matched), 0)::int AS rows, (SELECT count(*) FROM items) AS items,
        (SELECT count(*) FROM matched WHERE rows IS NULL) AS products_missing,
        (SELECT count(*) FROM matched WHERE rows IS NOT NULL AND product_id IS NOT NULL)
            - (SELECT count(*) FROM items WHERE variant_key IS NULL AND op = 'update' AND line IS NOT NULL)
            AS products_unchanged,
        coalesce((SELECT sum(variants) FROM matched WHERE product_id IS NULL), 0)
            - coalesce((SELECT sum(cardinality(lines) - 1) FROM twins JOIN matched USING (product_key)
                        WHERE product_id IS NULL), 0) AS variants_created,
        coalesce((SELECT sum(variants) FROM matched WHERE product_id IS NOT NULL), 0)
            - coalesce((SELECT sum(cardinality(lines) - 1) FROM twins JOIN matched USING (product_key)
                        WHERE product_id IS NOT NULL), 0)
            - (SELECT count(*) FROM items WHERE variant_key IS NOT NULL AND line IS NOT NULL) AS variants_unchanged,
        {_REPEATED} AS repeated
    """)  # noqa: S608  # our own parts


# As long as the source has no products.
_NONE_KNOWN = "NOT EXISTS (SELECT FROM products WHERE merchant_id = :merchant_id AND source = :source)"
_NEW_RANGE = text(f"""
SELECT min(product_key) AS first, max(product_key) AS last, count(DISTINCT product_key) AS products, count(*) AS drafts
FROM (
    SELECT product_key FROM import_drafts
    WHERE merchant_id = :merchant_id AND import_id = :import_id AND product_key > :after AND {_NONE_KNOWN}
    ORDER BY product_key LIMIT :rows
) range
""")  # noqa: S608  # our own parts
_NEW = text(f"""
    WITH keys AS MATERIALIZED (
        SELECT product_key, count(*) AS rows, min(line) AS line, count(variant_key) AS variants, {WHOLE_RUN} AS run,
            row_number() OVER (ORDER BY product_key) AS nth
        FROM {DRAFTS} AND {_NONE_KNOWN} GROUP BY product_key
    ),
    {_TWINS},
    written AS (
        INSERT INTO changeset_items (merchant_id, changeset_id, n, op, product_key, product_id, line)
        SELECT :merchant_id, :changeset_id, :items + nth, 'create', product_key, {_ID}, line FROM keys
    )
    SELECT coalesce(sum(rows), 0)::int AS rows, count(*) AS items, 0 AS products_unchanged, 0 AS products_missing,
        coalesce(sum(variants), 0) - coalesce((SELECT sum(cardinality(lines) - 1) FROM twins), 0) AS variants_created,
        0 AS variants_unchanged, {_REPEATED} AS repeated
    FROM keys
""")  # noqa: S608


class Place(NamedTuple):
    """How far a plan has come: up to which product key, with how many items, of how many drafts (about)."""

    key: str
    items: int
    drafts: int


def plan_ahead(
    session: Session,
    changeset: Changeset,
    *,
    after: Place,
    begun: Callable[[Place], None],
    ready: Callable[[], bool],
) -> Planned | None:
    """Plan the products behind `after` while another transaction plans those before, and note it when that stands.

    As `plan_range`, but only of a source that has no products, and never what may be the last of its drafts: then
    `begun` is told nothing. `begun` is told where the next range begins; `ready` waits for the other to end and says
    whether it did well. Returns None where this one does not stand: it is to be rolled back. Nothing is read of the
    catalogue that others could change, so they need not be kept from it: a product that comes up meanwhile is in the
    way of its creation, a conflict.
    """
    session.execute(_SET_UP)
    where: dict[str, Any] = {
        "merchant_id": changeset.merchant_id,
        "import_id": changeset.import_id,
        "source": changeset.source,
    }
    found = session.execute(_NEW_RANGE, {**where, "after": after.key, "rows": ROWS}).one()
    if found.drafts < ROWS:
        return None
    upto = Place(found.last, after.items + found.products, after.drafts + found.drafts)
    begun(upto)
    keys = {"first_key": found.first, "last_key": found.last}
    own = {"changeset_id": changeset.id, "items": after.items, "id_start": new_id().bytes[:10]}
    done = session.execute(_NEW, {**where, **keys, **own}).one()
    if not ready():
        return None
    session.refresh(changeset, with_for_update=True)
    if changeset.state != "planning" or (changeset.plan_cursor or "", changeset.items) != (after.key, after.items):
        return None
    if done.items != found.products:
        return None
    return _noted(session, changeset, done, upto.key, last=False)


def plan_range(session: Session, changeset: Changeset, *, drafts: int, missing: str = "leave") -> Planned:
    """Plan the next products behind `plan_cursor`: about `ROWS` drafts, whole products, and those the feed lacks.

    Adds items, moves the cursor, and adds up in `counts` what makes no items: products unchanged and missing, variants
    unchanged and those that come with products. `drafts` is how many are left to be planned, `missing` the source's
    policy. Does not commit. Raises StagingLost when fewer drafts are there: then they are no feed to compare with.
    """
    rows = ROWS
    session.execute(_LOCK, {"merchant_id": str(changeset.merchant_id)})
    session.execute(_SET_UP)
    where: dict[str, Any] = {
        "merchant_id": changeset.merchant_id,
        "import_id": changeset.import_id,
        "source": changeset.source,
        "after": changeset.plan_cursor or "",
    }
    found = session.execute(_RANGE, {**where, "rows": rows}).one()
    if found.drafts != min(rows, drafts):
        raise StagingLost(retry_after=1)
    ends = [end for end, of in ((found.last_draft, found.drafts), (found.last_missing, found.missing)) if of == rows]
    last = not ends
    upto = min(ends) if ends else max(found.last_draft or "", found.last_missing or "", where["after"])
    done = session.execute(
        _statement(None if changeset.writes is None else tuple(changeset.writes), missing),
        {
            **where,
            "changeset_id": changeset.id,
            "first_key": f"{upto}~" if found.first is None else found.first,  # behind the last: no draft
            "last_key": upto,
            "upto": upto,
            "items": changeset.items,
            "id_start": new_id().bytes[:10],
            "salt": salt(changeset.writes),
        },
    ).one()
    return _noted(session, changeset, done, upto, last=last)


def _noted(session: Session, changeset: Changeset, done: Any, upto: str, *, last: bool) -> Planned:
    """Add what a range came to to the changeset's figures."""
    changeset.items += done.items
    changeset.plan_cursor = upto
    changeset.counts = _added(changeset.counts, done)
    session.flush()
    return Planned(done.rows, [Repeated(*each) for each in done.repeated], last)


def _added(counts: dict[str, Any], done: Any) -> dict[str, Any]:
    products, variants = dict(counts.get("products", {})), dict(counts.get("variants", {}))
    for group, name, more in (
        (products, "unchanged", done.products_unchanged),
        (products, "missing", done.products_missing),
        (variants, "with_products", done.variants_created),
        (variants, "unchanged", done.variants_unchanged),
    ):
        group[name] = group.get(name, 0) + int(more)
    return {**counts, "products": products, "variants": variants}
