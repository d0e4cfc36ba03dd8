"""What only feeds have: files of every form, an address that is a merchant's, a file that changes under a walk."""

import json
from dataclasses import replace
from decimal import Decimal

import pytest

from services.suppliers import feed
from services.suppliers.base import Connection, Money
from services.suppliers.errors import FatalForConnection, NotOffered, ReconnectNeeded, Retry, WaitUntil
from services.suppliers.feed import catalogue
from tests.suppliers.canned import Says
from tests.suppliers.subjects import SUBJECTS

HEADER = "id,item_group_id,sku,title,cost,price,quantity,color\n"
ROWS = "1,A,a1,Mug,2.00,5.00,3,Red\n2,B,b1,Cup,1.50,4.00,,\n3,A,a2,Mug,2.10,5.00,0,Blue\n"


def at(canned, **secrets) -> Connection:
    """A connection to what a canned server says at /feed."""
    return Connection(secrets={"url": "feed", **secrets}, base_url=canned.url)


def offered(connection):
    pages = list(feed.offers(connection))
    assert pages[-1].cursor is None
    return [offer for page in pages for offer in page.items], [one for page in pages for one in page.problems]


# -- The file ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def world(sandbox):
    sandbox.reset()
    sandbox.ask("PUT", "feed/limits", {"enforced": False})
    return sandbox


def test_every_form_of_a_catalogue_is_the_same_catalogue(world):
    found = {}
    for name in ("catalogue.csv", "catalogue.csv.gz", "catalogue.json", "catalogue.xml"):
        connection = SUBJECTS["feed"].connect(world, secrets={"url": name})
        found[name], problems = offered(connection)
        assert problems == []
        who = feed.who_am_i(connection)
        _, said = who.checked
        assert who.account == name
        assert said.startswith("a feed (")
        assert f"{sum(len(offer.variants) for offer in found[name]):,} records" in said
    first, *others = found.values()
    assert len(first) > 40
    assert all(other == first for other in others)
    assert any(variant.barcode for offer in first for variant in offer.variants)


def test_variants_that_lie_apart_are_put_together(canned):
    canned.on("GET /feed", Says(HEADER + ROWS, headers={"Content-Type": "text/csv"}))
    (mug, cup), problems = offered(at(canned))
    assert problems == []
    assert (mug.id, mug.title, [variant.id for variant in mug.variants]) == ("A", "Mug", ["A/Red", "A/Blue"])
    assert [variant.options for variant in mug.variants] == [(("color", "Red"),), (("color", "Blue"),)]
    red = mug.variants[0]
    assert (red.sku, red.order_ref, red.stock, red.cost) == ("a1", "a1", 3, Money(Decimal("2.00"), "EUR"))
    assert red.recommended_price == Money(Decimal("5.00"), "EUR")
    assert cup.variants[0].stock is None  # an empty cell is no zero
    assert [(level.variant_id, level.stock) for page in feed.stock(at(canned)) for level in page.items] == [
        ("A/Red", 3),
        ("A/Blue", 0),
    ]


def test_keys_with_slashes_never_meet(canned):
    rows = "item_group_id,color,sku,title,cost\na/b,c,1,One,1\na/b,d,2,One,1\na,b/c,3,Two,1\na,x,4,Two,1\n"
    canned.on("GET /feed", Says(rows))
    offers, _ = offered(at(canned))
    assert [variant.id for offer in offers for variant in offer.variants] == ["a%2Fb/c", "a%2Fb/d", "a/b/c", "a/x"]


def test_what_cannot_be_read_is_told_and_the_rest_is_offered(canned):
    canned.on(
        "GET /feed", Says(HEADER + ROWS + "4,C,c1,Pot,about two,9.00,1,\n5,D,d1,Lid,1.00,2.00,many,\n,,,,1,1,1,\n")
    )
    offers, problems = offered(at(canned))
    assert [offer.id for offer in offers] == ["A", "B", "C", "D"]
    assert offers[2].variants[0].cost is None
    assert offers[3].variants[0].stock is None
    # A cell: its product is offered. A record: nobody knows which product it was.
    assert [(problem.id, problem.code) for problem in problems] == [("C", "cost_unparsable"), (None, "key_missing")]
    assert problems[0].reason.startswith("Line 5: ")


