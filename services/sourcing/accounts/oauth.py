"""A buyer's consent at AliExpress: asked for with a state, brought back once, exchanged for tokens, kept.

The state is the only proof the way back has: nobody is signed in there. It names the merchant in the open, is random
beyond guessing, serves once and not for long, and only its digest is stored. Who it was made for must still be a member
who may write when it comes back.
"""

import hashlib
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from services.core.clock import now
from services.core.db import transaction
from services.core.errors import Conflict, Invalid, ShopOptiError
from services.core.settings import Settings, get_settings
from services.imports.sources import SourceNameTaken
from services.models import Connection, Member, OAuthState
from services.sourcing.accounts import connections
from services.sourcing.accounts.credentials import digest, read
from services.sourcing.accounts.reach import base_url, get_connection, has_sandbox
from services.sourcing.accounts.renewal import CALL_SECONDS, note_expiry, secrets_of
from services.sourcing.accounts.trials import Tested, Trial, new_trial, trial_of
from services.suppliers import base
from services.suppliers.aliexpress import NAME
from services.suppliers.aliexpress.tokens import Tokens, consent_url, create
from services.suppliers.errors import ReconnectNeeded

STATE_MINUTES = 30

# The sandbox's own app for dropshipping (docs/sandbox.md). It opens nothing but that.
_SANDBOX_APP = {"app_key": "12345678", "app_secret": "helloworld"}


class AliExpressAppNotSetUp(Conflict):
    """There is no app to ask with: set ALIEXPRESS_APP_KEY and ALIEXPRESS_APP_SECRET, or SANDBOX_URL for a sandbox."""

    code = "aliexpress_app_not_set_up"


class ConsentStateInvalid(ShopOptiError):
    """This way back is not valid: it was used, it took too long, or it was never asked for. Begin again."""

    status = 400


class ConsentRefused(ShopOptiError):
    """AliExpress sent no consent back. Begin again, and agree there."""

    status = 400


class CodeRefused(Invalid):
    """AliExpress does not accept this code. A code serves once and for a short time: begin again."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The connection that a consent is to become."""

    redirect_uri: str
    connection_id: UUID | None = None  # the one to connect again
    name: str | None = None
    sandbox: bool | None = None  # None: where there is no app but a sandbox, and where MOCK_MODE is true
    language: str = "en"
    country: str = "ES"
    currency: str = "EUR"
    return_to: str | None = None  # where the browser goes when all is done


@dataclass(frozen=True, slots=True)
class Asked:
    """A consent that is under way."""

    url: str = field(repr=False)  # where the buyer's browser is sent
    sandbox: bool
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Returned:
    """A state that came back and was taken."""

    merchant_id: UUID
    user_id: UUID
    wanted: Wanted


def app_of(settings: Settings) -> dict[str, str] | None:
    """The operator's app for dropshipping, as a connection's secrets."""
    key, secret = settings.aliexpress_ds_app_key, settings.aliexpress_ds_app_secret
    if not key or not secret:
        key, secret = settings.aliexpress_app_key, settings.aliexpress_app_secret
    return {"app_key": key, "app_secret": secret.get_secret_value()} if key and secret else None


def ask(session: Session, *, merchant_id: UUID, user_id: UUID, wanted: Wanted) -> Asked:
    """The address of the consent page, with a state that brings the answer back to this merchant and user.

    Raises AliExpressAppNotSetUp, ConnectionNotFound, SandboxNotHere, SandboxOnly.
    """
    wanted, app = _settled(session, wanted)
    state = f"{urlsafe_b64encode(merchant_id.bytes).decode().rstrip('=')}.{secrets.token_urlsafe(32)}"
    at = now()
    old = OAuthState.expires_at < at - timedelta(days=1)
    session.execute(delete(OAuthState).where(OAuthState.merchant_id == merchant_id, old))
    kept = {name: getattr(wanted, name) for name in _KEPT}
    session.add(
        OAuthState(
            digest=_digest(state), merchant_id=merchant_id, supplier=NAME, connection_id=wanted.connection_id,
            settings=kept, created_by=user_id, expires_at=at + timedelta(minutes=STATE_MINUTES),
        )
    )  # fmt: skip
    session.flush()
    where = base_url(NAME, sandbox=bool(wanted.sandbox))
    url = consent_url(app["app_key"], redirect_uri=wanted.redirect_uri, state=state, base_url=where)
    return Asked(url, bool(wanted.sandbox), at + timedelta(minutes=STATE_MINUTES))


_KEPT = ("redirect_uri", "name", "sandbox", "language", "country", "currency", "return_to")


