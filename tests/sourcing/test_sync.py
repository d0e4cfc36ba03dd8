"""Syncs with the sandbox: what is stored is what it truly has, and the catalogue follows by plans."""

import random
from decimal import Decimal

import pytest
from sqlalchemy import text

from services.catalog.prices import PriceChange, PriceTargets, update_prices
from services.catalog.queries import ProductFilter
from services.core.db import transaction
from services.core.ids import new_id
from services.imports import batches
from services.jobs.control import cancel_job, retry_job
from services.models import Connection, Import, Order
from services.orders.incoming.said import SaidLine
from services.orders.routing.candidates import known as routing
from services.sourcing.accounts.rules import Rules, kept
from services.sourcing.jobs import SyncSupplierProducts, SyncSupplierStock
from services.sourcing.offers import drafts, linked
from services.sourcing.offers.links import OfferFilter, list_offers
from services.sourcing.syncs import sync
from services.sourcing.syncs.status import status_of
from tests import inline
from tests.catalog.editing import take_back
from tests.conftest import make_merchant
from tests.examples import examples
from tests.imports.importing import catalogue, make_source, run_feed, staged
from tests.imports.test_crashes import Doomed, Killed
from tests.orders.coming import said_order, take
from tests.plans import LARGE, repeated_scans
from tests.sourcing.connecting import connected
from tests.sourcing.syncing import (
    begin,
    links_of,
    offers_of,
    runs_of,
    stored,
    sync_products,
    sync_stock,
    truth,
    unguarded,
)

_FILLED = """
WITH own AS (SELECT CAST(:merchant_id AS uuid) AS merchant_id, CAST(:connection_id AS uuid) AS connection_id),
given AS MATERIALIZED (SELECT g, gen_random_uuid() AS product_id, gen_random_uuid() AS variant_id
                       FROM generate_series(1, :most) g),
o AS (INSERT INTO offers (merchant_id, connection_id, id, print) SELECT own.*, 'o' || g, g FROM own, given),
v AS (INSERT INTO offer_variants (merchant_id, connection_id, id, offer_id, order_ref, sku)
      SELECT own.*, 'v' || g, 'o' || g, g, 'S' || g FROM own, given),
p AS (INSERT INTO products (id, merchant_id, source, key)
      SELECT product_id, merchant_id, :source, 'o' || g FROM own, given),
c AS (INSERT INTO variants (id, merchant_id, product_id, key, sku, price, position)
      SELECT variant_id, merchant_id, product_id, 'v' || g, 'S' || g, 5, 1 FROM own, given)
INSERT INTO offer_links (merchant_id, connection_id, offer_variant_id, variant_id, how)
SELECT own.*, 'v' || g, variant_id, 'made' FROM own, given WHERE g % 3 > 0
"""


def filled(merchant, source, most=400):
    """A connection that nobody calls, its offers, and the products that were made of them."""
    row = Connection(id=new_id(), merchant_id=merchant, supplier="bigbuy", name=source, secrets="x", account_key=source)
    with transaction(merchant_id=merchant) as session:
        session.add(row)
        session.flush()
        given = {"merchant_id": merchant, "connection_id": row.id, "source": source, "most": most}
        session.execute(text(_FILLED), given)
    return row.id


@pytest.fixture(scope="module")
def strangers():
    """Others' rows, and statistics that were made when there were no more."""
    for other in (make_merchant(), make_merchant()):
        for name in ("one", "two"):
            filled(other, name)
    run_feed(other, "sku,title\n" + "".join(f"A{n},A\n" for n in range(400)))
    with transaction(merchant_id=other) as session:
        session.execute(text("SELECT set_config('role', 'none', true)"))
        session.execute(text(f"ANALYZE {', '.join(sorted(LARGE))}, connections"))


@pytest.fixture(autouse=True, scope="module")
def explained(strangers):
    """What the statements of these tests were found to read again and again."""
    with repeated_scans() as found:
        yield found


