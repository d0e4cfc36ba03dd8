"""Price lists and feeds as small suppliers write them: in their languages, below titles, in nests of their own."""

import json
from typing import Any

import pytest
from feeds import any_feed, split

from services.formats.base import Draft, FeedRefused

_FIELDS = ("product_key", "title", "price", "stock")


def said(data: str | bytes, *fields: str) -> list[tuple[str | None, ...]]:
    """The named fields of all drafts of a feed that has no errors."""
    found, errors = split(any_feed(data))
    assert errors == []
    return [tuple(getattr(one, field) for field in fields or _FIELDS) for one in found]


LISTS = {
    "swedish": (
        "Artikelnummer;Benämning;Pris exkl. moms;Pris inkl. moms;Lagersaldo\nS1;Stol;80,00;100,00;5\n",
        "100.00",
    ),
    "danish": ("Varenummer;Varenavn;Kostpris;Pris;Lager\nS1;Stol;80,00;100,00;5\n", "100.00"),
    "finnish": ("Tuotenumero;Tuotenimi;Ostohinta;Hinta sis. ALV;Varastosaldo\nS1;Stol;80,00;100,00;5\n", "100.00"),
    "portuguese": ("Referência;Nome do produto;Preço de custo;Preço;Estoque\nS1;Stol;80,00;100,00;5\n", "100.00"),
    "hungarian": ("Cikkszám;Megnevezés;Nettó ár;Bruttó ár;Készlet\nS1;Stol;80 Ft;100 Ft;5\n", "100"),
    "romanian": ("Cod produs;Denumire;Preț achiziție;Preț;Stoc\nS1;Stol;80,00;100,00;5\n", "100.00"),
    "turkish": ("Stok Kodu;Ürün Adı;Alış Fiyatı;Satış Fiyatı (TL);Stok Miktarı\nS1;Stol;80,00;100,00;5\n", "100.00"),
    "russian": ("Прайс-лист\n\nАртикул;Наименование;Цена, руб.;Остаток на складе\nS1;Stol;100,00;5\n", "100.00"),
    "japanese": ("商品番号,商品名,卸価格,価格(税込),在庫数\nS1,Stol,８０,￥１００,５\n".encode("cp932"), "100"),
    "korean": ("상품코드,상품명,공급가,판매가,재고\nS1,Stol,80,100,5\n", "100"),
    "chinese": ("商品编号,商品名称,成本价,售价,库存数量\nS1,Stol,80,100,5\n", "100"),
    "codes in small letters": ("sku,name,price_chf,price_eur,qty\nS1,Stol,110,100,5\n", "100"),
    "articles by number": ("Artikel;Bezeichnung;Preis;Bestand\nS1;Stol;100,00;5\n", "100.00"),
    "a shop system's own": ("ordernumber;name;supplier;price;instock;categories\nS1;Stol;Acme;100;5;\n", "100"),
    "per piece": ("SKU,Name,Price per unit,Price per 100,Qty avail.\nS1,Stol,100,90,5\n", "100"),
}


@pytest.mark.parametrize(("data", "price"), LISTS.values(), ids=LISTS)
def test_headers_in_many_languages(data: str | bytes, price: str) -> None:
    assert said(data) == [("S1", "Stol", price, "5")]


def test_a_header_in_two_rows_of_text() -> None:
    text = (
        "Product;;;Price EUR;;Stock\n"
        "Code;Name;Barcode;Purchase;Retail;\n"
        "001;Cup;4006381333931;2,50;5,00;10\n"
    )  # fmt: skip
    assert said(text, "sku", "cost", "price", "currency", "stock") == [("001", "2.50", "5.00", "EUR", "10")]


def test_half_of_a_header_over_several_columns_does_not_say_which_of_them_it_is() -> None:
    text = "Product;;Price;;Stock\nCode;Name;Zone A;Zone B;\nA1;Cup;5,00;7,00;10\n"
    assert said(text) == [("A1", "Cup", None, "10")]


@pytest.mark.parametrize("heading", ["{};;;", ";{};;"])
def test_rows_of_text_that_name_a_category(heading: str) -> None:
    rows = [heading.format("Garden"), "100;Rake;5,10;3", "B-2;Spade;6,20;7", heading.format("For the kitchen"),
            "200;Knife;3,00;1", "B-3;;;"]  # fmt: skip
    found = any_feed("\n".join(["Code;Name;Price;Stock", *rows]))
    drafts, _ = split(found)
    assert [(one.product_key, one.category, one.line) for one in drafts] == [
        ("100", "Garden", 3), ("B-2", "Garden", 4), ("200", "For the kitchen", 6), ("B-3", "For the kitchen", 7),
    ]  # fmt: skip
    assert found.rows is not None
    assert [line for line, _ in found.rows()] == [3, 4, 6, 7]
    assert found.runs is None  # what is above a record belongs to it


