"""Any other product table, by the names of its columns: supplier lists, Google and Facebook feeds, shop exports.

One general reading serves them all: which columns say what is decided by ``headers``, which of several columns for
a field by ``columns``, and a record that names no product belongs to the product above it.
"""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

from services.formats import cells, headers, kinds, links, numbers
from services.formats.base import Draft, RowError
from services.formats.columns import MONEY, Columns, chosen_columns
from services.formats.headers import Meaning
from services.formats.numbers import word_set
from services.formats.options import Options, option_columns
from services.formats.table import Apart, Mapper, Table

FORMAT = "generic_csv"

_DRAFT_FIELDS = {  # what a column's meaning feeds, where the names differ
    "handle": "product_key", "group": "product_key", "id": "product_key", "sale": "price", "sale_from": "price",
    "sale_period": "price",
    "sale_to": "price", "availability": "stock", "weight": "weight_grams", "weight_unit": "weight_grams",
    "image": "image_urls", "more_images": "image_urls", "variant_image": "variant_image_url",
    "discontinued": "status", "children": "product_key", "on_sale": "price", "surcharge": "price",
}  # fmt: skip
# The order in which the mapper unpacks a record.
_PICKED = (
    "handle", "group", "id", "sku", "title", "description", "brand", "tags", "status", "discontinued", "barcode",
    *MONEY, "sale_from", "sale_to", "sale_period", "currency", "stock", "availability", "weight", "weight_unit",
    "image_position", "variant_image", "kind", "on_sale",
)  # fmt: skip
_PARENT = ("Parent", "parent", "0")  # instead of the number of another row: this is one, or has none
_PARENT_KINDS = word_set("variable configurable parent grouped")
_SUMS = word_set("summe gesamt gesamtsumme total totals totale итого всего razem suma ogółem celkem spolu yhteensä")
_TOTALS = frozenset(form + end for word in _SUMS for form in (word, word.title(), word.upper()) for end in ("", ":"))
_TITLE_LENGTH = 120
_SHARED_SIGN = re.compile(r"^[\d.,\s]*(?:[$¥]|kr\.?)[\d.,\s]*$", re.I).match


def mapper(table: Table) -> tuple[dict[str, str], Mapper, Apart | None]:
    """The columns used (header → Draft field), the function that turns a record into a draft, and whether alone."""
    names, width = table.headers, len(table.headers)
    chosen = chosen_columns(table)
    options, option_fields = option_columns(names, group=chosen.at.get("group"))
    kind, translated = kinds.column(table, chosen.at.get("group", width)), _translations(table)
    at = {field: chosen.at.get(field, width) for field in _PICKED}
    columns = {
        names[index]: _DRAFT_FIELDS.get(field, field)
        for field, index in chosen.at.items()
        if field in _PICKED and field != "kind"
    }
    columns |= {names[index]: "category" for index in chosen.categories}
    columns |= {names[index]: "image_urls" for index in chosen.images} | option_fields
    if options and at["group"] < width:  # then rows say which product they belong to
        options = options._replace(continues=False)
    build, learned = _mapper_of(table, chosen, at, options)
    apart = None if options and options.continues else _apart(at, width, f"{learned} {at} {translated}")
    if "children" in chosen.at:
        columns[names[chosen.at["children"]]] = "product_key"
        build, apart = _with_parents(table, chosen.at["children"], at["sku"], build), None
    elif kind is not None:
        build = kinds.with_variants_below(table, kind, at, chosen.at.get("surcharge", width), build)
        apart = None
    elif _has_parents(table, at):
        build, apart = _without_parents(table, at, build), None
    return columns, build if translated is None else _without_translations(translated, build), apart


def _apart(at: dict[str, int], width: int, learned: str) -> Apart:
    keys = tuple(dict.fromkeys(at[field] for field in ("handle", "group", "id", "sku") if at[field] < width))
    dated = any(at[field] < width for field in ("sale_from", "sale_to", "sale_period"))
    return Apart(keys, f"{learned} {datetime.now(UTC).date()}" if dated else learned)


