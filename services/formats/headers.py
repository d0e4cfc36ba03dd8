"""What a column is, judged by its header: one table of names in nine languages, and what may stand around a name.

A header is compared without case, accents, spaces and punctuation. What only qualifies it is read and set aside:
tax words ("inkl. MwSt"), a currency ("Price EUR"), a unit ("Weight (kg)"), a language ("name:en"), a number
("Kategorie 2"), a leading "Product" or "Variant".
"""

import re
import unicodedata
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from services.formats.numbers import GRAMS, currency_code, word_set


def _sale_dates(ends: str) -> str:
    """The names of a day on which a sale begins or ends."""
    of = ("sale", "saleprice", "special", "specialprice", "discount", "discountprice", "promo", "promoprice")
    return " ".join(name + end for name in of for end in ends.split())


# Field → the names it goes by, the surest first: when two columns claim a field, the surer name has it.
NAMES: dict[str, str] = {
    "handle": "handle urlhandle handleid slug identificadordeurl referencehandle",
    "group": "itemgroupid groupid gruppenid parentsku parentskuid parentid parent mastersku masterartikel "
    "vaterartikel hauptartikelnummer hauptartikel parentreference mainnumber modelid configurablesku groupe grupoid "
    "paircode parentuid variationparentsku parentproductid",
    # The number a 1C system or a Ukrainian marketplace has given; the article number beside it is the maker's.
    "id": "id productid itemid artikelid produktid idproduktu idproduct idproducto productguid entityid xmlid "
    "internalid кодтовара кодтовару номенклатурныйномер producttoken tildauid offerid 商品管理番号",
    "sku": "sku variantsku customlabelsku customlabel skucode skunumber productsku itemsku artikelnummer artikelnr "
    "artikelno artnr artno artikelnum artikelcode artikelkod artnum artikelkennung itemnumber itemno itemnr itemcode "
    "productcodesku productcode productnumber productno stockcode articlenumber articleno articlecode reference "
    "referenceproduit referencia riferimento codice codicearticolo codearticle codeproduit codigo codigoarticulo "
    "codigoproducto indeks kodproduktu symbol symbolproduktu numerkatalogowy kod kodzbozi kodprodukt cislozbozi "
    "katalogovecislo productnummer artikelnummerleverancier artikul артикул bestellnummer bestellnr bestnr "
    "sachnummer materialnummer warennummer ref code код partnumber partno vendorcode model modell catalognumber nr "
    "no litm 代码 商品代码 货号 商品コード 品番 商品番号 型番 商品编号 상품코드 상품번호 품번 varenummer varenr "
    "tuotenumero tuotekoodi sellersku ordernumber cikkszam termekkod codprodus cod codigodoproduto stokkodu urunkodu "
    "internalreference defaultcode inventorynumber offersku shopsku merchantproductid referencearticle codeoncard "
    "codiceinterno matnr skuexternalid Κωδικός κωδικοςπροιοντος sifra sifraartikla sifraproizvoda tootekood "
    "prekeskodas artikuls masanpham รหัสสินค้า kodeproduk kodebarang رقمالمنتج מקט codigodeproducto",
    "mpn": "mpn manufacturerpartnumber manufacturersku herstellernummer herstellernr herstellerartikelnummer "
    "hstnummer",
    "title": "title displayname name titlelong titleshort producttitle productname itemname itemtitle articlename "
    "artikelname artikelbezeichnung produktname produktbezeichnung bezeichnung bezeichnung1 titel warenbezeichnung "
    "kurzbezeichnung artikeltitel nom nomproduit nomduproduit libelle designation titre intitule nombre "
    "nombreproducto nombredelproducto titulo denominacion nome nomeprodotto titolo denominazione nazwa nazwaproduktu "
    "nazwatowaru tytul nazev nazevproduktu nazevzbozi jmeno naam productnaam artikelnaam omschrijvingkort название "
    "наименование наименованиетовара названиетовара имя номенклатура artikel product produkt produit producto "
    "prodotto item article товар towar назва назватовару найменування названиепозиции назвапозиції 商品名 品名 名称 "
    "商品名称 产品名称 製品名 상품명 제품명 품명 benamning namn produktnamn artikelnamn navn varenavn produktnavn "
    "tuotenimi nimi nimike tuote megnevezes termeknev nev denumire denumireprodus numeprodus nomedoproduto "
    "nomeproduto nazov nazovproduktu urunadı urunismi auctiontitle tytuloferty productservicename maktx "
    "materialkurztext названиетовараилиуслуги Περιγραφή ονομασια ονομαπροιοντος naziv nazivartikla nazivproizvoda "
    "именапродукта наименованиенапродукта nimetus pavadinimas nosaukums tensanpham ชื่อสินค้า namaproduk namabarang "
    "الاسم اسمالمنتج שםמוצר שםהמוצר",
    "description": "description descriptionlong longdesc bodyhtml body descriptionhtml longdescription "
    "fulldescription productdescription itemdescription beschreibung artikelbeschreibung produktbeschreibung "
    "langbeschreibung langtext detailbeschreibung webtext descriptif descriptionlongue descripcion descripcionlarga "
    "descrizione opis opisproduktu popis popisproduktu omschrijving beschrijving productomschrijving описание "
    "описаниетовара shortdescription kurzbeschreibung descriptioncourte descripcioncorta descrizionebreve krotkiopis "
    "kratkypopis korteomschrijving summary text опис опистовару 商品説明 説明 描述 商品描述 상품설명 상세설명 "
    "beskrivning beskrivelse varebeskrivelse kuvaus leiras descriere descricao acıklama opisoferty salesdescription "
    "pc用商品説明文 opisartikla kirjeldus aprasymas apraksts mota รายละเอียด deskripsi الوصف תיאור",
    "brand": "brand brandname vendor manufacturer manufacturername maker producer hersteller herstellername marke "
    "marque fabricant marca fabricante produttore producent producentnazwa marka vyrobce znacka merk fabrikant бренд "
    "производитель марка торговаямарка виробник ブランド ブランド名 メーカー メーカー名 品牌 브랜드 제조사 varumarke "
    "tillverkare mærke merke tuotemerkki valmistaja gyarto producator vyrobca manufacturersname μάρκα κατασκευαστης "
    "proizvodac tootja gamintojas razotajs thuonghieu ยี่ห้อ merek العلامةالتجارية מותג",
    "category": "category categories productcategory categoryname categorypath googleproductcategory producttype "
    "kategorie kategorien artikelkategorie warengruppe produktgruppe artikelgruppe hauptkategorie gruppe "
    "kategoriepfad categorie categorieproduit rayon famille categoria familia kategoria kategoriaproduktu grupa "
    "kategorieproduktu rubrik productgroep categorieen категория группа раздел productgroup department collection "
    "collectiontitle type категорія группатоваров групатоварів названиегруппы назвагрупи カテゴリ カテゴリー "
    "カテゴリ名 分类 类别 商品分类 카테고리 분류 kategori varugrupp varegruppe tuoteryhma merchantcategory "
    "kategoriaglowna kategorieebene categorytext matkl categoriesname κατηγορία kategorija kategooria danhmuc "
    "หมวดหมู่ kategoriproduk الفئة קטגוריה",
    "tags": "tags tag producttags schlagworte schlagwort schlagwoerter stichworte stichwoerter motscles etiquettes "
    "etiquetas tagi stitky trefwoorden теги keywords",
    "status": "status published active enabled productonline productstatus onlinestatus aktiv veroffentlicht "
    "veroeffentlicht actif publie activo publicado attivo pubblicato aktywny opublikowany aktivni publikovano actief "
    "gepubliceerd активен опубликован visible productvisible isactive productvisibility isvisible exibirnaloja "
    "mostrarentienda etat",
    "discontinued": "inactive isinactive archived isarchived discontinued isdiscontinued enddeserie descatalogado "
    "auslaufartikel",
    "barcode": "barcode gtin ean gtinupceanorisbn gtinupc upcean eanupc eancode eannummer eannr ean13 ean8 gtin13 "
    "gtin14 gtin12 gtin8 upc upccode isbn isbn13 strichcode globaltradeitemnumber codebarre codebarres "
    "codigodebarras codigobarras codiceabarre codiceean kodkreskowy kodean codeean carovykod streepjescode "
    "barcodeean штрихкод штрихкодean европейскийштрихкод баркод janコード jan 条码 商品条码 바코드 streckkod "
    "stregkode strekkode viivakoodi vonalkod coddebare codean ciarovykod barkod ean11 eans gtins eangtin "
    "codeproducer ribakood barkodas svitrkods mavach บาร์โค้ด الباركود ברקוד",
    "price": "price variantprice buyitnowprice yourprice searchprice sellingprice salesprice retailprice unitprice "
    "currentprice ourprice grossprice netprice webprice shopprice baseprice regularprice preis verkaufspreis vk "
    "vkpreis stuckpreis einzelpreis bruttopreis nettopreis endpreis ladenpreis shoppreis regularerpreis normalpreis "
    "prix prixdevente prixvente prixunitaire tarif prixpublic tarifnormal precio preciodeventa precioventa pvp "
    "precionormal prezzo prezzodivendita prezzovendita prezzoalpubblico prezzodilistino cena cenasprzedazy "
    "cenadetaliczna cenabrutto stdvk cenanetto cenaregularna cenaprodejni prodejnicena cenasdph prijs verkoopprijs "
    "adviesverkoopprijs stukprijs цена розничнаяцена ценапродажи стоимость ціна цінапродажу роздрібнаціна "
    "основнацінапродажу 価格 販売価格 税込価格 売価 単価 价格 售价 판매가 판매가격 가격 단가 pris forsaljningspris "
    "utpris salgspris udsalgspris utsalgspris hinta myyntihinta ar eladasiar pret pretvanzare preco precodevenda "
    "precovenda precounitario fiyat fiyatı satısfiyatı kbetr pricenotax unitretailprice salespricerate startprice "
    "τιμή λιανική mpc maloprodajnacena maloprodajnacijena cijena hind kaina kainasupvm cenaarpvn cenasapdv cenaspdv "
    "giaban gia ราคา ราคาขาย harga hargajual السعر מחיר",
    "sale": "saleprice specialprice discountprice discountedprice promoprice offerprice angebotspreis aktionspreis "
    "sonderpreis rabattpreis reduzierterpreis prixpromo prixpromotionnel prixsolde prixremise preciooferta "
    "preciorebajado preciodeoferta prezzoofferta prezzoscontato cenapromocyjna akcnicena actieprijs aanbiedingsprijs "
    "акционнаяцена ценасоскидкой precopromocional kampanjpris tilbudspris tarjoushinta akciosar pretpromotional "
    "indirimlifiyat セール価格 할인가 onlinesaleprice",
    "sale_from": "datesalepricestarts " + _sale_dates("fromdate startdate datefrom datestart from start starts"),
    "sale_to": "datesalepriceends " + _sale_dates("todate enddate dateto dateend to end ends until"),
    "sale_period": "salepriceeffectivedate",
    "on_sale": "onsale isonsale",
    "standard_price": "standardprice",
    "surcharge": "surcharge",
    "compare_at_price": "compareatprice variantcompareatprice listprice rrp msrp msrpprice srp uvp uvppreis evp "
    "unverbindlichepreisempfehlung listenpreis endkundenpreis streichpreis alterpreis oldprice wasprice "
    "originalprice recommendedretailprice suggestedretailprice recommendedprice ppc prixconseille "
    "prixpublicconseille ancienprix prixbarre precioanterior preciorecomendado prezzoconsigliato prezzobarrato "
    "cenakatalogowa cenarynkowa sugerowanacena staracena puvodnicena doporucenacena adviesprijs oudeprijs стараяцена "
    "ррц rekpris cirkapris vejledendepris veiledendepris ovh 定価 市场价 原价 정가 소비자가 시중가 priceold rrpprice "
    "pseudoprice prezzooriginale pricebeforediscount comparetoprice 表示価格 ценадоскидки",
    "cost": "costperitem cost costprice unitcost itemcost wholesaleprice wholesale purchaseprice buyingprice "
    "supplierprice dealerprice costofgoods costofgoodssold cogs ek ekpreis einkaufspreis einkauf haendlerpreis "
    "handlerpreis hek einstandspreis durchschnittlichereinkaufspreis pricecost prixachat prixdachat coutdachat cout "
    "preciocompra preciodecompra preciocoste coste costo prezzoacquisto prezzodiacquisto cenazakupu cenahurtowa "
    "nakupnicena cenanakup porizovacicena inkoopprijs inkoop закупочнаяцена себестоимость оптоваяцена inkopspris "
    "inpris kostpris indkobspris innkjopspris ostohinta hankintahinta beszerzesiar pretachizitie precodecusto custo "
    "alısfiyatı 仕入価格 卸価格 原価 成本价 进价 공급가 매입가 원가 sellercost defaultunitcost unitwholesaleprice "
    "vendorprice supplyprice stprs prixderevient purchasecost basepriceek χονδρική vpc veleprodajnacena "
    "veleprodajnacijena nabavnacena nabavnacijena ostuhind savikaina gianhap ต้นทุน hargabeli التكلفة",
    "currency": "currency currencycode currencyid pricecurrency waehrung wahrung devise monnaie moneda divisa valuta "
    "waluta mena валюта 通貨 konwa waers wahrg",
    "stock": "stock liczbasztuk inventoryquantity variantinventoryqty variantinventoryquantity inventoryqty "
    "inventory quantity qty stockquantity stockqty stockonhand stocklevel currentstocklevel onhand unitsinstock "
    "instockqty availableqty availablequantity qtyavailable quantityavailable lagerbestand bestand lager lagermenge "
    "menge vmenge verfugbar verfuegbar verfugbaremenge verfuegbaremenge anzahl stuckzahl quantite qte disponible "
    "quantiteenstock enstock existencias cantidad stockdisponible quantita giacenza ilosc stan stanmagazynowy "
    "magazyn mnozstvi sklad skladem stavskladu naskladu pocetkusu voorraad aantal остаток количество наскладе "
    "остатки кількість залишок остатокнаскладе свободныйостаток stqu 在庫 在庫数 在庫数量 库存 库存数量 数量 재고 "
    "재고수량 수량 freestock qtyavail qtyonhand lagerbestandgesamt gesamtbestand lagersaldo lagerantal antal "
    "lagerbeholdning beholdning antall varasto varastosaldo keszlet raktarkeszlet mennyiseg stoc cantitate estoque "
    "quantidade quantidadeemestoque mnozstvo skladom stok stokmiktarı stokadedi quantityonhand onhandinventory "
    "stockreel stockphysique stanmag labst quantitytosellonfacebook inventorylevel currentstock Απόθεμα ποσότητα "
    "наличност stanje zaliha zalihe kolicina laoseis kogus likutis kiekis atlikums daudzums tonkho soluong จำนวน "
    "คงเหลือ stokbarang jumlah الكمية المخزون מלאי כמות",
    "availability": "availability available availabilitystatus stockstatus instock isinstock verfugbarkeit "
    "verfuegbarkeit disponibilite dispo disponibilidad disponibilita dostepnosc dostupnost beschikbaarheid наличие "
    "наявність",
    "weight": "weight grams variantweight variantgrams weightvalue weightgrams shippingweight productweight "
    "itemweight netweight grossweight wt gewicht gewichtbrutto bruttogewicht nettogewicht versandgewicht "
    "artikelgewicht poids poidsnet poidsbrut peso pesoneto waga hmotnost vaha вес масса massa vikt vægt vekt paino "
    "suly tomeg greutate agırlık 重量 무게 packageweight brgew ntgew весвупаковке βάρος тегло tezina kaal svoris "
    "svars trongluong น้ำหนัก berat الوزن משקל",
    "weight_unit": "weightunit variantweightunit gewichtseinheit uniteodepoids unitepoids unidadpeso jednostkawagi "
    "gewichtseenheid gewei",
    "image": "image imagesrc imageurl imagelink images imageurls productimageurl mainimage baseimage pictureurl "
    "picture photo photourl thumbnail bild bildurl bildlink bild1 bilder bildpfad hauptbild produktbild artikelbild "
    "grafik foto fotos imagen imagenes urlimagen immagine immagini urlimmagine urlimage lienimage photos "
    "imageprincipale zdjecie zdjecia urlzdjecia obrazek obrazky obrazekurl imgurl img afbeelding afbeeldingen "
    "afbeeldingurl картинка изображение фото ссылканафото зображення посиланнязображення ссылкаизображения 画像 "
    "商品画像 画像url 图片 商品图片 主图 이미지 상품이미지 대표이미지 billede billeder billedurl bilde kuva kuvat "
    "kep kepek imagine imagini imagem imagens obrazok resim gorsel hostedimageurls productimagefile imagefile "
    "pictures picurl merchantimageurl linkimmagine 商品画像url ссылканаглавноефото defaultimage coverimage "
    "mainimageurl covermediaurl mediamainimageurl",
    "more_images": "additionalimagelink additionalimagelinks additionalimages additionalimageurls moreimages "
    "galleryimages gallery imagegallery weiterebilder zusatzbilder altimages imgurlalternative "
    "ссылкинадополнительныефото otherimageurl",
    "image_position": "imageposition",
    "variant_image": "variantimage variantimageurl variantassets optionimage",
    "option_names": "optiongroups optionnames attributenametypeposition",
    "option_values": "optionvalues valuevalueposition",
    "option_pairs": "optionsgroupvalue configuratoroptions variationdetails relationshipdetails editions",
    "kind": "kind fieldtype parentage recordtype",
    "color": "color colour farbe couleur colore kolor barva kleur цвет колір farg farve vari szin culoare cor renk "
    "色 カラー 颜色 색상",
    "size": "size groesse grosse taille talla taglia rozmiar velikost maat размер розмір storlek storrelse koko "
    "meret marime tamanho beden サイズ 尺寸 尺码 사이즈",
    "material": "material materiale matiere materiaal материал",
    "pattern": "pattern muster motif",
    "children": "configurablevariations",
}  # fmt: skip
# Names of things a list of orders has and a list of products has not.
_ORDER_NAMES = word_set(
    "orderid ordernumber orderno orderdate customerid customeremail customername invoiceno invoicenumber invoicedate "
    "purchaseorderid shipname shippingname billingname buyeremail"
)
_OF_ARTICLES = word_set("group description category barcode stock availability weight image cost")
# A variant's cells may be called "Variant …" or "Product …"; a product's cells are never called "Variant …".
_OF_VARIANT = word_set(
    "sku barcode price sale compare_at_price cost stock weight weight_unit availability currency color size"
)
_PREFIXES = (
    *("variant", "products", "product", "produkt", "produkte", "artikel", "article", "item", "produit", "prodotto"),
    *("shop", "ox"),
)
# The same, where the word stands behind: "Référence article", "ID товара".
_SUFFIXES = word_set("article produit produto producto prodotto produktu oferty towaru zbozi товара товару")
# "groupe article" is a category, "nombre article" is not how many.
_NO_SUFFIX = word_set("group stock kind tags")
_GROSS = word_set(
    "incl inkl inc including included mwst ust vat tva ttc gross brutto btw iva dph moms mva alv kdv φπα pdv ддс pvm "
    "pvn dahil afa tax с "
    "ндс s "
    "sis 税込"
)
_NET = word_set("excl exkl ekskl eks ex excluding excluded ht netto net zzgl without ohne hors bez без haric 税抜 税別")
_LANGUAGES = word_set("en de fr es it pl cs cz nl ru pt sv da fi no hu ro sk uk zh ja ko tr us gb default")
# Codes that are no ordinary word of a header; ALL, TOP, CUP, TRY … are.
_HEADER_CODES = word_set(
    "USD EUR GBP CHF PLN CZK SEK NOK DKK HUF RON BGN RUB UAH JPY CNY AUD CAD NZD BRL MXN INR ILS ZAR SGD HKD THB KRW "
    "AED SAR TRY RSD BAM MKD MDL BYN KZT UZS AZN ISK ARS CLP COP VND IDR MYR PHP TWD EGP QAR KWD PKR LKR"
)
# Signs and words of money beside a header's name: "Цена, руб.", "Cena (zł)".
_MONEY_SIGNS = word_set("€ $ £ ¥ ₽ ₴ ₺ ₩ ₹ руб грн zł kč ft lei лв tl 円 元")
_LOWER_CODES = word_set("usd eur gbp chf pln czk sek nok dkk huf rub uah jpy cny aud nzd")
_MONEY = word_set("price sale compare_at_price cost")
_FILLERS = word_set("με in per pro en of de la le with")
_PER_PIECE = re.compile(
    r"(?:\b(?:per|pro|je|za|за|par|por|pr)\s+|/\s*)"
    r"(?:unit|item|piece|pcs?|stk|stück|st|szt|ks|шт|unité|unidad|unidade|pezzo|pz)\b\.?",
    re.I,
)
_LANGUAGE = re.compile(r"[a-zA-Z]{2}(?:[-_][a-zA-Z]{2})?").fullmatch
_PER_MANY = re.compile(r"\b(?:per|pro|je|za|за|par|por|pr)\s+(?!1\b)\d", re.I).search
# Marks of whose field it is: "P:EAN", "*C:Brand", "p_model".
_MARKED = re.compile(r"^\*?(?:[A-Z]:(?=\w{2})|[pv]_(?=[a-z]))")
_WORDS = re.compile(r"[^\W_]+|[€$£¥₽₴₺₩₹]").findall

