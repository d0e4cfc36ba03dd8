"""Which supplier fills a variant that several offer: one that has it, the preferred one, the cheapest.

SQL that plans over linked variants and the drafts of a connection's own products share, so that whichever is made
comes to the same.
"""

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.models import Connection
from services.sourcing.accounts.rules import OFFERED, RULES, parameter, rules_of

# CTEs that end in `best`, a row per variant that somebody offers, behind a CTE `wanted` of `variant_id`s. Parameters:
# merchant_id, rules. An offer in another currency than the variant's is no candidate: prices would not be comparable.
# Rows are looked up one by one (LATERAL, LIMIT): statistics know nothing of a connection that was made a minute ago,
# and any index that begins with the merchant would look as good. (Variants by id alone: their tables have statistics.)
BEST = f"""
candidates AS (
    SELECT wanted.variant_id, becomes.*, found.stock AS there, r.preference, v.connection_id, v.id AS offer_variant_id
    FROM wanted
    JOIN LATERAL (SELECT currency FROM variants WHERE id = wanted.variant_id LIMIT 1) own ON true
    JOIN LATERAL (SELECT connection_id, offer_variant_id FROM offer_links
                  WHERE merchant_id = :merchant_id AND variant_id = wanted.variant_id OFFSET 0) l ON true
    JOIN {RULES} ON r.connection_id = l.connection_id
    JOIN LATERAL (SELECT * FROM offer_variants
                  WHERE merchant_id = :merchant_id AND connection_id = l.connection_id AND id = l.offer_variant_id
                      AND gone_at IS NULL LIMIT 1) v ON true
    JOIN LATERAL (SELECT id FROM offers
                  WHERE merchant_id = :merchant_id AND connection_id = v.connection_id AND id = v.offer_id
                      AND gone_at IS NULL AND active LIMIT 1) o ON true
    {OFFERED}
    WHERE own.currency IS NULL OR becomes.currency IS NULL OR becomes.currency = own.currency
),
best AS MATERIALIZED (
    SELECT DISTINCT ON (variant_id) * FROM candidates
    ORDER BY variant_id, coalesce(there > 0, true) DESC, there IS NULL, preference DESC, cost NULLS LAST,
        connection_id, offer_variant_id
)
"""  # noqa: S608  # our own parts


def all_rules(session: Session) -> list[dict[str, object]]:
    """What the statements take as `rules`: those of every connection that is not given up."""
    rows = session.execute(select(Connection.id, Connection.rules).where(Connection.state != "disconnected"))
    return parameter((id_, rules_of(document)) for id_, document in rows)
