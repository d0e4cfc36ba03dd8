"""Lists are keyset pages on time-ordered ids, newest first: no counts, no offsets, stable while rows are added.

found = paginate(session, select(Job).where(…), id_column=Job.id, page=page)
return ListOut[JobOut].model_validate(found, from_attributes=True)
"""

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel, Field
from sqlalchemy import Select
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.sql import ColumnElement

from services.core.errors import Invalid

MAX_LIMIT = 200

T = TypeVar("T")
U = TypeVar("U")


class InvalidCursor(Invalid):
    """`after` is not a cursor this list gave out."""


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is asked for: up to `limit` rows older than `after`."""

    limit: int = 50
    after: UUID | None = None


@dataclass(frozen=True, slots=True)
class Slice(Generic[T]):
    """The rows of one page, and the cursor of the page after it."""

    data: list[T]
    next: str | None

    @property
    def has_more(self) -> bool:
        """Whether there is a next page."""
        return self.next is not None

    def map(self, make: Callable[[T], U]) -> "Slice[U]":
        """The same page with each row turned into something else."""
        return Slice([make(row) for row in self.data], self.next)


class ListOut(BaseModel, Generic[T]):
    """A page of a list. Ask for the next one with `?after=<next>`."""

    data: list[T]
    has_more: bool
    next: str | None = Field(description="Cursor of the next page; null on the last one.")


def paginate(
    session: Session,
    statement: Select[Any],
    *,
    id_column: InstrumentedAttribute[UUID] | ColumnElement[UUID],
    page: Page,
) -> Slice[Any]:
    """One page of what `statement` selects, newest first.

    The statement must not order or limit. Rows are what it selects: the entity when that is all, tuples otherwise.
    """
    if page.after is not None:
        statement = statement.where(id_column < page.after)
    single = len(statement.column_descriptions) == 1
    rows = session.execute(
        statement.add_columns(id_column.label("page_id")).order_by(id_column.desc()).limit(page.limit + 1)
    ).all()
    shown = rows[: page.limit]
    following = encode_cursor(shown[-1][-1]) if len(rows) > page.limit else None
    return Slice([row[0] if single else row for row in shown], following)


def encode_cursor(after: UUID) -> str:
    """The id as an opaque cursor."""
    return base64.urlsafe_b64encode(after.bytes).decode("ascii").rstrip("=")


def decode_cursor(cursor: str) -> UUID:
    """The id inside a cursor. Raises InvalidCursor."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return UUID(bytes=raw)
    except (ValueError, binascii.Error):
        raise InvalidCursor(param="after") from None
