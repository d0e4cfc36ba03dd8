"""Files that merchants and shop systems really wrote, where a folder of them is at hand.

SHOPOPTI_REAL_DATA names the folder. What is expected of each file was counted independently of this reader; where
the two differ and the reader is right, the line says why.
"""

import os
from decimal import Decimal
from pathlib import Path

import pytest
from feeds import split

from services.formats import read as feed
from services.formats.base import Draft, FeedRefused, RowError

FOLDER = Path(os.environ.get("SHOPOPTI_REAL_DATA", ""))
pytestmark = pytest.mark.skipif(
    not os.environ.get("SHOPOPTI_REAL_DATA"), reason="SHOPOPTI_REAL_DATA does not name a folder of real feeds"
)

STIZUN = "lincompch__stizun/spec/data/"
MEDUSA = "medusajs__medusa/integration-tests/http/__tests__/product/admin/__fixtures__/"
VENDURE = "vendure-ecommerce__vendure/packages/core/"
VENDURE_TESTS = VENDURE + "src/data-import/providers/import-parser/test-fixtures/"
WOO = "wp-content/plugins/woocommerce/sample-data/"
MAGENTO = "magento__magento2-sample-data/app/code/Magento/"
DATABASE = "microsoft__sql-server-samples/samples/databases/adventure-works/oltp-install-script/"
BMECAT = "olivere__bmecat/bmecat"
BOL = "avdgaag__bol/spec/fixtures/"
BIGBUY = "balintbarna__bigbuy_syncer/bigbuy/catalog/"
QOR = "qor__exchange/backends/excel/fixtures/"
NEIL = "neilg63__spreadsheet_to_json_cli/tests/fixtures/"
RETAIL = "databricks__Spark-The-Definitive-Guide/data/retail-data/by-day/"

