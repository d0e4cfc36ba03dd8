"""Pages into offers: merged once, kept as said, gone when a complete run did not see them. No supplier is asked."""

from decimal import Decimal
from uuid import UUID

import pytest
from sqlalchemy import select, text

from services.core.db import transaction
from services.core.ids import new_id
from services.models import Connection, Offer, OfferVariant, SyncRun
from services.sourcing.offers import store
from services.suppliers.base import Money, PriceLevel, Problem, StockLevel, StockTier
from services.suppliers.base import Offer as Said
from services.suppliers.base import OfferVariant as SaidVariant


@pytest.fixture
def connection(merchant) -> UUID:
    """A connection whose supplier is never called."""
    id_ = new_id()
    with transaction(merchant_id=merchant) as session:
        session.add(
            Connection(
                id=id_, merchant_id=merchant, supplier="bigbuy", name="bigbuy", state="disconnected", account_key="x"
            )
        )
    return id_


@pytest.fixture
def run(merchant, connection):
    """`run(mode)`: a run over it."""

    def begin(mode="full"):
        sync = SyncRun(
            id=new_id(), merchant_id=merchant, connection_id=connection, job_id=new_id(), kind="products", mode=mode,
            pages=0, items=0, problems=0, counts={},
        )  # fmt: skip
        with transaction(merchant_id=merchant) as session:
            session.add(sync)
            session.flush()
            store.forget_seen(session, sync)
        return sync

    return begin


def variant(id_, **said):
    return SaidVariant(**{"id": id_, "order_ref": id_, "sku": f"S{id_}", "cost": Money(Decimal("5"), "EUR"), **said})


def offer(id_, *variants, **said):
    return Said(id=id_, title=f"Title {id_}", variants=variants or (variant(f"v{id_}", stock=3),), **said)


def keep(sync, items, problems=(), *, close=False, accept=False):
    with transaction(merchant_id=sync.merchant_id) as session:
        row = session.get_one(SyncRun, sync.id)
        store.store_offers(session, row, items)
        store.store_problems(session, row, problems, of_offers=True)
        if close:
            store.sweep(session, row, accept=accept)
        session.flush()
        return dict(row.counts)


def rows(merchant, table=OfferVariant):
    with transaction(merchant_id=merchant) as session:
        return {row.id: row for row in session.scalars(select(table))}


def places(merchant):
    with transaction(merchant_id=merchant) as session:
        return {
            tuple(row)
            for table in ("offers", "offer_variants")
            for row in session.execute(text(f"SELECT '{table}', id, ctid::text, xmax::text FROM {table}"))
        }


def test_what_is_said_again_is_not_written_again(merchant, run):
    items = [offer(str(n)) for n in range(30)]
    counts = keep(run(), items, close=True)
    assert (counts["offers_new"], counts["variants_new"], counts["seen"]) == (30, 30, 30)
    before = places(merchant)
    again = run()
    assert {"offers_new", "offers_changed", "variants_changed", "offers_gone"}.isdisjoint(
        keep(again, [*items, items[0]], close=True)
    )
    assert places(merchant) == before
    assert {id_ for _, id_, *_ in places(merchant) - before} == set()


def test_only_what_differs_is_written_and_ages_are_its_own(merchant, run):
    tiers = (StockTier(3, 1, 2, "1"),)
    keep(run(), [offer("1", variant("a", stock=3), variant("b", stock=4, tiers=tiers)), offer("2")])
    before = rows(merchant)
    counts = keep(run(), [offer("1", variant("a", stock=9), variant("b", stock=4, tiers=tiers)), offer("2")])
    after = rows(merchant)
    assert counts["variants_changed"] == 1
    assert after["a"].stock == 9
    assert after["a"].stock_at > before["a"].stock_at
    assert after["a"].price_at == before["a"].price_at
    assert after["b"].stock_at == before["b"].stock_at
    assert after["b"].tiers == [{"quantity": 3, "min_days": 1, "max_days": 2, "warehouse": "1"}]


def test_what_was_not_said_is_not_zero(merchant, run):
    keep(run(), [offer("1", variant("a", cost=None, stock=None))])
    found = rows(merchant)["a"]
    assert (found.cost, found.stock, found.stock_at, found.price_at) == (None, None, None, None)


