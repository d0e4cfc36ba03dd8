"""The files of a feed: one record for each article, in three forms and packed.

The fields are those of Google's product data, plus what a supplier tells a shop: the cost and the pieces at hand.
"""

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from xml.sax.saxutils import escape

from sandbox.bigbuy.items import ean13
from sandbox.catalogue import Article, Catalogue, Product
from sandbox.wire import BATCH, Item, stream_list
from sandbox.words import ADJECTIVES, BRANDS, COLOURS, NOUNS, ROOTS

CDN = "https://img.feed-supplier.example"
NAMESPACE = "http://base.google.com/ns/1.0"

# Every field a record may have, in the order of the table's columns.
FIELDS = (
    *("id", "item_group_id", "sku", "title", "description", "brand", "product_type", "image_link"),
    *("additional_image_link", "gtin", "color", "price", "cost", "currency", "quantity", "shipping_weight"),
)

Writer = Callable[[Iterable[Item]], Iterator[bytes]]


def sku(product: Product, variant: int = 0) -> str:
    """The article's number: `F000012`, or `F000012-3` for a variant."""
    return f"F{product.index:06}" + (f"-{variant}" if variant else "")


def from_sku(text: str) -> tuple[int, int] | None:
    """(product's number, variant) of an article's number; None if it is none."""
    number, _, variant = text.removeprefix("F").partition("-")
    if not text.startswith("F") or not number.isdigit() or not (variant or "0").isdigit():
        return None
    return int(number), int(variant or 0)


def records(catalogue: Catalogue, other: Catalogue, at: float) -> Iterator[Item]:
    """One record for each article that is sold, product by product.

    About half of the articles are BigBuy's, the `other` catalogue, too: they have its barcodes.
    """
    for product in catalogue.all(at):
        if product.active:
            twin = other.product(product.index, at)
            for article in catalogue.articles(product, at):
                record = _record(product, article)
                if twin is not None and article.variant in _numbers(twin) and (barcode := ean13(twin, article.variant)):
                    record["gtin"] = barcode
                yield record


def _numbers(product: Product) -> range:
    return range(1, product.variants + 1) if product.variants else range(1)


def _record(product: Product, article: Article) -> Item:
    bits, number = product.bits, sku(product, article.variant)
    words = ADJECTIVES[bits[14] % len(ADJECTIVES)][0], NOUNS[bits[13] % len(NOUNS)][0]
    title = f"{words[0]} {words[1]} {product.index}"
    record: Item = {"id": number, "sku": number, "title": title}
    if product.variants:
        record["item_group_id"] = sku(product)
        record["color"] = COLOURS[(bits[12] + article.variant) % len(COLOURS)][0]
    record["description"] = f'{title}; "the good one", <b>2 years</b> of warranty.\nDelivered flat & packed.'
    record["brand"] = BRANDS[bits[16] % len(BRANDS)]
    record["product_type"] = f"{ROOTS[bits[26] % len(ROOTS)][0]} > {words[1]}"
    record["image_link"] = f"{CDN}/{sku(product)}.jpg"
    if bits[25] % 3:
        record["additional_image_link"] = [f"{CDN}/{sku(product)}_{n}.jpg" for n in range(2, 3 + bits[25] % 2)]
    record["price"] = round(article.wholesale * (130 + bits[8] % 60) / 10_000, 2)
    record["cost"] = round(article.wholesale / 100, 2)
    record["currency"] = "EUR"
    record["quantity"] = article.stock
    record["shipping_weight"] = f"{0.05 + bits[10] ** 2 / 6_000:.3f} kg"
    return record


# -- Forms ---------------------------------------------------------------------------------------------------------


def as_csv(found: Iterable[Item]) -> Iterator[bytes]:
    """A table with a header, comma-separated."""
    left = iter(found)
    first = next(left, {})
    renamed = {name for name in FIELDS if f"{name}_v2" in first}
    columns = tuple(dict.fromkeys((*(name for name in FIELDS if name not in renamed), *first)))
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    for number, record in enumerate(chain([first] if first else [], left)):
        writer.writerow([_cell(record.get(name)) for name in columns])
        if number % BATCH == BATCH - 1:
            yield _taken(text)
    yield _taken(text)


def as_json(found: Iterable[Item]) -> Iterator[bytes]:
    """A list of objects."""
    return stream_list(iter(found))


def as_xml(found: Iterable[Item]) -> Iterator[bytes]:
    """RSS 2.0 with Google's namespace."""
    head = f'<?xml version="1.0" encoding="UTF-8"?>\n<rss version="2.0" xmlns:g="{NAMESPACE}"><channel>'
    yield f"{head}<title>Feed supplier</title>\n".encode()
    for record in found:
        inside = "".join(_element(name, value) for name, value in record.items())
        yield f"<item>{inside}</item>\n".encode()
    yield b"</channel></rss>\n"


def gzipped(writer: Writer) -> Writer:
    """The same, packed."""

    def packed(found: Iterable[Item]) -> Iterator[bytes]:
        out = io.BytesIO()
        with gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as file:
            for piece in writer(found):
                file.write(piece)
                if out.tell() > 65_536:
                    yield out.getvalue()
                    out.seek(0)
                    out.truncate()
        yield out.getvalue()

    return packed


FILES: dict[str, tuple[Writer, str]] = {
    "catalogue.csv": (as_csv, "text/csv; charset=utf-8"),
    "catalogue.csv.gz": (gzipped(as_csv), "application/gzip"),
    "catalogue.json": (as_json, "application/json"),
    "catalogue.xml": (as_xml, "application/xml"),
}


def _cell(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    if isinstance(value, dict):
        return json.dumps(value)
    return "" if value is None else str(value)


def _element(name: str, value: object) -> str:
    if isinstance(value, list):
        return "".join(_element(name, one) for one in value)
    inside = (
        "".join(_element(part, one) for part, one in value.items()) if isinstance(value, dict) else escape(str(value))
    )
    tag = name if name in ("title", "description") else f"g:{name}"
    return f"<{tag}>{inside}</{tag}>"


def _taken(text: io.StringIO) -> bytes:
    piece = text.getvalue().encode()
    text.seek(0)
    text.truncate()
    return piece
