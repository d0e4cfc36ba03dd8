"""BigBuy's view of a product: one function for each kind of item in its lists."""

from collections.abc import Callable, Iterator

from sandbox.bigbuy import shelves
from sandbox.catalogue import Article, Catalogue, Product
from sandbox.clock import timestamp
from sandbox.wire import Item
from sandbox.words import ADJECTIVES, BRANDS, COLOURS, NOUNS, say

TAX_RATES = ((21, 1), (21, 1), (21, 1), (10, 2), (4, 3))  # (percent, id)
WAREHOUSES = (1, 1, 1, 1, 1, 1, 2, 3)
CDN = "https://cdnbigbuy.com/images"
WEEK = 7 * 86_400

# What makes the items of a list out of a product: (catalogue, product, time, language).
Maker = Callable[[Catalogue, Product, float, str], Iterator[Item]]


def euros(cents: int) -> float:
    """Cents as the API writes them."""
    return round(cents / 100, 2)


def retail(wholesale: int, product: Product) -> int:
    """The recommended price, in cents."""
    return wholesale * (125 + product.bits[8] % 60) // 100


def in_shops(wholesale: int, product: Product) -> int:
    """The price seen in shops, in cents."""
    return wholesale * (180 + product.bits[9] % 90) // 100


def tax_rate(product: Product) -> int:
    """Percent."""
    return TAX_RATES[product.bits[20] % len(TAX_RATES)][0]


def weight(product: Product) -> float:
    """Kilograms."""
    return round(0.05 + product.bits[10] ** 2 / 6_000, 3)


def warehouse(product: Product) -> int:
    """Where all articles of a product lie."""
    return WAREHOUSES[product.bits[1] % len(WAREHOUSES)]


def handling_days(product: Product) -> tuple[int, int]:
    """At least and at most, for pieces at hand."""
    return product.bits[27] % 2, 1 + product.bits[27] % 3


def ean13(product: Product, variant: int = 0) -> str:
    """A valid EAN-13; one product in sixteen has none."""
    if product.bits[31] < 16:
        return ""
    digits = f"84{product.index:06}{product.bits[30] % 100:02}{variant:02}"
    total = sum(map(int, digits[::2])) + 3 * sum(map(int, digits[1::2]))
    return f"{digits}{-total % 10}"


def name(product: Product, language: str) -> str:
    """Names repeat, as they do in life."""
    words = (ADJECTIVES[product.bits[14] % len(ADJECTIVES)], NOUNS[shelves.noun_of(product)])
    brand = BRANDS[product.bits[16] % len(BRANDS)]
    return f"{say(words[1], language)} {say(words[0], language)} {brand} ({product.bits[15] % 40 + 1} pcs)"


