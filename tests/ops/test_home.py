import os
import subprocess
import sys
from pathlib import Path

import jwt
import pytest

from ops.home import HomeBusy, kept_secrets, lock_home, mint_token, read_env, user_id, write_env
from services.core.settings import get_settings
from services.merchants.tokens import authenticate, signing_keys


def test_secrets_are_made_once_and_are_the_owners(tmp_path: Path) -> None:
    made = kept_secrets(tmp_path)
    assert kept_secrets(tmp_path) == made
    assert len(made["JWT_SECRET"]) >= 32
    assert (tmp_path / "secrets.env").stat().st_mode & 0o777 == 0o600


def test_env_file_is_read_back_by_python_and_by_a_shell(tmp_path: Path) -> None:
    values = {"TOKEN": "a.b-c", "AWKWARD": 'it\'s $HOME `x` "y"'}
    write_env(tmp_path / "env", values)
    assert read_env(tmp_path / "env") == values
    script = '. "$1"; printf "%s\\n%s" "$TOKEN" "$AWKWARD"; printenv TOKEN || true'
    said = subprocess.run(["sh", "-c", script, "-", tmp_path / "env"], capture_output=True, text=True, check=True)
    assert said.stdout == "\n".join(values.values())  # and nothing was exported


def test_a_token_is_what_the_api_accepts() -> None:
    settings = get_settings()
    assert settings.jwt_secret is not None
    token = mint_token(settings.jwt_secret.get_secret_value(), "Anna")
    user = authenticate(token, settings=settings, keys=signing_keys())
    assert (user.id, user.email) == (user_id("Anna"), "anna@example.com")


def test_the_same_name_is_the_same_user() -> None:
    assert user_id("anna") == user_id("anna") != user_id("bert")


@pytest.mark.parametrize("name", ["", "a b", "a@b", "-x", "x" * 64])
def test_names_that_cannot_be_in_an_address_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="user name"):
        mint_token("x" * 32, name)


def test_token_command_prints_a_token_and_nothing_else(tmp_path: Path) -> None:
    secret = kept_secrets(tmp_path)["JWT_SECRET"]
    command = [sys.executable, "-m", "ops.token", "--home", str(tmp_path), "--user", "anna"]
    env = {name: value for name, value in os.environ.items() if name != "JWT_SECRET"}
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout
    claims = jwt.decode(said.strip(), secret, algorithms=["HS256"], audience="authenticated", issuer="shopopti")
    assert claims["sub"] == str(user_id("anna"))
    assert claims["exp"] - claims["iat"] == 30 * 24 * 3600


def test_token_command_makes_no_home(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ops.token", "--home", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "make up" in done.stderr
    assert not (tmp_path / "none").exists()


def test_one_stack_per_home(tmp_path: Path) -> None:
    with lock_home(tmp_path), pytest.raises(HomeBusy, match=str(os.getpid())):
        lock_home(tmp_path, patience=0)
    lock_home(tmp_path, patience=0).close()
