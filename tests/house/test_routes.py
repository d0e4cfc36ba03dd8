"""Someone else's id is a 404 on every route, and changes nothing; without a token, every route is closed.

Routes are found in the application, so new ones are covered. A path parameter that no factory knows fails the test:
add a factory to `FACTORIES`.
"""

import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from sqlalchemy import select, text
from starlette.testclient import TestClient

from api.app import create_app
from services.catalog.queries import ProductFilter
from services.core.clock import now
from services.core.db import transaction
from services.core.errors import NotFound
from services.exports.ask import start_export
from services.imports.origin import source_named
from services.models import AttentionItem, Connection, LineMapping, OrderLine, Product, Return, Schedule
from services.orders import intents
from services.orders.files.intake import start_order_import
from services.orders.incoming.receive import receive
from services.sourcing.accounts.credentials import write
from tests.catalog.editing import make, take_back
from tests.conftest import headers_for, make_merchant
from tests.imports.importing import begin, run_feed
from tests.orders.coming import said_order


def a_job(merchant: uuid.UUID) -> str:
    """A job of that merchant."""
    id_ = uuid.uuid4()
    with transaction(merchant_id=merchant) as session:
        session.execute(
            text(
                "INSERT INTO jobs (id, merchant_id, kind, queue, args) VALUES (:id, :merchant, 'house', 'sync', '{}')"
            ),
            {"id": id_, "merchant": merchant},
        )
    return str(id_)


def a_schedule(merchant: uuid.UUID) -> str:
    """A schedule of that merchant."""
    with transaction(merchant_id=merchant) as session:
        row = Schedule(
            merchant_id=merchant,
            name=uuid.uuid4().hex,
            kind="k",
            args={},
            interval_seconds=60,
            enabled=False,
            next_fire_at=now(),
        )
        session.add(row)
        session.flush()
        return str(row.id)


def a_product(merchant: uuid.UUID) -> str:
    """A product of that merchant, with a variant."""
    run_feed(merchant, "SKU,Title,Price\nA1,Lamp,10.00\n")
    with transaction(merchant_id=merchant) as session:
        return str(session.scalars(select(Product.id)).first())


def an_import(merchant: uuid.UUID) -> str:
    """An import of that merchant, waiting."""
    return str(begin(merchant, f"SKU,Title,Price\n{uuid.uuid4()},Lamp,10.00\n").id)


def a_changeset(merchant: uuid.UUID) -> str:
    """A plan of that merchant, to be decided."""
    _, made = make(merchant, {"title": "Lamp"}, [{"sku": "A1"}])
    return str(take_back(merchant, made.id, apply=False).id)


def an_export(merchant: uuid.UUID) -> str:
    """An export of that merchant, waiting."""
    with transaction(merchant_id=merchant) as session:
        matching = ProductFilter()
        return str(start_export(session, merchant_id=merchant, format="json", columns=None, matching=matching).id)


def a_source(merchant: uuid.UUID) -> str:
    """A source of that merchant."""
    with transaction(merchant_id=merchant) as session:
        return str(source_named(session, merchant_id=merchant, name=uuid.uuid4().hex).id)


def a_connection(merchant: uuid.UUID) -> str:
    """A connection of that merchant."""
    with transaction(merchant_id=merchant) as session:
        row = Connection(merchant_id=merchant, supplier="bigbuy", name=uuid.uuid4().hex, account_key=uuid.uuid4().hex)
        write(row, {"api_key": "house"})
        session.add(row)
        session.flush()
        return str(row.id)


def an_order(merchant: uuid.UUID) -> str:
    """An order of that merchant, whose line nobody knows."""
    with transaction(merchant_id=merchant) as session:
        (receipt,) = receive(session, [said_order(external_id=uuid.uuid4().hex)], merchant_id=merchant)
        return str(receipt.order_id)


def an_attention_item(merchant: uuid.UUID) -> str:
    """Something of that merchant's that waits for somebody."""
    order_id = an_order(merchant)
    with transaction(merchant_id=merchant) as session:
        own = select(AttentionItem.id).where(AttentionItem.order_id == uuid.UUID(order_id))
        return str(session.scalars(own).first())


def an_order_line(merchant: uuid.UUID) -> str:
    """A line of an order of that merchant."""
    order_id = an_order(merchant)
    with transaction(merchant_id=merchant) as session:
        return str(session.scalars(select(OrderLine.id).where(OrderLine.order_id == uuid.UUID(order_id))).first())