@pytest.fixture(autouse=True)
def nothing_is_read_again_and_again(explained):
    """Statistics that do not know a merchant take any index that begins with one for as good as the key (0018)."""
    explained.clear()
    yield
    assert not explained, "\n".join(f"{part}{statement}" for statement, part in explained.items())


def a_sku(world, **like):
    """One that is sold, of a product without variations."""
    return next(
        one for one in world.ask("GET", "bigbuy/products")
        if one["active"] and one["stock"] > 5 and one["sku"] == one["product"]
    )  # fmt: skip


def set_rules(merchant, connection, **said):
    with transaction(merchant_id=merchant) as session:
        session.get_one(Connection, connection).rules = kept(Rules.model_validate(said))


def written(merchant):
    """Which version of each row of offers is there: a row that is written again has another."""
    with transaction(merchant_id=merchant) as session:
        return {
            (table, *row)
            for table in ("offers", "offer_variants", "offer_links")
            for row in session.execute(text(f"SELECT ctid::text, xmin::text FROM {table}"))
        }


def test_everything_a_supplier_offers_becomes_products_once(world, merchant, connection):
    ended = sync_products(merchant, connection)
    assert ended["state"] == "succeeded", ended
    assert stored(merchant, connection) == truth(world)
    active = {one["product"] for one in world.ask("GET", "bigbuy/products") if one["active"]}
    products = catalogue(merchant, "bigbuy")
    assert len(products) == len(active)
    variants = {key: one for product in products.values() for key, one in product["variants"].items()}
    assert all(one["cost"] is not None and one["price"] >= one["cost"] for one in variants.values())
    links = links_of(merchant, connection)
    assert set(links) == set(variants)
    assert {link.how for link in links.values()} == {"made"}
    assert ended["result"]["changeset_state"] == "applied"
    (run,) = runs_of(merchant, connection)
    assert (run.state, run.walked_at is not None, run.items) == (
        "succeeded",
        True,
        len(offers_of(merchant, connection)),
    )

    before = written(merchant)
    again = sync_products(merchant, connection)
    assert again["result"]["applied"] == 0
    assert written(merchant) == before  # what is said again is not written again
    assert staged(merchant) == 0


def test_stock_alone_follows_what_changed(world, merchant, connection):
    sync_products(merchant, connection)
    one = a_sku(world)
    world.ask("PUT", f"bigbuy/products/{one['sku']}", {"stock": 7777})
    ended = sync_stock(merchant, connection, prices=False)
    assert ended["state"] == "succeeded", ended
    assert stored(merchant, connection) == truth(world)
    assert ended["result"]["stock_changed"] == 1
    world.ask("PUT", f"bigbuy/products/{one['sku']}", {"stock": 7777, "price": one["wholesale"] + 100})
    ended = sync_stock(merchant, connection)
    assert ended["result"]["price_changed"] == 1
    assert stored(merchant, connection) == truth(world)
    found = [
        v for p in catalogue(merchant, "bigbuy").values() for v in p["variants"].values() if v["sku"] == one["sku"]
    ]
    assert [variant["stock"] for variant in found] == [7777]
    unchanged = sync_stock(merchant, connection)
    assert unchanged["result"]["outcome"] == "unchanged"
    assert runs_of(merchant, connection)[-1].import_id is None


def import_of(merchant, ended):
    assert ended["state"] == "succeeded", ended
    with transaction(merchant_id=merchant) as session:
        return session.get_one(Import, ended["result"]["import_id"])


