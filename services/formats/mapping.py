"""What a merchant says about a file's columns: which of them, changed how, is which field.

A mapping is plain data, kept with its source:

    {"fields": {"title": {"column": "Bezeichnung"},
                "price": {"column": "EK", "expression": "value * 1.4", "unit": "EUR"},
                "brand": {"constant": "Acme"},
                "stock": {"column": "Bestand", "default": "0"},
                "size":  {"column": "Maße", "split": "x", "part": 2}},
     "others": "recognised", "header": true, "sheet": null, "record": null}

It works on the cells of a table, before the mappers of the formats see them: what a cell means, how numbers are written
and what is wrong with them is decided where it is decided for every file.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from services.formats import cells, expressions, generic, headers, numbers, options, shopify, table, woocommerce
from services.formats.base import FeedRefused, RowError
from services.formats.woocommerce_headers import in_english

Columns = table.Columns

# Field of a mapping → the column of a general table that feeds it, as headers.NAMES calls it.
FIELDS: dict[str, str] = {
    "product_key": "handle", "group": "group", "id": "id", "sku": "sku", "title": "title",
    "description": "description", "brand": "brand", "category": "category", "tags": "tags", "status": "status",
    "image_urls": "image", "image_position": "image_position", "variant_image_url": "variant_image",
    "barcode": "barcode", "price": "price", "sale_price": "sale", "compare_at_price": "compare_at_price",
    "cost": "cost", "currency": "currency", "stock": "stock", "availability": "availability",
    "weight_grams": "weight", "color": "color", "size": "size", "material": "material", "pattern": "pattern",
    **{f"option{n}_{part}": f"option{n}{part}" for n in (1, 2, 3) for part in ("name", "value")},
}  # fmt: skip
_OF_FORMAT: dict[Columns, dict[str, str]] = {shopify.mapper: shopify.ROLES, woocommerce.mapper: woocommerce.ROLES}
_IDENTIFYING = frozenset(("product_key", "group", "id", "sku", "title", "barcode"))
_MONEY = frozenset(("price", "sale_price", "compare_at_price", "cost"))
_JOINTS = {"image_urls": "\n", "category": " > ", "tags": ",", "title": " ", "description": "\n"}
_KEYS = frozenset(("column", "constant", "default", "split", "part", "unit", "expression"))
_LONGEST = 2000  # characters of a constant; a name of a column has at most a tenth of that
_MOST_COLUMNS = 50  # that one rule joins


class MappingInvalid(FeedRefused):
    """A mapping that is not one, or not one for this file; codes ``mapping_invalid`` and ``mapping_column_missing``."""


class Rule(NamedTuple):
    """How one field is made: from columns, then split, reckoned, given a unit; or from nothing but a constant."""

    columns: tuple[str, ...] = ()
    constant: str | None = None
    default: str | None = None
    split: str | None = None
    part: int | None = None  # of what was split, from 1
    unit: str | None = None  # of weights; of prices a currency
    expression: expressions.Expression | None = None


class Mapping(NamedTuple):
    """Rules for fields, and what a table's beginning does not tell by itself."""

    fields: dict[str, Rule]
    others: bool = True  # what the rules do not name is read as it is recognised; False: not at all
    header: bool = True  # False: the first row is data, and the columns are called "Column 1" …
    sheet: str | None = None  # of a workbook
    record: str | None = None  # the XML element, or the path of the JSON array, that holds one product each

    def named(self) -> list[str]:
        """The columns its rules name."""
        return [
            name
            for rule in self.fields.values()
            for name in (*rule.columns, *(rule.expression.columns if rule.expression else ()))
        ]


NOTHING = Mapping({})


def _invalid(reason: str) -> MappingInvalid:
    return MappingInvalid("mapping_invalid", reason)


