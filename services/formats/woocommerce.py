r"""WooCommerce's product CSV, in whichever language its headers are.

Source: WooCommerce's CSV exporter and importer. A ``variable`` parent carries the product, each ``variation`` names
its parent by SKU or ``id:123``; either may come first. The product key is the SKU, or ``id:<ID>`` without one, which
is how the exporter names a parent. A hand-made ``id:123`` for a parent with a SKU is looked up.
"""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from operator import itemgetter

from services.formats import cells, headers, links, numbers
from services.formats.base import Draft, RowError
from services.formats.numbers import word_set
from services.formats.table import Apart, Mapper, Table
from services.formats.woocommerce_headers import in_english

FORMAT = "woocommerce_csv"

_ATTRIBUTES = 20  # of a product; more are not looked for
_COLUMNS = {
    "id": ("id", "product_key"),
    "type": ("type", "variant_key"),
    "sku": ("sku", "sku"),
    "name": ("name", "title"),
    "published": ("published", "status"),
    "short": ("shortdescription", "description"),
    "description": ("description", "description"),
    "category": ("categories", "category"),
    "tags": ("tags", "tags"),
    "brand": ("brands brand metabrand", "brand"),
    "barcode": ("gtinupceanorisbn metaglobaluniqueid metaean metagtin", "barcode"),
    "sale": ("saleprice", "price"),
    "regular": ("regularprice", "price"),
    "starts": ("datesalepricestarts", "price"),
    "ends": ("datesalepriceends", "price"),
    "cost": ("costofgoods", "cost"),
    "stock": ("stock", "stock"),
    "in_stock": ("instock", "stock"),
    "weight": ("weightkg weightlbs weightg weightoz weight", "weight_grams"),
    "images": ("images", "image_urls"),
    "parent": ("parent", "product_key"),
}
# Field of a mapping → the columns it stands in for.
ROLES = {
    field: _COLUMNS[key][0]
    for field, key in {
        "id": "id", "sku": "sku", "title": "name", "status": "published", "description": "description",
        "category": "category", "tags": "tags", "brand": "brand", "barcode": "barcode", "sale_price": "sale",
        "price": "regular", "cost": "cost", "stock": "stock", "weight_grams": "weight", "image_urls": "images",
        "group": "parent",
    }.items()
}  # fmt: skip
_OWN = word_set(
    "published visibilityincatalog regularprice saleprice taxstatus instock backordersallowed parent attribute1name "
    "groupedproducts crosssells"
)
_ESCAPE = re.compile(r"\\([\\n,])")


def recognises(names: set[str]) -> bool:
    """Whether these normalised headers are WooCommerce's, in English."""
    return {"type", "name"} <= names and bool(names & {"sku", "parent"}) and len(names & _OWN) >= 2


