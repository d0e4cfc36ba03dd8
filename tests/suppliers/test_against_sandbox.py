"""What one supplier has and the others have not, over HTTP against the sandbox."""

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from services.core.clock import now
from services.suppliers import aliexpress, aliexpress_affiliate, bigbuy
from services.suppliers.aliexpress import tokens
from services.suppliers.aliexpress.sign import is_push_genuine
from services.suppliers.aliexpress_affiliate.products import Search, categories, details, links, search
from services.suppliers.base import Connection
from services.suppliers.errors import (
    FatalForConnection,
    FatalForItem,
    NotOffered,
    ReconnectNeeded,
    Retry,
    UnknownOutcome,
    WaitUntil,
)
from tests.suppliers.subjects import SUBJECTS


@pytest.fixture
def world(sandbox):
    sandbox.reset()
    for subject in SUBJECTS.values():
        subject.prepare(sandbox)
    return sandbox


# -- BigBuy --------------------------------------------------------------------------------------------------------


@pytest.fixture
def shop(world):
    return SUBJECTS["bigbuy"].connect(world)


def draft_of(world, reference="ref-1"):
    return SUBJECTS["bigbuy"].draft(world, reference)


def test_bigbuys_limits_are_waited_for(world, shop):
    world.ask("PUT", "bigbuy/limits", {"enforced": True, "rules": {"catalog/products": [2, 3600]}})
    pages = []
    with pytest.raises(WaitUntil) as caught:
        pages.extend(bigbuy.offers(shop))
    assert timedelta() < caught.value.when - now() <= timedelta(hours=1, seconds=2)
    # The two categories that could be read are there, and the walk goes on behind them.
    walk = bigbuy.offers(shop)
    world.ask("PUT", "bigbuy/limits", {"enforced": True})
    pages = [next(walk), next(walk)]
    assert json.loads(pages[1].cursor)[:1] == json.loads(pages[0].cursor)
    world.ask("PUT", "bigbuy/limits", {"enforced": False})
    pages += bigbuy.offers(shop, cursor=pages[-1].cursor)
    assert {variant.order_ref for page in pages for offer in page.items for variant in offer.variants} == SUBJECTS[
        "bigbuy"
    ].truth(world).keys()


def test_the_meter_hears_of_limits(world, shop):
    world.ask("PUT", "bigbuy/limits", {"enforced": True})
    heard = {}

    class Listening:
        def take(self, endpoints):
            pass

        def learn(self, endpoint, **facts):
            heard.setdefault(endpoint, facts)  # of the first call: the next category is asked for ahead

    bigbuy.who_am_i(replace(shop, meter=Listening()))
    next(bigbuy.offers(replace(shop, meter=Listening())))
    assert heard["catalog/products"]["limit"] == 10
    assert heard["catalog/products"]["remaining"] == 9
    assert heard["catalog/products"]["reset"] > now()


def test_bigbuys_lines_from_several_warehouses(world, shop):
    sold = [one for one in world.ask("GET", "bigbuy/products") if one["active"] and one["stock"] > 3]
    by_warehouse = {one["warehouse"]: one["sku"] for one in sold}
    assert len(by_warehouse) > 1
    draft = draft_of(world)
    (line,) = draft.lines
    draft = replace(draft, lines=tuple(replace(line, order_ref=sku, quantity=1) for sku in by_warehouse.values()))
    quote = bigbuy.check_order(shop, draft)
    assert len(quote.parts) == len(by_warehouse)
    placed = bigbuy.place_order(shop, draft)
    assert {order.id for order in placed.orders} == set(SUBJECTS["bigbuy"].placed(world, "ref-1"))
    assert sorted(ref for order in placed.orders for ref in order.refs) == sorted(by_warehouse.values())
    assert {order.warehouse for order in placed.orders} == {str(one) for one in by_warehouse}


