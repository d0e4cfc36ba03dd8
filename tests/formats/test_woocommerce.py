"""WooCommerce's CSV: parents, variations, sale prices, escapes, units."""

import io

import pytest
from feeds import drafts, read, reading, split

from services.formats import mapping
from services.formats import read as feed

HEADER = (
    'ID,Type,SKU,"GTIN, UPC, EAN, or ISBN",Name,Published,Short description,Description,Date sale price starts,'
    "Date sale price ends,In stock?,Stock,Weight (lbs),Sale price,Regular price,Categories,Tags,Images,Parent,"
    "Attribute 1 name,Attribute 1 value(s),Attribute 2 name,Attribute 2 value(s)\n"
)
NAMES = HEADER.strip().replace('"GTIN, UPC, EAN, or ISBN"', "GTIN").split(",")


SHORT = {"Date sale price starts": "starts", "Date sale price ends": "ends", "In stock?": "In_stock"}
SHORT |= {f"Attribute {n} name": f"name{n}" for n in (1, 2)} | {f"Attribute {n} value(s)": f"value{n}" for n in (1, 2)}


def row(**cells: str) -> str:
    """One row; a column is named by its first word, or as SHORT says."""
    return ",".join(f'"{cells.get(SHORT.get(name, name.split()[0]), "")}"' for name in NAMES) + "\n"


def test_variations_find_their_parent_before_and_after_it() -> None:
    text = HEADER
    text += row(ID="2", Type="variation", SKU="tee-red", Name="Tee - Red", Published="1", Regular="20", Parent="tee",
                Images="https://x.example/r.jpg, https://x.example/r2.jpg", name1="Color", value1="Red",
                name2="Size")  # fmt: skip
    text += row(ID="1", Type="variable", SKU="tee", Name="Tee", Published="1", Categories="Clothing > Tees, Sale",
                Images="https://x.example/1.jpg, https://x.example/2.jpg", name1="Color", value1="Red, Blue",
                name2="Size", value2="S, M")  # fmt: skip
    text += row(ID="3", Type="variation", SKU="tee-blue", Name="Tee - Blue", Regular="21", Sale="18", Parent="id:1",
                name1="Color", value1="Blue", name2="Size", value2="M")  # fmt: skip
    found = reading(text, currency="USD")
    assert found.format == "woocommerce_csv"
    (red, tee, blue), errors = split(found)
    assert errors == []
    assert {one.product_key for one in (red, tee, blue)} == {"tee"}
    assert (tee.variant_key, tee.title, tee.category, tee.status, tee.price) == (
        None,
        "Tee",
        "Clothing > Tees",
        "active",
        None,
    )
    assert (tee.option_names, tee.option_values) == ("Color\nSize", None)
    assert tee.image_urls == "https://x.example/1.jpg\nhttps://x.example/2.jpg"
    assert (red.variant_key, red.title, red.price, red.currency) == ("Red / ", None, "20", "USD")
    assert (red.variant_image_url, red.image_urls) == ("https://x.example/r.jpg", None)
    assert (blue.variant_key, blue.price, blue.compare_at_price) == ("Blue / M", "18", "21")
    assert (blue.option_names, blue.option_values) == ("Color\nSize", "Blue\nM")


def test_a_parent_without_sku_is_known_by_its_id() -> None:
    text = HEADER + row(ID="7", Type="variable", Name="Cap")
    text += row(ID="8", Type="variation", Regular="5", Parent="id:7", name1="Size", value1="S")
    assert [(one.product_key, one.variant_key) for one in drafts(text)] == [("id:7", None), ("id:7", "S")]


def test_kinds_of_products() -> None:
    text = HEADER + row(Type="simple, downloadable, virtual", SKU="a", Name="A", Regular="15", Published="-1")
    text += row(Type="grouped", SKU="g", Name="G", Published="1")
    text += row(Type="external", SKU="e", Name="E", Regular="11.05")
    text += row(Type="simple", Name="Nameless", Regular="1", In_stock="0", name1="Material", value1="Wool")
    assert [
        (one.product_key, one.variant_key, one.status, one.price, one.stock, one.option_names) for one in drafts(text)
    ] == [
        ("a", "a", "draft", "15", None, None),
        ("g", None, "active", None, None, None),
        ("e", "e", None, "11.05", None, None),
        ("Nameless", "", None, "1", "0", None),
    ]


def test_sale_prices_hold_between_their_dates() -> None:
    cases = [("", ""), ("2001-01-01", "2001-02-01"), ("2999-01-01", ""), ("2001-01-01 00:00:00", "2999-01-01")]
    text = HEADER + "".join(
        row(Type="simple", SKU=f"s{n}", Name="A", Regular="20", Sale="15", starts=starts, ends=ends)
        for n, (starts, ends) in enumerate(cases)
    )
    assert [(one.price, one.compare_at_price) for one in drafts(text)] == [
        ("15", "20"),
        ("20", None),
        ("20", None),
        ("15", "20"),
    ]


