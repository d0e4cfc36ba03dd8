"""Shopify's CSV: both generations of headers, variants, images, states."""

from feeds import drafts, read, reading, split

OLD = (
    "Handle,Title,Body (HTML),Vendor,Type,Tags,Published,Option1 Name,Option1 Value,Option2 Name,Option2 Value,"
    "Variant SKU,Variant Grams,Variant Inventory Tracker,Variant Inventory Qty,Variant Price,Variant Compare At Price,"
    "Variant Barcode,Image Src,Image Position,Variant Image,Cost per item,Status\n"
)


def test_variants_images_and_states() -> None:
    text = OLD + (
        'shirt,Shirt,"<p>Cotton,\nsoft</p>",Acme,Tops,"a, b",TRUE,Size,S,Colour,Red,A-1,200.0,shopify,5,19.90,25.00,'
        "'0400638,https://cdn.example/1.jpg,1,https://cdn.example/red.jpg,7.5,active\n"
        "shirt,,,,,,,,M,,Red,A-2,0,shopify,-2,19.90,,,https://cdn.example/2.jpg,2,,,\n"
        "shirt,,,,,,,,,,,,,,,,,,https://cdn.example/3.jpg,3,,,\n"
    )
    found = reading(text, currency="EUR")
    assert found.format == "shopify_csv"
    assert found.columns["Variant Grams"] == "weight_grams"
    (first, second, third), errors = split(found)
    assert errors == []
    assert first._asdict() == {
        "line": 2, "product_key": "shirt", "variant_key": "S / Red", "title": "Shirt",
        "description": "<p>Cotton,\nsoft</p>", "brand": "Acme", "category": "Tops", "tags": "a, b", "status": "active",
        "image_urls": "https://cdn.example/1.jpg", "image_position": "1", "option_names": "Size\nColour",
        "option_values": "S\nRed", "sku": "A-1", "barcode": "0400638", "price": "19.90", "compare_at_price": "25.00",
        "cost": "7.5", "currency": "EUR", "stock": "5", "weight_grams": "200",
        "variant_image_url": "https://cdn.example/red.jpg",
    }  # fmt: skip
    assert (second.line, second.variant_key, second.title, second.option_names) == (4, "M / Red", None, None)
    assert (second.stock, second.weight_grams, second.status) == ("0", None, None)
    assert (third.line, third.variant_key, third.image_urls, third.image_position) == (
        5,
        None,
        "https://cdn.example/3.jpg",
        "3",
    )
    assert (third.price, third.currency) == (None, None)


def test_new_headers_in_any_case() -> None:
    text = (
        "TITLE,Url Handle,Description,Vendor,Product category,Type,Published on online store,Status,SKU,Barcode,"
        "Option1 name,Option1 value,Price,Compare-at price,Cost per item,Inventory tracker,Inventory quantity,"
        "Weight value (grams),Product image URL,Image position,Variant image URL\n"
        "Lamp,lamp,Bright,Acme,Home > Lighting,Lamps,TRUE,Archived,L-1,4006381333931,Title,Default Title,10,12,4,"
        "shopify,3,500,https://cdn.example/l.jpg,1,\n"
    )
    found = reading(text)
    assert found.format == "shopify_csv"
    (lamp,), _ = split(found)
    assert (lamp.product_key, lamp.variant_key, lamp.option_names, lamp.option_values) == ("lamp", "L-1", None, None)
    assert (lamp.category, lamp.status, lamp.weight_grams, lamp.stock) == ("Home > Lighting", "archived", "500", "3")
    assert (lamp.price, lamp.compare_at_price, lamp.cost, lamp.currency) == ("10", "12", "4", None)


def row(**cells: str) -> str:
    """One row of the old kind with the given cells."""
    names = OLD.strip().split(",")
    given = {name.replace("_", " "): value for name, value in cells.items()}
    return ",".join(given.get(name, "") for name in names) + "\n"


def test_a_product_without_options_and_sku_has_an_empty_variant_key() -> None:
    (one,) = drafts(OLD + row(Handle="a", Title="A", Option1_Name="Title", Option1_Value="Default Title"))
    assert (one.variant_key, one.option_names, one.option_values, one.price) == ("", None, None, None)


def test_published_stands_in_for_status() -> None:
    text = OLD + row(Handle="a", Title="A", Published="FALSE") + row(Handle="b", Title="B", Published="true")
    text += row(Handle="c", Title="C", Published="true", Status="Draft")
    assert [one.status for one in drafts(text)] == ["draft", "active", "draft"]


def test_stock_is_said_only_by_a_tracker_or_a_quantity() -> None:
    cases = [("shopify", "0"), ("shopify", ""), ("", "7"), ("", "0"), ("", "")]
    text = OLD + "".join(
        row(Handle="a", Title="A", Variant_Inventory_Tracker=tracker, Variant_Inventory_Qty=quantity)
        for tracker, quantity in cases
    )
    assert [one.stock for one in drafts(text)] == ["0", None, "7", None, None]


def test_a_zero_price_is_reported_and_the_variant_stays() -> None:
    (one,), (error,) = read(OLD + row(Handle="a", Title="A", Variant_Price="0.00", Variant_Compare_At_Price="0"))
    assert (one.price, one.compare_at_price, one.currency) == (None, None, None)
    assert (error.line, error.code, error.column, error.value, error.fatal) == (
        2,
        "price_zero",
        "Variant Price",
        "0.00",
        False,
    )


def test_without_a_handle_the_title_makes_one() -> None:
    found, errors = read(OLD + row(Title="Big Lamp: 2nd") + row(Variant_SKU="x", Variant_Price="5"))
    assert [one.product_key for one in found] == ["big-lamp-2nd"]
    assert [(one.line, one.code, one.fatal) for one in errors] == [(3, "key_missing", True)]


def test_market_prices_are_not_the_price() -> None:
    text = "Handle,Title,Price / Norge,Variant Price,Compare At Price / Norge,Variant SKU\na,A,99,10,120,x\n"
    assert [(one.price, one.compare_at_price) for one in drafts(text)] == [("10", None)]