def test_offers_that_are_what_they_were_are_passed_over(world, merchant, connection, monkeypatch):
    """What was changed, there or here, is not; nor is anything under other rules."""
    first = sync_products(merchant, connection)
    products, drafted = catalogue(merchant, "bigbuy"), import_of(merchant, first)
    assert (drafted.staged_rows, drafted.skipped) == (drafted.rows, None)
    one = a_sku(world)
    key = next(key for key, it in products.items() if any(v["sku"] == one["sku"] for v in it["variants"].values()))
    world.ask("PUT", f"bigbuy/products/{one['sku']}", {"stock": 7777})
    ended = sync_stock(merchant, connection)
    assert [v["stock"] for v in catalogue(merchant, "bigbuy")[key]["variants"].values()] == [7777]
    found = import_of(merchant, ended)
    assert (found.staged_rows, found.rows) == (1, drafted.rows)
    assert ended["result"]["products"]["unchanged"] == len(products)

    others = sorted(set(products) - {key})

    def meddle():
        with transaction(merchant_id=merchant) as session:
            mine = "UPDATE products SET title = 'Mine', version = version + 1 WHERE key = :key"
            session.execute(text(mine), {"key": others.pop()})

    meddle()
    settled = drafts._settled

    def slow(*args, **more):  # somebody is at it again while what was passed over is settled
        if not hasattr(slow, "late"):
            slow.late = meddle()
        return settled(*args, **more)

    monkeypatch.setattr(drafts, "_settled", slow)
    again = import_of(merchant, sync_products(merchant, connection))
    assert 1 < again.staged_rows < drafted.rows / 2
    assert again.rows == drafted.rows
    assert [product["title"] for product in catalogue(merchant, "bigbuy").values()] == [
        product["title"] for product in products.values()
    ]
    set_rules(merchant, connection, stock_buffer=1)
    assert import_of(merchant, sync_products(merchant, connection)).staged_rows == drafted.rows


def test_what_is_no_longer_offered_is_gone_and_comes_back(world, merchant, connection):
    make_source(merchant, "bigbuy", missing="unpublish")
    sync_products(merchant, connection)
    one = a_sku(world)
    world.ask("PUT", f"bigbuy/products/{one['sku']}", {"gone": True})
    ended = sync_products(merchant, connection)
    assert ended["result"]["offers_gone"] == 1
    (gone,) = [offer for offer in offers_of(merchant, connection) if offer.gone_at is not None]
    assert catalogue(merchant, "bigbuy")[gone.id]["status"] == "draft"
    world.ask("PUT", f"bigbuy/products/{one['sku']}", {"gone": False})
    sync_products(merchant, connection)
    assert all(offer.gone_at is None for offer in offers_of(merchant, connection))
    assert catalogue(merchant, "bigbuy")[gone.id]["status"] == "active"


def test_most_of_it_gone_at_once_is_not_believed(world, merchant, connection):
    sync_products(merchant, connection)
    before, products = stored(merchant, connection), catalogue(merchant, "bigbuy")
    for sku in {one["product"] for one in world.ask("GET", "bigbuy/products")[:120]}:
        world.ask("PUT", f"bigbuy/products/{sku}", {"gone": True})
    ended = sync_products(merchant, connection)
    assert (ended["state"], ended["error_code"]) == ("failed", "offers_vanished")
    assert set(stored(merchant, connection)) == set(before)
    assert catalogue(merchant, "bigbuy") == products
    accepted = sync_products(merchant, connection, accept_gone=True)
    assert accepted["state"] == "succeeded"
    assert set(stored(merchant, connection)) == set(truth(world))


def test_a_supplier_that_answers_nonsense_changes_nothing(world, merchant, connection):
    sync_products(merchant, connection)
    before, products = written(merchant), catalogue(merchant, "bigbuy")
    for kind, code in (
        ("html", "supplier_unavailable"),
        ("empty", "supplier_unavailable"),
        ("malformed", "supplier_unavailable"),
        ("revoked", "supplier_reconnect_needed"),
    ):
        with transaction(merchant_id=merchant) as session:  # the breaker is another test's
            session.get_one(Connection, connection).failures = 0
        with world.fault(kind, supplier="bigbuy", route="catalog/*"):
            ended = sync_products(merchant, connection)
        run = runs_of(merchant, connection)[-1]
        assert run.error_code == code, (kind, run.error_code, run.error)
        assert ended["state"] == ("failed" if kind == "revoked" else "scheduled"), (kind, ended)
        with transaction(merchant_id=merchant) as session:
            session.execute(
                text("UPDATE sync_runs SET state = 'failed', finished_at = now() WHERE finished_at IS NULL")
            )
    assert written(merchant) == before
    assert catalogue(merchant, "bigbuy") == products


