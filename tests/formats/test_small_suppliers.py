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
    "greek": ("Κωδικός;Περιγραφή;Τιμή με ΦΠΑ;Απόθεμα\nS1;Stol;100,00 €;5\n".encode("cp1253"), "100.00"),
    "bulgarian": ("Код;Име на продукта;Цена с ДДС;Наличност\nS1;Stol;100,00 лв.;5\n".encode("cp1251"), "100.00"),
    "serbian": ("Šifra;Naziv;Cena (RSD);Stanje\nS1;Stol;1.250,00;5\n".encode("cp1250"), "1250.00"),
    "croatian": ("Šifra artikla;Naziv artikla;VPC;MPC;Zaliha\nS1;Stol;80,00;100,00;5\n", "100.00"),
    "estonian": ("Tootekood;Nimetus;Hind;Laoseis\nS1;Stol;100,00;5\n", "100.00"),
    "lithuanian": ("Prekės kodas;Pavadinimas;Kaina su PVM;Likutis\nS1;Stol;100,00;5\n", "100.00"),
    "latvian": ("Artikuls;Nosaukums;Cena ar PVN;Atlikums\nS1;Stol;100,00;5\n", "100.00"),
    "vietnamese": ('Mã sản phẩm,Tên sản phẩm,Giá bán,Tồn kho\nS1,Stol,"125.000 ₫",5\n', "125000"),
    "indonesian": ("Kode Produk;Nama Produk;Harga;Stok\nS1;Stol;Rp 125.000;5\n", "125000"),
    "thai": ("รหัสสินค้า,ชื่อสินค้า,ราคา,จำนวน\nS1,Stol,฿100.00,5\n", "100.00"),
    "arabic": ("SKU,الاسم,السعر,الكمية\nS1,Stol,١٠٠٫٥٠,٥\n", "100.50"),
    "totals": ("SKU;Name;Menge;Preis\nS1;Stol;5;10,00\n;;;\nSumme;;5;10,00\n;Gesamt:;;10,00\n", "10.00"),
    "the header again": ("SKU;Name;Menge;Preis\nS1;Stol;5;10,00\nSKU;Name;Menge;Preis\n", "10.00"),
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


# -- What shop systems and marketplaces write ----------------------------------------------------------------------