def test_escapes_units_and_commas() -> None:
    text = HEADER + row(Type="simple", SKU="a", Name="A", Regular="19,90", Weight=".5",
                        Description=r"one\ntwo \\ three",
                        Categories=r"Salt\, pepper > Mills, Other")  # fmt: skip
    (one,) = drafts(text)
    assert (one.price, one.weight_grams) == ("19.90", "227")
    assert one.description == "one\ntwo \\ three"
    assert one.category == "Salt, pepper > Mills"


def test_parents_that_do_not_fit() -> None:
    text = HEADER + row(Type="simple", SKU="a", Name="A", Regular="5", Parent="p") + row(Type="variation", SKU="b")
    (one,), (unexpected, missing) = read(text)
    assert (one.product_key, one.variant_key) == ("p", "a")
    assert (unexpected.code, unexpected.fatal) == ("parent_unexpected", False)
    assert (missing.line, missing.code, missing.fatal) == (3, "parent_missing", True)


def test_type_and_name_alone_are_no_woocommerce_file() -> None:
    found = reading("SKU,Name,Type,Price\n1,Lamp,Lighting,5\n")
    assert found.format == "generic_csv"
    assert [(one.category, one.price) for one in split(found)[0]] == [("Lighting", "5")]


GERMAN = (
    "ID,Typ,Artikelnummer,{gtin}Name,Veröffentlicht,Hervorgehoben?,Sichtbarkeit,Kurzbeschreibung,Beschreibung,"
    "Angebot von,Angebot bis,Steuerstatus,Steuerklasse,Vorrätig?,Bestand,{low}Lieferrückstände?,Einzeln?,Gewicht (g),"
    "Länge (cm),Breite (cm),Höhe (cm),Bewertungen?,Hinweis,Angebotspreis,Regulärer Preis,Kategorien,Schlagwörter,"
    "Versandklasse,Bilder,Downloadlimit,Ablauftage,Übergeordnet,Gruppiert,Upsells,Cross-Sells,Externe URL,Button,"
    "Position,Download 1 ID,Download 1 Name,Download 1 URL,Attribut 1 Name,Attribut 1 Wert(e),Attribut 1 sichtbar,"
    "Attribut 1 global\n"
)


def german(*, gtin: bool, low: bool) -> str:
    """A parent and its variation, as a German shop exports them: without the columns that its version has not yet."""
    code, amount = ("," if gtin else ""), ("," if low else "")
    return (
        GERMAN.format(gtin="GTIN," if gtin else "", low="Geringe Menge," if low else "")
        + f"7,variable,,{code}Hemd,1,0,visible,,,,,taxable,,1,,{amount}0,0,,,,,1,,,,Kleidung,,,,,,,,,,,,0,,,,"
        + 'Größe,"S, M",1,1\n'
        + f'8,variation,HS,{code}Hemd - S,1,0,visible,,,,,taxable,,1,5,{amount}0,0,250,,,,0,,,"19,90",,,,,,,id:7'
        + ",,,,,,1,,,,Größe,S,,1\n"
    )


@pytest.mark.parametrize("gtin", [True, False])
@pytest.mark.parametrize("low", [True, False])
def test_translated_headers_are_known_by_where_they_stand(gtin: bool, low: bool) -> None:
    found = reading(german(gtin=gtin, low=low))
    (parent, child), errors = split(found)
    assert errors == []
    assert found.format == "woocommerce_csv"
    assert found.columns["Angebotspreis"] == "price"
    assert (parent.product_key, parent.title, parent.category) == ("id:7", "Hemd", "Kleidung")
    assert (child.product_key, child.variant_key, child.option_names) == ("id:7", "S", "Größe")
    assert (child.sku, child.price, child.stock, child.weight_grams) == ("HS", "19.90", "5", "250")


def test_an_export_of_chosen_columns_is_not_read_by_their_places() -> None:
    text = german(gtin=True, low=True).replace("Gewicht (g)", "Gewicht", 1)
    assert reading(text).format == "generic_csv"


def test_a_mapping_of_a_translated_export_takes_the_place_of_its_columns() -> None:
    rules = {
        "price": {"column": "Regulärer Preis", "expression": "value * 2"},
        "weight_grams": {"column": "Gewicht (g)"},
    }
    data = io.BytesIO(german(gtin=True, low=True).encode())
    found = feed.read(data, mapping=mapping.parse({"fields": rules}))
    (_, child), errors = split(found)
    assert (errors, child.price, child.weight_grams, child.variant_key) == ([], "39.8", "250", "S")
    assert found.columns["Kategorien"] == "category"
