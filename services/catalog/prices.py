"""New prices for many variants at once: a plan, made in SQL, range of products after range."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.catalog.applying import NO_WAIT, WAIT
from services.catalog.changesets import apply_now, get_changeset, hand_over, propose
from services.catalog.queries import ProductFilter, select_products
from services.core.ids import new_id
from services.jobs import Job, Run, enqueue
from services.models import Changeset, Product

SMALL = 500  # products whose plan is made while the request waits
PRODUCTS = 2_000  # a range

PriceField = Literal["price", "compare_at_price"]


class Rounding(BaseModel):
    """Where prices end: on multiples of `step`, plus `ending` (step 1 and ending 0.99: 4.99, 5.99 …)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: Decimal = Decimal(1)
    ending: Decimal = Decimal(0)
    mode: Literal["nearest", "up", "down"] = "nearest"


class PriceChange(BaseModel):
    """What becomes of a price: `set` to the value; the base plus the value (`add`), plus so many percent, or times it.

    `clear` takes it away. The base is `base`, by default the price that changes itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    field: PriceField = "price"
    op: Literal["set", "add", "percent", "multiply", "clear"]
    value: Decimal | None = None
    base: Literal["price", "compare_at_price", "cost"] | None = None
    rounding: Rounding | None = None


@dataclass(frozen=True, slots=True)
class PriceTargets:
    """Whose prices: variants of the products that match, or of these products, or these variants."""

    matching: ProductFilter
    product_ids: tuple[UUID, ...] | None = None
    variant_ids: tuple[UUID, ...] | None = None
    currency: str | None = None  # of the variants


class UpdatePrices(Job, kind="price_update", queue="import", timeout=3600):
    """Make the plan that changes the prices of many products. Every attempt goes on where the one before it ended."""

    changeset_id: UUID
    targets: PriceTargets
    change: PriceChange
    apply: bool


_NEW = {
    "set": "CAST(:value AS numeric)",
    "add": "own.{base} + CAST(:value AS numeric)",
    "percent": "own.{base} * (100 + CAST(:value AS numeric)) / 100",
    "multiply": "own.{base} * CAST(:value AS numeric)",
    "clear": "NULL::numeric",
}
_ROUND = {"nearest": "round", "up": "ceil", "down": "floor"}
# Prices that would not be above zero, or could not be stored, are left as they are, and counted. A price that is set
# says what it says.
_PLAN = """
WITH own AS MATERIALIZED (
    SELECT v.*, p.key AS product_key,
        row_number() OVER (ORDER BY v.product_id, v.position, v.id) AS place
    FROM unnest(CAST(:ids AS uuid[])) AS asked (id)
    JOIN LATERAL (SELECT * FROM products WHERE id = asked.id LIMIT 1) p ON true
    JOIN LATERAL (SELECT * FROM variants WHERE merchant_id = :merchant_id AND product_id = asked.id OFFSET 0) v ON true
    WHERE {variants}
),
priced AS MATERIALIZED (
    SELECT own.*, {rounded} AS becomes FROM own CROSS JOIN LATERAL (SELECT {new} AS exact) raw
),
judged AS (
    SELECT *, CASE WHEN {cleared} THEN 'change' WHEN becomes IS NULL THEN 'no_price'
        WHEN NOT {lawful} THEN 'not_positive' WHEN becomes >= 1000000000000 THEN 'too_high' ELSE 'change' END AS verdict
    FROM priced
),
written AS (
    INSERT INTO changeset_items (merchant_id, changeset_id, n, op, product_key, variant_key, product_id, variant_id,
        base_version, changes)
    SELECT :merchant_id, :changeset_id, :items + row_number() OVER (ORDER BY place), 'update', product_key, key,
        product_id, id, version,
        jsonb_build_object('{field}', jsonb_build_array(trim_scale({field})::text, trim_scale(becomes)::text))
    FROM judged WHERE verdict = 'change' AND becomes IS DISTINCT FROM {field}
    RETURNING 1
)
SELECT (SELECT count(*) FROM written) AS items, count(*) AS matched,
    count(*) FILTER (WHERE verdict = 'change' AND becomes IS NOT DISTINCT FROM {field}) AS unchanged,
    count(*) FILTER (WHERE verdict = 'no_price') AS no_price,
    count(*) FILTER (WHERE verdict = 'not_positive') AS not_positive,
    count(*) FILTER (WHERE verdict = 'too_high') AS too_high
