"""Which variant of the catalogue an offer fills: made of it, found by SKU or barcode, or said by hand.

By SKU offers are found among products that no supplier's sync has made: suppliers number their articles as they like,
and two that use the same number mean two things. Barcodes are the same everywhere. Only a match that is unique on both
sides is taken; the others are listed for somebody to decide.
"""

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, select, text, true
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased

from services.catalog.edits import VariantNotFound
from services.core.errors import Conflict, NotFound
from services.core.paging import InvalidCursor, Slice
from services.models import Connection, Offer, OfferLink, OfferVariant, Variant
from services.sourcing.accounts.reach import get_connection
from services.sourcing.accounts.rules import rules_of

SHOWN_CANDIDATES = 10


class OfferNotFound(NotFound):
    """The connection has no such offer."""


class LinkIsOwn(Conflict):
    """This product was made of this offer: link the offer to another variant, or take the product off."""


# -- By themselves -------------------------------------------------------------------------------------------------

# Joined as a whole, whatever statistics believe of tables that were empty a minute ago.
_SET_UP = text("""
SELECT set_config('work_mem', '64MB', true), set_config('plan_cache_mode', 'force_custom_plan', true),
    set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'on', true),
    set_config('enable_mergejoin', 'on', true), set_config('enable_nestloop', 'off', true)
""")
_INSERT = "INSERT INTO offer_links (merchant_id, connection_id, offer_variant_id, variant_id, how)"
_NOT_LINKED = """
NOT EXISTS (SELECT FROM offer_links l WHERE l.merchant_id = :merchant_id AND l.connection_id = :connection_id
            AND l.offer_variant_id = v.id{but})
"""
# A product that was made of the offer is its own, whatever was said before about its having none.
_MADE = text(f"""
{_INSERT}
SELECT :merchant_id, :connection_id, v.id, cv.id, 'made'
FROM offer_variants v
JOIN products p ON p.merchant_id = :merchant_id AND p.source = :source AND p.key = v.offer_id
JOIN variants cv ON cv.merchant_id = :merchant_id AND cv.product_id = p.id AND cv.key = v.id
WHERE v.merchant_id = :merchant_id AND v.connection_id = :connection_id
    AND {_NOT_LINKED.format(but=" AND l.variant_id IS NOT NULL")}
ON CONFLICT (merchant_id, connection_id, offer_variant_id) DO UPDATE
    SET variant_id = excluded.variant_id, how = excluded.how WHERE offer_links.variant_id IS NULL
""")  # noqa: S608  # our own parts


def _found_by(column: str, foreign: str) -> Any:
    return text(f"""
    WITH offered AS (
        SELECT {column}, min(id) AS id FROM offer_variants v
        WHERE v.merchant_id = :merchant_id AND v.connection_id = :connection_id AND gone_at IS NULL
            AND {column} IS NOT NULL
        GROUP BY {column} HAVING count(*) = 1
    ),
    free AS MATERIALIZED (SELECT * FROM offered v WHERE {_NOT_LINKED.format(but="")}),
    matched AS (
        SELECT free.id, (array_agg(cv.id))[1] AS variant_id
        FROM free
        JOIN variants cv ON cv.merchant_id = :merchant_id AND cv.{column} = free.{column}
        JOIN products p ON p.merchant_id = :merchant_id AND p.id = cv.product_id
        WHERE p.status <> 'archived' AND {foreign}
        GROUP BY free.id HAVING count(*) = 1
    )
    {_INSERT}
    SELECT :merchant_id, :connection_id, id, variant_id, '{column}' FROM matched
    ON CONFLICT DO NOTHING
    """)  # noqa: S608  # names of columns


_NO_SUPPLIERS = "p.source NOT IN (SELECT name FROM connections WHERE merchant_id = :merchant_id)"
_FOUND = {"sku": _found_by("sku", _NO_SUPPLIERS), "barcode": _found_by("barcode", "p.source <> :source")}


def link_made(session: Session, connection: Connection) -> int:
    """Link offers to the variants that were made of them. Returns how many were not linked before."""
    session.execute(_SET_UP)
    done: Any = session.execute(_MADE, _own(connection))
    return int(done.rowcount)


def link_found(session: Session, connection: Connection) -> dict[str, int]:
    """Link offers that are linked to nothing to the one variant with their SKU, else with their barcode.

    Returns how many, by `sku` and `barcode`; by which of them is for the connection's rules to say.
    """
    session.execute(_SET_UP)
    found: dict[str, int] = {}
    for column in rules_of(connection.rules).match_by:
        done: Any = session.execute(_FOUND[column], _own(connection))
        found[column] = int(done.rowcount)
    return found


