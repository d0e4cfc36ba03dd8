"""Any other table: which column is what, which of several is used, and what a record is."""

import pytest
from feeds import drafts, read, reading

from services.formats import headers, links


@pytest.mark.parametrize(
    ("header", "field"),
    [
        ("SKU", "sku"), ("Artikel-Nr.", "sku"), ("Art.Nr.", "sku"), ("Référence", "sku"), ("Artikelnummer 2", "sku"),
        ("Código", "sku"), ("Артикул", "sku"), ("Kód zboží", "sku"), ("ARTIKEL_NR", "sku"), ("Variant SKU", "sku"),
        ("Reference #", "sku"), ("StockCode", "sku"),
        ("Bezeichnung", "title"), ("Bezeichung", "title"), ("Nazwa produktu", "title"), ("Název", "title"),
        ("Product Title", "title"), ("productName", "title"), ("name:en", "title"), ("Name*", "title"),
        ("Название", "title"), ("Désignation", "title"), ("ARTIKEL1", "title"),
        ("Preis (inkl. MwSt)", "price"), ("VK brutto", "price"), ("Prix TTC", "price"), ("Price tax excl.", "price"),
        ("Variant Price USD", "price"), ("Price (€)", "price"), ("Cena", "price"), ("Prezzo", "price"),
        ("Verkaufspreis exkl. MWST", "price"), ("unitPrice", "price"), ("Цена", "price"), ("PVP", "price"),
        ("EK", "cost"), ("EK netto", "cost"), ("Wholesale price", "cost"), ("Prix d'achat", "cost"),
        ("Cena zakupu", "cost"), ("Cost per item", "cost"),
        ("UVP", "compare_at_price"), ("EVP", "compare_at_price"), ("RRP", "compare_at_price"),
        ("sale_price", "sale"), ("special_price", "sale"), ("Aktionspreis", "sale"),
        ("Lagerbestand", "stock"), ("Bestand", "stock"), ("Qty", "stock"), ("unitsInStock", "stock"),
        ("Stan magazynowy", "stock"), ("Остаток", "stock"), ("Variant Inventory Quantity", "stock"),
        ("EAN-Code", "barcode"),
        ("Code EAN", "barcode"), ("EAN13", "barcode"), ("UPCEAN", "barcode"), ("GTIN, UPC, EAN, or ISBN", "barcode"),
        ("Hersteller", "brand"), ("Marque", "brand"), ("Produttore", "brand"), ("Manufacturer", "brand"),
        ("Gewicht in kg", "weight"), ("Poids (g)", "weight"), ("Bruttogewicht", "weight"), ("Weight (lbs)", "weight"),
        ("Kategorie 1", "category"), ("google_product_category", "category"), ("Categories (x,y,z,...)", "category"),
        ("image_link", "image"), ("Image Src", "image"), ("Product Image 2", "image"), ("Bild1", "image"),
        ("additional_image_link", "more_images"), ("Währung", "currency"), ("item_group_id", "group"),
        ("Product Handle", "handle"), ("slug", "handle"),
        ("Variant Title", None), ("Variant Price Test Region [USD]", None), ("Tax rules id", None),
        ("MWST Satz", None), ("Show price", None), ("Feature:Height", None), ("Supplier reference #", None),
        ("x" * 300, None), ("", None),
    ],
)  # fmt: skip
def test_meaning(header: str, field: str | None) -> None:
    (found,) = headers.meanings([header])
    assert (found.field if found else None) == field


def test_what_a_header_adds() -> None:
    assert headers.meanings(["Price EUR"]) == [headers.Meaning("price", 0, currency="EUR")]
    net, gross = headers.meanings(["Preis (exkl. MWSt)", "Preis (inkl. MWSt)"])
    assert net is not None
    assert gross is not None
    assert (net.net, gross.net) == (True, False)
    units = [
        found.unit
        for found in headers.meanings(["Weight (lbs)", "Gewicht in kg", "Poids g", "Grams", "Gewicht 1"])
        if found
    ]
    assert units == ["lbs", "kg", "g", "grams", None]


