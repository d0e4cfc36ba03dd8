"""Mappings: what a merchant says about a file's columns, and what is proposed to be said."""

import contextlib
import io
import tracemalloc

import pytest
from feeds import archive, refusal, said, split, xlsx
from hypothesis import given
from hypothesis import strategies as st

from services.formats import expressions, mapping, proposal
from services.formats import read as feed
from services.formats.base import Draft, FeedRefused, RowError
from services.formats.numbers import Unreadable
from services.imports.mappings import preview

BARE = "1001;Lamp, large;12,50;4015867568453\n1002;Vase;1.299,00;4006381333931\n"


def mapped(data: str | bytes, rules: dict[str, object], **more: object) -> tuple[list[Draft], list[RowError]]:
    content = data.encode() if isinstance(data, str) else data
    said_of_it = mapping.parse({"fields": rules, **more})
    return split(feed.read(io.BytesIO(content), mapping=said_of_it))


def one(data: str | bytes, rules: dict[str, object], **more: object) -> dict[str, str]:
    drafts, errors = mapped(data, rules, **more)
    assert errors == []
    return said(drafts[0])


def test_a_file_without_headers_is_read_by_the_numbers_of_its_columns() -> None:
    rules = {"sku": "Column 1", "title": "Column 2", "price": {"column": "Column 3", "unit": "EUR"}}
    assert refusal(BARE).code == "no_product_columns"
    drafts, errors = mapped(BARE, rules, header=False)
    assert errors == []
    assert [(one.sku, one.title, one.price, one.currency) for one in drafts] == [
        ("1001", "Lamp, large", "12.50", "EUR"),
        ("1002", "Vase", "1299.00", "EUR"),
    ]


def test_columns_of_any_name_with_title_lines_above() -> None:
    text = "Our list\nOf November\nFoo|Bar|Baz\nA1|Lamp|12.50\n"
    assert refusal(text).code in ("no_product_columns", "not_delimited")
    found = one(text, {"sku": "foo", "title": "BAR", "price": "Baz"})
    assert found == {"product_key": "A1", "variant_key": "A1", "sku": "A1", "title": "Lamp", "price": "12.50"}


def test_everything_a_rule_can_say() -> None:
    text = "Code,Name,Preis,Maße,Gew.,Leer,Fach\nA1,Lamp,10,20x30x40,1.5,,a|b |c\n"
    rules = {
        "sku": {"column": "Code", "expression": '"X-" & lower(value)'},
        "title": {"column": ["Name", "Maße"]},
        "price": {"column": "Preis", "expression": "round(value * 1.19, 2)", "unit": "EUR"},
        "size": {"column": "Maße", "split": "x", "part": 2},
        "weight_grams": {"column": "Gew.", "unit": "lb"},
        "stock": {"column": "Leer", "default": "7"},
        "brand": {"constant": "Acme"},
        "tags": {"column": "Fach", "split": "|"},
    }
    assert one(text, rules, others="ignored") == {
        "product_key": "X-a1", "variant_key": "X-a1", "sku": "X-a1", "title": "Lamp 20x30x40", "price": "11.9",
        "currency": "EUR", "weight_grams": "680", "stock": "7", "brand": "Acme", "tags": "a,b,c",
    }  # fmt: skip


def test_what_no_rule_says_is_read_as_it_is_recognised_or_not_at_all() -> None:
    text = "SKU,Title,Price,Brand\nA1,Lamp,10,Acme\n"
    rules = {"price": {"column": "Price", "expression": "value * 2"}}
    assert one(text, rules) == {
        "product_key": "A1", "variant_key": "A1", "sku": "A1", "title": "Lamp", "price": "20", "brand": "Acme",
    }  # fmt: skip
    assert "brand" not in one(text, rules | {"sku": "SKU"}, others="ignored")


def test_a_column_of_which_a_rule_says_what_it_is_is_nothing_else() -> None:
    assert "title" not in one("Artikel,Price\nA1,10\n", {"sku": "Artikel"})