FROM judged
"""
_COUNTED = ("matched", "unchanged", "no_price", "not_positive", "too_high")
_SET_UP = text("""
SELECT set_config('plan_cache_mode', 'force_custom_plan', true), set_config('enable_seqscan', 'off', true)
""")


def update_prices(
    session: Session,
    *,
    merchant_id: UUID,
    targets: PriceTargets,
    change: PriceChange,
    apply: bool = False,
    note: str | None = None,
    user_id: UUID | None = None,
) -> Changeset:
    """The plan that changes the prices: `planned`, to be looked at; with `apply`, applied if no guard holds it.

    For many products a job (`job_id`) plans, and applies: then it is `planning`. `counts["prices"]` says how many
    variants matched, and how many are left as they are and why.
    """
    changeset = Changeset(id=new_id(), merchant_id=merchant_id, kind="edit", made_by=user_id, note=note)
    session.add(changeset)
    session.flush()
    session.refresh(changeset)
    ids = _next_ids(session, targets, merchant_id=merchant_id, after=None, limit=SMALL + 1)
    if len(ids) > SMALL and targets.product_ids is None and targets.variant_ids is None:
        job = UpdatePrices(changeset_id=changeset.id, targets=targets, change=change, apply=apply)
        changeset.job_id, _ = enqueue(session, job, merchant_id=merchant_id, unique_key=str(changeset.id))
        session.flush()
        return changeset
    _plan_products(session, changeset, targets, change, ids)
    propose(session, changeset, apply=apply)
    if changeset.state == "applying":
        apply_now(session, changeset)
    return changeset


def plan_prices(run: Run, job: UpdatePrices) -> None:
    """Make a large plan, range after range; the last transaction ends the job, and has the plan applied.

    Every attempt goes on where the one before it ended. Raises Stopped.
    """
    while not run.ended:
        with run.transaction() as session:
            session.execute(NO_WAIT)
            changeset = get_changeset(session, job.changeset_id, lock=True)
            if changeset.state == "planning":
                _plan_next(session, changeset, job)
            if changeset.state != "planning":
                session.execute(WAIT)
                run.finish(session, {"changeset_id": str(changeset.id), "changeset_state": changeset.state})
        run.progress_report = (changeset.counts.get("prices", {}).get("matched", 0), None, "planning")
        if not run.ended:
            run.checkpoint()


def _plan_next(session: Session, changeset: Changeset, job: UpdatePrices) -> None:
    after = None if changeset.plan_cursor is None else UUID(changeset.plan_cursor)
    ids = _next_ids(session, job.targets, merchant_id=changeset.merchant_id, after=after, limit=PRODUCTS)
    if ids:
        changeset.plan_cursor = str(ids[-1])
        _plan_products(session, changeset, job.targets, job.change, ids)
        return
    propose(session, changeset, apply=job.apply)
    if changeset.state == "applying":
        hand_over(session, changeset)


def _next_ids(
    session: Session, targets: PriceTargets, *, merchant_id: UUID, after: UUID | None, limit: int
) -> Sequence[UUID]:
    statement = select_products(targets.matching, merchant_id=merchant_id).with_only_columns(Product.id)
    if targets.product_ids is not None:
        statement = statement.where(Product.id.in_(targets.product_ids))
    if targets.variant_ids is not None:
        own = text("SELECT product_id FROM variants WHERE merchant_id = :merchant_id AND id = ANY(:ids)")
        asked = {"merchant_id": merchant_id, "ids": list(targets.variant_ids)}
        statement = statement.where(Product.id.in_(list(session.scalars(own, asked))))
    if after is not None:
        statement = statement.where(Product.id > after)
    named = targets.product_ids is not None or targets.variant_ids is not None
    return list(session.scalars(statement.order_by(Product.id).limit(None if named else limit)))


def _plan_products(
    session: Session, changeset: Changeset, targets: PriceTargets, change: PriceChange, ids: Sequence[UUID]
) -> None:
    session.execute(_SET_UP)
    variants, asked = _of_variants(targets)
    rounding = change.rounding or Rounding(step=Decimal("0.01"))
    rounded = "raw.exact"
    if change.op != "clear" and (change.rounding is not None or change.op != "set"):
        rounded = (
            f"{_ROUND[rounding.mode]}((raw.exact - CAST(:ending AS numeric)) / CAST(:step AS numeric))"
            " * CAST(:step AS numeric) + CAST(:ending AS numeric)"
        )
    statement = _PLAN.format(
        variants=variants,
        rounded=rounded,
        new=_NEW[change.op].format(base=change.base or change.field),
        cleared="true" if change.op == "clear" else "false",
        lawful="becomes >= 0" if change.op == "set" else "becomes > 0",
        field=change.field,
    )
    done = session.execute(
        text(statement),
        {
            **asked,
            "merchant_id": changeset.merchant_id,
            "changeset_id": changeset.id,
            "items": changeset.items,
            "ids": list(ids),
            "value": change.value,
            "step": rounding.step,
            "ending": rounding.ending,
        },
    ).one()
    before = changeset.counts.get("prices", {})
    told = {name: before.get(name, 0) + getattr(done, name) for name in _COUNTED}
    changeset.items += done.items
    changeset.counts = {**changeset.counts, "prices": told}
    session.flush()


def _of_variants(targets: PriceTargets) -> tuple[str, dict[str, Any]]:
    """SQL of which variants of the products are meant: what is said of variants is meant of each of them."""
    matching, conditions, asked = targets.matching, ["true"], {}
    for condition, name, value in (
        ("v.id = ANY(CAST(:variant_ids AS uuid[]))", "variant_ids", targets.variant_ids),
        ("v.currency = :currency", "currency", targets.currency),
        ("v.sku = :sku", "sku", matching.sku),
        ("v.barcode = :barcode", "barcode", matching.barcode),
        ("v.price >= :price_min", "price_min", matching.price_min),
        ("v.price <= :price_max", "price_max", matching.price_max),
        ("(coalesce(v.stock, 0) > 0) = :in_stock", "in_stock", matching.in_stock),
    ):
        if value is not None:
            conditions.append(condition)
            asked[name] = list(value) if isinstance(value, tuple) else value
    return " AND ".join(conditions), asked
