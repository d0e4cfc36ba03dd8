"""Fixtures of the tests of orders that are sent: the sandbox, begun anew for each test."""

import pytest

from services.core.settings import get_settings
from services.suppliers import aliexpress, bigbuy
from tests.suppliers.subjects import SUBJECTS


@pytest.fixture
def world(sandbox, monkeypatch):
    monkeypatch.setattr(get_settings(), "sandbox_url", sandbox.url)
    for adapter in (aliexpress, bigbuy):  # one call a second would be a second a call
        monkeypatch.setattr(adapter, "quotas", lambda _: ())
    sandbox.reset()
    for supplier in ("aliexpress", "bigbuy"):
        SUBJECTS[supplier].prepare(sandbox)
    return sandbox
