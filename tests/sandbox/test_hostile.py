"""Whatever is posted, suppliers answer as they do: they never fall over, and nothing is ordered by accident."""

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox.bigbuy.forms import ADDRESS_NEEDED, ORDER_FIELDS
from sandbox.bigbuy.supplier import DEFAULT_KEY
from sandbox.wire import Call
from sandbox.world import Options, World
from tests.examples import examples

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["FR", "1", "²"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
POSTS = ("order/check", "order/create", "order/create/multishipping", "shipping/orders", "tracking/orders")
LINE = st.fixed_dictionaries({}, optional={"reference": ANYTHING, "quantity": ANYTHING, "id": ANYTHING})
ORDER = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(ORDER_FIELDS, ANYTHING),
        "shippingAddress": st.fixed_dictionaries({}, optional=dict.fromkeys(ADDRESS_NEEDED, ANYTHING)) | ANYTHING,
        "products": st.lists(LINE | ANYTHING, max_size=3) | ANYTHING,
        "orders": st.lists(LINE | ANYTHING, max_size=3) | ANYTHING,
        "delivery": st.fixed_dictionaries({"isoCountry": ANYTHING, "postcode": ANYTHING}) | ANYTHING,
    },
)
WORLD = World(Options(products=20, speed=0))


def call(path: str, body: bytes, supplier: str = "bigbuy", **headers: str) -> Call:
    """A call that is not sent."""
    return Call(supplier, "POST", path, {}, {"content-type": "application/json", **headers}, body, WORLD.clock.now())


@settings(max_examples=examples(40), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(POSTS), ORDER | ANYTHING)
def test_bigbuy_is_given_anything(path, value):
    body = json.dumps({"order": value, "track": value, "product_country": value}).encode()
    posted = call(f"/rest/{path}.json", body, authorization=f"Bearer {DEFAULT_KEY}")
    WORLD.bigbuy.recognise(posted)
    WORLD.bigbuy.state.limits.windows.clear()
    assert WORLD.bigbuy.admit(posted) is None
    answer = WORLD.bigbuy.answer(posted)
    assert answer.status in (200, 400, 404, 409)
    assert isinstance(answer.body, bytes)
    json.loads(answer.body)
    assert not WORLD.bigbuy.state.orders


@settings(max_examples=examples(40), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(["aliexpress.ds.order.create", "aliexpress.trade.ds.order.get", "aliexpress.ds.freight.query"]),
    st.dictionaries(
        st.sampled_from(
            ["out_order_id", "logistics_address", "product_items", "order_id", "quantity", "shipToCountry", "currency"]
        ),
        ANYTHING,
    )
    | ANYTHING,
)
def test_aliexpress_is_given_anything(method, value):
    if isinstance(value, dict):
        names = ("productId", "selectedSkuId", "language", "locale")
        value = {**dict.fromkeys(names, value.get("order_id")), **value}
    text = json.dumps(value)
    params = {
        "app_key": "12345678",
        "session": "test-token",
        "param_place_order_request4_open_api_d_t_o": text,
        "single_order_query": text,
        "queryDeliveryReq": text,
        "method": method,
    }
    posted = call("/sync", b"", "aliexpress")
    posted.query = params
    WORLD.aliexpress.recognise(posted)
    answer = WORLD.aliexpress.answer(posted)
    assert answer.status == 200
    assert isinstance(answer.body, bytes)
    json.loads(answer.body)
    assert not WORLD.aliexpress.state.orders
