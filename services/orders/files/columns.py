"""A table of orders: which column says what, and what a record says of its order and its line.

One record is one line of an order, with what is said of the whole order repeated beside it, or left empty after the
first. A file may also have only orders, or only their lines: they meet under the order's id.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from services.formats import cells, numbers
from services.formats.base import FeedRefused, RowError
from services.formats.headers import normal
from services.orders.addresses.check import split_name
from services.orders.addresses.places import country_named

# Field → headers that name it, without case, spaces and punctuation; the surest first. Shop systems' exports and
# spreadsheets alike: Shopify's "Lineitem sku", Magento's "qty_ordered", the accountant's "Invoice No".
FIELDS: dict[str, tuple[str, ...]] = {
    field: tuple(names.split())
    for field, names in {
        "external_id": "orderid ordernumber orderno ordernr orderref orderreference incrementid salesorderid "
        "purchaseorderid invoiceno invoicenumber invoice bestellnummer bestellnr auftragsnummer numerocommande "
        "numeropedido order ordername",
        "number": "displaynumber ordername",
        "placed_at": "orderdate createdat orderedat purchasedate ordercreated orderdatetime invoicedate paidat "
        "placedat bestelldatum date",
        "currency": "currency ordercurrency ordercurrencycode currencycode wahrung",
        "cancelled_at": "cancelledat canceledat cancelled",
        "note": "notes note customernote ordernote comment comments",
        "shipping_paid": "shipping shippingamount shippingcost shippingprice shippingtotal freight",
        "customer_name": "customername buyername billingname",
        "customer_email": "email customeremail buyeremail billingemail",
        "customer_phone": "customerphone buyerphone billingphone",
        "customer_reference": "customerid customernumber customerno kundennummer",
        "ship_name": "shippingname shipname recipientname recipient deliveryname shiptoname",
        "first_name": "shippingfirstname firstname vorname",
        "last_name": "shippinglastname lastname nachname",
        "company": "shippingcompany shipcompany company firma",
        "line": "shippingaddress1 shippingstreet shipaddress1 shipaddress shippingaddress shiptoaddress1 address1 "
        "street address deliveryaddress strasse",
        "line2": "shippingaddress2 shipaddress2 shiptoaddress2 address2",
        "town": "shippingcity shipcity shiptocity city town ort",
        "postcode": "shippingzip shippingpostcode shippingpostalcode shippostalcode shipzip shiptozip zip zipcode "
        "postcode postalcode plz",
        "province": "shippingprovince shippingstate shippingregion shipregion shipstate province state region",
        "country": "shippingcountrycode shippingcountry shipcountry shiptocountry countrycode country land",
        "phone": "shippingphone shipphone shiptophone phone telephone telefon",
        "line_id": "lineitemid orderlineid orderitemid lineid itemid purchaseorderdetailid",
        "sku": "lineitemsku sku itemsku productsku stockcode itemcode productcode articlenumber articleno "
        "artikelnummer partnumber productid",
        "barcode": "ean ean13 gtin barcode upc lineitembarcode",
        "title": "lineitemname itemname productname producttitle product title description artikel",
        "quantity": "lineitemquantity quantity qty qtyordered orderqty itemquantity orderquantity anzahl menge "
        "cantidad quantite pieces units",
        "price": "lineitemprice unitprice priceeach itemprice price preis einzelpreis precio prix",
        "discount": "discount",
        "line_status": "lineitemfulfillmentstatus",
    }.items()
}
HEADERS = frozenset(name for names in FIELDS.values() for name in names) | {"name"}
OF_LINE = ("line_id", "sku", "barcode", "title", "quantity", "price", "discount", "line_status")
_ADDRESS = ("company", "line", "line2", "town", "postcode", "province", "country", "phone")
_LONGEST = {"external_id": 200, "note": 5000}
_USUAL_LONGEST = 500
_MOST_PIECES = 1_000_000
_FLOAT_ID = re.compile(r"(\d+)\.0").fullmatch
_WHOLE = re.compile(r"([-−]?)(\d{1,9})(?:[.,]0+)?").fullmatch


class Extracted(NamedTuple):
    """What one record says: of its order, and of its line if it has one. Canonical text, JSON-ready."""

    line: int
    external_id: str
    order: dict[str, str]
    of_line: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column feeds which field."""

    at: dict[str, int]
    headers: tuple[str, ...]

    def shown(self) -> dict[str, str]:
        """Header as spelled → field."""
        return {self.headers[index]: field for field, index in self.at.items()}

    @property
    def has_lines(self) -> bool:
        """Whether the file speaks of what was ordered."""
        return "quantity" in self.at