def test_an_order_under_way_is_not_placed_again(world, shop):
    """Right after a lost call BigBuy neither finds the order nor takes it again: nothing is concluded from that."""
    draft = draft_of(world)
    with world.fault("lost", route="order/create"), pytest.raises(UnknownOutcome):
        bigbuy.place_order(shop, draft)
    for _ in range(2):
        with pytest.raises(UnknownOutcome):
            bigbuy.place_order(shop, draft)
    world.ask("POST", "clock/advance", {"seconds": bigbuy.CAPABILITIES.settle_seconds})
    assert bigbuy.place_order(shop, draft).existed
    assert len(SUBJECTS["bigbuy"].placed(world, "ref-1")) == 1


def test_what_bigbuy_refuses_orders_for(world, shop):
    draft = draft_of(world)
    world.ask("PUT", "bigbuy/accounts/main", {"purse": "0.50"})
    with pytest.raises(FatalForItem) as caught:
        bigbuy.place_order(shop, draft)
    assert caught.value.kind == "funds"
    world.ask("PUT", "bigbuy/accounts/main", {"purse": "1000.00", "pack": False})
    with pytest.raises(FatalForConnection) as caught:
        bigbuy.place_order(shop, draft)
    assert caught.value.kind == "permission"
    world.ask("PUT", "bigbuy/accounts/main", {"pack": True})
    for wrong, kind in (({"postcode": "XX"}, "address"), ({"line": "x" * 300}, "address")):
        with pytest.raises(FatalForItem) as caught:
            bigbuy.place_order(shop, replace(draft, address=replace(draft.address, **wrong)))
        assert caught.value.kind == kind
    (line,) = draft.lines
    sku = line.order_ref
    world.ask("PUT", f"bigbuy/products/{sku}", {"stock": 0})
    with pytest.raises(FatalForItem) as caught:
        bigbuy.place_order(shop, draft)
    assert (caught.value.kind, caught.value.items) == ("out_of_stock", (sku,))
    assert SUBJECTS["bigbuy"].placed(world, "ref-1") == []
    bigbuy.place_order(shop, replace(draft_of(world), reference="ref-2"))


def test_a_revoked_key_is_told(world, shop):
    world.ask("DELETE", f"bigbuy/keys/{shop.secrets['api_key']}")
    for call in (bigbuy.who_am_i, lambda one: next(bigbuy.offers(one)), lambda one: next(bigbuy.stock(one))):
        with pytest.raises(ReconnectNeeded):
            call(shop)


def test_what_is_gone_is_not_listed(world, shop):
    (first, *_), ids = world.ask("GET", "bigbuy/products"), []
    world.ask("PUT", f"bigbuy/products/{first['product']}", {"gone": True})
    for page in bigbuy.offers(shop):
        ids += [variant.sku for offer in page.items for variant in offer.variants]
    assert first["sku"] not in ids
    assert len(ids) == len(world.ask("GET", "bigbuy/products"))


# -- AliExpress ----------------------------------------------------------------------------------------------------


@pytest.fixture
def buyer(world):
    return SUBJECTS["aliexpress"].connect(world)


def ali_draft(world):
    return SUBJECTS["aliexpress"].draft(world, "po-1")


def test_an_order_aliexpress_has_already_and_does_not_name(world, buyer):
    world.ask("PATCH", "aliexpress/settings", {"repeated_order": "error"})
    draft = ali_draft(world)
    with world.fault("lost", route="aliexpress.ds.order.create"), pytest.raises(UnknownOutcome) as caught:
        aliexpress.place_order(buyer, draft)
    assert caught.value.kind == ""
    with pytest.raises(UnknownOutcome) as caught:
        aliexpress.place_order(buyer, draft)
    assert caught.value.kind == "known_there"
    assert len(SUBJECTS["aliexpress"].placed(world, "po-1")) == 1


