"""Rules: what an offer becomes, by hand and in SQL."""

import json
import random
from decimal import Decimal
from uuid import UUID

import pytest
from pydantic import ValidationError
from sqlalchemy import text

from services.core.db import transaction
from services.sourcing.accounts.rules import OFFERED, RULES, Amounts, Rules, kept, offered, parameter, rules_of
from tests.examples import examples


def rules(**said):
    return Rules.model_validate(said)


def amounts(**said):
    money = ("cost", "list_price", "recommended_price")
    return Amounts(**{name: Decimal(value) if name in money else value for name, value in said.items()})


@pytest.mark.parametrize(
    ("price", "said", "expected"),
    [
        ({}, {"cost": "10", "recommended_price": "19.90"}, "19.90"),
        ({}, {"cost": "10"}, None),  # nothing recommended
        ({}, {"cost": "10", "recommended_price": "9"}, "10"),  # never below cost
        ({"minimum_margin": None}, {"cost": "10", "recommended_price": "9"}, "9"),
        ({"base": "cost", "multiplier": "1.5", "plus": "2"}, {"cost": "10"}, "17"),
        ({"base": "cost", "multiplier": "1.5"}, {"cost": "0"}, None),
        ({"base": "cost", "multiplier": "1.5"}, {}, None),
        ({"base": "cost", "minimum_margin": "50"}, {"cost": "10"}, "20"),
        ({"minimum_margin": "1"}, {"recommended_price": "5"}, None),  # no cost, no margin
        ({"base": "cost", "multiplier": "2", "rounding": {"ending": "0.99"}}, {"cost": "5.01"}, "10.99"),
        ({"base": "cost", "multiplier": "2", "rounding": {"ending": "0.95"}}, {"cost": "5.50"}, "11.95"),
        ({"base": "cost", "rounding": {"ending": "0.99", "mode": "down"}}, {"cost": "5.50"}, "5.99"),  # not below cost
        (
            {"base": "cost", "multiplier": "3", "rounding": {"step": "0.05", "mode": "nearest"}},
            {"cost": "1.11"},
            "3.35",
        ),
        ({"base": "cost", "plus": "-20", "minimum_margin": None}, {"cost": "5"}, None),
        ({"base": "list", "multiplier": "0.9"}, {"cost": "1", "list_price": "10"}, "9"),
        ({"base": "cost", "multiplier": "10000"}, {"cost": "999999999999"}, None),
    ],
)
def test_prices(price, said, expected):
    found = offered(rules(price=price), amounts(**said)).price
    assert found == (None if expected is None else Decimal(expected))


def test_stock_is_kept_back_and_a_missing_value_says_nothing():
    assert offered(rules(stock_buffer=3), amounts(stock=10)).stock == 7
    assert offered(rules(stock_buffer=3), amounts(stock=2)).stock == 0
    assert offered(rules(stock_buffer=3, out_of_stock="leave"), amounts(stock=3)).stock is None
    assert offered(rules(stock_buffer=3), amounts()).stock is None
    assert offered(rules(price=None), amounts(cost="1", recommended_price="2")).price is None


def test_amounts_are_turned_into_another_currency_only_from_the_one_that_is_named():
    swap = rules(exchange={"from": "eur", "to": "USD", "rate": "1.1"}, compare_at="list")
    said = amounts(cost="10", list_price="30", recommended_price="20", currency="EUR")
    became = offered(swap, said)
    assert (became.cost, became.price, became.compare_at_price, became.currency) == (11, 22, 33, "USD")
    assert offered(swap, amounts(cost="10", currency="GBP")).currency == "GBP"


@pytest.mark.parametrize(
    "said",
    [
        {"price": {"multiplier": "0"}},
        {"price": {"multiplier": "NaN"}},
        {"price": {"minimum_margin": "100"}},
        {"price": {"rounding": {"step": "0"}}},
        {"price": {"rounding": {"step": "1", "ending": "1"}}},
        {"exchange": {"from": "EUR", "to": "XYZ", "rate": "1"}},
        {"exchange": {"from": "EUR", "to": "USD", "rate": "0"}},
        {"stock_buffer": -1},
        {"unheard_of": 1},
    ],
)
def test_nonsense_is_refused(said):
    with pytest.raises(ValidationError):
        Rules.model_validate(said)


def test_rules_come_back_as_they_were_kept():
    given = rules(price={"base": "cost", "multiplier": "1.30"}, exchange={"from": "EUR", "to": "USD", "rate": "1.1"})
    assert rules_of(json.loads(json.dumps(kept(given)))) == given
    assert rules_of({}) == Rules()


def a_rule(dice):
    def amount(low, high, places):
        return str(Decimal(dice.randint(low * 10**places, high * 10**places)).scaleb(-places))

    step = dice.choice(["0.01", "0.05", "0.1", "1", "10", "0.000001", "3", "0.07"])
    price = {
        "base": dice.choice(["cost", "list", "recommended"]),
        "multiplier": dice.choice(["1", amount(1, 4, 6), "0.000001", "10000"]),
        "plus": dice.choice(["0", amount(-5, 5, 6)]),
        "minimum_margin": dice.choice([None, "0", amount(0, 99, 2), "33.3333"]),
        "rounding": {
            "step": step,
            "ending": str(Decimal(step) * dice.randint(0, 9) / 10 if Decimal(step) > Decimal("0.00001") else 0),
            "mode": dice.choice(["up", "down", "nearest"]),
        },
    }
    return rules(
        price=dice.choice([price, price, price, None]),
        compare_at=dice.choice([None, "list", "recommended"]),
        exchange=dice.choice([None, {"from": "EUR", "to": "USD", "rate": amount(1, 2, 6)}]),
        stock_buffer=dice.choice([0, 5]),
        out_of_stock=dice.choice(["zero", "leave", "unpublish"]),
    )


def an_offer(dice):
    def amount():
        return dice.choice(
            [None, Decimal(0), Decimal(dice.randint(1, 10**4)) / 100, Decimal(dice.randint(1, 10**9)).scaleb(-6),
             Decimal(dice.randint(1, 999_999_999_999)), Decimal("0.000001")]
        )  # fmt: skip

    return Amounts(
        amount(), amount(), amount(), dice.choice([None, "EUR", "GBP"]), dice.choice([None, 0, 4, 5, 6, 900])
    )


def test_sql_and_python_agree(merchant):
    dice = random.Random(20260301)
    given = [(UUID(int=n + 1), a_rule(dice), an_offer(dice)) for n in range(examples(600))]
    statement = text(f"""
    SELECT becomes.* FROM jsonb_to_recordset(CAST(:offers AS jsonb)) AS v (connection_id uuid, cost numeric,
        list_price numeric, recommended_price numeric, currency text, stock int)
    JOIN {RULES} ON r.connection_id = v.connection_id {OFFERED} ORDER BY v.connection_id
    """)
    offers = [
        {
            "connection_id": str(id_), "cost": offer.cost, "list_price": offer.list_price,
            "recommended_price": offer.recommended_price, "currency": offer.currency, "stock": offer.stock,
        }
        for id_, _, offer in given
    ]  # fmt: skip
    with transaction(merchant_id=merchant) as session:
        asked = {"offers": json.dumps(offers, default=str), "rules": json.dumps(parameter((i, r) for i, r, _ in given))}
        found = session.execute(statement, asked).all()
    prices = 0
    for (_, rule, offer), row in zip(given, found, strict=True):
        expected = offered(rule, offer)
        assert row._mapping == {name: getattr(expected, name) for name in row._mapping}, (rule, offer)
        prices += expected.price is not None
    assert prices > len(given) / 4