def test_an_item_that_cannot_be_read_is_neither_gone_nor_sold_out(world, merchant, connection):
    sync_products(merchant, connection)
    before = stored(merchant, connection)
    with world.fault("drift", supplier="bigbuy", route="catalog/products", fields=["sku"], share=0.1, count=1):
        ended = sync_products(merchant, connection)
    run = runs_of(merchant, connection)[-1]
    assert ended["state"] == "succeeded", ended
    assert run.problems
    assert run.counts["problem_codes"] == {"product_unreadable": run.problems}
    assert stored(merchant, connection) == before


def test_killed_at_every_step_it_comes_to_the_same_end(world, monkeypatch):
    for module, name in ((sync, "BATCH_ITEMS"), (drafts, "OFFERS"), (linked, "LINKS")):
        monkeypatch.setattr(module, name, 16)
    monkeypatch.setattr(batches, "BATCH_ROWS", 25)

    def prepared():
        merchant = make_merchant()
        run_feed(merchant, "SKU,Title,Price\n" + "\n".join(f"{sku},By hand {sku},1.00" for sku in own))
        connection = connected(world, merchant).id
        unguarded(merchant, "bigbuy")
        return merchant, connection

    own = sorted(truth(world))[:6]
    merchant, connection = prepared()
    runs = []
    job = begin(merchant, SyncSupplierProducts(connection_id=connection))
    ended = inline.work(job, make_run=lambda claim: runs.append(Doomed(claim)) or runs[-1])
    assert ended["state"] == "succeeded", ended
    expected = catalogue(merchant, "bigbuy"), catalogue(merchant), stored(merchant, connection)
    steps = runs[0].steps
    for step in sorted(random.Random(1).sample(range(1, steps + 1), examples(3))):
        merchant, connection = prepared()
        job = begin(merchant, SyncSupplierProducts(connection_id=connection))
        with pytest.raises(Killed):
            inline.work(job, make_run=lambda claim, at=step: Doomed(claim, fatal_step=at))
        again = inline.state_of(job)
        if again["state"] == "running":  # else it was killed behind its last commit, and is over
            inline.lose(job)
            again = inline.work(job)
        assert again["state"] == "succeeded", (step, again)
        found = catalogue(merchant, "bigbuy"), catalogue(merchant), stored(merchant, connection)
        assert found == expected, step
        assert [run.state for run in runs_of(merchant, connection)] == ["succeeded"]


def test_one_sync_of_a_connection_at_a_time(world, merchant, connection):
    first = begin(merchant, SyncSupplierProducts(connection_id=connection))
    with pytest.raises(Killed):  # it stays `running`, as at work elsewhere
        inline.work(first, make_run=lambda claim: Doomed(claim, fatal_step=4))
    second = begin(merchant, SyncSupplierStock(connection_id=connection))
    assert inline.work(second)["reason"] == "behind_another_sync"
    inline.lose(first)
    assert inline.work(first)["state"] == "succeeded"
    assert inline.work(second)["state"] == "succeeded"
    assert [run.kind for run in runs_of(merchant, connection)] == ["products", "stock"]


def test_cancelled_between_pages_it_ends_there_and_can_be_begun_again(world, merchant, connection, monkeypatch):
    monkeypatch.setattr(sync, "BATCH_ITEMS", 1)
    job = begin(merchant, SyncSupplierProducts(connection_id=connection))

    class Cancelled(Doomed):
        def strike(self):
            with transaction(merchant_id=merchant) as session:
                cancel_job(session, job)
            from services.jobs import Cancel

            self.stop(Cancel())

    ended = inline.work(job, make_run=lambda claim: Cancelled(claim, fatal_step=12))
    assert ended["state"] == "cancelled"
    (run,) = runs_of(merchant, connection)
    assert (run.state, run.walked_at) == ("cancelled", None)
    assert not catalogue(merchant, "bigbuy")
    with transaction(merchant_id=merchant) as session:
        retry_job(session, job)
    assert inline.work(job)["state"] == "succeeded"
    assert stored(merchant, connection) == truth(world)


