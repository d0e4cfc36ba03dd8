"""Whose token is it: every way in, and every way it must not be let in."""

import base64
import hashlib
import hmac
import json
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from services.merchants.tokens import (
    COOLDOWN_SECONDS,
    FRESH_SECONDS,
    RETRY_SECONDS,
    USABLE_SECONDS,
    InvalidToken,
    MissingToken,
    SigningKeys,
    SigningKeysAway,
    TokenExpired,
    authenticate,
)
from tests.conftest import JWT_SECRET, token_for

SUPABASE = "https://abcdefghijklmnopqrst.supabase.co"

# The worked vector of protocols/supabase.md: the sample key of Supabase's documentation.
VECTOR_KEY = {
    "kty": "EC",
    "kid": "3a18cfe2-7226-43b0-bbb4-7c5242f2406e",
    "crv": "P-256",
    "x": "gyLVvp9dyEgylYH7nR2E2qdQ_-9Pv5i1tk7c2qZD4Nk",
    "y": "CD9RfYOTyjR5U-PC9UDlsthRpc7vAQQQ2FTt8UsX0fY",
    "alg": "ES256",
    "use": "sig",
    "key_ops": ["verify"],
}
_PAYLOAD = (
    "eyJpc3MiOiJodHRwczovL2FiY2RlZmdoaWprbG1ub3BxcnN0LnN1cGFiYXNlLmNvL2F1dGgvdjEiLCJzdWIiOiIxMjNlNDU2Ny1lODliLTEyZDMtY"
    "TQ1Ni00MjY2MTQxNzQwMDAiLCJhdWQiOiJhdXRoZW50aWNhdGVkIiwiZXhwIjo0MTAyNDQ0ODAwLCJpYXQiOjE3OTAwMDAwMDAsImVtYWlsIjoidXN"
    "lckBleGFtcGxlLmNvbSIsInBob25lIjoiIiwiYXBwX21ldGFkYXRhIjp7InByb3ZpZGVyIjoiZW1haWwiLCJwcm92aWRlcnMiOlsiZW1haWwiXX0sIn"
    "VzZXJfbWV0YWRhdGEiOnsibmFtZSI6IkpvaG4gRG9lIn0sInJvbGUiOiJhdXRoZW50aWNhdGVkIiwiYWFsIjoiYWFsMSIsImFtciI6W3sibWV0aG9kI"
    "joicGFzc3dvcmQiLCJ0aW1lc3RhbXAiOjE3OTAwMDAwMDB9XSwic2Vzc2lvbl9pZCI6IjExMTExMTExLTIyMjItMzMzMy00NDQ0LTU1NTU1NTU1NTU1"
    "NSIsImlzX2Fub255bW91cyI6ZmFsc2V9"
)
VECTOR_ES256 = (
    "eyJhbGciOiJFUzI1NiIsImtpZCI6IjNhMThjZmUyLTcyMjYtNDNiMC1iYmI0LTdjNTI0MmYyNDA2ZSIsInR5cCI6IkpXVCJ9."
    + _PAYLOAD
    + ".n2QLZ2YO3pQGCqKJRg3KvLecc9OqQv8wZIYuS5XXbWazDzDbvEe3eYzKTFCRyVnObJlLN2OG2xLGDMC7yw0SBA"
)
VECTOR_HS256 = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9." + _PAYLOAD + ".8bhkqJ_MiStI-82XgJNuKCqXdMTuVhhLk0nlTL50ylQ"