def test_a_price_is_no_cost_unless_a_mapping_says_so(canned):
    canned.on("GET /feed", Says("sku;title;price\n1;Mug;5,00\n2;Cup;4,50\n"))
    offers, _ = offered(at(canned))
    assert [offer.variants[0].cost for offer in offers] == [None, None]
    assert "no cost" in feed.who_am_i(at(canned)).checked[1]
    mapping = json.dumps({"fields": {"cost": {"column": "price"}}})
    offers, _ = offered(at(canned, mapping=mapping))
    assert [offer.variants[0].cost.amount for offer in offers] == [Decimal("5.00"), Decimal("4.50")]
    for bad in ("nonsense", "[]", '{"fields": {"cost": {"column": "Einkauf"}}}'):
        with pytest.raises(FatalForConnection) as caught:
            offered(at(canned, mapping=bad))
        assert caught.value.kind == "schema"


def test_a_product_of_endless_records_is_a_problem_and_no_memory(canned, monkeypatch):
    monkeypatch.setattr(catalogue, "MAX_RECORDS", 2)
    canned.on("GET /feed", Says(HEADER + ROWS + "4,A,a3,Mug,2.10,5.00,0,Green\n"))
    offers, problems = offered(at(canned))
    assert [offer.id for offer in offers] == ["B"]
    assert [(problem.id, problem.code) for problem in problems] == [("A", "too_many_records")]


def test_of_many_things_that_cannot_be_read_some_are_told(canned, monkeypatch):
    monkeypatch.setattr(catalogue, "MAX_PROBLEMS", 2)
    cells = "".join(f"{n},P{n},s{n},Pot,much,9.00,1,\n" for n in range(10, 15))
    canned.on("GET /feed", Says(HEADER + ROWS + cells + ",,,,1,1,1,\n" * 4))
    offers, problems = offered(at(canned))
    assert len(offers) == 7
    told = [(problem.id, problem.code) for problem in problems]
    assert sorted(told, key=str) == [
        *[("P10", "cost_unparsable"), ("P11", "cost_unparsable"), ("P14", "more_unreadable")],
        *[(None, "key_missing"), (None, "key_missing"), (None, "more_unreadable")],
    ]
    assert [problem.reason for problem in problems][-2:] == [
        "Another 2 records could not be read.",
        "Another 3 cells could not be read.",
    ]


# -- The walk ----------------------------------------------------------------------------------------------------------


def test_another_file_begins_anew_and_the_same_goes_on(canned, monkeypatch):
    monkeypatch.setattr(catalogue, "PAGE_PRODUCTS", 1)
    canned.on("GET /feed", Says(HEADER + ROWS))
    first = next(feed.offers(at(canned)))
    assert [offer.id for offer in first.items] == ["A"]
    rest = [offer.id for page in feed.offers(at(canned), cursor=first.cursor) for offer in page.items]
    assert rest == ["B"]
    canned.on("GET /feed", Says(HEADER + "9,,i9,New,1,1,1,\n" + ROWS))
    anew = [offer.id for page in feed.offers(at(canned), cursor=first.cursor) for offer in page.items]
    assert anew == ["9", "A", "B"]
    for cursor in ("nonsense", "[1, 2]", "[]", "{}"):
        with pytest.raises(ValueError, match=r"."):
            next(feed.offers(at(canned), cursor=cursor))
    with pytest.raises(NotOffered):
        feed.offers(at(canned), only=["A"])


# -- What goes wrong ---------------------------------------------------------------------------------------------------

PAGE = "<!DOCTYPE html><html><body>Please log in</body></html>"


