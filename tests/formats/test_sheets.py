"""Spreadsheets: which sheet, where its table begins, what its cells say, and which rows are no products."""

import datetime
import io
import struct

import openpyxl
import pytest
from feeds import any_drafts, any_feed, drafts, ods_of, ods_row, refusal, rows_of, said, split, xlsx, xlsx_of

from services.formats import sheets

HEADER = ("SKU", "Name", "Price", "Stock")


def test_a_sheet() -> None:
    found = any_feed(xlsx(HEADER, ("007", "Lamp", 19.9, 3), (10102.0, "Desk", 120, 0)), currency="EUR")
    assert found.format == "generic_xlsx"
    assert found.columns == {"SKU": "sku", "Name": "title", "Price": "price", "Stock": "stock"}
    lamp, desk = split(found)[0]
    assert said(lamp) == {"product_key": "007", "variant_key": "007", "sku": "007", "title": "Lamp", "price": "19.9",
                          "currency": "EUR", "stock": "3"}  # fmt: skip
    assert (lamp.line, desk.line) == (2, 3)
    assert (desk.sku, desk.price, desk.stock) == ("10102", "120", "0")


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (10102.0, "10102"), (16.95, "16.95"), (0.1 + 0.2, "0.3"), (1.234, "1.2340"), (1234.567, "1234.567"),
        (-0.125, "-0.1250"), (4006381333931.0, "4006381333931"), (1e15, "1.00000000000000E+15"), (True, "true"),
        (False, "false"), ("  x ", "  x "), (datetime.date(2026, 1, 2), "2026-01-02"),
        (datetime.datetime(2026, 1, 2), "2026-01-02"), (datetime.datetime(2026, 1, 2, 3, 4), "2026-01-02 03:04:00"),
    ],
)  # fmt: skip
def test_cells(cell: object, text: str) -> None:
    assert sheets.text(cell) == text


def test_a_number_is_never_a_thousand() -> None:
    """Text cells with a decimal comma do not change how real numbers are read."""
    rows = any_drafts(xlsx(HEADER, ("A", "a", "12,50", 1), ("B", "b", 1.234, 1), ("C", "c", 1234.5, 1)))
    assert [one.price for one in rows] == ["12.50", "1.2340", "1234.5"]


def test_a_barcode_too_long_for_a_spreadsheet_is_damaged() -> None:
    found, errors = split(
        any_feed(xlsx(("SKU", "Name", "EAN"), ("A", "a", 4006381333931), ("B", "b", 1234567890123456789)))
    )
    assert [one.barcode for one in found] == ["4006381333931", None]
    assert [(one.line, one.code, one.column) for one in errors] == [(3, "barcode_damaged", "EAN")]


def test_formulas_are_read_as_values_and_errors_are_empty() -> None:
    row = (
        '<row r="2"><c t="inlineStr"><is><t>A</t></is></c><c t="str"><f>"x"&amp;"y"</f><v>xy</v></c>'
        '<c><f>1+1</f><v>2</v></c><c t="e"><v>#N/A</v></c></row>'
    )
    (draft,) = any_drafts(xlsx_of({"S": rows_of([HEADER]) + row}))
    assert (draft.title, draft.price, draft.stock) == ("xy", "2", None)


def test_title_lines_above_the_header_and_columns_before_it() -> None:
    rows = [(None, "Price list", None, None), (None, None, None, None), (None, "Valid 2026", None, None),
            (None, "Artikelnummer", "Bezeichnung", "Preis"), (None, "1", "Lampe", 5)]  # fmt: skip
    (draft,) = any_drafts(xlsx(*rows))
    assert (draft.line, draft.sku, draft.title, draft.price) == (5, "1", "Lampe", "5")


def test_cells_merged_downwards_hold_for_each_of_their_rows() -> None:
    book = openpyxl.Workbook()
    sheet = book["Sheet"]
    rows = [
        ("Rubrik", "SKU", "Name", "Price"),
        ("Tea", "1", "Cup", 5),
        (None, "2", "Pot", 6),
        (),
        (None, "3", "Tin", 7),
    ]
    for number, row in enumerate(rows, 5):  # a sheet may begin anywhere
        for column, value in enumerate(row, 3):
            sheet.cell(number, column, value)
    sheet.merge_cells("C6:C8")
    held = io.BytesIO()
    book.save(held)
    assert [(one.line, one.sku, one.category) for one in any_drafts(held.getvalue())] == [
        (6, "1", "Tea"), (7, "2", "Tea"), (9, "3", None),
    ]  # fmt: skip


def test_a_title_right_above_the_header_is_no_part_of_it() -> None:
    found = any_feed(xlsx(("Report", None), ("sku", "qty"), ("A", 10)))
    assert found.columns == {"sku": "sku", "qty": "stock"}


