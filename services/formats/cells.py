"""Cells that are words or codes: article numbers, barcodes, images, states, dates, and the checks numbers share."""

import datetime
import re
from collections.abc import Callable, Sequence

from services.formats import numbers
from services.formats.base import RowError
from services.formats.numbers import word_set

_EXCEL_TEXT = re.compile(r'="?([^"]*)"?').fullmatch
_SCIENTIFIC = re.compile(r"\d(?:[.,]\d+)?[eE]\+?\d+").fullmatch
_SCIENTIFIC_SKU = re.compile(r"\d[.,]\d+[eE]\+\d+").fullmatch  # "12E5" is a fine article number
_SHEET_ERRORS = word_set("#N/A #REF! #VALUE! #NAME? #DIV/0! #NULL! #NUM!")
_LONGEST_BLANK = max(map(len, numbers.BLANK_WORDS))
_URL_START = re.compile(r"(?:https?:)?//", re.I).match
_BETWEEN_URLS = re.compile(r"[,;|\s]+(?=(?:https?:)?//)", re.I)

_STATUSES = {
    word: status
    for status, words in {
        "active": "1 true yes y on active published publish enabled visible unlisted ja oui si sí tak ano да aktiv "
        "actif activo attivo aktywny actief verfügbar available online",
        "draft": "0 -1 2 false no n off draft inactive disabled unpublished hidden private pending proposed nein non "
        "nie ne нет inaktiv inactif inactivo inattivo nieaktywny inactief offline entwurf",
        "archived": "archived archive deleted discontinued rejected removed archiviert",
    }.items()
    for word in words.split()
}
_YES = word_set("1 true yes y ja oui si sí tak ano да x")
# Stock said in words: only "nothing left" is a number.
_SOLD_OUT_WORDS = (
    "out of stock|outofstock|out_of_stock|sold out|soldout|unavailable|not available|no|n|false|0|nein|ausverkauft|"
    "nicht verfügbar|nicht lieferbar|nicht auf lager|non|rupture|rupture de stock|épuisé|en rupture|agotado|sin stock|"
    "no disponible|esaurito|non disponibile|nie|brak|niedostępny|ne|vyprodáno|není skladem|nee|uitverkocht|"
    "niet op voorraad|нет|нет в наличии"
)
_SOLD_OUT = frozenset(_SOLD_OUT_WORDS.split("|"))
_HAS_DIGIT = re.compile(r"\d").search


def problem(line: int, code: str, column: str | None, cell: str, reason: str) -> RowError:
    """A cell that was left out; the record goes on without it."""
    return RowError(line, code, column, cell[:200], reason, fatal=False)


def fatal(line: int, code: str, reason: str, cell: str | None = None) -> RowError:
    """A record that was dropped."""
    return RowError(line, code, None, None if cell is None else cell[:200], reason)


def key_missing(row: Sequence[str], line: int, reason: str) -> list[RowError]:
    """The error for a record that does not say which product it is; a row of empty cells is no error."""
    return [fatal(line, "key_missing", reason, " | ".join(row))] if any(map(str.strip, row)) else []


def code(cell: str) -> str:
    """An article number or barcode without the guards spreadsheets put before it: ``'0012`` and ``="0012"``."""
    if cell[:1] in ("'", "=", "’"):
        guarded = _EXCEL_TEXT(cell) if cell[0] == "=" else None
        cell = (guarded[1] if guarded else cell.lstrip("'’")).strip()
    return "" if cell in _SHEET_ERRORS or cell.casefold() in numbers.BLANK_WORDS else cell


def sku(cell: str, line: int, column: str, errors: list[RowError]) -> str:
    """A stripped article number, or "" with an error when a spreadsheet turned it into a rounded number."""
    if len(cell) > _LONGEST_BLANK and cell[0] not in "'=’#" and "." not in cell and "," not in cell:  # the many
        return cell
    text = code(cell)
    if ("." in text or "," in text) and _SCIENTIFIC_SKU(text):
        reason = "A spreadsheet has rounded this article number. Format the column as text and export again."
        errors.append(problem(line, "sku_damaged", column, cell, reason))
        return ""
    return text


def barcode(cell: str, line: int, column: str, errors: list[RowError]) -> str | None:
    """A stripped barcode; None with an error when a spreadsheet rounded it. A wrong check digit is left as it is."""
    if not cell:
        return None
    if cell.isdigit():
        return cell
    text = code(cell)
    if _SCIENTIFIC(text):
        reason = "A spreadsheet has rounded this barcode. Format the column as text and export again."
        errors.append(problem(line, "barcode_damaged", column, cell, reason))
        return None
    if text[-2:] == ".0" and text[:-2].isdigit():
        text = text[:-2]
    return text.replace(" ", "") or None