def test_shop_systems_files_keep_their_rules() -> None:
    text = (
        "Handle,Title,Variant SKU,Variant Price,Image Src,Option1 Name,Option1 Value\n"
        "a,A,A1,10,http://x.example/y.jpg,Size,S\na,,A2,20,,,M\na,,,,http://x.example/z.jpg,,\n"
    )
    drafts, errors = mapped(text, {"price": {"column": "Variant Price", "expression": "value * 1.5"}})
    assert errors == []
    assert [(one.variant_key, one.price) for one in drafts] == [("S", "15"), ("M", "30"), (None, None)]
    with pytest.raises(mapping.MappingInvalid, match="no availability"):
        mapped(text, {"availability": "Title"})


def test_trees_by_path_and_record() -> None:
    xml = "<r><x><q>A1</q><deep><p>3</p></deep></x><x><q>A2</q><deep><p>4</p></deep></x></r>"
    assert refusal(xml).code == "no_records"
    found, _ = mapped(xml, {"sku": "q", "price": "deep.p"}, record="x")
    assert [(one.sku, one.price) for one in found] == [("A1", "3"), ("A2", "4")]
    json = '{"other": [{"sku": "no", "title": "no"}], "a": {"b": [{"q": "A1", "z": {"p": 3.50}}]}}'
    assert one(json, {"sku": "q", "price": "z.p"}, record="a.b")["price"] == "3.50"


def test_sheets_by_name_and_without_a_header() -> None:
    book = xlsx(["A1", "Lamp", 10.5], ["A2", "Vase", 11])
    assert refusal(book).code == "no_product_columns"
    found, errors = mapped(book, {"sku": "Column 1", "price": "Column 3"}, header=False)
    assert (errors, [(one.line, one.sku, one.price) for one in found]) == ([], [(1, "A1", "10.5"), (2, "A2", "11")])
    with pytest.raises(mapping.MappingInvalid, match="no sheet"):
        mapped(book, {"sku": "Column 1"}, sheet="Nowhere")


def test_a_mapping_goes_into_archives() -> None:
    packed = archive({"list.csv": BARE.encode()})
    assert one(packed, {"sku": "Column 1", "title": "Column 2"}, header=False)["sku"] == "1001"


def test_a_column_that_is_gone_refuses_the_file_unless_there_is_a_default() -> None:
    with pytest.raises(mapping.MappingInvalid, match="'Preis'") as caught:
        mapped("SKU,Title\nA1,Lamp\n", {"price": "Preis"})
    assert caught.value.code == "mapping_column_missing"
    assert one("SKU,Title\nA1,Lamp\n", {"price": {"column": "Preis", "default": "5"}})["price"] == "5"


def test_a_cell_that_cannot_be_reckoned_with_is_reported_where_it_stands() -> None:
    text = "SKU,Title,Preis\nA1,Lamp,on request\nA2,Vase,\nA3,Bowl,0\n"
    drafts, errors = mapped(text, {"price": {"column": "Preis", "expression": "10 / value"}})
    assert [one.price for one in drafts] == [None, None, None]
    assert [(one.line, one.code, one.column, one.value) for one in errors] == [
        (2, "mapping_failed", "Preis", "on request"),
        (4, "mapping_failed", "Preis", "0"),
    ]


def test_errors_name_the_columns_of_the_file() -> None:
    _, errors = mapped("SKU,Title,Foo\nA1,Lamp,much\n", {"price": "Foo"})
    assert [(one.code, one.column) for one in errors] == [("price_unparsable", "Foo")]


def test_a_mapping_that_still_names_no_product_is_refused() -> None:
    with pytest.raises(FeedRefused) as caught:
        mapped(BARE, {"price": "Column 3"}, header=False)
    assert caught.value.code == "no_product_columns"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ([], "an object"),
        ({"fields": []}, "an object"),
        ({"felder": {}}, "felder"),
        ({"fields": {"colour": "x"}}, "no field"),
        ({"fields": {"price": 3}}, "price"),
        ({"fields": {"price": {}}}, "needs a column"),
        ({"fields": {"price": {"column": "x", "constant": "3"}}}, "nothing else"),
        ({"fields": {"price": {"column": "x", "unit": "kg"}}}, "unit"),
        ({"fields": {"title": {"column": "x", "unit": "EUR"}}}, "unit"),
        ({"fields": {"title": {"column": "x", "part": 1}}}, "split"),
        ({"fields": {"title": {"column": "x", "split": "/", "part": 0}}}, "split"),
        ({"fields": {"title": {"column": ["x", 3]}}}, "column"),
        ({"fields": {"title": {"column": "x", "eval": "1"}}}, "rule of title"),
        ({"fields": {"title": {"column": "x", "expression": "os.system"}}}, "cannot be understood"),
        ({"fields": {"title": {"column": "x" * 201}}}, "column"),
        ({"fields": {}, "others": "some"}, "others"),
        ({"fields": {}, "header": 3}, "header"),
        ({"fields": {}, "sheet": ""}, "sheet"),
    ],
)
def test_what_is_no_mapping_is_refused_with_a_reason(given: object, reason: str) -> None:
    with pytest.raises(mapping.MappingInvalid, match=reason) as caught:
        mapping.parse(given)
    assert caught.value.code == "mapping_invalid"


