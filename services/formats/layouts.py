"""How products are laid out as rows of a table: our own columns, and Shopify's. See docs/exports.md.

Every layout can say all that the catalogue knows, so that what is written can be read back unchanged
(services/formats/exported.py): what a shop system has no column for stands in columns of our own behind its own.
A product's rows are made from one product at a time.
"""

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import NamedTuple

OPTIONS = 3  # of a variant, as many as a draft can say
UNNAMED = ("Option 1", "Option 2", "Option 3")  # what the catalogue calls those without a name


class WrittenVariant(NamedTuple):
    """A variant as the catalogue has it; money and whole numbers are canonical text. None and "" are different."""

    key: str
    sku: str | None
    barcode: str | None
    options: dict[str, str]
    price: str | None
    compare_at_price: str | None
    cost: str | None
    currency: str | None
    stock: str | None
    weight_grams: str | None
    image_url: str | None


class WrittenProduct(NamedTuple):
    """A product as the catalogue has it, with its variants in their order."""

    source: str
    key: str
    title: str | None
    description: str | None
    brand: str | None
    category: str | None
    tags: Sequence[str]
    status: str
    images: Sequence[str]
    option_names: Sequence[str]
    variants: Sequence[WrittenVariant]


Row = list[str]


class Layout(NamedTuple):
    """The header of a table, and how one product becomes its rows."""

    header: Row
    rows: Callable[[WrittenProduct, int], Iterator[Row]]  # the product, and its number in the file (1, 2, …)
    numbers: frozenset[str]  # the columns a spreadsheet may calculate with
    byte_order_mark: bool  # whether its CSV begins with one, as spreadsheets want it


def amount(value: Decimal) -> str:
    """Money as text: two decimals, more only where they say something."""
    whole, _, part = f"{value:f}".partition(".")
    return f"{whole}.{part.rstrip('0'):0<2}"


def pairs_of(product: WrittenProduct, variant: WrittenVariant) -> list[tuple[str, str]]:
    """A variant's options in the order of its product's; those the product does not name come last.

    A feed that gives values without names leaves a product without names: then they have none here either.
    """
    options = variant.options
    if not product.option_names and options.keys() <= set(UNNAMED):
        return [("", options[name]) for name in UNNAMED if name in options]
    names = [name for name in product.option_names if name in options]
    return [(name, options[name]) for name in (*names, *(name for name in options if name not in names))][:OPTIONS]


def heads_alone(product: WrittenProduct) -> bool:
    """Whether the product needs a row of its own: there is no variant, or the first one's options are others."""
    if not product.variants:
        return True
    first = [name for name, _ in pairs_of(product, product.variants[0]) if name]
    return bool(first) and first != list(product.option_names[:OPTIONS])


def _numbered(pattern: str) -> list[str]:
    return [pattern.format(number, part) for number in range(1, OPTIONS + 1) for part in ("name", "value")]


def _flat(pairs: Sequence[tuple[str, str]]) -> Row:
    cells = [cell for pair in pairs[:OPTIONS] for cell in pair]
    return cells + [""] * (2 * OPTIONS - len(cells))


def _named(names: Sequence[str]) -> Row:
    return _flat([(name, "") for name in names])


# -- Our own columns -----------------------------------------------------------------------------------------------

PLAIN_HEADER = [
    *("source", "product_key", "variant_number", "variant_key", "title", "description", "brand", "category", "tags"),
    *("status", "images", *_numbered("option_{}_{}"), "sku", "barcode", "price", "compare_at_price", "cost"),
    *("currency", "stock", "weight_grams", "variant_image"),
]


def plain_rows(product: WrittenProduct, _: int) -> Iterator[Row]:
    """One row per variant. The first carries the product; a row of the product alone has the variant number 0."""
    blank = [""] * 7
    own = [
        *(product.title or "", product.description or "", product.brand or "", product.category or ""),
        *(", ".join(product.tags), product.status, "\n".join(product.images)),
    ]
    if heads_alone(product):
        yield [product.source, product.key, "0", "", *own, *_named(product.option_names), *[""] * 9]
        own = blank
    for number, variant in enumerate(product.variants, 1):
        pairs = pairs_of(product, variant)
        yield [
            product.source,
            product.key,
            str(number),
            variant.key,
            *own,
            *(_flat(pairs) if pairs or own is blank else _named(product.option_names)),
            *(variant.sku or "", variant.barcode or "", variant.price or "", variant.compare_at_price or ""),
            *(variant.cost or "", variant.currency or "", variant.stock or "", variant.weight_grams or ""),
            variant.image_url or "",
        ]
        own = blank


# -- Shopify's -----------------------------------------------------------------------------------------------------

