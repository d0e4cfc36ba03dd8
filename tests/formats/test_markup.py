"""XML feeds: the dialects, and what no XML may do to us."""

import io
from collections import Counter
from xml.sax.saxutils import escape

import pytest
from feeds import any_drafts, any_feed, drafts, refusal, said, split
from hypothesis import given, settings
from hypothesis import strategies as st

from services.formats import markup

GOOGLE = 'xmlns:g="http://base.google.com/ns/1.0"'
ITEM = (
    "<g:id>A-1</g:id><g:item_group_id>A</g:item_group_id><g:title>Shirt</g:title><g:description>Soft</g:description>"
    "<g:price>19.90 EUR</g:price><g:sale_price>15 EUR</g:sale_price><g:image_link>https://i.example/1.jpg</g:image_link>"
    "<g:additional_image_link>https://i.example/2.jpg</g:additional_image_link>"
    "<g:additional_image_link>https://i.example/3.jpg</g:additional_image_link><g:color>Red</g:color>"
    "<g:availability>out of stock</g:availability><g:brand>Ours</g:brand><g:gtin>0012345678905</g:gtin>"
    "<g:shipping><g:country>DE</g:country><g:price>4.90 EUR</g:price></g:shipping>"
)
SHIRT = {
    "product_key": "A", "variant_key": "A-1", "sku": "A-1", "title": "Shirt", "description": "Soft", "brand": "Ours",
    "barcode": "0012345678905", "price": "15", "compare_at_price": "19.90", "currency": "EUR", "stock": "0",
    "image_urls": "https://i.example/1.jpg\nhttps://i.example/2.jpg\nhttps://i.example/3.jpg",
    "option_names": "color", "option_values": "Red",
}  # fmt: skip


def rss(*items: str, names: str = GOOGLE) -> str:
    inside = "".join(f"<item>{item}</item>" for item in items)
    return f'<?xml version="1.0"?><rss version="2.0" {names}><channel><title>Shop</title>{inside}</channel></rss>'


@pytest.mark.parametrize(
    "document",
    [
        rss(ITEM),
        rss(ITEM.replace("g:", ""), names=""),
        rss("<title>Not this</title>" + ITEM + "<description>Nor this</description>"),
        f'<feed xmlns="http://www.w3.org/2005/Atom" {GOOGLE}><title>Shop</title><entry>{ITEM}</entry></feed>',
        "\n\n" + rss(ITEM),  # programs print empty lines before the document
    ],
)
def test_google(document: str) -> None:
    found = any_feed(document)
    assert found.format == "google_xml"
    (draft,), errors = split(found)
    assert errors == []
    assert said(draft) == SHIRT
    assert found.columns["price"] == "price"
    assert found.columns["gtin"] == "barcode"
    assert "shipping.price" not in found.columns


def test_a_missing_price_is_reported_and_a_zero_is() -> None:
    items = ["<g:id>1</g:id><g:title>A</g:title>", "<g:id>2</g:id><g:title>B</g:title><g:price>0 EUR</g:price>"]
    found, errors = split(any_feed(rss(*items)))
    assert [one.price for one in found] == [None, None]
    assert [(one.line, one.code, one.column, one.fatal) for one in errors] == [
        (1, "price_missing", None, False),
        (2, "price_zero", "price", False),
    ]


words = st.text(
    st.characters(codec="utf-8", categories=("L", "N"), include_characters=" '&<>"), min_size=1, max_size=12
)
items = st.fixed_dictionaries(
    {"title": words, "brand": words | st.just(""), "color": words | st.just("")},
    optional={"description": words},
)


@settings(max_examples=60, deadline=None)
@given(st.lists(items, min_size=1, max_size=6))
def test_the_same_feed_as_xml_and_as_a_table(given_items: list[dict[str, str]]) -> None:
    rows = [
        {"id": f"i{number}", "item_group_id": "g", "price": f"{number}.50 EUR", "description": "", **item}
        for number, item in enumerate(given_items, 1)
    ]
    names = ["id", "item_group_id", "price", "title", "description", "brand", "color"]
    table = "\n".join(["\t".join(names), *("\t".join(" ".join(row[name].split()) for name in names) for row in rows)])
    document = rss(
        *("".join(f"<g:{name}>{escape(' '.join(row[name].split()))}</g:{name}>" for name in names) for row in rows)
    )
    from_table = drafts(table + "\n")
    from_xml = any_drafts(document)
    assert [said(one) for one in from_xml] == [said(one) for one in from_table]


