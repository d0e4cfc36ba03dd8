"""Every setting of every process, read from the environment once. `.env.example` documents each."""

import re
from functools import cache
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Settings(BaseSettings):
    """The environment, parsed and checked. A process that cannot run with it stops here, with the reason."""

    model_config = SettingsConfigDict(
        env_file=".env",
        extra="ignore",
        env_ignore_empty=True,
        hide_input_in_errors=True,  # the input is a secret as often as not
    )

    environment: Literal["development", "production"] = "development"

    # The database. In production: Supabase's direct or session-pooler address for relay and beat, any for the rest.
    database_url: str
    database_transaction_pooler: bool = False  # True behind port 6543: no prepared statements, no LISTEN
    database_pool_size: int = 10
    redis_url: str
    redis_prefix: str = "shopopti:"  # several stacks may share one Redis

    # Callers. SUPABASE_URL gives issuer and JWKS; JWT_SECRET verifies legacy HS256 tokens.
    supabase_url: str | None = None
    supabase_service_role_key: SecretStr | None = None
    jwt_secret: SecretStr | None = None
    jwt_audience: str = "authenticated"
    jwt_issuer: str | None = None  # defaults to <SUPABASE_URL>/auth/v1, or "shopopti" without Supabase
    jwt_leeway_seconds: int = 10
    encryption_keys: Annotated[list[SecretStr], NoDecode] = []  # Fernet keys, newest first

    # The HTTP front.
    cors_origins: Annotated[list[str], NoDecode] = []
    rate_limits: Annotated[list[str], NoDecode] = ["60/minute", "1000/hour", "10000/day"]
    max_body_bytes: int = 1_000_000
    max_upload_bytes: int = 200_000_000
    client_address_header: str | None = None  # in which the proxy in front tells where a request comes from
    metrics_token: SecretStr | None = None  # when set, GET /metrics asks for it

    # Files: a folder on one machine, a Supabase Storage bucket in production.
    storage_folder: str | None = None
    storage_bucket: str = "shopopti"
    export_days: int = Field(default=7, ge=1)  # how long the files of exports are kept
    feed_days: int = Field(default=30, ge=1)  # how long files of finished imports and their row errors are kept

    # Jobs.
    lease_seconds: int = Field(default=30, ge=2)
    heartbeat_seconds: float = Field(default=1.0, gt=0)
    drain_seconds: int = 45  # after SIGTERM, what still runs then is put back and the process ends
    # Jobs of one merchant in flight per queue, unless set otherwise: fewer than a worker has threads (Procfile), so
    # that one merchant's slow jobs never hold all of them.
    merchant_cap: int = Field(default=12, ge=1)
    ring_again_seconds: float = 10.0
    retention_days: int = 30
    extra_task_modules: Annotated[list[str], NoDecode] = []  # modules with further handlers (ops.lab for the bench)
    log_level: str = "INFO"

    # The outside. Where the sandbox is, it may stand in for a supplier (docs/suppliers.md).
    sandbox_url: str | None = None
    mock_mode: Literal["auto", "true", "false"] = "auto"  # the sandbox answers: where asked for, always, never
    mock_fallback: bool = False  # the sandbox answers affiliates when the real service fails
    allow_private_addresses: bool = False  # tests only: lets the guarded client reach loopback
    api_url: str | None = None  # where this API is reached from outside; None: as the request was addressed

    # AliExpress: the operator's app. One app is for affiliates or for dropshipping; DS_… is another one for the latter.
    aliexpress_app_key: str | None = None
    aliexpress_app_secret: SecretStr | None = None
    aliexpress_tracking_id: str | None = None
    aliexpress_ds_app_key: str | None = None
    aliexpress_ds_app_secret: SecretStr | None = None
    aliexpress_callback_url: str | None = None  # as in the app's console; <API_URL>/api/v1/aliexpress/callback
    affiliate_gateway: str | None = None  # another one for the affiliate proxy than AliExpress's own
    affiliate_public: bool = True  # the older addresses of the affiliate proxy answer without a token

    @field_validator("cors_origins", "rate_limits", "encryption_keys", "extra_task_modules", mode="before")
    @classmethod
    def _comma_separated(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator(
        "aliexpress_app_key",
        "aliexpress_app_secret",
        "aliexpress_tracking_id",
        "aliexpress_ds_app_key",
        "aliexpress_ds_app_secret",
        mode="before",
    )
    @classmethod
    def _trimmed(cls, value: object) -> object:
        # Consoles of platforms keep the line end that was pasted with it, and every signature would be wrong.
        return value.strip() or None if isinstance(value, str) else value

    @field_validator("database_url")
    @classmethod
    def _psycopg_driver(cls, value: str) -> str:
        for prefix in ("postgres://", "postgresql://"):
            if value.startswith(prefix):
                return "postgresql+psycopg://" + value.removeprefix(prefix)
        return value

    @field_validator("supabase_url")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://\S+", value.strip()):
            raise ValueError("give the project's address, like https://<project>.supabase.co")
        return None if value is None else value.strip().rstrip("/")

    @model_validator(mode="after")
    def _complete(self) -> "Settings":
        if self.jwt_issuer is None:
            self.jwt_issuer = f"{self.supabase_url}/auth/v1" if self.supabase_url else "shopopti"
        if self.jwt_secret is not None and len(self.jwt_secret.get_secret_value()) < 32:
            raise ValueError("JWT_SECRET must have at least 32 characters: HS256 is as strong as its secret")
        if self.supabase_url is None and self.jwt_secret is None:
            raise ValueError("set SUPABASE_URL (tokens verified by its JWKS), JWT_SECRET (HS256), or both")
        if self.environment == "production":
            missing = [
                name
                for name in ("supabase_url", "supabase_service_role_key", "encryption_keys")
                if not getattr(self, name)
            ]
            if missing:
                raise ValueError(f"required in production: {', '.join(missing).upper()}")
        return self


@cache
def get_settings() -> Settings:
    """The process's settings. Raises pydantic.ValidationError naming what is missing."""
    return Settings()
