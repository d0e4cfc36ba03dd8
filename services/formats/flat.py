"""Trees nobody has described: which of the values in a record are the columns of a table.

A value's name is the path to it. One that stands directly in the record is read by its own name; one that stands deeper
only where the way to it says that it is the product's (``pricing.price``, ``offers.offer.price``) and not something
else's (``shipping.price``, ``supplier.id``, ``reviews.rating``): a missing price is better than a wrong one.
"""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from html.entities import html5
from itertools import pairwise
from typing import Any

from services.formats import generic, headers, trees
from services.formats.base import FeedRefused
from services.formats.mapping import Mapping
from services.formats.numbers import word_set
from services.formats.spool import Spool
from services.formats.table import MOST_COLUMNS, SHOWN

DEEPEST = 6  # levels below the record
_MANY = 20  # records that cannot all have one number
MOST_REPEATS = 60  # of one value in a record

Values = dict[str, list[str]]  # path → its values in one record

# Words of a path that only group what is the product's own.
_WRAPPERS = word_set(
    "offer offers price prices pricing meta metadata details detail inventory stock stocks identifiers images image "
    "media pictures photos gallery assets product item article data attributes attribute general info information "
    "fields properties node content basic main default weight dimensions shipping_weight categories category brand "
    "manufacturer tags availability params parameters option options extensionattributes stockitem large original"
)
# Those of them around a whole product, so that all in them is its own.
_WHOLE = word_set("product item article data attributes attribute general fields properties node content basic main")
_TOLD = word_set("title description brand category")  # in one language or several
_TEXTS = word_set("description descriptions text texts")  # <description><name>, <description><long_desc>
_GROSS, _NET = word_set("gross brutto"), word_set("net netto")  # <price gross="…" net="…">
# Fields that hold their value somewhere inside: <Preis><Betrag>, <Bilder><Bild url="…">.
_WRAPPING = word_set(
    "image more_images price sale compare_at_price cost stock availability weight category brand tags barcode"
)
_PRICED = word_set("prices pricing")
_MONEY = word_set("price sale compare_at_price cost")
_OF_MONEY = _MONEY | {"currency"}
# Words that name nothing by themselves: the value is what the word before says.
_NAMING = word_set("name title value text amount label src url href link content path original large xlarge extralarge "
                   "full zoom big max high id0")  # fmt: skip
_OF_LISTS = word_set("list items array element entry li values string")
_NESTED = word_set(
    "sku mpn barcode price sale compare_at_price cost currency stock availability weight weight_unit image more_images "
    "category brand description color size material pattern"
)
_VARIANTS = word_set("variants variations productvariants skus combinations")
SIZES = "sizes"  # variants, where they have numbers or stock of their own
_OF_SIZE = word_set("sku barcode stock price")
_LONGEST_KIND = 30
_PAIR = 5  # parts of what is a property with a name and a value
_KEYS = ("id", "productid", "handle", "slug")
_NOT_OF_EACH = word_set("id sku mpn barcode stock")  # of a product with several variants
_GROUP = "item_group_id"
_OF_VARIANT = word_set(
    "sku mpn barcode price sale compare_at_price cost currency stock availability weight weight_unit color size "
    "material pattern option_names option_values"
)
_OF_VARIANT_OR_UNKNOWN = _OF_VARIANT | {None}
_JOINED = {"image": "\n", "more_images": "\n", "variant_image": "\n", "tags": ", "}
_PICTURES = word_set("image more_images")
_SMALL = re.compile(r"thumb|small|mini|tiny|medium|icon|preview|swatch", re.I).search
_LARGE = ("original", "full", "zoom", "max", "xxl", "xlarge", "extralarge", "xl", "big", "high", "large", "normal")
_NAMED_VALUES = word_set(
    "optionvalue customattribute param parameter attribute attr property feature field spec specification a option"
)


