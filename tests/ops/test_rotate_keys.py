"""Encryption keys are replaced without losing a secret."""

import sys

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.orm import undefer

from ops import rotate_keys
from services.core.db import transaction
from services.core.settings import get_settings
from services.imports.origin import address_of
from services.imports.sources import create_source
from services.models import Connection, Source
from services.sourcing.accounts.credentials import CredentialsUnreadable, read, write
from tests.jobs.conftest import owner

URL = "https://feeds.example/f.csv?key=abc"


@pytest.fixture
def keys(monkeypatch):
    """`keys(*keys)`: what ENCRYPTION_KEYS holds; afterwards all is as it was, the database included."""
    settings = get_settings()
    before, used = settings.encryption_keys, []

    def hold(*wanted):
        used.extend(wanted)
        monkeypatch.setattr(settings, "encryption_keys", list(wanted))

    monkeypatch.setattr(sys, "argv", ["rotate_keys"])
    with owner() as connection:
        connection.execute("DELETE FROM connections")  # other tests' are not all of keys that are held here
    yield hold
    hold(*before, *used)
    assert rotate_keys.main() == 0


def test_after_it_the_old_key_can_be_dropped(merchant, keys, capsys):
    old, new = get_settings().encryption_keys[0], SecretStr(Fernet.generate_key().decode())
    row = Connection(merchant_id=merchant, supplier="bigbuy", name="b", account_key="x")
    write(row, {"api_key": "secret"})
    with transaction(merchant_id=merchant) as session:
        session.add(row)
        source = create_source(session, merchant_id=merchant, name="s", url=URL)
    keys(new, old)
    assert rotate_keys.main() == 0
    assert "connections: " in capsys.readouterr().out
    keys(new)
    with transaction(merchant_id=merchant) as session:
        row = session.get_one(Connection, row.id, options=[undefer(Connection.secrets)])
        assert (read(row), address_of(session.get_one(Source, source.id))) == ({"api_key": "secret"}, URL)
    keys(old)
    with pytest.raises(CredentialsUnreadable):
        read(row)
    assert rotate_keys.main() == 1
    assert "of keys nobody has" in capsys.readouterr().out


def test_every_column_of_secrets_is_known():
    named = text("""SELECT table_name, column_name FROM information_schema.columns
                    WHERE table_schema = 'public' AND data_type = 'text' AND column_name LIKE '%secret%'""")
    with transaction() as session:
        session.execute(text("SELECT set_config('role', 'none', true)"))
        assert {tuple(row) for row in session.execute(named)} == set(rotate_keys.COLUMNS.items())
