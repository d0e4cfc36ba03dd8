"""Taking a plan back: another plan, made of what the first one applied, for what still is as it left it.

Three-way, field by field: a field goes back to what it was before when it still holds what the plan wrote. What was
changed since is kept, and listed: such items are in state `conflict` from the beginning, with what they keep. A product
that the plan made is deleted when nothing of it differs from how it was made; one it deleted comes back with its ids.
"""

from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.catalog.apply import PRODUCT_FIELDS, ROW_BY_ROW, VARIANT_FIELDS
from services.catalog.applying import NO_WAIT, WAIT
from services.catalog.changesets import apply_now, get_changeset, hand_over, propose
from services.catalog.jobs import RevertChangeset
from services.catalog.rows import PRODUCT_ROW, VARIANT_ROW, document_sql, vanishing_sql
from services.core.errors import Conflict
from services.core.ids import new_id
from services.jobs import Run, enqueue
from services.models import Changeset

SMALL = 1_000  # items that are planned while the request waits
ROWS = 5_000  # items a range


class ChangesetNotRevertible(Conflict):
    """Only what was applied can be taken back, when the plan is over."""


# The items of one product are never torn apart.
_END = text("""
SELECT i.n - 1 FROM changeset_items i
WHERE i.merchant_id = :merchant_id AND i.changeset_id = :reverted AND i.n > :upto
    AND i.product_id <> (SELECT product_id FROM changeset_items last
                         WHERE last.merchant_id = :merchant_id AND last.changeset_id = :reverted AND last.n = :upto)
ORDER BY i.n LIMIT 1
""")

# By id alone: whose it is the policies see to. Were it said here, statistics that do not know the merchant would have
# any index that begins with it read from end to end, row by row.
_FROM_PRODUCT = "LATERAL (SELECT * FROM products WHERE id = i.product_id LIMIT 1)"
_FROM_VARIANT = "LATERAL (SELECT * FROM variants WHERE id = i.variant_id LIMIT 1)"
# What happened to the product, or to one variant of it, after the plan had made it.
_LATER = """
changeset_items o WHERE o.product_id = i.product_id AND o.changeset_id <> :reverted
    AND o.state = 'applied' AND o.applied_at > i.applied_at AND (i.variant_id IS NULL OR o.variant_id = i.variant_id)
"""


def _updates(which: str, row: str, fields: tuple[str, ...]) -> str:
    """Fields that hold what was written go back; of the others, those that are not back already are kept."""
    return f"""
    SELECT i.n, 0 AS part, 0 AS place, 'update' AS op, i.product_key, i.variant_key, i.product_id, i.variant_id,
        own.version AS base_version, said.changes, said.state
    FROM item i
    LEFT JOIN {row} own ON true
    CROSS JOIN LATERAL (SELECT {document_sql(fields, "own")} AS document) today
    CROSS JOIN LATERAL (
        SELECT CASE WHEN own.id IS NOT NULL AND today.document -> key = value -> 1 THEN 'planned' ELSE 'conflict' END
                AS state,
            jsonb_object_agg(key, jsonb_build_array(today.document -> key, value -> 0)) AS changes
        FROM jsonb_each(i.changes)
        WHERE own.id IS NULL OR today.document -> key <> value -> 0
        GROUP BY 1
    ) said
    WHERE i.op = 'update' AND {which}
    """  # noqa: S608  # our own parts


_BACK = "(SELECT jsonb_object_agg(key, jsonb_build_array(NULL, value -> 0)) FROM jsonb_each(i.changes))"
_RETURNS = f"""
SELECT i.n, 0, 0, 'create', i.product_key, i.variant_key, i.product_id, i.variant_id, NULL::int, {_BACK},
    CASE WHEN named.id IS NULL THEN 'planned' ELSE 'conflict' END
FROM item i
LEFT JOIN {_FROM_PRODUCT} own ON true
LEFT JOIN LATERAL (SELECT id FROM products WHERE merchant_id = :merchant_id AND source = i.changes #>> '{{source, 0}}'
                   AND key = i.product_key LIMIT 1) named ON true
WHERE i.op = 'delete' AND i.variant_id IS NULL AND own.id IS NULL
UNION ALL
SELECT i.n, 0, 0, 'create', i.product_key, i.variant_key, i.product_id, i.variant_id, NULL::int, {_BACK},
    CASE WHEN named.id IS NULL AND (product.id IS NOT NULL OR coming.possible) THEN 'planned' ELSE 'conflict' END
FROM item i
LEFT JOIN {_FROM_VARIANT} own ON true
LEFT JOIN {_FROM_PRODUCT} product ON true
LEFT JOIN LATERAL (SELECT id FROM variants WHERE merchant_id = :merchant_id AND product_id = i.product_id
                   AND key = i.variant_key LIMIT 1) named ON true
LEFT JOIN LATERAL (
    SELECT NOT EXISTS (SELECT FROM products WHERE merchant_id = :merchant_id AND key = whole.product_key
                       AND source = whole.changes #>> '{{source, 0}}') AS possible
    FROM changeset_items whole
    WHERE whole.merchant_id = :merchant_id AND whole.product_id = i.product_id AND whole.changeset_id = :reverted
        AND whole.op = 'delete' AND whole.variant_id IS NULL AND whole.state = 'applied' LIMIT 1
) coming ON true
WHERE i.op = 'delete' AND i.variant_id IS NOT NULL AND own.id IS NULL
"""  # noqa: S608  # our own parts

