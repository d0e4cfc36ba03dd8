"""Made feeds: the same rows every time, as large as asked for, in constant memory."""

import csv
import zlib
from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape

HEADERS = ("Group ID", "SKU", "Title", "Description", "Brand", "Category", "Price", "Stock", "Barcode", "Color")
VARIANTS = 4  # rows of a product
_COLORS = ("black", "white", "oak", "walnut")
_BRANDS = ("Nordlys", "Atelier Brandt", "Kestrel & Co", "Fjell", "Maison Duval", "Tamarind")
_CATEGORIES = ("Home > Lamps", "Home > Vases", "Kitchen > Boards", "Garden > Pots", "Office > Trays")
_TEXT = "Turned by hand, oiled twice and left to dry for a week; no two are alike, and it ages well in daily use. "


def rows(count: int, *, changed_percent: int = 0) -> Iterator[tuple[str, ...]]:
    """About 300 bytes each; of `changed_percent` in a hundred price and stock differ from what they are otherwise."""
    for n in range(count):
        dice = zlib.crc32(n.to_bytes(4, "big"))
        product = n // VARIANTS
        moved = dice % 100 < changed_percent
        price = 500 + (dice >> 8) % 20_000 + (25 if moved else 0)
        yield (
            f"G{product:07d}",
            f"SKU-{n:08d}",
            f"{_BRANDS[product % 6]} piece no. {product} for the table",
            f"{_TEXT}Batch {product % 977}, kiln {product % 13}. Comes in four finishes, boxed.",
            _BRANDS[product % 6],
            _CATEGORIES[product % 5],
            f"{price // 100}.{price % 100:02d}",
            str((dice >> 4) % 90 + (1 if moved else 0)),
            _ean(n),
            _COLORS[n % VARIANTS],
        )


def _ean(n: int) -> str:
    digits = f"400{n:09d}"
    odd, even = sum(map(int, digits[::2])), sum(map(int, digits[1::2]))
    return f"{digits}{-(odd + 3 * even) % 10}"


def write_csv(path: Path, count: int, *, changed_percent: int = 0) -> None:
    """A comma-separated file with a header."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HEADERS)
        writer.writerows(rows(count, changed_percent=changed_percent))


def write_xlsx(path: Path, count: int) -> None:
    """A workbook with one sheet."""
    from openpyxl import Workbook

    book = Workbook(write_only=True)
    sheet = book.create_sheet("Products")
    sheet.append(HEADERS)
    for row in rows(count):
        sheet.append(row)
    book.save(path)


def write_xml(path: Path, megabytes: int) -> int:
    """A Google Merchant feed of at least that size. Returns how many items it has."""
    items = 0
    with path.open("w", encoding="utf-8") as file:
        file.write('<?xml version="1.0"?>\n<rss xmlns:g="http://base.google.com/ns/1.0" version="2.0"><channel>\n')
        for group, sku, title, text, brand, category, price, _, ean, color in rows(1 << 31):
            file.write(
                f"<item><g:id>{sku}</g:id><g:item_group_id>{group}</g:item_group_id><g:title>{escape(title)}</g:title>"
                f"<g:description>{text}</g:description><g:link>https://shop.example/p/{sku}</g:link>"
                f"<g:image_link>https://shop.example/i/{sku}.jpg</g:image_link><g:price>{price} EUR</g:price>"
                f"<g:availability>in stock</g:availability><g:brand>{escape(brand)}</g:brand>"
                f"<g:product_type>{escape(category)}</g:product_type><g:gtin>{ean}</g:gtin>"
                f"<g:color>{color}</g:color></item>\n"
            )
            items += 1
            if items % 1000 == 0 and file.tell() > megabytes * 1_000_000:
                break
        file.write("</channel></rss>\n")
    return items
