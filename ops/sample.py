"""Writes the sample catalogue: `python -m ops.sample > sample/catalogue.csv`. The same every time.

An invented shop for kitchen, table, home and garden, as Shopify exports one today: one row per variant, the product's
own columns on its first row only, further images on rows without a variant.
"""

import csv
import random
import sys
from decimal import Decimal
from typing import NamedTuple, TextIO

SEED = 20_250_301
PRODUCTS = 300

HEADER = [
    "Title", "URL handle", "Description", "Vendor", "Product category", "Type", "Tags", "Published on online store",
    "Status", "SKU", "Barcode", "Option1 name", "Option1 value", "Option2 name", "Option2 value", "Option3 name",
    "Option3 value", "Price", "Compare-at price", "Cost per item", "Charge tax", "Inventory tracker",
    "Inventory quantity", "Continue selling when out of stock", "Weight value (grams)", "Weight unit for display",
    "Requires shipping", "Fulfillment service", "Product image URL", "Image position", "Image alt text",
    "Gift card", "SEO title", "SEO description",
]  # fmt: skip


class Good(NamedTuple):
    """What a kind of product is called, made of and sold at."""

    noun: str
    category: str
    type: str
    code: str
    price: tuple[int, int]  # euros
    grams: tuple[int, int]
    materials: tuple[str, ...]
    sizes: tuple[str, ...]
    coloured: bool
    use: str


KITCHEN = "Home & Garden > Kitchen & Dining"
DECOR = "Home & Garden > Decor"
LINENS = "Home & Garden > Linens & Bedding"
GARDEN = "Home & Garden > Lawn & Garden"
STORAGE = "Home & Garden > Household Supplies > Storage & Organization"

