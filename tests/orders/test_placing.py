"""Orders to suppliers, over HTTP, against the sandbox: whatever happens on the way, each is there once."""

import pytest

from services.orders.changes import OrderAlreadySent
from tests.orders.selling import Shop
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
    for fault in FAULTS:
        if "variant" in fault:
            fault = {**fault, "variant": subject.soft[int(fault["variant"])]}
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
