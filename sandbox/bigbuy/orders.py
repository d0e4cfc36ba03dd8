"""BigBuy's orders: checked, created, found again, followed."""

from collections.abc import Callable
from decimal import Decimal

from sandbox.bigbuy import countries, errors, forms, items, shelves, shipping
from sandbox.bigbuy.errors import INFO, OrderError, Refused, answer
from sandbox.bigbuy.forms import OrderForm
from sandbox.bigbuy.state import MAX_ORDERS, STATUSES, Order, State
from sandbox.catalogue import Article, Product
from sandbox.clock import timestamp
from sandbox.wire import Answer, Call, Item

CENT = Decimal("0.01")
PAYMENTS = {"moneybox", "bankwire", "paypal", "creditcard"}

Line = tuple[str, Product, Article, int]  # reference, what it is, how many


# -- Working an order out ------------------------------------------------------------------------------------------


def _lines(state: State, call: Call, form: OrderForm) -> list[Line]:
    """What is ordered, found in the catalogue. Raises OrderError or Refused for the first kind of trouble."""
    incorrect, unknown, inactive = [], [], []
    found: list[Line] = []
    for reference, quantity in form.lines:
        place = shelves.from_sku(reference)
        product = state.catalogue.product(place[0], call.at) if place else None
        if not shelves.SKU.fullmatch(reference):
            incorrect.append(reference)
        elif place is None or product is None:
            unknown.append(reference)
        elif product.variants and not place[1]:
            incorrect.append(reference)  # its variations are what can be bought
        else:
            article = state.catalogue.article(product, place[1], call.at)
            if article is None:
                unknown.append(reference)
            elif not product.active:
                inactive.append(reference)
            else:
                found.append((reference, product, article, quantity))
    for code, skus in (("ER002", incorrect), ("ER001", unknown)):
        if skus:
            raise OrderError(code, {"skus": skus})
    if inactive:
        raise Refused(errors.inactive(inactive))
    return found


def _can_be_sent(form: OrderForm) -> None:
    """Payment, postcode and country. Raises OrderError."""
    country = form.address["country"]
    if form.payment not in PAYMENTS:
        raise OrderError("ER011")
    if not countries.fits(country, form.address["postcode"]):
        raise OrderError("ER004", {"zipExample": countries.COUNTRIES[country][1]})
    if countries.COUNTRIES[country][0] == 0:
        raise OrderError("ER013")


def _by_warehouse(lines: list[Line]) -> dict[int, list[Line]]:
    groups: dict[int, list[Line]] = {}
    for line in lines:
        groups.setdefault(items.warehouse(line[1]), []).append(line)
    return dict(sorted(groups.items()))


def _work_out(state: State, call: Call, form: OrderForm, lines: list[Line], funds: Decimal) -> Order:
    """The order as it would be, with an id of 0. Raises OrderError: no stock, no carrier, too little, no money."""
    short = [reference for reference, _, article, quantity in lines if article.stock < quantity]
    if short:
        raise OrderError("ER003", {"skus": short})
    country = form.address["country"]
    kilograms = sum(items.weight(product) * quantity for _, product, _, quantity in lines)
    carried = shipping.cheapest(form.carriers, country, kilograms)
    if carried is None:
        raise OrderError("ER010")
    carrier, shipping_cost = carried
    shown, goods, tax = [], Decimal(0), Decimal(0)
    for reference, product, article, quantity in lines:
        price = Decimal(items.unit_price(product, article, quantity)) / 100
        rate = Decimal(items.tax_rate(product)) / 100
        goods += price * quantity
        tax += price * quantity * rate
        shown.append(
            {
                "id": str(shelves.product_id(product.index)),
                "reference": reference,
                "name": items.name(product, "en"),
                "quantity": quantity,
                "priceTaxIncl": float((price * (1 + rate)).quantize(CENT)),
                "priceTaxExcl": float(price),
            }
        )
    order = Order(
        id=0,
        account=state.account(call).name,
        reference=form.reference,
        placed=call.at,
        payment=form.payment,
        warehouse=items.warehouse(lines[0][1]),
        address=form.address,
        carrier=carrier.code,
        goods=goods,
        shipping=shipping_cost,
        tax=(tax + shipping_cost * Decimal("0.21")).quantize(CENT),
        lines=shown,
        handling_days=max(items.handling_days(product)[1] for _, product, _, _ in lines),
    )
    _can_be_paid(state, order, funds)
    return order


