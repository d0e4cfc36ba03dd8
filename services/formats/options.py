"""The options of a variant (size, colour …) in the ways general tables write them."""

import re
from collections.abc import Callable
from typing import NamedTuple

from services.formats import headers

_NAME = re.compile(
    r"(?:product|variant)?(?:option|attribute)(?:(\d)name|name(\d))|"
    r"(?:nombredepropiedad|nomedavariacao|variationsname)(\d)|variantoption(one|two|three)name"
).fullmatch
_VALUE = re.compile(
    r"(?:product|variant)?(?:option|attribute)(?:(\d)values?|values?(\d)|description(\d))|"
    r"(?:valordepropiedad|valordavariacao|variationswert(?:name)?)(\d)|variantoption(one|two|three)value"
).fullmatch
_WORDS = {"one": "1", "two": "2", "three": "3"}
# A column that is an option by its name: "variant:Size", "Свойство: Размер", "product_variation_option_{Size}".
_AXIS = re.compile(
    r"(?:variant|variation|option|varianta|variante|свойство)\s*:\s*(.+)|.*variation_option_\{(.+)\}", re.I
).fullmatch
_AXES = ("color", "size", "material", "pattern")
_LIST = re.compile(r"\s*\|\s*")
_PAIR = re.compile(r"([^:=]+)[:=](.*)").fullmatch

# Names and values of one record (names may be empty on a record that continues a product), or None without options.
Read = Callable[[list[str]], tuple[list[str], list[str]] | None]


class Options(NamedTuple):
    """How to read a record's options, and whether records may leave the product's cells empty."""

    read: Read
    continues: bool


def option_columns(names: list[str], *, group: int | None) -> tuple[Options | None, dict[str, str]]:
    """The reader for a table's options, or None, and the columns it uses (header → Draft field).

    ``group`` is the column that names a record's group: only in a group are colour and size options, else plain facts.
    """
    known = {found.field: index for index, found in reversed(list(enumerate(headers.meanings(names)))) if found}
    numbered = _numbered(names)
    if numbered:
        used = {names[i]: "option_names" for i, _ in numbered} | {names[i]: "option_values" for _, i in numbered}
        return Options(lambda row: _from_pairs(row, numbered), True), used
    if "option_values" in known:
        values, titles = known["option_values"], known.get("option_names", len(names))
        used = {names[values]: "option_values"} | ({names[titles]: "option_names"} if titles < len(names) else {})
        return Options(lambda row: _from_lists(row[titles], row[values]), True), used
    if "option_pairs" in known:
        index = known["option_pairs"]
        return Options(lambda row: _from_cell(row[index]), True), {names[index]: "option_values"}
    own = [(next(filter(None, found.groups())).strip(), i) for i, name in enumerate(names) if (found := _AXIS(name))]
    if own:
        return Options(_axes_reader(None, own[:3]), False), {names[index]: "option_values" for _, index in own[:3]}
    axes = [known[axis] for axis in _AXES if axis in known]
    if axes and group is not None:
        titles_of = [(names[index], index) for index in axes]
        return Options(_axes_reader(group, titles_of), False), {names[index]: "option_values" for index in axes}
    return None, {}


def _numbered(names: list[str]) -> list[tuple[int, int]]:
    """Where ``Option 1 Name`` and ``Option 1 Value`` stand, for each number that has both."""
    at: dict[tuple[str, str], int] = {}
    for index, name in enumerate(names):
        for kind, pattern in (("name", _NAME), ("value", _VALUE)):
            found = pattern(headers.normal(name))
            if found:
                number = next(group for group in found.groups() if group)
                at.setdefault((kind, _WORDS.get(number, number)), index)
    numbers = sorted(number for kind, number in at if kind == "name" and ("value", number) in at)
    return [(at["name", number], at["value", number]) for number in numbers[:3]]


def is_axis(name: str) -> bool:
    """Whether a column is called after the option it holds."""
    return _AXIS(name) is not None


def numbered_role(name: str) -> str | None:
    """``option1_name`` for the normalised header of an option's name, ``option1_value`` for that of its value."""
    for kind, pattern in (("name", _NAME), ("value", _VALUE)):
        found = pattern(name)
        if found:
            number = next(group for group in found.groups() if group)
            return f"option{_WORDS.get(number, number)}_{kind}"
    return None


def _from_pairs(row: list[str], numbered: list[tuple[int, int]]) -> tuple[list[str], list[str]] | None:
    found = [(row[name].strip(), _one_line(row[value])) for name, value in numbered]
    given, values = [name for name, value in found if name and value], [value for _, value in found if value]
    return (given, values) if values else None


def _from_lists(titles: str, values: str) -> tuple[list[str], list[str]] | None:
    """``size|colour`` and ``S|red``; in PrestaShop's files ``Size:select:0, Colour:color:1`` and ``S:0, red:1``."""
    given, found = _split(titles), _split(values)
    return (given, found) if given or found else None


def _split(cell: str) -> list[str]:
    cell = _one_line(cell)
    if "|" not in cell and re.search(r":\w+(?:,|$)", cell):
        return [part.strip().partition(":")[0] for part in cell.split(",") if part.strip()]
    return [part for part in _LIST.split(cell) if part]


def _from_cell(cell: str) -> tuple[list[str], list[str]] | None:
    """``Color:Blue, Disk space:16 GB`` in one cell, also ``Color=Blue|Size=M``."""
    parts = _one_line(cell).split("|" if "|" in cell else ",")
    pairs = [found.groups() for part in parts if (found := _PAIR(part)) and ";" not in found[2]]
    return ([name.strip() for name, _ in pairs], [value.strip() for _, value in pairs]) if pairs else None


def _axes_reader(group: int | None, axes: list[tuple[str, int]]) -> Read:
    def read(row: list[str]) -> tuple[list[str], list[str]] | None:
        if group is not None and not row[group].strip():
            return None
        given, values = [], []
        for name, index in axes:
            value = row[index].strip()
            if value:
                given.append(name)
                values.append(value.replace("\n", " ") if "\n" in value else value)
        return (given, values) if given else None

    return read


def _one_line(cell: str) -> str:
    return cell.strip().replace("\n", " ")
