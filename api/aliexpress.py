"""AliExpress accounts: consent, its way back, and how the access stands."""

import html
from contextlib import suppress
from dataclasses import replace
from typing import Annotated, Literal, NoReturn, Self
from urllib.parse import urlencode, urlsplit
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from api.deps import Caller, CallerDep, EarlyCallerDep, IdempotencyKey, SessionDep
from api.suppliers import ConnectionOut, Country, Currency, Language, Name
from services.core.db import transaction
from services.core.errors import Invalid, ShopOptiError
from services.core.paging import Page
from services.core.settings import Settings
from services.merchants.members import require_writer
from services.models import Connection
from services.sourcing.accounts import connections, credentials, oauth
from services.sourcing.accounts.oauth import Asked, ConsentRefused, Returned, Wanted
from services.suppliers.aliexpress import NAME

router = APIRouter(prefix="/aliexpress", tags=["aliexpress"])
# Apart, because AliExpress may send parameters that nobody has told of.
callback_router = APIRouter(prefix="/aliexpress", tags=["aliexpress"])

CALLBACK = "/api/v1/aliexpress/callback"
SHOWN = 100


class ReturnNotAllowed(Invalid):
    """The browser may be sent back to pages of CORS_ORIGINS only."""


class ConsentIn(BaseModel):
    """An account that is to be connected, or connected again."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    connection_id: UUID | None = Field(default=None, description="The connection to connect again; none: a new one.")
    name: Name | None = None
    sandbox: bool | None = Field(
        default=None, description="The operator's sandbox in AliExpress's place; by default where there is no app."
    )
    language: Language = "en"
    country: Country = "ES"
    currency: Currency = "EUR"


class ConsentUrlIn(ConsentIn):
    """The same, and where the browser goes when all is done."""

    return_to: str | None = Field(
        default=None,
        max_length=1000,
        description="A page of one of CORS_ORIGINS; it gets `connection_id`, or `error` with a code.",
        examples=["https://app.example.com/suppliers"],
    )


class ConsentUrlOut(BaseModel):
    """Where the account's owner agrees."""

    url: str = Field(description="To be opened in the browser of whoever owns the account. It serves once.")
    sandbox: bool
    expires_at: AwareDatetime

    @classmethod
    def of(cls, asked: Asked) -> Self:
        """In the words of the API."""
        return cls(url=asked.url, sandbox=asked.sandbox, expires_at=asked.expires_at)


class CodeIn(ConsentIn):
    """A code that came back elsewhere."""

    code: str = Field(min_length=1, max_length=500)


class AppOut(BaseModel):
    """The operator's app, as far as it may be shown."""

    configured: bool
    app_key: str | None = Field(description="Masked.")
    callback_url: str = Field(description="What the app's console must have as its callback, letter for letter.")


class AccessOut(BaseModel):
    """How the access to an account stands."""

    connection_id: UUID
    name: str
    state: Literal["active", "reconnect_needed", "disconnected"]
    sandbox: bool
    account: str | None
    secrets: dict[str, str] = Field(description="Masked.")
    token_expires_at: AwareDatetime | None
    refresh_expires_at: AwareDatetime | None
    renewable: bool = Field(description="Whether the access is renewed by itself before it expires.")
    problem: str | None = Field(description="Why it is to be connected again.")

    @classmethod
    def of(cls, row: Connection) -> Self:
        """The row in the words of the API."""
        same = ("name", "state", "sandbox", "account", "token_expires_at", "refresh_expires_at", "problem")
        renewable = row.state == "active" and "refresh_token" in row.hints
        own = {name: getattr(row, name) for name in same}
        return cls(connection_id=row.id, secrets=row.hints, renewable=renewable, **own)


class StatusOut(BaseModel):
    """The app and the merchant's newest connections to AliExpress."""

    app: AppOut
    connections: list[AccessOut] = Field(description="Newest first, a hundred at most.")


@router.get("/status")
def get_status(request: Request, session: SessionDep, caller: CallerDep) -> StatusOut:
    """How the merchant's accounts at AliExpress stand, without their secrets."""
    settings = _settings(request)
    app = oauth.app_of(settings)
    page = Page(limit=SHOWN, after=None)
    found = connections.list_connections(session, page, merchant_id=caller.merchant_id, supplier=NAME)
    shown = None if app is None else credentials.masked(app)["app_key"]
    return StatusOut(
        app=AppOut(configured=app is not None, app_key=shown, callback_url=_callback(request)),
        connections=[AccessOut.of(row) for row in found.data],
    )


@router.post("/oauth/url")
def make_consent_url(body: ConsentUrlIn, request: Request, session: SessionDep, caller: CallerDep) -> ConsentUrlOut:
    """The address of AliExpress's consent page. The way back serves once, within half an hour."""
    return _asked(request, session, caller, body)


