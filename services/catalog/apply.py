"""A plan's items become rows of the catalogue: set-based, a range of items at a time, in one transaction each.

Everything that changes products or variants comes through here. What an item says:

- *update*: `changes` is field → [from, to]. Money is text, lists are JSON lists.
- *create* without `changes` (products of a feed): the import's drafts say what the product and its variants are.
- *create* with `changes` (field → [null, value]) and *delete* (field → [value, null]): the whole row. A product's say
  its `source` too; both may say `version` and `created_at`, so that what was deleted can come back as it was, one
  version on. A deleted product's variants are items of their own.

A plan's items are numbered so that those of one product stand together, a created product's before its variants'.
A row is written only where it still has the version the item was planned for; otherwise the item is a conflict and the
row stays. A product is deleted with all its variants or not at all.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

from services.catalog.drafts import REMEMBER, REMEMBERED, StagingLost, resolving, salt
from services.core.clock import now
from services.models import Changeset

RANGE = 5_000  # items
DRAFTS = 20_000  # of a feed, that one statement should take at most: a product's are never torn apart

_TEXT = ("title", "description", "brand", "category", "status")
_LISTS = ("tags", "images", "option_names")
PRODUCT_FIELDS = (*_TEXT, *_LISTS)
_MONEY = ("price", "compare_at_price", "cost")
_NUMBERS = ("stock", "weight_grams", "position")
VARIANT_FIELDS = ("sku", "barcode", "options", *_MONEY, "currency", "stock", "weight_grams", "image_url")


def _to(field: str) -> str:
    """SQL of what `changes` says a field becomes."""
    said = f"item.changes -> '{field}'"
    if field in _LISTS:
        return f"ARRAY(SELECT jsonb_array_elements_text({said} -> 1))"
    if field == "options":
        return f"{said} -> 1"
    kind = "::numeric" if field in _MONEY else "::int" if field in _NUMBERS else ""
    return f"({said} ->> 1){kind}"


def _set(fields: tuple[str, ...]) -> str:
    return ", ".join(
        f"{name} = CASE WHEN item.changes ? '{name}' THEN {_to(name)} ELSE own.{name} END" for name in fields
    )


def _new(fields: tuple[str, ...], **otherwise: str) -> str:
    """SQL of a whole row out of `changes`; `otherwise`: what stands for what it does not say."""
    return ", ".join(
        f"CASE WHEN item.changes ? '{name}' THEN {_to(name)} ELSE {otherwise[name]} END"
        if name in otherwise
        else _to(name)
        for name in fields
    )


_RANGE = "i.merchant_id = :merchant_id AND i.changeset_id = :changeset_id AND i.n > :after AND i.n <= :upto"
_MARK = """
UPDATE changeset_items i SET state = 'applied', version = done.version, applied_at = :at FROM done
WHERE i.ctid = done.item_at
"""
# Each item looks its row up in an index that has all that is asked for, and later statements go by the row's place:
# with statistics that know no such merchant, any index that begins with the merchant looks as good, and would be read
# from end to end for each item. LIMIT keeps the look-up apart; `version > 0` lets it into products_list_idx.
_ITS_PRODUCT = """
LATERAL (SELECT ctid, id, version FROM products
         WHERE merchant_id = :merchant_id AND id = i.product_id AND version > 0 LIMIT 1) own ON true
"""
_ITS_VARIANT = """
LATERAL (SELECT ctid, id, version FROM variants
         WHERE merchant_id = :merchant_id AND product_id = i.product_id AND key = i.variant_key AND id = i.variant_id
         LIMIT 1) own ON true
"""

# Sorts stay in memory, no plan is kept that was made while the tables were empty, rows are looked up one by one.
ROW_BY_ROW = text("""
SELECT set_config('work_mem', '64MB', true), set_config('plan_cache_mode', 'force_custom_plan', true),
    set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
    set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
    set_config('enable_nestloop', 'on', true)
