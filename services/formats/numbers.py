"""Numbers as people write them: prices, quantities and weights in, canonical decimal text out.

Most cells can be read in one way only ("1299.00", "1.299,00", "12,5"). The others ("1.299", "1,299") are read the
way the rest of their column is written: its *habit*, learned from the first rows. A habit never overrules a cell
that is clear by itself.
"""

import re
from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple


def word_set(text: str) -> frozenset[str]:
    """A set of words written as a sentence."""
    return frozenset(text.split())


# Words that stand where a number is not known. They are read as an empty cell.
BLANK_WORDS = word_set("- -- – — null none nan n/a na n.a. #n/a ? tbd")

# The decimal mark a column uses: known, not known, or contradictory.
UNKNOWN, MIXED = "", "?"

ISO_CODES = word_set(
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF "
    "CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG "
    "HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD "
    "MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB "
    "RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD "
    "UYU UZS VES VND VUV WST XAF XCD XOF XPF YER ZAR ZMW"
)
_SIGNS = {
    "€": "EUR", "eur.": "EUR", "euro": "EUR", "£": "GBP", "¥": "JPY", "円": "JPY", "us$": "USD", "$us": "USD",
    "a$": "AUD", "c$": "CAD", "ca$": "CAD", "nz$": "NZD", "hk$": "HKD", "s$": "SGD", "r$": "BRL", "mx$": "MXN",
    "zł": "PLN", "zl": "PLN", "kč": "CZK", "kc": "CZK", "ft": "HUF", "lei": "RON", "лв": "BGN", "₽": "RUB",
    "руб": "RUB", "р": "RUB", "rur": "RUB", "₴": "UAH", "грн": "UAH", "₹": "INR", "rs": "INR", "₺": "TRY", "tl": "TRY",
    "₩": "KRW",
    "원": "KRW", "¤": "EUR", "đ": "VND", "rp": "IDR", "rm": "MYR", "din": "RSD", "дин": "RSD", "den": "MKD",
    "฿": "THB", "₫": "VND", "₪": "ILS", "fr": "CHF", "sfr": "CHF", "元": "CNY",
}  # fmt: skip
# One sign, several currencies: the shop's own when it is one of them, else the first (None: cannot be said).
_SHARED_SIGNS: dict[str, tuple[str | None, frozenset[str]]] = {
    "$": ("USD", word_set("USD CAD AUD NZD HKD SGD MXN ARS CLP COP TWD")),
    "¥": ("JPY", word_set("JPY CNY")),
    "kr": (None, word_set("SEK NOK DKK ISK")),
}

# Of these a price has no three decimals, and as good as never any: 125.000 ₫ is a thousand times 125.
_WHOLE_CURRENCIES = word_set("VND IDR KRW JPY CLP PYG ISK UGX RWF XAF XOF XPF KMF GNF DJF BIF VUV")

# The plain way nearly every price is written: clear by itself, and canonical as it stands.
is_plain = re.compile(r"(?:0|[1-9][0-9]{0,11})(?:\.[0-9]{1,2}|\.[0-9]{4,6})?").fullmatch
_SPACE_GROUPS = re.compile(r"[0-9]{1,3}(?:[ \u00a0\u202f\u2009'’´][0-9]{3})+(?:[.,][0-9]+)?").fullmatch
_GROUPS = {  # thousands by comma, thousands by dot; the Indian way (1,23,456) is clear too
    ",": re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]*)?|[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}(?:\.[0-9]*)?").fullmatch,
    ".": re.compile(r"[0-9]{1,3}(?:\.[0-9]{3})+(?:,[0-9]*)?").fullmatch,
}
_ONE_MARK = re.compile(r"([0-9]*)([.,])([0-9]*)").fullmatch
_AROUND = re.compile(
    r"(?P<sign1>[-−]?)\s*(?P<before>[^0-9\s.,()\-−+'][^0-9,()\-−+']*?)?\s*(?P<sign2>[-−+]?)\s*"
    r"(?P<number>[.,]?[0-9](?:[0-9.,'’´ \u00a0\u202f\u2009]*[0-9])?)(?P<end>[.,](?:[-–—]{1,2})?)?\s*(?P<sign3>[-−]?)"
    r"\s*(?P<after>[^0-9\s.,()\-−+'][^0-9()\-−+']*)?"
).fullmatch
_LONGEST = 80  # no price is longer; keeps the pattern above away from hostile cells
# Signs that Japanese, Chinese and Korean keyboards write as wide as a letter of theirs: ￥１，２００.
_NARROW = (
    {0x660 + digit: str(digit) for digit in range(10)}  # as Arabic and Persian are written
    | {0x6F0 + digit: str(digit) for digit in range(10)}
    | {0x66B: ".", 0x66C: ","}
    | {wide: wide - 0xFEE0 for wide in range(0xFF01, 0xFF5F)}
    | {0x3000: " ", 0xFFE1: "£", 0xFFE5: "¥", 0xFFE6: "₩"}
)


class Unreadable(Exception):
    """A cell that is not the number it should be. ``args`` are a short problem name and a sentence."""