def test_of_several_price_columns_the_gross_one() -> None:
    text = "Artikelnummer;Bezeichnung;Preis (exkl. MWSt);Preis (inkl. MWSt);UVP\n1;Lampe;10,00;11,90;15,00\n"
    (one,) = drafts(text)
    assert (one.price, one.compare_at_price) == ("11.90", "15.00")


def test_a_list_price_stands_in_for_a_missing_price() -> None:
    (one,) = drafts("ARTIKEL_NR|ARTIKEL1|EVP|EK\n1|Lamp|48.00|44.00\n")
    assert (one.price, one.compare_at_price, one.cost) == ("48.00", None, "44.00")


@pytest.mark.parametrize(
    ("currency", "price", "named"),
    [("EUR", "45", "EUR"), ("DKK", "30", "DKK"), (None, "100", "USD"), ("GBP", "100", "USD")],
)
def test_of_several_currencies_the_shops_own(currency: str | None, price: str, named: str) -> None:
    text = "sku,name,Price DKK,Price EUR,Price USD\n1,Lamp,30,45,100\n"
    (one,) = drafts(text, currency=currency)
    assert (one.price, one.currency) == (price, named)


def test_where_a_currency_comes_from() -> None:
    text = "sku,name,price,currency\n1,Lamp,5 USD,EUR\n2,Desk,5,EUR\n3,Bed,5,\n4,Rug,,EUR\n5,Cup,5,??\n"
    found, errors = read(text, currency="CHF")
    assert [one.currency for one in found] == ["USD", "EUR", "CHF", None, "CHF"]
    assert [(one.line, one.code, one.fatal) for one in errors] == [(6, "currency_unknown", False)]


def test_a_price_that_cannot_be_used_leaves_the_record() -> None:
    text = "sku,name,price,cost,ean,qty\n" + (
        "1,Lamp,ask us,5,4006381333931,1\n2,Desk,-5,0,4.03E+12,lots of 3\n3,Bed,0,,4006381333930,in stock\n4,Rug,,,,\n"
    )
    found, errors = read(text)
    assert [(one.sku, one.price, one.cost) for one in found] == [
        ("1", None, "5"),
        ("2", None, None),
        ("3", None, None),
        ("4", None, None),
    ]
    assert [(one.line, one.code, one.column, one.value) for one in errors] == [
        (2, "price_unparsable", "price", "ask us"),
        (3, "barcode_damaged", "ean", "4.03E+12"),
        (3, "price_negative", "price", "-5"),
        (3, "cost_zero", "cost", "0"),
        (3, "stock_unparsable", "qty", "lots of 3"),
        (4, "price_zero", "price", "0"),
    ]
    assert not any(one.fatal for one in errors)
    assert found[2].barcode == "4006381333930"  # its check digit is wrong, and that is the merchant's business


def test_the_habit_of_a_column_and_of_the_file() -> None:
    text = "sku;name;price;cost\n1;Lamp;1.299;5,50\n2;Desk;2.500;7,25\n"
    assert [one.price for one in drafts(text)] == ["1299", "2500"]
    text = "sku;name;price\n1;Lamp;9,50\n2;Desk;9.50\n3;Bed;1.299\n"
    found, errors = read(text)
    assert [one.price for one in found] == ["9.50", "9.50", None]
    assert [(one.line, one.code) for one in errors] == [(4, "price_ambiguous")]


def test_article_numbers_are_text() -> None:
    text = 'sku,name,ean\n0012,A,\'0400638\n\'872000,B,"=""0012"""\n1E5,C,4006381333931.0\n10 50 0086,D,\n1.23E+12,E,\n'
    found, errors = read(text)
    assert [(one.product_key, one.sku, one.barcode) for one in found] == [
        ("0012", "0012", "0400638"),
        ("872000", "872000", "0012"),
        ("1E5", "1E5", "4006381333931"),
        ("10 50 0086", "10 50 0086", None),
        ("E", None, None),
    ]
    assert [(one.line, one.code, one.fatal) for one in errors] == [(6, "sku_damaged", False)]


