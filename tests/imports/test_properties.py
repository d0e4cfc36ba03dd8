"""Random feeds against a reference written the slow way: what drafts mean, one after the other, in Python."""

import csv
import io
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.formats import delimited
from services.formats.base import Draft
from tests.conftest import make_merchant
from tests.examples import examples
from tests.imports.importing import catalogue, footprints, run_feed

HEADER = [
    *("Handle", "Title", "Body (HTML)", "Vendor", "Tags", "Status", "Option1 Name", "Option1 Value", "Option2 Name"),
    *("Option2 Value", "Variant SKU", "Variant Price", "Variant Compare At Price", "Variant Barcode"),
    *("Variant Inventory Qty", "Variant Grams", "Image Src", "Image Position", "Variant Image"),
]

words = st.text(st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=("Cs", "Cc")), max_size=12)
maybe = lambda strategy: st.one_of(st.just(""), strategy)  # noqa: E731
amounts = st.decimals("0.01", "99999", places=2).map(str)
urls = st.integers(1, 4).map(lambda n: f"https://i.example/{n}.jpg")

records = st.tuples(
    st.sampled_from(["a", "b", "B", "ä", "z-9", "12", "0012"]),
    maybe(words),
    maybe(words),
    maybe(st.sampled_from(["Oak", "Elm"])),
    maybe(st.sampled_from(["x", "x, y", " y ,,x, y"])),
    maybe(st.sampled_from(["active", "draft", "archived"])),
    maybe(st.just("Size")),
    maybe(st.sampled_from(["S", "M"])),
    maybe(st.just("Colour")),
    maybe(st.sampled_from(["Red", "Blue"])),
    maybe(st.sampled_from(["S-1", "S-2", "0042"])),
    maybe(amounts),
    maybe(amounts),
    maybe(st.sampled_from(["4006381333931", "0012345678905"])),
    maybe(st.integers(0, 500).map(str)),
    maybe(st.integers(1, 5000).map(str)),
    maybe(urls),
    maybe(st.integers(1, 9).map(str)),
    maybe(urls),
)
feeds = st.lists(records, min_size=1, max_size=25)


def _text(rows: list[tuple[str, ...]]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows([HEADER, ("first", "First", *[""] * 17), *rows])  # one record that is surely good
    return out.getvalue().encode()


PRODUCT = ("title", "description", "brand", "category", "tags", "status", "images", "option_names")
VARIANT = ("sku", "barcode", "options", "price", "compare_at_price", "cost", "currency", "stock", "weight_grams")


def _first(drafts: list[Draft], name: str) -> str | None:
    return next((value for draft in drafts if (value := getattr(draft, name)) is not None), None)


def _said_of_product(drafts: list[Draft]) -> dict[str, Any]:
    said: dict[str, Any] = {name: _first(drafts, name) for name in PRODUCT if name not in ("images", "tags")}
    tags = _first(drafts, "tags")
    said["tags"] = (
        None if tags is None else list(dict.fromkeys(t.strip() for t in tags.split(",") if t.strip())) or None
    )
    names = said["option_names"]
    said["option_names"] = None if names is None else names.split("\n")
    placed = [
        (int(draft.image_position or 10**9), draft.line, url)
        for draft in drafts
        if draft.image_urls
        for url in draft.image_urls.split("\n")
    ]
    said["images"] = list(dict.fromkeys(url for _, _, url in sorted(placed))) or None
    return said


def _said_of_variant(draft: Draft, option_names: list[str]) -> dict[str, Any]:
    said: dict[str, Any] = {name: getattr(draft, name) for name in VARIANT if name != "options"}
    for name in ("price", "compare_at_price", "cost"):
        said[name] = None if said[name] is None else Decimal(said[name])
    for name in ("stock", "weight_grams"):
        said[name] = None if said[name] is None else int(said[name])
    said["options"] = None
    if draft.option_values is not None:
        names = draft.option_names.split("\n") if draft.option_names else list(option_names)
        names += [f"Option {n}" for n in range(len(names) + 1, 4)]
        said["options"] = dict(zip(names, draft.option_values.split("\n"), strict=False))
    said["image_url"] = draft.variant_image_url
    return said


def _write(row: dict[str, Any] | None, said: dict[str, Any], blank: dict[str, Any]) -> dict[str, Any]:
    if row is None:
        return {**blank, **{name: value for name, value in said.items() if value is not None}, "version": 1}
    changed = {name: value for name, value in said.items() if value is not None and value != row[name]}
    return {**row, **changed, "version": row["version"] + bool(changed)}


def reference(known: dict[str, Any], content: bytes) -> dict[str, Any]:
    """The catalogue after this feed."""
    drafts = [item for item in delimited.read(io.BytesIO(content)).records if isinstance(item, Draft)]
    after = {key: {**product, "variants": dict(product["variants"])} for key, product in known.items()}
    for key in {draft.product_key for draft in drafts}:
        own = [draft for draft in drafts if draft.product_key == key]
        blank = {**dict.fromkeys(PRODUCT), "tags": [], "images": [], "option_names": [], "status": "active"}
        before = after.get(key)
        product = _write(before, _said_of_product(own), {**blank, "variants": {}})
        after[key] = product
        for variant_key in {draft.variant_key: None for draft in own if draft.variant_key is not None}:
            same = [draft for draft in reversed(own) if draft.variant_key == variant_key]
            latest = {name: _first(same, name) for name in Draft._fields}
            draft = Draft(**latest)  # type: ignore[arg-type]
            product["variants"][variant_key] = _write(
                product["variants"].get(variant_key),
                _said_of_variant(draft, product["option_names"]),
                {**dict.fromkeys((*VARIANT, "image_url")), "options": {}},
            )
    return after


@settings(max_examples=examples(8), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(feeds, min_size=1, max_size=3))
def test_any_feeds_come_to_what_they_say_and_once_more_changes_nothing(several):
    merchant = make_merchant()
    expected: dict[str, Any] = {}
    for rows in several:
        content = _text(rows)
        ended = run_feed(merchant, content)
        assert ended["state"] == "succeeded", ended
        before, expected = expected, reference(expected, content)
        assert catalogue(merchant) == expected
        counts = ended["result"]["products"]
        assert counts["created"] == len(expected) - len(before)
        assert counts["updated"] == sum(
            product["version"] != expected[key]["version"] for key, product in before.items()
        )
    untouched = footprints(merchant)
    ended = run_feed(merchant, _text(several[-1]))
    assert footprints(merchant) == untouched
    for counts in (ended["result"]["products"], ended["result"]["variants"]):
        assert (counts["created"], counts["updated"]) == (0, 0)
