"""Suppliers: the merchant's accounts there, connected, tested, changed and given up."""

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Annotated, Any, NoReturn, Self
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, SecretStr, StringConstraints, field_validator
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.deps import Caller, CallerDep, EarlyCallerDep, IdempotencyKey, PageDep, SessionDep
from api.idempotency import Once
from api.money import Money
from api.supplier_status import State, StatusOut
from services.core.db import transaction
from services.core.paging import ListOut
from services.models import Connection
from services.sourcing.accounts import connections, credentials, reach, trials
from services.sourcing.accounts.available import Available, available
from services.sourcing.accounts.rules import Rules, rules_of
from services.sourcing.accounts.trials import Tested, Trial
from services.sourcing.syncs.status import status_of

router = APIRouter(prefix="/suppliers", tags=["suppliers"])

Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=r"^[^\x00-\x1f]+$"),
    Field(
        description="It stays: the products made of its offers have it as their `source`. The supplier's, if left out.",
        examples=["bigbuy"],
    ),
]
Supplier = Annotated[str, Field(min_length=1, max_length=100, examples=["bigbuy"])]
Secrets = Annotated[
    dict[Annotated[str, Field(max_length=100)], Annotated[SecretStr, Field(max_length=20_000)]],
    Field(max_length=20, description="By name, as `GET /suppliers/available` lists them.", examples=[{"api_key": "…"}]),
]
Language = Annotated[
    str, StringConstraints(pattern=r"^[a-z]{2}$"), Field(description="ISO 639-1: of texts.", examples=["es"])
]
Country = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Z]{2}$"),
    Field(description="ISO 3166-1: where it is sold to.", examples=["ES"]),
]
Currency = Annotated[str, Field(max_length=10, description="ISO 4217: of prices.", examples=["EUR"])]


class ConnectIn(BaseModel):
    """An account to connect."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    supplier: Supplier
    secrets: Secrets
    name: Name | None = None
    sandbox: bool | None = Field(
        default=None,
        description="The operator's sandbox answers in the supplier's place. By default not, unless MOCK_MODE is true.",
    )
    language: Language = "en"
    country: Country = "ES"
    currency: Currency = "EUR"
    rules: Rules = Field(default_factory=Rules, description="What offers become; what is left out has its default.")


class ConnectionPatch(BaseModel):
    """What to change; what is left out stays. `rules` is replaced as a whole."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    language: Language | None = None
    country: Country | None = None
    currency: Currency | None = None
    rules: Rules | None = None

    @field_validator("language", "country", "currency", "rules")
    @classmethod
    def _not_null(cls, value: object) -> object:
        if value is None:
            raise ValueError("may be left out, but not null")
        return value


class CredentialsIn(BaseModel):
    """New secrets. Those that are left out stay as they are; an optional one that is empty is removed."""

    model_config = ConfigDict(extra="forbid")

    secrets: Secrets


class ConnectionOut(BaseModel):
    """An account at a supplier."""

    id: UUID
    supplier: str
    name: str = Field(description="Also of the catalogue's source that holds guards and policies: `GET /sources?name=`")
    state: State
    sandbox: bool = Field(description="True: nothing it says is real.")
    secrets: dict[str, str] = Field(
        description="Masked. Empty once it is disconnected.", examples=[{"api_key": "…x7Qa"}]
    )
    account: str | None = Field(description="As the supplier calls it, where it says.")
    language: str
    country: str
    currency: str
    rules: Rules = Field(description="All of them, with the defaults of those that are not set.")
    problem: str | None = Field(description="Why it is to be connected again.")
    token_expires_at: AwareDatetime | None
    refresh_expires_at: AwareDatetime | None
    checked_at: AwareDatetime | None = Field(description="When the supplier last took these credentials in a test.")
    created_at: AwareDatetime
    updated_at: AwareDatetime

    @classmethod
    def of(cls, row: Connection, **more: Any) -> Self:
        """The row in the words of the API."""
        own = {name: getattr(row, name) for name in ConnectionOut.model_fields if name not in ("secrets", "rules")}
        return cls(**own, secrets=row.hints, rules=rules_of(row.rules), **more)


class BalanceOut(BaseModel):
    """What the account holds."""

    amount: Money
    currency: str


class TestedOut(ConnectionOut):
    """The connection, and what its supplier said in the test."""

    checked: list[str] = Field(description="What was tried.", examples=[["the API key", "the wallet's balance"]])
    balance: BalanceOut | None = Field(description="As of now, where the supplier says.")

    @classmethod
    def after(cls, row: Connection, tested: Tested) -> Self:
        """The row as it is after the test."""
        held = tested.identity.balance
        balance = None if held is None else BalanceOut(amount=held.amount, currency=held.currency)
        return cls.of(row, checked=list(tested.identity.checked), balance=balance)


class CapabilitiesOut(BaseModel):
    """What a supplier offers to programs."""

    lists_catalogue: bool = Field(description="False: offers are read by their ids only.")
    reads_by_id: bool
    stock_alone: bool = Field(description="Stock and prices cost less than whole offers.")
    orders: bool
    finds_by_reference: bool = Field(description="Orders can be looked up by our reference.")


class SupplierOut(BaseModel):
    """A supplier that can be connected."""

    name: str
    about: str
    secrets: list[str] = Field(description="Names of what connecting takes.")
    optional: list[str] = Field(description="Names of what may be given besides.")
    sandbox: bool = Field(description="A sandbox can be connected in its place.")
    capabilities: CapabilitiesOut

    @classmethod
    def of(cls, found: Available) -> Self:
        """The supplier in the words of the API."""
        offered = {name: getattr(found.capabilities, name) for name in CapabilitiesOut.model_fields}
        return cls(
            name=found.name,
            about=found.about,
            secrets=list(found.secrets),
            optional=list(found.optional),
            sandbox=found.sandbox,
            capabilities=CapabilitiesOut(**offered),
        )


