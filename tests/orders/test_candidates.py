"""What routing is told: pieces left, offers and what bars them, what orders take, what parcels have cost."""

from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from sqlalchemy import event, text

from services.core.clock import now
from services.core.db import get_engine, transaction
from services.core.ids import new_id
from services.models import Connection, Offer, OfferLink, OfferVariant, Order
from services.orders.incoming.said import SaidLine
from services.orders.policy import set_policy
from services.orders.routing.candidates import _OFFERED as OFFERED
from services.orders.routing.candidates import LEARNED_FROM, known
from tests.conftest import headers_for, make_merchant
from tests.orders.coming import ADDRESS, an_account, line_ids, move, rows, said_order, stocked, take


def offers(merchant: UUID, connection_id: UUID, variant_id: UUID, cost: str | None = "5", **more) -> str:
    """An offer of that connection for a variant; its id."""
    own = {"merchant_id": merchant, "connection_id": connection_id}
    id_ = new_id().hex
    product = {key: more.pop(key) for key in ("active", "gone_at", "order_id") if key in more}
    usual = {"stock": 10, "currency": "EUR", "stock_at": now() - timedelta(hours=1)}
    with transaction(merchant_id=merchant) as session:
        session.add(Offer(**own, id=f"P{id_}", title="A thing", print=1, **product))
        session.add(
            OfferVariant(
                **own, id=id_, offer_id=f"P{id_}", order_ref=f"R{id_}", cost=None if cost is None else Decimal(cost),
                **{**usual, **more},
            )
        )  # fmt: skip
        session.add(OfferLink(**own, offer_variant_id=id_, variant_id=variant_id, how="hand"))
    return id_


def ordered(merchant: UUID, *lines: SaidLine, **said) -> UUID:
    (receipt,) = take(merchant, said_order(*lines, **said))
    assert receipt.order_id is not None
    return receipt.order_id


def asked(merchant: UUID, order_id: UUID, **how):
    with transaction(merchant_id=merchant) as session:
        return known(session, session.get_one(Order, order_id), **how)


def intent(merchant: UUID, connection_id: UUID, offer: str, line_id: UUID, pieces: int = 1, **more) -> UUID:
    """An intent for pieces of a line, planned."""
    id_ = new_id()
    with transaction(merchant_id=merchant) as session:
        (order_id,) = session.execute(text("SELECT order_id FROM order_lines WHERE id = :id"), {"id": line_id}).one()
        session.execute(
            text("""INSERT INTO intents (id, merchant_id, order_id, connection_id, reference, address, currency)
            VALUES (:id, :merchant, :order_id, :connection, :reference,
                jsonb_build_object('country', CAST(:country AS text)), 'EUR')
            """),
            {"id": id_, "merchant": merchant, "order_id": order_id, "connection": connection_id,
             "reference": f"T{id_.hex}", "country": more.get("country", "ES")},
        )  # fmt: skip
        session.execute(
            text("""INSERT INTO intent_lines (merchant_id, intent_id, order_line_id, offer_variant_id, order_ref,
            quantity, expected_cost) VALUES (:merchant, :id, :line, :offer, 'r', :pieces, :cost)"""),
            {"merchant": merchant, "id": id_, "line": line_id, "offer": offer, "pieces": pieces,
             "cost": more.get("cost", Decimal(5))},
        )  # fmt: skip
    return id_


def placed(merchant: UUID, *args, charged: str, **more) -> UUID:
    id_ = intent(merchant, *args, **more)
    move(merchant, id_, "sending")
    with transaction(merchant_id=merchant) as session:
        session.execute(
            text("UPDATE intents SET state = 'placed', sender = NULL, charged = :charged WHERE id = :id"),
            {"id": id_, "charged": Decimal(charged)},
        )
    return id_