def parse(given: Any) -> Mapping:
    """A mapping out of plain data. Raises MappingInvalid ``mapping_invalid``, which says what is wrong with it."""
    if not isinstance(given, dict) or not isinstance(given.get("fields", {}), dict):
        raise _invalid("A mapping is an object with an object `fields`.")
    unknown = given.keys() - {"fields", "others", "header", "sheet", "record"}
    if unknown:
        raise _invalid(f"A mapping has no {min(map(str, unknown))!r}.")
    fields = given.get("fields", {})
    for name in fields:
        if name not in FIELDS:
            raise _invalid(f"There is no field {str(name)[:40]!r}. There are: {', '.join(FIELDS)}.")
    if given.get("others", "recognised") not in ("recognised", "ignored"):
        raise _invalid("`others` is recognised or ignored.")
    header = given.get("header", True)
    if not isinstance(header, bool):
        raise _invalid("`header` is true or false.")
    return Mapping(
        {name: _rule(name, rule) for name, rule in fields.items()},
        given.get("others", "recognised") == "recognised",
        header,
        _text(given, "sheet", 200),
        _text(given, "record", 200),
    )


def _text(given: dict[str, Any], key: str, longest: int) -> str | None:
    text = given.get(key)
    if text is not None and (not isinstance(text, str) or not text or len(text) > longest or "\0" in text):
        raise _invalid(f"`{key}` is a text of 1 to {longest} characters.")
    return text


def _rule(field: str, given: Any) -> Rule:
    if isinstance(given, str):
        given = {"column": given}
    if not isinstance(given, dict) or not given.keys() <= _KEYS:
        raise _invalid(f"The rule of {field} is an object of {', '.join(sorted(_KEYS))}.")
    columns = given.get("column", [])
    columns = [columns] if isinstance(columns, str) else columns
    if (
        not isinstance(columns, list)
        or len(columns) > _MOST_COLUMNS
        or not all(isinstance(name, str) and 0 < len(name) <= 200 for name in columns)
    ):
        raise _invalid(f"`column` of {field} is the name of a column, or a list of such names.")
    constant, default = _text(given, "constant", _LONGEST), _text(given, "default", _LONGEST)
    split, unit, formula = _text(given, "split", 20), _text(given, "unit", 20), _text(given, "expression", 500)
    part = given.get("part")
    if part is not None and (
        split is None or isinstance(part, bool) or not isinstance(part, int) or not 1 <= part < 100
    ):
        raise _invalid(f"`part` of {field} is a number from 1, and says which part of a `split` cell is meant.")
    if constant is None and not columns and formula is None:
        raise _invalid(f"The rule of {field} needs a column, a constant or an expression.")
    if constant is not None and len(given.keys() - {"constant"}):
        raise _invalid(f"The rule of {field} has a constant: there is nothing else to say.")
    if unit is not None and not _is_unit(field, unit):
        raise _invalid(f"{unit!r} is no unit of {field}: weights have kg, g, lb or oz, prices a currency.")
    expression = None
    if formula is not None:
        if len(columns) > 1 or split is not None:
            raise _invalid(f"The expression of {field} names its columns itself: [Column].")
        try:
            expression = expressions.parse(formula, columns[0] if columns else None)
        except expressions.Wrong as error:
            raise _invalid(f"{field}: {error}") from None
    return Rule(tuple(columns), constant, default, split, part, unit, expression)


def _is_unit(field: str, unit: str) -> bool:
    if field == "weight_grams":
        return unit.casefold() in numbers.GRAMS
    return field in _MONEY and numbers.currency_code(unit) is not None


def applied(make: Columns, mapping: Mapping, shown: Sequence[str]) -> Columns:
    """The maker of mappers of a format, for tables whose cells go through a mapping first.

    ``shown`` are the table's columns as the file spells them. Raises MappingInvalid ``mapping_column_missing``, and
    FeedRefused ``no_product_columns`` where still nothing says which product a row is.
    """
    if not mapping.others:
        make = generic.mapper
    roles = _OF_FORMAT.get(make)
    for field in mapping.fields:
        if roles is not None and field not in roles:
            raise _invalid(f"Files of this shop system have no {field}. With `others` ignored the rules alone count.")

    def columns(opened: table.Table) -> tuple[dict[str, str], table.Mapper, table.Apart | None]:
        if make is woocommerce.mapper:
            opened = opened._replace(headers=in_english(opened.headers, opened.sample))
        names, change, learned = _changed(opened, mapping, shown, roles)
        _refuse_nameless(names, roles, opened.headers)
        if not mapping.fields:
            return make(opened)
        sink: list[RowError] = []
        used, to_draft, apart = make(
            opened._replace(
                headers=names,
                sample=[change(row, 0, sink) for row in opened.sample],
                reread=lambda: (change(row, 0, []) for row in opened.reread()),
            )
        )
        spelled = dict(zip(opened.headers, shown, strict=False))
        sources = spelled | {names[len(names) - len(mapping.fields) + n]: _source(field, rule)
                             for n, (field, rule) in enumerate(mapping.fields.items())}  # fmt: skip

        def draft(row: list[str], line: int, errors: list[RowError]) -> Any:
            found = to_draft(change(row, line, errors), line, errors)
            if errors:
                errors[:] = [
                    error._replace(column=sources[error.column]) if error.column in sources else error
                    for error in errors
                ]
            return found

        if apart is not None:
            apart = table.Apart(_raw_keys(apart.keys, opened, mapping, shown), apart.learned + learned)
        return {sources.get(name, name): field for name, field in used.items()}, draft, apart

    return columns