YML = """<?xml version="1.0" encoding="windows-1251"?><!DOCTYPE yml_catalog SYSTEM "shops.dtd">
<yml_catalog date="2026-01-01 10:00"><shop><name>Лавка</name><currencies><currency id="RUR" rate="1"/></currencies>
<categories><category id="1">Одежда</category><category id="2" parentId="1">Куртки</category></categories><offers>
<offer id="11" available="true" group_id="7"><price>8600.00</price><oldprice>9000</oldprice><currencyId>RUR</currencyId>
<categoryId>2</categoryId><picture>https://i.example/1.jpg</picture><picture>https://i.example/2.jpg</picture>
<vendor>Мы</vendor><vendorCode>00001</vendorCode><name>Куртка&nbsp;тёплая</name><description><![CDATA[<b>Да</b>]]></description>
<param name="Размер" unit="RU">50</param><param name="Состав">Хлопок</param><weight>0.2</weight></offer>
<offer id="12" available="false"><price>10</price><currencyId>UAH</currencyId><typePrefix>Стол</typePrefix>
<vendor>Лес</vendor><model>Т-1</model><barcode>0460</barcode></offer></offers></shop></yml_catalog>"""


def test_yml() -> None:
    found = any_feed(YML.encode("cp1251"))
    assert (found.format, found.encoding) == ("yandex_yml", "cp1251")
    (first, second), errors = split(found)
    assert errors == []
    assert said(first) == {
        "product_key": "7", "variant_key": "11", "sku": "00001", "title": "Куртка\xa0тёплая", "brand": "Мы",
        "description": "<b>Да</b>", "category": "Одежда > Куртки", "price": "8600.00", "compare_at_price": "9000",
        "currency": "RUB", "weight_grams": "200", "option_names": "Размер", "option_values": "50",
        "image_urls": "https://i.example/1.jpg\nhttps://i.example/2.jpg",
    }  # fmt: skip
    assert said(second) == {
        "product_key": "12", "variant_key": "12", "sku": "12", "title": "Стол Лес Т-1", "brand": "Лес", "price": "10",
        "currency": "UAH", "barcode": "0460", "stock": "0",
    }  # fmt: skip


@pytest.mark.parametrize("namespace", ["", ' xmlns="urn:some:feed"'])
def test_heureka(namespace: str) -> None:
    document = f"""<SHOP{namespace}>
    <SHOPITEM><ITEM_ID>v1</ITEM_ID><ITEMGROUP_ID>p</ITEMGROUP_ID><PRODUCTNAME>Tričko</PRODUCTNAME>
    <PRODUCT>Tričko +</PRODUCT>
    <PRICE>100</PRICE><PRICE_VAT>121,50</PRICE_VAT><MANUFACTURER>My</MANUFACTURER><EAN></EAN><PRODUCTNO>T-1</PRODUCTNO>
    <CATEGORYTEXT>Móda | Trička</CATEGORYTEXT><IMGURL>https://i.example/1.jpg</IMGURL>
    <IMGURL_ALTERNATIVE>https://i.example/2.jpg</IMGURL_ALTERNATIVE>
    <PARAM><PARAM_NAME>Barva</PARAM_NAME><VAL>modrá</VAL></PARAM><PARAM><PARAM_NAME>Výška</PARAM_NAME><VAL>2</VAL></PARAM>
    <DELIVERY><DELIVERY_ID>X</DELIVERY_ID><DELIVERY_PRICE>99</DELIVERY_PRICE></DELIVERY></SHOPITEM>
    <SHOPITEM><PRODUCT>Mýdlo</PRODUCT><PRICE>50</PRICE><EAN>859</EAN></SHOPITEM>
    <SHOPITEM><PRODUCT>Pero</PRODUCT><PRICE_VAT>5</PRICE_VAT><URL>https://s.example/pero</URL></SHOPITEM></SHOP>"""
    first, second, third = any_drafts(document, currency="CZK")
    assert said(first) == {
        "product_key": "p", "variant_key": "v1", "sku": "T-1", "title": "Tričko", "price": "121.50", "currency": "CZK",
        "brand": "My", "category": "Móda > Trička", "image_urls": "https://i.example/1.jpg\nhttps://i.example/2.jpg",
        "option_names": "Barva", "option_values": "modrá",
    }  # fmt: skip
    assert (second.product_key, second.price, second.barcode) == ("859", "50", "859")
    assert (third.product_key, third.price) == ("https://s.example/pero", "5")


