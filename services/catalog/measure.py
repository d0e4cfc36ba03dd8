"""What a plan would do, in figures: counted in SQL over its items and its feed's drafts, for guards.py to judge.

Nothing here is a row at a time in Python, and what a plan does not touch is not counted: a feed that changes nothing
costs one pass over its drafts.
"""

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

from services.catalog.drafts import StagingLost
from services.models import Changeset, Import
from services.models.imports import SAYS, SPOKEN

LARGEST_MOVES = 10

# Fields of a draft whose silence is telling → the field of the catalogue each of them feeds. Not those that come
# and go by nature: a sale that ends takes its compare-at prices along. A currency may be named by the request, one time
# and not the next; where it changes, another guard says so.
_FED = {name: "images" if name == "image_urls" else name for name in SPOKEN}
_BIT = {name: 1 << bit for bit, name in enumerate(SAYS)}

# As for planning: hashes and sorts stay in memory, no plan is kept that was made while the tables were empty, and the
# rows of other merchants are not read. One process counts as fast as three where workers fill the machine.
_SET_UP = text("""
SELECT set_config('work_mem', '64MB', true), set_config('plan_cache_mode', 'force_custom_plan', true),
    set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'on', true),
    set_config('max_parallel_workers_per_gather', '0', true), set_config('enable_nestloop', :loops, true)
""")
MANY = 50_000  # items: to look up more variants than that one by one takes longer than to read them all

_OWN_DRAFTS = "import_drafts d WHERE d.merchant_id = :merchant_id AND d.import_id = :import_id"
_FEED = text(f"SELECT d.says, count(*) AS rows FROM {_OWN_DRAFTS} GROUP BY d.says")  # noqa: S608  # our own part

# Every draft looks up its variant in the unique indexes, for the reason given in the planning of feeds: statistics do
# not know a merchant whose first import was a minute ago.
_BLANKED = text("""
SELECT count(*) FROM (
    SELECT DISTINCT product_key, variant_key FROM import_drafts
    WHERE merchant_id = :merchant_id AND import_id = :import_id AND variant_key IS NOT NULL AND price IS NULL
) silent
JOIN LATERAL (SELECT id FROM products WHERE merchant_id = :merchant_id AND source = :source
                  AND key = silent.product_key LIMIT 1) p ON true
JOIN LATERAL (SELECT price FROM variants WHERE merchant_id = :merchant_id AND product_id = p.id
                  AND key = silent.variant_key LIMIT 1) v ON v.price > 0
WHERE NOT EXISTS (SELECT FROM import_drafts d WHERE d.merchant_id = :merchant_id AND d.import_id = :import_id
                      AND d.product_key = silent.product_key AND d.variant_key = silent.variant_key
                      AND d.price IS NOT NULL)
""")

# What a feed no longer has comes from no line of it.
_TAKEN_OFF = text("""
SELECT count(DISTINCT product_key) FROM changeset_items
WHERE merchant_id = :merchant_id AND changeset_id = :changeset_id AND line IS NULL AND op <> 'create'
""")
# Of these a policy may take some off: those already off are not missed again at every import.
_ON_SALE = {
    "archive": text("""
        SELECT count(*) FROM products WHERE merchant_id = :merchant_id AND source = :source AND status <> 'archived'
        """),
    "unpublish": text("""
        SELECT count(*) FROM products WHERE merchant_id = :merchant_id AND source = :source AND status = 'active'
        """),
    "zero_stock": text("""
        SELECT count(DISTINCT p.id) FROM products p
        JOIN variants v ON v.merchant_id = p.merchant_id AND v.product_id = p.id AND v.stock IS DISTINCT FROM 0
        WHERE p.merchant_id = :merchant_id AND p.source = :source
        """),
}
# What is not counted is there: feeds that say no more than "in stock" leave the number open.
_IN_STOCK = text("SELECT count(*) FROM variants WHERE merchant_id = :merchant_id AND (stock > 0) IS NOT FALSE")


