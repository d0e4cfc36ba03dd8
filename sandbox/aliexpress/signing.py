"""Signatures of the open platform, and of its push messages."""

import hashlib
import hmac
from collections.abc import Mapping


def base(params: Mapping[str, str], *, path: str = "") -> str:
    """What is signed: the path (below /rest only), then keys and values in code-point order, without empty ones."""
    return path + "".join(f"{key}{params[key]}" for key in sorted(params) if key != "sign" and params[key] != "")


def sign(params: Mapping[str, str], *, secret: str, method: str = "sha256", path: str = "") -> str | None:
    """The signature in upper-case hex; None for a method there is not."""
    text = base(params, path=path).encode()
    key = secret.encode()
    match method:
        case "sha256":
            return hmac.new(key, text, hashlib.sha256).hexdigest().upper()
        case "md5":
            return hashlib.md5(key + text + key, usedforsecurity=False).hexdigest().upper()
        case "hmac":
            return hmac.new(key, text, hashlib.md5).hexdigest().upper()
    return None


def sign_push(body: bytes, *, app_key: str, secret: str) -> str:
    """The `Authorization` header of a push message: lower-case hex."""
    return hmac.new(secret.encode(), app_key.encode() + body, hashlib.sha256).hexdigest()
