"""Our own exports, read back exactly: what services/formats/layouts.py has written comes out as it went in.

Such a table is known by columns only we write. Its cells are taken literally, without the guesses other people's tables
need: keys and options are those of the catalogue, blanks around a text and line ends inside it are kept, and the
apostrophe that keeps a spreadsheet from running a cell is taken away. Only numbers are read as everywhere, because a
spreadsheet may have written them anew. A row without our marks was added by hand: the shop system's reader reads it.
"""

import re
from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import Any, NamedTuple

from services.formats import cells, headers, layouts, numbers, shopify, trees, woocommerce, woocommerce_layout
from services.formats.base import Draft, RowError
from services.formats.formulas import restored
from services.formats.table import Apart, Columns, Mapper, Table

PLAIN_FORMAT = "shopopti_csv"

_ROUNDED = re.compile(r"\d(?:[.,]\d+)?[eE]\+\d+").fullmatch
_IS_URL = re.compile(r"(?:https?:)?//", re.I).match

# Column → (its header, the Draft field it feeds). The mappers unpack the columns in this order.
_FIELDS = {
    "key": "product_key", "number": "variant_key", "variant": "variant_key", "title": "title",
    "description": "description", "brand": "brand", "category": "category", "tags": "tags", "status": "status",
    "images": "image_urls", "position": "image_position", "name1": "option_names", "value1": "option_values",
    "name2": "option_names", "value2": "option_values", "name3": "option_names", "value3": "option_values",
    "sku": "sku", "barcode": "barcode", "price": "price", "list_price": "compare_at_price", "cost": "cost",
    "currency": "currency", "stock": "stock", "weight": "weight_grams", "picture": "variant_image_url",
}  # fmt: skip
_PLAIN = {
    "key": "productkey", "number": "variantnumber", "variant": "variantkey", "images": "images",
    "name1": "option1name", "value1": "option1value", "name2": "option2name", "value2": "option2value",
    "name3": "option3name", "value3": "option3value", "list_price": "compareatprice", "weight": "weightgrams",
    "picture": "variantimage", "position": "",
}  # fmt: skip
_SHOPIFY = {
    **_PLAIN,
    "key": "urlhandle", "number": "shopoptivariantnumber", "variant": "shopoptivariantkey", "brand": "vendor",
    "category": "type", "images": "productimageurl", "position": "imageposition", "cost": "costperitem",
    "currency": "shopopticurrency", "stock": "inventoryquantity", "weight": "weightvaluegrams",
    "picture": "variantimageurl",
}  # fmt: skip
_WOOCOMMERCE = {
    **_PLAIN,
    "key": "metashopoptiproductkey", "number": "metashopoptivariantnumber", "variant": "metashopoptivariantkey",
    "title": "name", "brand": "brands", "category": "categories", "status": "published", "name1": "attribute1name",
    "value1": "attribute1values", "name2": "attribute2name", "value2": "attribute2values", "name3": "attribute3name",
    "value3": "attribute3values", "barcode": "gtinupceanorisbn", "price": "regularprice",
    "list_price": "metashopopticompareatprice", "cost": "costofgoods", "currency": "metashopopticurrency",
    "weight": "weightkg", "picture": "metashopoptivariantimage", "sale": "saleprice", "type": "type",
}  # fmt: skip
_STATUS_OF = {written: status for status, written in woocommerce_layout.PUBLISHED.items()}
_LITERAL = str


class _Record(NamedTuple):
    """The cells of one row, as they were before they were written."""

    key: str
    number: str
    variant: str
    title: str
    description: str
    brand: str
    category: str
    tags: str
    status: str
    images: str
    position: str
    name1: str
    value1: str
    name2: str
    value2: str
    name3: str
    value3: str
    sku: str
    barcode: str
    price: str
    list_price: str
    cost: str
    currency: str
    stock: str
    weight: str
    picture: str
    sale: str = ""
    type: str = ""


def _marks(wanted: dict[str, str]) -> set[str]:
    return {wanted[name] for name in ("key", "number", "variant")}


def is_plain(names: set[str]) -> bool:
    """Whether these normalised headers are those of our own columns."""
    return _marks(_PLAIN) <= names


def is_shopify(names: set[str]) -> bool:
    """Whether these normalised headers are those of our export for Shopify."""
    return _marks(_SHOPIFY) <= names


def is_woocommerce(names: set[str]) -> bool:
    """Whether these normalised headers are those of our export for WooCommerce."""
    return _marks(_WOOCOMMERCE) <= names and "type" in names


def recognises(names: set[str]) -> bool:
    """Whether these normalised headers are those of any of our exports."""
    return is_plain(names) or is_shopify(names) or is_woocommerce(names)


# -- Rows ----------------------------------------------------------------------------------------------------------