def images(cells: Sequence[str]) -> str | None:
    """The web addresses in some image cells, one per line. File names and folders cannot be fetched: left out."""
    found = {
        part: None
        for cell in cells
        if cell
        for part in ((cell,) if cell.isascii() and "//" in cell and not _BETWEEN_URLS.search(cell)
                     else _BETWEEN_URLS.split(cell))
        if _URL_START(part)
    }  # fmt: skip
    return "\n".join(part.partition("\n")[0].rstrip(",;| ") for part in found) or None


def status(cell: str) -> str | None:
    """active, draft or archived; None when the cell is empty or a word not known."""
    return _STATUSES.get(cell.casefold()) if cell else None


def is_yes(cell: str) -> bool:
    """Whether a yes/no cell says yes."""
    return cell.casefold() in _YES


def is_count(cell: str) -> bool:
    """Whether a cell is a whole number that fits an integer column."""
    return cell.isdigit() and cell.isascii() and len(cell) < 10


def sold_out(cell: str) -> bool:
    """Whether an availability cell says that there is nothing left."""
    return cell.casefold() in _SOLD_OUT


def date(cell: str) -> datetime.date | None:
    """The day in a date cell (ISO first, else month/day/year as shop systems write it), or None."""
    for pattern, text in (("%Y-%m-%d", cell[:10]), ("%m/%d/%y", cell[:8]), ("%m/%d/%Y", cell[:10])):
        try:
            return datetime.datetime.strptime(text.strip(), pattern).date()
        except ValueError:
            continue
    return None


def on_sale(starts: str, ends: str, today: datetime.date) -> bool:
    """Whether a sale price holds today. A date that is missing or cannot be read does not limit it."""
    start, end = date(starts), date(ends)
    return not (start and today < start) and not (end and end < today)


_KNOWN = 20_000  # cells of a column whose reading is remembered
Money = Callable[[str, int, list[RowError]], numbers.Amount]
NOTHING = numbers.Amount(None, None)


def money(column: str, field: str, mark: str, default_currency: str | None) -> Money:
    """A reader for the price cells of one column: amount or nothing, with an error when a cell cannot be used.

    ``column`` is the header as spelled, ``field`` the Draft field and the start of the error codes, ``mark`` the
    column's habit. Zero is no price and no cost: reported for those two, silently nothing for a list price.
    """
    plain = numbers.is_plain  # one call less on the way of nearly every price
    known: dict[str, numbers.Amount] = {}  # prices are written over and over

    def read(cell: str, line: int, errors: list[RowError]) -> numbers.Amount:
        if not cell:
            return NOTHING
        if (before := known.get(cell)) is not None:
            return before
        try:
            found = numbers.Amount(cell, None) if plain(cell) else numbers.amount(cell, mark, default_currency)
        except numbers.Unreadable as error:
            name, reason = error.args
            errors.append(problem(line, f"{field}_{name}", column, cell, reason))
            return NOTHING
        if found.text is not None and not found.text.strip("0."):
            if field != "compare_at_price":
                reason = "Zero is not taken as a price: what was known stays."
                errors.append(problem(line, f"{field}_zero", column, cell, reason))
            return numbers.Amount(None, found.currency)
        if len(known) < _KNOWN:
            known[cell] = found
        return found

    return read


def stock(column: str, mark: str) -> Callable[[str, int, list[RowError]], str | None]:
    """A reader for the quantity cells of one column; words are understood when they say that nothing is left."""

    def read(cell: str, line: int, errors: list[RowError]) -> str | None:
        if cell.isdigit() and len(cell) < 10 and cell[0] != "0" and cell.isascii():
            return cell
        try:
            return numbers.quantity(cell, mark)
        except numbers.Unreadable as error:
            if sold_out(cell):
                return "0"
            if _HAS_DIGIT(cell):  # "yes", "in stock", "ab Lager" say that there is some, not how much
                errors.append(problem(line, "stock_unparsable", column, cell, error.args[1]))
            return None

    return read


def weight(column: str, mark: str, unit: str) -> Callable[[str, int, list[RowError]], str | None]:
    """A reader for the weight cells of one column, in ``unit`` unless a cell names its own."""

    def read(cell: str, line: int, errors: list[RowError]) -> str | None:
        if unit == "g" and cell.isdigit() and len(cell) < 10 and cell[0] != "0" and cell.isascii():
            return cell
        try:
            return numbers.weight(cell, mark, unit)
        except numbers.Unreadable as error:
            errors.append(problem(line, "weight_unparsable", column, cell, error.args[1]))
            return None

    return read


def currency(column: str, default: str | None) -> Callable[[str, int, list[RowError]], str | None]:
    """A reader for the cells of a currency column."""

    def read(cell: str, line: int, errors: list[RowError]) -> str | None:
        if not cell:
            return None
        found = numbers.currency_code(cell, default)
        if found is None:
            errors.append(problem(line, "currency_unknown", column, cell, "This is not a currency code."))
        return found

    return read
