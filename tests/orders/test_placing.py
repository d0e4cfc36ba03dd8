"""Orders to suppliers, over HTTP, against the sandbox: whatever happens on the way, each is there once."""

from contextlib import suppress
from decimal import Decimal

import pytest

from services.core.db import transaction
from services.orders import intents
from services.orders.incoming.changes import OrderAlreadySent
from services.orders.incoming.said import SaidLine
from services.orders.placing.resolve import resolve, seen_there
from services.sourcing.accounts.connections import disconnect
from services.sourcing.quotas.meter import meter_for
from services.suppliers import bigbuy
from services.suppliers.base import PlacedOrder, Placement, Quota
from services.suppliers.errors import ReconnectNeeded, WaitUntil
from tests import inline
from tests.orders.selling import Shop, connect, goods_of, offer, stock_up
from tests.suppliers.subjects import SUBJECTS


@pytest.fixture(params=["aliexpress", "bigbuy"])
def shop(request, world):
    return Shop(world, supplier=request.param)


def test_an_order_is_placed_once_and_said_so(shop):
    order_id = shop.order(2, 1)
    ended = shop.fulfil(order_id)
    assert ended["state"] == "succeeded", ended
    (intent,) = shop.standings(order_id)
    assert (intent.state, ended["result"]["state"]) == ("placed", "placed")
    assert len(shop.truth(intent.reference)) >= 1


# What may happen to the call that makes an order: instead of the work, after it, or to the answer.
FAULTS = [
    {"kind": "drop"},
    {"kind": "lost"},
    {"kind": "cut", "at_byte": 0},
    {"kind": "truncated"},
    {"kind": "malformed"},
    {"kind": "server_error"},
    {"kind": "server_error", "after_effect": True},
    {"kind": "html", "after_effect": True},
    {"kind": "empty", "after_effect": True},
    {"kind": "quota"},
    *({"kind": "soft", "variant": one, "after_effect": after} for one in ("0", "1", "2") for after in (False, True)),
]


def test_whatever_befalls_the_call_the_order_is_there_once(shop):
    subject = SUBJECTS[shop.supplier]
    for given in FAULTS:
        fault = {**given, "variant": subject.soft[int(given["variant"])]} if "variant" in given else given
        order_id = shop.order(1)
        with shop.world.fault(**fault, route=subject.creates, count=1):
            ended = shop.fulfil(order_id)
        assert ended["state"] == "succeeded", (fault, ended)
        (intent,) = shop.standings(order_id)
        there = shop.truth(intent.reference)
        noted = shop.rows("SELECT id FROM supplier_orders WHERE intent_id = :id", id=intent.id)
        refused = shop.supplier == "bigbuy" and fault.get("variant") == "inverted" and not fault["after_effect"]
        if refused:  # a clear no, after all
            assert (intent.state, there, noted) == ("refused", [], []), fault
            continue
        assert (intent.state, shop.state(order_id), shop.waiting(order_id)) == ("placed", "placed", []), fault
        assert len(there) == 1, fault
        assert [one["id"] for one in noted] == there, fault
    references = [one["reference"] for one in shop.rows("SELECT reference FROM intents WHERE state = 'placed'")]
    assert len(shop.bought()) == len(references)


def test_waiting_for_a_quota_is_no_attempt(shop):
    """However often it has waited for that, one mishap later it is tried again within seconds."""
    order_id = shop.order(1)
    job_id = shop.ask(order_id)
    creates = SUBJECTS[shop.supplier].creates
    with shop.world.fault("quota", route=creates, count=6):
        for _ in range(6):
            assert inline.work(job_id)["reason"] == "supplier_quota"
            shop.later()
    (intent,) = shop.standings(order_id)
    assert (intent.state, intent.attempts) == ("planned", 0)
    assert shop.work(job_id)["state"] == "succeeded"
    (intent,) = shop.standings(order_id)
    assert (intent.state, intent.attempts) == ("placed", 1)


def test_who_waits_for_a_quota_does_not_come_back_in_a_crowd(world, monkeypatch):
    """Each at a moment of its own, in the time that all of them need; more would come in vain."""
    shop = Shop(world, things=1)
    quota = Quota("order/create", 1, 50.0)
    monkeypatch.setattr(bigbuy, "quotas", lambda _: (quota,))
    given = SUBJECTS["bigbuy"].connect(world)
    with suppress(WaitUntil):  # it is spent
        meter_for(bigbuy, given, connection_id=shop.connection_id).take(["order/create"])
    for job_id in [shop.ask(shop.order(1)) for _ in range(12)]:
        assert inline.work(job_id)["reason"] == "supplier_quota"
    waits = shop.rows("SELECT extract(epoch FROM run_at - now()) AS s FROM jobs WHERE reason = 'supplier_quota'")
    assert max(row["s"] for row in waits) > 100, "all within two windows: by chance once in ten thousand times"
    assert max(row["s"] for row in waits) < 50 + 0.6 * 12 * 50
    assert {row["attempts"] for row in shop.rows("SELECT attempts FROM intents")} == {0}