GOODS = (
    Good("Mug", KITCHEN, "Tableware", "MUG", (9, 19), (280, 420), ("Stoneware", "Porcelain", "Enamel"),
         ("250 ml", "350 ml"), True, "coffee, tea and soup"),
    Good("Dinner Plate", KITCHEN, "Tableware", "PLT", (12, 26), (520, 900), ("Stoneware", "Porcelain"),
         ("24 cm", "27 cm"), True, "everyday tables and long evenings"),
    Good("Serving Bowl", KITCHEN, "Tableware", "BWL", (19, 49), (700, 1600), ("Stoneware", "Acacia", "Mango Wood"),
         ("20 cm", "26 cm", "32 cm"), False, "salads, fruit and bread"),
    Good("Carafe", KITCHEN, "Tableware", "CRF", (18, 39), (450, 900), ("Borosilicate Glass", "Recycled Glass"),
         ("0.75 l", "1 l", "1.5 l"), False, "water, wine and iced tea"),
    Good("Chopping Board", KITCHEN, "Kitchenware", "BRD", (17, 59), (600, 2900), ("Oak", "Olive Wood", "Beech"),
         ("30 × 20 cm", "40 × 28 cm"), False, "bread, herbs and vegetables"),
    Good("Chef's Knife", KITCHEN, "Kitchenware", "KNF", (35, 129), (170, 290), ("Carbon Steel", "Damask Steel"),
         ("16 cm", "20 cm"), False, "clean cuts, year after year"),
    Good("Frying Pan", KITCHEN, "Cookware", "PAN", (39, 119), (1100, 2600), ("Cast Iron", "Carbon Steel"),
         ("20 cm", "24 cm", "28 cm"), False, "all hobs, induction included"),
    Good("Casserole", KITCHEN, "Cookware", "CSR", (69, 189), (3200, 6100), ("Cast Iron", "Enamel"),
         ("3.5 l", "5 l"), True, "stews, roasts and bread"),
    Good("Storage Jar", KITCHEN, "Kitchenware", "JAR", (7, 22), (300, 900), ("Glass", "Stoneware"),
         ("0.5 l", "1 l", "2 l"), False, "flour, pasta and coffee beans"),
    Good("Tea Towel", KITCHEN, "Kitchen Textiles", "TWL", (6, 15), (80, 140), ("Linen", "Organic Cotton"),
         (), True, "glasses without lint"),
    Good("Apron", KITCHEN, "Kitchen Textiles", "APR", (24, 55), (250, 480), ("Linen", "Waxed Cotton", "Denim"),
         (), True, "cooks, bakers and gardeners"),
    Good("Tablecloth", LINENS, "Table Linen", "TBL", (39, 98), (500, 1300), ("Linen", "Cotton"),
         ("140 × 200 cm", "140 × 250 cm", "160 × 300 cm"), True, "four to twelve guests"),
    Good("Cushion Cover", LINENS, "Cushions", "CSH", (16, 45), (150, 380), ("Linen", "Velvet", "Wool"),
         ("45 × 45 cm", "50 × 50 cm"), True, "sofas, benches and reading corners"),
    Good("Throw", LINENS, "Blankets", "THR", (45, 139), (700, 1500), ("Lambswool", "Cotton", "Alpaca"),
         (), True, "cool evenings, indoors and out"),
    Good("Bath Towel", LINENS, "Bath Textiles", "BTH", (18, 48), (350, 800), ("Terry Cotton", "Waffle Cotton"),
         ("50 × 100 cm", "70 × 140 cm"), True, "quick drying and many washes"),
    Good("Vase", DECOR, "Vases", "VSE", (15, 79), (500, 2300), ("Glass", "Stoneware", "Terracotta"),
         ("15 cm", "25 cm", "35 cm"), False, "single stems and full bouquets"),
    Good("Candle Holder", DECOR, "Candles & Light", "CND", (9, 35), (180, 900), ("Brass", "Iron", "Glass"),
         (), False, "taper candles of 22 mm"),
    Good("Scented Candle", DECOR, "Candles & Light", "SCN", (14, 38), (280, 620), ("Soy Wax", "Rapeseed Wax"),
         ("30 hours", "50 hours"), False, "calm rooms"),
    Good("Wall Mirror", DECOR, "Mirrors", "MRR", (49, 189), (1800, 7200), ("Oak", "Brass", "Rattan"),
         ("40 cm", "60 cm"), False, "halls, baths and bedrooms"),
    Good("Storage Basket", STORAGE, "Baskets", "BSK", (15, 55), (400, 1600), ("Seagrass", "Willow", "Jute"),
         ("S", "M", "L"), False, "laundry, toys and firewood"),
    Good("Watering Can", GARDEN, "Garden Tools", "WTR", (22, 65), (700, 1900), ("Galvanised Steel", "Copper"),
         ("1.5 l", "5 l"), True, "balconies, beds and greenhouses"),
    Good("Hand Trowel", GARDEN, "Garden Tools", "TRW", (12, 34), (220, 420), ("Stainless Steel", "Forged Steel"),
         (), False, "planting, potting and weeding"),
    Good("Secateurs", GARDEN, "Garden Tools", "SEC", (24, 69), (210, 330), ("Forged Steel", "Carbon Steel"),
         (), False, "roses, fruit trees and hedges"),
    Good("Planter", GARDEN, "Pots & Planters", "PLN", (12, 95), (800, 7900), ("Terracotta", "Fibre Clay", "Zinc"),
         ("18 cm", "26 cm", "38 cm"), False, "herbs, olives and house plants"),
    Good("Bird Feeder", GARDEN, "Wildlife", "BRF", (16, 48), (400, 1500), ("Larch", "Recycled Plastic"),
         (), False, "tits, finches and robins"),
    Good("Solar Lantern", GARDEN, "Outdoor Light", "LNT", (19, 59), (300, 1100), ("Bamboo", "Powder-Coated Steel"),
         ("25 cm", "40 cm"), False, "terraces and garden paths"),
)  # fmt: skip

COLOURS = ("Sand", "Slate", "Sage", "Terracotta", "Midnight", "Chalk", "Ochre", "Fern", "Dusty Rose", "Indigo")
SERIES = (
    "Alba", "Borgo", "Cala", "Dorn", "Elm", "Fjord", "Garda", "Halden", "Isla", "Juniper", "Kestrel", "Lund", "Marais",
    "Norrland", "Oslo", "Porto", "Quarry", "Riva", "Sólheim", "Tarn", "Umbria", "Varde", "Wren", "Yarrow", "Zürisee",
)  # fmt: skip
VENDORS = ("Haus & Hof", "Lindqvist", "Maison Aubert", "Casa Verde", "Northcombe", "Atelier Brandt", "Keramik Ost")
CARE = (
    "Dishwasher safe.", "Wash by hand.", "Wipe with a damp cloth.", "Machine wash at 40 °C.", "Oil it now and then.",
    "Lasts longer when kept dry.",
)  # fmt: skip