def an_order_import(merchant: uuid.UUID) -> str:
    """A file of orders of that merchant, waiting."""
    with transaction(merchant_id=merchant) as session:
        url = f"https://{uuid.uuid4()}.example"
        return str(start_order_import(session, merchant_id=merchant, channel="shop", url=url).id)


def an_intent(merchant: uuid.UUID) -> str:
    """A supplier order that merchant means to have."""
    order_id = uuid.UUID(an_order(merchant))
    own = {"merchant_id": merchant, "order_id": order_id, "job_id": uuid.uuid4(), "send_after": now()}
    with transaction(merchant_id=merchant) as session:
        line = session.scalars(select(OrderLine).where(OrderLine.order_id == order_id)).first()
        meant = intents.Planned(uuid.uuid4(), (intents.PlannedLine(line.id, "v", "r", 1),), {}, [], "EUR")
        return str(intents.write(session, **own, planned=[meant])[0].id)


def a_return(merchant: uuid.UUID) -> str:
    """Something a buyer of that merchant sends back."""
    order_id = uuid.UUID(an_order(merchant))
    with transaction(merchant_id=merchant) as session:
        row = Return(merchant_id=merchant, order_id=order_id)
        session.add(row)
        session.flush()
        return str(row.id)


# Path parameter → what makes a merchant's thing and returns its id as it stands in the address.
def a_line_mapping(merchant: uuid.UUID) -> str:
    """What that merchant said of a SKU."""
    with transaction(merchant_id=merchant) as session:
        row = LineMapping(id=uuid.uuid4(), merchant_id=merchant, sku=uuid.uuid4().hex, variant_id=uuid.uuid4())
        session.add(row)
        return str(row.id)


FACTORIES: dict[str, Callable[[uuid.UUID], str]] = {
    "attention_id": an_attention_item,
    "changeset_id": a_changeset,
    "connection_id": a_connection,
    "export_id": an_export,
    "import_id": an_import,
    "intent_id": an_intent,
    "job_id": a_job,
    "line_id": an_order_line,
    "line_mapping_id": a_line_mapping,
    "order_id": an_order,
    "order_import_id": an_order_import,
    "product_id": a_product,
    "return_id": a_return,
    "schedule_id": a_schedule,
    "source_id": a_source,
}
# Path parameters that name something every merchant shares (a queue, a kind): no id of anyone's.
SHARED: set[str] = {"queue", "queue_name"}
# Addresses below the gate that take no token, and what they answer to whoever brings no proof of another kind.
OPEN: dict[tuple[str, str], int] = {("GET", "/api/v1/aliexpress/callback"): 400}


def routes(app: FastAPI) -> list[tuple[str, str]]:
    """Method and path of every route below the gate."""
    found = []
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if isinstance(route, APIRoute) and context.path.startswith("/api/v1/"):
            found += [(method, context.path) for method in sorted(context.methods or ())]
    return found


def parameters(path: str) -> list[str]:
    """Names in the braces."""
    return [name.partition(":")[0] for name in re.findall(r"{([^}]+)}", path)]


def everything_of(merchant: uuid.UUID) -> list[Any]:
    """All rows of a merchant, to compare before and after."""
    with transaction() as session:
        session.execute(text("SELECT set_config('role', 'none', true)"))
        tables = session.execute(
            text("""SELECT table_name FROM information_schema.columns JOIN information_schema.tables
                        USING (table_schema, table_name)
                    WHERE table_schema = 'public' AND column_name = 'merchant_id' AND table_type = 'BASE TABLE'
                    ORDER BY 1""")
        ).scalars()
        return [
            session.execute(
                text(f"SELECT to_jsonb(t)::text FROM {table} t WHERE merchant_id = :merchant ORDER BY 1"),
                {"merchant": merchant},
            )
            .scalars()
            .all()
            for table in tables
        ]


def body_for(app: FastAPI, method: str, path: str) -> Any:
    """A body the route's schema accepts, as far as can be told from its required fields."""
    operation = app.openapi()["paths"][path][method.lower()]
    content = operation.get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema")
    return None if schema is None else example(app.openapi(), schema)


SAMPLES = {"string": "x", "integer": 1, "number": 1, "boolean": True, "array": [], "object": {}, "null": None}