def test_an_order_that_was_not_paid(world, buyer):
    world.ask("PATCH", "aliexpress/settings", {"auto_pay": False})
    (order,) = aliexpress.place_order(buyer, ali_draft(world)).orders
    assert order.paid is False
    world.ask("POST", "clock/advance", {"seconds": 20})
    assert aliexpress.order_status(buyer, order.id).state == "unpaid"
    world.ask("POST", "clock/advance", {"seconds": 2 * 86_400})
    assert aliexpress.order_status(buyer, order.id).state == "cancelled"


def test_the_three_ids_that_look_alike(world, buyer):
    draft = ali_draft(world)
    (line,) = draft.lines
    # What an order is named by, where freight wants the number: refused here, before anyone is asked.
    for wrong in (replace(line, variant_id=line.order_ref), replace(line, order_ref=line.variant_id)):
        with pytest.raises(FatalForItem) as caught:
            aliexpress.place_order(buyer, replace(draft, lines=(wrong,)))
        assert caught.value.kind == "not_found"
    assert SUBJECTS["aliexpress"].placed(world, "po-1") == []


def test_products_that_are_gone_or_unknown(world, buyer):
    ids = SUBJECTS["aliexpress"].only(world)
    world.ask("PUT", f"aliexpress/products/{ids[0]}", {"gone": True})
    (page,) = aliexpress.offers(buyer, only=[ids[0], ids[-1], "77"])
    assert [offer.id for offer in page.items] == [ids[-1]]
    assert {problem.id: problem.code for problem in page.problems} == {ids[0]: "not_found", "77": "not_found"}


def test_consent_tokens_and_refresh(world, buyer):
    world.ask("PATCH", "aliexpress/settings", {"access_seconds": 86_400})
    back = "https://shop.example/callback"
    url = tokens.consent_url(buyer.secrets["app_key"], redirect_uri=back, state="s1", base_url=buyer.base_url)
    target = httpx.get(url, trust_env=False).headers["location"]
    query = parse_qs(urlsplit(target).query)
    assert target.startswith(back)
    assert query["state"] == ["s1"]
    first = tokens.create(buyer, query["code"][0], at=now())
    assert timedelta(hours=23) < first.expires_at - now() <= timedelta(hours=25)
    with pytest.raises(ReconnectNeeded):
        tokens.create(buyer, query["code"][0], at=now())
    old = replace(buyer, secrets={**buyer.secrets, "access_token": first.access_token})
    assert aliexpress.who_am_i(old).checked
    second = tokens.refresh(buyer, first.refresh_token, at=now())
    assert {second.access_token, second.refresh_token}.isdisjoint({first.access_token, first.refresh_token})
    with pytest.raises(ReconnectNeeded):
        aliexpress.who_am_i(old)
    with pytest.raises(ReconnectNeeded):
        tokens.refresh(buyer, first.refresh_token, at=now())
    with world.fault("lost", route="/auth/token/refresh"), pytest.raises(UnknownOutcome):
        tokens.refresh(buyer, second.refresh_token, at=now())
    with pytest.raises(ReconnectNeeded):
        tokens.refresh(buyer, second.refresh_token, at=now())


def test_a_push_message_is_signed(world, buyer, canned):
    canned.on("POST /push", b"ok")
    key, secret = buyer.secrets["app_key"], buyer.secrets["app_secret"]
    world.ask("PUT", f"aliexpress/apps/{key}", {"secret": secret, "group": "ds", "push_url": f"{canned.url}/push"})
    aliexpress.place_order(buyer, ali_draft(world))
    world.ask("POST", "aliexpress/push")
    asked = next(one for one in canned.asked if one.path == "/push")
    assert is_push_genuine(key, secret, asked.body, asked.headers["authorization"])
    assert not is_push_genuine(key, "another", asked.body, asked.headers["authorization"])


# -- AliExpress for affiliates -------------------------------------------------------------------------------------


