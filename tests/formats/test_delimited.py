"""Delimited text of every make: encodings, delimiters, line ends, quotes, damage, and what is refused."""

import csv
import io
import tracemalloc

import pytest
from feeds import drafts, read, reading, split
from hypothesis import given, settings
from hypothesis import strategies as st

from services.formats import delimited
from services.formats.base import Draft, FeedRefused, RowError
from services.formats.records import LONGEST

HEADER = "sku,name,price,stock,brand\n"


def rows(found: list[Draft]) -> list[tuple[str | None, ...]]:
    return [(one.sku, one.title, one.price, one.stock, one.brand) for one in found]


def test_a_plain_table() -> None:
    found = reading("sku,name,price,stock\n0012,Lamp,19.90,5\n0013,Chair,49,\n", currency="EUR")
    assert (found.format, found.encoding, found.delimiter) == ("generic_csv", "utf-8", ",")
    assert found.columns == {"sku": "sku", "name": "title", "price": "price", "stock": "stock"}
    lamp, chair = found.records
    assert lamp == Draft(2, "0012", "0012", "Lamp", sku="0012", price="19.90", currency="EUR", stock="5")
    assert chair == Draft(3, "0013", "0013", "Chair", sku="0013", price="49", currency="EUR")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters_are_found_by_what_the_header_says(delimiter: str) -> None:
    text = 'sku,name,"tags (x,y,z,...)",price\n1,"a; b | c, d",x,5\n'
    table = csv.reader(io.StringIO(text))
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows(table)
    found = reading(out.getvalue())
    assert found.delimiter == delimiter
    assert [one.title for one in split(found)[0]] == ["a; b | c, d"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends(end: str) -> None:
    text = f"sku,name,price{end}1,Lamp,5{end}{end}2,Chair,6{end}"
    assert [(one.line, one.sku) for one in drafts(text)] == [(2, "1"), (4, "2")]


def test_mixed_line_ends_and_no_end_at_the_end() -> None:
    assert [one.sku for one in drafts("sku,name,price\r\n1,Lamp,5\n2,Chair,6\r3,Table,7")] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("encoding", "recognised", "title"),
    [
        ("utf-8", "utf-8", "Stół ławka 机 стол"),
        ("utf-8-sig", "utf-8-sig", "Stół ławka"),
        ("utf-16", "utf-16", "Stół стол"),
        ("utf-16-le", "utf-16-le", "Stół"),
        ("utf-16-be", "utf-16-be", "Stół"),
        ("cp1252", "cp1252", "Küchentisch, Größe 2 – weiß"),
        ("latin-1", "cp1252", "Table à manger, hêtre foncé"),
        ("cp1252", "cp1252", "Größe L: crème brûlée, niño, façade, Überwurf"),
        ("cp1250", "cp1250", "Krzesło dębowe, żółte, świąteczne"),
        ("cp1250", "cp1250", "Dětská židlička s polštářkem, růžová"),
        ("iso-8859-2", "iso-8859-2", "Wąż świąteczny, próśba"),
        ("cp1251", "cp1251", "Стол кухонный деревянный"),
        ("koi8-r", "koi8-r", "Стол кухонный деревянный"),
        ("shift-jis", "cp932", "木製のテーブル、キッチン用"),
        ("euc_jp", "euc_jp", "木製のテーブル、キッチン用"),
        ("gb18030", "gb18030", "厨房木桌,白色大号"),
        ("cp949", "cp949", "주방용 나무 테이블 흰색"),
        ("cp1254", "cp1254", "Yıldız ahşap çalışma masası, büyük"),
        ("koi8-r", "koi8-r", "Стол дубовый"),
        ("cp1251", "cp1251", "Стул мягкий"),
    ],
)
def test_encodings(encoding: str, recognised: str, title: str) -> None:
    found = reading(f'sku,name,price\n1,"{title}",5\n2,Lamp,6\n', encoding=encoding)
    assert found.encoding == recognised
    assert split(found)[0][0].title == title


