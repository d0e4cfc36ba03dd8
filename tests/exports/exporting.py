"""Random catalogues, and exports of them from the request to the file."""

from decimal import Decimal
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from services.catalog.queries import ProductFilter
from services.core.db import transaction
from services.core.ids import new_id
from services.exports import queries
from services.exports.ask import start_export
from services.models import Export, Product, Variant
from tests import inline

# Format and columns of every kind of file.
KINDS = [
    *[("csv", columns) for columns in ("plain", "shopify", "woocommerce")],
    *[("xlsx", columns) for columns in ("plain", "shopify", "woocommerce")],
    ("json", None),
    ("ndjson", None),
]

# What has gone wrong in one file format or another.
_AWKWARD = [
    *("=1+1", "+49 30", "-5", "@SUM(A1)", "\tx", "\rx", "'=1", "''=1", "'quoted'", "＝1", '=HYPERLINK("http://x")'),
    *("0042", "1.50", "1,234", "1E5", "12e3", "true", "NULL", "n/a", "-", "#N/A", "2026-01-31", "1/2"),
    *(
        " before",
        "behind ",
        " ",
        "\u00a0",
        "a\nb",
        "a\r\nb",
        "\n",
        "a\\nb",
        "a\\\nb",
        "back\\",
        "back\\ ",
        "a\\,b",
        "\\",
    ),
    *('6" pipe', '"', '""', "a,b", "a;b|c\td", "_x0041_", "_x000D_", "&amp; <b>", "</t>", "]]>", "{", "[1]"),
    *(
        "Ærøskøbing",
        "日本語",
        "e\u0301",
        "👩‍👧",
        "\u2028",
        "\x85",
        "\x0b",
        "\ufeff",
        "Title",
        "Default Title",
    ),
    *("SKU", "Price", "source", "0", "00", "\\n\n", "x" * 300),
]
# Without two code points that are no characters: no workbook can hold them, and there is a test of its own for that.
_LETTERS = st.characters(codec="utf-8", exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff")
texts = st.one_of(st.text(_LETTERS, min_size=1, max_size=10), st.sampled_from(_AWKWARD))
# A draft has options line by line, tags between commas and addresses that begin like one.
_lines = texts.filter(lambda text: "\n" not in text)
_tags = _lines.filter(lambda text: "," not in text).map(str.strip).filter(bool)
_codes = texts.filter(lambda text: "\x0b" not in text)
_urls = st.one_of(
    st.integers(1, 9).map(lambda number: f"https://i.example/{number}.jpg"),
    st.sampled_from(["//i.example/a,b.png?x=1&y=2", "HTTP://i.example/ü/%20.webp#=1", "https://i.example/w_1,h_2/a"]),
)
_money = st.one_of(
    st.decimals("0.01", "99999", places=2),
    st.decimals("0.000001", "999999999999.999999", places=6),
    st.sampled_from([Decimal("1.234"), Decimal("0.000001"), Decimal("123456789012.345678"), Decimal("1000")]),
)
_named = st.lists(st.one_of(st.sampled_from(["Size", "Colour", "=Fit"]), _lines), unique=True, max_size=3)


@st.composite
def _variants(draw: Any, names: list[str]) -> dict[str, Any]:
    chosen = draw(st.lists(st.sampled_from(names), unique=True)) if names else []
    if names and draw(st.integers(0, 9)) == 0:
        chosen = list(dict.fromkeys([*chosen, *draw(_named)]))[:3]
    if not names and draw(st.integers(0, 4)) == 0:
        chosen = ["Option 1"]  # a feed with values and no names
    options = {name: draw(st.one_of(_lines, st.just("S"))) for name in chosen}
    if next(iter(options), "Title") in ("Title", "Option 1"):  # to Shopify such a value says that there are no options
        options = {name: value.replace("Default Title", "S") for name, value in options.items()}
    if len(options) > 1 and draw(st.booleans()):  # "any", as WooCommerce has it
        options[chosen[-1]] = ""
    maybe = lambda strategy: draw(st.one_of(st.none(), strategy))  # noqa: E731
    return {
        "key": draw(st.one_of(st.just(""), st.just(" / ".join(options.values())), texts)),
        "sku": maybe(st.one_of(_codes, st.sampled_from(["k1", "0042"]))),
        "barcode": maybe(st.one_of(_codes, st.just("0012345678905"))),
        "options": options,
        "price": maybe(_money),
        "compare_at_price": maybe(_money),
        "cost": maybe(_money),
        "currency": maybe(st.sampled_from(["EUR", "USD", "JPY"])),
        "stock": maybe(st.integers(0, 10**8)),
        "weight_grams": maybe(st.integers(1, 10**8)),
        "image_url": maybe(_urls),
    }


@st.composite
def _products(draw: Any) -> dict[str, Any]:
    names = draw(_named)
    maybe = lambda strategy: draw(st.one_of(st.none(), strategy))  # noqa: E731
    return {
        "key": draw(st.one_of(st.sampled_from(["k1", "k2", "0042"]), texts)),
        "title": maybe(texts),
        "description": maybe(st.one_of(texts, st.lists(texts, max_size=5).map("".join).filter(bool))),
        "brand": maybe(texts),
        "category": maybe(texts),
        "tags": draw(st.lists(_tags, unique=True, max_size=3)),
        "status": draw(st.sampled_from(["active", "draft", "archived"])),
        "images": draw(st.lists(_urls, unique=True, max_size=4)),
        "option_names": names,
        "variants": draw(st.lists(_variants(names), max_size=4, unique_by=lambda variant: variant["key"])),
    }


catalogues = st.lists(_products(), min_size=1, max_size=5, unique_by=lambda product: product["key"])


_BLANK: dict[str, Any] = {
    **dict.fromkeys(("title", "description", "brand", "category")),
    **{name: [] for name in ("tags", "images", "option_names", "variants")},
    "status": "active",
}
_ONE: dict[str, Any] = {
    **dict.fromkeys(("sku", "barcode", "price", "compare_at_price", "cost", "currency", "stock")),
    **dict.fromkeys(("weight_grams", "image_url")),
    "options": {},
    "key": "",
}
# No title, no number, no price: some readers would see nothing in such a row.
_EMPTY = {**_BLANK, "key": "empty", "variants": [_ONE, {**_ONE, "key": "second"}]}
_NO_VARIANT = {**_BLANK, "key": "=none", "images": ["https://i.example/1.jpg"], "option_names": ["Size"]}
# The first variant has not all of its product's options.
_UNEVEN = {
    **_BLANK,
    "key": "uneven",
    "option_names": ["Size", "Colour"],
    "images": ["https://i.example/1.jpg", "https://i.example/2.jpg"],
    "variants": [{**_ONE, "options": {"Colour": "red"}}, {**_ONE, "key": "2", "options": {"Size": "S", "Colour": ""}}],
}
TRICKY = [_EMPTY, _NO_VARIANT, _UNEVEN]


def fill(merchant: UUID, products: list[dict[str, Any]], *, source: str = "default") -> None:
    """Put these products into the catalogue, whatever feed could have brought them."""
    with transaction(merchant_id=merchant) as session:
        for given in products:
            own = {name: value for name, value in given.items() if name != "variants"}
            product = Product(id=new_id(), merchant_id=merchant, source=source, **own)
            session.add(product)
            session.add_all(
                Variant(merchant_id=merchant, product_id=product.id, position=position, **variant)
                for position, variant in enumerate(given["variants"], 1)
            )


def ask(merchant: UUID, format: str, columns: str | None = None, **filters: Any) -> Export:
    """An export and its jobs, not yet begun."""
    with transaction(merchant_id=merchant) as session:
        return start_export(
            session, merchant_id=merchant, format=format, columns=columns, matching=ProductFilter(**filters)
        )


def asked(export: Export) -> queries.Asked:
    """The export as it is now, with its job."""
    with transaction(merchant_id=export.merchant_id) as session:
        return queries.get_export(session, export.id)


def content(export: Export) -> bytes:
    """Its file."""
    return b"".join(queries.chunks(queries.open_file(asked(export))))


def exported(merchant: UUID, format: str, columns: str | None = None, **filters: Any) -> bytes:
    """The file of an export, from the request to its end."""
    export = ask(merchant, format, columns, **filters)
    ended = inline.work(export.job_id)
    assert ended["state"] == "succeeded", ended
    return content(export)
