"""What each column of a file seems to be, how surely, and why: the beginning of a mapping.

A header that is known speaks first; what the cells look like supports it, contradicts it, or stands in where the header
says nothing. A proposal is only that: people see it beside the drafts it leads to, and change it.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from services.formats import headers, mapping, numbers, options
from services.formats.table import looks_like_data

_SURE_ENOUGH = 0.5  # a column is proposed from here on
_SAMPLES = 3
_IDENTIFYING = ("product_key", "id", "sku", "title", "barcode")
_MANY = frozenset(("image_urls", "category"))  # fields that several columns may feed
# What a format reads from a column, where that is a field of a mapping, and the other fields that come to it.
_PLAIN = frozenset(("barcode", "price", "compare_at_price", "cost"))
_AXES = ("color", "size", "material", "pattern")
_FEEDS = {"price": ("sale_price",)}
_FED_BY = {"option_names": "option1_name", "option_values": "option1_value"}
_URL = re.compile(r"(?:https?:)?//[^\s/]+\.[^\s]+", re.I).fullmatch
_PICTURE = re.compile(r"\.(?:jpe?g|png|gif|webp|avif|svg|bmp)(?:[?#].*)?$|/(?:images?|img|media|photos?)/", re.I).search
_CODE = re.compile(r"(?=.*\d)[\w./+-]{3,40}").fullmatch
_GRAMS = re.compile(r"[0-9.,]+ ?(?:kg|g|lbs?|oz|gr|grams?)", re.I).fullmatch
_AVAILABILITY = re.compile(
    r"(?:in|out of|out_of|in_)[ _]?stock|preorder|backorder|available|sold out|auf lager", re.I
).fullmatch


class Column(NamedTuple):
    """One column of a file as a person is shown it; ``field`` is one of mapping.FIELDS or None."""

    header: str
    samples: list[str]
    field: str | None
    confidence: float  # 0 to 1
    why: str


class Proposal(NamedTuple):
    """All columns, and the mapping they come to, as plain data."""

    columns: list[Column]
    mapping: dict[str, Any]


def of_table(names: Sequence[str], rows: Sequence[Sequence[str]], used: dict[str, str]) -> Proposal:
    """A proposal for a table that is recognised; ``used`` are the columns its format reads: header → Draft field."""
    columns = [_as_read(_known(name, _cells(rows, index), name in used), used) for index, name in enumerate(names)]
    # Options are called after their columns: a rule would call them after its field.
    ruled = [one for one in columns if used.get(one.header) != "option_values" or one.field not in _AXES]
    return Proposal(columns, _mapping(ruled, header=True))


def _as_read(column: Column, used: dict[str, str]) -> Column:
    """A column of a table that is read already: what its cells look like does not make it what another column is."""
    read = used.get(column.header)
    if read == "option_values" and options.is_axis(column.header):
        return column._replace(field=None, confidence=0.0, why="An option, by its name.")
    if read in _PLAIN and column.field not in (read, *_FEEDS.get(read, ())):
        return column._replace(field=read, confidence=0.75, why="The columns beside it show what it is.")
    if read is None and column.field in {_FED_BY.get(field, field) for field in used.values()}:
        why = f"{column.why} But another column is read as that."
        return column._replace(confidence=min(column.confidence, 0.4), why=why)
    return column


def of_rows(rows: Sequence[Sequence[str]]) -> Proposal:
    """A proposal for rows that no header explains; the first may be one in a language of its own."""
    filled = [row for row in rows if any(cell.strip() for cell in row)]
    if not filled:
        return Proposal([], {"fields": {}})
    width = max(map(len, filled))
    first = [*(cell.strip() for cell in filled[0]), *[""] * (width - len(filled[0]))]
    header = not looks_like_data(first) and not _is_alike(first, filled[1:])
    body = filled[1:] if header else filled
    names = [name or f"Column {n}" for n, name in enumerate(first, 1)] if header else []
    names = names or [f"Column {n}" for n in range(1, width + 1)]
    columns = [_known(name if header else "", _cells(body, index), True)._replace(header=name)
               for index, name in enumerate(names)]  # fmt: skip
    return Proposal(_once(columns), _mapping(_once(columns), header=header))


def _is_alike(first: list[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row has the cells of a record: barcodes, addresses, prices."""
    return any(_URL(cell) or _is_barcode(cell) for cell in first) or bool(rows and first == [*rows[0]])


def _cells(rows: Sequence[Sequence[str]], index: int) -> list[str]:
    return [cell for row in rows if index < len(row) and (cell := row[index].strip())]


def _known(name: str, cells: list[str], used: bool) -> Column:
    """A column by its name, as far as that says anything, and by its cells."""
    samples = [cell[:80] for cell in dict.fromkeys(cells)][:_SAMPLES]
    numbered = options.numbered_role(headers.normal(name))
    (said, *_) = headers.meanings([name]) if name else (None,)
    field = numbered or (mapping.role(name, None) if said else None)
    guesses = _guesses(cells)
    if field is None:
        guess, confidence, why = guesses[0] if guesses else (None, 0.0, "Nothing tells what this column is.")
        return Column(name, samples, guess, confidence, why)
    confidence = 0.95 if numbered or said is None else max(0.75, 0.98 - 0.004 * said.rank)
    why = f"The header is a usual name for {field}."
    if said is not None and headers.meaning(name) is None:
        confidence, why = 0.6, f"The header is one letter away from a usual name for {field}."
    check = _CHECKS.get(field)
    if check and cells:
        share = sum(map(check, cells)) / len(cells)
        if share < 0.5:
            confidence, why = confidence * 0.5, f"{why} But most of its cells do not look like it."
        else:
            confidence = min(0.99, confidence + 0.02)
    if not used:
        confidence, why = min(confidence, 0.4), f"{why} Another column is surer, or the format reads it differently."
    return Column(name, samples, field, round(confidence, 2), why)