def test_one_wrong_byte_far_down_does_not_change_the_encoding() -> None:
    good = "".join(f"{n},Küche {n},5,1,x\n" for n in range(60_000)).encode()
    found, errors = read(HEADER.encode() + good + b"bad,K\xfcche,5,1,x\n")
    assert len(found) == 60_001
    assert found[59_999].title == "Küche 59999"
    assert [(one.code, one.line, one.fatal) for one in errors] == [("characters_damaged", 60_002, False)]
    assert found[-1].title == "K\ufffdche"


def test_quotes() -> None:
    text = (
        'sku , "name", price\n'
        '1, "Lamp, ""big""", 5\n'  # quoted after a space
        '2,"two\nlines",6\n'
        '3,Rack 19" black,7\n'  # an inch mark inside an unquoted cell
        '4,"Disk 3.5"" drive",8\n'
    )
    assert [(one.line, one.title, one.price) for one in drafts(text)] == [
        (2, 'Lamp, "big"', "5"),
        (3, "two\nlines", "6"),
        (5, 'Rack 19" black', "7"),
        (6, 'Disk 3.5" drive', "8"),
    ]


def test_padded_cells_and_headers() -> None:
    text = 'name   , sku ,price \n"Lamp"   , "A"  , 5 \n'
    assert rows(drafts(text)) == [("A", "Lamp", "5", None, None)]


def test_blank_rows_are_nothing() -> None:
    text = HEADER + "\n,,,,\n ; \n , , , , \n1,Lamp,5,1,x\n,,\n"
    found, errors = read(text)
    assert [(one.line, one.sku) for one in found] == [(6, "1")]
    assert [error.line for error in errors] == [4]  # " ; " is a cell


def test_title_lines_above_the_header() -> None:
    text = "Price list 2024;;\nvalid from;1.1.2024;\n\nArtikelnr;Bezeichnung;Preis\n1;Lampe;5,50\n"
    assert [(one.line, one.sku, one.price) for one in drafts(text)] == [(5, "1", "5.50")]


def test_headers_match_without_case_spaces_and_punctuation() -> None:
    found = drafts("\ufeff Artikel-Nr. ;PRODUCT_NAME;Preis (inkl. MwSt);E.A.N.\n1;Lamp;5;4006381333931\n")
    assert [(one.sku, one.title, one.price, one.barcode) for one in found] == [("1", "Lamp", "5", "4006381333931")]


def test_widths() -> None:
    text = HEADER + "1,Lamp,5,1,x,,\n2,Lamp,5,1\n3,Lamp,5\n4,Lamp, big,5,1,x\n5,Lamp,5,1,x\n"
    found, errors = read(text)
    assert [one.sku for one in found] == ["1", "2", "5"]
    assert [(one.line, one.code, one.fatal) for one in errors] == [
        (4, "row_too_short", True),
        (5, "row_too_long", True),
    ]


def test_a_writer_that_trims_its_rows() -> None:
    body = "".join(f"{n},Lamp,5\n" for n in range(10))
    found, errors = read("sku,name,price,stock,brand,ean\n" + body + "11,Lamp,5,1,x,\n")
    assert (len(found), errors) == (11, [])


def test_an_unclosed_quote_costs_one_row() -> None:
    good = "".join(f"{n},Lamp {n},5,1,x\n" for n in range(500))
    found, errors = read(HEADER + 'bad,"Lamp, big,5,1,x\n' + good)
    assert [(one.line, one.code, one.fatal) for one in errors] == [(2, "quote_unterminated", True)]
    assert [one.line for one in found] == list(range(3, 503))


def test_an_unclosed_quote_closed_by_a_later_row() -> None:
    text = HEADER + 'bad,"Lamp,5,1,x\n2,Chair,6,1,x\n3,"Table, round",7,1,x\n4,Desk,8,1,x\n'
    found, errors = read(text)
    assert rows(found) == [
        ("bad", '"Lamp', "5", "1", "x"),
        ("2", "Chair", "6", "1", "x"),
        ("3", "Table, round", "7", "1", "x"),
        ("4", "Desk", "8", "1", "x"),
    ]
    assert [(error.line, error.code, error.fatal) for error in errors] == [(2, "quote_unterminated", False)]