def test_asked_twice_and_at_once_it_is_one_supplier_order(shop):
    order_id = shop.order(1)
    first, second = shop.ask(order_id), shop.ask(order_id)
    assert first == second
    shop.work(first)
    assert len(shop.bought()) == 1
    with pytest.raises(OrderAlreadySent):
        shop.ask(order_id)


def test_a_refusal_is_told_with_its_cause_and_what_to_do(shop):
    order_id = shop.order(1)
    sell_out(shop, shop.goods[0])
    ended = shop.fulfil(order_id)
    assert (ended["state"], shop.state(order_id), shop.waiting(order_id)) == (
        "succeeded",
        "attention",
        ["out_of_stock"],
    )
    assert shop.bought() == []
    # In stock again, and asked for again: it goes through, and nothing waits any more.
    sell_out(shop, shop.goods[0], left=100)
    shop.fulfil(order_id)
    assert (shop.state(order_id), shop.waiting(order_id)) == ("placed", [])
    assert len(shop.bought()) == 1


def test_an_order_of_another_is_not_taken_for_ours(shop):
    """A supplier that names another's order has not placed this one, and who says so is a person."""
    shop.policy(cancel_window_seconds=60)
    first, second = shop.order(1), shop.order(1)
    shop.fulfil(first)
    (known,) = shop.rows("SELECT id FROM supplier_orders")
    job_id = shop.ask(second)
    inline.work(job_id)
    shop.later()
    (intent,) = shop.standings(second)
    with transaction(merchant_id=shop.merchant) as session:
        intents.claim(session, intent.id, sender="me", language="en")
    with transaction(merchant_id=shop.merchant) as session:
        named = Placement((PlacedOrder(known["id"], refs=(shop.goods[0]["ref"],)),))
        assert not intents.place(session, intent.id, named, how="answer")
    shop.later()
    assert shop.work(job_id)["state"] == "succeeded"
    (intent,) = shop.standings(second)
    assert (intent.state, intent.code, shop.waiting(second)) == ("unknown", "outcome_unknown", ["outcome_unknown"])
    assert shop.rows("SELECT id, supplier_order_id FROM supplier_orders JOIN intent_lines USING (intent_id)") == [
        {"id": known["id"], "supplier_order_id": known["id"]}
    ]
    who = {"merchant_id": shop.merchant, "order_id": second, "intent_id": intent.id}
    with transaction(merchant_id=shop.merchant) as session:
        resolve(session, **who, found=None, user_id=shop.merchant)
    shop.fulfil(second)
    assert (shop.state(second), shop.waiting(second), len(shop.bought())) == ("placed", [], 2)


def test_after_a_lost_answer_a_refusal_proves_nothing(shop):
    """The lost call may have bought the last piece: the next one is refused, and yet the order is there."""
    shop.world.ask("PUT", *stock_of(shop, shop.goods[0], 1))
    order_id = shop.order(1)
    with shop.world.fault("lost", route=SUBJECTS[shop.supplier].creates, count=1):
        shop.fulfil(order_id)
    (intent,) = shop.standings(order_id)
    assert len(shop.bought()) == 1
    if shop.supplier == "bigbuy":  # it finds by reference
        assert (intent.state, shop.waiting(order_id)) == ("placed", [])
    else:
        assert (intent.state, shop.waiting(order_id)) == ("unknown", ["outcome_unknown"])
        assert shop.state(order_id) == "fulfilling"


def stock_of(shop, one, left):
    """The control's path and body for how much there is of a thing."""
    named = one["ref"] if shop.supplier == "bigbuy" else one["id"]
    return f"{shop.supplier}/products/{named}", {"stock": left}


def sell_out(shop, one, left=0):
    shop.world.ask("PUT", *stock_of(shop, one, left))


# -- One call, several orders ------------------------------------------------------------------------------------------


@pytest.fixture
def spread(world):
    """A shop whose two things lie in different warehouses, which it does not know."""
    shop = Shop(world, things=0)
    goods = goods_of(world, "bigbuy", same_warehouse=False)
    other = next(one for one in goods if one["warehouse"] != goods[0]["warehouse"])
    shop.goods = [{**one, "warehouse": "1"} for one in (goods[0], other)]
    shop.skus = [stock_up(shop.merchant, shop.connection_id, one) for one in shop.goods]
    return shop