def value_of(text: str, *row: str, mark: str = ".") -> str:
    parsed = expressions.parse(text, "a")
    bound = parsed.bind({name: "abcdefgh".index(name) for name in parsed.columns})
    return bound(expressions.Cells(row, [mark] * len(row), []))


@pytest.mark.parametrize(
    ("text", "row", "expected"),
    [
        ("1 + 2 * 3", [], "7"),
        ("(1 + 2) * 3", [], "9"),
        ("10 - 2 - 3", [], "5"),
        ("12 / 4 / 3", [], "1"),
        ("-value", ["3"], "-3"),
        ("[a] * [b]", ["2.5", "4"], "10"),
        ("[a] * 1.1", ["$1,299.50"], "1429.45 USD"),
        ("[a] + 1", [""], ""),
        ("[a] & \"-\" & [b]", ["x", "y"], "x-y"),
        ('"say ""hi"""', [], 'say "hi"'),
        ("upper(trim([a]))", ["  a   b "], "A B"),
        ('replace([a], ",", ".")', ["1,5"], "1.5"),
        ("left([a], 2) & right([a], 1)", ["abcdef"], "abf"),
        ("first([a], [b], 3)", ["", "x"], "x"),
        ("round(value, 1)", ["2.25"], "2.3"),
        ("min([a], [b])", ["3", ""], "3"),
        ("max([a], 5)", ["3"], "5"),
        ("1 / 3", [], "0.333333"),
        ("[a] * 1", ["1.234"], "1.2340"),  # so that nobody reads a thousand
    ],
)  # fmt: skip
def test_expressions(text: str, row: list[str], expected: str) -> None:
    assert value_of(text, *row) == expected


def test_expressions_read_numbers_as_their_column_writes_them() -> None:
    assert value_of("[a] * 1", "1.234", mark=",") == "1234"


@pytest.mark.parametrize(
    "text",
    [
        "", "1 +", "(1", "1)", "a.b", "lower()", "lower(1, 2)", "__import__(1)", "[a", "'x'", "1 2", "[]", "1e9",
        "lambda: 1", "exec(\"x\")", "1 ** 2", "value[0]", "(" * 100 + "1" + ")" * 100, "1+" * 400 + "1",
        "lower(" * 30 + "1" + ")" * 30,
    ],
)  # fmt: skip
def test_what_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(expressions.Wrong):
        expressions.parse(text, "a")


def test_expressions_do_not_grow_without_end() -> None:
    doubling = "replace(" * 12 + "[a]" + ', "x", "xxxxxxxxxx")' * 12
    tracemalloc.start()
    with pytest.raises(Unreadable, match="characters"):
        value_of(doubling, "x" * 50)
    with pytest.raises(Unreadable):
        value_of("*".join(["999999999999999"] * 30))
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


@given(st.text(alphabet='[]()+-*/&,."abvlue 019', max_size=60), st.lists(st.text(max_size=5), min_size=2, max_size=2))
def test_any_text_is_an_expression_or_refused_and_any_row_a_value_or_unreadable(text: str, row: list[str]) -> None:
    with contextlib.suppress(expressions.Wrong, Unreadable):
        parsed = expressions.parse(text, "a")
        shown = parsed.bind(dict.fromkeys(parsed.columns, 1))(expressions.Cells(row, ["", "."], []))
        assert isinstance(shown, str)