class _Table:
    """One of our tables: where its columns stand, and how its numbers are written."""

    def __init__(self, table: Table, wanted: dict[str, str], *, unit: str) -> None:
        names = {name: wanted.get(name, name) for name in (*_FIELDS, "sale", "type")}
        self.at = headers.locate(table.headers, names)
        width = len(table.headers)
        self.spelled = {key: table.headers[index] if index < width else "" for key, index in self.at.items()}
        self.columns = {self.spelled[key]: field for key, field in _FIELDS.items() if self.spelled[key]}
        default = table.default_currency
        money = {"price": "price", "sale": "price", "list_price": "compare_at_price", "cost": "cost"}
        habits = {key: numbers.habit(row[self.at[key]] for row in table.sample) for key in (*money, "weight", "stock")}
        common = numbers.common_habit(habits.values())
        self.money = {
            key: cells.money(self.spelled[key], field, habits[key] or common, default) for key, field in money.items()
        }
        self.stock = cells.stock(self.spelled["stock"], habits["stock"] or common)
        self.weight = cells.weight(self.spelled["weight"], habits["weight"] or common, unit)
        self.currency = cells.currency(self.spelled["currency"], default)
        self.default = default
        keys = (self.at["key"],) if self.at["key"] < width else ()
        self.apart = Apart(keys, repr((habits, common)))
        self.pick = itemgetter(*(self.at[name] for name in _Record._fields))

    def draft(
        self, record: _Record, line: int, errors: list[RowError], status: str | None, images: str | None
    ) -> Draft:
        """The record as a draft; its keys and options are literal."""
        names, values = _options(record)
        amount = self._amount("price", record.price, line, errors)
        list_amount = self._amount("list_price", record.list_price, line, errors)
        cost = self._amount("cost", record.cost, line, errors)
        currency = self.currency(record.currency.strip(), line, errors)
        if currency is None and (amount or list_amount or cost):
            currency = self.default
        return Draft(
            line,
            record.key,
            _variant_key(record, values),
            record.title or None,
            record.description or None,
            record.brand or None,
            record.category or None,
            record.tags or None,
            status,
            images,
            record.position if images and cells.is_count(record.position) else None,
            names,
            values,
            self._code("sku", record.sku, line, errors),
            self._code("barcode", record.barcode, line, errors),
            amount,
            list_amount,
            cost,
            currency,
            self.stock(record.stock.strip(), line, errors) if record.stock else None,
            self.weight(record.weight.strip(), line, errors) if record.weight else None,
            record.picture if _IS_URL(record.picture) else None,
        )

    def _amount(self, key: str, cell: str, line: int, errors: list[RowError]) -> str | None:
        return self.money[key](cell.strip(), line, errors).text if cell else None

    def _code(self, key: str, cell: str, line: int, errors: list[RowError]) -> str | None:
        """An article number or barcode as it stands, unless a spreadsheet has rounded it."""
        if _ROUNDED(cell):
            reason = "A spreadsheet has rounded this number. Format the column as text and export again."
            errors.append(cells.problem(line, f"{key}_damaged", self.spelled[key], cell, reason))
            return None
        return cell or None


def _options(record: _Record) -> tuple[str | None, str | None]:
    """Names and values of the options, each on a line. Without names the values are those of the product's options."""
    pairs = ((record.name1, record.value1), (record.name2, record.value2), (record.name3, record.value3))
    names = [name for name, _ in pairs if name]
    values = [value for name, value in pairs if name or not names]
    while values and not names and not values[-1]:
        values.pop()
    if any("\n" in part for part in (*names, *values)):
        return None, None  # a draft cannot say it: what is known stays
    return "\n".join(names) or None, "\n".join(values) if any(values) else None


def _variant_key(record: _Record, values: str | None) -> str | None:
    """The variant's key, or None on a row that carries its product or a picture only."""
    number = record.number.strip()
    if number == "0":
        return None
    if number or record.variant:
        return record.variant
    return values.replace("\n", " / ") if values else record.sku  # added by hand


def _pictures(addresses: Iterable[str]) -> str | None:
    return "\n".join(address for address in addresses if _IS_URL(address)) or None


def _reader(
    wanted: dict[str, str],
    *,
    added: Columns | None = None,
    plain: Callable[[str], str] = restored,
) -> Columns:
    """The mapper of tables with our own or Shopify's columns. `added` reads rows that were added by hand."""

    def mapper(table: Table) -> tuple[dict[str, str], Mapper, Apart | None]:
        ours = _Table(table, wanted, unit="g")
        _, theirs, alone = added(table) if added else ({}, None, ours.apart)
        pick = ours.pick

        def draft(row: list[str], line: int, errors: list[RowError]) -> Draft | None:
            record = _Record(*map(plain, pick(row)))
            if theirs and not record.number:
                return theirs(row, line, errors)
            if not record.key:
                errors.extend(cells.key_missing(row, line, "The row does not say which product it is."))
                return None
            if record.value1 == "Default Title" and record.name1 in ("", "Title") and added:
                record = record._replace(name1="", value1="")
            status = cells.status(record.status.strip())
            images = _pictures(record.images.split("\n")) if record.images else None
            return ours.draft(record, line, errors, status, images)

        return ours.columns, draft, _both(ours.apart, alone)

    return mapper