def _can_be_paid(state: State, order: Order, funds: Decimal) -> None:
    total = float(order.total)
    if order.goods < Decimal(str(state.settings.minimum_purchase)):
        raise OrderError("ER007", {"minimunPurchase": state.settings.minimum_purchase, "totalOrder": total})
    if order.payment == "moneybox" and order.total > funds:
        raise OrderError("ER005", {"moneyBoxAmount": float(funds), "totalOrder": total})
    if order.payment == "bankwire" and total < state.settings.minimum_bank_wire:
        raise OrderError("ER012", {"minBankwire": state.settings.minimum_bank_wire, "totalOrder": total})


def _read(state: State, call: Call, *, unique: bool) -> tuple[OrderForm, list[Line]]:
    """The order of a call, as far as it can be said before stock and money. Raises OrderError or Refused."""
    account = state.account(call)
    if not account.pack:
        raise OrderError("ER014")
    form = forms.order(call)
    existing = state.references.get((account.name, form.reference)) if unique else None
    if existing is not None:
        raise OrderError("ER009" if _is_temporary(state, call, existing) else "ER008", _named(state, call, existing))
    _can_be_sent(form)
    return form, _lines(state, call, form)


def _is_temporary(state: State, call: Call, id_: int) -> bool:
    """Whether it was only just created (an order from a time to which the clock has yet to come again is not)."""
    return 0 <= call.at - state.orders[id_].placed < state.settings.temporary_seconds


def _named(state: State, call: Call, id_: int) -> Item:
    return {} if _is_temporary(state, call, id_) else {"orderId": str(id_)}


def _totals(order: Order) -> Item:
    return {
        "totalWithoutTaxesAndWithoutShippingCost": float(order.goods),
        "totalWithoutTaxes": float(order.goods + order.shipping),
        "total": float(order.total),
    }


def _place(state: State, call: Call, order: Order, lines: list[Line]) -> Order:
    """Make it so: the order is kept, stock and purse go down."""
    if len(state.orders) >= MAX_ORDERS:
        raise Refused(errors.plain(503, "Too many orders in the sandbox: reset it."))
    order.id = state.next_order_id()
    state.add(order)
    for _, _, article, quantity in lines:
        state.catalogue.sell(article, quantity, call.at)
    if order.payment == "moneybox":
        state.account(call).purse -= order.total
    call.effects.append(f"order_created {order.id}")
    return order


# -- Check and create ----------------------------------------------------------------------------------------------


def _one_order(state: State, call: Call, *, unique: bool) -> tuple[Order, list[Line]]:
    form, lines = _read(state, call, unique=unique)
    groups = _by_warehouse(lines)
    if len(groups) > 1:
        raise Refused(errors.several_warehouses({id_: [line[0] for line in group] for id_, group in groups.items()}))
    return _work_out(state, call, form, lines, state.account(call).purse), lines


def check(state: State, call: Call, argument: str) -> Answer:
    """What an order would cost."""
    order, _ = _one_order(state, call, unique=False)
    return answer(call.spoil_one(_totals(order)))


def create(state: State, call: Call, argument: str) -> Answer:
    """201 with an empty body; the id is in `Location` only."""
    order, lines = _one_order(state, call, unique=True)
    _place(state, call, order, lines)
    return Answer(201, b"", headers=[("Location", f"/rest/order/{order.id}")])


def _each(
    state: State, call: Call, *, unique: bool, done: Callable[[Order, list[Line]], Item]
) -> tuple[list[Item], list[Item]]:
    """An order for each warehouse, and an error for each that cannot be. They are paid one after the other."""
    form, lines = _read(state, call, unique=unique)
    funds = state.account(call).purse
    made: list[Item] = []
    failed: list[Item] = []
    for warehouse, group in _by_warehouse(lines).items():
        references = [line[0] for line in group]
        try:
            order = _work_out(state, call, form, group, funds)
        except OrderError as error:
            failed.append(
                {
                    "status": 409,
                    "code": error.code,
                    "message": INFO[error.code],
                    "productReferences": references,
                    "warehouse": warehouse,
                }
            )
            continue
        funds -= order.total if order.payment == "moneybox" else 0
        made.append({"productReferences": references, **done(order, group), "warehouse": warehouse})
    return made, failed


def check_multishipping(state: State, call: Call, argument: str) -> Answer:
    """What each part of an order would cost."""
    made, failed = _each(state, call, unique=False, done=lambda order, _: _totals(order))
    return answer({"orders": [call.spoil_one(each) for each in made], "errors": failed})


def create_multishipping(state: State, call: Call, argument: str) -> Answer:
    """An order for each warehouse; some may fail while others are made."""

    def done(order: Order, lines: list[Line]) -> Item:
        _place(state, call, order, lines)
        return {"id": str(order.id), "url": f"/rest/order/{order.id}"}

    made, failed = _each(state, call, unique=True, done=done)
    return answer({"orders": made, "errors": failed}, 201 if made else 200)


# -- Finding again -------------------------------------------------------------------------------------------------