ROWS: dict[str, tuple[str, list[str]]] = {
    "Amazon, flat file": (
        "Template=x\tVersion=1\tTop rows are theirs\t\t\t\t\t\nSeller SKU\tProduct Name\tStandard Price\tList Price\t"
        "Sale Price\tQuantity\tParentage\tParent SKU\tSize\n"
        "item_sku\titem_name\tstandard_price\tlist_price\tsale_price\t"
        "quantity\tparent_child\tparent_sku\tsize_name\nP\tTowel\t\t\t\t\tParent\t\t\n"
        "A\tTowel S\t9.99\t12.99\t\t10\tChild\t"
        "P\tS\nB\tTowel L\t14.99\t\t11.99\t3\tChild\tP\tL\n",
        ["P - None - Towel", "P - A 9.99 12.99 10 S Towel S", "P - B 11.99 14.99 3 L Towel L"],
    ),
    "BigCommerce 2": (
        "Item Type,Product ID,Product Name,Product Code/SKU,Price,Retail Price,Sale Price,Current Stock Level\n"
        "Product,77,Bag,BAG,30.00,40.00,25.00,0\nSKU,,[RT]Size=Small,BAG-S,30.00,,,5\n"
        "SKU,,[RT]Size=Large,BAG-L,35.00,,,2\n"
        "Product,78,Pen,PEN,2.50,3.00,0.00,9\n",
        ["77 - None - Bag", "77 - BAG-S 30.00 - 5 Small", "77 - BAG-L 35.00 - 2 Large", "78 - PEN 2.50 3.00 9 - Pen"],
    ),
    "BigCommerce 3": (
        "Item,ID,Name,SKU,Price,Current Stock,Image URL (Import)\nProduct,77,Bag,BAG,30,0,\nVariant,201,,BAG-S,,5,\n"
        "Image,,,,,,https://b.example/1.jpg\n",
        ["77 - None - Bag", "77 - BAG-S 30 - 5 -", "77 - None - Bag"],
    ),
    "a title without an end": (
        f"type,id,name,sku,price\nproduct,1,Bag,,5\nvariant,2,{'a' * 100_000},S,6\n",
        ["1 - None - Bag", "1 - S 6 - - -"],
    ),
    "Ecwid": (
        "type,product_internal_id,product_sku,product_quantity,product_name,product_price,product_option_value,"
        "product_variation_sku,product_variation_quantity,product_variation_price,product_variation_option_{Size}\n"
        "product,111,T,30,Shirt,10.00,,,,,\nproduct_option,111,,,,,S,,,,\nproduct_variation,111,,,,,,T-S,10,,S\n"
        "product_variation,111,,,,,,T-M,20,12.00,M\nproduct,112,MUG,5,Mug,7.50,,,,,\n",
        ["111 - None - Shirt", "111 - None - Shirt", "111 - T-S 10.00 - 10 S", "111 - T-M 12.00 - 20 M",
         "112 - MUG 7.50 - 5 - Mug"],
    ),
    "Wix": (
        "handleId,fieldType,name,sku,price,surcharge,inventory,productOptionName1,productOptionDescription1\n"
        "p1,Product,Shirt,,20,,,Size,S;M\np1,Variant,,W-S,,0,5,,S\np1,Variant,,W-M,,2.5,OutOfStock,,M\n",
        ["p1 - None - Shirt", "p1 - W-S 20 - 5 S", "p1 - W-M 22.5 - 0 M"],
    ),
    "eBay": (
        "*Action(SiteID=US),CustomLabel,*Title,Relationship,RelationshipDetails,*StartPrice,*Quantity,P:EAN\n"
        "Add,P,Polo,,Color=Red;Blue|Size=M;L,,,\n,RM,,Variation,Color=Red|Size=M,19.99,5,\n"
        "Add,LAMP,Lamp,,,45.00,2,4006381333931\n",
        ["Polo - None - Polo", "Polo - RM 19.99 - 5 Red / M", "Lamp 4006381333931 LAMP 45.00 - 2 - Lamp"],
    ),
    "ChannelAdvisor": (
        "Auction Title,Inventory Number,Quantity,MPN,Buy It Now Price,Retail Price,Variation Parent SKU,Attribute1Name,"
        "Attribute1Value\nPolo,P,0,,,,Parent,Size,\nPolo S,P-S,4,M1,19.99,29.99,P,Size,S\n",
        ["P - None - Polo", "P - P-S 19.99 29.99 4 S Polo S"],
    ),
    "Squarespace: a price that is not on": (
        "Product ID,Title,SKU,Price,Sale Price,On Sale,Stock\n5e1,Tote,S1,40.00,30.00,No,3\n"
        "5e2,Bag,S2,40.00,30.00,Yes,1\n",
        ["5e1 - S1 40.00 - 3 - Tote", "5e2 - S2 30.00 40.00 1 - Bag"],
    ),
    "Mirakl: a reduction that is over, a code that is no key": (
        "sku;product-id;product-id-type;price;quantity;discount-price;discount-start-date;discount-end-date\n"
        "M1;4006381333931;EAN;49.99;12;39.99;2020-01-01;2999-12-31\n"
        "M2;4006381333931;EAN;19.99;0;9.99;2020-01-01;2020-12-31\n",
        ["M1 4006381333931 M1 39.99 49.99 12 -", "M2 4006381333931 M2 19.99 - 0 -"],
    ),
    "an empty column of prices gives way to no other": (
        "sku;name;Preis inkl. MwSt;Preis exkl. MwSt\nA;Lamp;;10,00\n", ["A - A - - - - Lamp"],
    ),
    "a variant without a number": (
        "sku,name,type,price\nB,Bag,product,5\n,[CS]Color=Red,variant,6\n", ["B - None - Bag", "B - - 6 - - Red"],
    ),
    "Lightspeed: an empty column": (
        "Internal_ID,NL_Title_Short,NL_Variant,Price,Price_Old,Stock_Level,SKU,Article_Code\n"
        "1,Jas,Maat: M,99.95,129.95,3,,J-1\n1,Jas,Maat: L,99.95,0,0,,J-2\n",
        ["1 - J-1 99.95 129.95 3 - Jas", "1 - J-2 99.95 - 0 - Jas"],
    ),
    "PrestaShop: a price per unit beside the price": (
        "Product ID;Name *;Price tax excluded;Wholesale price;Reference #;Quantity;Unit price\n"
        "1;Tee;23.9;10;D1;300;1.2\n",
        ["1 - D1 23.9 - 300 - Tee"],
    ),
    "Magento: translations": (
        "sku,store_view_code,name,price,qty\nMUG,,Mug,9.5,3\nMUG,de,Tasse,,\n", ["MUG - MUG 9.5 - 3 - Mug"],
    ),
    "JTL": (
        "Artikelnummer;Artikelname;Vaterartikel;Std. VK Brutto;Lagerbestand;Variationsname 1;Variationswertname 1\n"
        "J;Hemd;;19,95;0;;\nJ-S;Hemd S;J;19,95;4;Größe;S\nK;Tasse;;7,50;12;;\n",
        ["J - None - Hemd", "J - J-S 19.95 - 4 S Hemd S", "K - K 7.50 - 12 - Tasse"],
    ),
    "Nuvemshop": (
        "Identificador de URL;Nome;Nome da variação 1;Valor da variação 1;Preço;Preço promocional;Estoque;SKU\n"
        "camiseta;Camiseta;Tamanho;P;59,90;49,90;10;C-P\ncamiseta;;Tamanho;M;59,90;;0;C-M\n",
        ["camiseta - C-P 49.90 59.90 10 P Camiseta", "camiseta - C-M 59.90 - 0 M"],
    ),
    "Shoptet": (
        "code;pairCode;name;price;currency;stock;variant:Velikost\nT/S;T;Tričko;299;CZK;5;S\n"
        "H;;Hrnek;149,50;CZK;1;\n",
        ["T - T/S 299 - 5 S Tričko", "H - H 149.50 - 1 - Hrnek"],
    ),
    "SAP: lines drawn": (
        "06.03.2024  Liste\n-----------------------------------------\n"
        "|Material|Materialkurztext|EAN/UPC      |  VKPreis|Bestand|\n"
        "-----------------------------------------\n|100-1   |Gehäuse         |4006381333931| 1.249,00|     12|\n"
        "-----------------------------------------\n",
        ["100-1 4006381333931 100-1 1249.00 - 12 - Gehäuse"],
    ),
    "Shopware: customer groups": (
        "ordernumber;mainnumber;name;price_EK;pseudoprice_EK;instock;configuratorOptions\n"
        "S.1;S;Main;19,95;29,95;10;Farbe:blau|Größe:L\n",
        ["S - S.1 19.95 29.95 10 blau / L Main"],
    ),
    "Odoo": (
        "Internal Reference,Name,Sales Price,Cost,Quantity On Hand\nF1,Desk,450.0,300.0,12.0\n"
        "F2,Desk,460.0,300.0,0.0\n",
        ["F1 - F1 450.0 - 12 - Desk", "F2 - F2 460.0 - 0 - Desk"],
    ),
    "Odoo, names of fields": (
        "id,default_code,name,list_price,standard_price,qty_available\np1,E1,Chair,70.0,45.0,5.0\n",
        ["p1 - E1 70.0 - 5 - Chair"],
    ),
    "Prom: plus and minus": ("Код_товару;Назва_позиції;Ціна;Наявність;Кількість\nA;Кружка;250;+;5\nB;Чайник;900;-;\n",
                             ["A - A 250 - 5 - Кружка", "B - B 900 - 0 - Чайник"]),
    "Square: one place": (
        "Item Name,SKU,Price,Current Quantity Main Street,New Quantity Main Street\nTea,T1,3.50,10,\n",
        ["T1 - T1 3.50 - 10 - Tea"],
    ),
    "Mercado Libre: of whose dollars a column says": (
        "SKU,Título,Cantidad,Precio [$],Moneda\nA1,Vaso,4,$ 1250.00,ARS\n",
        ["A1 - A1 1250.00 - 4 - Vaso"],
    ),
    "Trovaprezzi": ("Nome|Prezzo Originale|Prezzo|Codice Interno|Codice EAN|Disponibilità\n"
    "Frullatore|59,90|49,90|T1||5\n",
                    ["T1 - T1 49.90 59.90 5 - Frullatore"]),
}  # fmt: skip