def take_back(state: str) -> Returned:
    """The state's merchant, user and wishes; it serves no second time. Raises ConsentStateInvalid."""
    merchant_id = _merchant_of(state)
    with transaction(merchant_id=merchant_id) as session:
        mine = update(OAuthState).where(
            OAuthState.digest == _digest(state),
            OAuthState.merchant_id == merchant_id,
            OAuthState.used_at.is_(None),
            OAuthState.expires_at > now(),
        )
        row = session.scalar(mine.values(used_at=func.clock_timestamp()).returning(OAuthState))
        if row is None or row.created_by is None:
            raise ConsentStateInvalid(param="state")
        role = select(Member.role).where(Member.merchant_id == merchant_id, Member.user_id == row.created_by)
        if session.scalar(role) not in ("owner", "staff"):
            raise ConsentStateInvalid("Whoever asked for this may no longer connect accounts.", param="state")
        return Returned(merchant_id, row.created_by, Wanted(connection_id=row.connection_id, **row.settings))


def exchange(merchant_id: UUID, code: str, wanted: Wanted) -> tuple[Tokens, dict[str, str]]:
    """The tokens of a code, and the app they were given to. No transaction may be open.

    Raises CodeRefused, what `ask` raises, and what `aliexpress.tokens.create` raises besides.
    """
    with transaction(merchant_id=merchant_id) as session:
        wanted, app = _settled(session, wanted)
    connection = base.Connection(
        secrets=app,
        base_url=base_url(NAME, sandbox=bool(wanted.sandbox)),
        deadline_seconds=CALL_SECONDS,
    )
    try:
        return create(connection, code, at=now()), app
    except ReconnectNeeded as error:
        raise CodeRefused(f"AliExpress refuses the code: {error.detail}", param="code", **error.extra) from error


def keep(session: Session, merchant_id: UUID, wanted: Wanted, tokens: Tokens, app: dict[str, str]) -> Connection:
    """Make a connection of the tokens, or put them into the one that the account has.

    Raises what `connections.connect` and `connections.replace_credentials` raise, but not that it is connected already.
    """
    wanted, _ = _settled(session, wanted)
    given = {**app, "refresh_token": "", **secrets_of(tokens)}  # an empty one removes that of an earlier consent
    settings = {"language": wanted.language, "country": wanted.country, "currency": wanted.currency}
    connection_id = wanted.connection_id
    if connection_id is None:
        trial = new_trial(merchant_id, NAME, given, sandbox=wanted.sandbox, **settings)
        try:
            row = _connected(session, _proved(trial, tokens), wanted.name, settings)
        except connections.AlreadyConnected as error:
            connection_id = UUID(error.extra["connection_id"])
    if connection_id is not None:
        row = get_connection(session, connection_id, lock=True)
        row = connections.replace_credentials(
            session, connection_id, _proved(trial_of(session, connection_id, given), tokens)
        )
    note_expiry(session, row, tokens)
    return row


def _connected(session: Session, tested: Tested, name: str | None, settings: dict[str, str]) -> Connection:
    """A new connection. One that nobody named takes the first name that is free: the consent is not to be had again."""
    *others, last = (name,) if name else (NAME, *(f"{NAME} {number}" for number in range(2, 100)))
    for tried in others:
        with suppress(connections.ConnectionNameTaken, SourceNameTaken), session.begin_nested():
            return connections.connect(session, tested, name=tried, **settings)
    with session.begin_nested():
        return connections.connect(session, tested, name=last, **settings)


def _settled(session: Session, wanted: Wanted) -> tuple[Wanted, dict[str, str]]:
    """With `sandbox` decided, and the app that is asked with: a connection's own, else the operator's."""
    settings = get_settings()
    if wanted.connection_id is not None:
        row = get_connection(session, wanted.connection_id)
        own = read(row)
        if row.supplier != NAME:
            raise connections.ConnectionNameTaken("This connection is not AliExpress's.", param="connection_id")
        if "app_key" in own and "app_secret" in own:
            app = {name: own[name] for name in ("app_key", "app_secret")}
            return replace(wanted, sandbox=row.sandbox), app
        wanted = replace(wanted, sandbox=row.sandbox)
    if wanted.sandbox is None:
        stands_in = settings.mock_mode == "true" or (app_of(settings) is None and has_sandbox(NAME))
        wanted = replace(wanted, sandbox=stands_in)
    app_or_none = _SANDBOX_APP if wanted.sandbox else app_of(settings)
    base_url(NAME, sandbox=bool(wanted.sandbox))  # raises where that cannot be
    if app_or_none is None:
        raise AliExpressAppNotSetUp
    return wanted, dict(app_or_none)


def _proved(trial: Trial, tokens: Tokens) -> Tested:
    """What the exchange proved: a further call that fails would lose tokens that are given only once."""
    account = tokens.account or tokens.user_id
    named = {"account": account} if account else dict(trial.connection.secrets)
    identity = base.Identity(account=account, balance=None, checked=("the account's consent",))
    return Tested(trial=trial, identity=identity, account_key=digest(trial.merchant_id, named), at=now())


def _digest(state: str) -> str:
    return hashlib.sha256(state.encode()).hexdigest()


def _merchant_of(state: str) -> UUID:
    """The merchant that a state names. Raises ConsentStateInvalid."""
    named, _, rest = state.partition(".")
    try:
        if not rest or len(state) > 200 or not state.isascii():
            raise ValueError
        return UUID(bytes=urlsafe_b64decode(f"{named}=="))
    except ValueError:
        raise ConsentStateInvalid(param="state") from None