def text_of(element: Any) -> str:
    """The text of an element without children, with the HTML entities that only its absent DTD explains."""
    text: str = element.text or ""
    for child in element:
        name = getattr(child, "name", None)
        if isinstance(name, str):  # an entity
            text += html5.get(f"{name};", f"&{name};")
        text += child.tail or ""
    return text.strip()


def local(tag: str) -> str:
    """A name without its namespace."""
    return tag.rpartition("}")[2]


def of_element(element: Any, preferred: str = "") -> Values:
    """All values of an XML element; attributes count as children. Names in the ``preferred`` namespace go first."""
    found: Values = {}
    _enter_element(element, "", 0, preferred, found)
    return found


@lru_cache(10_000)
def _read_tag(tag: str, preferred: str) -> tuple[str, bool, bool]:
    """A tag's local name, whether it is in the preferred namespace, and whether it may be ``<param name="…">``."""
    name = local(tag)
    return name, bool(preferred) and tag.startswith(preferred), name.lower() in _NAMED_VALUES


def _enter_element(  # noqa: PLR0912  the inner loop of every XML feed
    element: Any, prefix: str, depth: int, preferred: str, found: Values
) -> None:
    for key, value in element.items():
        _add(found, prefix + local(key), value.strip())
    sure: set[str] = set()
    for child in element:
        tag = child.tag
        if tag.__class__ is not str:
            continue
        name, is_sure, is_named = _read_tag(tag, preferred)
        path = prefix + name if prefix else name
        if is_sure:
            if path not in sure:
                found.pop(path, None)
                sure.add(path)
        elif path in sure:
            continue
        if len(child):
            if any(isinstance(one.tag, str) for one in child):
                pair = (
                    _pair({local(one.tag): one.text for one in child if isinstance(one.tag, str)}) if is_named else None
                )
                if pair:
                    _add(found, prefix + pair[0], pair[1])
                elif depth < DEEPEST:
                    _enter_element(child, path + ".", depth + 1, preferred, found)
                continue
            text = text_of(child)
        else:
            text = (child.text or "").strip()
        attributes = child.items()
        if text:
            if attributes and (kind := child.get("type") or child.get("kind")) and (told := _typed(name, kind)):
                path = prefix + told
            if is_named and attributes and (named := child.get("name")):
                _add(found, prefix + named.strip().replace(".", " "), text)
                continue
            values = found.get(path)
            if values is None:
                found[path] = [text]
            elif len(values) < MOST_REPEATS:
                values.append(text)
        for key, value in attributes:
            _add(found, f"{path}.{local(key)}", value.strip())


def of_object(record: dict[str, Any]) -> Values:
    """All values of a JSON object; a list of values is one value repeated."""
    found: Values = {}
    _enter_object(record, "", 0, found)
    return found


def _enter_object(record: dict[str, Any], prefix: str, depth: int, found: Values) -> None:
    for name, value in record.items():
        path = prefix + name.replace(".", " ")
        for one in value[:MOST_REPEATS] if isinstance(value, list) else (value,):
            if isinstance(one, dict):
                pair = _pair(one) if _normal(name).rstrip("s") in _NAMED_VALUES else None
                if pair:
                    _add(found, prefix + pair[0], pair[1])
                elif depth < DEEPEST:
                    _enter_object(one, path + ".", depth + 1, found)
            elif isinstance(one, bool):
                _add(found, path, "true" if one else "false")
            elif one is not None and not isinstance(one, list):
                _add(found, path, str(one).strip())


@lru_cache(10_000)
def _typed(name: str, kind: str) -> str | None:
    """The name of a price whose attribute says which: ``<price type="wholesale">``."""
    said = headers.meaning(name)
    if said is None or said.field not in _MONEY:
        return None
    of_kind = headers.meaning(f"{kind} {name}") if len(kind) < _LONGEST_KIND else None
    return f"{kind} {name}".replace(".", " ") if of_kind and of_kind.field in _MONEY else None