def _both(ours: Apart, theirs: Apart | None) -> Apart | None:
    """Rows are read apart when either reader reads them so."""
    return theirs and Apart(ours.keys, ours.learned + theirs.learned)


def _woocommerce(table: Table) -> tuple[dict[str, str], Mapper, Apart | None]:
    ours = _Table(table, _WOOCOMMERCE, unit="kg")
    columns, theirs, alone = woocommerce.mapper(table)
    pick, unlisted = ours.pick, woocommerce_layout.restored_list

    def draft(row: list[str], line: int, errors: list[RowError]) -> Draft | None:
        record = _Record(*map(restored, pick(row)))
        if not record.key or not record.number:
            return theirs(row, line, errors)
        pictures = unlisted(record.images)
        if record.type == "variation":  # what describes a product stands on its parent
            blank = dict.fromkeys(("title", "description", "brand", "category", "tags", "status"), "")
            record = record._replace(**blank, picture=pictures[0] if pictures else "")
            names = [name for name in (record.name1, record.name2, record.name3) if name]
            if names == list(layouts.UNNAMED[: len(names)]):  # its product says what they are called, if anyone does
                record = record._replace(name1="", name2="", name3="")
            pictures = []
        if record.number == "0":
            record = record._replace(value1="", value2="", value3="", sku="")
        if record.sale:
            record = record._replace(price=record.sale, list_price=record.price)
        record = record._replace(
            description=woocommerce_layout.restored_lines(record.description),
            category=", ".join(unlisted(record.category)),
            tags=", ".join(unlisted(record.tags)),
            value1=record.value1.replace("\\,", ","),
            value2=record.value2.replace("\\,", ","),
            value3=record.value3.replace("\\,", ","),
        )
        return ours.draft(record, line, errors, _STATUS_OF.get(record.status), _pictures(pictures))

    return columns | ours.columns, draft, _both(ours.apart, alone)


# As the readers of tables take them: name, whether the headers are this format's, its mapper.
FORMATS = (
    (PLAIN_FORMAT, is_plain, _reader(_PLAIN)),
    (shopify.FORMAT, is_shopify, _reader(_SHOPIFY, added=shopify.mapper)),
    (woocommerce.FORMAT, is_woocommerce, _woocommerce),
)


# -- JSON ----------------------------------------------------------------------------------------------------------


def is_product(sample: list[dict[str, Any]]) -> bool:
    """Whether these objects are products in the shape of our API."""
    return all({"source", "key", "option_names"} <= one.keys() and isinstance(one.get("variants"), list)
               for one in sample)  # fmt: skip


def _said(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _texts(value: Any) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _variant(given: dict[str, Any]) -> layouts.WrittenVariant:
    options = given.get("options")
    return layouts.WrittenVariant(
        key=_said(given.get("key")) or "",
        options={name: value for name, value in options.items() if isinstance(value, str)}
        if isinstance(options, dict)
        else {},
        **{name: _said(given.get(name)) for name in layouts.WrittenVariant._fields if name not in ("key", "options")},
    )


def _json_rows(given: dict[str, Any], _: trees.LookUp) -> Iterable[trees.Row]:
    product = layouts.WrittenProduct(
        source=_said(given.get("source")) or "",
        key=_said(given.get("key")) or "",
        title=_said(given.get("title")),
        description=_said(given.get("description")),
        brand=_said(given.get("brand")),
        category=_said(given.get("category")),
        tags=_texts(given.get("tags")),
        status=_said(given.get("status")) or "",
        images=_texts(given.get("images")),
        option_names=_texts(given.get("option_names")),
        variants=[_variant(one) for one in given["variants"] if isinstance(one, dict)],
    )
    for row in layouts.plain_rows(product, 0):
        yield dict(zip(layouts.PLAIN_HEADER, row, strict=True)), None


# The header of a row → where the API says it.
_SPELLED = {name: name for name in layouts.PLAIN_HEADER} | {
    "product_key": "key", "variant_key": "variants.key", "variant_image": "variants.image_url",
    "price": "variants.price", "sku": "variants.sku", "barcode": "variants.barcode", "stock": "variants.stock",
}  # fmt: skip

JSON = trees.Dialect("shopopti_json", trees.fixed(_SPELLED, _json_rows, columns=_reader(_PLAIN, plain=_LITERAL)))