""")

# The items of one product are never torn apart.
_END = text("""
SELECT i.n - 1 FROM changeset_items i
WHERE i.merchant_id = :merchant_id AND i.changeset_id = :changeset_id AND i.n > :upto
    AND i.product_id <> (SELECT product_id FROM changeset_items last
                         WHERE last.merchant_id = :merchant_id AND last.changeset_id = :changeset_id AND last.n = :upto)
ORDER BY i.n LIMIT 1
""")
# Items are in the order of product keys, as drafts are.
_END_OF_DRAFTS = text("""
SELECT max(i.n) FROM changeset_items i
WHERE i.merchant_id = :merchant_id AND i.changeset_id = :changeset_id AND i.n > :after AND i.n <= :upto
    AND i.product_key <= (
        SELECT d.product_key FROM import_drafts d
        WHERE d.merchant_id = :merchant_id AND d.import_id = :import_id AND d.product_key >= (
            SELECT product_key FROM changeset_items first
            WHERE first.merchant_id = :merchant_id AND first.changeset_id = :changeset_id AND first.n > :after
            ORDER BY first.n LIMIT 1)
        ORDER BY d.product_key OFFSET :rows LIMIT 1)
""")
_KINDS = text(f"""
SELECT op || CASE WHEN variant_id IS NULL THEN '_product' ELSE '_variant' END
       || CASE WHEN op = 'create' AND changes IS NULL THEN '_of_feed' ELSE '' END AS kind,
    count(*) AS items, min(product_key) AS first_key, max(product_key) AS last_key
