"""Dropshipping: placing orders, and what becomes of them."""

from decimal import Decimal

from sandbox.aliexpress import ds, goods
from sandbox.aliexpress.ds import Method, an_object, need
from sandbox.aliexpress.envelopes import Refused, Wrapped
from sandbox.aliexpress.goods import Params
from sandbox.aliexpress.state import DAY, MAX_ORDERS, Order, State
from sandbox.catalogue import Article, Product
from sandbox.clock import timestamp
from sandbox.wire import Call, Item

Line = tuple[Product, Article, int, str]  # product, SKU, pieces, service
PACIFIC = -8 * 3_600


class Failed(Exception):
    """An order that cannot be, in the words of the API."""

    def __init__(self, code: str, message: str) -> None:
        """`code` as documented."""
        super().__init__(code)
        self.code, self.message = code, message


def create(state: State, call: Call, params: Params, account: str) -> Item:
    """Place an order: one for each seller. Unpaid ones are made too, and say so."""
    asked = an_object(params, "param_place_order_request4_open_api_d_t_o")
    payment: object = None
    if params.get("ds_extend_request"):
        payment = an_object(params, "ds_extend_request").get("payment")
    try:
        result = _create(state, call, asked, payment if isinstance(payment, dict) else {}, account)
    except Failed as failed:
        result = {"error_msg": failed.message, "error_code": failed.code, "is_success": False}
    return {"result": result}


def _create(state: State, call: Call, asked: Item, payment: Item, account: str) -> Item:
    out_order_id = str(asked.get("out_order_id") or "")
    before = _before(state, call, account, out_order_id)
    if before is not None:
        if state.settings.repeated_order == "same":
            return _made(before)
        raise Failed("REPEATED_ORDER_ERROR", "Repeated order, the same out_order_id has been handled")
    address = _address(asked.get("logistics_address"))
    lines = _lines(state, call, asked.get("product_items"))
    currency = str(payment.get("pay_currency") or "USD").upper()
    if currency != "USD":
        raise Failed("PRICE_PAY_CURRENCY_ERROR", "Only USD is supported")
    if len(state.orders) >= MAX_ORDERS:
        raise Refused("isp.service-unavailable", "Too many orders in the sandbox: reset it", kind="ISP")
    wants_to_pay = str(payment.get("try_to_pay")).lower() == "true"
    ids = []
    for store in dict.fromkeys(goods.store_of(line[0]) for line in lines):
        of_store = [line for line in lines if goods.store_of(line[0]) == store]
        order = _place(state, call, of_store, account=account, out_order_id=out_order_id, address=address, store=store)
        order.paid = call.at if wants_to_pay and state.settings.auto_pay else None
        ids.append(order.id)
    if out_order_id:
        state.out_orders[(account, out_order_id)] = ids
    result = _made(ids)
    if wants_to_pay and not state.settings.auto_pay:
        result["error_msg"] = "OrderCreated, autoPay fail:APIPayFail"
    return result


def _before(state: State, call: Call, account: str, out_order_id: str) -> list[int] | None:
    """The orders made with that id less than a day ago."""
    ids = state.out_orders.get((account, out_order_id)) if out_order_id else None
    return ids if ids and call.at - state.orders[ids[0]].placed < DAY else None


def _made(ids: list[int]) -> Item:
    return {"is_success": True, "order_list": Wrapped("number", list(ids), quirk=0)}


def _address(given: object) -> dict[str, str]:
    """The address; keys in camel case are not seen. Raises Failed."""
    address = {name: str(value or "") for name, value in given.items()} if isinstance(given, dict) else {}
    wrong = "B_DROPSHIPPER_DELIVERY_ADDRESS_VALIDATE_FAIL"
    for name in ("address", "city", "province", "country"):
        if not address.get(name, "").strip():
            raise Failed(wrong, f"Please enter a {name}")
    if address["country"] not in ds.SERVED:
        raise Failed(wrong, "Please select a valid country")
    phone = address.get("mobile_no", "")
    if not (phone.isascii() and phone.isdigit()):
        raise Failed(wrong, "Please enter a valid mobile number")
    names = (address.get("contact_person") or address.get("full_name", "")).split()
    if address["country"] == "US" and not all(2 <= len(part) <= 32 for part in names or [""]):
        raise Failed(wrong, "Please enter a valid contact name")
    if address["country"] == "BR" and not address.get("cpf"):
        raise Failed(f"{wrong}_CPF_CN_INVALID", "Please enter a valid CPF")
    return address


def _lines(state: State, call: Call, given: object) -> list[Line]:
    """What is ordered. Raises Failed."""
    lines: list[Line] = []
    taken: dict[int, int] = {}
    for item in given if isinstance(given, list) else []:
        line = item if isinstance(item, dict) else {}
        product = state.catalogue.product(goods.index_of(line.get("product_id")), call.at)
        if product is None or not product.active:
            raise Failed("ITEM_ID_NOT_FOUND", "The item is not found")
        attr = str(line.get("sku_attr") or "")
        article = goods.article_of(state.catalogue.articles(product, call.at), attr)
        if article is None:
            raise Failed("SKU_NOT_EXIST", "The sku does not exist")
        count = str(line.get("product_count") or "")
        pieces = int(count) if count.isascii() and count.isdigit() and len(count) < 7 else 0
        taken[article.unit] = taken.get(article.unit, 0) + pieces
        if not pieces or taken[article.unit] > article.stock:
            raise Failed("INVENTORY_HOLD_ERROR", "Insufficient inventory")
        service = str(line.get("logistics_service_name") or ds.SERVICES[0][0])
        if ds.shipping_cents(product, service) is None:
            raise Failed("DELIVERY_METHOD_NOT_EXIST", "The delivery method does not exist")
        lines.append((product, article, pieces, service))
    if not lines:
        raise Failed("ERROR_WHEN_BUILD_FOR_PLACE_ORDER", "No product items")
    return lines


