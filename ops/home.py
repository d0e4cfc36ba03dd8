"""A stack's home: the folder that keeps its data, its secrets and the note on how to reach it."""

import datetime as dt
import fcntl
import os
import re
import secrets
import shlex
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import IO

DEFAULT_HOME = Path(".shopopti")
TOKEN_DAYS = 30
_USERS = uuid.uuid5(uuid.NAMESPACE_DNS, "users.shopopti.example")
_USER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class HomeBusy(RuntimeError):
    """Another stack runs in this home."""


def lock_home(home: Path, *, patience: float = 90.0) -> IO[str]:
    """Take the home for this process; keep the file open as long as the stack, children included, uses it.

    Raises HomeBusy when a live stack has it. Waits up to `patience` seconds for one whose parent was killed and
    whose processes are still ending.
    """
    home.mkdir(parents=True, exist_ok=True)
    file = (home / "lock").open("a+")
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            pid = file.read().strip()
            if _alive(pid) or time.monotonic() > deadline:
                message = f"a stack already runs in {home} (pid {pid}): stop it, or choose another --home"
                file.close()
                raise HomeBusy(message) from None
            time.sleep(0.2)
        else:
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            return file


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def kept_secrets(home: Path) -> dict[str, str]:
    """JWT_SECRET and ENCRYPTION_KEYS of this home, made at the first call and kept readable by the owner only."""
    file = home / "secrets.env"
    if not file.exists():
        from cryptography.fernet import Fernet

        made = {"JWT_SECRET": secrets.token_urlsafe(48), "ENCRYPTION_KEYS": Fernet.generate_key().decode()}
        write_env(file, made)
    return read_env(file)


def write_env(file: Path, values: Mapping[str, str]) -> None:
    """Write KEY=value lines that a shell can source, readable by the owner only, all or nothing.

    Nothing is exported by sourcing it, so that one stack's DATABASE_URL does not silently become the next one's;
    `set -a` does where it is wanted.
    """
    part = file.with_suffix(".part")
    part.unlink(missing_ok=True)
    with open(os.open(part, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600), "w") as out:
        out.writelines(f"{name}={shlex.quote(value)}\n" for name, value in values.items())
    part.replace(file)


def read_env(file: Path) -> dict[str, str]:
    """What `write_env` wrote."""
    pairs = (line.partition("=") for line in file.read_text().splitlines() if line)
    return {name: "".join(shlex.split(value)) for name, _, value in pairs}


def plain_url(database_url: str) -> str:
    """A database address as psycopg takes it, without SQLAlchemy's driver name."""
    return database_url.replace("postgresql+psycopg://", "postgresql://", 1)


def user_id(name: str) -> uuid.UUID:
    """The id of the local user `name`: always the same one for the same name."""
    return uuid.uuid5(_USERS, name)


def mint_token(secret: str, name: str) -> str:
    """A bearer token of 30 days for the local user `name`, as Supabase would sign it with the legacy secret.

    Raises ValueError for a name that cannot stand before an @.
    """
    if not _USER_NAME.fullmatch(name):
        raise ValueError(f"a user name is letters, digits, dots, dashes and underscores, not {name!r}")
    import jwt

    from services.core.settings import Settings

    # The settings own the rule for the issuer; the two addresses are required there but of no use here.
    settings = Settings(database_url="-", redis_url="-", jwt_secret=secret)
    now = dt.datetime.now(dt.UTC)
    claims = {
        "iss": settings.jwt_issuer,
        "aud": settings.jwt_audience,
        "sub": str(user_id(name)),
        "email": f"{name.lower()}@example.com",
        "role": "authenticated",
        "iat": now,
        "exp": now + dt.timedelta(days=TOKEN_DAYS),
    }
    return jwt.encode(claims, secret, algorithm="HS256")