_LONGEST = 80  # no header is longer; a cell that is, is text


class Meaning(NamedTuple):
    """What a header says: the field, how surely (lower is surer), and what it adds to the name."""

    field: str
    rank: int
    net: bool = False
    currency: str | None = None
    unit: str | None = None


def normal(text: str) -> str:
    """A header without case, accents, spaces, punctuation and byte order marks."""
    plain = unicodedata.normalize("NFKD", text.replace("ł", "l").replace("Ł", "L").replace("ø", "o")).casefold()
    return "".join(filter(str.isalnum, plain))


_SYNONYMS = {normal(name): (field, rank) for field, names in NAMES.items() for rank, name in enumerate(names.split())}
_BY_LENGTH: dict[int, list[str]] = {}
for _name in _SYNONYMS:
    _BY_LENGTH.setdefault(len(_name), []).append(_name)


def meaning(header: str) -> Meaning | None:
    """What a column of a general table holds, or None. Spelling mistakes are not forgiven here."""
    return _meaning(header) if len(header) <= _LONGEST else None


@lru_cache(2_000)  # the first rows of a file are tried with every delimiter, and the same headers come again tomorrow
def _meaning(header: str) -> Meaning | None:
    if _PER_MANY(header):
        return None
    header = _MARKED.sub("", header)
    found = _known(normal(header)) or _known(normal(re.sub(r"[(\[{].*?[)\]}]", "", header)))
    if found and found[0] not in _MONEY and found[0] != "weight":
        return Meaning(*found)
    words = _WORDS(re.sub(r"(?<=[a-zäöü])(?=[A-Z])", " ", _PER_PIECE.sub(" ", header)))
    tax = {normal(word) for word in words}
    currency = next((currency_code(word) for word in words if _is_money(word)), None)
    rest = [word for word in words if not _is_money(word)]
    base = [word for word in rest if normal(word) not in _GROSS | _NET | _FILLERS]
    unit = next((normal(word) for word in rest if normal(word) in GRAMS), None)
    no_unit = [word for word in base if normal(word) not in GRAMS]
    net = bool(tax & _NET)
    for named in (found, _known(normal("".join(rest))), _known(normal("".join(base)))):
        if named and named[0] in _MONEY:
            return Meaning(*named, net=net, currency=currency)
    for named in (found, _known(normal("".join(no_unit)))):
        if named and named[0] == "weight":
            return Meaning(*named, unit="g" if unit is None and "gram" in normal(header) else unit)
    if len(rest) > 1 and (rest[-1].casefold() in _LANGUAGES or re.search(r"[:_\-\[ ](zh|pt|en|sr)_\w+$", header)):
        named = _known(normal("".join(rest[:-1]))) or _known(normal("".join(rest[:-2])))
        if named:
            return Meaning(*named)
    if re.match(r"[A-Z]{2}_", header) and words[0].casefold() in _LANGUAGES:  # NL_Title
        return meaning(header[3:])
    return None


