"""Faults on demand: which befall a call, and what they do to the items of an answer."""

import copy
import fnmatch
import random
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sandbox.wire import Call, Item, Spoiler

HEADER = "x-sandbox-fault"
MAX_FAULTS = 1_000

Kind = Literal[
    "latency",
    "drop",
    "lost",
    "cut",
    "server_error",
    "html",
    "empty",
    "soft",
    "malformed",
    "truncated",
    "duplicate",
    "drift",
    "spike",
    "quota",
    "revoked",
]

# Instead of the supplier's answer; with `after_effect` the call does its work all the same.
REPLACING = ("server_error", "html", "empty", "soft", "quota")


class FaultIn(BaseModel):
    """A fault and whom it befalls."""

    model_config = ConfigDict(extra="forbid")

    kind: Kind
    supplier: str | None = Field(None, description="`bigbuy`, `aliexpress`, `feed`; default: any.")
    route: str = Field("*", description="The endpoint's name in the ledger, with `*` and `?`: `catalog/products*`.")
    method: str | None = Field(None, description="GET, POST …; default: any.")
    key: str | None = Field(None, description="Only calls with this credential, as the ledger shows it.")
    probability: Annotated[float, Field(ge=0, le=1)] = 1.0
    skip: Annotated[int, Field(ge=0)] = Field(0, description="Spare the first so many calls that match.")
    count: Annotated[int, Field(ge=1)] | None = Field(None, description="Befall only the next so many; default: all.")
    after_effect: bool = Field(False, description="Do the work first, then give the faulty answer.")
    seconds: Annotated[float, Field(ge=0, le=600)] = Field(1.0, description="latency: real seconds of waiting.")
    status: Annotated[int, Field(ge=200, le=599)] | None = Field(None, description="server_error, html, empty.")
    variant: str | None = Field(None, description="soft: which of the supplier's forms.")
    at_byte: Annotated[int, Field(ge=0)] | None = Field(
        None, description="cut, truncated, malformed: where; default: in the middle, or of a stream's first piece."
    )
    share: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="duplicate, drift, spike: of the items; default: a tenth, all, a tenth. The first always."
    )
    factor: float = Field(100.0, description="spike: what prices are multiplied with; 0 makes them nothing.")
    fields: list[str] = Field(default_factory=list, description="drift, spike: only these; default: whatever fits.")


class Fault(FaultIn):
    """A fault on duty."""

    id: int
    seen: int = Field(0, description="Calls that matched.")
    hits: int = Field(0, description="Calls it befell.")


class BadFault(ValueError):
    """The header names no fault."""


class Faults:
    """The faults on duty, in the order they were set."""

    def __init__(self, seed: int) -> None:
        """Chance follows from the seed."""
        self.on_duty: dict[int, Fault] = {}
        self._random = random.Random(seed)
        self._next_id = 1

    def add(self, fault: FaultIn) -> Fault:
        """Put a fault on duty. Raises OverflowError when there are too many."""
        if len(self.on_duty) >= MAX_FAULTS:
            raise OverflowError(f"at most {MAX_FAULTS} faults")
        added = Fault(id=self._next_id, **fault.model_dump())
        self._next_id += 1
        self.on_duty[added.id] = added
        return added

    def befalling(self, call: Call) -> list[FaultIn]:
        """The faults of this call: those of its header, then those on duty. Raises BadFault."""
        return [*parse_header(call.headers.get(HEADER, "")), *(f for f in self.on_duty.values() if self._hits(f, call))]

    def _hits(self, fault: Fault, call: Call) -> bool:
        if not _matches(fault, call) or (fault.count is not None and fault.hits >= fault.count):
            return False
        fault.seen += 1
        if fault.seen <= fault.skip or self._random.random() >= fault.probability:
            return False
        fault.hits += 1
        return True


def _matches(fault: FaultIn, call: Call) -> bool:
    return (
        fault.supplier in (None, call.supplier)
        and fault.method in (None, call.method)
        and fault.key in (None, call.key)
        and fnmatch.fnmatchcase(call.route, fault.route)
    )


def parse_header(header: str) -> list[FaultIn]:
    """`latency;seconds=0.5, lost`: faults with their settings. Raises BadFault."""
    found = []
    for part in filter(None, (part.strip() for part in header.split(","))):
        kind, *settings = (piece.strip() for piece in part.split(";"))
        values: dict[str, Any] = {"kind": kind}
        for setting in settings:
            name, _, value = setting.partition("=")
            values[name] = value.split("|") if name == "fields" else value
        try:
            found.append(FaultIn.model_validate(values))
        except ValidationError as error:
            problem = error.errors()[0]
            raise BadFault(f"{HEADER}: {part}: {'.'.join(map(str, problem['loc']))}: {problem['msg']}") from None
    return found


# -- What happens to items -----------------------------------------------------------------------------------------


def spoiler(fault: FaultIn) -> Spoiler | None:
    """What a fault does to the items of a list; None if it leaves them alone."""
    match fault.kind:
        case "duplicate":
            return lambda items: _duplicated(items, fault.share or 0.1)
        case "drift":
            return lambda items: _some(items, fault.share or 1.0, lambda item: drifted(item, fault.fields))
        case "spike":
            return lambda items: _some(items, fault.share or 0.1, lambda item: spiked(item, fault.factor, fault.fields))
    return None


def _some(items: Iterator[Item], share: float, do: Callable[[Item], Item]) -> Iterator[Item]:
    """Every so-manieth item, beginning with the first, changed."""
    due = 1.0
    for item in items:
        if due >= 1:
            due -= 1
            yield do(item)
        else:
            yield item
        due += share


def _duplicated(items: Iterator[Item], share: float) -> Iterator[Item]:
    due = 1.0
    for item in items:
        yield item
        if due >= 1:
            due -= 1
            yield item
        due += share


def is_price(name: str) -> bool:
    """Whether a field's name speaks of money."""
    lowered = name.lower()
    return ("price" in lowered or lowered in {"cost", "amount"}) and not lowered.endswith("currency")


def drifted(item: Item, fields: list[str]) -> Item:
    """The item as a new version of the API might give it.

    Fields named are renamed (`sku` → `sku_v2`); by default numbers that are prices become objects. A field nobody
    knows is added either way.
    """
    if fields:
        changed = {f"{name}_v2" if name in fields else name: value for name, value in item.items()}
    else:
        changed = {
            name: {"amount": value, "currency": "EUR"} if is_price(name) and isinstance(value, int | float) else value
            for name, value in item.items()
        }
    return {**changed, "schemaVersion": "2"}


def spiked(item: Item, factor: float, fields: list[str]) -> Item:
    """The item with its prices multiplied; also those written as text, and those further down."""
    return {
        name: _multiplied(value, factor, (name in fields) if fields else is_price(name), fields)
        for name, value in item.items()
    }


def _multiplied(value: Any, factor: float, is_one: bool, fields: list[str]) -> Any:
    if isinstance(value, dict):
        return spiked(value, factor, fields)
    if isinstance(value, list):
        changed = copy.copy(value)  # a list of a supplier's own kind stays one
        changed[:] = [_multiplied(each, factor, False, fields) for each in value]
        return changed
    if not is_one or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return round(value * factor, 2)
    try:
        return f"{float(value) * factor:.2f}"
    except (TypeError, ValueError):
        return value