@router.get("/available")
def list_suppliers(caller: CallerDep) -> list[SupplierOut]:
    """Which suppliers there are to connect, and what each takes."""
    return [SupplierOut.of(found) for found in available()]


@router.get("")
def list_connections(
    session: SessionDep,
    caller: CallerDep,
    page: PageDep,
    supplier: Annotated[str | None, Query(max_length=100)] = None,
    state: State | None = None,
) -> ListOut[ConnectionOut]:
    """The merchant's connections, newest first; disconnected ones too."""
    found = connections.list_connections(
        session, page, merchant_id=caller.merchant_id, supplier=supplier, state=state
    ).map(ConnectionOut.of)
    return ListOut[ConnectionOut](data=found.data, has_more=found.has_more, next=found.next)


@router.post("/connect", status_code=201, response_model=TestedOut)
def connect(body: ConnectIn, caller: EarlyCallerDep, once: IdempotencyKey) -> Response:
    """Try an account's credentials with the supplier and keep them, encrypted, if it takes them.

    422 `credentials_refused` with the supplier's reason, and nothing is kept; 409 `already_connected` with the
    `connection_id`; 409 `source_name_taken` when feeds already have the name. Under the name of a connection to the
    same supplier that was disconnected, that one comes back with its offers and links.
    """
    settings = {"language": body.language, "country": body.country, "currency": body.currency}
    trial = trials.new_trial(caller.merchant_id, body.supplier, _plain(body.secrets), sandbox=body.sandbox, **settings)
    given = {name: getattr(body, name) for name in (*settings, "rules") if name in body.model_fields_set}

    def keep(session: Session, tested: Tested) -> Connection:
        return connections.connect(session, tested, name=body.name or body.supplier, **given)

    return _tried(trial, body, caller, once, status=201, keep=keep)


@router.get("/{connection_id}")
def get_connection(connection_id: UUID, session: SessionDep) -> ConnectionOut:
    """One connection."""
    return ConnectionOut.of(reach.get_connection(session, connection_id))


@router.get("/{connection_id}/status")
def get_status(connection_id: UUID, caller: EarlyCallerDep) -> StatusOut:
    """Whether the supplier answers, what its quotas leave, how fresh its data is and can be, how the last runs went.

    The supplier is not asked for this.
    """
    return StatusOut.of(status_of(caller.merchant_id, connection_id))


@router.patch("/{connection_id}")
def update_connection(
    connection_id: UUID, body: ConnectionPatch, session: SessionDep, caller: CallerDep
) -> ConnectionOut:
    """Change language, country, currency or rules. The catalogue follows with the next sync."""
    changes = {name: getattr(body, name) for name in body.model_fields_set}
    return ConnectionOut.of(connections.update_connection(session, connection_id, changes))


@router.post("/{connection_id}/credentials", response_model=TestedOut)
def replace_credentials(
    connection_id: UUID, body: CredentialsIn, caller: EarlyCallerDep, once: IdempotencyKey
) -> Response:
    """Try new credentials and put them in place of the old ones, which serve until then.

    422 `credentials_refused` leaves everything as it was. 409 `another_account` when the supplier says that they are
    of another account; `credentials_changed` when others were put there meanwhile.
    """
    with transaction(merchant_id=caller.merchant_id, user_id=caller.user.id) as session:
        trial = trials.trial_of(session, connection_id, _plain(body.secrets))

    def keep(session: Session, tested: Tested) -> Connection:
        return connections.replace_credentials(session, connection_id, tested)

    return _tried(trial, body, caller, once, status=200, keep=keep)


@router.delete("/{connection_id}", status_code=204)
def disconnect(connection_id: UUID, session: SessionDep, caller: CallerDep) -> None:
    """Forget an account's credentials. Its syncs end, its schedules are disabled; offers and links stay.

    409 `orders_in_doubt` while it is not known whether an order arrived there: finding out takes the credentials.
    """
    connections.disconnect(session, connection_id)


def _plain(secrets: dict[str, SecretStr]) -> dict[str, str]:
    """As they are sent; blanks around them come from copying."""
    return {name: value.get_secret_value().strip() for name, value in secrets.items()}


def _tried(
    trial: Trial,
    body: BaseModel,
    caller: Caller,
    once: Once,
    *,
    status: int,
    keep: Callable[[Session, Tested], Connection],
) -> Response:
    """Ask the supplier, with nothing held open, and keep what it took. A repeat is answered without asking again."""
    # What is kept of a request with an Idempotency-Key must not help to guess a secret.
    secrets = credentials.digest(caller.merchant_id, trial.connection.secrets)
    asked = body.model_dump(mode="json", exclude={"secrets"}) | {"secrets": secrets}

    def opened() -> AbstractContextManager[Session]:
        return transaction(merchant_id=caller.merchant_id, user_id=caller.user.id)

    with suppress(_NotAnsweredYet), opened() as session:
        return once(session, asked, status=status, make=_not_answered_yet)
    tested = trials.try_out(trial)
    with opened() as session:
        return once(session, asked, status=status, make=lambda: TestedOut.after(keep(session, tested), tested))


class _NotAnsweredYet(Exception):
    """There is no earlier answer to give again."""


def _not_answered_yet() -> NoReturn:
    raise _NotAnsweredYet
