"""A root category's lists, joined on disk. A record that comes twice counts once, the last time."""

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from services.suppliers.base import StockTier
from services.suppliers.bigbuy.calls import drifted
from services.suppliers.scratch import scratch
from services.suppliers.wire import count_of, dicts, id_of, number_of, positive, text_of

Row = tuple[Any, ...]

_SCHEMA = """
CREATE TABLE products (id INTEGER PRIMARY KEY, sku TEXT, barcode TEXT, manufacturer INTEGER, taxonomy INTEGER,
                       cost TEXT, list_price TEXT, recommended TEXT, weight TEXT, active INTEGER, varies INTEGER);
CREATE TABLE texts (id INTEGER PRIMARY KEY, name TEXT, description TEXT);
CREATE TABLE images (id INTEGER PRIMARY KEY, urls TEXT);
CREATE TABLE variations (id INTEGER PRIMARY KEY, product INTEGER, sku TEXT, barcode TEXT, cost TEXT, list_price TEXT,
                         recommended TEXT, extra_weight TEXT);
CREATE TABLE variation_attributes (id INTEGER PRIMARY KEY, attributes TEXT);
CREATE TABLE attributes (id INTEGER PRIMARY KEY, attribute_group INTEGER, name TEXT);
CREATE TABLE product_stock (id INTEGER PRIMARY KEY, sku TEXT, tiers TEXT);
CREATE TABLE variation_stock (id INTEGER PRIMARY KEY, sku TEXT, tiers TEXT);
"""

_PRODUCTS = """
SELECT p.id, p.sku, p.barcode, p.manufacturer, p.taxonomy, p.cost, p.list_price, p.recommended, p.weight, p.active,
       p.varies, t.name, t.description, i.urls, s.tiers
FROM products p LEFT JOIN texts t ON t.id = p.id LEFT JOIN images i ON i.id = p.id
     LEFT JOIN product_stock s ON s.id = p.id
ORDER BY p.id
"""
_VARIATIONS = """
SELECT v.product, v.id, v.sku, v.barcode, v.cost, v.list_price, v.recommended, v.extra_weight, s.tiers,
       (SELECT json_group_array(json_array(a.attribute_group, a.name))
        FROM variation_attributes o, json_each(o.attributes) e JOIN attributes a ON a.id = e.value
        WHERE o.id = v.id)
FROM variations v LEFT JOIN variation_stock s ON s.id = v.id
ORDER BY v.product, v.id
"""

# A list of which so many records cannot be read, and more than can, has changed its form.
_DRIFTED = 5


@dataclass(slots=True)
class Tally:
    """How many records of a list could be read."""

    good: int = 0
    bad: int = 0

    def judge(self, endpoint: str) -> None:
        """Raises FatalForConnection when the list as a whole is not what it was."""
        if self.bad >= _DRIFTED and self.bad > self.good:
            drifted(endpoint)


class Spool:
    """The lists of one root category."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self.filled: set[str] = set()  # tables with a record

    def fill(
        self, table: str, endpoint: str, found: Iterable[dict[str, Any]], read: Callable[[dict[str, Any]], Row | None]
    ) -> Iterator[dict[str, Any]]:
        """Store a list; gives the records that could not be read. Raises FatalForConnection when most cannot."""
        tally = Tally()
        statement = ""
        for record in found:
            row = read(record)
            if row is None:
                tally.bad += 1
                yield record
                continue
            tally.good += 1
            self.filled.add(table)
            marks = ",".join("?" * len(row))
            statement = statement or f"INSERT OR REPLACE INTO {table} VALUES ({marks})"  # noqa: S608  the names are ours
            self._database.execute(statement, row)
        tally.judge(endpoint)

    def products(self) -> Iterator[tuple[Row, list[Row]]]:
        """Every product in the order of ids, with its variations' rows."""
        variations = iter(self._database.execute(_VARIATIONS))
        ahead = next(variations, None)
        for product in self._database.execute(_PRODUCTS):
            own = []
            while ahead is not None and ahead[0] <= product[0]:
                if ahead[0] == product[0]:
                    own.append(ahead)
                ahead = next(variations, None)
            yield product, own


@contextmanager
def spool() -> Iterator[Spool]:
    """An empty one, gone at the end."""
    with scratch(_SCHEMA) as database:
        yield Spool(database)


