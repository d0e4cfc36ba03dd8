"""The plan that keeps variants of other sources true: those that a connection's offers are linked to.

A plan of updates by id, through the same guards and the same applying as any other, under the policy of the
connection's source. What a variant's suppliers say is decided by `choice.BEST`.
"""

import json
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

from services.catalog import applying
from services.catalog.guards import judge_plan
from services.catalog.plan import changes_sql
from services.catalog.summary import conclude
from services.core.clock import now
from services.core.ids import new_id
from services.imports.origin import source_named
from services.imports.work import state_by
from services.jobs import Run
from services.models import Changeset, Source, SyncRun
from services.sourcing.offers.choice import BEST, all_rules

LINKS = 10_000  # a range
WRITTEN = ("price", "compare_at_price", "cost", "currency", "stock")

_ANY = text("""
SELECT EXISTS (SELECT FROM offer_links WHERE merchant_id = :merchant_id AND connection_id = :connection_id
               AND how <> 'made' AND variant_id IS NOT NULL)
""")
# A plan nobody has decided about was made of what the suppliers said before.
_DISCARD_OLDER = text("""
UPDATE changesets c SET state = 'discarded', finished_at = now(), note = 'overtaken by a later sync'
WHERE c.merchant_id = :merchant_id AND c.source = :source AND c.kind = 'edit' AND c.finished_at IS NULL
    AND c.id <> :id AND NOT (c.state = 'applying' AND EXISTS (
        SELECT FROM jobs WHERE jobs.id = c.job_id AND jobs.state NOT IN ('succeeded', 'failed', 'cancelled')))
""")
_SET_UP = text("""
SELECT set_config('work_mem', '64MB', true), set_config('plan_cache_mode', 'force_custom_plan', true),
    set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
    set_config('enable_nestloop', 'off', true)
""")
_END = text("""
SELECT max(variant_id::text)::uuid FROM (
    SELECT variant_id FROM offer_links WHERE merchant_id = :merchant_id AND variant_id > :after
    ORDER BY variant_id LIMIT :links
) range
""")


@cache
def _statement(writes: tuple[str, ...], missing: str) -> TextClause:
    """The items of a range: what the best offer says, and, where none is left, stock 0 unless `missing` is leave."""
    said = ", ".join(
        (f"best.{name}" if name != "stock" or missing == "leave"
         else "CASE WHEN best.variant_id IS NULL THEN 0 ELSE best.stock END AS stock")
        if name in writes
        else f"NULL::{'int' if name == 'stock' else 'text' if name == 'currency' else 'numeric'} AS {name}"
        for name in WRITTEN
    )  # fmt: skip
    return text(f"""
    WITH wanted AS MATERIALIZED (
        SELECT DISTINCT variant_id FROM offer_links
        WHERE merchant_id = :merchant_id AND variant_id > :after AND variant_id <= :upto
            AND connection_id = :connection_id AND how <> 'made'
    ),
    {BEST},
    said AS (SELECT wanted.variant_id, {said} FROM wanted LEFT JOIN best ON best.variant_id = wanted.variant_id),
    items AS MATERIALIZED (
        SELECT p.key AS product_key, own.key AS variant_key, own.product_id, own.id, own.version,
            {changes_sql(WRITTEN, "said", "own")} AS changes,
            row_number() OVER (ORDER BY own.product_id, own.position, own.id) AS place
        FROM said
        JOIN LATERAL (SELECT * FROM variants WHERE id = said.variant_id LIMIT 1) own ON true
        JOIN LATERAL (SELECT key FROM products WHERE id = own.product_id LIMIT 1) p ON true
    ),
    written AS (
        INSERT INTO changeset_items (merchant_id, changeset_id, n, op, product_key, variant_key, product_id, variant_id,
            base_version, changes)
        SELECT :merchant_id, :changeset_id, :items + row_number() OVER (ORDER BY place), 'update', product_key,
            variant_key, product_id, id, version, ('{{' || changes || '}}')::jsonb
        FROM items WHERE changes IS NOT NULL
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM written) AS items, (SELECT count(*) FROM items) AS linked
    """)  # noqa: S608  # our own parts