def test_a_shopping_feed() -> None:
    text = (
        "id\ttitle\tlink\timage link\tadditional_image_link\tprice\tsale_price\tavailability\titem_group_id\tcolor"
        "\tsize\tmpn\tshipping weight\n"
        "v1\tTee\thttps://x.example\thttps://x.example/1.jpg\thttps://x.example/2.jpg,https://x.example/a,b.jpg\t"
        "15.00 USD\t12.00 USD\tin stock\tg1\tRed\tL\tM-1\t350 g\n"
        "v2\tTee\thttps://x.example\t\t\t15.00 USD\t\tout_of_stock\tg1\tRed\tL\tM-1\t\n"
        "v3\tCap\thttps://x.example\t\t\t9 USD\t\tout of stock\t\tBlue\t\t\t\n"
    )
    first, second, third = drafts(text)
    assert (first.product_key, first.variant_key, first.sku) == ("g1", "v1", "v1")
    assert (first.option_names, first.option_values) == ("color\nsize", "Red\nL")
    assert (first.price, first.compare_at_price, first.currency) == ("12.00", "15.00", "USD")
    assert first.image_urls == "https://x.example/1.jpg\nhttps://x.example/2.jpg\nhttps://x.example/a,b.jpg"
    assert (first.weight_grams, first.stock, second.stock) == ("350", None, "0")
    assert (second.product_key, second.variant_key) == ("g1", "v2")  # same colour and size: the id keeps them apart
    assert (third.product_key, third.variant_key) == ("v3", "v3")


def test_a_sale_price_holds_between_the_two_days_of_its_period() -> None:
    text = "id,title,price,sale_price,sale_price_effective_date\n"
    for number, period in enumerate(("2001-01-01T11:00+0100/2001-02-01T11:00+0100", "2001-01-01/2999-01-01", "")):
        text += f"{number},Tee,15.00 USD,12.00 USD,{period}\n"
    assert [one.price for one in drafts(text)] == ["15.00", "12.00", "12.00"]


def test_a_parent_is_a_product_and_no_variant() -> None:
    text = "sku,parent_sku,product_type,name,price\nP,,variable,Tee,\nV,P,simple,Tee red,5\nS,,simple,Cap,6\n"
    assert [(one.product_key, one.variant_key) for one in drafts(text)] == [("P", None), ("P", "V"), ("S", "S")]


def test_the_first_of_two_links_is_kept() -> None:
    look_up = links.build([("a", "1"), ("a", "2"), ("b", "3")])
    assert [look_up(key) for key in "abc"] == ["1", "3", None]


def test_product_cells_on_the_first_row_of_a_group_only() -> None:
    text = (
        "name,slug,optionGroups,optionValues,sku,price,stockOnHand\n"
        "Laptop,laptop,size|RAM,13|8GB,L1,1299.00,5\n,,,15|8GB,L2,1399.00,6\n,,,15,L3,1.00,7\n"
        "Easel,,,,M02,910.70,1\n,,,,,,\n"
    )
    found, errors = read(text)
    assert [(one.product_key, one.variant_key, one.option_names, one.sku) for one in found] == [
        ("laptop", "13 / 8GB", "size\nRAM", "L1"),
        ("laptop", "15 / 8GB", None, "L2"),
        ("laptop", "15", None, "L3"),
        ("Easel", "M02", None, "M02"),
    ]
    assert errors == []


def test_more_option_values_than_options() -> None:
    text = "name,optionGroups,optionValues,sku\nSmock,size,small|beige,1\n,,large|beige,2\nCap,size,S,3\n"
    found, errors = read(text)
    assert [one.sku for one in found] == ["3"]
    assert [(one.line, one.code, one.fatal) for one in errors] == [
        (2, "options_mismatch", True),
        (3, "options_mismatch", True),
    ]


def test_numbered_options_and_option_pairs() -> None:
    text = (
        "Product Handle,Product Title,Variant Sku,Option 1 Name,Option 1 Value,Option 2 Name,Option 2 Value\n"
        "tee,Tee,a,Size,S,Colour,Red\n"
    )
    (one,) = drafts(text)
    assert (one.product_key, one.variant_key, one.option_names) == ("tee", "S / Red", "Size\nColour")
    (pair,) = drafts("Product ID*;Options (Group:Value)*;Reference;Price\n1;Color:Blue, Disk Space:16GO;958;41\n")
    assert (pair.product_key, pair.variant_key, pair.option_names) == ("1", "Blue / 16GO", "Color\nDisk Space")
    text = (
        "Product ID*;Attribute (Name:Type:Position)*;Value (Value:Position)*;Reference\n"
        "1;Size:select:0, Color:color:1;M:0, Red:1;x\n"
    )
    (listed,) = drafts(text)
    assert (listed.variant_key, listed.option_names) == ("M / Red", "Size\nColor")


