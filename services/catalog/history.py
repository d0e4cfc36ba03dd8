"""Why is this what it is: what plans changed of a product, and what it was at any moment.

Both are read from the items of applied plans. Values from before the first recorded change follow from today's: what a
field was at a moment is what the first change after it found, or what it is now.
"""

import base64
import binascii
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.catalog.apply import PRODUCT_FIELDS, VARIANT_FIELDS
from services.catalog.queries import ProductNotFound
from services.catalog.rows import document_sql
from services.core.paging import InvalidCursor, Slice

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class By:
    """Which plan it was, what kind, and on whose word: a source (and the line of its feed), a person."""

    changeset_id: UUID
    kind: str  # import | edit | revert
    op: str
    source: str | None
    import_id: UUID | None
    line: int | None
    user_id: UUID | None  # who made it, or approved it


@dataclass(frozen=True, slots=True)
class Change:
    """What one plan did to the product (`variant_id` None) or one of its variants. Values as plans hold them."""

    at: datetime
    variant_id: UUID | None
    variant_key: str | None
    changes: dict[str, list[Any]]  # field → [from, to]
    by: By
    variants: list["RowThen"] = field(default_factory=list)  # that came with it, out of a feed


@dataclass(frozen=True, slots=True)
class FieldThen:
    """What a field was, since when, and by whom; None: since before anything was recorded."""

    value: Any
    since: datetime | None
    by: By | None


@dataclass(frozen=True, slots=True)
class RowThen:
    """A product or variant as it was."""

    id: UUID
    key: str
    fields: dict[str, FieldThen]


@dataclass(frozen=True, slots=True)
class Then:
    """A product and its variants as they were at a moment. `product` is None when there was no such product then."""

    at: datetime
    product: RowThen | None
    variants: list[RowThen]


_EVENT = """
SELECT i.n, i.op, i.changes, i.variant_id, i.variant_key, i.product_key, i.line, i.applied_at,
    i.changeset_id, c.kind, c.source, c.import_id, coalesce(c.made_by, c.decided_by) AS user_id
FROM changeset_items i JOIN changesets c ON c.id = i.changeset_id
WHERE i.merchant_id = :merchant_id AND i.product_id = :product_id AND i.state = 'applied'
"""
_PAGE = text(f"""
{_EVENT} AND (CAST(:at AS timestamptz) IS NULL OR (i.applied_at, i.changeset_id, i.n) < (:at, :changeset_id, :n))
ORDER BY i.applied_at DESC, i.changeset_id DESC, i.n DESC LIMIT :limit
""")


def list_changes(
    session: Session, product_id: UUID, *, merchant_id: UUID, limit: int, after: str | None = None
) -> Slice[Change]:
    """A page of what happened to a product and its variants, newest first; of one that is gone too.

    `after` is the cursor of the page before. Raises ProductNotFound, InvalidCursor.
    """
    cursor = _decoded(after) if after is not None else (None, None, None)
    where = {"merchant_id": merchant_id, "product_id": product_id, "limit": limit + 1}
    rows = session.execute(_PAGE, {**where, **dict(zip(("at", "changeset_id", "n"), cursor, strict=True))}).all()
    if not rows and after is None and not _rows_now(session, product_id, merchant_id=merchant_id):
        raise ProductNotFound
    shown = rows[:limit]
    following = _encoded(shown[-1]) if len(rows) > limit else None
    return Slice([_change(session, row, product_id, merchant_id=merchant_id) for row in shown], following)


def _change(session: Session, row: Any, product_id: UUID, *, merchant_id: UUID) -> Change:
    if row.changes is not None:
        return Change(row.applied_at, row.variant_id, row.variant_key, row.changes, _by(row))
    # Out of a feed: what it was made with is what it was at that moment.
    then = state_at(session, product_id, merchant_id=merchant_id, at=row.applied_at)
    made = {} if then.product is None else then.product.fields
    changes = {name: [None, each.value] for name, each in made.items() if each.value not in (None, [])}
    came = [variant for variant in then.variants if _came_with(variant, row)]
    return Change(row.applied_at, None, None, changes, _by(row), came)


def _came_with(variant: RowThen, row: Any) -> bool:
    return any(each.by is not None and each.by.changeset_id == row.changeset_id for each in variant.fields.values())


def _by(row: Any) -> By:
    return By(row.changeset_id, row.kind, row.op, row.source, row.import_id, row.line, row.user_id)


def _encoded(row: Any) -> str:
    micros = (row.applied_at - _EPOCH) // timedelta(microseconds=1)
    raw = struct.pack(">q16si", micros, row.changeset_id.bytes, row.n)
    return base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=")


def _decoded(cursor: str) -> tuple[datetime, UUID, int]:
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        micros, changeset_id, n = struct.unpack(">q16si", raw)
        return _EPOCH + timedelta(microseconds=micros), UUID(bytes=changeset_id), n
    except (ValueError, binascii.Error, struct.error, OverflowError):
        raise InvalidCursor(param="after") from None


# -- At a moment ---------------------------------------------------------------------------------------------------

