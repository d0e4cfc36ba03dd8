"""How AliExpress's open platform has requests signed.

Source: its pages on signing (docs 1366, 1367, 1385, 1386); the tests hold their vectors.
"""

import hashlib
import hmac
from collections.abc import Mapping


def base_string(parameters: Mapping[str, str], path: str = "") -> str:
    """What is signed: the path of a system call, then every name and value in the order of code points."""
    return path + "".join(f"{name}{value}" for name, value in sorted(parameters.items()) if name != "sign" and value)


def signature(parameters: Mapping[str, str], secret: str, *, path: str = "") -> str:
    """HMAC-SHA256 in upper-case hex. `path` of system calls (``/auth/token/create``), none for business methods."""
    return hmac.new(secret.encode(), base_string(parameters, path).encode(), hashlib.sha256).hexdigest().upper()


def signature_md5(parameters: Mapping[str, str], secret: str) -> str:
    """The older way (``sign_method=md5``), which the platform still takes for business methods."""
    told = f"{secret}{base_string(parameters)}{secret}"
    return hashlib.md5(told.encode(), usedforsecurity=False).hexdigest().upper()


def push_signature(app_key: str, secret: str, body: bytes) -> str:
    """What the header Authorization of a push message must be; lower-case hex, compare without regard to case."""
    return hmac.new(secret.encode(), app_key.encode() + body, hashlib.sha256).hexdigest()


def is_push_genuine(app_key: str, secret: str, body: bytes, authorization: str) -> bool:
    """Whether a push message was signed with the app's secret."""
    return hmac.compare_digest(push_signature(app_key, secret, body).encode(), authorization.strip().lower().encode())