def test_an_order_that_the_supplier_splits_is_several_orders_of_one_intent(spread):
    order_id = spread.order(1, 2)
    spread.fulfil(order_id)
    (intent,) = spread.standings(order_id)
    noted = spread.rows("SELECT id FROM supplier_orders ORDER BY id")
    assert [one["id"] for one in noted] == spread.truth(intent.reference)
    assert len(noted) == 2
    parts = spread.rows("SELECT supplier_order_id FROM intent_lines")
    assert {one["supplier_order_id"] for one in parts} == {one["id"] for one in noted}
    assert (spread.state(order_id), spread.waiting(order_id)) == ("placed", [])


def test_of_a_split_order_a_part_may_be_refused_and_is_to_be_had_again(spread):
    order_id = spread.order(1, 2)
    sell_out(spread, spread.goods[1])
    spread.fulfil(order_id)
    assert len(spread.bought()) == 1
    assert (spread.state(order_id), spread.waiting(order_id)) == ("partly_placed", ["out_of_stock"])
    sell_out(spread, spread.goods[1], left=50)
    spread.fulfil(order_id)
    assert len(spread.bought()) == 2
    assert (spread.state(order_id), spread.waiting(order_id)) == ("placed", [])


def test_of_a_split_order_whose_answer_was_lost_a_person_names_the_rest(spread):
    """A look-up names one part only. The rest is never bought again by itself: it may be there."""
    order_id = spread.order(1, 2)
    with spread.world.fault("lost", route="order/create/multishipping", count=1):
        spread.fulfil(order_id)
    (intent,) = spread.standings(order_id)
    first, second = spread.truth(intent.reference)
    assert spread.waiting(order_id) == ["part_unaccounted"]
    assert len(spread.bought()) == 2
    who = {"merchant_id": spread.merchant, "order_id": order_id, "intent_id": intent.id}
    with spread.world.fault("revoked", route="order", count=1), pytest.raises(ReconnectNeeded):
        seen_there(**who, supplier_order_id=second)
    assert (
        len(spread.rows("UPDATE connections SET state = 'active' WHERE state = 'reconnect_needed' RETURNING id")) == 1
    )
    found = seen_there(**who, supplier_order_id=second)
    with transaction(merchant_id=spread.merchant) as session:
        resolve(session, **who, found=found, user_id=spread.merchant)
    assert spread.waiting(order_id) == []
    assert [one["id"] for one in spread.rows("SELECT id FROM supplier_orders ORDER BY id")] == [first, second]


# -- Elsewhere, dearer, unpaid -----------------------------------------------------------------------------------------


def test_what_one_supplier_has_no_more_another_sends(world):
    shop = Shop(world, things=1)
    other = connect(world, shop.merchant, "bigbuy")
    dearer = {**goods_of(world, "bigbuy")[1], "cost": shop.goods[0]["cost"] + 100}
    offer(shop.merchant, other, dearer, shop.variant_of(shop.skus[0]))
    sell_out(shop, shop.goods[0])
    order_id = shop.order(1)
    shop.fulfil(order_id)
    first, second = shop.standings(order_id)
    assert (first.state, first.code, first.connection_id) == ("refused", "out_of_stock", shop.connection_id)
    assert (second.state, second.connection_id) == ("placed", other)
    assert (shop.state(order_id), shop.waiting(order_id), len(shop.bought())) == ("placed", [], 1)


def test_dearer_than_the_ceiling_it_is_not_bought(shop):
    goods = shop.goods[0]["cost"] / 100
    shop.policy(cost_ceiling=round(goods + 0.01, 2), ceiling_currency="EUR")
    order_id = shop.order(1)
    shop.fulfil(order_id)
    assert (shop.state(order_id), shop.waiting(order_id)) == ("attention", ["too_dear"])
    assert shop.bought() == []
    shop.policy(cost_ceiling=99_999)
    shop.fulfil(order_id)
    assert (shop.state(order_id), shop.waiting(order_id)) == ("placed", [])


