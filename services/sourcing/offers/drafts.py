"""A connection's offers as the drafts of an import: staged in SQL, range after range, with its rules applied.

Not among them: offers that are gone or inactive (the source's policy `missing` says what becomes of their products),
and variants that fill one of another source (`linked.py` keeps those true).
"""

import json
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

from services.formats.base import Draft
from services.imports.known import Known
from services.imports.origin import source_named
from services.imports.staging import begin_staging, close_staging
from services.imports.unchanged import settle
from services.jobs import Run
from services.models import Changeset, Import
from services.sourcing.accounts.reach import get_connection
from services.sourcing.accounts.rules import OFFERED, RULES, rules_of
from services.sourcing.offers.choice import BEST, all_rules

OFFERS = 10_000  # a range

_SET_UP = text("""
SELECT set_config('work_mem', '64MB', true), set_config('plan_cache_mode', 'force_custom_plan', true),
    set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
    set_config('enable_nestloop', 'off', true)
""")
_END = text("""
SELECT max(id) FROM (
    SELECT id FROM offers WHERE merchant_id = :merchant_id AND connection_id = :connection_id AND id > :after
    ORDER BY id LIMIT :offers
) range
""")
_IN_RANGE = "o.merchant_id = :merchant_id AND o.connection_id = :connection_id AND o.id > :after AND o.id <= :upto"
_PRINTED = ", ".join(name for name in Draft._fields if name not in ("line", "product_key"))


@cache
def _statement(*, shared: bool, unpublish: bool, only_made: bool) -> TextClause:
    """`shared`: some variants have other suppliers too; `unpublish`: what is sold out becomes a draft."""
    winner = "LEFT JOIN best ON best.variant_id = mine.variant_id" if shared else ""
    fields = ("price", "compare_at_price", "cost", "currency", "stock")
    said = ", ".join(
        f"CASE WHEN best.variant_id IS NULL THEN becomes.{name} ELSE best.{name} END AS {name}"
        if shared
        else f"becomes.{name}"
        for name in fields
    )
    there = "coalesce(best.there, found.stock)" if shared else "found.stock"
    sold_out = "bool_and(there = 0) OVER (PARTITION BY offer_id)" if unpublish else "false"
    wanted = """
    wanted AS MATERIALIZED (
        SELECT mine.variant_id FROM offer_links mine
        WHERE mine.merchant_id = :merchant_id AND mine.connection_id = :connection_id AND mine.how = 'made'
            AND mine.variant_id IN (
                SELECT variant_id FROM offer_links
                WHERE merchant_id = :merchant_id AND (connection_id <> :connection_id OR how <> 'made'))
            AND EXISTS (SELECT FROM offer_variants v
                        WHERE v.merchant_id = :merchant_id AND v.connection_id = :connection_id
                            AND v.id = mine.offer_variant_id AND v.offer_id > :after AND v.offer_id <= :upto)
    ),
    """
    return text(f"""
    WITH {wanted + BEST + "," if shared else ""}
    own AS MATERIALIZED (
        SELECT v.offer_id, v.id, v.position, v.options, v.sku, v.barcode, v.weight_grams, v.image_url, {said},
            {there} AS there
        FROM offers o
        JOIN LATERAL (SELECT * FROM offer_variants
                      WHERE merchant_id = :merchant_id AND offer_id = o.id
                          AND connection_id IS NOT DISTINCT FROM :connection_id AND gone_at IS NULL OFFSET 0) v ON true
        LEFT JOIN LATERAL (SELECT variant_id, how FROM offer_links
                           WHERE merchant_id = :merchant_id AND connection_id = :connection_id
                               AND offer_variant_id = v.id LIMIT 1) mine ON true
        JOIN {RULES} ON r.connection_id = :connection_id
        {OFFERED}
        {winner}
        WHERE {_IN_RANGE} AND o.gone_at IS NULL AND o.active
            AND {"mine.how = 'made'" if only_made else "(mine.variant_id IS NULL OR mine.how = 'made')"}
    ),
    placed AS (
        SELECT *, row_number() OVER (ORDER BY offer_id, position, id) AS line,
            row_number() OVER (PARTITION BY offer_id ORDER BY position, id) AS nth, {sold_out} AS sold_out
        FROM own
    ),
    drafted AS (
        SELECT (:lines + line)::int AS line, offer_id AS product_key, p.id AS variant_key,
            o.title, o.description, o.brand, o.category, NULL::text AS tags,
            CASE WHEN :publishes AND nth = 1 THEN CASE WHEN sold_out THEN 'draft' ELSE 'active' END END AS status,
            nullif(array_to_string(o.images, E'\\n'), '') AS image_urls, NULL::int AS image_position,
            (SELECT string_agg(replace(pair ->> 0, E'\\n', ' '), E'\\n' ORDER BY n)
             FROM jsonb_array_elements(p.options) WITH ORDINALITY AS each (pair, n) WHERE n <= 3) AS option_names,
            (SELECT string_agg(replace(pair ->> 1, E'\\n', ' '), E'\\n' ORDER BY n)
             FROM jsonb_array_elements(p.options) WITH ORDINALITY AS each (pair, n) WHERE n <= 3) AS option_values,
            sku, barcode, price, compare_at_price, cost, currency, stock, weight_grams, p.image_url AS variant_image_url
        FROM placed p
        LEFT JOIN LATERAL (SELECT * FROM offers
                           WHERE merchant_id = :merchant_id AND connection_id = :connection_id AND id = p.offer_id
                               AND p.nth = 1 LIMIT 1) o ON true
        ORDER BY offer_id, line
    )
    INSERT INTO import_drafts (merchant_id, import_id, {", ".join(Draft._fields)}, print)
    SELECT :merchant_id, :import_id, {", ".join(Draft._fields)}, hash_record_extended(ROW({_PRINTED}), 0) FROM drafted
    """)  # noqa: S608  # names of fields