def write_sample(out: TextIO) -> None:
    """The whole catalogue as CSV."""
    rng = random.Random(SEED)
    writer = csv.DictWriter(out, HEADER, restval="", lineterminator="\n")
    writer.writeheader()
    handles: set[str] = set()
    number = 0
    while number < PRODUCTS:
        good, series = rng.choice(GOODS), rng.choice(SERIES)
        material = rng.choice(good.materials)
        handle = _handle(f"{series} {material} {good.noun}")
        if handle in handles:
            continue
        handles.add(handle)
        number += 1
        writer.writerows(_product(rng, good, series=series, material=material, handle=handle, number=number))


def _product(
    rng: random.Random, good: Good, *, series: str, material: str, handle: str, number: int
) -> list[dict[str, str]]:
    title = f"{series} {material} {good.noun}"
    options = _options(rng, good)
    base = Decimal(rng.randint(*good.price)) - Decimal("0.10")
    grams = rng.randint(*good.grams)
    sale = rng.random() < 0.15
    rows = []
    for index, values in enumerate(options):
        step = good.sizes.index(values["Size"]) if "Size" in values else 0
        price = base + (base * step * Decimal("0.3")).quantize(Decimal(1))
        row = {
            "URL handle": handle,
            "SKU": f"{good.code}-{number:03}-{index + 1:02}",
            "Barcode": _ean13(rng) if rng.random() < 0.9 else "",
            "Price": f"{price}",
            "Compare-at price": f"{(price * Decimal('1.25')).quantize(Decimal(1)) - Decimal('0.10')}" if sale else "",
            "Cost per item": f"{(price * Decimal(rng.randint(38, 55)) / 100).quantize(Decimal('0.01'))}",
            "Charge tax": "TRUE",
            "Inventory tracker": "shopify",
            "Inventory quantity": str(rng.choice((0, rng.randint(1, 9), rng.randint(10, 60), rng.randint(10, 240)))),
            "Continue selling when out of stock": "DENY",
            "Weight value (grams)": str(grams + step * grams // 3),
            "Weight unit for display": "g" if grams < 1000 else "kg",
            "Requires shipping": "TRUE",
            "Fulfillment service": "manual",
        }
        for position, (name, value) in enumerate(values.items(), start=1):
            row[f"Option{position} value"] = value
            if index == 0:
                row[f"Option{position} name"] = name
        rows.append(row)
    rows[0] |= {
        "Title": title,
        "Description": f"<p>{material} {good.noun.lower()} from the {series} series, made for {good.use}. "
        f"{rng.choice(CARE)}</p>",
        "Vendor": rng.choice(VENDORS),
        "Product category": good.category,
        "Type": good.type,
        "Tags": ", ".join([material, series, *(["Sale"] if sale else []), *(["New"] if rng.random() < 0.2 else [])]),
        "Published on online store": "TRUE",
        "Status": rng.choices(("active", "draft", "archived"), (92, 6, 2))[0],
        "Gift card": "FALSE",
        "SEO title": title if rng.random() < 0.5 else "",
        "SEO description": f"{title} for {good.use}." if rng.random() < 0.5 else "",
    }
    return _with_images(rng, rows, title=title, handle=handle)


def _with_images(rng: random.Random, rows: list[dict[str, str]], *, title: str, handle: str) -> list[dict[str, str]]:
    """The first images sit on the variants' rows, those left over on rows of their own."""
    for position in range(1, rng.randint(1, 4) + 1):
        if position > len(rows):
            rows.append({"URL handle": handle})
        rows[position - 1] |= {
            "Product image URL": f"https://images.example.com/{handle}-{position}.jpg",
            "Image position": str(position),
            "Image alt text": f"{title}, view {position}",
        }
    return rows


def _options(rng: random.Random, good: Good) -> list[dict[str, str]]:
    sizes = [{"Size": size} for size in good.sizes] or [{}]
    if not good.coloured:
        return sizes if good.sizes else [{"Title": "Default Title"}]  # how Shopify says: no options
    colours = sorted(rng.sample(COLOURS, rng.randint(1, 2 if good.sizes else 3)))
    return [size | {"Colour": colour} for size in sizes for colour in colours]


def _ean13(rng: random.Random) -> str:
    """An EAN of the range that GS1 keeps for use inside a company (prefix 2), with its check digit."""
    digits = [2] + [rng.randint(0, 9) for _ in range(11)]
    check = -sum(digit * (3 if index % 2 else 1) for index, digit in enumerate(digits)) % 10
    return "".join(map(str, [*digits, check]))


def _handle(title: str) -> str:
    plain = title.lower().replace("ü", "u").replace("ó", "o").replace("'", "")
    return "-".join("".join(letter if letter.isalnum() else " " for letter in plain).split())


if __name__ == "__main__":
    write_sample(sys.stdout)