def test_parents_that_are_named_by_their_variants() -> None:
    text = (
        "ID,Parent SKU,SKU,Name,Colour,Price\n"
        "11,P1,P1-R,Shirt red,Red,9.90\n"
        "10,,P1,Shirt,,\n"
        "12,P1,P1-B,Shirt blue,Blue,9.90\n"
        "13,,P2,Hat,,5.00\n"
    )
    assert [(one.product_key, one.variant_key, one.title) for one in drafts(text)] == [
        ("P1", "Red", "Shirt red"), ("P1", None, "Shirt"), ("P1", "Blue", "Shirt blue"), ("13", "P2", "Hat"),
    ]  # fmt: skip


def test_parents_that_list_their_variants() -> None:
    text = (
        "sku,product_type,name,price,qty,base_image,configurable_variations\n"
        "A-S,simple,Tee-S,52,5,https://x.example/s.jpg,\nA-M,simple,Tee-M,52,6,,\nB,simple,Cap,9,1,,\n"
        'A,configurable,Tee,52,0,https://x.example/a.jpg,"sku=A-S,size=S,color=Red|sku=A-M,size=M,color=Red"\n'
    )
    found = drafts(text)
    assert [(one.product_key, one.variant_key, one.title, one.price) for one in found] == [
        ("A", "S / Red", None, "52"),
        ("A", "M / Red", None, "52"),
        ("B", "B", "Cap", "9"),
        ("A", None, "Tee", None),
    ]
    assert (found[0].option_names, found[0].variant_image_url) == ("size\ncolor", "https://x.example/s.jpg")


def test_paths_pictures_states_and_weights() -> None:
    text = (
        "Artikelnr;Name;Kategorie 1;Kategorie 2;Bild 1;Bild 2;Aktiv;Gewicht\n"
        "1;Lampe;Licht;Tisch;https://x.example/1.jpg;https://x.example/2.jpg;ja;0,82\n"
        "2;Stuhl;Möbel;;stuhl.jpg;;nein;1.500\n"
    )
    first, second = drafts(text)
    assert (first.category, first.status, first.weight_grams) == ("Licht > Tisch", "active", "820")
    assert first.image_urls == "https://x.example/1.jpg\nhttps://x.example/2.jpg"
    # 1.500 alone could be either; the other weight of the column has a decimal comma.
    assert (second.category, second.status, second.weight_grams, second.image_urls) == (
        "Möbel",
        "draft",
        "1500000",
        None,
    )


def test_units_of_weight() -> None:
    cases = [("weight", "0.5", "500"), ("weight", "680", "680"), ("Weight (g)", "5", "5"), ("Weight (lbs)", "1", "454")]
    for header, cell, grams in cases:
        (one,) = drafts(f"sku,name,{header}\n1,Lamp,{cell}\n")
        assert one.weight_grams == grams, header
    (one,) = drafts("sku,name,weight,weight unit\n1,Lamp,2,oz\n")
    assert one.weight_grams == "57"


def test_a_description_gives_the_title_only_when_there_is_no_title_column() -> None:
    words = "word " * 50
    (one,) = drafts(f"Artikelnummer;Artikelbeschreibung;Preis\n1;{words};5\n")
    assert one.title == ("word " * 24).strip()
    (two,) = drafts("sku,name,description\n1,,Text\n")
    assert two.title is None


def test_discontinued_is_the_opposite_of_active() -> None:
    assert [one.status for one in drafts("id,name,discontinued\n1,A,0\n2,B,1\n")] == [None, "archived"]


def test_columns_are_named_as_the_file_spells_them() -> None:
    found = reading("Artikel-Nr.;Bezeichnung;EK;Farbe;Sonst\n1;Lampe;5;rot;x\n")
    assert found.columns == {"Artikel-Nr.": "sku", "Bezeichnung": "title", "EK": "cost"}