_SHARED = text("""
SELECT EXISTS (SELECT FROM offer_links mine JOIN offer_links other
               ON other.merchant_id = :merchant_id AND other.variant_id = mine.variant_id
               WHERE mine.merchant_id = :merchant_id AND mine.connection_id = :connection_id AND mine.how = 'made'
                   AND (other.connection_id <> :connection_id OR other.how <> 'made'))
""")
_ANYTHING = text("""
SELECT EXISTS (SELECT FROM offers WHERE merchant_id = :merchant_id AND connection_id = :connection_id
               AND gone_at IS NULL AND active)
    OR EXISTS (SELECT FROM products WHERE merchant_id = :merchant_id AND source = :source)
""")
_PRODUCTS = text("SELECT EXISTS (SELECT FROM products WHERE merchant_id = :merchant_id AND source = :source)")


def is_anything_to_draft(session: Session, *, merchant_id: UUID, connection_id: UUID, name: str) -> bool:
    """Whether the connection has, or had, products of its own in the catalogue, or is to have some."""
    rules = rules_of(get_connection(session, connection_id).rules)
    asked = {"merchant_id": merchant_id, "connection_id": connection_id, "source": name}
    return bool(session.scalar(_ANYTHING if rules.assortment == "all" else _PRODUCTS, asked))


def stage_offers(run: Run, import_: Import, _plan: Changeset) -> None:
    """Stage the drafts of an import out of its connection's offers, as they are now.

    Raises StagingLost, StagedOtherwise when the offers are no longer those its plan was made of, Stopped.
    """
    with run.transaction() as session:
        begin_staging(session, import_)
        asked = _asked(session, import_)
        statement = _statement(**asked.pop("form"))
    staged, after = 0, ""
    while True:
        with run.transaction() as session:
            session.execute(_SET_UP)
            upto = session.scalar(_END, {**asked, "after": after, "offers": OFFERS})
            if upto is None:
                row = session.get_one(Import, import_.id)
                if row.staged_at is None:
                    settle(session, row, Known())  # nothing was passed over: notes which products are no longer offered
                close_staging(session, row, rows=staged, staged=staged)
                return
            done: Any = session.execute(statement, {**asked, "after": after, "upto": upto, "lines": staged})
            staged, after = staged + done.rowcount, upto
        run.progress(staged, None, "applying the rules")


def _asked(session: Session, import_: Import) -> dict[str, Any]:
    """The parameters of the statements, and under `form` which of their forms is meant."""
    connection = get_connection(session, import_.connection_id or UUID(int=0))
    rules = rules_of(connection.rules)
    source = source_named(session, merchant_id=import_.merchant_id, name=import_.source)
    own = {"merchant_id": import_.merchant_id, "connection_id": connection.id}
    unpublish = rules.out_of_stock == "unpublish"
    form = {
        "shared": bool(session.scalar(_SHARED, own)),
        "unpublish": unpublish,
        "only_made": rules.assortment == "linked",
    }
    # Who takes products off sale must bring them back; otherwise whether one is on sale is the merchant's.
    publishes = unpublish or source.missing in ("unpublish", "archive")
    rows = json.dumps(all_rules(session))
    return {**own, "import_id": import_.id, "rules": rows, "publishes": publishes, "form": form}