# Whether a product, or a variant, that the plan made is another one now: a variant came or went, or a field is not what
# it was made with: what it was before the first change since. (What was changed and changed back is as it was.)
_CHANGED = f"""
LATERAL (
    SELECT EXISTS (SELECT FROM {_LATER}) AND (EXISTS (
        SELECT FROM (
            SELECT DISTINCT ON (o.variant_id) o.variant_id, o.op FROM {_LATER} AND o.variant_id IS NOT NULL
            ORDER BY o.variant_id, o.applied_at
        ) first
        LEFT JOIN LATERAL (SELECT id FROM variants WHERE id = first.variant_id LIMIT 1) v ON true
        WHERE (v.id IS NULL) = (first.op <> 'create')
    ) OR EXISTS (
        SELECT FROM (
            SELECT DISTINCT ON (o.variant_id, each.key) o.variant_id, each.key, each.value -> 0 AS was
            FROM (SELECT o.variant_id, o.applied_at, o.changes FROM {_LATER}) o, jsonb_each(o.changes) each
            WHERE each.key NOT IN ('source', 'version', 'created_at', 'position')
            ORDER BY o.variant_id, each.key, o.applied_at
        ) first
        LEFT JOIN LATERAL (SELECT * FROM variants WHERE id = first.variant_id LIMIT 1) v ON true
        WHERE first.was IS DISTINCT FROM CASE
            WHEN first.variant_id IS NULL THEN {document_sql(PRODUCT_FIELDS, "product")}
            ELSE {document_sql(VARIANT_FIELDS, "v")} END -> first.key
    )) AS since
)
"""  # noqa: S608
# Variants that a plan made together with their product go with it.
_MADE = f"""
SELECT i.*, product.version AS product_version, changed.since,
    CASE WHEN i.variant_id IS NULL THEN {vanishing_sql(PRODUCT_ROW, "product")}
         ELSE {vanishing_sql(VARIANT_ROW, "own")} END AS whole, own.version AS variant_version
FROM item i JOIN {_FROM_PRODUCT} product ON true LEFT JOIN {_FROM_VARIANT} own ON true CROSS JOIN {_CHANGED} changed
WHERE i.op = 'create' AND (i.variant_id IS NULL OR own.id IS NOT NULL AND NOT EXISTS (
    SELECT FROM changeset_items parent
    WHERE parent.merchant_id = :merchant_id AND parent.product_id = i.product_id AND parent.changeset_id = :reverted
        AND parent.op = 'create' AND parent.variant_id IS NULL AND parent.state = 'applied'))
"""  # noqa: S608
_TAKEN_BACK = f"""
SELECT n, 0, 0, 'delete', product_key, variant_key, product_id, variant_id,
    CASE WHEN variant_id IS NULL THEN product_version ELSE variant_version END,
    CASE WHEN NOT since THEN whole END, CASE WHEN since THEN 'conflict' ELSE 'planned' END
FROM made
UNION ALL
SELECT i.n, 1, v.position, 'delete', i.product_key, v.key, i.product_id, v.id, v.version,
    {vanishing_sql(VARIANT_ROW, "v")}, 'planned'
FROM made i
JOIN LATERAL (SELECT * FROM variants WHERE merchant_id = :merchant_id AND product_id = i.product_id OFFSET 0) v ON true
WHERE i.variant_id IS NULL AND NOT i.since
"""  # noqa: S608

