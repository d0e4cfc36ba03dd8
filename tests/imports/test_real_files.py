"""Real feeds, whole way: what the files in SHOPOPTI_REAL_DATA yield, beside what their index says they should."""

import os
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import text

from services.core.db import transaction
from tests import inline
from tests.imports.importing import begin, footprints, reload

FOLDER = os.environ.get("SHOPOPTI_REAL_DATA")
pytestmark = pytest.mark.skipif(not FOLDER, reason="SHOPOPTI_REAL_DATA names no folder of real feeds")

WOO = "samerOffice__kamrun_diary/wp-content/plugins/woocommerce/sample-data"
WOO_EDITED = "Evgenii17web__test_task_wp/wp-content/plugins/woocommerce/sample-data"
MAGENTO = "magento__magento2-sample-data/app/code/Magento"
VENDURE = "vendure-ecommerce__vendure/packages/core"
STIZUN = "lincompch__stizun"
IMPORTER = f"{VENDURE}/src/data-import/providers/import-parser/test-fixtures"

# File → products, variants, variants with a price, sum of those prices, records left out. Where the index says
# something else, the reason stands above.
# fmt: off
EXPECTED = {
    "shopifypartners__product-csvs/apparel.csv": (20, 22, 22, "1295", 0),
    "shopifypartners__product-csvs/home-and-garden.csv": (20, 21, 21, "2345.84", 0),
    "shopifypartners__product-csvs/jewelery.csv": (20, 23, 23, "980.74", 0),
    "PacktPublishing__Shopify-Theme-Customization-with-Liquid/Product-data.csv": (20, 21, 21, "2345.84", 0),
    "YadaYadaSoftware__shopify-variant-splitter/shopify_sample_product_template.csv": (3, 16, 16, "602.99", 0),
    "YadaYadaSoftware__shopify-variant-splitter/products_export_1.csv": (8, 14, 14, "239.86", 0),
    # 369 variants cost 0.00: that is no price, and is reported.
    "Ronne2406__productfeed/products_export_1.csv": (196, 1477, 1108, "92731.64", 0),
    "EimantasBlazevicius__Python-Intermediate/products_export_1.csv": (98, 392, 392, "3030.91", 0),
    # One of the handles that come twice has the colour cerise in both: 299 variants, the 300th row is reported.
    "fe-riki05__gatsby-shopify-demo/example/products.csv": (99, 299, 299, "14578.76", 1),
    # 15 simple ones and 7 variations; 663.05 is with the sale prices, the regular ones sum to 693.05.
    f"{WOO}/sample_products.csv": (18, 22, 22, "663.05", 0),
    # Two of the nine are variable and have no variations in the file.
    f"{WOO}/experimental_fashion_sample_9_products.csv": (9, 7, 6, "118", 0),
    # Three of the nine are variable or grouped and have no variations in the file.
    f"{WOO}/experimental_sample_9_products.csv": (9, 6, 6, "217", 0),
    # Parent is honoured, and reported, where it stands on a simple product.
    f"{WOO_EDITED}/sample_products.csv": (18, 22, 22, "663.05", 0),
    # Eleven rows with six ids: the index takes the rows for products.
    "Ramiel2009__feed/processed_products.csv": (6, 6, 6, "359", 5),
    # 22 groups, and 7 rows without one that are a product each: the index takes those for a 23rd group.
    "pharleg__lecc-google-merchant-feed/google_feed.tsv": (29, 160, 160, "6775", 0),
    f"{MAGENTO}/ConfigurableSampleData/fixtures/products.csv": (147, 1847, 1847, "83368.6", 0),
    f"{MAGENTO}/CatalogSampleData/fixtures/SimpleProduct/products_gear_bags.csv": (14, 14, 14, "574", 0),
    f"{VENDURE}/mock-data/data-sources/products.csv": (54, 88, 88, "30389.65", 0),
    f"{IMPORTER}/multiple-products-multiple-variants.csv": (4, 10, 10, "1106.36", 0),
    f"{IMPORTER}/multiple-languages.csv": (1, 3, 3, "137.3", 0),
    f"{IMPORTER}/invalid-row-length.csv": (2, 2, 2, "922.69", 1),
    f"{STIZUN}/features/data/500_products.csv": (500, 500, 500, "49306.1", 0),
    f"{STIZUN}/features/data/500_products_utf8.csv": (500, 500, 500, "49306.1", 0),
    f"{STIZUN}/spec/data/500_products_with_5_changes.csv": (500, 500, 500, "49326.85", 0),
    f"{STIZUN}/spec/data/485_products.csv": (485, 485, 485, "48275.6", 0),
    # 53 prices are 0,00.
    f"{STIZUN}/spec/data/370_im_products.csv": (370, 370, 317, "391250.55", 0),
    f"{STIZUN}/spec/data/370_im_products_with_4_changes.csv": (370, 370, 317, "391250.55", 0),
    # 52 prices are 0,00.
    f"{STIZUN}/spec/data/360_im_products.csv": (360, 360, 308, "381544.41", 0),
    # No selling price in the file.
    f"{STIZUN}/spec/data/jet_products.csv": (101, 101, 0, "0", 0),
    f"{STIZUN}/spec/data/jet_products.utf8.csv": (101, 101, 0, "0", 0),
    # Three prices are 0.00.
    f"{STIZUN}/spec/data/PL_6xxxxx.csv": (39, 39, 36, "25115.34", 0),
    f"{STIZUN}/spec/data/85_pocketmedia.csv": (83, 83, 83, "9926.8", 0),
    f"{STIZUN}/spec/data/88_pocketmedia.csv": (88, 88, 87, "11597.9", 0),
    f"{STIZUN}/spec/data/adegeranium_complete.csv": (3, 3, 3, "1736.1", 0),
    f"{STIZUN}/spec/data/alltron_problematic_router.csv": (1, 1, 1, "308", 0),
    "firmao__LDatasetGenerator/Abt.csv": (1081, 1081, 418, "110884.46", 0),
}
# fmt: on


@pytest.mark.parametrize("file", EXPECTED)
def test_a_real_feed_yields_what_it_should(merchant, file):
    products, variants, priced, total, errors = EXPECTED[file]
    import_ = begin(merchant, (Path(FOLDER or "") / file).read_bytes(), currency="EUR")
    ended = inline.work(import_.job_id)
    assert ended["state"] == "succeeded", ended
    with transaction(merchant_id=merchant) as session:
        found = session.execute(
            text(
                "SELECT (SELECT count(*) FROM products), count(*), count(price), coalesce(sum(price), 0) FROM variants"
            )
        ).one()
    assert (*found, reload(import_).errors) == (products, variants, priced, Decimal(total), errors)


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ("features/data/500_products_utf8.csv", "spec/data/500_products_with_5_changes.csv", 5),
        ("spec/data/370_im_products.csv", "spec/data/370_im_products_with_4_changes.csv", 4),
    ],
)
def test_a_real_update_writes_what_it_changes(merchant, before, after, changed):
    folder = Path(FOLDER or "") / STIZUN
    inline.work(begin(merchant, (folder / before).read_bytes()).job_id)
    untouched = footprints(merchant)
    ended = inline.work(begin(merchant, (folder / after).read_bytes()).job_id)
    assert ended["result"]["variants"]["updated"] == changed
    assert len(footprints(merchant) - untouched) == changed + ended["result"]["products"]["updated"]
