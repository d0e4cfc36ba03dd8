"""Pages of what a supplier offers, into `offers` and `offer_variants`: COPYed, compared and merged, set-based.

What a supplier says again is not written again: rows that differ are, and the rest costs an entry in `sync_seen`, by
which the end of a full run knows what is gone. None of an offer's variant is *not said*, and stored as that.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

from services.core.errors import Invalid
from services.models import SyncRun
from services.suppliers.base import Money, Offer, OfferVariant, PriceLevel, Problem, StockLevel, StockTier

LONGEST_KEY = 500  # characters: an index entry holds 2,700 bytes, and a key longer than a sentence is a mistake
KEPT_PROBLEMS = 20  # of a run; the rest is counted
VANISHED_PERCENT = 50  # of the offers: when more would be gone at once, the supplier is not believed
SMALLEST = 20  # from so many offers on
_MOST = 2**31 - 1
_TOO_HIGH = Decimal(10) ** 12

_OFFER = ("title", "description", "brand", "category", "images", "url", "order_id", "active")
_MONEY = ("cost", "list_price", "recommended_price")
_STATIC = ("offer_id", "position", "order_ref", "sku", "barcode", "options", "weight_grams", "image_url")
_VARIANT = (*_STATIC, *_MONEY, "currency", "stock", "tiers")
_TYPES = {
    "active": "boolean",
    "position": "int",
    "options": "jsonb",
    "tiers": "jsonb",
    "stock": "int",
    "weight_grams": "int",
    **dict.fromkeys(_MONEY, "numeric(18, 6)"),
}
_OWN = "merchant_id = :merchant_id AND connection_id = :connection_id"


class OffersVanished(Invalid):
    """The supplier lists far fewer products than before. Nothing was taken for gone."""


def _load(name: str, fields: Sequence[str]) -> str:
    columns = ", ".join(f"{field} {_TYPES.get(field, 'text')}" for field in ("id", *fields))
    return f"CREATE TEMPORARY TABLE {name} ({columns}) ON COMMIT DROP"


# COPY does not enter a table with row-level security: it fills one of the transaction's own, and statements that the
# policy can check take the rows from there. Whatever the statistics believe, a batch is joined by look-ups.
_SET_UP = text("""
SELECT set_config('work_mem', '64MB', true), set_config('plan_cache_mode', 'force_custom_plan', true),
    set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
    set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true)
