"""Filters, search and pages over a small catalogue."""

from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text

from services.catalog.queries import ProductFilter, ProductNotFound, get_product, list_products, variants_of
from services.core.clock import now
from services.core.db import transaction
from services.core.paging import Page, decode_cursor
from tests.imports.importing import run_feed

FEED = """\
Handle,Title,Vendor,Type,Tags,Option1 Name,Option1 Value,SKU,Barcode,Price,Inventory quantity,Status
lamp,Désk-Lamp 2.0 (oak),Oak & Co.,Home/Light,warm,Size,S,L-1,4006381333931,10.00,0,active
lamp,,,,,,M,L-2,,30.00,5,
mug,Coffee mug,Clay,Kitchen,,,,MUG,,5.00,0,draft
vase,"O'Brien's \\ vase: 65cm",Clay,Home,"blue, new",,,V-1,,20.00,,active
"""


@pytest.fixture
def shop(merchant):
    """The merchant, with the feed above."""
    assert run_feed(merchant, FEED, currency="EUR")["state"] == "succeeded"
    return merchant


def _keys(merchant, **matching):
    with transaction(merchant_id=merchant) as session:
        found = list_products(session, ProductFilter(**matching), Page(), merchant_id=merchant)
        return sorted(row.product.key for row in found.data)


@pytest.mark.parametrize(
    ("matching", "keys"),
    [
        ({}, ["lamp", "mug", "vase"]),
        ({"q": "lamp"}, ["lamp"]),
        ({"q": "DÉSK"}, ["lamp"]),
        ({"q": "désk-lamp"}, ["lamp"]),
        ({"q": "lamp désk"}, ["lamp"]),
        ({"q": "lam"}, ["lamp"]),
        ({"q": "lamp mug"}, []),
        ({"q": "2.0"}, ["lamp"]),
        ({"q": "light"}, ["lamp"]),
        ({"q": "oak & co."}, ["lamp"]),
        ({"q": "warm"}, ["lamp"]),
        ({"q": "clay"}, ["mug", "vase"]),
        ({"q": "o'brien's \\ vase"}, ["vase"]),
        ({"q": "65cm"}, ["vase"]),
        ({"q": "L-2"}, ["lamp"]),
        ({"q": "4006381333931"}, ["lamp"]),
        ({"q": "' | ! & ( ) :* \\"}, []),
        ({"q": "---"}, []),
        ({"sku": "L-2"}, ["lamp"]),
        ({"sku": "l-2"}, []),
        ({"barcode": "4006381333931"}, ["lamp"]),
        ({"brand": "Clay"}, ["mug", "vase"]),
        ({"category": "Kitchen"}, ["mug"]),
        ({"status": "draft"}, ["mug"]),
        ({"status": "archived"}, []),
        ({"source": "default"}, ["lamp", "mug", "vase"]),
        ({"source": "other"}, []),
        ({"in_stock": True}, ["lamp"]),
        ({"in_stock": False}, ["mug", "vase"]),
        ({"price_min": Decimal(15)}, ["lamp", "vase"]),
        ({"price_max": Decimal(10)}, ["lamp", "mug"]),
        ({"price_min": Decimal(15), "price_max": Decimal(25)}, ["vase"]),
        ({"price_max": Decimal(10), "in_stock": True}, []),
        ({"q": "clay", "status": "active"}, ["vase"]),
    ],
)
def test_filters(shop, matching, keys):
    assert _keys(shop, **matching) == keys


@pytest.mark.parametrize(
    ("brand", "category"),
    [
        ("Oak & Co.", "Home > Light/Lamps"),
        ("<b", "a > b"),
        ("O'Neill", "50% off!"),
        ("H&M", "&amp; more"),
        ("Müller+Söhne -GmbH", "+5 -5 1.5e3"),
        ("a@b.example", "https://x.example/?q=<1>&r"),
        ("\\", "'"),
        ("株式会社", "Лампы"),
        ("x" * 300, "y " * 200 + "z"),
    ],
)
def test_brands_and_categories_are_found_whatever_they_are_made_of(merchant, brand, category):
    cells = ",".join('"' + cell.replace('"', '""') + '"' for cell in (f"A <{'t ' * 3000}>", brand, category))
    run_feed(merchant, f"SKU,Title,Brand,Category,Price\nA1,{cells},1.00\n")
    assert _keys(merchant, brand=brand) == ["A1"]
    assert _keys(merchant, category=category) == ["A1"]
    assert _keys(merchant, brand=brand, category=category, source="default") == ["A1"]
    assert _keys(merchant, brand=brand[:-1] + "~") == []


def test_changed_since(shop):
    moment = now()
    assert _keys(shop, updated_after=moment) == []
    assert len(_keys(shop, updated_after=moment - timedelta(hours=1))) == 3
    run_feed(shop, FEED.replace("5.00", "6.00"))
    assert _keys(shop, updated_after=moment) == ["mug"]


def test_variants_are_added_up(shop):
    with transaction(merchant_id=shop) as session:
        found = list_products(session, ProductFilter(), Page(), merchant_id=shop)
        rows = {row.product.key: row for row in found.data}
    lamp, vase = rows["lamp"], rows["vase"]
    assert (lamp.variants, lamp.price_min, lamp.price_max, lamp.currency, lamp.stock) == (2, 10, 30, "EUR", 5)
    assert vase.stock is None


def test_pages_meet_without_gap_or_overlap(merchant):
    run_feed(merchant, "SKU,Title,Price\n" + "".join(f"{n:03},P,1.00\n" for n in range(25)))
    seen, after = [], None
    with transaction(merchant_id=merchant) as session:
        while True:
            found = list_products(session, ProductFilter(q="p"), Page(limit=10, after=after), merchant_id=merchant)
            seen += [row.product.key for row in found.data]
            if found.next is None:
                break
            after = decode_cursor(found.next)
    assert seen == [f"{n:03}" for n in reversed(range(25))]


def test_another_merchant_finds_nothing(shop, other_merchant):
    with transaction(merchant_id=shop) as session:
        id_ = list_products(session, ProductFilter(), Page(), merchant_id=shop).data[0].product.id
    assert _keys(other_merchant) == []
    assert _keys(other_merchant, q="lamp") == []
    with transaction(merchant_id=other_merchant) as session:
        # Even one who asks for the other's rows by name.
        assert list_products(session, ProductFilter(q="lamp"), Page(), merchant_id=shop).data == []
        with pytest.raises(ProductNotFound):
            get_product(session, id_)


def test_variants_come_in_the_order_of_the_feed_and_go_with_their_product(shop):
    with transaction(merchant_id=shop) as session:
        lamp = next(
            row.product for row in list_products(session, ProductFilter(sku="L-1"), Page(), merchant_id=shop).data
        )
        assert [variant.key for variant in variants_of(session, lamp)] == ["S", "M"]
        session.execute(text("DELETE FROM products WHERE id = :id"), {"id": lamp.id})
        assert session.execute(text("SELECT count(*) FROM variants")).scalar_one() == 2