def proposed(text: str) -> dict[str, tuple[str | None, float]]:
    try:
        found = feed.read(io.BytesIO(text.encode()))
        made = proposal.of_table(found.headers, found.sample, found.columns)
    except FeedRefused as refused:
        made = proposal.of_rows(refused.seen)
    return {one.header: (one.field, one.confidence) for one in made.columns}


def test_known_headers_are_proposed_surely() -> None:
    found = proposed("SKU,Title,Price,EAN\nA1,Lamp,10.00,4015867568453\n")
    assert {name: field for name, (field, _) in found.items()} == {
        "SKU": "sku", "Title": "title", "Price": "price", "EAN": "barcode",
    }  # fmt: skip
    assert min(confidence for _, confidence in found.values()) > 0.9


def test_cells_speak_where_no_header_does() -> None:
    rows = "".join(
        f"AB-{n};Lamp number {n} in green;{n},50 €;{code};https://x.example/{n}.jpg;{n}\n"
        for n, code in enumerate(("4015867568453", "4006381333931", "5901234123457", "9780306406157"), 17)
    )
    found = proposed(rows)
    assert {name: field for name, (field, _) in found.items()} == {
        "Column 1": "sku", "Column 2": "title", "Column 3": "price", "Column 4": "barcode", "Column 5": "image_urls",
        "Column 6": "stock",
    }  # fmt: skip
    assert found["Column 4"][1] > 0.9 > found["Column 6"][1]


def test_a_wrong_check_digit_is_no_barcode() -> None:
    assert proposed("Foo;Bar\n4015867568454;x\n4006381333932;y\n")["Foo"][0] != "barcode"


def test_cells_that_contradict_their_header_lower_the_confidence() -> None:
    found = proposed("SKU,Title,Price\nA1,Lamp,red\nA2,Vase,blue\n")
    assert found["Price"] == ("price", pytest.approx(0.49, abs=0.01))


def test_a_proposal_reads_the_file_it_was_made_for() -> None:
    with pytest.raises(FeedRefused) as caught:
        feed.read(io.BytesIO(BARE.encode()))
    made = proposal.of_rows(caught.value.seen)
    drafts, _ = split(feed.read(io.BytesIO(BARE.encode()), mapping=mapping.parse(made.mapping)))
    assert [(one.barcode, one.price) for one in drafts] == [("4015867568453", "12.50"), ("4006381333931", "1299.00")]


def test_what_a_header_says_besides_its_name_holds_for_its_rule() -> None:
    text = "SKU,Title,Retail Price EUR,Gewicht (g)\nA1,Lamp,5.00,50\nA2,Vase,6 USD,60\n"
    rules = {
        "price": {"column": "Retail Price EUR"},
        "weight_grams": {"column": "Gewicht (g)", "expression": "value * 2"},
    }
    drafts, errors = mapped(text, rules)
    assert errors == []
    assert [(one.price, one.currency, one.weight_grams) for one in drafts] == [
        ("5.00", "EUR", "100"),
        ("6", "USD", "120"),
    ]
    assert one(text, {"price": {"column": "Retail Price EUR", "unit": "CHF"}})["currency"] == "CHF"


@pytest.mark.parametrize(
    "text",
    [
        '[{"id": 1, "title": "Bag", "price": 109.95, "rating": {"rate": 3.9, "count": 120}}]',
        "sku;product-id;product-id-type;price;quantity\nM1;4006381333931;EAN;49.99;12\n",
        "ordernumber;mainnumber;name;price_EK;pseudoprice_EK;instock\nS.1;S;Main;19,95;29,95;10\n",
        "code;pairCode;name;price;stock;variant:Size;variant:Colour\nT/S;T;Shirt;299;5;S;red\n",
        "sku,group id,name,price,Size\nA-S,A,Shirt,5,S\n",
        "<l><Product><SKU>A</SKU><Names><Name>Lamp</Name></Names><Prices><Price type='wholesale'>5.00</Price>"
        "<Price type='retail'>10.00</Price></Prices></Product></l>",
    ],
)
def test_a_mapping_as_it_is_proposed_changes_nothing(text: str) -> None:
    shown = preview(io.BytesIO(text.encode()), currency=None)
    again = preview(io.BytesIO(text.encode()), currency=None, given=shown.mapping)
    assert shown.drafts == again.drafts
    assert shown.errors == again.errors == []