class Amount(NamedTuple):
    """A price: canonical text (None: the cell says nothing), and the ISO code if the cell names a currency."""

    text: str | None
    currency: str | None


def currency_code(word: str, default: str | None = None) -> str | None:
    """The ISO 4217 code meant by a code or sign (``EUR``, ``zł``, ``$``), or None if it is not a currency."""
    if word.upper() in ISO_CODES:
        return word.upper()
    sign = word.casefold().strip(". ")
    if sign in _SHARED_SIGNS:
        usual, possible = _SHARED_SIGNS[sign]
        return default if default in possible else usual
    return _SIGNS.get(sign) or _SIGNS.get(word.casefold())


def _narrow(cell: str) -> str:
    return cell if cell.isascii() else cell.translate(_NARROW)


def is_currency(word: str) -> bool:
    """Whether a word next to a number names money, even when it does not say whose (``kr``)."""
    return word.casefold().strip(". ") in _SHARED_SIGNS or currency_code(word) is not None


def habit(cells: Iterable[str]) -> str:
    """The decimal mark of a column: ``"."``, ``","``, UNKNOWN (no cell tells) or MIXED (cells contradict)."""
    marks = set()
    for cell in cells:
        found = _AROUND(_narrow(cell.strip()[:_LONGEST]))
        if found:
            marks.add(_clear_mark(found["number"]))
    marks.discard(UNKNOWN)
    return marks.pop() if len(marks) == 1 else MIXED if marks else UNKNOWN


def common_habit(habits: Iterable[str]) -> str:
    """What the number columns of a file agree on, for a column that does not tell by itself."""
    known = {mark for mark in habits if mark in (".", ",") and mark}
    return known.pop() if len(known) == 1 else UNKNOWN


def _clear_mark(number: str) -> str:
    """The decimal mark a number shows beyond doubt. A thousands mark shows it too: the other one is the decimal."""
    marks = [sign for sign in number if sign in ".,"]
    if not marks or _open_to_doubt(number):
        return UNKNOWN
    if len(set(marks)) == 2:
        return marks[-1]
    if len(marks) > 1:
        return "." if marks[0] == "," else ","
    return marks[0]


def _open_to_doubt(number: str) -> bool:
    """Whether the only mark may be a decimal or a thousands mark: 1.234 is, 0.234 and 12.50 are not."""
    found = _ONE_MARK(number)
    return bool(found) and len(found[3]) == 3 and 1 <= len(found[1]) <= 3 and found[1][0] != "0"  # type: ignore[index]


def decimal_text(number: str, mark: str) -> str:
    """Digits with marks → canonical text: ``1.299,50`` → ``1299.50``. Raises Unreadable."""
    if _SPACE_GROUPS(number):
        number = re.sub(r"[ \u00a0\u202f\u2009'’´]", "", number)
        whole, _, part = number.replace(",", ".").partition(".")
        return _canonical(whole, part)
    if number.isdigit():
        return _canonical(number, "")
    found = _ONE_MARK(number)
    if found and _open_to_doubt(number):
        if mark == MIXED:
            raise Unreadable("ambiguous", f"{number} may be a thousand or a decimal, and the column uses both marks.")
        decimal = mark or "."  # nothing in the file tells: the way programs write numbers
        return _canonical(found[1], found[3]) if found[2] == decimal else _canonical(found[1] + found[3], "")
    if found:
        return _canonical(found[1], found[3])
    for grouped, matches in _GROUPS.items():
        if matches(number):
            whole, _, part = number.replace(grouped, "").replace(",", ".").partition(".")
            return _canonical(whole, part)
    raise Unreadable("unparsable", f"{number} is not a number.")


def _canonical(whole: str, part: str) -> str:
    whole = whole.lstrip("0") or "0"
    if len(whole) > 12:
        raise Unreadable("unparsable", "The number is too large.")
    if len(part) > 6:  # 19.989999999999998: a program's rounding noise, not a price
        rounded = Decimal(f"{whole}.{part}").quantize(Decimal("0.0001"), ROUND_HALF_UP)
        return f"{rounded.normalize():f}"
    return f"{whole}.{part}" if part else whole


def amount(cell: str, mark: str, default_currency: str | None = None) -> Amount:
    """Read a stripped price cell; ``mark`` is its column's habit.

    Raises Unreadable with the problem ``unparsable``, ``ambiguous`` or ``negative``. Zero is returned as ``0``:
    what it means is the caller's business.
    """
    if is_plain(cell):
        return Amount(cell, None)
    if not cell or cell.casefold() in BLANK_WORDS:
        return Amount(None, None)
    cell = _narrow(cell)
    bracketed = cell[0] == "(" and cell[-1] == ")"
    found = _AROUND(cell.strip("()") if bracketed else cell) if len(cell) <= _LONGEST else None
    if not found:
        if is_currency(cell):  # "USD": the program had no price and printed the currency alone
            return Amount(None, currency_code(cell, default_currency))
        raise Unreadable("unparsable", "The cell is not a number.")
    words = [word.strip() for word in (found["before"], _beside(found["after"])) if word]
    if not all(is_currency(word) for word in words):
        raise Unreadable("unparsable", f"The cell has words beside the number: {' '.join(words)[:40]}.")
    if found["end"] and found["end"][1:] and found["end"][0] not in found["number"]:  # 1.299,-
        mark = found["end"][0]
    currency = currency_code(words[0], default_currency) if words else None
    if (currency or default_currency) in _WHOLE_CURRENCIES and _open_to_doubt(found["number"]):
        text = re.sub("[.,]", "", found["number"])
    else:
        text = decimal_text(found["number"], mark)
    signs = found["sign1"] + found["sign2"] + found["sign3"]
    if (bracketed or "-" in signs or "−" in signs) and text.strip("0."):
        raise Unreadable("negative", "The number is negative.")
    return Amount(text, currency)


