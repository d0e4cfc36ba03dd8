"""Staged drafts become products and variants: set-based, a range of product keys at a time.

What a draft does not say (None) leaves what is known. A row that would stay the same is not written at all, so its
version, its `updated_at` and its place on disk stay too. The caller sees to it that one import of a source runs at a
time. New rows are plainly inserted (ON CONFLICT costs a third more): should somebody else have made one meanwhile, the
unique constraint says so, and the range is merged again.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.core.ids import new_id


@dataclass(frozen=True, slots=True)
class Repeated:
    """A draft that a later one with the same product and variant key has replaced."""

    line: int
    later_line: int
    product_key: str
    variant_key: str


@dataclass(frozen=True, slots=True)
class Merged:
    """What became of one range of drafts."""

    upto: str  # the last product key of the range
    rows: int
    products_created: int
    products_updated: int
    products_unchanged: int
    variants_created: int
    variants_updated: int
    variants_unchanged: int
    repeated: list[Repeated]


# Sorts stay in memory, no plan is kept that was made while the tables were empty, and small tables are looked up too.
_SET_UP = text("""
SELECT set_config('work_mem', '64MB', true), set_config('plan_cache_mode', 'force_custom_plan', true),
    set_config('enable_seqscan', 'off', true)
""")

# Each row looks itself up in the unique index, whatever the planner believes: its statistics cannot know a merchant
# whose first import this is. As a join, or with another index that begins with the merchant, it read all the
# merchant's rows for each draft: a minute for 100,000 behind 300 small merchants. LIMIT keeps the look-up apart.
_PRODUCT = """
LATERAL (SELECT * FROM products
         WHERE merchant_id = :merchant_id AND source = :source AND key = {key} LIMIT 1) p ON true
"""
_VARIANT = """
LATERAL (SELECT * FROM variants
         WHERE merchant_id = :merchant_id AND product_id = said.product_id AND key = said.variant_key LIMIT 1) v ON true
"""

_RANGE_END = text("""
SELECT max(product_key) FROM (
    SELECT product_key FROM import_drafts
    WHERE merchant_id = :merchant_id AND import_id = :import_id AND product_key > :after
    ORDER BY product_key LIMIT :rows
) range
""")

_DRAFTS = """
import_drafts WHERE merchant_id = :merchant_id AND import_id = :import_id
    AND product_key > :after AND product_key <= :upto