""")

_MERGE_OFFERS = text(f"""
WITH given AS MATERIALIZED (
    SELECT id, {", ".join(name for name in _OFFER if name != "images")},
        coalesce(string_to_array(nullif(images, ''), E'\\n'), '{{}}') AS images,
        hash_record_extended(ROW({", ".join(f"g.{name}" for name in _OFFER)}), 0) AS print
    FROM offer_load g
),
changed AS MATERIALIZED (
    SELECT g.*, own.print AS known FROM given g
    LEFT JOIN LATERAL (SELECT print, gone_at FROM offers WHERE {_OWN} AND id = g.id LIMIT 1) own ON true
    WHERE own.print IS DISTINCT FROM g.print OR own.gone_at IS NOT NULL
),
written AS (
    INSERT INTO offers (merchant_id, connection_id, id, {", ".join(_OFFER)}, print, seen_at)
    SELECT :merchant_id, :connection_id, id, {", ".join(_OFFER)}, print, now() FROM changed
    ON CONFLICT (merchant_id, connection_id, id) DO UPDATE SET
        {", ".join(f"{name} = excluded.{name}" for name in (*_OFFER, "print", "seen_at"))}, gone_at = NULL
)
SELECT count(*) FILTER (WHERE known IS NULL) AS new, count(known) AS changed FROM changed
""")  # noqa: S608  # names of fields

_MARK_SEEN = text("""
WITH marked AS (
    INSERT INTO sync_seen (merchant_id, connection_id, id)
    SELECT :merchant_id, :connection_id, id FROM unnest(CAST(:ids AS text[])) AS seen (id)
    ON CONFLICT DO NOTHING RETURNING 1
)
SELECT count(*) FROM marked
""")

_STATED = ", ".join(f"g.{name} IS DISTINCT FROM own.{name}" for name in _VARIANT).replace(", ", " OR ")
_PRICED = " OR ".join(f"own.{name} IS DISTINCT FROM g.{name}" for name in (*_MONEY, "currency"))
_STOCKED = "own.stock IS DISTINCT FROM g.stock OR own.tiers IS DISTINCT FROM g.tiers"
_MERGE_VARIANTS = text(f"""
WITH changed AS MATERIALIZED (
    SELECT g.*, own.id AS known, own.id IS NULL OR {_PRICED} AS repriced, own.id IS NULL OR {_STOCKED} AS restocked,
        own.price_at AS priced_at, own.stock_at AS stocked_at
    FROM variant_load g
    LEFT JOIN LATERAL (SELECT * FROM offer_variants WHERE {_OWN} AND id = g.id LIMIT 1) own ON true
    WHERE own.id IS NULL OR own.gone_at IS NOT NULL OR {_STATED}
),
written AS (
    INSERT INTO offer_variants (merchant_id, connection_id, id, {", ".join(_VARIANT)}, stock_at, price_at)
    SELECT :merchant_id, :connection_id, id, {", ".join(_VARIANT)},
        CASE WHEN stock IS NULL THEN NULL WHEN restocked THEN now() ELSE stocked_at END,
        CASE WHEN cost IS NULL THEN NULL WHEN repriced THEN now() ELSE priced_at END
    FROM changed
    ON CONFLICT (merchant_id, connection_id, id) DO UPDATE SET
        {", ".join(f"{name} = excluded.{name}" for name in (*_VARIANT, "stock_at", "price_at"))}, gone_at = NULL
)
SELECT count(*) FILTER (WHERE known IS NULL) AS new, count(known) AS changed FROM changed
""")  # noqa: S608
# Of an offer that came whole, variants that did not come with it are gone. (IS NOT DISTINCT FROM: no reason to look in
# another index than the offer's.)
_DROP_VARIANTS = text("""
WITH dropped AS MATERIALIZED (
    SELECT own.row_at FROM offer_load g
    JOIN LATERAL (SELECT ctid AS row_at, id FROM offer_variants
                  WHERE merchant_id = :merchant_id AND offer_id = g.id
                      AND connection_id IS NOT DISTINCT FROM :connection_id AND gone_at IS NULL OFFSET 0) own ON true
    WHERE own.id NOT IN (SELECT id FROM variant_load)
)
UPDATE offer_variants SET gone_at = now() WHERE ctid = ANY (ARRAY(SELECT row_at FROM dropped))
""")

_NOT_FOUND = text(f"""
WITH gone AS (
    UPDATE offers SET gone_at = now() WHERE {_OWN} AND id = ANY(CAST(:ids AS text[])) AND gone_at IS NULL RETURNING id
),
variants AS (
    UPDATE offer_variants SET gone_at = now()
    WHERE {_OWN} AND offer_id IN (SELECT id FROM gone) AND gone_at IS NULL
)
SELECT count(*) FROM gone
""")  # noqa: S608


def _levels(load: str, fields: Sequence[str], at: str) -> TextClause:
    """All are known, so all conflict: an UPDATE would be joined in whichever order statistics make look cheap."""
    said = ", ".join(fields)
    differs = " OR ".join(f"v.{name} IS DISTINCT FROM g.{name}" for name in fields)
    return text(f"""
    WITH known AS MATERIALIZED (
        SELECT g.*, own.offer_id, own.order_ref, own.differs FROM {load} g
        JOIN LATERAL (SELECT v.offer_id, v.order_ref, {differs} AS differs FROM offer_variants v
                      WHERE {_OWN} AND id = g.id LIMIT 1) own ON true
    ),
    written AS (
        INSERT INTO offer_variants (merchant_id, connection_id, id, offer_id, order_ref, {said}, {at})
        SELECT :merchant_id, :connection_id, id, offer_id, order_ref, {said}, now() FROM known WHERE differs
        ON CONFLICT (merchant_id, connection_id, id) DO UPDATE SET
            {", ".join(f"{name} = excluded.{name}" for name in (*fields, at))}
    )
    SELECT count(*) AS known, count(*) FILTER (WHERE differs) AS changed FROM known
    """)  # noqa: S608


_STOCK_FIELDS = ("stock", "tiers")
_PRICE_FIELDS = (*_MONEY, "currency")
_MERGE_STOCK = _levels("stock_load", _STOCK_FIELDS, "stock_at")
_MERGE_PRICES = _levels("price_load", _PRICE_FIELDS, "price_at")

_FORGET = text(f"DELETE FROM sync_seen WHERE {_OWN}")  # noqa: S608
_SEEN = text(f"SELECT count(*) FROM sync_seen WHERE {_OWN}")  # noqa: S608
# Read from end to end and joined as a whole, whatever the statistics believe.
_SET_UP_SWEEP = text("""
SELECT set_config('work_mem', '64MB', true), set_config('plan_cache_mode', 'force_custom_plan', true),
    set_config('enable_seqscan', 'off', true), set_config('enable_nestloop', 'off', true),
    set_config('enable_hashjoin', 'on', true), set_config('enable_mergejoin', 'on', true)
