r"""How products are laid out as WooCommerce's exporter does: a ``variable`` parent and its variations, or ``simple``.

Source: WooCommerce's CSV exporter and importer (class-wc-product-csv-exporter.php, class-wc-product-csv-importer.php).
A line end in a description is written ``\n``, a literal ``\n`` as ``\\n``, a comma inside one of several values ``\,``.
What its columns cannot say stands in columns of metadata, which WooCommerce keeps as such.
"""

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal

from services.formats.layouts import OPTIONS, UNNAMED, Layout, Row, WrittenProduct, WrittenVariant, pairs_of

_ATTRIBUTES = [
    f"Attribute {number} {part}"
    for number in range(1, OPTIONS + 1)
    for part in ("name", "value(s)", "visible", "global")
]
HEADER = [
    *("ID", "Type", "SKU", "GTIN, UPC, EAN, or ISBN", "Name", "Published", "Is featured?", "Visibility in catalog"),
    *("Short description", "Description", "Date sale price starts", "Date sale price ends", "Tax status", "Tax class"),
    *("In stock?", "Stock", "Low stock amount", "Backorders allowed?", "Sold individually?", "Weight (kg)"),
    *("Length (cm)", "Width (cm)", "Height (cm)", "Allow customer reviews?", "Purchase note", "Sale price"),
    *("Regular price", "Categories", "Tags", "Shipping class", "Images", "Download limit", "Download expiry days"),
    *("Parent", "Grouped products", "Upsells", "Cross-sells", "External URL", "Button text", "Position", "Brands"),
    *("Cost of goods", *_ATTRIBUTES),
    *("Meta: shopopti_product_key", "Meta: shopopti_variant_number", "Meta: shopopti_variant_key"),
    *("Meta: shopopti_currency", "Meta: shopopti_compare_at_price", "Meta: shopopti_variant_image"),
]
_WIDTH = len(HEADER)
_AT = {name: index for index, name in enumerate(HEADER)}
PUBLISHED = {"active": "1", "draft": "-1", "archived": "0"}
_ESCAPED = re.compile(r"\\\\n|\\n")
_OPEN = re.compile(r"\\ *\Z")
_CLOSED = re.compile(r"\\ +\Z").search


def escaped_lines(text: str) -> str:
    r"""A description on one line. A line end behind a backslash stays as it is: escaped it would be read as ``\n``."""
    return re.sub(r"(?<!\\)\n", r"\\n", text.replace("\\n", "\\\\n"))


def restored_lines(cell: str) -> str:
    """What `escaped_lines` was given."""
    return _ESCAPED.sub(lambda found: "\\n" if len(found[0]) == 3 else "\n", cell)


def escaped_list(values: Sequence[str]) -> str:
    """Several values in one cell. A backslash at a value's end gets a blank: it must not escape the comma behind it."""
    return ", ".join(_OPEN.sub(r"\g<0> ", value.replace(",", "\\,")) for value in values)


def restored_list(cell: str) -> list[str]:
    """What `escaped_list` was given."""
    values = re.split(r"(?<!\\), ?", cell) if cell else []
    return [(value[:-1] if _CLOSED(value) else value).replace("\\,", ",") for value in values]


def rows(product: WrittenProduct, number: int) -> Iterator[Row]:
    """The parent and its variations, or one row. A parent is named by its key, by ``id:`` where a variant's SKU is it.

    The ID is the product's number in the file: WooCommerce takes it for a name within the file, unless it is told to
    update the products it has.
    """
    single = len(product.variants) <= 1 and not product.option_names
    if single and not (product.variants and product.variants[0].options):
        row = _row(product, "simple", "1" if product.variants else "0")
        _add_product(row, product)
        if product.variants:
            _add_variant(row, product.variants[0])
            row[_AT["Meta: shopopti_variant_image"]] = product.variants[0].image_url or ""
        yield row
        return
    by_id = any(variant.sku == product.key for variant in product.variants)
    row = _row(product, "variable", "0")
    _add_product(row, product)
    row[_AT["ID"]] = str(number) if by_id else ""
    row[_AT["SKU"]] = "" if by_id else product.key
    row[_AT["In stock?"]] = "1"
    _add_attributes(row, [(name, escaped_list(_values(product, name))) for name in product.option_names[:OPTIONS]])
    yield row
    for index, variant in enumerate(product.variants, 1):
        yield _variation(product, variant, index, parent=f"id:{number}" if by_id else product.key)