def _was(name: str, kind: str) -> str:
    return f"CASE WHEN i.changes ? '{name}' THEN (i.changes #>> '{{{name},0}}')::{kind} ELSE v.{name} END AS {name}_was"


def _is(name: str, kind: str) -> str:
    return f"CASE WHEN i.changes ? '{name}' THEN (i.changes #>> '{{{name},1}}')::{kind} ELSE v.{name} END AS {name}_is"


_TYPES = {"price": "numeric", "cost": "numeric", "currency": "text", "stock": "bigint"}
_BOTH_PRICES = "price_was > 0 AND price_is > 0"
_MOVED = f"{_BOTH_PRICES} AND price_was <> price_is"
_REPRICED = f"{_BOTH_PRICES} AND (price_was <> price_is OR currency_was <> currency_is)"

# Few items look their variants up (by id alone, as in `revert`), many are joined with all of the merchant's: see MANY.
_LOOKED_UP = """
JOIN LATERAL (SELECT * FROM variants WHERE id = i.variant_id LIMIT 1) v ON true
"""
_JOINED = "JOIN variants v ON v.id = i.variant_id AND v.merchant_id = :merchant_id"


def _moves(join: str) -> TextClause:
    """One pass over the items that touch prices, costs, currencies or stock, in groups by currency.

    There are few groups, and what is counted is added up outside. What is compared with a threshold is numeric; the
    order of the largest moves needs no more than a float.
    """
    return text(f"""
    WITH touched AS MATERIALIZED (
        SELECT i.n, {", ".join(f"{_was(name, kind)}, {_is(name, kind)}" for name, kind in _TYPES.items())}
        FROM changeset_items i {join}
        WHERE i.merchant_id = :merchant_id AND i.changeset_id = :changeset_id AND i.op = 'update'
            AND i.state <> 'conflict' AND i.variant_id IS NOT NULL
            AND i.changes ?| ARRAY['price', 'cost', 'currency', 'stock']
    ),
    groups AS (
        SELECT currency_was, currency_is,
            count(*) FILTER (WHERE {_MOVED}) AS moves,
            count(*) FILTER (WHERE {_MOVED} AND (price_is >= price_was * CAST(:factor AS numeric)
                                                 OR price_was >= price_is * CAST(:factor AS numeric))) AS leaps,
            count(*) FILTER (WHERE {_MOVED} AND abs(price_is - price_was) * 100 > price_was * CAST(:percent AS numeric))
                AS big_moves,
            max(greatest(price_is::float8 / price_was::float8, price_was::float8 / price_is::float8))
                FILTER (WHERE {_MOVED}) AS factor,
            count(*) FILTER (WHERE price_is <= 0 AND (price_was > 0) IS NOT FALSE) AS zeroed,
            count(*) FILTER (WHERE price_was > 0 AND price_is IS NULL) AS removed,
            count(*) FILTER (WHERE price_is > 0 AND cost_is > 0
                                 AND (price_is IS DISTINCT FROM price_was OR cost_is IS DISTINCT FROM cost_was))
                AS costed,
            count(*) FILTER (WHERE price_is < cost_is AND price_is > 0 AND (price_was < cost_was) IS NOT TRUE)
                AS below_cost,
            count(*) FILTER (WHERE currency_was <> currency_is) AS currencies,
            count(*) FILTER (WHERE (stock_was > 0) IS NOT FALSE AND stock_is <= 0) AS sold_out,
            count(*) FILTER (WHERE {_REPRICED}) AS repriced,
            sum(price_was) FILTER (WHERE {_REPRICED})::text AS price_was,
            sum(price_is) FILTER (WHERE {_REPRICED})::text AS price_is,
            sum(price_was * greatest(stock_was, 0))::text AS value_was,
            sum(price_is * greatest(stock_is, 0))::text AS value_is
        FROM touched GROUP BY currency_was, currency_is
    ),
    largest AS (
        SELECT n, price_was, price_is, currency_is, row_number() OVER () AS place
        FROM (
            SELECT n, price_was, price_is, currency_is FROM touched
            WHERE price_was > 0 AND price_is >= 0 AND price_was <> price_is
            ORDER BY CASE WHEN price_is = 0 THEN 'infinity'::float8
                          ELSE greatest(price_is::float8 / price_was::float8, price_was::float8 / price_is::float8) END
                DESC, n
            LIMIT {LARGEST_MOVES}
        ) sorted
    ),
    named AS (
        SELECT i.product_id, i.variant_key, v.sku, l.price_was::text, l.price_is::text, l.currency_is,
            round((l.price_is - l.price_was) * 100 / l.price_was, 2)::text AS percent
        FROM largest l
        JOIN LATERAL (SELECT * FROM changeset_items WHERE merchant_id = :merchant_id AND changeset_id = :changeset_id
                          AND n = l.n LIMIT 1) i ON true
        {_LOOKED_UP}
        ORDER BY l.place
    )
    SELECT (SELECT coalesce(jsonb_agg(groups), '[]') FROM groups) AS groups,
        (SELECT coalesce(jsonb_agg(named), '[]') FROM named) AS largest
    """)  # noqa: S608  # our own parts


