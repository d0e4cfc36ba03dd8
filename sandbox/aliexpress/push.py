"""Push messages: told to an app's address when an order moves, signed, and told again until it answers 200."""

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx

from sandbox.aliexpress.signing import sign_push
from sandbox.aliexpress.state import App, Order, State

if TYPE_CHECKING:
    from sandbox.world import World

ORDER_STATUS_UPDATE = 53
EVERY_SECONDS = 1.0
TIMEOUT_SECONDS = 5.0


@dataclass(slots=True)
class Push:
    """One message and what became of it."""

    app_key: str
    order: int
    event: str
    status: int | None  # None: nobody answered


async def keep_pushing(world: "World") -> None:
    """Push what is new, about every second, for as long as the process lives."""
    while True:
        await asyncio.sleep(EVERY_SECONDS)
        await push_news(world)


async def push_news(world: "World", *, again: bool = False) -> list[Push]:
    """Push every event not yet pushed, in order; `again`: also those that were. An order waits behind its failure."""
    state, at = world.aliexpress.state, world.clock.now()
    told = [app for app in state.apps.values() if app.push_url and app.group == "ds"]
    if not told:
        return []
    done: list[Push] = []
    async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False) as client:
        for order in list(state.orders.values()):
            done += await _push_order(client, state, told, order, at, again=again)
    return done


async def _push_order(
    client: httpx.AsyncClient, state: State, told: list[App], order: Order, at: float, *, again: bool
) -> list[Push]:
    done: list[Push] = []
    events = order.events(state.settings, at)
    for position in range(0 if again else order.pushed, len(events)):
        pushes = [
            Push(app.key, order.id, events[position], await _send(client, app, order, events[position], at))
            for app in told
        ]
        done += pushes
        if any(each.status != 200 for each in pushes):
            break
        order.pushed = max(order.pushed, position + 1)
    return done


async def _send(client: httpx.AsyncClient, app: App, order: Order, event: str, at: float) -> int | None:
    message = {
        "seller_id": "1234",
        "message_type": ORDER_STATUS_UPDATE,
        "data": {"orderId": order.id, "orderStatus": event, "buyerId": 1_861_703_697},
        "timestamp": int(at),
        "site": "ae_global",
    }
    body = json.dumps(message, separators=(",", ":")).encode()
    signature = sign_push(body, app_key=app.key, secret=app.secret)
    headers = {"Authorization": signature, "Content-Type": "application/json"}
    try:
        return (await client.post(app.push_url or "", content=body, headers=headers)).status_code
    except (httpx.HTTPError, httpx.InvalidURL):
        return None