# -- what is kept of a record; None: it cannot be read -----------------------------------------------------------------


def product(record: dict[str, Any]) -> Row | None:
    """A row of `products`."""
    number, sku = id_of(record.get("id")), text_of(record.get("sku"))
    if number is None or sku is None or not priced(record):
        return None
    return (
        number,
        sku,
        text_of(record.get("ean13")),
        id_of(record.get("manufacturer")),
        id_of(record.get("taxonomy")),
        *_prices(record),
        _text(number_of(record.get("weight"))),
        _flag(record.get("active"), default=1),
        _flag(record.get("attributes"), default=0),
    )


def texts(record: dict[str, Any]) -> Row | None:
    """A row of `texts`."""
    number, name = id_of(record.get("id")), text_of(record.get("name"))
    return None if number is None or name is None else (number, name, text_of(record.get("description")))


def images(record: dict[str, Any]) -> Row | None:
    """A row of `images`: the addresses, the cover first."""
    number = id_of(record.get("id"))
    if number is None or not isinstance(record.get("images"), list):
        return None
    covered = sorted(dicts(record["images"]), key=lambda one: not _flag(one.get("isCover"), default=0))
    urls = [url for one in covered if (url := text_of(one.get("url"))) and url.startswith(("https://", "http://"))]
    return number, "\n".join(dict.fromkeys(url for url in urls if not set(url) & set(" \n\r\t")))


def variation(record: dict[str, Any]) -> Row | None:
    """A row of `variations`."""
    number, parent, sku = id_of(record.get("id")), id_of(record.get("product")), text_of(record.get("sku"))
    if number is None or parent is None or sku is None or not priced(record):
        return None
    weight = _text(number_of(record.get("extraWeight")))
    return number, parent, sku, text_of(record.get("ean13")), *_prices(record), weight


def variation_attributes(record: dict[str, Any]) -> Row | None:
    """A row of `variation_attributes`."""
    number = id_of(record.get("id"))
    if number is None or not isinstance(record.get("attributes"), list):
        return None
    return number, json.dumps([found for one in dicts(record["attributes"]) if (found := id_of(one.get("id")))])


def attribute(record: dict[str, Any]) -> Row | None:
    """A row of `attributes`."""
    number, group, name = id_of(record.get("id")), id_of(record.get("attributeGroup")), text_of(record.get("name"))
    return None if number is None or group is None or name is None else (number, group, name)


def stock(record: dict[str, Any]) -> Row | None:
    """A row of `product_stock` or `variation_stock`. One quantity that cannot be read makes the sum unknown."""
    number, parts = id_of(record.get("id")), record.get("stocks")
    if number is None or not isinstance(parts, list):
        return None
    found = []
    for part in parts:
        quantity = count_of(part.get("quantity")) if isinstance(part, dict) else None
        if quantity is None:
            return None
        days = [count_of(part.get(name)) for name in ("minHandlingDays", "maxHandlingDays")]
        found.append([quantity, *days, text_of(part.get("warehouse"))])
    return number, text_of(record.get("sku")), json.dumps(found)


def tiers(stored: str | None) -> tuple[StockTier, ...] | None:
    """What `stock` stored, soonest first; None when nothing is known."""
    if stored is None:
        return None
    found = [StockTier(*part) for part in json.loads(stored)]
    return tuple(sorted(found, key=lambda tier: (tier.min_days is None, tier.min_days or 0)))


def priced(record: dict[str, Any]) -> bool:
    """Whether its price is of the kind it always was: a number, its text, or nothing; what it comes to is another
    matter."""
    price = record.get("wholesalePrice", ...)
    return price is None or price == "" or number_of(price) is not None


def _prices(record: dict[str, Any]) -> tuple[str | None, str | None, str | None]:
    cost, shops, recommended = (positive(record.get(f"{name}Price")) for name in ("wholesale", "inShops", "retail"))
    return _text(cost), _text(shops), _text(recommended)


def _text(number: Decimal | None) -> str | None:
    return None if number is None else format(number, "f")


def _flag(value: object, *, default: int) -> int:
    if isinstance(value, str):
        value = {"true": True, "1": True, "false": False, "0": False}.get(value.strip().lower())
    return default if value is None or not isinstance(value, bool | int) else int(bool(value))