def _place(
    state: State, call: Call, lines: list[Line], *, account: str, out_order_id: str, address: dict[str, str], store: int
) -> Order:
    total = Decimal(0)
    children: list[Item] = []
    for product, article, pieces, service in lines:
        price = Decimal(goods.money(article.wholesale, "USD"))
        fee = Decimal(goods.money(ds.shipping_cents(product, service) or 0, "USD"))
        total += price * pieces + fee
        state.catalogue.sell(article, pieces, call.at)
        children.append(
            {
                "product_count": pieces,
                "sku_id": str(goods.sku_id(article)),
                "product_id": goods.product_id(product.index),
                "product_name": goods.title(product, "en"),
                "product_price": _usd(price),
                "shipping_fee": _usd(fee),
                "actual_fee": _usd(price * pieces + fee),
            }
        )
    order = Order(
        id=state.first_order + len(state.orders) * 10_007,
        account=account,
        out_order_id=out_order_id,
        placed=call.at,
        store=store,
        address=address,
        service=lines[0][3],
        amount=total,
        currency="USD",
        lines=children,
    )
    state.orders[order.id] = order
    call.effects.append(f"order_created {order.id}")
    return order


def _usd(amount: Decimal) -> Item:
    return {"amount": str(amount), "currency_code": "USD"}


# -- What becomes of them ------------------------------------------------------------------------------------------


def get(state: State, call: Call, params: Params, account: str) -> Item:
    """An order; not there for somebody else, and not in its first seconds."""
    order = _own(state, call, an_object(params, "single_order_query").get("order_id"), account)
    if order is None or 0 <= call.at - order.placed < state.settings.sync_seconds:
        more = {"sub_code": "isv.insufficient-permission", "sub_msg": "Insufficient permission."}
        raise Refused("15", "Remote service error", kind="ISP", **more)
    status, logistics, end_reason = order.status(state.settings, call.at)
    children: list[Item] = [{**line, "end_reason": end_reason} if end_reason else line for line in order.lines]
    shipped = logistics in ("SELLER_SEND_GOODS", "BUYER_ACCEPT_GOODS")
    parcels: list[Item] = [{"logistics_service": order.service, "logistics_no": _mail_no(order)}] if shipped else []
    result: Item = {
        "gmt_create": timestamp(order.placed + PACIFIC),
        "order_status": status,
        "logistics_status": logistics,
        "logistics_info_list": Wrapped("aeop_order_logistics_info", parcels, quirk=order.id),
        "store_info": {"store_id": order.store, "store_name": f"Shop{order.store} Store"},
        "user_order_amount": _usd(order.amount),
        "order_amount": _usd(order.amount),
        "child_order_list": Wrapped("aeop_child_order_info", children, quirk=order.id // 2),
    }
    if order.paid is None and status == "PLACE_ORDER_SUCCESS":
        result["pay_timeout_second"] = int(order.placed + state.settings.pay_hours * 3_600 - call.at)
    return {"result": call.spoil_one(result)}


def _own(state: State, call: Call, number: object, account: str) -> Order | None:
    text = str(number)
    order = state.orders.get(int(text)) if text.isascii() and text.isdigit() and len(text) < 20 else None
    return order if order is not None and order.account == account else None


def _mail_no(order: Order) -> str:
    return f"LP{order.id % 10**14:014}"


def tracking(state: State, call: Call, params: Params, account: str) -> Item:
    """Where the parcel is, newest first; before it is shipped, and for unknown ids, code 1001."""
    need(params, "ae_order_id", "language")
    order = _own(state, call, params["ae_order_id"], account)
    shipped = None if order is None else order.shipped_at(state.settings)
    if order is None or shipped is None or call.at < shipped:
        return {"result": {"ret": False, "msg": "TRACKING DATA NOT FOUND", "code": "1001"}}
    ends = shipped + state.settings.transit_days * DAY
    moments = [
        (shipped, "Package in preparation", "Your package is currently being prepared."),
        (shipped + (ends - shipped) / 2, "In transit", "Your package is on its way."),
        (ends, "Delivered", "Your package has been delivered."),
    ]
    nodes: list[Item] = [
        {"time_stamp": int(moment * 1000), "tracking_name": name, "tracking_detail_desc": words}
        for moment, name, words in reversed(moments)
        if moment <= call.at
    ]
    packed: list[Item] = [
        {
            "item_id": line["product_id"],
            "sku_id": line["sku_id"],
            "quantity": line["product_count"],
            "item_title": line["product_name"],
            "sku_desc": "",
        }
        for line in order.lines
    ]
    parcel: Item = {
        "mail_no": _mail_no(order),
        "carrier_name": next(each[1] for each in ds.SERVICES if each[0] == order.service),
        "cp_name": "Cainiao",
        "cp_website_url": "https://global.cainiao.com",
        "eta_time_stamps": int(ends * 1000),
        "package_item_list": Wrapped("package_item", packed, quirk=order.id),
        "detail_node_list": Wrapped("detail_node", nodes, quirk=order.id),
    }
    lines = Wrapped("tracking_detail", [call.spoil_one(parcel)], quirk=0)
    return {"result": {"ret": True, "code": "0", "msg": "", "data": {"tracking_detail_line_list": lines}}}


METHODS: dict[str, Method] = {
    "aliexpress.ds.order.create": create,
    "aliexpress.trade.ds.order.get": get,
    "aliexpress.ds.order.tracking.get": tracking,
}