_normal = lru_cache(10_000)(headers.normal)


def _pair(parts: dict[str, Any]) -> tuple[str, str] | None:
    """Name and value of a property that is written ``{"name": "Colour", "value": "red"}``."""
    given = {_normal(name): value for name, value in parts.items()}
    names, values = ["name", "label", "key", "attributecode"], ["value", "option", "text"]
    if "optiondisplayname" in given:
        names, values = ["optiondisplayname"], ["label"]
    name = next((given[one] for one in names if isinstance(given.get(one), str)), "").strip()
    value = next((given[one] for one in values if isinstance(given.get(one), str)), "").strip()
    return (name.replace(".", " "), value) if name and value and len(given) <= _PAIR else None


def with_variants(record: dict[str, Any]) -> Iterable[tuple[Values, str | None]]:
    """The values of a JSON object, once for each variant when it holds a list of them.

    A variant's own number, price and stock go before the product's; a title it has is not the product's.
    """
    if isinstance(record.get("node"), dict):  # GraphQL wraps each
        record = record["node"]
    name = next((name for name in record if _normal(name) in _VARIANTS and _listed(record[name])), None)
    product = of_object({key: value for key, value in record.items() if key != name})
    if name is None:
        yield product, None
        return
    yield from _variants_of(product, map(of_object, _listed(record[name])))


def element_with_variants(element: Any) -> Iterable[tuple[Values, str | None]]:
    """The values of an XML element, once for each variant that stands in it, as `with_variants` gives them."""
    holders = [
        one
        for one in element
        if isinstance(one.tag, str) and len(one) and (is_variants(local(one.tag)) or _are_sizes(one))
    ]
    inside = [
        part
        for one in holders
        for part in one
        if isinstance(part.tag, str) and (is_variants(local(part.tag)) or local(one.tag) == SIZES)
    ]
    product = of_element(element)
    if not holders:
        yield product, None
        return
    names = tuple(f"{local(one.tag)}." for one in holders)
    product = {path: given for path, given in product.items() if not path.startswith(names)}
    sized = any(local(one.tag) == SIZES for one in holders)
    yield from _variants_of(product, [_size_of(one) if sized else of_element(one) for one in inside or holders])


def _are_sizes(element: Any) -> bool:
    return local(element.tag) == SIZES and any(map(is_size, element))


def is_size(element: Any) -> bool:
    """Whether an element among sizes is a variant: it has a number, stock or a price of its own."""
    return any(_field(local(key)) in _OF_SIZE for key in element.attrib)


def _size_of(element: Any) -> Values:
    """What a size says; its name is the size."""
    own = of_element(element)
    name = own.pop("name", None)
    return own | {"size": name} if name else own


def is_variants(name: str) -> bool:
    """Whether an element or a list of this name holds a product's variants, or is one of them."""
    return _normal(name) in _VARIANTS or _normal(name) + "s" in _VARIANTS


def _variants_of(product: Values, variants: Iterable[Values]) -> Iterable[tuple[Values, str | None]]:
    key = next((product[one] for one in product if _normal(one) in _KEYS), None)
    each = list(variants)
    key = key or next((given for path, given in product.items() if _of_path(path) == "sku"), None)
    if len(each) > 1:  # what tells the product apart, or counts all of it, is not what each of its variants has
        product = {path: given for path, given in product.items() if _of_path(path) not in _NOT_OF_EACH}
    for own in each:
        priced = any(_of_path(path) == "price" for path in own)  # then it is not reduced to what the product is
        values = {path: given for path, given in product.items() if not priced or _of_path(path) != "sale"}
        values |= {path: given for path, given in own.items() if _of_path(path) in _OF_VARIANT_OR_UNKNOWN}
        if key:
            values[_GROUP] = key
        yield values, None


@lru_cache(10_000)
def _of_path(path: str) -> str | None:
    """The field that the value at a path is, also where it would be too deep to be a column."""
    return _field(header_of(path) or path)