def _values(product: WrittenProduct, name: str) -> list[str]:
    given = (variant.options.get(name) for variant in product.variants)
    return list(dict.fromkeys(value for value in given if value))


def _variation(product: WrittenProduct, variant: WrittenVariant, index: int, *, parent: str) -> Row:
    pairs = pairs_of(product, variant)
    row = _row(product, "variation", str(index))
    row[_AT["Name"]] = " - ".join(filter(None, (product.title, ", ".join(value for _, value in pairs))))
    row[_AT["Parent"]] = parent
    row[_AT["Position"]] = str(index - 1)
    row[_AT["Images"]] = escaped_list([variant.image_url] if variant.image_url else [])
    named = [(name or unnamed, value) for (name, value), unnamed in zip(pairs, UNNAMED, strict=False)]
    _add_attributes(row, [(name, value.replace(",", "\\,")) for name, value in named])
    _add_variant(row, variant)
    return row


def _row(product: WrittenProduct, kind: str, variant_number: str) -> Row:
    row = [""] * _WIDTH
    for name, value in (
        *(("Type", kind), ("Published", PUBLISHED[product.status]), ("Is featured?", "0"), ("Tax status", "taxable")),
        *(("Visibility in catalog", "visible"), ("Backorders allowed?", "0"), ("Sold individually?", "0")),
        *(("Meta: shopopti_product_key", product.key), ("Meta: shopopti_variant_number", variant_number)),
    ):
        row[_AT[name]] = value
    return row


def _add_product(row: Row, product: WrittenProduct) -> None:
    row[_AT["Name"]] = product.title or ""
    row[_AT["Description"]] = escaped_lines(product.description or "")
    row[_AT["Categories"]] = escaped_list([product.category] if product.category else [])
    row[_AT["Tags"]] = escaped_list(product.tags)
    row[_AT["Images"]] = escaped_list(product.images)
    row[_AT["Brands"]] = product.brand or ""
    row[_AT["Allow customer reviews?"]] = "1"
    row[_AT["Position"]] = "0"


def _add_variant(row: Row, variant: WrittenVariant) -> None:
    price, list_price = variant.price, variant.compare_at_price
    # WooCommerce knows a list price only as the regular price of something on sale for less.
    if price and list_price and Decimal(list_price) > Decimal(price):
        row[_AT["Sale price"]], row[_AT["Regular price"]] = price, list_price
    else:
        row[_AT["Regular price"]], row[_AT["Meta: shopopti_compare_at_price"]] = price or "", list_price or ""
    row[_AT["SKU"]] = variant.sku or ""
    row[_AT["GTIN, UPC, EAN, or ISBN"]] = variant.barcode or ""
    row[_AT["In stock?"]] = "0" if variant.stock == "0" else "1"
    row[_AT["Stock"]] = variant.stock or ""
    if variant.weight_grams:
        row[_AT["Weight (kg)"]] = f"{(Decimal(variant.weight_grams) / 1000).normalize():f}"
    row[_AT["Cost of goods"]] = variant.cost or ""
    row[_AT["Meta: shopopti_variant_key"]] = variant.key
    row[_AT["Meta: shopopti_currency"]] = variant.currency or ""


def _add_attributes(row: Row, pairs: Sequence[tuple[str, str]]) -> None:
    for number, (name, values) in enumerate(pairs, 1):
        row[_AT[f"Attribute {number} name"]] = name
        row[_AT[f"Attribute {number} value(s)"]] = values
        row[_AT[f"Attribute {number} visible"]] = "1"
        row[_AT[f"Attribute {number} global"]] = "0"


WOOCOMMERCE = Layout(
    HEADER,
    rows,
    frozenset(
        {
            *("Stock", "Weight (kg)", "Sale price", "Regular price", "Cost of goods", "Meta: shopopti_variant_number"),
            "Meta: shopopti_compare_at_price",
        }
    ),
    byte_order_mark=True,
)
