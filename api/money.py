"""How amounts of money leave: as text, with two decimals, and more only where they say something."""

from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field, PlainSerializer

from services.catalog.rows import MONEY


def money_text(amount: Decimal) -> str:
    """12.5 as 12.50, 0.125 as 0.125."""
    whole, _, part = f"{amount:f}".partition(".")
    return f"{whole}.{part.rstrip('0'):0<2}"


Money = Annotated[Decimal, PlainSerializer(money_text, return_type=str), Field(examples=["12.50"])]


def shown(field: str, value: Any) -> Any:
    """A value out of a plan's item, as the product's own fields are shown."""
    return money_text(Decimal(value)) if field in MONEY and value is not None else value
