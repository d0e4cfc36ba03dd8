"""One suite for every adapter, over HTTP, against its sandbox: what holds without faults must hold after them."""

import contextlib
import inspect
import uuid
from dataclasses import replace
from decimal import Decimal

import pytest

from services.suppliers.base import Adapter, Connection, Money, OrderState
from services.suppliers.errors import (
    FatalForConnection,
    FatalForItem,
    NotOffered,
    ReconnectNeeded,
    Retry,
    SupplierError,
    UnknownOutcome,
    WaitUntil,
)
from services.suppliers.registry import NoSuchSupplier, adapter, adapters
from tests.suppliers.subjects import SUBJECTS


@pytest.fixture
def world(sandbox):
    sandbox.reset()
    return sandbox


ordering = pytest.mark.parametrize(
    "subject", sorted(name for name, one in SUBJECTS.items() if one.adapter.CAPABILITIES.orders), indirect=True
)


@pytest.fixture(params=sorted(SUBJECTS))
def subject(request, world):
    found = SUBJECTS[request.param]
    found.prepare(world)
    return found


@pytest.fixture
def connection(subject, world) -> Connection:
    return subject.connect(world)


def walk(subject, world, connection, name="offers", cursor=None):
    only = None if subject.only is None else subject.only(world)
    return getattr(subject.adapter, name)(connection, only=only, cursor=cursor)


def known(subject, pages):
    """What the truth names a variant by → cost, stock."""
    return {
        getattr(variant, subject.key): (variant.cost and variant.cost.amount, variant.stock)
        for page in pages
        for offer in page.items
        for variant in offer.variants
    }


# -- The contract itself -------------------------------------------------------------------------------------------


def test_every_adapter_is_found_and_tested():
    whole = (name for name, one in adapters().items() if one.CAPABILITIES.orders or one.CAPABILITIES.lists_catalogue)
    assert set(whole) == set(SUBJECTS)
    with pytest.raises(NoSuchSupplier):
        adapter("../bigbuy")


@pytest.mark.parametrize("name", sorted(adapters()))
def test_an_adapter_has_the_functions_of_the_contract(name):
    module = adapter(name)
    for function, promised in inspect.getmembers(Adapter, inspect.isfunction):
        if function.startswith("_"):
            continue
        offered = inspect.signature(getattr(module, function)).parameters.values()
        wanted = [one for one in inspect.signature(promised).parameters.values() if one.name != "self"]
        keywords = {one.name: one.default for one in wanted if one.kind is one.KEYWORD_ONLY}
        assert {one.name: one.default for one in offered if one.kind is one.KEYWORD_ONLY} == keywords, function
        assert len(offered) == len(wanted), function
    assert isinstance(module.SECRETS, tuple)
    assert module.NAME == name


# -- Without faults ------------------------------------------------------------------------------------------------


def test_credentials_are_tried(subject, world, connection):
    assert subject.adapter.who_am_i(connection).checked
    with pytest.raises((ReconnectNeeded, FatalForConnection)):
        subject.adapter.who_am_i(subject.connect(world, secrets=subject.spoil))


def test_all_offers_are_read_as_they_are(subject, world, connection):
    pages = list(walk(subject, world, connection))
    assert pages[-1].cursor is None
    assert [problem for page in pages for problem in page.problems] == []
    assert known(subject, pages) == subject.truth(world)
    offers = [offer for page in pages for offer in page.items]
    assert len({offer.id for offer in offers}) == len(offers)
    ids = [variant.id for offer in offers for variant in offer.variants]
    assert len(set(ids)) == len(ids)
    assert all(offer.title and offer.image_urls for offer in offers)


def test_variants_have_options_of_their_own(subject, world, connection):
    offers = [offer for page in walk(subject, world, connection) for offer in page.items]
    several = [offer for offer in offers if len(offer.variants) > 1]
    assert several
    for offer in several:
        assert len({variant.options for variant in offer.variants}) == len(offer.variants)


def test_stock_and_prices_alone_agree(subject, world, connection):
    offers = [offer for page in walk(subject, world, connection) for offer in page.items]
    variants = {variant.id: variant for offer in offers for variant in offer.variants}
    stock = {one.variant_id: one.stock for page in walk(subject, world, connection, "stock") for one in page.items}
    prices = {one.variant_id: one.cost for page in walk(subject, world, connection, "prices") for one in page.items}
    assert {name: stock.get(name) for name in variants} == {name: one.stock for name, one in variants.items()}
    assert {name: prices.get(name) for name in variants} == {name: one.cost for name, one in variants.items()}


@pytest.mark.parametrize("name", ["offers", "stock", "prices"])
def test_a_walk_can_be_left_and_gone_on_with_after_every_page(subject, world, name):
    def key(item):
        return getattr(item, "variant_id", None) or item.id

    world.reset(products=subject.several_pages)
    subject.prepare(world)
    connection = subject.connect(world)
    whole = {key(item): item for page in walk(subject, world, connection, name) for item in page.items}
    seen, cursor, pages = {}, None, 0
    while True:
        page = next(iter(walk(subject, world, connection, name, cursor)))
        seen |= {key(item): item for item in page.items}
        pages += 1
        if page.cursor is None:
            break
        assert page.cursor != cursor
        cursor = page.cursor
    assert seen == whole
    assert pages > 1