def approved_after_a_crash(merchant, ended):
    with transaction(merchant_id=merchant) as session:
        session.execute(text("DELETE FROM import_drafts"))  # as a crash of the database does
        from services.catalog.changesets import approve, get_changeset

        plan = get_changeset(session, ended["result"]["changeset_id"])
        job = approve(session, plan.id, digest=plan.digest)
    applied = inline.work(job)
    assert applied["state"] == "succeeded", applied
    return applied


def test_a_plan_that_awaits_a_person_is_applied_from_the_offers(world, merchant, connection):
    make_source(merchant, "bigbuy", apply="ask")
    ended = sync_products(merchant, connection)
    assert ended["result"]["changeset_state"] == "awaiting_approval"
    assert not catalogue(merchant, "bigbuy")
    applied = approved_after_a_crash(merchant, ended)
    assert len(catalogue(merchant, "bigbuy")) == applied["result"]["products"]["created"] > 0
    assert links_of(merchant, connection)

    one = a_sku(world)
    world.ask("PUT", f"bigbuy/products/{one['sku']}", {"stock": 7777})
    ended = sync_stock(merchant, connection)
    assert (import_of(merchant, ended).staged_rows, ended["result"]["changeset_state"]) == (1, "awaiting_approval")
    assert approved_after_a_crash(merchant, ended)["result"]["applied"] == 1


def test_offers_fill_variants_of_other_sources_that_have_their_sku(world, merchant, connection):
    one = a_sku(world)
    run_feed(merchant, f"SKU,Title,Price,Quantity\n{one['sku']},Mine,500.00,1\nother,Other,5.00,2\n")
    unguarded(merchant, "bigbuy")
    set_rules(merchant, connection, price={"base": "cost", "multiplier": "2"}, stock_buffer=2)
    ended = sync_products(merchant, connection)
    assert ended["result"]["linked"]["changeset_state"] == "applied", ended
    mine = {v["sku"]: v for p in catalogue(merchant).values() for v in p["variants"].values()}
    assert mine[one["sku"]]["stock"] == one["stock"] - 2
    assert mine[one["sku"]]["price"] == Decimal(one["wholesale"]) / 50
    assert mine["other"]["stock"] == 2
    made = {v["sku"] for p in catalogue(merchant, "bigbuy").values() for v in p["variants"].values()}
    assert one["sku"] not in made  # it is no product of its own beside the one it fills
    assert {link.how for link in links_of(merchant, connection).values()} == {"sku", "made"}


def test_a_supplier_without_a_list_is_asked_for_the_products_that_were_named(world, merchant):
    world.ask("PUT", "aliexpress/limits", {"enforced": False})
    connection = connected(world, merchant, "aliexpress", country="FR", language="fr").id
    assert sync_products(merchant, connection)["state"] == "succeeded"  # nobody has named any
    ids = sorted({str(one["product_id"]) for one in world.ask("GET", "aliexpress/products?count=9")})[:3]
    named = sync_products(merchant, connection, only=[*ids, "9999999999999"])
    assert named["state"] == "succeeded", named
    assert [offer.id for offer in offers_of(merchant, connection)] == sorted(ids)
    again = sync_stock(merchant, connection)
    assert (again["state"], again["result"]["items"]) == ("succeeded", 3)


def test_another_merchant_sees_none_of_it(world, merchant, other_merchant, connection):
    sync_products(merchant, connection)
    assert not offers_of(other_merchant, connection)
    ended = sync_products(other_merchant, connection)
    assert (ended["state"], ended["error_code"]) == ("failed", "connection_not_found")