def test_the_universal_czech_feed() -> None:
    (draft,) = any_drafts(
        "<SHOP><ITEM><PRODUCTNAME>Půllitr</PRODUCTNAME><CODE>C0</CODE><PRICE_VAT>299.00</PRICE_VAT><CATEGORIES>"
        "<CATEGORY>Pivo</CATEGORY><CATEGORY>Sklo</CATEGORY></CATEGORIES></ITEM></SHOP>"
    )
    assert said(draft) == {"product_key": "C0", "variant_key": "C0", "sku": "C0", "title": "Půllitr", "price": "299.00",
                           "category": "Pivo"}  # fmt: skip


def test_ceneo_prices_are_in_zloty_whatever_the_shop_uses() -> None:
    document = """<offers version="1"><group name="other">
    <o id="1" url="https://s.example" price="399,00" avail="3" stock="4" weight="3"><cat><![CDATA[Dom/Pokrowce]]></cat>
    <name><![CDATA[ Pokrowiec ]]></name><imgs><main url="https://i.example/1.jpg"/>
    <i url="https://i.example/2.jpg"/></imgs>
    <desc><![CDATA[<p>Opis</p>]]></desc><attrs><a name="Producent">Dagra</a><a name="EAN">0590</a>
    <a name="Kolor">Szary</a>    </attrs></o></group></offers>"""
    found = any_feed(document, currency="EUR")
    assert found.format == "ceneo_xml"
    (draft,), _ = split(found)
    assert said(draft) == {
        "product_key": "1", "variant_key": "1", "sku": "1", "title": "Pokrowiec", "description": "<p>Opis</p>",
        "category": "Dom > Pokrowce", "brand": "Dagra", "barcode": "0590", "price": "399.00", "currency": "PLN",
        "stock": "4", "weight_grams": "3000", "image_urls": "https://i.example/1.jpg\nhttps://i.example/2.jpg",
    }  # fmt: skip


def bmecat(article: str, kind: str = "ARTICLE", version: str = "1.2") -> str:
    return f"""<?xml version="1.0"?><!DOCTYPE BMECAT SYSTEM "bmecat.dtd"><BMECAT version="{version}"><HEADER><CATALOG>
    <CURRENCY>EUR</CURRENCY><MIME_ROOT>https://i.example/pics</MIME_ROOT></CATALOG></HEADER><T_NEW_CATALOG>
    <CATALOG_GROUP_SYSTEM><CATALOG_STRUCTURE type="root"><GROUP_ID>1</GROUP_ID><GROUP_NAME>Alles</GROUP_NAME>
    <PARENT_ID>0</PARENT_ID>    </CATALOG_STRUCTURE>
    <CATALOG_STRUCTURE type="leaf"><GROUP_ID>2</GROUP_ID><GROUP_NAME>Rechner</GROUP_NAME>
    <PARENT_ID>1</PARENT_ID></CATALOG_STRUCTURE></CATALOG_GROUP_SYSTEM><{kind} mode="new">{article}</{kind}>
    <ARTICLE_TO_CATALOGGROUP_MAP><ART_ID>0100</ART_ID><CATALOG_GROUP_ID>2</CATALOG_GROUP_ID></ARTICLE_TO_CATALOGGROUP_MAP>
    </T_NEW_CATALOG></BMECAT>"""


def price(kind: str, amount: str, least: int = 1) -> str:
    return (
        f'<ARTICLE_PRICE price_type="{kind}"><PRICE_AMOUNT>{amount}</PRICE_AMOUNT><PRICE_CURRENCY>CHF</PRICE_CURRENCY>'
        f"<LOWER_BOUND>{least}</LOWER_BOUND></ARTICLE_PRICE>"
    )


DETAILS = (
    "<DESCRIPTION_SHORT>Laptop</DESCRIPTION_SHORT><DESCRIPTION_LONG>Gut</DESCRIPTION_LONG>"
    "<MANUFACTURER_NAME>M</MANUFACTURER_NAME><KEYWORD>a</KEYWORD><KEYWORD>b</KEYWORD>"
)
PICTURE = "<MIME_INFO><MIME><MIME_TYPE>image/jpeg</MIME_TYPE><MIME_SOURCE>l.jpg</MIME_SOURCE></MIME></MIME_INFO>"


