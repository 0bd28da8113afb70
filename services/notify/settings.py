"""Notify's settings (prefix COWORK_NOTIFY_)."""

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from shared.settings import ServiceSettings


class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="COWORK_NOTIFY_", extra="ignore", hide_input_in_errors=True)

    smtp_host: str | None = Field(None, description="mail server; without one, mails are shown on the outbox page only")
    smtp_port: int = Field(587, ge=1, le=65535)
    smtp_user: str | None = None
    smtp_password: SecretStr | None = None
    smtp_starttls: bool = Field(True, description="refuse to send without TLS")
    mail_from: str = Field("cowork@localhost", description="sender of every mail")
    outbox_page: bool = Field(False, description="show sent mails at /outbox (embedded mode; memory only)")
