"""Access to a buyer's account: the consent page, and tokens made, refreshed and read.

Both tokens change with every refresh. How long they last is what the answer says, never what is remembered.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from services.suppliers.aliexpress.answers import OK, Gateway, classified, gateway_error, read
from services.suppliers.aliexpress.calls import HOST, system
from services.suppliers.base import Connection
from services.suppliers.errors import FatalForItem, ReconnectNeeded, Retry, UnknownOutcome
from services.suppliers.wire import Reply, Unreadable, Unsent, moment, number_of, text_of

CREATE = "/auth/token/create"
REFRESH = "/auth/token/refresh"


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a buyer's consent gives."""

    access_token: str = field(repr=False)
    expires_at: datetime
    refresh_token: str | None = field(repr=False)
    refresh_expires_at: datetime | None  # None: it cannot be refreshed
    account: str | None  # for people
    user_id: str | None


def consent_url(app_key: str, *, redirect_uri: str, state: str, base_url: str | None = None) -> str:
    """Where the buyer's browser is sent. `redirect_uri` must be the app's callback, letter for letter."""
    query = {
        "response_type": "code",
        "force_auth": "true",
        "redirect_uri": redirect_uri,
        "client_id": app_key,
        "state": state,
    }
    return f"{(base_url or HOST).rstrip('/')}/oauth/authorize?{urlencode(query)}"


def create(connection: Connection, code: str, *, at: datetime) -> Tokens:
    """The tokens of a code, which works once and not for long. Raises the classes of `errors`."""
    return _obtained(connection, CREATE, {"code": code}, at=at)


def refresh(connection: Connection, refresh_token: str, *, at: datetime) -> Tokens:
    """New tokens for old. Raises the classes of `errors`.

    ReconnectNeeded when the refresh token is no longer good. UnknownOutcome when the answer was lost: the old refresh
    token may be spent; it may be tried again.
    """
    return _obtained(connection, REFRESH, {"refresh_token": refresh_token}, at=at, old=refresh_token)


def tokens_of(content: dict[str, Any], *, at: datetime, old: str | None = None) -> Tokens:
    """The tokens an answer of the time `at` holds; an answer without a refresh token leaves the `old` one good.

    Raises Unreadable.
    """
    access = text_of(content.get("access_token"))
    expires = moment(content.get("expire_time")) or _after(at, content.get("expires_in"))
    if access is None or expires is None:
        raise Unreadable("AliExpress's answer holds no access token.")
    lasts = number_of(content.get("refresh_expires_in"))
    until = moment(content.get("refresh_token_valid_time")) or _after(at, content.get("refresh_expires_in"))
    return Tokens(
        access_token=access,
        expires_at=expires,
        refresh_token=text_of(content.get("refresh_token")) or old,
        refresh_expires_at=None if lasts == 0 else until,
        account=text_of(content.get("account")) or text_of(content.get("user_nick")),
        user_id=text_of(content.get("user_id")) or text_of(content.get("seller_id")),
    )


def _obtained(
    connection: Connection, path: str, parameters: dict[str, str], *, at: datetime, old: str | None = None
) -> Tokens:
    try:
        reply = system(connection, path, parameters)
        content = _content(path, reply)
        return tokens_of(content, at=at, old=old)
    except Unsent:
        raise
    except Gateway as said:
        error = classified(said.error)
        if isinstance(error, FatalForItem):  # the code or refresh token itself
            raise ReconnectNeeded(error.detail, supplier_code=error.supplier_code) from None
        if isinstance(error, Retry) and not said.error.before_work:
            raise UnknownOutcome(error.detail, supplier_code=error.supplier_code) from None
        raise error from None
    except Retry as error:
        raise UnknownOutcome(f"Whether AliExpress gave tokens is not known: {error.detail}") from error


def _content(path: str, reply: Reply) -> dict[str, Any]:
    content = read(path, reply)
    inside = content.get(f"{path}_response", content)
    content = inside if isinstance(inside, dict) else content
    if error := gateway_error(content):
        raise Gateway(error)
    code = text_of(content.get("code"))
    if code is not None and code not in OK:
        raise ReconnectNeeded(text_of(content.get("message")) or text_of(content.get("msg")), supplier_code=code)
    return content


def _after(at: datetime, seconds: object) -> datetime | None:
    lasts = number_of(seconds)
    return at + timedelta(seconds=float(lasts)) if lasts is not None and 0 < lasts < 10**9 else None