# file, format, products, variants, sum of prices (None: not counted), errors by code
FILES: list[tuple[str, str, int, int, str | None, dict[str, int]]] = [
    ("shopifypartners__product-csvs/apparel.csv", "shopify", 20, 22, "1295.00", {}),
    ("shopifypartners__product-csvs/home-and-garden.csv", "shopify", 20, 21, "2345.84", {}),
    ("shopifypartners__product-csvs/jewelery.csv", "shopify", 20, 23, "980.74", {}),
    ("PacktPublishing__Shopify-Theme-Customization-with-Liquid/Product-data.csv", "shopify", 20, 21, "2345.84", {}),
    ("YadaYadaSoftware__shopify-variant-splitter/shopify_sample_product_template.csv", "shopify", 3, 16, "602.99", {}),
    ("YadaYadaSoftware__shopify-variant-splitter/products_export_1.csv", "shopify", 8, 14, "239.86", {}),
    ("Ronne2406__productfeed/products_export_1.csv", "shopify", 196, 1477, "92731.64", {"price_zero": 369}),
    ("EimantasBlazevicius__Python-Intermediate/products_export_1.csv", "shopify", 98, 392, "3030.91", {}),
    ("fe-riki05__gatsby-shopify-demo/example/products.csv", "shopify", 99, 300, None, {}),
    # The sum is of what is paid: 693.05 of regular prices less five reductions.
    ("samerOffice__kamrun_diary/" + WOO + "sample_products.csv", "woocommerce", 18, 22, "663.05", {}),
    ("samerOffice__kamrun_diary/" + WOO + "experimental_fashion_sample_9_products.csv", "woocommerce", 9, 7, None, {}),
    ("samerOffice__kamrun_diary/" + WOO + "experimental_sample_9_products.csv", "woocommerce", 9, 6, None, {}),
    (
        "Evgenii17web__test_task_wp/" + WOO + "sample_products.csv",
        "woocommerce",
        18,
        22,
        None,
        {"parent_unexpected": 5},
    ),
    # Eleven rows, but one id stands on six of them: six products.
    ("Ramiel2009__feed/processed_products.csv", "generic", 6, 11, None, {}),
    # 22 named groups and 7 rows without one, each its own product (counting the empty name as a group gives 23).
    ("pharleg__lecc-google-merchant-feed/google_feed.tsv", "generic", 29, 160, None, {}),
    ("Valdri__xml-product-feed-dagra/facebook.csv", "generic", 10, 10, None, {}),
    (MAGENTO + "ConfigurableSampleData/fixtures/products.csv", "generic", 147, 1847, None, {}),
    (MAGENTO + "CatalogSampleData/fixtures/SimpleProduct/products_gear_bags.csv", "generic", 14, 14, None, {}),
    ("PrestaShop__PrestaShop-1.4/docs/csv_import/products_import.csv", "generic", 2, 2, "115.05", {}),
    ("PrestaShop__PrestaShop-1.4/docs/csv_import/combinations_import.csv", "generic", 1, 2, None, {}),
    (MEDUSA + "exported-products-semicolon.csv", "generic", 2, 3, "400", {}),
    (MEDUSA + "exported-products-comma.csv", "generic", 2, 3, "400", {}),
    (MEDUSA + "v1-template.csv", "generic", 3, 5, "4.50", {}),
    (MEDUSA + "invalid-column.csv", "generic", 1, 1, "100", {}),
    (MEDUSA + "unrelated-column.csv", "generic", 1, 1, "100", {}),
    (MEDUSA + "invalid-prices.csv", "generic", 1, 1, "100", {}),
    (MEDUSA + "prices-with-region.csv", "generic", 1, 1, "100", {}),
    (VENDURE + "mock-data/data-sources/products.csv", "generic", 54, 88, "30389.65", {}),
    (VENDURE_TESTS + "multiple-products-multiple-variants.csv", "generic", 4, 10, None, {}),
    (VENDURE_TESTS + "multiple-languages.csv", "generic", 1, 3, "137.3", {}),
    (VENDURE_TESTS + "invalid-row-length.csv", "generic", 2, 2, None, {"row_too_short": 1}),
    (VENDURE_TESTS + "invalid-option-values.csv", "generic", 0, 0, None, {"options_mismatch": 4}),
    ("lincompch__stizun/features/data/500_products.csv", "generic", 500, 500, None, {}),
    ("lincompch__stizun/features/data/500_products_utf8.csv", "generic", 500, 500, None, {}),
    (STIZUN + "500_products_with_5_changes.csv", "generic", 500, 500, None, {}),
    (STIZUN + "485_products.csv", "generic", 485, 485, None, {}),
    (STIZUN + "370_im_products.csv", "generic", 370, 370, None, {"price_zero": 53}),
    (STIZUN + "370_im_products_with_4_changes.csv", "generic", 370, 370, None, {"price_zero": 53}),
    (STIZUN + "360_im_products.csv", "generic", 360, 360, None, {"price_zero": 52}),
    # One EAN, rounded by a spreadsheet, has slipped into the weight.
    (STIZUN + "jet_products.csv", "generic", 101, 101, "0", {"barcode_damaged": 58, "weight_unparsable": 1}),
    (STIZUN + "jet_products.utf8.csv", "generic", 101, 101, "0", {"barcode_damaged": 58, "weight_unparsable": 1}),
    (STIZUN + "PL_6xxxxx.csv", "generic", 39, 39, None, {"price_zero": 3, "weight_unparsable": 2}),
    (STIZUN + "85_pocketmedia.csv", "generic", 83, 83, None, {}),
    (STIZUN + "88_pocketmedia.csv", "generic", 88, 88, None, {"cost_zero": 88, "barcode_damaged": 86}),
    (STIZUN + "adegeranium_complete.csv", "generic", 3, 3, "1736.10", {}),
    (STIZUN + "alltron_problematic_router.csv", "generic", 1, 1, "308", {}),
    ("firmao__LDatasetGenerator/Abt.csv", "generic", 1081, 1081, None, {}),
    ("neo4j-contrib__northwind-neo4j/data/products.csv", "generic", 77, 77, None, {}),
    ("papyrussolution__UhttBarcodeReference/uhtt_100k.tsv", "generic", 99994, 99994, "0", {}),
    # One id stands twice, on two equal items.
    ("petrfilo-arch__importpc-feed/google_feed.xml", "google_xml", 1254, 1255, None, {}),
    ("Ramiel2009__feed/google_merchant_feed.xml", "google_xml", 25, 25, "0", {"price_missing": 25}),
    ("dmitrykram__ya/yandex_market.xml", "yandex_yml", 11, 77, None, {}),
    ("max36895__islandgift/yml.xml", "yandex_yml", 102, 102, None, {}),
    ("laspavel__xls_to_rozetkaxml/pricelist.xml", "yandex_yml", 982, 982, "438302", {}),
    # Items without a number are known by barcode or page: some of these samples stand for one another.
    ("mhujer__xml-feeds-schemas/heureka.xml", "heureka_xml", 16, 18, None, {}),
    ("mhujer__xml-feeds-schemas/zbozi.xml", "heureka_xml", 2, 5, None, {}),
    ("mhujer__xml-feeds-schemas/universal.xml", "heureka_xml", 7, 7, None, {}),
    ("VapePuffmi__Puffmi-xml/heureka.xml", "heureka_xml", 29, 30, None, {}),
    ("Valdri__xml-product-feed-dagra/ceneo.xml", "ceneo_xml", 8, 8, None, {}),
    (BMECAT + "12/testdata/new_catalog.golden.xml", "bmecat_xml", 1, 1, "1499.5", {}),
    (BMECAT + "2005/testdata/new_catalog.golden.xml", "bmecat_xml", 1, 1, "1499.5", {}),
    (BMECAT + "12/testdata/update_prices.golden.xml", "bmecat_xml", 1, 1, "1499.5", {}),
    (BOL + "searchproducts.xml", "generic_xml", 2, 2, "41.98", {}),
    (BOL + "products.xml", "generic_xml", 1, 1, "70.99", {}),
    (BOL + "product-without-offers.xml", "generic_xml", 1, 1, "0", {}),
    # The CSV export of the same shop has the same products, variants and prices.
    ("samerOffice__kamrun_diary/" + WOO + "sample_products.xml", "woocommerce_wxr", 18, 22, "663.05", {}),
    (STIZUN + "4_alltron_stock_updates.xml", "generic_xml", 5, 5, "0", {}),
    ("Ovi__DummyJSON/database/products.json", "generic_json", 194, 194, "304599.96", {}),
    (BIGBUY + "information.txt", "generic_json", 10319, 10319, "0", {}),
    (BIGBUY + "variations.txt", "bigbuy_json", 424, 1422, None, {}),
    (
        "udsy19__material-bank_data-scrape/tests/fixtures/shopify_products.json",
        "shopify_json",
        2,
        6,
        "18240.00",
        {},
    ),
    ("jettzlgh__lubie_agent/shopify_products.json", "shopify_json", 30, 40, "1941.50", {"price_zero": 5}),
    ("laspavel__xls_to_rozetkaxml/pricelist.xlsx", "generic_xlsx", 982, 982, "438302", {}),
    (QOR + "products.xlsx", "generic_xlsx", 3, 3, "600", {}),
    (QOR + "invalid_price_products.xlsx", "generic_xlsx", 3, 3, "111", {"price_zero": 2}),
    (NEIL + "products.xlsx", "generic_xlsx", 3, 3, "34.49", {}),
    (NEIL + "header_gap.xlsx", "generic_xlsx", 2, 2, "0", {}),
    # Twelve of the 552 prices are 0; two rows hold a unit and nothing else.
    ("YaroslavGrushko__NTK/price.xls", "generic_xls", 550, 552, None, {"price_zero": 12, "key_missing": 2}),
    (STIZUN + "370_im_products_reference.ods", "generic_ods", 369, 369, None, {"price_zero": 52}),
]
REFUSED = [
    *((DATABASE + f"{name}.csv", "first row looks like data") for name in
      ("Product", "ProductModel", "ProductDescription", "ProductInventory", "PurchaseOrderHeader",
       "PurchaseOrderDetail")),
    *((RETAIL + f"{day}.csv", "list of orders") for day in ("2010-12-01", "2011-12-05", "2011-12-09")),
    ("neo4j-contrib__northwind-neo4j/data/orders.csv", "list of orders"),
    ("neo4j-contrib__northwind-neo4j/data/order-details.csv", "list of orders"),
    (MAGENTO + "SalesSampleData/fixtures/orders.csv", "list of orders"),
    (NEIL + "corrupt.xlsx", "No column says"),
    (NEIL + "multi_sheet.xlsx", "id, note"),
    (BIGBUY + "attributes.txt", "id, attributeGroup, name"),
    ("sergiykarpenko__bb_sitemap_output/sitemap_index.xml", "repeated"),
    ("sergiykarpenko__bb_sitemap_output/sitemap_products_1.xml", "do not look like products"),
    ("scrapinghub__extruct/tests/samples/misc/product_microdata.html", "web page"),
]  # fmt: skip
# Single cells: file → (field to find the draft by, its value) → what it holds.
CELLS: list[tuple[str, str, str, dict[str, str | None]]] = [
    ("shopifypartners__product-csvs/apparel.csv", "product_key", "ocean-blue-shirt", {"price": "50"}),
    ("shopifypartners__product-csvs/apparel.csv", "product_key", "led-high-tops", {"price": "80"}),
    ("shopifypartners__product-csvs/home-and-garden.csv", "product_key", "clay-plant-pot",
     {"price": "9.99", "option_values": "Regular"}),
    ("shopifypartners__product-csvs/jewelery.csv", "product_key", "chain-bracelet",
     {"price": "42.99", "option_values": "Blue"}),
    ("YadaYadaSoftware__shopify-variant-splitter/shopify_sample_product_template.csv", "sku", "SRT_COT_111",
     {"price": "25"}),
    ("YadaYadaSoftware__shopify-variant-splitter/shopify_sample_product_template.csv", "sku", "HAT_GRY_275",
     {"price": "17.99"}),
    ("YadaYadaSoftware__shopify-variant-splitter/products_export_1.csv", "sku", "wax-original-2oz", {"price": "16.99"}),
    ("Ronne2406__productfeed/products_export_1.csv", "product_key", "kl-ver-kjede-1-1-gratis", {"price": "30.99"}),
    ("EimantasBlazevicius__Python-Intermediate/products_export_1.csv", "sku", "2-3",
     {"price": "22.00", "product_key": "amerikietiskas-java-regiono-misinys", "option_values": "1kg"}),
    ("fe-riki05__gatsby-shopify-demo/example/products.csv", "sku", "synergistic-bronze-bench-cerulean",
     {"price": "33.45"}),
    ("samerOffice__kamrun_diary/" + WOO + "sample_products.csv", "sku", "woo-hoodie-red",
     {"price": "42", "compare_at_price": "45", "product_key": "woo-hoodie"}),
    ("samerOffice__kamrun_diary/" + WOO + "sample_products.csv", "sku", "wp-pennant", {"price": "11.05"}),
    ("samerOffice__kamrun_diary/" + WOO + "experimental_fashion_sample_9_products.csv", "product_key",
     "woo-fasion-sweater",
     {"price": "16", "compare_at_price": "18"}),
    ("Evgenii17web__test_task_wp/" + WOO + "sample_products.csv", "sku", "woo-hoodie-blue",
     {"price": "45", "product_key": "woo-hoodie"}),
    ("Ramiel2009__feed/processed_products.csv", "product_key", "beachwaver-b1", {"price": "99.00", "currency": "USD"}),
    ("pharleg__lecc-google-merchant-feed/google_feed.tsv", "sku", "0b58c3a2-2694-4b43-b1ce-62f1759a1b4d",
     {"price": "10.00", "currency": "USD"}),
    (MAGENTO + "ConfigurableSampleData/fixtures/products.csv", "sku", "MH01-XS-Black",
     {"price": "52", "product_key": "MH01", "variant_key": "XS / Black", "stock": "100"}),
    (MAGENTO + "ConfigurableSampleData/fixtures/products.csv", "sku", "WH02-XS-Orange", {"price": "48"}),
    (MAGENTO + "CatalogSampleData/fixtures/SimpleProduct/products_gear_bags.csv", "sku", "24-WB04", {"price": "45"}),
    ("PrestaShop__PrestaShop-1.4/docs/csv_import/products_import.csv", "title", "iPod Nano",
     {"price": "49", "stock": "800"}),
    ("PrestaShop__PrestaShop-1.4/docs/csv_import/products_import.csv", "title", "iPod shuffle",
     {"price": "66.05", "cost": "79"}),
    (VENDURE + "mock-data/data-sources/products.csv", "sku", "L2201508",
     {"price": "1399.00", "product_key": "laptop", "variant_key": "15 inch / 8GB"}),
    ("lincompch__stizun/features/data/500_products.csv", "sku", "1028",
     {"title": "Audio-Kabel für ATAPI CD-ROM, 65cm", "stock": "2134", "price": "4", "barcode": "4015867568453"}),
    (STIZUN + "370_im_products.csv", "sku", "0180009", {"cost": "12.20", "stock": "54", "price": None}),
    (STIZUN + "370_im_products.csv", "sku", "0712020", {"cost": "133.00", "price": "211.58"}),
    (STIZUN + "370_im_products.csv", "sku", "0770BW9", {"cost": "221.87"}),
    (STIZUN + "PL_6xxxxx.csv", "sku", "0585EJ5", {"price": "48.00", "cost": "44.00", "stock": "20"}),
    (STIZUN + "PL_6xxxxx.csv", "sku", "2M3WT00", {"price": "955.43"}),
    (STIZUN + "jet_products.csv", "sku", "24619", {"stock": "0", "weight_grams": "9700", "barcode": None}),
    (STIZUN + "85_pocketmedia.csv", "sku", "10 50 0086", {"cost": "110", "price": "179", "barcode": "4032661274809"}),
    (STIZUN + "88_pocketmedia.csv", "sku", "10 50 0086", {"cost": None, "barcode": None}),
    (STIZUN + "adegeranium_complete.csv", "sku", "ADE50099", {"price": "347.2"}),
    ("firmao__LDatasetGenerator/Abt.csv", "sku", "27186", {"price": "1999.00", "currency": "USD"}),
    ("neo4j-contrib__northwind-neo4j/data/products.csv", "product_key", "77",
     {"title": "Original Frankfurter grüne Soße", "price": "13.00"}),
    ("papyrussolution__UhttBarcodeReference/uhtt_100k.tsv", "product_key", "3948317", {"barcode": "8001283070096"}),
    ("papyrussolution__UhttBarcodeReference/uhtt_100k.tsv", "barcode", "045883562726", {"product_key": "2014227"}),
    ("petrfilo-arch__importpc-feed/google_feed.xml", "sku", "2ed1c8b3-157c-4aec-b2e4-2c16d17df109",
     {"price": "599", "currency": "CZK"}),
    ("petrfilo-arch__importpc-feed/google_feed.xml", "sku", "HD-UN127", {"price": "439", "currency": "CZK"}),
    ("dmitrykram__ya/yandex_market.xml", "variant_key", "413376464",
     {"sku": "00001", "price": "8600.00", "currency": "RUB", "product_key": "413376464"}),
    ("max36895__islandgift/yml.xml", "product_key", "226060062", {"price": "1040", "currency": "RUB"}),
    ("max36895__islandgift/yml.xml", "product_key", "3065767248", {"price": "3000"}),
    ("laspavel__xls_to_rozetkaxml/pricelist.xml", "product_key", "202001", {"price": "290", "currency": "UAH"}),
    ("laspavel__xls_to_rozetkaxml/pricelist.xml", "product_key", "500110", {"price": "396"}),
    ("laspavel__xls_to_rozetkaxml/pricelist.xlsx", "product_key", "202001",
     {"sku": "MC414", "price": "290", "currency": "UAH"}),
    ("laspavel__xls_to_rozetkaxml/pricelist.xlsx", "product_key", "500110", {"sku": "VP22S", "price": "396"}),
    ("mhujer__xml-feeds-schemas/heureka.xml", "barcode", "6417182041488", {"price": "6000"}),
    ("mhujer__xml-feeds-schemas/zbozi.xml", "barcode", "1234567890123", {"price": "620"}),
    ("VapePuffmi__Puffmi-xml/heureka.xml", "variant_key", "54387847037254", {"price": "160.0", "currency": "CZK"}),
    ("Valdri__xml-product-feed-dagra/ceneo.xml", "sku", "1", {"price": "399", "currency": "PLN"}),
    ("Valdri__xml-product-feed-dagra/ceneo.xml", "sku", "10", {"price": "489"}),
    (BMECAT + "12/testdata/new_catalog.golden.xml", "sku", "1000", {"barcode": "8712670911213", "price": "1499.5"}),
    (BMECAT + "2005/testdata/new_catalog.golden.xml", "sku", "1000", {"barcode": "8712670911213", "price": "1499.5"}),
    (BMECAT + "12/testdata/update_prices.golden.xml", "sku", "1000", {"price": "1499.5", "title": None}),
    (BOL + "product-without-offers.xml", "sku", "1001004006016448", {"price": None}),
    ("samerOffice__kamrun_diary/" + WOO + "sample_products.xml", "sku", "woo-hoodie-with-logo", {"price": "45"}),
    (STIZUN + "4_alltron_stock_updates.xml", "sku", "1028", {"stock": "999"}),
    (STIZUN + "4_alltron_stock_updates.xml", "sku", "1289", {"stock": "5"}),
    ("Ovi__DummyJSON/database/products.json", "sku", "BEA-ESS-ESS-001", {"price": "9.99", "stock": "99"}),
    ("Ovi__DummyJSON/database/products.json", "sku", "WOM-FAS-WOM-194", {"price": "129.99"}),
    (BIGBUY + "information.txt", "sku", "F1515101", {"title": "Hovedmassage værktøj", "product_key": "1"}),
    (BIGBUY + "variations.txt", "sku", "V0200665", {"cost": "4.26", "price": "8.36"}),
    (BIGBUY + "variations.txt", "sku", "B1005122", {"cost": "19.99", "price": "36.89"}),
    ("udsy19__material-bank_data-scrape/tests/fixtures/shopify_products.json", "sku", "K2GENIUS5260NWBRDN",
     {"price": "2370.00", "compare_at_price": "2420.00"}),
    ("jettzlgh__lubie_agent/shopify_products.json", "sku", "PACK-TRIO-LUB-RICHE", {"price": "40.00"}),
    (QOR + "products.xlsx", "sku", "P001", {"price": "100"}),
    (QOR + "invalid_price_products.xlsx", "sku", "P001", {"price": "111"}),
    (QOR + "invalid_price_products.xlsx", "sku", "P002", {"price": None}),
    (NEIL + "products.xlsx", "sku", "SKU002", {"price": "19.5", "stock": "50"}),
    (NEIL + "header_gap.xlsx", "sku", "SKU001", {"stock": "10"}),
    ("YaroslavGrushko__NTK/price.xls", "sku", "10102",
     {"title": "Папір Zoom А4 80 гр (500 арк.)", "price": "96", "category": "Товари > 01 Бумага > 0101 Бумага А4"}),
    ("YaroslavGrushko__NTK/price.xls", "sku", "150207", {"price": "110"}),
]  # fmt: skip