_PLAN = text(f"""
WITH item AS MATERIALIZED (
    SELECT * FROM changeset_items
    WHERE merchant_id = :merchant_id AND changeset_id = :reverted AND n > :after AND n <= :upto AND state = 'applied'
),
made AS MATERIALIZED ({_MADE}),
back AS (
    {_updates("i.variant_id IS NULL", _FROM_PRODUCT, PRODUCT_FIELDS)}
    UNION ALL
    {_updates("i.variant_id IS NOT NULL", _FROM_VARIANT, VARIANT_FIELDS)}
    UNION ALL
    {_RETURNS}
    UNION ALL
    {_TAKEN_BACK}
),
written AS (
    INSERT INTO changeset_items (merchant_id, changeset_id, n, op, product_key, variant_key, product_id, variant_id,
        base_version, changes, state)
    SELECT :merchant_id, :changeset_id, :items + row_number() OVER (ORDER BY n, part, place, variant_id, state DESC),
        op, product_key, variant_key, product_id, variant_id, base_version, changes, state
    FROM back
    RETURNING state
)
SELECT count(*) AS items, count(*) FILTER (WHERE state = 'conflict') AS kept FROM written
""")  # noqa: S608


def revert(
    session: Session, id_: UUID, *, apply: bool = False, user_id: UUID | None = None, note: str | None = None
) -> Changeset:
    """The plan that takes another back: `planned`, to be looked at; with `apply`, applied.

    For large ones a job (`job_id`) plans, and applies: then it is `planning`. What is kept is counted as
    `counts["kept"]`. Raises ChangesetNotFound, ChangesetNotRevertible (with the state).
    """
    reverted = get_changeset(session, id_, lock=True)
    if reverted.finished_at is None or not reverted.applied:
        raise ChangesetNotRevertible(
            f"{ChangesetNotRevertible.__doc__} This one is {reverted.state}, {reverted.applied} items of it applied.",
            state=reverted.state,
        )
    changeset = Changeset(
        id=new_id(),
        merchant_id=reverted.merchant_id,
        kind="revert",
        source=reverted.source,
        reverts=reverted.id,
        made_by=user_id,
        note=note,
    )
    session.add(changeset)
    session.flush()
    session.refresh(changeset)
    if reverted.items > SMALL:
        job = RevertChangeset(changeset_id=changeset.id, apply=apply)
        changeset.job_id, _ = enqueue(session, job, merchant_id=changeset.merchant_id, unique_key=str(changeset.id))
        session.flush()
        return changeset
    while _plan_range(session, changeset, reverted):
        pass
    propose(session, changeset, apply=apply, guarded=False)
    if apply:
        apply_now(session, changeset)
    return changeset


def plan_revert(run: Run, *, changeset_id: UUID, apply: bool) -> None:
    """Make a large revert's plan, range after range; the last transaction ends the job, and has the plan applied.

    Every attempt goes on where the one before it ended. Raises Stopped.
    """
    while not run.ended:
        with run.transaction() as session:
            session.execute(NO_WAIT)
            changeset = get_changeset(session, changeset_id, lock=True)
            reverted = session.get_one(Changeset, changeset.reverts)
            if changeset.state == "planning" and not _plan_range(session, changeset, reverted):
                propose(session, changeset, apply=apply, guarded=False)
                if apply:
                    hand_over(session, changeset)
            if changeset.state != "planning":
                session.execute(WAIT)
                run.finish(session, {"changeset_id": str(changeset.id), "changeset_state": changeset.state})
        run.progress_report = (int(changeset.plan_cursor or 0), reverted.applied_upto, "planning")
        if not run.ended:
            run.checkpoint()


def _plan_range(session: Session, changeset: Changeset, reverted: Changeset) -> bool:
    """Plan the next range behind `plan_cursor`; False when there was none left."""
    after = int(changeset.plan_cursor or 0)
    if after >= reverted.applied_upto:
        return False
    session.execute(ROW_BY_ROW)
    where: dict[str, Any] = {"merchant_id": changeset.merchant_id, "reverted": reverted.id}
    end = session.scalar(_END, {**where, "upto": min(after + ROWS, reverted.applied_upto)})
    upto = reverted.applied_upto if end is None else min(int(end), reverted.applied_upto)
    done = session.execute(
        _PLAN, {**where, "after": after, "upto": upto, "changeset_id": changeset.id, "items": changeset.items}
    ).one()
    changeset.items += done.items
    changeset.plan_cursor = str(upto)
    changeset.counts = {**changeset.counts, "kept": changeset.counts.get("kept", 0) + done.kept}
    session.flush()
    return True
