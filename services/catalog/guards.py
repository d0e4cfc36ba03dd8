"""Guards: whether a plan may be applied without a person having looked at it. docs/sources.md says what each means."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from services.catalog import measure
from services.catalog.measure import Feed, Moves
from services.models import Changeset, Import, Source

REMEMBERED = 10  # earlier plans of a source that a feed may resemble

Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Rise = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
Factor = Annotated[float, Field(gt=1, le=1_000_000, allow_inf_nan=False)]
Items = Annotated[int, Field(ge=0, le=1_000_000_000)]


class Thresholds(BaseModel):
    """What a source's plans may do without being looked at: the most that is let through. `null` is: anything."""

    model_config = ConfigDict(extra="forbid")

    missing_percent: Percent | None = Field(
        default=20,
        description="Of the source's products on sale: those its policy `missing` would take off.",
    )
    short_feed_percent: Percent | None = Field(
        default=20, description="By how much the feed may have fewer products than the one applied last."
    )
    error_rows_percent: Percent | None = Field(default=10, description="Of the rows: those left out.")
    duplicate_rows_percent: Percent | None = Field(
        default=10, description="Of the rows: those that repeat another row's variant."
    )
    zero_price_rows_percent: Percent | None = Field(
        default=50, description="Of the rows: those whose price is zero or negative (and is not used)."
    )
    blank_prices_percent: Percent | None = Field(
        default=10,
        description="Of the feed's variants that have a price: those for which it names none.",
    )
    silent_fields_points: Percent | None = Field(
        default=30,
        description="By how many percentage points the rows that do not name a field may grow, field by field.",
    )
    price_factor: Factor | None = Field(
        default=10, description="A single price that becomes this many times as much, or as little, is held."
    )
    price_move_percent: Rise | None = Field(
        default=30, description="From which change on a price counts for `price_moves_percent`."
    )
    price_moves_percent: Percent | None = Field(
        default=20, description="Of the variants: those whose price changes by more than that."
    )
    zero_prices: Items | None = Field(default=0, description="Prices that become zero, negative, or none.")
    below_cost_percent: Percent | None = Field(
        default=10, description="Of the variants: those whose price falls below their cost."
    )
    currency_changes: Items | None = Field(default=0, description="Variants whose currency becomes another one.")
    sold_out_percent: Percent | None = Field(
        default=90, description="Of the variants in stock: those of which none is left."
    )
    smallest_feed: Items = Field(default=20, description="Shares of a feed's rows are judged from so many rows on.")
    smallest_share: Items = Field(
        default=5, description="Shares of what is in the catalogue are judged from so many products or variants on."
    )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one guard says. `measured` and `threshold` are in the unit of the threshold, `items` is how many."""

    guard: str
    held: bool
    measured: float
    threshold: float | None  # None: switched off
    items: int
    message: str
    seen: dict[str, Any] | None = None  # what later plans of the source are compared with

    def document(self) -> dict[str, Any]:
        """As it is kept in `changesets.guards`."""
        told = {name: getattr(self, name) for name in ("guard", "held", "measured", "threshold", "items", "message")}
        return told if self.seen is None else {**told, "seen": self.seen}


Verdicts = dict[str, dict[str, Any]]  # of one plan, by guard


def judge_plan(session: Session, changeset: Changeset, *, thresholds: dict[str, Any] | None = None) -> bool:
    """Measure a plan whose items are all written, and say whether a guard holds it.

    Writes `changeset.guards` (a verdict of every guard that applies to this plan) and `changeset.money`. `thresholds`
    are those that are not the defaults; without them, the ones of the changeset's source. Raises StagingLost when the
    feed's drafts are not all there, and pydantic's ValidationError for thresholds that are none. Does not commit; may
    be repeated.
    """
    source = _source_of(session, changeset)
    if thresholds is None:
        thresholds = source.guards if source else {}
    limits = Thresholds.model_validate(thresholds)
    session.flush()
    measure.set_up(session, items=changeset.items)
    moved = Moves()
    if changeset.items:
        moved = measure.moves(session, changeset, factor=limits.price_factor, percent=limits.price_move_percent)
    verdicts: list[Verdict] = []
    described, stocked = moved.moves, 0
    if changeset.import_id is not None:
        import_ = session.get_one(Import, changeset.import_id)
        said = measure.feed(session, import_)
        described, stocked = max(described, said.variants), said.stocked
        earlier = _earlier(session, changeset)
        alike = min(earlier, key=lambda plan: _unlikeness(plan, said), default={})
        verdicts += _of_rows(limits, import_, said, alike)
        verdicts += _of_feed(
            session,
            limits,
            changeset,
            source=source,
            said=said,
            earlier=earlier,
            alike=alike,
            skipped=import_.skipped or {},
        )
    elif moved.sold_out:
        stocked = measure.in_stock(session, merchant_id=changeset.merchant_id) - moved.sold_out
    verdicts += _of_moves(limits, moved, described=described, stocked=stocked)
    changeset.guards = [verdict.document() for verdict in verdicts]
    changeset.money = moved.money
    session.flush()
    return any(verdict.held for verdict in verdicts)


def _source_of(session: Session, changeset: Changeset) -> Source | None:
    if changeset.source is None:
        return None
    own = select(Source).where(Source.merchant_id == changeset.merchant_id, Source.name == changeset.source)
    return session.scalar(own)


# -- What a feed's rows are like -----------------------------------------------------------------------------------


def _of_rows(limits: Thresholds, import_: Import, said: Feed, alike: Verdicts) -> list[Verdict]:
    """What needs nothing to compare with, and so is judged of a first import too."""
    codes = import_.error_codes
    zero = sum(int(codes.get(f"price_{problem}", 0)) for problem in ("zero", "negative"))
    rows, costed = Whole(max(import_.rows, said.rows), limits.smallest_feed), Whole(said.costed, limits.smallest_feed)
    found: list[tuple[str, float | None, int, Whole, str]] = [
        ("error_rows", limits.error_rows_percent, import_.errors, rows, "of the rows cannot be used"),
        (
            "duplicate_rows",
            limits.duplicate_rows_percent,
            int(codes.get("duplicate_variant", 0)),
            rows,
            "of the rows repeat another row",
        ),
        ("zero_price_rows", limits.zero_price_rows_percent, zero, rows, "of the rows cost nothing, or less"),
        (
            "below_cost_rows",
            limits.below_cost_percent,
            said.below_cost,
            costed,
            "of the rows with a price and a cost have a price below the cost",
        ),
    ]
    return [_share(*one, usual=_usual(alike, one[0])) for one in found]


# -- What a feed is like beside what is known ----------------------------------------------------------------------


def _of_feed(
    session: Session,
    limits: Thresholds,
    changeset: Changeset,
    *,
    source: Source | None,
    said: Feed,
    earlier: list[Verdicts],
    alike: Verdicts,
    skipped: dict[str, Any],
) -> list[Verdict]:
    off, on_sale = 0, 0
    policy = source.missing if source else "leave"
    if policy != "leave" and changeset.items:
        off, on_sale = measure.taken_off(session, changeset, policy=policy)
    products, variants = changeset.counts.get("products", {}), changeset.counts.get("variants", {})
    # The products a policy changes because the feed has them no longer are among the updates.
    updated = products.get("update", 0) - (off if policy in ("unpublish", "archive") else 0)
    found = products.get("unchanged", 0) + updated
    known = found + products.get("missing", 0)
    verdicts = [
        _short(limits, found + products.get("create", 0), earlier, known),
        _silent(limits, said, alike, changeset),
    ]
    if not earlier and not known:
        return verdicts
    blank = 0
    if said.unpriced and _may_write(changeset, "price"):
        blank = measure.blank_prices(session, changeset) + skipped.get("blank_prices", 0)
    priced = max(0, said.variants - said.unpriced - variants.get("create", 0))  # new ones do not thin it out
    verdicts.append(
        _share(
            "blank_prices",
            limits.blank_prices_percent,
            blank,
            Whole(blank + priced, limits.smallest_share),
            "of the prices that are known are blank in this feed",
            usual=_usual(alike, "blank_prices"),
        )
    )
    if policy != "leave":
        what = "of the products on sale are missing from this feed and would be taken off"
        whole = Whole(on_sale, limits.smallest_share)
        verdicts.append(_share("missing", limits.missing_percent, off, whole, what))
    return verdicts


def _earlier(session: Session, changeset: Changeset) -> list[Verdicts]:
    """What guards said of the source's plans that were applied, the latest first."""
    rows = session.scalars(
        select(Changeset.guards)
        .where(
            Changeset.merchant_id == changeset.merchant_id,
            Changeset.source == changeset.source,
            Changeset.kind == "import",
            Changeset.state == "applied",
            Changeset.id < changeset.id,
        )
        .order_by(Changeset.id.desc())
        .limit(REMEMBERED)
    )
    return [{verdict["guard"]: verdict for verdict in verdicts} for verdicts in rows if verdicts]