""")
_ABSENT = text(f"""
SELECT count(*) AS offered, count(*) FILTER (WHERE NOT seen) AS absent FROM (
    SELECT EXISTS (SELECT FROM sync_seen s WHERE s.merchant_id = :merchant_id AND s.connection_id = :connection_id
                   AND s.id = offers.id) AS seen
    FROM offers WHERE {_OWN} AND gone_at IS NULL
) offered
""")  # noqa: S608
_SWEEP = text("""
WITH gone AS (
    UPDATE offers o SET gone_at = now()
    WHERE o.merchant_id = :merchant_id AND o.connection_id = :connection_id AND o.gone_at IS NULL
        AND NOT EXISTS (SELECT FROM sync_seen s WHERE s.merchant_id = :merchant_id
                        AND s.connection_id = :connection_id AND s.id = o.id)
    RETURNING o.id
)
UPDATE offer_variants v SET gone_at = now() FROM gone
WHERE v.merchant_id = :merchant_id AND v.connection_id = :connection_id AND v.offer_id = gone.id AND v.gone_at IS NULL
""")


def forget_seen(session: Session, run: SyncRun) -> None:
    """A full run begins: nothing was seen yet."""
    session.execute(_FORGET, _own(run))


def store_offers(session: Session, run: SyncRun, items: Sequence[Offer]) -> None:
    """Offers with all their variants; of one that comes twice, the last counts. Adds to the run's counts."""
    offers = {offer.id: offer for offer in items if _is_key(offer.id)}
    _count(run, "unusable", len({offer.id for offer in items}) - len(offers))
    _copy(session, "offer_load", _OFFER, (_offer_row(offer) for offer in offers.values()))
    variants = {
        variant.id: _variant_row(offer.id, position, variant)
        for offer in offers.values()
        for position, variant in enumerate(offer.variants, start=1)
        if _is_key(variant.id)
    }
    _copy(session, "variant_load", _VARIANT, variants.values())
    session.execute(_SET_UP)
    own = _own(run)
    done = session.execute(_MERGE_OFFERS, own).one()
    _count(run, "offers_new", done.new)
    _count(run, "offers_changed", done.changed)
    done = session.execute(_MERGE_VARIANTS, own).one()
    _count(run, "variants_new", done.new)
    _count(run, "variants_changed", done.changed)
    dropped: Any = session.execute(_DROP_VARIANTS, own)
    _count(run, "variants_gone", dropped.rowcount)
    _see(session, run, offers)


def store_stock(session: Session, run: SyncRun, items: Sequence[StockLevel]) -> None:
    """Quantities of variants that are known; others are counted as `unknown`."""
    levels = {level.variant_id: level for level in items}
    rows = ((_clean(id_), _whole(level.stock), _tiers(level.tiers)) for id_, level in levels.items())
    _store_levels(session, run, "stock", _STOCK_FIELDS, rows, of=len(levels), statement=_MERGE_STOCK)


def store_prices(session: Session, run: SyncRun, items: Sequence[PriceLevel]) -> None:
    """Prices of variants that are known. A price without a cost says nothing, and is left out."""
    levels = {level.variant_id: level for level in items if level.cost is not None}
    rows = (
        (_clean(id_), *_money(level.cost, level.list_price, level.recommended_price)) for id_, level in levels.items()
    )
    _store_levels(session, run, "price", _PRICE_FIELDS, rows, of=len(levels), statement=_MERGE_PRICES)


def _store_levels(
    session: Session,
    run: SyncRun,
    what: str,
    fields: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    of: int,
    statement: TextClause,
) -> None:
    _copy(session, f"{what}_load", fields, rows)
    session.execute(_SET_UP)
    done = session.execute(statement, _own(run)).one()
    _count(run, f"{what}_changed", done.changed)
    _count(run, f"{what}_unknown", of - done.known)


def store_problems(session: Session, run: SyncRun, problems: Sequence[Problem], *, of_offers: bool) -> None:
    """What could not be had. `not_found` is gone; of anything else nothing is known, so it is not gone either.

    Of a problem that names nothing any offer may be meant: then the run takes none for gone (`gone_unknown`).
    """
    if not problems:
        return
    codes = dict(run.counts.get("problem_codes", {}))
    for problem in problems:
        codes[problem.code] = codes.get(problem.code, 0) + 1
    kept = [*run.counts.get("problems", [])]
    for problem in problems[: KEPT_PROBLEMS - len(kept)]:
        reason = _clean(problem.reason) or ""
        kept.append({"id": _clean(problem.id), "code": problem.code, "reason": reason[:300]})
    run.problems += len(problems)
    run.counts = {**run.counts, "problem_codes": codes, "problems": kept}
    if not of_offers:
        return
    named = {id_ for problem in problems if problem.code != "not_found" and (id_ := _clean(problem.id))}
    _see(session, run, named)
    _count(run, "gone_unknown", sum(problem.id is None for problem in problems))
    absent = [id_ for problem in problems if problem.code == "not_found" and (id_ := _clean(problem.id))]
    if absent:
        _count(run, "offers_gone", session.scalar(_NOT_FOUND, {**_own(run), "ids": absent}) or 0)


