"""Links: found by themselves where that is clear, said by hand, and several suppliers of one variant."""

import json
from decimal import Decimal
from uuid import UUID

import pytest
from sqlalchemy import select

from services.catalog.edits import VariantNotFound
from services.core.db import transaction
from services.core.ids import new_id
from services.models import Connection, Offer, OfferVariant, Product, Variant
from services.sourcing.accounts.reach import ConnectionNotFound
from services.sourcing.accounts.rules import Rules, kept
from services.sourcing.offers.choice import BEST, all_rules
from services.sourcing.offers.links import (
    LinkIsOwn,
    OfferFilter,
    OfferNotFound,
    link,
    link_found,
    link_made,
    list_offers,
)
from tests.sourcing.syncing import links_of


def connect(merchant, name="bigbuy", **rules) -> UUID:
    """A connection that nobody calls."""
    row = Connection(
        id=new_id(), merchant_id=merchant, supplier="bigbuy", name=name, secrets="x", account_key=name,
        rules=kept(Rules.model_validate(rules)),
    )  # fmt: skip
    with transaction(merchant_id=merchant) as session:
        session.add(row)
    return row.id


def offers(merchant, connection, *variants):
    """An offer with these variants: dicts of their fields."""
    with transaction(merchant_id=merchant) as session:
        own = {"merchant_id": merchant, "connection_id": connection}
        session.add(Offer(**own, id="P", print=0, images=[]))
        for said in variants:
            session.add(OfferVariant(**own, offer_id="P", **{"order_ref": said["id"], "currency": "EUR", **said}))


def product(merchant, *variants, source="shop", key="P", status="active") -> dict[str, UUID]:
    """A product of the catalogue; its variants' ids by key."""
    id_, ids = new_id(), {}
    with transaction(merchant_id=merchant) as session:
        session.add(Product(id=id_, merchant_id=merchant, source=source, key=key, title=key, status=status))
        session.flush()
        for place, said in enumerate(variants, start=1):
            ids[said["key"]] = new_id()
            session.add(Variant(id=ids[said["key"]], merchant_id=merchant, product_id=id_, position=place, **said))
    return ids


def match(merchant, connection):
    with transaction(merchant_id=merchant) as session:
        row = session.get_one(Connection, connection)
        link_made(session, row)
        link_found(session, row)
    return {id_: (found.variant_id, found.how) for id_, found in links_of(merchant, connection).items()}


def listed(merchant, connection, **wanted):
    with transaction(merchant_id=merchant) as session:
        return list_offers(session, connection, OfferFilter(**wanted), limit=100).data


def test_by_sku_then_by_barcode_where_both_sides_are_one(merchant):
    connection = connect(merchant)
    offers(
        merchant, connection,
        {"id": "a", "sku": "A"}, {"id": "b", "sku": "none", "barcode": "400"}, {"id": "c", "sku": "C"},
        {"id": "d", "sku": "twice"}, {"id": "e", "sku": "twice"}, {"id": "f", "sku": "A-gone", "barcode": "500"},
    )  # fmt: skip
    ids = product(merchant, {"key": "a", "sku": "A"}, {"key": "b", "barcode": "400"}, {"key": "t", "sku": "twice"})
    product(merchant, {"key": "1", "sku": "C"}, key="Q")
    product(merchant, {"key": "2", "sku": "C"}, key="R")
    product(merchant, {"key": "3", "barcode": "500"}, key="S", status="archived")
    expected = {"a": (ids["a"], "sku"), "b": (ids["b"], "barcode")}
    assert match(merchant, connection) == expected
    assert match(merchant, connection) == expected  # again is nothing new
    unclear = listed(merchant, connection, ambiguous=True)
    assert {found.variant.id: len(found.candidates) for found in unclear} == {"c": 2, "d": 1, "e": 1}
    assert {found.variant.id for found in listed(merchant, connection, linked=False)} == {"c", "d", "e", "f"}


def test_suppliers_number_their_articles_as_they_like(merchant):
    other, connection = connect(merchant, "other"), connect(merchant)
    offers(merchant, connection, {"id": "a", "sku": "123"}, {"id": "b", "barcode": "400"})
    ids = product(merchant, {"key": "x", "sku": "123"}, {"key": "y", "barcode": "400"}, source="other")
    assert match(merchant, connection) == {"b": (ids["y"], "barcode")}
    assert not links_of(merchant, other)


