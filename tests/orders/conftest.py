"""Fixtures of the tests of orders that are sent: a sandbox for each module, begun anew for each test."""

import pytest

from services.core.settings import get_settings
from services.suppliers import aliexpress, bigbuy
from tests.suppliers.subjects import SUBJECTS
from tests.suppliers.world import running


@pytest.fixture(scope="module")
def sandbox():
    settings = get_settings()
    before = settings.sandbox_url
    with running() as world:
        settings.sandbox_url = world.url
        yield world
    settings.sandbox_url = before


@pytest.fixture
def world(sandbox, monkeypatch):
    for adapter in (aliexpress, bigbuy):  # one call a second would be a second a call
        monkeypatch.setattr(adapter, "quotas", lambda _: ())
    sandbox.reset()
    for supplier in ("aliexpress", "bigbuy"):
        SUBJECTS[supplier].prepare(sandbox)
    return sandbox