def test_a_quote_that_only_is_an_inch_mark() -> None:
    text = 'sku\tname\tprice\n1\t"19 inch rack\t5\n2\tLamp\t6\n3\tDesk\t7\n'
    found, errors = read(text)
    assert [(error.line, error.code, error.fatal) for error in errors] == [(2, "quote_unterminated", False)]
    assert [(one.line, one.title, one.price) for one in found] == [
        (2, '"19 inch rack', "5"),
        (3, "Lamp", "6"),
        (4, "Desk", "7"),
    ]


def test_an_unclosed_quote_in_a_large_file_is_bounded() -> None:
    good = "".join(f"{n},Lamp number {n},5,1,x\n" for n in range(100_000))
    found, errors = read(HEADER + 'bad,"Lamp, big,5,1,x\n' + good)
    assert (len(found), [error.code for error in errors]) == (100_000, ["quote_unterminated"])


def test_every_row_with_a_quote_that_never_closes_takes_linear_time() -> None:
    # Each line carries an open quote over to the next, whether it begins inside a quote or not.
    text = HEADER + 'a"b","\n' * 400_000 + "2,Lamp,5,1,x\n"
    found, errors = read(text)
    assert {error.code for error in errors} <= {"row_too_large", "quote_unterminated", "row_too_short", "row_too_long"}
    assert len(found) <= 1


@pytest.mark.timeout(60)
def test_a_cell_of_fifty_megabytes_is_skipped_in_little_memory() -> None:
    data = io.BytesIO(HEADER.encode() + b"1,Lamp,5,1,x\n2," + b"x" * 50_000_000 + b",5,1,x\n3,Desk,7,1,x\n")
    tracemalloc.start()
    found, errors = split(delimited.read(data))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [(one.line, one.sku) for one in found] == [(2, "1"), (4, "3")]
    assert [(one.line, one.code, len(one.value or "")) for one in errors] == [(3, "row_too_large", 200)]
    assert peak < 20_000_000


def test_a_quoted_cell_without_end_is_skipped_in_little_memory() -> None:
    data = io.BytesIO(HEADER.encode() + b'1,"' + b"some text in a line\n" * 150_000)
    tracemalloc.start()
    found, errors = split(delimited.read(data))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == []
    assert errors[0].code == "quote_unterminated"
    assert peak < 150_000_000  # nearly all of it errors; the reader itself holds one record


def test_a_row_of_a_million_columns() -> None:
    found, errors = read(HEADER + "x," * 400_000 + "\n2,Desk,7,1,x\n")
    assert [(one.line, one.code) for one in errors] == [(2, "row_too_long")]
    assert [one.sku for one in found] == ["2"]