def _unlikeness(plan: Verdicts, said: Feed) -> tuple[float, float]:
    """How much a feed differs in what its rows name: a stock list is to be compared with a stock list.

    Of two that differ as much the one that named more: what is missed then shows.
    """
    before = _seen(plan, "silent_fields")
    apart = sum(abs(share - before.get(name, 1.0)) for name, share in said.silent.items())
    return float(apart), float(sum(before.get(name, 1.0) for name in said.silent))


def _seen(plan: Verdicts, guard: str) -> dict[str, Any]:
    return plan.get(guard, {}).get("seen") or {}


def _let_through(plan: Verdicts, guard: str) -> bool:
    """Whether a person applied that plan although this guard held it: feeds like it need not be asked about again."""
    return guard in plan and bool(plan[guard]["held"])


def _usual(alike: Verdicts, guard: str) -> float:
    return float(alike[guard]["measured"]) if _let_through(alike, guard) else 0.0


def _short(limits: Thresholds, products: int, earlier: list[Verdicts], known: int) -> Verdict:
    """A feed that was cut on its way has fewer products, whatever the policy makes of those it lacks.

    Compared with the one applied last, and those before it that were let through: some sources send changes only.
    """
    plans = [plan for n, plan in enumerate(earlier) if n == 0 or _let_through(plan, "short_feed")]
    before = min((seen["products"] for plan in plans if (seen := _seen(plan, "short_feed"))), default=known)
    return _share(
        "short_feed",
        limits.short_feed_percent,
        max(0, before - products),
        Whole(before, limits.smallest_share),
        "fewer products than in the feed applied last",
        seen={"products": products},
    )