def test_a_header_in_two_rows() -> None:
    rows = [
        ("Price list", None, None, None, None),
        ("Group/ Product name/ Kind", None, "Product.Article no", "Price", None),
        (None, "Brand", None, "net", "gross"),
        ("Lamp", "Ours", 7, 10, 12),
    ]
    found = any_feed(xlsx(*rows))
    (draft,) = split(found)[0]
    assert said(draft) == {"product_key": "7", "variant_key": "7", "sku": "7", "title": "Lamp", "brand": "Ours",
                           "price": "12"}  # fmt: skip
    assert found.columns == {"Group/ Product name/ Kind": "title", "Brand": "brand", "Product.Article no": "sku",
                             "gross": "price"}  # fmt: skip


def test_rows_that_name_a_category() -> None:
    rows = [
        ("Article no", "Name", "Brand", "Price"),
        (None, "  Paper", None, None),
        (1, "    A4", None, None),
        (101, "White", "X", 5),
        (102, "No price yet", "X", None),
        (None, "Extra", None, None),
        (103, "Grey", None, 6),
        (None, "  Pens", None, None),
        (201, "Pen", "Y", 1),
        (202, "Pencil", "Y", 1),
    ]
    found = any_feed(xlsx(*rows))
    assert found.columns["Category (rows between the products)"] == "category"
    products, errors = split(found)
    assert errors == []
    assert [(one.sku, one.category) for one in products] == [
        ("101", "Paper > A4"),
        ("102", "Paper > A4"),
        ("103", "Paper > A4 > Extra"),
        ("201", "Pens"),
        ("202", "Pens"),
    ]


def test_names_without_prices_are_products_where_hardly_any_row_has_one() -> None:
    rows = [("SKU", "Name", "Price"), ("A", "a", 5), ("B", "b", None), ("C", "c", None), ("D", "d", None)]
    assert [one.sku for one in any_drafts(xlsx(*rows))] == ["A", "B", "C", "D"]


def test_the_sheet_that_holds_products() -> None:
    book = {
        "Read me": rows_of([("Dear customer",), ("here is our list",)]),
        "Groups": rows_of([("Id", "Name"), (1, "Chairs"), (2, "Tables"), (3, "Lamps")]),
        "List": rows_of([HEADER, ("A", "Chair", 5, 1)]),
        "Old": rows_of([HEADER, ("Z", "Chair", 5, 1), ("Y", "Chair", 5, 1)]),
    }
    assert [one.sku for one in any_drafts(xlsx_of(book, hidden="Old"))] == ["A"]
    assert [one.sku for one in any_drafts(xlsx_of(book))] == ["Z", "Y"]


def test_a_header_that_is_repeated_on_every_page() -> None:
    assert [one.sku for one in any_drafts(xlsx(HEADER, ("A", "a", 1, 1), HEADER, ("B", "b", 1, 1)))] == ["A", "B"]


def test_a_shop_export_saved_as_a_workbook_reads_like_the_csv() -> None:
    header = ("Handle", "Title", "Option1 Name", "Option1 Value", "Variant SKU", "Variant Price", "Image Src")
    rows = [
        ("tee", "Tee", "Size", "S", "T-S", "5.00", "https://i.example/1.jpg"),
        ("tee", "", "", "M", "T-M", "6.00", ""),
    ]
    table = "\n".join(",".join(row) for row in (header, *rows)) + "\n"
    found = any_feed(xlsx(header, *rows))
    assert found.format == "shopify_xlsx"
    assert [said(one) for one in split(found)[0]] == [said(one) for one in drafts(table)]


def test_opendocument() -> None:
    nothing = '<table:table-cell table:number-columns-repeated="16384"/>'
    empty = f'<table:table-row table:number-rows-repeated="1048570">{nothing}</table:table-row>'
    found = any_feed(ods_of(ods_row(*HEADER) + ods_row("007", "Lamp", 19.5, 3) + empty))
    assert found.format == "generic_ods"
    (draft,) = split(found)[0]
    assert (draft.sku, draft.title, draft.price, draft.stock) == ("007", "Lamp", "19.5", "3")