def plan_linked(run: Run, sync_id: UUID, *, name: str) -> None:
    """Make the plan of a sync over variants of other sources, and apply it as the policy of the source `name` says.

    Every attempt goes on where the one before it ended. Without a link to such a variant there is no plan. Raises
    Stopped.
    """
    changeset = _changeset(run, sync_id, name=name)
    if changeset is None:
        return
    while changeset.state == "planning":
        with run.transaction() as session:
            changeset = session.get_one(Changeset, changeset.id, with_for_update=True)
            _plan_next(session, changeset, session.get_one(SyncRun, sync_id))
        run.progress(changeset.counts.get("linked", 0), None, "planning for linked variants")
    if changeset.state == "applying":
        applying.apply_changeset(run, changeset_id=changeset.id, ends_job=False)


def _changeset(run: Run, sync_id: UUID, *, name: str) -> Changeset | None:
    """The sync's plan, or a new one; None when there is nothing to plan for."""
    with run.transaction() as session:
        sync = session.get_one(SyncRun, sync_id, with_for_update=True)
        own = {"merchant_id": sync.merchant_id, "connection_id": sync.connection_id}
        if sync.changeset_id is not None:
            found = session.get_one(Changeset, sync.changeset_id, with_for_update=True)
            if found.state == "planned" and found.decided_at is not None:  # cancelled while it was applied, and retried
                found.state = "applying"
            session.flush()
            return found
        if not session.scalar(_ANY, own):
            return None
        source = source_named(session, merchant_id=sync.merchant_id, name=name)
        changeset = Changeset(
            id=new_id(), merchant_id=sync.merchant_id, kind="edit", source=name, job_id=run.id, writes=source.fields,
            note="offers linked to variants of other sources",
        )  # fmt: skip
        session.add(changeset)
        sync.changeset_id = changeset.id
        session.flush()
        session.execute(_DISCARD_OLDER, {**own, "source": name, "id": changeset.id})
        session.refresh(changeset)
        return changeset


def _plan_next(session: Session, changeset: Changeset, sync: SyncRun) -> None:
    """Plan a range of linked variants; the last one decides what becomes of the plan."""
    source = source_named(session, merchant_id=changeset.merchant_id, name=changeset.source or "")
    session.execute(_SET_UP)
    own = {"merchant_id": changeset.merchant_id, "connection_id": sync.connection_id}
    after = UUID(changeset.plan_cursor or str(UUID(int=0)))
    upto = session.scalar(_END, {**own, "after": after, "links": LINKS})
    if upto is None:
        _decide(session, changeset, source)
        return
    writes = WRITTEN if changeset.writes is None else tuple(name for name in WRITTEN if name in changeset.writes)
    asked = {**own, "changeset_id": changeset.id, "items": changeset.items, "after": after, "upto": upto}
    asked["rules"] = json.dumps(all_rules(session))
    done = session.execute(_statement(writes, source.missing), asked).one()
    changeset.items += done.items
    changeset.plan_cursor = str(upto)
    changeset.counts = {**changeset.counts, "linked": changeset.counts.get("linked", 0) + done.linked}
    session.flush()


def _decide(session: Session, changeset: Changeset, source: Source) -> None:
    conclude(session, changeset)
    held = judge_plan(session, changeset, thresholds=source.guards)
    changeset.planned_at = now()
    changeset.state = state_by(source.apply, held=held, empty=not changeset.items)
    if changeset.state == "applying":
        changeset.decided_at = changeset.planned_at
    session.flush()


def outcome_of_linked(session: Session, sync: SyncRun) -> dict[str, Any]:
    """What a job's result says of the plan over linked variants, if there is one."""
    if sync.changeset_id is None:
        return {}
    return {"linked": applying.outcome(session.get_one(Changeset, sync.changeset_id))}