def _beside(word: str | None) -> str | None:
    """What stands behind a number, without a word of tax or of one piece: the number is the price all the same."""
    return _BESIDE("", word).strip() if word else word


_BESIDE = re.compile(
    r"(?:/|\b(?:per|pro|je|za|par))\s*(?:stk|stück|st|szt|ks|pcs?|piece|unit|шт|unité|pz|ud)\b\.?|\*+\s*$|"
    r"\b(?:in[ck]l|inkl?|incl|excl|exkl|zzgl)?\.?\s*\b(?:mwst|ust|vat|tax|tva|iva|dph|brutto|netto|gross|net|ttc|ht)\b\.?",
    re.I,
).sub

_QUANTITY = re.compile(
    r"(?P<sign>[-−]?)\s*(?:[>≥+~]|über|mehr als|more than|over)?\s*(?P<number>[0-9](?:[0-9.,' ]*[0-9])?)"
    r"\s*\+?\s*(?P<unit>[^\W\d_]{1,6}\.?)?",
    re.I,
).fullmatch


def quantity(cell: str, mark: str) -> str | None:
    """Read a stripped stock cell to integer text; ``>100`` and ``100+`` are 100. Raises Unreadable.

    A negative stock (sold more than there was) means there is nothing left: ``0``. Parts of a piece are cut off.
    """
    if cell.isdigit() and cell.isascii() and len(cell) < 10:
        return cell.lstrip("0") or "0"
    if not cell or cell.casefold() in BLANK_WORDS:
        return None
    cell = _narrow(cell)
    found = _QUANTITY(cell) if len(cell) <= _LONGEST else None
    if not found:
        raise Unreadable("unparsable", "The cell is not a quantity.")
    text = "0" if found["sign"] else decimal_text(found["number"], mark).partition(".")[0]
    if len(text) > 9:
        raise Unreadable("unparsable", "The quantity is too large.")
    return text


def decimal_sum(amount: str, more: str) -> str | None:
    """An amount and what comes on top of it; None when that cannot be read."""
    if not more:
        return amount
    try:
        return f"{Decimal(amount) + Decimal(decimal_text(more, '.')):f}"
    except (Unreadable, ArithmeticError):
        return None


GRAMS = {
    unit: Decimal(grams)
    for grams, units in {
        "1": "g gr grm gram grams gramm gramme grammes gramos grammi г гр",
        "1000": "kg kgs kilo kilos kilogram kilograms kilogramm кг",
        "0.001": "mg",
        "1000000": "t ton tonne",
        "453.59237": "lb lbs pound pounds",
        "28.349523125": "oz ounce ounces",
    }.items()
    for unit in units.split()
}
_WEIGHT = re.compile(r"(?P<number>[.,]?[0-9](?:[0-9.,' ]*[0-9])?)\s*(?P<unit>[^\W\d_]*)\.?").fullmatch


def weight(cell: str, mark: str, unit: str) -> str | None:
    """Read a stripped weight cell to whole grams; a unit in the cell goes before ``unit``. Zero is not a weight.

    Raises Unreadable.
    """
    if not cell or cell.casefold() in BLANK_WORDS:
        return None
    cell = _narrow(cell)
    found = _WEIGHT(cell) if len(cell) <= _LONGEST else None
    if not found:
        raise Unreadable("unparsable", "The cell is not a weight.")
    factor = GRAMS.get((found["unit"] or unit).casefold())
    if factor is None:
        raise Unreadable("unparsable", f"{found['unit']} is not a unit of weight.")
    grams = Decimal(decimal_text(found["number"], mark)) * factor
    if not grams:
        return None
    if grams > 10**9:
        raise Unreadable("unparsable", "The weight is too large.")
    return str(max(1, int(grams.quantize(Decimal(1), ROUND_HALF_UP))))


def weight_unit(cells: Iterable[str]) -> str:
    """The unit of a weight column that names none: whole numbers of 100 and more are grams, anything else kilograms."""
    numbers = [found["number"] for cell in cells if (found := _WEIGHT(cell.strip()[:_LONGEST])) and not found["unit"]]
    whole = all(number.isdigit() for number in numbers)
    return "g" if whole and any(int(number) >= 100 for number in numbers) else "kg"
