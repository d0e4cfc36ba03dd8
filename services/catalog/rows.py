"""Rows of the catalogue as the items of plans hold them: field → value, in JSON; money is text, so no digit is lost."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from services.catalog.apply import PRODUCT_FIELDS, VARIANT_FIELDS

MONEY = ("price", "compare_at_price", "cost")
# What else a row that is gone needs to come back as it was.
PRODUCT_ROW = (*PRODUCT_FIELDS, "source", "version", "created_at")
VARIANT_ROW = (*VARIANT_FIELDS, "position", "version", "created_at")


def jsonable(value: Any) -> Any:
    """A value as `changes` holds it."""
    if isinstance(value, Decimal):
        return f"{abs(value).normalize():f}"
    return value.isoformat() if isinstance(value, datetime) else value


def differences(row: Any, said: dict[str, Any]) -> dict[str, list[Any]]:
    """field → [from, to], of the fields in which the row is not as said."""
    return {
        name: [jsonable(getattr(row, name)), jsonable(value)]
        for name, value in said.items()
        if getattr(row, name) != value
    }


def appearing(said: dict[str, Any]) -> dict[str, list[Any]]:
    """field → [null, value], of the fields that are said."""
    return {name: [None, jsonable(value)] for name, value in said.items() if value is not None}


def vanishing(row: Any, fields: Sequence[str]) -> dict[str, list[Any]]:
    """field → [value, null], of the fields a row has."""
    held = {name: jsonable(getattr(row, name)) for name in fields}
    return {name: [value, None] for name, value in held.items() if value is not None}


def value_sql(name: str, row: str) -> str:
    """SQL of a field of a row, as `changes` holds it."""
    return f"trim_scale({row}.{name})::text" if name in MONEY else f"{row}.{name}"


def document_sql(fields: Sequence[str], row: str) -> str:
    """SQL of {field: value} of a row, jsonb; null where it has none."""
    pairs = (f"'{name}', {value_sql(name, row)}" for name in fields)
    return f"jsonb_build_object({', '.join(pairs)})"


def vanishing_sql(fields: Sequence[str], row: str) -> str:
    """SQL of {field: [value, null]} of a row, jsonb; without the fields it does not have."""
    each = f"jsonb_each({document_sql(fields, row)})"
    return f"(SELECT jsonb_object_agg(key, jsonb_build_array(value, NULL)) FROM {each} WHERE value <> 'null')"  # noqa: S608
