"""Export → import is unchanged: for any catalogue, in every kind of file, and in the same words elsewhere."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, example, given, settings

from tests import inline
from tests.conftest import make_merchant
from tests.examples import examples
from tests.exports.exporting import KINDS, TRICKY, catalogues, exported, fill
from tests.imports.importing import begin, catalogue, errors_of, footprints


def _without_versions(merchant: UUID, source: str) -> dict[str, Any]:
    found = catalogue(merchant, source)
    for product in found.values():
        del product["version"]
        for variant in product["variants"].values():
            del variant["version"]
        product["variants"] = list(product["variants"].items())  # their order counts
    return found


def _import(merchant: UUID, content: bytes, source: str) -> dict[str, Any]:
    import_ = begin(merchant, content, source=source)
    ended = inline.work(import_.job_id)
    assert ended["state"] == "succeeded", ended
    assert [(error.code, error.value) for error in errors_of(import_)] == []
    return ended["result"]


@pytest.mark.parametrize(("format", "columns"), KINDS)
@settings(
    max_examples=examples(2), deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(products=catalogues)
@example(products=TRICKY)
def test_any_catalogue_comes_back_as_it_was(format, columns, products):
    merchant = make_merchant()
    fill(merchant, products)
    content = exported(merchant, format, columns, source="default")
    before = footprints(merchant)

    result = _import(merchant, content, "default")

    assert result["products"] == {"created": 0, "updated": 0, "unchanged": len(products)}
    variants = sum(len(product["variants"]) for product in products)
    assert result["variants"] == {"created": 0, "updated": 0, "unchanged": variants}
    assert footprints(merchant) == before
    other = make_merchant()
    _import(other, content, "elsewhere")
    assert _without_versions(other, "elsewhere") == _without_versions(merchant, "default")
