"""What an import's staged drafts say of products and variants, as SQL that planning and applying share.

Records with the same product key are one product: of each product field the first record that says it counts, pictures
are put in the order of the file's positions. Records with the same product and variant key are one variant: of each
field the last that says it.
"""

import zlib
from collections.abc import Collection

from services.core.errors import Unavailable


class StagingLost(Unavailable):
    """The staged rows went with a crash of the database; they will be read from the file again."""


# Column of the drafts → the field of the catalogue it feeds, where they are not called the same.
_FEEDS = {
    "image_urls": "images",
    "image_position": "images",
    "option_names": "options",
    "option_values": "options",
    "variant_image_url": "image_url",
}
_OF_PRODUCT = {
    **dict.fromkeys(("title", "description", "brand", "category", "tags", "status", "image_urls"), "text"),
    "image_position": "int",
    "option_names": "text",
}
_OF_VARIANT = {
    **dict.fromkeys(("sku", "barcode", "option_values", "currency", "variant_image_url"), "text"),
    **dict.fromkeys(("price", "compare_at_price", "cost"), "numeric"),
    **dict.fromkeys(("stock", "weight_grams"), "int"),
}
_COLUMNS = {**_OF_PRODUCT, **_OF_VARIANT}
_VARIANT_SAID = [name for name in _OF_VARIANT if name != "option_values"]


def _list(text: str) -> str:
    """SQL of a draft's list, which is text with a line for each element."""
    return f"string_to_array({text}, E'\\n')"


def _latest(name: str) -> str:
    """SQL of the last that a group of drafts says of something."""
    return f"(array_agg({name} ORDER BY line DESC) FILTER (WHERE {name} IS NOT NULL))[1]"


# Of a product's drafts: the hash of the run that they all are. Such a run repeats no variant.
WHOLE_RUN = "CASE WHEN count(run) = count(*) AND count(nullif(run, 0)) = 1 THEN bit_xor(run) END"

DRAFTS = """
import_drafts WHERE merchant_id = :merchant_id AND import_id = :import_id
    AND product_key >= :first_key AND product_key <= :last_key
"""


def _read(writes: Collection[str] | None) -> str:
    """The drafts' columns; what the source may not write is left unsaid."""
    return ", ".join(
        name if writes is None or _FEEDS.get(name, name) in writes else f"NULL::{kind} AS {name}"
        for name, kind in _COLUMNS.items()
    )


