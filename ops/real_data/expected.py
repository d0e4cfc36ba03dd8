"""What each product file of a folder of real feeds should yield, in numbers alone; the files are never part of this.

`index_says` is what the folder's own index says: products, variants, sum of prices (None: it says nothing). It was
counted by other means than our readers. Where we come to another number, `note` says why. Prices without a currency are
EUR.
Orders, web pages, site maps and files that hold other programs' results are no product files, and not in this table.
"""

from typing import NamedTuple


class Expected(NamedTuple):
    """What is to be in the catalogue once a file has been imported into an empty one."""

    file: str
    format: str
    products: int
    variants: int
    priced: int  # variants with a price
    total: str  # of these prices
    errors: int  # records left out
    index_says: tuple[int | None, int | None, str | None] = (None, None, None)
    note: str = ""


class Refused(NamedTuple):
    """A file of which nothing may be imported."""

    file: str
    code: str
    note: str = ""


# fmt: off
EXPECTED = (
    Expected(
        "shopifypartners__product-csvs/apparel.csv",
        "shopify_csv", 20, 22, 22, "1295", 0, (20, 22, "1295"),
    ),
    Expected(
        "shopifypartners__product-csvs/home-and-garden.csv",
        "shopify_csv", 20, 21, 21, "2345.84", 0, (20, 21, "2345.84"),
    ),
    Expected(
        "shopifypartners__product-csvs/jewelery.csv",
        "shopify_csv", 20, 23, 23, "980.74", 0, (20, 23, "980.74"),
    ),
    Expected(
        "PacktPublishing__Shopify-Theme-Customization-with-Liquid/Product-data.csv",
        "shopify_csv", 20, 21, 21, "2345.84", 0, (20, 21, "2345.84"),
    ),
    Expected(
        "YadaYadaSoftware__shopify-variant-splitter/shopify_sample_product_template.csv",
        "shopify_csv", 3, 16, 16, "602.99", 0, (3, 16, "602.99"),
    ),
    Expected(
        "YadaYadaSoftware__shopify-variant-splitter/products_export_1.csv",
        "shopify_csv", 8, 14, 14, "239.86", 0, (8, 14, "239.86"),
    ),
    Expected(
        "Ronne2406__productfeed/products_export_1.csv",
        "shopify_csv", 196, 1477, 1108, "92731.64", 0, (196, 1477, "92731.64"),
        note="369 variants cost 0.00: no price, reported",
    ),
    Expected(
        "EimantasBlazevicius__Python-Intermediate/products_export_1.csv",
        "shopify_csv", 98, 392, 392, "3030.91", 0, (98, 392, "3030.91"),
    ),
    Expected(
        "fe-riki05__gatsby-shopify-demo/example/products.csv",
        "shopify_csv", 99, 299, 299, "14578.76", 1, (99, 300, None),
        note="a handle that comes twice has one colour in both: 299 variants, the 300th row is reported",
    ),
    Expected(
        "samerOffice__kamrun_diary/wp-content/plugins/woocommerce/sample-data/sample_products.csv",
        "woocommerce_csv", 18, 22, 22, "663.05", 0, (18, 22, "693.05"),
        note="what is paid: 693.05 of regular prices less five reductions",
    ),
    Expected(
        "samerOffice__kamrun_diary/wp-content/plugins/woocommerce/sample-data/experimental_fashion_sample_9_products.csv",
        "woocommerce_csv", 9, 7, 6, "118", 0, (9, None, None),
        note="two of the nine are variable and have no variations in the file",
    ),
    Expected(
        "samerOffice__kamrun_diary/wp-content/plugins/woocommerce/sample-data/experimental_sample_9_products.csv",
        "woocommerce_csv", 9, 6, 6, "217", 0, (9, None, None),
        note="three of the nine are variable or grouped and have no variations in the file",
    ),
    Expected(
        "Evgenii17web__test_task_wp/wp-content/plugins/woocommerce/sample-data/sample_products.csv",
        "woocommerce_csv", 18, 22, 22, "663.05", 0,
        note="Parent is honoured, and reported, on five simple products",
    ),
    Expected(
        "Ramiel2009__feed/processed_products.csv",
        "generic_csv", 6, 6, 6, "359", 5, (11, None, None),
        note="eleven rows with six ids: one id stands on six of them",
    ),
    Expected(
        "pharleg__lecc-google-merchant-feed/google_feed.tsv",
        "generic_csv", 29, 160, 160, "6775", 0, (23, 160, None),
        note="22 groups, and 7 rows without one that are a product each",
    ),
    Expected(
        "Valdri__xml-product-feed-dagra/facebook.csv",
        "generic_csv", 10, 10, 10, "4080", 0, (10, None, None),
    ),
    Expected(
        "magento__magento2-sample-data/app/code/Magento/ConfigurableSampleData/fixtures/products.csv",
        "generic_csv", 147, 1847, 1847, "83368.6", 0, (147, 1847, None),
    ),
    Expected(
        "magento__magento2-sample-data/app/code/Magento/CatalogSampleData/fixtures/SimpleProduct/products_gear_bags.csv",
        "generic_csv", 14, 14, 14, "574", 0, (14, None, None),
    ),
    Expected(
        "PrestaShop__PrestaShop-1.4/docs/csv_import/products_import.csv",
        "generic_csv", 2, 2, 2, "115.05", 0, (2, None, "115.05"),
    ),
    Expected(
        "PrestaShop__PrestaShop-1.4/docs/csv_import/combinations_import.csv",
        "generic_csv", 1, 2, 1, "41", 0, (1, 2, None),
    ),
    Expected(
        "medusajs__medusa/integration-tests/http/__tests__/product/admin/__fixtures__/exported-products-semicolon.csv",
        "generic_csv", 2, 3, 3, "155", 0, (2, 3, None),
        note="prices in EUR, the currency of the shop",
    ),
    Expected(
        "medusajs__medusa/integration-tests/http/__tests__/product/admin/__fixtures__/exported-products-comma.csv",
        "generic_csv", 2, 3, 3, "155", 0, (2, 3, None),
        note="prices in EUR, the currency of the shop",
    ),
    Expected(
        "medusajs__medusa/integration-tests/http/__tests__/product/admin/__fixtures__/v1-template.csv",
        "generic_csv", 3, 5, 4, "4.5", 0, (None, 5, None),
    ),
    Expected(
        "medusajs__medusa/integration-tests/http/__tests__/product/admin/__fixtures__/invalid-column.csv",
        "generic_csv", 1, 1, 1, "45", 0,
    ),
    Expected(
        "medusajs__medusa/integration-tests/http/__tests__/product/admin/__fixtures__/unrelated-column.csv",
        "generic_csv", 1, 1, 1, "45", 0,
    ),
    Expected(
        "medusajs__medusa/integration-tests/http/__tests__/product/admin/__fixtures__/invalid-prices.csv",
        "generic_csv", 1, 1, 1, "45", 0,
    ),
    Expected(
        "medusajs__medusa/integration-tests/http/__tests__/product/admin/__fixtures__/prices-with-region.csv",
        "generic_csv", 1, 1, 1, "100", 0,
    ),
    Expected(
        "vendure-ecommerce__vendure/packages/core/mock-data/data-sources/products.csv",
        "generic_csv", 54, 88, 88, "30389.65", 0, (54, 88, "30389.65"),
    ),
    Expected(
        "vendure-ecommerce__vendure/packages/core/src/data-import/providers/import-parser/test-fixtures/multiple-products-multiple-variants.csv",
        "generic_csv", 4, 10, 10, "1106.36", 0, (None, 10, None),
    ),
    Expected(
        "vendure-ecommerce__vendure/packages/core/src/data-import/providers/import-parser/test-fixtures/multiple-languages.csv",
        "generic_csv", 1, 3, 3, "137.3", 0, (None, 3, None),
    ),
    Expected(
        "vendure-ecommerce__vendure/packages/core/src/data-import/providers/import-parser/test-fixtures/invalid-row-length.csv",
        "generic_csv", 2, 2, 2, "922.69", 1,
    ),
    Expected(
        "lincompch__stizun/features/data/500_products.csv",
        "generic_csv", 500, 500, 500, "49306.1", 0, (500, None, None),
    ),
    Expected(
        "lincompch__stizun/features/data/500_products_utf8.csv",
        "generic_csv", 500, 500, 500, "49306.1", 0, (500, None, None),
    ),
    Expected(
        "lincompch__stizun/spec/data/500_products_with_5_changes.csv",
        "generic_csv", 500, 500, 500, "49326.85", 0, (500, None, None),
    ),
    Expected(
        "lincompch__stizun/spec/data/485_products.csv",
        "generic_csv", 485, 485, 485, "48275.6", 0, (485, None, None),
    ),
    Expected(
        "lincompch__stizun/spec/data/370_im_products.csv",
        "generic_csv", 370, 370, 317, "391250.55", 0, (370, None, None),
    ),
    Expected(
        "lincompch__stizun/spec/data/370_im_products_with_4_changes.csv",
        "generic_csv", 370, 370, 317, "391250.55", 0, (370, None, None),
    ),
    Expected(
        "lincompch__stizun/spec/data/360_im_products.csv",
        "generic_csv", 360, 360, 308, "381544.41", 0, (360, None, None),
    ),
    Expected(
        "lincompch__stizun/spec/data/jet_products.csv",
        "generic_csv", 101, 101, 0, "0", 0, (101, None, None),
    ),
    Expected(
        "lincompch__stizun/spec/data/jet_products.utf8.csv",
        "generic_csv", 101, 101, 0, "0", 0, (101, None, None),
    ),
    Expected(
        "lincompch__stizun/spec/data/PL_6xxxxx.csv",
        "generic_csv", 39, 39, 36, "25115.34", 0, (39, None, None),
    ),
    Expected(
        "lincompch__stizun/spec/data/85_pocketmedia.csv",
        "generic_csv", 83, 83, 83, "9926.8", 0, (83, None, None),
    ),
    Expected(
        "lincompch__stizun/spec/data/88_pocketmedia.csv",
        "generic_csv", 88, 88, 87, "11597.9", 0, (88, None, None),
    ),
    Expected(
        "lincompch__stizun/spec/data/adegeranium_complete.csv",
        "generic_csv", 3, 3, 3, "1736.1", 0, (3, None, "1736.10"),
    ),
    Expected(
        "lincompch__stizun/spec/data/alltron_problematic_router.csv",
        "generic_csv", 1, 1, 1, "308", 0, (1, None, "308"),
    ),
    Expected(
        "firmao__LDatasetGenerator/Abt.csv",
        "generic_csv", 1081, 1081, 418, "110884.46", 0, (1081, None, None),
    ),
    Expected(
        "neo4j-contrib__northwind-neo4j/data/products.csv",
        "generic_csv", 77, 77, 77, "2222.71", 0, (77, None, None),
    ),
    Expected(
        "papyrussolution__UhttBarcodeReference/uhtt_100k.tsv",
        "generic_csv", 99994, 99994, 0, "0", 0, (99994, None, None),
    ),
    Expected(
        "petrfilo-arch__importpc-feed/google_feed.xml",
        "google_xml", 1254, 1254, 1254, "1369476", 1, (1254, None, None),
        note="one id stands twice, on two equal items",
    ),
    Expected(
        "Ramiel2009__feed/google_merchant_feed.xml",
        "google_xml", 25, 25, 0, "0", 0, (25, None, None),
    ),
    Expected(
        "dmitrykram__ya/yandex_market.xml",
        "yandex_yml", 11, 77, 77, "474600", 0, (11, 77, None),
    ),
    Expected(
        "max36895__islandgift/yml.xml",
        "yandex_yml", 102, 102, 102, "192358", 0, (102, None, None),
    ),
    Expected(
        "laspavel__xls_to_rozetkaxml/pricelist.xml",
        "yandex_yml", 982, 982, 982, "438302", 0, (982, None, None),
    ),
    Expected(
        "mhujer__xml-feeds-schemas/heureka.xml",
        "heureka_xml", 16, 16, 16, "125416", 2, (18, None, None),
        note="items without a number are known by barcode or page, and three of the samples share theirs",
    ),
    Expected(
        "mhujer__xml-feeds-schemas/zbozi.xml",
        "heureka_xml", 2, 2, 2, "1376", 3, (5, None, None),
        note="items without a number are known by barcode or page, and the samples share theirs",
    ),
    Expected(
        "mhujer__xml-feeds-schemas/universal.xml",
        "heureka_xml", 7, 7, 7, "20926", 0, (7, None, None),
    ),
    Expected(
        "VapePuffmi__Puffmi-xml/heureka.xml",
        "heureka_xml", 29, 30, 30, "5420", 0, (29, 30, None),
    ),
    Expected(
        "Valdri__xml-product-feed-dagra/ceneo.xml",
        "ceneo_xml", 8, 8, 8, "4129", 0, (8, None, None),
    ),
    Expected(
        "olivere__bmecat/bmecat12/testdata/new_catalog.golden.xml",
        "bmecat_xml", 1, 1, 1, "1499.5", 0, (1, None, "1499.5"),
    ),
    Expected(
        "olivere__bmecat/bmecat2005/testdata/new_catalog.golden.xml",
        "bmecat_xml", 1, 1, 1, "1499.5", 0, (1, None, "1499.5"),
    ),
    Expected(
        "olivere__bmecat/bmecat12/testdata/update_prices.golden.xml",
        "bmecat_xml", 1, 1, 1, "1499.5", 0, (1, None, "1499.5"),
    ),
    Expected(
        "avdgaag__bol/spec/fixtures/searchproducts.xml",
        "generic_xml", 2, 2, 2, "41.98", 0, (2, None, None),
    ),
    Expected(
        "avdgaag__bol/spec/fixtures/products.xml",
        "generic_xml", 1, 1, 1, "70.99", 0, (1, None, None),
    ),
    Expected(
        "avdgaag__bol/spec/fixtures/product-without-offers.xml",
        "generic_xml", 1, 1, 0, "0", 0, (1, None, "0"),
    ),
    Expected(
        "samerOffice__kamrun_diary/wp-content/plugins/woocommerce/sample-data/sample_products.xml",
        "woocommerce_wxr", 18, 22, 22, "663.05", 0, (18, None, None),
    ),
    Expected(
        "lincompch__stizun/spec/data/4_alltron_stock_updates.xml",
        "generic_xml", 5, 5, 0, "0", 0, (5, None, None),
    ),
    Expected(
        "Ovi__DummyJSON/database/products.json",
        "generic_json", 194, 194, 194, "304599.96", 0, (194, 194, "304599.96"),
    ),
    Expected(
        "balintbarna__bigbuy_syncer/bigbuy/catalog/information.txt",
        "generic_json", 10319, 10319, 0, "0", 0, (10319, None, None),
    ),
    Expected(
        "balintbarna__bigbuy_syncer/bigbuy/catalog/variations.txt",
        "bigbuy_json", 424, 1422, 1422, "31429.14", 0, (424, 1422, None),
    ),
    Expected(
        "udsy19__material-bank_data-scrape/tests/fixtures/shopify_products.json",
        "shopify_json", 2, 6, 6, "18240", 0, (2, 6, "18240"),
    ),
    Expected(
        "jettzlgh__lubie_agent/shopify_products.json",
        "shopify_json", 30, 40, 35, "1941.5", 0, (30, 40, "1941.50"),
        note="five variants at 0: no price, reported",
    ),
    Expected(
        "laspavel__xls_to_rozetkaxml/pricelist.xlsx",
        "generic_xlsx", 982, 982, 982, "438302", 0, (982, None, "438302"),
    ),
    Expected(
        "qor__exchange/backends/excel/fixtures/products.xlsx",
        "generic_xlsx", 3, 3, 3, "600", 0, (3, None, "600"),
    ),
    Expected(
        "qor__exchange/backends/excel/fixtures/invalid_price_products.xlsx",
        "generic_xlsx", 3, 3, 1, "111", 0, (3, None, "111"),
    ),
    Expected(
        "neilg63__spreadsheet_to_json_cli/tests/fixtures/products.xlsx",
        "generic_xlsx", 3, 3, 3, "34.49", 0, (3, None, "34.49"),
    ),
    Expected(
        "neilg63__spreadsheet_to_json_cli/tests/fixtures/header_gap.xlsx",
        "generic_xlsx", 2, 2, 0, "0", 0,
    ),
    Expected(
        "YaroslavGrushko__NTK/price.xls",
        "generic_xls", 550, 550, 538, "32573.17", 4, (550, None, None),
        note="552 priced rows, 12 of them at 0; two articles stand twice, two rows hold a unit and nothing else",
    ),
    Expected(
        "lincompch__stizun/spec/data/370_im_products_reference.ods",
        "generic_ods", 369, 369, 317, "391250.55", 0,
    ),
)
REFUSED = (
    Refused(
        "microsoft__sql-server-samples/samples/databases/adventure-works/oltp-install-script/Product.csv",
        "no_product_columns",
    ),
    Refused(
        "microsoft__sql-server-samples/samples/databases/adventure-works/oltp-install-script/ProductDescription.csv",
        "no_product_columns",
    ),
    Refused(
        "microsoft__sql-server-samples/samples/databases/adventure-works/oltp-install-script/ProductInventory.csv",
        "no_product_columns",
    ),
    Refused(
        "microsoft__sql-server-samples/samples/databases/adventure-works/oltp-install-script/ProductModel.csv",
        "no_product_columns",
    ),
    Refused(
        "neilg63__spreadsheet_to_json_cli/tests/fixtures/corrupt.xlsx",
        "no_product_columns", "67 bytes of text with the ending of a workbook",
    ),
    Refused(
        "neilg63__spreadsheet_to_json_cli/tests/fixtures/multi_sheet.xlsx",
        "no_product_columns",
    ),
    Refused(
        "balintbarna__bigbuy_syncer/bigbuy/catalog/attributes.txt",
        "no_product_columns", "names of attributes",
    ),
    Refused(
        "balintbarna__bigbuy_syncer/bigbuy/catalog/manufacturers.txt",
        "no_product_columns", "names of makers",
    ),
    Refused(
        "vendure-ecommerce__vendure/packages/core/src/data-import/providers/import-parser/test-fixtures/invalid-option-values.csv",
        "no_usable_rows", "every row is reported: nothing is left to import",
    ),
)
# fmt: on