def test_bmecat_12() -> None:
    prices = (
        price("net_customer", "80", 100) + price("net_customer", "90") + price("gros_list", "120") + price("nrp", "150")
    )
    document = bmecat(f"<SUPPLIER_AID>0100</SUPPLIER_AID>{DETAILS}<EAN>0401</EAN>{prices}{PICTURE}")
    (draft,) = any_drafts(document)
    assert said(draft) == {
        "product_key": "0100", "variant_key": "0100", "sku": "0100", "title": "Laptop", "description": "Gut",
        "brand": "M", "tags": "a, b", "category": "Alles > Rechner", "barcode": "0401", "price": "120",
        "compare_at_price": "150", "cost": "90", "currency": "CHF", "image_urls": "https://i.example/pics/l.jpg",
    }  # fmt: skip


def test_bmecat_2005_and_a_price_for_several_pieces() -> None:
    details = '<INTERNATIONAL_PID type="gtin">0401</INTERNATIONAL_PID><PRICE_QUANTITY>100</PRICE_QUANTITY>'
    amount = '<PRODUCT_PRICE price_type="net_customer"><PRICE_AMOUNT>149.5</PRICE_AMOUNT></PRODUCT_PRICE>'
    document = bmecat(f"<SUPPLIER_PID>7</SUPPLIER_PID>{DETAILS}{details}{amount}", "PRODUCT", "2005")
    (draft,) = any_drafts(document)
    assert (draft.sku, draft.barcode, draft.price, draft.currency) == ("7", "0401", "1.495", "EUR")


def test_bmecat_price_update_says_nothing_but_prices() -> None:
    (draft,) = any_drafts(bmecat(f"<SUPPLIER_AID>9</SUPPLIER_AID>{price('net_list', '12.5')}"))
    assert said(draft) == {"product_key": "9", "variant_key": "9", "sku": "9", "price": "12.5", "currency": "CHF"}


WP = (
    'xmlns:excerpt="http://wordpress.org/export/1.2/excerpt/" xmlns:wp="http://wordpress.org/export/1.2/" '
    'xmlns:content="http://purl.org/rss/1.0/modules/content/"'
)


def term(slug: str, name: str, parent: str = "") -> str:
    return (
        f"<wp:term><wp:term_taxonomy>product_cat</wp:term_taxonomy><wp:term_slug>{slug}</wp:term_slug>"
        f"<wp:term_parent>{parent}</wp:term_parent><wp:term_name>{name}</wp:term_name></wp:term>"
    )


def post(number: int, kind: str, body: str, parent: int = 0, **meta: str) -> str:
    pairs = "".join(
        f"<wp:postmeta><wp:meta_key>{key}</wp:meta_key><wp:meta_value>{value}</wp:meta_value></wp:postmeta>"
        for key, value in meta.items()
    )
    return (
        f"<item>{body}<wp:post_id>{number}</wp:post_id><wp:status>publish</wp:status><wp:post_parent>{parent}</wp:post_parent>"
        f"<wp:post_type>{kind}</wp:post_type>{pairs}</item>"
    )