def test_every_offer_of_every_line_and_what_bars_it(merchant):
    account = an_account(merchant)
    variant = stocked(merchant, "CUP")
    usable = offers(merchant, account, variant, "4.20", order_id="US-1", tiers=[
        {"quantity": 4, "min_days": 1, "max_days": 2, "warehouse": "7"},
        {"quantity": 6, "min_days": 5, "max_days": None, "warehouse": None},
    ])  # fmt: skip
    gone = offers(merchant, account, variant, gone_at=now())
    asleep = offers(merchant, account, variant, active=False)
    feed = an_account(merchant)
    with transaction(merchant_id=merchant) as session:
        session.get_one(Connection, feed).supplier = "feed"
    other = offers(merchant, feed, variant)
    away = an_account(merchant)
    with transaction(merchant_id=merchant) as session:
        session.get_one(Connection, away).state = "reconnect_needed"
    lost = offers(merchant, away, variant)
    stranger = make_merchant()
    offers(stranger, an_account(stranger), variant)  # somebody else's
    order_id = ordered(merchant, SaidLine(3, sku="CUP", price=Decimal(9)), SaidLine(1, sku="WHO-KNOWS"))
    found = asked(merchant, order_id)
    assert [(line.variant_id, line.pieces, line.price) for line in found.lines] == [(variant, 3, Decimal(9))]
    assert {offer.id: offer.barred for offer in found.offers} == {
        usable: None, gone: "gone", asleep: "inactive", other: "takes_no_orders", lost: "not_connected",
    }  # fmt: skip
    (offer,) = (one for one in found.offers if one.id == usable)
    assert (offer.cost, offer.currency, offer.stock, offer.product_id) == (Decimal("4.20"), "EUR", 10, "US-1")
    assert [(tier.pieces, tier.days, tier.warehouse) for tier in offer.tiers] == [(4, 2, "7"), (6, 5, "")]
    assert offer.stock_age == pytest.approx(3600, abs=60)
    again = asked(merchant, order_id, refused={(account, usable)})
    assert {one.barred for one in again.offers if one.id == usable} == {"refused"}
    assert asked(merchant, order_id, waiting=set(line_ids(merchant, order_id))).lines == ()


def test_the_stock_is_as_old_as_the_last_time_somebody_looked(merchant):
    account = an_account(merchant)
    offers(merchant, account, stocked(merchant, "CUP"), stock_at=now() - timedelta(days=9))
    order_id = ordered(merchant, SaidLine(1, sku="CUP"))
    with transaction(merchant_id=merchant) as session:
        session.get_one(Connection, account).stock_at = now() - timedelta(minutes=10)
    (offer,) = asked(merchant, order_id).offers
    assert offer.stock_age == pytest.approx(600, abs=60)


def test_pieces_that_orders_are_about_to_take_are_not_there(merchant):
    account = an_account(merchant)
    offer = offers(merchant, account, stocked(merchant, "CUP"))
    first = ordered(merchant, SaidLine(9, sku="CUP"))
    (line_id,) = line_ids(merchant, first)
    intent(merchant, account, offer, line_id, 4)
    move(merchant, intent(merchant, account, offer, line_id, 1), "cancelled")
    placed(merchant, account, offer, line_id, 2, charged="10")
    (left,) = asked(merchant, first).lines
    assert left.pieces == 3
    second = ordered(merchant, SaidLine(5, sku="CUP"))
    (seen,) = asked(merchant, second).offers
    assert (seen.stock, seen.taken) == (10, 6)
    assert asked(merchant, second).route().unrouted[line_ids(merchant, second)[0]].about == "4 of 5 pieces are there."
    # The supplier has told its stock since: what was placed before is no longer in it, what is only planned still is.
    with transaction(merchant_id=merchant) as session:
        session.get_one(Connection, account).stock_at = now() + timedelta(seconds=5)
    (seen,) = asked(merchant, second).offers
    assert seen.taken == 4


def test_parcels_cost_what_they_have_cost(merchant):
    account, other = an_account(merchant), an_account(merchant)
    variant = stocked(merchant, "CUP")
    offer = offers(merchant, account, variant)
    offers(merchant, other, variant)
    order_id = ordered(merchant, SaidLine(1, sku="CUP"))
    assert {one.cost for one in asked(merchant, order_id).shipping.values()} <= {None}
    earlier = ordered(merchant, SaidLine(90, sku="CUP"))
    (line_id,) = line_ids(merchant, earlier)
    for charged, country in (("9.00", "ES"), ("11.00", "ES"), ("10.00", "ES"), ("55.00", "FI")):
        placed(merchant, account, offer, line_id, charged=charged, country=country)
    placed(merchant, account, offer, line_id, charged="500", cost=None)  # nobody knows what its goods cost
    found = asked(merchant, order_id).shipping
    assert found[account].cost == 5  # the middle of 4, 5 and 6: what 10.00 was beyond goods of 5.00
    assert found[account].extras.expected(Decimal(5)) == 11, "as much as the dearest of them"
    assert other not in found or found[other].cost is None
    abroad = ordered(merchant, SaidLine(1, sku="CUP"), address={**ADDRESS, "country": "SE"})
    assert asked(merchant, abroad).shipping[account].cost == 5
    assert LEARNED_FROM > 5


