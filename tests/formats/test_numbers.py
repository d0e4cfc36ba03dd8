"""Prices, quantities and weights as people write them."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.formats import numbers

PRICES = [
    ("1299.00", "", "1299.00", None),
    ("0.5", "", "0.5", None),
    (".5", "", "0.5", None),
    (".500", "", "0.500", None),
    ("5.", "", "5", None),
    ("+5", "", "5", None),
    ("007", "", "7", None),
    ("12,50", ".", "12.50", None),  # clear by itself: the column's habit does not matter
    ("1.299,50", ".", "1299.50", None),
    ("1,299.50", ",", "1299.50", None),
    ("1 299,50", "", "1299.50", None),
    ("1\u00a0299,50", "", "1299.50", None),
    ("1\u202f299", "", "1299", None),
    ("1'299.50", "", "1299.50", None),
    ("60’000", "", "60000", None),
    ("1.299.000", "", "1299000", None),
    ("1,23,456.00", "", "123456.00", None),
    ("1.234", ",", "1234", None),  # these two are not: the habit decides
    ("1.234", ".", "1.234", None),
    ("1,234", ".", "1234", None),
    ("1,234", ",", "1.234", None),
    ("1.234", "", "1.234", None),  # nothing tells: the way programs write
    ("1,234", "", "1234", None),
    ("0.340", ",", "0.340", None),  # no thousand begins with 0
    ("19.989999999999998", "", "19.99", None),
    ("99.00 USD", "", "99.00", "USD"),
    ("USD 99.00", "", "99.00", "USD"),
    ("EUR12,50", "", "12.50", "EUR"),
    ("$1,999.00", "", "1999.00", "USD"),
    ("€ 12,50", "", "12.50", "EUR"),
    ("12,50€", "", "12.50", "EUR"),
    ("£5", "", "5", "GBP"),
    ("CHF 12.-", "", "12", "CHF"),
    ("1'299.–", "", "1299", None),
    ("Fr. 12.50", "", "12.50", "CHF"),
    ("599 Kč", "", "599", "CZK"),
    ("199,99 zł", "", "199.99", "PLN"),
    ("8 600,00 руб.", "", "8600.00", "RUB"),
    ("1040 RUR", "", "1040", "RUB"),
    ("Rs. 500", "", "500", "INR"),
    ("299 kr", "", "299", None),
    ("0.00", "", "0.00", None),
    ("-0.00", "", "0.00", None),
    ("", "", None, None),
    ("N/A", "", None, None),
    ("-", "", None, None),
    ("NULL", "", None, None),
    ("USD", "", None, "USD"),
    ("1.299,- €", "?", "1299", "EUR"),
    ("9,99 €/Stk", "", "9.99", "EUR"),
    ("12.50 / piece", "", "12.50", None),
    ("12,50 zł brutto", "", "12.50", "PLN"),
    ("9.99 inkl. MwSt.", "", "9.99", None),
    ("5,00*", "", "5.00", None),
    ("125.000 ₫", "", "125000", "VND"),  # of which there are no parts
    ("12,000원", ",", "12000", "KRW"),
    ("12,50 ¤", "", "12.50", "EUR"),
    ("١٢٫٥٠", "", "12.50", None),
]


@pytest.mark.parametrize(("cell", "mark", "text", "currency"), PRICES)
def test_amount(cell: str, mark: str, text: str | None, currency: str | None) -> None:
    assert numbers.amount(cell, mark) == (text, currency)


@pytest.mark.parametrize(
    ("cell", "mark", "problem"),
    [
        ("-5.00", "", "negative"),
        ("(5.00)", "", "negative"),
        ("5.00-", "", "negative"),
        ("EUR -5", "", "negative"),
        ("1.234", numbers.MIXED, "ambiguous"),
        ("ask us", "", "unparsable"),
        ("ab 12,50", "", "unparsable"),
        ("12.50/box", "", "unparsable"),
        ("12.50 - 19.50", "", "unparsable"),
        ("1.5E+3", "", "unparsable"),
        ("1.23.45", "", "unparsable"),
        ("1,2,3", "", "unparsable"),
        ("01.08.2012", "", "unparsable"),
        ("1234567890123", "", "unparsable"),
        ("9" * 200, "", "unparsable"),
        ("1" + " " * 5000 + "x", "", "unparsable"),
        ("²", "", "unparsable"),
    ],
)
def test_amount_refuses(cell: str, mark: str, problem: str) -> None:
    with pytest.raises(numbers.Unreadable) as refusal:
        numbers.amount(cell, mark)
    assert refusal.value.args[0] == problem


def test_a_shared_sign_is_the_shops_own_currency() -> None:
    assert numbers.amount("$5", "", "CAD").currency == "CAD"
    assert numbers.amount("$5", "", "EUR").currency == "USD"
    assert numbers.amount("5 kr", "", "SEK").currency == "SEK"


@pytest.mark.parametrize(
    ("cells", "mark"),
    [
        (["12", "1.234", "99"], ""),
        (["12", "1.234", "9.5"], "."),
        (["1.234", "9,50 €"], ","),
        (["1,234.00"], "."),
        (["1.234.567"], ","),
        (["0.340"], "."),
        (["9.5", "9,5"], "?"),
        (["", "n/a", "call"], ""),
    ],
)
def test_habit(cells: list[str], mark: str) -> None:
    assert numbers.habit(cells) == mark


WRITTEN = st.decimals(min_value=Decimal("0.01"), max_value=Decimal("99999999.99"), places=2)
LOCALES = {
    "en": (",", "."),
    "de": (".", ","),
    "fr": ("\u202f", ","),
    "ch": ("'", "."),
    "plain": ("", "."),
    "cs": ("", ","),
}


@given(WRITTEN, st.sampled_from(sorted(LOCALES)), st.sampled_from(["{}", "{} EUR", "€{}", "EUR {}", "{} €"]))
def test_formatted_decimals_come_back(value: Decimal, locale: str, frame: str) -> None:
    thousands, mark = LOCALES[locale]
    written = f"{value:,.2f}".replace(",", "T").replace(".", mark).replace("T", thousands)
    found = numbers.amount(frame.format(written), "")
    assert found.text is not None
    assert Decimal(found.text) == value


@given(st.lists(WRITTEN, min_size=1, max_size=20), st.integers(1, 999), st.sampled_from(["en", "de"]))
def test_the_column_settles_what_a_cell_leaves_open(values: list[Decimal], whole: int, locale: str) -> None:
    thousands, mark = LOCALES[locale]
    column = [f"{value:,.2f}".replace(",", "T").replace(".", mark).replace("T", thousands) for value in values]
    habit = numbers.habit(column)
    assert habit == mark
    assert numbers.amount(f"{whole}{thousands}250", habit).text == f"{whole}250"


@given(st.text(max_size=60), st.sampled_from(["", ".", ",", "?"]))
def test_any_text_is_a_canonical_number_or_refused(cell: str, mark: str) -> None:
    try:
        found = numbers.amount(cell.strip(), mark)
    except numbers.Unreadable:
        return
    if found.text is not None:
        assert Decimal(found.text) >= 0
        assert found.text.isascii()
        assert found.text.replace(".", "").isdigit()


@pytest.mark.parametrize(
    ("cell", "mark", "text"),
    [
        ("10", "", "10"),
        ("0", "", "0"),
        ("007", "", "7"),
        ("10.0", "", "10"),
        ("10.0000", "", "10"),
        ("2,00", "", "2"),
        ("2.9", "", "2"),
        ("1.000", ",", "1000"),
        ("1,000", ".", "1000"),
        (">100", "", "100"),
        ("100+", "", "100"),
        ("50 Stk", "", "50"),
        ("-3", "", "0"),
        ("", "", None),
        ("n/a", "", None),
    ],
)
def test_quantity(cell: str, mark: str, text: str | None) -> None:
    assert numbers.quantity(cell, mark) == text


@pytest.mark.parametrize("cell", ["many", "1e5", "10 pieces left", "9999999999", "²"])
def test_quantity_refuses(cell: str) -> None:
    with pytest.raises(numbers.Unreadable):
        numbers.quantity(cell, "")


@pytest.mark.parametrize(
    ("cell", "unit", "grams"),
    [
        ("0.82", "kg", "820"),
        ("0,82", "kg", "820"),
        ("1.500", "kg", "1500"),
        ("680", "g", "680"),
        ("3.5 kg", "g", "3500"),
        ("350g", "kg", "350"),
        (".5", "lbs", "227"),
        ("1 lb", "kg", "454"),
        ("2", "oz", "57"),
        ("0.0003", "kg", "1"),
        ("0", "kg", None),
        ("", "kg", None),
    ],
)
def test_weight(cell: str, unit: str, grams: str | None) -> None:
    assert numbers.weight(cell, ".", unit) == grams


def test_the_unit_of_a_weight_column_without_one() -> None:
    assert numbers.weight_unit(["680", "1200", ""]) == "g"
    assert numbers.weight_unit(["0.68", "1200"]) == "kg"
    assert numbers.weight_unit(["1", "2"]) == "kg"
