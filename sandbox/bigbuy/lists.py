"""BigBuy's catalogue endpoints: bulk lists by root taxonomy, single items, and those that are no more."""

from collections.abc import Callable, Iterator
from itertools import islice

from sandbox.bigbuy import errors, items, shelves
from sandbox.bigbuy.errors import Refused, answer, php_json
from sandbox.bigbuy.items import Maker
from sandbox.bigbuy.state import State
from sandbox.catalogue import Product
from sandbox.wire import Answer, Call, Item, stream_list
from sandbox.words import LANGUAGES, ROOTS

Handler = Callable[[State, Call, str], Answer]

# Answered 404 by name; `categories` is still there and empty.
REMOVED = {
    "catalog/productsstock",
    "catalog/productsvariationsstock",
    "catalog/productstock",
    "catalog/productsstockavailable",
    "catalog/productsstockbyreference",
}


def _language(call: Call) -> str:
    code = call.query.get("isoCode", "en").lower()
    if code not in LANGUAGES:
        raise Refused(errors.plain(400, f"The isoCode {code} is not valid."))
    return code


def _number(call: Call, name: str) -> int | None:
    value = call.query.get(name)
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) <= 15):
        raise Refused(errors.plain(400, f"Parameter {name} is not valid."))
    return int(value)


def _page(state: State, call: Call) -> tuple[int, int | None]:
    """First and last (exclusive) item; a page size of 0, or none, means everything."""
    size = _number(call, "pageSize") or 0
    page = _number(call, "page") or 0
    if not size:
        return 0, None
    first = max(page - state.settings.first_page, 0) * size
    return first, first + size


def _stream(state: State, call: Call, found: Iterator[Item]) -> Answer:
    start, stop = _page(state, call)
    return Answer(200, stream_list(call.spoil(islice(found, start, stop)), php_json))


def _bulk(maker: Maker) -> Handler:
    """A list of all products of the root taxonomy that must be named."""

    def handler(state: State, call: Call, argument: str) -> Answer:
        language = _language(call)
        taxonomy = _number(call, "parentTaxonomy")
        if taxonomy is None:
            raise Refused(errors.plain(400, "The parentTaxonomy parameter is required."))
        root = shelves.root_by_taxonomy(taxonomy)
        if root is None:
            raise Refused(errors.plain(400, f"The parentTaxonomy {taxonomy} is not a first level taxonomy."))
        return _stream(state, call, _made(state, call, maker, language, root))

    return handler


def _made(state: State, call: Call, maker: Maker, language: str, root: int | None = None) -> Iterator[Item]:
    start, step = (0, 1) if root is None else (root, len(ROOTS))
    for product in state.catalogue.all(call.at, start=start, step=step):
        yield from maker(state.catalogue, product, call.at, language)


def new_products(state: State, call: Call, argument: str) -> Answer:
    """What was added or published again in the last seven days; all roots together."""
    return _stream(state, call, _made(state, call, items.new_products, _language(call)))


def _plain(make: Callable[[str], Iterator[Item]]) -> Handler:
    def handler(state: State, call: Call, argument: str) -> Answer:
        return _stream(state, call, make(_language(call)))

    return handler


def taxonomies(state: State, call: Call, argument: str) -> Answer:
    """All, or with `firstLevel` the roots."""
    found = shelves.taxonomies(_language(call), first_level="firstLevel" in call.query)
    return _stream(state, call, found)


def categories(state: State, call: Call, argument: str) -> Answer:
    """Nothing, since taxonomies took their place."""
    return answer([])


# -- Single items --------------------------------------------------------------------------------------------------


def _product(state: State, call: Call, index: int) -> Product:
    product = state.catalogue.product(index, call.at)
    if product is None:
        raise Refused(errors.missing(state.settings.missing_item, "Product"))
    return product


def _single(maker: Maker, *, many: bool = False) -> Handler:
    """The items of one product: the only one, or with `many` a list."""

    def handler(state: State, call: Call, argument: str) -> Answer:
        language = _language(call)
        product = _product(state, call, int(argument) - shelves.FIRST_PRODUCT)
        made = list(call.spoil(maker(state.catalogue, product, call.at, language)))
        return answer(made if many else made[0])

    return handler


def _one_of(make: Callable[[str], Iterator[Item]], what: str) -> Handler:
    def handler(state: State, call: Call, argument: str) -> Answer:
        for item in make(_language(call)):
            if item["id"] == int(argument):
                return answer(call.spoil_one(item))
        return errors.missing(state.settings.missing_item, what)

    return handler


def information_by_sku(state: State, call: Call, argument: str) -> Answer:
    """By reference; an object, or with the setting a list of one."""
    language = _language(call)
    found = shelves.from_sku(argument)
    product = _product(state, call, -1 if found is None or found[1] else found[0])
    item = call.spoil_one(next(items.information(state.catalogue, product, call.at, language)))
    return answer([item] if state.settings.information_by_sku == "list" else item)


BULK: dict[str, Handler] = {
    "products": _bulk(items.products),
    "productsinformation": _bulk(items.information),
    "productsimages": _bulk(items.images),
    "productsvariations": _bulk(items.variations),
    "variations": _bulk(items.variation_attributes),
    "productsstockbyhandlingdays": _bulk(items.stock),
    "productsvariationsstockbyhandlingdays": _bulk(items.variation_stock),
    "productprices": _bulk(items.prices),
    "productvariationprices": _bulk(items.variation_prices),
    "productstaxonomies": _bulk(items.taxonomies),
    "productstags": _bulk(items.tags),
    "new-products": new_products,
    "taxonomies": taxonomies,
    "attributes": _plain(shelves.attributes),
    "attributegroups": _plain(shelves.attribute_groups),
    "manufacturers": _plain(lambda language: shelves.manufacturers()),
    "languages": _plain(lambda language: shelves.languages()),
    "categories": categories,
}
SINGLE: dict[str, Handler] = {
    "product": _single(items.products),
    "productinformation": _single(items.information),
    "productimages": _single(items.images),
    "productvariations": _single(items.variations, many=True),
    "productstockbyhandlingdays": _single(items.stock),
    "producttaxonomies": _single(items.taxonomies, many=True),
    "productcompliance": _single(items.compliance),
    "attribute": _one_of(shelves.attributes, "Attribute"),
    "attributegroup": _one_of(shelves.attribute_groups, "Attribute group"),
    "manufacturer": _one_of(lambda language: shelves.manufacturers(), "Manufacturer"),
}
