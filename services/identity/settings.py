"""Identity's settings, prefix COWORK_IDENTITY_."""

from functools import cached_property

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from services.identity.secrecy import Secrecy
from shared.settings import ServiceSettings


class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="COWORK_IDENTITY_", extra="ignore", hide_input_in_errors=True)

    key_secret: SecretStr = Field(
        min_length=32, description="seals token keys and second factors, keys refresh tokens and links"
    )
    operator_secret: SecretStr = Field(min_length=16, description="credential that may open a tenant")
    client_digests: dict[str, str] = Field(
        default_factory=dict, description="SHA-256 (hex) of each service's client secret, by service name"
    )
    settle_seconds: int = Field(60, ge=0, description="longest wait for the last mail before an account is erased")
    key_days: int = Field(30, ge=1, description="days after which a new token key takes over")

    @cached_property
    def secrecy(self) -> Secrecy:
        return Secrecy(self.key_secret.get_secret_value())
