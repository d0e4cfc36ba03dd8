"""Runs of records: what stands together, and hashes that say when a run comes to the same."""

import io

import pytest

from services.formats import delimited, mapping
from services.formats.runs import Run

HEAD = "Handle,Title,Variant SKU,Variant Price\n"
BODY = "a,Lamp,1,9.00\na,,2,9.50\nb,Mug,3,2.00\n\nc,Vase,4,30.00\n"


def runs(text: str, salt: bytes = b"", **options: object) -> list[Run]:
    reading = delimited.read(io.BytesIO(text.encode()), **options)  # type: ignore[arg-type]
    assert reading.runs is not None
    return list(reading.runs(salt, None))


def lines(found: list[Run]) -> list[list[int]]:
    return [[item[0] for item in run.items] for run in found]


def prints(found: list[Run]) -> list[int | None]:
    return [run.print for run in found]


def test_neighbours_that_name_the_same_product_are_a_run() -> None:
    found = runs(HEAD + BODY + "a,,5,1.00\n")
    assert lines(found) == [[2, 3], [4], [6], [7]]
    assert len({*prints(found)}) == 4
    assert None not in prints(found)
    reading = delimited.read(io.BytesIO((HEAD + BODY).encode()))
    assert reading.runs is not None
    assert reading.drafts_of is not None
    assert [one for run in reading.runs(b"", None) for one in reading.drafts_of(run)] == list(reading.records)


def test_a_run_is_known_wherever_it_stands_and_by_every_cell() -> None:
    before = prints(runs(HEAD + BODY))
    moved = prints(runs(HEAD + "z,New,9,1.00\n" + BODY))
    assert moved[1:] == before
    for old, new in (("9.50", "9.51"), ("Lamp", "Lamp "), ("a,,2", "a,x,2"), ("a,,2,9.50\n", "")):
        after = prints(runs(HEAD + BODY.replace(old, new)))
        assert after[0] != before[0]
        assert after[1:] == before[1:]
    longer = 'a,"Lamp\n{}",1,9.00\n'
    assert prints(runs(HEAD + longer.format("of oak"))) != prints(runs(HEAD + longer.format("of elm")))


@pytest.mark.parametrize(
    "options",
    [
        {"salt": b"x"},
        {"default_currency": "EUR"},
        {"mapping": mapping.parse({"fields": {"brand": {"constant": "B"}}})},
    ],
    ids=["salt", "currency", "mapping"],
)
def test_what_else_its_reading_depends_on_makes_it_another_run(options: dict[str, object]) -> None:
    assert not set(prints(runs(HEAD + BODY))) & set(prints(runs(HEAD + BODY, **options)))  # type: ignore[arg-type]


def test_so_do_other_headers_and_other_habits() -> None:
    before = prints(runs(HEAD + BODY))
    assert not set(before) & set(prints(runs(HEAD.replace("Variant Price", "Variant Compare At Price") + BODY)))
    assert not set(before) & set(prints(runs(HEAD + BODY + 'd,Bowl,7,"1.234,50"\n')))


def test_what_has_errors_has_no_hash() -> None:
    found = runs(HEAD + "a,Lamp,1,9.00\nb,too,many,cells,here\nc,Vase,4,30.00\nd,Mug,5,2.00\n")
    assert [print_ is None for print_ in prints(found)] == [False, True, False]
    assert lines(found) == [[2], [3, 4], [5]]


def test_records_that_depend_on_others_are_in_no_runs() -> None:
    magento = "sku,name,price,configurable_variations\nA,Shirt,,sku=A-S,size=S\nA-S,Shirt S,9.00,\n"
    continued = "Title,Option1 Name,Option1 Value,SKU,Price\nShirt,Size,S,1,9.00\n,,M,2,9.00\n"
    woocommerce = "ID,Type,SKU,Name,Published,Parent,Regular price\n7,variable,S,Shirt,1,,\n8,variation,S-1,,1,id:7,9\n"
    for text in (magento.replace("sku=A-S,size=S", '"sku=A-S,size=S"'), continued, woocommerce):
        assert delimited.read(io.BytesIO(text.encode())).runs is None
    assert delimited.read(io.BytesIO(woocommerce.replace("id:7", "S").encode())).runs is not None


def test_a_mapping_may_say_what_names_the_product() -> None:
    text = "Nr;Was;Preis\na;Lamp;9,00\na;Lamp;9,50\nb;Mug;2,00\n"
    rules = mapping.parse({"fields": {"group": "Nr", "title": "Was", "price": "Preis"}, "others": "ignored"})
    assert lines(runs(text, mapping=rules)) == [[2, 3], [4]]