def _guesses(cells: list[str]) -> list[tuple[str, float, str]]:
    """What a column may be by its cells alone: field, confidence, reason; the surest first."""
    if not cells:
        return []
    distinct = len(set(cells)) / len(cells)
    length = sum(map(len, cells)) / len(cells)
    found: list[tuple[str, float, str]] = []

    def offer(field: str, test: Callable[[str], object], confidence: float, why: str) -> None:
        share = sum(bool(test(cell)) for cell in cells) / len(cells)
        if share >= 0.8:
            found.append((field, round(confidence * share, 2), why))

    offer("barcode", _is_barcode, 0.95, "Its cells are numbers of 8 to 14 digits with a valid check digit.")
    offer("image_urls", _is_picture, 0.9, "Its cells are addresses of pictures.")
    offer("currency", lambda cell: cell in numbers.ISO_CODES, 0.9, "Its cells are codes of currencies.")
    offer("price", _is_money, 0.85, "Its cells are amounts with a currency.")
    offer("availability", _AVAILABILITY, 0.8, "Its cells say whether there is any in stock.")
    offer("weight_grams", _GRAMS, 0.8, "Its cells are weights with a unit.")
    offer("price", _has_cents, 0.65, "Its cells are numbers with two decimals.")
    if distinct > 0.9:
        offer("sku", _CODE, 0.6, "Its cells are codes with digits in them, each different.")
    if distinct > 0.7 and 8 <= length <= 150:
        offer("title", _is_name, 0.6, "Its cells are short texts, nearly all different.")
    if length > 150:
        offer("description", lambda cell: " " in cell, 0.6, "Its cells are long texts.")
    offer("stock", lambda cell: cell.isdigit() and len(cell) < 6, 0.3, "Its cells are whole numbers.")
    return sorted(found, key=lambda one: -one[1])


def _is_barcode(cell: str) -> bool:
    """Whether these are 8, 12, 13 or 14 digits of which the last is right (GS1 General Specifications, 7.9)."""
    if not (cell.isdigit() and cell.isascii() and len(cell) in (8, 12, 13, 14)):
        return False
    digits = [int(sign) for sign in reversed(cell)]
    return (sum(digits[0::2]) + 3 * sum(digits[1::2])) % 10 == 0 and any(digits)


def _is_picture(cell: str) -> bool:
    return bool(_URL(cell.partition(",")[0].strip()) and _PICTURE(cell))


def _is_money(cell: str) -> bool:
    try:
        found = numbers.amount(cell, "")
    except numbers.Unreadable:
        return False
    return found.text is not None and found.currency is not None


def _is_number(cell: str) -> bool:
    try:
        return numbers.amount(cell, "").text is not None
    except numbers.Unreadable as error:
        return bool(error.args[0] == "ambiguous")


_has_cents = re.compile(r"\d{1,3}(?:[., ']?\d{3})*[.,]\d{2}").fullmatch


def _is_name(cell: str) -> bool:
    return any(sign.isalpha() for sign in cell) and not _URL(cell) and (" " in cell or cell.isalpha())


_CHECKS: dict[str, Callable[[str], bool]] = {
    "barcode": lambda cell: cell.strip("'=\"").replace(" ", "").isalnum() and any(map(str.isdigit, cell)),
    "price": _is_number, "sale_price": _is_number, "compare_at_price": _is_number, "cost": _is_number,
    "stock": lambda cell: any(map(str.isdigit, cell)) or len(cell) < 20,
    "currency": numbers.is_currency,
    "image_urls": lambda cell: "//" in cell,
}  # fmt: skip


def _once(columns: Iterable[Column]) -> list[Column]:
    """Of several columns for one field only the surest is proposed; a second price may be the cost."""
    ordered = sorted(columns, key=lambda one: -one.confidence)
    best: dict[str, Column] = {}
    for column in ordered:
        if column.field and column.field not in best:
            best[column.field] = column
    return [
        one
        if one.field is None or one.field in _MANY or best[one.field] is one
        else one._replace(field=None, why=f"{one.why} But {best[one.field].header!r} is surer to be the {one.field}.")
        for one in columns
    ]


def _mapping(columns: list[Column], *, header: bool) -> dict[str, Any]:
    """The mapping that the sure columns come to."""
    fields: dict[str, Any] = {}
    for column in sorted(columns, key=lambda one: -one.confidence):
        if column.field is None or column.confidence < _SURE_ENOUGH:
            continue
        if column.field not in fields:
            fields[column.field] = {"column": column.header}
        elif column.field in _MANY:
            there = fields[column.field]["column"]
            fields[column.field] = {"column": [*(there if isinstance(there, list) else [there]), column.header]}
    for field in _MANY & fields.keys():  # in the order of the file
        named = fields[field]["column"]
        if isinstance(named, list):
            fields[field] = {"column": [column.header for column in columns if column.header in named]}
    if not fields.keys() & set(_IDENTIFYING):  # something has to say which product a row is
        guess = next((one for one in columns if one.field is None and _distinct(one)), None)
        if guess is not None:
            fields["sku"] = {"column": guess.header}
    return {"fields": fields, "header": header}


def _distinct(column: Column) -> bool:
    return len(column.samples) == _SAMPLES and all(len(cell) < 60 for cell in column.samples)