def _large_quantities(product: Product, wholesale: int, variant: int = 0) -> list[Item]:
    if product.bits[2] >= 80:
        return []
    first = (product.index * 9 + variant) * 2 + 1
    return [
        {"id": first, "quantity": 10, "price": euros(wholesale * 97 // 100)},
        {"id": first + 1, "quantity": 50, "price": euros(wholesale * 93 // 100)},
    ]


def unit_price(product: Product, article: Article, quantity: int) -> int:
    """What one piece costs, in cents, when so many are bought."""
    if product.bits[2] >= 80 or quantity < 10:
        return article.wholesale
    return article.wholesale * (93 if quantity >= 50 else 97) // 100


def _dates(product: Product, at: float, catalogue: Catalogue) -> Item:
    added = timestamp(product.added)
    return {
        "dateAdd": added,
        "dateUpd": timestamp(max(product.added, min(product.price_changed, at), republished(product, at))),
        "dateUpdDescription": timestamp(product.added + 86_400 * (product.bits[11] % 30)),
        "dateUpdImages": added,
        "dateUpdStock": timestamp(max(product.added, catalogue.stock_changed(product, at))),
        "dateUpdProperties": added if product.bits[12] % 4 else None,
        "dateUpdCategories": added if product.bits[12] % 5 else None,
    }


def republished(product: Product, at: float) -> float:
    """When it was last added or published again: about every 400 days."""
    period = 400 * 86_400.0
    since = (at - product.added) % period if at >= product.added else 0.0
    return at - since


def products(catalogue: Catalogue, product: Product, at: float, language: str) -> Iterator[Item]:
    """The product itself, without words."""
    bits = product.bits
    leaf = shelves.taxonomies_of(product)[1]
    rate, rate_id = TAX_RATES[bits[20] % len(TAX_RATES)]
    item = {
        "id": shelves.product_id(product.index),
        "sku": shelves.sku(product.index),
        "manufacturer": 1 + bits[16] % len(BRANDS) + len(BRANDS) * (bits[7] % (shelves.MANUFACTURERS // len(BRANDS))),
        "weight": weight(product),
        "height": float(1 + bits[10] % 60),
        "width": float(1 + bits[11] % 80),
        "depth": round(0.5 + bits[12] % 40, 1),
        "category": leaf,
        "taxonomy": leaf,
        "wholesalePrice": euros(product.wholesale),
        "retailPrice": euros(retail(product.wholesale, product)),
        "inShopsPrice": euros(in_shops(product.wholesale, product)),
        "priceLargeQuantities": _large_quantities(product, product.wholesale),
        "taxRate": rate,
        "taxId": rate_id,
        "active": int(product.active),
        "attributes": product.variants > 0,
        "categories": True,
        "images": True,
        "tags": bits[6] % 4 > 0,
        "condition": "NEW",
        "logisticClass": "ABC"[bits[10] % 3],
        "intrastat": f"{94_000_000 + bits[13] * 1_000}",
        "partNumber": None if bits[31] % 3 else f"P-{product.index:06}",
        "canon": None,
        "video": "",
        **_dates(product, at, catalogue),
    }
    if bits[31] >= 8:  # some have none, some an empty one
        item["ean13"] = ean13(product)
    yield item


def new_products(catalogue: Catalogue, product: Product, at: float, language: str) -> Iterator[Item]:
    """The product, if it was added or published again in the last seven days."""
    if 0 <= at - republished(product, at) < WEEK:
        yield from products(catalogue, product, at, language)


def information(catalogue: Catalogue, product: Product, at: float, language: str) -> Iterator[Item]:
    """Name and description."""
    title = name(product, language)
    yield {
        "id": shelves.product_id(product.index),
        "sku": shelves.sku(product.index),
        "name": title,
        "description": (
            f"<p>{title} &ndash; &euro;&nbsp;value.</p><ul><li>Colour: {say(COLOURS[product.bits[12] % 8], language)}"
            f"</li><li>Weight: {weight(product)} kg</li></ul><p>“100 % original” &amp; 2 years' warranty.</p>"
        ),
        "url": shelves.slug(title),
        "isoCode": language,
        "dateUpdDescription": timestamp(product.added + 86_400 * (product.bits[11] % 30)),
    }


def images(catalogue: Catalogue, product: Product, at: float, language: str) -> Iterator[Item]:
    """One to five images, one of them the cover; `isCover` is a bool, or now and then "TRUE"."""
    sku = shelves.sku(product.index)
    covers: tuple[bool | str, bool | str] = ("TRUE", "FALSE") if product.bits[25] < 16 else (True, False)
    yield {
        "id": shelves.product_id(product.index),
        "images": [
            {
                "id": product.index * 5 + number + 1,
                "isCover": covers[0] if number == 0 else covers[1],
                "name": f"{sku}_{number:02}",
                "url": f"{CDN}/{sku}_P{number:02}.jpg",
                "logo": False,
                "whiteBackground": number == 0,
                "energyEfficiency": False,
            }
            for number in range(1 + product.bits[25] % 5)
        ],
    }


def variations(catalogue: Catalogue, product: Product, at: float, language: str) -> Iterator[Item]:
    """The variants of a product that has some."""
    if not product.variants:
        return
    for article in catalogue.articles(product, at):
        yield {
            "id": shelves.variation_id(product.index, article.variant),
            "sku": shelves.sku(product.index, article.variant),
            "ean13": ean13(product, article.variant),
            "product": shelves.product_id(product.index),
            "extraWeight": round(0.01 * (article.variant - 1), 2),
            "wholesalePrice": euros(article.wholesale),
            "retailPrice": euros(retail(article.wholesale, product)),
            "inShopsPrice": euros(in_shops(article.wholesale, product)),
            "width": float(1 + product.bits[11] % 80),
            "height": float(1 + product.bits[10] % 60),
            "depth": round(0.5 + product.bits[12] % 40, 1),
            "priceLargeQuantities": _large_quantities(product, article.wholesale, article.variant),
            "logisticClass": "ABC"[product.bits[10] % 3],
        }


def variation_attributes(catalogue: Catalogue, product: Product, at: float, language: str) -> Iterator[Item]:
    """Which attributes each variant has."""
    if not product.variants:
        return
    for article in catalogue.articles(product, at):
        ids = shelves.attributes_of(article.variant)
        yield {"id": shelves.variation_id(product.index, article.variant), "attributes": [{"id": id_} for id_ in ids]}


def _stocks(product: Product, quantity: int) -> list[Item]:
    """By handling days: most of it at hand, for one product in five some of it later; nothing is an empty list."""
    if not quantity:
        return []
    soonest, latest = handling_days(product)
    later = quantity // 3 if product.bits[27] >= 204 else 0
    place = warehouse(product)
    parts = [(quantity - later, soonest, latest), (later, soonest + 3, latest + 4)]
    return [
        {"quantity": pieces, "minHandlingDays": least, "maxHandlingDays": most, "warehouse": place}
        for pieces, least, most in parts
        if pieces
    ]


def stock(catalogue: Catalogue, product: Product, at: float, language: str) -> Iterator[Item]:
    """A product's stock; with variants, the sum of theirs."""
    pieces = catalogue.total_stock(product, at)
    yield {
        "id": shelves.product_id(product.index),
        "sku": shelves.sku(product.index),
        "stocks": _stocks(product, pieces),
    }


def variation_stock(catalogue: Catalogue, product: Product, at: float, language: str) -> Iterator[Item]:
    """The stock of each variant."""
    if not product.variants:
        return
    for article in catalogue.articles(product, at):
        yield {
            "id": shelves.variation_id(product.index, article.variant),
            "sku": shelves.sku(product.index, article.variant),
            "stocks": _stocks(product, article.stock),
        }


def _prices(id_: int, sku: str, wholesale: int, product: Product) -> Item:
    return {
        "id": id_,
        "sku": sku,
        "wholesalePrice": euros(wholesale),
        "retailPrice": euros(retail(wholesale, product)),
        "inShopsPrice": euros(in_shops(wholesale, product)),
    }


def prices(catalogue: Catalogue, product: Product, at: float, language: str) -> Iterator[Item]:
    """A product's prices."""
    id_, sku = shelves.product_id(product.index), shelves.sku(product.index)
    yield _prices(id_, sku, product.wholesale, product)


def variation_prices(catalogue: Catalogue, product: Product, at: float, language: str) -> Iterator[Item]:
    """The prices of each variant."""
    if not product.variants:
        return
    for article in catalogue.articles(product, at):
        id_, sku = (
            shelves.variation_id(product.index, article.variant),
            shelves.sku(product.index, article.variant),
        )
        yield _prices(id_, sku, article.wholesale, product)


def taxonomies(catalogue: Catalogue, product: Product, at: float, language: str) -> Iterator[Item]:
    """Where a product is found; the id is the taxonomy's."""
    for taxonomy in shelves.taxonomies_of(product):
        yield {"id": taxonomy, "taxonomy": taxonomy, "product": shelves.product_id(product.index)}


def tags(catalogue: Catalogue, product: Product, at: float, language: str) -> Iterator[Item]:
    """Up to three tags."""
    id_, sku = shelves.product_id(product.index), shelves.sku(product.index)
    for number in range(product.bits[6] % 4):
        yield {"id": id_, "sku": sku, "tag": shelves.tag(product.bits[13] + number * 7, language)}


def compliance(catalogue: Catalogue, product: Product, at: float, language: str) -> Iterator[Item]:
    """Who answers for the product's safety (GPSR)."""
    yield {
        "id": shelves.product_id(product.index),
        "sku": shelves.sku(product.index),
        "generalProductSafetyRegulations": [
            {"type": "manufacturer", "name": BRANDS[product.bits[16] % len(BRANDS)], "address": "C/ Altea 1, Valencia"}
        ],
        "productComplianceDocuments": [],
    }