def _silent(limits: Thresholds, said: Feed, alike: Verdicts, changeset: Changeset) -> Verdict:
    """A field that rows used to name and no longer do: a column that was renamed, or lost."""
    limit, before = limits.silent_fields_points, _seen(alike, "silent_fields")
    seen = {name: round(share, 6) for name, share in said.silent.items()}
    jumps = [(_points(seen[name], was), name) for name, was in before.items() if name in seen]
    points, name = max((jump for jump in jumps if _may_write(changeset, jump[1])), default=(Decimal(0), ""))
    points = max(points, Decimal(0))
    rows = round(said.rows * seen[name]) if points else 0
    message = "No field is named less often." if before else "There is no earlier feed to compare the fields with."
    if points:
        message = f"{rows:,} of {said.rows:,} rows do not name {name}: {points:.2f} points more than before."
    held = limit is not None and points > Decimal(str(limit)) and said.rows >= limits.smallest_share
    return Verdict("silent_fields", held, float(points), limit, rows, message, seen)


def _points(now: float, before: float) -> Decimal:
    return round(100 * (Decimal(str(now)) - Decimal(str(before))), 4)


def _may_write(changeset: Changeset, name: str) -> bool:
    return changeset.writes is None or name in changeset.writes


# -- What the items do ---------------------------------------------------------------------------------------------


def _of_moves(limits: Thresholds, moved: Moves, *, described: int, stocked: int) -> list[Verdict]:
    """What any plan is judged by. It speaks of `described` variants, and `stocked` would be in stock afterwards."""
    far = limits.price_move_percent
    return [
        _leap(limits, moved),
        _share(
            "price_moves",
            None if far is None else limits.price_moves_percent,
            moved.big_moves,
            Whole(described, limits.smallest_share),
            "of the prices change" if far is None else f"of the prices change by more than {far:g} %",
        ),
        _count("zero_prices", limits.zero_prices, moved.zeroed + moved.removed, "prices would be zero, or gone"),
        _share(
            "below_cost",
            limits.below_cost_percent,
            moved.below_cost,
            Whole(max(described, moved.costed), limits.smallest_share),
            "of the prices would fall below cost",
        ),
        _count("currency_changes", limits.currency_changes, moved.currencies, "variants would change their currency"),
        _share(
            "sold_out",
            limits.sold_out_percent,
            moved.sold_out,
            Whole(moved.sold_out + stocked, limits.smallest_share),
            "of the variants in stock would be sold out",
        ),
    ]


def _leap(limits: Thresholds, moved: Moves) -> Verdict:
    """One price is enough: a decimal point that slipped is worth a look wherever it did."""
    held = limits.price_factor is not None and moved.leaps > 0
    message = "No price changes."
    if moved.moves:
        message = f"The largest change makes a price {moved.factor:,.2f} times as much, or as little."
    if held:
        first = moved.money["largest"][0]
        message += f" {moved.leaps:,} are like that; {first['sku'] or first['variant_key']} goes "
        message += f"from {first['from']} to {first['to']}."
    return Verdict("price_factor", held, float(round(moved.factor, 3)), limits.price_factor, moved.leaps, message)


def _count(guard: str, limit: int | None, items: int, what: str) -> Verdict:
    held = limit is not None and items > limit
    return Verdict(guard, held, float(items), limit, items, f"{items:,} {what}.")


class Whole(NamedTuple):
    """What a share is of, and from which size on it may be judged: one of three is no third."""

    size: int
    smallest: int


def _share(
    guard: str,
    limit: float | None,
    part: int,
    whole: Whole,
    what: str,
    *,
    usual: float = 0.0,
    seen: dict[str, Any] | None = None,
) -> Verdict:
    """Held when more than `limit` percent of the whole, beside the percentage that is usual, are affected."""
    # Compared as it was counted; rounded is only what is shown.
    most = Decimal(str(limit or 0)) + Decimal(str(usual))
    held = limit is not None and whole.size >= max(1, whole.smallest) and part * 100 > most * whole.size
    measured = round(100 * part / whole.size, 2) if whole.size else 0.0
    message = f"{measured:g} % {what} ({part:,} of {whole.size:,})."
    return Verdict(guard, held, measured, limit, part, message, seen)