def _listed(value: Any) -> list[dict[str, Any]]:
    """A list of objects, also one that GraphQL has wrapped; else nothing."""
    if isinstance(value, dict):
        value = value.get("edges") or value.get("nodes")
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        return []
    return [one["node"] if isinstance(one.get("node"), dict) else one for one in value]


def _add(found: Values, path: str, text: str) -> None:
    if text:
        values = found.setdefault(path, [])
        if len(values) < MOST_REPEATS:
            values.append(text)


@lru_cache(10_000)
def _field(name: str) -> str | None:
    said = headers.meaning(name)
    return said.field if said else None


def header_of(path: str) -> str | None:
    """The name by which a path is read as a column, or None when it is not known to be the product's own."""
    steps = [step for step in path.split(".") if step.casefold() not in _OF_LISTS]
    lists = [_normal(after) + "s" == _normal(step) for step, after in pairwise(steps)]  # <Names><Name>
    steps = [step for step, is_list in zip(steps, [*lists, False], strict=True) if not is_list]
    if len(steps) > 1 and headers.is_language(steps[-1]) and _field(steps[-2]) in _TOLD:
        steps.pop()  # {"title": {"en": …}}
    if len(steps) > 1 and _normal(steps[-1]) == "language" and _field(steps[-2]) in _TOLD:
        steps.pop()  # <name><language id="1">
    if len(steps) < 2:
        return steps[0] if steps else path
    *way, last = steps
    words = [headers.normal(step) for step in way]
    if len(way) == 1 and words[0] in _TEXTS and _field(last) in ("title", "description"):
        return last
    if not all(
        word in _WRAPPERS or word.rstrip("s") in _WRAPPERS or _field(step) in _WRAPPING
        for step, word in zip(way, words, strict=True)
    ):
        return None
    said = headers.meaning(last)
    if said and all(word in _WHOLE or word.rstrip("s") in _WHOLE for word in words):
        return last
    above = headers.meaning(way[-1])
    # A price of something ("value" of "price") is the price; its currency and unit are read by their own names.
    is_picture = above is not None and above.field in _PICTURES
    if (headers.normal(last) in _NAMING and not (is_picture and said)) or (is_picture and not said):
        if above:
            return way[-1]
        if words[-1] in _PRICED and not said:
            return "price"
    if above is not None and above.field in _MONEY and headers.normal(last) in _GROSS | _NET:
        return way[-1] if headers.normal(last) in _GROSS else f"{way[-1]} net"
    is_money = words[-1] in _PRICED or (above is not None and above.field in _MONEY)
    if is_money and said and said.field not in _OF_MONEY:  # the "type" of a price
        return None
    if words[-1].rstrip("s") == "option" and said and said.field == "category":  # the "type" of an option
        return None
    return last if said and said.field in _NESTED else None


def columns(paths: Iterable[str]) -> dict[str, str]:
    """Path → header for the paths that are columns: of two for one field the one that stands less deep."""
    # A "type" may be anything: it is a category where nothing else is.
    ordered = sorted(paths, key=lambda path: (_normal(path) == "type", path.count(".")))
    chosen: dict[str, str] = {}
    taken: set[str] = set()
    pictures: list[str] = []
    for path in ordered:
        header = header_of(path)
        if header is None:
            continue
        said = headers.meaning(header)
        name = headers.normal(header)
        if said and said.field in _PICTURES:
            pictures.append(path)
        elif "." in path and said and (said.field in taken or name in taken):
            continue
        taken.add(name)
        if said and "." not in path:
            taken.add(said.field)
        chosen[path] = header
    for path in _copies(pictures):
        del chosen[path]
    return chosen


