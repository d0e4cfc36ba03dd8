"""What endpoints ask for: the caller, a transaction, a page of a list, an Idempotency-Key.

    def list_things(session: SessionDep, page: PageDep) -> ListOut[ThingOut]: …

`SessionDep` is one transaction per request, as the caller's merchant, committed before the response is sent. An
endpoint that talks to the network itself asks for `EarlyCallerDep` instead and opens `transaction(merchant_id=…)` when
it is done waiting: nothing is held open over a network call.
"""

import contextlib
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Annotated
from uuid import UUID

import anyio
from anyio import to_thread
from fastapi import Depends, Header, Query
from fastapi.dependencies.utils import get_flat_params
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from sqlalchemy.orm import Session
from starlette.requests import Request

from api.errors import Busy
from api.idempotency import IdempotencyKey
from services.core.db import enter, transaction
from services.core.errors import Invalid
from services.core.log import bind
from services.core.paging import MAX_LIMIT, Page, decode_cursor
from services.core.settings import get_settings
from services.merchants.members import Membership, Role, choose, find_or_create_merchant, require_writer
from services.merchants.tokens import MissingToken, User

__all__ = ["Caller", "CallerDep", "EarlyCallerDep", "IdempotencyKey", "PageDep", "SessionDep", "UserDep"]

SLOT_SECONDS = 5.0

_bearer = HTTPBearer(auto_error=False, description="A Supabase access token.")  # for the docs; api/gate.py verifies
_READS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, for which merchant, in which role; `merchants` are all they could ask for."""

    user: User
    merchant_id: UUID
    role: Role
    merchants: tuple[Membership, ...]


def _user(request: Request, _documented: Annotated[object, Depends(_bearer)]) -> User:
    user = getattr(request.state, "user", None)
    if not isinstance(user, User):
        raise MissingToken  # a route outside the gate
    return user


UserDep = Annotated[User, Depends(_user)]


class _Visit:
    """A caller's transaction, opened and closed from threads."""

    def __init__(self, user: User, wanted: UUID | None, *, reads: bool) -> None:
        self._user = user
        self._wanted = wanted
        self._reads = reads
        self._opened: AbstractContextManager[Session] = transaction(user_id=user.id)
        self.session: Session
        self.caller: Caller

    def open(self) -> None:
        self.session = self._opened.__enter__()
        try:
            found = find_or_create_merchant(self.session, self._user)
            chosen = choose(found, self._wanted)
            if not self._reads:
                require_writer(chosen.role)
            enter(self.session, merchant_id=chosen.id, user_id=self._user.id, role="shopopti_app")
        except BaseException as error:
            self.close(error)
            raise
        self.caller = Caller(self._user, chosen.id, chosen.role, tuple(found))

    def close(self, error: BaseException | None = None) -> None:
        """Commit, or roll back for `error`. Raises what the context manager makes of either."""
        if error is None:
            self._opened.__exit__(None, None, None)
        else:
            self._opened.__exit__(type(error), error, error.__traceback__)


WantedMerchant = Annotated[
    UUID | None,
    Header(alias="X-Merchant-Id", description="Which of your merchants you act for; without it, your own."),
]


@contextlib.asynccontextmanager
async def _visiting(request: Request, user: User, wanted: UUID | None) -> AsyncIterator[_Visit]:
    """A transaction of the caller's merchant.

    Slots are handed out here, where waiting costs nothing: were threads to wait for pool connections instead, the
    requests that hold one could find no thread to finish on.
    """
    slots: anyio.CapacityLimiter = request.app.state.database_slots
    held = object()
    try:
        with anyio.fail_after(SLOT_SECONDS):
            await slots.acquire_on_behalf_of(held)
    except TimeoutError:
        raise Busy(retry_after=2) from None
    try:
        visit = _Visit(user, wanted, reads=request.method in _READS)
        await to_thread.run_sync(visit.open)
        try:
            merchant_id = str(visit.caller.merchant_id)
            request.state.merchant_id = merchant_id
            with bind(merchant_id=merchant_id):
                yield visit
        except BaseException as error:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(partial(visit.close, error), limiter=_closers())
            raise
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(visit.close, limiter=_closers())
    finally:
        slots.release_on_behalf_of(held)


def _closers() -> anyio.CapacityLimiter:
    return anyio.CapacityLimiter(1)  # never behind threads that wait for what this one gives back


async def _visit(request: Request, user: UserDep, wanted: WantedMerchant = None) -> AsyncIterator[_Visit]:
    async with _visiting(request, user, wanted) as visit:
        yield visit


# scope="function": the commit happens before the response is sent, so a failed commit is an error, not a lie.
_VisitDep = Annotated[_Visit, Depends(_visit, scope="function")]


async def _session(visit: _VisitDep) -> Session:
    return visit.session


async def _caller(visit: _VisitDep) -> Caller:
    return visit.caller


async def _early_caller(request: Request, user: UserDep, wanted: WantedMerchant = None) -> Caller:
    async with _visiting(request, user, wanted) as visit:
        return visit.caller


async def _page(
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Rows per page.")] = 50,
    after: Annotated[str | None, Query(description="The `next` of the page before.", max_length=200)] = None,
) -> Page:
    return Page(limit=limit, after=None if after is None else decode_cursor(after))


SessionDep = Annotated[Session, Depends(_session)]
CallerDep = Annotated[Caller, Depends(_caller)]
EarlyCallerDep = Annotated[Caller, Depends(_early_caller)]
PageDep = Annotated[Page, Depends(_page)]


def database_slots() -> anyio.CapacityLimiter:
    """How many requests may hold a connection at once: nearly the whole pool, a few are left for the endpoints' own."""
    size = 2 * get_settings().database_pool_size
    return anyio.CapacityLimiter(max(1, size - 4))


class UnknownParameter(Invalid):
    """This address knows no such parameter."""


async def known_parameters(request: Request) -> None:
    """Refuse query parameters the route does not have: a filter that is misspelt must not look like one that matched.

    Raises UnknownParameter, naming it.
    """
    route = request.scope.get("route")
    if isinstance(route, APIRoute):
        known = {field.alias for field in get_flat_params(route.dependant)}
        for name in request.query_params:
            if name not in known:
                raise UnknownParameter(f"There is no parameter {name!r} here.", param=name)