@pytest.fixture
def affiliate(world):
    (app,) = (one for one in world.ask("GET", "aliexpress/apps") if one["group"] == "affiliate")
    secrets = {"app_key": app["key"], "app_secret": app["secret"], "tracking_id": "mine"}
    return Connection(secrets=secrets, base_url=f"{world.url}/aliexpress", currency="EUR", country="FR")


def truth_of(world, *, active=False):
    """Cheapest price by product, of those that are on sale or of all."""
    found = {}
    for one in world.ask("GET", "aliexpress/products?count=1000"):
        if active and not one["active"]:
            continue
        price = Decimal(one["price"]) / 100
        found[str(one["product_id"])] = min(price, found.get(str(one["product_id"]), price))
    return found


def test_a_search_pages_and_keeps_its_price_bounds(world, affiliate):
    truth = truth_of(world, active=True)
    found, page = {}, 1
    while True:
        results = search(affiliate, Search(page=page, page_size=20))
        found |= {one.id: one.price.amount for one in results.products}
        if page >= results.pages:
            break
        page += 1
    assert found == truth
    low, high = sorted(truth.values())[5], sorted(truth.values())[15]
    between = search(affiliate, Search(min_price=low, max_price=high, page_size=50, sort="SALE_PRICE_ASC"))
    assert [one.price.amount for one in between.products] == sorted(
        price for price in truth.values() if low <= price <= high
    )
    just = search(affiliate, Search(min_price=low + Decimal("0.001"), max_price=high, page_size=50))
    assert low not in {one.price.amount for one in just.products}
    none = search(affiliate, Search(keywords="no such words anywhere"))
    assert (none.products, none.total) == ((), 0)


def test_affiliate_products_by_id(world, affiliate):
    truth = truth_of(world)
    found = details(affiliate, list(truth))
    assert {one.id: one.price.amount for one in found} == truth
    one = found[0]
    assert one.promotion_url.startswith("https://s.click.aliexpress.com/")
    assert one.commission_percent == Decimal("7.0")
    assert one.image_urls
    (page,) = aliexpress_affiliate.offers(affiliate, only=[*truth, "77", "x"])
    assert {offer.id: offer.variants[0].cost.amount for offer in page.items} == truth
    assert {problem.id for problem in page.problems} == {"77", "x"}
    levels = [level for page in aliexpress_affiliate.prices(affiliate, only=list(truth)) for level in page.items]
    assert len(levels) == len(truth)


def test_categories_and_links(world, affiliate):
    names = {one.id: one for one in categories(affiliate)}
    assert all(one.parent is None or one.parent in names for one in names.values())
    assert any(one.parent for one in names.values())
    urls = ["https://www.aliexpress.com/item/1005001.html?a=1,2", "https://example.com/x"]
    made = links(affiliate, urls)
    assert list(made) == urls[:1]
    assert made[urls[0]].startswith("https://s.click.aliexpress.com/")
    with pytest.raises(FatalForItem):
        links(replace(affiliate, secrets={**affiliate.secrets, "tracking_id": ""}), urls)


def test_an_affiliate_is_tried_and_a_dropshipper_is_none(affiliate, buyer):
    assert aliexpress_affiliate.who_am_i(affiliate).checked
    with pytest.raises(FatalForConnection) as caught:
        aliexpress_affiliate.who_am_i(buyer)
    assert caught.value.kind == "permission"
    with pytest.raises(NotOffered):
        aliexpress_affiliate.stock(affiliate, only=["1"])


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("lost", Retry), ("html", Retry), ("truncated", Retry), ("malformed", Retry), ("server_error", Retry),
        ("empty", Retry), ("soft", Retry), ("quota", WaitUntil),
    ],
)  # fmt: skip
def test_an_affiliates_answer_that_is_none(world, affiliate, kind, error):
    with world.fault(kind, supplier="aliexpress"):
        for call in (
            lambda: search(affiliate, Search()),
            lambda: details(affiliate, ["1"]),
            lambda: categories(affiliate),
        ):
            with pytest.raises(error):
                call()