class KeyServer:
    """A project's JWKS endpoint on loopback."""

    def __init__(self) -> None:
        self.document: object = {"keys": []}
        self.status = 200
        self.delay = 0.0
        self.asked = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                time.sleep(outer.delay)
                body = json.dumps(outer.document).encode()
                self.send_response(outer.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/jwks.json"


@pytest.fixture
def key_server():
    """A JWKS endpoint."""
    server = KeyServer()
    yield server
    server.server.shutdown()
    server.server.server_close()


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    """A clock for `SigningKeys`."""
    return Clock()


@pytest.fixture
def keys(key_server, clock):
    """A key cache on the endpoint."""
    return SigningKeys(key_server.url, monotonic=clock)


@pytest.fixture
def supabase(settings):
    """Settings of a Supabase project without the legacy secret."""
    return settings.model_copy(
        update={"supabase_url": SUPABASE, "jwt_issuer": f"{SUPABASE}/auth/v1", "jwt_secret": None}
    )


def key_pair(kid, kind="EC"):
    """A private key, and its public half as a JWK."""
    private = ec.generate_private_key(ec.SECP256R1()) if kind == "EC" else rsa.generate_private_key(65537, 2048)
    algorithm = jwt.get_algorithm_by_name("ES256" if kind == "EC" else "RS256")
    return private, {**json.loads(algorithm.to_jwk(private.public_key())), "kid": kid}


def signed(private, kid, algorithm="ES256", **claims):
    """A token of the project."""
    payload = {
        "iss": f"{SUPABASE}/auth/v1",
        "aud": "authenticated",
        "sub": str(uuid.uuid4()),
        "exp": int(time.time()) + 60,
        **claims,
    }
    payload = {name: value for name, value in payload.items() if value is not None}
    return jwt.encode(payload, private, algorithm=algorithm, headers={"kid": kid} if kid else {})


def test_the_worked_es256_vector(supabase, keys, key_server):
    key_server.document = {"keys": [VECTOR_KEY]}
    user = authenticate(VECTOR_ES256, settings=supabase, keys=keys)
    assert str(user.id) == "123e4567-e89b-12d3-a456-426614174000"
    assert (user.email, user.display_name) == ("user@example.com", "John Doe")


def test_a_project_that_still_has_its_old_secret_takes_both_kinds(supabase, settings, keys, key_server):
    key_server.document = {"keys": [VECTOR_KEY]}
    both = supabase.model_copy(update={"jwt_secret": settings.jwt_secret})
    for token in (VECTOR_ES256, VECTOR_HS256):
        assert authenticate(token, settings=both, keys=keys).email == "user@example.com"


def test_the_worked_hs256_vector(settings, keys):
    legacy = settings.model_copy(update={"supabase_url": SUPABASE, "jwt_issuer": f"{SUPABASE}/auth/v1"})
    user = authenticate(VECTOR_HS256, settings=legacy, keys=keys)
    assert str(user.id) == "123e4567-e89b-12d3-a456-426614174000"


@pytest.mark.parametrize("kind", ["EC", "RSA"])
def test_both_key_types(supabase, keys, key_server, kind):
    private, public = key_pair("a", kind)
    key_server.document = {"keys": [public]}
    assert authenticate(signed(private, "a", "ES256" if kind == "EC" else "RS256"), settings=supabase, keys=keys)


@pytest.mark.parametrize("token", [None, "", "x", "a.b.c", "é.é.é", "sb_secret_abc", "eyJhbGciOiJub25lIn0.e30."])
def test_what_is_no_token_is_refused(settings, keys, token):
    with pytest.raises((MissingToken, InvalidToken)):
        authenticate(token, settings=settings, keys=keys)


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "other"},
        {"aud": None},
        {"iss": "https://evil.example/auth/v1"},
        {"iss": None},
        {"sub": None},
        {"sub": "not-a-uuid"},
        {"sub": 7},
        {"exp": None},
        {"nbf": int(time.time()) + 86_400},
        {"iat": int(time.time()) + 86_400},
        {"role": "service_role"},
        {"role": "anon"},
        {"is_anonymous": True},
    ],
)
def test_claims_that_are_not_a_users_here(settings, claims):
    with pytest.raises(InvalidToken):
        authenticate(token_for(uuid.uuid4(), **claims), settings=settings, keys=None)


def test_project_keys_of_the_old_kind_are_refused(settings):
    for role in ("anon", "service_role"):
        claims = {"iss": "supabase", "ref": "abc", "role": role, "exp": int(time.time()) + 999}
        with pytest.raises(InvalidToken):
            authenticate(jwt.encode(claims, JWT_SECRET, algorithm="HS256"), settings=settings, keys=None)


def test_expiry_and_its_leeway(settings):
    now = int(time.time())
    with pytest.raises(TokenExpired):
        authenticate(token_for(uuid.uuid4(), exp=now - settings.jwt_leeway_seconds - 2), settings=settings, keys=None)
    assert authenticate(token_for(uuid.uuid4(), exp=now - 2), settings=settings, keys=None)
    assert authenticate(token_for(uuid.uuid4(), iat=now + 5), settings=settings, keys=None)


def test_a_public_key_is_never_a_shared_secret(supabase, settings, keys, key_server):
    private, public = key_pair("a", "RSA")
    key_server.document = {"keys": [public]}
    pem = private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    head = {"alg": "HS256", "kid": "a", "typ": "JWT"}
    claims = {"iss": f"{SUPABASE}/auth/v1", "aud": "authenticated", "sub": str(uuid.uuid4()), "exp": 4102444800}
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (head, claims)]
    signature = hmac.new(pem, b".".join(parts), hashlib.sha256).digest()
    forged = b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()
    both = supabase.model_copy(update={"jwt_secret": settings.jwt_secret})
    for these in (supabase, both):
        with pytest.raises(InvalidToken):
            authenticate(forged, settings=these, keys=keys)