def found_in(headers: Sequence[str], *, mapping: Mapping[str, str] | None = None) -> Columns:
    """The columns of a table, as its headers name them and as somebody has said (field → header).

    Raises FeedRefused ``no_order_columns``, or ``mapping_column_missing``.
    """
    places: dict[str, int] = {}
    for index, header in enumerate(headers):
        places.setdefault(normal(header), index)
    at: dict[str, int] = {}
    taken: set[int] = set()
    for field, header in (mapping or {}).items():
        named = next((i for i, name in enumerate(headers) if name == header), places.get(normal(header)))
        if named is None:
            raise FeedRefused("mapping_column_missing", f"There is no column {header!r}.")
        at[field] = named
        taken.add(named)
    shopify = "lineitemquantity" in places and "name" in places
    for field, names in FIELDS.items():
        if field in at:
            continue
        wanted = ("name", *names) if shopify and field == "external_id" else names
        free = next((places[name] for name in wanted if name in places and places[name] not in taken), None)
        if free is not None:
            at[field] = free
            taken.add(free)
    if "external_id" not in at:
        seen = ", ".join(name for name in headers[:20] if name)
        raise FeedRefused("no_order_columns", f"No column has the orders' ids. The columns are: {seen[:500]}.")
    told = {"quantity", "line", "town", "country", "placed_at", "customer_email", "customer_phone"}
    if not told & at.keys():
        raise FeedRefused("no_order_columns", "There is an order's id, but no quantity, no address and no customer.")
    return Columns(at, tuple(headers))


