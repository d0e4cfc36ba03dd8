"""A connection's rules: what an offer's cost and stock become in the catalogue. See docs/sync.md.

Said twice, as Python for one offer (`offered`) and as SQL for all of them (`OFFERED`); a test holds the two together.
What may be written, and what becomes of products that are no longer offered, are settings of the catalogue's source.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal, localcontext
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from services.formats.numbers import currency_code

Amount = Annotated[Decimal, Field(max_digits=18, decimal_places=6, allow_inf_nan=False)]
Base = Literal["cost", "recommended", "list"]

TOO_HIGH = Decimal(10) ** 12
_DIGITS = Decimal("1e-10")  # what is compared is rounded so far, here and in SQL: neither sees the other's last digits
_STORED = Decimal("1e-6")
_MODES = {"nearest": ROUND_HALF_UP, "up": ROUND_CEILING, "down": ROUND_FLOOR}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Ending(_Part):
    """Where prices end: on multiples of `step`, plus `ending` (step 1 and ending 0.99: 4.99, 5.99 …)."""

    step: Amount = Field(default=Decimal(1), gt=0, le=1_000_000)
    ending: Amount = Field(default=Decimal(0), ge=0, lt=1_000_000)
    mode: Literal["nearest", "up", "down"] = "up"

    @model_validator(mode="after")
    def _below_a_step(self) -> Self:
        if self.ending >= self.step:
            raise ValueError("`ending` is less than `step`")
        return self


class PriceRule(_Part):
    """The base times `multiplier` plus `plus`, but no less than the cost with `minimum_margin`, rounded.

    The margin is in percent of the price; null: the price may be below the cost. A base that is not said, or is
    nothing, gives no price; nor does a margin above zero where no cost is said.
    """

    base: Base = "recommended"
    multiplier: Amount = Field(default=Decimal(1), gt=0, le=10_000)
    plus: Amount = Field(default=Decimal(0), ge=-1_000_000, le=1_000_000)
    minimum_margin: Annotated[Decimal, Field(ge=0, lt=100, max_digits=6, decimal_places=4)] | None = Decimal(0)
    rounding: Ending = Ending(step=Decimal("0.01"))


class Exchange(_Part):
    """Amounts in one currency are turned into another at a rate that you set; others stay as they are."""

    given: Annotated[str, Field(min_length=3, max_length=3, description="ISO 4217", alias="from")]
    wanted: Annotated[str, Field(min_length=3, max_length=3, description="ISO 4217", alias="to")]
    rate: Amount = Field(gt=0, le=1_000_000)

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)

    @field_validator("given", "wanted")
    @classmethod
    def _known(cls, value: str) -> str:
        if currency_code(value) is None:
            raise ValueError("is not an ISO 4217 currency code")
        return value.upper()


class Rules(_Part):
    """What a connection's offers become. What is left out has its default."""

    price: PriceRule | None = Field(default=PriceRule(), description="null: prices are never written.")
    compare_at: Literal["list", "recommended"] | None = Field(
        default=None, description="What the struck-through price is, where it is more than the price."
    )
    exchange: Exchange | None = None
    stock_buffer: int = Field(default=0, ge=0, le=1_000_000, description="Pieces that are kept back.")
    out_of_stock: Literal["zero", "unpublish", "leave"] = Field(
        default="zero", description="Sold out: stock 0; that, and the product a draft; or stock as it was."
    )
    assortment: Literal["all", "linked"] = Field(
        default="all", description="Every offer becomes a product; or only linked variants are kept true."
    )
    match_by: tuple[Literal["sku", "barcode"], ...] = Field(
        default=("sku", "barcode"), description="By what offers are linked to variants of other sources by themselves."
    )
    preference: int = Field(
        default=0,
        ge=-1000,
        le=1000,
        description="Of a variant's suppliers that have it: the highest, then the cheapest.",
    )


@dataclass(frozen=True, slots=True)
class Amounts:
    """What an offer says of money and stock."""

    cost: Decimal | None = None
    list_price: Decimal | None = None
    recommended_price: Decimal | None = None
    currency: str | None = None
    stock: int | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """What the catalogue is told. None: nothing, what is known stays."""

    price: Decimal | None
    compare_at_price: Decimal | None
    cost: Decimal | None
    currency: str | None
    stock: int | None


def kept(rules: Rules) -> dict[str, Any]:
    """The rules as `connections.rules` holds them: those that were set."""
    return rules.model_dump(mode="json", exclude_unset=True)


def rules_of(document: dict[str, Any]) -> Rules:
    """The rules out of `connections.rules`, with the defaults of those that are not set."""
    return Rules.model_validate(document)


def offered(rules: Rules, said: Amounts) -> Said:
    """What an offer becomes."""
    swap = rules.exchange if rules.exchange is not None and rules.exchange.given == said.currency else None
    rate = swap.rate if swap else Decimal(1)
    with localcontext(prec=60):
        cost, listed, recommended = (
            _positive(amount, rate) for amount in (said.cost, said.list_price, said.recommended_price)
        )
        price = None
        if rules.price is not None:
            base = {"cost": cost, "list": listed, "recommended": recommended}[rules.price.base]
            price = _price(rules.price, base, cost)
        compare_at = {None: None, "list": listed, "recommended": recommended}[rules.compare_at]
    return Said(
        price=price,
        compare_at_price=compare_at if price is not None and compare_at is not None and compare_at > price else None,
        cost=cost,
        currency=swap.wanted if swap else said.currency,
        stock=_stock(rules, said.stock),
    )


def _positive(amount: Decimal | None, rate: Decimal) -> Decimal | None:
    if amount is None:
        return None
    turned = (amount * rate).quantize(_STORED, ROUND_HALF_UP)
    return turned if 0 < turned < TOO_HIGH else None


