"""The HTTP application. A new resource is one line in `routers`."""

import contextlib
from collections.abc import AsyncIterator

from fastapi import APIRouter, Depends, FastAPI

from api import (
    affiliate,
    aliexpress,
    auth,
    bulk,
    changesets,
    errors,
    exports,
    fulfilment,
    gpt,
    health,
    jobs,
    mapping,
    order_imports,
    order_mappings,
    order_routing,
    orders,
    products,
    schedules,
    sources,
    supplier_offers,
    suppliers,
    sync,
)
from api.context import LastResort, RequestContext
from api.cors import Cors
from api.deps import database_slots, known_parameters
from api.gate import Gate, RateLimits
from services.core.log import configure_logging
from services.core.settings import Settings, get_settings
from services.merchants.tokens import signing_keys

DESCRIPTION = """
Jobs, feeds and catalogue for people who sell online what others stock.

* Every address below `/api/v1` takes `Authorization: Bearer <access token>`; `X-Merchant-Id` chooses among several
  merchants.
* Errors are [problem documents](https://www.rfc-editor.org/rfc/rfc9457) with a stable `code` and the `request_id`.
* Lists are pages, newest first: ask for the next one with `?after=<next>`.
* A POST with an `Idempotency-Key` may be sent again safely.
"""


def routers() -> tuple[APIRouter, ...]:
    """Every resource below /api/v1. Bodies are limited to MAX_BODY_BYTES."""
    return (
        affiliate.router,
        aliexpress.router,
        auth.router,
        changesets.router,
        exports.router,
        jobs.router,
        order_imports.router,  # before orders: its addresses begin like theirs
        order_mappings.router,
        orders.router,
        fulfilment.router,
        order_routing.router,
        products.router,
        schedules.router,
        sources.router,
        suppliers.router,
        supplier_offers.router,
        sync.of_supplier,
        sync.router,
    )


def upload_routers() -> tuple[APIRouter, ...]:
    """Resources below /api/v1 that take files: bodies are limited to MAX_UPLOAD_BYTES."""
    return (bulk.router, mapping.router, order_imports.upload_router)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application, ready to serve."""
    settings = settings or get_settings()
    configure_logging(settings)
    limits = RateLimits(settings)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.database_slots = database_slots()  # belongs to the event loop
        app.state.affiliate_places = affiliate.places()
        yield
        limits.close()

    app = FastAPI(
        title="ShopOpti",
        version="1",
        description=DESCRIPTION,
        docs_url="/api/docs",
        redoc_url="/api/redoc",
        openapi_url="/api/openapi.json",
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.settings = settings
    errors.install(app)
    app.include_router(health.router, max_body_size=0)
    app.include_router(gpt.router, max_body_size=0)
    known = [Depends(known_parameters)]
    for router in routers():
        app.include_router(
            router,
            prefix="/api/v1",
            responses=errors.RESPONSES,
            dependencies=known,
            max_body_size=settings.max_body_bytes,
        )
    for router in upload_routers():
        app.include_router(
            router,
            prefix="/api/v1",
            responses=errors.RESPONSES,
            dependencies=known,
            max_body_size=settings.max_upload_bytes,
        )
    app.include_router(
        aliexpress.callback_router,
        prefix="/api/v1",
        responses=errors.RESPONSES,
        max_body_size=0,
    )
    app.include_router(fulfilment.push_router, responses=errors.RESPONSES, max_body_size=fulfilment.PUSH_BYTES)
    app.include_router(
        affiliate.older_router,
        responses=errors.RESPONSES,
        dependencies=known,
        max_body_size=settings.max_body_bytes,
    )
    # The last one added is the outermost.
    app.add_middleware(
        Gate,
        settings=settings,
        keys=signing_keys(),
        limits=limits,
        further=affiliate.OLDER_PATHS,
        open_={aliexpress.CALLBACK} | (affiliate.OLDER_PATHS if settings.affiliate_public else set()),
    )
    app.add_middleware(LastResort)
    app.add_middleware(Cors, origins=settings.cors_origins, for_chatgpt=affiliate.PATHS | {gpt.PATH})
    app.add_middleware(RequestContext)
    return app