def load(path: str, currency: str | None = None) -> tuple[str, list[Draft], list[RowError]]:
    with (FOLDER / path).open("rb") as stream:
        found = feed.read(stream, default_currency=currency)
        return (found.format, *split(found))


def variants(drafts: list[Draft]) -> list[Draft]:
    return [one for one in drafts if one.variant_key is not None]


@pytest.mark.parametrize(
    ("path", "kind", "products", "count", "total", "codes"), FILES, ids=[line[0] for line in FILES]
)
def test_counts(  # noqa: PLR0917  a line of the table
    path: str, kind: str, products: int, count: int, total: str | None, codes: dict[str, int]
) -> None:
    found, drafts, errors = load(path)
    assert found == (kind if "_" in kind else f"{kind}_csv")
    assert len({one.product_key for one in drafts}) == products
    assert len(variants(drafts)) == count
    if total is not None:
        assert sum(Decimal(one.price) for one in drafts if one.price) == Decimal(total)
    assert {code: sum(one.code == code for one in errors) for code in {one.code for one in errors}} == codes


@pytest.mark.parametrize(("path", "reason"), REFUSED, ids=[line[0] for line in REFUSED])
def test_refused(path: str, reason: str) -> None:
    with pytest.raises(FeedRefused, match=reason):
        load(path)