def test_parcels_take_as_long_as_they_took(merchant):
    account = an_account(merchant)
    offer = offers(merchant, account, stocked(merchant, "CUP"))
    (line_id,) = line_ids(merchant, ordered(merchant, SaidLine(90, sku="CUP")))
    order_id = ordered(merchant, SaidLine(1, sku="CUP"))
    for number, days in enumerate((2, 4, 9)):
        id_ = placed(merchant, account, offer, line_id, charged="9.00")
        with transaction(merchant_id=merchant) as session:
            own = {"merchant": merchant, "account": account, "intent": id_, "number": f"{number}", "days": days}
            session.execute(
                text("""INSERT INTO supplier_orders (merchant_id, connection_id, id, intent_id, state, state_at)
                VALUES (:merchant, :account, :number, :intent, 'delivered', now())"""),
                own,
            )
            session.execute(
                text("""INSERT INTO parcels (id, merchant_id, connection_id, supplier_order_id, intent_id, number,
                first_seen) VALUES (:id, :merchant, :account, :number, :intent, :number,
                now() - make_interval(days => :days))"""),
                {**own, "id": new_id()},
            )
    placed(merchant, account, offer, line_id, charged="9.00")  # still on its way
    assert asked(merchant, order_id).shipping[account].days == 4


def test_amounts_are_compared_at_the_connections_rate(merchant):
    account = an_account(merchant)
    with transaction(merchant_id=merchant) as session:
        session.get_one(Connection, account).rules = {"exchange": {"from": "USD", "to": "EUR", "rate": "0.9"}}
    variant = stocked(merchant, "CUP")
    offers(merchant, account, variant, "10", currency="USD")
    offers(merchant, account, variant, "10")
    order_id = ordered(merchant, SaidLine(1, sku="CUP"))
    found = asked(merchant, order_id)
    assert {(one.currency, one.common, one.rate) for one in found.offers} == {
        ("USD", "EUR", Decimal("0.9")), ("EUR", "EUR", Decimal(1)),
    }  # fmt: skip
    (parcel,) = found.route().parcels
    assert (parcel.goods, parcel.picks[0].offer.currency) == (9, "USD")


def test_what_is_under_way_counts_against_the_orders_ceilings(merchant):
    account = an_account(merchant)
    offer = offers(merchant, account, stocked(merchant, "CUP"))
    with transaction(merchant_id=merchant) as session:
        said = {"cost_ceiling": Decimal(20), "shipping_ceiling": Decimal(4), "ceiling_currency": "EUR"}
        set_policy(session, merchant_id=merchant, said=said)
    order_id = ordered(merchant, SaidLine(4, sku="CUP"), shipping_paid=Decimal(3))
    assert (asked(merchant, order_id).rules.cost_ceiling, asked(merchant, order_id).shipping_paid) == (20, 3)
    placed(merchant, account, offer, line_ids(merchant, order_id)[0], 2, charged="13")
    found = asked(merchant, order_id)
    assert (found.rules.cost_ceiling, found.rules.shipping_ceiling, found.shipping_paid) == (7, 1, None)
    assert {one.code for one in found.route().unrouted.values()} == {"over_ceiling"}


def statements(merchant: UUID, order_id: UUID) -> int:
    seen = []

    def note(*_args) -> None:
        seen.append(1)

    event.listen(get_engine(), "before_cursor_execute", note)
    try:
        asked(merchant, order_id)
    finally:
        event.remove(get_engine(), "before_cursor_execute", note)
    return len(seen)