def test_wordpress_export_reads_like_the_csv_of_the_same_shop() -> None:
    attributes = 'a:1:{s:8:"pa_color";a:6:{s:4:"name";s:8:"pa_color";s:12:"is_variation";i:1;}}'
    document = f"""<rss version="2.0" {WP}><channel>
    {term("all", "Everything")}{term("c", "Clothing", "all")}
    {
        post(
            22,
            "product_variation",
            "<title>Shirt - Red</title>",
            20,
            _sku="S-R",
            _regular_price="20",
            _sale_price="18",
            attribute_pa_color="dark-red",
            _thumbnail_id="31",
            _sale_price_dates_to="946684800",
        )
    }
    {
        post(
            20,
            "product",
            "<title>Shirt</title><content:encoded>Long</content:encoded><excerpt:encoded>Short</excerpt:encoded>"
            '<category domain="product_type" nicename="variable">variable</category>'
            '<category domain="product_cat" nicename="c">Clothing</category>'
            '<category domain="pa_color" nicename="dark-red">Dark red</category>',
            _sku="S",
            _product_attributes=attributes,
            _thumbnail_id="31",
            _product_image_gallery="32",
        )
    }
    {post(31, "attachment", "<wp:attachment_url>https://i.example/31.jpg</wp:attachment_url>")}
    {post(32, "attachment", "<wp:attachment_url>https://i.example/32.jpg</wp:attachment_url>")}
    {post(40, "page", "<title>About us</title>")}</channel></rss>"""
    table = (
        "ID,Type,SKU,Name,Published,Short description,Description,Date sale price ends,In stock?,Sale price,"
        "Regular price,Categories,Images,Parent,Attribute 1 name,Attribute 1 value(s)\n"
        "22,variation,S-R,Shirt - Red,1,,,2000-01-01,1,18,20,,https://i.example/31.jpg,S,Color,Dark red\n"
        '20,variable,S,Shirt,1,Short,Long,,1,,,Everything > Clothing,"https://i.example/31.jpg, https://i.example/32.jpg",,Color,\n'
    )
    found = any_feed(document)
    assert found.format == "woocommerce_wxr"
    assert [said(one) for one in split(found)[0]] == [said(one) for one in drafts(table)]
    assert any_drafts(document)[0].variant_key == "Dark red"


def test_any_other_document_by_its_repeated_element() -> None:
    document = """<answer xmlns="urn:x"><session>1</session>
    <Product><Id>0017</Id><Title>Boxed
       set</Title><Ean>97807</Ean><Offers><Offer><Price>70.99</Price><ListPrice>78.99</ListPrice>
       <Supplier><Id>-1</Id><Name>Someone</Name></Supplier></Offer><Offer><Price>60.00</Price></Offer></Offers>
       <Images><Small>https://i.example/s.jpg</Small><Large>https://i.example/l.jpg</Large></Images>
       <Shipping><Price>3.99</Price></Shipping><Authors><Author><Id>5</Id><Name>J. K.</Name></Author></Authors>
       </Product>
    <Product><Id>0018</Id><Title>Other</Title><attribute name="Brand">Ours</attribute>
       <price currency="USD">1</price></Product>
    </answer>"""
    found = any_feed(document)
    assert found.format == "generic_xml"
    first, second = split(found)[0]
    assert said(first) == {
        "product_key": "0017", "variant_key": "0017", "sku": "0017", "title": "Boxed set", "barcode": "97807",
        "compare_at_price": "78.99", "image_urls": "https://i.example/l.jpg",
    } | ({"price": first.price} if first.price else {})  # fmt: skip
    assert (second.brand, second.price, second.currency) == ("Ours", "1", "USD")


def test_a_column_that_only_late_records_have() -> None:
    records = "".join(f"<p><id>{n}</id><name>N{n}</name><price></price></p>" for n in range(1500))
    priced = "<p><id>x</id><name>Y</name><price>7</price></p>"
    coded = "<p><id>y</id><name>Y</name><price></price><ean>123</ean></p>"
    *_, first, second = split(any_feed(f"<list>{records}{priced}{coded}</list>"))[0]
    assert (first.price, second.barcode) == ("7", "123")
    assert refusal(f"<list>{records}</list>").code == "no_product_columns"  # a number and a name, nothing else


@pytest.mark.parametrize(
    ("document", "code", "reason"),
    [
        (rss(ITEM).replace("</channel>", "</chanel>"), "xml_broken", "line 1, column"),
        (rss(ITEM, "<g:id>2</g:id>").replace("</rss>", ""), "xml_broken", "line"),
        ("<a>\n<p><id>1</id><name>x</name><price>1</price></p>\n<p><id>2</id>\n<b></p></a>", "xml_broken", "line 4"),
        ("\n\n<a>\n<p><id>1</id><name>x</name><price>1</price></p>\n<p></b></a>", "xml_broken", "line 5"),
        (rss(ITEM) + "<again/>", "xml_broken", "line 1"),
        (rss(ITEM).replace("Shirt", "Sh\x01rt"), "xml_broken", "line 1"),
        (rss(ITEM).replace("Shirt", "&boom;"), "xml_broken", "boom"),
        (rss(), "no_records", ""),
        ("<urlset><url><loc>https://a.example</loc></url></urlset>", "no_records", "urlset"),
        ("<list>" + "<c><id>1</id><name>Chairs</name></c>" * 3 + "</list>", "no_product_columns", "id, name"),
        ("<a>" * 400 + "</a>" * 400, "xml_broken", "depth"),
        ('<?xml version="1.0" encoding="no-such"?><a/>', "undecodable", ""),
        ("<!doctype html><html><body>Log in</body></html>", "web_page", "login"),
        ("<html><table><tr><td>sku</td></tr></table></html>", "web_page", "saved as a page"),
        (
            '<?xml version="1.0"?><Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet"><Row/></Workbook>',
            "no_product_columns",
            "save it as xlsx",
        ),
        ("<div itemscope><p>A lamp</div>", "web_page", "login"),
        ('<?xml version="1.0"?><!DOCTYPE html><html xmlns="x"><body/></html>', "web_page", "login"),
    ],
)  # fmt: skip
def test_refused(document: str, code: str, reason: str) -> None:
    found = refusal(document)
    assert found.code == code
    assert reason in found.reason


