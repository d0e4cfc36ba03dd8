"""AliExpress' view of a product: its numbers, its money, its parts."""

import json
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from sandbox.aliexpress.envelopes import Wrapped
from sandbox.catalogue import UNITS, Article, Product
from sandbox.clock import timestamp
from sandbox.wire import Item
from sandbox.words import ADJECTIVES, BRANDS, COLOURS, NOUNS, ROOTS, SHELVES, say

FIRST_PRODUCT = 1_005_006_000_000_000
US_PRODUCT = 2_250_799_000_000_000  # added to it: the id in the United States
FIRST_SKU = 12_000_044_000_000_000
FIRST_STORE = 1_102_602_000
STORES = 50
IMAGES = "https://ae01.alicdn.com/kf"
# Units of the currency for a euro.
RATES = {"EUR": "1", "USD": "1.09", "GBP": "0.85", "CNY": "7.82", "PLN": "4.31", "BRL": "5.93", "CAD": "1.49"}
FREE_SHIPPING, FIRST_CATEGORY = 60, 100_000_000

Params = dict[str, str]


def product_id(index: int) -> int:
    """The id of a product."""
    return FIRST_PRODUCT + index


def index_of(number: object) -> int:
    """The product's number by its id, also that of the United States; -1 if no id looks so."""
    text = str(number).strip()
    index = int(text) - FIRST_PRODUCT if text.isascii() and text.isdigit() and len(text) < 18 else -1
    return index - US_PRODUCT if index >= US_PRODUCT else index


def sku_id(article: Article) -> int:
    """The numeric id of a SKU: what freight.query wants."""
    return FIRST_SKU + article.unit


def sku_attr(article: Article) -> str:
    """What order.create wants; empty for a product with one SKU."""
    if not article.variant:
        return ""
    colour = (article.variant - 1) % len(COLOURS)
    return f"14:{29 + colour}#{COLOURS[colour][0]};183:{200_007_741 + article.variant // 5}"


def store_of(product: Product) -> int:
    """The seller."""
    return FIRST_STORE + product.bits[16] % STORES


def currency(params: Params, name: str = "target_currency", default: str = "USD") -> str:
    """The currency asked for, if it is one we know."""
    asked = params.get(name, default).upper()
    return asked if asked in RATES else default


def money(cents: int, unit: str) -> str:
    """Euro cents in another currency, as text."""
    return str((Decimal(cents) * Decimal(RATES[unit]) / 100).quantize(Decimal("0.01"), ROUND_HALF_UP))


def list_price(article: Article, product: Product) -> int:
    """What is crossed out, in cents."""
    return article.wholesale * (150 + product.bits[8]) // 100


def title(product: Product, language: str) -> str:
    """The name, in the language asked for (`fr`, `fr_FR`, `FR`)."""
    code = language.partition("_")[0].lower()
    words = (ADJECTIVES[product.bits[14] % len(ADJECTIVES)], NOUNS[product.bits[13] % len(NOUNS)])
    return f"{say(words[1], code)} {say(words[0], code)} {product.bits[15] % 40 + 1} pcs"


def images(product: Product) -> list[str]:
    """Their addresses."""
    return [f"{IMAGES}/S{product.bits[:8].hex()}{number}.jpg" for number in range(1 + product.bits[25] % 5)]


def category(product: Product) -> tuple[int, int]:
    """First and second level."""
    root = product.bits[13] % len(ROOTS)
    return FIRST_CATEGORY + root, FIRST_CATEGORY + 100 + root * len(SHELVES) + product.bits[26] % len(SHELVES)


def categories() -> list[Item]:
    """All of them; roots have no parent."""
    found: list[Item] = [
        {"category_id": FIRST_CATEGORY + root, "category_name": words[0]} for root, words in enumerate(ROOTS)
    ]
    for root, _ in enumerate(ROOTS):
        found += [
            {
                "category_id": FIRST_CATEGORY + 100 + root * len(SHELVES) + position,
                "category_name": shelf[0],
                "parent_category_id": FIRST_CATEGORY + root,
            }
            for position, shelf in enumerate(SHELVES)
        ]
    return found


def category_name(number: int) -> str:
    """Its English name."""
    offset = number - FIRST_CATEGORY
    return ROOTS[offset][0] if offset < 100 else SHELVES[(offset - 100) % len(SHELVES)][0]


# -- The whole product, as ds.product.get shows it -----------------------------------------------------------------