def test_it_takes_as_many_statements_for_many_lines_as_for_one(merchant):
    accounts = [an_account(merchant) for _ in range(3)]
    for number in range(12):
        variant = stocked(merchant, f"S{number}")
        for account in accounts:
            offers(merchant, account, variant)
    one = ordered(merchant, SaidLine(1, sku="S0"))
    many = ordered(merchant, *(SaidLine(1, sku=f"S{number}") for number in range(12)))
    assert statements(merchant, many) == statements(merchant, one) <= 9


def test_what_orders_take_is_looked_up_by_offer(merchant):
    """However many intents there are: the index's whole key is used, collations and all."""
    asked_for = {"merchant_id": merchant, "ids": [merchant], "recent": merchant}
    with transaction(merchant_id=merchant) as session:
        for name in ("enable_seqscan", "enable_bitmapscan"):
            session.execute(text("SELECT set_config(:name, 'off', true)"), {"name": name})
        plan = [line for (line,) in session.execute(text(f"EXPLAIN {OFFERED.text}"), asked_for)]
    (at,) = (n for n, line in enumerate(plan) if "intent_lines_offer_idx" in line)
    assert "offer_variant_id" in plan[at + 1], "\n".join(plan)


# -- Over HTTP ---------------------------------------------------------------------------------------------------------


def test_a_preview_says_what_goes_where_and_changes_nothing(merchant, client):
    near, far = an_account(merchant), an_account(merchant)
    mug, cup = stocked(merchant, "MUG"), stocked(merchant, "CUP")
    offers(merchant, near, mug, "5")
    offers(merchant, near, cup, "9")
    offers(merchant, far, mug, "6")
    offers(merchant, far, cup, "7", stock=2)
    order_id = ordered(merchant, SaidLine(1, sku="MUG"), SaidLine(2, sku="CUP"), SaidLine(1, sku="WHO-KNOWS"))
    before = rows(merchant, "SELECT version, state, updated_at FROM orders WHERE id = :id", id=order_id)
    events = rows(merchant, "SELECT count(*) AS n FROM order_events")
    headers = headers_for(merchant)
    answer = client.post(f"/api/v1/orders/{order_id}/route", headers=headers)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["proven"] is True
    (parcel,) = found["parcels"]
    assert (parcel["connection_id"], parcel["lines"], parcel["goods"]) == (str(far), [1, 2], "20.00")
    assert (parcel["shipping"], parcel["total"]) == (None, "20.00")
    assert found["totals"] == [
        {"currency": "EUR", "goods": "20.00", "shipping": "0.00", "total": "20.00", "complete": False}
    ]
    mug_line, cup_line, unknown = found["lines"]
    assert mug_line["offer"]["connection_id"] == str(far)
    assert [(one["code"], one["extra_cost"]) for one in mug_line["others"]] == [("dearer", "3.00")]
    assert cup_line["pieces"] == 2
    assert cup_line["offer"]["stock_age_seconds"] == pytest.approx(3600, abs=60)
    assert (unknown["offer"], unknown["unrouted"]["code"]) == (None, "unmapped")
    apart = client.post(f"/api/v1/orders/{order_id}/route", headers=headers, json={"one_parcel": "no"}).json()
    assert len(apart["parcels"]) == 2
    assert apart["totals"][0]["total"] == "19.00"
    for bad in ({"route": "dearest"}, {"speed": 1}):
        assert client.post(f"/api/v1/orders/{order_id}/route", headers=headers, json=bad).status_code == 422
    assert rows(merchant, "SELECT version, state, updated_at FROM orders WHERE id = :id", id=order_id) == before
    assert rows(merchant, "SELECT count(*) AS n FROM order_events") == events
    assert rows(merchant, "SELECT count(*) AS n FROM intents") == [{"n": 0}]


def test_a_cancelled_order_and_a_strangers_go_nowhere(merchant, client):
    order_id = ordered(merchant, SaidLine(1, sku="WHO-KNOWS"))
    path = f"/api/v1/orders/{order_id}/route"
    assert client.post(path, headers=headers_for(make_merchant())).json()["code"] == "order_not_found"
    assert client.post(f"/api/v1/orders/{order_id}/cancel", headers=headers_for(merchant)).status_code == 200
    answer = client.post(path, headers=headers_for(merchant))
    assert (answer.status_code, answer.json()["code"]) == (409, "order_cancelled")