@pytest.mark.parametrize(("path", "field", "value", "expected"), CELLS, ids=[f"{line[0]} {line[2]}" for line in CELLS])
def test_cells(path: str, field: str, value: str, expected: dict[str, str | None]) -> None:
    named = [one for one in load(path)[1] if getattr(one, field) == value]
    matching = [{name: getattr(one, name) for name in expected} for one in named]
    assert expected in matching


def changed(before: str, after: str) -> dict[str | None, set[str]]:
    """SKU → the fields that differ, for the articles two lists have in common."""
    old, new = ({one.sku: one for one in load(path)[1]} for path in (before, after))
    differing = {
        sku: {name for name in Draft._fields if name != "line" and getattr(old[sku], name) != getattr(new[sku], name)}
        for sku in old.keys() & new.keys()
    }
    return {sku: fields for sku, fields in differing.items() if fields}


def test_two_deliveries_of_one_list_differ_where_they_should() -> None:
    first = "lincompch__stizun/features/data/500_products.csv"
    assert changed(first, "lincompch__stizun/features/data/500_products_utf8.csv") == {}
    assert changed(first, STIZUN + "500_products_with_5_changes.csv").keys() == {"1289", "2313", "3188", "5509", "6591"}
    assert changed(STIZUN + "370_im_products.csv", STIZUN + "370_im_products_with_4_changes.csv").keys() == {
        "0180538",
        "0180631",
        "018Z055",
        "0711186",
    }
    before = {one.sku for one in load(STIZUN + "370_im_products.csv")[1]}
    after = {one.sku for one in load(STIZUN + "360_im_products.csv")[1]}
    assert len(before - after) == 10


