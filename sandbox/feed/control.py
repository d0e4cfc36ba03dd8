"""What the control API says of the feed: articles as they truly are, keys, limits."""

from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, HTTPException
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from sandbox.catalogue import MAX_VARIANTS, UNITS, Change
from sandbox.control import WorldDep, no_such
from sandbox.feed.records import from_sku, sku
from sandbox.wire import encode

router = APIRouter(prefix="/control/feed", tags=["feed"])

MAX_KEYS = 1_000


class LimitsIn(BaseModel):
    """Whether the limit is enforced."""

    model_config = ConfigDict(extra="forbid")

    enforced: bool


class ArticleIn(BaseModel):
    """What an article is like from now on, whatever its seed says; all null: as the seed says."""

    model_config = ConfigDict(extra="forbid")

    stock: Annotated[int, Field(ge=0, le=10_000_000)] | None = None
    price: Annotated[int, Field(ge=0, le=100_000_000)] | None = Field(None, description="The cost, in cents.")
    active: bool | None = Field(None, description="Products only; an inactive one is not in the files.")
    gone: bool | None = Field(None, description="Not in the files any more.")


@router.get("/products")
async def list_products(world: WorldDep) -> StreamingResponse:
    """Every article of the files as it truly is now, a JSON object a line."""
    at, catalogue = world.clock.now(), world.feed.catalogue

    def lines() -> Iterator[str]:
        for product in catalogue.all(at):
            for article in catalogue.articles(product, at) if product.active else ():
                line = {"sku": sku(product, article.variant), "wholesale": article.wholesale, "stock": article.stock}
                yield encode(line) + "\n"

    return StreamingResponse(lines(), media_type="application/x-ndjson")


@router.put("/products/{number}", status_code=204, responses=no_such("article"))
async def change_product(world: WorldDep, number: str, given: ArticleIn) -> None:
    """Change an article."""
    catalogue, found = world.feed.catalogue, from_sku(number)
    if found is None or found[0] >= catalogue.products or found[1] > MAX_VARIANTS:
        raise HTTPException(404, "no such article")
    try:
        catalogue.change(found[0] * UNITS + found[1], Change(**given.model_dump(), at=world.clock.now()))
    except OverflowError as error:
        raise HTTPException(409, str(error)) from None


@router.get("/keys")
async def list_keys(world: WorldDep) -> list[str]:
    """The keys that are valid."""
    return sorted(world.feed.keys)


@router.put("/keys/{key}", status_code=204)
async def put_key(world: WorldDep, key: str) -> None:
    """Make a key valid."""
    if len(world.feed.keys) >= MAX_KEYS:
        raise HTTPException(409, f"at most {MAX_KEYS} keys")
    world.feed.keys.add(key)


@router.delete("/keys/{key}", status_code=204)
async def delete_key(world: WorldDep, key: str) -> None:
    """Revoke a key."""
    world.feed.keys.discard(key)


@router.put("/limits", status_code=204)
async def put_limits(world: WorldDep, given: LimitsIn) -> None:
    """Enforce the limit of downloads, or not."""
    world.feed.limits.enforced = given.enforced