def test_rules_say_by_what_is_matched(merchant):
    connection = connect(merchant, match_by=["barcode"])
    offers(merchant, connection, {"id": "a", "sku": "A"})
    product(merchant, {"key": "a", "sku": "A"})
    assert match(merchant, connection) == {}


def test_by_hand(merchant):
    connection = connect(merchant)
    offers(merchant, connection, {"id": "a", "sku": "A"}, {"id": "own"})
    ids = product(merchant, {"key": "a", "sku": "A"}, {"key": "b"})
    product(merchant, {"key": "own"}, source="bigbuy")
    match(merchant, connection)
    with transaction(merchant_id=merchant) as session:
        said = link(session, connection, "a", variant_id=ids["b"])
        assert (said.variant_id, said.how) == (ids["b"], "hand")
    assert match(merchant, connection)["a"] == (ids["b"], "hand")
    with transaction(merchant_id=merchant) as session:
        link(session, connection, "a", variant_id=None)
    assert match(merchant, connection)["a"] == (None, "hand")  # and it is not matched again
    for offer, variant, error in (
        ("nothing", ids["b"], OfferNotFound),
        ("a", new_id(), VariantNotFound),
        ("own", None, LinkIsOwn),
    ):
        with pytest.raises(error), transaction(merchant_id=merchant) as session:
            link(session, connection, offer, variant_id=variant)


def test_another_merchant_can_neither_look_nor_link(merchant, other_merchant):
    connection = connect(merchant)
    offers(merchant, connection, {"id": "a", "sku": "A"})
    theirs = product(other_merchant, {"key": "a", "sku": "A"})
    assert match(merchant, connection) == {}
    with pytest.raises(ConnectionNotFound):
        listed(other_merchant, connection)
    with pytest.raises(VariantNotFound), transaction(merchant_id=merchant) as session:
        link(session, connection, "a", variant_id=theirs["a"])


def test_links_go_with_their_variants(merchant):
    connection = connect(merchant)
    offers(merchant, connection, {"id": "a", "sku": "A"})
    product(merchant, {"key": "a", "sku": "A"})
    match(merchant, connection)
    with transaction(merchant_id=merchant) as session:
        session.delete(session.scalars(select(Variant)).one())
    assert links_of(merchant, connection) == {}


@pytest.mark.parametrize(
    ("first", "second", "best"),
    [
        ({"cost": 5, "stock": 3}, {"cost": 4, "stock": 3}, "second"),  # cheapest
        ({"cost": 5, "stock": 3}, {"cost": 4, "stock": 0}, "first"),  # that has it
        ({"cost": 5, "stock": 3}, {"cost": 4, "stock": None}, "first"),  # and is known to
        ({"cost": 5, "stock": 0}, {"cost": 4, "stock": 0}, "second"),
        ({"cost": 5, "stock": 3}, {"cost": 4, "stock": 3, "currency": "USD"}, "first"),  # not to be compared
        ({"cost": None, "stock": 3}, {"cost": 4, "stock": 3}, "second"),
    ],
)
@pytest.mark.parametrize("preferred", [False, True])
def test_of_several_suppliers_one_is_chosen(merchant, first, second, best, preferred):
    ids = product(merchant, {"key": "v", "currency": "EUR", "sku": "V"})
    connections = {
        "first": connect(merchant, "first", preference=int(preferred)),
        "second": connect(merchant, "second"),
    }
    for name, said in (("first", first), ("second", second)):
        money = {"cost": None if said["cost"] is None else Decimal(said["cost"])}
        offers(merchant, connections[name], {"id": name, "sku": "V", **said, **money})
        match(merchant, connections[name])
    with transaction(merchant_id=merchant) as session:
        from sqlalchemy import text

        asked = {"merchant_id": merchant, "id": ids["v"], "rules": json.dumps(all_rules(session))}
        statement = f"WITH wanted AS (SELECT CAST(:id AS uuid) AS variant_id), {BEST} SELECT * FROM best"
        chosen = session.execute(text(statement), asked).one()
    if preferred and (first["stock"] or not second["stock"]):
        best = "first"
    assert chosen.connection_id == connections[best]