def test_states() -> None:
    for path, active, draft in (
        ("YadaYadaSoftware__shopify-variant-splitter/products_export_1.csv", 4, 4),
        ("Ronne2406__productfeed/products_export_1.csv", 155, 41),
    ):
        drafts = load(path)[1]
        assert sum(one.status == "active" for one in drafts) == active
        assert sum(one.status == "draft" for one in drafts) == draft


def test_a_wordpress_export_and_the_csv_of_the_same_shop() -> None:
    folder = "samerOffice__kamrun_diary/" + WOO
    table, document = ({one.sku: one for one in load(folder + f"sample_products.{kind}")[1] if one.sku}
                       for kind in ("csv", "xml"))  # fmt: skip
    assert table.keys() == document.keys()
    # The XML does not say which category stands under which; the table does.
    for name in ("product_key", "variant_key", "price", "compare_at_price", "status", "option_values"):
        assert {sku: getattr(one, name) for sku, one in table.items()} == {
            sku: getattr(one, name) for sku, one in document.items()
        }, name


def test_a_price_list_as_a_workbook_and_as_a_feed() -> None:
    folder = "laspavel__xls_to_rozetkaxml/pricelist."
    book, document = ({one.product_key: one.price for one in load(folder + kind)[1]} for kind in ("xlsx", "xml"))
    assert book == document


def test_more_counts() -> None:
    google = load("petrfilo-arch__importpc-feed/google_feed.xml")[1]
    assert sum(one.stock == "0" for one in google) == 9
    pictures = [one.image_urls or "" for one in load("Ovi__DummyJSON/database/products.json")[1]]
    assert sum(len(urls.split("\n")) for urls in pictures if urls) == 474
    texts = {one.product_key for one in load(BIGBUY + "information.txt")[1]}
    assert {one.product_key for one in load(BIGBUY + "variations.txt")[1]} <= texts
    missing = [one for one in load("max36895__islandgift/yml.xml")[1] if not one.image_urls]
    assert len(missing) >= 11


@pytest.mark.parametrize(("currency", "price"), [("USD", "100"), ("EUR", "45"), ("DKK", "30")])
def test_the_shops_currency_chooses_the_column(currency: str, price: str) -> None:
    first = load(MEDUSA + "exported-products-semicolon.csv", currency)[1][0]
    assert (first.product_key, first.price, first.currency) == ("base-product", price, currency)