def sweep(session: Session, run: SyncRun, *, accept: bool) -> None:
    """The end of a complete full run: what it did not come across is gone.

    Nothing is taken for gone where the run cannot tell (`gone_unknown` of its counts says of how many problems it does
    not know whom they concern, or, as -1, that a crash of the database has forgotten what was seen). Raises
    OffersVanished when that would be most of what there was, unless `accept`.
    """
    own = _own(run)
    if session.scalar(_SEEN, own) != run.counts.get("seen", 0):
        run.counts = {**run.counts, "gone_unknown": -1}
    if not run.counts.get("gone_unknown"):
        session.execute(_SET_UP_SWEEP)
        found = session.execute(_ABSENT, own).one()
        if not accept and found.offered >= SMALLEST and found.absent * 100 > found.offered * VANISHED_PERCENT:
            raise OffersVanished(
                f"The supplier no longer lists {found.absent:,} of {found.offered:,} products. Nothing was taken for"
                " gone; sync with `accept_gone` if that is so."
            )
        if found.absent:
            session.execute(_SWEEP, own)
        _count(run, "offers_gone", found.absent)
    session.execute(_FORGET, own)


# -- Rows ----------------------------------------------------------------------------------------------------------


def _own(run: SyncRun) -> dict[str, Any]:
    return {"merchant_id": run.merchant_id, "connection_id": run.connection_id}


def _count(run: SyncRun, name: str, more: int) -> None:
    if more:
        run.counts = {**run.counts, name: run.counts.get(name, 0) + more}


def _see(session: Session, run: SyncRun, ids: Iterable[str]) -> None:
    if run.mode == "full":
        marked = session.scalar(_MARK_SEEN, {**_own(run), "ids": list(ids)})
        _count(run, "seen", marked or 0)


def _copy(session: Session, name: str, fields: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    connection: Any = session.connection().connection.driver_connection
    connection.execute(_load(name, fields))
    with connection.cursor() as cursor, cursor.copy(f"COPY {name} (id, {', '.join(fields)}) FROM STDIN") as copy:
        write: Callable[[Sequence[Any]], None] = copy.write_row
        for row in rows:
            write(row)


def _offer_row(offer: Offer) -> Sequence[Any]:
    return (
        offer.id,
        _clean(offer.title),
        _clean(offer.description),
        _key(offer.brand),
        _clean(offer.category),
        _clean("\n".join(offer.image_urls)),
        _clean(offer.url),
        _clean(offer.order_id),
        offer.active,
    )


def _variant_row(offer_id: str, position: int, variant: OfferVariant) -> Sequence[Any]:
    options = (
        json.dumps([[_clean(name), _clean(value)] for name, value in variant.options]) if variant.options else "[]"
    )
    return (
        variant.id,
        offer_id,
        position,
        _clean(variant.order_ref) or "",
        _key(variant.sku),
        _key(variant.barcode),
        options,
        _whole(variant.weight_grams),
        _clean(variant.image_url),
        *_money(variant.cost, variant.list_price, variant.recommended_price),
        _whole(variant.stock),
        _tiers(variant.tiers),
    )


def _money(*amounts: Money | None) -> Iterator[Any]:
    """Each amount, and the currency of the first; what is in another one, or cannot be stored, is not said."""
    currency = next((money.currency for money in amounts if money is not None), None)
    for money in amounts:
        good = money is not None and money.currency == currency and 0 <= money.amount < _TOO_HIGH
        yield money.amount if money is not None and good else None
    yield _clean(currency)


def _tiers(tiers: Sequence[StockTier]) -> str:
    """As JSON; put together here, because the encoder takes four times as long."""
    return f"[{', '.join(map(_tier, tiers))}]" if tiers else "[]"


def _tier(tier: StockTier) -> str:
    first, last, at = tier.min_days, tier.max_days, tier.warehouse
    return (
        f'{{"quantity": {tier.quantity}, "min_days": {"null" if first is None else first},'
        f' "max_days": {"null" if last is None else last},'
        f' "warehouse": {"null" if at is None else json.dumps(_clean(at))}}}'
    )


def _whole(value: int | None) -> int | None:
    return None if value is None else max(0, min(value, _MOST))


def _is_key(value: str) -> bool:
    return 0 < len(value) <= LONGEST_KEY and _clean(value) == value


def _key(value: str | None) -> str | None:
    """What an index is to hold."""
    return _clean(value) if value is not None and len(value) <= LONGEST_KEY else None


def _clean(value: str | None) -> str | None:
    """The text without what Postgres refuses: NUL, lone surrogates."""
    if value is None:
        return None
    if "\0" in value:
        value = value.replace("\0", "")
    return value if value.isascii() else value.encode("utf-8", "replace").decode()
