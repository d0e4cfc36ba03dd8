"""Which of a product table's columns say what: by their names, and by what stands in them where a name can mean several
things."""

from typing import NamedTuple

from services.formats import cells, headers
from services.formats.headers import Meaning
from services.formats.numbers import word_set
from services.formats.table import Table

MONEY = ("price", "sale", "compare_at_price", "cost")
_ARTICLE = word_set("material artikel article item product produkt produit producto prodotto товар towar")
_REGULAR = word_set("retailprice regularprice normalpreis regularerpreis tarifnormal precionormal cenaregularna")
_YIELDING = word_set("sku mpn title description brand barcode category image")
_OF_UNIT = word_set("unitprice prixunitaire preciounitario precounitario")  # perhaps of a litre
_BARCODES = (8, 12, 13, 14)
_IN_PLACES = ("currentquantity", "inventorymain", "stockmain")  # "Current Quantity Main Street"
# Without the shop's currency, of several price columns the one most shops could use.
_USUAL_CURRENCIES = ("USD", "EUR", "GBP")


class Columns(NamedTuple):
    """Which column is used for what: field → index, and what the chosen header says besides."""

    at: dict[str, int]
    said: dict[str, Meaning]
    categories: list[int]
    images: list[int]


def chosen_columns(table: Table) -> Columns:
    """The columns that a table is read by."""
    chosen = _choose(table)
    _number_by_article(table, chosen)
    _count_by_availability(table, chosen)
    return chosen


def _choose(table: Table) -> Columns:
    """For each field the column with the surest name; gross before net prices, then in file order.

    A column of texts that is empty in all of the first rows gives way to one that is not; never one of prices or stock,
    or a delivery that lacks them would be read as another.
    """
    names, default_currency = table.headers, table.default_currency
    filled = {index for row in table.sample for index, cell in enumerate(row) if cell and not cell.isspace()}
    wanted = [default_currency, *_USUAL_CURRENCIES] if default_currency else [*_USUAL_CURRENCIES]

    def order(item: tuple[int, Meaning]) -> tuple[bool, int, bool, int, int]:
        index, said = item
        currency = 0 if said.currency is None else 1 + [*wanted, said.currency].index(said.currency)
        of_unit = headers.normal(names[index]) in _OF_UNIT
        return of_unit, currency, said.net, said.rank, index

    def usual(item: tuple[int, Meaning]) -> tuple[bool, int, int]:
        index, said = item
        return said.field in _YIELDING and index not in filled, said.rank, index

    by_field: dict[str, list[tuple[int, Meaning]]] = {}
    for index, said in enumerate(headers.meanings(names)):
        if said:
            by_field.setdefault(said.field, []).append((index, said))
    for columns in by_field.values():
        columns.sort(key=order if columns[0][1].field in MONEY else usual)
    _leave_out(table, by_field)
    at = {field: columns[0][0] for field, columns in by_field.items()}
    said_of = {field: columns[0][1] for field, columns in by_field.items()}
    for index, _ in by_field.get("category", ()):  # a path of categories, or what kind of record this is
        if headers.normal(names[index]) in ("producttype", "type"):
            at.setdefault("kind", index)
    _stand_in(at, said_of)
    if "price" not in by_field and "sale" in at and "standard_price" in at:  # what is reduced is no list price
        if at.get("price") != at["standard_price"] and "price" in at:
            at.setdefault("compare_at_price", at["price"])
            said_of.setdefault("compare_at_price", said_of["price"])
        at["price"], said_of["price"] = at["standard_price"], said_of["standard_price"]
    for index, said in by_field.get("price", ()):  # the usual price, beside the one that holds today
        if index != at["price"] and headers.normal(names[index]) in _REGULAR:
            said_of.setdefault("compare_at_price", said)
            at.setdefault("compare_at_price", index)
    numbered = sorted(index for index, _ in by_field.get("category", ()) if names[index].strip()[-1:].isdigit())
    stems = {headers.normal(names[index]).strip("0123456789") for index in numbered}
    paths = numbered if len(numbered) > 1 and len(stems) == 1 else [at["category"]] if "category" in at else []
    pictures = [index for field in ("image", "more_images") for index, _ in sorted(by_field.get(field, ()))]
    if len(pictures) > 1:  # a thumbnail is a small copy of another picture
        pictures = [index for index in pictures if "thumb" not in names[index].casefold()] or pictures
    return Columns(at, said_of, paths, pictures)