def test_an_algorithm_that_is_not_the_keys_own_is_refused(supabase, keys, key_server):
    rsa_private, _ = key_pair("a", "RSA")
    _, ec_public = key_pair("a", "EC")
    key_server.document = {"keys": [ec_public, {"kty": "oct", "kid": "b", "k": "c2VjcmV0" * 8}]}
    secret = "secret" * 8
    for forged in (signed(rsa_private, "a", "RS256"), signed(secret, "b", "HS256"), signed(rsa_private, None, "RS256")):
        with pytest.raises(InvalidToken):
            authenticate(forged, settings=supabase, keys=keys)


def test_hs256_without_a_secret_is_refused(supabase, keys):
    with pytest.raises(InvalidToken):
        authenticate(VECTOR_HS256, settings=supabase, keys=keys)


def test_an_empty_key_list_means_no_such_keys(supabase, keys, key_server):
    with pytest.raises(InvalidToken):
        authenticate(VECTOR_ES256, settings=supabase, keys=keys)
    assert key_server.asked == 1


def test_keys_are_fetched_once_and_kept(supabase, keys, key_server, clock):
    private, public = key_pair("a")
    key_server.document = {"keys": [public]}
    for _ in range(3):
        authenticate(signed(private, "a"), settings=supabase, keys=keys)
    clock.now += FRESH_SECONDS - 1
    authenticate(signed(private, "a"), settings=supabase, keys=keys)
    assert key_server.asked == 1
    clock.now += 2
    authenticate(signed(private, "a"), settings=supabase, keys=keys)
    assert key_server.asked == 2


@pytest.mark.parametrize("idle", [None, USABLE_SECONDS + 1])  # the first of all; the first after a quiet night
def test_keys_are_fetched_once_by_a_crowd(supabase, keys, key_server, clock, idle):
    private, public = key_pair("a")
    key_server.document = {"keys": [public]}
    if idle:
        authenticate(signed(private, "a"), settings=supabase, keys=keys)
        clock.now += idle
    key_server.asked, key_server.delay = 0, 0.2
    barrier, failed = threading.Barrier(16), []

    def go():
        barrier.wait()
        try:
            authenticate(signed(private, "a"), settings=supabase, keys=keys)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=go) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert key_server.asked == 1


def test_rotation_is_noticed_by_the_unknown_key_id(supabase, keys, key_server, clock):
    old, old_public = key_pair("old")
    new, new_public = key_pair("new")
    key_server.document = {"keys": [old_public]}
    authenticate(signed(old, "old"), settings=supabase, keys=keys)
    key_server.document = {"keys": [new_public, old_public]}
    clock.now += COOLDOWN_SECONDS + 1
    authenticate(signed(new, "new"), settings=supabase, keys=keys)
    authenticate(signed(old, "old"), settings=supabase, keys=keys)
    assert key_server.asked == 2
    key_server.document = {"keys": [new_public]}
    clock.now += FRESH_SECONDS + 1
    authenticate(signed(new, "new"), settings=supabase, keys=keys)
    with pytest.raises(InvalidToken):
        authenticate(signed(old, "old"), settings=supabase, keys=keys)


def test_invented_key_ids_do_not_hammer_the_key_server(supabase, keys, key_server, clock):
    private, _ = key_pair("a")
    for number in range(20):
        with pytest.raises(InvalidToken):
            authenticate(signed(private, f"invented-{number}"), settings=supabase, keys=keys)
    assert key_server.asked == 1
    clock.now += COOLDOWN_SECONDS + 1
    with pytest.raises(InvalidToken):
        authenticate(signed(private, "another"), settings=supabase, keys=keys)
    assert key_server.asked == 2


@pytest.mark.parametrize("broken", [{"status": 500}, {"document": ["no", "keys"]}, {"document": {"keys": "x"}}])
def test_known_keys_serve_an_hour_while_the_key_server_is_away(supabase, keys, key_server, clock, broken):
    private, public = key_pair("a")
    key_server.document = {"keys": [public]}
    authenticate(signed(private, "a"), settings=supabase, keys=keys)
    for name, value in broken.items():
        setattr(key_server, name, value)
    clock.now += FRESH_SECONDS + 1
    authenticate(signed(private, "a"), settings=supabase, keys=keys)
    clock.now += USABLE_SECONDS
    with pytest.raises(SigningKeysAway):
        authenticate(signed(private, "a"), settings=supabase, keys=keys)
    asked = key_server.asked
    with pytest.raises(SigningKeysAway):
        authenticate(signed(private, "a"), settings=supabase, keys=keys)
    assert key_server.asked == asked
    key_server.status, key_server.document = 200, {"keys": [public]}
    clock.now += RETRY_SECONDS + 1
    authenticate(signed(private, "a"), settings=supabase, keys=keys)


def test_unusable_published_keys_are_skipped(supabase, keys, key_server):
    private, public = key_pair("good")
    key_server.document = {"keys": [{"kty": "EC", "kid": "bad", "crv": "P-256", "x": "!", "y": "!"}, 7, public]}
    authenticate(signed(private, "good"), settings=supabase, keys=keys)