@pytest.mark.parametrize(
    ("says", "walking", "kind", "connecting"),
    [
        (Says("no", status=401), ReconnectNeeded, "", ReconnectNeeded),
        (Says("no", status=403), ReconnectNeeded, "", ReconnectNeeded),
        (Says("no", status=404), Retry, "not_found", FatalForConnection),  # deleted at night, written anew
        (Says("no", status=410), FatalForConnection, "endpoint_gone", FatalForConnection),
        (Says("no", status=503), Retry, "", Retry),
        (Says("no", status=429, headers={"Retry-After": "60"}), WaitUntil, "", WaitUntil),
        (Says(PAGE), Retry, "web_page", FatalForConnection),
        (Says(""), Retry, "empty", FatalForConnection),
        (Says('[{"sku": "1", "ti'), Retry, "json_broken", FatalForConnection),
        (Says("sku,title,cost\n"), Retry, "no_records", FatalForConnection),
        (Says("when,who,what\n1,2,3\n4,5,6\n"), FatalForConnection, "schema", FatalForConnection),
        (Says(b"%PDF-1.7 \x00\x01"), FatalForConnection, "schema", FatalForConnection),
        (Says(HEADER + ROWS, cut=30), Retry, "", Retry),
        (
            Says("", status=302, headers={"Location": "ftp://elsewhere.example/"}),
            FatalForConnection,
            "unreachable",
            None,
        ),
    ],
    ids=lambda one: getattr(one, "__name__", "")[:20],
)
def test_each_failure_has_its_class(canned, says, walking, kind, connecting):
    canned.on("GET /feed", says)
    with pytest.raises(walking) as caught:
        list(feed.offers(at(canned)))
    assert caught.value.kind == kind
    with pytest.raises(connecting or walking):
        feed.who_am_i(at(canned))


def test_a_merchants_address_never_leads_into_our_network(canned):
    canned.on("GET /feed", Says(HEADER + ROWS))
    canned.on("GET /away", Says("", status=302, headers={"Location": "/feed"}))
    own = at(canned)
    for url in (f"{canned.url}/feed", "http://169.254.169.254/latest/meta-data", "file:///etc/passwd", "feed"):
        connection = replace(own, base_url=None, secrets={"url": url})
        for read in (feed.who_am_i, lambda one: list(feed.offers(one))):
            with pytest.raises(FatalForConnection) as caught:
                read(connection)
            assert caught.value.kind == "unreachable"
    # Where the sandbox stands in, nothing but the sandbox: neither by another host nor by a path above it.
    inside = replace(own, base_url=f"{canned.url}/below")
    for url in ("../feed", "/feed", "//elsewhere.example/feed", "https://elsewhere.example/feed"):
        with pytest.raises(FatalForConnection):
            list(feed.offers(replace(inside, secrets={"url": url})))
    assert canned.asked == []


def test_credentials_go_with_the_request(canned):
    canned.on("GET /feed", Says(HEADER + ROWS))
    offered(at(canned, user="anna", password="geheim"))
    offered(at(canned, header="X-Api-Key: 12345"))
    assert canned.asked[0].headers["authorization"] == "Basic YW5uYTpnZWhlaW0="
    assert canned.asked[1].headers["x-api-key"] == "12345"
    for line in ("X-Api-Key", "Host: internal", "X-A: b\r\nX-C: d", ": x"):
        with pytest.raises(ReconnectNeeded):
            offered(at(canned, header=line))


def test_a_large_file_is_judged_by_its_beginning(canned):
    body = HEADER + ROWS * 20_000
    canned.on("GET /feed", Says(body))
    said = feed.who_am_i(at(canned)).checked[1]
    assert "in its beginning" in said
    canned.on("GET /feed", Says("[" + ",".join(['{"sku": "1", "title": "Mug", "cost": 1}'] * 20_000) + "]"))
    assert "JSON" in feed.who_am_i(at(canned)).checked[1]
    canned.on("GET /feed", Says(PAGE + " " * 600_000))
    with pytest.raises(FatalForConnection):
        feed.who_am_i(at(canned))


def test_the_meter_is_asked_before_the_file(canned):
    class Full:
        def take(self, endpoints):
            assert list(endpoints) == ["feed"]
            raise WaitUntil(catalogue_time, "not now")

        def learn(self, endpoint, **said):
            raise AssertionError

    from services.core.clock import now

    catalogue_time = now()
    with pytest.raises(WaitUntil):
        list(feed.offers(replace(at(canned), meter=Full())))
    assert canned.asked == []
    assert feed.quotas(at(canned))[0].endpoint == "feed"