def mapper(table: Table) -> tuple[dict[str, str], Mapper, Apart | None]:
    """The columns used (header → Draft field), the function that turns a record into a draft, and whether alone."""
    english = in_english(table.headers, table.sample)
    at = headers.locate(english, {key: names for key, (names, _) in _COLUMNS.items()})
    width = len(table.headers)
    spelled = {key: table.headers[index] if index < width else "" for key, index in at.items()}
    columns = {spelled[key]: field for key, (_, field) in _COLUMNS.items() if spelled[key]}
    attributes = _attributes(english)
    for name, value in attributes:
        columns |= {table.headers[name]: "option_names", table.headers[value]: "option_values"}
    pick = itemgetter(*(at[key] for key in _COLUMNS))
    default, today = table.default_currency, datetime.now(UTC).date()
    marks = {key: numbers.habit(row[at[key]] for row in table.sample) for key in ("sale", "regular", "cost", "weight")}
    common = numbers.common_habit(marks.values())
    read_sale, read_regular, read_cost = (
        cells.money(spelled[key], field, marks[key] or common, default)
        for key, field in (("sale", "compare_at_price"), ("regular", "price"), ("cost", "cost"))
    )
    read_stock = cells.stock(spelled["stock"], common)
    unit = (headers.meaning([*english, ""][at["weight"]]) or headers.Meaning("", 0)).unit
    unit = unit or numbers.weight_unit(row[at["weight"]] for row in table.sample)
    read_weight = cells.weight(spelled["weight"], marks["weight"] or common, unit)
    parent_key = _parents(table, at)

    def draft(row: list[str], line: int, errors: list[RowError]) -> Draft | None:
        (
            number, types, sku, name, published, short, description, category, tags, brand, barcode, sale, regular,
            starts, ends, cost, stock, in_stock, weight, images, parent,
        ) = map(str.strip, pick(row))  # fmt: skip
        sku = cells.sku(sku, line, spelled["sku"], errors) if sku else ""
        own_key = sku or (f"id:{number}" if number else name)
        kind = types.partition(",")[0].strip().casefold()
        is_child = kind == "variation" or bool(parent)
        if is_child and not parent:
            errors.append(cells.fatal(line, "parent_missing", "A variation has to name its parent.", own_key))
            return None
        if not own_key and not parent:
            errors.extend(cells.key_missing(row, line, "The row has no SKU, no ID and no name."))
            return None
        if is_child and kind != "variation":
            reason = "Only a variation has a parent: the row was read as a variation of it."
            errors.append(cells.problem(line, "parent_unexpected", spelled["parent"], parent, reason))
        product_key = parent_key(cells.code(parent)) if is_child else own_key
        is_product = kind in ("variable", "grouped") and not is_child
        pairs = [(row[n].strip(), row[v].strip()) for n, v in attributes if row[n].strip()] if attributes else []
        pairs = [pair for pair in pairs[:3] if is_child or kind == "variable"]
        values = [value for _, value in pairs] if is_child else []
        read = read_regular(regular, line, errors)
        price, list_price, currency = read.text, None, read.currency
        if sale and cells.on_sale(starts, ends, today):
            reduced = read_sale(sale, line, errors)
            if reduced.text:
                price, list_price, currency = reduced.text, price, reduced.currency or currency
        unit_cost = read_cost(cost, line, errors).text
        quantity = read_stock(stock, line, errors) if stock and stock.casefold() != "parent" else None
        if quantity is None and in_stock == "0" and not is_product:
            quantity = "0"
        pictures = cells.images((images,)) if images else None
        return Draft(
            line,
            product_key,
            None if is_product else " / ".join(values) if any(values) else sku or ("" if not is_child else own_key),
            None if is_child else name or None,
            None if is_child else _text(description or short),
            brand or None,
            None if is_child else _first_category(category),
            tags or None,
            None if is_child else ("active" if published == "1" else "draft" if published else None),
            None if is_child else pictures,
            None,
            "\n".join(option for option, _ in pairs) or None,
            "\n".join(values) if any(values) else None,
            None if is_product else sku or None,
            cells.barcode(barcode, line, spelled["barcode"], errors),
            price,
            list_price,
            unit_cost,
            (currency or default) if price or unit_cost else None,
            quantity,
            read_weight(weight, line, errors) if weight else None,
            pictures.partition("\n")[0] if pictures and is_child else None,
        )

    keys = tuple(at[key] for key in ("parent", "sku", "id") if at[key] < width)
    dated = today if min(at["starts"], at["ends"]) < width else None
    return columns, draft, Apart(keys, repr((marks, common, unit, dated))) if parent_key is str else None


def _attributes(names: list[str]) -> list[tuple[int, int]]:
    """Where the names and values of the attributes stand."""
    wanted = {}
    for number in range(1, _ATTRIBUTES + 1):
        wanted[f"name{number}"] = f"attribute{number}name"
        wanted[f"value{number}"] = f"attribute{number}values attribute{number}value"
    at = headers.locate(names, wanted)
    pairs = [(at[f"name{number}"], at[f"value{number}"]) for number in range(1, _ATTRIBUTES + 1)]
    return [pair for pair in pairs if max(pair) < len(names)]


def _parents(table: Table, at: dict[str, int]) -> Callable[[str], str]:
    """The product key meant by a Parent cell. The file is read ahead only if a parent is named by its id."""
    if at["parent"] == len(table.headers) or at["id"] == len(table.headers):
        return str

    def named_by_id() -> bool:
        return any(row[at["parent"]].strip().startswith("id:") for row in table.reread())

    def numbered() -> Iterator[tuple[str, str]]:
        for row in table.reread():
            number, sku = row[at["id"]].strip(), cells.code(row[at["sku"]].strip())
            if number and sku and not row[at["parent"]].strip():
                yield f"id:{number}", sku

    if not named_by_id():
        return str
    look_up = links.build(numbered())
    return lambda parent: look_up(parent) or parent


def _text(cell: str) -> str | None:
    r"""Undo the exporter's escapes: a line end is written as ``\n``, a backslash as ``\\``."""
    if "\\" in cell:
        cell = _ESCAPE.sub(lambda found: "\n" if found[1] == "n" else found[1], cell)
    return cell or None


def _first_category(cell: str) -> str | None:
    r"""The first of the comma-separated category paths; a comma inside a name is written ``\,``."""
    first = re.split(r"(?<!\\),", cell, maxsplit=1)[0]
    return _text(first.strip())
