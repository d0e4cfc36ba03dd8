"""What is done from time to time for a merchant whose orders are out: nothing is forgotten, whatever died on the way.

The schedules that ask for it: services/orders/schedules.py.
"""

from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text

from services.jobs import Run, enqueue
from services.orders.following.tracking import follow
from services.orders.incoming.again import map_again
from services.orders.incoming.changes import give_up_planned
from services.orders.jobs import MapOrderLines, ProcessOrderFulfillment
from services.orders.states import settle
from services.orders.watch import review

LEFT_LYING = timedelta(minutes=10)
PART = 500

# Under way, and no job is at it: its job died for good, or waited for a person who has acted since. What was not sent
# because somebody cancelled the job is left alone.
_LEFT_LYING = text("""
SELECT DISTINCT intents.order_id FROM intents JOIN orders ON orders.id = intents.order_id
LEFT JOIN connections ON connections.id = intents.connection_id
WHERE intents.merchant_id = :merchant_id AND intents.state IN ('planned', 'sending', 'unknown')
    AND intents.updated_at < clock_timestamp() - CAST(:age AS interval)
    AND (intents.code IS NULL OR (intents.code = 'reconnect' AND connections.state = 'active')
         OR (intents.state = 'unknown' AND intents.code NOT IN ('known_there', 'outcome_unknown')))
    AND NOT (intents.state = 'planned' AND EXISTS (SELECT FROM jobs WHERE jobs.id = orders.job_id
        AND jobs.state = 'cancelled'))
    AND NOT EXISTS (SELECT FROM jobs WHERE jobs.merchant_id = intents.merchant_id
        AND jobs.kind = 'process_order_fulfillment' AND jobs.unique_key = intents.order_id::text
        AND jobs.state NOT IN ('succeeded', 'failed', 'cancelled'))
LIMIT 1000
""")

# Not sent because somebody has cancelled the job: it is not about to be sent, and does not say so for longer than this.
_GIVEN_UP = text("""
SELECT orders.id FROM orders WHERE orders.merchant_id = :merchant_id AND orders.state = 'fulfilling'
    AND EXISTS (SELECT FROM jobs WHERE jobs.id = orders.job_id AND jobs.state = 'cancelled')
    AND EXISTS (SELECT FROM intents WHERE intents.order_id = orders.id AND intents.state = 'planned')
    AND NOT EXISTS (SELECT FROM jobs WHERE jobs.merchant_id = orders.merchant_id
        AND jobs.kind = 'process_order_fulfillment' AND jobs.unique_key = orders.id::text
        AND jobs.state NOT IN ('succeeded', 'failed', 'cancelled'))
ORDER BY orders.id LIMIT :part FOR NO KEY UPDATE OF orders SKIP LOCKED
""")

# Orders of which something grows old: in doubt, without tracking, without movement.
_AGEING = text("""
SELECT DISTINCT intents.order_id FROM intents
LEFT JOIN supplier_orders found ON found.intent_id = intents.id
WHERE intents.merchant_id = :merchant_id AND intents.order_id > :after
    AND (intents.state = 'unknown' OR (intents.state = 'placed' AND found.check_at IS NOT NULL))
ORDER BY 1 LIMIT :part
""")


def look_after(run: Run) -> dict[str, Any]:
    """One round: ask suppliers what is due, take up what was left lying, tell what has grown old, and look whether
    lines that nobody knew are known by now.

    The result counts `connections` that are asked, orders `taken_up` and `given_up`, orders `looked_at`, and lines
    `mapped`.
    """
    given_up = _give_up(run)
    with run.transaction() as session:
        connections = follow(session, merchant_id=run.merchant_id)
        lying = list(session.scalars(_LEFT_LYING, {"merchant_id": run.merchant_id, "age": LEFT_LYING}))
        for order_id in lying:
            job = ProcessOrderFulfillment(order_id=order_id)
            enqueue(session, job, merchant_id=run.merchant_id, unique_key=str(order_id))
    looked, after = 0, UUID(int=0)
    while True:
        with run.transaction() as session:
            asked = {"merchant_id": run.merchant_id, "after": after, "part": PART}
            part = list(session.scalars(_AGEING, asked))
            if part:
                review(session, part, merchant_id=run.merchant_id)
        if not part:
            break
        looked, after = looked + len(part), part[-1]
        run.progress(looked, None, "looking")
    mapped = map_again(run, MapOrderLines())["mapped"]
    return {
        "connections": len(connections), "taken_up": len(lying), "given_up": given_up, "looked_at": looked,
        "mapped": mapped,
    }  # fmt: skip


def _give_up(run: Run) -> int:
    """What was planned by jobs that somebody has cancelled: the orders may be fulfilled again. How many there were."""
    count = 0
    while True:
        with run.transaction() as session:
            part = list(session.scalars(_GIVEN_UP, {"merchant_id": run.merchant_id, "part": PART}))
            for order_id in part:
                give_up_planned(session, order_id, reason="The job was cancelled.")
            settle(session, part, merchant_id=run.merchant_id)
        count += len(part)
        if len(part) < PART:
            return count
        run.progress(count, None, "giving up")