def test_zero_bytes_in_the_middle_of_a_file() -> None:
    filler = "".join(f"{n},Lamp,5,1,x\n" for n in range(2000))
    found, errors = read(HEADER + filler + "a,La\0mp,5,1,x\nb,Desk,6,1,x\n")
    assert rows(found[-2:]) == [("a", "Lamp", "5", "1", "x"), ("b", "Desk", "6", "1", "x")]
    assert [(one.line, one.code, one.fatal) for one in errors] == [(2002, "characters_damaged", False)]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty"),
        (b"\xef\xbb\xbf", "empty"),
        (b" \r\n\t\n", "empty"),
        (b"PK\x03\x04" + b"\x14\0" * 50, "binary"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "binary"),
        (b"%PDF-1.7\n", "binary"),
        (b"\x1f\x8b\x08\0", "binary"),
        (b"\xd0\xcf\x11\xe0", "binary"),
        (bytes(range(256)) * 20, "binary"),
        (b'[{"sku": "1"}]', "not_delimited"),
        (b'{"products": []}', "not_delimited"),
        (b'<?xml version="1.0"?><rss/>', "not_delimited"),
        (b"<!DOCTYPE html><html></html>", "not_delimited"),
        (b"  <products><product/></products>", "not_delimited"),
        (b"sku+|name+|price\n1+|Lamp+|5\n", "not_delimited"),
        (b"sku~^name~^price\n", "not_delimited"),
        (b"some words\nand more\n", "not_delimited"),
        (b"sku,name," + b"x" * 600_000, "not_delimited"),
        (b"sku,name," + b"x," * 3000 + b"\n1,2\n", "too_many_columns"),
        (b"sku," * 1_000_000 + b"\n", "not_delimited"),
        (b"date,amount,note\n2024-01-01,5,x\n", "no_product_columns"),
        (b"1,Lamp,5,x\n2,Desk,6,y\n", "no_product_columns"),
        (b"orderID,productID,unitPrice\n1,2,3\n", "no_product_columns"),
        (b"sku,name,price\n", "no_records"),
        (b"sku,name,price\n,,\n\n ,,\n", "no_records"),
    ],
)
def test_refusals(data: bytes, code: str) -> None:
    with pytest.raises(FeedRefused) as refusal:
        reading(data)
    assert refusal.value.code == code


def test_a_refusal_names_the_headers_found() -> None:
    with pytest.raises(FeedRefused, match="Columns found: colour, town"):
        reading("colour,town\nred,Rome\n")
    with pytest.raises(FeedRefused, match="first row looks like data"):
        reading("17;Lamp;5.00\n18;Desk;6.00\n")


def test_the_stream_is_left_open_and_may_be_read_again() -> None:
    stream = io.BytesIO(b"sku,name\n1,Lamp\n2,Desk\n")
    for _ in range(2):
        assert len(list(delimited.read(stream).records)) == 2
    delimited.read(stream)  # never asked for its records
    assert not stream.closed


def test_the_stream_may_be_closed_before_the_end() -> None:
    with io.BytesIO(b"sku,name\n" + b"1,Lamp\n" * 9) as stream:
        found = delimited.read(stream)
        next(found.records)
    del found  # a complaint from here would be a warning, and those are errors


CELL = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"], exclude_characters="\ufffd"), max_size=20
).map(str.strip)
TABLE = st.lists(st.tuples(CELL, CELL, st.booleans()), min_size=1, max_size=20)


@settings(deadline=None)
@given(
    TABLE,
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
)
def test_what_is_written_is_read_back(
    table: list[tuple[str, str, bool]], delimiter: str, encoding: str, end: str, quoting: int
) -> None:
    expected = [
        (f"K{number}", f"{title}{chr(10) if two_lines else ''}x" if title else "x", brand)
        for number, (title, brand, two_lines) in enumerate(table)
    ]
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL if end == "\r" else quoting)  # type: ignore[arg-type]
    writer.writerows([("sku", "name", "brand", "ean"), *((*row, "") for row in expected)])
    found = drafts(out.getvalue(), encoding=encoding)
    assert [(one.sku, one.title, one.brand or "") for one in found] == expected


@settings(deadline=None, max_examples=100)
@given(st.text(st.sampled_from('a1,;"\n\t| \0\ufffd='), max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    filler = "1,Lamp,5,1,x\n" * 500
    found, errors = read(HEADER + filler + text)
    lines = [one.line for one in (*found, *errors)]
    assert [one.line for one in found[:499]] == list(range(2, 501))
    assert all(line <= text.count("\n") + 502 for line in lines)


def test_errors_stand_before_the_draft_of_their_row() -> None:
    records = list(reading("sku,name,price,ean\n1,Lamp,ask us,4.03E+12\n").records)
    assert [type(record) for record in records] == [RowError, RowError, Draft]
    assert {record.code for record in records[:2] if isinstance(record, RowError)} == {
        "price_unparsable",
        "barcode_damaged",
    }


def test_the_greatest_cell_that_is_read() -> None:
    text = "x" * (LONGEST - 100)
    assert drafts(f"sku,name,description\n1,Lamp,{text}\n")[0].description == text
