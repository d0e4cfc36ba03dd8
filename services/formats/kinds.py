"""Tables in which a column says whether a row is a product or one of its variants, which stand below it.

BigCommerce, Ecwid, Wix and eBay write such tables, each with names of its own: the words in the column tell.
"""

import re
from collections.abc import Iterator

from services.formats import headers, links
from services.formats.base import Draft, RowError
from services.formats.numbers import decimal_sum, word_set
from services.formats.table import Mapper, Table

_VARIANT = word_set("variant variation sku product_variation productvariation")
_BESIDE = word_set("image rule option product_option choice modifier")  # says something else of the product above
_PRODUCT = word_set("product simple item") | {""}
_ENOUGH = _VARIANT | _BESIDE | _PRODUCT
_OF_VARIANT = re.compile(r"(?:product)?(?:variation|variant)(.+)").fullmatch
_TITLED = re.compile(r"(?:\[[A-Z]+\])?([^=,\[\]]+)=([^=]*?)(?:,(?=\[?[^=,]+=)|$)")
_LONGEST_TITLE = 500
_KEYS = ("handle", "group", "id", "sku", "title")


def column(table: Table, group: int) -> int | None:
    """The column that tells products from variants, unless the variants name their product."""
    for index in range(len(table.headers)):
        words = {row[index].strip().casefold() for row in table.sample}
        if words & _VARIANT and words <= _ENOUGH and words & _PRODUCT:
            variants = (row for row in table.sample if row[index].strip().casefold() in _VARIANT)
            return None if any(row[group].strip() for row in variants) else index
    return None


def with_variants_below(table: Table, kind: int, at: dict[str, int], surcharge: int, build: Mapper) -> Mapper:
    """Give the rows of variants to the product above them; a product that has some is no variant itself.

    What a variant does not say of its price is what its product says.
    """
    width = len(table.headers)
    keys = [at[field] for field in _KEYS if at[field] < width]
    shared = [index for index in keys if index != at["sku"]]
    instead = _instead(table.headers, at)

    def parents() -> Iterator[tuple[str, str]]:
        above = ""
        for row in table.reread():
            what = row[kind].strip().casefold()
            if what in _PRODUCT:
                above = _ident(row, keys)
            elif what in _VARIANT:
                yield above, ""

    look_up = links.build(parents())
    above: Draft | None = None

    def draft(row: list[str], line: int, errors: list[RowError]) -> Draft | None:
        nonlocal above
        what = row[kind].strip().casefold()
        if what in _PRODUCT or above is None:
            found = above = build(row, line, errors)
            return _parent(found) if found and look_up(_ident(row, keys)) is not None else found
        row = [*row]
        title = row[at["title"]].strip()[:_LONGEST_TITLE]
        for index in shared:  # so that it is one of the same product
            row[index] = above.product_key if index == shared[0] else ""
        if what in _BESIDE:
            found = build(row, line, [])
            return _parent(above)._replace(line=line, image_urls=found.image_urls) if found else None
        for own, index in instead:
            row[index] = row[own] if row[own].strip() else row[index]
        found = build(row, line, errors)
        return found and _variant(found, above, title, row[surcharge].strip() if surcharge < width else "")

    return draft


def _ident(row: list[str], keys: list[int]) -> str:
    return "\n".join(row[index].strip() for index in keys)


def _instead(names: list[str], at: dict[str, int]) -> list[tuple[int, int]]:
    """Columns for variants alone, and those of the products whose place they take."""
    found = []
    for own, name in enumerate(names):
        rest = _OF_VARIANT(headers.normal(name))
        said = headers.meaning(rest[1]) if rest else None
        if said and at.get(said.field, len(names)) not in (own, len(names)):
            found.append((own, at[said.field]))
    return found


def _parent(found: Draft) -> Draft:
    return found._replace(
        variant_key=None, sku=None, barcode=None, price=None, compare_at_price=None, cost=None, currency=None,
        stock=None, weight_grams=None, option_values=None,
    )  # fmt: skip


def _variant(found: Draft, product: Draft, title: str, surcharge: str) -> Draft:
    values, given = found.option_values, found.option_names or product.option_names
    if values is None and (pairs := _TITLED.findall(title)):
        given, values = ("\n".join(part.strip() for part in parts) for parts in zip(*pairs[:3], strict=True))
    if found.price is None and product.price is not None:
        more = decimal_sum(product.price, surcharge)
        found = found._replace(price=more, currency=product.currency) if more else found
    return found._replace(
        product_key=product.product_key,
        variant_key=values.replace("\n", " / ") if values else found.sku or "",
        title=None,
        option_names=given if values else None,
        option_values=values,
    )