@pytest.mark.parametrize(
    "prolog",
    [
        '<!DOCTYPE rss [<!ENTITY a "b">]>',
        '<!DOCTYPE rss SYSTEM "x.dtd" [\n<!-- ]> -->\n<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;]>',
        "<!DOCTYPE rss [" + '<!ENTITY a "aaaaaaaaaa">' + "".join(
            f'<!ENTITY {chr(97 + n)} "{f"&{chr(96 + n)};" * 10}">' for n in range(1, 10)
        ) + "]>",
        '<!DOCTYPE rss [<!ELEMENT rss ANY><!ENTITY x SYSTEM "http://127.0.0.1:9/x">]>',
    ],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused(prolog: str, encoding: str) -> None:
    item = "<item><id>1</id><title>&j;</title><price>1</price></item>"
    document = f'<?xml version="1.0" encoding="{encoding}"?>{prolog}<rss><channel>{item}</channel></rss>'
    assert refusal(document.encode(encoding)).code == "xml_entities"


def test_entities_hidden_from_the_first_look_are_found_by_the_second() -> None:
    # The "<x" looks like the first element.
    hidden = '<!DOCTYPE rss [<?see <x ?><!ENTITY b "c">]>'
    document = f"{hidden}<rss><channel><item><id>1</id><title>T</title><price>1</price></item></channel></rss>"
    assert refusal(document).code == "xml_entities"


def test_a_bare_doctype_is_fine_and_nothing_is_fetched() -> None:
    document = '<!DOCTYPE rss PUBLIC "-//X" "http://127.0.0.1:9/never.dtd">' + rss(ITEM).partition("?>")[2]
    assert said(any_drafts(document)[0]) == SHIRT


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "iso-8859-2", "shift_jis"])
def test_encodings(encoding: str) -> None:
    title = {"shift_jis": "日本の帽子", "iso-8859-2": "Kožená čepice"}.get(encoding, "Kožená 帽子")
    declared = encoding.removesuffix("-sig")
    document = f'<?xml version="1.0" encoding="{declared}"?>' + rss(ITEM.replace("Shirt", title)).partition("?>")[2]
    assert any_drafts(document.encode(encoding))[0].title == title


def test_records_are_thrown_away_once_they_are_read() -> None:
    document = "<list>" + "".join(f"<p><sku>{n}</sku></p>" for n in range(20_000)) + "</list>"
    held = [len(one.getparent()) for one in markup._elements(io.BytesIO(document.encode()), ("{*}p",))]
    assert len(held) == 20_000
    assert max(held) < 5000  # what one piece of the file holds


def test_parts_that_are_called_like_a_record() -> None:
    inside = "<contains><item><id>2</id></item></contains>"
    document = f"<list><item><id>1</id><title>Set</title><price>5</price>{inside}</item></list>"
    assert [one.product_key for one in any_drafts(document)] == ["1"]


def test_codes_of_rows() -> None:
    document = rss(
        "<g:title>x</g:title><g:price>1 EUR</g:price>",
        "<g:price>2 EUR</g:price>",
        "<g:id>3</g:id><g:title>y</g:title><g:price>about 5</g:price>",
    )
    found, errors = split(any_feed(document))
    assert [one.product_key for one in found] == ["x", "3"]
    assert Counter(one.code for one in errors) == {"key_missing": 1, "price_unparsable": 1}
