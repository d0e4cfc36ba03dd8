"""A root category's lists, joined on disk. A record that comes twice counts once, the last time."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

from services.suppliers.base import StockTier
from services.suppliers.bigbuy.calls import drifted
from services.suppliers.scratch import scratched
from services.suppliers.wire import count_of, dicts, id_of, number_of, text_of

Row = tuple[Any, ...]

_BLANK = re.compile(r"[ \n\r\t]")

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
SELECT v.product, v.id, v.sku, v.barcode, v.cost, v.list_price, v.recommended, v.extra_weight, s.tiers, o.attributes
FROM variations v LEFT JOIN variation_stock s ON s.id = v.id LEFT JOIN variation_attributes o ON o.id = v.id
ORDER BY v.product, v.id
"""

_TOGETHER = 1_000  # rows that are stored at a time

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
    """The lists of one root category, on disk until it is closed."""

    def __init__(self) -> None:
        self._database = scratched(_SCHEMA)
        self.filled: set[str] = set()  # tables with a record
        self.close = self._database.close

    def fill(
        self, table: str, endpoint: str, found: Iterable[dict[str, Any]], read: Callable[[dict[str, Any]], Row | None]
    ) -> Iterator[dict[str, Any]]:
        """Store a list; gives the records that could not be read. Raises FatalForConnection when most cannot."""
        tally = Tally()
        rows: list[Row] = []
        for record in found:
            row = read(record)
            if row is None:
                tally.bad += 1
                yield record
                continue
            rows.append(row)
            if len(rows) == _TOGETHER:
                tally.good += self._put(table, rows)
                rows = []
        tally.good += self._put(table, rows)
        tally.judge(endpoint)

    def _put(self, table: str, rows: list[Row]) -> int:
        if rows:
            self.filled.add(table)
            marks = ",".join("?" * len(rows[0]))
            self._database.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", rows)  # noqa: S608  our names
        return len(rows)

    def attributes(self) -> dict[int, tuple[int, str]]:
        """Every attribute's group and name. They are few, as brands are: it is products that use them."""
        return {id_: (group, name) for id_, group, name in self._database.execute("SELECT * FROM attributes")}

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


# -- what is kept of a record; None: it cannot be read -----------------------------------------------------------------


def product(record: dict[str, Any]) -> Row | None:
    """A row of `products`."""
    get = record.get
    number, sku, prices = id_of(get("id")), text_of(get("sku")), _prices(record)
    if number is None or sku is None or prices is None:
        return None
    return (
        number,
        sku,
        text_of(get("ean13")),
        id_of(get("manufacturer")),
        id_of(get("taxonomy")),
        *prices,
        _text(number_of(get("weight"))),
        _flag(get("active"), default=1),
        _flag(get("attributes"), default=0),
    )


def texts(record: dict[str, Any]) -> Row | None:
    """A row of `texts`."""
    number, name = id_of(record.get("id")), text_of(record.get("name"))
    return None if number is None or name is None else (number, name, text_of(record.get("description")))


def images(record: dict[str, Any]) -> Row | None:
    """A row of `images`: the addresses, the cover first."""
    number, listed = id_of(record.get("id")), record.get("images")
    if number is None or not isinstance(listed, list):
        return None
    covers: list[str] = []
    others: list[str] = []
    for one in dicts(listed):
        url = text_of(one.get("url"))
        if url and url.startswith(("https://", "http://")) and not _BLANK.search(url):
            (covers if _flag(one.get("isCover"), default=0) else others).append(url)
    return number, "\n".join(dict.fromkeys(covers + others))


def variation(record: dict[str, Any]) -> Row | None:
    """A row of `variations`."""
    get = record.get
    number, parent, sku, prices = id_of(get("id")), id_of(get("product")), text_of(get("sku")), _prices(record)
    if number is None or parent is None or sku is None or prices is None:
        return None
    return number, parent, sku, text_of(get("ean13")), *prices, _text(number_of(get("extraWeight")))


def variation_attributes(record: dict[str, Any]) -> Row | None:
    """A row of `variation_attributes`: their ids."""
    number, listed = id_of(record.get("id")), record.get("attributes")
    if number is None or not isinstance(listed, list):
        return None
    return number, ",".join([str(found) for one in dicts(listed) if (found := id_of(one.get("id")))])


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
    return number, text_of(record.get("sku")), json.dumps(found) if found else "[]"


@lru_cache(10_000)  # quantities and times are small numbers: the same come again and again
def tiers(stored: str | None) -> tuple[StockTier, ...] | None:
    """What `stock` stored, soonest first; None when nothing is known."""
    if stored is None:
        return None
    found = [StockTier(*part) for part in json.loads(stored)]
    return tuple(sorted(found, key=lambda tier: (tier.min_days is None, tier.min_days or 0)))


def _prices(record: dict[str, Any]) -> tuple[str | None, str | None, str | None] | None:
    """What it costs, in shops, and recommended; None when the first is not of the kind it always was.

    That is a number, its text, or nothing; what it comes to is another matter.
    """
    get = record.get
    cost = number_of(given := get("wholesalePrice", ...))
    if cost is None and given is not None and given != "":
        return None
    return _price(cost), _price(number_of(get("inShopsPrice"))), _price(number_of(get("retailPrice")))


def _price(number: Decimal | None) -> str | None:
    return None if number is None or number <= 0 else format(number, "f")


def _text(number: Decimal | None) -> str | None:
    return None if number is None else format(number, "f")


def _flag(value: object, *, default: int) -> int:
    if isinstance(value, str):
        value = {"true": True, "1": True, "false": False, "0": False}.get(value.strip().lower())
    return default if value is None or not isinstance(value, bool | int) else int(bool(value))
