"""Plans as people see and decide them: lists, what a plan would change, applying and discarding it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, text
from sqlalchemy.orm import Session

from services.catalog.apply import apply_range
from services.catalog.guards import judge_plan
from services.catalog.jobs import ApplyChangeset
from services.catalog.summary import conclude
from services.core.clock import now
from services.core.errors import Conflict, NotFound
from services.core.paging import Page, Slice, encode_cursor, paginate
from services.jobs import enqueue
from services.models import Changeset, ChangesetItem, ImportDraft, Job, Product, Variant

STATES = ("planning", "planned", "awaiting_approval", "applying", "applied", "discarded", "failed")
SHOWN_MOVED = 20
ENDED_JOB = ("succeeded", "failed", "cancelled")


class ChangesetNotFound(NotFound):
    """There is no such plan."""


class ChangesetNotOpen(Conflict):
    """This plan is not in a state in which that can be decided."""


class ChangesetDigestStale(Conflict):
    """This is not the digest of the plan: what you have seen is not what would be applied."""


class ChangesetMoved(Conflict):
    """Rows have changed since this was planned. They are left alone if you apply it with `accept_conflicts`."""


# -- Looking -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ChangesetFilter:
    """Which plans are meant. None does not narrow."""

    state: str | None = None
    kind: str | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class ItemFilter:
    """Which items of a plan are meant. None does not narrow."""

    op: str | None = None
    state: str | None = None
    field: str | None = None  # that changes
    sku: str | None = None  # of the variant, now, before or after
    product_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """An item with the name of what it is about; of a product not yet made, what its feed calls it."""

    item: ChangesetItem
    title: str | None
    sku: str | None


def list_changesets(session: Session, matching: ChangesetFilter, page: Page, *, merchant_id: UUID) -> Slice[Changeset]:
    """A page of plans, newest first."""
    statement = select(Changeset).where(Changeset.merchant_id == merchant_id)
    for column, value in (
        (Changeset.state, matching.state),
        (Changeset.kind, matching.kind),
        (Changeset.source, matching.source),
    ):
        if value is not None:
            statement = statement.where(column == value)
    found: Slice[Changeset] = paginate(session, statement, id_column=Changeset.id, page=page)
    return found


def get_changeset(session: Session, id_: UUID, *, lock: bool = False) -> Changeset:
    """The plan, if it is the merchant's. Raises ChangesetNotFound."""
    found = session.get(Changeset, id_, with_for_update=lock or None, populate_existing=lock)
    if found is None:
        raise ChangesetNotFound
    return found


def reverts_of(session: Session, changeset: Changeset) -> list[UUID]:
    """The plans that take this one back, oldest first."""
    own = select(Changeset.id).where(
        Changeset.merchant_id == changeset.merchant_id, Changeset.reverts == changeset.id, Changeset.id > changeset.id
    )
    return list(session.scalars(own.order_by(Changeset.id)))


def list_items(session: Session, changeset: Changeset, matching: ItemFilter, page: Page) -> Slice[Item]:
    """A page of a plan's items, in the order in which they are applied."""
    statement = _of_plan(changeset)
    if page.after is not None:
        statement = statement.where(ChangesetItem.n > page.after.int)
    for condition in _conditions(changeset, matching):
        statement = statement.where(condition)
    rows = list(session.scalars(statement.order_by(ChangesetItem.n).limit(page.limit + 1)))
    shown = rows[: page.limit]
    following = encode_cursor(UUID(int=shown[-1].n)) if len(rows) > page.limit else None
    return Slice(_named(session, changeset, shown), following)


def _of_plan(changeset: Changeset) -> Select[ChangesetItem]:
    return select(ChangesetItem).where(
        ChangesetItem.merchant_id == changeset.merchant_id, ChangesetItem.changeset_id == changeset.id
    )