def xls(*rows: tuple[object, ...], protected: bool = False) -> bytes:
    """An old workbook with one sheet, in the fewest records that make one."""

    def record(kind: int, body: bytes) -> bytes:
        return struct.pack("<HH", kind, len(body)) + body

    def begin(kind: int) -> bytes:
        return record(0x809, struct.pack("<HHHHII", 0x600, kind, 0, 1997, 0, 0))

    cells = b""
    for y, row in enumerate(rows):
        for x, value in enumerate(row):
            if isinstance(value, str):
                text = struct.pack("<HB", len(value), 1) + value.encode("utf-16-le")
                cells += record(0x204, struct.pack("<HHH", y, x, 0) + text)
            else:
                cells += record(0x203, struct.pack("<HHHd", y, x, 0, value))
    lock = record(0x2F, struct.pack("<HHH", 0, 1, 2)) if protected else b""
    sheet = begin(0x10) + cells + record(0x0A, b"")
    name = struct.pack("<BB", 1, 0) + b"A"
    length = len(begin(5)) + len(lock) + 4 + 6 + len(name) + 4
    book = begin(5) + lock + record(0x85, struct.pack("<IBB", length, 0, 0) + name) + record(0x0A, b"") + sheet
    book = book.ljust(max(4096, -(-len(book) // 512) * 512), b"\0")
    sectors = len(book) // 512
    table = [0xFFFFFFFD, 0xFFFFFFFE, *range(3, sectors + 2), 0xFFFFFFFE]
    head = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".ljust(24, b"\0") + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6)
    head += struct.pack("<6xIIIIIIIII", 0, 1, 1, 0, 4096, 0xFFFFFFFE, 0, 0xFFFFFFFE, 0)
    head += struct.pack("<109I", 0, *[0xFFFFFFFF] * 108)

    def entry(title: str, kind: int, start: int, size: int, child: int) -> bytes:
        spelled = title.encode("utf-16-le")
        body = spelled.ljust(64, b"\0") + struct.pack("<HBB", len(spelled) + 2, kind, 1)
        return body + struct.pack("<III36xIQ", 0xFFFFFFFF, 0xFFFFFFFF, child, start, size)

    listing = entry("Root Entry", 5, 0xFFFFFFFE, 0, 1) + entry("Workbook", 2, 2, len(book), 0xFFFFFFFF)
    fat = struct.pack(f"<{len(table)}I", *table).ljust(512, b"\xff")
    return head + fat + listing.ljust(512, b"\0") + book


def test_an_old_workbook() -> None:
    found = any_feed(xls(HEADER, ("007", "Стол", 19.5, 3.0)))
    assert found.format == "generic_xls"
    (draft,) = split(found)[0]
    assert (draft.sku, draft.title, draft.price, draft.stock) == ("007", "Стол", "19.5", "3")


def encrypted() -> bytes:
    """The shell that Excel puts around a workbook with a password: what counts is the name inside."""
    return xls(HEADER).replace(
        "Workbook".encode("utf-16-le").ljust(64, b"\0"), "EncryptedPackage".encode("utf-16-le").ljust(64, b"\0")
    )


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (encrypted(), "password_protected"),
        (xls(HEADER, ("1", "a", 1.0, 1.0), protected=True), "password_protected"),
        (xls(HEADER)[:1500], "workbook_broken"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 3000, "binary"),
        (xlsx(HEADER, ("1", "a", 1, 1))[:900], "archive_broken"),
        (xlsx_of({"S": rows_of([HEADER]) + "<row><c>"}), "workbook_broken"),
        (xlsx(("region", "total"), ("North", 120)), "no_product_columns"),
        (xlsx(("id", "note"), (1, "first")), "no_product_columns"),
        (xlsx(("Order ID", "SKU", "Price"), (1, "A", 5)), "no_product_columns"),
        (xlsx(HEADER), "no_records"),
        (xlsx_of({"S": ""}), "no_records"),
        (xlsx(tuple(f"c{n}" for n in range(2100))), "too_many_columns"),
    ],
)  # fmt: skip
def test_refused(data: bytes, code: str) -> None:
    assert refusal(data).code == code


def one_cell(address: str, row: int) -> str:
    return f'<row r="{row}"><c r="{address}"><v>1</v></c></row>'


@pytest.mark.parametrize(
    "data",
    [
        xlsx_of({"S": one_cell("A1", 1) + one_cell("XFD1048576", 1048576)}),
        xlsx_of({"S": one_cell("XFD1", 1) + one_cell("A600000", 600000)}),
        xlsx_of({"S": "<row>" + "<c><v>1</v></c>" * 16000 + "</row>" + "<row><c><v>1</v></c></row>" * 600}),
        ods_of(ods_row("SKU") + ods_row("x", repeated=9_000_000)),
        ods_of(ods_row("SKU") + ods_row(*["x"] * 500, repeated=50_000)),
    ],
    ids=["far corner", "wide and long", "without addresses", "repeated rows", "repeated wide rows"],
)
def test_sheets_that_would_fill_the_memory(data: bytes) -> None:
    assert refusal(data).code == "too_large"


def test_one_long_text_in_every_cell() -> None:
    text = (
        f'<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><si><t>{"x" * 100_000}</t></si></sst>'
    )
    rows = "".join(f'<row r="{n}"><c r="A{n}" t="s"><v>0</v></c></row>' for n in range(1, 4000))
    assert refusal(xlsx_of({"S": rows}, more={"xl/sharedStrings.xml": text})).code == "too_large"


@pytest.mark.parametrize(("part", "code"), [(f"<b>{' ' * 9000}</b>", "expansion_limit"), ("<b>", "workbook_broken")])
def test_a_workbook_that_is_a_bomb(part: str, code: str) -> None:
    bomb = part * (40 * 1024 * 1024 // len(part))
    assert refusal(xlsx_of({"S": rows_of([HEADER])}, more={"xl/styles.xml": f"<a>{bomb}</a>"})).code == code


def test_a_workbook_with_entities() -> None:
    part = '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'
    assert refusal(xlsx_of({"S": rows_of([HEADER])}, more={"xl/styles.xml": part})).code == "xml_entities"