_NOW = text(f"""
SELECT NULL::uuid AS variant_id, key, created_at, 0 AS place, {document_sql(PRODUCT_FIELDS, "own")} AS document
FROM products own WHERE own.merchant_id = :merchant_id AND own.id = :product_id
UNION ALL
SELECT id, key, created_at, position, {document_sql(VARIANT_FIELDS, "own")}
FROM variants own WHERE own.merchant_id = :merchant_id AND own.product_id = :product_id
ORDER BY place, variant_id
""")  # noqa: S608
_FIRST_AFTER = text(f"""
SELECT DISTINCT ON (variant_id) * FROM ({_EVENT} AND i.applied_at > :at) event ORDER BY variant_id, applied_at
""")  # noqa: S608
_LAST_BEFORE = text(f"""
SELECT DISTINCT ON (variant_id) * FROM ({_EVENT} AND i.applied_at <= :at AND i.op <> 'update') event
ORDER BY variant_id, applied_at DESC
""")  # noqa: S608
_FOUND_AFTER = text(f"""
SELECT DISTINCT ON (variant_id, key) variant_id, key, value -> 0 AS value
FROM ({_EVENT} AND i.applied_at > :at) event, jsonb_each(changes)
ORDER BY variant_id, key, applied_at
""")  # noqa: S608
_LEFT_BEFORE = text(f"""
SELECT DISTINCT ON (variant_id, key) key, event.*
FROM ({_EVENT} AND i.applied_at <= :at) event, jsonb_each(changes) WHERE op <> 'delete'
ORDER BY variant_id, key, applied_at DESC
""")  # noqa: S608


def state_at(session: Session, product_id: UUID, *, merchant_id: UUID, at: datetime) -> Then:
    """What a product and its variants were at a moment: each field, since when, and by whom.

    Raises ProductNotFound for one of which nothing is known.
    """
    where = {"merchant_id": merchant_id, "product_id": product_id}
    today = {row.variant_id: row for row in _rows_now(session, product_id, merchant_id=merchant_id)}
    where_then = {**where, "at": at}
    after = {row.variant_id: row for row in session.execute(_FIRST_AFTER, where_then)}
    before = {row.variant_id: row for row in session.execute(_LAST_BEFORE, where_then)}
    if not today and not after and not before:
        raise ProductNotFound
    past = _Past(
        today=today,
        after=after,
        before=before,
        found={(row.variant_id, row.key): row.value for row in session.execute(_FOUND_AFTER, where_then)},
        left={(row.variant_id, row.key): row for row in session.execute(_LEFT_BEFORE, where_then)},
    )
    if not past.was_there(None, at):
        return Then(at, None, [])
    ids = [id_ for id_ in dict.fromkeys((*today, *_in_order(after))) if id_ is not None and past.was_there(id_, at)]
    return Then(at, past.row(product_id, None), [past.row(id_, id_) for id_ in ids])


def _rows_now(session: Session, product_id: UUID, *, merchant_id: UUID) -> list[Any]:
    return list(session.execute(_NOW, {"merchant_id": merchant_id, "product_id": product_id}))


def _in_order(after: dict[UUID | None, Any]) -> Iterable[UUID | None]:
    return sorted(after, key=lambda id_: (after[id_].n, str(id_)))


@dataclass(frozen=True, slots=True)
class _Past:
    """What is known of a product and its variants, by variant id (None: the product itself)."""

    today: dict[UUID | None, Any]  # the rows
    after: dict[UUID | None, Any]  # the first thing that happened to each after the moment
    before: dict[UUID | None, Any]  # when it was last made, or deleted, until then
    found: dict[tuple[UUID | None, str], Any]  # what the first change of a field after the moment found
    left: dict[tuple[UUID | None, str], Any]  # the last change of a field until then

    def was_there(self, id_: UUID | None, at: datetime) -> bool:
        """Whether the row was there at the moment; of a variant, given that its product was."""
        if id_ in self.before:
            return bool(self.before[id_].op == "create")
        if id_ in self.after:
            return self.after[id_].op != "create" and not self._made_later(id_, at)
        return id_ in self.today and not self._made_later(id_, at)

    def _made_later(self, id_: UUID | None, at: datetime) -> bool:
        """Whether the row says so itself: of one whose making no plan has recorded."""
        return id_ in self.today and self.today[id_].created_at > at

    def row(self, shown: UUID, id_: UUID | None) -> RowThen:
        """The row as it was."""
        names = PRODUCT_FIELDS if id_ is None else VARIANT_FIELDS
        known = self.today.get(id_)
        event = self.after.get(id_)
        if known is not None:
            key = known.key
        else:
            key = event.product_key if id_ is None and event is not None else getattr(event, "variant_key", "")
        return RowThen(shown, key, {name: self._field(id_, name) for name in names})

    def _field(self, id_: UUID | None, name: str) -> FieldThen:
        now = self.today.get(id_)
        value = self.found[id_, name] if (id_, name) in self.found else now and now.document[name]
        made = self.before.get(id_) or self.before.get(None)  # a feed's variants are made with their product
        changed = self.left.get((id_, name))
        if changed is None or (made is not None and changed.applied_at < made.applied_at):
            changed = made
        if changed is not None:
            return FieldThen(value, changed.applied_at, _by(changed))
        return FieldThen(value, None if now is None else now.created_at, None)