def _copies(pictures: list[str]) -> set[str]:
    """Of pictures in several sizes all but the largest."""
    small = set(filter(_SMALL, pictures))
    copies = small if len(small) < len(pictures) else set()
    sizes: dict[str, list[str]] = {}
    for path in pictures:
        if headers.normal(path.rpartition(".")[2]) in _LARGE and path not in copies:
            sizes.setdefault(path.rpartition(".")[0], []).append(path)
    for same in sizes.values():
        same.sort(key=lambda path: _LARGE.index(headers.normal(path.rpartition(".")[2])))
        copies |= set(same[1:])
    return copies


def learn(
    values_of: Callable[[Any], Iterable[tuple[Values, str | None]]],
    what: str,
) -> Callable[[Iterable[Any], Mapping | None], trees.Known]:
    """The ``learn`` of a dialect nobody has described: its columns are all the paths that occur in the file.

    What it has found in the records it keeps: to take the file apart once more would take longer.
    """

    def read(found: Iterable[Any], mapping: Mapping | None) -> trees.Known:
        paths: dict[str, None] = {}
        sample: list[Values] = []
        kept: Spool | None = Spool()
        for record in found:
            each = list(values_of(record))
            if kept is not None and not kept.add(each):
                kept = None
            for values, _ in each:
                if not values.keys() <= paths.keys():
                    paths.update(dict.fromkeys(values))
                if len(sample) < trees.SAMPLE:
                    sample.append(values)
            if len(paths) > MOST_COLUMNS:
                raise FeedRefused("too_many_columns", f"The records have more than {MOST_COLUMNS} different fields.")
        if not sample:
            raise FeedRefused("no_records", "The file holds no products.")
        chosen = columns(paths)
        if mapping is None:
            alike = {header for path, header in chosen.items() if _is_empty_key(path, header, sample)}
            trees.refuse_unless_products(chosen.values(), what, _seen(paths, sample), alike)
        # Two paths may have one header (the pictures of several sizes): their values are joined.
        spelled: dict[str, str] = {}
        parts: list[tuple[str, str, str | None]] = []
        for path, header in chosen.items():
            said = headers.meaning(header)
            first = next((known for known in spelled if headers.normal(known) == headers.normal(header)), header)
            spelled.setdefault(first, path)
            parts.append((path, first, _JOINED.get(said.field) if said else None))
        if mapping is not None:  # which may speak of any path: the others are columns without a meaning
            others = [path for path in paths if path not in chosen][: MOST_COLUMNS - len(chosen)]
            for number, path in enumerate(others):
                spelled[f"\n{number}"] = path
                parts.append((path, f"\n{number}", "\n"))
        texts = {header for header in spelled if (said := headers.meaning(header)) and said.field == "description"}

        def cells(values: Values) -> dict[str, str]:
            row: dict[str, str] = {}
            for path, header, joint in parts:
                given = values.get(path)
                if given is None:
                    continue
                text = given[0] if joint is None or len(given) == 1 else joint.join(given)
                if joint is None and "\n" in text and header not in texts:
                    text = " ".join(text.split())  # lines broken to make the file look nice
                if header not in row:
                    row[header] = text
                elif joint is not None:
                    row[header] += joint + text
            return row

        def rows(record: Any) -> Iterable[trees.Row]:
            each = values_of(record) if kept is None else record
            return [(cells(values), variant) for values, variant in each]

        return trees.Known(spelled, [cells(values) for values in sample], rows, generic.mapper, kept)

    return read


def _is_empty_key(path: str, header: str, sample: list[Values]) -> bool:
    """Whether a column that should tell records apart is the same in all of many."""
    said = headers.meaning(header)
    if len(sample) < _MANY or said is None or said.field not in ("sku", "barcode"):
        return False
    return len({tuple(values.get(path, ())) for values in sample}) == 1


def _seen(paths: Iterable[str], sample: list[Values]) -> list[list[str]]:
    """The first records as rows of a table, below their paths."""
    names = list(paths)
    return [names, *([" ".join(values.get(path, ())) for path in names] for values in sample[:SHOWN])]