def _source(field: str, rule: Rule) -> str:
    named = rule.columns or (rule.expression.columns if rule.expression else ())
    return named[0] if named else field


def role(header: str, roles: dict[str, str] | None) -> str | None:
    """The field that a format reads from a column of this name."""
    name = headers.normal(header)
    if roles is not None:
        return next((field for field, names in roles.items() if name in names.split()), None)
    numbered = options.numbered_role(name)
    if numbered:
        return numbered
    said = headers.meaning(header)
    if said and said.field == "more_images":
        return "image_urls"
    return next((field for field, one in FIELDS.items() if said and one == said.field), None)


def _raw_keys(keys: tuple[int, ...], opened: table.Table, mapping: Mapping, shown: Sequence[str]) -> tuple[int, ...]:
    """The columns of the file behind those of the changed table, as far as one column makes one."""
    look_up = _finder(opened.headers, shown)
    kept = len(opened.headers) if mapping.others else 0
    found: list[int] = []
    for key in keys:
        rule = None if key < kept else list(mapping.fields.values())[key - kept]
        if rule is None:
            found.append(key)
        elif rule.columns and not rule.expression:
            found.append(look_up(rule.columns[0], True))
    return tuple(index for index in dict.fromkeys(found) if index < len(opened.headers))


def _changed(
    opened: table.Table, mapping: Mapping, shown: Sequence[str], roles: dict[str, str] | None
) -> tuple[list[str], Callable[[list[str], int, list[RowError]], list[str]], str]:
    """The headers of the changed table, the function that changes a row of it, and what it has learned for that."""
    width = len(opened.headers)
    look_up = _finder(opened.headers, shown)
    kept = []
    if mapping.others:  # but not what a rule says, nor a column of which a rule says what it is
        taken = {
            look_up(name, True) for rule in mapping.fields.values() if not rule.expression for name in rule.columns
        }
        kept = [
            f"\n{index}" if index in taken or role(name, roles) in mapping.fields else name
            for index, name in enumerate(opened.headers)
        ]
    added = [roles[field].split()[0] if roles else _general_name(field) for field in mapping.fields]
    makers = [_maker(field, rule, look_up, opened) for field, rule in mapping.fields.items()]

    def change(row: list[str], line: int, errors: list[RowError]) -> list[str]:
        made = [make(row, line, errors) for make in makers]
        return [*row[:width], *made, ""] if kept else [*made, ""]

    habits = [] if all(rule.expression is None for rule in mapping.fields.values()) else _marks(opened)
    return [*kept, *added], change, repr(habits)


def _general_name(field: str) -> str:
    """The surest header for a field in a general table."""
    known = FIELDS[field]
    return headers.NAMES[known].split()[0] if known in headers.NAMES else known


def _finder(names: Sequence[str], shown: Sequence[str]) -> Callable[[str, bool], int]:
    """Column → index: as spelled, else as it is called in general, else by its number (``Column 3``)."""
    at: dict[str, int] = {}
    for spelling in (lambda name: name, headers.normal):
        for every in (shown, names):
            for index, name in enumerate(every):
                at.setdefault(spelling(name), index)
    for index in range(len(names)):
        at.setdefault(f"Column {index + 1}", index)

    def find(column: str, may_miss: bool) -> int:
        index = at.get(column, at.get(headers.normal(column) or column))
        if index is None and not may_miss:
            there = ", ".join(name[:40] for name in shown[:20] if name.strip())
            raise MappingInvalid(
                "mapping_column_missing",
                f"The mapping speaks of a column {column[:80]!r}; the file has: {there or 'no names'}.",
            )
        return len(names) if index is None else index

    return find