def _mapper_of(  # noqa: PLR0915  what is known of the columns, and the one row of all tables
    table: Table, chosen: Columns, at: dict[str, int], options: Options | None
) -> tuple[Mapper, str]:
    """The mapper, and what it has learned from the sample."""
    names, width = table.headers, len(table.headers)
    spelled = {field: names[index] if index < width else "" for field, index in at.items()}
    pick, spread = _pickers(at, width)
    marks = {
        field: numbers.habit(row[at[field]] for row in table.sample) if at[field] < width else ""
        for field in (*MONEY, "weight", "stock")
    }
    common = numbers.common_habit(marks.values())
    marks = {field: mark or common for field, mark in marks.items()}
    read_money = _money_reader(chosen.said, spelled, marks, table.default_currency)
    read_stock = cells.stock(spelled["stock"], marks["stock"])
    unit = chosen.said["weight"].unit if "weight" in chosen.said else None
    unit = unit or numbers.weight_unit(row[at["weight"]] for row in table.sample)
    read_weight = cells.weight(spelled["weight"], marks["weight"], unit)
    read_category, read_images = _category_reader(chosen.categories), _image_reader(chosen.images)
    read_options = _option_reader(options) if options else None
    continues = bool(options and options.continues)
    keyed_by_id, titled = at["sku"] == at["id"] != width, at["title"] < width
    has_money = any(at[field] < width for field in MONEY)
    signs = at["availability"] < width and any(row[at["availability"]].strip() == "+" for row in table.sample)
    above = ""  # the product of the record above
    strip = str.strip

    new: Any = tuple.__new__  # what Draft(…) comes to, without a function of Python's in between

    def draft(row: list[str], line: int, errors: list[RowError]) -> Draft | None:
        nonlocal above
        (
            handle, group, number, sku, title, description, brand, tags, status, discontinued, barcode, price, sale,
            list_price, cost, starts, ends, period, currency, stock, availability, weight, weight_unit, position,
            variant_image, kind, on_sale,
        ) = spread([*map(strip, pick(row))])  # fmt: skip
        if on_sale and not cells.is_yes(on_sale):
            sale = ""
        if sku:
            sku = cells.sku(sku, line, spelled["sku"], errors)
        code = cells.barcode(barcode, line, spelled["barcode"], errors) if barcode else None
        if group and group in _PARENT:
            group = ""
        own = handle or group or (cells.code(number) if number else "")
        # In a table of variants the SKUs are the variants', and a record without product cells continues the one above.
        key = own or (title or above or sku if continues else sku or code or title)
        if not (title and sku) and key in _TOTALS and _is_total(row, key):
            return None
        if not key or (continues and not own and not title and not any(map(strip, row))):
            errors.extend(cells.key_missing(row, line, "The row has no SKU, no key and no title."))
            return None
        given: list[str] = []
        values: list[str] = []
        if read_options:
            found = read_options(row, line, errors, continues and key == above and not own and not title)
            above = key
            if found is None:
                return None
            given, values = found
        amount = list_amount = unit_cost = money = None
        if has_money:
            amount, list_amount, unit_cost, money = read_money(
                (price, sale, list_price, cost, starts, ends, period, currency), line, errors
            )
            if errors and row[:width] == names:  # the header once more
                errors.clear()
                return None
        quantity = read_stock(stock, line, errors) if stock else None
        if availability and quantity is None and (cells.sold_out(availability) or (signs and availability == "-")):
            quantity = "0"
        if weight:
            weight = read_weight(f"{weight} {weight_unit}" if weight_unit else weight, line, errors) or ""
        if not titled and description:
            title = _title_from(description)
        is_parent = kind and kind.casefold() in _PARENT_KINDS
        by_id = keyed_by_id and group and sku  # such an id is unique by its definition, colour and size often are not
        made: Draft = new(Draft, (
            line,
            key,
            None if is_parent else " / ".join(values) if values and not by_id else sku,
            title or None,
            description or None,
            brand or None,
            read_category(row),
            tags or None,
            "archived" if discontinued and cells.is_yes(discontinued) else cells.status(status) if status else None,
            read_images(row),
            position if position and cells.is_count(position) else None,
            ("\n".join(given[:3]) or None) if given else None,
            ("\n".join(values[:3]) or None) if values else None,
            sku or None,
            code,
            amount,
            list_amount,
            unit_cost,
            money,
            quantity,
            weight or None,
            cells.images((variant_image,)) if variant_image else None,
        ))  # fmt: skip
        return made

    return draft, repr((marks, unit, signs))