def test_gone_is_what_a_complete_run_did_not_see(merchant, run):
    keep(run(), [offer("1", variant("a"), variant("b")), offer("2"), offer("3")], close=True)
    counts = keep(run(), [offer("1", variant("a")), offer("3")], close=True)
    assert (counts["offers_gone"], counts["variants_gone"]) == (1, 1)
    assert {id_ for id_, row in rows(merchant, Offer).items() if row.gone_at} == {"2"}
    assert {id_ for id_, row in rows(merchant).items() if row.gone_at} == {"b", "v2"}
    keep(run(), [offer("1", variant("a"), variant("b")), offer("2"), offer("3")], close=True)
    assert not [row for row in (*rows(merchant, Offer).values(), *rows(merchant).values()) if row.gone_at]


@pytest.mark.parametrize(
    ("problem", "gone"),
    [
        (Problem("2", "product_unreadable", "It could not be read."), set()),
        (Problem(None, "product_unreadable", "Nobody knows which."), set()),
        (Problem("2", "not_found", "It is gone."), {"2"}),
    ],
)
def test_a_problem_is_not_gone_unless_it_says_so(merchant, run, problem, gone):
    keep(run(), [offer("1"), offer("2")], close=True)
    keep(run(), [offer("1")], [problem], close=True)
    assert {id_ for id_, row in rows(merchant, Offer).items() if row.gone_at} == gone


def test_a_crash_that_forgets_what_was_seen_makes_nothing_gone(merchant, run):
    keep(run(), [offer("1"), offer("2")], close=True)
    second = run()
    keep(second, [offer("1")])
    with transaction(merchant_id=merchant) as session:
        session.execute(text("DELETE FROM sync_seen"))
    assert keep(second, [], close=True)["gone_unknown"] == -1
    assert not [row for row in rows(merchant, Offer).values() if row.gone_at]


def test_most_gone_at_once_is_refused(merchant, run):
    keep(run(), [offer(str(n)) for n in range(40)], close=True)
    with pytest.raises(store.OffersVanished):
        keep(run(), [offer("1")], close=True)
    assert not [row for row in rows(merchant, Offer).values() if row.gone_at]
    keep(run(), [offer("1")], close=True, accept=True)
    assert sum(row.gone_at is None for row in rows(merchant, Offer).values()) == 1


def test_levels_change_what_is_known_and_nothing_else(merchant, run):
    keep(run(), [offer("1", variant("a", stock=1), variant("b", stock=2))])
    sync = run("delta")
    with transaction(merchant_id=merchant) as session:
        row = session.get_one(SyncRun, sync.id)
        store.store_stock(
            session, row, [StockLevel("a", None, 7), StockLevel("b", None, 2), StockLevel("new", None, 5)]
        )
        euro = Money(Decimal("6.5"), "EUR")
        store.store_prices(session, row, [PriceLevel("a", None, euro), PriceLevel("b", None, None)])
        counts = dict(row.counts)
    assert (counts["stock_changed"], counts["stock_unknown"], counts["price_changed"]) == (1, 1, 1)
    found = rows(merchant)
    assert (found["a"].stock, found["a"].cost, found["b"].stock, found["b"].cost) == (7, Decimal("6.5"), 2, 5)
    assert set(found) == {"a", "b"}


def test_hostile_text_and_numbers_do_no_harm(merchant, run):
    keep(
        run(),
        [
            offer("1", variant("a", sku="s" * 501, barcode="1\x002", stock=2**40, weight_grams=-5,
                               options=(("Si\x00ze", "\ud800"),), cost=Money(Decimal("1e30"), "EUR"))),
            offer("2\x00"), offer("x" * 501), offer("", variant("c")),
            Said(id="3", title="\ud800x\x00", variants=(variant("d", cost=Money(Decimal("0.0000001"), "EUR")),)),
        ],
    )  # fmt: skip
    found = rows(merchant)
    assert set(found) == {"a", "d"}
    assert (found["a"].sku, found["a"].barcode, found["a"].stock, found["a"].cost) == (None, "12", 2**31 - 1, None)
    assert rows(merchant, Offer)["3"].title == "?x"