def _is_money(word: str) -> bool:
    return word in _HEADER_CODES or word.casefold() in _MONEY_SIGNS or word in _LOWER_CODES


def _known(name: str) -> tuple[str, int] | None:
    """Field and rank of a normalised name, tried as it is, without number, without prefix."""
    unnumbered = name.strip("0123456789") if len(name) > 3 else name
    for form in (name, unnumbered):
        if form in _SYNONYMS:
            return _SYNONYMS[form]
    for prefix in _PREFIXES:
        short = _SYNONYMS.get(unnumbered.removeprefix(prefix)) if unnumbered.startswith(prefix) else None
        if short and (prefix != "variant" or short[0] in _OF_VARIANT):
            # "Product weight" gives way to "Variant weight", both to a plain name of equal rank.
            return short[0], short[1] + (1 if prefix == "variant" or short[0] not in _OF_VARIANT else 50)
    for suffix in _SUFFIXES:
        short = _SYNONYMS.get(unnumbered.removesuffix(suffix)) if unnumbered.endswith(suffix) else None
        if short and short[0] not in _NO_SUFFIX:
            return short[0], short[1] + 50
    return None


def is_language(word: str) -> bool:
    """Whether this names a language, as behind ``name:en`` and inside ``{"name": {"en": …}}``."""
    return word[:2].casefold() in _LANGUAGES and bool(_LANGUAGE(word))