def _is_total(row: list[str], key: str) -> bool:
    """Whether a row that is called a total has nothing but numbers besides."""
    return not any(any(map(str.isalpha, cell)) for cell in row if cell.strip() != key)


def _pickers(at: dict[str, int], width: int) -> tuple[Callable[..., tuple[str, ...]], Callable[..., tuple[str, ...]]]:
    """What takes the cells that are used out of a record, and what puts these in the order of `_PICKED`.

    All columns that a table has not share one empty cell: it need not be stripped for each.
    """
    used = sorted({0, width, *at.values()})
    return itemgetter(*used), itemgetter(*(used.index(at[field]) for field in _PICKED))


def _money_reader(
    said: dict[str, Meaning], spelled: dict[str, str], marks: dict[str, str], default: str | None
) -> Callable[..., tuple[str | None, str | None, str | None, str | None]]:
    """A reader for all the money of a record: price, list price, cost, currency."""
    header_currency = {field: said[field].currency if field in said else None for field in MONEY}
    usual = next((currency for currency in header_currency.values() if currency), default)
    read_price, read_sale, read_list_price, read_cost = (
        cells.money(
            spelled[field],
            "compare_at_price" if field == "sale" else field,
            marks[field],
            header_currency[field] or default,
        )
        for field in MONEY
    )
    read_currency = cells.currency(spelled["currency"], default)
    today = datetime.now(UTC).date()

    def read_one(
        found_cells: tuple[str, str, str, str, str, str, str, str], line: int, errors: list[RowError]
    ) -> tuple[str | None, str | None, str | None, str | None]:
        amount, named = read_price(found_cells[0], line, errors)
        return (amount, None, None, named or usual) if amount is not None else (None, None, None, None)

    if not any(spelled[field] for field in (*MONEY, "currency") if field != "price"):
        return read_one

    def read(
        found_cells: tuple[str, str, str, str, str, str, str, str], line: int, errors: list[RowError]
    ) -> tuple[str | None, str | None, str | None, str | None]:
        price, sale, list_price, cost, starts, ends, period, currency = found_cells
        amount, named = read_price(price, line, errors)
        list_amount = unit_cost = None
        if list_price:
            list_amount, found = read_list_price(list_price, line, errors)
            named = named or found
        if sale and period:  # both days in one cell
            starts, _, ends = period.partition("/")
        if sale and cells.on_sale(starts, ends, today):
            reduced, found = read_sale(sale, line, errors)
            if reduced is not None and reduced != amount:
                amount, list_amount, named = reduced, amount or list_amount, found or named
        if cost:
            unit_cost, found = read_cost(cost, line, errors)
            named = named or found
        if amount is None and list_amount is None and unit_cost is None:
            return None, None, None, None
        if currency and (not named or _SHARED_SIGN(price or sale or list_price)):  # "$" may be of many a country
            named = read_currency(currency, line, errors) or named
        return amount, list_amount, unit_cost, named or usual

    return read


def _option_reader(
    options: Options,
) -> Callable[[list[str], int, list[RowError], bool], tuple[list[str], list[str]] | None]:
    """A reader for a record's option names and values; None, with an error, when they do not match.

    A record that continues a product is measured by the names on the product's first record.
    """
    expected = 0

    take = options.read
    nothing: tuple[list[str], list[str]] = ([], [])
    if not options.continues:  # each has its name beside it
        return lambda row, _line, _errors, _continued: take(row) or nothing

    def read(row: list[str], line: int, errors: list[RowError], continued: bool) -> tuple[list[str], list[str]] | None:
        nonlocal expected
        found = take(row)
        if found is None:
            expected = expected if continued else 0
            return nothing
        given, values = found
        expected = len(given) or (expected if continued else 0)
        if len(values) > expected > 0 or (values and len(values) < len(given)):
            reason = f"The row has {len(values)} option values for {expected} options."
            errors.append(cells.fatal(line, "options_mismatch", reason, " | ".join(values)))
            return None
        return found

    return read