def _properties(article: Article, product: Product, language: str) -> Wrapped:
    code = language.partition("_")[0].lower()
    colour = (article.variant - 1) % len(COLOURS)
    properties: list[Any] = [
        {
            "sku_property_value": say(COLOURS[colour], code).upper(),
            "sku_image": images(product)[0],
            "sku_property_name": say(("Color", "Color", "Couleur", "Farbe"), code),
            "property_value_definition_name": COLOURS[colour][0],
            "property_value_id": 29 + colour,
            "sku_property_id": 14,
        },
        {
            "sku_property_value": f"500MMx{800 + article.variant // 5}MM",
            "sku_property_name": say(("Size", "Talla", "Spécification", "Größe"), code),
            "property_value_id": 200_007_741 + article.variant // 5,
            "sku_property_id": 183,
        },
    ]
    return Wrapped("ae_sku_property_d_t_o", properties, quirk=0)


def sku(article: Article, product: Product, unit: str, language: str) -> Item:
    """One SKU."""
    found: Item = {
        "sku_attr": sku_attr(article),
        "offer_sale_price": money(article.wholesale, unit),
        "sku_id": str(sku_id(article)),
        "price_include_tax": unit == "EUR",
        "currency_code": unit,
        "sku_price": money(list_price(article, product), unit),
        "offer_bulk_sale_price": money(article.wholesale, unit),
        "sku_available_stock": article.stock,
        "id": sku_attr(article),
    }
    if article.variant:
        found["ae_sku_property_dtos"] = _properties(article, product, language)
    return found


def whole(product: Product, articles: list[Article], unit: str, language: str, country: str) -> Item:
    """The result of ds.product.get."""
    bits = product.bits
    store = store_of(product)
    name = title(product, language)
    attributes = [{"attr_name_id": 2, "attr_value_id": 201_512_802, "attr_name": "Brand Name", "attr_value": "NONE"}]
    if bits[7] % 2:
        attributes.append(
            {"attr_name_id": 3, "attr_value_id": 3, "attr_name": "Origin", "attr_value": "Mainland China"}
        )
    return {
        "ae_item_sku_info_dtos": Wrapped(
            "ae_item_sku_info_d_t_o", [sku(each, product, unit, language) for each in articles], quirk=bits[5]
        ),
        "ae_multimedia_info_dto": {"image_urls": ";".join(images(product))},
        "package_info_dto": {
            "package_width": 1 + bits[10] % 60,
            "package_height": 1 + bits[11] % 40,
            "package_length": 1 + bits[12] % 80,
            "gross_weight": f"{0.05 + bits[10] / 100:.3f}",
            "package_type": False,
            "product_unit": 100_000_015,
        },
        "logistics_info_dto": {"delivery_time": 5 + bits[27] % 15, "ship_to_country": country},
        "product_id_converter_result": {
            "main_product_id": product_id(product.index),
            "sub_product_id": json.dumps({"US": product_id(product.index) + US_PRODUCT}),
        },
        "ae_item_base_info_dto": {
            "mobile_detail": '{"version":"2.0.0","moduleList":[]}',
            "subject": name,
            "evaluation_count": str(bits[6] * 7),
            "sales_count": f"{bits[9] * 20}+",
            "product_status_type": "onSelling" if product.active else "offline",
            "avg_evaluation_rating": f"{3 + bits[8] % 20 / 10:.1f}",
            "separated_listing": False,
            "currency_code": "CNY",
            "sl_product": False,
            "category_id": category(product)[1],
            "product_id": product_id(product.index),
            "detail": f"<div><p>{name} &amp; more</p></div>",
            "gmt_create": timestamp(product.added),
            "gmt_modified": timestamp(max(product.added, product.price_changed)),
        },
        "has_whole_sale": False,
        "ae_item_properties": Wrapped("ae_item_property", attributes, quirk=bits[6]),
        "ae_store_info": {
            "store_id": store,
            "shipping_speed_rating": "4.7",
            "communication_rating": "4.6",
            "store_name": f"Shop{store} Store",
            "store_country_code": "CN",
            "item_as_described_rating": "4.5",
        },
        "manufacturer_info": {"name": BRANDS[bits[16] % len(BRANDS)], "country_name": "China"},
    }


def article_of(articles: list[Article], attr: str) -> Article | None:
    """The SKU with that sku_attr; with a single SKU it may be left empty."""
    if not attr and len(articles) == 1:
        return articles[0]
    return next((each for each in articles if sku_attr(each) == attr), None)


def unit_of(number: object) -> int:
    """The article's number in the catalogue by its sku_id; -1 if no id looks so."""
    text = str(number).strip()
    unit = int(text) - FIRST_SKU if text.isascii() and text.isdigit() and len(text) < 20 else -1
    return unit if unit >= 0 else -1


def index_of_unit(unit: int) -> int:
    """The product an article belongs to."""
    return unit // UNITS


def unit_of_product(index: int) -> int:
    """The number in the catalogue of the product itself."""
    return index * UNITS