def _own(connection: Connection) -> dict[str, Any]:
    return {"merchant_id": connection.merchant_id, "connection_id": connection.id, "source": connection.name}


# -- By hand -------------------------------------------------------------------------------------------------------


def link(session: Session, connection_id: UUID, offer_variant_id: str, *, variant_id: UUID | None) -> OfferLink:
    """Say which variant an offer fills, or, with None, that it fills none (and is not to be matched by itself).

    Raises ConnectionNotFound, OfferNotFound, VariantNotFound; LinkIsOwn for None where the variant was made of it.
    """
    connection = get_connection(session, connection_id, lock=True)
    known = _link_of(session, connection, offer_variant_id)
    if variant_id is None and known is not None and known.how == "made":
        raise LinkIsOwn(variant_id=str(known.variant_id))
    if variant_id is not None and session.get(Variant, variant_id) is None:
        raise VariantNotFound(param="variant_id")
    given = {
        "merchant_id": connection.merchant_id,
        "connection_id": connection_id,
        "offer_variant_id": offer_variant_id,
    }
    said = insert(OfferLink).values(**given, variant_id=variant_id, how="hand")
    key = ["merchant_id", "connection_id", "offer_variant_id"]
    session.execute(
        said.on_conflict_do_update(
            index_elements=key, set_={"variant_id": variant_id, "how": "hand", "created_at": func.now()}
        )
    )
    # What was planned before knows nothing of it: the next sync plans, even if the supplier says nothing new.
    connection.updated_at = func.clock_timestamp()
    session.flush()
    found: OfferLink = session.get_one(OfferLink, tuple(given.values()), populate_existing=True)
    return found


def _link_of(session: Session, connection: Connection, offer_variant_id: str) -> OfferLink | None:
    """The offer's link. Raises OfferNotFound."""
    key = (connection.merchant_id, connection.id, offer_variant_id)
    if session.get(OfferVariant, key) is None:
        raise OfferNotFound
    found: OfferLink | None = session.get(OfferLink, key)
    return found


# -- Looking -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OfferFilter:
    """Which offers are meant. None does not narrow."""

    linked: bool | None = None
    ambiguous: bool | None = None  # True: not linked, though SKU or barcode match something
    gone: bool | None = False
    sku: str | None = None
    barcode: str | None = None
    product_id: str | None = None  # the supplier's

    @property
    def is_by_value(self) -> bool:
        """Whether an index answers it."""
        return any(value is not None for value in (self.sku, self.barcode, self.product_id))


@dataclass(frozen=True, slots=True)
class Listed:
    """What can be ordered, its product, which variant it fills, and which it might fill where that is not clear."""

    variant: OfferVariant
    offer: Offer
    link: OfferLink | None
    candidates: list[tuple[UUID, str]] = field(default_factory=list)  # variant, and by what it matches


# What an offered variant `o` might fill. Two arms, one look-up each: with OR, statistics might have every variant read.
# Whose variants they are is left to the policies: said here, statistics that do not know the merchant would take any
# index that begins with it for as good.
_MATCHES = """
    (SELECT v.id AS variant_id, 'sku' AS by FROM variants v
     JOIN products p ON p.id = v.product_id
     WHERE v.sku = {o}.sku AND p.status <> 'archived'
         AND p.source NOT IN (SELECT name FROM connections WHERE merchant_id = :merchant_id) LIMIT :most)
    UNION ALL
    (SELECT v.id, 'barcode' FROM variants v
     JOIN products p ON p.id = v.product_id
     WHERE v.barcode = {o}.barcode AND p.status <> 'archived'
         AND p.source <> :source LIMIT :most)
"""
_CANDIDATES = text(f"""
SELECT o.id, found.variant_id, found.by FROM offer_variants o
JOIN LATERAL ({_MATCHES.format(o="o")}) found ON true
WHERE o.merchant_id = :merchant_id AND o.connection_id = :connection_id AND o.id = ANY(:ids)
ORDER BY o.id, found.by DESC, found.variant_id
""")  # noqa: S608  # our own parts
_IS_AMBIGUOUS = f"EXISTS ({_MATCHES.format(o='offer_variants')})"
# How far a page goes at most, where no index answers the filters: they are tried on so many offers in a request.
_AS_FAR_AS = text("""
SELECT id FROM offer_variants WHERE merchant_id = :merchant_id AND connection_id = :connection_id AND id > :after
ORDER BY id OFFSET :most LIMIT 1
""")
TRIED = 20_000
# A page is the first that fit, in the order of the key: whatever is guessed of how many are linked, nothing is sorted.
_IN_ORDER = text("""
SELECT set_config('enable_seqscan', 'off', true), set_config('enable_sort', 'off', true),
    set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true)
""")
# Those that have a value are looked up by it, and sorted.
_BY_VALUE = text("""
SELECT set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),
    set_config('enable_mergejoin', 'off', true)
""")