_MOVES_OF_FEW, _MOVES_OF_MANY = _moves(_LOOKED_UP), _moves(_JOINED)


@dataclass(frozen=True, slots=True)
class Feed:
    """What a feed says, row by row. `silent` is the share of rows (0 to 1) that say nothing of a field."""

    rows: int
    variants: int  # rows that are a variant
    unpriced: int  # of these, rows that name no price
    costed: int  # rows that name a price and a cost
    below_cost: int
    stocked: int  # rows of a variant that do not say that nothing is there
    silent: dict[str, float]


@dataclass(slots=True)
class Moves:
    """What a plan's items do to prices, costs, currencies and stock: how many variants, and sums of money."""

    moves: int = 0  # from one price above zero to another
    leaps: int = 0  # by the factor asked for, or more
    big_moves: int = 0  # by more than the percentage asked for
    factor: float = 1.0  # the largest, up or down
    zeroed: int = 0
    removed: int = 0
    costed: int = 0  # price or cost changes, and both are known afterwards
    below_cost: int = 0  # that were not before
    currencies: int = 0
    sold_out: int = 0
    money: dict[str, Any] = field(default_factory=lambda: {"prices": {}, "stock_value": {}, "largest": []})


def set_up(session: Session, *, items: int = 0) -> None:
    """Settings for the rest of the transaction that these statements want for a plan of so many items."""
    session.execute(_SET_UP, {"loops": "off" if items > MANY else "on"})


def feed(session: Session, import_: Import) -> Feed:
    """What the rows of an import say: the staged drafts, and those that were not because they say nothing new.

    Raises StagingLost when the drafts are not all there.
    """
    found = session.execute(_FEED, {"merchant_id": import_.merchant_id, "import_id": import_.id})
    rows_of: Counter[int] = Counter({row.says: row.rows for row in found})
    if rows_of.total() != import_.staged_rows:
        raise StagingLost(retry_after=1)
    for says, more in (import_.skipped or {}).get("says", {}).items():
        rows_of[int(says)] += more
    rows = rows_of.total()
    named = {name: sum(n for says, n in rows_of.items() if says & bit) for name, bit in _BIT.items()}
    priced = _BIT["variants"] | _BIT["price"]
    return Feed(
        rows=rows,
        silent={catalogued: 1 - named[name] / rows if rows else 0.0 for name, catalogued in _FED.items()},
        unpriced=named["variants"] - sum(n for says, n in rows_of.items() if says & priced == priced),
        **{name: named[name] for name in ("variants", "costed", "below_cost", "stocked")},
    )