def _misspelt(header: str) -> Meaning | None:
    """The one field with a name one letter away, for names long enough that this is no accident.

    Never a price: "show price" is one letter away from "shop price".
    """
    name = normal(header).strip("0123456789")
    if not 10 <= len(name) <= 40:
        return None
    near = {
        _SYNONYMS[known]
        for length in (len(name) - 1, len(name), len(name) + 1)
        for known in _BY_LENGTH.get(length, ())
        if _one_apart(name, known)
    }
    fields = {field for field, _ in near}
    return Meaning(*min(near)) if len(fields) == 1 and not fields & _MONEY else None


def _one_apart(one: str, other: str) -> bool:
    start = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    a, b = one[start:], other[start:]
    return a[1:] == b or a == b[1:] or a[1:] == b[1:]


def meanings(headers: list[str]) -> list[Meaning | None]:
    """What each column holds; a header seen twice counts once, where it stands first.

    A misspelt header counts only for a field that no well-spelt one claims.
    """
    seen: set[str] = set()
    found: list[Meaning | None] = []
    for header in headers:
        name = normal(header)
        found.append(None if name in seen or not name else meaning(header))
        seen.add(name)
    claimed = {one.field for one in found if one}
    for index, header in enumerate(headers):
        near = _misspelt(header) if found[index] is None else None
        if near and near.field not in claimed:
            found[index] = near
    return found