@router.get("/oauth/url")
def get_consent_url(
    query: Annotated[ConsentUrlIn, Query()], request: Request, session: SessionDep, caller: CallerDep
) -> ConsentUrlOut:
    """The same for clients that only open addresses."""
    require_writer(caller.role)
    return _asked(request, session, caller, query)


@router.post("/oauth/token", status_code=201, response_model=ConnectionOut)
def exchange_code(body: CodeIn, request: Request, caller: EarlyCallerDep, once: IdempotencyKey) -> Response:
    """Connect an account with the code that its owner's consent gave, where the callback cannot be reached.

    422 `code_refused` with AliExpress's reason, and nothing is kept.
    """
    wanted = _wanted(request, body)
    with suppress(_NotAnsweredYet), transaction(merchant_id=caller.merchant_id, user_id=caller.user.id) as session:
        return once(session, body, status=201, make=_not_answered_yet)
    tokens, app = oauth.exchange(caller.merchant_id, body.code, wanted)
    with transaction(merchant_id=caller.merchant_id, user_id=caller.user.id) as session:

        def keep() -> ConnectionOut:
            return ConnectionOut.of(oauth.keep(session, caller.merchant_id, wanted, tokens, app))

        return once(session, body, status=201, make=keep)


@callback_router.get("/callback", response_class=HTMLResponse, responses={303: {"description": "To `return_to`."}})
def take_consent(
    request: Request,
    state: str = "",
    code: Annotated[str, Query(max_length=500)] = "",
) -> Response:
    """Where AliExpress sends the browser back to; the state is the proof, no token is asked for.

    400 for a state that is wrong, was used or has expired, and where no consent was given.
    """
    returned: Returned | None = None
    try:
        returned = oauth.take_back(state)
        if not code:
            raise ConsentRefused(param="code")
        connection = _connected(returned, code)
    except ShopOptiError as error:
        if returned is not None and returned.wanted.return_to:
            return _back(returned.wanted.return_to, error=error.code)
        if "text/html" not in request.headers.get("accept", ""):
            raise
        return _page(error.status, "The account was not connected", error.detail)
    if returned.wanted.return_to:
        return _back(returned.wanted.return_to, connection_id=str(connection.id))
    who = f" ({connection.account})" if connection.account else ""
    return _page(200, "The account is connected", f"{connection.name}{who}. You may close this page.")


def _connected(returned: Returned, code: str) -> Connection:
    """The connection that a code becomes; AliExpress is asked with nothing held open."""
    tokens, app = oauth.exchange(returned.merchant_id, code, returned.wanted)
    with transaction(merchant_id=returned.merchant_id, user_id=returned.user_id) as session:
        return oauth.keep(session, returned.merchant_id, returned.wanted, tokens, app)


def _asked(request: Request, session: Session, caller: Caller, body: ConsentUrlIn) -> ConsentUrlOut:
    if body.return_to is not None:
        _check_return(body.return_to, _settings(request))
    wanted = replace(_wanted(request, body), return_to=body.return_to)
    asked = oauth.ask(session, merchant_id=caller.merchant_id, user_id=caller.user.id, wanted=wanted)
    return ConsentUrlOut.of(asked)


def _wanted(request: Request, body: ConsentIn) -> Wanted:
    own = {name: getattr(body, name) for name in ConsentIn.model_fields}
    return Wanted(redirect_uri=_callback(request), **own)


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def _callback(request: Request) -> str:
    settings = _settings(request)
    here = (settings.api_url or str(request.base_url)).rstrip("/")
    return settings.aliexpress_callback_url or f"{here}{CALLBACK}"


def _check_return(address: str, settings: Settings) -> None:
    """Raise ReturnNotAllowed unless the address is on a dashboard's origin."""
    try:
        parts = urlsplit(address)
    except ValueError:
        raise ReturnNotAllowed(param="return_to") from None
    if f"{parts.scheme}://{parts.netloc}" not in settings.cors_origins or not address.isprintable():
        raise ReturnNotAllowed(param="return_to")


# The address of this page holds a code: it is for nobody else, and no page that is linked to learns of it.
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
}


def _back(address: str, **told: str) -> Response:
    parts = urlsplit(address)
    query = "&".join(filter(None, (parts.query, urlencode(told))))
    return RedirectResponse(parts._replace(query=query).geturl(), status_code=303, headers=_HEADERS)


def _page(status: int, title: str, text: str) -> Response:
    content = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title>"
        f"<body style='font-family:sans-serif;margin:4rem auto;max-width:40rem'><h1>{html.escape(title)}</h1>"
        f"<p>{html.escape(text)}</p>"
    )
    return HTMLResponse(content, status_code=status, headers=_HEADERS)


class _NotAnsweredYet(Exception):
    """There is no earlier answer to give again."""


def _not_answered_yet() -> NoReturn:
    raise _NotAnsweredYet
