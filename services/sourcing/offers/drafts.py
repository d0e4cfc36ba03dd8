"""A connection's offers as the drafts of an import: staged in SQL, range after range, with its rules applied.

Not among them: offers that are gone or inactive (the source's policy `missing` says what becomes of their products),
and variants that fill one of another source (`linked.py` keeps those true). An offer is passed over as a feed's run is
(services/imports/unchanged.py) when it is what it was, under the rules that were, and nobody has changed its product.
"""

import contextlib
import hashlib
import json
from functools import cache
from itertools import zip_longest
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

from services.formats.base import Draft
from services.imports.known import Known
from services.imports.origin import source_named
from services.imports.staging import begin_staging, close_staging
from services.imports.unchanged import known_runs, pack, salt_of, settle, unpack
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
_VARIANTS = """
JOIN LATERAL (SELECT * FROM offer_variants
              WHERE merchant_id = :merchant_id AND offer_id = o.id
                  AND connection_id IS NOT DISTINCT FROM :connection_id AND gone_at IS NULL OFFSET 0) v ON true
LEFT JOIN LATERAL (SELECT variant_id, how FROM offer_links
                   WHERE merchant_id = :merchant_id AND connection_id = :connection_id
                       AND offer_variant_id = v.id LIMIT 1) mine ON true
"""
_DRAFTED = {
    False: "o.gone_at IS NULL AND o.active AND (mine.variant_id IS NULL OR mine.how = 'made')",
    True: "o.gone_at IS NULL AND o.active AND mine.how = 'made'",  # only what is in the catalogue already
}
# The hash of all that an offer's drafts are made of: its own, and its variants' put together. Rules are in the salt.
_OF_VARIANT = (
    *("id", "position", "options", "sku", "barcode", "weight_grams", "image_url"),
    *("cost", "list_price", "recommended_price", "currency", "stock"),
)
_VARIANT_PRINT = f"hash_record_extended(ROW({', '.join(f'v.{name}' for name in _OF_VARIANT)}), CAST(:salt AS bigint))"
_OFFER_PRINT = "hash_record_extended(ROW(o.id, o.print), CAST(:salt AS bigint))"


@cache
def _runs(*, only_made: bool) -> TextClause:
    """The offers of a range, in their order, and the hash of each."""
    return text(f"""
    SELECT coalesce(array_agg(id ORDER BY id), '{{}}') AS offers, coalesce(array_agg(run ORDER BY id), '{{}}') AS runs
    FROM (
        SELECT o.id, bit_xor({_VARIANT_PRINT}) # {_OFFER_PRINT} AS run
        FROM offers o {_VARIANTS}
        WHERE {_IN_RANGE} AND {_DRAFTED[only_made]}
        GROUP BY o.id, o.print
    ) each
    """)  # noqa: S608  # our own parts


@cache
def _statement(*, shared: bool, unpublish: bool, only_made: bool) -> TextClause:
    """`shared`: some variants have other suppliers too; `unpublish`: what is sold out becomes a draft."""
    run = "NULL::bigint" if shared else f"bit_xor({_VARIANT_PRINT}) OVER (PARTITION BY o.id) # {_OFFER_PRINT}"
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
            {there} AS there, {run} AS run
        FROM offers o {_VARIANTS}
        JOIN {RULES} ON r.connection_id = :connection_id
        {OFFERED}
        {winner}
        WHERE {_IN_RANGE} AND {_DRAFTED[only_made]}
            AND (CAST(:wanted AS text[]) IS NULL OR o.id = ANY (CAST(:wanted AS text[])))
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
            named.option_names, named.option_values,
            sku, barcode, price, compare_at_price, cost, currency, stock, weight_grams,
            p.image_url AS variant_image_url, CASE WHEN nth = 1 OR run IS NULL THEN run ELSE 0 END AS run
        FROM placed p
        LEFT JOIN LATERAL (SELECT * FROM offers
                           WHERE merchant_id = :merchant_id AND connection_id = :connection_id AND id = p.offer_id
                               AND p.nth = 1 LIMIT 1) o ON true
        LEFT JOIN LATERAL (SELECT string_agg(replace(pair ->> 0, E'\\n', ' '), E'\\n' ORDER BY n) AS option_names,
                               string_agg(replace(pair ->> 1, E'\\n', ' '), E'\\n' ORDER BY n) AS option_values
                           FROM jsonb_array_elements(p.options) WITH ORDINALITY AS each (pair, n) WHERE n <= 3) named
            ON p.options <> '[]'
        ORDER BY offer_id, line
    )
    INSERT INTO import_drafts (merchant_id, import_id, {", ".join(Draft._fields)}, run, print)
    SELECT :merchant_id, :import_id, {", ".join(Draft._fields)}, run, hash_record_extended(ROW({_PRINTED}), 0)
    FROM drafted
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