def _price(rule: PriceRule, base: Decimal | None, cost: Decimal | None) -> Decimal | None:
    if base is None or (cost is None and (rule.minimum_margin or 0) > 0):
        return None
    least = Decimal(0)
    if cost is not None and rule.minimum_margin is not None:
        least = (cost * 100 / (100 - rule.minimum_margin)).quantize(_DIGITS, ROUND_HALF_UP)
    exact = max(base * rule.multiplier + rule.plus, least)
    step, ending = rule.rounding.step, rule.rounding.ending
    steps = ((exact - ending) / step).quantize(_DIGITS, ROUND_HALF_UP).to_integral_value(_MODES[rule.rounding.mode])
    price = steps * step + ending
    if price < least:
        price += step
    return price if 0 < price < TOO_HIGH else None


def _stock(rules: Rules, stock: int | None) -> int | None:
    if stock is None:
        return None
    left = max(0, stock - rules.stock_buffer)
    return None if left == 0 and rules.out_of_stock == "leave" else left


# -- The same in SQL -----------------------------------------------------------------------------------------------

# What a statement takes as its parameter `rules`: a row per connection.
RULES = """
jsonb_to_recordset(CAST(:rules AS jsonb)) AS r (connection_id uuid, base text, multiplier numeric, plus numeric,
    margin numeric, step numeric, ending numeric, mode text, compare_at text, rate_from text, rate_to text,
    rate numeric, buffer int, out_of_stock text, preference int)
"""


def parameter(rules: Iterable[tuple[UUID, Rules]]) -> list[dict[str, Any]]:
    """The rows of `RULES`, for JSON."""
    return [_row(connection_id, each) for connection_id, each in rules]


def _row(connection_id: UUID, rules: Rules) -> dict[str, Any]:
    price, swap = rules.price, rules.exchange
    return {
        "connection_id": str(connection_id),
        "base": price.base if price else None,
        "multiplier": str(price.multiplier) if price else None,
        "plus": str(price.plus) if price else None,
        "margin": str(price.minimum_margin) if price and price.minimum_margin is not None else None,
        "step": str(price.rounding.step) if price else None,
        "ending": str(price.rounding.ending) if price else None,
        "mode": price.rounding.mode if price else None,
        "compare_at": rules.compare_at,
        "rate_from": swap.given if swap else None,
        "rate_to": swap.wanted if swap else None,
        "rate": str(swap.rate) if swap else None,
        "buffer": rules.stock_buffer,
        "out_of_stock": rules.out_of_stock,
        "preference": rules.preference,
    }


def _turned(amount: str) -> str:
    turned = f"round(v.{amount} * turn.rate, 6)"
    return f"CASE WHEN {turned} > 0 AND {turned} < 1000000000000 THEN {turned} END"


# Joins behind an offer variant `v` and its connection's rules `r`; `becomes` is then what `Said` is. Each step is kept
# apart by OFFSET 0: pulled together, the planner would work out every amount as often as it is named further on.
OFFERED = f"""
CROSS JOIN LATERAL (
    SELECT CASE WHEN v.currency = r.rate_from THEN r.rate ELSE 1 END AS rate,
        CASE WHEN v.currency = r.rate_from THEN r.rate_to ELSE v.currency END AS currency OFFSET 0) turn
CROSS JOIN LATERAL (
    SELECT {_turned("cost")} AS cost, {_turned("list_price")} AS listed,
        {_turned("recommended_price")} AS recommended OFFSET 0) turned
CROSS JOIN LATERAL (
    SELECT CASE WHEN coalesce(r.margin, 0) = 0 OR turned.cost IS NOT NULL
                THEN CASE r.base WHEN 'cost' THEN turned.cost WHEN 'list' THEN turned.listed
                         ELSE turned.recommended END * r.multiplier + r.plus END AS wanted,
        coalesce(CASE WHEN r.margin = 0 THEN turned.cost
                      ELSE round((turned.cost * 100)::numeric(40, 20) / (100 - r.margin), 10) END, 0) AS least
    OFFSET 0) asked
CROSS JOIN LATERAL (
    SELECT round((CASE WHEN asked.wanted IS NOT NULL THEN greatest(asked.wanted, asked.least) - r.ending END)
                 ::numeric(40, 20) / r.step, 10) AS steps OFFSET 0) raw
CROSS JOIN LATERAL (
    SELECT CASE r.mode WHEN 'up' THEN ceil(raw.steps) WHEN 'down' THEN floor(raw.steps) ELSE round(raw.steps) END
        * r.step + r.ending AS price OFFSET 0) rounded
CROSS JOIN LATERAL (
    SELECT CASE WHEN rounded.price < asked.least THEN rounded.price + r.step ELSE rounded.price END AS price
    OFFSET 0) lifted
CROSS JOIN LATERAL (
    SELECT CASE WHEN lifted.price > 0 AND lifted.price < 1000000000000 THEN lifted.price END AS price,
        CASE r.compare_at WHEN 'list' THEN turned.listed WHEN 'recommended' THEN turned.recommended END AS compare_at,
        CASE WHEN v.stock > r.buffer THEN v.stock - r.buffer WHEN v.stock IS NOT NULL THEN 0 END AS stock
    OFFSET 0) found
CROSS JOIN LATERAL (
    SELECT found.price, CASE WHEN found.compare_at > found.price THEN found.compare_at END AS compare_at_price,
        turned.cost, turn.currency,
        CASE WHEN found.stock > 0 OR r.out_of_stock <> 'leave' THEN found.stock END AS stock OFFSET 0) becomes
"""
