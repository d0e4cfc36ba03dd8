"""Shopify's product CSV, in both generations of headers, as exported and as third parties write it.

Source: Shopify's product CSV template and help pages. One record is a variant, an image, or both; records of one
product share the handle; product fields and option names stand on its first record only.
"""

import re
from operator import itemgetter

from services.formats import cells, headers, numbers
from services.formats.base import Draft, RowError
from services.formats.numbers import word_set
from services.formats.table import Apart, Mapper, Table

FORMAT = "shopify_csv"

# Column → (its normalised headers, the Draft field it feeds). The mapper unpacks the columns in this order.
_COLUMNS = {
    "handle": ("urlhandle handle", "product_key"),
    "title": ("title", "title"),
    "body": ("description bodyhtml body", "description"),
    "vendor": ("vendor", "brand"),
    "category": ("productcategory", "category"),
    "type": ("type", "category"),
    "tags": ("tags", "tags"),
    "status": ("status", "status"),
    "published": ("publishedononlinestore published", "status"),
    "name1": ("option1name", "option_names"),
    "value1": ("option1value", "option_values"),
    "name2": ("option2name", "option_names"),
    "value2": ("option2value", "option_values"),
    "name3": ("option3name", "option_names"),
    "value3": ("option3value", "option_values"),
    "sku": ("sku variantsku", "sku"),
    "barcode": ("barcode variantbarcode", "barcode"),
    "price": ("price variantprice", "price"),
    "list_price": ("compareatprice variantcompareatprice", "compare_at_price"),
    "cost": ("costperitem", "cost"),
    "tracker": ("inventorytracker variantinventorytracker", "stock"),
    "quantity": ("inventoryquantity variantinventoryqty variantinventoryquantity", "stock"),
    "grams": ("weightvaluegrams variantgrams", "weight_grams"),
    "image": ("productimageurl imagesrc", "image_urls"),
    "position": ("imageposition", "image_position"),
    "variant_image": ("variantimageurl variantimage", "variant_image_url"),
}
# Field of a mapping → the columns it stands in for.
ROLES = {
    field: _COLUMNS[key][0]
    for field, key in {
        "product_key": "handle", "title": "title", "description": "body", "brand": "vendor", "category": "category",
        "tags": "tags", "status": "status", "sku": "sku", "barcode": "barcode", "price": "price",
        "compare_at_price": "list_price", "cost": "cost", "stock": "quantity", "weight_grams": "grams",
        "image_urls": "image", "image_position": "position", "variant_image_url": "variant_image",
        **{f"option{n}_{part}": f"{part}{n}" for n in (1, 2, 3) for part in ("name", "value")},
    }.items()
}  # fmt: skip
_NAMES = {key: names for key, (names, _) in _COLUMNS.items()}
# Handle and Title are ordinary words; one of these makes the file Shopify's.
_OWN = word_set(
    "option1name option1value variantsku variantprice bodyhtml variantinventoryqty imagesrc compareatprice "
    "publishedononlinestore productimageurl costperitem variantgrams"
)


def recognises(names: set[str]) -> bool:
    """Whether these normalised headers are Shopify's."""
    return "title" in names and bool(names & {"handle", "urlhandle"}) and bool(names & _OWN)


def slug(title: str) -> str:
    """The handle Shopify makes of a title."""
    return re.sub(r"[\W_]+", "-", title.casefold()).strip("-")


def mapper(table: Table) -> tuple[dict[str, str], Mapper, Apart]:
    """The columns used (header → Draft field), the function that turns a record into a draft; it looks at no other."""
    at = headers.locate(table.headers, _NAMES)
    width = len(table.headers)
    spelled = {key: table.headers[index] if index < width else "" for key, index in at.items()}
    columns = {spelled[key]: field for key, (_, field) in _COLUMNS.items() if spelled[key]}
    pick = itemgetter(*(at[key] for key in _COLUMNS))
    strip, has_tracker, default = str.strip, at["tracker"] < width, table.default_currency
    marks = {key: numbers.habit(row[at[key]] for row in table.sample) for key in ("price", "list_price", "cost")}
    common = numbers.common_habit(marks.values())
    read_price, read_list_price, read_cost = (
        cells.money(spelled[key], _COLUMNS[key][1], marks[key] or common, default) for key in marks
    )
    read_stock = cells.stock(spelled["quantity"], common)
    grams_mark = numbers.habit(row[at["grams"]] for row in table.sample)
    read_grams = cells.weight(spelled["grams"], grams_mark, "g")

    def draft(row: list[str], line: int, errors: list[RowError]) -> Draft | None:
        (
            handle, title, body, vendor, category, kind, tags, status, published, name1, value1, name2, value2, name3,
            value3, sku, barcode, price, list_price, cost, tracker, quantity, grams, image, position, variant_image,
        ) = map(strip, pick(row))  # fmt: skip
        if not handle:
            handle = slug(title)
            if not handle:
                errors.extend(cells.key_missing(row, line, "The row has neither a handle nor a title."))
                return None
        if sku:
            sku = cells.sku(sku, line, spelled["sku"], errors)
        images = cells.images((image,)) if image else None
        order = position if images and cells.is_count(position) else None
        is_variant = bool(title or value1 or sku or price or barcode or value2 or variant_image)
        if not is_variant:
            if not images:
                errors.append(cells.fatal(line, "row_without_content", "The row has a handle and nothing else."))
                return None
            return Draft(line, handle, None, image_urls=images, image_position=order)
        if value1.casefold() == "default title" and name1.casefold() in ("", "title"):
            name1 = value1 = ""  # Shopify's way to say that there are no options
        values = [value for value in (value1, value2, value3) if value]
        options = [name for name, value in ((name1, value1), (name2, value2), (name3, value3)) if name and value]
        amount, list_amount, unit_cost = cells.NOTHING, cells.NOTHING, cells.NOTHING
        if price:
            amount = read_price(price, line, errors)
        if list_price:
            list_amount = read_list_price(list_price, line, errors)
        if cost:
            unit_cost = read_cost(cost, line, errors)
        stock = read_stock(quantity, line, errors) if quantity else None
        if stock == "0" and has_tracker and not tracker:
            stock = None  # not tracked: the export writes 0, the shop sells on
        money = amount.text or list_amount.text or unit_cost.text
        return Draft(
            line,
            handle,
            " / ".join(values) if values else sku,
            title or None,
            body or None,
            vendor or None,
            category or kind or None,
            tags or None,
            cells.status(status) or cells.status(published),
            images,
            order,
            "\n".join(options) if options else None,
            "\n".join(values) if values else None,
            sku or None,
            cells.barcode(barcode, line, spelled["barcode"], errors) if barcode else None,
            amount.text,
            list_amount.text,
            unit_cost.text,
            (amount.currency or default) if money else None,
            stock,
            read_grams(grams, line, errors) if grams else None,
            cells.images((variant_image,)) if variant_image else None,
        )

    keys = tuple(at[key] for key in ("handle", "title") if at[key] < width)
    return columns, draft, Apart(keys, repr((marks, common, grams_mark)))