_SHOPIFY_OPTIONS = [f"Option{number} {part}" for number in (1, 2, 3) for part in ("name", "value", "Linked To")]
SHOPIFY_HEADER = [
    *("Title", "URL handle", "Description", "Vendor", "Product category", "Type", "Tags"),
    *("Published on online store", "Status", "SKU", "Barcode", *_SHOPIFY_OPTIONS),
    *("Price", "Compare-at price", "Cost per item", "Charge tax", "Tax code"),
    *("Unit price total measure", "Unit price total measure unit", "Unit price base measure"),
    *("Unit price base measure unit", "Inventory tracker", "Inventory quantity"),
    *("Continue selling when out of stock", "Weight value (grams)", "Weight unit for display", "Requires shipping"),
    *("Fulfillment service", "Product image URL", "Image position", "Image alt text", "Variant image URL"),
    *("Gift card", "SEO title", "SEO description"),
    *("ShopOpti variant number", "ShopOpti variant key", "ShopOpti currency"),
]
_WIDTH = len(SHOPIFY_HEADER)
_AT = {name: index for index, name in enumerate(SHOPIFY_HEADER)}
_NO_OPTIONS = ("Title", "Default Title")  # Shopify's way to say that there are none


def shopify_rows(product: WrittenProduct, _: int) -> Iterator[Row]:
    """As Shopify's export: the product on its first row, a variant per row, pictures beside them and on further rows.

    Names of options stand on the first row; again only where a variant's are others than its product's.
    """
    written = 0
    if heads_alone(product):
        yield _shopify_row(product, 0, product=True, options=[(name, "") for name in product.option_names])
        written = 1
    for number, variant in enumerate(product.variants, 1):
        row = _shopify_row(
            product, written, product=written == 0, options=_shopify_options(product, variant, first=written == 0)
        )
        _add_variant(row, variant, number)
        yield row
        written += 1
    for index in range(written, len(product.images)):
        yield _shopify_row(product, index, product=False, options=())


def _shopify_options(product: WrittenProduct, variant: WrittenVariant, *, first: bool) -> Sequence[tuple[str, str]]:
    pairs = pairs_of(product, variant)
    if first and not pairs:
        return [(name, "") for name in product.option_names] or [_NO_OPTIONS]
    if not pairs:
        return () if product.option_names else [("", _NO_OPTIONS[1])]
    names, values = [name for name, _ in pairs], [value for _, value in pairs]
    unsaid = not first and all(values) and values[0] != _NO_OPTIONS[1]
    if unsaid and names == list(product.option_names[: len(names)]):
        return [("", value) for value in values]
    return pairs


def _shopify_row(written: WrittenProduct, index: int, *, product: bool, options: Sequence[tuple[str, str]]) -> Row:
    """A row with the product's fields (if it is the first), options, and the picture of that index."""
    row = [""] * _WIDTH
    row[_AT["URL handle"]] = written.key
    row[_AT["ShopOpti variant number"]] = "0"
    if product:
        row[_AT["Title"]] = written.title or ""
        row[_AT["Description"]] = written.description or ""
        row[_AT["Vendor"]] = written.brand or ""
        row[_AT["Type"]] = written.category or ""
        row[_AT["Tags"]] = ", ".join(written.tags)
        row[_AT["Published on online store"]] = "TRUE" if written.status == "active" else "FALSE"
        row[_AT["Status"]] = written.status
        row[_AT["Gift card"]] = "FALSE"
    for number, (name, value) in enumerate(options[:OPTIONS], 1):
        row[_AT[f"Option{number} name"]] = name
        row[_AT[f"Option{number} value"]] = value
    if index < len(written.images):
        row[_AT["Product image URL"]] = written.images[index]
        row[_AT["Image position"]] = str(index + 1)
    return row


def _add_variant(row: Row, variant: WrittenVariant, number: int) -> None:
    row[_AT["SKU"]] = variant.sku or ""
    row[_AT["Barcode"]] = variant.barcode or ""
    row[_AT["Price"]] = variant.price or ""
    row[_AT["Compare-at price"]] = variant.compare_at_price or ""
    row[_AT["Cost per item"]] = variant.cost or ""
    row[_AT["Charge tax"]] = "TRUE"
    row[_AT["Inventory tracker"]] = "" if variant.stock is None else "shopify"
    row[_AT["Inventory quantity"]] = variant.stock or ""
    row[_AT["Continue selling when out of stock"]] = "DENY"
    row[_AT["Weight value (grams)"]] = variant.weight_grams or ""
    row[_AT["Weight unit for display"]] = "g"
    row[_AT["Requires shipping"]] = "TRUE"
    row[_AT["Fulfillment service"]] = "manual"
    row[_AT["Variant image URL"]] = variant.image_url or ""
    row[_AT["ShopOpti variant number"]] = str(number)
    row[_AT["ShopOpti variant key"]] = variant.key
    row[_AT["ShopOpti currency"]] = variant.currency or ""


PLAIN = Layout(
    PLAIN_HEADER,
    plain_rows,
    frozenset({"variant_number", "price", "compare_at_price", "cost", "stock", "weight_grams"}),
    byte_order_mark=True,
)
SHOPIFY = Layout(
    SHOPIFY_HEADER,
    shopify_rows,
    frozenset(
        {
            *("Price", "Compare-at price", "Cost per item", "Inventory quantity", "Weight value (grams)"),
            *("Image position", "ShopOpti variant number"),
        }
    ),
    byte_order_mark=False,
)