# -- With faults, reading ------------------------------------------------------------------------------------------

READING = [
    ("latency", {"seconds": 0.05}, None),
    ("duplicate", {"share": 0.5}, None),
    ("drop", {}, Retry),
    ("lost", {}, Retry),
    ("cut", {}, Retry),
    ("cut", {"at_byte": 0}, Retry),
    ("server_error", {}, Retry),
    ("server_error", {"status": 503}, Retry),
    ("html", {}, Retry),
    ("html", {"status": 200}, Retry),
    ("malformed", {}, Retry),
    ("malformed", {"at_byte": 1}, Retry),
    ("truncated", {}, Retry),
    ("truncated", {"at_byte": 1}, Retry),
    ("quota", {}, WaitUntil),
    ("revoked", {}, ReconnectNeeded),
]


@pytest.mark.parametrize("name", ["offers", "stock"])
@pytest.mark.parametrize("fault", READING, ids=lambda fault: "-".join([fault[0], *map(str, fault[1].values())]))
def test_a_fault_while_reading(subject, world, connection, name, fault):
    """It has its class; what was read before is true; and the walk ends well once it is over."""
    kind, more, error = fault
    truth = subject.truth(world)
    if name == "stock":
        levels = {one.variant_id: one for page in walk(subject, world, connection, name) for one in page.items}
    pages, caught = [], None
    with world.fault(kind, route=subject.reads, skip=0 if error is None else subject.calls, **more):
        try:
            for page in walk(subject, world, connection, name):
                pages.append(page)
        except SupplierError as raised:
            caught = raised
    if error is None:
        assert caught is None
    else:
        assert isinstance(caught, error), repr(caught)
        assert not pages or pages[-1].cursor is not None
        cursor = pages[-1].cursor if pages else None
        pages.extend(walk(subject, world, connection, name, cursor))
    assert pages[-1].cursor is None
    if name == "offers":
        assert known(subject, pages) == truth
    else:
        assert {one.variant_id: one for page in pages for one in page.items} == levels


@pytest.mark.parametrize("name", ["offers", "stock"])
def test_soft_errors_while_reading(subject, world, connection, name):
    for variant in subject.soft:
        with world.fault("soft", route=subject.reads, variant=variant), pytest.raises((Retry, WaitUntil)):
            list(walk(subject, world, connection, name))


@pytest.mark.parametrize("name", ["offers", "stock"])
def test_an_empty_answer_takes_nothing_away(subject, world, connection, name):
    """Where a supplier may say nothing, nothing is all that is read: no zero, no sold out."""
    truth = subject.truth(world)
    with world.fault("empty", route=subject.reads):
        try:
            pages = list(walk(subject, world, connection, name))
        except Retry:
            return
    if name == "offers":
        assert known(subject, pages).items() <= truth.items()
    else:
        assert not [one for page in pages for one in page.items]


@pytest.mark.parametrize("share", [1.0, 0.1])
def test_another_form_is_never_read_wrong(subject, world, connection, share):
    """Prices as objects, or a field by another name: refused, a problem, or not said; never another value."""
    truth = subject.truth(world)
    for fields in ((), *subject.drift_fields):
        pages = []
        drifting = world.fault("drift", supplier=subject.adapter.NAME, share=share, fields=list(fields))
        with drifting, contextlib.suppress(FatalForConnection, Retry):
            for page in walk(subject, world, connection):
                pages.append(page)
        for ref, (cost, stock) in known(subject, pages).items():
            assert cost in (None, truth[ref][0]), fields
            assert stock in (None, truth[ref][1]), fields


# -- Orders --------------------------------------------------------------------------------------------------------


@pytest.fixture
def reference():
    return f"t-{uuid.uuid4().hex[:16]}"


def settled(subject, world):
    """Time passes until a call that was made can be looked up."""
    world.ask("POST", "clock/advance", {"seconds": subject.adapter.CAPABILITIES.settle_seconds})


def recovered(subject, world, connection, draft):
    """What a caller does about an unknown outcome, as the capabilities say: wait, look, then send it again."""
    can = subject.adapter.CAPABILITIES
    settled(subject, world)
    if can.finds_by_reference and (found := subject.adapter.find_by_reference(connection, draft.reference)):
        return [order.id for order in found]
    return [order.id for order in subject.adapter.place_order(connection, draft).orders]