def one_name(cell: str) -> str:
    """The name in a header that lists several things (``Group/ Product/ Kind``) or a path (``Product.Number``)."""
    cell = cell.strip()
    if meaning(cell) is None:
        parts = cell.split("/") if "/" in cell else [cell.rpartition(".")[2]]
        return next((part.strip() for part in parts if meaning(part)), cell)
    return cell


def in_two_rows(upper: list[str], lower: list[str]) -> list[str]:
    """The names of columns whose headers stand in two rows above each other; [] where that cannot be.

    Cells that were merged over several columns hold their text in the first of them.
    """
    if len(upper) != len(lower) or not any(lower) or any(cell and cell[0].isdigit() for cell in (*upper, *lower)):
        return []
    spread, above = [], ""
    for cell in upper:
        above = cell or above
        spread.append(above)
    wide = {cell for cell, after in pairwise(spread) if cell == after}
    return [_of_two(*cells, cells[1] in wide) for cells in zip(upper, spread, lower, strict=True)]


def _of_two(upper: str, spread: str, lower: str, is_wide: bool) -> str:
    """The name of a column whose header stands in two rows, the upper one perhaps over several columns."""
    if lower.strip():
        for both in (f"{spread} {lower}", f"{lower} {spread}"):
            if meaning(both):
                return both
    for name in (lower, "" if is_wide and lower.strip() else upper):
        if name.strip() and meaning(one_name(name)):
            return one_name(name)
    return f"{upper} {lower}".strip()


def locate(headers: list[str], names: dict[str, str]) -> dict[str, int]:
    """Where the columns of a known format stand: key → index, ``len(headers)`` for a column the file has not.

    ``names`` has the normalised headers of each key, the preferred one first.
    """
    index: dict[str, int] = {}
    for position, header in enumerate(headers):
        index.setdefault(normal(header), position)
    return {
        key: next((index[name] for name in wanted.split() if name in index), len(headers))
        for key, wanted in names.items()
    }


def order_headers(headers: list[str]) -> list[str]:
    """The headers that belong to a list of orders. What is only the number to order an article by is none."""
    found = [header for header in headers if normal(header) in _ORDER_NAMES]
    if [normal(header) for header in found] == ["ordernumber"]:
        fields = {said.field for said in meanings(headers) if said}
        return [] if len(fields & _OF_ARTICLES) > 1 else found
    return found