def example(document: dict[str, Any], schema: dict[str, Any]) -> Any:
    """Something that fits the schema."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    for name in ("anyOf", "oneOf", "allOf"):
        if name in schema:
            return example(document, schema[name][0])
    for name in ("const", "default"):
        if name in schema:
            return schema[name]
    for name in ("enum", "examples"):
        if name in schema:
            return schema[name][0]
    if schema.get("type") == "object":
        wanted = schema.get("required", [])
        return {
            name: example(document, inner) for name, inner in schema.get("properties", {}).items() if name in wanted
        }
    if schema.get("format") == "uuid":
        return str(uuid.uuid4())
    return schema.get("minimum", SAMPLES[schema.get("type", "null")])


def test_the_routes_are_found(app):
    assert ("GET", "/api/v1/auth/me") in routes(app)


def test_without_a_token_every_route_is_closed(app, anonymous):
    for method, path in routes(app):
        address = re.sub(r"{[^}]+}", str(uuid.uuid4()), path)
        response = anonymous.request(method, address)
        assert response.status_code == OPEN.get((method, path), 401), f"{method} {path}: {response.status_code}"


def check_ids_of_others(app: FastAPI, client: Any, *, below: str = "/api/v1/") -> None:
    """Every route with an id in its address, called with someone else's."""
    for method, path in routes(app):
        names = [name for name in parameters(path) if name not in SHARED]
        if not names or not path.startswith(below):
            continue
        unknown = [name for name in names if name not in FACTORIES]
        assert not unknown, f"{method} {path}: add a factory for {unknown} to FACTORIES in {__file__}"
        mine, theirs = make_merchant(), make_merchant()
        address = path
        for name in names:
            address = re.sub(rf"{{{name}(:[^}}]*)?}}", FACTORIES[name](theirs), address)
        address = re.sub(r"{[^}]+}", "sync", address)
        before = everything_of(theirs)
        response = client.request(method, address, headers=headers_for(mine), json=body_for(app, method, path))
        assert response.status_code == 404, f"{method} {path}: {response.status_code} {response.text}"
        assert everything_of(theirs) == before, f"{method} {path} changed someone else's rows"
        mine_after = everything_of(mine)
        assert not any(address in row for table in mine_after for row in table)


def test_someone_elses_id_is_a_404_and_changes_nothing(app, anonymous):
    check_ids_of_others(app, anonymous)


def leaky(path: str, statement: str) -> FastAPI:
    """An application with a route that forgot whose row it is."""
    app = create_app()

    @app.post(f"/api/v1{path}")
    def touch(job_id: uuid.UUID) -> dict[str, int]:
        with transaction() as session:
            session.execute(text("SELECT set_config('role', 'none', true)"))
            session.execute(text(statement), {"id": job_id})
        raise NotFound

    return app


@pytest.mark.parametrize(
    ("path", "statement", "said"),
    [
        ("/bad/{job_id}", "UPDATE jobs SET priority = 7 WHERE id = :id", "changed someone else's rows"),
        ("/bad/{thing_id}", "SELECT 1", "add a factory for"),
    ],
)
def test_the_check_itself_finds_leaks(path, statement, said):
    app = leaky(path, statement)
    with TestClient(app) as client, pytest.raises(AssertionError, match=said):
        check_ids_of_others(app, client, below="/api/v1/bad/")


def test_an_id_that_is_none_is_no_500(app, anonymous, merchant):
    headers = headers_for(merchant)
    for method, path in routes(app):
        for odd in ("not-a-uuid", "0", "%00", "../x", "x" * 300, "' OR 1=1--"):
            if parameters(path):
                address = re.sub(r"{[^}]+}", odd.replace("\\", ""), path)
                response = anonymous.request(method, address, headers=headers, json=body_for(app, method, path))
                assert response.status_code in (404, 405, 422), f"{method} {address}: {response.status_code}"


def test_lists_show_only_ones_own(app, anonymous):
    mine, theirs = make_merchant(), make_merchant()
    made = [factory(theirs) for factory in FACTORIES.values()]
    headers = headers_for(mine)
    for method, path in routes(app):
        if method == "GET" and not parameters(path) and not path.endswith("/events"):
            response = anonymous.get(path, headers=headers)
            assert response.status_code < 500, f"{path}: {response.text}"
            for id_ in (*made, str(theirs)):
                assert id_ not in response.text, f"{path} shows someone else's {id_}"


@pytest.mark.parametrize("path", ["/metrics", "/ready", "/health", "/api/openapi.json"])
def test_open_addresses_name_no_merchant(anonymous, path):
    theirs = make_merchant("A very particular name")
    a_job(theirs)
    found = anonymous.get(path).text
    assert str(theirs) not in found
    assert "A very particular name" not in found
