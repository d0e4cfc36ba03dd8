"""The control API: what a test or a demonstration tells the world to be, and asks it about."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from sandbox.faults import Fault, FaultIn
from sandbox.world import Options, World

router = APIRouter(prefix="/control")


def the_world(request: Request) -> World:
    """The world of this process."""
    world: World = request.app.state.world
    return world


WorldDep = Annotated[World, Depends(the_world)]


class WorldOut(BaseModel):
    """What the world is made of and what time it is there."""

    time: AwareDatetime
    speed: float
    options: Options
    suppliers: list[str]
    faults: int
    ledger_entries: int


class ClockIn(BaseModel):
    """A new time, a new speed, or both."""

    model_config = ConfigDict(extra="forbid")

    at: AwareDatetime | None = None
    speed: Annotated[float, Field(ge=0, le=1_000_000)] | None = Field(None, description="0: stands still.")


class AdvanceIn(BaseModel):
    """How much time passes at once."""

    model_config = ConfigDict(extra="forbid")

    seconds: Annotated[float, Field(ge=0, le=10 * 365 * 86_400)]


class ClockOut(BaseModel):
    """The sandbox's time."""

    at: AwareDatetime
    speed: float


class CountOut(BaseModel):
    """How often an endpoint answered with a status; null: the connection was cut without an answer."""

    supplier: str
    route: str
    status: int | None
    calls: int


def world_out(world: World) -> WorldOut:
    """The world at a glance."""
    return WorldOut(
        time=world.time(),
        speed=world.clock.speed,
        options=world.options,
        suppliers=list(world.suppliers),
        faults=len(world.faults.on_duty),
        ledger_entries=len(world.ledger.entries),
    )


# -- World and clock -----------------------------------------------------------------------------------------------


@router.get("/world", tags=["world"])
async def read_world(world: WorldDep) -> WorldOut:
    """The world at a glance; also says that the process is alive."""
    return world_out(world)


@router.post("/reset", tags=["world"])
async def reset(world: WorldDep, options: Options | None = None) -> WorldOut:
    """Begin anew: accounts, orders, changes, faults and ledger are forgotten. Without a body, with the same options."""
    world.reset(options or world.options)
    return world_out(world)


@router.get("/clock", tags=["clock"])
async def read_clock(world: WorldDep) -> ClockOut:
    """What time it is."""
    return ClockOut(at=world.time(), speed=world.clock.speed)


@router.put("/clock", tags=["clock"])
async def set_clock(world: WorldDep, clock: ClockIn) -> ClockOut:
    """Jump to a time, or let time run faster, slower, or not at all."""
    world.clock.set(at=None if clock.at is None else clock.at.timestamp(), speed=clock.speed)
    return ClockOut(at=world.time(), speed=world.clock.speed)


@router.post("/clock/advance", tags=["clock"])
async def advance_clock(world: WorldDep, advance: AdvanceIn) -> ClockOut:
    """Let time pass at once."""
    world.clock.advance(advance.seconds)
    return ClockOut(at=world.time(), speed=world.clock.speed)


# -- Ledger --------------------------------------------------------------------------------------------------------


class EntryOut(BaseModel):
    """One request and what came of it."""

    seq: int
    at: float = Field(description="Seconds since the epoch, by the sandbox's clock.")
    supplier: str
    route: str
    method: str
    path: str
    query: dict[str, str]
    key: str | None
    body: str = Field(description="The first 8 kB.")
    status: int | None = Field(description="null: no answer was sent.")
    effects: list[str] = Field(description="What it changed, as `order_created 1190000001`.")
    faults: list[str]
    sent_bytes: int
    complete: bool = Field(description="The whole answer was handed to the connection.")
    seconds: float


class LedgerOut(BaseModel):
    """Entries, oldest first."""

    data: list[EntryOut]
    dropped: int = Field(description="Entries that the ledger no longer keeps.")
    counts: list[CountOut] = Field(description="Of everything since the ledger was cleared.")


class LedgerQuery(BaseModel):
    """Which entries."""

    model_config = ConfigDict(extra="forbid")

    supplier: str | None = None
    route: str | None = None
    method: str | None = None
    key: str | None = None
    status: int | None = None
    effect: str | None = Field(None, description="How one of its effects begins.")
    after: int = Field(0, description="Only entries with a greater `seq`.")
    limit: Annotated[int, Field(ge=0, le=10_000)] = 1_000


@router.get("/ledger", tags=["ledger"])
async def read_ledger(world: WorldDep, wanted: Annotated[LedgerQuery, Query()]) -> LedgerOut:
    """What was received, in order."""
    ledger = world.ledger
    found = ledger.find(**wanted.model_dump())
    return LedgerOut(
        data=[EntryOut.model_validate(entry.shown()) for entry in found],
        dropped=ledger.dropped,
        counts=[
            CountOut(supplier=supplier, route=route, status=status, calls=calls)
            for (supplier, route, status), calls in sorted(ledger.counts.items(), key=str)
        ],
    )


@router.delete("/ledger", status_code=204, tags=["ledger"])
async def clear_ledger(world: WorldDep) -> None:
    """Forget entries and counts."""
    world.ledger.clear()


# -- Faults --------------------------------------------------------------------------------------------------------


@router.post("/faults", status_code=201, tags=["faults"])
async def add_fault(world: WorldDep, fault: FaultIn) -> Fault:
    """Put a fault on duty. A single call can also carry `X-Sandbox-Fault: latency;seconds=2, lost`."""
    try:
        return world.faults.add(fault)
    except OverflowError as error:
        raise HTTPException(409, str(error)) from None


@router.get("/faults", tags=["faults"])
async def list_faults(world: WorldDep) -> list[Fault]:
    """The faults on duty, and how often each hit."""
    return list(world.faults.on_duty.values())


@router.delete("/faults", status_code=204, tags=["faults"])
async def clear_faults(world: WorldDep) -> None:
    """Take all faults off duty."""
    world.faults.on_duty.clear()


@router.delete("/faults/{fault_id}", status_code=204, tags=["faults"])
async def remove_fault(world: WorldDep, fault_id: int) -> None:
    """Take one fault off duty."""
    if world.faults.on_duty.pop(fault_id, None) is None:
        raise HTTPException(404, "no such fault")


def no_such(what: str) -> dict[int | str, dict[str, Any]]:
    """The 404 of an operation, for its documentation."""
    return {404: {"description": f"There is no such {what}."}}