@ordering
def test_an_order_is_placed_once(subject, world, connection, reference):
    draft = subject.draft(world, reference)
    quote = subject.adapter.check_order(connection, draft)
    assert not subject.placed(world, reference)
    placed = subject.adapter.place_order(connection, draft)
    assert [order.id for order in placed.orders] == subject.placed(world, reference)
    assert quote.total.amount > 0
    settled(subject, world)
    if subject.adapter.CAPABILITIES.finds_by_reference:
        found = subject.adapter.find_by_reference(connection, reference)
        assert [order.id for order in found] == [order.id for order in placed.orders]
        assert found[0].total == quote.total
        assert set(found[0].refs) == {line.order_ref for line in draft.lines}
        assert subject.adapter.find_by_reference(connection, "t-nobody") == ()
        again = subject.adapter.place_order(connection, draft)
        assert again.existed
        assert [order.id for order in again.orders] == [order.id for order in placed.orders]
    else:
        with pytest.raises(NotOffered):
            subject.adapter.find_by_reference(connection, reference)
    assert len(subject.placed(world, reference)) == len(placed.orders)


@ordering
def test_a_dearer_order_than_wanted_is_not_placed(subject, world, connection, reference):
    draft = subject.draft(world, reference)
    total = subject.adapter.check_order(connection, draft).total
    below = Money(total.amount - Decimal("0.01"), total.currency)
    with pytest.raises(FatalForItem) as caught:
        subject.adapter.place_order(connection, replace(draft, ceiling=below))
    assert caught.value.kind == "too_dear"
    assert subject.placed(world, reference) == []
    assert subject.adapter.place_order(connection, replace(draft, ceiling=total)).orders


LOSING = [
    ("drop", {}),
    ("lost", {}),
    ("cut", {"at_byte": 0}),
    ("server_error", {}),
    ("server_error", {"after_effect": True}),
    ("html", {}),
    ("html", {"after_effect": True}),
    ("html", {"status": 200, "after_effect": True}),
    ("empty", {}),
    ("empty", {"after_effect": True}),
    ("soft", {}),
    ("soft", {"after_effect": True}),
]


@ordering
@pytest.mark.parametrize("fault", LOSING, ids=lambda fault: "-".join([fault[0], *fault[1]]))
def test_an_order_whose_answer_is_lost_is_placed_once(subject, world, connection, reference, fault):
    kind, more = fault
    draft = subject.draft(world, reference)
    # The end of a connection may come before or after an answer that has no body.
    expected = contextlib.suppress(UnknownOutcome) if kind == "cut" else pytest.raises(UnknownOutcome)
    with world.fault(kind, route=subject.creates, **more), expected:
        subject.adapter.place_order(connection, draft)
    assert len(subject.placed(world, reference)) <= 1
    assert recovered(subject, world, connection, draft) == subject.placed(world, reference)
    assert len(subject.placed(world, reference)) == 1


@ordering
@pytest.mark.parametrize("fault", [("quota", WaitUntil), ("revoked", ReconnectNeeded)])
def test_a_refusal_at_the_door_places_nothing(subject, world, connection, reference, fault):
    kind, error = fault
    draft = subject.draft(world, reference)
    with world.fault(kind, route=subject.creates), pytest.raises(error):
        subject.adapter.place_order(connection, draft)
    assert subject.placed(world, reference) == []


@ordering
def test_a_slow_answer_is_an_answer(subject, world, connection, reference):
    with world.fault("latency", route=subject.creates, seconds=0.5):
        placed = subject.adapter.place_order(connection, subject.draft(world, reference))
    assert [order.id for order in placed.orders] == subject.placed(world, reference)


@ordering
def test_too_many_and_unknown_pieces_are_refused(subject, world, connection, reference):
    draft = subject.draft(world, reference)
    (line,) = draft.lines
    for bad in (replace(line, quantity=1_000_000), replace(line, order_ref="S9999999X")):
        with pytest.raises(FatalForItem):
            subject.adapter.place_order(connection, replace(draft, lines=(bad,)))
    assert subject.placed(world, reference) == []


@ordering
def test_an_order_goes_its_way(subject, world, connection, reference):
    (order,) = subject.adapter.place_order(connection, subject.draft(world, reference)).orders
    settled(subject, world)
    states = [subject.adapter.order_status(connection, order.id).state]
    assert subject.adapter.tracking(connection, [order.id]) == {}
    parcels, at_once = (), subject.adapter.CAPABILITIES.tracked_at_once
    for _ in range(30):
        world.ask("POST", "clock/advance", {"seconds": 43_200})
        states.append(subject.adapter.order_status(connection, order.id).state)
        parcels = subject.adapter.tracking(connection, ["999999999", order.id][-at_once:]).get(order.id, parcels)
    way = [OrderState.UNPAID, OrderState.PROCESSING, OrderState.SHIPPED, OrderState.DELIVERED]
    assert states[-1] is OrderState.DELIVERED
    assert [way.index(state) for state in states] == sorted(way.index(state) for state in states)
    assert parcels
    assert parcels[0].number
    for unknown in ("999999999", "1"):
        with pytest.raises(FatalForItem):
            subject.adapter.order_status(connection, unknown)
        assert subject.adapter.tracking(connection, [unknown]) == {}
