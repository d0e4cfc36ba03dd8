"""Secrets of merchants' accounts: complete, kept encrypted, shown masked."""

import hashlib
import json
from collections.abc import Mapping
from typing import cast
from uuid import UUID

from services.core.crypto import Undecryptable, decrypt, encrypt
from services.core.errors import Invalid, Unavailable
from services.models import Connection
from services.suppliers.registry import adapter

SHOWN = 4  # characters of a secret, at its end
MIN_LENGTH_SHOWN = 12


class SecretsIncomplete(Invalid):
    """A supplier's secrets are given by their names, and all that it needs."""


class CredentialsUnreadable(Unavailable):
    """The stored credentials cannot be read: the key they were encrypted with is not in ENCRYPTION_KEYS."""


def complete(supplier: str, given: Mapping[str, str], *, before: Mapping[str, str] | None = None) -> dict[str, str]:
    """The supplier's secrets out of those given; what is left out stays as it was `before`, what is empty goes.

    Raises NoSuchSupplier, SecretsIncomplete.
    """
    wanted = adapter(supplier)
    known = (*wanted.SECRETS, *wanted.OPTIONAL)
    for name in given:
        if name not in known:
            raise SecretsIncomplete(
                f"{supplier} has no secret {name!r}; it has: {', '.join(known)}.", param=f"secrets.{name}"
            )
    secrets = {name: value for name, value in {**(before or {}), **given}.items() if value}
    for name in wanted.SECRETS:
        if name not in secrets:
            needed = ", ".join(wanted.SECRETS)
            raise SecretsIncomplete(f"{name!r} is missing; {supplier} needs: {needed}.", param=f"secrets.{name}")
    return secrets


def write(row: Connection, secrets: Mapping[str, str]) -> None:
    """Keep these secrets in the row, which must be locked, in place of those it has. It is good again with them.

    Whoever read the ones before learns from `secrets_version` that there are others now.
    """
    row.secrets = encrypt(json.dumps(dict(secrets)))
    row.secrets_version = (row.secrets_version or 0) + 1
    row.hints = masked(secrets)
    row.state, row.problem = "active", None


def read(row: Connection) -> dict[str, str]:
    """The row's secrets; none once it is disconnected. Raises CredentialsUnreadable."""
    if row.secrets is None:
        return {}
    try:
        return cast(dict[str, str], json.loads(decrypt(row.secrets)))
    except Undecryptable as error:
        raise CredentialsUnreadable(retry_after=60) from error


def masked(secrets: Mapping[str, str]) -> dict[str, str]:
    """The secrets as they may be shown: their ends, of long ones."""
    return {name: "…" + (value[-SHOWN:] if len(value) >= MIN_LENGTH_SHOWN else "") for name, value in secrets.items()}


def digest(merchant_id: UUID, named: Mapping[str, str]) -> str:
    """The same for the same values of one merchant. Slow on purpose: nobody shall find a password by trying."""
    canonical = json.dumps(dict(named), sort_keys=True).encode()
    return hashlib.scrypt(canonical, salt=merchant_id.bytes, n=2**14, r=8, p=1, dklen=32).hex()