"""

# Time-ordered ids (UUIDv7, which Postgres makes itself only since 18): the first twelve bytes are a fresh one's, from
# Python, the last four count within the batch (RFC 9562, 6.2). Asking the system for randomness once per row would
# cost as much as the row's insertion.
_ID = "encode(:id_start || int4send((row_number() OVER ())::int), 'hex')::uuid"

_PRODUCT_FIELDS = "title, description, brand, category, tags, status, images, option_names"
_PRODUCT_COLUMNS = f"id, merchant_id, source, key, {_PRODUCT_FIELDS}"
_OFFERED = "sku, barcode, options, price, compare_at_price, cost, currency, stock, weight_grams, image_url"
_VARIANT_COLUMNS = f"id, merchant_id, product_id, key, {_OFFERED}"


def _excluded(fields: str) -> str:
    return ", ".join(f"{name} = excluded.{name}" for name in fields.split(", "))


# Of each product field, the first record that says it. array_agg keeps the order of the sorted subquery, and unlike
# an ORDER BY in each aggregate sorts once. Images: by their position where the file gives one, then by line; an
# address that comes twice counts where it came first.
_PRODUCTS = text(f"""
WITH resolved AS MATERIALIZED (
    SELECT product_key AS key, count(*) AS rows,
        (array_agg(title) FILTER (WHERE title IS NOT NULL))[1] AS title,
        (array_agg(description) FILTER (WHERE description IS NOT NULL))[1] AS description,
        (array_agg(brand) FILTER (WHERE brand IS NOT NULL))[1] AS brand,
        (array_agg(category) FILTER (WHERE category IS NOT NULL))[1] AS category,
        (array_agg(tags) FILTER (WHERE tags IS NOT NULL))[1] AS tags,
        (array_agg(status) FILTER (WHERE status IS NOT NULL))[1] AS status,
        (array_agg(option_names) FILTER (WHERE option_names IS NOT NULL))[1] AS option_names,
        array_agg(image_urls) FILTER (WHERE image_urls IS NOT NULL) AS image_lists,
        array_agg(image_position) FILTER (WHERE image_urls IS NOT NULL) AS image_positions
    FROM (SELECT * FROM {_DRAFTS} ORDER BY product_key, line) drafts
    GROUP BY product_key
),
said AS MATERIALIZED (
    SELECT key, rows, title, description, brand, category, string_to_array(tags, ',') AS tags, status,
        string_to_array(option_names, E'\\n') AS option_names,
        CASE WHEN cardinality(image_lists) = 1 THEN string_to_array(image_lists[1], E'\\n')
             ELSE (
                SELECT array_agg(url ORDER BY place) FROM (
                    SELECT url, min(ARRAY[coalesce(list.position, 1000000000), list.n, image.n]) AS place
                    FROM unnest(image_lists, image_positions) WITH ORDINALITY AS list (urls, position, n),
                        unnest(string_to_array(list.urls, E'\\n')) WITH ORDINALITY AS image (url, n)
                    GROUP BY url
                ) once
             )
        END AS images
    FROM resolved
),
diff AS MATERIALIZED (
    SELECT said.rows, said.key, p.id,
        coalesce(said.title, p.title) AS title,
        coalesce(said.description, p.description) AS description,
        coalesce(said.brand, p.brand) AS brand,
        coalesce(said.category, p.category) AS category,
        coalesce(said.tags, p.tags, '{{}}') AS tags,
        coalesce(said.status, p.status, 'active') AS status,
        coalesce(said.images, p.images, '{{}}') AS images,
        coalesce(said.option_names, p.option_names, '{{}}') AS option_names,
        p.id IS NOT NULL AND (
            said.title IS DISTINCT FROM p.title AND said.title IS NOT NULL
            OR said.description IS DISTINCT FROM p.description AND said.description IS NOT NULL
            OR said.brand IS DISTINCT FROM p.brand AND said.brand IS NOT NULL
            OR said.category IS DISTINCT FROM p.category AND said.category IS NOT NULL
            OR said.tags <> p.tags OR said.status <> p.status OR said.images <> p.images
            OR said.option_names <> p.option_names
        ) IS TRUE AS changed
    FROM said LEFT JOIN {_PRODUCT.format(key="said.key")}
),
created AS (
    INSERT INTO products ({_PRODUCT_COLUMNS})
    SELECT {_ID}, :merchant_id, :source, key, {_PRODUCT_FIELDS} FROM diff WHERE id IS NULL
),
updated AS (
    INSERT INTO products AS p ({_PRODUCT_COLUMNS})
    SELECT id, :merchant_id, :source, key, {_PRODUCT_FIELDS} FROM diff WHERE changed
    ON CONFLICT (merchant_id, source, key) DO UPDATE SET
        {_excluded(_PRODUCT_FIELDS)}, version = p.version + 1, updated_at = now()
)
SELECT coalesce(sum(rows), 0)::int AS rows,
    count(*) FILTER (WHERE id IS NULL) AS products_created,
    count(*) FILTER (WHERE changed) AS products_updated,
    count(*) FILTER (WHERE id IS NOT NULL AND NOT changed) AS products_unchanged
