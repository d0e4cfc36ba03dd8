"""Secrets at rest: authenticated encryption (Fernet) with keys that can be rotated.

ENCRYPTION_KEYS holds the keys, newest first: the first one encrypts, all of them decrypt. To rotate, put a new key in
front, `rotate` what is stored, then drop the old key. `Fernet.generate_key()` makes one.
"""

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from services.core.errors import ShopOptiError
from services.core.settings import Settings, get_settings


class NoEncryptionKeys(ShopOptiError):
    """Nothing can be kept secret here: ENCRYPTION_KEYS is empty or holds something that is not a Fernet key."""


class Undecryptable(ShopOptiError):
    """This was encrypted with a key that is no longer in ENCRYPTION_KEYS, or it was changed since."""


def encrypt(text: str, *, settings: Settings | None = None) -> str:
    """The text, encrypted with the newest key. Raises NoEncryptionKeys."""
    return _keys(settings).encrypt(text.encode()).decode("ascii")


def decrypt(token: str, *, settings: Settings | None = None) -> str:
    """The text `encrypt` was given. Raises NoEncryptionKeys, Undecryptable."""
    try:
        return _keys(settings).decrypt(token.encode()).decode()
    except InvalidToken as error:
        raise Undecryptable from error


def rotate(token: str, *, settings: Settings | None = None) -> str:
    """The same secret, encrypted with the newest key. Raises NoEncryptionKeys, Undecryptable."""
    try:
        return _keys(settings).rotate(token.encode()).decode("ascii")
    except InvalidToken as error:
        raise Undecryptable from error


def _keys(settings: Settings | None) -> MultiFernet:
    keys = (settings or get_settings()).encryption_keys
    if not keys:
        raise NoEncryptionKeys
    try:
        return MultiFernet([Fernet(key.get_secret_value()) for key in keys])
    except ValueError:
        raise NoEncryptionKeys from None  # the cause would show part of the key
