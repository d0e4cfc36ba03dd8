"""Secrets at rest: what goes in comes out, keys rotate, wrong keys say so."""

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from services.core.crypto import NoEncryptionKeys, Undecryptable, decrypt, encrypt, rotate


@pytest.fixture
def with_keys(settings):
    """`with_keys(*keys)`: the settings with these encryption keys."""
    return lambda *keys: settings.model_copy(update={"encryption_keys": [SecretStr(key) for key in keys]})


OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


def test_a_secret_comes_back(with_keys):
    token = encrypt("pässwörd", settings=with_keys(NEW))
    assert "pässwörd" not in token
    assert decrypt(token, settings=with_keys(NEW)) == "pässwörd"


def test_rotation_reads_the_old_key_and_writes_the_new(with_keys):
    token = encrypt("secret", settings=with_keys(OLD))
    rotated = rotate(token, settings=with_keys(NEW, OLD))
    assert decrypt(rotated, settings=with_keys(NEW)) == "secret"
    with pytest.raises(Undecryptable):
        decrypt(token, settings=with_keys(NEW))
    with pytest.raises(Undecryptable):
        rotate("nonsense", settings=with_keys(NEW))


@pytest.mark.parametrize("keys", [(), ("not-a-fernet-key",)])
def test_missing_and_malformed_keys_are_named_without_showing_them(with_keys, keys):
    with pytest.raises(NoEncryptionKeys, match="ENCRYPTION_KEYS") as caught:
        encrypt("secret", settings=with_keys(*keys))
    assert "not-a-fernet-key" not in str(caught.value)
