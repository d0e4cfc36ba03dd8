"""Bearer tokens: from the header's text to a user, or to a refusal.

Tokens are Supabase Auth's access tokens (https://supabase.com/docs/guides/auth/jwts): ES256 or RS256, verified with the
project's published keys, or HS256, verified with its legacy secret. Where a key came from decides which algorithm it
may verify, never the token: a token cannot turn a public key into a shared secret.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from uuid import UUID

import jwt

from services.core.errors import Unauthorized, Unavailable
from services.core.settings import Settings, get_settings

FRESH_SECONDS = 600  # Supabase's own cache lifetime for its keys
USABLE_SECONDS = 3600  # how long known keys serve while the key server is away
COOLDOWN_SECONDS = 30  # between two fetches because of unknown key ids, which anyone can invent
RETRY_SECONDS = 5  # before the next fetch after one that failed
FETCH_TIMEOUT_SECONDS = 4


_ALGORITHM = {"EC": "ES256", "RSA": "RS256"}  # by key type; keys of other types verify nothing

logger = logging.getLogger(__name__)


class MissingToken(Unauthorized):
    """Send an access token: `Authorization: Bearer <token>`."""


class InvalidToken(Unauthorized):
    """The access token is not valid here."""


class TokenExpired(Unauthorized):
    """The access token has expired; refresh it."""


class SigningKeysAway(Unavailable):
    """The keys that verify access tokens cannot be fetched at the moment."""


@dataclass(frozen=True, slots=True)
class User:
    """A verified caller. `claims` is the whole token; of these only `app_metadata` may decide what someone may do."""

    id: UUID
    email: str | None
    claims: Mapping[str, Any] = field(repr=False, compare=False)

    @property
    def display_name(self) -> str | None:
        """What the user calls themselves, else their address. Written by the user: for show only."""
        metadata = self.claims.get("user_metadata")
        named = metadata.get("name") or metadata.get("full_name") if isinstance(metadata, Mapping) else None
        return named if isinstance(named, str) and named.strip() else self.email


class SigningKeys:
    """A project's published keys (RFC 7517): fetched once however many ask, kept ten minutes.

    An unknown key id fetches again (a rotation), at most every `COOLDOWN_SECONDS`. While the server is away, known keys
    serve for an hour. Safe to share between threads.
    """

    def __init__(self, url: str, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = float("-inf")
        self._not_before = float("-inf")

    def find(self, key_id: str) -> jwt.PyJWK | None:
        """The key of that id, or None when there is none. Raises SigningKeysAway when nobody can tell."""
        usable = key_id in self._keys and self._age() <= USABLE_SECONDS
        if not usable or self._age() > FRESH_SECONDS:
            self._fetch(key_id, wait=not usable)
        if self._age() > USABLE_SECONDS:
            raise SigningKeysAway(retry_after=RETRY_SECONDS)
        return self._keys.get(key_id)

    def _age(self) -> float:
        return self._monotonic() - self._fetched_at

    def _fetch(self, key_id: str, *, wait: bool) -> None:
        """Fetch, unless another thread just did. Without `wait`, leave it to a thread that is already at it."""
        if not self._lock.acquire(blocking=wait):
            return
        try:
            if self._monotonic() < self._not_before or (key_id in self._keys and self._age() <= FRESH_SECONDS):
                return
            try:
                self._keys = _usable(_get_json(self._url))
            except ValueError as error:
                logger.warning("signing keys not fetched: %s", error)
                self._not_before = self._monotonic() + RETRY_SECONDS
            else:
                self._fetched_at = self._monotonic()
                self._not_before = self._fetched_at + COOLDOWN_SECONDS
        finally:
            self._lock.release()


def _get_json(url: str) -> Any:
    # httpcore, and only here: httpx brings its command line along (8 MB), and one machine alone has no keys to fetch.
    import httpcore

    timeout = dict.fromkeys(("connect", "read", "write", "pool"), FETCH_TIMEOUT_SECONDS)
    try:
        with httpcore.ConnectionPool() as pool:
            response = pool.request("GET", url, extensions={"timeout": timeout})
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise ValueError(f"{url} does not answer: {error}") from error
    if response.status != 200:
        raise ValueError(f"{url} answered {response.status}")
    return json.loads(response.content)


def _usable(document: Any) -> dict[str, jwt.PyJWK]:
    """Keys by id. An empty list is a project that still signs with its legacy secret only."""
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise ValueError("not a JSON Web Key Set")
    found = {}
    for entry in document["keys"]:
        if not isinstance(entry, dict) or not entry.get("kid") or entry.get("kty") not in _ALGORITHM:
            continue
        try:
            found[str(entry["kid"])] = jwt.PyJWK.from_dict(entry, algorithm=_ALGORITHM[entry["kty"]])
        except jwt.PyJWTError:
            logger.warning("a published signing key cannot be used", extra={"kid": entry["kid"]})
    return found


@cache
def signing_keys() -> SigningKeys | None:
    """The process's key cache; None without Supabase."""
    settings = get_settings()
    if settings.supabase_url is None:
        return None
    return SigningKeys(f"{settings.supabase_url}/auth/v1/.well-known/jwks.json")


def authenticate(token: str | None, *, settings: Settings, keys: SigningKeys | None) -> User:
    """The user a token was issued to.

    Raises MissingToken, InvalidToken, TokenExpired; SigningKeysAway when the token cannot be judged at the moment.
    """
    if not token:
        raise MissingToken
    key, algorithm = _verifier(token, settings, keys)
    try:
        claims = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=settings.jwt_audience,
            issuer=settings.jwt_issuer,
            leeway=settings.jwt_leeway_seconds,
            options={"require": ["exp", "sub", "aud", "iss"]},
        )
    except jwt.ExpiredSignatureError:
        raise TokenExpired from None
    except jwt.PyJWTError as error:
        raise InvalidToken from error
    if claims.get("role", "authenticated") != "authenticated":
        raise InvalidToken("This is a key of the project, not a user's access token.")
    if claims.get("is_anonymous"):
        raise InvalidToken("Anonymous users have no merchant; sign up first.")
    try:
        user_id = UUID(claims["sub"])
    except ValueError:
        raise InvalidToken from None
    email = claims.get("email")
    return User(id=user_id, email=email if isinstance(email, str) and email else None, claims=claims)


def _verifier(token: str, settings: Settings, keys: SigningKeys | None) -> tuple[jwt.PyJWK | str, str]:
    """The one key, and the one algorithm, that may verify this token."""
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError:
        raise InvalidToken from None
    algorithm, key_id = header.get("alg"), header.get("kid")
    if algorithm == "HS256" and settings.jwt_secret is not None:
        return settings.jwt_secret.get_secret_value(), "HS256"
    if algorithm in _ALGORITHM.values() and keys is not None and isinstance(key_id, str):
        key = keys.find(key_id)
        if key is not None and key.algorithm_name == algorithm:
            return key, algorithm
    raise InvalidToken
