"""Configuration: environment > NAME_FILE > COWORK_SECRETS/NAME > default. Secrets have no default and never print."""

import json
import os
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict


class FromFile(PydanticBaseSettingsSource):
    """Reads `<PREFIX><FIELD>` from the file that `<PREFIX><FIELD>_FILE` names, else from the file of that name in COWORK_SECRETS.

    COWORK_SECRETS is a folder, as Docker and Kubernetes mount one.
    """

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        name = f"{self.config.get('env_prefix', '')}{field_name}".upper()
        path = _file_of(name)
        content = path.read_text().strip() if path else None
        is_json = content is not None and self.field_is_complex(field)
        return (json.loads(content or "") if is_json else content), field_name, False

    def __call__(self) -> dict[str, Any]:
        found = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in found.items() if value is not None}


def _file_of(name: str) -> Path | None:
    if named := os.environ.get(f"{name}_FILE"):
        return Path(named)
    folder = os.environ.get("COWORK_SECRETS")
    found = Path(folder, name) if folder else None
    return found if found is not None and found.is_file() else None


class FileSettings(BaseSettings):
    """Settings whose every field may also come from a file."""

    model_config = SettingsConfigDict(env_prefix="COWORK_", extra="ignore", hide_input_in_errors=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (pydantic's signature)
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, FromFile(settings_cls)


class SuiteSettings(FileSettings):
    """What all services of one installation share (prefix COWORK_)."""

    amqp_url: SecretStr | None = Field(
        None,
        description="RabbitMQ, a cluster's nodes separated by commas; without it the local transport serves one process",
    )
    namespace: str = Field("cowork", pattern=r"^[a-z][a-z0-9_-]{0,30}$", description="prefix of exchanges and queues")
    public_url: str = Field("http://127.0.0.1:8000", description="where members reach the gateway")
    files_url: str = Field(description="object store: file:///… or s3://bucket/prefix")
    internal_urls: dict[str, str] = Field(
        default_factory=dict, description="base address of each service's internal port, by service name"
    )


class ServiceSettings(FileSettings):
    """What every service needs; a service's own class sets its prefix (`COWORK_BOOKING_`) and adds fields."""

    suite: SuiteSettings = Field(default_factory=lambda: SuiteSettings())
    database_url: SecretStr = Field(description="postgresql+asyncpg:// address of the application role")
    client_secret: SecretStr = Field(description="this service's client credential at identity")
    digest_key: SecretStr = Field(description="keys digests of request bodies and file links; at least 32 characters")
    pool_size: int = Field(10, ge=1, le=100, description="database connections per process")


class OwnerSettings(FileSettings):
    """The owner role's address of one service's database; migrations alone use it."""

    owner_url: SecretStr = Field(description="postgresql+asyncpg:// address of the owner role")

    @classmethod
    def of(cls, service: str) -> "OwnerSettings":
        prefix = f"COWORK_{service.upper()}_"
        named = type(
            "Named", (cls,), {"model_config": SettingsConfigDict(**{**cls.model_config, "env_prefix": prefix})}
        )
        found: OwnerSettings = named()
        return found