def _conditions(changeset: Changeset, matching: ItemFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if matching.op is not None:
        conditions.append(ChangesetItem.op == matching.op)
    if matching.state is not None:
        conditions.append(ChangesetItem.state == matching.state)
    if matching.field is not None:
        conditions.append(and_(ChangesetItem.op == "update", ChangesetItem.changes.has_key(matching.field)))
    if matching.product_id is not None:
        conditions.append(ChangesetItem.product_id == matching.product_id)
    if matching.sku is not None:
        conditions.append(_of_sku(changeset, matching.sku))
    return conditions


def _of_sku(changeset: Changeset, sku: str) -> ColumnElement[bool]:
    variants = select(Variant).where(Variant.merchant_id == changeset.merchant_id, Variant.sku == sku)
    bare = and_(ChangesetItem.op == "create", ChangesetItem.variant_id.is_(None), ChangesetItem.changes.is_(None))
    options = [
        ChangesetItem.variant_id.in_(variants.with_only_columns(Variant.id)),
        ChangesetItem.changes["sku"].contains([sku]),
        and_(bare, ChangesetItem.product_id.in_(variants.with_only_columns(Variant.product_id))),
    ]
    if changeset.import_id is not None and changeset.finished_at is None:
        drafts = select(ImportDraft.product_key).where(
            ImportDraft.merchant_id == changeset.merchant_id,
            ImportDraft.import_id == changeset.import_id,
            ImportDraft.sku == sku,
        )
        options.append(and_(bare, ChangesetItem.product_key.in_(drafts)))
    return or_(*options)


def _named(session: Session, changeset: Changeset, items: Sequence[ChangesetItem]) -> list[Item]:
    mine = changeset.merchant_id
    products = {item.product_id for item in items}
    variants = {item.variant_id for item in items if item.variant_id is not None}
    titles = session.execute(
        select(Product.id, Product.title).where(Product.merchant_id == mine, Product.id.in_(products))
    )
    skus = session.execute(select(Variant.id, Variant.sku).where(Variant.merchant_id == mine, Variant.id.in_(variants)))
    title_of: dict[UUID, str | None] = {row[0]: row[1] for row in titles}
    sku_of: dict[UUID, str | None] = {row[0]: row[1] for row in skus}
    planned = _drafted(session, changeset, [item for item in items if item.changes is None and item.op == "create"])
    named = []
    for item in items:
        title, sku = planned.get(item.product_key, (None, None))
        title = title_of.get(item.product_id) or _said(item, "title") or title
        own = (sku_of.get(item.variant_id) or _said(item, "sku")) if item.variant_id is not None else sku
        named.append(Item(item, title, own))
    return named


def _said(item: ChangesetItem, field: str) -> str | None:
    before, after = (item.changes or {}).get(field, (None, None))
    said: str | None = before if after is None else after
    return said


def _drafted(
    session: Session, changeset: Changeset, items: Sequence[ChangesetItem]
) -> dict[str, tuple[str | None, str | None]]:
    """Product key → title and SKU, as the drafts have them, as long as they are there."""
    if changeset.import_id is None or not items:
        return {}
    own = select(ImportDraft.product_key, func.min(ImportDraft.title), func.min(ImportDraft.sku)).where(
        ImportDraft.merchant_id == changeset.merchant_id,
        ImportDraft.import_id == changeset.import_id,
        ImportDraft.product_key.in_([item.product_key for item in items]),
    )
    return {row[0]: (row[1], row[2]) for row in session.execute(own.group_by(ImportDraft.product_key))}


# -- Proposing -----------------------------------------------------------------------------------------------------


def propose(
    session: Session, changeset: Changeset, *, apply: bool, guarded: bool = True, measured: bool = True
) -> None:
    """Close a plan whose items are all written: counts, digest, and, if `measured`, guards.

    With `apply` it is then `applying`, unless `guarded` and a guard holds it: then it awaits approval. Without, it is
    `planned`. Does not apply anything.
    """
    conclude(session, changeset)
    held = measured and judge_plan(session, changeset)
    changeset.planned_at = now()
    changeset.state = "planned"
    if apply and held and guarded:
        changeset.state = "awaiting_approval"
    elif apply:
        changeset.state, changeset.decided_at, changeset.decided_by = "applying", now(), changeset.made_by
    session.flush()


def apply_now(session: Session, changeset: Changeset) -> None:
    """Apply a small plan in state `applying` to its end, in this transaction."""
    while changeset.finished_at is None:
        apply_range(session, changeset)


def hand_over(session: Session, changeset: Changeset) -> UUID:
    """Let a job apply a plan in state `applying`. Returns the job's id.

    Raises ChangesetNotOpen while the job that was to apply it has not quite ended: it would not take up more.
    """
    job = ApplyChangeset(changeset_id=changeset.id)
    job_id, is_new = enqueue(session, job, merchant_id=changeset.merchant_id, unique_key=str(changeset.id))
    if not is_new:
        raise ChangesetNotOpen("The job that was applying it is about to end; try again in a moment.", job_id=job_id)
    changeset.job_id = job_id
    session.flush()
    return job_id


# -- Deciding ------------------------------------------------------------------------------------------------------

_MOVED_PARTS = {
    "update": """
        SELECT i.n, own.version FROM item i LEFT JOIN LATERAL (
            SELECT version FROM products
            WHERE i.variant_id IS NULL AND merchant_id = :merchant_id AND id = i.product_id AND version > 0
            UNION ALL
            SELECT version FROM variants WHERE merchant_id = :merchant_id AND product_id = i.product_id
                AND key = i.variant_key AND id = i.variant_id LIMIT 1) own ON true
        WHERE i.op <> 'create' AND own.version IS DISTINCT FROM i.base_version
        """,
    "product": """
        SELECT i.n, own.version FROM item i JOIN LATERAL (
            SELECT version FROM products WHERE merchant_id = :merchant_id AND id = i.product_id AND version > 0
            UNION ALL
            SELECT version FROM products WHERE merchant_id = :merchant_id
                AND source = coalesce(i.changes #>> '{source, 1}', :source) AND key = i.product_key LIMIT 1) own ON true
        WHERE i.op = 'create' AND i.variant_id IS NULL
        """,
    "variant": """
        SELECT i.n, own.version FROM item i JOIN LATERAL (
            SELECT version FROM variants WHERE merchant_id = :merchant_id AND product_id = i.product_id
                AND key = i.variant_key LIMIT 1) own ON true
        WHERE i.op = 'create' AND i.variant_id IS NOT NULL
        """,
}
# Rows are looked up one by one and the search ends with the twentieth.
_MOVED = text(f"""
WITH item AS (
    SELECT * FROM changeset_items
    WHERE merchant_id = :merchant_id AND changeset_id = :changeset_id AND n > :upto AND state = 'planned'
),
moved AS ({" UNION ALL ".join(f"(SELECT * FROM ({part}) part LIMIT {SHOWN_MOVED})" for part in _MOVED_PARTS.values())})
SELECT i.n, i.op, i.product_id, i.product_key, i.variant_id, i.variant_key, i.base_version, moved.version
FROM moved JOIN changeset_items i
    ON i.merchant_id = :merchant_id AND i.changeset_id = :changeset_id AND i.n = moved.n
ORDER BY i.n LIMIT {SHOWN_MOVED}
""")  # noqa: S608  # our own parts


def moved_rows(session: Session, changeset: Changeset) -> list[dict[str, Any]]:
    """The first twenty items still to be applied whose rows are no longer what they were planned for.

    Each with its row's present `version`: None where it is gone, and where a row to be created is there already, its.
    """
    where = {"merchant_id": changeset.merchant_id, "changeset_id": changeset.id, "upto": changeset.applied_upto}
    rows = session.execute(_MOVED, {**where, "source": changeset.source or ""})
    return [dict(row._mapping) for row in rows]


def approve(
    session: Session, id_: UUID, *, digest: str, accept_conflicts: bool = False, user_id: UUID | None = None
) -> UUID:
    """Have a plan applied, or go on with one whose job was cancelled or failed. Returns the job's id.

    Raises ChangesetNotFound; ChangesetNotOpen (with the state); ChangesetDigestStale (with the digest, the state and
    what moved); ChangesetMoved (the same), unless conflicts are accepted: then such rows are left as they are.
    """
    changeset = get_changeset(session, id_, lock=True)
    if changeset.state not in ("planned", "awaiting_approval") and not _stranded(session, changeset, "applying"):
        raise ChangesetNotOpen(
            f"This plan is {changeset.state}: it cannot be applied.", state=changeset.state, digest=changeset.digest
        )
    now_stands: dict[str, Any] = {"state": changeset.state, "digest": changeset.digest}
    if digest != changeset.digest:
        raise ChangesetDigestStale(param="digest", moved=moved_rows(session, changeset), **now_stands)
    if not accept_conflicts and (moved := moved_rows(session, changeset)):
        raise ChangesetMoved(moved=moved, **now_stands)
    changeset.state, changeset.decided_at, changeset.decided_by = "applying", now(), user_id
    return hand_over(session, changeset)


def discard(session: Session, id_: UUID, *, user_id: UUID | None = None) -> Changeset:
    """Give a plan up. What of it was applied stays, and can be reverted.

    Raises ChangesetNotFound, ChangesetNotOpen (with the state).
    """
    changeset = get_changeset(session, id_, lock=True)
    if changeset.state not in ("planned", "awaiting_approval") and not _stranded(
        session, changeset, "planning", "applying"
    ):
        raise ChangesetNotOpen(f"This plan is {changeset.state}: it cannot be discarded.", state=changeset.state)
    changeset.state, changeset.decided_at, changeset.decided_by = "discarded", now(), user_id
    changeset.finished_at = changeset.decided_at
    session.flush()
    return changeset


def _stranded(session: Session, changeset: Changeset, *states: str) -> bool:
    """Whether the plan is in one of these states and nobody works on it any more."""
    if changeset.state not in states:
        return False
    if changeset.job_id is None:
        return True
    state = session.scalar(select(Job.state).where(Job.id == changeset.job_id))
    return state is None or state in ENDED_JOB