def _category_reader(columns: list[int]) -> Callable[[list[str]], str | None]:
    """A reader for the category; several columns are the steps of one path."""
    if len(columns) == 1:
        only = columns[0]
        return lambda row: row[only].strip() or None
    return lambda row: " > ".join([step for index in columns if (step := row[index].strip())]) or None


def _image_reader(columns: list[int]) -> Callable[[list[str]], str | None]:
    """A reader for the pictures of a record, which may stand in several columns."""
    if not columns:
        return lambda _: None
    return lambda row: cells.images([row[index].strip() for index in columns])


def _title_from(description: str) -> str:
    """The first line of a description, cut between words, for a file that has no titles."""
    first = re.sub(r"<[^>]*>", " ", description[:1000]).strip().partition("\n")[0].strip()
    if len(first) <= _TITLE_LENGTH:
        return first
    return first[:_TITLE_LENGTH].rpartition(" ")[0] or first[:_TITLE_LENGTH]


def _translations(table: Table) -> int | None:
    """The column in which Magento says for which shop a row is, where some are for all: the others are translations."""
    index = next((n for n, name in enumerate(table.headers) if headers.normal(name) == "storeviewcode"), None)
    return index if index is not None and any(not row[index].strip() for row in table.sample) else None


def _without_translations(view: int, build: Mapper) -> Mapper:
    return lambda row, line, errors: None if row[view].strip() else build(row, line, errors)


def _has_parents(table: Table, at: dict[str, int]) -> bool:
    """Whether rows name as their group the number of another row, which is in none: their parent."""
    group, sku, width = at["group"], at["sku"], len(table.headers)
    if max(group, sku) >= width or at["handle"] < width:
        return False
    alone = {row[sku].strip() for row in table.sample if row[group].strip() in ("", *_PARENT)} - {""}
    return any(row[group].strip() in alone for row in table.sample)


def _without_parents(table: Table, at: dict[str, int], build: Mapper) -> Mapper:
    """A parent without options is a product, no variant: it is known by its number, by which its variants name it."""
    group = at["group"]
    named = ((parent, "") for row in table.reread() if (parent := cells.code(row[group].strip())))
    look_up = links.build(named)

    def draft(row: list[str], line: int, errors: list[RowError]) -> Draft | None:
        found = build(row, line, errors)
        if (
            found is None
            or row[group].strip() not in ("", *_PARENT)
            or found.option_values
            or not found.sku
            or look_up(found.sku) is None
        ):
            return found
        return found._replace(
            product_key=found.sku, variant_key=None, sku=None, price=None, stock=None, barcode=None, currency=None
        )

    return draft


def _with_parents(table: Table, children: int, sku: int, build: Mapper) -> Mapper:
    """Give variants to the parents that list them, as Magento does: ``sku=A-S,size=S|sku=A-M,size=M`` on the parent.

    A variant stands before its parent in such files, so the lists are read ahead. A parent is a product, no variant;
    a variant's title is not its product's.
    """

    def listed() -> Iterator[tuple[str, str]]:
        for row in table.reread():
            for entry in row[children].split("|") if row[children] else ():
                pairs = dict(part.partition("=")[::2] for part in entry.strip().split(",") if "=" in part)
                child = pairs.pop("sku", "").strip()
                if child:
                    yield child, "\n".join([row[sku].strip(), *(f"{name}={value}" for name, value in pairs.items())])

    look_up: Callable[[str], str | None] = links.build(listed())

    def draft(row: list[str], line: int, errors: list[RowError]) -> Draft | None:
        found = build(row, line, errors)
        if found is None:
            return None
        if row[children].strip():
            return found._replace(variant_key=None, sku=None, price=None, stock=None, barcode=None)
        link = look_up(found.sku) if found.sku else None
        if link is None:
            return found
        parent, *pairs = link.split("\n")
        options = [pair.partition("=")[::2] for pair in pairs]
        return found._replace(
            product_key=parent,
            variant_key=" / ".join(value for _, value in options) or found.sku,
            title=None,
            description=None,
            image_urls=None,
            variant_image_url=found.image_urls and found.image_urls.partition("\n")[0],
            option_names="\n".join(name for name, _ in options[:3]) or None,
            option_values="\n".join(value for _, value in options[:3]) or None,
        )

    return draft