Maker = Callable[[list[str], int, list[RowError]], str]


def _maker(field: str, rule: Rule, look_up: Callable[[str, bool], int], opened: table.Table) -> Maker:
    if rule.constant is not None:
        constant = rule.constant
        return lambda row, line, errors: constant
    may_miss = rule.default is not None
    make = _reckoner(rule, look_up, opened) if rule.expression else _reader(field, rule, look_up)
    unit, default = rule.unit or _unit_in_header(field, rule, look_up, opened), rule.default or ""
    if unit is None and rule.default is None:
        return make
    assert may_miss or unit is not None  # noqa: S101  what is left

    def complete(row: list[str], line: int, errors: list[RowError]) -> str:
        text = make(row, line, errors)
        if text and unit is not None and not any(sign.isalpha() or sign in "€$£¥" for sign in text):
            text = f"{text} {unit}"
        return text or default

    return complete


def _unit_in_header(field: str, rule: Rule, look_up: Callable[[str, bool], int], opened: table.Table) -> str | None:
    """The currency or unit that the header of a rule's own column names."""
    own = next(iter(rule.columns or (rule.expression.columns if rule.expression else ())), None)
    index = len(opened.headers) if own is None else look_up(own, True)
    said = headers.meaning(opened.headers[index]) if index < len(opened.headers) else None
    if said is None:
        return None
    return said.currency if field in _MONEY else said.unit if field == "weight_grams" else None


def _reader(field: str, rule: Rule, look_up: Callable[[str, bool], int]) -> Maker:
    indexes = [look_up(name, rule.default is not None) for name in rule.columns]
    joint, split, part = _JOINTS.get(field), rule.split, rule.part

    def read(row: list[str], line: int, errors: list[RowError]) -> str:
        if len(indexes) == 1:
            text = row[indexes[0]].strip()
        else:
            found = [cell for index in indexes if (cell := row[index].strip())]
            text = joint.join(found) if joint else next(iter(found), "")
        if split and text:
            parts = [one.strip() for one in text.split(split)]
            if part is None:
                text = (joint or " ").join(filter(None, parts))
            else:
                text = parts[part - 1] if part <= len(parts) else ""
        return text

    return read


def _reckoner(rule: Rule, look_up: Callable[[str, bool], int], opened: table.Table) -> Maker:
    expression = rule.expression
    assert expression is not None  # noqa: S101
    at = {name: look_up(name, rule.default is not None) for name in expression.columns}
    own = next(iter(expression.columns), None)
    width = len(opened.headers)
    marks = [""] * (width + 1)
    for index in set(at.values()) - {width}:
        marks[index] = numbers.habit(row[index] for row in opened.sample)
    common = numbers.common_habit(marks)
    marks = [mark or common for mark in marks]
    act = expression.bind(at)

    def reckon(row: list[str], line: int, errors: list[RowError]) -> str:
        try:
            return act(expressions.Cells(row, marks, []))
        except numbers.Unreadable as error:
            cell = row[at[own]] if own else ""
            errors.append(cells.problem(line, "mapping_failed", own, cell, error.args[1]))
            return ""

    return reckon


def _marks(opened: table.Table) -> list[str]:
    """How each column writes numbers: all that expressions learn from a table's first records."""
    return [numbers.habit(row[index] for row in opened.sample) for index in range(len(opened.headers))]


def _refuse_nameless(names: list[str], roles: dict[str, str] | None, before: list[str]) -> None:
    if not {role(name, roles) for name in names} & _IDENTIFYING and "children" not in names:
        shown = ", ".join(name[:40] for name in before[:20] if name.strip())
        raise FeedRefused(
            "no_product_columns", f"No rule says which product a row is (title, sku or product_key). Columns: {shown}"
        )