def test_a_cursor_that_the_adapter_no_longer_knows_begins_anew(world, merchant, connection):
    job = begin(merchant, SyncSupplierProducts(connection_id=connection))
    with pytest.raises(Killed):
        inline.work(job, make_run=lambda claim: Doomed(claim, fatal_step=7))
    inline.lose(job)
    with transaction(merchant_id=merchant) as session:
        session.execute(text("UPDATE sync_runs SET cursor = 'offers of another release' WHERE walked_at IS NULL"))
    assert inline.work(job)["state"] == "succeeded"
    assert stored(merchant, connection) == truth(world)


def test_of_two_suppliers_the_same_is_chosen_whichever_is_synced(world, merchant):
    """The second finds the first one's products by barcode, and is preferred: its stock counts for both."""
    first = connected(world, merchant, name="first", rules=Rules())
    sync_products(merchant, first.id)
    preferred = Rules(preference=1, stock_buffer=2, price={"base": "cost", "multiplier": "3"})
    second = connected(world, merchant, name="second", rules=preferred)
    for name in ("first", "second"):
        unguarded(merchant, name)
    ended = sync_products(merchant, second.id)
    assert ended["state"] == "succeeded", ended
    filled = {link.variant_id for link in links_of(merchant, second.id).values() if link.how == "barcode"}
    assert filled
    before = catalogue(merchant, "first")
    shared = {
        key: variant for product in before.values() for key, variant in product["variants"].items()
        if links_of(merchant, first.id)[key].variant_id in filled
    }  # fmt: skip
    assert shared
    true = truth(world)
    for variant in shared.values():
        cost, stock = true[variant["sku"]]
        if stock > 2:  # else the first has it, and the second has not
            assert (variant["stock"], variant["price"]) == (stock - 2, cost * 3), variant
    assert any(true[variant["sku"]][1] > 2 for variant in shared.values())
    again = sync_products(merchant, first.id)
    assert again["result"]["applied"] == 0, again
    assert catalogue(merchant, "first") == before


def test_only_linked_variants_are_kept_true_where_that_is_wanted(world, merchant):
    one = a_sku(world)
    run_feed(merchant, f"SKU,Title,Price,Quantity\n{one['sku']},Mine,500.00,1\n")
    connection = connected(world, merchant, rules=Rules(assortment="linked", out_of_stock="leave")).id
    unguarded(merchant, "bigbuy", missing="zero_stock")
    ended = sync_products(merchant, connection)
    assert ended["state"] == "succeeded", ended
    assert not catalogue(merchant, "bigbuy")
    mine = [v for p in catalogue(merchant).values() for v in p["variants"].values()]
    assert [variant["stock"] for variant in mine] == [one["stock"]]
    world.ask("PUT", f"bigbuy/products/{one['sku']}", {"gone": True})
    sync_products(merchant, connection)
    mine = [v for p in catalogue(merchant).values() for v in p["variants"].values()]
    assert [variant["stock"] for variant in mine] == [0]  # nobody is left that offers it


def test_what_is_done_with_offers_looks_them_up_by_key(merchant):
    """Beside syncs: lists, the state of a connection, routing, new prices, and their way back."""
    connection = filled(merchant, "mine", most=20)
    status_of(merchant, connection)
    with transaction(merchant_id=merchant) as session:
        for wanted in (OfferFilter(linked=True), OfferFilter(ambiguous=True), OfferFilter(sku="S7")):
            list_offers(session, connection, wanted, limit=10)
    (receipt,) = take(merchant, said_order(SaidLine(1, sku="S7")))
    with transaction(merchant_id=merchant) as session:
        assert routing(session, session.get_one(Order, receipt.order_id)).offers
        change = PriceChange(op="multiply", value=Decimal("1.1"))
        plan = update_prices(
            session, merchant_id=merchant, targets=PriceTargets(ProductFilter()), change=change, apply=True
        )
    assert take_back(merchant, plan.id).items
