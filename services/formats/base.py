"""What every feed reader yields: draft rows, row errors, or a refusal of the whole file.

A draft is *flat*: one draft per record of the file, with product fields and variant fields side by side.
Grouping drafts into products and variants is the staging table's work (SQL), so a reader needs no memory
of earlier records and a file may scatter a product's variants anywhere.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from services.formats.runs import Run


class Place(NamedTuple):
    """Where a line of a file begins: how many bytes are before it, and its number."""

    offset: int
    line: int


class Draft(NamedTuple):
    """One record of a feed, in the words of the catalogue. Every value is text ready for COPY, or None.

    None means *the file does not say*; it never means zero or empty, and never overwrites what is known.
    Numbers are canonical decimal text (``1234.50``), already validated. ``line`` (1-based) grows with the file: the
    physical line where the record starts, in a spreadsheet its row, in XML and JSON the number of the product or
    variant in the file. ``variant_key`` is None on a record that carries product or image
    data only (a Shopify image row, a WooCommerce ``variable`` parent).
    """

    line: int
    product_key: str
    variant_key: str | None
    title: str | None = None
    description: str | None = None
    brand: str | None = None
    category: str | None = None
    tags: str | None = None  # comma-separated
    status: str | None = None  # active | draft | archived
    image_urls: str | None = None  # one URL per line, first is main
    image_position: str | None = None  # integer; orders images of one product across records
    option_names: str | None = None  # one per line, at most three ("Size\nColour")
    option_values: str | None = None  # one per line, same order
    sku: str | None = None
    barcode: str | None = None
    price: str | None = None
    compare_at_price: str | None = None
    cost: str | None = None
    currency: str | None = None  # ISO 4217
    stock: str | None = None  # integer
    weight_grams: str | None = None  # integer
    variant_image_url: str | None = None


class RowError(NamedTuple):
    """One record, or one cell, that could not be used. The rest of the file goes on."""

    line: int
    code: str  # stable: price_unparsable, price_missing, barcode_damaged, row_too_long, key_missing …
    column: str | None  # header as the file spells it
    value: str | None  # the cell, cut at 200 characters
    reason: str  # one sentence a merchant understands
    fatal: bool = True  # True: the record was dropped. False: only this cell was, the draft was kept


@dataclass(frozen=True, slots=True)
class Reading:
    """A feed being read: what it was recognised as, and its records in file order (a one-shot stream)."""

    format: str  # shopify_csv | generic_xlsx | google_xml | yandex_yml | shopify_json …
    encoding: str  # "" for a spreadsheet
    delimiter: str  # "" for what is not delimited text
    columns: dict[str, str]  # header or path as spelled → Draft field it feeds; unknown ones are absent
    records: Iterator[Draft | RowError]
    # How much of the file the records given out so far have taken, from 0 to 1; None where that cannot be told.
    done: Callable[[], float] | None = None
    # All columns as the file spells them, and the cells of its first records: what a mapping is made from.
    headers: tuple[str, ...] = ()
    sample: tuple[list[str], ...] = ()
    sheet: str = ""  # of a workbook
    # All records once more as they stand in the file, with their line: cells below `headers`, nothing judged.
    rows: Callable[[], Iterator[tuple[int, list[str]]]] | None = None
    # All records once more, or those from a place on, in runs that say what they come to by a hash (of `salt` too), and
    # what one run comes to; None where records cannot be told apart like that.
    runs: "Callable[[bytes, Place | None], Iterator[Run]] | None" = None
    drafts_of: "Callable[[Run], Iterator[Draft | RowError]] | None" = None


class FeedRefused(Exception):
    """The whole file cannot be used; nothing of it is imported. ``code`` is stable, the message is for people.

    ``seen`` are the first rows of what may be a table of products, if somebody said which of its columns is what.
    """

    def __init__(self, code: str, reason: str, *, seen: list[list[str]] | None = None) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.seen = seen or []
