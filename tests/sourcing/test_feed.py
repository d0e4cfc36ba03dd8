"""A feed as a supplier, from connecting it to what it fills: no other supplier has anything like it."""

import uuid

import pytest

from services.sourcing.jobs import SyncSupplierProducts
from tests import inline
from tests.sourcing.syncing import begin, links_of, offers_of, runs_of, stored, sync_products, unguarded
from tests.suppliers.subjects import SUBJECTS

SECRETS = {"url": "catalogue.csv.gz", "header": "X-Api-Key: sandbox-feed-key"}


@pytest.fixture
def truth(world):
    SUBJECTS["feed"].prepare(world)
    return lambda: SUBJECTS["feed"].truth(world)


def test_a_feed_is_connected_synced_and_linked_by_its_barcodes(ask, merchant, truth, connect):
    bigbuy = connect(merchant)
    unguarded(merchant, "bigbuy")
    assert sync_products(merchant, bigbuy)["state"] == "succeeded"
    answer = ask(supplier="feed", name="List", secrets=SECRETS, rules={"assortment": "linked"})
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert "sandbox-feed-key" not in answer.text
    feed = uuid.UUID(made["id"])
    done = sync_products(merchant, feed)
    assert done["state"] == "succeeded", done
    assert stored(merchant, feed) == truth()
    linked = links_of(merchant, feed)
    assert linked
    assert {link.how for link in linked.values()} == {"barcode"}


def test_what_a_feed_no_longer_has_is_gone_and_a_broken_file_takes_nothing(ask, world, merchant, truth):
    feed = uuid.UUID(ask(supplier="feed", name="List", secrets=SECRETS).json()["id"])
    assert sync_products(merchant, feed)["state"] == "succeeded"
    before = stored(merchant, feed)
    job_id = begin(merchant, SyncSupplierProducts(connection_id=feed))
    with world.fault("truncated", route="catalogue.csv.gz"):
        broken = inline.work(job_id)
    assert (broken["state"], broken["error_code"]) == ("scheduled", "supplier_unavailable")
    assert stored(merchant, feed) == before
    assert inline.work(job_id)["state"] == "succeeded"
    assert stored(merchant, feed) == before
    first = next(iter(before))
    world.ask("PUT", f"feed/products/{first.partition('-')[0]}", {"gone": True})
    assert sync_products(merchant, feed)["state"] == "succeeded"
    assert stored(merchant, feed) == truth()
    assert len(stored(merchant, feed)) < len(before)
    assert any(offer.gone_at is not None for offer in offers_of(merchant, feed))
    assert runs_of(merchant, feed)[-1].state == "succeeded"
