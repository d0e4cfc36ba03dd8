"""The HTTP application. A new resource is one line in `routers`."""

import contextlib
from collections.abc import AsyncIterator

from fastapi import APIRouter, Depends, FastAPI
from starlette.middleware.cors import CORSMiddleware

from api import auth, bulk, changesets, errors, exports, health, jobs, mapping, products, schedules, sources
from api.context import LastResort, RequestContext
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
        auth.router,
        changesets.router,
        exports.router,
        jobs.router,
        products.router,
        schedules.router,
        sources.router,
    )


def upload_routers() -> tuple[APIRouter, ...]:
    """Resources below /api/v1 that take files: bodies are limited to MAX_UPLOAD_BYTES."""
    return (bulk.router, mapping.router)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application, ready to serve; `uvicorn --factory api.app:create_app`."""
    settings = settings or get_settings()
    configure_logging(settings)
    limits = RateLimits(settings)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.database_slots = database_slots()  # belongs to the event loop
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
    # The last one added is the outermost.
    app.add_middleware(Gate, settings=settings, keys=signing_keys(), limits=limits)
    app.add_middleware(LastResort)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=[
            "Authorization",
            "Content-Type",
            "Idempotency-Key",
            "If-Match",
            "Last-Event-ID",
            "X-Merchant-Id",
            "X-Request-Id",
        ],
        expose_headers=[
            "Idempotent-Replayed",
            "RateLimit-Limit",
            "RateLimit-Remaining",
            "RateLimit-Reset",
            "Retry-After",
            "X-Request-Id",
        ],
        max_age=600,
    )
    app.add_middleware(RequestContext)
    return app