def stage_offers(run: Run, import_: Import, plan: Changeset) -> None:
    """Stage the drafts of an import out of its connection's offers, as they are now.

    Raises StagingLost, StagedOtherwise when the offers are no longer those its plan was made of, Stopped.
    """
    while not _stage(run, import_, plan):
        pass


def _stage(run: Run, import_: Import, plan: Changeset) -> bool:
    """False when something was passed over whose product somebody has changed meanwhile: all is to be staged anew."""
    again = import_.staged_at is not None  # only the drafts were lost: what was passed over is again
    with run.transaction() as session:
        begin_staging(session, import_)
        asked = _asked(session, import_, plan)
        form = asked.pop("form")
        known = Known() if again or form["shared"] else known_runs(session, import_)
    marks = bytearray(unpack(import_.skipped_runs)) if again and import_.skipped_runs else bytearray()
    passes = bool(marks) or next(known.unseen(), None) is not None
    met = staged = 0
    while upto := _end(run, asked):
        with run.transaction() as session:
            session.execute(_SET_UP)
            asked |= {"upto": upto, "lines": staged, "wanted": None}
            if passes:
                found = session.execute(_runs(only_made=form["only_made"]), asked).one()
                passed = marks[met : met + len(found.runs)] if again else [known.note(marks, one) for one in found.runs]
                met += len(found.runs)
                asked["wanted"] = [id_ for id_, out in zip_longest(found.offers, passed) if not out]
            if asked["wanted"] != []:
                done: Any = session.execute(_statement(**form), asked)
                staged += done.rowcount
        asked["after"] = upto
        run.progress(staged, None, "applying the rules")
    return _settled(run, import_, known, marks, staged=staged)


def _end(run: Run, asked: dict[str, Any]) -> str | None:
    with run.transaction() as session:
        session.execute(_SET_UP)
        found: str | None = session.scalar(_END, {**asked, "offers": OFFERS})
        return found


class _Wrong(Exception):
    """Some offers should not have been passed over: leaves a transaction that must not stand."""


def _settled(run: Run, import_: Import, known: Known, marks: bytearray, *, staged: int) -> bool:
    """Say in the import's row that it is staged; False when it is not to be."""
    with contextlib.suppress(_Wrong), run.transaction() as session:
        row = session.get_one(Import, import_.id)
        if row.staged_at is None:
            if settle(session, row, known):  # also notes which products are no longer offered
                raise _Wrong
            row.skipped_runs = pack(marks) if row.skipped else None
        close_staging(session, row, rows=staged + (row.skipped or {}).get("rows", 0), staged=staged)
        return True
    return False


def _asked(session: Session, import_: Import, plan: Changeset) -> dict[str, Any]:
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
    rows = json.dumps(sorted(all_rules(session), key=lambda row: str(row["connection_id"])))
    asked = {**own, "import_id": import_.id, "rules": rows, "publishes": publishes, "after": "", "form": form}
    # All that drafts depend on besides the offers: settings, rules, and the code that makes them.
    made_by = (salt_of(import_, plan), rows, publishes, _statement(**form).text)
    salt = hashlib.blake2b(repr(made_by).encode(), digest_size=8).digest()
    return {**asked, "salt": int.from_bytes(salt, "big", signed=True)}