FROM diff
""")  # noqa: S608

_VARIANT_FIELDS = (
    *("sku", "barcode", "option_names", "option_values", "price", "compare_at_price", "cost", "currency", "stock"),
    *("weight_grams", "variant_image_url"),
)
_FIELDS = ", ".join(_VARIANT_FIELDS)
_LATEST = ", ".join(
    f"(array_agg({name} ORDER BY line DESC) FILTER (WHERE {name} IS NOT NULL))[1]" for name in _VARIANT_FIELDS
)

# Records with the same product and variant key are one variant: of each field, the last that says it. Option names
# may stand on another record of the product than the values; where there are none they are called Option 1, 2, 3.
_VARIANTS = text(f"""
WITH drafts AS MATERIALIZED (
    SELECT product_key, variant_key, line, {_FIELDS},
        row_number() OVER (PARTITION BY product_key ORDER BY line) AS position,
        lag(line) OVER same AS earlier_line, lead(line) OVER same AS later_line
    FROM {_DRAFTS} AND variant_key IS NOT NULL
    WINDOW same AS (PARTITION BY product_key, variant_key ORDER BY line)
),
single AS (
    SELECT product_key, variant_key, position, {_FIELDS} FROM drafts
    WHERE earlier_line IS NULL AND later_line IS NULL
    UNION ALL
    SELECT product_key, variant_key, min(position), {_LATEST} FROM drafts
    WHERE earlier_line IS NOT NULL OR later_line IS NOT NULL
    GROUP BY product_key, variant_key
),
named AS (
    SELECT single.*, p.id AS product_id,
        coalesce(string_to_array(single.option_names, E'\n'), p.option_names) AS names,
        (string_to_array(option_values, E'\n'))[1:3] AS given
    FROM single LEFT JOIN {_PRODUCT.format(key="single.product_key")}
),
said AS MATERIALIZED (
    SELECT *, variant_image_url AS image_url,
        jsonb_object((names || (ARRAY['Option 1', 'Option 2', 'Option 3'])[cardinality(names) + 1:])
            [1:cardinality(given)], given) AS options
    FROM named
),
diff AS MATERIALIZED (
    SELECT v.id, said.product_id, said.variant_key AS key, said.position,
        coalesce(said.sku, v.sku) AS sku,
        coalesce(said.barcode, v.barcode) AS barcode,
        coalesce(said.options, v.options, '{{}}') AS options,
        coalesce(said.price, v.price) AS price,
        coalesce(said.compare_at_price, v.compare_at_price) AS compare_at_price,
        coalesce(said.cost, v.cost) AS cost,
        coalesce(said.currency, v.currency) AS currency,
        coalesce(said.stock, v.stock) AS stock,
        coalesce(said.weight_grams, v.weight_grams) AS weight_grams,
        coalesce(said.image_url, v.image_url) AS image_url,
        v.id IS NOT NULL AND (
            said.sku IS DISTINCT FROM v.sku AND said.sku IS NOT NULL
            OR said.barcode IS DISTINCT FROM v.barcode AND said.barcode IS NOT NULL
            OR said.options <> v.options
            OR said.price IS DISTINCT FROM v.price AND said.price IS NOT NULL
            OR said.compare_at_price IS DISTINCT FROM v.compare_at_price AND said.compare_at_price IS NOT NULL
            OR said.cost IS DISTINCT FROM v.cost AND said.cost IS NOT NULL
            OR said.currency IS DISTINCT FROM v.currency AND said.currency IS NOT NULL
            OR said.stock IS DISTINCT FROM v.stock AND said.stock IS NOT NULL
            OR said.weight_grams IS DISTINCT FROM v.weight_grams AND said.weight_grams IS NOT NULL
            OR said.image_url IS DISTINCT FROM v.image_url AND said.image_url IS NOT NULL
        ) IS TRUE AS changed
    FROM said LEFT JOIN {_VARIANT}
),
created AS (
    INSERT INTO variants ({_VARIANT_COLUMNS}, position)
    SELECT {_ID}, :merchant_id, product_id, key, {_OFFERED}, position FROM diff WHERE id IS NULL
),
updated AS (
    INSERT INTO variants AS v ({_VARIANT_COLUMNS}, position)
    SELECT id, :merchant_id, product_id, key, {_OFFERED}, position FROM diff WHERE changed
    ON CONFLICT (merchant_id, product_id, key) DO UPDATE SET
        {_excluded(_OFFERED)}, version = v.version + 1, updated_at = now()
)
SELECT count(*) FILTER (WHERE id IS NULL) AS variants_created,
    count(*) FILTER (WHERE changed) AS variants_updated,
    count(*) FILTER (WHERE id IS NOT NULL AND NOT changed) AS variants_unchanged,
    (SELECT coalesce(json_agg(json_build_array(line, later_line, product_key, variant_key) ORDER BY line), '[]')
     FROM drafts WHERE later_line IS NOT NULL) AS repeated
FROM diff
""")  # noqa: S608


def merge_range(
    session: Session, *, merchant_id: UUID, source: str, import_id: UUID, after: str, rows: int
) -> Merged | None:
    """Merge the drafts of the next products behind the key `after`: about `rows` drafts, and always whole products.

    None when there are no more. Merging the same range again changes nothing.
    """
    where: dict[str, Any] = {"merchant_id": merchant_id, "import_id": import_id, "after": after}
    upto = session.execute(_RANGE_END, {**where, "rows": rows}).scalar_one()
    if upto is None:
        return None
    session.execute(_SET_UP)
    arguments = {**where, "upto": upto, "source": source, "id_start": new_id().bytes[:12]}
    products = session.execute(_PRODUCTS, arguments).one()
    variants = session.execute(_VARIANTS, {**arguments, "id_start": new_id().bytes[:12]}).one()
    found = {"upto": upto, **products._mapping, **variants._mapping}
    return Merged(**{**found, "repeated": [Repeated(*each) for each in found["repeated"]]})