def resolving(writes: Collection[str] | None) -> str:
    """CTEs that end in `said`, a row per product, and `named`, a row per variant, of the drafts of a range of keys.

    `said` also has what is to be remembered of a product whose records change nothing: `print`, `run` and `said`.

    They take the parameters merchant_id, import_id, first_key, last_key and salt, and a CTE `target` before them with
    `product_key`, `product_id`, `n` and `option_names` (those of a product that is there) of the products meant.

    The drafts are not gathered first: each reading of them follows their key, so nothing is sorted. Where no product is
    meant, or no variant comes twice, EXISTS keeps them from being read at all.

    array_agg keeps the order of the sorted subquery, and unlike an ORDER BY in each aggregate sorts once. Images: by
    their position where the file gives one, then by line; an address that comes twice counts where it came first.
    Option names may stand on another record of the product than the values; where there are none they are called
    Option 1, 2, 3.
    """
    return f"""
    drafts AS NOT MATERIALIZED (
        SELECT product_key, variant_key, line, print, run, says, {_read(writes)}
        FROM {DRAFTS} AND EXISTS (SELECT FROM target) AND (product_key IN (SELECT product_key FROM target)) IS TRUE
    ),
    resolved AS (
        SELECT product_key, min(line) AS line,
            (array_agg(title) FILTER (WHERE title IS NOT NULL))[1] AS title,
            (array_agg(description) FILTER (WHERE description IS NOT NULL))[1] AS description,
            (array_agg(brand) FILTER (WHERE brand IS NOT NULL))[1] AS brand,
            (array_agg(category) FILTER (WHERE category IS NOT NULL))[1] AS category,
            string_to_array((array_agg(tags) FILTER (WHERE tags IS NOT NULL))[1], ',') AS tags,
            (array_agg(status) FILTER (WHERE status IS NOT NULL))[1] AS status,
            string_to_array((array_agg(option_names) FILTER (WHERE option_names IS NOT NULL))[1], E'\\n')
                AS option_names,
            hash_array_extended(array_agg(print), :salt) AS print,
            {WHOLE_RUN} AS run,
            array_agg(says) AS said,
            array_agg(image_urls) FILTER (WHERE image_urls IS NOT NULL) AS image_lists,
            array_agg(image_position) FILTER (WHERE image_urls IS NOT NULL) AS image_positions
        FROM (SELECT * FROM drafts ORDER BY product_key, line) drafts
        GROUP BY product_key
    ),
    said AS MATERIALIZED (
        SELECT product_key, target.product_id, target.n, resolved.line, resolved.print, run, said,
            title, description, brand, category, tags, status, resolved.option_names,
            coalesce(resolved.option_names, known_names) AS names,
            CASE WHEN image_lists IS NULL THEN NULL
                 WHEN cardinality(image_lists) = 1 THEN string_to_array(image_lists[1], E'\\n')
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
        JOIN (SELECT product_key, product_id, n, option_names AS known_names FROM target) target USING (product_key)
    ),
    repeated AS MATERIALIZED (
        SELECT product_key, variant_key FROM drafts
        WHERE variant_key IS NOT NULL AND EXISTS (SELECT FROM said WHERE run IS NULL)
            AND (product_key IN (SELECT product_key FROM said WHERE run IS NULL)) IS TRUE
        GROUP BY product_key, variant_key HAVING count(*) > 1
    ),
    placed AS NOT MATERIALIZED (
        SELECT *, {_list("option_names")} AS own_names, {_list("option_values")} AS option_list,
            count(variant_key) OVER (PARTITION BY product_key ORDER BY line ROWS UNBOUNDED PRECEDING) AS position
        FROM drafts
    ),
    single AS (
        SELECT product_key, variant_key, line, position, own_names, option_list, {", ".join(_VARIANT_SAID)}
        FROM placed WHERE variant_key IS NOT NULL
            AND ((product_key, variant_key) IN (SELECT product_key, variant_key FROM repeated)) IS NOT TRUE
        UNION ALL
        SELECT product_key, variant_key, max(line), min(position), {_list(_latest("option_names"))},
            {_list(_latest("option_values"))}, {", ".join(map(_latest, _VARIANT_SAID))}
        FROM placed JOIN repeated USING (product_key, variant_key)
        WHERE EXISTS (SELECT FROM repeated)
        GROUP BY product_key, variant_key
    ),
    given AS (
        SELECT single.*, said.product_id, coalesce(own_names, said.names) AS names
        FROM single JOIN said USING (product_key)
    ),
    named AS (
        SELECT product_id, product_key, variant_key, line, position, sku, barcode, price, compare_at_price, cost,
            currency, stock, weight_grams, variant_image_url AS image_url,
            CASE WHEN cardinality(names) = cardinality(option_list) AND cardinality(names) <= 3
                 THEN jsonb_object(names, option_list)
                 ELSE jsonb_object(
                    (names || (ARRAY['Option 1', 'Option 2', 'Option 3'])[coalesce(cardinality(names), 0) + 1:])
                        [1:least(cardinality(option_list), 3)], option_list[1:3])
            END AS options
        FROM given
    )"""  # noqa: S608  # names of columns


# What planning and applying remember of a product: see feed_prints.
REMEMBER = """
INSERT INTO feed_prints (merchant_id, product_id, source, print, run, said, blank_prices)
SELECT :merchant_id, said.product_id, :source, said.print, said.run, said.said,
"""
REMEMBERED = """
ON CONFLICT (product_id) DO UPDATE SET source = excluded.source, print = excluded.print, run = excluded.run,
    said = excluded.said, blank_prices = excluded.blank_prices
"""


def salt(writes: Collection[str] | None) -> int:
    """What makes the prints of one set of fields different from those of another."""
    return 0 if writes is None else zlib.crc32(",".join(sorted(writes)).encode())