def _own(state: State, call: Call, id_: int) -> Order:
    order = state.orders.get(id_)
    if order is None or order.account != state.account(call).name:
        raise Refused(errors.missing(state.settings.missing_order, "Order"))
    return order


def by_id(state: State, call: Call, argument: str) -> Answer:
    """An order as it stands."""
    order = _own(state, call, int(argument))
    carrier = shipping.BY_CODE[order.carrier]
    return answer(
        call.spoil_one(
            {
                "id": str(order.id),
                "internalReference": order.reference,
                "dateAdd": timestamp(order.placed),
                "totalPaidTaxIncl": float(order.total),
                "totalPaidTaxExcl": float(order.goods + order.shipping),
                "totalShippingTaxExcl": float(order.shipping),
                "totalShippingTaxIncl": float((order.shipping * Decimal("1.21")).quantize(CENT)),
                "status": order.status(state.settings, call.at),
                "carriers": [{"id": carrier.id, "name": carrier.name, "price": float(order.shipping)}],
                "shippingAddress": order.address,
                "products": order.lines,
            }
        )
    )


def by_reference(state: State, call: Call, argument: str) -> Answer:
    """One order of that reference, the first; not found while it is temporary."""
    id_ = state.references.get((state.account(call).name, argument))
    if id_ is None or _is_temporary(state, call, id_):
        return errors.missing(state.settings.missing_order, "Order")
    order = state.orders[id_]
    return answer(call.spoil_one({"id": str(order.id), "totalPaidTaxIncl": f"{order.total:.2f}"}))


def statuses(state: State, call: Call, argument: str) -> Answer:
    """All statuses."""
    return answer([{"id": id_, "name": name} for id_, name in STATUSES.items()])


def _is_on_its_way(state: State, call: Call, order: Order) -> bool:
    return order.status(state.settings, call.at) in ("Shipped", "Delivered")


def delivery_notes(state: State, call: Call, argument: str) -> Answer:
    """The parcels of an order, once they have left."""
    order = _own(state, call, int(argument))
    if not _is_on_its_way(state, call, order):
        return answer([])
    lines = [{"reference": line["reference"], "quantity": line["quantity"]} for line in order.lines]
    note = {
        "reference": f"DN{order.id}",
        "order": str(order.id),
        "status": order.status(state.settings, call.at),
        "carrier": shipping.BY_CODE[order.carrier].name,
        "numberOfPackages": 1,
        "products": lines,
    }
    return answer([call.spoil_one(note)])


def upload_invoice(state: State, call: Call, argument: str) -> Answer:
    """The merchant's invoice to an order."""
    given = forms.part(call, "invoice")
    needed = ("id_order", "file", "mime_type", "concept", "amount")
    wrong = {name: [] if forms.text(given.get(name)) else {"errors": [forms.BLANK]} for name in needed}
    if any(wrong.values()):
        raise Refused(errors.invalid(wrong))
    order = _own(state, call, forms.number(given["id_order"]))
    order.invoices += 1
    call.effects.append(f"invoice_uploaded {order.id}")
    return answer([True])


# -- Tracking ------------------------------------------------------------------------------------------------------


def _tracked(state: State, call: Call, order: Order) -> Item:
    carrier = shipping.BY_CODE[order.carrier]
    delivered = order.status(state.settings, call.at) == "Delivered"
    moment = order.delivered_at(state.settings) if delivered else order.shipped_at(state.settings)
    return {
        "id": order.id,
        "reference": order.reference,
        "trackings": [
            {
                "trackingNumber": f"{carrier.code[:3].upper()}{order.id}ES",
                "statusDescription": "Entregado" if delivered else "En tránsito",
                "statusDate": timestamp(min(moment, call.at)),
                "carrier": {"id": carrier.id, "name": carrier.name},
                "descriptionTranslated": "Delivered" if delivered else "In transit",
            }
        ],
    }


def tracking(state: State, call: Call, argument: str) -> Answer:
    """The parcels of one order; none before it is shipped."""
    order = _own(state, call, int(argument))
    found = [_tracked(state, call, order)] if _is_on_its_way(state, call, order) else []
    return answer([call.spoil_one(each) for each in found])


def trackings(state: State, call: Call, argument: str) -> Answer:
    """The parcels of several orders, in the order asked for; those without any are left out."""
    asked = forms.part(call, "track").get("orders")
    if not isinstance(asked, list) or not asked:
        raise Refused(errors.invalid({"orders": {"errors": [forms.BLANK]}}))
    account = state.account(call).name
    found = []
    for each in asked:
        order = state.orders.get(forms.number(forms.mapping(each).get("id")))
        if order is not None and order.account == account and _is_on_its_way(state, call, order):
            found.append(_tracked(state, call, order))
    return answer(list(call.spoil(found)))