FROM changeset_items i WHERE {_RANGE} AND state = 'planned' GROUP BY kind
""")  # noqa: S608  # our own parts

# Whoever makes products of a source does so alone: looking whether one is there and making it are two steps. But a
# feed's ranges speak of different products, and of a source's feeds one is applied at a time: these share the lock.
_LOCK_SOURCES, _SHARE_SOURCE = (
    text(f"""
    SELECT pg_advisory_xact_lock{shared}(hashtextextended('products:' || :merchant_id || ':' || source, 0))
    FROM (SELECT DISTINCT coalesce(changes #>> '{{source, 1}}', :source) AS source FROM changeset_items i
          WHERE {_RANGE} AND op = 'create' AND variant_id IS NULL ORDER BY 1) sources
    """)  # noqa: S608
    for shared in ("", "_shared")
)


def _locking(table: str, item: str, strength: str) -> TextClause:
    return text(f"""
    WITH found AS MATERIALIZED (
        SELECT DISTINCT own.ctid AS row_at FROM changeset_items i
        JOIN {_ITS_PRODUCT if table == "products" else _ITS_VARIANT} WHERE {_RANGE} AND {item}
    )
    SELECT FROM found JOIN {table} own ON own.ctid = found.row_at ORDER BY own.id FOR {strength} OF own
    """)  # noqa: S608


# In the order of ids, products before variants, so that two plans never wait for each other. A product that gets a
# variant must not vanish meanwhile.
_CHANGED_PRODUCTS = "((variant_id IS NULL AND op <> 'create') OR (variant_id IS NOT NULL AND op = 'create'))"
_CHANGED_VARIANTS = "variant_id IS NOT NULL AND op <> 'create'"
_LOCK_FOR_UPDATES = (
    _locking("products", _CHANGED_PRODUCTS, "NO KEY UPDATE"),
    _locking("variants", _CHANGED_VARIANTS, "NO KEY UPDATE"),
)
_LOCK_FOR_DELETES = (
    _locking("products", f"({_CHANGED_PRODUCTS} OR op = 'delete')", "UPDATE"),
    _locking("variants", _CHANGED_VARIANTS, "UPDATE"),
)


def _update(table: str, which: str, fields: tuple[str, ...]) -> TextClause:
    return text(f"""
    WITH item AS MATERIALIZED (
        SELECT i.ctid AS item_at, own.ctid AS row_at, i.changes FROM changeset_items i
        JOIN {_ITS_PRODUCT if table == "products" else _ITS_VARIANT}
        WHERE {_RANGE} AND i.op = 'update' AND {which} AND i.state = 'planned' AND own.version = i.base_version
    ),
    done AS (
        UPDATE {table} own SET {_set(fields)}, version = own.version + 1, updated_at = now()
        FROM item WHERE own.ctid = item.row_at
        RETURNING item.item_at, own.version
    )
    {_MARK}""")  # noqa: S608


_UPDATE_PRODUCTS = _update("products", "i.variant_id IS NULL", PRODUCT_FIELDS)
_UPDATE_VARIANTS = _update("variants", "i.variant_id IS NOT NULL", VARIANT_FIELDS)

# A product goes when all there is of it is what the plan saw. (Subqueries that are compared with something stay
# subqueries, hashed: as joins they would be loops in loops.)
_DELETE_PRODUCTS = text(f"""
WITH item AS MATERIALIZED (
    SELECT i.ctid AS item_at, i.product_id, i.variant_id, i.variant_key, i.base_version FROM changeset_items i
    WHERE {_RANGE} AND i.op = 'delete' AND i.state = 'planned'
),
clean AS MATERIALIZED (
    SELECT i.item_at, own.ctid AS row_at, own.version, i.product_id FROM item i JOIN {_ITS_PRODUCT}
    WHERE i.variant_id IS NULL AND own.version = i.base_version AND (
        SELECT count(*) FROM variants v
        WHERE v.merchant_id = :merchant_id AND v.product_id = i.product_id AND (v.id, v.version) NOT IN (
            SELECT variant_id, base_version FROM item WHERE variant_id IS NOT NULL AND base_version IS NOT NULL)
    ) = 0
),
clean_variants AS MATERIALIZED (
    SELECT i.item_at, own.ctid AS row_at, own.version FROM item i JOIN {_ITS_VARIANT}
    WHERE own.version = i.base_version AND (i.product_id IN (SELECT product_id FROM clean)) IS TRUE
),
variants_gone AS (DELETE FROM variants own USING clean_variants c WHERE own.ctid = c.row_at),
products_gone AS (DELETE FROM products own USING clean c WHERE own.ctid = c.row_at),
done AS (SELECT item_at, version FROM clean UNION ALL SELECT item_at, version FROM clean_variants)
{_MARK}""")  # noqa: S608
_DELETE_VARIANTS = text(f"""
WITH item AS MATERIALIZED (
    SELECT i.ctid AS item_at, own.ctid AS row_at, own.version FROM changeset_items i JOIN {_ITS_VARIANT}
    WHERE {_RANGE} AND i.op = 'delete' AND i.state = 'planned' AND own.version = i.base_version
        AND i.product_id NOT IN (SELECT i.product_id FROM changeset_items i
                                 WHERE {_RANGE} AND i.op = 'delete' AND i.variant_id IS NULL)
),
done AS (
    DELETE FROM variants own USING item WHERE own.ctid = item.row_at RETURNING item.item_at, own.version
)
{_MARK}""")  # noqa: S608

_VERSION = "coalesce((item.changes #>> '{version, 1}')::int, 0) + 1"
_PAST = f"{_VERSION}, coalesce((item.changes #>> '{{created_at, 1}}')::timestamptz, now())"
_PRODUCT_COLUMNS = ", ".join(PRODUCT_FIELDS)
_CREATE_PRODUCTS = text(f"""
WITH item AS MATERIALIZED (
    SELECT i.ctid AS item_at, i.* FROM changeset_items i
    LEFT JOIN LATERAL (SELECT id FROM products
                       WHERE merchant_id = :merchant_id AND source = i.changes #>> '{{source, 1}}'
                           AND key = i.product_key LIMIT 1) same ON true
    WHERE {_RANGE} AND i.op = 'create' AND i.variant_id IS NULL AND i.changes IS NOT NULL AND i.state = 'planned'
        AND same.id IS NULL
),
made AS (
    INSERT INTO products (id, merchant_id, source, key, {_PRODUCT_COLUMNS}, version, created_at)
    SELECT product_id, :merchant_id, changes #>> '{{source, 1}}', product_key,
        {_new(PRODUCT_FIELDS, status="'active'", tags="'{}'", images="'{}'", option_names="'{}'")}, {_PAST}
    FROM item
),
done AS (SELECT item_at, {_VERSION} AS version FROM item)
{_MARK}""")  # noqa: S608

_VARIANT_COLUMNS = ", ".join(VARIANT_FIELDS)
# The drafts of a range are read in the order of their keys and joined with its items, whatever the planner believes of
# tables that were empty a minute ago. That a product is not there yet is looked up one by one.
_SET_UP_JOINS = text("""
SELECT set_config('enable_hashjoin', 'on', true), set_config('enable_mergejoin', 'on', true),
    set_config('enable_nestloop', 'off', true)
""")


@cache
def _create_of_feed_sql(writes: tuple[str, ...] | None) -> TextClause:
    said = {name: f"coalesce(said.{name}, '{{}}')" for name in _LISTS} | {"status": "coalesce(said.status, 'active')"}
    offered = {"options": "coalesce(named.options, '{}')"}
    return text(f"""
    WITH item AS MATERIALIZED (
        SELECT i.n, i.product_key, i.product_id FROM changeset_items i
        LEFT JOIN LATERAL (SELECT id FROM products
                           WHERE merchant_id = :merchant_id AND source = :source AND key = i.product_key LIMIT 1) p
            ON true
        WHERE {_RANGE} AND i.op = 'create' AND i.variant_id IS NULL AND i.changes IS NULL AND i.state = 'planned'
            AND p.id IS NULL
    ),
    target AS (SELECT n, product_key, product_id, '{{}}'::text[] AS option_names FROM item),
    {resolving(writes)},
    product AS (
        INSERT INTO products (id, merchant_id, source, key, {_PRODUCT_COLUMNS})
        SELECT product_id, :merchant_id, :source, product_key,
            {", ".join(said.get(name, name) for name in PRODUCT_FIELDS)} FROM said
    ),
    variant AS (
        INSERT INTO variants (id, merchant_id, product_id, key, {_VARIANT_COLUMNS}, position)
        SELECT encode(substr(uuid_send(product_id), 1, 13) || substr(int4send(position::int), 2), 'hex')::uuid,
            :merchant_id, product_id, variant_key,
            {", ".join(offered.get(name, name) for name in VARIANT_FIELDS)}, position
        FROM named
        RETURNING 1
    ),
    remembered AS (
        {REMEMBER} 0 FROM said {REMEMBERED}
    ),
    done AS (
        UPDATE changeset_items i SET state = 'applied', version = 1, applied_at = :at
        FROM said WHERE {_RANGE} AND i.n = said.n
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM item) AS items, (SELECT count(*) FROM done) AS products,
        (SELECT count(*) FROM variant) AS variants
    """)  # noqa: S608  # our own parts


_CREATE_VARIANTS = text(f"""
WITH item AS MATERIALIZED (
    SELECT i.ctid AS item_at, i.* FROM changeset_items i
    JOIN {_ITS_PRODUCT}
    LEFT JOIN LATERAL (SELECT id FROM variants
                       WHERE merchant_id = :merchant_id AND product_id = i.product_id
                           AND key = i.variant_key LIMIT 1) same ON true
    WHERE {_RANGE} AND i.op = 'create' AND i.variant_id IS NOT NULL AND i.state = 'planned' AND same.id IS NULL
),
made AS (
    INSERT INTO variants (id, merchant_id, product_id, key, {_VARIANT_COLUMNS}, position, version, created_at)
    SELECT variant_id, :merchant_id, product_id, variant_key, {_new(VARIANT_FIELDS, options="'{}'")},
        coalesce({_to("position")}, 1), {_PAST}
    FROM item
),
done AS (SELECT item_at, {_VERSION} AS version FROM item)
{_MARK}""")  # noqa: S608

_LEFT_OVER = text(f"UPDATE changeset_items i SET state = 'conflict' WHERE {_RANGE} AND state = 'planned'")  # noqa: S608
_TALLY = text(f"""
SELECT state, op, CASE WHEN variant_id IS NULL THEN 'products' ELSE 'variants' END AS what, count(*) AS items
FROM changeset_items i WHERE {_RANGE} GROUP BY state, op, what
""")  # noqa: S608
# Read behind the locks: whoever changes a row later has a later time.
_CLOCK = text("SELECT clock_timestamp()")
_LOCK_CHANGESET = text("SELECT FROM changesets WHERE id = :id FOR NO KEY UPDATE")

OF_FEED = "create_product_of_feed"
# What is written for each kind of item, in this order: a product before its variants, what goes before what comes.
_WRITES = (
    ("delete_product", _DELETE_PRODUCTS),
    ("delete_variant", _DELETE_VARIANTS),
    ("create_product", _CREATE_PRODUCTS),
    ("update_product", _UPDATE_PRODUCTS),
    ("create_variant", _CREATE_VARIANTS),
    ("update_variant", _UPDATE_VARIANTS),
)


@dataclass(frozen=True, slots=True)
class Range:
    """Some of a plan's items, those with `after` < n ≤ `upto`, whose rows are locked."""

    after: int
    upto: int
    kinds: dict[str, Any]  # of items that are still planned
    where: dict[str, Any]  # the parameters of the statements


class _Done(NamedTuple):
    """How many items of a range came to what."""

    state: str
    op: str
    what: str
    items: int


def apply_range(session: Session, changeset: Changeset, *, items: int = RANGE) -> int:
    """Apply the next `items` items behind `applied_upto` (and the rest of the last one's product), set-based.

    Updates `applied`, `conflicts`, `applied_upto`, `counts["applied"]` and the items' state and version; when none are
    left sets the state `applied` and `finished_at`. Returns how many items were dealt with: 0 when there were none.
    Does not commit. Raises StagingLost when the drafts of a product to be created are gone.
    """
    _lock(session, changeset)
    if changeset.finished_at is not None:
        return 0
    found = _locked(session, changeset, changeset.applied_upto, items)
    assert found is not None  # noqa: S101  # of whatever kinds its items are
    tally, variants = _write(session, changeset, found)
    _note(changeset, tally, variants=variants, upto=found.upto)
    session.flush()
    return found.upto - found.after


def makes_products(changeset: Changeset) -> bool:
    """Whether products of a feed are still to be made."""
    made = changeset.counts.get("applied", {}).get("products", {}).get("create", 0)
    planned = changeset.counts.get("products", {}).get("create", 0)
    return changeset.import_id is not None and planned > made + changeset.conflicts


def apply_ahead(
    session: Session,
    changeset: Changeset,
    *,
    after: int,
    items: int,
    begun: Callable[[int], None],
    ready: Callable[[], bool],
) -> bool:
    """Apply the range behind `after` while another transaction applies the one before it, and note it when that stands.

    `begun` is told up to which item it goes; `ready` waits for the other to end and says whether it did well. Returns
    whether this one stands; if not, it is to be rolled back. Only ranges that do nothing but make products of a feed
    are applied like this: they wait for no row that somebody else holds while the other one does, and nobody waits for
    theirs. The plan's last range never is: then `begun` is told nothing.
    """
    found = _locked(session, changeset, after, items, only={OF_FEED})
    if found is None or found.upto >= changeset.items:
        return False
    begun(found.upto)
    tally, variants = _write(session, changeset, found)
    if not ready():
        return False
    _lock(session, changeset)
    if changeset.state != "applying" or changeset.applied_upto != after:
        return False
    _note(changeset, tally, variants=variants, upto=found.upto)
    session.flush()
    return True


def _lock(session: Session, changeset: Changeset) -> None:
    session.flush()
    session.execute(_LOCK_CHANGESET, {"id": changeset.id})
    session.refresh(changeset)


def _locked(
    session: Session, changeset: Changeset, after: int, items: int, *, only: set[str] | None = None
) -> Range | None:
    """The next range, its rows locked; None for one with items of other kinds than `only`."""
    session.execute(ROW_BY_ROW)
    where: dict[str, Any] = {"merchant_id": changeset.merchant_id, "changeset_id": changeset.id, "after": after}
    upto = _end(session, changeset, min(after + items, changeset.items), where)
    where |= {"upto": upto, "source": changeset.source or ""}
    kinds = {row.kind: row for row in session.execute(_KINDS, where)}
    if only is not None and kinds.keys() != only:
        return None
    _take_locks(session, set(kinds), where)
    where["at"] = session.scalar(_CLOCK)
    return Range(after, upto, kinds, where)


def _write(session: Session, changeset: Changeset, found: Range) -> tuple[Sequence[Any], int]:
    """What became of each kind of item, and how many variants came with products."""
    variants = 0
    if (of_feed := found.kinds.get(OF_FEED)) is not None:
        products, variants = _create_of_feed(session, changeset, of_feed, found.where)
        if products == found.upto - found.after:  # there was nothing else, and nothing in the way
            return [_Done("applied", "create", "products", products)], variants
    for kind, statement in _WRITES:
        if kind in found.kinds:
            session.execute(statement, found.where)
    if found.kinds:
        session.execute(_LEFT_OVER, found.where)
    return session.execute(_TALLY, found.where).all(), variants


def _end(session: Session, changeset: Changeset, upto: int, where: dict[str, Any]) -> int:
    """The n up to which to go: not in the middle of a product, nor over more drafts than a statement should take."""
    if changeset.counts.get("products", {}).get("create") and changeset.import_id is not None:
        more = {"import_id": changeset.import_id, "upto": upto, "rows": DRAFTS}
        upto = session.scalar(_END_OF_DRAFTS, {**where, **more}) or upto
    end = session.scalar(_END, {**where, "upto": upto})
    return changeset.items if end is None else int(end)


def _take_locks(session: Session, kinds: set[str], where: dict[str, Any]) -> None:
    if "create_product" in kinds:
        session.execute(_LOCK_SOURCES, where)
    elif OF_FEED in kinds:
        session.execute(_SHARE_SOURCE, where)
    products, variants = _LOCK_FOR_DELETES if kinds & {"delete_product", "delete_variant"} else _LOCK_FOR_UPDATES
    if kinds & {"update_product", "delete_product", "delete_variant", "create_variant"}:
        session.execute(products, where)
    if kinds & {"update_variant", "delete_variant"}:
        session.execute(variants, where)


def _create_of_feed(session: Session, changeset: Changeset, items: Any, where: dict[str, Any]) -> tuple[int, int]:
    """Make the products whose values the import's drafts hold. Returns how many, and how many variants with them."""
    more = {"import_id": changeset.import_id, "first_key": items.first_key, "last_key": items.last_key}
    session.execute(_SET_UP_JOINS)
    writes = None if changeset.writes is None else tuple(changeset.writes)
    made = session.execute(_create_of_feed_sql(writes), {**where, **more, "salt": salt(writes)}).one()
    session.execute(ROW_BY_ROW)
    if made.products != made.items:
        raise StagingLost(retry_after=1)
    return int(made.products), int(made.variants)


def _note(changeset: Changeset, tally: Sequence[Any], *, variants: int, upto: int) -> None:
    """Add what became of a range to the changeset's figures; the last one ends it."""
    done = {what: dict(changeset.counts.get("applied", {}).get(what, {})) for what in ("products", "variants")}
    if variants:
        done["variants"]["create"] = done["variants"].get("create", 0) + variants
    for row in tally:
        if row.state == "applied":
            done[row.what][row.op] = done[row.what].get(row.op, 0) + row.items
            changeset.applied += row.items
        else:
            changeset.conflicts += row.items
    changeset.counts = {**changeset.counts, "applied": done}
    changeset.applied_upto = upto
    if upto == changeset.items:
        changeset.state, changeset.finished_at = "applied", now()
