"""The headers of WooCommerce's exporter in the language of the shop: known by where they stand, not by their words.

Source: WooCommerce's CSV exporter (class-wc-product-csv-exporter.php). It writes its columns in one order and
translates their headers, but not the words in the cells of three of them. What an old version has not yet (low stock,
GTIN) is told by the distances between those three and the weight with its unit.
"""

import re
from collections.abc import Sequence
from itertools import groupby

from services.formats.numbers import GRAMS, word_set

_TYPES = word_set("simple variable variation grouped external")
_VISIBLE = word_set("visible catalog search hidden")
_TAXED = word_set("taxable shipping none")
_SHORTEST = 30  # columns: an export of chosen columns has no order to go by
_UNIT = re.compile(r"\(\s*([^()]+?)\s*\)\s*\Z").search
_NUMBER = re.compile(r"\d+").findall

_BEFORE_VISIBILITY = ("SKU", "GTIN, UPC, EAN, or ISBN", "Name", "Published", "Is featured?")
_AFTER_VISIBILITY = ("Short description", "Description", "Date sale price starts", "Date sale price ends")
_AFTER_TAX_STATUS = ("Tax class", "In stock?", "Stock", "Low stock amount", "Backorders allowed?", "Sold individually?")
_AFTER_WEIGHT = (
    *("Length", "Width", "Height", "Allow customer reviews?", "Purchase note", "Sale price", "Regular price"),
    *("Categories", "Tags", "Shipping class", "Images", "Download limit", "Download expiry days", "Parent"),
    *("Grouped products", "Upsells", "Cross-sells", "External URL", "Button text", "Position"),
)
_OF_ATTRIBUTE = ("name", "value(s)", "visible", "global")


def in_english(names: Sequence[str], sample: Sequence[Sequence[str]]) -> list[str]:
    """The headers as WooCommerce's importer knows them; as they are where this is no export of its, or an English one.

    ``sample`` has the first records. Headers whose place says nothing (brands, metadata) stay as they are.
    """
    if len(names) < _SHORTEST or "Visibility in catalog" in names:
        return [*names]
    kind, visibility, tax = (_column_of(words, names, sample) for words in (_TYPES, _VISIBLE, _TAXED))
    weight = next(
        (i for i, name in enumerate(names) if i > tax and (u := _UNIT(name)) and u[1].casefold() in GRAMS), -1
    )
    before = _BEFORE_VISIBILITY if visibility - kind == 6 else _without(_BEFORE_VISIBILITY, 1)
    after_tax = _AFTER_TAX_STATUS if weight - tax == 7 else _without(_AFTER_TAX_STATUS, 3)
    order = (
        *("Type", *before, "Visibility in catalog", *_AFTER_VISIBILITY, "Tax status", *after_tax),
        *("Weight", *_AFTER_WEIGHT),
    )
    at = kind + order.index("Visibility in catalog"), kind + order.index("Tax status"), kind + order.index("Weight")
    if kind < 0 or at != (visibility, tax, weight) or kind + len(order) > len(names):
        return [*names]
    english = [*names]
    if kind:
        english[kind - 1] = "ID"
    english[kind : kind + len(order)] = order
    english[weight] = f"Weight ({_UNIT(names[weight])[1]})"  # type: ignore[index]
    _name_attributes(english, kind + len(order), sample)
    return english


def _without(names: tuple[str, ...], index: int) -> tuple[str, ...]:
    return names[:index] + names[index + 1 :]


def _column_of(words: frozenset[str], names: Sequence[str], sample: Sequence[Sequence[str]]) -> int:
    """The first column whose cells all begin with one of these words; -1 for none."""
    for index in range(len(names)):
        cells = {row[index].partition(",")[0].strip() for row in sample} - {""}
        if cells and cells <= words:
            return index
    return -1


def _name_attributes(english: list[str], start: int, sample: Sequence[Sequence[str]]) -> None:
    """Four columns of one number are an attribute's, the last two with 0 or 1; a download's three come before."""
    numbered = [(index, _NUMBER(english[index])[:1]) for index in range(start, len(english))]
    for number, columns in groupby(numbered, key=lambda one: one[1]):
        group = [index for index, _ in columns] if number else []
        for parts in (group, group[3:]):
            flags = {row[index].strip() for row in sample for index in parts[2:4]}
            if len(parts) >= len(_OF_ATTRIBUTE) and flags <= {"", "0", "1"}:
                for index, part in zip(parts, _OF_ATTRIBUTE, strict=False):
                    english[index] = f"Attribute {number[0]} {part}"
                break
