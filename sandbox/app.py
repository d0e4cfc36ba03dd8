"""The sandbox as one ASGI application: suppliers at their prefixes, the control API at /control."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI

from sandbox import control
from sandbox.aliexpress import control as aliexpress_control
from sandbox.aliexpress import push
from sandbox.bigbuy import control as bigbuy_control
from sandbox.feed import control as feed_control
from sandbox.gate import Gate
from sandbox.world import World

DESCRIPTION = """
Suppliers that speak their real wire protocols, out of a seed. Give an adapter `http://HOST:PORT/bigbuy` as its base
address. Nothing here is real, and nothing is kept when the process ends.
"""


def create_app(world: World | None = None) -> FastAPI:
    """The application of a world. Serve it with `sandbox.server`: only there can connections be cut."""
    world = world or World()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        pushing = asyncio.create_task(push.keep_pushing(world))
        yield
        pushing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await pushing

    app = FastAPI(
        lifespan=lifespan,
        title="ShopOpti sandbox",
        version="1",
        description=DESCRIPTION,
        docs_url="/control/docs",
        redoc_url=None,
        openapi_url="/control/openapi.json",
    )
    app.state.world = world
    app.include_router(control.router)
    app.include_router(bigbuy_control.router)
    app.include_router(aliexpress_control.router)
    app.include_router(feed_control.router)
    for name in world.suppliers:
        app.mount(f"/{name}", Gate(world, name))
    return app