def test_however_many_parcels_grow_dearer_together_they_keep_the_limits(world):
    """Prices move between routing and sending: what the parcels may cost adds up to what the order may cost. A gift has
    no price, and is bought from what the rest brings in.
    """
    shop = Shop(world, things=1)
    other = connect(world, shop.merchant, "bigbuy")
    gift = goods_of(world, "bigbuy")[1]
    shop.skus.append(stock_up(shop.merchant, other, gift))
    costs = [Decimal(one["cost"]) / 100 for one in (shop.goods[0], gift)]
    limit = round(sum(costs) * 3, 2)
    first, second = shop.skus
    lines = (SaidLine(1, sku=first, price=limit / Decimal("0.9")), SaidLine(1, sku=second, price=Decimal(0)))
    shop.policy(cancel_window_seconds=60)
    for said in (
        {"min_margin": Decimal("0.1")},
        {"min_margin": None, "cost_ceiling": limit, "ceiling_currency": "EUR"},
    ):
        shop.policy(**said)
        order_id = shop.order(lines=lines)
        job_id = shop.ask(order_id)
        inline.work(job_id)
        ceilings = shop.rows("SELECT ceiling FROM intents WHERE order_id = :id ORDER BY ceiling", id=order_id)
        assert len(ceilings) == 2
        assert limit - Decimal("0.03") <= sum(row["ceiling"] for row in ceilings) <= limit
        shop.later()
        assert shop.work(job_id)["state"] == "succeeded"
        assert (shop.state(order_id), shop.waiting(order_id)) == ("placed", [])
    # Of one parcel that is bought the other's limit keeps its distance, also when it is routed anew.
    world.ask("PUT", f"bigbuy/products/{gift['ref']}", {"price": 100 * gift["cost"]})
    order_id = shop.order(lines=lines)
    shop.fulfil(order_id)
    assert (shop.state(order_id), shop.waiting(order_id)) == ("partly_placed", ["too_dear"])
    shop.policy(cost_ceiling=limit * 2)
    inline.work(shop.ask(order_id))
    (spent,) = shop.rows("SELECT charged FROM intents WHERE order_id = :id AND state = 'placed'", id=order_id)
    (again,) = shop.rows("SELECT ceiling FROM intents WHERE order_id = :id AND state = 'planned'", id=order_id)
    assert again["ceiling"] == limit * 2 - spent["charged"]


def test_made_and_not_paid_is_said(world):
    shop = Shop(world, supplier="aliexpress")
    world.ask("PATCH", "aliexpress/settings", {"auto_pay": False})
    order_id = shop.order(1)
    shop.fulfil(order_id)
    assert (shop.state(order_id), shop.waiting(order_id)) == ("placed", ["unpaid"])
    assert shop.rows("SELECT state, paid FROM supplier_orders") == [{"state": "unpaid", "paid": False}]


def test_a_wallet_that_is_low_waits_for_the_merchant_and_is_not_tried_elsewhere(world):
    shop = Shop(world)
    other = connect(world, shop.merchant, "bigbuy")
    offer(shop.merchant, other, goods_of(world, "bigbuy")[1], shop.variant_of(shop.skus[0]))
    world.ask("PUT", "bigbuy/accounts/main", {"purse": "0.00"})
    order_id = shop.order(1)
    shop.fulfil(order_id)
    assert (shop.state(order_id), shop.waiting(order_id)) == ("attention", ["wallet_low"])
    assert len(shop.standings(order_id)) == 1


def test_a_refusal_nobody_knows_the_reason_of_is_believed_late(world):
    """It may be a mishap on the way of a yes, and an order may take a while until it can be found."""
    shop = Shop(world)
    order_id = shop.order(1)
    job_id = shop.ask(order_id)
    with world.fault("soft", variant="inverted", route="order/create", count=1):
        inline.work(job_id)
    shop.later(30)  # a look-up would be answered by now
    assert inline.work(job_id)["reason"] == "outcome_unknown"
    assert [at.state for at in shop.standings(order_id)] == ["unknown"]
    shop.later(40)
    assert shop.work(job_id)["state"] == "succeeded"
    assert [at.state for at in shop.standings(order_id)] == ["refused"]


def test_a_policy_that_changes_before_it_is_sent_is_the_one_that_counts(world):
    shop = Shop(world, things=1)
    shop.policy(cancel_window_seconds=3600)
    order_id = shop.order(1)
    job_id = shop.ask(order_id)
    inline.work(job_id)
    shop.policy(cost_ceiling=Decimal("0.5"), ceiling_currency="EUR")
    shop.later(4000)
    shop.work(job_id, times=3)
    assert [at.state for at in shop.standings(order_id)] == ["cancelled"]
    assert (shop.state(order_id), shop.waiting(order_id), shop.bought()) == ("attention", ["no_route"], [])
    shop.policy(cost_ceiling=999)
    shop.fulfil(order_id)
    shop.later(4000)
    shop.fulfil(order_id)
    assert (shop.state(order_id), len(shop.bought())) == ("placed", 1)


def test_what_was_not_sent_when_its_account_was_given_up_goes_to_another(world):
    shop = Shop(world, things=1)
    shop.policy(cancel_window_seconds=3600)
    order_id = shop.order(1)
    job_id = shop.ask(order_id)
    inline.work(job_id)
    with transaction(merchant_id=shop.merchant) as session:
        disconnect(session, shop.connection_id)
    other = connect(world, shop.merchant, "bigbuy")
    offer(shop.merchant, other, {**shop.goods[0], "id": "x-other"}, shop.variant_of(shop.skus[0]))
    shop.later(4000)
    shop.work(job_id, times=3)
    shop.later(4000)
    shop.work(job_id)
    first, second = shop.standings(order_id)
    assert (first.state, second.state, second.connection_id) == ("cancelled", "placed", other)
    assert (shop.state(order_id), shop.waiting(order_id), len(shop.bought())) == ("placed", [], 1)
