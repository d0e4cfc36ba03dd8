"""Small calculations on the cells of a row: ``[Price] * 1.2``, ``[Brand] & " " & [Name]``, ``lower(value)``.

    sum       = product { ("+" | "-" | "&") product }
    product   = value { ("*" | "/") value }
    value     = number | text | "[" column "]" | "value" | name "(" sum { "," sum } ")" | "(" sum ")" | "-" value

``value`` is the rule's own column. Signs reckon with numbers, read from cells as prices are; ``&`` joins text. An
empty cell makes what is reckoned with it empty: nothing is never zero. An expression is taken apart once, by hand,
into closures; its length, its depth and the texts it makes are bounded, and nothing in it can loop.
"""

import re
from collections.abc import Callable, Sequence
from decimal import ROUND_HALF_UP, Context, Decimal, DecimalException
from typing import NamedTuple, NoReturn

from services.formats import numbers
from services.formats.numbers import Unreadable

LONGEST = 500  # characters of an expression
_DEEPEST = 20
_LONGEST_TEXT = 100_000  # characters of what an expression makes
_CONTEXT = Context(prec=28, Emax=99, Emin=-99)

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>\d{1,15}(?:\.\d{1,6})?)|"(?P<text>(?:[^"]|"")*)"|\[(?P<column>[^\]\n]{1,200})\]"""
    r"""|(?P<name>[A-Za-z]+)|(?P<sign>[-+*/&(),]))"""
)

Value = Decimal | str | None


class Wrong(Exception):
    """An expression that cannot be understood; the message says where."""


class Cells(NamedTuple):
    """What an expression is evaluated on: the cells of the row, and how each column writes numbers."""

    row: Sequence[str]
    marks: Sequence[str]  # the habit of each column
    currency: list[str]  # of the prices that were read: filled while evaluating


Node = Callable[[Cells], Value]


class Expression(NamedTuple):
    """An expression that has been taken apart: the columns it names, and the maker of its function.

    ``bind`` is given column → index and returns the function, which raises Unreadable for cells it cannot reckon with.
    """

    columns: tuple[str, ...]
    bind: Callable[[dict[str, int]], Callable[[Cells], str]]


def parse(text: str, own: str | None) -> Expression:
    """Take an expression apart; ``own`` is the column that ``value`` stands for. Raises Wrong."""
    if len(text) > LONGEST:
        raise Wrong(f"An expression has at most {LONGEST} characters.")
    tokens = _tokens(text)
    named = [word for kind, word in tokens if kind == "column"]
    if any(kind == "name" and word == "value" for kind, word in tokens):
        if own is None:
            raise Wrong("The expression speaks of its value, but the rule names no column.")
        named.append(own)
    columns = tuple(dict.fromkeys(named))
    _Parser(tokens, own, dict.fromkeys(columns, 0)).whole()

    def bind(at: dict[str, int]) -> Callable[[Cells], str]:
        node = _Parser(tokens, own, at).whole()
        return lambda cells: _shown(node(cells), cells)

    return Expression(columns, bind)