def _line(draft: Draft) -> str:
    options = draft.option_values and draft.option_values.replace("\n", " / ")
    if draft.variant_key is None:
        return f"{draft.product_key} - None - {draft.title}"
    fields = (draft.product_key, draft.barcode, draft.sku, draft.price, draft.compare_at_price, draft.stock, options)
    return " ".join((*(field or "-" for field in fields), draft.title or "")).strip()


def test_a_sign_of_many_currencies_is_told_by_the_column_beside_it() -> None:
    text = "SKU,Name,Price [$],Currency\nA,Cup,$ 5,CAD\nB,Cup,$ 5,\nC,Cup,€ 5,CAD\n"
    assert said(text, "currency") == [("CAD",), ("USD",), ("EUR",)]


@pytest.mark.parametrize(("text", "lines"), ROWS.values(), ids=ROWS)
def test_rows_of_shop_systems_and_marketplaces(text: str, lines: list[str]) -> None:
    """Product, barcode, SKU, price, list price, stock, options, title; None: a product without what is sold."""
    found, errors = split(any_feed(text))
    assert errors == []
    assert list(map(_line, found)) == lines


TREES: dict[str, tuple[str, list[str]]] = {
    "Skroutz": (
        "<shop><products><product><id>K1</id><name>Shirt</name><price_with_vat>29.90</price_with_vat><quantity>9</quantity>"
        "<ean>4006381333931</ean><variations><variation><variationid>K1S</variationid><size>S</size><quantity>4</quantity>"
        "<price_with_vat>29.90</price_with_vat></variation><variation><size>M</size><quantity>5</quantity>"
        "<price_with_vat>31.90</price_with_vat></variation></variations></product><product><id>K2</id><name>Mug</name>"
        "<price_with_vat>7.50</price_with_vat><quantity>2</quantity></product></products></shop>",
        ["K1 - - 29.90 - 4 S Shirt", "K1 - - 31.90 - 5 M Shirt", "K2 - K2 7.50 - 2 - Mug"],
    ),
    "IdoSell": (
        "<offer><products><product id='101'><description><name>Koszulka</name><long_desc>x</long_desc></description>"
        "<price gross='49.99' net='40.64'/><srp gross='59.99' net='48.77'/><sizes><size id='3' name='S' code='101-3' "
        "code_producer='5901234567890' available='yes'><stock id='1' quantity='5'/></size><size id='4' name='M' "
        "code='101-4'><stock id='1' quantity='7'/></size></sizes></product></products></offer>",
        ["101 5901234567890 101-3 49.99 59.99 5 S Koszulka", "101 - 101-4 49.99 59.99 7 M Koszulka"],
    ),
    "BigCommerce": (
        json.dumps({"data": [{"id": 77, "name": "Bag", "sku": "BAG", "price": 30, "sale_price": 25,
            "inventory_level": 5, "variants": [{"id": n, "sku": f"BAG-{n}", "price": price, "inventory_level": n,
                          "option_values": [{"label": size, "option_display_name": "Size"}]} for n, price, size in
                         ((1, 30, "S"), (2, 35, "L"))]}]}),
        ["77 - BAG-1 30 - 1 S Bag", "77 - BAG-2 35 - 2 L Bag"],
    ),
    "Ecwid": (
        json.dumps({"items": [{"id": 3, "sku": "C", "name": "Cherry", "price": 2.5, "options": [{"type": "RADIO"}],
            "combinations": [{"sku": "C-S", "quantity": 4, "options": [{"name": "Size", "value": "S"}]}]}]}),
        ["3 - C-S 2.5 - 4 S Cherry"],
    ),
    "Magento": (
        json.dumps({"items": [{"id": 1, "sku": "MB", "name": "Bag", "price": 34, "extension_attributes": {"stock_item":
            {"qty": 100}}, "custom_attributes": [{"attribute_code": "special_price", "value": "30.00"}]}]}),
        ["1 - MB 30.00 34 100 - Bag"],
    ),
    "several prices": (
        "<list><item sku='A'><name>Cup</name><price group='B2C' currency='EUR'>5</price><price group='B2B'>"
        "4</price></item><item sku='B'><name>Jug</name><price group='B2C' currency='EUR'>7</price></item></list>",
        ["A - A 5 - - - Cup", "B - B 7 - - - Jug"],
    ),
    "prices of kinds": (
        "<list><Product><SKU>A</SKU><Names><Name lang='en'>Lamp</Name><Name lang='de'>Lampe</Name></Names><Prices>"
        "<Price type='wholesale'>5.00</Price><Price type='retail'>10.00</Price></Prices></Product></list>",
        ["A - A 10.00 - - - Lamp"],
    ),
    "PrestaShop": (
        "<prestashop><products><product><id>1</id><reference>D1</reference><price>23.9</price><quantity>4</quantity><name>"
        "<language id='1'>Tee</language><language id='2'>T-shirt</language></name></product></products></prestashop>",
        ["1 - D1 23.9 - 4 - Tee"],
    ),
    "WooCommerce": (
        json.dumps([{"id": n, "parent_id": 0, "name": "Cup", "sku": f"C{n}", "price": "9"} for n in (1, 2)]),
        ["1 - C1 9 - - - Cup", "2 - C2 9 - - - Cup"],
    ),
    "Shopware": (
        json.dumps({"data": [{"id": "a1", "productNumber": "S1", "name": "Hemd", "stock": 5, "price":
            [{"net": 16.8, "gross": 20}]}]}),
        ["a1 - S1 20 - 5 - Hemd"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("document", "lines"), TREES.values(), ids=TREES)
def test_trees_of_shop_systems_and_marketplaces(document: str, lines: list[str]) -> None:
    found, errors = split(any_feed(document))
    assert errors == []
    assert list(map(_line, found)) == lines
    assert {draft.category for draft in found} == {None}
