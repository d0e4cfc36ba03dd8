"""What is wrong with the environment is said without saying what is in it."""

import pytest
from pydantic import ValidationError

from services.core.settings import Settings


def test_a_short_secret_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_SECRET", "too-short-secret-value")
    monkeypatch.setenv("REDIS_URL", "redis://:hidden-password@127.0.0.1:1/0")
    with pytest.raises(ValidationError) as raised:
        Settings()
    assert "32 characters" in str(raised.value)
    assert "too-short-secret-value" not in str(raised.value)
    assert "hidden-password" not in str(raised.value)


def test_production_names_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVIRONMENT", "production")
    monkeypatch.setenv("ENCRYPTION_KEYS", "")
    with pytest.raises(ValidationError, match="SUPABASE_URL, SUPABASE_SERVICE_ROLE_KEY, ENCRYPTION_KEYS"):
        Settings()


@pytest.mark.parametrize("address", ["abc.supabase.co", "postgresql://postgres:pw@db.abc.supabase.co/postgres"])
def test_a_project_without_an_address_is_refused_at_once(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Not by every request: its keys could never be fetched."""
    monkeypatch.setenv("SUPABASE_URL", address)
    with pytest.raises(ValidationError, match="the project's address"):
        Settings()
    monkeypatch.setenv("SUPABASE_URL", "https://abc.supabase.co/\n")
    assert Settings().jwt_issuer == "https://abc.supabase.co/auth/v1"