def _tokens(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    at = 0
    while text[at:].strip():
        token = _TOKEN.match(text, at)
        if token is None:
            raise Wrong(f"The expression cannot be understood from {text[at:].strip()[:40]!r} on.")
        kind = str(token.lastgroup)
        found.append((kind, token[kind]))
        at = token.end()
    return found


class _Parser:
    """Recursive descent; every method returns the function of what it has read."""

    def __init__(self, tokens: list[tuple[str, str]], own: str | None, at: dict[str, int]) -> None:
        self._tokens, self._own, self._columns = tokens, own, at
        self._at = self._depth = 0

    def whole(self) -> Node:
        """All of it."""
        node = self._sum()
        if self._at < len(self._tokens):
            self._stop()
        return node

    def _stop(self) -> NoReturn:
        rest = " ".join(word for _, word in self._tokens[self._at : self._at + 5])
        raise Wrong(
            f"The expression cannot be understood at {rest[:40]!r}." if rest else "The expression is not whole."
        )

    def _sign(self, *wanted: str) -> str | None:
        if self._at < len(self._tokens) and self._tokens[self._at][0] == "sign":
            sign = self._tokens[self._at][1]
            if sign in wanted:
                self._at += 1
                return sign
        return None

    def _sum(self) -> Node:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise Wrong("The expression is nested too deep.")
        node = self._product()
        while sign := self._sign("+", "-", "&"):
            node = _joined(node, self._product()) if sign == "&" else _reckoned(sign, node, self._product())
        self._depth -= 1
        return node

    def _product(self) -> Node:
        node = self._value()
        while sign := self._sign("*", "/"):
            node = _reckoned(sign, node, self._value())
        return node

    def _value(self) -> Node:
        negative = False
        while self._sign("-"):
            negative = not negative
        node = self._atom()
        return _reckoned("-", lambda _: Decimal(0), node) if negative else node

    def _atom(self) -> Node:
        if self._sign("("):
            node = self._sum()
            if not self._sign(")"):
                self._stop()
            return node
        if self._at >= len(self._tokens):
            self._stop()
        kind, word = self._tokens[self._at]
        if kind == "sign":
            self._stop()
        self._at += 1
        if kind == "number":
            number = Decimal(word)
            return lambda _: number
        if kind == "text":
            text = word.replace('""', '"')
            return lambda _: text
        if kind == "column" or word == "value":
            return _cell(self._columns[word if kind == "column" else str(self._own)])
        return self._call(word)

    def _call(self, name: str) -> Node:
        function = _FUNCTIONS.get(name.lower())
        if function is None:
            raise Wrong(f"There is no function {name[:40]}. There are: {', '.join(_FUNCTIONS)}.")
        if not self._sign("("):
            self._stop()
        given = [self._sum()]
        while self._sign(","):
            given.append(self._sum())
        if not self._sign(")"):
            self._stop()
        least, most, act = function
        if not least <= len(given) <= most:
            raise Wrong(f"The function {name} takes {least if least == most else f'{least} to {most}'} values.")
        return lambda cells: act(cells, [node(cells) for node in given])


def _cell(index: int) -> Node:
    def read(cells: Cells) -> Value:
        cell = cells.row[index].strip()
        return _Cell(cell, cells.marks[index]) if cell else None

    return read


class _Cell(str):
    """The text of a cell, which knows how its column writes numbers."""

    mark: str

    def __new__(cls, text: str, mark: str) -> "_Cell":
        made = super().__new__(cls, text)
        made.mark = mark
        return made


def _number(value: Value, cells: Cells) -> Decimal | None:
    if value is None or isinstance(value, Decimal):
        return value
    found = numbers.amount(value.strip(), value.mark if isinstance(value, _Cell) else ".")
    if found.currency:
        cells.currency.append(found.currency)
    return None if found.text is None else Decimal(found.text)


def _text(value: Value) -> str:
    return "" if value is None else _plain(value) if isinstance(value, Decimal) else str(value)


def _reckoned(sign: str, left: Node, right: Node) -> Node:
    act = {"+": _CONTEXT.add, "-": _CONTEXT.subtract, "*": _CONTEXT.multiply, "/": _CONTEXT.divide}[sign]

    def reckon(cells: Cells) -> Value:
        one, other = _number(left(cells), cells), _number(right(cells), cells)
        if one is None or other is None:
            return None
        try:
            return act(one, other)
        except DecimalException:
            raise Unreadable("unparsable", f"{_plain(one)} {sign} {_plain(other)} has no result.") from None

    return reckon


def _joined(left: Node, right: Node) -> Node:
    return lambda cells: _bounded(_text(left(cells)) + _text(right(cells)))


def _bounded(text: str) -> str:
    if len(text) > _LONGEST_TEXT:
        raise Unreadable("unparsable", f"The expression makes a text of more than {_LONGEST_TEXT:,} characters.")
    return text


def _replace(_: Cells, given: list[Value]) -> Value:
    text, old, new = map(_text, given)
    if not old:
        return text
    if len(text) + text.count(old) * max(0, len(new) - len(old)) > _LONGEST_TEXT:
        _bounded(" " * (_LONGEST_TEXT + 1))
    return text.replace(old, new)


def _part(cells: Cells, given: list[Value], *, first: bool) -> Value:
    count = min(max(int(_number(given[1], cells) or 0), 0), _LONGEST_TEXT)
    text = _text(given[0])
    return text[:count] if first else text[len(text) - min(count, len(text)) :]


def _round(cells: Cells, given: list[Value]) -> Value:
    number = _number(given[0], cells)
    places = int(_number(given[1], cells) or 0) if len(given) > 1 else 0
    if number is None:
        return None
    try:
        return number.quantize(Decimal(1).scaleb(-min(max(places, 0), 6)), ROUND_HALF_UP, _CONTEXT)
    except DecimalException:
        raise Unreadable("unparsable", "The number is too large to be rounded.") from None


def _limit(cells: Cells, given: list[Value], *, least: bool) -> Value:
    found = [number for value in given if (number := _number(value, cells)) is not None]
    return (min(found) if least else max(found)) if found else None


# Name → the fewest and most values it takes, and what it does with them.
_FUNCTIONS: dict[str, tuple[int, int, Callable[[Cells, list[Value]], Value]]] = {
    "lower": (1, 1, lambda _, given: _bounded(_text(given[0]).lower())),
    "upper": (1, 1, lambda _, given: _bounded(_text(given[0]).upper())),
    "trim": (1, 1, lambda _, given: " ".join(_text(given[0]).split())),
    "replace": (3, 3, _replace),
    "left": (2, 2, lambda cells, given: _part(cells, given, first=True)),
    "right": (2, 2, lambda cells, given: _part(cells, given, first=False)),
    "first": (1, 20, lambda _, given: next((one for one in given if _text(one).strip()), None)),
    "round": (1, 2, _round),
    "min": (1, 20, lambda cells, given: _limit(cells, given, least=True)),
    "max": (1, 20, lambda cells, given: _limit(cells, given, least=False)),
}


def _plain(number: Decimal) -> str:
    """A number that can be read in one way only: 1.234 would be a thousand in some columns."""
    text = f"{number:f}"
    if "." in text:
        if len(text.partition(".")[2]) > 6:
            text = f"{number.quantize(Decimal('0.000001'), ROUND_HALF_UP, Context(prec=110)):f}"
        text = text.rstrip("0").rstrip(".")
    whole, _, part = text.partition(".")
    return f"{text}0" if len(part) == 3 and len(whole.lstrip("-")) < 4 else text


def _shown(value: Value, cells: Cells) -> str:
    if isinstance(value, Decimal):
        return f"{_plain(value)} {cells.currency[0]}" if cells.currency else _plain(value)
    return _bounded(_text(value))