def list_offers(
    session: Session, connection_id: UUID, matching: OfferFilter, *, limit: int, after: str | None = None
) -> Slice[Listed]:
    """A page of what a connection offers, in the order of the supplier's variant ids.

    Unless it is looked up by a value a page ends after TRIED offers, however few of them fit: it may be short, even
    empty, and have a next one. Raises ConnectionNotFound, InvalidCursor.
    """
    connection = get_connection(session, connection_id)
    begin = "" if after is None else _decoded(after)
    statement = _offers(connection, matching).where(OfferVariant.id > begin)
    upto = None
    if matching.is_by_value:
        session.execute(_BY_VALUE)
    else:
        session.execute(_IN_ORDER)
        upto = session.scalar(_AS_FAR_AS, {**_own(connection), "after": begin, "most": TRIED - 1})
    if upto is not None:
        statement = statement.where(OfferVariant.id <= upto)
    rows = session.execute(statement.order_by(OfferVariant.id).limit(limit + 1)).all()
    shown = rows[:limit]
    unclear = [variant.id for variant, _, linked in shown if linked is None]
    candidates = _candidates(session, connection, unclear)
    listed = [Listed(variant, offer, linked, candidates.get(variant.id, [])) for variant, offer, linked in shown]
    end = shown[-1][0].id if len(rows) > limit else upto
    return Slice(listed, None if end is None else _encoded(end))


def _offers(connection: Connection, matching: OfferFilter) -> Select[OfferVariant, Offer, OfferLink]:
    """Those of the connection that are meant, each with its product and its link, which are looked up by their keys."""
    mine = (OfferVariant.merchant_id == connection.merchant_id, OfferVariant.connection_id == connection.id)
    product = aliased(Offer, _one(Offer, connection, Offer.id == OfferVariant.offer_id))
    link = aliased(OfferLink, _one(OfferLink, connection, OfferLink.offer_variant_id == OfferVariant.id))
    statement = select(OfferVariant, product, link).select_from(OfferVariant).where(*mine)
    statement = statement.join(product, true()).outerjoin(link, true())
    for column, value in (
        (OfferVariant.sku, matching.sku),
        (OfferVariant.barcode, matching.barcode),
        (OfferVariant.offer_id, matching.product_id),
    ):
        if value is not None:
            statement = statement.where(column == value)
    if matching.gone is not None:
        statement = statement.where(
            OfferVariant.gone_at.is_not(None) if matching.gone else OfferVariant.gone_at.is_(None)
        )
    if matching.linked is not None:
        has = link.variant_id.is_not(None)
        statement = statement.where(has if matching.linked else ~has)
    if matching.ambiguous is not None:
        asked = {"merchant_id": connection.merchant_id, "source": connection.name, "most": 1}
        is_so = link.offer_variant_id.is_(None) & text(_IS_AMBIGUOUS).bindparams(**asked)
        statement = statement.where(is_so if matching.ambiguous else ~is_so)
    return statement


def _one(of: Any, connection: Connection, key: ColumnElement[bool]) -> Any:
    """The one with the key. LIMIT keeps the look-up apart: joined, few enough rows of all merchants together make a
    connection's look like one, to be gone through for each."""
    own = (of.merchant_id == connection.merchant_id, of.connection_id == connection.id)
    return select(of).where(*own, key).limit(1).correlate(OfferVariant).lateral()


def _encoded(id_: str) -> str:
    return base64.urlsafe_b64encode(id_.encode()).decode().rstrip("=")


def _decoded(cursor: str) -> str:
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (ValueError, binascii.Error):
        raise InvalidCursor(param="after") from None


def _candidates(session: Session, connection: Connection, ids: list[str]) -> dict[str, list[tuple[UUID, str]]]:
    found: dict[str, list[tuple[UUID, str]]] = {}
    if ids:
        for row in session.execute(_CANDIDATES, {**_own(connection), "ids": ids, "most": SHOWN_CANDIDATES}):
            found.setdefault(row.id, []).append((row.variant_id, row.by))
    return found
