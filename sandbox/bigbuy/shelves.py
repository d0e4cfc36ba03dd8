"""BigBuy's numbers and lists around its products: references, taxonomy, attributes, makers, languages."""

import re
from collections.abc import Iterator

from sandbox.catalogue import MAX_VARIANTS, OPENED, UNITS, Product
from sandbox.clock import timestamp
from sandbox.wire import Item
from sandbox.words import BRANDS, COLOURS, LANGUAGES, NOUNS, ROOTS, SHELVES, SIZES, say

FIRST_PRODUCT = 100_000  # ids
FIRST_VARIATION = 1_000_000
FIRST_SKU = 1_000_000
FIRST_VARIATION_SKU = 5_000_000
LETTERS = "SVHFBDGP"  # one for each root
SKU = re.compile(r"[A-Z]\d{7}")

FIRST_TAXONOMY = 2_399
PER_ROOT = 1 + len(SHELVES) * (1 + len(NOUNS))  # taxonomies of a root, itself first
MANUFACTURERS = 300
COLOUR_GROUP, SIZE_GROUP = 11, 12
FIRST_COLOUR, FIRST_SIZE = 23_000, 24_000
TAGS = 64

GROUPS = {COLOUR_GROUP: ("Colour", "Color", "Couleur", "Farbe"), SIZE_GROUP: ("Size", "Talla", "Taille", "Größe")}


# -- Numbers -------------------------------------------------------------------------------------------------------


def root_of(index: int) -> int:
    """Products take turns in the roots of the taxonomy."""
    return index % len(ROOTS)


def product_id(index: int) -> int:
    """The id of a product."""
    return FIRST_PRODUCT + index


def variation_id(index: int, variant: int) -> int:
    """The id of a variation; the first variant is 1."""
    return FIRST_VARIATION + index * MAX_VARIANTS + variant - 1


def sku(index: int, variant: int = 0) -> str:
    """The reference of a product (0) or a variation."""
    number = FIRST_VARIATION_SKU + index * MAX_VARIANTS + variant - 1 if variant else FIRST_SKU + index
    return f"{LETTERS[root_of(index)]}{number:07}"


def from_sku(reference: str) -> tuple[int, int] | None:
    """(product's number, variant) of a reference; None if no product ever had it. There may be no such product."""
    if not SKU.fullmatch(reference):
        return None
    number = int(reference[1:])
    if number >= FIRST_VARIATION_SKU:
        index, variant = divmod(number - FIRST_VARIATION_SKU, MAX_VARIANTS)
        variant += 1
    else:
        index, variant = number - FIRST_SKU, 0
    return (index, variant) if index >= 0 and LETTERS[root_of(index)] == reference[0] else None


def unit_of(reference: str) -> int | None:
    """The article's number in the catalogue."""
    found = from_sku(reference)
    return None if found is None else found[0] * UNITS + found[1]


# -- Taxonomy ------------------------------------------------------------------------------------------------------


def root_taxonomy(root: int) -> int:
    """The id of a first-level taxonomy."""
    return FIRST_TAXONOMY + root * PER_ROOT


def root_by_taxonomy(taxonomy: int) -> int | None:
    """Which root a first-level taxonomy is; None if it is none."""
    root, rest = divmod(taxonomy - FIRST_TAXONOMY, PER_ROOT)
    return root if rest == 0 and 0 <= root < len(ROOTS) else None


def taxonomies_of(product: Product) -> tuple[int, int]:
    """The shelf and the leaf a product is found at."""
    shelf = root_taxonomy(root_of(product.index)) + 1 + product.bits[26] % len(SHELVES) * (1 + len(NOUNS))
    return shelf, shelf + 1 + noun_of(product)


def noun_of(product: Product) -> int:
    """Which of NOUNS it is."""
    return product.bits[13] % len(NOUNS)


def taxonomies(language: str, *, first_level: bool) -> Iterator[Item]:
    """All taxonomies, parents before children; the first level has the parent 0."""
    for root, words in enumerate(ROOTS):
        top = root_taxonomy(root)
        yield _taxonomy(top, say(words, language), 0, language)
        if first_level:
            continue
        for position, shelf in enumerate(SHELVES):
            id_ = top + 1 + position * (1 + len(NOUNS))
            yield _taxonomy(id_, say(shelf, language), top, language)
            for noun, names in enumerate(NOUNS):
                yield _taxonomy(id_ + 1 + noun, say(names, language), id_, language)


def _taxonomy(id_: int, name: str, parent: int, language: str) -> Item:
    return {
        "id": id_,
        "name": name,
        "url": slug(name),
        "parentTaxonomy": parent,
        "dateAdd": timestamp(OPENED),
        "dateUpd": timestamp(OPENED + id_ * 3_600),
        "urlImages": f"https://cdnbigbuy.com/images/HC{id_}_BC_P00.jpg",
        "isoCode": language,
    }


def slug(name: str) -> str:
    """As it stands in an address."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


# -- Attributes, makers, languages, tags ---------------------------------------------------------------------------


def attributes_of(variant: int) -> list[int]:
    """The attributes of a variation: a colour, and from the fifth on a size."""
    colour = FIRST_COLOUR + (variant - 1) % len(COLOURS)
    return [colour, FIRST_SIZE + variant % len(SIZES)] if variant > 4 else [colour]


def attribute_groups(language: str) -> Iterator[Item]:
    """Colour and size."""
    for id_, words in GROUPS.items():
        yield {"id": id_, "name": say(words, language), "isoCode": language}


def attributes(language: str) -> Iterator[Item]:
    """All colours and sizes."""
    for position, words in enumerate(COLOURS):
        yield _attribute(FIRST_COLOUR + position, COLOUR_GROUP, say(words, language), language)
    for position, name in enumerate(SIZES):
        yield _attribute(FIRST_SIZE + position, SIZE_GROUP, name, language)


def _attribute(id_: int, group: int, name: str, language: str) -> Item:
    return {"id": id_, "attributeGroup": group, "name": name, "isoCode": language}


def manufacturers() -> Iterator[Item]:
    """All makers."""
    for number in range(MANUFACTURERS):
        name = BRANDS[number % len(BRANDS)] + (f" {number // len(BRANDS)}" if number >= len(BRANDS) else "")
        url = f"https://cdnbigbuy.com/images/brands/{number + 1}.jpg"
        yield {"id": number + 1, "name": name, "urlImage": url, "reference": 9_000 + number}


def languages() -> Iterator[Item]:
    """All languages."""
    for code, name in LANGUAGES.items():
        yield {"name": name, "isoCode": code}


def tag(number: int, language: str) -> Item:
    """A tag."""
    name = f"{say(NOUNS[number % len(NOUNS)], language)} {say(SHELVES[number % len(SHELVES)], language)}".lower()
    return {"id": 500 + number % TAGS, "name": name, "linkRewrite": slug(name), "language": language}