class Reader:
    """Reads the records of one table; what a cell does not give is an error beside what the rest says."""

    def __init__(self, columns: Columns, sample: Sequence[Sequence[str]]) -> None:
        self.columns = columns
        marks: dict[str, str] = {
            field: numbers.habit(row[columns.at[field]] for row in sample)
            for field in ("price", "shipping_paid")
            if field in columns.at
        }
        common = numbers.common_habit(marks.values())
        self._mark = {field: mark or common for field, mark in marks.items()}

    def read(self, line: int, row: Sequence[str]) -> Iterator[Extracted | RowError]:
        """The record's errors, and behind them what it says; nothing, if it cannot be used."""
        errors: list[RowError] = []
        said = {
            field: text
            for field, index in self.columns.at.items()
            if (text := self._text(field, row[index], line, errors))
        }
        external_id = said.pop("external_id", "")
        if not external_id:
            if any(map(str.strip, row)):
                yield cells.fatal(
                    line, "order_id_missing", "The row does not say which order it is of.", " | ".join(row)
                )
            return
        of_line = self._line(said, line, errors) if self.columns.has_lines else None
        order = self._order(said, line, errors)
        yield from errors
        if not any(error.fatal for error in errors):
            yield Extracted(line, external_id, order, of_line)

    # -- cells -------------------------------------------------------------------------------------------------------

    def _text(self, field: str, cell: str, line: int, errors: list[RowError]) -> str:
        text = cell.strip().replace("\0", "")
        if not text or text.casefold() in numbers.BLANK_WORDS:
            return ""
        if field in ("external_id", "sku", "barcode", "line_id", "customer_reference", "postcode", "phone"):
            text = cells.code(text)
            if field != "sku" and (found := _FLOAT_ID(text)):
                text = found[1]  # a number that went through a program's floats
        most = _LONGEST.get(field, _USUAL_LONGEST)
        if len(text) > most:
            reason = f"The cell has {len(text)} characters; {most} are allowed here."
            kept = field not in ("external_id", "sku", "barcode")
            errors.append(RowError(line, f"{field}_too_long", self._header(field), text[:200], reason, fatal=not kept))
            return ""
        return text

    def _header(self, field: str) -> str:
        return self.columns.headers[self.columns.at[field]]

    def _problem(self, line: int, field: str, what: str, cell: str, reason: str, *, fatal: bool = False) -> RowError:
        return RowError(line, f"{field}_{what}", self._header(field), cell[:200], reason, fatal=fatal)

    def _money(
        self, said: dict[str, str], field: str, line: int, errors: list[RowError]
    ) -> tuple[str | None, str | None]:
        cell = said.pop(field, "")
        if not cell:
            return None, None
        try:
            found = numbers.amount(cell, self._mark[field])
        except numbers.Unreadable as error:
            errors.append(self._problem(line, field, error.args[0], cell, error.args[1]))
            return None, None
        return found.text, found.currency

    # -- the line ----------------------------------------------------------------------------------------------------

    def _line(self, said: dict[str, str], line: int, errors: list[RowError]) -> dict[str, Any] | None:
        cell = said.pop("quantity", "")
        price, currency = self._money(said, "price", line, errors)
        if currency:
            said.setdefault("currency", currency)
        found = _WHOLE(cell)
        quantity = int(found[2]) * (-1 if found[1] else 1) if found else 0
        if not cell:
            errors.append(self._problem(line, "quantity", "missing", "", "The row does not say how many.", fatal=True))
        elif found is None:
            reason = "This is not a number of pieces."
            errors.append(self._problem(line, "quantity", "unparsable", cell, reason, fatal=True))
        elif not quantity or abs(quantity) > _MOST_PIECES:
            reason = "A line has 1 to 1,000,000 pieces; fewer than none where it takes them back."
            errors.append(self._problem(line, "quantity", "invalid", cell, reason, fatal=True))
        of_line: dict[str, Any] = {"quantity": quantity, "price": self._discounted(price, said, line, errors)}
        for field, name in (("line_id", "external_id"), ("sku", "sku"), ("barcode", "barcode"), ("title", "title")):
            of_line[name] = said.pop(field, None)
        if said.pop("line_status", "").casefold() == "fulfilled":
            of_line["fulfilled"] = True
        return {name: value for name, value in of_line.items() if value is not None}

    def _discounted(self, price: str | None, said: dict[str, str], line: int, errors: list[RowError]) -> str | None:
        """The price with a discount that is a share of it; of an amount nobody says whether it is for one piece."""
        cell = said.pop("discount", "")
        if price is None or not cell:
            return price
        share = cell.removesuffix("%").strip().replace(",", ".")
        try:
            taken = Decimal(share) / (100 if cell.endswith("%") else 1)
        except ArithmeticError:
            taken = Decimal(-1)
        if not 0 <= taken <= 1:
            reason = "Only a share (0.05, 5 %) is taken as a discount; the price is kept as it is."
            errors.append(self._problem(line, "discount", "ignored", cell, reason))
            return price
        return f"{(Decimal(price) * (1 - taken)).quantize(Decimal('0.000001')).normalize():f}"

    # -- the order ---------------------------------------------------------------------------------------------------

    def _order(self, said: dict[str, str], line: int, errors: list[RowError]) -> dict[str, str]:
        order: dict[str, str] = {}
        if (number := said.get("number")) is not None:
            order["number"] = number
        for field, check in (("currency", self._currency), ("placed_at", self._moment), ("country", self._country)):
            if field in said and (value := check(said[field], line, errors)):
                order[field] = value
        shipping, _ = self._money(said, "shipping_paid", line, errors)
        if shipping is not None:
            order["shipping_paid"] = shipping
        if "ship_name" in said and not ("first_name" in said or "last_name" in said):
            said["first_name"], said["last_name"] = split_name(said["ship_name"])
        for field in ("note", "cancelled_at", "first_name", "last_name", *_ADDRESS[:-2], "phone"):
            if said.get(field):
                order[field] = said[field]
        for field in ("name", "email", "phone", "reference"):
            if said.get(f"customer_{field}"):
                order[f"customer_{field}"] = said[f"customer_{field}"]
        return order

    def _currency(self, cell: str, line: int, errors: list[RowError]) -> str | None:
        found = numbers.currency_code(cell)
        if found is None and "currency" in self.columns.at:
            errors.append(self._problem(line, "currency", "unknown", cell, "This is not a currency code."))
        return found

    def _country(self, cell: str, line: int, errors: list[RowError]) -> str | None:
        found = country_named(cell)
        if found is None:
            errors.append(self._problem(line, "country", "unknown", cell, "This is no country's code or name."))
        return found

    def _moment(self, cell: str, line: int, errors: list[RowError]) -> str | None:
        found = moment(cell)
        if found is None:
            errors.append(self._problem(line, "placed_at", "unparsable", cell, "This is no date."))
            return None
        return found.isoformat()


_FORMATS = ("%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M", "%m/%d/%Y", "%m/%d/%y %H:%M", "%m/%d/%y", "%d.%m.%Y %H:%M:%S")
_MORE_FORMATS = ("%d.%m.%Y %H:%M", "%d.%m.%Y", "%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%d/%m/%Y", "%Y/%m/%d")


def moment(cell: str) -> datetime | None:
    """When something was: ISO 8601 and its kin, then month/day as shop systems write it, then day/month.

    What names no time zone is taken as UTC.
    """
    text = re.sub(r" (?=[+-]\d\d:?\d\d$)", "", cell.removesuffix(" UTC"))
    for read in (datetime.fromisoformat, *map(_by, (*_FORMATS, *_MORE_FORMATS))):
        try:
            found = read(text)
        except (ValueError, OverflowError):
            continue
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    return None


def _by(form: str) -> Callable[[str], datetime]:
    return lambda text: datetime.strptime(text, form)