def test_numbers_alone_are_no_products() -> None:
    with pytest.raises(FeedRefused, match="anything of a product but its number") as refused:
        any_feed("Artikelnummer;Foo;Bar\n1;x;y\n")
    assert refused.value.code == "no_product_columns"
    assert refused.value.seen[0] == ["Artikelnummer", "Foo", "Bar"]


LAMP = {"name": "Lamp", "price": 19.9, "stock": 3}
NESTS: dict[str, Any] = {
    "attributes": {"data": [{"id": "A1", "attributes": {**LAMP, "price": None, "pricing": {"amount": "19.9"}}}]},
    "keyed": {"A1": LAMP},
    "keyed deeper": {"count": 1, "products": {"A1": LAMP, "A2": LAMP}},
    "languages": {"items": [{**LAMP, "sku": "A1", "name": {"en": "Lamp", "de": "Lampe"}}]},
    "GraphQL": {
        "data": {"products": {"edges": [{"node": {"handle": "A1", "title": "Lamp", "variants": {"edges": [
            {"node": {"sku": "L", "price": "19.9", "inventoryQuantity": 3}}]}}}]}}
    },
}  # fmt: skip


@pytest.mark.parametrize("document", NESTS.values(), ids=NESTS)
def test_nests(document: Any) -> None:
    assert said(json.dumps(document))[0] == ("A1", "Lamp", "19.9", "3")


def test_a_shop_systems_api() -> None:
    product = {
        "id": 10, "name": "Shirt", "slug": "shirt", "type": "simple", "sku": "S", "price": "18", "sale_price": "18",
        "regular_price": "20", "categories": [{"id": 1, "name": "Clothing"}],
        "images": [{"id": 3, "src": "https://shop.example/1.jpg", "name": "front"}],
    }  # fmt: skip
    fields = ("price", "compare_at_price", "category", "image_urls")
    assert said(json.dumps([product]), *fields) == [("18", "20", "Clothing", "https://shop.example/1.jpg")]


def _options(draft: Draft) -> tuple[str | None, ...]:
    return draft.product_key, draft.title, draft.variant_key, draft.option_names, draft.sku, draft.price


PAIRS = [{"name": "Colour", "value": "Red"}, {"name": "Size", "value": "S"}]
WITH_VARIANTS = {
    "pairs": json.dumps([{"id": 7, "title": "Shirt", "variants": [{"sku": "A", "options": PAIRS, "price": 20}]}]),
    "an object": json.dumps(
        [
            {
                "id": 7,
                "title": "Shirt",
                "variants": [{"sku": "A", "options": {"Colour": "Red", "Size": "S"}, "price": 20}],
            }
        ]
    ),
    "elements": "<list><product id='7'><title>Shirt</title><variants><variant><sku>A</sku><Colour>Red</Colour>"
    "<Size>S</Size><price>20</price></variant></variants></product></list>",
    "elements without a list": "<list><product id='7'><title>Shirt</title><variant sku='A'><price>20</price><option>"
    "<name>Colour</name><value>Red</value></option><param name='Size'>S</param></variant></product></list>",
}


@pytest.mark.parametrize("document", WITH_VARIANTS.values(), ids=WITH_VARIANTS)
def test_variants_inside_products(document: str) -> None:
    found, errors = split(any_feed(document))
    assert errors == []
    assert list(map(_options, found)) == [("7", "Shirt", "Red / S", "Colour\nSize", "A", "20")]


@pytest.mark.parametrize("product", ["Lamp 2", "Lamp"])
def test_an_article_that_is_no_number_is_a_name(product: str) -> None:
    assert said(f"Product,Description,Price,Stock\n{product},Nice,5,1\n") == [(product, product, "5", "1")]


def test_values_inside_elements_in_other_languages() -> None:
    item = "<Artikel><ArtNr>{}</ArtNr><Preis Waehrung='EUR'>5</Preis><Bilder><Bild url='https://i.example/1.jpg'/>"
    item += "</Bilder></Artikel>"
    document = "<Liste>" + item.format(1) + item.format(2) + "</Liste>"
    assert said(document, "sku", "currency", "image_urls")[0] == ("1", "EUR", "https://i.example/1.jpg")


def test_what_a_price_is_called_is_no_category() -> None:
    item = "<item><sku>{}</sku><name>Cup</name><prices><price type='net' currency='EUR'>5</price></prices></item>"
    document = "<items>" + item.format(1) + item.format(2) + "</items>"
    assert said(document, "sku", "price", "currency", "category") == [("1", "5", "EUR", None), ("2", "5", "EUR", None)]
