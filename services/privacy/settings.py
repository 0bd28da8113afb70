"""Privacy's settings (prefix COWORK_PRIVACY_)."""

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from shared.settings import ServiceSettings


class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="COWORK_PRIVACY_", extra="ignore", hide_input_in_errors=True)

    ledger_key: SecretStr = Field(
        min_length=32, description="keys the erasure ledger; losing it loses the replay after a restore"
    )
    ledger_url: SecretStr = Field(
        description="postgresql+asyncpg:// address of the application role in the ledger's own database"
    )
    redrive_seconds: int = Field(
        300, ge=1, description="a service that has not answered is asked again after this time"
    )
    backup_days: int = Field(35, ge=1, description="oldest backup that operators keep; stated on certificates")