def blank_prices(session: Session, changeset: Changeset) -> int:
    """How many variants that have a price are staged without one."""
    which = {"merchant_id": changeset.merchant_id, "import_id": changeset.import_id, "source": changeset.source}
    return int(session.execute(_BLANKED, which).scalar_one())


def taken_off(session: Session, changeset: Changeset, *, policy: str) -> tuple[int, int]:
    """How many products the plan takes off because the feed no longer has them, and of how many it could."""
    which = {"merchant_id": changeset.merchant_id, "changeset_id": changeset.id, "source": changeset.source}
    off = int(session.execute(_TAKEN_OFF, which).scalar_one())
    return off, int(session.execute(_ON_SALE[policy], which).scalar_one()) if off else 0


def in_stock(session: Session, *, merchant_id: UUID) -> int:
    """How many variants of the catalogue are in stock, as far as is known."""
    return int(session.execute(_IN_STOCK, {"merchant_id": merchant_id}).scalar_one())


def moves(session: Session, changeset: Changeset, *, factor: float | None, percent: float | None) -> Moves:
    """What the plan's items do to prices, costs, currencies and stock.

    `factor` and `percent` say what counts as a leap and as a big move. `money`: `prices` and `stock_value`, currency →
    items, before, after and difference, and `largest`, the largest moves. Amounts are decimal text.
    """
    found = session.execute(
        _MOVES_OF_MANY if changeset.items > MANY else _MOVES_OF_FEW,
        {
            "merchant_id": changeset.merchant_id,
            "changeset_id": changeset.id,
            "factor": None if factor is None else str(factor),
            "percent": None if percent is None else str(percent),
        },
    ).one()
    total = Moves()
    for group in found.groups:
        for name in ("moves", "leaps", "big_moves", "zeroed", "removed", "costed", "below_cost", "currencies"):
            setattr(total, name, getattr(total, name) + group[name])
        total.sold_out += group["sold_out"]
        total.factor = max(total.factor, group["factor"] or 1.0)
    total.money = {
        "prices": _sums(found.groups, "price"),
        "stock_value": _sums(found.groups, "value"),
        "largest": [_largest(row) for row in found.largest],
    }
    return total


def _sums(groups: list[dict[str, Any]], what: str) -> dict[str, Any]:
    """Currency → before, after, difference. A variant that changes its currency leaves one sum and enters the other."""
    before: dict[str, Decimal] = {}
    after: dict[str, Decimal] = {}
    items: dict[str, int] = {}
    for group in groups:
        left, entered = group["currency_was"] or UNKNOWN, group["currency_is"] or UNKNOWN
        was, becomes = Decimal(group[f"{what}_was"] or 0), Decimal(group[f"{what}_is"] or 0)
        if was == becomes == 0 or (what == "price" and not group["repriced"]):
            continue
        before[left] = before.get(left, Decimal(0)) + was
        after[entered] = after.get(entered, Decimal(0)) + becomes
        for currency in {left, entered}:
            items[currency] = items.get(currency, 0) + group["repriced"]
    sums = {}
    for currency in sorted({*before, *after}):
        was, becomes = before.get(currency, Decimal(0)), after.get(currency, Decimal(0))
        sums[currency] = {"before": amount(was), "after": amount(becomes), "difference": amount(becomes - was)}
        if what == "price":
            sums[currency] = {"items": items[currency], **sums[currency]}  # type: ignore[dict-item]
    return sums


UNKNOWN = "unknown"  # the currency of prices that name none


def _largest(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "product_id": row["product_id"],
        "variant_key": row["variant_key"],
        "sku": row["sku"],
        "from": amount(Decimal(row["price_was"])),
        "to": amount(Decimal(row["price_is"])),
        "currency": row["currency_is"],
        "percent": float(row["percent"]),
    }


def amount(value: Decimal) -> str:
    """Two decimals, more only where they say something."""
    whole, _, part = f"{value:f}".partition(".")
    return f"{whole}.{part.rstrip('0'):0<2}"