def _leave_out(table: Table, by_field: dict[str, list[tuple[int, Meaning]]]) -> None:
    """Columns that their neighbours or their cells show to be something else than their names say by themselves."""
    names = [headers.normal(name) for name in table.headers]
    typed = [index for index, _ in by_field.get("id", ()) if f"{names[index]}type" in names]
    for index in typed:  # a code of some catalogue: several offers may have it
        by_field["id"] = [one for one in by_field["id"] if one[0] != index]
        found = [cell for row in table.sample if (cell := row[index].strip())]
        if found and all(cell.isdigit() and len(cell) in _BARCODES for cell in found):
            by_field.setdefault("barcode", []).append((index, Meaning("barcode", 0)))
    for index, _ in by_field.get("category", [])[:]:  # the number of a kind
        found = [cell for row in table.sample if (cell := row[index].strip())]
        if names[index] in ("type", "producttype") and found and all(map(str.isdigit, found)):
            by_field["category"] = [one for one in by_field["category"] if one[0] != index]
    for index, name in enumerate(names):  # a customer group of Shopware: price_EK beside pseudoprice_EK
        if name.startswith("pseudoprice") and (price := f"price{name[11:]}") in names:
            by_field.setdefault("compare_at_price", []).append((index, Meaning("compare_at_price", 0)))
            by_field.setdefault("price", []).append((names.index(price), Meaning("price", 0)))
    places = [index for index, name in enumerate(names) if name.startswith(_IN_PLACES)]
    if len(places) == 1 and "stock" not in by_field:
        by_field["stock"] = [(places[0], Meaning("stock", 0))]
    for field in [field for field, columns in by_field.items() if not columns]:
        del by_field[field]


def _number_by_article(table: Table, chosen: Columns) -> None:
    """A column "Article" may hold names or numbers. In a table without numbers, where something else names the product,
    what it holds decides."""
    at, said = chosen.at, chosen.said
    if at.keys() & {"handle", "group", "id", "sku", "mpn"} or not at.keys() & {"title", "description"}:
        return
    index = next((n for n, name in enumerate(table.headers) if headers.normal(name) in _ARTICLE), None)
    if index is None or (index == at.get("title") and "description" not in at):
        return
    filled = [cell for row in table.sample if (cell := row[index].strip())]
    numbered = {cell for cell in filled if " " not in cell and any(map(str.isdigit, cell))}
    if filled and len(numbered) * 10 >= len(filled) * 9:
        if at.get("title") == index:
            del at["title"], said["title"]
        at["sku"], said["sku"] = index, Meaning("sku", 0)


def _count_by_availability(table: Table, chosen: Columns) -> None:
    """A column "in stock" says yes or no, or how many: numbers above one are how many."""
    index = chosen.at.get("availability")
    if index is None or "stock" in chosen.at:
        return
    filled = {cell for row in table.sample if (cell := row[index].strip())}
    if all(map(cells.is_count, filled)) and not filled <= {"0", "1"}:
        chosen.at["stock"], chosen.said["stock"] = chosen.at.pop("availability"), chosen.said.pop("availability")


def _stand_in(at: dict[str, int], said: dict[str, Meaning]) -> None:
    """Columns that serve for one another when a file has only one of them."""
    if "price" not in at and "compare_at_price" in at:
        at["price"] = at.pop("compare_at_price")
        said["price"] = said.pop("compare_at_price")
    for number in ("id", "mpn"):  # the only number the merchant knows the article by
        if "sku" not in at and number in at:
            at["sku"] = at[number]
